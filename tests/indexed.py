"""Tables that get an index while they are in use, and what they have afterwards.

sales(connection)                           # partitioned, one partition by hash again
laws.apply(connection, [CREATE])
assert indexes(connection) == {"ix_sales_customer": True, ...}      # all are valid
"""

import laws
import pytest
from alembic.util import CommandError
from autogenerate import run_sql
from psycopg.sql import SQL
from sqlalchemy import Connection, Engine

from alembic_enterprise import sql
from alembic_enterprise.indexes.operations import CreateIndexOnline

CREATE = CreateIndexOnline("ix_sales_customer", "sales", ["customer"])

ALL = {
    "ix_sales_customer": True,
    "sales_1_ix_sales_customer": True,
    "sales_2_ix_sales_customer": True,
    "sales_3_ix_sales_customer": True,
    "sales_3a_ix_sales_customer": True,
    "sales_3b_ix_sales_customer": True,
}

PLAIN = CreateIndexOnline("ix_orders_number", "orders", ["number"])

INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{}'::regclass"
"""Makes an index look like what a build that was cut has left."""

PARTITIONS = ("sales_1", "sales_2", "sales_3a", "sales_3b")
"""The leaves, in the order of their making."""


def sales(connection: Connection) -> None:
    """The table `sales` with three partitions, the last with two of its own, and 40 rows."""
    run_sql(
        connection,
        "CREATE TABLE sales (id int, customer int, note text) PARTITION BY RANGE (id)",
        "CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM (10) TO (20)",
        "CREATE TABLE sales_3 PARTITION OF sales FOR VALUES FROM (20) TO (40)"
        " PARTITION BY HASH (id)",
        "CREATE TABLE sales_3a PARTITION OF sales_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE sales_3b PARTITION OF sales_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO sales SELECT n, n % 7, 'note ' || n FROM generate_series(0, 39) AS n",
    )


def two_tables(connection: Connection) -> None:
    """The table `sales`, and a plain one, `orders`, with 20 rows."""
    sales(connection)
    run_sql(
        connection,
        "CREATE TABLE orders (id int PRIMARY KEY, number int, note text)",
        "INSERT INTO orders SELECT n, n % 5, 'note' FROM generate_series(1, 20) AS n",
    )


def foreign_partition(connection: Connection) -> None:
    """A partition of `sales` with rows of another server, that nobody asks."""
    run_sql(
        connection,
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER far FOREIGN DATA WRAPPER nowhere",
        "CREATE FOREIGN TABLE sales_far PARTITION OF sales FOR VALUES FROM (90) TO (99) SERVER far",
    )


def create(engine: Engine) -> None:
    """Create the index of `sales`, as an upgrade does."""
    with engine.connect() as connection:
        laws.apply(connection, [CREATE])


def indexes(connection: Connection) -> dict[str, bool]:
    """Every index that is called after ours, and whether it is valid."""
    query = SQL(
        "SELECT indexrelid::regclass::text, indisvalid FROM pg_index"
        " WHERE indexrelid::regclass::text ~ 'ix_|customer_idx'"
    )
    found = dict(sql.rows(connection, query))
    connection.rollback()
    return found


def duplicates_of(connection: Connection, operation: CreateIndexOnline) -> str:
    """What is said of the duplicates that end it."""
    with pytest.raises(CommandError) as raised:
        laws.apply(connection, [operation])
    connection.rollback()
    assert str(raised.value).startswith('could not create unique index "')
    return str(raised.value)
