"""Sessions of a run: what they set for themselves, and what their errors say."""

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

import pytest
from poolers import pooler
from psycopg.sql import SQL
from sqlalchemy import Connection, Engine, NullPool, create_engine

from alembic_enterprise import sessions, sql
from alembic_enterprise.errors import ConfigurationError, LockedError, StepError
from alembic_enterprise.locks import Blocker, Watcher

TIMEOUTS = ["statement_timeout", "idle_session_timeout", "lock_timeout", "transaction_timeout"]


@contextmanager
def limited(url: str, *settings: str) -> Generator[Connection]:
    """A session of a role or database with settings of its own."""
    options = " ".join(f"-c {setting}" for setting in settings)
    engine = create_engine(url, poolclass=NullPool, connect_args={"options": options})
    with closing(sessions.connect(engine)) as connection:
        yield connection


@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_no_timeout_of_a_role_cuts_a_run(
    connection: Connection, database_url: str, timeout: str
) -> None:
    known = SQL("SELECT current_setting({}, true) IS NOT NULL").format(timeout)
    if sql.rows(connection, known) == [(False,)]:
        pytest.skip(f"this server has no {timeout}")
    with limited(database_url, f"{timeout}=7s") as session:
        pid = sessions.set_up(session, "a run", lock_timeout="0")
        assert session.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == pid
        assert session.exec_driver_sql(f"SHOW {timeout}").scalar_one() == "0"
        assert session.exec_driver_sql("SHOW application_name").scalar_one() == "a run"


def test_a_session_that_may_not_write_is_told(connection: Connection, database_url: str) -> None:
    version = sessions.require_server(connection, writes=True)
    with limited(database_url, "default_transaction_read_only=on") as session:
        assert sessions.require_server(session, writes=False) == version
        with pytest.raises(ConfigurationError, match="without default_transaction_read_only"):
            sessions.require_server(session, writes=True)


def test_an_error_says_which_step_it_was(database_url: str) -> None:
    blockers = {Blocker(1, "earlier", "", None, "")}
    with limited(database_url) as control, closing(Watcher(control, 0.0)) as watcher:

        def refused() -> None:
            raise LockedError("no lock")

        def step(work: Callable[[], object]) -> None:
            with sessions.watched("swap", watcher, 0, blockers):
                work()

        with pytest.raises(LockedError, match=r"^swap: no lock, held by somebody\. Run again, or"):
            step(refused)
        with pytest.raises(StepError, match=r'^swap: .*"no" does not exist \(SQLSTATE 42P01\)\.'):
            step(lambda: control.exec_driver_sql("SELECT FROM no"))
    assert [blocker.user for blocker in blockers] == ["earlier"]


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([(1, 2), (1, 2)], False),
        ([(1, 1), (1, 1)], True),  # a pool of one
        ([(1, 2), (3, 2)], True),
        ([(1, 2), (1, 3)], True),
        ([(1, 2), (2, 1)], True),
    ],
)
def test_sessions_have_a_process_of_their_own_or_share_them(
    rounds: list[tuple[int, int]], expected: bool
) -> None:
    assert sessions.shared(rounds) is expected


def test_a_session_that_a_pooler_hands_on_keeps_no_setting(database_url: str) -> None:
    with pooler(database_url, "session", 1, "server_reset_query =") as url:
        engine = create_engine(url, poolclass=NullPool)
        session = sessions.connect(engine)
        pid = sessions.set_up(session, "a run", lock_timeout="7s")
        sessions.close(session)
        with engine.connect() as other:
            assert other.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == pid
            assert other.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"
            assert other.exec_driver_sql("SHOW application_name").scalar_one() != "a run"


def test_a_session_that_was_cut_is_closed(connection: Connection, engine: Engine) -> None:
    session = sessions.connect(engine)
    pid = sessions.set_up(session, "a run", lock_timeout="0")
    connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
    sessions.close(session)
    assert session.closed
