"""Growth while others write: races with batches, triggers, changes of the table, locks."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Thread
from typing import Any, LiteralString

import growing
import psycopg
import pytest
from autogenerate import run_sql
from sqlalchemy import Connection, Engine, event

from alembic_enterprise.shards.growth.report import Report

# --- Writers


def test_writers_lose_nothing(connection: Connection, engine: Engine) -> None:
    growing.orders(connection, rows=4000)
    with growing.writing(engine, pace=0) as writer:
        report = growing.run(engine, 8, batch=20)
    assert report.problems == []
    assert writer.written > 20
    assert growing.contents(connection) == writer.rows
    assert set(growing.held(connection).values()) == {f"{n} of 8" for n in range(8)}


@contextmanager
def open_until_waited_for(
    engine: Engine,
    statement: LiteralString,
    end: LiteralString,
    first: Callable[[], object] = lambda: None,
) -> Generator[None]:
    """Run statements in a transaction that ends as soon as the run waits for it.

    What comes `first` is done when the transaction has its number.
    """
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    with growing.session(engine) as writer, growing.session(engine) as watcher:
        writer.execute("BEGIN")
        writer.execute("SELECT pg_current_xact_id()")
        first()
        writer.execute(statement)

        def release() -> None:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                if watcher.execute(waiting, [writer.info.backend_pid]).fetchone() != (0,):
                    break
                time.sleep(0.005)  # leaves the processor to what is waited for
            writer.execute(end)

        thread = Thread(target=release)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM orders WHERE id = 7",
        "UPDATE orders SET amount = -1 WHERE id = 7",
        "UPDATE orders SET id = 7007 WHERE id = 7",
        "UPDATE orders SET tenant = tenant + 1 WHERE id = 7",
        "DELETE FROM orders WHERE id = 7; INSERT INTO orders VALUES (7, 7, -2)",
    ],
)
def test_a_batch_that_meets_a_writer_waits_and_sees_what_became_of_it(
    connection: Connection, engine: Engine, statement: LiteralString, end: LiteralString
) -> None:
    growing.orders(connection, 1)
    growing.stopped(engine, "alembic_enterprise_made", count=2)
    with open_until_waited_for(engine, statement, end=end):
        report = growing.run(engine, 2)
    assert report.problems == []
    expected = {(n % 40, n): n for n in range(400)}
    if end == "COMMIT":
        changed = expected.pop((7, 7))
        if statement.startswith("UPDATE orders SET amount"):
            expected[7, 7] = -1
        elif "7007" in statement:
            expected[7, 7007] = changed
        elif "tenant + 1" in statement:
            expected[8, 7] = changed
        elif "INSERT" in statement:
            expected[7, 7] = -2
    assert growing.contents(connection) == expected


PREDATED = """DO $$DECLARE mirror record;
BEGIN
    SELECT objoid::regprocedure AS name, description AS note INTO STRICT mirror FROM pg_description
    WHERE classoid = 'pg_proc'::regclass AND description LIKE '%since transaction%';
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', mirror.name,
                   regexp_replace(mirror.note, 'transaction \\d+', 'transaction 3'));
END$$"""


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("UPDATE orders SET amount = 0 WHERE id = 2", (2, 2)),
        ("UPDATE orders SET amount = 0 WHERE id = 7", (7, 7)),
    ],
)
@pytest.mark.parametrize(
    ("delete", "deleted"),
    [
        ("DELETE FROM orders WHERE id = 42", (2, 42)),
        ("DELETE FROM orders WHERE id = 47", (7, 47)),
    ],
)
def test_a_batch_that_looks_rows_up_puts_none_back(
    connection: Connection,
    engine: Engine,
    change: LiteralString,
    changed: tuple[int, int],
    delete: LiteralString,
    deleted: tuple[int, int],
) -> None:
    """It meets two writers, at rows of one copy (those of tenant 2, or of 7) or of both."""
    growing.orders(connection, 1)
    growing.stopped(engine, "alembic_enterprise_made", count=2)
    with (
        open_until_waited_for(engine, change, end="COMMIT"),
        open_until_waited_for(engine, delete, end="COMMIT"),
    ):
        report = growing.run(engine, 2)
    assert report.problems == []
    expected = {(n % 40, n): n for n in range(400)}
    del expected[deleted]
    assert growing.contents(connection) == expected | {changed: 0}


def test_rows_that_look_newer_than_the_mirror_but_are_not(
    connection: Connection, engine: Engine
) -> None:
    """As those do which are two thousand million transactions old, and are in no copy."""
    growing.orders(connection, 1)
    rows = growing.contents(connection)
    growing.stopped(engine, "alembic_enterprise_made", count=2)
    run_sql(connection, PREDATED)
    with open_until_waited_for(engine, "DELETE FROM orders WHERE id = 7", end="COMMIT"):
        report = growing.run(engine, 2)
    assert report.problems == []
    del rows[7, 7]
    assert growing.contents(connection) == rows


def test_a_writer_that_is_older_than_the_mirror(connection: Connection, engine: Engine) -> None:
    """Its rows look as if they were not mirrored: the batch finds them in the copy."""
    growing.orders(connection, 1)
    with growing.session(engine) as other:
        other.execute("BEGIN")
        other.execute("SELECT pg_current_xact_id()")
        growing.stopped(engine, "alembic_enterprise_made", count=2)
        other.execute("UPDATE orders SET amount = -7 WHERE id = 7")
        other.execute("COMMIT")
    assert growing.run(engine, 2).problems == []
    assert growing.contents(connection)[7, 7] == -7


def test_a_batch_that_meets_a_writer_who_is_older_than_the_mirror(
    connection: Connection, engine: Engine
) -> None:
    """It writes as many rows as it deletes: nobody must take them for those that are gone."""
    growing.orders(connection, 1, rows=100)  # in one page
    with open_until_waited_for(
        engine,
        "DELETE FROM orders WHERE id = 7; INSERT INTO orders VALUES (8, 1, 1)",
        end="COMMIT",
        first=lambda: growing.stopped(engine, "alembic_enterprise_made", count=2),
    ):
        report = growing.run(engine, 2)
    assert report.problems == []
    rows = growing.contents(connection)
    assert (7, 7) not in rows
    assert rows[8, 1] == 1


def test_a_writer_on_an_old_snapshot_is_told_and_never_wrong(
    connection: Connection, engine: Engine
) -> None:
    """It cannot see the rows that were copied since, and so cannot delete them."""
    growing.orders(connection, 1)
    with growing.session(engine) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1 FROM pg_class")
        growing.stopped(engine, growing.COMPARING, count=2)
        with pytest.raises(psycopg.errors.SerializationFailure):
            other.execute("DELETE FROM orders WHERE id = 7")
        other.execute("ROLLBACK")
        other.execute("DELETE FROM orders WHERE id = 7")
    assert growing.run(engine, 2).problems == []
    assert (7, 7) not in growing.contents(connection)


SHIFTING = (
    """CREATE FUNCTION shift() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    UPDATE orders SET amount = amount + 1000 WHERE tenant = NEW.tenant AND id > NEW.id
    AND pg_trigger_depth() = 1; RETURN NEW; END$$""",
    "CREATE TRIGGER shift AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION shift()",
)


def test_triggers_that_change_the_rows_of_their_own_statement_again(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, 1)
    run_sql(connection, *SHIFTING)
    changed: list[Any] = []

    def write() -> None:
        with growing.session(engine) as other:
            other.execute("UPDATE orders SET amount = 0 WHERE tenant = 7")
        changed.append(growing.contents(connection))

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine, 2).problems == []
    assert changed == [growing.contents(connection)]
    assert changed[0][7, 47] > 999


REUSING = (
    "ALTER TABLE orders ADD UNIQUE (tenant, amount)",
    """CREATE FUNCTION reuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    INSERT INTO orders VALUES (OLD.tenant, OLD.id + 1000, OLD.amount); RETURN NEW; END$$""",
    'CREATE TRIGGER "Always first" AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION reuse()',
)


def test_triggers_that_use_a_unique_value_again(connection: Connection, engine: Engine) -> None:
    """The copies must know that it is free before another row has it: the mirror comes first."""
    growing.orders(connection, 1)
    run_sql(connection, *REUSING)

    def write() -> None:
        with growing.session(engine) as other:
            other.execute("UPDATE orders SET amount = 1007 WHERE id = 7")

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine, 2).problems == []
    rows = growing.contents(connection)
    assert (rows[7, 7], rows[7, 1007]) == (1007, 7)


def test_a_statement_that_moves_keys_onto_each_other(
    connection: Connection, engine: Engine
) -> None:
    """Each row takes a unique value along, which the row that has its key by now must not lack."""
    growing.orders(connection, 1, columns=growing.COLUMNS + ", UNIQUE (tenant, amount)")
    changed: list[growing.Rows] = []

    def write() -> None:
        with growing.session(engine) as other:
            other.execute("DELETE FROM orders WHERE id = 7")
            other.execute("UPDATE orders SET id = id - 40 WHERE tenant = 7")
        changed.append(growing.contents(connection))

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine, 2).problems == []
    assert changed == [growing.contents(connection)]
    assert (changed[0][7, 7], len(changed[0])) == (47, growing.ROWS - 1)


def test_replicated_changes_are_mirrored(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)

    def write() -> None:
        with growing.session(engine) as other:
            other.execute("SET session_replication_role = replica")
            other.execute("DELETE FROM orders WHERE id = 7")

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine).problems == []
    assert (7, 7) not in growing.contents(connection)


@pytest.mark.parametrize("table", ["orders", "orders_shard_0"])
def test_a_truncated_table_stays_empty(
    connection: Connection, engine: Engine, table: LiteralString
) -> None:
    growing.orders(connection, 1)

    def write() -> None:
        with growing.session(engine) as other:
            other.execute(f"TRUNCATE {table}")
            other.execute("INSERT INTO orders VALUES (1, 1, 1)")

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine, 2).problems == []
    assert growing.contents(connection) == {(1, 1): 1}


@pytest.mark.parametrize("rewrite", ["VACUUM FULL orders", "CLUSTER orders_shard_0 USING back"])
def test_a_table_that_is_rewritten_meanwhile(
    connection: Connection, engine: Engine, rewrite: LiteralString
) -> None:
    """Its rows change their places: those that were not copied may be where others were."""
    growing.orders(connection, 1)
    run_sql(
        connection,
        "CREATE INDEX back ON orders_shard_0 (id DESC)",
        "DELETE FROM orders WHERE id < 190",
    )

    def write() -> None:
        with growing.session(engine) as other:
            other.execute(rewrite)

    rows = growing.contents(connection)
    growing.before(engine, ">= '(1,0)'::tid", write)
    assert growing.run(engine, 2).problems == []
    assert growing.contents(connection) == rows


def test_a_column_that_is_added_meanwhile_begins_anew(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, 1)
    growing.stopped(engine, growing.COMPARING, count=2)
    run_sql(connection, "ALTER TABLE orders ADD COLUMN more int DEFAULT 3")
    report = growing.run(engine, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    assert growing.one(connection, "SELECT sum(more) FROM orders") == 1200


def test_an_index_that_is_added_meanwhile_is_not_made_under_the_lock(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, 1)

    def index() -> None:
        with growing.session(engine) as other:
            other.execute("CREATE INDEX added ON orders (amount)")

    growing.before(engine, "locked_since', clock", index)
    report = growing.run(engine, 2)
    assert "it was altered since its copies were made" in report.problems[0]
    assert growing.run(engine, 2).removed == ["public.orders_shard_0"]
    assert growing.held(connection) == {"orders_shard_0": "0 of 2", "orders_shard_1": "1 of 2"}
    assert (
        growing.one(
            connection,
            "SELECT count(*) FROM pg_index WHERE indrelid::regclass::text LIKE 'orders_shard_%'",
        )
        == 4
    )


def test_triggers_that_were_switched_off_begin_anew(connection: Connection, engine: Engine) -> None:
    growing.orders(connection, 1)
    growing.stopped(engine, growing.COMPARING, count=2)
    run_sql(
        connection,
        "ALTER TABLE orders_shard_0 DISABLE TRIGGER ALL",
        "DELETE FROM orders WHERE id = 7",
    )
    report = growing.run(engine, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    assert (7, 7) not in growing.contents(connection)


def test_copies_that_differ_never_take_the_place(connection: Connection, engine: Engine) -> None:
    growing.orders(connection, 1)

    def spoil() -> None:
        with growing.session(engine) as other:
            other.execute(
                "UPDATE orders_shard_1 SET amount = -1 WHERE id = (SELECT min(id)"
                " FROM orders_shard_1)"
            )

    growing.before(engine, growing.COMPARING, spoil)
    report = growing.run(engine, 2)
    assert report.exit_code == 2
    assert "contents differ. Run again with --abort, then without" in report.problems[0]
    assert growing.run(engine, None).removed == ["public.orders_shard_0"]
    assert growing.run(engine, 2).exit_code == 0


# --- Locks


def test_a_reader_who_stays_is_named_and_the_next_run_swaps(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, 1)
    with growing.session(engine) as reader:
        reader.execute("BEGIN")
        growing.before(engine, growing.COMPARING, lambda: reader.execute("SELECT 1 FROM orders"))
        pid = reader.info.backend_pid
        report = growing.run(engine, 2, attempts=2)
    assert report.exit_code == 2
    assert report.problems[0].startswith("swap public.orders_shard_0: no lock within 100 ms")
    assert f"pid {pid}" in report.problems[0]
    assert growing.leftovers(connection) != []
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert growing.run(engine, 2).exit_code == 0
    assert not any("INSERT INTO" in text for text in statements)


def test_a_second_run_ends_and_says_what_to_wait_for(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, 1)
    seen: list[Report] = []
    growing.before(
        engine,
        "alembic_enterprise_made",
        lambda: seen.extend([growing.run(engine, 2), growing.run(engine, None)]),
    )
    assert growing.run(engine, 2).exit_code == 0
    grown, aborted = seen
    assert (grown.exit_code, aborted.exit_code) == (2, 2)
    assert grown.problems == ["nothing was split: run this again when that run has ended"]
    assert aborted.problems == ["nothing was removed: end that run first"]
    assert grown.other is not None
    assert grown.other.application == "alembic-enterprise shards grow"
