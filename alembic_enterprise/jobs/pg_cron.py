"""Jobs for pg_cron: one for each table with a policy, as the SQL that schedules it.

pg_cron runs SQL inside the server, so it can create partitions; DETACH CONCURRENTLY it cannot run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from psycopg.sql import SQL, Composable, Composed, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.jobs import render
from alembic_enterprise.jobs.schedule import Schedule
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.declaration import NAME_BYTES
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import CreateRangePartitions


@dataclass(frozen=True)
class Database:
    """Where the jobs work: the database, the role they run as, and whether pg_cron is in it."""

    name: str
    role: str
    has_pg_cron: bool


def render_jobs(connection: Connection, schedule: Schedule) -> str:
    """The script for the policies of a database.

    Raises:
        ConfigurationError: no table has a policy.
    """
    tables = catalog.read(connection).kept()
    if not tables:
        raise ConfigurationError(
            "no table has a policy: declare RangePartitions and run `alembic upgrade head`"
        )
    database = _database(connection)
    jobs = "\n\n".join(_jobs(tables, database, schedule))
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
    tables: Iterable[PartitionedTable], database: Database, schedule: Schedule
) -> Iterator[str]:
    for table in sorted(tables, key=lambda item: str(item.name)):
        if table.policy is None:
            continue
        if table.has_default:
            yield _left_out(table)
        else:
            yield sql.text_of(_scheduled(table, table.policy, database, schedule))


def _left_out(table: PartitionedTable) -> str:
    name = render.comment(str(table.name))
    return (
        f"-- {name} is left out: it has a default partition, which would be locked and scanned\n"
        "-- for each new one. `alembic-enterprise partitions maintain` knows a way around that."
    )


def _scheduled(
    table: PartitionedTable, policy: Policy, database: Database, schedule: Schedule
) -> Composed:
    arguments: list[Composable] = [
        Literal(job_name(database.name, str(table.name))),
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
    first = _FIRST.format(start=Literal(policy.start), zone=Literal(policy.timezone))
    return SQL("SET lock_timeout = '200ms';\n{}").format(operation.block(first))


_FIRST = SQL(
    "greatest({start}::date, (coalesce(\n"
    "        nullif(current_setting('alembic_enterprise.now', true), '')::timestamptz, now()\n"
    "    ) AT TIME ZONE {zone})::date)"
)
"""The day on which the block runs, where the policy says, or else the first that may exist."""


def job_name(database: str, table: str) -> str:
    """A name for a job; pg_cron cuts at 63 bytes, so that a long one ends in a digest instead."""
    name = f"{database}: {table}"
    if len(name.encode()) <= NAME_BYTES:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: NAME_BYTES - 9].decode(errors="ignore") + " " + digest
