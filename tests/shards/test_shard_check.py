"""What `shards check` finds: each rule speaks of what is bad, and is silent of what is good."""

from typing import LiteralString

import growing
import laws
import pytest
from autogenerate import run_sql
from psycopg.sql import SQL, Identifier
from sharded import COLUMNS, filled, half_detached, marked, run, shard, table
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding, exit_code
from alembic_enterprise.shards.advise import advise, copy_without_table
from alembic_enterprise.shards.inspection import LOOKED_AT, inspect, number, strays
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name

ORDERS = Name("public", "orders")


def findings(connection: Connection, name: str = "orders") -> list[Finding]:
    [inspection] = inspect(connection, [name])
    connection.rollback()
    return advise(inspection)


def rules(connection: Connection) -> list[str]:
    return [found.rule for found in findings(connection)]


def standalone(connection: Connection, name: str, columns: LiteralString = COLUMNS) -> None:
    """A table that we made as a shard of orders, and that is not attached."""
    child = Name("public", name)
    create = SQL("CREATE TABLE {} ({})").format(child.sql, SQL(columns))
    run(connection, create, marked(child, "partition of public.orders"))


def test_a_table_in_order_gives_no_finding(connection: Connection) -> None:
    table(connection, count=8)
    filled(connection, ORDERS, "n", 10_000)
    assert findings(connection) == []


# --- Holes


@pytest.mark.parametrize(
    ("held", "holes"),
    [
        ([Class(4, 0), Class(4, 2)], [1, 3]),
        ([Class(2, 0), Class(4, 3)], [1]),
        ([Class(4, 0), Class(8, 1), Class(4, 2)], [3, 5, 7]),
    ],
)
def test_holes_are_filled_by_the_operation(
    connection: Connection, held: list[Class], holes: list[int]
) -> None:
    table(connection, held=held)
    found = findings(connection)[0]
    count = max(item.modulus for item in held)
    assert (found.rule, found.severity) == ("shards-missing", "error")
    assert found.evidence["remainders"] == holes
    assert found.evidence["modulus"] == count
    assert exit_code([found]) == 2
    laws.apply(connection, found.operations)
    assert [item for item in rules(connection) if item != "growth-unfinished"] == []


@pytest.mark.parametrize(
    ("held", "words"),
    [([], "0 shards, and 100.0%"), ([Class(2048, 2000)], "1 shards, and 100.0%")],
)
def test_what_no_operation_can_fill_is_left_to_the_model(
    connection: Connection, held: list[Class], words: str
) -> None:
    table(connection, held=held)
    [found] = findings(connection)
    assert (found.rule, found.operations) == ("shards-missing", ())
    assert f"it has {words} of all keys are refused: run `alembic upgrade head`" in found.message


def test_a_half_detached_shard_is_no_hole_to_fill(connection: Connection) -> None:
    table(connection)
    half_detached(connection, "orders_shard_2")
    [found] = findings(connection)
    assert (found.rule, found.severity) == ("detach-pending", "error")
    assert 'DETACH PARTITION "public"."orders_shard_2" FINALIZE' in found.message


# --- Names


def test_a_name_that_tells_another_remainder(connection: Connection) -> None:
    table(connection, count=2)
    run(connection, "ALTER TABLE orders_shard_1 RENAME TO orders_shard_7")
    [found] = findings(connection)
    assert (found.rule, found.severity) == ("shard-misnamed", "warning")
    run_sql(connection, found.message.rpartition(": ")[2])
    assert findings(connection) == []


def test_names_that_tell_nothing_are_odd_only_when_we_made_them(connection: Connection) -> None:
    table(connection, held=[])
    shard(connection, ORDERS, Class(2, 0), "first")
    second = shard(connection, ORDERS, Class(2, 1), "second")
    run(connection, SQL("COMMENT ON TABLE {} IS NULL").format(second.sql))
    [found] = findings(connection)
    assert found.evidence == {"shard": "public.first", "modulus": 2, "remainder": 0}


@pytest.mark.parametrize(
    ("name", "remainder"),
    [
        ("orders_shard_3", 3),
        ("orders_shard_3_2", 3),
        ("a_shard_1_shard_12", 12),
        ("orders_shard_", None),
        ("orders_shard_3x", None),
        ("orders_3", None),
        ("orders_shard_3\n", None),
    ],
)
def test_the_remainder_in_a_name(name: str, remainder: int | None) -> None:
    assert number(name) == remainder


def test_a_renamed_table_keeps_the_names_of_its_shards(connection: Connection) -> None:
    table(connection, count=2)
    run(connection, "ALTER TABLE orders RENAME TO sales")
    assert findings(connection, "sales") == []


# --- Rows


def test_a_shard_with_far_more_than_its_share(connection: Connection) -> None:
    table(connection, count=4)
    filled(connection, ORDERS, "CASE WHEN n % 2 = 0 THEN 1 ELSE n END", 10_000)
    [found] = findings(connection)
    assert (found.rule, found.severity) == ("skewed", "warning")
    assert found.evidence["skew"] == pytest.approx(2.5, abs=0.1)
    assert "has 2.5 times its share" in found.message
    assert "shards advise public.orders`" in found.message


def test_few_rows_are_skewed_by_chance(connection: Connection) -> None:
    table(connection, count=4)
    filled(connection, ORDERS, "1", 3999)
    assert findings(connection) == []
    filled(connection, ORDERS, "1", 1)
    assert rules(connection) == ["skewed"]


def test_a_shard_of_a_smaller_modulus_may_have_more_rows(connection: Connection) -> None:
    table(connection, held=[Class(2, 0), Class(8, 1), Class(8, 3), Class(8, 5), Class(8, 7)])
    filled(connection, ORDERS, "n", 10_000)
    assert rules(connection) == ["growth-unfinished"]


# --- Growth


def test_shards_of_two_moduli_are_a_note(connection: Connection) -> None:
    table(connection, held=[Class(2, 0), Class(4, 1), Class(4, 3)])
    [found] = findings(connection)
    assert (found.rule, found.severity) == ("growth-unfinished", "note")
    assert "shards grow public.orders --to 4`" in found.message
    assert exit_code([found]) == 0


def test_copies_that_growth_left_behind(connection: Connection) -> None:
    table(connection, count=2)
    for remainder in (1, 3):
        copy(connection, remainder)
    [found] = findings(connection)
    assert (found.rule, found.severity) == ("growth-unfinished", "warning")
    assert "2 copies" in found.message
    assert found.message.endswith(
        "let `alembic-enterprise shards grow public.orders --to 4` run to its end, or remove them "
        "with `alembic-enterprise shards grow public.orders --abort`"
    )
    assert found.evidence["copies"] == [
        {"modulus": 4, "remainder": 1},
        {"modulus": 4, "remainder": 3},
    ]


def copy(connection: Connection, remainder: int) -> None:
    """A table as growth makes it for a part of a shard."""
    name = Name("public", f"copy_{remainder}")
    create = SQL(
        "CREATE TABLE {} (CONSTRAINT alembic_enterprise_guard"
        " CHECK ('orders'::regclass::oid IS NOT NULL))"
    )
    words = f"copy of shard 1 for modulus 4, remainder {remainder}"
    run(connection, create.format(name.sql), marked(name, words))


def test_what_a_stranger_calls_a_copy_is_none(connection: Connection, role: str) -> None:
    table(connection, count=2)
    copy(connection, 1)
    run(connection, SQL("ALTER TABLE copy_1 OWNER TO {}").format(Identifier(role)))
    assert findings(connection) == []


def test_copies_whose_table_is_gone(connection: Connection) -> None:
    table(connection, count=2)
    copy(connection, 1)
    assert strays(connection) == []
    connection.rollback()
    run(connection, "DROP TABLE orders CASCADE")
    [found] = map(copy_without_table, strays(connection))
    connection.rollback()
    assert (found.rule, found.table) == ("copy-without-table", "public.copy_1")
    run_sql(connection, found.message.rpartition(": ")[2])
    assert strays(connection) == []


@pytest.mark.parametrize("count", [4, None])
def test_foreign_keys_that_a_killed_run_has_not_validated(
    connection: Connection, engine: Engine, count: int | None
) -> None:
    growing.orders(connection)
    run_sql(
        connection,
        "CREATE TABLE lines (tenant bigint, id bigint, FOREIGN KEY (tenant, id) REFERENCES orders)",
    )
    growing.stopped(engine, "VALIDATE")
    found = findings(connection)[-1]
    assert (found.rule, found.severity) == ("foreign-key-unvalidated", "warning")
    assert found.evidence == {"constraint": "lines_tenant_id_fkey", "table": "public.lines"}
    assert "shards grow public.orders --to 4`" in found.message
    growing.run(engine, count)
    assert "foreign-key-unvalidated" not in rules(connection)


# --- Tables beside it


def test_a_shard_that_was_never_attached(connection: Connection) -> None:
    table(connection, count=2)
    run(connection, "ALTER TABLE orders DETACH PARTITION orders_shard_1")
    missing, orphan = findings(connection)
    assert (missing.rule, orphan.rule, orphan.severity) == ("shards-missing", "orphan", "warning")
    assert "orders_shard_1 was made as a shard and is not attached, with 0 rows" in orphan.message


def test_a_shard_that_was_detached_with_rows_is_attached_again(connection: Connection) -> None:
    table(connection, count=4, held=[Class(4, 0), Class(4, 1), Class(4, 2)])
    shard(connection, ORDERS, Class(4, 3), "of_any_name")
    filled(connection, ORDERS, "n", 100)
    run(connection, "ALTER TABLE orders DETACH PARTITION of_any_name")
    missing, orphan = findings(connection)
    assert missing.operations == ()
    assert missing.message.endswith("are refused: attach public.of_any_name again")
    run_sql(connection, orphan.message.rpartition(": ")[2])
    assert rules(connection) == ["shard-misnamed"]


def test_columns_of_the_key_may_have_any_name(connection: Connection) -> None:
    columns: LiteralString = "number int, claimed int, few int, first int"
    table(connection, count=2, columns=columns, key="number, claimed, few, first")
    filled(connection, ORDERS, "n, n, n, n", 20)
    run(connection, "ALTER TABLE orders DETACH PARTITION orders_shard_1")
    orphan = findings(connection)[1]
    run_sql(connection, orphan.message.rpartition(": ")[2])
    assert findings(connection) == []


def test_only_the_shards_that_nobody_has_are_created(connection: Connection) -> None:
    table(connection, count=4)
    filled(connection, ORDERS, "n", 100)
    run(
        connection,
        "ALTER TABLE orders DETACH PARTITION orders_shard_1",
        "DROP TABLE orders_shard_2",
    )
    missing, orphan = findings(connection)
    assert "no shard holds remainder 1, 2 of 4" in missing.message
    assert missing.message.endswith(
        "attach public.orders_shard_1 again, and write a revision with `alembic revision "
        "--autogenerate`, or by hand with op.create_hash_shards('orders', count=4, "
        "remainders=[2], schema='public')"
    )
    laws.apply(connection, missing.operations)
    run_sql(connection, orphan.message.rpartition(": ")[2])
    assert findings(connection) == []


def test_rows_of_which_another_shard_holds_the_remainder_go_there(connection: Connection) -> None:
    table(connection, count=1)
    standalone(connection, "orders_shard_0_2")
    [found] = findings(connection)
    assert found.message.endswith("INSERT them into the table itself, and drop it")


def test_rows_that_belong_elsewhere(connection: Connection) -> None:
    table(connection, count=2)
    standalone(connection, "orders_shard_1_2")
    run(connection, "INSERT INTO orders_shard_1_2 SELECT n FROM generate_series(1, 100) AS n")
    [found] = findings(connection)
    right = connection.exec_driver_sql(
        "SELECT count(*) FROM orders_shard_1_2"
        " WHERE satisfies_hash_partition('orders'::regclass, 2, 1, tenant_id)"
    ).scalar_one()
    assert (found.rule, found.severity) == ("rows-misplaced", "warning")
    assert found.evidence["rows"] == 100 - right
    run(
        connection,
        "DELETE FROM orders_shard_1_2"
        " WHERE NOT satisfies_hash_partition('orders'::regclass, 2, 1, tenant_id)",
    )
    assert rules(connection) == ["orphan"]


def test_rows_are_looked_at_up_to_a_limit(connection: Connection) -> None:
    table(connection, count=1)
    standalone(connection, "orders_shard_0_2")
    run_sql(
        connection,
        f"INSERT INTO orders_shard_0_2 SELECT n FROM generate_series(1, {LOOKED_AT + 1}) AS n",
    )
    [found] = findings(connection)
    assert (found.rule, found.evidence["rows"]) == ("orphan", LOOKED_AT)
    assert "with 1,000 or more rows" in found.message


def test_what_cannot_be_placed_is_an_orphan_still(connection: Connection) -> None:
    table(connection, count=2)
    standalone(connection, "orders_shard_9")  # there is no such remainder
    standalone(connection, "orders_shard_1_2", "other bigint")
    standalone(connection, "orders_shard_1_3", "tenant_id int")
    run(connection, "INSERT INTO orders_shard_9 VALUES (1)")
    found = findings(connection)
    assert [(item.rule, item.evidence["rows"]) for item in found] == [
        ("orphan", None),
        ("orphan", None),
        ("orphan", 1),
    ]


def test_a_table_that_may_not_be_read_is_an_orphan_still(
    connection: Connection, database_url: str, role: str
) -> None:
    table(connection, count=2)
    standalone(connection, "orders_shard_1_2")
    url = make_url(database_url).update_query_dict({"options": f"-c role={role}"})
    with create_engine(url, poolclass=NullPool).connect() as other:
        [found] = findings(other)
    assert (found.rule, found.evidence["rows"]) == ("orphan", None)


def test_names_that_hurt(connection: Connection) -> None:
    run_sql(connection, 'CREATE SCHEMA "Mixed Case"')
    parent = Name("Mixed Case", 'we"ird')
    table(connection, parent.name, 2, schema="Mixed Case", columns='"a b" int', key='"a b"')
    run(
        connection,
        SQL("ALTER TABLE {} DETACH PARTITION {}").format(
            parent.sql, Name("Mixed Case", 'we"ird_shard_1').sql
        ),
    )
    found = findings(connection, 'Mixed Case.we"ird')
    assert [item.rule for item in found] == ["shards-missing", "orphan"]
    laws.apply(connection, found[0].operations)


def test_nested_tables_are_looked_at_too(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE TABLE orders (id int, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO"
        " ('2027-01-01') PARTITION BY HASH (id)",
        "CREATE TABLE first PARTITION OF orders_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    )
    [inspection] = inspect(connection)
    assert [found.rule for found in advise(inspection)] == ["shards-missing"]


# --- Looking


def test_a_check_changes_nothing_and_needs_no_right_to(connection: Connection) -> None:
    table(connection, held=[Class(2, 0)])
    before = laws.snapshot(connection)
    inspect(connection)
    with pytest.raises(DBAPIError, match="read-only transaction"):
        connection.exec_driver_sql("CREATE TABLE no ()")
    connection.rollback()
    assert laws.snapshot(connection) == before


def test_tables_are_chosen_by_name(connection: Connection) -> None:
    table(connection, "a")
    table(connection, "b")
    assert [str(item.status.table.name) for item in inspect(connection, ["public.b"])] == [
        "public.b"
    ]
    with pytest.raises(ConfigurationError, match="no sharded table is called c: there are"):
        inspect(connection, ["b", "c"])


def test_looking_takes_as_many_round_trips_for_many_tables(engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *values: statements.append(values[2]))
    numbers: list[int] = []
    with engine.connect() as connection:
        for name in ("orders", "a", "b"):
            table(connection, name)
            standalone(connection, f"orders_shard_1_{name}")
            statements.clear()
            inspect(connection)
            connection.rollback()
            numbers.append(len(statements))
    assert numbers[0] == numbers[1] == numbers[2] < 12
