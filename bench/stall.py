"""How long others wait while a partition is created or retired under a reader who stays long.

    python bench/stall.py
    python bench/stall.py --rounds 15 --hold 5

The reader counts all rows and leaves its transaction open for `--hold` seconds. The work begins in
that time and ends when it is done, which is checked: it is the scheduled job, or the statement that
one would write by hand. Meanwhile one session counts all rows and one inserts a row, each 10 ms
after its last answer; the slowest answer of a round is its stall. Each round has a new table.

Beside a default partition the server locks the whole table to detach another one, and the default
partition to attach one. The job gives up after its lock_timeout and tries again, so others wait
that long at most.

All sessions are threads of one process: what they take from each other counts as stall. Exits with
1 when a promise is broken, or when nobody waits for the statements by hand: nothing was measured.
"""

import argparse
import statistics
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread, Timer
from time import perf_counter

import psycopg
from psycopg.sql import SQL
from sqlalchemy import Engine, NullPool, create_engine

from alembic_enterprise import sql
from alembic_enterprise.locks import Patience
from alembic_enterprise.partitions.maintain import Job, maintain
from alembic_enterprise.partitions.operations import CreateRangePartitions, SetPartitionPolicy
from alembic_enterprise.server import temporary_server
from bench._shared import exit_with, progress

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PAUSE = 0.01

MOST = 100.0
LEAST_BY_HAND = 750.0
"""For each second that the reader stays: the work begins a little after it."""

TABLE = SQL("CREATE TABLE events (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at)")
ROWS = SQL(
    "INSERT INTO events SELECT n, '2026-09-01Z'::timestamptz + n * interval '1 hour'"
    " FROM generate_series(0, 1999) AS n"
)
READ = SQL("SELECT count(*) FROM events")
WRITE = SQL("INSERT INTO events VALUES (0, '2026-11-21Z')")
PARTITIONS = SQL("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")
BY_HAND = {
    "create": SQL(
        "CREATE TABLE events_new PARTITION OF events"
        " FOR VALUES FROM ('2026-12-01Z') TO ('2027-01-01Z')"
    ),
    "retire": SQL("DROP TABLE events_y2026_m09"),
}


@dataclass(frozen=True)
class Round:
    """What was measured once: the work, and the slowest answers, in milliseconds."""

    work: float
    read: float
    write: float
    retries: int

    @property
    def stall(self) -> float:
        """The slowest answer of all."""
        return max(self.read, self.write)


@dataclass
class Contender:
    """One way to create or to retire a partition, and what was measured."""

    name: str
    work: str
    by_hand: bool = False
    default: bool = False
    rounds: list[Round] = field(default_factory=list[Round])

    def median(self, figure: str) -> float:
        """The median of one figure of the rounds."""
        return float(statistics.median(getattr(item, figure) for item in self.rounds))


def main() -> int:
    """Measure and print; 0 when every promise is kept."""
    arguments = parse()
    contenders = [
        Contender("create, PARTITION OF", "create", by_hand=True),
        Contender("create, alembic-enterprise", "create"),
        Contender("create, beside a default one", "create", default=True),
        Contender("retire, DROP TABLE", "retire", by_hand=True),
        Contender("retire, alembic-enterprise", "retire"),
        Contender("retire, beside a default one", "retire", default=True),
    ]
    with temporary_server() as server:
        engine = create_engine(server.url(), poolclass=NullPool)
        for number in range(arguments.rounds):
            for contender in contenders:
                progress(f"round {number + 1} of {arguments.rounds}: {contender.name}")
                contender.rounds.append(measure(engine, contender, arguments.hold))
    progress("")
    print_table(contenders, arguments)
    return 0 if print_promises(contenders, arguments.hold) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way")
    parser.add_argument("--hold", type=float, default=2.0, help="seconds that the reader stays")
    return parser.parse_args()


# Measuring


def measure(engine: Engine, contender: Contender, hold: float) -> Round:
    """Do the work under a reader, with two sessions that ask all the time."""
    prepare(engine, contender)
    read, write = Probe(engine, READ), Probe(engine, WRITE)
    with connect(engine) as watcher:
        before = number_of_partitions(watcher)
        with reading(engine, hold), read.asking(), write.asking():
            start = perf_counter()
            retries = work(engine, contender)
            took = perf_counter() - start
        changed = number_of_partitions(watcher) - before
    if changed != (1 if contender.work == "create" else -1):
        raise SystemExit(f"{contender.name}: the number of partitions changed by {changed}")
    return Round(took * 1000, read.slowest * 1000, write.slowest * 1000, retries)


def work(engine: Engine, contender: Contender) -> int:
    """Create or retire one partition; the number of times it was tried again."""
    if contender.by_hand:
        with connect(engine) as session:
            session.execute(BY_HAND[contender.work])
        return 0
    [report] = maintain(engine, Job(now=NOW)).tables
    if report.problems:
        raise SystemExit("\n".join(report.problems))
    return report.retries


def prepare(engine: Engine, contender: Contender) -> None:
    """Make the table: it lacks the month to come, or has one more than it should retain."""
    stop = "2026-12-01" if contender.work == "create" else "2027-01-01"
    policy = SetPartitionPolicy(
        "events",
        "month",
        ahead=1,
        retain=None if contender.work == "create" else 1,
        default=contender.default,
        on_expire="drop",
        hold=0,
    )
    create = CreateRangePartitions("events", "month", "2026-09-01", stop, default=contender.default)
    drop = SQL("DROP TABLE IF EXISTS events")
    with engine.begin() as connection:
        for statement in (drop, TABLE, *create.statements(), *policy.statements(), ROWS):
            sql.execute(connection, statement)


def connect(engine: Engine) -> psycopg.Connection:
    """One more session, in autocommit."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)


def number_of_partitions(session: psycopg.Connection) -> int:
    """How many partitions the table has."""
    [(count,)] = session.execute(PARTITIONS).fetchall()
    return int(count)


@contextmanager
def reading(engine: Engine, hold: float) -> Generator[None]:
    """Read the table in a transaction that ends after so many seconds, however long the block."""
    with connect(engine) as reader:
        reader.execute("BEGIN")
        reader.execute(READ)
        end = Timer(hold, reader.execute, ["COMMIT"])
        end.start()
        try:
            yield
        finally:
            end.join()


class Probe:
    """A session that runs one statement all the time.

    Attributes:
        slowest: the longest time that the statement took, in seconds.
    """

    def __init__(self, engine: Engine, statement: SQL) -> None:
        self.slowest = 0.0
        self._engine = engine
        self._statement = statement

    @contextmanager
    def asking(self) -> Generator[None]:
        """Run the statement while the block runs; the first one is not measured."""
        done = Event()
        with connect(self._engine) as session:
            session.execute(self._statement)
            thread = Thread(target=self._ask, args=[session, done])
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join()

    def _ask(self, session: psycopg.Connection, done: Event) -> None:
        while not done.wait(PAUSE):
            start = perf_counter()
            session.execute(self._statement)
            self.slowest = max(self.slowest, perf_counter() - start)


# Printing


def print_table(contenders: Sequence[Contender], arguments: argparse.Namespace) -> None:
    """The medians of all rounds."""
    print(
        f"a reader stays for {arguments.hold} s; milliseconds and retries, "
        f"medians of {arguments.rounds} rounds"
    )
    print(f"{'':32}{'work':>9}{'slowest read':>14}{'slowest write':>15}{'retries':>9}")
    for item in contenders:
        print(
            f"{item.name:32}{item.median('work'):9,.0f}{item.median('read'):14,.0f}"
            f"{item.median('write'):15,.0f}{item.median('retries'):9,.0f}"
        )


def print_promises(contenders: Sequence[Contender], hold: float) -> bool:
    """Print one promise for each; False when one of them is broken."""
    by_hand = {item.work: item.median("stall") for item in contenders if item.by_hand}
    kept = [print_promise(item, by_hand[item.work], hold) for item in contenders]
    return all(kept)


def print_promise(contender: Contender, by_hand: float, hold: float) -> bool:
    """Print one promise; False when it is broken."""
    stall = contender.median("stall")
    most = MOST + (Patience().lock_timeout if contender.default else 0)
    least = LEAST_BY_HAND * hold
    kept = stall >= least if contender.by_hand else stall <= most
    limit = f"at least {least:,.0f}" if contender.by_hand else f"at most {most:,.0f}"
    ratio = "" if contender.by_hand else f" ({stall / by_hand:.3f} of the one by hand)"
    print(f"{'kept  ' if kept else 'BROKEN'} {contender.name}: {stall:,.0f} ms, {limit}{ratio}")
    return kept


if __name__ == "__main__":
    exit_with(main)
