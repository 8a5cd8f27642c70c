"""Making, altering and dropping a trail: what is refused, what is kept, and writers meanwhile."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from itertools import count
from threading import Event, Thread
from typing import Any

import laws
import psycopg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError
from autogenerate import run_sql
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import OperationalError

from alembic_enterprise.audit.operations import AlterAuditTrail, CreateAuditTrail, DropAuditTrail
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import text_of

TABLE = (
    "CREATE TABLE orders (id int, tenant int, note text, amount int, PRIMARY KEY (id, tenant))",
)

CREATE = CreateAuditTrail("orders", "orders_history")
ALTER = AlterAuditTrail("orders", "orders_history")
DROP = DropAuditTrail("orders", "orders_history")


def kept(connection: Connection, columns: str = "audit_action, id, note") -> list[Any]:
    """The history in order."""
    rows = connection.exec_driver_sql(
        f"SELECT {columns} FROM audit.orders_history ORDER BY audit_id, id"
    ).all()
    connection.commit()
    return [tuple(row) for row in rows]


def refused(connection: Connection, operation: Operation) -> str:
    """Why an operation is refused; nothing of it is left."""
    before = laws.snapshot(connection)
    with pytest.raises(CommandError) as error:
        laws.apply(connection, [operation])
    connection.rollback()
    assert laws.snapshot(connection) == before
    return str(error.value)


# --- The rows that are there


def test_the_baseline_comes_before_every_change(connection: Connection) -> None:
    run_sql(connection, *TABLE, "INSERT INTO orders VALUES (1, 1, 'a'), (2, 1, 'b')")
    laws.apply(connection, [CREATE])
    run_sql(connection, "UPDATE orders SET note = 'c' WHERE id = 1")
    assert kept(connection) == [
        ("baseline", 1, "a"),
        ("baseline", 2, "b"),
        ("update", 1, "c"),
    ]


def test_no_baseline_when_none_is_wanted(connection: Connection) -> None:
    run_sql(connection, *TABLE, "INSERT INTO orders VALUES (1, 1, 'a')")
    laws.apply(connection, [replace(CREATE, baseline=False)])
    assert kept(connection) == []


def test_a_kept_history_is_carried_on(connection: Connection) -> None:
    """What nobody told it in between, a new baseline tells; its end and its beginning show."""
    run_sql(connection, *TABLE)
    laws.apply(connection, [CREATE])
    run_sql(connection, "INSERT INTO orders VALUES (1, 1, 'a'), (2, 1, 'b')")
    laws.apply(connection, [DROP])
    run_sql(connection, "DELETE FROM orders WHERE id = 1", "UPDATE orders SET note = 'c'")
    laws.apply(connection, [CREATE])
    run_sql(connection, "DELETE FROM orders")
    columns = "audit_action, id, note, audit_context ->> 'relation'"
    assert kept(connection, columns) == [
        ("insert", 1, "a", None),
        ("insert", 2, "b", None),
        ("detach", None, None, "public.orders"),
        ("baseline", 2, "c", None),
        ("delete", 2, "c", None),
    ]


def test_what_was_cut_short_is_made_again(connection: Connection) -> None:
    """Before the rows that are there were copied, and after changes."""
    run_sql(connection, *TABLE, "INSERT INTO orders VALUES (1, 1, 'a'), (2, 1, 'b')")
    _, *made, _ = CREATE.statements()
    run_sql(connection, *map(text_of, made), "DELETE FROM orders WHERE id = 1")
    laws.apply(connection, [CREATE])
    run_sql(connection, "UPDATE orders SET note = 'c'")
    assert kept(connection) == [
        ("delete", 1, "a"),
        ("detach", None, None),
        ("baseline", 2, "b"),
        ("update", 2, "c"),
    ]


def test_the_baseline_shows_what_masks_and_hashes_leave(connection: Connection) -> None:
    run_sql(connection, *TABLE, "INSERT INTO orders VALUES (1, 1, 'a', 7), (2, 1, NULL, NULL)")
    laws.apply(connection, [replace(CREATE, mask=["note"], hash=["amount"])])
    run_sql(connection, "UPDATE orders SET id = id")
    rows = kept(connection, "id, note, amount = encode(sha256('7'), 'hex')")
    assert rows == [(1, "***", True), (2, None, None), (1, "***", True), (2, None, None)]


@pytest.mark.parametrize(
    ("encoding", "hashed"), [("SQL_ASCII", r"\xe9"), ("LATIN1", r"\xc3a9"), ("UTF8", r"\xc3a9")]
)
def test_hashes_are_of_utf8_or_of_the_bytes_of_a_database_without_an_encoding(
    other_encoding: Connection, hashed: str
) -> None:
    """SQL_ASCII may hold bytes that are no UTF-8: they must not stop the application."""
    run_sql(other_encoding, *TABLE)
    laws.apply(other_encoding, [replace(CREATE, hash=["note"])])
    run_sql(
        other_encoding,
        "INSERT INTO orders SELECT 1, 1, CASE getdatabaseencoding()"
        r" WHEN 'SQL_ASCII' THEN convert_from('\xe9', 'SQL_ASCII') ELSE chr(233) END",
    )
    query = f"SELECT note = encode(sha256('{hashed}'), 'hex') FROM audit.orders_history"
    assert other_encoding.exec_driver_sql(query).scalars().all() == [True]


@pytest.fixture
def other_encoding(
    administrator: psycopg.Connection, database_url: str, encoding: str
) -> Iterator[Connection]:
    """A connection to a database with an encoding."""
    url = make_url(database_url)
    name = f"{url.database}_{encoding}"
    database = Identifier(name)
    administrator.execute(
        SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'").format(
            database, encoding
        )
    )
    engine = create_engine(url.set(database=name), poolclass=NullPool, client_encoding="utf8")
    with engine.connect() as connection:
        yield connection
    administrator.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def test_it_waits_for_writers_no_longer_than_it_may(connection: Connection, engine: Engine) -> None:
    """Everybody would wait behind it."""
    run_sql(connection, *TABLE)
    run_sql(connection, "SET lock_timeout = '100ms'", "SET statement_timeout = '60s'")
    with engine.begin() as writer:
        writer.exec_driver_sql("DELETE FROM orders")
        with pytest.raises(OperationalError, match="lock timeout"):
            laws.apply(connection, [CREATE])
    connection.rollback()
    laws.apply(connection, [CREATE])
    assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "100ms"
    assert kept(connection) == []


@pytest.mark.parametrize("partitioned", [False, True])
def test_writers_are_captured_while_the_trail_is_made(
    connection: Connection, engine: Engine, partitioned: bool
) -> None:
    """Baseline and changes together rebuild the table, whoever came first."""
    by = " PARTITION BY HASH (id)" if partitioned else ""
    run_sql(connection, TABLE[0] + by)
    if partitioned:
        run_sql(
            connection,
            "CREATE TABLE a PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            "CREATE TABLE b PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        )
    run_sql(connection, "INSERT INTO orders SELECT n, 1, 'old' FROM generate_series(1, 3000) AS n")
    with writing(engine, "orders", 0), writing(engine, "b" if partitioned else "orders", 1):
        laws.apply(connection, [CREATE])
    rows = connection.exec_driver_sql("SELECT id, tenant, note, amount FROM orders").all()
    assert replayed(connection) == {(row[0], row[1]): (row[2], row[3]) for row in rows}
    actions = {action for action, _, _ in kept(connection)}
    assert actions == {"baseline", "insert", "update", "rekey", "delete"}


def replayed(connection: Connection) -> dict[Any, Any]:
    """The table as its history tells it."""
    rows: dict[Any, Any] = {}
    for action, *key, note, amount in kept(connection, "audit_action, id, tenant, note, amount"):
        if action in ("delete", "rekey"):
            rows.pop(tuple(key), None)
        else:
            rows[tuple(key)] = (note, amount)
    return rows


@contextmanager
def writing(engine: Engine, table: str, parity: int) -> Generator[None]:
    """A writer beside what is done: rows with such ids come, change, change their key, and go."""
    before, after, stop = Event(), Event(), Event()

    def write() -> None:
        with engine.connect() as connection:
            for number in count(parity, 2):
                where = f"WHERE id % 2 = {parity} AND id % 100 = {number % 100}"
                run_sql(
                    connection,
                    f"UPDATE {table} SET amount = {number} {where}",
                    f"UPDATE {table} SET tenant = tenant + 1 {where} AND id % 3 = 0",
                    f"DELETE FROM {table} {where} AND id = {number % 3000}",
                    f"INSERT INTO {table} SELECT {5000 + number}, 1, 'new' WHERE '{table}' <> 'b'",
                )
                (after if stop.is_set() else before).set()
                if after.is_set():
                    return

    thread = Thread(target=write)
    thread.start()
    assert before.wait(60)
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert after.is_set()


def test_changes_of_replication_are_captured(connection: Connection) -> None:
    run_sql(connection, *TABLE, "INSERT INTO orders VALUES (1, 1, 'a')")
    laws.apply(connection, [replace(CREATE, baseline=False)])
    run_sql(connection, "SET session_replication_role = replica", "DELETE FROM orders")
    assert kept(connection) == [("delete", 1, "a")]


def test_statements_that_change_nothing_take_no_transaction_number(connection: Connection) -> None:
    run_sql(connection, *TABLE)
    laws.apply(connection, [CREATE])
    connection.exec_driver_sql("UPDATE orders SET note = 'b'")
    number = connection.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()").scalar()
    connection.rollback()
    assert number is None
    assert kept(connection) == []


# --- Altering


def test_columns_come_change_and_never_go(connection: Connection) -> None:
    run_sql(connection, *TABLE)
    laws.apply(connection, [CREATE])
    run_sql(connection, "INSERT INTO orders VALUES (1, 1, 'a', 7)")
    run_sql(connection, "ALTER TABLE orders ADD COLUMN more int[] DEFAULT '{1}'")
    laws.apply(connection, [ALTER])
    run_sql(connection, "UPDATE orders SET note = 'b'")
    run_sql(connection, "ALTER TABLE orders ALTER COLUMN amount TYPE text")
    laws.apply(connection, [ALTER])
    run_sql(connection, "UPDATE orders SET amount = 'many'")
    laws.apply(connection, [replace(ALTER, without=["note"])])
    run_sql(connection, "UPDATE orders SET note = 'not kept'")
    run_sql(connection, "ALTER TABLE orders DROP COLUMN note")
    run_sql(connection, "ALTER TABLE orders RENAME amount TO quantity")
    laws.apply(connection, [replace(ALTER, renamed={"amount": "quantity"})])
    run_sql(connection, "UPDATE orders SET quantity = 'few'")
    assert kept(connection, "audit_action, id, tenant, note, quantity, more") == [
        ("insert", 1, 1, "a", "7", [1]),
        ("update", 1, 1, "b", "7", [1]),
        ("update", 1, 1, "b", "many", [1]),
        ("update", 1, 1, None, "many", [1]),
        ("update", 1, 1, None, "few", [1]),
    ]


@pytest.mark.parametrize("partitioned", [False, True])
def test_what_was_kept_before_a_column_came_reads_as_the_rows_do(
    connection: Connection, *, partitioned: bool
) -> None:
    """PostgreSQL reads the default in rows from before; nobody has changed them."""
    by = " PARTITION BY RANGE (id)" if partitioned else ""
    run_sql(connection, TABLE[0] + by)
    if partitioned:
        run_sql(connection, "CREATE TABLE a PARTITION OF orders DEFAULT")
    laws.apply(connection, [CREATE])
    run_sql(
        connection,
        "INSERT INTO orders VALUES (1, 1, 'a')",
        "ALTER TABLE orders ADD status text NOT NULL DEFAULT 'it''s new', ADD born timestamptz"
        " DEFAULT '2026-01-02 03:04+05', ADD many text[] DEFAULT '{\"a,b\",NULL}', ADD secret int"
        " DEFAULT 1",
    )
    laws.apply(connection, [replace(ALTER, mask=["secret"])])
    columns = "status, extract(epoch FROM born)::int, many, secret"
    values = ("it's new", 1767305040, ["a,b", None], "***")
    assert kept(connection, columns) == [values]
    run_sql(connection, "UPDATE orders SET note = 'b'")
    assert kept(connection, columns) == [values, values]
    query = "SELECT count(*) FROM pg_attrdef WHERE adrelid = 'audit.orders_history'::regclass"
    assert connection.exec_driver_sql(query).scalar_one() == 0


def test_a_volatile_default_has_no_value_from_before(connection: Connection) -> None:
    run_sql(connection, *TABLE)
    laws.apply(connection, [CREATE])
    run_sql(
        connection,
        "INSERT INTO orders VALUES (1, 1, 'a')",
        "ALTER TABLE orders ADD each uuid DEFAULT gen_random_uuid()",
    )
    laws.apply(connection, [ALTER])
    assert kept(connection, "each") == [(None,)]


def test_what_was_excluded_had_whatever_value_it_had(connection: Connection) -> None:
    run_sql(connection, *TABLE, "INSERT INTO orders VALUES (1, 1, 'a')")
    run_sql(connection, "ALTER TABLE orders ADD status text DEFAULT 'new'")
    laws.apply(connection, [replace(CREATE, exclude=["status"])])
    laws.apply(connection, [ALTER])
    assert kept(connection, "status") == [(None,)]


def test_a_key_without_overlaps(connection: Connection) -> None:
    if connection.dialect.server_version_info < (18,):  # type: ignore[operator]  # it is connected
        pytest.skip("needs PostgreSQL 18")
    run_sql(
        connection,
        "CREATE TABLE orders (id int4range, days daterange, note text,"
        " PRIMARY KEY (id, days WITHOUT OVERLAPS))",
    )
    laws.apply(connection, [CREATE])
    run_sql(
        connection,
        "INSERT INTO orders VALUES ('[1,2)', '[2026-01-01,2026-01-05)', 'a'),"
        " ('[1,2)', '[2026-01-05,2026-01-09)', 'b')",
        "UPDATE orders SET note = 'c' WHERE note = 'a'",
        "UPDATE orders SET days = '[2026-01-06,2026-01-08)' WHERE note = 'b'",
        "DELETE FROM orders WHERE note = 'c'",
    )
    assert kept(connection, "audit_action, lower(days)::text, note") == [
        ("insert", "2026-01-01", "a"),
        ("insert", "2026-01-05", "b"),
        ("update", "2026-01-01", "c"),
        ("rekey", "2026-01-05", "b"),
        ("update", "2026-01-06", "b"),
        ("delete", "2026-01-01", "c"),
    ]


def test_another_primary_key(connection: Connection) -> None:
    run_sql(connection, *TABLE)
    laws.apply(connection, [CREATE])
    run_sql(
        connection,
        "INSERT INTO orders VALUES (1, 1, 'a')",
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (note)",
    )
    laws.apply(connection, [ALTER])
    run_sql(connection, "UPDATE orders SET note = 'b'", "UPDATE orders SET id = 2")
    changes = [("insert", 1, "a"), ("rekey", 1, "a"), ("update", 1, "b"), ("update", 2, "b")]
    assert kept(connection) == changes
    query = "SELECT count(*) FROM pg_index WHERE indrelid = 'audit.orders_history'::regclass"
    assert connection.exec_driver_sql(query).scalar() == 2


@pytest.mark.parametrize("at_once", [True, False])
def test_a_default_in_the_key_makes_no_row_of_a_truncate(
    connection: Connection, *, at_once: bool
) -> None:
    """Whether the column is added and becomes the first of the key in one script or in two."""
    run_sql(connection, *TABLE)
    laws.apply(connection, [CREATE])
    run_sql(
        connection,
        "INSERT INTO orders VALUES (1, 1, 'a')",
        "TRUNCATE orders",
        "INSERT INTO orders VALUES (2, 1, 'b')",
        "ALTER TABLE orders ADD shop int NOT NULL DEFAULT 5",
    )
    laws.apply(connection, [] if at_once else [ALTER])
    run_sql(
        connection, "ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (shop, id)"
    )
    laws.apply(connection, [ALTER])
    assert kept(connection, "audit_action, shop, id") == [
        ("insert", 5, 1),
        ("truncate", None, None),
        ("insert", 5, 2),
    ]


def test_what_was_hashed_does_not_come_back(connection: Connection) -> None:
    run_sql(connection, *TABLE, "INSERT INTO orders VALUES (1, 1, 'a', 7)")
    laws.apply(connection, [replace(CREATE, hash=["amount"])])
    told = refused(connection, ALTER)
    assert "has kept in column amount is not of type integer: rename that column, and run" in told


def test_whatever_was_done_by_hand_is_put_right(connection: Connection, role: str) -> None:
    run_sql(connection, TABLE[0] + " PARTITION BY HASH (id)")
    run_sql(
        connection, "CREATE TABLE a PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
    )
    laws.apply(connection, [replace(CREATE, readers=[role])])
    right = laws.snapshot(connection)
    for statement in (
        "ALTER TABLE orders DISABLE TRIGGER alembic_enterprise_update",
        "ALTER TABLE ONLY a ENABLE TRIGGER alembic_enterprise_delete",
        "DROP TRIGGER alembic_enterprise_truncate ON a",
        "COMMENT ON TRIGGER alembic_enterprise_insert ON orders IS NULL",
        "DROP FUNCTION audit.orders_history() CASCADE",
        "DROP FUNCTION audit.orders_history(regclass, text)",
        "ALTER FUNCTION audit.orders_history() SECURITY INVOKER RESET search_path",
        "GRANT EXECUTE ON FUNCTION audit.orders_history() TO PUBLIC",
        "GRANT INSERT, DELETE ON audit.orders_history TO PUBLIC",
        "GRANT SELECT (id) ON audit.orders_history TO PUBLIC",
        "ALTER TABLE audit.orders_history DROP COLUMN note",
    ):
        run_sql(connection, statement)
        assert laws.snapshot(connection) != right
        laws.apply(connection, [replace(ALTER, readers=[role])])
        run_sql(connection, "DELETE FROM orders")
        assert laws.snapshot(connection) == right, statement


def test_the_reverse_forgets_what_was_added(connection: Connection) -> None:
    alter = replace(ALTER, added=["more"], renamed={"a": "b"}, previous=CREATE.trail)
    alter = replace(alter, require_actor=True)
    assert alter.reverse() == replace(ALTER, without=["more"], renamed={"b": "a"})
    assert alter.reverse().reverse() == alter
    assert connection.dialect.name == "postgresql"


# --- Dropping


def test_a_history_with_changes_is_not_lost(connection: Connection) -> None:
    run_sql(connection, *TABLE, "INSERT INTO orders VALUES (1, 1, 'a')")
    laws.apply(connection, [CREATE])
    run_sql(connection, "DELETE FROM orders")
    told = refused(connection, CREATE.reverse())
    assert 'its history "audit"."orders_history" holds 1 change(s). Keep it with' in told
    laws.apply(connection, [replace(DROP, drop_history=True, drop_rows=True)])
    assert connection.exec_driver_sql("SELECT to_regclass('audit.orders_history')").scalar() is None


# --- Refusals

PARTITIONED = "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)"


@pytest.mark.parametrize(
    ("setup", "operation", "message"),
    [
        ("CREATE TABLE t (id int)", {}, "its history needs a primary key to tell rows apart: ADD"),
        ("CREATE TABLE t (id int PRIMARY KEY, audit_x int)", {}, "rename its column audit_x"),
        ("CREATE TABLE t (id int PRIMARY KEY)", {"mask": ["iban"]}, "it has no column iban"),
        ("CREATE TABLE t (id int PRIMARY KEY)", {"hash": ["id"]}, "id is of its primary key: take"),
        (
            f"{PARTITIONED}; CREATE TABLE t PARTITION OF p DEFAULT",
            {},
            "it is a partition: give the trail to p, it sees",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY); CREATE SCHEMA audit CREATE TABLE t_history ()",
            {},
            'there is a table "audit"."t_history" already that is not a history of ours',
        ),
    ],
)
def test_what_cannot_be_audited_is_refused(
    connection: Connection, setup: str, operation: dict[str, Any], message: str
) -> None:
    run_sql(connection, setup)
    create = CreateAuditTrail("t", "t_history", **operation)
    assert message in refused(connection, create)


def test_offline_and_online_are_the_same(connection: Connection) -> None:
    """What `--sql` writes makes the same trail."""
    run_sql(connection, *TABLE)
    buffer = StringIO()
    opts = {"as_sql": True, "output_buffer": buffer}
    offline = MigrationContext.configure(dialect_name="postgresql", opts=opts)
    with offline.begin_transaction():
        Operations(offline).invoke(CREATE)
    laws.apply(connection, [CREATE])
    online = laws.snapshot(connection)
    laws.apply(connection, [CREATE.reverse()])
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.autocommit = True
    driver.execute(buffer.getvalue())
    driver.autocommit = False
    assert laws.snapshot(connection) == online
