"""Constraints that are neither added nor dropped, and what is said instead."""

from dataclasses import replace

import laws
import pytest
from autogenerate import run_sql
from constrained import KEY, MINED, NOT_NULL, UNIQUE, apply, refused, tables, values
from indexed import INVALID
from sqlalchemy import Connection

from alembic_enterprise.errors import OperationError
from alembic_enterprise.indexes.operations import CreateUniqueConstraintOnline, SetNotNullOnline


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `lines`, `orders`, and the plain table `mined`."""
    tables(connection)
    return connection


def test_a_key_of_that_name_that_is_another(table: Connection) -> None:
    run_sql(table, "ALTER TABLE lines ADD CONSTRAINT fk_lines CHECK (id >= 0)")
    before = laws.snapshot(table)
    refused(
        table,
        KEY,
        "lines: lines has a constraint fk_lines already, which is CHECK ((id >= 0)): drop that, or "
        "give this one another name",
    )
    assert laws.snapshot(table) == before
    run_sql(table, "ALTER TABLE lines DROP CONSTRAINT fk_lines")
    apply(table, replace(KEY, ondelete="CASCADE"))
    refused(table, KEY, "lines has a constraint fk_lines already, which is FOREIGN KEY")


@pytest.mark.parametrize(
    ("version", "words", "action"),
    [(15, "ON DELETE SET NULL (order_id)", "SET NULL"), (18, "NOT ENFORCED", None)],
)
def test_a_key_of_that_name_that_does_less(
    table: Connection, version: int, words: str, action: str | None
) -> None:
    if int(values(table, "SHOW server_version_num")[0]) < version * 10000:
        pytest.skip(f"needs PostgreSQL {version}")
    definition = f"FOREIGN KEY (order_id) REFERENCES orders(id) {words}"
    run_sql(table, f"ALTER TABLE lines ADD CONSTRAINT fk_lines {definition}")
    refused(
        table,
        replace(KEY, ondelete=action),
        f"lines has a constraint fk_lines already, which is {definition}: drop that, or give",
    )


def test_an_index_of_that_name_that_is_another(table: Connection) -> None:
    run_sql(table, "CREATE INDEX uq_mined ON mined (id)")
    refused(table, MINED, "there is the index CREATE INDEX uq_mined ON public.mined")


@pytest.mark.parametrize(
    ("name", "relation"), [("uq_lines", "lines"), ("lines_2_uq_lines", "lines_2")]
)
def test_of_an_index_of_a_partitioned_table_there_is_no_constraint(
    table: Connection, name: str, relation: str
) -> None:
    run_sql(table, f"CREATE UNIQUE INDEX {name} ON {relation} (id, number)")
    before = laws.snapshot(table)
    refused(
        table,
        UNIQUE,
        f"lines: there is the index CREATE UNIQUE INDEX {name} ON ONLY public.{relation} USING",
        "(id, number) already, and PostgreSQL makes no constraint of an index of a partitioned "
        "table: rename or drop that, or choose another name",
    )
    assert laws.snapshot(table) == before


def test_an_index_made_online_is_told_of_before_its_parts(table: Connection) -> None:
    apply(table, UNIQUE.index)
    refused(table, UNIQUE, "lines: there is the index CREATE UNIQUE INDEX uq_lines ON ONLY public.")


def test_an_index_of_a_partitioned_table_is_not_dropped_as_a_constraint(table: Connection) -> None:
    run_sql(table, "CREATE UNIQUE INDEX lines_2_uq_lines ON lines_2 (id, number)")
    before = laws.snapshot(table)
    apply(table, UNIQUE.reverse())
    assert laws.snapshot(table) == before
    run_sql(table, "CREATE UNIQUE INDEX uq_lines ON lines (id, number)")
    before = laws.snapshot(table)
    refused(table, UNIQUE.reverse(), "lines: uq_lines is not a unique constraint of it, nor")
    assert laws.snapshot(table) == before


def test_a_constraint_of_that_name_that_is_another(table: Connection) -> None:
    run_sql(table, "ALTER TABLE mined ADD CONSTRAINT uq_mined PRIMARY KEY (id)")
    refused(table, MINED, "there is the constraint PRIMARY KEY (id) already")
    run_sql(table, "ALTER TABLE mined DROP CONSTRAINT uq_mined")
    apply(table, replace(MINED, deferrable=True))
    refused(
        table,
        MINED,
        "mined: it has a constraint uq_mined already, which is checked at another time, UNIQUE (id)"
        " DEFERRABLE: drop that, or give",
    )


def test_a_part_that_became_invalid_is_named(table: Connection) -> None:
    apply(table, UNIQUE)
    run_sql(table, *map(INVALID.format, ["uq_lines", "lines_1_uq_lines"]))
    refused(
        table,
        UNIQUE,
        "public.lines_1 has no valid part of it: run again; if that does not help, run "
        "op.drop_unique_constraint_online first",
    )
    apply(table, UNIQUE.reverse(), UNIQUE)


def test_a_column_that_is_not_there(table: Connection) -> None:
    refused(table, SetNotNullOnline("lines", "Bad"), 'it has no column "Bad": correct the name')


def test_a_check_of_that_name_that_is_another(table: Connection) -> None:
    """One of an equal condition is taken for what a try has left, and goes with it."""
    before = laws.snapshot(table)
    operation = SetNotNullOnline("mined", "number")
    check = "ALTER TABLE mined ADD CONSTRAINT alembic_enterprise_not_null_2 CHECK ({}) NOT VALID"
    run_sql(table, check.format("number > 5 OR number IS NULL"))
    other = laws.snapshot(table)
    refused(
        table,
        operation,
        "mined: mined has a constraint alembic_enterprise_not_null_2 already, which is CHECK ((",
        "NOT VALID: rename it",
    )
    apply(table, operation.reverse())
    assert laws.snapshot(table) == other
    run_sql(table, "ALTER TABLE mined DROP CONSTRAINT alembic_enterprise_not_null_2")
    run_sql(table, check.format("number IS NOT NULL"))
    apply(table, operation, operation.reverse())
    assert laws.snapshot(table) == before


def test_foreign_tables_have_no_keys(table: Connection) -> None:
    run_sql(
        table,
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
        "CREATE FOREIGN TABLE far PARTITION OF lines DEFAULT SERVER elsewhere",
    )
    refused(table, KEY, "its partition far is a foreign table, which has no foreign keys: detach")
    refused(table, UNIQUE, "its partition public.far is a foreign table")
    apply(table, NOT_NULL)


def test_a_partitions_own_key_of_that_name_is_not_dropped(table: Connection) -> None:
    """It refers to another table; only an equal one can be what a try has left."""
    run_sql(
        table,
        "CREATE TABLE others (id int PRIMARY KEY)",
        "ALTER TABLE lines_1 ADD CONSTRAINT fk_lines FOREIGN KEY (number) REFERENCES others"
        " NOT VALID",
    )
    before = laws.snapshot(table)
    apply(table, KEY.reverse())
    assert laws.snapshot(table) == before


def test_a_key_to_a_table_that_is_gone_is_gone(table: Connection) -> None:
    run_sql(table, "DROP TABLE orders")
    before = laws.snapshot(table)
    apply(table, KEY.reverse())
    assert laws.snapshot(table) == before


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE INDEX uq_mined ON mined (id)",
        "CREATE UNIQUE INDEX uq_mined ON mined (id, number)",
        "CREATE UNIQUE INDEX uq_mined ON mined (id) INCLUDE (number)",
        "CREATE UNIQUE INDEX uq_mined ON mined (abs(id))",
        "CREATE UNIQUE INDEX uq_mined ON mined (id) WHERE number > 3",
        "ALTER TABLE mined ADD CONSTRAINT uq_mined PRIMARY KEY (id)",
    ],
)
def test_what_is_no_such_constraint_is_not_dropped(table: Connection, definition: str) -> None:
    run_sql(table, definition)
    before = laws.snapshot(table)
    refused(table, MINED.reverse(), "mined: uq_mined is not a unique constraint of it, nor")
    assert laws.snapshot(table) == before
    assert values(table, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [0]


def test_an_index_that_a_try_has_left_is_dropped(table: Connection) -> None:
    before = laws.snapshot(table)
    run_sql(table, "CREATE UNIQUE INDEX uq_mined ON mined (id)")
    apply(table, MINED.reverse())
    assert laws.snapshot(table) == before


def test_words_that_are_none() -> None:
    with pytest.raises(OperationError, match="ondelete='cascade' is not known here: write one of"):
        replace(KEY, ondelete="cascade")
    with pytest.raises(OperationError, match="match='PARTIAL' is not known"):
        replace(KEY, match="PARTIAL")
    for operation in (KEY, UNIQUE):
        with pytest.raises(OperationError, match="initially='later' is not known: write"):
            replace(operation, initially="later")
        with pytest.raises(OperationError, match="what is not deferrable cannot be initially="):
            replace(operation, deferrable=False, initially="DEFERRED")


def test_a_name_that_would_be_cut() -> None:
    with pytest.raises(OperationError, match="at most 63"):
        CreateUniqueConstraintOnline("u" * 64, "lines", ["id"])
