"""Transactions that were prepared hold locks without a session, and are named where in the way."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from autogenerate import run_sql
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import locks, server, sql
from alembic_enterprise.errors import LockedError
from alembic_enterprise.indexes.operations.patience import patiently
from alembic_enterprise.locks import Blocker, Patience
from alembic_enterprise.plan.saved.words import held_by

GID = "o'rder 1"
ENDED = "COMMIT PREPARED 'o''rder 1' or ROLLBACK PREPARED 'o''rder 1'"


@pytest.fixture(scope="module")
def engine(binaries: Path) -> Iterator[Engine]:
    """An engine on a server that allows some, with one that holds locks on two tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(server.SETTINGS, "max_prepared_transactions", "2")
        with server.temporary_server(binaries) as started:
            engine = create_engine(started.url(), poolclass=NullPool)
            with engine.connect() as connection:
                run_sql(
                    connection,
                    "CREATE TABLE orders (id int PRIMARY KEY)",
                    "CREATE TABLE lines (order_id int)",
                    "CREATE TABLE others ()",
                    "CREATE TABLE moved ()",
                )
                run_sql(connection, "LOCK TABLE others", "PREPARE TRANSACTION 'another'")
                run_sql(
                    connection,
                    "INSERT INTO lines VALUES (1)",
                    "SAVEPOINT later",
                    "INSERT INTO orders VALUES (1)",
                    "ALTER TABLE moved ADD n int",
                    SQL("PREPARE TRANSACTION {}").format(GID).as_string(),
                )
            yield engine


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def test_an_online_operation_names_it(connection: Connection) -> None:
    block = patiently(
        SQL("ALTER TABLE lines ADD n int"), Literal("lines"), patience=Patience(50, attempts=1)
    )
    with pytest.raises(DBAPIError) as raised:
        sql.execute(connection, block)
    assert f"held by a prepared transaction: end it with {ENDED}. Run again" in str(raised.value)


def test_it_is_a_blocker(engine: Engine, connection: Connection) -> None:
    [(pid, user)] = sql.rows(connection, SQL("SELECT pg_backend_pid(), current_user::text"))
    connection.exec_driver_sql("SET lock_timeout = '1s'")
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as control,
        closing(locks.Watcher(control, 0.02)) as watcher,
        watcher.over(pid) as seen,
        pytest.raises(DBAPIError),
    ):
        connection.exec_driver_sql("ALTER TABLE lines ADD n int")
    [blocker] = seen
    assert (blocker.pid, blocker.user) == (0, user)
    assert str(blocker).startswith(f"a prepared transaction, {user} since ")
    assert str(blocker).endswith(f": end it with {ENDED}")
    assert held_by(seen) == f", held by {blocker}"


def test_a_reader_is_told_of_it(engine: Engine) -> None:
    with engine.connect() as reader:
        reader.exec_driver_sql("SET LOCAL lock_timeout = 50")
        with pytest.raises(LockedError, match="In the way: ") as raised, locks.reading(reader):
            reader.exec_driver_sql("SELECT FROM moved")
    assert f"end it with {ENDED} (locks moved)" in str(raised.value)


def test_it_can_be_printed_without_a_moment() -> None:
    assert str(Blocker(0, "app", "", None, "end it")) == "a prepared transaction, app: end it"
