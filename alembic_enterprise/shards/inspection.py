"""What `shards list` and `shards check` look at, read in a constant number of round trips."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.naming import named
from alembic_enterprise.partitions.catalog import PartitionedTable, nested_oids, partitions
from alembic_enterprise.partitions.marks import made_for
from alembic_enterprise.shards import catalog, leftovers
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.shards.leftovers import Copy, Pending
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.shards.status import Status, status
from alembic_enterprise.sql import Name

LOOKED_AT = 1000
"""Rows of a table that is not attached are looked at up to this number."""

SHARDED = "sharded table"
"""What `naming.named` calls the tables."""


@dataclass(frozen=True)
class Orphan:
    """A table that we made as a shard, by its comment, and that is not attached.

    Attributes:
        claimed: what it would hold by the number in its name, or else by its first row; None when
            neither says anything.
        rows: how many it holds, up to `LOOKED_AT`; None when it may not be read, or has not the
            columns of the key.
        misplaced: how many of them the server would refuse in what is claimed; None for unknown.
    """

    name: Name
    claimed: Class | None
    rows: int | None = None
    misplaced: int | None = None

    def may_fill(self, holes: Collection[Class]) -> bool:
        """Whether what no shard holds may be its rows: a new shard in its place would hide them."""
        claims = bool(holes) and (self.claimed is None or self.claimed in holes)
        return claims and self.rows != 0

    def attach(self, table: Name) -> str:
        """The statement that attaches it to its table."""
        if self.claimed is None:
            return f"ALTER TABLE {table.text} ATTACH PARTITION {self.name.text} FOR VALUES ..."
        return sql.text_of(_ATTACH.format(table.sql, self.name.sql, *map(Literal, self.claimed)))


_ATTACH = SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES WITH (MODULUS {}, REMAINDER {})")


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
    sql.read_only(connection)
    tables = named(catalog.read(connection).values(), names, SHARDED)
    apart = orphans(connection, tables)
    copies, keys = leftovers.copies(connection), leftovers.pending(connection)
    return [
        Inspection(
            known,
            tuple(copy.held for copy in copies if copy.table == known.table.oid),
            tuple(key for key in keys if key.referred == known.table.oid),
            tuple(apart.get(known.table.oid, ())),
        )
        for known in _statuses(connection, tables)
    ]


def strays(connection: Connection) -> list[Copy]:
    """The copies of shards whose table is gone; the transaction as for `inspect`."""
    sql.read_only(connection)
    return [copy for copy in leftovers.copies(connection) if copy.table is None]


def look(connection: Connection, names: Collection[str] = ()) -> list[Status]:
    """How sharded tables stand; as `inspect`, without what stands around them.

    Without names, shards and partitions that are sharded themselves are left out.
    """
    sql.read_only(connection)
    tables = named(catalog.read(connection).values(), names, SHARDED)
    nested = nested_oids(connection) if not names else set[int]()
    return _statuses(connection, [table for table in tables if table.oid not in nested])


def only(tables: Collection[ShardedTable], name: str) -> ShardedTable:
    """The table with this name, with or without its schema.

    Raises `ConfigurationError` when none has it, or several have.
    """
    found = named(tables, [name], SHARDED)
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


def orphans(connection: Connection, tables: Sequence[ShardedTable]) -> dict[int, list[Orphan]]:
    """Tables made as shards and not attached, by the oid of the table that their comments name."""
    if not tables:
        return {}
    query = _ORPHANS.format(
        parents=Literal([table.oid for table in tables]),
        comments=Literal([made_for(table.name) for table in tables]),
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
SELECT {schema}, {name}, min(claim.remainder), count(*), count(*) FILTER (
    WHERE NOT satisfies_hash_partition({parent}::oid, {modulus}, claim.remainder, {of_row}))
FROM (SELECT {columns} FROM {table} LIMIT {limit}) AS row_of,
     (SELECT coalesce({remainder}::integer, (
          SELECT candidate.remainder
          FROM (SELECT {columns} FROM {table} LIMIT 1) AS row_of,
               generate_series(0, {modulus} - 1) AS candidate (remainder)
          WHERE satisfies_hash_partition({parent}::oid, {modulus}, candidate.remainder, {of_row})
     ))) AS claim (remainder)""")


def _placed(
    connection: Connection, readable: Sequence[tuple[ShardedTable, Orphan]]
) -> Mapping[Name, Orphan]:
    """The same orphans with what their rows say, in one round trip."""
    queries = [_placing(table, orphan) for table, orphan in readable]
    if not queries:
        return {}
    found = {
        Name(schema, name): told
        for schema, name, *told in sql.rows(connection, SQL(" UNION ALL ").join(queries))
    }
    return {orphan.name: _told(table, orphan, *found[orphan.name]) for table, orphan in readable}


def _placing(table: ShardedTable, orphan: Orphan) -> Composable:
    by_name = None if orphan.claimed is None else orphan.claimed.remainder
    columns = [str(name) for name in table.key.columns]
    return _PLACED.format(
        schema=Literal(orphan.name.schema),
        name=Literal(orphan.name.name),
        parent=Literal(table.oid),
        modulus=Literal(table.count or 1),
        remainder=Literal(by_name),
        columns=SQL(", ").join(map(Identifier, columns)),
        of_row=SQL(", ").join(Identifier("row_of", name) for name in columns),
        table=orphan.name.sql,
        limit=Literal(LOOKED_AT),
    )


def _told(
    table: ShardedTable, orphan: Orphan, remainder: int | None, rows: int, misplaced: int
) -> Orphan:
    claimed = orphan.claimed
    if claimed is None and remainder is not None and table.count:
        claimed = Class(table.count, remainder)
    return Orphan(orphan.name, claimed, rows, misplaced)
