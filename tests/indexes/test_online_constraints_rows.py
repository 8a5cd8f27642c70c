"""Rows in the way of a constraint are found by the query that the refusal tells."""

from dataclasses import replace

import laws
import pytest
from alembic.util import CommandError
from autogenerate import run_sql
from constrained import KEY, NOT_NULL, UNIQUE, apply, constraints, refused, tables, values
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from alembic_enterprise.indexes.operations import AddForeignKeyOnline, SetNotNullOnline


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `lines`, `orders`, and the plain table `mined`."""
    tables(connection)
    return connection


def test_duplicates_are_found_by_the_query_told(table: Connection) -> None:
    before = laws.snapshot(table)
    run_sql(table, "INSERT INTO lines VALUES (30, 1, 1), (31, NULL, 1), (31, NULL, 1)")
    with pytest.raises(CommandError) as raised:
        apply(table, UNIQUE)
    table.rollback()
    told = str(raised.value)
    assert told.startswith('could not create unique index "lines_2')
    query = told.partition("Find all duplicates with ")[2].partition(" and mend them")[0]
    assert values(table, query) == [30]
    assert constraints(table, "lines", "u") == {"uq_lines": False}
    apply(table, UNIQUE.reverse())
    assert laws.snapshot(table) == before
    with pytest.raises(CommandError):
        apply(table, UNIQUE)
    table.rollback()
    run_sql(table, "DELETE FROM lines WHERE id = 30")
    apply(table, UNIQUE)
    assert constraints(table, "lines", "u") == {"uq_lines": True}


def test_rows_that_refer_to_nothing_are_found_by_the_query_told(table: Connection) -> None:
    before = laws.snapshot(table)
    run_sql(table, "UPDATE lines SET order_id = 99 WHERE id IN (3, 4)")
    with pytest.raises(CommandError) as raised:
        apply(table, KEY)
    table.rollback()
    told = str(raised.value)
    assert told.startswith('insert or update on table "lines_1" violates foreign key constraint')
    assert 'Key (order_id)=(99) is not present in table "orders".' in told
    assert "or take it back with op.drop_foreign_key_online" in told
    query = told.partition("Find all such rows with ")[2].partition(" and mend them")[0]
    assert values(table, query) == [3, 4]
    with pytest.raises(IntegrityError):
        run_sql(table, "INSERT INTO lines VALUES (1, 1, 99)")
    table.rollback()
    apply(table, KEY.reverse())
    assert laws.snapshot(table) == before
    run_sql(table, query.replace("SELECT * FROM", "DELETE FROM"))
    apply(table, KEY)


def test_rows_of_a_key_of_many_columns(table: Connection) -> None:
    run_sql(
        table,
        "CREATE TABLE pairs (a int, b int, UNIQUE (a, b))",
        "INSERT INTO pairs VALUES (1, 1)",
        "INSERT INTO mined VALUES (1, NULL), (NULL, NULL)",
        "DELETE FROM mined WHERE id <> 1",
    )
    simple = AddForeignKeyOnline("fk", "mined", "pairs", ["id", "number"], ["a", "b"])
    apply(table, simple, simple.reverse())
    refused(
        table,
        replace(simple, match="FULL"),
        "MATCH FULL does not allow mixing of null and nonnull key values.",
        'SELECT * FROM mined AS referring WHERE NOT ("referring"."id", "referring"."number") IS'
        " NULL AND NOT EXISTS",
    )


def test_nulls_are_found_by_the_query_told(table: Connection) -> None:
    before = laws.snapshot(table)
    run_sql(table, "UPDATE lines SET order_id = NULL WHERE id IN (3, 4)")
    refused(
        table,
        NOT_NULL,
        "Find all such rows with SELECT * FROM lines_1 WHERE order_id IS NULL and mend them, then"
        " run again; or take it back with op.drop_not_null_online",
    )
    with pytest.raises(IntegrityError):
        run_sql(table, "INSERT INTO lines VALUES (1, 1, NULL)")
    table.rollback()
    apply(table, NOT_NULL.reverse())
    assert laws.snapshot(table) == before
    run_sql(table, "UPDATE lines SET order_id = 1 WHERE order_id IS NULL")
    apply(table, NOT_NULL)


@pytest.mark.parametrize("type_name", ["place", "address"])
def test_a_row_with_a_null_in_it_is_no_null(table: Connection, type_name: str) -> None:
    """Of a composite type, or a domain over one: IS NULL asks for its fields."""
    run_sql(
        table,
        "CREATE TYPE place AS (street text, number int)",
        "CREATE DOMAIN address AS place",
        f"ALTER TABLE lines ADD place {type_name}",
        "UPDATE lines SET place = (CASE id WHEN 3 THEN NULL ELSE 'a' END, NULL) WHERE id <> 5",
    )
    operation = SetNotNullOnline("lines", "place")
    refused(table, operation, "SELECT * FROM lines_1 WHERE place IS NOT DISTINCT FROM NULL and")
    run_sql(table, "INSERT INTO lines VALUES (1, 1, 1, (NULL, 5))")
    assert values(table, "SELECT id FROM lines WHERE place IS NOT DISTINCT FROM NULL") == [5]
    run_sql(table, "UPDATE lines SET place = ('a', NULL) WHERE id = 5")
    apply(table, operation)
    with pytest.raises(IntegrityError):
        run_sql(table, "INSERT INTO lines VALUES (1, 1, 1, NULL)")
    table.rollback()
    assert constraints(table, "lines_1", "c") == {}
    apply(table, operation.reverse())
