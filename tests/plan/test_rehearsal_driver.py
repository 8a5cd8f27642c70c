"""What a script sends past the connection that it is given is a step like any other."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from autogenerate import project, run_sql, write_revision
from sqlalchemy import Engine, MetaData

from alembic_enterprise.plan import revisions
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.model import Basis
from alembic_enterprise.plan.rehearsal.rehearse import Performed, rehearse
from alembic_enterprise.plan.revisions import VERSION_TABLE

Rehearse = Callable[[str], list[Performed]]


@pytest.fixture
def rehearsed(engine: Engine, tmp_path: Path) -> Rehearse:
    """A function that rehearses a revision, whose body is given."""
    with engine.connect() as connection:
        run_sql(connection, "CREATE TABLE orders (id int PRIMARY KEY, note text)")
        run_sql(connection, "CREATE TABLE lines (id int)")
    config = project(tmp_path / "migrations", engine, MetaData())

    def rehearsal(body: str) -> list[Performed]:
        write_revision(tmp_path / "migrations", "0001", None, body)
        scripts = revisions.pending(ScriptDirectory.from_config(config), [])
        return rehearse(config, engine.url, scripts, lambda _: None, version_table=VERSION_TABLE)

    return rehearsal


def modes(one: Performed) -> set[tuple[str, LockMode]]:
    return {(one.before[oid].name.name, mode) for oid, mode in one.traces.locks}


EXCLUSIVE = LockMode.ACCESS_EXCLUSIVE


def test_a_cursor_of_the_driver(rehearsed: Rehearse) -> None:
    body = """
from psycopg import sql
driver = op.get_bind().connection
cursor = driver.cursor()
cursor.execute("SET LOCAL lock_timeout = '3s'")
cursor.execute("ALTER TABLE orders ALTER id TYPE bigint")
op.execute("ALTER TABLE lines ADD a int")
cursor.execute(sql.SQL("UPDATE {} SET note = %s").format(sql.Identifier("orders")), ["secret"])
driver.driver_connection.execute(b"DROP TABLE lines")
"""
    first, second, third, fourth = rehearsed(body)
    assert first.statement == "ALTER TABLE orders ALTER id TYPE bigint"
    assert ("orders", EXCLUSIVE) in modes(first)
    assert {first.before[oid].name.name for oid in first.traces.rewritten} >= {"orders"}
    assert (first.basis, str(first.lock_timeout)) == (Basis.MEASURED, "0:00:03")
    assert modes(second) == {("lines", EXCLUSIVE)}
    assert (third.statement, third.loses_data) == ('UPDATE "orders" SET note = %s', True)
    assert (fourth.statement, fourth.loses_data) == ("DROP TABLE lines", True)
    assert [one.transaction for one in (first, second, third, fourth)] == [1] * 4


def test_its_transactions_are_told(rehearsed: Rehearse) -> None:
    body = """
driver = op.get_bind().connection.driver_connection
op.execute("ALTER TABLE orders ADD a int")
driver.commit()
driver.execute("ALTER TABLE orders ADD b int")
driver.rollback()
op.execute("ALTER TABLE lines ADD a int")
"""
    done = rehearsed(body)
    assert [one.transaction for one in done] == [1, 2, 3]
    assert modes(done[2]) == {("lines", EXCLUSIVE)}


def test_outside_of_a_transaction(rehearsed: Rehearse) -> None:
    body = """
with op.get_context().autocommit_block():
    driver = op.get_bind().connection.driver_connection
    driver.execute("ALTER TABLE orders ADD a int")
    driver.execute("CREATE INDEX CONCURRENTLY i ON orders (id)")
    with driver.transaction():
        driver.execute("ALTER TABLE lines ADD a int")
        driver.execute("ALTER TABLE lines ADD b int")
    driver.cursor().executemany("INSERT INTO lines VALUES (%s)", [(1,), (2,)])
    with driver.cursor().copy("COPY lines (id) FROM STDIN") as copy:
        copy.write_row((3,))
assert op.get_bind().exec_driver_sql("SELECT sum(id) FROM lines").scalar_one() == 6
"""
    added, built, first, second, *rows = rehearsed(body)
    assert (added.basis, added.transactional, modes(added)) == (
        Basis.MEASURED,
        False,
        {("orders", EXCLUSIVE)},
    )
    assert built.basis is Basis.PREDICTED
    assert first.transactional
    assert first.transaction == second.transaction
    assert [one.statement.split()[0] for one in rows] == ["INSERT", "COPY", "SELECT"]


def test_a_connection_of_its_own(rehearsed: Rehearse) -> None:
    """It commits first, whatever becomes of the transaction of the migration."""
    body = """
op.execute("ALTER TABLE orders ADD a int")
with op.get_bind().engine.begin() as other:
    other.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relname = 'a'")
    other.exec_driver_sql("DROP TABLE lines")
op.execute("ALTER TABLE orders ADD b int")
with op.get_context().autocommit_block():
    pass
with op.get_bind().engine.begin() as other:
    other.exec_driver_sql("CREATE TABLE more (id int)")
"""
    other, one, two, last = rehearsed(body)
    assert (other.statement, other.basis, other.transaction) == (
        "DROP TABLE lines",
        Basis.UNKNOWN,
        1,
    )
    assert "lines" in (other.names or ())
    assert (one.transaction, two.transaction) == (2, 2)
    assert (last.statement, last.transaction) == ("CREATE TABLE more (id int)", 3)
