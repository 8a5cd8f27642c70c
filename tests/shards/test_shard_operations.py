"""Shards of tables with a past: rows, keys, grants, triggers, taken names, locks."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import laws
import pytest
from alembic import command
from alembic.util import CommandError
from autogenerate import partitions, project, run, run_sql, write_revision
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from waiting import waiting

from alembic_enterprise.errors import OperationError
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.operations.triggers import ON_EACH_PARTITION
from alembic_enterprise.shards.operations import (
    CreateHashShards,
    DropHashShards,
    GrowHashShards,
    MergeHashShards,
    ShrinkHashShards,
    SplitHashShard,
)

PARENT = "CREATE TABLE orders (id bigint, tenant integer, PRIMARY KEY (id, tenant))"
BY_HASH = " PARTITION BY HASH (tenant)"
FOUR = CreateHashShards("orders", 4)
EIGHT = GrowHashShards("orders", 8, previous=4)


@pytest.fixture
def orders(connection: Connection) -> Connection:
    """A connection to a database with a table of four shards and 400 rows."""
    run_sql(connection, PARENT + BY_HASH)
    laws.apply(connection, [FOUR])
    run_sql(connection, "INSERT INTO orders SELECT n, n FROM generate_series(1, 400) AS n")
    return connection


def apply(connection: Connection, *operations: Operation) -> None:
    laws.apply(connection, operations)


def value(connection: Connection, query: str) -> Any:
    found = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    [row] = found.scalars()
    connection.commit()
    return row


def content(connection: Connection, table: str = "orders") -> list[Any]:
    """All rows of a table, in order."""
    found = connection.exec_driver_sql(f"SELECT t::text FROM {table} AS t ORDER BY t::text")
    rows = list(found.scalars())
    connection.commit()
    return rows


def refused(connection: Connection, operation: Operation, message: str) -> None:
    """The operation is refused in one line, and changes nothing."""
    before = laws.snapshot(connection)
    with pytest.raises(CommandError, match=message):
        apply(connection, operation)
    connection.rollback()
    assert laws.snapshot(connection) == before


# --- Creating


def test_creating_twice_changes_nothing(orders: Connection) -> None:
    before = laws.snapshot(orders)
    apply(orders, FOUR, CreateHashShards("orders", 4, [1, 2]), CreateHashShards("orders", 8))
    assert laws.snapshot(orders) == before


def test_a_table_that_grew_beyond_the_count_is_complete(orders: Connection) -> None:
    apply(orders, EIGHT)
    before = laws.snapshot(orders)
    apply(orders, FOUR)
    assert laws.snapshot(orders) == before
    run_sql(orders, "DROP TABLE orders_shard_5")
    for count in (4, 12):
        operation = CreateHashShards("orders", count)
        refused(
            orders, operation, f"^orders: it has shards of modulus 8, and those of modulus {count}"
        )
    apply(orders, CreateHashShards("orders", 8))
    assert len(partitions(orders, "orders")) == 8


@pytest.mark.parametrize(
    "clause", ["LIST (tenant)", "RANGE (tenant)", "HASH ((tenant + 1))", "HASH (tenant, (id + 1))"]
)
def test_other_kinds_of_partitioned_tables_are_refused(connection: Connection, clause: str) -> None:
    run_sql(
        connection,
        f"CREATE TABLE orders (id bigint, tenant integer) PARTITION BY {clause}",
        "CREATE TABLE plain (tenant integer)",
    )
    for name in ("orders", "plain"):
        for operation in (CreateHashShards(name, 4), GrowHashShards(name, 4)):
            refused(connection, operation, f"^{name} is not partitioned by hash of columns: create")


def test_a_taken_name_gets_a_number(connection: Connection) -> None:
    run_sql(connection, PARENT + BY_HASH, "CREATE TABLE orders_shard_1 ()")
    apply(connection, CreateHashShards("orders", 2), GrowHashShards("orders", 4))
    assert set(partitions(connection, "orders")) == {
        *("orders_shard_0", "orders_shard_1_2", "orders_shard_2", "orders_shard_3")
    }


def test_a_name_that_does_not_fit_is_refused_before_anything_is_made(
    connection: Connection,
) -> None:
    name = "o" * 55
    run_sql(connection, PARENT.replace("orders", name) + BY_HASH)
    apply(connection, CreateHashShards(name, 4))
    refused(connection, GrowHashShards(name, 12), f"{name}_shard_10 has more than 63 bytes")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("create_hash_shards('orders', count=0)", "count=0: write a whole number from 1 to 1024"),
        ("create_hash_shards('orders', count=4, remainders=[4])", "give some from 0 to 3"),
        ("drop_hash_shards('orders', count=4, remainders=[])", "give some from 0 to 3"),
        ("grow_hash_shards('orders', count=2048)", "count=2048: write a whole number"),
        ("split_hash_shard('orders', modulus=4, remainder=4)", "give a remainder from 0 to 3"),
        ("split_hash_shard('orders', modulus=4, remainder=0, into=1)", "and into= from 2 up"),
        ("split_hash_shard('orders', modulus=1024, remainder=0)", "count=2048: write a whole"),
        ("merge_hash_shards('orders', modulus=4, remainder=-1)", "give a remainder from 0 to 3"),
    ],
)
def test_a_wrong_call_in_a_script_is_told_in_one_line(
    orders: Connection, call: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run(orders, f"op.{call}")


# --- Splitting and merging


def test_rows_go_to_the_shard_where_the_server_looks_for_them(orders: Connection) -> None:
    before = content(orders)
    run_sql(orders, "INSERT INTO orders VALUES (401, 0), (402, -7)")
    for operation in (
        EIGHT,
        SplitHashShard("orders", 8, 7, 3),
        ShrinkHashShards("orders", 2),
        GrowHashShards("orders", 6),
        MergeHashShards("orders", 1, 0),
    ):
        apply(orders, operation)
        assert content(orders) == sorted([*before, "(401,0)", "(402,-7)"])
        for tenant in (0, -7, 1, 399):
            query = f"SELECT count(*) FROM orders WHERE tenant = {tenant}"
            assert value(orders, query) == 1, f"the planner looks elsewhere after {operation}"
    assert partitions(orders, "orders") == {"orders_shard_0": "WITH (modulus 1, remainder 0)"}


def test_rows_without_a_key_stay_with_the_first_shard(connection: Connection) -> None:
    run_sql(connection, "CREATE TABLE orders (id bigint, tenant integer)" + BY_HASH)
    apply(connection, FOUR)
    run_sql(connection, "INSERT INTO orders VALUES (1, NULL), (2, NULL)")
    apply(connection, EIGHT)
    assert content(connection, "orders_shard_0") == ["(1,)", "(2,)"]
    apply(connection, EIGHT.reverse())
    assert content(connection, "orders_shard_0") == ["(1,)", "(2,)"]


def test_what_is_done_is_not_done_again(orders: Connection) -> None:
    apply(orders, SplitHashShard("orders", 4, 1), SplitHashShard("orders", 8, 2))
    found = partitions(orders, "orders")
    assert found["orders_shard_5"] == "WITH (modulus 8, remainder 5)"
    assert found["orders_shard_2"] == "WITH (modulus 4, remainder 2)", "no such shard: nothing done"
    before = laws.snapshot(orders)
    apply(orders, SplitHashShard("orders", 4, 1), MergeHashShards("orders", 4, 0))
    apply(orders, ShrinkHashShards("orders", 8), GrowHashShards("orders", 4))
    assert laws.snapshot(orders) == before


@pytest.mark.parametrize(
    "operation",
    [
        GrowHashShards("orders", 6),
        ShrinkHashShards("orders", 3),
        SplitHashShard("orders", 4, 0, 3),
        GrowHashShards("orders", 12),
    ],
)
def test_a_modulus_that_fits_no_other_is_refused(orders: Connection, operation: Operation) -> None:
    apply(orders, SplitHashShard("orders", 4, 1))
    refused(orders, operation, r"^orders: it has shards of modulus \d, which neither divides")


def test_growing_without_the_count_before_cannot_be_reversed() -> None:
    for operation in (GrowHashShards("orders", 8), ShrinkHashShards("orders", 2)):
        with pytest.raises(OperationError, match="without the number of shards there were before"):
            operation.reverse()


def test_new_shards_are_as_the_table_says(connection: Connection, role: str) -> None:
    run_sql(
        connection,
        "CREATE TABLE orders (gone text, id bigint GENERATED ALWAYS AS IDENTITY,"
        " tenant integer NOT NULL, twice integer GENERATED ALWAYS AS (tenant * 2) STORED,"
        " \"Odd %s\" text DEFAULT '%s' CHECK (\"Odd %s\" <> ''), PRIMARY KEY (tenant, id))"
        " PARTITION BY HASH (tenant)",
        "ALTER TABLE orders DROP COLUMN gone",
        "ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_pkey",
        f"GRANT SELECT ON orders TO {role}",
        f"GRANT UPDATE (tenant) ON orders TO {role}",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    )
    apply(connection, FOUR)
    run_sql(connection, *(f"ALTER TABLE orders_shard_{n} SET (fillfactor = 70)" for n in range(4)))
    run_sql(connection, "INSERT INTO orders (tenant) SELECT n FROM generate_series(1, 100) AS n")
    attributes = (
        "SELECT ROW(relacl, relreplident, relrowsecurity, relforcerowsecurity, reloptions,"
        " relowner, (SELECT array_agg((attname, attnum, attacl, attidentity, attgenerated)"
        " ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0))::text"
        " FROM pg_class AS c WHERE relname = '{}'"
    )
    before, rows = value(connection, attributes.format("orders_shard_0")), content(connection)
    apply(connection, EIGHT)
    assert len(content(connection)) == 100
    for number in range(8):
        assert value(connection, attributes.format(f"orders_shard_{number}")) == before
    apply(connection, EIGHT.reverse())
    assert content(connection) == rows
    run_sql(connection, "INSERT INTO orders (tenant) VALUES (7)")
    assert value(connection, "SELECT max(id) FROM orders") == 101


def test_triggers_do_not_fire_for_rows_that_move(orders: Connection) -> None:
    run_sql(
        orders,
        "CREATE TABLE heard (what text)",
        "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO heard VALUES (TG_OP); RETURN NULL; END$$",
        "CREATE TRIGGER hear AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW"
        " EXECUTE FUNCTION hear()",
    )
    apply(orders, EIGHT, EIGHT.reverse())
    assert content(orders, "heard") == []
    run_sql(orders, "INSERT INTO orders VALUES (401, 401)")
    assert content(orders, "heard") == ["(INSERT)"], "and are there for the next"


def test_triggers_that_stand_on_each_partition_are_none_of_a_single_shard(
    connection: Connection,
) -> None:
    run_sql(
        connection,
        PARENT + BY_HASH,
        "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$",
        "CREATE TRIGGER hear AFTER TRUNCATE ON orders EXECUTE FUNCTION hear()",
        f"COMMENT ON TRIGGER hear ON orders IS '{ON_EACH_PARTITION}'",
    )
    apply(connection, FOUR, EIGHT, ShrinkHashShards("orders", 2))
    stands = "SELECT count(*) FROM pg_trigger WHERE tgname = 'hear'"
    assert value(connection, stands) == 3


def test_foreign_keys_to_the_table_are_kept(orders: Connection) -> None:
    run_sql(
        orders,
        "ALTER TABLE orders ADD COLUMN parent bigint,"
        ' ADD CONSTRAINT "own %s" FOREIGN KEY (parent, tenant) REFERENCES orders',
        'CREATE TABLE "Odd Notes" (id bigint, tenant integer, FOREIGN KEY (id, tenant)'
        " REFERENCES orders ON DELETE CASCADE DEFERRABLE)",
        "CREATE TABLE loose (id bigint, tenant integer)",
        "INSERT INTO loose VALUES (-1, -1)",
        "ALTER TABLE loose ADD CONSTRAINT unchecked FOREIGN KEY (id, tenant) REFERENCES orders"
        " NOT VALID",
        "COMMENT ON CONSTRAINT unchecked ON loose IS 'some day'",
        'INSERT INTO "Odd Notes" SELECT id, tenant FROM orders',
        "UPDATE orders SET parent = id",
    )
    keys = (
        "SELECT array_agg((conname, conrelid::regclass, pg_get_constraintdef(oid), convalidated,"
        " obj_description(oid, 'pg_constraint'))::text ORDER BY conname) FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND confrelid = 'orders'::regclass"
    )
    before = value(orders, keys)
    assert "some day" in str(before)
    for operation in (EIGHT, EIGHT.reverse()):
        apply(orders, operation)
        assert value(orders, keys) == before
    run_sql(orders, "DELETE FROM orders WHERE id = 7")
    assert len(content(orders, '"Odd Notes"')) == 399


def test_a_shard_that_somebody_made_by_hand_stays_his_own(orders: Connection) -> None:
    """As where `shards grow` splits it; a merged one is his, too, when one of those before was."""
    run_sql(
        orders,
        "COMMENT ON TABLE orders_shard_0 IS 'of the north'",
        "COMMENT ON TABLE orders_shard_1 IS NULL",
    )
    comments = (
        "SELECT array_agg(obj_description(inhrelid, 'pg_class') ORDER BY inhrelid::regclass::text)"
        " FROM pg_inherits WHERE inhparent = 'orders'::regclass"
    )
    ours = "alembic-enterprise: partition of public.orders"
    apply(orders, EIGHT)
    assert value(orders, comments) == ["of the north", None, ours, ours] * 2
    apply(orders, EIGHT.reverse())
    assert value(orders, comments) == ["of the north", None, ours, ours]


def test_foreign_keys_of_the_table_are_kept(orders: Connection) -> None:
    run_sql(
        orders,
        "CREATE TABLE tenants (id integer PRIMARY KEY)",
        "INSERT INTO tenants SELECT tenant FROM orders",
        "ALTER TABLE orders ADD FOREIGN KEY (tenant) REFERENCES tenants",
    )
    laws.reverses(orders, laws.Example(EIGHT))
    with pytest.raises(DBAPIError, match="violates foreign key constraint"):
        run_sql(orders, "INSERT INTO orders VALUES (1, 999)")
    orders.rollback()


def test_a_view_on_a_shard_stops_its_split(orders: Connection) -> None:
    """Nothing that depends on a shard is dropped along with it."""
    run_sql(orders, "CREATE VIEW third AS SELECT * FROM orders_shard_3")
    before = laws.snapshot(orders)
    with pytest.raises(DBAPIError, match="view third depends on table"):
        apply(orders, EIGHT)
    orders.rollback()
    assert laws.snapshot(orders) == before


@pytest.mark.parametrize(
    "shard",
    [
        "CREATE TABLE odd PARTITION OF orders {} PARTITION BY HASH (id)",
        "CREATE FOREIGN TABLE odd PARTITION OF orders {} SERVER nowhere",
    ],
)
def test_a_shard_that_is_no_plain_table_is_not_split(connection: Connection, shard: str) -> None:
    run_sql(
        connection,
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere",
        "CREATE TABLE orders (id bigint, tenant integer)" + BY_HASH,
    )
    apply(connection, CreateHashShards("orders", 4, [0, 1, 2]))
    run_sql(connection, shard.format("FOR VALUES WITH (MODULUS 4, REMAINDER 3)"))
    refused(connection, EIGHT, r"its shard odd is a foreign or a partitioned table")
    apply(connection, SplitHashShard("orders", 4, 0))
    assert len(partitions(connection, "orders")) == 5


def test_shards_of_another_schema_come_home_with_their_rows(connection: Connection) -> None:
    run_sql(
        connection,
        PARENT + BY_HASH,
        "CREATE SCHEMA far",
        'CREATE TABLE far."The %s One" PARTITION OF orders'
        " FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "INSERT INTO orders SELECT n, n FROM generate_series(1, 50) AS n",
    )
    rows = content(connection)
    apply(connection, GrowHashShards("orders", 2))
    assert list(partitions(connection, "orders")) == ['"The %s One"', "orders_shard_1"]
    assert content(connection) == rows


# --- Rows are never lost


@pytest.mark.parametrize("operation", [EIGHT, ShrinkHashShards("orders", 2)])
def test_rows_written_while_the_operation_waits_are_moved(
    orders: Connection, engine: Engine, operation: Operation
) -> None:
    orders.exec_driver_sql("INSERT INTO orders VALUES (401, 401)")
    with waiting(engine, lambda own: apply(own, operation)) as changed:
        orders.exec_driver_sql("INSERT INTO orders VALUES (402, 402)")
        orders.commit()
    changed.result()
    assert len(content(orders)) == 402


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_that_could_miss_rows_is_refused(
    orders: Connection, database_url: str, level: str
) -> None:
    engine = create_engine(database_url, isolation_level=level)
    with engine.connect() as own:
        for operation in (EIGHT, DropHashShards("orders", 4)):
            own.exec_driver_sql("SELECT 1 FROM pg_class")
            run_sql(orders, "INSERT INTO orders SELECT max(id) + 1, 7 FROM orders")
            with pytest.raises(CommandError, match=f"{level} does not see.*READ COMMITTED"):
                apply(own, operation)
            own.rollback()
    engine.dispose()
    assert len(content(orders)) == 402


def test_rows_hidden_by_row_security_are_not_lost(
    orders: Connection, engine: Engine, role: str
) -> None:
    """Row security applies to the owner as well when it is forced."""
    run_sql(
        orders,
        *(
            f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
            for name in ("orders", "orders_shard_1")
        ),
        *(
            f"ALTER TABLE {name} OWNER TO {role}"
            for name in ["orders", *partitions(orders, "orders")]
        ),
    )
    with engine.connect() as owner:
        run_sql(owner, f"SET ROLE {role}")
        with pytest.raises(DBAPIError, match="would be affected by row-level security policy"):
            apply(owner, EIGHT)
        owner.rollback()
        run_sql(orders, "ALTER TABLE orders_shard_1 NO FORCE ROW LEVEL SECURITY")
        apply(owner, EIGHT)
        assert owner.exec_driver_sql("SHOW row_security").scalar_one() == "on"
    assert len(content(orders)) == 400


def test_rows_in_the_wrong_shard_stop_a_split(connection: Connection) -> None:
    """As after a hash that is another one since an upgrade: none of the new shards takes them."""
    own_hash = (
        "CREATE OR REPLACE FUNCTION own_hash(integer, bigint) RETURNS bigint IMMUTABLE"
        " LANGUAGE sql AS '{}'"
    )
    run_sql(
        connection,
        own_hash.format("SELECT $1::bigint"),
        "CREATE OPERATOR CLASS own_ops FOR TYPE integer USING hash AS OPERATOR 1 =,"
        " FUNCTION 2 own_hash(integer, bigint)",
        "CREATE TABLE orders (tenant integer) PARTITION BY HASH (tenant own_ops)",
    )
    apply(connection, FOUR)
    run_sql(connection, "INSERT INTO orders SELECT n FROM generate_series(1, 40) AS n")
    run_sql(connection, own_hash.format("SELECT 1::bigint"))
    refused(
        connection, EIGHT, r"^orders: 10 row\(s\) were to move and 0 did, so nothing is changed"
    )
    assert len(content(connection)) == 40


def test_a_shard_with_rows_stops_the_drop_with_their_number(orders: Connection) -> None:
    run_sql(orders, "DELETE FROM orders WHERE tenant <> 7")
    refused(
        orders,
        DropHashShards("orders", 4),
        r"^orders: partition orders_shard_\d holds 1 row\(s\). Move them away, or pass "
        r"drop_rows=True to op.drop_hash_shards to lose them$",
    )
    apply(orders, DropHashShards("orders", 4, drop_rows=True))
    assert partitions(orders, "orders") == {}


def test_rows_that_refer_to_their_own_table_go_with_it(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE TABLE orders (tenant integer PRIMARY KEY, above integer REFERENCES orders)"
        " PARTITION BY HASH (tenant)",
    )
    apply(connection, FOUR)
    run_sql(connection, "INSERT INTO orders SELECT n, 1 FROM generate_series(1, 20) AS n")
    apply(connection, DropHashShards("orders", 4, whole_table=True, drop_rows=True))
    assert partitions(connection, "orders") == {}


def test_only_what_we_made_is_dropped(connection: Connection) -> None:
    run_sql(
        connection,
        PARENT + BY_HASH,
        "CREATE TABLE mine PARTITION OF orders FOR VALUES WITH (MODULUS 4, REMAINDER 2)",
    )
    apply(connection, FOUR, DropHashShards("orders", 4, [1, 2]))
    left = ["orders_shard_0", "mine", "orders_shard_3"]
    assert list(partitions(connection, "orders")) == left
    apply(connection, DropHashShards("orders", 4))
    assert list(partitions(connection, "orders")) == ["mine"]
    apply(connection, DropHashShards("orders", 4, whole_table=True))
    assert partitions(connection, "orders") == {}


def test_lock_timeout_is_respected_and_nothing_is_half_done(
    orders: Connection, engine: Engine
) -> None:
    before = laws.snapshot(orders)
    orders.exec_driver_sql("SELECT * FROM orders_shard_3")
    with engine.connect() as impatient:
        run_sql(impatient, "SET lock_timeout = '50ms'")
        with pytest.raises(OperationalError) as raised:
            apply(impatient, EIGHT)
        assert isinstance(raised.value.orig, LockNotAvailable)
    orders.rollback()
    assert laws.snapshot(orders) == before


# --- Offline


SCRIPT = """
op.execute('CREATE TABLE "$block$ x %" (id bigint, "Odd Key" uuid) PARTITION BY HASH ("Odd Key")')
op.create_hash_shards('$block$ x %', count=4)
op.execute('INSERT INTO "$block$ x %" SELECT n, gen_random_uuid() FROM generate_series(1, 99) AS n')
op.grow_hash_shards('$block$ x %', count=8)
op.split_hash_shard('$block$ x %', modulus=8, remainder=5)
op.merge_hash_shards('$block$ x %', modulus=8, remainder=5)
op.shrink_hash_shards('$block$ x %', count=2)
op.execute('DELETE FROM "$block$ x %"')
op.drop_hash_shards('$block$ x %', count=2, remainders=[1])
"""


class Statements(StringIO):
    """Keeps what is written to it, one statement a piece."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text.strip())
        return len(text)


def test_offline_scripts_are_what_an_upgrade_executes(
    tmp_path: Path, engine: Engine, other_database: Callable[[], str]
) -> None:
    config = project(tmp_path, engine, MetaData())
    write_revision(tmp_path, "1", None, SCRIPT)
    config.output_buffer = Statements()
    command.upgrade(config, "head", sql=True)
    offline = [text.removesuffix(";") for text in config.output_buffer.written]
    online: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        online.append(statement.strip())

    event.listen(engine, "before_cursor_execute", record)
    command.upgrade(config, "head")
    event.remove(engine, "before_cursor_execute", record)
    blocks = [text for text in offline if text.startswith("DO ")]
    assert len(blocks) == 6
    assert blocks == [text for text in online if text.startswith("DO ")]
    elsewhere = create_engine(other_database(), poolclass=NullPool)
    with elsewhere.connect() as connection, engine.connect() as other:
        own = connection.execution_options(isolation_level="AUTOCOMMIT")
        run_sql(own, *(text for text in offline if text and not text.startswith("--")))
        assert laws.snapshot(own) == laws.snapshot(other)
    elsewhere.dispose()
