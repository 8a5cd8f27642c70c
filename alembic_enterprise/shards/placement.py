"""Which shard a key belongs to, computed as the server computes it.

`shard_of(Order, (7, "eu"))` knows the declaration: the types of the key, and the number of shards.
A `ShardMap` is read from the database and also knows what only the server does: the partitions of a
table that is being split, and everything that would make the server hash in another way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Self

from psycopg.sql import SQL, Literal
from sqlalchemy import Column, Connection, Table, inspect

from alembic_enterprise import sql
from alembic_enterprise.errors import PlacementError
from alembic_enterprise.partitions.declaration import dialect
from alembic_enterprise.shards.hashing.key_types import (
    KEY_TYPES,
    check_number,
    row_hash,
    unknown_type,
)
from alembic_enterprise.shards.hashing.lookup3 import LONG, SEED, hash_bytes
from alembic_enterprise.shards.model import declared_on, key_type
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name

Values = Sequence[Any] | Mapping[str, Any]
"""A key: its values in the order of the declaration, or by the names of the columns."""

TEXTS = ("text", "character varying", "character")
"""Types that are hashed in the encoding of the database."""


def shard_of(declared: Table | type, values: Values) -> int:
    """The number of the shard that a key belongs to: its remainder.

    Types of the model's own turn values into what the database gets, as they do in a statement.
    A length or precision does nothing: give values as the column keeps them.

    Args:
        declared: a table, or a mapped class, that declares `HashShards`.
        values: one value for each column of the key, None for NULL: in the order of the
            declaration, or by the names of the columns, among which there may be others.

    Raises:
        PlacementError: when the table declares no shards, or for what is not a key of it.
    """
    key, count = declared_key(declared)
    return key.row_hash(values) % count


@dataclass(frozen=True)
class HashKey:
    """The key of a table in hash partitions.

    Attributes:
        types: of the columns, as `format_type` prints them without a length or precision.
        processors: what turns a value of the model into one of the database, by column.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    processors: Mapping[str, Callable[[Any], Any]] = field(
        default_factory=dict[str, Callable[[Any], Any]], compare=False
    )

    def row_hash(self, values: Values) -> int:
        """PostgreSQL's hash of one key, 64 bits, unsigned.

        Raises `PlacementError` for what is no key of this table.
        """
        return row_hash(self.types, self.stored(values))

    def stored(self, values: Values) -> Sequence[Any]:
        """The values as the database gets them, in the order of the columns."""
        ordered = self.in_order(values)
        if not self.processors:
            return ordered
        processors = map(self.processors.get, self.columns)
        pairs = zip(processors, ordered, strict=True)
        return [value if process is None else process(value) for process, value in pairs]

    def in_order(self, values: Values) -> Sequence[Any]:
        """The values in the order of the columns."""
        if isinstance(values, str | bytes):
            raise PlacementError(
                f"the key came as one {type(values).__name__}: give a sequence with one value for "
                f"each of {', '.join(self.columns)}, or a mapping"
            )
        if not isinstance(values, Mapping):
            check_number(len(self.columns), len(values))
            return values
        if missing := [column for column in self.columns if column not in values]:
            raise PlacementError(
                f"the key lacks {', '.join(missing)}: give every column, None for NULL"
            )
        return [values[column] for column in self.columns]


@lru_cache(maxsize=256)
def declared_key(declared: Table | type) -> tuple[HashKey, int]:
    """The key of a table or mapped class, and its number of shards.

    Raises `PlacementError` when it declares no `HashShards`.
    """
    inspected = inspect(declared, raiseerr=False)
    table: Any = getattr(inspected, "local_table", inspected)
    if table is None or (spec := declared_on(table)) is None:
        raise PlacementError(
            f"{declared!r} declares no shards: give a table or mapped class with HashShards in its "
            "__table_args__"
        )
    columns = spec.key_columns(table)
    processors = {column.name: process for column in columns if (process := _processor(column))}
    key = HashKey(
        tuple(column.name for column in columns), tuple(map(key_type, columns)), processors
    )
    return key, spec.count


def _processor(column: Column[Any]) -> Callable[[Any], Any] | None:
    return column.type.dialect_impl(dialect()).bind_processor(dialect())


@dataclass(frozen=True)
class ShardMap:
    """The hash partitions of one table, as they are attached now.

    While a table grows, its partitions differ in modulus, and still at most one takes a key: each
    modulus divides the next larger one (PostgreSQL docs, "CREATE TABLE").
    """

    table: Name
    key: HashKey
    partitions: Mapping[Class, Name]

    @classmethod
    def from_connection(
        cls, connection: Connection, table_name: str, schema: str | None = None
    ) -> Self:
        """Read the map of a table; without a schema it is looked up along the search_path.

        A partition whose concurrent detach was interrupted takes no rows, and is left out.

        Raises:
            PlacementError: when there is no such table in hash partitions, or when the server
                hashes its key in a way that is not known here.
        """
        table = Name(schema, table_name)
        columns = _read_key(connection, table)
        for column in columns:
            for reason in refusals(column):
                raise PlacementError(f"{table}: {reason}")
        key = HashKey(
            tuple(str(column.name) for column in columns), tuple(column.type for column in columns)
        )
        return cls(table, key, _read_partitions(connection, table))

    def partition_of(self, values: Values) -> Name:
        """The partition that a key belongs to.

        Raises:
            PlacementError: for what is no key of this table, and when no partition takes the key;
                the server refuses such a row, too.
        """
        row = self.key.row_hash(values)
        for modulus in self._moduli:
            found = self.partitions.get(Class(modulus, row % modulus))
            if found is not None:
                return found
        largest = max(self._moduli, default=1)
        raise PlacementError(
            f"{self.table}: no partition takes this key: create one FOR VALUES WITH "
            f"(MODULUS {largest}, REMAINDER {row % largest})"
        )

    @cached_property
    def _moduli(self) -> frozenset[int]:
        return frozenset(held.modulus for held in self.partitions)


@dataclass(frozen=True)
class KeyColumn:
    """One column of a live key, with all that decides how the server hashes it.

    Attributes:
        name: None for an expression.
        type: without length or precision; of a domain, the type below it.
        known_type: whether the type is PostgreSQL's own.
        is_enum: whether the type is an enum.
        collation: its name, when values that differ in bytes can be equal under it; else None.
        operator_class: its name, when it is not the one PostgreSQL gives the type; else None.
        encoding: of the database.
        probe: what the server hashes `PROBE` to.
    """

    name: str | None
    type: str
    known_type: bool
    is_enum: bool
    collation: str | None
    operator_class: str | None
    encoding: str
    probe: int


PROBE = "alembic-enterprise"
"""A text that the server is asked to hash: a machine of the other byte order gives another hash."""


def refusals(column: KeyColumn) -> Iterator[str]:
    """Why the hash of a column cannot be computed here, and what to do; none when it can."""
    if column.name is None:
        yield f"its key has an expression, which only the server can evaluate: {_ASK}"
    if column.is_enum:
        yield (
            f"{column.name} is of the enum {column.type}, which is hashed by OIDs that change with "
            f"each dump and restore: {_ASK}"
        )
    if not column.known_type or column.type not in KEY_TYPES:
        yield f"{column.name}: {unknown_type(column.type)}"
    if column.operator_class is not None:
        yield (
            f"{column.name} has the operator class {column.operator_class}, whose hash is not "
            f"known here: {_ASK}"
        )
    if column.collation is not None:
        yield (
            f"{column.name} has the collation {column.collation}, which is not deterministic, and "
            f"is hashed by the server's sort keys: {_ASK}"
        )
    if column.type in TEXTS and column.encoding != "UTF8":
        yield (
            f"{column.name} is text in a database of encoding {column.encoding}, and only UTF8 is "
            f"hashed here: {_ASK}"
        )
    if column.probe & LONG != hash_bytes(PROBE.encode()):
        yield f"this server hashes in another byte order than is done here: {_ASK}"


_ASK = "let the server place the row, and ask it by satisfies_hash_partition()"

_KEY = SQL("""
WITH RECURSIVE key AS (
    SELECT k.*, a.attname, a.atttypid
    FROM pg_catalog.pg_partitioned_table AS p
    CROSS JOIN LATERAL unnest(p.partattrs::int2[], p.partclass::oid[], p.partcollation::oid[])
        WITH ORDINALITY AS k (num, class, coll, pos)
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = k.num
    WHERE p.partrelid = to_regclass({table}) AND p.partstrat = 'h'),
type AS (
    SELECT pos, atttypid AS oid FROM key UNION ALL
    SELECT pos, t.typbasetype FROM type JOIN pg_catalog.pg_type AS t USING (oid)
    WHERE t.typtype = 'd')
SELECT key.attname, coalesce(format_type(t.oid, NULL), ''), coalesce(t.oid < {own}, false),
       coalesce(t.typtype = 'e', false),
       (SELECT collname FROM pg_catalog.pg_collation WHERE oid = coll AND NOT collisdeterministic),
       (SELECT opcname FROM pg_catalog.pg_opclass
        WHERE oid = class AND NOT (opcdefault AND oid < {own})),
       pg_catalog.getdatabaseencoding(),
       pg_catalog.hashtextextended({probe} COLLATE "C", {seed})
FROM key LEFT JOIN (type JOIN pg_catalog.pg_type AS t USING (oid))
     ON type.pos = key.pos AND t.typtype <> 'd'
ORDER BY key.pos""")

_OWN = 16384
"""PostgreSQL's own objects are below this OID (FirstNormalObjectId in access/transam.h)."""


def _read_key(connection: Connection, table: Name) -> list[KeyColumn]:
    """The columns of the key of a live table in hash partitions.

    Raises `PlacementError` when there is no such table.
    """
    query = _KEY.format(
        table=table.regclass, own=Literal(_OWN), probe=Literal(PROBE), seed=Literal(SEED)
    )
    columns = [KeyColumn(*row) for row in sql.rows(connection, query)]
    if not columns:
        raise PlacementError(
            f"{table} is not a hash-partitioned table: name one that is PARTITION BY HASH, with "
            "its schema"
        )
    return columns


_PARTITIONS = SQL("""
SELECT bound[1], bound[2], n.nspname, c.relname
FROM pg_catalog.pg_inherits AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL CAST(
    regexp_match(pg_get_expr(c.relpartbound, c.oid), 'modulus ([0-9]+), remainder ([0-9]+)')
    AS int[]) AS bound
WHERE i.inhparent = to_regclass({table}) AND NOT i.inhdetachpending
ORDER BY 1, 2""")


def _read_partitions(connection: Connection, table: Name) -> dict[Class, Name]:
    rows = sql.rows(connection, _PARTITIONS.format(table=table.regclass))
    return {
        Class(modulus, remainder): Name(schema, name) for modulus, remainder, schema, name in rows
    }
