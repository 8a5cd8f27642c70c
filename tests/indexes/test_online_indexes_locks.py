"""Locks of others while an index is built, and what is told of the build meanwhile."""

import logging
from threading import Event

import laws
import pytest
from autogenerate import run_sql
from indexed import ALL, CREATE, PLAIN, indexes, two_tables
from psycopg.sql import SQL
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from waiting import waiting

from alembic_enterprise import sql
from alembic_enterprise.indexes.operations import patiently, progress
from alembic_enterprise.locks import Patience
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import REFUSED, Name, message, sqlstate


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `sales`, which has partitions, and the plain `orders`."""
    two_tables(connection)
    return connection


def apply(connection: Connection, *operations: Operation) -> None:
    laws.apply(connection, operations)


def test_attaching_waits_for_readers_a_little_at_a_time(table: Connection, engine: Engine) -> None:
    """Whoever reads a partition holds a lock on its new index as well, once planned with it."""
    run_sql(
        table,
        "CREATE INDEX ix_sales_customer ON ONLY sales (customer)",
        "CREATE INDEX sales_1_ix_sales_customer ON sales_1 (customer)",
    )
    with engine.connect() as reader:
        reader.exec_driver_sql("SELECT * FROM sales_1")
        with waiting(engine, lambda own: apply(own, CREATE)) as future:
            assert indexes(table)["ix_sales_customer"] is False
            reader.rollback()
        future.result()
    assert indexes(table) == ALL


def test_making_the_parent_waits_for_writers_a_little_at_a_time(
    table: Connection, engine: Engine
) -> None:
    with engine.connect() as writer:
        writer.exec_driver_sql("INSERT INTO sales VALUES (1)")
        with waiting(engine, lambda own: apply(own, CREATE)) as future:
            assert indexes(table) == {}
            writer.rollback()
        future.result()
    assert indexes(table) == ALL


def test_patience_ends_with_the_name_of_whoever_is_in_the_way(
    table: Connection, engine: Engine
) -> None:
    block = patiently(
        SQL("CREATE INDEX ix_sales ON ONLY sales (id)"),
        Name(None, "sales").regclass,
        "SHARE",
        Patience(lock_timeout=10, attempts=2, longest=0.01),
    )
    with engine.connect() as writer, engine.connect() as reader:
        [pid] = writer.exec_driver_sql("SELECT pg_backend_pid()").scalars()
        writer.exec_driver_sql("INSERT INTO sales VALUES (1)")
        reader.exec_driver_sql("SELECT * FROM sales")
        with pytest.raises(DBAPIError) as raised:
            sql.execute(table, block)
        assert sqlstate(raised.value) == REFUSED
        assert message(raised.value) == (
            f"sales: no lock within 10ms, 2 times, held by pid {pid}: INSERT INTO sales VALUES (1)"
            ". Run again, or set a longer lock_timeout"
        )
    table.rollback()
    sql.execute(table, block)
    table.commit()
    assert indexes(table) == {"ix_sales": False}


def test_the_lock_timeout_of_whoever_migrates_is_used(table: Connection, engine: Engine) -> None:
    block = patiently(
        SQL("LOCK TABLE sales"), Name(None, "sales").regclass, patience=Patience(attempts=1)
    )
    run_sql(table, "SELECT set_config('alembic_enterprise.lock_timeout', '20ms', false)")
    with engine.connect() as reader:
        reader.exec_driver_sql("SELECT * FROM sales")
        with pytest.raises(DBAPIError, match="no lock within 20ms, 1 times, held by pid"):
            sql.execute(table, block)


@pytest.mark.parametrize("timeout", ["lock_timeout", "statement_timeout"])
def test_a_timeout_cuts_no_build(table: Connection, engine: Engine, timeout: str) -> None:
    def build(own: Connection) -> str:
        run_sql(own, f"SET {timeout} = '50ms'")
        apply(own, PLAIN)
        return str(own.exec_driver_sql(f"SHOW {timeout}").scalar_one())

    with engine.connect() as writer:
        writer.exec_driver_sql("INSERT INTO orders VALUES (99)")
        with waiting(engine, build) as future:
            writer.rollback()
        assert future.result() == "50ms"
    assert indexes(table) == {"ix_orders_number": True}


# --- Told meanwhile


@pytest.mark.usefixtures("table")
def test_progress_is_logged_while_a_build_takes_long(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Here it waits for a writer, whom the message names."""
    waits, looked = Event(), Event()

    def wait(ended: Event, _interval: float) -> bool:
        if waits.is_set():
            looked.set()
            return ended.wait()
        while not (waits.wait(0.01) or ended.is_set()):
            pass
        return ended.is_set()

    def build(own: Connection) -> None:
        with progress.told(own, Name(None, "sales"), "ix_sales_customer", wait):
            own.rollback()
            apply(own, CREATE)

    caplog.set_level(logging.INFO, progress.log.name)
    with engine.connect() as writer:
        [pid] = writer.exec_driver_sql("SELECT pg_backend_pid()").scalars()
        writer.exec_driver_sql("INSERT INTO sales_2 VALUES (11)")
        with waiting(engine, build) as future:
            waits.set()
            while not (looked.wait(0.01) or future.done()):
                pass
            writer.rollback()
        future.result()
    told = [item.getMessage() for item in caplog.records if item.name == progress.log.name]
    assert "; ".join(told) == (
        "ix_sales_customer on sales: partition 2 of 4, waiting for writers before build "
        f"(pid {pid})"
    )


def test_sentences_of_progress() -> None:
    assert progress.sentence("building index: loading tuples in tree", 43, 0, 3, 24) == (
        "partition 3 of 24, building index: loading tuples in tree, 43 %"
    )
    assert progress.sentence("initializing", None, None, 1, 0) == "initializing"
