"""The laws over the operations on constraints, in several schemas, with names that hurt."""

from dataclasses import replace
from typing import LiteralString

import laws
import pytest
from golden_files import golden
from laws import Example
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection

from alembic_enterprise.indexes.operations import (
    AddForeignKeyOnline,
    CreateUniqueConstraintOnline,
    SetNotNullOnline,
)
from alembic_enterprise.sql import text_of

Add = CreateUniqueConstraintOnline | AddForeignKeyOnline | SetNotNullOnline

NAMES = [
    ("public", "lines", "order"),
    ("Mixed Schema", 'we"ird', 'we"ird column'),
    ("sales", "select", "user"),
    ("public", "ö" * 31, "ä" * 31),
    ("public", "o" * 63, "c" * 63),
    ("public", "$block$ :x %s 'quoted' \\", "$block$ :x %s 'quoted' \\ %1$s"),
]

PLAIN: LiteralString = "CREATE TABLE {table} (id integer, {column} integer, other integer)"
PARTITIONED: LiteralString = (
    PLAIN + " PARTITION BY RANGE ({column});"
    "CREATE TABLE {schema}.one PARTITION OF {table} FOR VALUES FROM (0) TO (10);"
    "CREATE TABLE {schema}.two PARTITION OF {table} FOR VALUES FROM (10) TO (20)"
    " PARTITION BY LIST ({column});"
    "CREATE TABLE {schema}.three PARTITION OF {schema}.two FOR VALUES IN (10, 11)"
)


def setup(shape: LiteralString, schema: str, name: str, column: str) -> tuple[str, ...]:
    """Statements that make the table with rows, and one that it may refer to."""
    statement = (
        "CREATE SCHEMA IF NOT EXISTS {schema};"
        'CREATE TABLE {schema}."of %s" (id integer PRIMARY KEY, "other %s" integer,'
        ' UNIQUE (id, "other %s"));'
        'INSERT INTO {schema}."of %s" SELECT g, g FROM generate_series(1, 11) AS g;'
        + shape
        + ";INSERT INTO {table} SELECT g, g, g FROM generate_series(1, 11) AS g"
    )
    parts = {"schema": (schema,), "table": (schema, name), "column": (column,)}
    names = {key: Identifier(*given) for key, given in parts.items()}
    return (text_of(SQL(statement).format(**names)),)


def operations(schema: str, name: str, column: str) -> list[Add]:
    """One of every kind, and of every shape that has a path of its own."""
    unique = CreateUniqueConstraintOnline("uq " + name[:30], name, [column], schema)
    key = AddForeignKeyOnline(
        name, name, "of %s", [column], ["id"], source_schema=schema, referent_schema=schema
    )
    many = replace(
        key,
        local_cols=[column, "other"],
        remote_cols=["id", "other %s"],
        onupdate="CASCADE",
        ondelete="SET NULL",
        initially="DEFERRED",
        match="FULL",
    )
    return [
        unique,
        replace(unique, include=["other"], deferrable=True, initially="DEFERRED"),
        key,
        many,
        SetNotNullOnline(name, column, schema),
    ]


def examples(schema: str, name: str, column: str) -> list[Example]:
    """Each on a plain table, and on one with partitions."""
    return [
        Example(operation, setup(shape, schema, name, column))
        for operation in operations(schema, name, column)
        for shape in (PLAIN, PARTITIONED)
    ]


@pytest.mark.parametrize(("schema", "name", "column"), NAMES)
def test_operations_render(schema: str, name: str, column: str) -> None:
    for operation in operations(schema, name, column):
        laws.renders(operation)
        laws.renders(operation.reverse())
        assert operation.reverse().reverse() == operation


def test_rendered_text_is_golden() -> None:
    found = operations("sales", "lines", "order_id")
    texts = [laws.rendered(one) for item in found for one in (item, item.reverse())]
    golden("constraint_operations.txt", "\n\n".join(texts) + "\n")


@pytest.mark.parametrize(("schema", "name", "column"), NAMES)
def test_operations_reverse(connection: Connection, schema: str, name: str, column: str) -> None:
    """Every one with one of the names; with the others one of each kind, on partitions."""
    found = examples(schema, name, column)
    every = name == NAMES[1][1]
    laws.all_reverse(connection, found if every else [found[number] for number in (1, 7, 9)])
