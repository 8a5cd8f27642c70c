"""What a session sees of a statement that it ran, and what others see of one that stands still."""

from typing import LiteralString

import pytest
from lock_forms.freezing import frozen
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.locks.traces import Look, Traces, difference, look, relations
from alembic_enterprise.sessions import connect
from alembic_enterprise.sql import Name, sqlstate

TABLE = Name('sch"ema', 'we"ird: %s {x}')
INDEX = Name('sch"ema', "Mixed Case")


@pytest.fixture
def connection(connection: Connection) -> Connection:
    """A connection to a database with a table of two rows and an index, by names that hurt."""
    names = {"schema": Identifier(str(TABLE.schema)), "table": TABLE.sql}
    for statement in (
        "CREATE SCHEMA {schema}",
        "CREATE TABLE {table} (id integer NOT NULL, note varchar(10))",
        "INSERT INTO {table} VALUES (1, 'one'), (2, 'two')",
    ):
        sql.execute(connection, SQL(statement).format(**names))
    index = SQL("CREATE INDEX {} ON {} (id)")
    sql.execute(connection, index.format(Identifier(INDEX.name), TABLE.sql))
    connection.commit()
    return connection


def traces(connection: Connection, *statements: LiteralString) -> tuple[Look, Traces]:
    """The traces of the last statement; the others come before it in the same transaction."""
    *earlier, last = [SQL(statement).format(TABLE.sql) for statement in statements]
    for statement in earlier:
        sql.execute(connection, statement)
    before = look(connection)
    sql.execute(connection, last)
    return before, difference(before, look(connection))


def told(found: tuple[Look, Traces]) -> tuple[set[tuple[Name, LockMode]], set[Name], set[Name]]:
    """Locks, rewritten and scanned relations by name."""
    before, traces = found
    name = {oid: relation.name for oid, relation in before.relations.items()}
    return (
        {(name[oid], mode) for oid, mode in traces.locks},
        {name[oid] for oid in traces.rewritten},
        {name[oid] for oid in traces.scanned},
    )


def test_only_new_locks_are_told(connection: Connection) -> None:
    share, add = "LOCK TABLE {} IN SHARE MODE", "ALTER TABLE {} ADD COLUMN extra integer"
    assert told(traces(connection, share, add)) == (
        {(TABLE, LockMode.ACCESS_EXCLUSIVE)},
        set(),
        set(),
    )


def test_a_table_and_its_index_are_written_anew(connection: Connection) -> None:
    """The index gets another oid."""
    locks, rewritten, scanned = told(
        traces(connection, "ALTER TABLE {} ALTER COLUMN id TYPE bigint")
    )
    assert (TABLE, LockMode.ACCESS_EXCLUSIVE) in locks
    assert rewritten == {TABLE, INDEX}
    assert scanned == {TABLE}


def test_an_empty_file_is_no_rewrite(connection: Connection) -> None:
    _, rewritten, scanned = told(traces(connection, "TRUNCATE {}"))
    assert (rewritten, scanned) == (set(), set())


def test_a_scan_is_told_of_the_statement_that_made_it(connection: Connection) -> None:
    count, comment = "SELECT FROM {}", "COMMENT ON TABLE {} IS 'counted'"
    assert told(traces(connection, count))[2] == {TABLE}
    assert told(traces(connection, count, comment))[2] == set()


def test_what_a_statement_makes_is_not_told(connection: Connection) -> None:
    locks, rewritten, scanned = told(traces(connection, "CREATE TABLE copy AS SELECT * FROM {}"))
    assert locks == {(TABLE, LockMode.ACCESS_SHARE), (INDEX, LockMode.ACCESS_SHARE)}
    assert (rewritten, scanned) == (set(), {TABLE})


def test_what_a_statement_drops_is_told(connection: Connection) -> None:
    locks, _, _ = told(traces(connection, "DROP TABLE {}"))
    assert {
        (TABLE, LockMode.ACCESS_EXCLUSIVE),
        (INDEX, LockMode.ACCESS_EXCLUSIVE),
    } <= locks


def stand_still(engine: Engine, statement: SQL) -> set[tuple[Name, LockMode]]:
    """The locks of a statement that commits inside, by name."""
    with connect(engine) as observer, connect(engine) as worker:
        name = {oid: relation.name for oid, relation in relations(observer).items()}
        locks = frozen(worker, engine, statement.format(TABLE.sql), [TABLE])
    return {(name[oid], mode) for oid, mode in locks if oid in name}


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(
    ("statement", "mode"),
    [
        (SQL("CREATE INDEX CONCURRENTLY ON {} (note)"), LockMode.SHARE_UPDATE_EXCLUSIVE),
        (SQL("VACUUM (FULL) {}"), LockMode.ACCESS_EXCLUSIVE),
        (SQL("VACUUM (FREEZE) {}"), LockMode.SHARE_UPDATE_EXCLUSIVE),
    ],
)
def test_a_statement_stands_still_where_it_waits(
    engine: Engine, statement: SQL, mode: LockMode
) -> None:
    assert (TABLE, mode) in stand_still(engine, statement)


def test_a_statement_that_stood_still_is_done(connection: Connection, engine: Engine) -> None:
    stand_still(engine, SQL("CREATE INDEX CONCURRENTLY added ON {} (note)"))
    query = SQL("SELECT indisvalid FROM pg_index WHERE indexrelid = {}::regclass")
    added = Name(TABLE.schema, "added").regclass
    assert sql.rows(connection, query.format(added)) == [(True,)]


def test_nothing_waits_for_a_statement_that_never_waits(engine: Engine) -> None:
    with connect(engine) as worker:
        assert frozen(worker, engine, SQL("SELECT 1"), []) == set()


def test_nobody_stays_in_the_way_of_a_statement_that_is_refused(
    connection: Connection, engine: Engine
) -> None:
    with pytest.raises(DBAPIError) as refused:
        stand_still(engine, SQL("CREATE INDEX CONCURRENTLY ON {} (missing)"))
    assert sqlstate(refused.value) == "42703"
    lock = SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT")
    sql.execute(connection, lock.format(TABLE.sql))
