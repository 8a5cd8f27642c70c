"""What stands around partitions: foreign keys, retired partitions, rows in a default one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.steps import GUARD, Retired, retired
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key that refers to a partitioned table.

    Attributes:
        source: the table that has the key.
        columns: its columns, in the order of `referred`.
    """

    source: Name
    columns: tuple[str, ...]
    referred: tuple[str, ...]


_FOREIGN_KEYS = SQL("""
SELECT k.confrelid, n.nspname, c.relname,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS o(num, pos)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = o.num
             ORDER BY o.pos),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS o(num, pos)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = o.num
             ORDER BY o.pos)
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ({parents}::oid[])
ORDER BY 2, 3""")


def foreign_keys(
    connection: Connection, tables: Iterable[PartitionedTable]
) -> dict[Name, list[ForeignKey]]:
    """The foreign keys that refer to each of some tables."""
    names = {table.oid: table.name for table in tables}
    found: dict[Name, list[ForeignKey]] = {name: [] for name in names.values()}
    query = _FOREIGN_KEYS.format(parents=Literal(sorted(names)))
    for parent, schema, name, columns, referred in sql.rows(connection, query):
        key = ForeignKey(Name(schema, name), tuple(columns), tuple(referred))
        found[names[parent]].append(key)
    return found


def referring_rows(connection: Connection, key: ForeignKey, partition: Name) -> int:
    """How many rows refer, by a foreign key, to rows of one partition."""
    equal = SQL(" AND ").join(
        SQL("p.{} = r.{}").format(Identifier(referred), Identifier(column))
        for column, referred in zip(key.columns, key.referred, strict=True)
    )
    query = SQL("SELECT count(*) FROM {} AS r WHERE EXISTS (SELECT FROM {} AS p WHERE {})")
    [(count,)] = sql.rows(connection, query.format(key.source.sql, partition.sql, equal))
    return int(count)


_RETIRED = SQL("""
SELECT n.nspname, c.relname, d.description
FROM pg_catalog.pg_description AS d
JOIN pg_catalog.pg_class AS c ON c.oid = d.objoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND starts_with(d.description, {ownership})
ORDER BY 1, 2""")


def retired_partitions(connection: Connection) -> list[Retired]:
    """The tables that an earlier run detached and marked."""
    rows = sql.rows(connection, _RETIRED.format(ownership=Literal(OWNERSHIP)))
    found = (retired(Name(schema, name), comment) for schema, name, comment in rows)
    return [item for item in found if item is not None]


_GUARDED = SQL("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.conname = {guard} AND k.contype = 'c'""")


def guarded_partitions(connection: Connection) -> set[Name]:
    """The default partitions that still carry the guard of a run that was killed."""
    query = _GUARDED.format(guard=Literal(GUARD))
    return {Name(schema, name) for schema, name in sql.rows(connection, query)}


def rows_between(
    connection: Connection, partition: Name, key: str, held: tuple[datetime, datetime]
) -> tuple[int, str | None, str | None]:
    """Number, first and last key of the rows of a default partition in a range."""
    query = SQL(
        "SELECT count(*), min({key})::text, max({key})::text FROM {partition}"
        " WHERE {key} >= {lower} AND {key} < {upper}"
    ).format(
        key=Identifier(key),
        partition=partition.sql,
        lower=Literal(held[0].isoformat(" ")),
        upper=Literal(held[1].isoformat(" ")),
    )
    [(count, first, last)] = sql.rows(connection, query)
    return count, first, last


def row_count(connection: Connection, table: Name) -> int:
    """How many rows a table holds."""
    [(count,)] = sql.rows(connection, SQL("SELECT count(*) FROM {}").format(table.sql))
    return int(count)
