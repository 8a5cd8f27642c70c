"""Jobs for pg_cron: one for each table with a policy, as the SQL that schedules it.

pg_cron runs SQL inside the server, so it can create partitions; DETACH CONCURRENTLY it cannot run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from psycopg.sql import SQL, Composable, Composed, Literal
from sqlalchemy import Connection

from alembic_enterprise import registry, sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.jobs import render
from alembic_enterprise.jobs.schedule import Schedule
from alembic_enterprise.partitions.catalog import PartitionedTable, why_unusable
from alembic_enterprise.partitions.declaration import NAME_BYTES
from alembic_enterprise.partitions.managed import other_owners, read_policies
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Database:
    """Where the jobs work: the database, the role they run as, and whether pg_cron is in it."""

    name: str
    role: str
    has_pg_cron: bool


def render_jobs(connection: Connection, schedule: Schedule) -> str:
    """The script for the policies of a database; comments say what it leaves out.

    Raises:
        ConfigurationError: no table has a policy, one cannot be used, or the role may read none of
            them, or owns none of their tables.
    """
    live = read_policies(connection)
    if unusable := why_unusable(live.unusable()):
        raise ConfigurationError("\n".join(unusable))
    tables = live.kept()
    if not tables:
        raise ConfigurationError(
            "no table has a policy: declare RangePartitions and run `alembic upgrade head`"
        )
    owners = other_owners(connection, tables)
    if len(owners) == len(tables):
        owner, role = owners[tables[0].oid]
        raise ConfigurationError(
            f"{tables[0].name} belongs to {owner}, and {role} may not alter it: connect as {owner}"
        )
    database = _database(connection)
    jobs = "\n\n".join(
        [
            *map(_closed, registry.closed(connection).values()),
            *_jobs(tables, owners, database, schedule),
        ]
    )
    where = f"database {database.name}"
    if not database.has_pg_cron:
        where = "the database that has the extension (SHOW cron.database_name)"
    return render.pg_cron(jobs, database.role, where)


def _database(connection: Connection) -> Database:
    query = SQL(
        "SELECT current_database(), current_user,"
        " EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_cron')"
    )
    [(name, role, has_pg_cron)] = sql.rows(connection, query)
    return Database(name, role, has_pg_cron)


def _jobs(
    tables: Iterable[PartitionedTable],
    owners: Mapping[int, tuple[str, str]],
    database: Database,
    schedule: Schedule,
) -> Iterator[str]:
    """A job for each table, or why it has none; `owners` as `other_owners` gives them."""
    for table in sorted(tables, key=lambda item: str(item.name)):
        if table.policy is None:
            continue
        if table.oid in owners:
            yield _not_ours(table, *owners[table.oid])
        elif table.has_default:
            yield _with_default(table)
        else:
            yield sql.text_of(_scheduled(table, table.policy, database, schedule))


def _closed(name: str) -> str:
    return (
        f"-- {render.comment(name)} may not be read, so the tables that have their\n"
        "-- policies there are left out: render this as their owner, too."
    )


def _not_ours(table: PartitionedTable, owner: str, role: str) -> str:
    name, owner, role = map(render.comment, (str(table.name), owner, role))
    return (
        f"-- {name} is left out: it belongs to {owner}, and {role} may not alter it.\n"
        f"-- Render this as {owner}, too."
    )


def _with_default(table: PartitionedTable) -> str:
    name = render.comment(str(table.name))
    return (
        f"-- {name} is left out: it has a default partition, which would be locked and scanned\n"
        "-- for each new one. `alembic-enterprise partitions maintain` knows a way around that."
    )


def _scheduled(
    table: PartitionedTable, policy: Policy, database: Database, schedule: Schedule
) -> Composed:
    arguments: list[Composable] = [
        Literal(job_name(database.name, table.name)),
        Literal(schedule.text),
        sql.dollar_quoted(_command(table, policy), "job"),
    ]
    if database.has_pg_cron:
        return SQL("SELECT cron.schedule({});").format(SQL(", ").join(arguments))
    arguments += [Literal(database.name), Literal(database.role)]
    return SQL("SELECT cron.schedule_in_database({});").format(SQL(", ").join(arguments))


def _command(table: PartitionedTable, policy: Policy) -> Composed:
    """Create from the current period on: expired partitions must not come back."""
    operation = CreateRangePartitions(
        table.name.name,
        policy.every,
        start="0001-01-01",  # the block gets the day on which it runs instead
        ahead=policy.ahead,
        timezone=policy.timezone,
        schema=table.name.schema,
        partition_by=policy.partition_by,
        shards=policy.shards,
    )
    first = _FIRST.format(start=Literal(policy.start), now=sql.NOW, zone=Literal(policy.timezone))
    return SQL("SET lock_timeout = '200ms';\n{}").format(operation.block(first))


_FIRST = SQL("greatest({start}::date, ({now} AT TIME ZONE {zone})::date)")
"""The day on which the block runs, where the policy says, or else the first that may exist."""


def job_name(database: str, table: Name) -> str:
    """A name for a job; pg_cron cuts at 63 bytes, so that a long one ends in a digest instead.

    It replaces a job of the same name: a schema and a table are quoted where it is not plain which
    of them a dot belongs to.
    """
    has_dot = "." in f"{table.schema}{table.name}"
    name = f"{database}: {table.text if has_dot else table}"
    if len(name.encode()) <= NAME_BYTES:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: NAME_BYTES - 9].decode(errors="ignore") + " " + digest
