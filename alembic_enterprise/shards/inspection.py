"""What `shards list` and `shards check` look at, read in a constant number of round trips."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions.catalog import PartitionedTable, partitions
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.shards import catalog, leftovers
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.shards.leftovers import Copy, Pending
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.shards.status import Status, status
from alembic_enterprise.sql import Name

LOOKED_AT = 1000
"""Rows of a table that is not attached are looked at up to this number."""


@dataclass(frozen=True)
class Orphan:
    """A table that we made as a shard, by its comment, and that is not attached.

    Attributes:
        claimed: what it would hold by the number in its name; None when that says nothing.
        rows: how many it holds, up to `LOOKED_AT`; None when it may not be read, or has not the
            columns of the key.
        misplaced: how many of them the server would refuse in what is claimed; None for unknown.
    """

    name: Name
    claimed: Class | None
    rows: int | None = None
    misplaced: int | None = None


@dataclass(frozen=True)
class Inspection:
    """One sharded table, and what stands around it.

    Attributes:
        copies: what the tables will hold that growth copies shards into.
        pending: foreign keys that refer to it, which growth has put back and not validated.
        orphans: tables that we made as shards, and that neither are attached nor belong to growth.
    """

    status: Status
    copies: tuple[Class, ...] = ()
    pending: tuple[Pending, ...] = ()
    orphans: tuple[Orphan, ...] = ()


def inspect(connection: Connection, names: Collection[str] = ()) -> list[Inspection]:
    """Look at every sharded table, or at those named.

    The connection's transaction becomes read-only and waits 5 seconds for a lock at most.

    Raises `ConfigurationError` for a name that no sharded table has.
    """
    read_only(connection)
    tables = chosen(catalog.read(connection).values(), names)
    orphans = _orphans(connection, tables)
    copies, keys = leftovers.copies(connection), leftovers.pending(connection)
    return [
        Inspection(
            known,
            tuple(copy.held for copy in copies if copy.table == known.table.oid),
            tuple(key for key in keys if key.referred == known.table.oid),
            tuple(orphans.get(known.table.oid, ())),
        )
        for known in _statuses(connection, tables)
    ]


def strays(connection: Connection) -> list[Copy]:
    """The copies of shards whose table is gone; the transaction as for `inspect`."""
    read_only(connection)
    return [copy for copy in leftovers.copies(connection) if copy.table is None]


def look(connection: Connection, names: Collection[str] = ()) -> list[Status]:
    """How sharded tables stand; as `inspect`, without what stands around them.

    Without names, shards and partitions that are sharded themselves are left out.
    """
    read_only(connection)
    tables = chosen(catalog.read(connection).values(), names)
    nested = {oid for (oid,) in sql.rows(connection, _NESTED)} if not names else set[int]()
    return _statuses(connection, [table for table in tables if table.oid not in nested])


_NESTED = SQL("SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'p' AND relispartition")


def read_only(connection: Connection) -> None:
    """Let the transaction refuse to write, wait 5 seconds for a lock at most, and print plainly."""
    guard = SQL(
        "SELECT set_config('transaction_read_only', 'on', true),"
        " set_config('lock_timeout', '5s', true), set_config('bytea_output', 'hex', true)"
    )
    sql.rows(connection, guard)


def chosen(tables: Collection[ShardedTable], names: Collection[str]) -> list[ShardedTable]:
    """The tables with one of these names, with or without their schema; none means all.

    Raises `ConfigurationError` for a name that none has.
    """
    known = {name for table in tables for name in (table.name.name, str(table.name))}
    if unknown := [name for name in names if name not in known]:
        there = ", ".join([str(table.name) for table in tables][:10]) or "none"
        raise ConfigurationError(
            f"no sharded table is called {', '.join(unknown)}: there are {there}"
        )
    return [
        table for table in tables if not names or {table.name.name, str(table.name)} & set(names)
    ]


def only(tables: Collection[ShardedTable], name: str) -> ShardedTable:
    """The table with this name, with or without its schema.

    Raises `ConfigurationError` when none has it, or several have.
    """
    found = chosen(tables, [name])
    if len(found) > 1:
        there = ", ".join(str(table.name) for table in found)
        raise ConfigurationError(f"several sharded tables are called {name}: write one of {there}")
    return found[0]


def _statuses(connection: Connection, tables: Iterable[ShardedTable]) -> list[Status]:
    wanted = {table.name: table for table in tables}
    plain = [PartitionedTable(name, table.key, oid=table.oid) for name, table in wanted.items()]
    sizes = partitions(connection, plain, sizes=True)
    return [status(table, sizes[name]) for name, table in wanted.items()]


_NUMBER = re.compile(r"_shard_(\d+)(?:_\d+)?\Z")


def number(name: str) -> int | None:
    """The remainder in the name of a shard: of `orders_shard_3`, or `orders_shard_3_2`, it is 3."""
    match = _NUMBER.search(name)
    return int(match[1]) if match else None


_ORPHANS = SQL("""
SELECT p.oid, n.nspname, c.relname,
       c.relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE')
       AND has_table_privilege(c.oid, 'SELECT')
       AND ARRAY(SELECT (mine.attname, mine.atttypid)::text
                 FROM pg_catalog.pg_attribute AS mine
                 WHERE mine.attrelid = c.oid AND mine.attnum > 0)
           @> ARRAY(SELECT (a.attname, a.atttypid)::text
                    FROM unnest(key.partattrs) AS k(num)
                    JOIN pg_catalog.pg_attribute AS a
                      ON a.attrelid = p.oid AND a.attnum = k.num)
FROM unnest({parents}::oid[], {comments}::text[]) AS p(oid, comment)
JOIN pg_catalog.pg_partitioned_table AS key ON key.partrelid = p.oid
JOIN pg_catalog.pg_description AS d ON d.description = p.comment
JOIN pg_catalog.pg_class AS c ON c.oid = d.objoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY 2, 3""")


def _orphans(connection: Connection, tables: Sequence[ShardedTable]) -> dict[int, list[Orphan]]:
    """By the oid of the table that their comments name."""
    if not tables:
        return {}
    query = _ORPHANS.format(
        parents=Literal([table.oid for table in tables]),
        comments=Literal([f"{OWNERSHIP}partition of {table.name}" for table in tables]),
    )
    by_oid = {table.oid: table for table in tables}
    found: dict[int, list[Orphan]] = {}
    readable: list[tuple[ShardedTable, Orphan]] = []
    for oid, schema, name, can_read in sql.rows(connection, query):
        orphan = Orphan(Name(schema, name), _claimed(by_oid[oid], name))
        found.setdefault(oid, []).append(orphan)
        if can_read and None not in by_oid[oid].key.columns:
            readable.append((by_oid[oid], orphan))
    placed = _placed(connection, readable)
    return {oid: [placed.get(item.name, item) for item in items] for oid, items in found.items()}


def _claimed(table: ShardedTable, name: str) -> Class | None:
    remainder = number(name)
    if remainder is None or remainder >= table.count:
        return None
    return Class(table.count, remainder)


_PLACED = SQL("""
SELECT {schema}, {name}, count(*), {misplaced}
FROM (SELECT {columns} FROM {table} LIMIT {limit}) AS few""")
_MISPLACED = SQL(
    "count(*) FILTER (WHERE NOT satisfies_hash_partition({parent}, {modulus}, {remainder},"
    " {columns}))"
)


def _placed(
    connection: Connection, orphans: Iterable[tuple[ShardedTable, Orphan]]
) -> Mapping[Name, Orphan]:
    """The same orphans with what their rows tell, in one round trip."""
    claims = {orphan.name: orphan.claimed for _, orphan in orphans}
    queries = [_placing(table, orphan) for table, orphan in orphans]
    if not queries:
        return {}
    return {
        Name(schema, name): Orphan(Name(schema, name), claims[Name(schema, name)], rows, misplaced)
        for schema, name, rows, misplaced in sql.rows(connection, SQL(" UNION ALL ").join(queries))
    }


def _placing(table: ShardedTable, orphan: Orphan) -> Composable:
    columns = SQL(", ").join(Identifier(str(name)) for name in table.key.columns)
    misplaced: Composable = SQL("NULL::bigint")
    if orphan.claimed is not None:
        misplaced = _MISPLACED.format(
            parent=SQL("{}::oid").format(Literal(table.oid)),
            modulus=Literal(orphan.claimed.modulus),
            remainder=Literal(orphan.claimed.remainder),
            columns=columns,
        )
    return _PLACED.format(
        schema=Literal(orphan.name.schema),
        name=Literal(orphan.name.name),
        misplaced=misplaced,
        columns=columns,
        table=orphan.name.sql,
        limit=Literal(LOOKED_AT),
    )
