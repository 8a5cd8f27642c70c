"""Constraints added to tables with a past: what is there is taken, and nothing is done twice."""

from dataclasses import replace

import laws
import pytest
from autogenerate import run_sql
from constrained import (
    BAD_ROWS,
    KEY,
    LEAVES,
    MINED,
    OPERATIONS,
    UNIQUE,
    apply,
    constraints,
    tables,
    values,
)
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from alembic_enterprise.indexes.operations import AddForeignKeyOnline, CreateIndexOnline


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `lines`, `orders`, and the plain table `mined`."""
    tables(connection)
    return connection


@pytest.mark.parametrize("kind", OPERATIONS)
def test_adding_and_dropping_twice_changes_nothing(table: Connection, kind: str) -> None:
    before = laws.snapshot(table)
    apply(table, OPERATIONS[kind])
    after = laws.snapshot(table)
    apply(table, OPERATIONS[kind])
    assert laws.snapshot(table) == after
    apply(table, OPERATIONS[kind].reverse())
    apply(table, OPERATIONS[kind].reverse())
    assert laws.snapshot(table) == before


@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_new_partition_has_the_constraint(table: Connection, kind: str) -> None:
    apply(table, OPERATIONS[kind])
    run_sql(table, "CREATE TABLE lines_3 PARTITION OF lines FOR VALUES FROM (40) TO (50)")
    with pytest.raises(IntegrityError):
        run_sql(table, f"INSERT INTO lines VALUES {BAD_ROWS[kind]}")


def test_constraints_of_partitions_are_taken(table: Connection) -> None:
    run_sql(
        table,
        "ALTER TABLE lines_1 ADD CONSTRAINT own UNIQUE (id, number)",
        "CREATE UNIQUE INDEX own_index ON lines_2a (id, number)",
        "ALTER TABLE lines_1 ADD CONSTRAINT own_key FOREIGN KEY (order_id) REFERENCES orders"
        " NOT VALID",
        "ALTER TABLE lines_2 ADD CONSTRAINT own_keys FOREIGN KEY (order_id) REFERENCES orders",
    )
    apply(table, UNIQUE, KEY)
    assert constraints(table, "lines", "u") == {"uq_lines": True}
    assert constraints(table, "lines_1", "u") == {"own": True}
    assert constraints(table, "lines_2a", "u") == {"own_index": True}
    assert constraints(table, "lines", "f") == {"fk_lines": True}
    found = "SELECT DISTINCT conparentid <> 0 FROM pg_constraint WHERE conrelid = '{}'::regclass"
    for leaf in LEAVES:
        assert True in values(table, found.format(leaf))
    assert all(constraints(table, "lines_1", "f").values())


def test_keys_to_partitioned_tables(table: Connection) -> None:
    run_sql(
        table,
        "CREATE TABLE nodes (id int PRIMARY KEY, up int) PARTITION BY HASH (id)",
        "CREATE TABLE nodes_0 PARTITION OF nodes FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE nodes_1 PARTITION OF nodes FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO nodes SELECT n, n / 2 + 1 FROM generate_series(0, 30) AS n",
    )
    before = laws.snapshot(table)
    for name, column in (("lines", "order_id"), ("nodes", "up"), ("mined", "number")):
        key = AddForeignKeyOnline("fk_nodes", name, "nodes", [column], ["id"], ondelete="CASCADE")
        apply(table, key)
        assert constraints(table, name, "f")["fk_nodes"]
        apply(table, key, key.reverse())
        assert laws.snapshot(table) == before


def test_a_second_constraint_of_the_same_columns(table: Connection) -> None:
    """What is attached to one is not taken for the other."""
    unique = replace(UNIQUE, constraint_name="uq_second")
    key = replace(KEY, constraint_name="fk_second")
    apply(table, UNIQUE, KEY)
    before = laws.snapshot(table)
    apply(table, unique, key)
    assert constraints(table, "lines", "u") == {"uq_lines": True, "uq_second": True}
    assert constraints(table, "lines", "f") == {"fk_lines": True, "fk_second": True}
    apply(table, unique.reverse(), key.reverse())
    assert laws.snapshot(table) == before


def test_a_unique_constraint_of_a_plain_table(table: Connection) -> None:
    apply(table, replace(MINED, deferrable=True, initially="DEFERRED"))
    run_sql(table, "UPDATE mined SET id = id + 1")
    apply(table, MINED.reverse())
    assert constraints(table, "mined", "u") == {}


def test_an_index_that_is_there_becomes_the_constraints(table: Connection) -> None:
    """As after a run that was cut between the two."""
    run_sql(table, "CREATE UNIQUE INDEX uq_mined ON mined (id)")
    [index] = values(table, "SELECT 'uq_mined'::regclass::oid")
    apply(table, MINED)
    assert constraints(table, "mined", "u") == {"uq_mined": True}
    assert values(table, "SELECT 'uq_mined'::regclass::oid") == [index]


@pytest.mark.parametrize("beginning", ["ON", "ON ONLY"])
def test_an_index_of_a_partition_with_partitions_is_no_constraint(
    table: Connection, beginning: str
) -> None:
    """PostgreSQL attaches to the index of a constraint that of a constraint only."""
    run_sql(table, f"CREATE UNIQUE INDEX own {beginning} lines_2 (id, number)")
    apply(table, UNIQUE, UNIQUE)
    assert constraints(table, "lines", "u") == {"uq_lines": True}
    assert constraints(table, "lines_2", "u") == {"lines_2_uq_lines": True}


def test_a_constraint_of_a_partition_with_partitions_is_no_index(table: Connection) -> None:
    run_sql(table, "ALTER TABLE lines_2 ADD CONSTRAINT own UNIQUE (id, number)")
    index = CreateIndexOnline("ix_lines", "lines", ["id", "number"], unique=True)
    apply(table, index, index)
    parts = "SELECT relid::regclass::text FROM pg_partition_tree('ix_lines') ORDER BY 1"
    assert values(table, parts) == [
        "ix_lines",
        "lines_1_ix_lines",
        "lines_2_ix_lines",
        "lines_2a_ix_lines",
        "lines_2b_ix_lines",
    ]


def test_nulls_not_distinct(table: Connection) -> None:
    [version] = values(table, "SELECT current_setting('server_version_num')::int")
    if version < 150000:
        pytest.skip("from PostgreSQL 15 on")
    for operation in (UNIQUE, MINED):
        apply(table, replace(operation, nulls_not_distinct=True))
    definition = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'uq_lines'"
    assert values(table, definition) == ["UNIQUE NULLS NOT DISTINCT (id, number)"]
