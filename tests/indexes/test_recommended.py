"""Which indexes models are given, under which names, and what a declaration cannot say."""

from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    and_,
    func,
    nulls_last,
    text,
)

from alembic_enterprise import HashShards, RangePartitions, RecommendedIndexes
from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.indexes import recommend
from alembic_enterprise.indexes.model import RULE_IDS, declared_on

LONG = "a" * 40


def metadata(**declared: Any) -> MetaData:
    """With the tables `customers` and `places`, to refer to, and the declaration."""
    found = MetaData()
    Table("customers", found, Column("id", BigInteger, primary_key=True))
    numbers = [Column(name, Integer, primary_key=True) for name in ("x", "y")]
    Table("places", found, *numbers)
    RecommendedIndexes(found, **declared)
    return found


def orders(found: MetaData, *items: Any, schema: str | None = None) -> Table:
    """A table `orders (id, at, customer_id, x, y)`; `customer_id` refers to `customers`."""
    return Table(
        "orders",
        found,
        Column("id", BigInteger, primary_key=True),
        Column("at", DateTime, primary_key=True),
        Column("customer_id", BigInteger, ForeignKey("customers.id")),
        Column("x", Integer),
        Column("y", Integer),
        *items,
        schema=schema,
    )


def added(found: MetaData) -> list[tuple[str, list[str]]]:
    """Names and columns of the indexes that the models are given."""
    indexes = recommend.add(found)
    assert recommend.add(found) == []
    return [(str(index.name), [column.name for column in index.columns]) for index in indexes]


def test_the_columns_of_a_foreign_key_are_indexed() -> None:
    found = metadata()
    orders(found, schema="sales")
    assert added(found) == [("ix_sales_orders_customer_id", ["customer_id"])]


def test_models_without_a_declaration_stay_as_they_are() -> None:
    found = MetaData()
    Table("customers", found, Column("id", BigInteger, primary_key=True))
    table = orders(found)
    assert added(found) == []
    assert table.indexes == set()


@pytest.mark.parametrize(
    "index",
    [
        Index("i", "customer_id"),
        Index("i", "customer_id", "at"),
        Index("i", text("customer_id DESC"), "at"),
        Index("i", text('"customer_id" NULLS FIRST')),
        Index("i", "customer_id", unique=True),
        Index("i", "customer_id", postgresql_using="hash"),
        Index("i", "customer_id", postgresql_include=["x"]),
        Index("i", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
        UniqueConstraint("customer_id", "at"),
    ],
)
def test_an_index_that_serves_a_foreign_key_is_enough(index: Any) -> None:
    found = metadata()
    orders(found, index)
    assert added(found) == []


@pytest.mark.parametrize(
    "index",
    [
        Index("i", "at", "customer_id"),
        Index("i", text("lower(customer_id::text)")),
        Index("i", text("abs(x)"), "customer_id"),
        Index("i", "customer_id", postgresql_using="brin"),
        Index("i", "x", postgresql_include=["customer_id"]),
        Index("i", "customer_id", postgresql_where=text("x IS NOT NULL")),
        Index("i", "customer_id", postgresql_where=text("customer_id IS NOT NULL AND x > 1")),
        Index("i", "customer_id", postgresql_where=text("customer_id > 7")),
    ],
)
def test_an_index_that_does_not_serve_it_is_not(index: Any) -> None:
    found = metadata()
    orders(found, index)
    assert added(found) == [("ix_orders_customer_id", ["customer_id"])]


def test_expressions_are_read_like_text() -> None:
    found = metadata()
    table = orders(found, Column("code", Text, ForeignKey("customers.code")))
    Index("i", nulls_last(table.c.customer_id.desc()))
    Index("c", table.c.code.collate("C"))
    Index("l", func.lower(table.c.code))
    assert added(found) == [("ix_orders_code", ["code"])]


def test_a_predicate_on_the_columns_of_the_key_leaves_no_row_out() -> None:
    found = metadata()
    table = orders(found, ForeignKeyConstraint(["x", "y"], ["places.x", "places.y"]))
    both = and_(table.c.x.is_not(None), table.c.y.is_not(None))
    Index("i", table.c.y, table.c.x, postgresql_where=both)
    Index("j", table.c.customer_id)
    assert added(found) == []


def test_one_index_serves_several_foreign_keys() -> None:
    """The longest key comes first, whatever the order of the columns in another."""
    found = metadata(skip={"orders.customer_id": "is never deleted"})
    keys = [
        ForeignKeyConstraint(["x"], ["customers.id"]),
        ForeignKeyConstraint(["y", "x"], ["places.y", "places.x"]),
        ForeignKeyConstraint(["x", "y"], ["places.x", "places.y"]),
    ]
    orders(found, *keys)
    assert added(found) == [("ix_orders_x", ["x", "y"])]


def test_a_column_that_is_skipped_gets_no_index() -> None:
    found = metadata(skip={"sales.orders.y": "three values only"})
    orders(found, ForeignKeyConstraint(["x", "y"], ["places.x", "places.y"]), schema="sales")
    assert added(found) == [("ix_sales_orders_customer_id", ["customer_id"])]


def test_a_skipped_column_leaves_no_other_foreign_key_without_index() -> None:
    """The index on both columns would serve the key of one, and is not made."""
    found = metadata(skip={"orders.y": "three values only"})
    keys = [
        ForeignKeyConstraint(["x", "y"], ["places.x", "places.y"]),
        ForeignKeyConstraint(["x"], ["customers.id"]),
    ]
    orders(found, *keys)
    assert added(found) == [
        ("ix_orders_customer_id", ["customer_id"]),
        ("ix_orders_x", ["x"]),
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("orders.region", r'"orders\.region".*: there is no such column; orders has "id", "at"'),
        ("nowhere.x", r'"nowhere\.x".*there is no such column; write the table before it'),
        ("x", r'"x".*there is no such column; write the table before it'),
    ],
)
def test_a_skipped_column_that_is_not_there_is_named(name: str, told: str) -> None:
    found = metadata(skip={name: "three values only"})
    orders(found)
    with pytest.raises(DeclarationError, match=told):
        recommend.add(found)


def test_the_time_key_gets_a_brin_index_when_asked() -> None:
    found = metadata(rules=RULE_IDS, skip={"orders.customer_id": "is never deleted"})
    orders(found, HashShards("id", count=2), RangePartitions("at", every="month"))
    [index] = recommend.add(found)
    assert (index.name, index.kwargs["postgresql_using"]) == ("ix_orders_at", "brin")


@pytest.mark.parametrize(
    "index",
    [
        Index("i", "at"),
        Index("i", "at", "x"),
        Index("i", "x", "at", postgresql_using="brin"),
    ],
)
def test_a_time_key_that_is_indexed_gets_none(index: Index) -> None:
    found = metadata(rules=["brin-time-key"])
    orders(found, index, RangePartitions("at", every="month"))
    assert added(found) == []


def test_a_time_key_with_an_index_on_some_rows_gets_one() -> None:
    found = metadata(rules=["brin-time-key"])
    some = Index("i", "at", postgresql_using="brin", postgresql_where=text("x > 1"))
    orders(found, some, RangePartitions("at", every="month"))
    assert added(found) == [("ix_orders_at", ["at"])]


def test_names_follow_the_convention() -> None:
    found = MetaData(naming_convention={"ix": "idx__%(table_name)s__%(column_0_N_name)s"})
    Table("customers", found, Column("id", BigInteger, primary_key=True))
    RecommendedIndexes(found)
    orders(found)
    assert added(found) == [("idx__orders__customer_id", ["customer_id"])]


def test_a_convention_that_has_no_word_for_indexes() -> None:
    found = MetaData(naming_convention={"pk": "pk_%(table_name)s"})
    Table("customers", found, Column("id", BigInteger, primary_key=True))
    RecommendedIndexes(found)
    orders(found)
    assert added(found) == [("ix_orders_customer_id", ["customer_id"])]


def test_a_convention_that_wants_a_word_for_each() -> None:
    found = MetaData(naming_convention={"ix": "ix_%(constraint_name)s"})
    Table("customers", found, Column("id", BigInteger, primary_key=True))
    RecommendedIndexes(found)
    orders(found)
    assert added(found) == [("ix_orders_customer_id", ["customer_id"])]


def test_names_that_are_taken_or_too_long_end_in_a_mark_of_their_own() -> None:
    """A name is measured in bytes, as PostgreSQL cuts it, and cut between characters."""
    found = metadata()
    keys = ["ж" * 30, LONG, LONG + "b"]
    columns = [Column(name, BigInteger, ForeignKey("customers.id")) for name in keys]
    orders(found, *columns, Index("ix_orders_customer_id", "x"))
    Table(LONG, found, Column("id", BigInteger, ForeignKey("customers.id")))
    names = [name for name, _ in added(found)]
    assert len({*names}) == 5
    assert all(len(name.encode()) <= 63 for name in names)
    assert f"ix_orders_{LONG}" in names
    [cyrillic] = [name for name in names if "ж" in name]
    assert cyrillic.startswith("ix_orders_жж")
    [other] = [name for name in names if name.startswith("ix_orders_customer_id")]
    assert len(other) == len("ix_orders_customer_id_") + 8


def test_the_order_of_declarations_does_not_matter() -> None:
    """Autogenerate is a new process each time, and a set has another order there."""
    keys = [
        ForeignKeyConstraint(["x", "y"], ["places.x", "places.y"]),
        ForeignKeyConstraint(["x", "id"], ["places.x", "places.y"]),
        ForeignKeyConstraint(["x"], ["customers.id"]),
    ]
    found: list[list[tuple[str, list[str]]]] = []
    for order in (keys, keys[::-1]):
        models = metadata()
        orders(models, *(ForeignKeyConstraint(key.column_keys, _targets(key)) for key in order))
        found.append(added(models))
    assert found[0] == found[1]
    assert [columns for _, columns in found[0]] == [["x", "id"], ["x", "y"], ["customer_id"]]


def _targets(key: ForeignKeyConstraint) -> list[str]:
    return [element.target_fullname for element in key.elements]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"rules": ["unused-index"]}, r'models alone show "foreign-key-without-index"'),
        ({"rules": "brin-time-key"}, r'write rules=\["brin-time-key"\]'),
        ({"skip": ["orders.region"]}, r'write the reason of each column: skip={"orders.region"'),
        ({"skip": {"orders.region": " "}}, r"write the reason of each column"),
    ],
)
def test_what_cannot_be_used_fails_at_import(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        RecommendedIndexes(MetaData(), **arguments)


def test_it_takes_the_metadata_and_not_the_base() -> None:
    with pytest.raises(DeclarationError, match=r"write RecommendedIndexes\(Base\.metadata\)"):
        RecommendedIndexes(type("Base", (), {}))  # type: ignore[arg-type]  # the mistake


def test_there_is_one_for_a_metadata() -> None:
    found = MetaData()
    first = RecommendedIndexes(found)
    RecommendedIndexes(found)  # the same again, as when a module is imported twice
    assert declared_on(found) is first
    with pytest.raises(DeclarationError, match="two RecommendedIndexes on one MetaData"):
        RecommendedIndexes(found, skip={"orders.x": "unused"})
