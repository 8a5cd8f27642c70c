"""Indexes that are not built, and what is said instead: what is in the way is named."""

import re
from dataclasses import replace

import laws
import pytest
from alembic.util import CommandError
from autogenerate import run_sql
from indexed import (
    ALL,
    CREATE,
    INVALID,
    PLAIN,
    duplicates_of,
    foreign_partition,
    indexes,
    two_tables,
)
from sqlalchemy import Connection

from alembic_enterprise.indexes.operations import CreateIndexOnline, Expression
from alembic_enterprise.operation import Operation


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `sales`, which has partitions, and the plain `orders`."""
    two_tables(connection)
    return connection


def apply(connection: Connection, *operations: Operation) -> None:
    laws.apply(connection, operations)


def refused(connection: Connection, operation: Operation, message: str) -> None:
    """The operation is refused in one line, and changes nothing."""
    before = laws.snapshot(connection)
    with pytest.raises(CommandError, match=message):
        apply(connection, operation)
    connection.rollback()
    assert laws.snapshot(connection) == before


def test_what_is_not_ours_is_named(table: Connection) -> None:
    run_sql(table, "CREATE INDEX ix_orders_number ON orders (number) WHERE id > 3")
    told = (
        "^orders: there is the {}index CREATE INDEX ix_orders_number ON public.orders USING btree "
        r"\(number\) WHERE \(id > 3\) already, and it is not this index: rename or drop that, or "
        "choose another name$"
    )
    refused(table, PLAIN, told.format(""))
    run_sql(table, INVALID.format("ix_orders_number"))
    refused(table, PLAIN, told.format("invalid "))
    run_sql(table, "DROP INDEX ix_orders_number", "CREATE TABLE ix_orders_number ()")
    refused(table, PLAIN, "^orders: there is a relation ix_orders_number already, and it is not")
    refused(
        table,
        PLAIN.reverse(),
        "^orders: ix_orders_number is not an index of it, but a relation ix_orders_number: "
        "correct the name or the table$",
    )


def test_an_index_of_a_partitioned_table_that_is_another_is_named(table: Connection) -> None:
    run_sql(table, "CREATE INDEX ix_sales_customer ON sales (note)")
    refused(
        table,
        CREATE,
        "^sales: there is the index CREATE INDEX ix_sales_customer ON ONLY public.sales USING btree"
        r" \(note\) already, and it is not this index: rename or drop that, or choose another name",
    )


def test_names_of_parts_that_are_taken_are_named(table: Connection) -> None:
    run_sql(table, "CREATE INDEX sales_2_ix_sales_customer ON sales_2 (note)")
    refused(
        table,
        CREATE,
        "^sales: there is the index CREATE INDEX sales_2_ix_sales_customer ON public.sales_2 USING "
        r"btree \(note\) already, and it is not this index of public.sales_2: rename or drop that",
    )


def test_what_was_left_in_a_partition_that_was_renamed_since_is_named(table: Connection) -> None:
    """It is not called like its part any more; somebody else may have left it, too."""
    run_sql(
        table,
        "CREATE INDEX ix_sales_customer ON ONLY sales (customer)",
        "CREATE INDEX sales_2_ix_sales_customer ON sales_2 (customer)",
        INVALID.format("sales_2_ix_sales_customer"),
        "ALTER TABLE sales_2 RENAME TO moved",
    )
    drop = "DROP INDEX CONCURRENTLY public.sales_2_ix_sales_customer"
    refused(
        table,
        CREATE,
        "^sales: public.moved has the invalid index sales_2_ix_sales_customer, which is this one "
        "but for its name, perhaps of an interrupted build: drop it with "
        f"{drop}, then run again$",
    )
    run_sql(table, drop.replace(" CONCURRENTLY", ""))
    apply(table, CREATE)
    assert set(indexes(table)) == ALL.keys() - {"sales_2_ix_sales_customer"} | {
        "moved_ix_sales_customer"
    }
    assert set(indexes(table).values()) == {True}


def test_a_part_that_became_invalid_is_named(table: Connection) -> None:
    apply(table, CREATE)
    run_sql(table, *map(INVALID.format, ["ix_sales_customer", "sales_2_ix_sales_customer"]))
    refused(
        table,
        CREATE,
        "^sales: its index ix_sales_customer is not valid, as public.sales_2 has no valid part of "
        "it: run again; if that does not help, run op.drop_index_online first$",
    )
    apply(table, CREATE.reverse(), CREATE)
    assert indexes(table) == ALL


def test_a_partition_that_took_the_last_gap_with_it_is_told_of(table: Connection) -> None:
    """PostgreSQL makes the index valid when a part is attached, and then only."""
    run_sql(
        table,
        "CREATE INDEX ix_sales_customer ON ONLY sales (customer)",
        "CREATE INDEX sales_1_ix_sales_customer ON sales_1 (customer)",
        "ALTER INDEX ix_sales_customer ATTACH PARTITION sales_1_ix_sales_customer",
        "DROP TABLE sales_2, sales_3",
    )
    refused(
        table,
        CREATE,
        "^sales: its index ix_sales_customer is not valid, although each partition has its part, "
        "perhaps as the last one without was dropped: run op.drop_index_online first, then run "
        "again$",
    )
    apply(table, CREATE.reverse(), CREATE)
    assert set(indexes(table).values()) == {True}


def test_foreign_partitions_allow_no_unique_index(table: Connection) -> None:
    foreign_partition(table)
    refused(
        table,
        CreateIndexOnline("ix_unique", "sales", ["id"], unique=True),
        "^sales: its partition public.sales_far is a foreign table, and PostgreSQL makes no unique "
        "index across those: detach it first$",
    )


@pytest.mark.parametrize(
    "constraint", ["UNIQUE (id)", "UNIQUE (id) DEFERRABLE", "EXCLUDE USING btree (id WITH =)"]
)
def test_the_index_of_a_constraint_is_not_this_one(table: Connection, constraint: str) -> None:
    run_sql(table, f"ALTER TABLE orders ADD CONSTRAINT ix_of_id {constraint}")
    operation = CreateIndexOnline("ix_of_id", "orders", ["id"], unique="UNIQUE" in constraint)
    refused(
        table,
        operation,
        f"^orders: there is the constraint {re.escape(constraint)} already, and it is not this "
        "index: rename or drop that, or choose another name$",
    )


def test_an_index_that_a_foreign_key_refers_to_is_this_one(table: Connection) -> None:
    operation = CreateIndexOnline("ix_of_id", "orders", ["id", "note"], unique=True)
    apply(table, operation)
    run_sql(table, "ALTER TABLE orders ADD FOREIGN KEY (id, note) REFERENCES orders (id, note)")
    before = laws.snapshot(table)
    apply(table, operation)
    assert laws.snapshot(table) == before


def test_an_operator_class_has_options(table: Connection) -> None:
    element = "number int4_minmax_multi_ops(values_per_range='{}')"
    operation = CreateIndexOnline("ix_b", "orders", [Expression(element.format(16))], using="brin")
    apply(table, operation, operation)
    refused(
        table,
        replace(operation, columns=[Expression(element.format(64))]),
        "^orders: there is the index .* already, and it is not this index",
    )


def test_a_view_has_no_index(table: Connection) -> None:
    run_sql(table, "CREATE VIEW seen AS SELECT * FROM sales")
    refused(
        table,
        CreateIndexOnline("ix_seen", "seen", ["id"]),
        "^seen: it is neither a table nor a materialized view, and nothing else has indexes: ",
    )


@pytest.mark.parametrize("name", ["orders", "sales"])
@pytest.mark.parametrize("qualified", ["{}.id", "public.{}.id"])
def test_columns_are_written_without_their_table(
    table: Connection, name: str, qualified: str
) -> None:
    column = qualified.format(name)
    told = (
        f'^{name}: .*FROM-clause entry for table "{name}": write the columns of the index '
        "without the name of their table, as each partition has a different one$"
    )
    where = CreateIndexOnline("ix_some", name, ["id"], where=f"{column} > 1")
    refused(table, where, told)
    refused(table, CreateIndexOnline("ix_some", name, [Expression(f"abs({column})")]), told)
    apply(table, replace(where, where="id > 1"))


def test_duplicates_of_a_part_of_the_rows(table: Connection) -> None:
    once = CreateIndexOnline("ix_once", "orders", ["number"], unique=True, where="note <> ':x %s'")
    told = duplicates_of(table, once)
    assert (
        'SELECT "number", count(*) FROM "orders" WHERE (note <> \':x %s\') AND ("number") IS NOT'
        ' NULL GROUP BY "number" HAVING count(*) > 1'
    ) in told
    apply(table, once.reverse())
    told = duplicates_of(table, replace(once, columns=[Expression("abs(number) DESC")]))
    assert "Find all duplicates and mend them, then run again; or" in told
