"""Indexes of models as operations, and operations as lines of models."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Index, MetaData, Table
from sqlalchemy.dialects import postgresql

from alembic_enterprise.errors import OperationError
from alembic_enterprise.indexes.operations import CreateIndexOnline, DropIndexOnline, Expression


def test_an_index_of_a_model_gives_the_operation_and_the_line() -> None:
    columns = [sa.Column(name, sa.Text) for name in ("email", "tags", "note")]
    columns.append(sa.Column("customer", sa.Text, key="buyer"))
    orders = Table("orders", MetaData(schema="sales"), *columns)
    index = Index(
        "ix_orders",
        orders.c.buyer,
        sa.text("lower(email) DESC"),
        orders.c.note.desc(),
        sa.func.coalesce(orders.c.note, "50 %").label("told"),
        unique=True,
        postgresql_include=["tags"],
        postgresql_where=orders.c.note != "x",
        postgresql_ops={"buyer": "text_pattern_ops", "told": "text_ops"},
        postgresql_with={"fillfactor": 70},
    )
    operation = CreateIndexOnline.of(index)
    assert operation == CreateIndexOnline(
        "ix_orders",
        "orders",
        [
            "customer",
            Expression("lower(email) DESC"),
            Expression("note DESC"),
            Expression("coalesce(note, '50 %') text_ops"),
        ],
        schema="sales",
        unique=True,
        include=["tags"],
        where="note != 'x'",
        with_={"fillfactor": 70},
        operator_classes={"customer": "text_pattern_ops"},
    )
    assert operation.model_line() == (
        'Index("ix_orders", "customer", text("lower(email) DESC"), text("note DESC"), '
        'text("coalesce(note, \'50 %\') text_ops"), unique=True, postgresql_include=["tags"], '
        'postgresql_where=text("note != \'x\'"), postgresql_with={"fillfactor": 70}, '
        'postgresql_ops={"customer": "text_pattern_ops"})'
    )


ELEMENTS: list[tuple[Any, str]] = [
    (sa.func.lower(sa.column("note")), Expression("lower(note)")),
    (sa.literal_column("lower(note)"), Expression("lower(note)")),
    (sa.column("Note"), "Note"),
    (sa.desc("note"), Expression("note DESC")),
    (sa.column("Note").desc().nulls_last(), Expression('"Note" DESC NULLS LAST')),
    (sa.column("note", sa.Text) + ":x %", Expression("(note || ':x %')")),
]


@pytest.mark.parametrize(("element", "written"), ELEMENTS, ids=str)
def test_what_alembic_takes_as_an_element(element: Any, written: str) -> None:
    operation = CreateIndexOnline("ix", "t", [element])
    assert operation == CreateIndexOnline("ix", "t", [written])
    index = Index("ix", element)
    Table("t", MetaData(), sa.Column("Note", sa.Text), index)
    assert CreateIndexOnline.of(index).columns == operation.columns


CONDITIONS: list[tuple[Any, str]] = [
    (sa.column("Note") != "x", "\"Note\" != 'x'"),
    (sa.literal_column("note != 'x'"), "note != 'x'"),
    (sa.column("Note"), '"Note"'),
]


@pytest.mark.parametrize(("where", "written"), CONDITIONS, ids=str)
def test_a_condition_of_sqlalchemy(where: Any, written: str) -> None:
    assert CreateIndexOnline("ix", "t", ["a"], where=where).where == written


def test_a_column_is_no_expression() -> None:
    assert Expression("a") != "a"
    assert CreateIndexOnline("ix", "t", ["a"]) != CreateIndexOnline("ix", "t", [sa.text("a")])  # type: ignore[list-item]  # taken as a script gives it


@pytest.mark.parametrize(
    "written",
    [
        r"kind = 'a\:b'",
        r"kind = '\:b c\:'",
        "kind = 'a:b' AND id::text = '1'",
        r"id\:\:text = E'\\:b \n'",
    ],
)
def test_a_colon_is_escaped_as_sqlalchemy_has_it(written: str) -> None:
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy's
    compiled = str(sa.text(written).compile(dialect=dialect))
    operation = CreateIndexOnline("ix", "t", [sa.text(written)], where=sa.text(written))  # type: ignore[list-item, arg-type]  # as above
    assert operation == CreateIndexOnline("ix", "t", [Expression(compiled)], where=compiled)
    again = eval(repr(operation.columns[0]), {"sa": sa})  # noqa: S307  # as a script has it
    assert str(again.compile(dialect=dialect)) == compiled


def test_what_looks_like_a_parameter_is_none() -> None:
    """A script has it as it was written; what we write is the same to SQLAlchemy."""
    element = Expression("note <> ':x'")
    assert Expression.of(sa.text("note <> ':x'")) == Expression.of(eval(repr(element))) == element  # noqa: S307  # as above
    assert repr(element) == r"""sa.text("note <> '\\:x'")"""


def test_arguments_that_cannot_be_used() -> None:
    with pytest.raises(OperationError, match=r"^create_index_online\('ix'\): give the columns"):
        CreateIndexOnline("ix", "orders")
    told = r"^create_index_online\('ix'\): 3 is neither a column nor SQL: .* sa.text\("
    with pytest.raises(OperationError, match=told):
        CreateIndexOnline("ix", "orders", ["id", 3])  # type: ignore[list-item]  # what is refused
    with pytest.raises(OperationError, match=r"^create_index_online\('ix'\): None is neither a"):
        CreateIndexOnline("ix", "orders", [None])  # type: ignore[list-item]  # as above
    with pytest.raises(OperationError, match=r"has 64 bytes: choose one of at most 63$"):
        DropIndexOnline("ö" * 32, "orders")
    with pytest.raises(OperationError, match="give the columns"):
        DropIndexOnline("ix", "orders").reverse()
    with pytest.raises(OperationError, match="has no name or no table"):
        CreateIndexOnline.of(Index(None, "customer"))
