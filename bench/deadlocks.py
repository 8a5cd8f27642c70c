"""Deadlocks between the scheduled job and sessions that use all partitions of a table.

    python bench/deadlocks.py
    python bench/deadlocks.py --count 1000 --seed 7

Several tables at a time, each with a session that reads and one that writes: transactions of a few
statements over all partitions, some of them REPEATABLE READ, with a pause of random length after
each statement. Meanwhile the steps of the job create the next partition and retire the oldest, run
as the job runs them, with a random pause before each. Both together are an interleaving; "in use"
says how many of the steps began while a session was in a transaction. Half of the tables have a
default partition, which takes more steps and stronger locks.

The control makes both changes in one transaction, beside a default partition and the same sessions.
It deadlocks: the attach locks the default partition, then the drop wants the table; a reader has
the table and wants the default partition.

The seed decides about statements and pauses; what meets what is up to the machine. Exits with 1
when there was a deadlock, or none in the control: nothing was measured.
"""

import argparse
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Event
from time import perf_counter

from psycopg.errors import DeadlockDetected
from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.locks import LOCKED
from alembic_enterprise.partitions import due, steps
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import CreateRangePartitions, SetPartitionPolicy
from alembic_enterprise.partitions.report import TableReport
from alembic_enterprise.partitions.retired import Ties, retired, retirement
from alembic_enterprise.partitions.steps import Step
from alembic_enterprise.partitions.worker import Job, Worker, set_up
from alembic_enterprise.server import temporary_server
from alembic_enterprise.sessions import connect
from alembic_enterprise.sql import Name, sqlstate
from bench._shared import exit_with, progress

TABLES = 4
CONTROL = 100
PARTITIONS = 6
PAUSE = 0.004
"""Seconds of the longest pause."""

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy("day", PARTITIONS - 1, retain=1, on_expire="drop", hold=0)
Statements = Callable[["Scene"], Sequence[Composable]]
"""The statements that a session chooses from, at a moment."""

ISOLATION = ("READ COMMITTED", "REPEATABLE READ")


@dataclass
class Scene:
    """A table whose partitions go on day by day, the sessions around it, and what happened.

    Attributes:
        days: how many partitions were retired so far.
        busy: the sessions that are in a transaction.
        steps: how many steps began.
        met: how many of them began while a session was in a transaction.
    """

    engine: Engine
    table: PartitionedTable
    chance: Random
    days: int = 0
    busy: set[str] = field(default_factory=set[str])
    steps: int = 0
    met: int = 0
    retries: int = 0
    deadlocks: int = 0

    def day(self, number: int) -> datetime:
        """When a partition begins, counted from the oldest one."""
        return BEGIN + (self.days + number) * DAY

    def partition(self, suffix: str) -> Partition:
        """A partition, by what follows the table's name."""
        name = Name(self.table.name.schema, f"{self.table.name.name}_{suffix}")
        return Partition(
            name, None, "", owned=True, pending=False, kind="table", rows=None, size=None
        )

    @property
    def oldest(self) -> Partition:
        """The partition that goes next."""
        return self.partition(f"{self.day(0):y%Y_m%m_d%d}")


def main() -> int:
    """Interleave, print; 0 when every promise is kept."""
    arguments = parse()
    with temporary_server() as server:
        scenes = [
            make_scene(server.url(), f"events_{number}", arguments.seed, default=number % 2 == 1)
            for number in range(TABLES)
        ]
        control = make_scene(server.url(), "control", arguments.seed, default=True)
        start = perf_counter()
        with ThreadPoolExecutor(TABLES) as pool:
            each = [arguments.count // TABLES] * TABLES
            list(pool.map(interleave, scenes, each))
        seconds = perf_counter() - start
        change_in_one_transaction(control)
    progress("")
    print_table(scenes, control, seconds)
    deadlocks = sum(scene.deadlocks for scene in scenes)
    kept = [
        print_promise("deadlocks", deadlocks, "at most 0", kept=deadlocks == 0),
        print_promise("the control's", control.deadlocks, "at least 1", kept=control.deadlocks > 0),
    ]
    return 0 if all(kept) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="interleavings in all")
    parser.add_argument("--seed", type=int, default=1, help="of the pauses and statements")
    return parser.parse_args()


# What is changed


def make_scene(url: str, name: str, seed: int, *, default: bool) -> Scene:
    """Make a table with its first partitions; a deadlock is noticed soon, and counted."""
    engine = create_engine(
        url, poolclass=NullPool, connect_args={"options": "-c deadlock_timeout=10ms"}
    )
    table = PartitionedTable(Name("public", name), None, POLICY, has_default=default, timed=True)
    chance = Random(f"{seed} {name}")  # noqa: S311  # to be had again
    scene = Scene(engine, table, chance)
    first, stop = (scene.day(number).date().isoformat() for number in (0, PARTITIONS))
    create = CreateRangePartitions(name, "day", first, stop, default=default)
    keep = SetPartitionPolicy.of(table.name, POLICY)
    columns = SQL("CREATE TABLE {} (n bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at)")
    oid = SQL("SELECT {}::regclass::oid").format(table.name.regclass)
    with engine.begin() as connection:
        for statement in (
            columns.format(table.name.sql),
            *create.statements(),
            *keep.statements(),
        ):
            sql.execute(connection, statement)
        [(number,)] = sql.rows(connection, oid)
    scene.table = replace(table, oid=number)

    def count(context: ExceptionContext) -> None:
        scene.deadlocks += isinstance(context.original_exception, DeadlockDetected)

    event.listen(engine, "handle_error", count)
    return scene


def interleave(scene: Scene, count: int) -> None:
    """Create and retire so many partitions while others use the table."""
    with in_use(scene), connect(scene.engine) as control:
        set_up(control, 0, 0)
        worker = Worker(scene.engine, control, Job(uniform=scene.chance.uniform))
        with closing(worker):
            for number in range(count):
                progress(f"{scene.table.name}: interleaving {number + 1} of {count}")
                report = TableReport(scene.table, POLICY, BEGIN)
                for step in one_by_one(scene):
                    time.sleep(scene.chance.uniform(0, PAUSE))
                    scene.steps += 1
                    scene.met += bool(scene.busy)
                    worker.run(step, report)
                scene.retries += report.retries
                scene.days += 1


def one_by_one(scene: Scene) -> Iterator[Step]:
    """The job's steps to create the next partition and to retire the oldest."""
    table = scene.table
    if table.has_default:
        held = due.bounds(
            table, POLICY, scene.day(PARTITIONS).date(), scene.day(PARTITIONS + 1).date()
        )
        yield from steps.guarded(creation(scene), scene.partition("default"), "at", held)
    else:
        yield creation(scene)
    yield from steps.retire(table, scene.oldest, POLICY, BEGIN, Ties())
    comment = retirement(table, scene.oldest, POLICY, BEGIN)
    found = retired(scene.oldest.name, comment, Ties())
    assert found is not None, "a step has marked it so"
    yield steps.drop(found)


def creation(scene: Scene) -> Step:
    """The step that creates the next partition."""
    start, stop = scene.day(PARTITIONS), scene.day(PARTITIONS + 1)
    return steps.create(scene.table, POLICY, start.date(), stop.date())


def change_in_one_transaction(scene: Scene) -> None:
    """The control: create and drop, both or nothing, again and again until it is done."""
    drop = SQL("DROP TABLE {}")
    with in_use(scene), scene.engine.connect() as connection:
        sql.execute(connection, SQL("SET lock_timeout = '200ms'"))
        connection.commit()
        while scene.days < CONTROL:
            scene.steps += 1
            scene.met += bool(scene.busy)
            with tolerated(connection):
                sql.execute(connection, creation(scene).statement)
                sql.execute(connection, drop.format(scene.oldest.name.sql))
                connection.commit()
                scene.days += 1
    scene.retries = scene.steps - scene.days


# Who uses the table


@contextmanager
def in_use(scene: Scene) -> Generator[None]:
    """Let a session read and one write while the block runs."""
    done = Event()
    with ThreadPoolExecutor() as pool:
        sessions = [
            pool.submit(use, scene, "reads", reads, done),
            pool.submit(use, scene, "writes", writes, done),
        ]
        try:
            yield
        finally:
            done.set()
        for session in sessions:
            session.result()


def use(scene: Scene, kind: str, statements: Statements, done: Event) -> None:
    """Run transactions, one after the other."""
    chance = Random(f"{kind} {scene.chance.random()}")  # noqa: S311  # to be had again
    with scene.engine.connect() as connection:
        while not done.is_set():
            connection.execution_options(isolation_level=chance.choice(ISOLATION))
            with tolerated(connection):
                for _ in range(chance.randint(2, 4)):
                    sql.execute(connection, chance.choice(statements(scene)))
                    scene.busy.add(kind)
                    time.sleep(chance.uniform(0, PAUSE))
                connection.commit()
            scene.busy.discard(kind)


@contextmanager
def tolerated(connection: Connection) -> Generator[None]:
    """Take back what did not get its locks, as an application would; the engine has counted it."""
    try:
        yield
    except DBAPIError as error:
        if sqlstate(error) not in LOCKED:
            raise
        connection.rollback()


def reads(scene: Scene) -> Sequence[Composable]:
    """What the session that reads does: all partitions, or first one of them."""
    table = scene.table.name.sql
    return [
        SQL("SELECT count(*) FROM {}").format(table),
        SQL("SELECT max(at) FROM {} WHERE n = 0").format(table),
        SQL("SELECT count(*) FROM {} WHERE at = {}").format(table, Literal(scene.day(4))),
    ]


def writes(scene: Scene) -> Sequence[Composable]:
    """What the session that writes does; rows go where no partition is about to be retired."""
    table = scene.table.name.sql
    return [
        SQL("UPDATE {} SET n = n + 1").format(table),
        SQL("SELECT FROM {} FOR UPDATE").format(table),
        SQL(
            "INSERT INTO {} SELECT 0, {} + number * interval '1 day'"
            " FROM generate_series(3, 5) AS number"
        ).format(table, Literal(scene.day(0))),
    ]


# Printing


def print_table(scenes: Sequence[Scene], control: Scene, seconds: float) -> None:
    """What happened, by the kind of table."""
    done = sum(scene.days for scene in scenes)
    print(f"{done:,} interleavings on {len(scenes)} tables in {seconds:.0f} s")
    print(f"{'':34}{'done':>7}{'steps':>8}{'in use':>8}{'retries':>9}{'deadlocks':>11}")
    plain = [scene for scene in scenes if not scene.table.has_default]
    others = [scene for scene in scenes if scene.table.has_default]
    print_row("one by one", plain)
    print_row("one by one, beside a default", others)
    print_row("in one transaction, the same", [control])


def print_row(name: str, scenes: Sequence[Scene]) -> None:
    """The sums of some tables."""
    done, steps_begun, met, retries, deadlocks = (
        sum(getattr(scene, figure) for scene in scenes)
        for figure in ("days", "steps", "met", "retries", "deadlocks")
    )
    print(f"{name:34}{done:7,}{steps_begun:8,}{met / steps_begun:8.0%}{retries:9,}{deadlocks:11,}")


def print_promise(name: str, found: int, limit: str, *, kept: bool) -> bool:
    """Print one promise; False when it is broken."""
    print(f"{'kept  ' if kept else 'BROKEN'} {name}: {found:,}, {limit}")
    return kept


if __name__ == "__main__":
    exit_with(main)
