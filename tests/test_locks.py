"""Patience: whole transactions again, with jitter; who is in the way; one lock for each name."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count

import pytest
from psycopg.sql import SQL
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError

from alembic_enterprise import locks, sql
from alembic_enterprise.errors import LockedError
from alembic_enterprise.locks import Blocker, Patience
from alembic_enterprise.sql import sqlstate

EAGER = Patience(lock_timeout=100, attempts=3)


@pytest.fixture
def autocommit(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


@pytest.fixture
def locked(connection: Connection, autocommit: Connection) -> Connection:
    """A connection that holds a table in an open transaction; another one wants it."""
    autocommit.exec_driver_sql("CREATE TABLE wanted ()")
    autocommit.exec_driver_sql("SET lock_timeout = 100")
    connection.exec_driver_sql("LOCK TABLE wanted")
    return connection


def altering(autocommit: Connection) -> Callable[[], None]:
    return lambda: sql.execute(autocommit, SQL("ALTER TABLE wanted ADD COLUMN IF NOT EXISTS a int"))


# --- Again and again


def test_a_transaction_that_gets_no_lock_is_tried_again(
    autocommit: Connection, locked: Connection
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        locked.rollback()

    waited: list[int] = []
    locks.retried(
        altering(autocommit),
        patience=EAGER,
        sleep=sleep,
        uniform=lambda low, high: (low + high) / 2,
        waited=waited.append,
    )
    assert pauses == [0.1]
    assert waited == [1]


def test_after_the_last_attempt_it_is_an_error(autocommit: Connection, locked: Connection) -> None:
    pauses: list[float] = []
    with pytest.raises(LockedError, match="no lock within 100 ms, 3 times"):
        locks.retried(
            altering(autocommit), patience=EAGER, sleep=pauses.append, uniform=lambda _, high: high
        )
    assert pauses == [0.2, 0.4]
    assert locked.in_transaction()


def test_a_deadlock_is_tried_again() -> None:
    """Of a deadlock, one transaction is the victim: the error is made here."""
    tries = count(1)

    class Deadlock(Exception):  # noqa: N818  # named as psycopg names it
        sqlstate = "40P01"

    def transaction() -> int:
        number = next(tries)
        if number < 3:
            raise OperationalError("", None, Deadlock())
        return number

    found = locks.retried(
        transaction, patience=EAGER, sleep=lambda _seconds: None, uniform=lambda _, high: high
    )
    assert found == 3


def test_any_other_error_is_raised_at_once(autocommit: Connection) -> None:
    def fail(_seconds: float) -> None:
        pytest.fail("there was a pause")

    with pytest.raises(DBAPIError) as raised:
        locks.retried(
            altering(autocommit), patience=EAGER, sleep=fail, uniform=lambda _, high: high
        )
    assert sqlstate(raised.value) == "42P01"


def test_no_attempt_at_all_is_an_error() -> None:
    with pytest.raises(LockedError, match="give at least one"):
        locks.retried(
            lambda: None,
            patience=Patience(attempts=0),
            sleep=lambda _seconds: None,
            uniform=lambda _, high: high,
        )


def test_pauses_double_with_full_jitter_up_to_the_longest() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    patience = Patience(lock_timeout=200, longest=30)
    found = [patience.pause(attempt, uniform) for attempt in range(1, 10)]
    assert found == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert {low for low, _ in asked} == {0.0}


# --- Who is in the way


def test_a_blocker_is_named_while_it_blocks(
    engine: Engine, autocommit: Connection, locked: Connection
) -> None:
    locked.exec_driver_sql("SET LOCAL application_name = 'reports'")
    [(holder, user)] = sql.rows(locked, SQL("SELECT pg_backend_pid(), current_user::text"))
    [(pid,)] = sql.rows(autocommit, SQL("SELECT pg_backend_pid()"))
    autocommit.exec_driver_sql("SET lock_timeout = '2s'")
    with (
        autocommit_on(engine) as control,
        closing(locks.Watcher(control, 0.02)) as watcher,
        watcher.over(pid) as seen,
        pytest.raises(DBAPIError),
    ):
        altering(autocommit)()
    (blocker,) = seen
    assert (blocker.pid, blocker.user, blocker.application) == (holder, user, "reports")
    assert blocker.query == "SELECT pg_backend_pid(), current_user::text"
    assert str(blocker).startswith(f"pid {holder}, {user} (reports) since ")


@contextmanager
def autocommit_on(engine: Engine) -> Generator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def test_nobody_is_in_the_way(engine: Engine, connection: Connection) -> None:
    [(pid,)] = sql.rows(connection, SQL("SELECT pg_backend_pid()"))
    with autocommit_on(engine) as control:
        assert locks.blockers(control, pid) == []


def test_a_watcher_tells_the_blockers_of_each_statement_apart(
    engine: Engine, autocommit: Connection, locked: Connection
) -> None:
    [(holder,)] = sql.rows(locked, SQL("SELECT pg_backend_pid()"))
    [(pid,)] = sql.rows(autocommit, SQL("SELECT pg_backend_pid()"))
    autocommit.exec_driver_sql("SET lock_timeout = '2s'")
    with autocommit_on(engine) as control, closing(locks.Watcher(control, 0.02)) as watcher:
        with watcher.over(pid) as before:
            sql.rows(autocommit, SQL("SELECT pg_sleep(0.1)"))
        with watcher.over(pid) as during, pytest.raises(DBAPIError):
            altering(autocommit)()
        with watcher.over(pid) as after:
            sql.rows(autocommit, SQL("SELECT pg_sleep(0.1)"))
    assert [blocker.pid for blocker in during] == [holder]
    assert (before, after) == (set(), set())


def test_watching_ends_quietly_when_its_connection_is_cut(
    engine: Engine, connection: Connection
) -> None:
    with autocommit_on(engine) as control:
        [(pid,)] = sql.rows(control, SQL("SELECT pg_backend_pid()"))
        connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
        with closing(locks.Watcher(control, 0.0)) as watcher, watcher.over(pid) as seen:
            pass
        assert seen == set()


def test_a_blocker_without_a_query_or_name_can_be_printed() -> None:
    assert str(Blocker(7, "app", "", None, "")) == "pid 7, app: "


# --- One at a time


def test_a_lock_by_name_is_held_by_one_session(engine: Engine) -> None:
    with autocommit_on(engine) as one, autocommit_on(engine) as two:
        with locks.advisory_lock(one, "a") as first, locks.advisory_lock(two, "a") as second:
            assert (first, second) == (True, False)
            holder = locks.advisory_holder(two, "a")
            assert holder is not None
            assert [(holder.pid,)] == sql.rows(one, SQL("SELECT pg_backend_pid()"))
            assert locks.advisory_holder(two, "b") is None
        assert locks.advisory_holder(two, "a") is None
        with locks.advisory_lock(two, "a") as third:
            assert third


def test_the_only_run_holds_its_lock_to_the_end_and_others_are_told_who(engine: Engine) -> None:
    with autocommit_on(engine) as one, autocommit_on(engine) as two, ExitStack() as others:
        with ExitStack() as stack:
            assert locks.only_run(stack, one, "a") is None
            holder = locks.only_run(others, two, "a")
            assert holder is not None
            assert [(holder.pid,)] == sql.rows(one, SQL("SELECT pg_backend_pid()"))
        assert locks.only_run(others, two, "a") is None


def test_losing_the_session_of_a_lock_is_no_error(engine: Engine, connection: Connection) -> None:
    with autocommit_on(engine) as one, locks.advisory_lock(one, "a"):
        [(pid,)] = sql.rows(one, SQL("SELECT pg_backend_pid()"))
        connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")


def test_a_lock_of_another_database_is_another_lock(
    engine: Engine, other_database: Callable[..., str]
) -> None:
    other = create_engine(other_database(), poolclass=NullPool)
    with (
        autocommit_on(engine) as one,
        autocommit_on(other) as two,
        locks.advisory_lock(two, "a"),
    ):
        assert locks.advisory_holder(one, "a") is None
        with locks.advisory_lock(one, "a") as taken:
            assert taken


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("alembic_enterprise.partitions.maintain", 2265446944218775084),
        ("", -2039914840885289964),
    ],
)
def test_keys_never_change(name: str, key: int) -> None:
    """Two releases at work on one database need the same."""
    assert locks.advisory_key(name) == key
    assert -(2**63) <= key < 2**63
