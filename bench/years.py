"""Five years of the scheduled job, a run a day, of which one in ten fails.

    python bench/years.py
    python bench/years.py --days 365 --failing 0.3 --seed 7

The clock is simulated. Two tables get a row for each hour of each day: four before the run of the
day, the others after it. One is by day, in a zone with daylight saving time, and its partitions are
dropped a week after they were retained for 30 days; the other is by month, and its partitions are
archived after a year. Runs fail at random, in one of these ways:

    absent      it does not happen
    cut         from one of its statements on, the server cuts each connection that is used
    locked      a session has locked both tables against everybody
    read        a session reads both tables and does not end its transaction

A run counts as failed when it raised an error or left something undone. At the end there is one
more run. After it each table has the partitions that its policy asks for, and all rows of the time
that they are for; the archive has all other rows of its table. Exits with 1 when a promise is
broken.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from time import perf_counter
from typing import Any

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.locks import Patience
from alembic_enterprise.partitions.maintain import Job, maintain
from alembic_enterprise.partitions.managed import look
from alembic_enterprise.partitions.operations import SetPartitionPolicy
from alembic_enterprise.server import temporary_server
from alembic_enterprise.sql import Name, sqlstate
from bench._shared import exit_with, progress

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
RUN_AT = 4
"""The hour of the run."""

HOLD = 7 * DAY

POLICIES = (
    SetPartitionPolicy(
        "daily",
        "day",
        ahead=7,
        retain=30,
        timezone="Europe/Berlin",
        on_expire="drop",
        hold=HOLD.days,
    ),
    SetPartitionPolicy("monthly", "month", retain=12, on_expire="archive", archive="archive"),
)
STATEMENTS = 90
"""A little less than a run has on a day on which partitions come and go."""

REJECTED = "23514"
"""SQLSTATE of a row that finds no partition: check_violation."""

IMPATIENT = Patience(lock_timeout=50, attempts=2, longest=0.05, concurrently=0.2)
"""For runs that find a lock: the simulated world does not go on before they give up."""


@dataclass
class History:
    """What happened in the simulated days.

    Attributes:
        now: the simulated clock.
        rejected: the inserts that found no partition.
        failures: the failed runs, by what was done to them.
        unexpected: what runs left undone to which nothing was done.
        in_a_row: the failed runs since the last whole one.
        outage: the most failed runs in a row.
    """

    now: datetime = BEGIN
    inserts: int = 0
    rejected: int = 0
    runs: int = 0
    failures: Counter[str] = field(default_factory=Counter[str])
    unexpected: list[str] = field(default_factory=list[str])
    in_a_row: int = 0
    outage: int = 0

    def ran(self, kind: str | None, problems: Sequence[str]) -> None:
        """Note a run, what was done to it, and what it left undone."""
        self.runs += 1
        self.in_a_row = self.in_a_row + 1 if problems else 0
        self.outage = max(self.outage, self.in_a_row)
        if kind is None:
            self.unexpected += problems
        elif problems:
            self.failures[kind] += 1


def main() -> int:
    """Simulate, print; 0 when every promise is kept."""
    arguments = parse()
    with temporary_server() as server:
        engine = create_engine(server.url(), poolclass=NullPool)
        prepare(engine)
        start = perf_counter()
        history = live(engine, arguments)
        seconds = perf_counter() - start
        with engine.connect() as connection:
            found = list(promises(connection, history))
    progress("")
    print_history(history, seconds)
    kept = [print_promise(*promise) for promise in found]
    return 0 if all(kept) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=1826, help="from 2026-01-01 on")
    parser.add_argument("--failing", type=float, default=0.1, help="share of the runs")
    parser.add_argument("--seed", type=int, default=1, help="of what fails, and how")
    return parser.parse_args()


# The days


def prepare(engine: Engine) -> None:
    """Make the tables with their policies, and run once on the day before."""
    columns = SQL("CREATE TABLE {} (at timestamptz NOT NULL) PARTITION BY RANGE (at)")
    with engine.begin() as connection:
        sql.execute(connection, SQL("CREATE SCHEMA archive"))
        for policy in POLICIES:
            for statement in (columns.format(policy.name.sql), *policy.statements()):
                sql.execute(connection, statement)
    maintain(engine, Job(now=BEGIN - DAY))


def live(engine: Engine, arguments: argparse.Namespace) -> History:
    """Insert and run, day by day, and run once more."""
    history = History()
    chance = Random(arguments.seed)  # noqa: S311  # the same accidents each time
    with engine.connect() as connection:
        for number in range(arguments.days):
            progress(f"day {number + 1} of {arguments.days}: {history.failures.total()} failed")
            insert(connection, history, RUN_AT)
            if chance.random() < arguments.failing:
                kind = chance.choice(list(ACCIDENTS))
                history.ran(kind, ACCIDENTS[kind](engine, history.now, chance))
            else:
                history.ran(None, run(engine, history.now))
            insert(connection, history, 24 - RUN_AT)
    history.ran(None, run(engine, history.now))
    return history


def insert(connection: Connection, history: History, hours: int) -> None:
    """A row for each of the next hours, into each table."""
    rows = SQL("INSERT INTO {} SELECT {} + n * interval '1 hour' FROM generate_series(0, {}) AS n")
    for policy in POLICIES:
        history.inserts += 1
        try:
            with connection.begin():
                values = (policy.name.sql, Literal(history.now), Literal(hours - 1))
                sql.execute(connection, rows.format(*values))
        except DBAPIError as error:
            if sqlstate(error) != REJECTED:
                raise
            history.rejected += 1
    history.now += hours * HOUR


def run(engine: Engine, now: datetime, patience: Patience | None = None) -> list[str]:
    """Run the job; what it left undone."""
    try:
        report = maintain(engine, Job(now=now, patience=patience or Patience()))
    except DBAPIError as error:
        return [str(error)]
    if report.other is not None:
        return [f"another run is at work: {report.other}"]
    return [problem for table in report.tables for problem in table.problems]


# What happens to runs


def absent(_engine: Engine, _now: datetime, _chance: Random) -> list[str]:
    """Nothing runs."""
    return ["the run did not happen"]


def cut(engine: Engine, now: datetime, chance: Random) -> list[str]:
    """From some statement on, the server cuts each connection that is used."""
    left = chance.randrange(STATEMENTS)

    def listen(connection: Connection, *_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            driver: Any = connection.connection.dbapi_connection
            end = SQL("SELECT pg_terminate_backend({}, 5000)")
            sql.rows(admin, end.format(Literal(driver.info.backend_pid)))

    with create_engine(engine.url, poolclass=NullPool).connect() as admin:
        event.listen(engine, "before_cursor_execute", listen)
        try:
            return run(engine, now)
        finally:
            event.remove(engine, "before_cursor_execute", listen)


def locked(engine: Engine, now: datetime, _chance: Random) -> list[str]:
    """A session keeps everybody out of both tables."""
    return run_beside(engine, now, SQL("LOCK TABLE daily, monthly IN ACCESS EXCLUSIVE MODE"))


def read(engine: Engine, now: datetime, _chance: Random) -> list[str]:
    """A session has read both tables and does not end its transaction."""
    return run_beside(engine, now, SQL("SELECT FROM daily, monthly LIMIT 1"))


def run_beside(engine: Engine, now: datetime, statement: SQL) -> list[str]:
    """Run while another session stays in its transaction."""
    with engine.begin() as connection:
        sql.execute(connection, statement)
        return run(engine, now, IMPATIENT)


ACCIDENTS: dict[str, Callable[[Engine, datetime, Random], list[str]]] = {
    "absent": absent,
    "cut": cut,
    "locked": locked,
    "read": read,
}


# What is there at the end


def promises(connection: Connection, history: History) -> Generator[tuple[str, int, int]]:
    """Each promise: what it is about, what was found, and what it should be."""
    yield "rejected inserts", history.rejected, 0
    yield "things left undone by runs that nothing was done to", len(history.unexpected), 0
    for policy in POLICIES:
        partitions, periods, rows, hours = counted(connection, policy, history.now)
        yield f"partitions of {policy.table}", partitions, periods
        yield f"rows in {policy.table}", rows, hours
    yield "rows in monthly and its archive", in_archive(connection), (history.now - BEGIN) // HOUR
    overdue = [
        found
        for found in look(connection).retired
        if found.to_drop and found.since <= history.now - HOLD
    ]
    yield "partitions that should have been dropped", len(overdue), 0


_COUNTS = SQL("""
SELECT (SELECT count(*) FROM pg_inherits WHERE inhparent = {regclass}::regclass),
       (SELECT count(*) FROM generate_series(first, stop - step, step)),
       (SELECT count(*) FROM {table}),
       extract(epoch FROM {now} - greatest(first AT TIME ZONE {zone}, {begin}))::bigint / 3600
FROM (SELECT step, this + ({ahead} + 1) * step AS stop,
             greatest(this - {retain} * step,
                      date_trunc({every}, {eve} AT TIME ZONE {zone})) AS first
      FROM (SELECT date_trunc({every}, {now} AT TIME ZONE {zone}) AS this,
                   ('1 ' || {every})::interval AS step) AS clock) AS policy""")


def counted(connection: Connection, policy: SetPartitionPolicy, now: datetime) -> tuple[Any, ...]:
    """Partitions there are and should be, then rows there are and should be."""
    values = {
        "every": policy.every,
        "zone": policy.timezone,
        "ahead": policy.ahead,
        "retain": policy.retain,
        "begin": BEGIN,
        "eve": BEGIN - DAY,
        "now": now,
    }
    literals = {name: Literal(value) for name, value in values.items()}
    query = _COUNTS.format(regclass=policy.name.regclass, table=policy.name.sql, **literals)
    [counts] = sql.rows(connection, query)
    return counts


_ARCHIVE = SQL("SELECT relname FROM pg_class WHERE relnamespace = 'archive'::regnamespace")


def in_archive(connection: Connection) -> int:
    """How many rows the table by month has, and all that were archived."""
    names = [Name("archive", name) for (name,) in sql.rows(connection, _ARCHIVE)]
    count = SQL("SELECT count(*) FROM {}")
    found = [
        sql.rows(connection, count.format(name.sql)) for name in (Name(None, "monthly"), *names)
    ]
    return sum(rows for [(rows,)] in found)


# Printing


def print_history(history: History, seconds: float) -> None:
    """What happened on the way."""
    failed = history.failures.total()
    kinds = ", ".join(f"{name} {number}" for name, number in history.failures.items())
    print(f"{history.runs:,} runs in {seconds:.0f} s, {failed} of them failed: {kinds}")
    print(f"at most {history.outage} failed in a row; {history.inserts:,} inserts")
    for problem in history.unexpected:
        print(problem)


def print_promise(name: str, found: int, wanted: int) -> bool:
    """Print one promise; False when it is broken."""
    kept = found == wanted
    print(f"{'kept  ' if kept else 'BROKEN'} {name}: {found:,}, should be {wanted:,}")
    return kept


if __name__ == "__main__":
    exit_with(main)
