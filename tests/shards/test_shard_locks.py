"""The order in which operations lock a sharded table and those that refer to it."""

import laws
import pytest
from autogenerate import run_sql
from sqlalchemy import Connection, Engine
from waiting import waiting

from alembic_enterprise.operation import Operation
from alembic_enterprise.shards.operations import (
    CreateHashShards,
    DropHashShards,
    GrowHashShards,
    MergeHashShards,
    ShrinkHashShards,
    SplitHashShard,
)


@pytest.mark.parametrize(
    "operation",
    [
        GrowHashShards("orders", 8),
        ShrinkHashShards("orders", 2),
        SplitHashShard("orders", 4, 0),
        MergeHashShards("orders", 2, 1),
        DropHashShards("orders", 4, [2]),
    ],
    ids=lambda operation: operation.operation_name,
)
def test_a_writer_of_a_table_that_refers_to_it_is_waited_for(
    connection: Connection, engine: Engine, operation: Operation
) -> None:
    """Such a writer locks his table first, and then the sharded one, to look for the key."""
    run_sql(
        connection,
        # The older one of the two refers to the younger.
        "CREATE TABLE lines (tenant integer, id bigint) PARTITION BY LIST (tenant)",
        "CREATE TABLE lines_0 PARTITION OF lines DEFAULT",
        "CREATE TABLE notes (tenant integer, id bigint)",
        "CREATE TABLE orders (tenant integer, id bigint, boss bigint, PRIMARY KEY (tenant, id),"
        " FOREIGN KEY (tenant, boss) REFERENCES orders) PARTITION BY HASH (tenant)",
        "ALTER TABLE notes ADD FOREIGN KEY (tenant, id) REFERENCES orders",
        "ALTER TABLE lines ADD FOREIGN KEY (tenant, id) REFERENCES orders",
    )
    laws.apply(connection, [CreateHashShards("orders", 4)])
    run_sql(
        connection,
        "INSERT INTO orders SELECT n, n FROM generate_series(1, 40) AS n"
        " WHERE NOT satisfies_hash_partition('orders'::regclass, 4, 2, n)",
    )
    connection.exec_driver_sql("LOCK TABLE lines, notes IN ROW EXCLUSIVE MODE")
    with waiting(engine, lambda own: laws.apply(own, [operation])) as changed:
        for table in ("lines", "notes"):
            connection.exec_driver_sql(f"INSERT INTO {table} SELECT tenant, id FROM orders")
        connection.commit()
    changed.result()
    found = connection.exec_driver_sql("SELECT count(*) FROM orders JOIN notes USING (tenant, id)")
    assert found.scalar_one() > 20
