"""What somebody does while a run is at work: rescues a partition, or presses Ctrl-C."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import laws
import pytest
from autogenerate import run_sql
from scheduled import (
    NOW,
    count,
    done,
    insert,
    names,
    only,
    reading,
    run,
    session,
    table,
)
from sqlalchemy import Connection, Engine, NullPool, create_engine

from alembic_enterprise.locks import Patience
from alembic_enterprise.partitions.operations import AttachPartition, SetPartitionPolicy

LATER = NOW + timedelta(days=1)


def retired(connection: Connection, engine: Engine) -> None:
    """September is detached, and to be dropped the day after."""
    span = ("2026-09-01", "2027-01-01")
    table(connection, "events", *span, retain=1, on_expire="drop", hold=1)
    insert(connection, "2026-09-09Z")
    run(engine)
    assert names(connection)[0] == "y2026_m10"


def attached_again(connection: Connection) -> None:
    bounds = ("2026-09-01", "2026-10-01")
    laws.apply(connection, [AttachPartition("events", "events_y2026_m09", *bounds)])


def kept_from_now_on(connection: Connection) -> None:
    laws.apply(connection, [SetPartitionPolicy("events", every="month", ahead=1)])


def made_anew(connection: Connection) -> None:
    run_sql(
        connection,
        "ALTER TABLE events_y2026_m09 RENAME TO old",
        "CREATE TABLE events_y2026_m09 AS SELECT 1",
    )


@pytest.mark.parametrize(
    ("decide", "told"),
    [
        (attached_again, "it is no longer the partition that was retired"),
        (made_anew, "it is no longer the partition that was retired"),
        (kept_from_now_on, "the policy has changed"),
    ],
)
def test_what_is_rescued_while_a_drop_waits_for_its_lock_stays(
    connection: Connection,
    engine: Engine,
    database_url: str,
    decide: Callable[[Connection], None],
    told: str,
) -> None:
    retired(connection, engine)
    with reading(database_url, "events_y2026_m09") as reader:

        def pause(_seconds: float) -> None:
            if reader.info.transaction_status:
                reader.execute("COMMIT")
                decide(connection)

        patience = Patience(lock_timeout=50)
        report = run(engine, now=LATER, patience=patience, sleep=pause)
    (problem,) = only(report).problems
    assert problem.startswith(f"drop public.events_y2026_m09: {told}")
    assert "drop public.events_y2026_m09" not in done(report)
    assert count(connection, "events_y2026_m09") == 1


def test_a_default_isolation_level_does_not_hide_a_rescue(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    """The look under the lock has to see what was committed while the lock was waited for."""
    retired(connection, engine)
    options = {"options": "-c default_transaction_isolation=serializable"}
    strict = create_engine(database_url, poolclass=NullPool, connect_args=options)
    with session(database_url) as other, ThreadPoolExecutor() as pool:
        other.execute("BEGIN")
        other.execute(
            "ALTER TABLE events ATTACH PARTITION events_y2026_m09"
            " FOR VALUES FROM ('2026-09-01Z') TO ('2026-10-01Z')"
        )
        future = pool.submit(run, strict, now=LATER, patience=Patience(lock_timeout=0))
        wait_until_locked(connection)
        other.execute("COMMIT")
        (problem,) = only(future.result()).problems
    assert "is no longer the partition that was retired" in problem
    assert count(connection) == 1


def wait_until_locked(connection: Connection) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    while not connection.exec_driver_sql(waiting).scalar_one():
        connection.rollback()
        time.sleep(0.005)
    connection.rollback()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_ctrl_c_leaves_no_guard(connection: Connection, engine: Engine, steps: int) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01", default=True)

    def interrupt(done: int, _expected: int) -> None:
        if done == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(engine, progress=interrupt)
    insert(connection, "2026-12-12Z", "2030-01-01Z")
    assert count(connection) == 2


# --- A partition that is at work


def test_statistics_wait_for_no_partition(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    """VACUUM and CREATE INDEX CONCURRENTLY hold that lock for long; autovacuum sees to those."""
    table(connection, start="2026-11-01", stop="2026-12-01")
    insert(connection, "2026-11-11Z")
    with session(database_url) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE events_y2026_m11 IN SHARE UPDATE EXCLUSIVE MODE")
        report = run(engine, patience=Patience(lock_timeout=50))
    assert report.exit_code(1) == 0
    rows = "SELECT reltuples::int FROM pg_class WHERE oid = 'events'::regclass"
    assert connection.exec_driver_sql(rows).scalar_one() == 1


# --- The table at the other end of a foreign key


@pytest.mark.parametrize(
    ("reference", "work"),
    [
        ("ALTER TABLE events ADD FOREIGN KEY (id) REFERENCES others", "UPDATE others SET id = id"),
        (
            "ALTER TABLE others ADD FOREIGN KEY (id, at) REFERENCES events",
            "SELECT count(*) FROM others",
        ),
    ],
    ids=["from", "to"],
)
def test_a_detach_has_those_at_the_other_end_of_a_foreign_key_wait_only_briefly(
    connection: Connection, engine: Engine, database_url: str, reference: str, work: str
) -> None:
    """It locks their table at its end; cut there, it is finalized."""
    columns = "id bigint NOT NULL, at {} NOT NULL, PRIMARY KEY (id, at)"
    table(connection, start="2026-09-01", stop="2027-01-01", retain=1, columns=columns)
    run_sql(connection, "CREATE TABLE others (id bigint PRIMARY KEY, at timestamptz)", reference)
    patience = Patience(lock_timeout=100, attempts=4, concurrently=3)
    with session(database_url) as one, session(database_url) as other:
        one.execute("BEGIN")
        one.execute(work.encode())
        other.execute("SET lock_timeout = '2s'")
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            other.execute(work.encode())
            pauses.append(seconds)
            if len(pauses) == 3:
                one.execute("COMMIT")

        report = run(engine, patience=patience, sleep=sleep)
    assert report.exit_code(1) == 0
    assert done(report)[:2] == ["mark public.events_y2026_m09", "detach public.events_y2026_m09"]
    assert (len(pauses), only(report).retries) == (3, 3)
    assert names(connection)[0] == "y2026_m10"
