"""Indexes built on tables with a past: leftovers, equal indexes, taken names, partitions, locks."""

import asyncio
import re
from collections.abc import Callable
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
from psycopg.sql import SQL
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from waiting import waiting

from alembic_enterprise import sql
from alembic_enterprise.indexes.operations import (
    CreateIndexOnline,
    Expression,
)
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import Remaining


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `sales`, which has partitions, and the plain `orders`."""
    two_tables(connection)
    return connection


def apply(connection: Connection, *operations: Operation) -> None:
    laws.apply(connection, operations)


def definition(connection: Connection, name: str) -> str:
    query = f"SELECT pg_get_indexdef('{name}'::regclass)"
    found = str(connection.exec_driver_sql(query).scalar_one())
    connection.rollback()
    return found


# --- Creating


def test_every_partition_gets_its_part(table: Connection) -> None:
    apply(table, CREATE)
    assert indexes(table) == ALL
    run_sql(table, "CREATE TABLE sales_4 PARTITION OF sales FOR VALUES FROM (40) TO (50)")
    assert indexes(table)["sales_4_customer_idx"]


def test_creating_twice_changes_nothing(table: Connection) -> None:
    apply(table, CREATE, PLAIN)
    before = laws.snapshot(table)
    apply(table, CREATE, PLAIN)
    assert laws.snapshot(table) == before


def test_nothing_stays_of_the_look_at_the_definition(table: Connection) -> None:
    before = laws.snapshot(table)
    with pytest.raises(DBAPIError, match="custmer"):
        apply(table, replace(CREATE, columns=["custmer"]))
    table.rollback()
    assert laws.snapshot(table) == before


def test_an_index_of_a_temporary_table(table: Connection) -> None:
    run_sql(table, "CREATE TEMPORARY TABLE brief (n int)")
    apply(table, CreateIndexOnline("ix_brief", "brief", ["n"]))
    assert indexes(table) == {"ix_brief": True}


def test_an_index_of_a_materialized_view_and_of_one_partition(table: Connection) -> None:
    run_sql(table, "CREATE MATERIALIZED VIEW seen AS SELECT * FROM sales")
    apply(table, CreateIndexOnline("ix_seen", "seen", ["customer"]))
    apply(table, CreateIndexOnline("ix_of_one", "sales_3", ["customer"]))
    assert set(indexes(table)) == {
        "ix_seen", "ix_of_one", "sales_3a_ix_of_one", "sales_3b_ix_of_one"
    }  # fmt: skip
    apply(table, CREATE)
    parts = "SELECT relid::regclass::text FROM pg_partition_tree('ix_sales_customer')"
    assert {"ix_of_one", "sales_3a_ix_of_one"} < set(table.exec_driver_sql(parts).scalars())


def test_equal_indexes_of_partitions_become_parts(table: Connection) -> None:
    run_sql(
        table,
        "CREATE INDEX ix_adopted ON sales_1 (customer)",
        "CREATE INDEX ix_descending ON sales_2 (customer DESC)",
        "CREATE INDEX ix_partial ON sales_2 (customer) WHERE id > 3",
        "CREATE INDEX ix_hash ON sales_2 USING hash (customer)",
        "CREATE INDEX ix_including ON sales_2 (customer) INCLUDE (note)",
        "DELETE FROM sales_2 WHERE id > 16",
        "CREATE UNIQUE INDEX ix_unique ON sales_2 (customer)",
    )
    apply(table, CREATE)
    parts = "SELECT relid::regclass::text FROM pg_partition_tree('ix_sales_customer') ORDER BY 1"
    found = list(table.exec_driver_sql(parts).scalars())
    assert found == [
        "ix_adopted",
        "ix_sales_customer",
        "sales_2_ix_sales_customer",
        "sales_3_ix_sales_customer",
        "sales_3a_ix_sales_customer",
        "sales_3b_ix_sales_customer",
    ]


@pytest.mark.parametrize("name", ["orders", "sales"])
def test_every_clause_reaches_the_index(table: Connection, name: str) -> None:
    operation = CreateIndexOnline(
        "ix_all",
        name,
        ["id", Expression("lower(note) DESC"), "note"],
        unique=True,
        include=["note"],
        where="note <> ''",
        with_={"fillfactor": 70, "deduplicate_items": False},
        operator_classes={"note": "text_pattern_ops"},
    )
    apply(table, operation, operation)
    for index in ["ix_all", *(["sales_2_ix_all"] if name == "sales" else [])]:
        assert re.sub(
            r"'?(70|false|off)'?", r"\1", definition(table, index).split(" USING ")[1]
        ) == (
            "btree (id, lower(note) DESC, note text_pattern_ops) INCLUDE (note)"
            " WITH (fillfactor=70, deduplicate_items=false) WHERE (note <> ''::text)"
        )


def test_nulls_not_distinct(table: Connection) -> None:
    if table.dialect.server_version_info < (15,):  # type: ignore[operator]  # it is connected
        pytest.skip("came with PostgreSQL 15")
    run_sql(table, "CREATE UNIQUE INDEX ix_distinct ON sales_1 (id)")
    operation = CreateIndexOnline("ix_n", "sales", ["id"], unique=True, nulls_not_distinct=True)
    apply(table, operation, operation)
    assert "NULLS NOT DISTINCT" in definition(table, "sales_1_ix_n")
    run_sql(table, "DROP INDEX ix_n")
    apply(table, replace(operation, nulls_not_distinct=False))
    parts = "SELECT relid::regclass::text FROM pg_partition_tree('ix_n')"
    assert "ix_distinct" in table.exec_driver_sql(parts).scalars().all()


def test_foreign_tables_have_no_part(table: Connection) -> None:
    foreign_partition(table)
    run_sql(table, "CREATE INDEX ix_adopted ON sales_1 (customer)")
    apply(table, CREATE, CREATE)
    found = indexes(table)
    assert all(found.values())
    assert set(found) == {*ALL, "ix_adopted", "sales_3_customer_idx"} - {
        "sales_1_ix_sales_customer", "sales_3_ix_sales_customer"
    }  # fmt: skip


# --- Carried on


def test_duplicates_are_found_by_the_query_told_and_the_next_run_starts_anew(
    table: Connection,
) -> None:
    for name, column in [("orders", "number"), ("sales", "id, customer")]:
        operation = CreateIndexOnline("ix_once", name, column.split(", "), unique=True)
        run_sql(table, "INSERT INTO sales VALUES (12, 5)")
        told = duplicates_of(table, operation)
        assert told.endswith("; or take it back with op.drop_index_online")
        query = told.partition("Find all duplicates with ")[2].partition(" and mend them")[0]
        assert table.exec_driver_sql(query).all()
        table.rollback()
        assert False in indexes(table).values()
        run_sql(table, "DELETE FROM orders WHERE id > 5", "DELETE FROM sales WHERE note IS NULL")
        apply(table, operation)
        assert set(indexes(table).values()) == {True}
        apply(table, operation.reverse())
        assert indexes(table) == {}


def test_what_was_cut_before_it_was_attached_is_carried_on(table: Connection) -> None:
    run_sql(
        table,
        "CREATE INDEX ix_sales_customer ON ONLY sales (customer)",
        "CREATE INDEX sales_3_ix_sales_customer ON ONLY sales_3 (customer)",
        "CREATE INDEX sales_1_ix_sales_customer ON sales_1 (customer)",
        "CREATE INDEX sales_2_ix_sales_customer ON sales_2 (customer)",
        INVALID.format("sales_2_ix_sales_customer"),
    )
    apply(table, CREATE)
    assert indexes(table) == ALL


def test_parts_of_partitions_that_were_renamed_since_are_carried_on(table: Connection) -> None:
    run_sql(
        table,
        "CREATE INDEX ix_sales_customer ON ONLY sales (customer)",
        "CREATE INDEX sales_3_ix_sales_customer ON ONLY sales_3 (customer)",
        "CREATE INDEX sales_3a_ix_sales_customer ON sales_3a (customer)",
        "ALTER INDEX sales_3_ix_sales_customer ATTACH PARTITION sales_3a_ix_sales_customer",
        "CREATE INDEX sales_1_ix_sales_customer ON sales_1 (customer)",
        "ALTER TABLE sales_1 RENAME TO one",
        "ALTER TABLE sales_3 RENAME TO three",
    )
    apply(table, CREATE)
    assert indexes(table) == ALL
    apply(table, CREATE.reverse())
    assert indexes(table) == {}


def test_dropping_takes_what_was_never_attached(table: Connection) -> None:
    run_sql(
        table,
        "CREATE INDEX ix_sales_customer ON ONLY sales (customer)",
        "CREATE INDEX sales_3_ix_sales_customer ON ONLY sales_3 (customer)",
        "CREATE INDEX sales_1_ix_sales_customer ON sales_1 (customer)",
        "CREATE INDEX sales_2_ix_sales_customer ON sales_2 (customer)",
        "CREATE INDEX ix_stays ON sales_2 (customer)",
        INVALID.format("sales_2_ix_sales_customer"),
    )
    apply(table, CREATE.reverse())
    assert indexes(table) == {"ix_stays": True}


def test_dropping_takes_what_was_built_beside_a_foreign_partition(table: Connection) -> None:
    """The index itself would have come last."""
    foreign_partition(table)
    run_sql(
        table,
        "CREATE INDEX sales_1_ix_sales_customer ON sales_1 (customer)",
        "CREATE INDEX sales_2_ix_sales_customer ON sales_2 (customer)",
        INVALID.format("sales_2_ix_sales_customer"),
        "CREATE INDEX sales_3a_ix_sales_customer ON sales_3a (note)",
        "CREATE INDEX ix_stays ON sales_2 (customer)",
    )
    apply(table, replace(CREATE.reverse(), columns=()))
    assert len(indexes(table)) == 4
    apply(table, CREATE.reverse())
    assert indexes(table) == {"ix_stays": True, "sales_3a_ix_sales_customer": True}
    run_sql(table, "DROP INDEX sales_3a_ix_sales_customer", "ALTER TABLE sales DROP customer")
    apply(table, CREATE.reverse())


def test_dropping_is_carried_on_and_dropping_twice_is_no_error(table: Connection) -> None:
    apply(table, PLAIN)
    run_sql(table, INVALID.format("ix_orders_number"))
    apply(table, PLAIN.reverse(), PLAIN.reverse(), CREATE.reverse())
    assert indexes(table) == {}


def test_partitions_that_come_and_go_meanwhile(table: Connection, engine: Engine) -> None:
    """What is to be done is known from the start; the first is kept busy until a later is gone."""
    with engine.connect() as writer:
        writer.exec_driver_sql("LOCK TABLE sales_1 IN ROW EXCLUSIVE MODE")  # and not its parent
        with waiting(engine, lambda own: apply(own, CREATE)) as future:
            run_sql(
                table,
                "DROP TABLE sales_2",
                "CREATE TABLE sales_4 PARTITION OF sales FOR VALUES FROM (40) TO (50)",
            )
            writer.rollback()
        future.result()
    expected = ALL.keys() - {"sales_2_ix_sales_customer"} | {"sales_4_customer_idx"}
    parts = "SELECT relid::regclass::text FROM pg_partition_tree('ix_sales_customer')"
    assert set(table.exec_driver_sql(parts).scalars()) == expected
    assert set(indexes(table).values()) == {True}


def test_a_statement_that_is_still_told_may_not_fail(table: Connection) -> None:
    own = table.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(DBAPIError, match="nowhere"):
        sql.run_remaining(own, Remaining([SQL("SELECT 'DROP TABLE nowhere'")]))


# --- Others at work


def test_only_one_builds_an_index(table: Connection, engine: Engine) -> None:
    """Also when its client is gone: the server works on until it has something to tell."""
    with engine.connect() as writer, engine.connect() as other:
        run_sql(table, "SELECT 1")
        writer.exec_driver_sql("INSERT INTO orders VALUES (99)")
        [pid] = other.exec_driver_sql("SELECT pg_backend_pid()").scalars()
        other.rollback()
        with waiting(engine, lambda own: apply(own, PLAIN)) as future:
            for operation in (PLAIN, PLAIN.reverse()):
                with pytest.raises(
                    CommandError,
                    match=r"^orders: pid \d+ is at work on its indexes or constraints: run again "
                    r"when it has ended, or end it with SELECT pg_terminate_backend\(\d+\)$",
                ):
                    apply(other, operation)
            writer.rollback()
        future.result()
    assert pid
    assert indexes(table) == {"ix_orders_number": True}


def test_only_one_builds_on_a_table_and_its_partitions(table: Connection, engine: Engine) -> None:
    """Two would wait for each other, and PostgreSQL would end one of them."""
    with engine.connect() as writer, engine.connect() as other:
        writer.exec_driver_sql("INSERT INTO sales_1 VALUES (1)")
        with waiting(engine, lambda own: apply(own, CREATE)) as future:
            for name in ("sales", "sales_1", "sales_3a"):
                operation = CreateIndexOnline("ix_other", name, ["note"])
                with pytest.raises(CommandError, match=rf"^{name}: pid \d+ is at work on"):
                    apply(other, operation)
            apply(other, PLAIN)
            writer.rollback()
        future.result()
    assert indexes(table) == ALL | {"ix_orders_number": True}


def test_an_index_that_somebody_builds_by_hand_is_left_to_them(
    table: Connection, engine: Engine
) -> None:
    def by_hand(own: Connection) -> None:
        session = own.execution_options(isolation_level="AUTOCOMMIT")
        session.exec_driver_sql("CREATE INDEX CONCURRENTLY ix_orders_number ON orders (number)")

    with engine.connect() as writer:
        writer.exec_driver_sql("INSERT INTO orders VALUES (99)")
        with waiting(engine, by_hand) as future:
            with pytest.raises(CommandError, match=r"^orders: pid \d+ is building an index of pub"):
                apply(table, PLAIN)
            writer.rollback()
        future.result()
    table.rollback()
    apply(table, PLAIN)
    assert indexes(table) == {"ix_orders_number": True}


@pytest.mark.parametrize("name", ["sales_2_ix_sales_customer", "ix_by_hand"])
def test_a_part_that_somebody_builds_by_hand_is_left_to_them(
    table: Connection, engine: Engine, name: str
) -> None:
    def by_hand(own: Connection) -> None:
        session = own.execution_options(isolation_level="AUTOCOMMIT")
        session.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON sales_2 (customer)")

    with engine.connect() as writer:
        writer.exec_driver_sql("INSERT INTO sales_2 VALUES (11)")
        with waiting(engine, by_hand) as future:
            with pytest.raises(
                CommandError,
                match=r"^sales: pid \d+ is building an index of public.sales_2, perhaps this one: "
                "run again when it has ended$",
            ):
                apply(table, CREATE)
            writer.rollback()
        future.result()
    table.rollback()
    apply(table, CREATE)
    assert indexes(table).keys() ^ ALL.keys() <= {"sales_2_ix_sales_customer", "ix_by_hand"}
    assert len(indexes(table)) == len(ALL)


def test_a_session_whose_build_failed_lets_others_build(table: Connection, engine: Engine) -> None:
    """It may have gone back to a pool."""
    duplicates_of(table, replace(PLAIN, unique=True))
    with engine.connect() as other:
        apply(other, PLAIN.reverse(), PLAIN)
    table.rollback()
    assert indexes(table) == {"ix_orders_number": True}


def in_psycopg2(url: str) -> None:
    with create_engine(of_driver(url, "psycopg2"), poolclass=NullPool).connect() as connection:
        apply(connection, CREATE, CREATE.reverse(), CREATE)


def in_asyncpg(url: str) -> None:
    async def run() -> None:
        engine = create_async_engine(of_driver(url, "asyncpg"), poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(apply, CREATE, CREATE.reverse(), CREATE)

    asyncio.run(run())


def of_driver(url: str, driver: str) -> URL:
    return make_url(url).set(drivername=f"postgresql+{driver}")


@pytest.mark.parametrize("build", [in_psycopg2, in_asyncpg])
def test_other_drivers(table: Connection, database_url: str, build: Callable[[str], None]) -> None:
    build(database_url)
    assert indexes(table) == ALL
