"""What a plan has to know of the live database besides its schema: sizes, rates, who is busy there.

It is read once, without a look at a row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.indexes.queries import STATISTICS_SINCE
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import Partition
from alembic_enterprise.partitions.live import chosen
from alembic_enterprise.partitions.status import Status, status
from alembic_enterprise.plan.model import Circumstances, Database, Touched
from alembic_enterprise.plan.revisions import stamped
from alembic_enterprise.sql import Name
from alembic_enterprise.wording import counted


@dataclass(frozen=True)
class Live:
    """The live database at one moment.

    Attributes:
        tables: every table and materialized view by schema and name, unquoted; of a partitioned one
            the figures of all its partitions, which are there by their own names, too.
        statuses: how partitioned tables stand.
        coverage: what could not be read, a sentence each.
    """

    database: Database
    circumstances: Circumstances
    tables: Mapping[str, Touched]
    statuses: tuple[Status, ...]
    coverage: tuple[str, ...]


def read(connection: Connection, version_table: Name, now: datetime) -> Live:
    """Read the catalog and the statistics, in a constant number of round trips.

    How many rows are written in a second is the mean since the counters began: since somebody reset
    them, since a crash lost them, or else since the server was started. One look cannot show how
    that changes by the hour.

    Args:
        connection: its transaction becomes read-only and waits 5 seconds for a lock at most.
        version_table: where Alembic keeps the revisions.
        now: the moment that is noted down (aware); no query uses it.
    """
    sql.read_only(connection)
    server = _Server(*sql.rows(connection, _SERVER)[0])
    version, revisions = server.version.split()[0], stamped(connection, version_table)
    rows = {row[0]: _Row(*row) for row in sql.rows(connection, _TABLES)}
    tables = {str(rows[oid].called): one for oid, one in _touched(rows, server.seconds).items()}
    return Live(
        database=Database(server.database, version, tuple(revisions)),
        circumstances=Circumstances(now, server.longest_transaction, server.replication_lag),
        tables=tables,
        statuses=tuple(_statuses(connection, rows, tables)),
        coverage=tuple(_hidden(server)),
    )


class _Server(NamedTuple):
    """A row of `_SERVER`: `seconds` is how long rows have been counted; None when they are not."""

    database: str
    version: str
    role: str
    seconds: float | None
    longest_transaction: timedelta | None
    hidden_sessions: int
    replication_lag: timedelta | None
    hidden_standbys: int


# Who may see of a session what it does: HAS_PGSTAT_PERMISSIONS in
# src/backend/utils/adt/pgstatfuncs.c. A standby that has caught up shows no lag when nothing is
# written (PostgreSQL docs, "pg_stat_replication"). On a standby itself rows are not counted.
_SERVER = SQL("""
WITH others AS (
    SELECT clock_timestamp() - xact_start AS age,
           NOT pg_has_role('pg_read_all_stats', 'USAGE') AND NOT pg_has_role(usesysid, 'USAGE')
           AS hidden
    FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    UNION ALL
    SELECT clock_timestamp() - prepared, false FROM pg_catalog.pg_prepared_xacts
    WHERE database = current_database()),
standbys AS (
    SELECT coalesce(replay_lag, CASE state WHEN 'streaming' THEN interval '0' END) AS lag
    FROM pg_catalog.pg_stat_replication WHERE state IS DISTINCT FROM 'backup')
SELECT current_database(), current_setting('server_version'), quote_ident(current_user),
       CASE WHEN NOT pg_is_in_recovery()
            THEN extract(epoch FROM clock_timestamp() - {since})::float END,
       (SELECT max(age) FROM others), (SELECT count(*) FROM others WHERE hidden),
       (SELECT max(lag) FROM standbys), (SELECT count(*) FROM standbys WHERE lag IS NULL)
""").format(since=STATISTICS_SINCE)


def _hidden(server: _Server) -> Iterator[str]:
    grant = f"GRANT pg_read_all_stats TO {server.role}"
    if server.hidden_sessions:
        yield (
            f"since when {counted(server.hidden_sessions, 'session')} of other roles may have been "
            f"in a transaction is hidden: {grant}"
        )
    if server.hidden_standbys:
        yield (
            f"how far {counted(server.hidden_standbys, 'standby')} may be behind is not known: "
            f"{grant}, or wait until the standby has caught up"
        )
    if server.seconds is None:
        yield (
            "how many rows are written is not known: connect to the primary server, with "
            "track_counts on"
        )


class _Row(NamedTuple):
    """A row of `_TABLES`: `parent` is what it is a partition of, `writes` are rows so far."""

    oid: int
    schema: str
    name: str
    is_partitioned: bool
    parent: int | None
    size: int
    rows: int | None
    indexes: int
    writes: int

    @property
    def called(self) -> Name:
        """Its name."""
        return Name(self.schema, self.name)


# A table that had no rows when it was analyzed may have some once it has pages.
_TABLES = SQL("""
SELECT c.oid, n.nspname, c.relname, c.relkind = 'p', i.inhparent,
       CASE WHEN c.relkind IN ('r', 'm') THEN coalesce(pg_total_relation_size(c.oid), 0) ELSE 0 END,
       CASE WHEN c.relkind = 'p' THEN 0 WHEN c.reltuples > 0 THEN c.reltuples
            WHEN c.relkind IN ('r', 'm') AND pg_relation_size(c.oid) = 0 THEN 0 END::bigint,
       coalesce(x.indexes, 0),
       pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)
       + pg_stat_get_tuples_deleted(c.oid)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_inherits AS i ON c.relispartition AND i.inhrelid = c.oid
LEFT JOIN (SELECT indrelid, count(*)::int AS indexes FROM pg_catalog.pg_index GROUP BY 1) AS x
       ON x.indrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'f', 'm') AND c.relpersistence <> 't'
  AND n.nspname !~ '^(pg_|information_schema$)'""")


def _touched(rows: Mapping[int, _Row], seconds: float | None) -> dict[int, Touched]:
    found = {
        oid: Touched(
            table=str(row.called),
            size=row.size,
            rows=row.rows,
            indexes=row.indexes,
            writes_per_second=seconds and row.writes / seconds,
        )
        for oid, row in rows.items()
    }
    for oid, row in rows.items():
        if not row.is_partitioned:
            for above in _ancestors(rows, oid):
                found[above] = _with(found[above], found[oid])
    return found


def _ancestors(rows: Mapping[int, _Row], oid: int) -> Iterator[int]:
    while (above := rows[oid].parent) is not None and above in rows:
        yield above
        oid = above


def _with(table: Touched, partition: Touched) -> Touched:
    """A partitioned table with the figures of one more partition, which holds rows itself."""
    known, rate = partition.rows, partition.writes_per_second
    return replace(
        table,
        size=table.size + partition.size,
        rows=None if table.rows is None or known is None else table.rows + known,
        partitions=table.partitions + 1,
        writes_per_second=None if rate is None else (table.writes_per_second or 0) + rate,
    )


def _statuses(
    connection: Connection, rows: Mapping[int, _Row], tables: Mapping[str, Touched]
) -> Iterator[Status]:
    """Those that `partitions list` shows, with the figures that are known by now."""
    live = catalog.read(connection, strict=False)
    nested = {oid for oid, row in rows.items() if row.is_partitioned and row.parent is not None}
    found = chosen(list(live.tables.values()), nested, (), None)
    partitions = catalog.partitions(connection, found)
    for table in found:
        measured = [_measured(partition, tables) for partition in partitions[table.name]]
        yield status(table, measured, live.now, {})


def _measured(partition: Partition, tables: Mapping[str, Touched]) -> Partition:
    touched = tables.get(str(partition.name))
    return (
        partition if touched is None else replace(partition, rows=touched.rows, size=touched.size)
    )
