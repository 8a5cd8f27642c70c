"""The three laws over every shard operation, in several schemas, with names that hurt."""

from dataclasses import replace
from typing import LiteralString

import laws
import pytest
from golden_files import golden
from laws import Example
from psycopg.sql import SQL, Identifier
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table

from alembic_enterprise import HashShards
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.operations import CreateRangePartitions, DropRangePartitions
from alembic_enterprise.shards import catalog, compare
from alembic_enterprise.shards.operations import (
    OPERATIONS,
    CreateHashShards,
    DropHashShards,
    GrowHashShards,
    MergeHashShards,
    ShrinkHashShards,
    SplitHashShard,
)
from alembic_enterprise.sql import Name, text_of

NAMES = [
    ("public", "orders"),
    ("Mixed Schema", 'we"ird'),
    ("sales", "select"),
    ("public", "ö" * 27),
    ("public", "o" * 54),
    ("public", "$block$ :x %s 'quoted' \\"),
]

KEYS: list[LiteralString] = ["id, tenant", '"Tenant Name", tenant']


def table(schema: str, name: str, key: LiteralString = "tenant") -> tuple[str, ...]:
    """Statements that make a table partitioned by hash, with indexes and a foreign key to it."""
    statements = [
        SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)),
        SQL(
            'CREATE TABLE {} (id bigint, tenant integer, "Tenant Name" text,'
            ' PRIMARY KEY (id, tenant, "Tenant Name")) PARTITION BY HASH ({})'
        ).format(Identifier(schema, name), SQL(key)),
        SQL("CREATE INDEX ON {} (tenant)").format(Identifier(schema, name)),
        SQL(
            "CREATE TABLE {}.notes (id bigint, tenant integer, name text, FOREIGN KEY"
            " (id, tenant, name) REFERENCES {})"
        ).format(Identifier(schema), Identifier(schema, name)),
    ]
    return tuple(text_of(statement) for statement in statements)


def examples(schema: str, name: str, key: LiteralString = "tenant") -> list[Example]:
    """One example of every operation, and of every shape that has a path of its own."""
    setup = table(schema, name, key)
    create = CreateHashShards(name, 4, schema=schema)
    split = SplitHashShard(name, 4, 3, schema=schema)
    rows = SQL(
        "INSERT INTO {} SELECT n, n % 40, 'name ' || n FROM generate_series(1, 200) AS n"
    ).format(Identifier(schema, name))
    references = SQL("INSERT INTO {}.notes SELECT * FROM {}").format(
        Identifier(schema), Identifier(schema, name)
    )
    created = (*setup, *map(text_of, create.statements()))
    filled = (*created, text_of(rows), text_of(references))
    grown = (*filled, *map(text_of, GrowHashShards(name, 8, schema).statements()))
    cut = (*filled, *map(text_of, split.statements()))
    hole = (*setup, *map(text_of, replace(create, remainders=[0, 2]).statements()))
    return [
        Example(create, setup),
        Example(replace(create, remainders=[1, 3]), setup),
        Example(replace(create, remainders=[1, 3]), hole),
        Example(DropHashShards(name, 4, schema=schema), created),
        Example(DropHashShards(name, 4, [1, 3], schema), created),
        Example(GrowHashShards(name, 8, schema, previous=4), filled),
        Example(GrowHashShards(name, 12, schema, previous=4), filled),
        Example(ShrinkHashShards(name, 4, schema, previous=8), grown),
        Example(split, filled),
        Example(replace(split, into=3), filled),
        Example(MergeHashShards(name, 4, 3, schema=schema), cut),
    ]


SHORT_NAMES = [*(item for item in NAMES if len(item[1].encode()) <= 45), ("public", "o" * 45)]
"""Those that leave room for both suffixes."""


def nested_examples(schema: str, name: str) -> list[Example]:
    """Examples of shards that are partitioned by time."""
    setup = (
        text_of(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema))),
        text_of(
            SQL(
                "CREATE TABLE {} (tenant integer, at date, PRIMARY KEY (tenant, at))"
                " PARTITION BY HASH (tenant)"
            ).format(Identifier(schema, name))
        ),
        text_of(
            SQL(
                "CREATE TABLE {}.notes (tenant integer, at date,"
                " FOREIGN KEY (tenant, at) REFERENCES {})"
            ).format(Identifier(schema), Identifier(schema, name))
        ),
    )
    create = CreateHashShards(name, 4, schema=schema, partition_by='RANGE ("at")')
    drop = DropHashShards(name, 4, schema=schema, partition_by='RANGE ("at")')
    fill = CreateRangePartitions(name, "month", "2026-01-01", ahead=3, default=True, schema=schema)
    empty = DropRangePartitions(name, "month", "2026-01-01", ahead=3, default=True, schema=schema)
    created = (*setup, *map(text_of, create.statements()))
    filled = (*created, *map(text_of, fill.statements()))
    return [
        Example(create, setup),
        Example(replace(create, remainders=[1, 3]), setup),
        Example(drop, created),
        Example(fill, created),
        Example(replace(fill, ahead=None, stop="2026-03-01", default=False), created),
        Example(empty, filled),
        Example(replace(empty, whole_table=True), filled),
    ]


def test_every_operation_has_an_example() -> None:
    assert {type(example.operation) for example in examples("public", "orders")} == set(OPERATIONS)


@pytest.mark.parametrize(("schema", "name"), NAMES)
def test_operations_render(schema: str, name: str) -> None:
    for example in [*examples(schema, name), *nested_examples(schema, name)]:
        laws.renders(example.operation)


def test_rendered_text_is_golden() -> None:
    written = [*examples("sales", "orders"), *nested_examples("sales", "orders")]
    texts = [laws.rendered(example.operation) for example in written]
    golden("shard_operations.txt", "\n\n".join(texts) + "\n")


@pytest.mark.parametrize(("schema", "name"), NAMES)
def test_operations_reverse(connection: Connection, schema: str, name: str) -> None:
    laws.all_reverse(connection, examples(schema, name))


@pytest.mark.parametrize(("schema", "name"), SHORT_NAMES)
def test_operations_on_two_levels_reverse(connection: Connection, schema: str, name: str) -> None:
    laws.all_reverse(connection, nested_examples(schema, name))


@pytest.mark.parametrize("key", KEYS)
def test_operations_reverse_with_keys_of_several_columns(
    connection: Connection, key: LiteralString
) -> None:
    laws.all_reverse(connection, examples("public", "orders", key)[5:])


@pytest.mark.parametrize(("schema", "name"), NAMES)
def test_comparison_converges(connection: Connection, schema: str, name: str) -> None:
    statements = table(schema, name)
    laws.prepare(connection, Example(CreateHashShards(name, 4), statements))
    assert converge(connection, schema, name, 4) == [CreateHashShards(name, 4, schema=schema)]
    assert converge(connection, schema, name, 8) == [GrowHashShards(name, 8, schema)]


def converge(connection: Connection, schema: str, name: str, count: int) -> list[Operation]:
    """What the comparison gives for so many shards; applied, it gives nothing more."""
    found = compared(connection, schema, name, count)
    laws.apply(connection, found)
    assert compared(connection, schema, name, count) == []
    return found


def compared(connection: Connection, schema: str, name: str, count: int) -> list[Operation]:
    column = Column("tenant", BigInteger, nullable=False)
    spec = HashShards("tenant", count=count)
    model = Table(name, MetaData(), column, spec, schema=schema)
    found = compare.compare(catalog.declared([model]), catalog.read(connection), resolved, {})
    connection.commit()
    return found


def resolved(name: Name) -> Name:
    return Name(name.schema or "public", name.name)
