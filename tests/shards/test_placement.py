"""A key is placed where PostgreSQL itself places it."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from autogenerate import run_sql
from hash_keys import COLUMNS, RANDOM, random_keys, vectors
from psycopg.sql import SQL, Identifier
from sharded import encoded
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from alembic_enterprise.errors import PlacementError
from alembic_enterprise.shards.hashing.key_types import row_hash
from alembic_enterprise.shards.model import HashShards
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.shards.placement import KeyColumn, ShardMap, refusals, shard_of
from alembic_enterprise.sql import Name

MODULUS = 1_000_003
"""A prime, so that every bit of a hash matters."""

COMPOSITE = [
    ["bigint", "text"],
    ["uuid", "date", "numeric"],
    ["boolean", "smallint", "character", "timestamp with time zone"],
]


def test_frozen_keys() -> None:
    for vector in vectors():
        found = row_hash(vector.types, vector.values)
        assert found == vector.row_hash, vector
        assert {modulus: found % modulus for modulus in vector.remainders} == vector.remainders


@pytest.mark.parametrize("types", [*([name] for name in RANDOM), *COMPOSITE], ids=", ".join)
def test_the_server_agrees(connection: Connection, types: list[str]) -> None:
    keys = random_keys(types, 10_000)
    remainders = [row_hash(types, key) % MODULUS for key in keys]
    assert judged(connection, types, keys, remainders) == (10_000, 0)


def judged(
    connection: Connection,
    types: list[str],
    keys: Sequence[tuple[Any, ...]],
    remainders: Sequence[int],
) -> tuple[int, int]:
    """For how many keys the server accepts the remainder, and for how many the one after it."""
    columns = [f"k{number}" for number in range(len(types))]
    declared = ", ".join(
        f"{column} {COLUMNS[name] or name}" for column, name in zip(columns, types, strict=True)
    )
    names = ", ".join(columns)
    run_sql(
        connection,
        f"CREATE TABLE parent ({declared}) PARTITION BY HASH ({names})",
        f"CREATE TABLE given ({declared}, remainder int)",
    )
    copy(connection, "given", [(*key, left) for key, left in zip(keys, remainders, strict=True)])
    accepted = "count(*) FILTER (WHERE satisfies_hash_partition('parent'::regclass, {}, {}, {}))"
    query = "SELECT {}, {} FROM given".format(
        accepted.format(MODULUS, "remainder", names),
        accepted.format(MODULUS, f"(remainder + 1) % {MODULUS}", names),
    )
    [found] = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return tuple(found)


def copy(connection: Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    with (
        driver(connection).cursor() as cursor,
        cursor.copy(SQL("COPY {} FROM STDIN").format(Identifier(table))) as into,
    ):
        for row in rows:
            into.write_row(row)


def driver(connection: Connection) -> psycopg.Connection:
    return cast("psycopg.Connection", connection.connection.driver_connection)


# Values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smallint", 40_000),
        ("integer", 2**31),
        ("bigint", -(2**63) - 1),
        ("bigint", True),
        ("bigint", 1.0),
        ("bigint", "1"),
        ("text", b"a"),
        ("text", 1),
        ("text", "a\0b"),
        ("text", "\ud800"),
        ("character", None.__class__),
        ("uuid", "no uuid"),
        ("uuid", b"short"),
        ("uuid", 1),
        ("boolean", 1),
        ("bytea", "ab"),
        ("date", datetime(2026, 11, 21, tzinfo=UTC)),
        ("date", "2026-11-21"),
        ("timestamp without time zone", date(2026, 11, 21)),
        ("timestamp without time zone", datetime(2026, 11, 21, tzinfo=UTC)),
        ("timestamp with time zone", datetime(2026, 11, 21)),  # noqa: DTZ001  # what is refused
        ("numeric", 1.5),
        ("numeric", "1.5"),
        ("numeric", True),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(PlacementError, match=f"type {name}.*: give "):
        row_hash([name], [value])


def test_values_may_come_in_several_forms() -> None:
    key = UUID("425392ae-417b-1bff-3806-ebeb6f58f8ab")
    assert len({row_hash(["uuid"], [form]) for form in (key, str(key), key.bytes)}) == 1
    assert len({row_hash(["bytea"], [form(b"ab")]) for form in (bytes, bytearray, memoryview)}) == 1
    assert row_hash(["numeric"], [15]) == row_hash(["numeric"], [Decimal("15.00")])


def test_integers_hash_alike_in_columns_of_any_width() -> None:
    for value in (0, 1, -1, 32_767, -32_768):
        assert len({row_hash([name], [value]) for name in ("smallint", "integer", "bigint")}) == 1


def test_a_key_has_as_many_values_as_columns() -> None:
    with pytest.raises(PlacementError, match="2 columns and 1 values"):
        row_hash(["text", "text"], ["a"])


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(PlacementError, match="type double precision is not known"):
        row_hash(["double precision"], [None])


# Declarations


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (HashShards("tenant_id", "region", count=8),)
    region: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)


def test_a_shard_of_a_table_or_mapped_class() -> None:
    expected = row_hash(["bigint", "text"], [7, "eu"]) % 8
    assert shard_of(Order, (7, "eu")) == expected
    assert shard_of(Base.metadata.tables["orders"], [7, "eu"]) == expected
    assert shard_of(Order, {"region": "eu", "tenant_id": 7, "total": 9}) == expected


def test_a_shard_of_a_class_that_is_mapped_to_a_table() -> None:
    class Mine:
        pass

    registry().map_imperatively(Mine, Base.metadata.tables["orders"])
    assert shard_of(Mine, (7, "eu")) == shard_of(Order, (7, "eu"))


def test_a_key_of_nulls_is_in_the_first_shard() -> None:
    assert shard_of(Order, (None, None)) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((7,), "2 columns and 1 values"),
        ({"tenant_id": 7}, "lacks region"),
        ("eu", "one str: give a sequence with one value for each of tenant_id, region"),
        (("eu", 7), "type bigint got str"),
    ],
)
def test_what_is_no_key_is_refused(values: Any, message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        shard_of(Order, values)


def test_a_table_without_shards_is_refused() -> None:
    for declared in (Table("plain", MetaData(), Column("id", Integer)), Base, int):
        with pytest.raises(PlacementError, match="declares no shards: give"):
            shard_of(declared, (1,))


class Lowered(TypeDecorator[str]):
    """Text that is stored in lower case."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002  # SQLAlchemy's
        return None if value is None else value.lower()


def test_types_of_the_models_turn_values_into_stored_ones() -> None:
    key = UUID("425392ae-417b-1bff-3806-ebeb6f58f8ab")
    declared = Table(
        "devices",
        MetaData(),
        HashShards("name", "id", count=4),
        Column("name", Lowered, primary_key=True),
        Column("id", Uuid(native_uuid=False), primary_key=True),
    )
    expected = row_hash(["text", "character"], ["abc", key.hex]) % 4
    assert shard_of(declared, ("ABC", key)) == expected
    with pytest.raises(PlacementError, match="2 columns and 3 values"):
        shard_of(declared, ("ABC", key, 1))


# Live tables


def test_rows_are_found_in_the_partition_that_the_map_tells(connection: Connection) -> None:
    """With the moduli of a table that is being split: 2, 4 and 8 at once."""
    run_sql(
        connection,
        'CREATE SCHEMA "Mixed Case"',
        'CREATE DOMAIN code AS varchar(70); CREATE DOMAIN "we""ird" AS code',
        'CREATE TABLE "Mixed Case"."данные" (id int, place "we""ird", at timestamptz)'
        " PARTITION BY HASH (place, id)",
        *(
            f'CREATE TABLE {name} PARTITION OF "Mixed Case"."данные"'
            f" FOR VALUES WITH (MODULUS {modulus}, REMAINDER {remainder})"
            for name, modulus, remainder in [
                ('"Mixed Case"."p""0"', 2, 0),
                ("p1", 4, 1),
                ("p3", 8, 3),
                ('"Mixed Case".p7', 8, 7),
            ]
        ),
    )
    keys = [(number, place) for place, number in random_keys(["text", "integer"], 1000)]
    with driver(connection).cursor() as cursor:
        cursor.executemany('INSERT INTO "Mixed Case"."данные" VALUES (%s, %s)', keys)
    found = ShardMap.from_connection(connection, "данные", "Mixed Case")
    assert found.key.columns == ("place", "id")
    assert found.key.types == ("character varying", "integer")
    assert len(found.partitions) == 4
    rows = connection.exec_driver_sql(
        'SELECT id, place, nspname, relname FROM "Mixed Case"."данные" AS d'
        " JOIN pg_class AS c ON c.oid = d.tableoid JOIN pg_namespace AS n ON n.oid = relnamespace"
    )
    placed = [
        (Name(schema, name), found.partition_of({"id": number, "place": place}))
        for number, place, schema, name in rows
    ]
    assert len(placed) == 1000
    assert all(actual == expected for actual, expected in placed)


def test_a_map_is_found_along_the_search_path(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE SCHEMA other; SET search_path = other",
        "CREATE TABLE t (k int) PARTITION BY HASH (k)",
        "CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    found = ShardMap.from_connection(connection, "t")
    assert found.partitions == {Class(1, 0): Name("other", "p")}
    assert found.partition_of([5]) == Name("other", "p")


def test_a_hole_is_told_as_the_partition_to_create(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE TABLE t (k int) PARTITION BY HASH (k)",
        "CREATE TABLE p1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE TABLE p2 PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 2)",
    )
    found = ShardMap.from_connection(connection, "t")
    message = r"t: no partition takes this key: create one .*\(MODULUS 4, REMAINDER 0\)"
    with pytest.raises(PlacementError, match=message):
        found.partition_of([None])
    run_sql(connection, "CREATE TABLE p0 PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 0)")
    assert ShardMap.from_connection(connection, "t").partition_of([None]).name == "p0"


def test_a_table_without_partitions_has_nothing_but_a_hole(connection: Connection) -> None:
    run_sql(connection, "CREATE TABLE t (k int) PARTITION BY HASH (k)")
    with pytest.raises(PlacementError, match=r"\(MODULUS 1, REMAINDER 0\)"):
        ShardMap.from_connection(connection, "t").partition_of([1])


def test_a_partition_that_is_half_detached_takes_no_rows(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE TABLE t (k int) PARTITION BY HASH (k)",
        "CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "UPDATE pg_inherits SET inhdetachpending = true WHERE inhparent = 't'::regclass",
    )
    assert ShardMap.from_connection(connection, "t").partitions == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT",
        "CREATE TABLE t (k int)",
        "CREATE TABLE t (k int) PARTITION BY RANGE (k)",
        "CREATE VIEW t AS SELECT 1 AS k",
    ],
)
def test_a_map_is_of_a_table_in_hash_partitions(connection: Connection, statement: str) -> None:
    run_sql(connection, statement)
    with pytest.raises(PlacementError, match="t is not a hash-partitioned table: name one"):
        ShardMap.from_connection(connection, "t")


COLLATION = "CREATE COLLATION loose (locale = 'C')"
LOOSE = "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'"
"""A statement may say so of collations of ICU only, and not every server has that."""

ZERO = (
    "CREATE FUNCTION zero({}, bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 0::bigint'"
)
ZEROS = (
    "CREATE OPERATOR CLASS zeros {} USING hash AS OPERATOR 1 = ({}), FUNCTION 2 zero({}, bigint)"
)

REFUSED = {
    "an expression": (["CREATE TABLE t (k text) PARTITION BY HASH (lower(k))"], "an expression"),
    "an enum": (
        ["CREATE TYPE mood AS ENUM ('good')", "CREATE TABLE t (k mood) PARTITION BY HASH (k)"],
        "k is of the enum mood, which is hashed by OIDs",
    ),
    "a domain over an enum": (
        [
            "CREATE TYPE mood AS ENUM ('good')",
            "CREATE DOMAIN state AS mood",
            "CREATE TABLE t (k state) PARTITION BY HASH (k)",
        ],
        "k is of the enum mood",
    ),
    "a nondeterministic collation": (
        [COLLATION, "CREATE TABLE t (k text COLLATE loose) PARTITION BY HASH (k)", LOOSE],
        "k has the collation loose, which is not deterministic",
    ),
    "a collation of the key alone": (
        [COLLATION, "CREATE TABLE t (k text) PARTITION BY HASH (k COLLATE loose)", LOOSE],
        "k has the collation loose",
    ),
    "an operator class": (
        [
            ZERO.format("int"),
            ZEROS.format("FOR TYPE int", "int, int", "int"),
            "CREATE TABLE t (k int) PARTITION BY HASH (k zeros)",
        ],
        "k has the operator class zeros",
    ),
    "an operator class that became the default": (
        [
            ZERO.format("varchar"),
            ZEROS.format("DEFAULT FOR TYPE varchar", "text, text", "varchar"),
            "CREATE TABLE t (k varchar) PARTITION BY HASH (k)",
        ],
        "k has the operator class zeros",
    ),
    "a type that has the name of another": (
        [
            "SET search_path = public, pg_catalog",
            "CREATE TYPE public.uuid AS (id int)",
            "CREATE TABLE t (k public.uuid) PARTITION BY HASH (k)",
        ],
        "k: the hash of type .*uuid is not known here",
    ),
    **{
        name: (
            [f"CREATE TABLE t (a int, k {name}) PARTITION BY HASH (a, k)"],
            f"k: the hash of type {re.escape(name)} is not known here",
        )
        for name in ("real", "double precision", "interval", "jsonb", "integer[]", "inet")
    },
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_key_that_only_the_server_can_hash_is_refused(
    connection: Connection, refused: str
) -> None:
    statements, message = REFUSED[refused]
    run_sql(connection, *statements)
    with pytest.raises(PlacementError, match=f"^t: .*{message}.*server"):
        ShardMap.from_connection(connection, "t")


@pytest.fixture
def latin_connection(server_url: str) -> Iterator[Connection]:
    """A connection to a database of encoding LATIN1."""
    with encoded(server_url, "LATIN1") as connection:
        yield connection


def test_text_is_refused_in_a_database_that_is_not_unicode(latin_connection: Connection) -> None:
    run_sql(
        latin_connection,
        "CREATE TABLE t (k int, v varchar(9)) PARTITION BY HASH (k, v)",
        "CREATE TABLE numbers (k int) PARTITION BY HASH (k)",
        "CREATE TABLE n PARTITION OF numbers FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    with pytest.raises(PlacementError, match="v is text in a database of encoding LATIN1"):
        ShardMap.from_connection(latin_connection, "t")
    assert ShardMap.from_connection(latin_connection, "numbers").partition_of([1]).name == "n"


def test_a_server_that_hashes_in_another_way_is_refused() -> None:
    """As a machine of the other byte order does, of which there is none to test on."""
    column = KeyColumn(
        name="k",
        type="integer",
        known_type=True,
        is_enum=False,
        collation=None,
        operator_class=None,
        encoding="UTF8",
        probe=1,
    )
    [reason] = refusals(column)
    assert "another byte order" in reason
