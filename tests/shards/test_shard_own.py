"""What a single shard has of its own is never lost by splitting or merging it."""

import re
import secrets
from collections.abc import Iterator

import laws
import psycopg
import pytest
from alembic.util import CommandError
from autogenerate import run_sql
from growing import of_another_database, subscribed
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection

from alembic_enterprise.operation import Operation
from alembic_enterprise.shards import growth
from alembic_enterprise.shards.operations import (
    CreateHashShards,
    GrowHashShards,
    MergeHashShards,
    ShrinkHashShards,
    SplitHashShard,
)

EIGHT = GrowHashShards("orders", 8)


@pytest.fixture
def orders(connection: Connection) -> Connection:
    """A connection to a database with a table of four shards and 400 rows."""
    run_sql(
        connection,
        "CREATE TABLE orders (id bigint, tenant integer, PRIMARY KEY (id, tenant))"
        " PARTITION BY HASH (tenant)",
    )
    laws.apply(connection, [CreateHashShards("orders", 4)])
    run_sql(connection, "INSERT INTO orders SELECT n, n FROM generate_series(1, 400) AS n")
    return connection


def refused(connection: Connection, operation: Operation, message: str) -> None:
    """The operation is refused in one line, and changes nothing."""
    before = laws.snapshot(connection)
    with pytest.raises(CommandError, match=message):
        laws.apply(connection, [operation])
    connection.rollback()
    assert laws.snapshot(connection) == before


OWN = {
    'CREATE INDEX "Odd %s" ON orders_shard_1 (id)': 'index "Odd %s"',
    "ALTER TABLE orders_shard_1 ADD UNIQUE (id)": "index orders_shard_1_id_key",
    "ALTER TABLE orders_shard_1 ADD CONSTRAINT few CHECK (id < 999)": "constraint few",
    "ALTER TABLE orders_shard_1 ADD CONSTRAINT far FOREIGN KEY (id) REFERENCES ids": (
        "constraint far"
    ),
    "ALTER TABLE orders_shard_1 ALTER COLUMN note SET NOT NULL": "NOT NULL of note",
    "ALTER TABLE orders_shard_1 ALTER COLUMN note SET DEFAULT 'one'": "default of note",
    "ALTER TABLE orders_shard_1 ALTER COLUMN id SET DEFAULT 1": "default of id",
    "ALTER TABLE orders_shard_1 ALTER COLUMN note SET STATISTICS 7": "SET STATISTICS of note",
    "ALTER TABLE orders_shard_1 ALTER COLUMN note SET (n_distinct = 5)": "options of note",
    "ALTER TABLE orders_shard_1 ALTER COLUMN note SET STORAGE EXTERNAL": "storage of note",
    "ALTER TABLE orders_shard_1 ALTER COLUMN note SET COMPRESSION pglz": "compression of note",
    "CREATE STATISTICS own ON id, note FROM orders_shard_1": "statistics (d, f, m) of id, note",
    "CREATE STATISTICS own ON id, note FROM orders_shard_1;"
    " CREATE STATISTICS whole ON id, note FROM orders;"
    " ALTER STATISTICS own SET STATISTICS 7": (
        "SET STATISTICS 7 of statistics (d, f, m) of id, note"
    ),
    "CREATE INDEX low ON orders (lower(note));"
    " ALTER INDEX orders_shard_1_lower_idx ALTER COLUMN 1 SET STATISTICS 7": (
        "SET STATISTICS of index orders_shard_1_lower_idx"
    ),
    "ALTER TABLE orders_shard_1 DISABLE TRIGGER everywhere": (
        "ENABLE or DISABLE of trigger everywhere"
    ),
    "CREATE RULE own AS ON DELETE TO orders_shard_1 DO INSTEAD NOTHING": "rule own",
    "ALTER TABLE orders_shard_1 ENABLE ROW LEVEL SECURITY": "row security",
    "ALTER TABLE orders_shard_1 REPLICA IDENTITY FULL": "replica identity",
    "ALTER TABLE orders_shard_1 SET UNLOGGED": "UNLOGGED",
    "ALTER TABLE orders_shard_1 SET (toast.autovacuum_enabled = off)": (
        "storage parameters of TOAST"
    ),
    "ALTER INDEX orders_shard_1_pkey SET (fillfactor = 70)": (
        "storage parameters of index orders_shard_1_pkey"
    ),
    "CREATE TRIGGER same BEFORE UPDATE ON orders_shard_1 FOR EACH ROW EXECUTE FUNCTION"
    " suppress_redundant_updates_trigger()": "trigger same",
    "CREATE POLICY nobody ON orders_shard_1 USING (false)": "policy nobody",
    "CREATE PUBLICATION part FOR TABLE orders_shard_1": "publication part",
    "GRANT DELETE ON orders_shard_1 TO PUBLIC": "grant of DELETE to public",
    "GRANT UPDATE (tenant) ON orders_shard_1 TO PUBLIC": "grant of UPDATE (tenant) to public",
    "ALTER TABLE orders_shard_1 SET (fillfactor = 70)": "storage parameters fillfactor=70",
}
"""What a single shard can have -> how it is called."""


@pytest.mark.parametrize("statement", OWN)
def test_what_a_single_shard_has_is_never_lost_silently(orders: Connection, statement: str) -> None:
    run_sql(
        orders,
        "CREATE TABLE ids (id bigint PRIMARY KEY)",
        "INSERT INTO ids SELECT id FROM orders",
        "ALTER TABLE orders ADD note text DEFAULT ''",
        "ALTER TABLE orders ALTER COLUMN tenant SET STATISTICS 9",
        "CREATE TRIGGER everywhere BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()",
        "GRANT SELECT, UPDATE (id) ON orders TO PUBLIC",
        *(f"GRANT SELECT, UPDATE (id) ON orders_shard_{number} TO PUBLIC" for number in range(4)),
        statement,
    )
    told = f"^orders: its shard orders_shard_1 has {re.escape(OWN[statement])} of its own, "
    for operation in (EIGHT, SplitHashShard("orders", 4, 1), ShrinkHashShards("orders", 2)):
        refused(orders, operation, told)
    laws.apply(orders, [SplitHashShard("orders", 4, 0), MergeHashShards("orders", 4, 0)])


@pytest.fixture
def tablespace(administrator: psycopg.Connection, orders: Connection) -> Iterator[str]:
    """The name of a tablespace, which `orders` may be in."""
    name = f"alembic_enterprise_{secrets.token_hex(6)}"
    administrator.execute("SET allow_in_place_tablespaces = on")
    administrator.execute(SQL("CREATE TABLESPACE {} LOCATION ''").format(Identifier(name)))
    yield name
    orders.rollback()
    run_sql(orders, "DROP TABLE orders")
    administrator.execute(SQL("DROP TABLESPACE {}").format(Identifier(name)))


def test_a_shard_stays_on_its_disk(orders: Connection, tablespace: str) -> None:
    moved = f"SET TABLESPACE {tablespace}"
    run_sql(orders, f"ALTER INDEX orders_shard_1_pkey {moved}")
    refused(orders, EIGHT, "has tablespace of index orders_shard_1_pkey of its own")
    run_sql(orders, f"ALTER TABLE orders_shard_1 {moved}")
    refused(orders, EIGHT, f"has tablespace {tablespace} of its own")
    run_sql(orders, f"ALTER TABLE orders {moved}", f"ALTER INDEX orders_pkey {moved}")
    laws.apply(orders, [EIGHT])
    query = (
        f"SELECT count(*) FROM pg_class JOIN pg_tablespace AS s ON s.oid = reltablespace"
        f" WHERE spcname = '{tablespace}' AND relname ~ '^orders_shard_.(_pkey)?$'"
    )
    assert orders.exec_driver_sql(query).scalar_one() == 16
    run_sql(orders, f"SET default_tablespace = {tablespace}")
    assert growth.grow(orders, "orders", 16).problems == []
    assert orders.exec_driver_sql(query.replace("_.(", "_..?(")).scalar_one() == 32


def test_settings_of_columns_go_on_to_new_shards(orders: Connection) -> None:
    run_sql(orders, "ALTER TABLE orders ALTER COLUMN id SET STATISTICS 7")
    laws.apply(orders, [EIGHT])
    query = "SELECT count(*) FROM pg_attribute WHERE attname = 'id' AND attstattarget = 7"
    assert orders.exec_driver_sql(query).scalar_one() == 9


def test_settings_of_indexes_and_statistics_go_on_to_new_shards(orders: Connection) -> None:
    run_sql(
        orders,
        "CREATE INDEX expression ON orders (tenant, (id + 1))",
        "ALTER INDEX expression ALTER COLUMN 2 SET STATISTICS 7",
        "CREATE STATISTICS pair ON id, tenant FROM orders",
        "ALTER STATISTICS pair SET STATISTICS 9",
    )
    laws.apply(orders, [EIGHT])
    indexes = "SELECT count(*) FROM pg_attribute WHERE attname = 'expr' AND attstattarget = 7"
    statistics = "SELECT count(*) FROM pg_statistic_ext WHERE stxstattarget = 9"
    assert orders.exec_driver_sql(indexes).scalar_one() == 9
    assert orders.exec_driver_sql(statistics).scalar_one() == 9


CHANGES = [EIGHT, SplitHashShard("orders", 4, 1), ShrinkHashShards("orders", 2)]


@pytest.mark.parametrize("operation", CHANGES)
@pytest.mark.parametrize(
    ("key", "disabled"),
    [
        ("notes ADD CONSTRAINT own FOREIGN KEY (id, tenant) REFERENCES orders", "notes"),
        ("orders ADD CONSTRAINT own FOREIGN KEY (id) REFERENCES ids", "orders_shard_1"),
    ],
)
def test_a_foreign_key_that_is_switched_off_stays_so(
    orders: Connection, operation: Operation, key: str, disabled: str
) -> None:
    run_sql(
        orders,
        "CREATE TABLE notes (id bigint, tenant integer)",
        "CREATE TABLE ids (id bigint PRIMARY KEY)",
        "INSERT INTO ids SELECT id FROM orders",
        f"ALTER TABLE {key}",
        f"ALTER TABLE {disabled} DISABLE TRIGGER ALL",
    )
    refused(orders, operation, f"triggers of the foreign key own of {disabled} are disabled")


@pytest.mark.parametrize("operation", CHANGES)
def test_a_subscription_that_would_pass_over_all_later_changes_stops_it(
    orders: Connection, operation: Operation
) -> None:
    with subscribed(orders, "orders_shard_1"):
        refused(
            orders, operation, r"^orders: the subscription sub writes to each shard by its name"
        )
        laws.apply(orders, [SplitHashShard("orders", 4, 0)])


@pytest.mark.parametrize(("operation", "count"), [*zip(CHANGES, (8, 5, 2), strict=True)])
def test_a_subscription_that_was_copied_with_the_database_does_not_mind(
    orders: Connection, operation: Operation, count: int
) -> None:
    with subscribed(orders, "orders_shard_1"), of_another_database(orders):
        laws.apply(orders, [operation])
    query = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'orders'::regclass"
    assert orders.exec_driver_sql(query).scalar_one() == count
