"""Partitions that the scheduled job makes and drops, and so no revision mentions.

They are those that hold a whole period of their table's policy. Where a database has very many of
them, a shadow goes without the oldest: each one more costs what the first did, and shows no more.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from zoneinfo import ZoneInfo

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.model import day
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.partitions.periods import Every, Range, floor, periods, shift, today
from alembic_enterprise.sql import Name

MANY = 500
"""Up to this number of partitions of whole periods, a shadow gets them all."""

NEWEST = 6
"""Above that number, it gets the newest so many of each table."""

Periods = Mapping[Name, Sequence[Name]]
"""By table, partitions that each hold a whole period, the oldest first."""


def read(connection: Connection) -> Periods:
    """The partitions of a whole period of every table with a policy, in two round trips."""
    known = catalog.read(connection, bounds=False, strict=False)
    tables = {table.name: table for table in known.kept()}
    found = catalog.partitions(connection, tables.values())
    return {
        name: [
            partition.name
            for partition in partitions
            if partition.range is not None and is_period(partition.range, tables[name])
        ]
        for name, partitions in found.items()
    }


def is_period(held: Range, table: PartitionedTable) -> bool:
    """Whether a range is one period of the table's policy."""
    policy = table.policy
    if policy is None or held.lower is None:
        return False
    zone = ZoneInfo(policy.timezone)
    first = held.lower.date() if table.naive else today(held.lower, zone)
    return held == _period(floor(first, policy.every), policy.every, None if table.naive else zone)


@lru_cache(maxsize=4096)  # tables that are cut alike have the same periods
def _period(first: date, every: Every, zone: ZoneInfo | None) -> Range:
    return next(periods(first, first, every, zone))


def inside(connection: Connection, found: Periods) -> dict[Name, list[Name]]:
    """By table, the same partitions and those that they are partitioned into themselves."""
    table_of = {partition: name for name, partitions in found.items() for partition in partitions}
    trees: dict[Name, list[Name]] = {name: [] for name in found}
    names = Literal([partition.text for partition in table_of])
    for schema, name, *top in sql.rows(connection, _INSIDE.format(names)):
        trees[table_of[Name(*top)]].append(Name(schema, name))
    return trees


def superfluous(connection: Connection) -> dict[Name, list[Name]]:
    """By table, the oldest partitions of whole periods, without which a shadow is as good.

    Whatever something else depends on is needed: a foreign key, a view. So is what owns a sequence,
    of which pg_dump tells all the same, or has an invalid index, of which it never tells.
    """
    found = read(connection)
    if sum(map(len, found.values())) <= MANY:
        return {}
    needed = {Name(*row) for row in sql.rows(connection, _NEEDED)}
    return {
        name: rest
        for name, partitions in found.items()
        if (rest := [partition for partition in partitions[:-NEWEST] if partition not in needed])
    }


def newest(operation: CreateRangePartitions, on: date) -> Composable:
    """The statement that makes only the newest partitions of those the operation makes on a day."""
    if operation.start is None:
        return operation.block(Literal(None))
    every = operation.every
    following = shift(floor(on, every), every, (operation.ahead or 0) + 1)
    stop = following if operation.stop is None else day(operation.stop)
    first = max(day(operation.start), shift(floor(stop, every), every, -NEWEST))
    return operation.block(Literal(first.isoformat()))


_INSIDE = SQL("""
WITH RECURSIVE tree AS (
    SELECT name::regclass::oid AS top, name::regclass::oid AS oid
    FROM unnest({}::text[]) AS given (name)
    UNION ALL SELECT top, inhrelid FROM tree
    JOIN pg_catalog.pg_inherits ON inhparent = tree.oid)
SELECT n.nspname, c.relname, m.nspname, p.relname FROM tree
JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class AS p ON p.oid = top
JOIN pg_catalog.pg_namespace AS m ON m.oid = p.relnamespace""")

# What is a part of a relation depends on it in another way than normally, too (PostgreSQL docs,
# "pg_depend"). A foreign key to a partitioned table has a copy for each partition.
_NEEDED = SQL("""
SELECT DISTINCT n.nspname, c.relname
FROM (SELECT r.oid FROM pg_catalog.pg_class AS r
      LEFT JOIN pg_catalog.pg_type AS t ON t.oid = r.reltype
      CROSS JOIN LATERAL (VALUES ('pg_catalog.pg_class'::regclass, r.oid),
                                 ('pg_catalog.pg_type'::regclass, t.oid),
                                 ('pg_catalog.pg_type'::regclass, t.typarray)) AS o (class, oid)
      JOIN pg_catalog.pg_depend AS d ON d.refclassid = o.class AND d.refobjid = o.oid
      WHERE r.relispartition AND r.relkind IN ('r', 'p', 'f') AND d.deptype = 'n'
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conparentid <> 0 AND k.oid = d.objid
            AND d.classid = 'pg_catalog.pg_constraint'::regclass)
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS part
            WHERE (part.classid, part.objid) = (d.classid, d.objid) AND part.deptype <> 'n'
              AND (part.refclassid, part.refobjid) = (d.refclassid, d.refobjid))
      UNION ALL
      SELECT d.refobjid FROM pg_catalog.pg_depend AS d
      JOIN pg_catalog.pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
      WHERE d.deptype = 'a' AND d.classid = 'pg_catalog.pg_class'::regclass
        AND d.refclassid = d.classid
      UNION ALL
      SELECT indrelid FROM pg_catalog.pg_index WHERE NOT indisvalid) AS needed
CROSS JOIN LATERAL pg_partition_ancestors(needed.oid) AS above
JOIN pg_catalog.pg_class AS c ON c.oid = above.relid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace""")
