"""What a trail refuses for the sake of another's, and what a history never loses."""

from collections.abc import Callable
from dataclasses import replace

import laws
import pytest
from alembic.util import CommandError
from audited import drift
from autogenerate import run_sql
from growing import of_another_database
from sqlalchemy import Connection, Engine, NullPool, create_engine

from alembic_enterprise.audit.operations import AlterAuditTrail, CreateAuditTrail, DropAuditTrail
from alembic_enterprise.operation import Operation

TABLE = "CREATE TABLE orders (id int PRIMARY KEY, note text)"
OTHER = "CREATE TABLE others (id int PRIMARY KEY, note text)"

CREATE = CreateAuditTrail("orders", "orders_history")
ALTER = AlterAuditTrail("orders", "orders_history")


def refused(connection: Connection, operation: Operation) -> str:
    """Why an operation is refused; nothing of it is left."""
    before = laws.snapshot(connection)
    with pytest.raises(CommandError) as error:
        laws.apply(connection, [operation])
    connection.rollback()
    assert laws.snapshot(connection) == before
    return str(error.value)


def kept(connection: Connection, column: str) -> list[str]:
    """What the history has of a column, as text."""
    query = f"SELECT {column}::text FROM audit.orders_history ORDER BY audit_id"
    rows = connection.exec_driver_sql(query).scalars().all()
    connection.commit()
    return [*rows]


# --- One history, one table


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_history_of_another_table_is_left_alone(
    connection: Connection, partitioned: bool
) -> None:
    by = " PARTITION BY RANGE (id)" if partitioned else ""
    run_sql(connection, TABLE + by, OTHER)
    if partitioned:
        run_sql(connection, "CREATE TABLE orders_a PARTITION OF orders DEFAULT")
    laws.apply(connection, [CREATE])
    for kind in (CreateAuditTrail, AlterAuditTrail, DropAuditTrail):
        told = refused(connection, kind("others", "orders_history"))
        assert 'others: "audit"."orders_history" is the history of orders: write another h' in told
    laws.apply(connection, [ALTER])


def test_tenants_do_not_share_a_history(connection: Connection) -> None:
    """The same script, run along another search_path."""
    run_sql(connection, "CREATE SCHEMA a", "CREATE SCHEMA b")
    run_sql(connection, "SET search_path = a", TABLE)
    laws.apply(connection, [CREATE])
    run_sql(connection, "SET search_path = b", TABLE)
    assert "is the history of a.orders: write another" in refused(connection, CREATE)
    laws.apply(connection, [replace(CREATE, history_schema="audit_b")])


def test_a_table_has_one_trail(connection: Connection) -> None:
    run_sql(connection, TABLE)
    laws.apply(connection, [CREATE])
    told = refused(connection, replace(CREATE, history="more"))
    assert "it has a trail in audit.orders_history already: op.drop_audit_trail first" in told


def test_somebody_elses_function_is_not_replaced(connection: Connection) -> None:
    run_sql(
        connection,
        TABLE,
        "CREATE SCHEMA audit",
        "CREATE FUNCTION audit.orders_history() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
    )
    told = refused(connection, CREATE)
    assert 'there is a function "audit"."orders_history"() already that is not ours' in told


@pytest.mark.parametrize("table", ["orders", "kid"])
def test_rows_of_children_are_not_told(connection: Connection, table: str) -> None:
    """A statement calls the triggers of the table that it names, and of no child."""
    run_sql(connection, TABLE, "CREATE TABLE kid (PRIMARY KEY (id)) INHERITS (orders)")
    told = refused(connection, replace(CREATE, table=table))
    assert "rows of kid are changed through orders untold: ALTER TABLE kid NO INHERIT o" in told


# --- Columns


def test_an_excluded_column_may_have_any_name(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE TABLE orders (id int PRIMARY KEY, audit_note text, audit_actor text)",
    )
    assert "rename its column audit_actor" in refused(connection, CREATE)
    laws.apply(connection, [replace(CREATE, exclude=["audit_note", "audit_actor"])])
    run_sql(connection, "INSERT INTO orders VALUES (1, 'n', 'forged')", "DELETE FROM orders")
    assert kept(connection, "audit_actor") == [None, None]


def test_what_the_index_of_the_key_includes_may_be_masked(connection: Connection) -> None:
    run_sql(connection, "CREATE TABLE orders (id int, note text, PRIMARY KEY (id) INCLUDE (note))")
    laws.apply(connection, [replace(CREATE, mask=["note"])])
    run_sql(connection, "INSERT INTO orders VALUES (1, 'secret')")
    assert kept(connection, "note") == ["***"]


NARROWED = {
    "words": ("varchar(20)", "varchar(5)", "ABCDEFGHIJ", "ABC"),
    "number": ("numeric(12,4)", "numeric(12,1)", "1.2345", "1.5000"),
    "padded": ("char(9)", "char(3)", "ABCDEFGHI", "ABC"),
    "bits": ("varbit(9)", "varbit(3)", "101010101", "101"),
    "period": ("interval", "interval day to second (0)", "00:00:01.5", "00:00:02"),
    "many": ("varchar(20)[]", "varchar(5)[]", "{ABCDEFGHIJ}", "{ABC}"),
    "free": ("text", "varchar(5)", "ABCDEFGHIJ", "ABC"),
    "another": ("int", "numeric(3,1)", "2000000000", "2"),
}
"""Columns: a type, a narrower one, a value that does not fit into that, and one that does."""


def retype(connection: Connection, types: dict[str, str]) -> None:
    """Give columns of `orders` other types."""
    changes = (f"ALTER {name} TYPE {kind} USING {name}::{kind}" for name, kind in types.items())
    run_sql(connection, f"ALTER TABLE orders {', '.join(changes)}")


def test_a_narrower_type_cuts_nothing(connection: Connection) -> None:
    wide = {name: wide for name, (wide, _, _, _) in NARROWED.items()}
    narrow = {name: narrow for name, (_, narrow, _, _) in NARROWED.items()}
    columns = ", ".join(f"{name} {kind}" for name, kind in wide.items())
    run_sql(connection, f"CREATE TABLE orders (id int PRIMARY KEY, {columns})")
    laws.apply(connection, [CREATE])
    long = ", ".join(f"'{long}'" for _, _, long, _ in NARROWED.values())
    short = ", ".join(f"{name} = '{short}'" for name, (_, _, _, short) in NARROWED.items())
    run_sql(connection, f"INSERT INTO orders VALUES (1, {long})", f"UPDATE orders SET {short}")
    for types in (narrow, wide):
        retype(connection, types)
        laws.apply(connection, [ALTER])
        assert drift(connection) == []
        for name, (_, _, *values) in NARROWED.items():
            assert kept(connection, name)[:2] == values, name


NOT_HELD = {
    "number": ("numeric(12,4)", "integer", "1.5"),
    "moment": ("timestamptz", "date", "2026-01-15 12:00+00"),
    "words": ("text", "integer", "007"),
    "large": ("bigint", "integer", "3000000000"),
}
"""Columns: a type, one that cannot hold all of its values, and such a value."""


def test_what_another_type_cannot_hold_is_not_changed(connection: Connection) -> None:
    columns = ", ".join(f"{name} {old}" for name, (old, _, _) in NOT_HELD.items())
    run_sql(connection, f"CREATE TABLE orders (id int PRIMARY KEY, {columns})")
    laws.apply(connection, [CREATE])
    values = ", ".join(f"'{value}'" for _, _, value in NOT_HELD.values())
    nothing = ", ".join(f"{name} = NULL" for name in NOT_HELD)
    run_sql(connection, f"INSERT INTO orders VALUES (1, {values})", f"UPDATE orders SET {nothing}")
    retype(connection, {name: new for name, (_, new, _) in NOT_HELD.items()})
    for name, (_, new, _) in NOT_HELD.items():
        assert f"has kept in column {name} is not of type {new}: " in refused(connection, ALTER)
        run_sql(connection, f"ALTER TABLE audit.orders_history RENAME {name} TO {name}_before")
    laws.apply(connection, [ALTER])
    assert drift(connection) == []


def test_what_another_type_holds_is_converted(connection: Connection) -> None:
    """As `1.00` is an integer, written in another way."""
    run_sql(connection, "CREATE TABLE orders (id int PRIMARY KEY, code numeric)")
    laws.apply(connection, [CREATE])
    run_sql(
        connection,
        "INSERT INTO orders VALUES (1, 1.00), (2, NULL)",
        "ALTER TABLE orders ALTER COLUMN code TYPE bigint",
    )
    laws.apply(connection, [ALTER])
    assert kept(connection, "code") == ["1", None]
    assert drift(connection) == []


# --- Renamed columns


def test_names_that_are_not_there_are_no_renamed_column(connection: Connection) -> None:
    run_sql(connection, TABLE)
    laws.apply(connection, [CREATE])
    run_sql(connection, "ALTER TABLE orders RENAME note TO remark")
    for former, named, told in (
        ("nota", "remark", "its history has no column nota: it has id, note"),
        ("note", "remrk", "it has no column remrk: correct it, or rename it with op."),
        ("id", "note", "it has no column note: correct it, or rename it with op.al"),
    ):
        operation = replace(ALTER, renamed={former: named})
        assert f"renamed=: {told}" in refused(connection, operation)


def test_a_column_is_renamed_once(connection: Connection) -> None:
    run_sql(connection, TABLE)
    laws.apply(connection, [CREATE])
    run_sql(connection, "ALTER TABLE orders RENAME note TO remark")
    laws.apply(connection, [replace(ALTER, renamed={"note": "remark"})] * 2)
    assert kept(connection, "remark") == []


def test_a_history_that_begins_with_the_new_name_has_nothing_to_rename(
    connection: Connection,
) -> None:
    run_sql(connection, TABLE)
    laws.apply(connection, [replace(ALTER, renamed={"former": "note"})])
    assert drift(connection) == []


def test_a_column_is_not_renamed_to_one_that_the_history_has(connection: Connection) -> None:
    """As where an earlier script did not tell of it, and both hold a part of the values."""
    run_sql(connection, TABLE)
    laws.apply(connection, [CREATE])
    run_sql(connection, "ALTER TABLE orders RENAME note TO remark")
    laws.apply(connection, [ALTER])
    told = refused(connection, replace(ALTER, renamed={"note": "remark"}))
    step = 'ALTER TABLE "audit"."orders_history" RENAME remark TO'
    assert f"its history has note and remark: {step} ... first" in told
    run_sql(connection, f"{step} remark_before")
    laws.apply(connection, [replace(ALTER, renamed={"note": "remark"})])
    assert drift(connection) == []


# --- Roles


@pytest.mark.parametrize("operation", [CREATE, ALTER])
def test_roles_that_are_not_there_are_told(
    connection: Connection, operation: CreateAuditTrail | AlterAuditTrail
) -> None:
    run_sql(connection, TABLE)
    laws.apply(connection, [] if operation is CREATE else [CREATE])
    told = refused(connection, replace(operation, readers=["no body", "pg_monitor"]))
    assert 'readers=: there is no role "no body": CREATE RO' in told
    told = refused(connection, replace(operation, owner="nobody"))
    assert "owner=: there is no role nobody: CREATE ROLE nobody first, or cor" in told


# --- Transactions that do not see what others have written


@pytest.mark.parametrize(
    ("before", "operation"),
    [
        ([], replace(CREATE, baseline=False)),
        ([CREATE], ALTER),
        ([CREATE], CREATE.reverse()),
    ],
    ids=["create", "alter", "drop"],
)
def test_a_snapshot_that_could_miss_rows_is_refused(
    connection: Connection,
    database_url: str,
    before: list[Operation],
    operation: Operation,
) -> None:
    """What is committed meanwhile would not be counted, nor copied into the history."""
    run_sql(connection, TABLE)
    laws.apply(connection, before)
    for number, level in enumerate(("REPEATABLE READ", "SERIALIZABLE"), start=1):
        engine = create_engine(database_url, poolclass=NullPool, isolation_level=level)
        told = f"orders: .* {level} does not see.*READ COMMITTED"
        with engine.connect() as own:
            own.exec_driver_sql("SELECT 1 FROM pg_class")
            run_sql(connection, f"INSERT INTO orders VALUES ({number})")
            with pytest.raises(CommandError, match=told):
                laws.apply(own, [operation])
        assert not before or kept(connection, "audit_action") == ["insert"] * number


@pytest.mark.parametrize("operation", [CREATE, replace(ALTER, concurrently=True)])
def test_a_server_that_gives_each_statement_such_a_snapshot_is_refused(
    connection: Connection, engine: Engine, operation: Operation
) -> None:
    run_sql(connection, TABLE)
    with engine.connect() as own:
        run_sql(own, "SET default_transaction_isolation = 'repeatable read'")
        assert "is REPEATABLE READ does not see" in refused(own, operation)


def test_a_history_that_need_not_be_counted_is_dropped_with_any_snapshot(
    connection: Connection, engine: Engine
) -> None:
    run_sql(connection, TABLE)
    laws.apply(connection, [CREATE])
    with engine.connect() as own:
        run_sql(own, "SET default_transaction_isolation = 'repeatable read'")
        laws.apply(own, [DropAuditTrail("orders", "orders_history")])
        laws.apply(own, [replace(CREATE.reverse(), drop_rows=True)])


@pytest.mark.filterwarnings("ignore:.*wal_level.*")
@pytest.mark.parametrize("subscribed", ["orders", "orders_a"])
def test_a_table_that_a_subscription_fills_is_not_audited(
    connection: Connection, subscribe: Callable[[str], None], subscribed: str
) -> None:
    """Only row triggers fire for what it applies; a trail that is there may be altered."""
    by = " PARTITION BY RANGE (id)" if subscribed == "orders_a" else ""
    run_sql(connection, TABLE + by)
    if by:
        run_sql(connection, "CREATE TABLE orders_a PARTITION OF orders DEFAULT")
    subscribe(subscribed)
    for operation in (CREATE, ALTER):
        assert refused(connection, operation) == (
            f'orders: what subscription "fills {subscribed} %" applies to it fires row triggers '
            "only, so that no history of it can be kept: audit the table where it comes from"
        )
    with of_another_database(connection):
        laws.apply(connection, [CREATE])


@pytest.mark.filterwarnings("ignore:.*wal_level.*")
def test_a_trail_of_a_table_that_a_subscription_fills_since_may_be_altered(
    connection: Connection, subscribe: Callable[[str], None]
) -> None:
    run_sql(connection, TABLE)
    laws.apply(connection, [CREATE])
    subscribe("orders")
    laws.apply(connection, [replace(ALTER, mask=["note"])])
    assert drift(connection) == []


@pytest.mark.parametrize("operation", [CREATE, ALTER])
def test_a_table_that_a_crash_empties_is_not_audited(
    connection: Connection, operation: Operation
) -> None:
    run_sql(
        connection,
        TABLE + " PARTITION BY RANGE (id)",
        "CREATE UNLOGGED TABLE orders_a PARTITION OF orders DEFAULT",
    )
    told = "orders: a crash empties UNLOGGED tables untold: ALTER TABLE orders_a SET LOGGED first"
    assert refused(connection, operation) == told
    run_sql(connection, "ALTER TABLE orders_a SET LOGGED")
    laws.apply(connection, [operation])
    run_sql(connection, "ALTER TABLE orders_a SET UNLOGGED")
    laws.apply(connection, [replace(ALTER, mask=["note"])])
