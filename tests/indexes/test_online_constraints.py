"""Constraints added to tables with a past: taken names, rows in the way, partitions, locks."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import StringIO
from typing import Any

import killed
import laws
import psycopg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError
from autogenerate import run_sql
from constrained import KEY, LEAVES, NOT_NULL, OPERATIONS, UNIQUE, constraints, lines
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from waiting import waiting

from alembic_enterprise import sql
from alembic_enterprise.errors import OperationError
from alembic_enterprise.indexes.operations import (
    AddForeignKeyOnline,
    CreateIndexOnline,
    CreateUniqueConstraintOnline,
    SetNotNullOnline,
)
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import Remaining

MINED = CreateUniqueConstraintOnline("uq_mined", "mined", ["id"])
"""On a plain table."""


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `lines`, `orders`, and the plain table `mined`."""
    lines(connection)
    run_sql(
        connection,
        "CREATE TABLE mined (id int, number int)",
        "INSERT INTO mined SELECT n, n % 7 FROM generate_series(1, 9) AS n",
    )
    return connection


def apply(connection: Connection, *operations: Operation) -> None:
    laws.apply(connection, operations)


def refused(connection: Connection, operation: Operation, *texts: str) -> None:
    """The operation ends in one line that contains the texts."""
    with pytest.raises(CommandError) as raised:
        apply(connection, operation)
    connection.rollback()
    for text in texts:
        assert text in str(raised.value)


def values(connection: Connection, query: str) -> list[Any]:
    found = list(connection.exec_driver_sql(query).scalars())
    connection.rollback()
    return found


# --- What is there is taken, and what is done is not done again


@pytest.mark.parametrize("kind", OPERATIONS)
def test_adding_and_dropping_twice_changes_nothing(table: Connection, kind: str) -> None:
    before = laws.snapshot(table)
    apply(table, OPERATIONS[kind])
    after = laws.snapshot(table)
    apply(table, OPERATIONS[kind])
    assert laws.snapshot(table) == after
    apply(table, OPERATIONS[kind].reverse())
    apply(table, OPERATIONS[kind].reverse())
    assert laws.snapshot(table) == before


BAD_ROWS = {
    "unique": "(40, 1, 1), (40, 1, 1)",
    "foreign key": "(40, 1, 99)",
    "not null": "(40, 1, NULL)",
}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_new_partition_has_the_constraint(table: Connection, kind: str) -> None:
    apply(table, OPERATIONS[kind])
    run_sql(table, "CREATE TABLE lines_3 PARTITION OF lines FOR VALUES FROM (40) TO (50)")
    with pytest.raises(IntegrityError):
        run_sql(table, f"INSERT INTO lines VALUES {BAD_ROWS[kind]}")


def test_constraints_of_partitions_are_taken(table: Connection) -> None:
    run_sql(
        table,
        "ALTER TABLE lines_1 ADD CONSTRAINT own UNIQUE (id, number)",
        "CREATE UNIQUE INDEX own_index ON lines_2a (id, number)",
        "ALTER TABLE lines_1 ADD CONSTRAINT own_key FOREIGN KEY (order_id) REFERENCES orders"
        " NOT VALID",
        "ALTER TABLE lines_2 ADD CONSTRAINT own_keys FOREIGN KEY (order_id) REFERENCES orders",
    )
    apply(table, UNIQUE, KEY)
    assert constraints(table, "lines", "u") == {"uq_lines": True}
    assert constraints(table, "lines_1", "u") == {"own": True}
    assert constraints(table, "lines_2a", "u") == {"own_index": True}
    assert constraints(table, "lines", "f") == {"fk_lines": True}
    found = "SELECT DISTINCT conparentid <> 0 FROM pg_constraint WHERE conrelid = '{}'::regclass"
    for leaf in LEAVES:
        assert True in values(table, found.format(leaf))
    assert all(constraints(table, "lines_1", "f").values())


def test_keys_to_partitioned_tables(table: Connection) -> None:
    run_sql(
        table,
        "CREATE TABLE nodes (id int PRIMARY KEY, up int) PARTITION BY HASH (id)",
        "CREATE TABLE nodes_0 PARTITION OF nodes FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE nodes_1 PARTITION OF nodes FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO nodes SELECT n, n / 2 + 1 FROM generate_series(0, 30) AS n",
    )
    before = laws.snapshot(table)
    for name, column in (("lines", "order_id"), ("nodes", "up"), ("mined", "number")):
        key = AddForeignKeyOnline("fk_nodes", name, "nodes", [column], ["id"], ondelete="CASCADE")
        apply(table, key)
        assert constraints(table, name, "f")["fk_nodes"]
        apply(table, key, key.reverse())
        assert laws.snapshot(table) == before


def test_a_second_constraint_of_the_same_columns(table: Connection) -> None:
    """What is attached to one is not taken for the other."""
    unique = replace(UNIQUE, constraint_name="uq_second")
    key = replace(KEY, constraint_name="fk_second")
    apply(table, UNIQUE, KEY)
    before = laws.snapshot(table)
    apply(table, unique, key)
    assert constraints(table, "lines", "u") == {"uq_lines": True, "uq_second": True}
    assert constraints(table, "lines", "f") == {"fk_lines": True, "fk_second": True}
    apply(table, unique.reverse(), key.reverse())
    assert laws.snapshot(table) == before


def test_a_unique_constraint_of_a_plain_table(table: Connection) -> None:
    apply(table, replace(MINED, deferrable=True, initially="DEFERRED"))
    run_sql(table, "UPDATE mined SET id = id + 1")
    apply(table, MINED.reverse())
    assert constraints(table, "mined", "u") == {}


def test_an_index_that_is_there_becomes_the_constraints(table: Connection) -> None:
    """As after a run that was cut between the two."""
    run_sql(table, "CREATE UNIQUE INDEX uq_mined ON mined (id)")
    [index] = values(table, "SELECT 'uq_mined'::regclass::oid")
    apply(table, MINED)
    assert constraints(table, "mined", "u") == {"uq_mined": True}
    assert values(table, "SELECT 'uq_mined'::regclass::oid") == [index]


def test_nulls_not_distinct(table: Connection) -> None:
    [version] = values(table, "SELECT current_setting('server_version_num')::int")
    if version < 150000:
        pytest.skip("from PostgreSQL 15 on")
    for operation in (UNIQUE, MINED):
        apply(table, replace(operation, nulls_not_distinct=True))
    definition = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'uq_lines'"
    assert values(table, definition) == ["UNIQUE NULLS NOT DISTINCT (id, number)"]


# --- Each row is read once, and nobody waits for it


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
    statements = [part for part in KEY.statements() if isinstance(part, Remaining)]
    block = str(sql.rows(table, statements[0])[0][0])
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
        pairs: list[tuple[Operation, Operation]] = [(index, OPERATIONS[kind])]
        for first, second in [*pairs, (OPERATIONS[kind], index)]:
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


# --- Rows in the way


def test_duplicates_are_found_by_the_query_told(table: Connection) -> None:
    before = laws.snapshot(table)
    run_sql(table, "INSERT INTO lines VALUES (30, 1, 1), (31, NULL, 1), (31, NULL, 1)")
    with pytest.raises(CommandError) as raised:
        apply(table, UNIQUE)
    table.rollback()
    told = str(raised.value)
    assert told.startswith('could not create unique index "lines_2')
    query = told.partition("Find all duplicates with ")[2].partition(" and mend them")[0]
    assert values(table, query) == [30]
    assert constraints(table, "lines", "u") == {"uq_lines": False}
    apply(table, UNIQUE.reverse())
    assert laws.snapshot(table) == before
    with pytest.raises(CommandError):
        apply(table, UNIQUE)
    table.rollback()
    run_sql(table, "DELETE FROM lines WHERE id = 30")
    apply(table, UNIQUE)
    assert constraints(table, "lines", "u") == {"uq_lines": True}


def test_rows_that_refer_to_nothing_are_found_by_the_query_told(table: Connection) -> None:
    before = laws.snapshot(table)
    run_sql(table, "UPDATE lines SET order_id = 99 WHERE id IN (3, 4)")
    with pytest.raises(CommandError) as raised:
        apply(table, KEY)
    table.rollback()
    told = str(raised.value)
    assert told.startswith('insert or update on table "lines_1" violates foreign key constraint')
    assert 'Key (order_id)=(99) is not present in table "orders".' in told
    assert "or take it back with op.drop_foreign_key_online" in told
    query = told.partition("Find all such rows with ")[2].partition(" and mend them")[0]
    assert values(table, query) == [3, 4]
    with pytest.raises(IntegrityError):
        run_sql(table, "INSERT INTO lines VALUES (1, 1, 99)")
    table.rollback()
    apply(table, KEY.reverse())
    assert laws.snapshot(table) == before
    run_sql(table, query.replace("SELECT * FROM", "DELETE FROM"))
    apply(table, KEY)


def test_rows_of_a_key_of_many_columns(table: Connection) -> None:
    run_sql(
        table,
        "CREATE TABLE pairs (a int, b int, UNIQUE (a, b))",
        "INSERT INTO pairs VALUES (1, 1)",
        "INSERT INTO mined VALUES (1, NULL), (NULL, NULL)",
        "DELETE FROM mined WHERE id <> 1",
    )
    simple = AddForeignKeyOnline("fk", "mined", "pairs", ["id", "number"], ["a", "b"])
    apply(table, simple, simple.reverse())
    refused(
        table,
        replace(simple, match="FULL"),
        "MATCH FULL does not allow mixing of null and nonnull key values.",
        'SELECT * FROM mined AS referring WHERE NOT ("referring"."id", "referring"."number") IS'
        " NULL AND NOT EXISTS",
    )


def test_nulls_are_found_by_the_query_told(table: Connection) -> None:
    before = laws.snapshot(table)
    run_sql(table, "UPDATE lines SET order_id = NULL WHERE id IN (3, 4)")
    refused(
        table,
        NOT_NULL,
        "Find all such rows with SELECT * FROM lines_1 WHERE order_id IS NULL and mend them, then"
        " run again; or take it back with op.drop_not_null_online",
    )
    with pytest.raises(IntegrityError):
        run_sql(table, "INSERT INTO lines VALUES (1, 1, NULL)")
    table.rollback()
    apply(table, NOT_NULL.reverse())
    assert laws.snapshot(table) == before
    run_sql(table, "UPDATE lines SET order_id = 1 WHERE order_id IS NULL")
    apply(table, NOT_NULL)


# --- Refusals


def test_a_key_of_that_name_that_is_another(table: Connection) -> None:
    run_sql(table, "ALTER TABLE lines ADD CONSTRAINT fk_lines CHECK (id >= 0)")
    before = laws.snapshot(table)
    refused(
        table,
        KEY,
        "lines: lines has a constraint fk_lines already, which is CHECK ((id >= 0)): drop that, or "
        "give this one another name",
    )
    assert laws.snapshot(table) == before
    run_sql(table, "ALTER TABLE lines DROP CONSTRAINT fk_lines")
    apply(table, replace(KEY, ondelete="CASCADE"))
    refused(table, KEY, "lines has a constraint fk_lines already, which is FOREIGN KEY")


def test_an_index_of_that_name_that_is_another(table: Connection) -> None:
    run_sql(table, "CREATE INDEX uq_mined ON mined (id)")
    refused(table, MINED, "there is the index CREATE INDEX uq_mined ON public.mined")


def test_a_constraint_of_that_name_that_is_another(table: Connection) -> None:
    run_sql(table, "ALTER TABLE mined ADD CONSTRAINT uq_mined PRIMARY KEY (id)")
    refused(table, MINED, "there is the constraint PRIMARY KEY (id) already")
    run_sql(table, "ALTER TABLE mined DROP CONSTRAINT uq_mined")
    apply(table, replace(MINED, deferrable=True))
    refused(
        table,
        MINED,
        "mined: it has a constraint uq_mined already, which is checked at another time, UNIQUE (id)"
        " DEFERRABLE: drop that, or give",
    )


def test_a_column_that_is_not_there(table: Connection) -> None:
    refused(table, SetNotNullOnline("lines", "Bad"), 'it has no column "Bad": correct the name')


def test_foreign_tables_have_no_keys(table: Connection) -> None:
    run_sql(
        table,
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
        "CREATE FOREIGN TABLE far PARTITION OF lines DEFAULT SERVER elsewhere",
    )
    refused(table, KEY, "its partition far is a foreign table, which has no foreign keys: detach")
    refused(table, UNIQUE, "its partition public.far is a foreign table")
    apply(table, NOT_NULL)


def test_a_partitions_own_key_of_that_name_is_not_dropped(table: Connection) -> None:
    """It refers to another table; only an equal one can be what a try has left."""
    run_sql(
        table,
        "CREATE TABLE others (id int PRIMARY KEY)",
        "ALTER TABLE lines_1 ADD CONSTRAINT fk_lines FOREIGN KEY (number) REFERENCES others"
        " NOT VALID",
    )
    before = laws.snapshot(table)
    apply(table, KEY.reverse())
    assert laws.snapshot(table) == before


def test_a_key_to_a_table_that_is_gone_is_gone(table: Connection) -> None:
    run_sql(table, "DROP TABLE orders")
    apply(table, KEY.reverse())


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE INDEX uq_mined ON mined (id)",
        "CREATE UNIQUE INDEX uq_mined ON mined (id, number)",
        "CREATE UNIQUE INDEX uq_mined ON mined (id) INCLUDE (number)",
        "CREATE UNIQUE INDEX uq_mined ON mined (abs(id))",
        "CREATE UNIQUE INDEX uq_mined ON mined (id) WHERE number > 3",
        "ALTER TABLE mined ADD CONSTRAINT uq_mined PRIMARY KEY (id)",
    ],
)
def test_what_is_no_such_constraint_is_not_dropped(table: Connection, definition: str) -> None:
    run_sql(table, definition)
    before = laws.snapshot(table)
    refused(table, MINED.reverse(), "mined: uq_mined is no unique constraint of it, nor left by")
    assert laws.snapshot(table) == before
    assert values(table, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [0]


def test_an_index_that_a_try_has_left_is_dropped(table: Connection) -> None:
    before = laws.snapshot(table)
    run_sql(table, "CREATE UNIQUE INDEX uq_mined ON mined (id)")
    apply(table, MINED.reverse())
    assert laws.snapshot(table) == before


def test_words_that_are_none() -> None:
    with pytest.raises(OperationError, match="ondelete='cascade' is not known here: write one of"):
        replace(KEY, ondelete="cascade")
    with pytest.raises(OperationError, match="match='PARTIAL' is not known"):
        replace(KEY, match="PARTIAL")
    for operation in (KEY, UNIQUE):
        with pytest.raises(OperationError, match="initially='later' is not known: write"):
            replace(operation, initially="later")


def test_a_name_that_would_be_cut() -> None:
    with pytest.raises(OperationError, match="at most 63"):
        CreateUniqueConstraintOnline("u" * 64, "lines", ["id"])


# --- Killed, and offline


def alone(connection: Connection, operation: Operation) -> None:
    """Run it, not turned away by the killed run, whose end the server has yet to notice."""
    while True:
        try:
            return apply(connection, operation)
        except CommandError as error:
            assert "is at work on its index" in str(error)  # noqa: PT017  # the only one
            connection.rollback()


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_run_killed_before_any_statement_is_carried_on_or_taken_back(
    table: Connection, database_url: str, kind: str
) -> None:
    operation = OPERATIONS[kind]
    before = laws.snapshot(table)
    apply(table, operation)
    after = laws.snapshot(table)
    apply(table, operation.reverse())
    with killed.killer(kind) as run_until:
        ended, number = "", 0
        while ended != "finished":
            number += 1
            ended = run_until(database_url, number)
            alone(table, operation)
            assert laws.snapshot(table) == after, f"killed before change {number}"
            apply(table, operation.reverse())
            assert run_until(database_url, number) == ended
            alone(table, operation.reverse())
            assert laws.snapshot(table) == before, f"taken back before change {number}"
    assert number > len(LEAVES)


def test_scripts_run_by_psql_do_the_same(
    table: Connection, other_database: Callable[[], str], psql: Callable[[str, str], None]
) -> None:
    everything = [*OPERATIONS.values(), MINED]
    buffer = StringIO()
    options = {"as_sql": True, "output_buffer": buffer}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    with context.begin_transaction():
        for operation in everything:
            Operations(context).invoke(operation)
    apply(table, *everything)
    url = other_database()
    with create_engine(url, poolclass=NullPool).connect() as connection:
        lines(connection)
        run_sql(connection, "CREATE TABLE mined (id int, number int)")
        psql(url, buffer.getvalue())
        assert laws.snapshot(connection) == laws.snapshot(table)
