"""Modes of locks, and what they exclude: the docs' table, held against a server."""

from collections.abc import Iterator

import pytest
from psycopg.sql import SQL
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.locks import LOCKED
from alembic_enterprise.plan.locks.table import Activity, LockMode, blocks, excluded, strongest
from alembic_enterprise.sql import sqlstate

LOCK = {mode: SQL("LOCK TABLE t IN {} MODE NOWAIT").format(SQL(mode.value)) for mode in LockMode}


@pytest.fixture
def connection(connection: Connection) -> Connection:
    """A connection to a database with a table `t`."""
    sql.execute(connection, SQL("CREATE TABLE t ()"))
    connection.commit()
    return connection


@pytest.fixture
def other(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


def test_modes_exclude_each_other_as_on_the_server(
    connection: Connection, other: Connection
) -> None:
    for held in LockMode:
        sql.execute(connection, LOCK[held])
        refused = {wanted for wanted in LockMode if is_refused(other, wanted)}
        connection.rollback()
        assert refused == held.conflicts, held


def is_refused(connection: Connection, mode: LockMode) -> bool:
    """Whether a mode cannot be had at once."""
    try:
        sql.execute(connection, LOCK[mode])
    except DBAPIError as error:
        if sqlstate(error) not in LOCKED:
            raise
        return True
    finally:
        connection.rollback()
    return False


def test_modes_are_known_by_the_names_in_pg_locks(connection: Connection) -> None:
    for mode in LockMode:
        sql.execute(connection, LOCK[mode])
    query = SQL("SELECT mode FROM pg_locks WHERE relation = 't'::regclass")
    assert {LockMode.of_catalog(name) for (name,) in sql.rows(connection, query)} == set(LockMode)


@pytest.mark.parametrize(
    ("mode", "blocked"),
    [
        (LockMode.ACCESS_SHARE, set[Activity]()),
        (LockMode.ROW_SHARE, set[Activity]()),
        (LockMode.ROW_EXCLUSIVE, set[Activity]()),
        (LockMode.SHARE_UPDATE_EXCLUSIVE, {Activity.DDL}),
        (LockMode.SHARE, {Activity.WRITES, Activity.DDL}),
        (LockMode.SHARE_ROW_EXCLUSIVE, {Activity.WRITES, Activity.DDL}),
        (LockMode.EXCLUSIVE, {Activity.WRITES, Activity.DDL}),
        (LockMode.ACCESS_EXCLUSIVE, {Activity.READS, Activity.WRITES, Activity.DDL}),
    ],
)
def test_what_a_mode_blocks(mode: LockMode, blocked: set[Activity]) -> None:
    assert blocks([mode]) == blocked


def test_no_lock_blocks_nothing() -> None:
    assert blocks([]) == set()


def test_the_strongest_modes_exclude_what_all_do() -> None:
    every = list(LockMode)
    assert strongest(every) == {LockMode.ACCESS_EXCLUSIVE}
    assert strongest(every[:2]) == {LockMode.ROW_SHARE}


def test_of_two_modes_of_which_neither_excludes_more_both_are_told() -> None:
    both = {LockMode.SHARE, LockMode.SHARE_UPDATE_EXCLUSIVE}
    assert strongest([*both, LockMode.ACCESS_SHARE]) == both
    assert excluded(both) == LockMode.SHARE_ROW_EXCLUSIVE.conflicts
