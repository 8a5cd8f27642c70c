"""Autogenerate creates recommended indexes once, and has nothing to do afterwards."""

from dataclasses import dataclass
from typing import Any

import pytest
from alembic.util import CommandError
from autogenerate import events, generate, pretend, run_sql, upgrade
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    inspect,
    text,
)

from alembic_enterprise import AuditColumns, HashShards, RangePartitions, RecommendedIndexes
from alembic_enterprise.indexes import catalog
from alembic_enterprise.indexes.model import FOREIGN_KEYS, RULE_IDS
from alembic_enterprise.indexes.report import waived
from alembic_enterprise.indexes.rules.foreign_key_without_index import foreign_key_without_index

SCHEMA = "Mixed Case"
NAMES = ["orders", 'we"ird', "заказы" * 3, "a_table_with_a_name_that_leaves_little_room"]
COLUMNS = ["a", "b", 'we"ird', "длинное_имя_столбца"]
CONVENTIONS: list[dict[str, str] | None] = [
    None,
    {"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s"},
    {"pk": "pk_%(table_name)s"},
]


def shop(**declared: Any) -> MetaData:
    """Customers, and orders that refer to them, with the declaration."""
    metadata = MetaData()
    Table("customers", metadata, Column("id", BigInteger, primary_key=True))
    events(metadata, "orders", Column("customer_id", BigInteger, ForeignKey("customers.id")))
    RecommendedIndexes(metadata, **declared)
    return metadata


@pytest.fixture(autouse=True)
def november(connection: Connection) -> None:
    """Few partitions are needed, and always the same."""
    pretend(connection, "2026-11-15 12:00+00")


def test_a_partitioned_table_gets_its_indexes_with_its_partitions(connection: Connection) -> None:
    script = upgrade(connection, shop(rules=RULE_IDS))
    assert script.calls == [
        "create_table",
        "create_table",
        "create_index",
        "create_index",
        "create_range_partitions",
        "set_partition_policy",
    ]
    assert "op.create_index(op.f('ix_orders_at'), 'orders', ['at']" in script.upgrade
    assert "postgresql_using='brin', postgresql_with={'autosummarize': 'on'}" in script.upgrade
    indexes = {item["name"] for item in inspect(connection).get_indexes("orders_y2026_m11")}
    assert len(indexes) == 2
    assert generate(connection, shop(rules=RULE_IDS)).calls == []


def test_a_declaration_that_is_taken_away_takes_its_indexes_along(connection: Connection) -> None:
    upgrade(connection, shop())
    without = shop(rules=[])
    assert upgrade(connection, without).calls == ["drop_index"]
    assert generate(connection, without).calls == []


def test_an_index_of_the_models_takes_the_place_of_ours(connection: Connection) -> None:
    upgrade(connection, shop())
    metadata = shop()
    Index("by_customer", metadata.tables["orders"].c.customer_id)
    assert sorted(upgrade(connection, metadata).calls) == ["create_index", "drop_index"]
    assert generate(connection, metadata).calls == []


def test_a_skipped_column_that_is_not_there_stops_autogenerate(connection: Connection) -> None:
    metadata = shop(skip={"orders.region": "three values only"})
    with pytest.raises(CommandError, match=r'"orders\.region".*no such column; orders has'):
        generate(connection, metadata)


def test_each_metadata_of_a_project_has_its_own_declaration(connection: Connection) -> None:
    other = MetaData()
    Table("places", other, Column("id", BigInteger, primary_key=True))
    Table("stores", other, Column("place_id", BigInteger, ForeignKey("places.id")))
    both = [shop(skip={"orders.customer_id": "customers are never deleted"}), other]
    assert "create_index" not in generate(connection, both).calls  # type: ignore[arg-type]  # Alembic takes several
    RecommendedIndexes(other)
    assert generate(connection, both).calls.count("create_index") == 1  # type: ignore[arg-type]  # the same


def test_what_stays_on_the_metadata_does_no_harm(connection: Connection) -> None:
    metadata = shop()
    assert "create_index" in upgrade(connection, metadata).calls
    assert [item.name for item in metadata.tables["orders"].indexes] == ["ix_orders_customer_id"]
    assert generate(connection, metadata).calls == []
    assert generate(connection, shop()).calls == []


@dataclass(frozen=True)
class Model:
    """A random table: foreign keys as names of columns, indexes with what makes them special."""

    name: str
    schema: str | None
    kind: str
    references: tuple[tuple[str, ...], ...]
    indexes: tuple[tuple[tuple[str, ...], dict[str, Any]], ...]


def some_columns(most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=most, unique=True).map(tuple)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"unique": False, "postgresql_include": ["c"]},
    {"postgresql_where": text("a IS NOT NULL")},
    {"postgresql_where": text("a > 7")},
    {"postgresql_using": "brin"},
]


@st.composite
def some_models(draw: st.DrawFn) -> tuple[Model, ...]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    kinds = st.sampled_from(["plain", "by time", "in shards", "both"])
    indexes = st.tuples(some_columns(3), st.sampled_from(OPTIONS))
    return tuple(
        Model(
            name,
            draw(st.sampled_from([None, SCHEMA])),
            draw(kinds),
            tuple(draw(st.lists(some_columns(2), max_size=4))),
            tuple(draw(st.lists(indexes, max_size=3))),
        )
        for name in names
    )


def built(models: tuple[Model, ...], convention: dict[str, str] | None) -> MetaData:
    """The tables, made anew as each run of autogenerate does, without a declaration."""
    metadata = MetaData(naming_convention=convention)
    Table("one", metadata, Column("x", Integer, primary_key=True))
    keys = [Column(name, Integer, primary_key=True) for name in ("x", "y")]
    Table("two", metadata, *keys, schema=SCHEMA)
    for model in models:
        _build(metadata, model)
    return metadata


def _build(metadata: MetaData, model: Model) -> None:
    partitions: dict[str, list[Any]] = {
        "plain": [],
        "by time": [RangePartitions("at", every="month", ahead=0)],
        "in shards": [HashShards("id", count=2)],
        "both": [HashShards("id", count=2), RangePartitions("at", every="month", ahead=0)],
    }
    targets = {1: ["one.x"], 2: [f"{SCHEMA}.two.x", f"{SCHEMA}.two.y"]}
    mark = NAMES.index(model.name)
    Table(
        model.name,
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
        *(Column(name, Integer) for name in [*COLUMNS, "c"]),
        *(
            ForeignKeyConstraint(columns, targets[len(columns)], name=f"fk_{mark}_{number}")
            for number, columns in enumerate(model.references)
        ),
        *(
            Index(f"i_{mark}_{number}", *columns, **options)
            for number, (columns, options) in enumerate(model.indexes)
        ),
        *partitions[model.kind],
        schema=model.schema,
    )


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    some_models(),
    st.sampled_from(CONVENTIONS),
    st.sets(st.sampled_from(RULE_IDS)),
    st.booleans(),
    st.booleans(),
)
def test_the_second_autogenerate_is_empty(
    connection: Connection,
    models: tuple[Model, ...],
    convention: dict[str, str] | None,
    rules: set[str],
    skips: bool,
    exists: bool,
) -> None:
    """Also when the tables are there before the declaration is.

    The rule that looks at the live database then finds what is skipped, and nothing else.
    """
    run_sql(
        connection,
        "DROP SCHEMA public CASCADE",
        f'DROP SCHEMA IF EXISTS "{SCHEMA}" CASCADE',
        "CREATE SCHEMA public",
        f'CREATE SCHEMA "{SCHEMA}"',
    )
    options = {"include_schemas": True}

    skip = {f"{_key(models[0])}.a": "three values only"} if skips else {}

    def declared() -> MetaData:
        metadata = built(models, convention)
        RecommendedIndexes(metadata, rules=sorted(rules), skip=skip)
        return metadata

    if exists:
        upgrade(connection, built(models, convention), **options)
    upgrade(connection, declared(), **options)
    assert generate(connection, declared(), **options).calls == []
    if FOREIGN_KEYS in rules:
        found = foreign_key_without_index(catalog.read(connection))
        assert [item for item in found if waived(item, skip, "public") is None] == []


def _key(model: Model) -> str:
    return model.name if model.schema is None else f"{model.schema}.{model.name}"


def test_audit_columns_that_refer_to_users_are_indexed_once(connection: Connection) -> None:
    """They come to the table by an operation of their own, before their indexes."""

    def models(*items: Any) -> MetaData:
        metadata = MetaData()
        Table("users", metadata, Column("id", BigInteger, primary_key=True))
        Table("orders", metadata, Column("id", BigInteger, primary_key=True), *items)
        return metadata

    def audited() -> MetaData:
        metadata = models(AuditColumns(actor=BigInteger, references="users.id"))
        RecommendedIndexes(metadata, skip={"orders.updated_by": "nobody looks for it"})
        return metadata

    upgrade(connection, models())
    assert upgrade(connection, audited()).calls == ["add_audit_columns", "create_index"]
    assert generate(connection, audited()).calls == []
