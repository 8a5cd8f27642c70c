"""What `partitions check` looks at, read in a constant number of round trips."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.counts import count_rows
from alembic_enterprise.partitions.detached import Detached, detached_from
from alembic_enterprise.partitions.due import covered
from alembic_enterprise.partitions.managed import oids, read_policies, unusable, with_policy
from alembic_enterprise.partitions.status import COUNTED
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Attributes:
    """What LIKE does not carry from a table to its partitions."""

    owner: str
    grants: tuple[str, ...]
    row_security: tuple[bool, bool]
    replica_identity: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Server:
    """Settings and version that findings depend on; the version as `server_version_num`."""

    version: int
    lock_slots: int


@dataclass(frozen=True)
class Inspection:
    """One table with a policy, and all that stands around it.

    Attributes:
        default_rows: rows in the default partition, up to `COUNTED`; None without one, or when
            they may not be read.
        relations: relations that a statement without pruning locks: tables and indexes.
        invalid_indexes: on the table or a partition.
        analyzed: when the statistics of the whole table were last made; None for never.
        parent: the attributes of the table itself.
        leaves: the attributes of its partitions.
        root: the attributes of the table that it is a shard of.
        refers: whether the table has a foreign key to a partitioned table.
        detached: tables we made for it that were detached, and are where they were.
    """

    table: PartitionedTable
    partitions: Sequence[Partition]
    server: Server
    now: datetime
    default_rows: int | None = None
    relations: int = 0
    invalid_indexes: tuple[str, ...] = ()
    analyzed: datetime | None = None
    parent: Attributes | None = None
    leaves: Mapping[Name, Attributes] = field(default_factory=dict[Name, Attributes])
    root: Attributes | None = None
    refers: bool = False
    detached: tuple[Detached, ...] = ()


def inspect(
    connection: Connection, only: Collection[str] = (), now: datetime | None = None
) -> list[Inspection]:
    """Look at every table with a policy, or at those named, in a constant number of round trips.

    The connection's transaction becomes read-only and waits 5 seconds for a lock at most.

    Raises `ConfigurationError` for a name that no table with a policy has, and when the role may
    read no policy.
    """
    sql.read_only(connection)
    live = read_policies(connection)
    tables = [*with_policy(live, only), *unusable(live, only)]
    partitions = catalog.partitions(connection, tables)
    attributes = _attributes(connection, tables)
    relations, invalid = _indexes(connection, tables)
    analyzed = _analyzed(connection, tables)
    refers = _refers(connection, tables)
    apart = detached_from(connection, tables)
    defaults = [item.name for found in partitions.values() for item in found if item.is_default]
    counts = count_rows(connection, defaults, COUNTED)
    server = _server(connection)
    return [
        Inspection(
            table=replace(table, covered=covered(partitions[table.name])),
            partitions=partitions[table.name],
            server=server,
            now=now or live.now,
            default_rows=_default_rows(partitions[table.name], counts),
            relations=relations.get(table.oid, 0),
            invalid_indexes=tuple(invalid.get(table.oid, ())),
            analyzed=analyzed.get(table.oid),
            parent=attributes.get(table.name),
            leaves=_leaves(partitions[table.name], attributes),
            root=None if table.root is None else attributes[table.root.name],
            refers=table.oid in refers,
            detached=tuple(apart.get(table.name, ())),
        )
        for table in tables
    ]


def _default_rows(partitions: Iterable[Partition], counts: Mapping[Name, int]) -> int | None:
    return next((counts.get(item.name) for item in partitions if item.is_default), None)


def _leaves(
    partitions: Iterable[Partition], attributes: Mapping[Name, Attributes]
) -> dict[Name, Attributes]:
    """The attributes of partitions, without foreign tables."""
    return {
        item.name: attributes[item.name]
        for item in partitions
        if item.name in attributes and item.kind != "foreign table"
    }


_REFERS = SQL("""
SELECT DISTINCT k.conrelid FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = k.confrelid
WHERE k.contype = 'f' AND k.conrelid = ANY ({parents}::oid[])""")


def _refers(connection: Connection, tables: Sequence[PartitionedTable]) -> set[int]:
    return {oid for (oid,) in sql.rows(connection, _REFERS.format(parents=oids(tables)))}


LOCK_SLOTS = SQL("""current_setting('max_locks_per_transaction')::int
       * (current_setting('max_connections')::int
          + current_setting('max_prepared_transactions')::int)""")
"""An SQL expression: how many locks on relations the server has room for, about (PostgreSQL docs,
"Lock Management", max_locks_per_transaction)."""

_SERVER = SQL("SELECT current_setting('server_version_num')::int, {}").format(LOCK_SLOTS)


def _server(connection: Connection) -> Server:
    [(version, slots)] = sql.rows(connection, _SERVER)
    return Server(version, slots)


_ATTRIBUTES = SQL("""
SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relrowsecurity,
       c.relforcerowsecurity, c.relreplident::text, coalesce(c.reloptions, '{{}}'),
       ARRAY(SELECT format('%s %s%s', CASE grantee WHEN 0 THEN 'PUBLIC'
                                                   ELSE grantee::regrole::text END,
                           privilege_type, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
             FROM aclexplode(c.relacl) WHERE grantee <> c.relowner ORDER BY 1)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY ({parents}::oid[])
   OR c.oid IN (SELECT inhrelid FROM pg_catalog.pg_inherits
                WHERE inhparent = ANY ({parents}::oid[]))""")


def _attributes(
    connection: Connection, tables: Sequence[PartitionedTable]
) -> dict[Name, Attributes]:
    lineages = {item.oid: item for table in tables for item in table.lineage}
    query = _ATTRIBUTES.format(parents=oids(lineages.values()))
    return {
        Name(schema, name): Attributes(
            owner, tuple(grants), (enabled, forced), identity, tuple(sorted(options))
        )
        for schema, name, owner, enabled, forced, identity, options, grants in sql.rows(
            connection, query
        )
    }


_INDEXES = SQL("""
WITH RECURSIVE members AS (
    SELECT oid AS root, oid FROM unnest({parents}::oid[]) AS p(oid)
    UNION ALL
    SELECT m.root, i.inhrelid
    FROM members AS m JOIN pg_catalog.pg_inherits AS i ON i.inhparent = m.oid)
SELECT m.root, count(DISTINCT m.oid) + count(x.indexrelid),
       array_remove(array_agg(CASE WHEN NOT x.indisvalid THEN x.indexrelid::regclass::text END
                              ORDER BY x.indexrelid::bigint), NULL)
FROM members AS m LEFT JOIN pg_catalog.pg_index AS x ON x.indrelid = m.oid
GROUP BY 1""")


def _indexes(
    connection: Connection, tables: Sequence[PartitionedTable]
) -> tuple[dict[int, int], dict[int, list[str]]]:
    """By table: how many relations it has, indexes among them, and the names of invalid ones."""
    rows = sql.rows(connection, _INDEXES.format(parents=oids(tables)))
    relations = {oid: count for oid, count, _ in rows}
    return relations, {oid: names for oid, _, names in rows}


_ANALYZED = SQL("""
SELECT relid, greatest(last_analyze, last_autoanalyze)
FROM pg_catalog.pg_stat_all_tables WHERE relid = ANY ({parents}::oid[])""")


def _analyzed(
    connection: Connection, tables: Sequence[PartitionedTable]
) -> dict[int, datetime | None]:
    return dict(sql.rows(connection, _ANALYZED.format(parents=oids(tables))))
