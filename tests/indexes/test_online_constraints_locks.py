"""Constraints added while others are at work: each row is read once, and nobody waits for it."""

from functools import partial
from typing import Any

import laws
import psycopg
import pytest
from autogenerate import run_sql
from constrained import BAD_ROWS, KEY, LEAVES, OPERATIONS, apply, refused, tables, values
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from waiting import waiting

from alembic_enterprise import sql
from alembic_enterprise.indexes.operations import CreateIndexOnline
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import Remaining


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `lines`, `orders`, and the plain table `mined`."""
    tables(connection)
    return connection


READING = ("verifying table", "validating foreign key constraint")


@pytest.mark.parametrize("kind", ["foreign key", "not null"])
def test_rows_are_read_by_validate_alone(table: Connection, kind: str) -> None:
    """The server says at this level of messages when it reads a table for a constraint."""
    running: list[str] = [""]
    reading: list[str] = []

    def listen(*given: Any) -> None:
        running.append(given[2])

    event.listen(table.engine, "before_cursor_execute", listen)
    driver = table.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        if (diagnostic.message_primary or "").startswith(READING):
            reading.append(running[-1])

    driver.add_notice_handler(hear)
    run_sql(table, "SET client_min_messages = debug1")
    apply(table, OPERATIONS[kind])
    assert len(reading) == len({*reading}) == len(LEAVES)  # each in a statement of its own
    assert all("VALIDATE CONSTRAINT" in statement for statement in reading)


@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_lock_held_is_waited_for_a_little_at_a_time(
    table: Connection, engine: Engine, kind: str
) -> None:
    """Somebody who comes while the operation waits does not wait for the holder of the lock."""
    with engine.connect() as writer, engine.connect() as other:
        other.exec_driver_sql("SET lock_timeout = '10s'")  # else both would wait for ever
        other.commit()
        writer.exec_driver_sql("INSERT INTO lines VALUES (5, 5, 5)")
        with waiting(engine, lambda own: apply(own, OPERATIONS[kind])) as future:
            try:
                for _ in range(3):
                    other.exec_driver_sql("INSERT INTO lines VALUES (6, 6, 6)")
                    other.rollback()
            finally:
                writer.rollback()
        future.result()
    apply(table, OPERATIONS[kind].reverse())


def test_whoever_is_in_the_way_is_named(table: Connection, engine: Engine) -> None:
    """Also when it is the table referred to that they hold."""
    claim, *statements = KEY.statements()
    sql.execute(table, claim)
    adding = next(part for part in statements if isinstance(part, Remaining))
    block = str(sql.rows(table, adding)[0][0])
    table.commit()
    with engine.connect() as writer:
        [pid] = writer.exec_driver_sql("SELECT pg_backend_pid()").scalars()
        writer.exec_driver_sql("DELETE FROM orders WHERE id = 6")
        with pytest.raises(DBAPIError, match=f"held by pid {pid}: DELETE FROM orders"):
            run_sql(table, block.replace("1..20", "1..1"))  # once is enough


@pytest.mark.parametrize("kind", OPERATIONS)
def test_only_one_is_at_work_on_a_table(table: Connection, engine: Engine, kind: str) -> None:
    """A validation and a build would wait for each other, and PostgreSQL would end one of them."""
    index = CreateIndexOnline("ix_lines", "lines", ["number"])
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    with engine.connect() as writer, engine.connect() as other:
        writer.exec_driver_sql("INSERT INTO lines VALUES (5, 5, 5)")
        other.exec_driver_sql("SET statement_timeout = '5s'")  # else both would wait for long
        other.commit()
        adding = OPERATIONS[kind]
        pairs: list[tuple[Operation, Operation]] = [(index, adding), (index, adding.reverse())]
        for first, second in [*pairs, (adding, index), (adding, adding.reverse())]:
            with waiting(engine, partial(laws.apply, operations=[first])) as future:
                try:
                    refused(other, second, "lines: pid ", " is at work on its indexes or")
                finally:
                    writer.rollback()
                    other.rollback()
            future.result()
            laws.apply(table, [first.reverse()])
            assert values(table, held) == [0]
            writer.exec_driver_sql("INSERT INTO lines VALUES (5, 5, 5)")


@pytest.mark.parametrize("kind", OPERATIONS)
def test_whoever_failed_is_at_work_no_more(table: Connection, kind: str) -> None:
    run_sql(table, f"INSERT INTO lines VALUES {BAD_ROWS[kind]}".replace("40, 1", "30, 1"))
    refused(table, OPERATIONS[kind], "mend them, then run again")
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert values(table, held) == [0]
