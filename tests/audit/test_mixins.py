"""Audit columns of mapped classes, filled by the database, and queries without deleted rows."""

import asyncio
from datetime import datetime
from typing import Any, assert_type
from uuid import UUID

import laws
import pytest
from autogenerate import run_sql
from sqlalchemy import (
    BigInteger,
    Engine,
    ForeignKey,
    Index,
    Text,
    Uuid,
    delete,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    mapped_column,
    relationship,
    selectinload,
    sessionmaker,
)

from alembic_enterprise import (
    AuditColumns,
    AuditMixin,
    AuditTrail,
    LineageMixin,
    SoftDeleteMixin,
    hide_deleted,
    unique_undeleted,
    without_deleted,
)
from alembic_enterprise.audit.column_model import columns_on
from alembic_enterprise.audit.model import trail_on
from alembic_enterprise.audit.operations.columns import AddAuditColumns
from alembic_enterprise.errors import DeclarationError


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class Customer(SoftDeleteMixin, Base):
    __tablename__ = "customers"
    __table_args__ = (unique_undeleted("ux_customers_name", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", order_by="Order.id")


class Order(SoftDeleteMixin[int], LineageMixin[int], Base):
    __tablename__ = "orders"
    __table_args__ = (AuditTrail(mask=["note"]), Index("ix_orders_created", "created_at"))
    audit_columns = AuditColumns(actor=BigInteger, references="people.id", existing="null")
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))
    note: Mapped[str | None] = mapped_column(Text)
    customer: Mapped[Customer | None] = relationship(back_populates="orders")


class Payment(AuditMixin[UUID], Base):
    __tablename__ = "payments"
    audit_columns = AuditColumns(actor=Uuid())
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {  # noqa: RUF012  # as everybody writes it
        "polymorphic_on": "kind",
        "polymorphic_identity": "cash",
        "eager_defaults": True,
    }


class CardPayment(Payment):
    __mapper_args__ = {"polymorphic_identity": "card"}  # noqa: RUF012


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions on a database with the tables and their triggers; person 1 and 2 are there."""
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        for table, soft_delete in (("customers", True), ("payments", False)):
            laws.apply(connection, [AddAuditColumns(table, soft_delete=soft_delete)])
        laws.apply(connection, [AddAuditColumns("orders", soft_delete=True, lineage=True)])
        run_sql(connection, "INSERT INTO people VALUES (1), (2)")
    return sessionmaker(engine, expire_on_commit=False)


def act(session: Session, actor: object, context: str = "") -> None:
    """Say who acts in the session's transaction."""
    settings = {"actor": str(actor), "context": context}
    for name, value in settings.items():
        session.execute(select(func.set_config(f"alembic_enterprise.{name}", value, True)))


def test_the_columns_are_those_of_the_declaration() -> None:
    orders, customers = Base.metadata.tables["orders"], Base.metadata.tables["customers"]
    assert {*orders.c.keys()} == {
        *("id", "customer_id", "note", "created_at", "created_by", "updated_at", "updated_by"),
        *("deleted_at", "deleted_by", "data_lineage"),
    }
    assert orders.c.created_at.nullable
    assert not customers.c.created_at.nullable
    assert isinstance(orders.c.deleted_by.type, BigInteger)
    assert isinstance(customers.c.deleted_by.type, Text)
    assert {key.target_fullname for key in orders.c.updated_by.foreign_keys} == {"people.id"}


def test_the_declaration_tells_what_the_class_has() -> None:
    found = columns_on(Base.metadata.tables["orders"])
    assert repr(found) == (
        "AuditColumns(actor=BigInteger, references='people.id', soft_delete=True, lineage=True, "
        "existing='null')"
    )
    assert repr(columns_on(Base.metadata.tables["customers"])) == "AuditColumns(soft_delete=True)"
    assert columns_on(Base.metadata.tables["people"]) is None
    assert trail_on(Base.metadata.tables["orders"]) is not None


def test_a_class_in_the_table_of_another_has_its_columns() -> None:
    assert inspect(CardPayment).columns["created_by"].table is Base.metadata.tables["payments"]


def test_a_type_checker_knows_the_actor() -> None:
    def use(order: Order, customer: Customer, payment: CardPayment) -> None:
        assert_type(order.created_at, datetime)
        assert_type(order.created_by, int | None)
        assert_type(order.deleted_at, datetime | None)
        assert_type(order.data_lineage, dict[str, Any] | None)
        assert_type(customer.updated_by, str | None)
        assert_type(payment.updated_by, UUID | None)
        order.deleted_at = order.created_at

    assert use is not None


@pytest.mark.parametrize(
    ("declared", "argument", "mixin"),
    [
        (AuditColumns(soft_delete=True), "soft_delete", "SoftDeleteMixin"),
        (AuditColumns(lineage=True), "lineage", "LineageMixin"),
    ],
)
def test_columns_by_choice_need_their_mixin(
    declared: AuditColumns, argument: str, mixin: str
) -> None:
    message = f"Bad: audit_columns says {argument}=True, for which the class needs {mixin}: write "
    with pytest.raises(DeclarationError, match=message + rf"class Bad\({mixin}, \.\.\.\)"):

        class Bad(AuditMixin, Base):  # pyright: ignore[reportUnusedClass]  # it cannot be made
            __tablename__ = "bad"
            audit_columns = declared
            id: Mapped[int] = mapped_column(primary_key=True)


def test_a_class_has_no_audit_column_of_its_own() -> None:
    class Base(DeclarativeBase):
        pass

    with pytest.raises(DeclarationError, match='Order: its mixin brings "created_at": remove what'):

        class Order(AuditMixin[str], Base):  # pyright: ignore[reportUnusedClass]  # never made
            __tablename__ = "orders"
            id: Mapped[int] = mapped_column(primary_key=True)
            created_at: Mapped[datetime]


def test_objects_have_what_the_database_wrote(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        act(session, 1, '{"source": "shop"}')
        session.add(order := Order(note="new"))
    assert (order.created_by, order.data_lineage) == (1, {"source": "shop"})
    created = order.created_at
    with sessions.begin() as session:
        act(session, 2)
        session.add(order)
        order.note = "changed"
    assert (order.created_by, order.updated_by, order.created_at) == (1, 2, created)
    assert order.updated_at > created


def test_an_asynchronous_session_has_nothing_to_load_later(
    sessions: sessionmaker[Session], engine: Engine
) -> None:
    assert sessions is not None

    async def change() -> None:
        asynchronous = create_async_engine(engine.url)
        async with async_sessionmaker(asynchronous, expire_on_commit=False)() as session:
            customer = Customer(name="new")
            payment = Payment(kind="cash")
            session.add_all([customer, payment])
            await session.commit()
            customer.name, payment.kind = "changed", "card"
            await session.commit()
            for item in (customer, payment):
                assert item.updated_at > item.created_at
        await asynchronous.dispose()

    asyncio.run(change())


@pytest.fixture
def shop(sessions: sessionmaker[Session]) -> sessionmaker[Session]:
    """Customers "kept" and "gone", of which the latter is deleted; "kept" has a deleted order."""
    with sessions.begin() as session:
        session.add(Customer(name="gone", deleted_at=func.now()))
        kept = Customer(name="kept", orders=[Order(note="open"), Order(note="gone")])
        session.add(kept)
        session.flush()
        kept.orders[1].deleted_at = kept.created_at
    return sessions


def test_deleted_rows_are_hidden_by_the_statement(shop: sessionmaker[Session]) -> None:
    names = select(Customer.name).order_by(Customer.name)
    other = aliased(Customer)
    joined = select(other.name, Order.note).join(other.orders)
    with shop() as session:
        assert session.scalars(names).all() == ["gone", "kept"]
        assert session.scalars(names.options(without_deleted())).all() == ["kept"]
        assert session.execute(joined.options(without_deleted())).all() == [("kept", "open")]


def test_deleted_rows_are_hidden_in_all_sessions(shop: sessionmaker[Session]) -> None:
    hide_deleted(shop)
    with shop() as session:
        [customer] = session.scalars(select(Customer))
        assert [order.note for order in customer.orders] == ["open"]
        assert session.scalar(select(func.count()).select_from(Order)) == 1
        assert session.scalars(select(Payment)).all() == []
        gone = session.scalars(
            select(Order).where(Order.note == "gone").execution_options(include_deleted=True)
        ).one()
        session.refresh(gone)
        assert gone.deleted_at is not None


def test_a_statement_that_includes_the_deleted_loads_their_relations(
    shop: sessionmaker[Session],
) -> None:
    hide_deleted(shop)
    everyone = select(Customer).order_by(Customer.name).execution_options(include_deleted=True)
    with shop() as session:
        gone, kept = session.scalars(everyone.options(selectinload(Customer.orders)))
        assert gone.name == "gone"
        assert [order.note for order in kept.orders] == ["open", "gone"]
        session.expire(kept)
        assert [order.note for order in kept.orders] == ["open", "gone"]
    with shop() as session:
        gone, kept = session.scalars(everyone)
        assert [order.note for order in kept.orders] == ["open", "gone"]


def test_relations_of_objects_that_no_statement_loaded_hide_the_deleted(
    shop: sessionmaker[Session],
) -> None:
    hide_deleted(shop)
    with shop() as session:
        number = session.scalars(select(Customer.id)).one()
    with shop() as session:
        merged = session.merge(Customer(id=number))
        assert [order.note for order in merged.orders] == ["open"]
    with shop() as session:
        added = Customer(name="new")
        session.add(added)
        session.flush()
        gone = Order(customer_id=added.id, deleted_at=func.now())
        session.add_all([gone, Order(customer_id=added.id, note="of the new one")])
        session.commit()
        assert [order.note for order in added.orders] == ["of the new one"]


def test_updates_and_deletes_say_themselves_what_they_mean(shop: sessionmaker[Session]) -> None:
    hide_deleted(shop)
    with shop.begin() as session:
        session.execute(update(Order).values(note="touched"))
        session.execute(delete(Customer).where(Customer.name == "gone"))
    with shop() as session:
        everything = {"include_deleted": True}
        notes = session.scalars(select(Order.note), execution_options=everything)
        assert notes.all() == ["touched", "touched"]
        names = session.scalars(select(Customer.name), execution_options=everything)
        assert names.all() == ["kept"]


def test_an_asynchronous_session_hides_deleted_rows(
    shop: sessionmaker[Session], engine: Engine
) -> None:
    plain = sessionmaker[Session]()
    hide_deleted(plain)
    assert shop is not None

    async def names() -> list[str]:
        asynchronous = create_async_engine(engine.url)
        sessions = async_sessionmaker(asynchronous, sync_session_class=plain)
        async with sessions() as session:
            found = await session.scalars(select(Customer.name))
        await asynchronous.dispose()
        return list(found)

    assert asyncio.run(names()) == ["kept"]


def test_a_name_is_free_again_when_its_row_is_deleted(shop: sessionmaker[Session]) -> None:
    with shop.begin() as session:
        session.add(Customer(name="gone"))
    with pytest.raises(IntegrityError, match="ux_customers_name"), shop.begin() as session:
        session.add(Customer(name="kept"))
