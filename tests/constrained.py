"""Tables that get constraints while they are in use, and the operations that add them.

lines(connection)                           # partitioned, and refers to orders
laws.apply(connection, [KEY])
assert constraints(connection, "lines") == {"fk_lines_orders": True, ...}   # all are valid
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import laws
import pytest
from alembic.util import CommandError
from autogenerate import run_sql
from sqlalchemy import Connection, Engine

from alembic_enterprise.indexes.operations import (
    AddForeignKeyOnline,
    CreateUniqueConstraintOnline,
    SetNotNullOnline,
)
from alembic_enterprise.operation import Operation

UNIQUE = CreateUniqueConstraintOnline("uq_lines", "lines", ["id", "number"])
KEY = AddForeignKeyOnline("fk_lines", "lines", "orders", ["order_id"], ["id"])
NOT_NULL = SetNotNullOnline("lines", "order_id")

MINED = CreateUniqueConstraintOnline("uq_mined", "mined", ["id"])
"""On a plain table."""

OPERATIONS: dict[str, CreateUniqueConstraintOnline | AddForeignKeyOnline | SetNotNullOnline] = {
    "unique": UNIQUE,
    "foreign key": KEY,
    "not null": NOT_NULL,
}

BAD_ROWS = {
    "unique": "(40, 1, 1), (40, 1, 1)",
    "foreign key": "(40, 1, 99)",
    "not null": "(40, 1, NULL)",
}
"""Each breaks the rule of one of them."""

LEAVES = ("lines_1", "lines_2a", "lines_2b")
"""The partitions that have rows."""


def lines(connection: Connection) -> None:
    """The table `lines` with two partitions, one of which has two, 40 rows, and `orders`."""
    run_sql(
        connection,
        "CREATE TABLE orders (id int PRIMARY KEY)",
        "INSERT INTO orders SELECT generate_series(0, 6)",
        "CREATE TABLE lines (id int, number int, order_id int) PARTITION BY RANGE (id)",
        "CREATE TABLE lines_1 PARTITION OF lines FOR VALUES FROM (0) TO (20)",
        "CREATE TABLE lines_2 PARTITION OF lines FOR VALUES FROM (20) TO (40)"
        " PARTITION BY HASH (id)",
        "CREATE TABLE lines_2a PARTITION OF lines_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE lines_2b PARTITION OF lines_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO lines SELECT n, 1, n % 7 FROM generate_series(0, 39) AS n",
    )


def tables(connection: Connection) -> None:
    """The table `lines`, and a plain one, `mined`, with 9 rows."""
    lines(connection)
    run_sql(
        connection,
        "CREATE TABLE mined (id int, number int)",
        "INSERT INTO mined SELECT n, n % 7 FROM generate_series(1, 9) AS n",
    )


def apply(connection: Connection, *operations: Operation) -> None:
    """Run operations, as an upgrade does."""
    laws.apply(connection, operations)


def refused(connection: Connection, operation: Operation, *texts: str) -> None:
    """The operation ends in one line that contains the texts."""
    with pytest.raises(CommandError) as raised:
        apply(connection, operation)
    connection.rollback()
    for text in texts:
        assert text in str(raised.value)


def values(connection: Connection, query: str) -> list[Any]:
    """The first column of what a query gives."""
    found = list(connection.exec_driver_sql(query).scalars())
    connection.rollback()
    return found


def run(operation: Operation, engine: Engine) -> None:
    """Run an operation, as an upgrade does."""
    with engine.connect() as connection:
        laws.apply(connection, [operation])


RUNS: dict[str, Callable[[Engine], object]] = {
    kind: partial(run, operation) for kind, operation in OPERATIONS.items()
}


def constraints(connection: Connection, table: str, kind: str) -> dict[str, bool]:
    """The constraints of a kind that a table has, and whether they are valid."""
    query = (
        "SELECT conname, convalidated AND coalesce(indisvalid, true) FROM pg_constraint AS k"
        " LEFT JOIN pg_index AS x ON k.contype = 'u' AND x.indexrelid = k.conindid"
        f" WHERE conrelid = '{table}'::regclass AND contype = '{kind}' ORDER BY 1"
    )
    found = {str(name): bool(valid) for name, valid in connection.exec_driver_sql(query)}
    connection.rollback()
    return found
