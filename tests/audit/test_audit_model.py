"""A bad declaration of a trail or of columns fails when the models are imported."""

import subprocess
import sys
from typing import Any

import pytest
from alembic.autogenerate import render_python_code
from alembic.operations.ops import CreateTableOp, UpgradeOps
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    inspect,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from alembic_enterprise import AuditColumns, AuditTrail, RangePartitions
from alembic_enterprise.audit.column_model import ColumnOptions, columns_on
from alembic_enterprise.audit.model import Trail, trail_on
from alembic_enterprise.errors import DeclarationError


def table(*items: Any, name: str = "orders", **kw: Any) -> Table:
    """A table `orders (id, email, iban)` with more items."""
    columns = [Column("email", Text), Column("iban", Text)]
    return Table(
        name, MetaData(), *items, Column("id", BigInteger, primary_key=True), *columns, **kw
    )


def test_the_trail_of_a_table() -> None:
    spec = AuditTrail(exclude=["iban"], hash=("email",), retain=12, readers=["b", "a"])
    assert trail_on(table(spec)) is spec
    assert spec.trail == Trail(("iban",), (), ("email",), retain=12, readers=("a", "b"))


def test_it_goes_into_a_declarative_class_and_its_mixins() -> None:
    class Base(DeclarativeBase):
        pass

    class Audited:
        __table_args__ = (AuditTrail(require_actor=True), AuditColumns())

    class Order(Audited, Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Payment(Audited, Base):
        __tablename__ = "payments"
        id: Mapped[int] = mapped_column(primary_key=True)

    for kind in (Order, Payment):
        found = Base.metadata.tables[kind.__tablename__]
        assert trail_on(found) is not None
        assert columns_on(found) is not None
        assert [*found.columns.keys()][1:] == [*ColumnOptions().columns]


def test_it_goes_into_a_dataclass() -> None:
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"
        __table_args__ = (AuditColumns(soft_delete=True),)
        id: Mapped[int] = mapped_column(primary_key=True)

    assert vars(Order(id=1))["id"] == 1
    assert "deleted_by" in inspect(Order).columns


def test_one_declaration_serves_many_tables() -> None:
    trail, columns = AuditTrail(), AuditColumns()
    for name in ("orders", "payments"):
        found = table(trail, columns, name=name)
        assert (trail_on(found), columns_on(found)) == (trail, columns)


def test_a_copied_table_keeps_its_declarations() -> None:
    trail, columns = AuditTrail(), AuditColumns(lineage=True)
    copy = table(trail, columns).to_metadata(MetaData(), schema="tenant")
    assert (trail_on(copy), columns_on(copy)) == (trail, columns)
    assert trail.history_of(copy) == ("audit", "tenant_orders_history")


def test_nothing_of_a_declaration_stands_in_a_script() -> None:
    plain = {column.name for column in table().columns}
    text = render_python_code(UpgradeOps([CreateTableOp.from_table(table(AuditTrail()))]))
    assert "info" not in text.lower()
    assert "trail" not in text.lower()
    assert plain == {"id", "email", "iban"}
    columns = render_python_code(UpgradeOps([CreateTableOp.from_table(table(AuditColumns()))]))
    assert "info" not in columns.lower()


def test_the_history_is_named_after_schema_and_table() -> None:
    spec = AuditTrail()
    assert spec.history_of(table(spec)) == ("audit", "orders_history")
    assert spec.history_of(table(spec, schema="sales")) == ("audit", "sales_orders_history")
    other = AuditTrail(schema="sales", history="kept")
    assert other.history_of(table(other, schema="sales")) == ("sales", "kept")


def test_the_primary_key_may_be_declared_beside_the_columns() -> None:
    found = Table(
        "orders",
        MetaData(),
        AuditTrail(),
        Column("a", Integer),
        Column("b", Integer),
        PrimaryKeyConstraint("a", "b"),
    )
    assert trail_on(found) is not None


def test_audit_columns_serve_indexes_and_partitions() -> None:
    key = RangePartitions("created_at", every="month")
    items = [AuditColumns(), PrimaryKeyConstraint("id", "created_at"), Index("ix", "updated_at")]
    found = Table("orders", MetaData(), Column("id", Integer), *items, key)
    assert not found.c.created_at.nullable
    assert [index.name for index in found.indexes] == ["ix"]


def test_the_actor_may_be_a_type_or_its_class() -> None:
    for kind in (BigInteger, BigInteger()):
        assert AuditColumns(actor=kind).options.actor == "bigint"
    assert AuditColumns(actor=Uuid(as_uuid=False)).options.actor == "uuid"


def test_the_declaration_may_be_attached_again() -> None:
    metadata = MetaData()
    for _ in range(2):
        found = Table(
            "orders",
            metadata,
            Column("id", Integer, primary_key=True),
            AuditTrail(mask=["id2"]),
            AuditColumns(),
            Column("id2", Text),
            extend_existing=True,
        )
        assert columns_on(found) is not None


LONG = "o" * 46
BAD: list[tuple[Any, str]] = [
    (
        lambda: table(AuditTrail(exclude=["mail"])),
        'orders: AuditTrail(exclude=["mail"]): no such column; it has "id", "email", "iban"',
    ),
    (
        lambda: table(AuditTrail(mask=["id", "iban"])),
        (
            'orders: AuditTrail(mask=["iban", "id"]): the history knows a row by its primary key '
            '(id): write mask=["iban"]'
        ),
    ),
    (
        lambda: AuditTrail(exclude=["email"], hash=["email"]),
        'AuditTrail: "email" is in exclude= and in hash=: write it in one of them',
    ),
    (
        lambda: AuditTrail(exclude="email"),
        'AuditTrail: exclude="email": write exclude=["email"]',
    ),
    (
        lambda: AuditTrail(mask=None),  # type: ignore[arg-type]  # the point
        'AuditTrail: mask=None: write a list of names, such as mask=["email"]',
    ),
    (
        lambda: AuditTrail(hash=[Column("email", Text)]),  # type: ignore[list-item]  # the point
        "AuditTrail: hash=[Column('email', Text(), table=None)]: write a list of names, such as",
    ),
    (
        lambda: Table("orders", MetaData(), AuditTrail(), Column("id", Integer)),
        (
            "orders: AuditTrail needs a primary key, by which the history knows a row: give one of "
            "its columns primary_key=True"
        ),
    ),
    (
        lambda: table(AuditTrail(), Column("audit_at", Text)),
        (
            "orders.audit_at: the history's own columns begin with audit_: call it at, or leave it "
            'out: AuditTrail(exclude=["audit_at"])'
        ),
    ),
    (
        lambda: table(AuditTrail(), name=LONG),
        (
            f"{LONG}: the name of its history, {LONG}_history, has 54 bytes, and 53 leave room for "
            'its partitions: write AuditTrail(history="...") with a shorter one'
        ),
    ),
    (lambda: table(AuditTrail(history="é" * 27)), "has 54 bytes"),
    (
        lambda: table(AuditTrail(), AuditTrail(retain=1)),
        "orders: two AuditTrail on one table; keep one of them",
    ),
    (
        lambda: AuditTrail(retain=0),
        "AuditTrail: retain=0: write a whole number of months from 1 up",
    ),
    (lambda: AuditTrail(retain=True), "retain=True: write a whole number of months from 1 up"),
    (
        lambda: table(Column("created_at", Text), AuditColumns()),
        'orders: AuditColumns brings "created_at" itself: remove it from the table',
    ),
    (
        lambda: AuditColumns(actor=Integer),
        "AuditColumns: actor=Integer: write one of Text, BigInteger, Uuid",
    ),
    (
        lambda: AuditColumns(actor="bigint"),  # type: ignore[arg-type]  # the point
        "AuditColumns: actor='bigint': write one of Text, BigInteger, Uuid",
    ),
    (
        lambda: AuditColumns(actor=int),  # type: ignore[arg-type]  # the point
        "AuditColumns: actor=int: write one of Text, BigInteger, Uuid",
    ),
    (
        lambda: AuditColumns(references="users"),
        'AuditColumns: references="users": write table and column, such as "users.id"',
    ),
    (
        lambda: AuditColumns(existing="later"),  # type: ignore[arg-type]  # the point
        'AuditColumns: existing=\'later\': write one of "now", "null"',
    ),
    (
        lambda: AuditColumns(existing="nul"),  # type: ignore[arg-type]  # the point
        'existing=\'nul\': write one of "now", "null" (did you mean "null"?)',
    ),
    (lambda: ColumnOptions("varchar"), 'actor=\'varchar\': write one of "text", "bigint", "uuid"'),
]


@pytest.mark.parametrize(("declare", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_a_bad_declaration_says_what_to_write(declare: Any, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare()
    assert message in str(caught.value)


def test_a_trail_survives_the_comment_and_ignores_what_a_newer_release_added() -> None:
    trail = Trail(("iban",), mask=("email",), require_actor=True, retain=3, owner="keeper")
    assert Trail.from_json(trail.to_json() | {"newer": 1}) == trail


def test_the_order_of_names_is_of_no_account() -> None:
    assert Trail(("b", "a"), readers=("y", "x")) == Trail(("a", "b"), readers=("x", "y"))


@pytest.mark.parametrize(
    "spec",
    [
        AuditTrail(),
        AuditTrail(exclude=["a"], schema="kept", history="h", owner="o", baseline=False),
        AuditColumns(),
        AuditColumns(actor=Uuid, references="users.id", soft_delete=True, existing="null"),
    ],
)
def test_repr_is_the_declaration(spec: Any) -> None:
    again = eval(repr(spec))  # noqa: S307  # the property under test
    assert repr(again) == repr(spec)
    known = {"trail", "options", "schema", "history", "baseline", "existing"}
    for name in known & {*vars(spec)}:
        assert getattr(again, name) == getattr(spec, name)


def test_importing_the_declarations_loads_neither_alembic_nor_click_nor_a_driver() -> None:
    code = (
        "import sys; from alembic_enterprise import AuditColumns, AuditMixin, AuditTrail; "
        "print([name for name in ('alembic', 'click', 'psycopg') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_class_with_audit_columns_does_not_load_the_dialect() -> None:
    """That is an import of its own, which takes a tenth of the time of all others."""
    code = (
        "import sys; from alembic_enterprise import AuditMixin; "
        "from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column\n"
        "class Base(DeclarativeBase): ...\n"
        "class Order(AuditMixin, Base):\n"
        "    __tablename__ = 'orders'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
        "print('sqlalchemy.dialects.postgresql' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
