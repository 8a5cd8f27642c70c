"""The three laws over every partition operation, in several schemas, with names that hurt."""

from dataclasses import replace
from typing import LiteralString

import laws
import pytest
from golden_files import golden
from laws import Example
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection

from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions import catalog, compare
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import (
    OPERATIONS,
    AttachPartition,
    CreateRangePartitions,
    DetachPartition,
    DropPartitionPolicy,
    DropRangePartitions,
    SetPartitionPolicy,
)
from alembic_enterprise.sql import Name, text_of

NAMES = [
    ("public", "orders"),
    ("Mixed Schema", 'we"ird'),
    ("public", "Mixed Case"),
    ("sales", "select"),
    ("public", "ö" * 26),
    ("public", "o" * 53),
    ("public", "$block$ :x %s 'quoted' \\"),
]


def table(schema: str, name: str, key: LiteralString = "timestamptz") -> tuple[str, ...]:
    """Statements that make a partitioned table with an index."""
    statements = [
        SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)),
        SQL(
            "CREATE TABLE {} (id bigint, at {} NOT NULL, PRIMARY KEY (id, at))"
            " PARTITION BY RANGE (at)"
        ).format(Identifier(schema, name), SQL(key)),
        SQL("CREATE INDEX ON {} (at)").format(Identifier(schema, name)),
    ]
    return tuple(text_of(statement) for statement in statements)


def examples(schema: str, name: str) -> list[Example]:
    """One example of every operation, and of every shape that has a path of its own."""
    setup = table(schema, name)
    # With index and CHECK, so that the server has nothing to add when it attaches or detaches.
    part = SQL(
        "CREATE TABLE {part} (id bigint NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (id, at),"
        " CHECK (at IS NOT NULL AND at >= '2026-01-01 Asia/Tokyo'"
        " AND at < '2026-02-01 Asia/Tokyo'));"
        " CREATE INDEX ON {part} (at)"
    ).format(part=Identifier(schema, "part"))
    attach = AttachPartition(name, "part", "2026-01-01", "2026-02-01", "Asia/Tokyo", schema)
    detach = DetachPartition(**vars(attach))
    create = CreateRangePartitions(name, "month", "2026-01-01", ahead=3, schema=schema)
    attached = (*setup, text_of(part), *map(text_of, attach.statements()))
    created = (*setup, *map(text_of, create.statements()))
    old = Policy("month")
    return [
        Example(create, setup),
        Example(replace(create, ahead=None, stop="2026-03-01", timezone="Asia/Tokyo"), setup),
        Example(replace(create, default=True), setup),
        Example(CreateRangePartitions(name, "day", default=True, schema=schema), setup),
        Example(DropRangePartitions(name, "month", "2026-01-01", ahead=3, schema=schema), created),
        Example(attach, (*setup, text_of(part))),
        Example(detach, attached),
        Example(replace(detach, concurrently=True), attached),
        Example(SetPartitionPolicy(name, "week", retain=8, schema=schema), setup),
        Example(
            SetPartitionPolicy(name, "day", start="2026-01-01", schema=schema, previous=old),
            (*setup, *map(text_of, SetPartitionPolicy(name, "month", schema=schema).statements())),
        ),
        Example(
            DropPartitionPolicy(name, "month", schema=schema),
            (*setup, *map(text_of, SetPartitionPolicy(name, "month", schema=schema).statements())),
        ),
    ]


SHORT_NAMES = [*(item for item in NAMES if len(item[1].encode()) <= 45), ("public", "o" * 45)]
"""Those that leave room for both suffixes."""


def nested_examples(schema: str, name: str) -> list[Example]:
    """Examples of partitions that have shards, with a foreign key to the table."""
    notes = SQL(
        "CREATE TABLE {}.notes (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES {})"
    ).format(Identifier(schema), Identifier(schema, name))
    setup = (*table(schema, name), text_of(notes))
    create = CreateRangePartitions(
        name,
        "month",
        "2026-01-01",
        ahead=3,
        default=True,
        schema=schema,
        partition_by='HASH ("id")',
        shards=3,
    )
    drop = DropRangePartitions(**{key: getattr(create, key) for key in create.arguments()})
    policy = Policy("month", partition_by='HASH ("id")', shards=3)
    kept = SetPartitionPolicy.of(Name(schema, name), policy)
    return [
        Example(create, setup),
        Example(drop, (*setup, *map(text_of, create.statements()))),
        Example(replace(drop, whole_table=True), (*setup, *map(text_of, create.statements()))),
        Example(kept, setup),
        Example(kept.reverse(), (*setup, *map(text_of, kept.statements()))),
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
    golden("partition_operations.txt", "\n\n".join(texts) + "\n")


@pytest.mark.parametrize(("schema", "name"), NAMES)
def test_operations_reverse(connection: Connection, schema: str, name: str) -> None:
    laws.all_reverse(connection, examples(schema, name))


@pytest.mark.parametrize(("schema", "name"), SHORT_NAMES)
def test_operations_on_two_levels_reverse(connection: Connection, schema: str, name: str) -> None:
    laws.all_reverse(connection, nested_examples(schema, name))


@pytest.mark.parametrize(("schema", "name"), NAMES)
@pytest.mark.parametrize("key", ["date", "timestamp", "timestamptz"])
def test_comparison_converges(
    connection: Connection, schema: str, name: str, key: LiteralString
) -> None:
    laws.prepare(
        connection,
        Example(CreateRangePartitions(name, "day", default=True), table(schema, name, key)),
    )
    policy = Policy("month", timezone="Pacific/Auckland", start="2025-01-01", default=True)
    declared = catalog.PartitionedTable(
        Name(schema, name), catalog.parse_key('RANGE ("at")'), policy
    )
    first = compared(connection, declared)
    assert [type(operation) for operation in first] == [CreateRangePartitions, SetPartitionPolicy]
    laws.apply(connection, first)
    assert compared(connection, declared) == []


def compared(connection: Connection, declared: catalog.PartitionedTable) -> list[Operation]:
    """What the comparison of one declared table gives."""
    live = catalog.read(connection)
    return compare.compare({declared.name: declared}, live, {live.resolve(declared.name)})
