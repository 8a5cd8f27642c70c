"""What a rehearsal tells of the statements of migrations, as a real server does them."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from autogenerate import project, run_sql, write_revision
from sqlalchemy import Engine, MetaData

from alembic_enterprise.errors import StepError
from alembic_enterprise.plan import revisions
from alembic_enterprise.plan.locks.table import LockMode, strongest
from alembic_enterprise.plan.model import Basis, Loss
from alembic_enterprise.plan.rehearsal.rehearse import Performed, refused, rehearse
from alembic_enterprise.plan.revisions import VERSION_TABLE
from alembic_enterprise.sql import message

SHOP = (
    "CREATE TABLE customers (id int PRIMARY KEY, name text)",
    "CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, note varchar(9))",
    "CREATE INDEX orders_note ON orders (note)",
    "CREATE TABLE events (at date NOT NULL, note text) PARTITION BY RANGE (at)",
    "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
)

ASYNCHRONOUS = """
import asyncio

from alembic import context
from sqlalchemy import NullPool, make_url
from sqlalchemy.ext.asyncio import create_async_engine

import alembic_enterprise.plugin

def migrate(connection):
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    url = make_url(context.config.get_main_option("sqlalchemy.url"))
    url = url.set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)

asyncio.run(main())
"""

Rehearse = Callable[..., list[Performed]]


@pytest.fixture
def config(engine: Engine, tmp_path: Path) -> Config:
    with engine.connect() as connection:
        run_sql(connection, *SHOP)
    return project(tmp_path / "migrations", engine, MetaData())


@pytest.fixture
def rehearsed(config: Config, engine: Engine, tmp_path: Path) -> Rehearse:
    """A function that rehearses revisions, whose bodies are given."""

    def rehearsal(*bodies: str, major: int | None = None) -> list[Performed]:
        for number, body in enumerate(bodies, 1):
            before = f"{number - 1:04}" if number > 1 else None
            write_revision(tmp_path / "migrations", f"{number:04}", before, body)
        scripts = revisions.pending(ScriptDirectory.from_config(config), [])
        return rehearse(
            config,
            engine.url,
            scripts,
            lambda _: None,
            version_table=VERSION_TABLE,
            major=major,
        )

    return rehearsal


def names(one: Performed, oids: Iterable[int]) -> set[str]:
    return {one.before[oid].name.name for oid in oids}


def held(done: Iterable[Performed], last: Performed) -> set[str]:
    """The relations that the transaction of a statement had locked before it."""
    locks: dict[tuple[int, LockMode], str] = {}
    for one in done:
        if one.transaction == last.transaction:
            locks = {lock: name for lock, name in locks.items() if lock not in one.released}
            if one is last:
                break
            locks |= {lock: one.before[lock[0]].name.name for lock in one.traces.locks}
    return set(locks.values())


def locked(one: Performed) -> set[tuple[str, str]]:
    """The strongest new locks on tables, by name."""
    modes: dict[int, set[LockMode]] = {}
    for oid, mode in one.traces.locks:
        modes.setdefault(oid, set()).add(mode)
    tables = {oid: one.before[oid].name.name for oid in modes if one.before[oid].table is None}
    return {(name, str(mode)) for oid, name in tables.items() for mode in strongest(modes[oid])}


def test_each_statement_is_told_with_its_transaction_and_what_it_locks(
    rehearsed: Rehearse,
) -> None:
    first = """
op.execute("SET lock_timeout = '2s'")
op.execute("ALTER TABLE orders ADD a int")
op.get_bind().begin_nested().commit()
op.execute("ALTER TABLE customers ADD a int")
"""
    second = 'op.execute("SET LOCAL lock_timeout = 0; ALTER TABLE orders DROP a")'
    done = one, two, three = rehearsed(first, second)
    assert [one.statement, one.revision, one.transaction] == [
        "ALTER TABLE orders ADD a int",
        "0001",
        1,
    ]
    assert locked(one) == {("orders", "ACCESS EXCLUSIVE")}
    assert (one.lock_timeout, one.basis) == (timedelta(seconds=2), Basis.MEASURED)
    assert (two.transaction, held(done, two)) == (1, {"orders"})
    assert locked(two) == {("customers", "ACCESS EXCLUSIVE")}
    assert (three.revision, three.transaction, three.lock_timeout) == ("0002", 2, None)
    assert (held(done, three), three.loses_data, one.loses_data) == (set(), True, False)


def test_what_does_nothing_to_relations_is_no_step(rehearsed: Rehearse) -> None:
    body = """
from sqlalchemy import inspect, text
op.execute("SELECT 1")
inspect(op.get_bind()).get_columns("orders")
op.execute("SHOW lock_timeout")
op.get_bind().execute(text("SELECT count(*) FROM customers WHERE name = 'secret'"))
"""
    [query] = rehearsed(body, "pass")
    assert query.statement == "SELECT count(*) FROM customers WHERE name = ..."
    assert names(query, query.traces.scanned) == {"customers"}


def test_tables_without_rows_tell_what_is_read_and_written_anew(rehearsed: Rehearse) -> None:
    body = """
op.execute("TRUNCATE orders")
op.execute("ALTER TABLE orders ALTER id TYPE bigint")
op.execute("ALTER TABLE orders ADD CHECK (id > 0)")
op.execute("ALTER TABLE customers ADD a int DEFAULT 1")
"""
    done = rehearsed(body)
    emptying, rewriting, checking, adding = (one.traces for one in done)
    assert names(done[0], emptying.emptied) == {"orders"}
    assert (emptying.rewritten, emptying.scanned) == (frozenset(), frozenset())
    assert names(done[1], rewriting.rewritten) == {"orders", "orders_pkey", "orders_note"}
    assert names(done[1], rewriting.scanned) == {"orders"}
    assert (checking.rewritten, names(done[2], checking.scanned)) == (frozenset(), {"orders"})
    assert (adding.rewritten, adding.scanned) == (frozenset(), frozenset())
    assert [one.loses_data for one in done] == [True, True, False, False]


def test_a_table_that_was_written_anew_is_emptied_all_the_same(rehearsed: Rehearse) -> None:
    """The file is the transaction's own, so that TRUNCATE keeps it."""
    body = """
op.execute("ALTER TABLE orders ALTER id TYPE bigint")
op.execute("TRUNCATE public.orders")
op.execute("ALTER TABLE events ALTER note TYPE int USING 1")
op.execute("TRUNCATE events, customers CASCADE")
"""
    _, one, _, both = rehearsed(body)
    assert [str(loss.table) for loss in one.lost] == ["public.orders"]
    assert one.traces.scanned == frozenset()
    assert {"public.events", "public.customers"} <= {loss.table for loss in both.lost}


def test_a_block_that_commits_shows_what_it_took_away(rehearsed: Rehearse) -> None:
    """Its locks are gone afterwards, and its effects are not known."""
    body = """
with op.get_context().autocommit_block():
    op.execute("DO $$ BEGIN ALTER TABLE customers DROP COLUMN name; COMMIT; END $$")
    op.execute("DO $$ BEGIN EXECUTE 'DROP TABLE events_1'; COMMIT; END $$")
"""
    column, table = rehearsed(body)
    assert column.basis is table.basis is Basis.UNKNOWN
    assert column.lost == (Loss("public.customers", "name"),)
    assert table.lost == (Loss("public.events_1"),)
    assert "customers" in (column.names or ())
    assert "events_1" in (table.names or ())


def test_functions_of_the_database_may_do_anything(rehearsed: Rehearse) -> None:
    body = """
op.execute("CREATE FUNCTION purge() RETURNS void LANGUAGE sql AS 'DELETE FROM events'")
op.execute("SELECT purge()")
op.execute("DO $$ BEGIN PERFORM purge(); END $$")
op.execute("SELECT count(*) FROM orders")
op.execute("INSERT INTO customers VALUES (1)")
"""
    assert [one.calls for one in rehearsed(body)] == [False, True, True, False, False]


def test_what_a_transaction_has_made_itself_is_not_told(rehearsed: Rehearse) -> None:
    body = """
op.execute("CREATE TABLE notes (id int)")
op.execute("ALTER TABLE notes ADD order_id int REFERENCES orders")
op.execute("DROP TABLE customers CASCADE")
op.execute("ALTER TABLE events ADD a int")
op.execute("DROP TABLE notes")
"""
    done = made, altered, dropped, added, undone = rehearsed(body)
    assert made.statement.startswith("CREATE TABLE notes")
    assert locked(altered) == {("orders", "SHARE ROW EXCLUSIVE")}
    assert ("customers", "ACCESS EXCLUSIVE") in locked(dropped)
    assert (dropped.loses_data, undone.loses_data) == (True, False)
    # Others still see the table that the transaction has dropped, and wait for it.
    assert {"customers", "orders"} <= held(done, undone)
    partition = next(one for one in added.before.values() if one.name.name == "events_1")
    assert added.before[partition.parent or 0].name.name == "events"


def test_outside_of_a_transaction_what_can_run_in_one_is_measured(rehearsed: Rehearse) -> None:
    body = """
with op.get_context().autocommit_block():
    op.execute("SET lock_timeout = '3s'")
    op.execute("ALTER TABLE orders ADD a int CHECK (a % 2 = 0)")
    options = {"no_parameters": True}
    op.get_bind().exec_driver_sql("COMMENT ON TABLE orders IS '5%'", execution_options=options)
    op.get_bind().exec_driver_sql("INSERT INTO customers VALUES (%(id)s, '100%%')", {"id": 1})
    op.execute("CREATE INDEX CONCURRENTLY orders_a ON orders (a)")
    op.execute("REINDEX TABLE CONCURRENTLY orders")
    op.execute("DROP INDEX CONCURRENTLY orders_note")
    op.execute("VACUUM customers")
op.execute("ALTER TABLE orders DROP a")
"""
    added, commented, inserted, *concurrent, vacuumed, after = rehearsed(body)
    assert locked(added) == {("orders", "ACCESS EXCLUSIVE")}
    assert (added.basis, added.transactional) == (Basis.MEASURED, False)
    assert commented.basis is inserted.basis is Basis.MEASURED
    assert inserted.statement == "INSERT INTO customers VALUES (%(id)s, ...)"
    assert locked(inserted) == {("customers", "ROW EXCLUSIVE")}
    for one in concurrent:
        assert locked(one) == {("orders", "SHARE UPDATE EXCLUSIVE")}
        assert (one.basis, one.lock_timeout) == (Basis.PREDICTED, timedelta(seconds=3))
    assert names(concurrent[0], concurrent[0].traces.scanned) == {"orders"}
    assert names(concurrent[1], concurrent[1].traces.rewritten) == {
        "orders_pkey",
        "orders_note",
        "orders_a",
    }
    assert (vacuumed.basis, vacuumed.predicted_for) == (Basis.UNKNOWN, None)
    all_of_them = (added, commented, inserted, *concurrent, vacuumed, after)
    assert [one.transaction for one in all_of_them] == [*range(1, 9)]
    # What was read before the transaction is not read by it.
    assert after.traces.scanned == frozenset()


def test_predictions_are_of_the_version_that_is_asked_about(rehearsed: Rehearse) -> None:
    body = """
with op.get_context().autocommit_block():
    op.execute("ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY")
"""
    [detached] = rehearsed(body, major=16)
    assert str(detached.predicted_for).startswith("16.")
    assert locked(detached) == {
        ("events", "SHARE UPDATE EXCLUSIVE"),
        ("events_1", "ACCESS EXCLUSIVE"),
    }
    assert not detached.loses_data


def test_statements_about_all_partitions_are_predicted_for_each(rehearsed: Rehearse) -> None:
    body = """
op.execute("CREATE INDEX events_note ON events (note)")
with op.get_context().autocommit_block():
    op.execute("REINDEX TABLE CONCURRENTLY events")
    op.execute("REINDEX TABLE events")
    op.execute("REINDEX TABLE CONCURRENTLY events_1")
    op.execute("ALTER TABLE events DETACH PARTITION events_2 CONCURRENTLY")
"""
    _, online, offline, single, detached = rehearsed(body)
    tables = {"events", "events_1", "events_2"}
    assert {name for name, _ in locked(online)} == tables
    assert locked(offline) == {(name, "SHARE") for name in tables}
    assert names(offline, offline.traces.rewritten) == {"events_1_note_idx", "events_2_note_idx"}
    assert locked(single) == {("events_1", "SHARE UPDATE EXCLUSIVE")}
    assert {name for name, _ in locked(detached)} == {"events", "events_2"}


def test_statements_of_our_operations_name_them(rehearsed: Rehearse) -> None:
    body = """
op.create_range_partitions("events", every="month", start="2026-03-01", stop="2026-04-01")
op.create_index_online("events_note", "events", ["note"])
"""
    partitions, *index = rehearsed(body)
    assert partitions.operation is not None
    assert partitions.operation.startswith("create_range_partitions('events'")
    assert {str(one.operation).partition("(")[0] for one in index} == {"create_index_online"}
    built = [one for one in index if one.basis is Basis.PREDICTED]
    assert [one.statement.startswith("CREATE INDEX CONCURRENTLY") for one in built] == [True] * 3
    assert Basis.UNKNOWN not in {one.basis for one in index}


def test_what_an_operation_only_looks_at_is_no_step(rehearsed: Rehearse) -> None:
    """Its blocks for another kind of table, and for what an earlier run has left."""
    [built] = rehearsed('op.create_index_online("orders_customer", "orders", ["customer"])')
    assert built.statement.startswith("CREATE INDEX CONCURRENTLY")
    assert names(built, built.traces.scanned) == {"orders"}


def test_percent_signs_are_told_as_the_server_gets_them(rehearsed: Rehearse) -> None:
    """SQLAlchemy doubles them for the driver, unless that gets no parameters."""
    body = """
op.execute("ALTER TABLE orders ADD CHECK (note NOT LIKE '%x')")
options = {"no_parameters": True}
op.get_bind().exec_driver_sql("COMMENT ON TABLE orders IS '5%%'", execution_options=options)
with op.get_context().autocommit_block():
    op.execute("CREATE INDEX CONCURRENTLY ON orders (id) WHERE note LIKE 'x%'")
"""
    checking, commented, indexing = rehearsed(body)
    assert checking.statement == "ALTER TABLE orders ADD CHECK (note NOT LIKE '%x')"
    assert commented.statement == "COMMENT ON TABLE orders IS '5%%'"
    assert indexing.statement.endswith("WHERE note LIKE 'x%'")


def test_an_error_tells_what_a_copy_without_rows_is_like(rehearsed: Rehearse) -> None:
    with pytest.raises(StepError) as failed:
        rehearsed("op.execute('SELECT 1 / 0')")
    assert str(failed.value) == (
        "revision 0001 cannot be run on the shadow: division by zero. That has the schema of the "
        "live database and no rows: a script that reads rows finds none there"
    )


def test_going_back_to_a_savepoint_and_a_transaction_by_hand(rehearsed: Rehearse) -> None:
    body = """
point = op.get_bind().begin_nested()
op.execute("CREATE TABLE notes (id int)")
op.execute("DROP TABLE customers CASCADE")
point.rollback()
op.execute("ALTER TABLE customers ADD a int")
with op.get_context().autocommit_block():
    op.execute("BEGIN")
    op.execute("ALTER TABLE orders ADD a int")
    op.execute("ALTER TABLE customers ADD b int")
    op.execute("COMMIT")
"""
    done = *_, again, first, second = rehearsed(body)
    assert locked(again) == {("customers", "ACCESS EXCLUSIVE")}
    assert [one.transaction for one in (again, first, second)] == [1, 2, 2]
    assert held(done, second) == {"orders"}
    assert {"customers", "orders"} <= names(again, (oid for oid, _ in again.released))


def test_a_statement_that_is_refused_is_handed_on(rehearsed: Rehearse) -> None:
    body = """
with op.get_context().autocommit_block():
    op.execute("CREATE INDEX CONCURRENTLY ON events (note)")
"""
    with pytest.raises(StepError, match="revision 0001") as failed:
        rehearsed(body)
    refusal = refused(failed.value)
    assert refusal is not None
    assert refusal.statement == "CREATE INDEX CONCURRENTLY ON events (note)"
    assert message(refusal).startswith("cannot create index on partitioned table")
    assert refused(ValueError()) is None


def test_one_transaction_for_all_revisions(config: Config, rehearsed: Rehearse) -> None:
    config.attributes["options"]["transaction_per_migration"] = False
    script = Path(str(config.get_main_option("script_location"))) / "env.py"
    script.write_text(script.read_text().replace("transaction_per_migration=True,", ""))
    done = rehearsed(
        *(f'op.execute("ALTER TABLE {name} ADD a int")' for name in ("orders", "events"))
    )
    assert [(one.revision, one.transaction) for one in done] == [("0001", 1), ("0002", 1)]
    # Without the version table, of which Alembic takes care.
    assert {mode for _, mode in done[0].traces.locks} == {LockMode.ACCESS_EXCLUSIVE}
    assert held(done, done[1]) == {"orders"}


def test_an_asynchronous_env_py(config: Config, rehearsed: Rehearse) -> None:
    """Its connection is another kind of object, its driver another one."""
    script = Path(str(config.get_main_option("script_location"))) / "env.py"
    script.write_text(ASYNCHRONOUS)
    body = """
op.execute("ALTER TABLE orders ADD a int")
with op.get_context().autocommit_block():
    op.execute("ALTER TABLE orders ADD b int")
    op.execute("CREATE INDEX CONCURRENTLY ON orders (a)")
"""
    done = rehearsed(body)
    assert [one.basis for one in done] == [Basis.MEASURED, Basis.MEASURED, Basis.PREDICTED]
    assert [one.transactional for one in done] == [True, False, False]
    assert locked(done[0]) == locked(done[1]) == {("orders", "ACCESS EXCLUSIVE")}
    assert locked(done[2]) == {("orders", "SHARE UPDATE EXCLUSIVE")}
