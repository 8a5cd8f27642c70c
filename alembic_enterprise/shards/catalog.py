"""Sharded tables, declared in the models or read from the database: the same noun."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Table

from alembic_enterprise import registry, sql
from alembic_enterprise.partitions.catalog import KINDS, Key
from alembic_enterprise.partitions.declaration import declarations_on, inner_key
from alembic_enterprise.shards.model import SUFFIX, HashShards, declared_on, key_type
from alembic_enterprise.shards.moduli import Class, evenly
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Shard:
    """One hash partition of a table.

    Attributes:
        held: which rows it holds, by modulus and remainder.
        kind: "table", "partitioned table" or "foreign table".
        owned: whether alembic-enterprise made it, by its comment.
        oid: 0 when it is only declared.
        partition_by: how it is partitioned itself, as PARTITION BY has it.
    """

    name: Name
    held: Class
    kind: str = "table"
    owned: bool = field(default=True, compare=False)
    oid: int = field(default=0, compare=False)
    partition_by: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ShardedTable:
    """A table that is partitioned by hash, with its shards in order of modulus and remainder.

    Attributes:
        key: its columns; None stands for an expression.
        types: of the key's columns, as `format_type` prints them without a length or precision.
        shards: those the model asks for, or those there are.
        plain: whether the key hashes as clients compute it: by default operator classes, with
            deterministic collations.
        oid: 0 when it is only declared.
        parent: the table it is a partition of.
    """

    name: Name
    key: Key
    types: tuple[str, ...]
    shards: tuple[Shard, ...]
    plain: bool = True
    oid: int = field(default=0, compare=False)
    parent: Name | None = field(default=None, compare=False)

    @property
    def partition_by(self) -> str | None:
        """How its shards are partitioned themselves, if they are."""
        return next((shard.partition_by for shard in self.shards if shard.partition_by), None)

    @property
    def held(self) -> list[Class]:
        """What the shards hold, in order."""
        return [shard.held for shard in self.shards]

    @property
    def moduli(self) -> list[int]:
        """The different moduli of the shards, smallest first; more than one while it grows."""
        return sorted({shard.held.modulus for shard in self.shards})

    @property
    def count(self) -> int:
        """How many shards there are, or will be when all are of the largest modulus; else 0."""
        return max(self.moduli, default=0)


def declared(tables: Iterable[Table]) -> dict[Name, ShardedTable]:
    """The tables of the models that are partitioned by `HashShards`.

    Raises `DeclarationError` for a unique index that was added after the table was complete.
    """
    specs = [
        (table, spec)
        for table in tables
        if (spec := declared_on(table)) and spec is declarations_on(table)[0]
    ]
    return {Name(table.schema, table.name): _declared(table, spec) for table, spec in specs}


def declared_inside(tables: Iterable[Table]) -> dict[Name, int]:
    """The tables of the models whose partitions by time are sharded -> the number of shards."""
    specs = [(table, spec) for table in tables if (spec := declared_on(table))]
    return {
        Name(table.schema, table.name): spec.count
        for table, spec in specs
        if spec is not declarations_on(table)[0]
    }


def _declared(table: Table, spec: HashShards) -> ShardedTable:
    spec.check(table)
    columns = spec.key_columns(table)
    return ShardedTable(
        name=Name(table.schema, table.name),
        key=Key("HASH", tuple(column.name for column in columns)),
        types=tuple(map(key_type, columns)),
        shards=tuple(
            Shard(
                Name(table.schema, table.name + SUFFIX.format(held.remainder)),
                held,
                partition_by=inner_key(table),
            )
            for held in evenly(spec.count)
        ),
    )


_TABLES = SQL("""
SELECT c.oid, n.nspname, c.relname,
       ARRAY(SELECT a.attname::text FROM unnest(p.partattrs) WITH ORDINALITY AS k(num, pos)
             LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.num
             ORDER BY k.pos),
       ARRAY(SELECT coalesce(format_type(a.atttypid, NULL), '')
             FROM unnest(p.partattrs) WITH ORDINALITY AS k(num, pos)
             LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.num
             ORDER BY k.pos),
       NOT EXISTS (SELECT FROM pg_catalog.pg_opclass
                   WHERE oid = ANY (p.partclass::oid[]) AND NOT opcdefault)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_collation
                       WHERE oid = ANY (p.partcollation::oid[]) AND NOT collisdeterministic),
       outside_place.nspname, outside.relname
FROM pg_catalog.pg_partitioned_table AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.partrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = c.oid
LEFT JOIN pg_catalog.pg_class AS outside ON outside.oid = i.inhparent
LEFT JOIN pg_catalog.pg_namespace AS outside_place ON outside_place.oid = outside.relnamespace
WHERE p.partstrat = 'h' AND c.relpersistence <> 't'
ORDER BY 2, 3""")

_SHARDS = SQL("""
SELECT i.inhparent, c.oid, n.nspname, c.relname, c.relkind::text,
       starts_with(coalesce(d.description, ''), {ownership}), pg_get_expr(c.relpartbound, 0),
       pg_get_partkeydef(c.oid)
FROM pg_catalog.pg_partitioned_table AS p
JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.partrelid
JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_description AS d
       ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_catalog.pg_class'::regclass
WHERE p.partstrat = 'h' AND c.relpersistence <> 't'""")

_BOUND = re.compile(r"FOR VALUES WITH \(modulus (\d+), remainder (\d+)\)")


def read(connection: Connection) -> dict[Name, ShardedTable]:
    """Every table of the database that is partitioned by hash, in two round trips."""
    shards: dict[int, list[Shard]] = {}
    for parent, *row in sql.rows(connection, _SHARDS.format(ownership=Literal(registry.OWNERSHIP))):
        shards.setdefault(parent, []).append(_shard(*row))
    return {
        Name(schema, name): ShardedTable(
            Name(schema, name),
            Key("HASH", tuple(columns)),
            tuple(types),
            tuple(sorted(shards.get(oid, ()), key=lambda shard: shard.held)),
            plain,
            oid,
            None if parent is None else Name(place, parent),
        )
        for oid, schema, name, columns, types, plain, place, parent in sql.rows(connection, _TABLES)
    }


def _shard(
    oid: int, schema: str, name: str, kind: str, owned: bool, bound: str, partition_by: str | None
) -> Shard:
    match = _BOUND.fullmatch(bound)
    if match is None:
        raise ValueError(f"{schema}.{name} has bounds that no hash partition has: {bound}")
    held = Class(int(match[1]), int(match[2]))
    return Shard(Name(schema, name), held, KINDS[kind], owned, oid, partition_by)
