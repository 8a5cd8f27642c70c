"""What rules have to know of a database besides what a plan shows: partitions, shards, locks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions import catalog as partitions_catalog
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.counts import count_rows
from alembic_enterprise.partitions.inspection import LOCK_SLOTS
from alembic_enterprise.partitions.status import COUNTED
from alembic_enterprise.shards import catalog as shards_catalog
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Catalog:
    """A database at one moment.

    Attributes:
        tables: those that are partitioned.
        partitions: of each, those of its first level.
        sharded: the tables by hash.
        default_rows: rows of default partitions, counted up to `COUNTED`; without those that may
            not be read.
        invalid_indexes: indexes that no query uses, with their tables.
        locks: how many relations a statement locks that goes about a whole partitioned table:
            partitions of all levels, and the indexes of all.
        lock_slots: how many locks on relations the server has room for, about.
        volatile: the names of functions that may give another value for each row.
    """

    tables: Mapping[Name, PartitionedTable] = field(default_factory=dict[Name, PartitionedTable])
    partitions: Mapping[Name, Sequence[Partition]] = field(
        default_factory=dict[Name, Sequence[Partition]]
    )
    sharded: Mapping[Name, ShardedTable] = field(default_factory=dict[Name, ShardedTable])
    default_rows: Mapping[Name, int] = field(default_factory=dict[Name, int])
    invalid_indexes: Mapping[Name, Name] = field(default_factory=dict[Name, Name])
    locks: Mapping[Name, int] = field(default_factory=dict[Name, int])
    lock_slots: int = 0
    volatile: Collection[str] = ()

    @cached_property
    def defaults(self) -> Mapping[str, int | None]:
        """The default partitions by schema and name, and their rows; None when they are hidden."""
        every = (item for found in self.partitions.values() for item in found)
        return {
            str(item.name): self.default_rows.get(item.name) for item in every if item.is_default
        }


def read(connection: Connection) -> Catalog:
    """Read the catalog, and whether default partitions have rows, in a few round trips.

    The connection's transaction becomes read-only and waits 5 seconds for a lock at most.
    """
    sql.read_only(connection)
    known = partitions_catalog.read(connection, bounds=False, strict=False)
    partitions = partitions_catalog.partitions(connection, known.tables.values())
    defaults = [item.name for found in partitions.values() for item in found if item.is_default]
    [(slots,)] = sql.rows(connection, SQL("SELECT {}").format(LOCK_SLOTS))
    return Catalog(
        tables=known.tables,
        partitions=partitions,
        sharded=shards_catalog.read(connection),
        default_rows=count_rows(connection, defaults, COUNTED),
        invalid_indexes={
            Name(*row[:2]): Name(*row[2:]) for row in sql.rows(connection, _INVALID_INDEXES)
        },
        locks={Name(*row[:2]): row[2] for row in sql.rows(connection, _LOCKS)},
        lock_slots=slots,
        volatile=frozenset(name for (name,) in sql.rows(connection, _VOLATILE)),
    )


_INVALID_INDEXES = SQL("""
SELECT n.nspname, c.relname, tn.nspname, t.relname FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i'""")

# Not pg_partition_tree(): it keeps a lock on each table it returns.
_LOCKS = SQL("""
WITH RECURSIVE tree AS (
    SELECT partrelid AS root, partrelid AS oid FROM pg_catalog.pg_partitioned_table
    UNION ALL
    SELECT root, inhrelid FROM tree JOIN pg_catalog.pg_inherits ON inhparent = tree.oid)
SELECT n.nspname, c.relname,
       count(*) + sum((SELECT count(*) FROM pg_catalog.pg_index WHERE indrelid = tree.oid))::int
FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.root
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
GROUP BY 1, 2""")

_VOLATILE = SQL("SELECT DISTINCT proname FROM pg_catalog.pg_proc WHERE provolatile = 'v'")
