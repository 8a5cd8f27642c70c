"""Tables with a policy, and runs of the scheduled job at a clock that stands still.

table(connection, "events", "2026-09-01", "2027-01-01", retain=1)
report = run(engine)                        # at NOW, without pauses
assert done(report) == ["create 2027-01-01 to 2027-02-01", ...]
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Never, TypedDict, Unpack

import laws
import psycopg
from autogenerate import partitions, run_sql
from sqlalchemy import Connection, Engine, event, make_url

from alembic_enterprise.locks import Patience
from alembic_enterprise.partitions.maintain import Job, maintain
from alembic_enterprise.partitions.operations import CreateRangePartitions, SetPartitionPolicy
from alembic_enterprise.partitions.report import Report, TableReport
from alembic_enterprise.sql import Name

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

COLUMNS = "id bigint NOT NULL, at {} NOT NULL, PRIMARY KEY (id, at)"


def table(
    connection: Connection,
    name: str = "events",
    start: str | None = None,
    stop: str | None = None,
    *,
    key: str = "timestamptz",
    columns: str = COLUMNS,
    **policy: Any,
) -> None:
    """A table by `at`, with partitions from `start` up to `stop` and a policy, by month.

    A default partition is made as well when the policy says so.
    """
    chosen: dict[str, Any] = {"every": "month", "ahead": 1, **policy}
    quoted = Name(None, name).text
    run_sql(connection, f"CREATE TABLE {quoted} ({columns.format(key)}) PARTITION BY RANGE (at)")
    zone, default = chosen.get("timezone", "UTC"), chosen.get("default", False)
    if start is not None:
        create = CreateRangePartitions(name, chosen["every"], start, stop, None, zone, default)
        laws.apply(connection, [create])
    laws.apply(connection, [SetPartitionPolicy(name, **chosen)])


class Choices(TypedDict, total=False):
    """Those of a `Job`."""

    now: datetime
    only: frozenset[str]
    dry_run: bool
    drop_detached: bool
    patience: Patience
    sleep: Callable[[float], None]
    uniform: Callable[[float, float], float]
    progress: Callable[[int, int], None]


def run(engine: Engine, **choices: Unpack[Choices]) -> Report:
    """Run the job at `NOW`; a pause would fail."""
    chosen: Choices = {"now": NOW, "sleep": refuse, **choices}
    return maintain(engine, Job(**chosen))


def refuse(_seconds: float) -> Never:
    """A sleep that must not happen."""
    raise AssertionError("there was a pause")


def names(connection: Connection, table: str = "events") -> list[str]:
    """The partitions of a table in the order of their bounds, without the table's name."""
    found = list(partitions(connection, f'"{table}"'))
    connection.commit()
    return [name.strip('"').removeprefix(f"{table}_") for name in found]


def relations(connection: Connection) -> list[str]:
    """All tables but the registry, with their schema unless that is public."""
    rows = connection.exec_driver_sql(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND relname <> 'alembic_enterprise_policy'"
        " AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)' ORDER BY 1"
    )
    found = [str(name) for (name,) in rows]
    connection.commit()
    return found


def only(report: Report) -> TableReport:
    """The report on the only table."""
    (found,) = report.tables
    return found


def of(report: Report, name: str) -> TableReport:
    """The report on one table."""
    return next(item for item in report.tables if item.name.name == name)


def done(report: Report) -> list[str]:
    """The steps of the only table, as one text each."""
    return [f"{kind} {subject}" for kind, subject in only(report).done]


def count(connection: Connection, table: str = "events") -> int:
    """The number of rows."""
    found: int = connection.exec_driver_sql(f'SELECT count(*) FROM "{table}"').scalar_one()
    connection.commit()
    return found


def insert(connection: Connection, *moments: str, table: str = "events") -> None:
    """One row for each moment, with ids from 1."""
    rows: Sequence[str] = [f"({n}, '{text}')" for n, text in enumerate(moments, 1)]
    run_sql(connection, f'INSERT INTO "{table}" (id, at) VALUES {", ".join(rows)}')


def recorded(engine: Engine) -> list[str]:
    """The statements that the engine is going to execute."""
    statements: list[str] = []

    def listen(*given: Any) -> None:
        statements.append(given[2])

    event.listen(engine, "before_cursor_execute", listen)
    return statements


def before(engine: Engine, beginning: str, action: Callable[[Connection], None]) -> None:
    """Act once, just before the first statement that begins so; `action` gets its connection."""
    waiting = [action]

    def listen(connection: Connection, *given: Any) -> None:
        if given[1].startswith(beginning) and waiting:
            waiting.pop()(connection)

    event.listen(engine, "before_cursor_execute", listen)


def session(database_url: str, **options: Any) -> psycopg.Connection:
    """One more session, in autocommit."""
    url = make_url(database_url).set(drivername="postgresql")
    text = url.render_as_string(hide_password=False)
    return psycopg.connect(text, autocommit=True, **options)


@contextmanager
def reading(database_url: str, table: str = "events") -> Generator[psycopg.Connection]:
    """A session that holds a table as a reader does, in a transaction it does not end."""
    with session(database_url, application_name="reports") as reader:
        reader.execute("BEGIN")
        reader.execute(f"SELECT count(*) FROM {table}".encode())
        yield reader


MANY = """
DO $$ BEGIN
    FOR n IN {first}..{last} LOOP
        EXECUTE format('CREATE TABLE many_%s (at timestamptz NOT NULL) PARTITION BY RANGE (at)', n);
        EXECUTE format('CREATE TABLE many_%s_1 PARTITION OF many_%s'
                       ' FOR VALUES FROM (''2026-11-01Z'') TO (''2027-01-01Z'')', n, n);
        EXECUTE format('CREATE TABLE many_%s_default PARTITION OF many_%s DEFAULT', n, n);
        INSERT INTO alembic_enterprise_policy SELECT to_regclass('many_' || n), policy
        FROM alembic_enterprise_policy WHERE relation = 'events'::regclass;
    END LOOP;
END $$"""


def many(connection: Connection, first: int, last: int) -> None:
    """More tables like 'events', with its policy."""
    run_sql(connection, MANY.format(first=first, last=last))
