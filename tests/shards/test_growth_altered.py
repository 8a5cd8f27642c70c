"""Growth while the table is altered, or restored elsewhere: no writer fails because of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from autogenerate import run_sql
from growing import contents, copies, held, leftovers, orders, run, session, stopped
from psycopg import sql
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.binaries import find_binaries
from alembic_enterprise.shards.advise import advise
from alembic_enterprise.shards.inspection import inspect

COLUMNS = (
    "gone int, tenant bigint, id bigint, amount bigint, note text,"
    " size bigint GENERATED ALWAYS AS (amount * 2) STORED, PRIMARY KEY (tenant, id)"
)

WRITES = (
    "INSERT INTO orders VALUES (1, 1000, 1), (2, 1000, 2)",
    "UPDATE orders SET {amount} = -7 WHERE {id} = 7",
    "UPDATE orders SET {id} = 2000 WHERE {id} = 8",
    "DELETE FROM orders WHERE {id} = 9",
)


@pytest.fixture
def growing(connection: Connection, engine: Engine) -> Engine:
    """The engine, on a table whose only shard is copied and mirrored, but was not replaced yet."""
    orders(connection, 1, columns=COLUMNS)
    run_sql(connection, "ALTER TABLE orders DROP COLUMN gone")
    stopped(engine, "hash_record_extended", count=2)
    return engine


def write(engine: Engine, id: str = "id", amount: str = "amount") -> None:  # noqa: A002  # its name
    """Every kind of change, by the names that the columns have now."""
    names = {"id": sql.Identifier(id), "amount": sql.Identifier(amount)}
    with session(engine) as writer:
        for statement in WRITES:
            writer.execute(sql.SQL(statement).format(**names))


def rows_of_copies(connection: Connection) -> list[tuple[int, int, int]]:
    """The rows of the copies, under the names that the columns had when they were made."""
    union = " UNION ALL ".join(
        f"SELECT tenant, id, amount FROM {name}" for name in copies(connection)
    )
    found = connection.exec_driver_sql(f"{union} ORDER BY 1, 2").all()
    connection.rollback()
    return [(tenant, key, amount) for tenant, key, amount in found]


def test_a_column_that_is_renamed_is_mirrored_still(
    connection: Connection, growing: Engine
) -> None:
    run_sql(
        connection,
        'ALTER TABLE orders RENAME COLUMN id TO "the Id"',
        "ALTER TABLE orders RENAME amount TO old",
    )
    write(growing, "the Id", "old")
    wanted = 'SELECT tenant, "the Id", old FROM orders ORDER BY 1, 2'
    rows = connection.exec_driver_sql(wanted).all()
    connection.rollback()
    assert rows_of_copies(connection) == rows
    report = run(growing, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    assert connection.exec_driver_sql(wanted).all() == rows
    connection.rollback()
    assert leftovers(connection) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP COLUMN note", "column note"),
        ("DROP COLUMN size", "column size"),
        ("ALTER COLUMN note TYPE varchar(99)", 'column "note"'),
    ],
)
def test_a_column_can_go_when_the_copies_have(
    connection: Connection, growing: Engine, change: str, told: str
) -> None:
    with pytest.raises(DBAPIError, match=rf"trigger !alembic_enterprise_mirror.* on {told}"):
        run_sql(connection, f"ALTER TABLE orders {change}")
    connection.rollback()
    write(growing)
    assert run(growing, None).problems == []
    run_sql(connection, f"ALTER TABLE orders {change}")
    assert run(growing, 2).problems == []


def test_a_copy_cannot_be_dropped_as_long_as_changes_are_repeated_in_it(
    connection: Connection, growing: Engine
) -> None:
    for copy in copies(connection):
        with pytest.raises(DBAPIError, match=rf"trigger !alembic_enterprise_mirror.* table {copy}"):
            run_sql(connection, f"DROP TABLE {copy}")
        connection.rollback()
    write(growing)


@pytest.mark.parametrize("dropped", ["ALTER TABLE orders DROP COLUMN note", "DROP TABLE {}"])
def test_what_goes_with_all_that_depends_on_it_begins_anew(
    connection: Connection, growing: Engine, dropped: str
) -> None:
    run_sql(connection, dropped.format(copies(connection)[1]) + " CASCADE")
    write(growing)
    rows = contents(connection)
    report = run(growing, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    assert contents(connection) == rows
    assert leftovers(connection) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders_shard_0 RENAME TO other",
        "ALTER TABLE orders_shard_0 SET SCHEMA aside",
        "ALTER TABLE orders ADD COLUMN more int DEFAULT 3",
        "ALTER TABLE orders RENAME TO orders_of_old; ALTER TABLE orders_of_old RENAME TO orders",
    ],
)
def test_writers_go_on_whatever_is_renamed(
    connection: Connection, growing: Engine, change: str
) -> None:
    run_sql(connection, "CREATE SCHEMA aside", change)
    write(growing)
    rows = contents(connection)
    while problems := run(growing, 2).problems:
        assert problems[0].endswith("Run again with --abort, then without")
        assert run(growing, None).problems == []
    assert contents(connection) == rows
    assert sorted(held(connection).values()) == ["0 of 2", "1 of 2"]
    assert leftovers(connection) == []


# --- Dumps


@pytest.fixture
def restored(
    growing: Engine, other_database: Callable[..., str], request: pytest.FixtureRequest
) -> Engine:
    """An engine on a database that was restored from a dump made while the table was growing."""
    server = str(request.config.getoption("--server"))
    folder = find_binaries(None if server == "embedded" or "://" in server else Path(server))
    dump, psql = folder / "pg_dump", folder / "psql"
    if "://" in server or not dump.exists() or not psql.exists():
        pytest.skip("there are no pg_dump and psql of the server under test")
    url = create_engine(other_database(), poolclass=NullPool).url
    texts = [
        item.set(drivername="postgresql").render_as_string(hide_password=False)
        for item in (growing.url, url)
    ]
    script = subprocess.run([dump, texts[0]], check=True, capture_output=True).stdout
    subprocess.run(
        [psql, "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", texts[1]],
        check=True,
        input=script,
        capture_output=True,
    )
    return create_engine(url, poolclass=NullPool)


@pytest.mark.parametrize("aborted", [True, False])
def test_a_dump_of_a_growing_table_is_restored_and_works(
    restored: Engine, connection: Connection, aborted: bool
) -> None:
    with restored.connect() as there:
        assert contents(there) == contents(connection)
        assert len(copies(there)) == 2
        write(restored)
        rows = contents(there)
        [inspection] = inspect(there)
        there.rollback()
        assert [found.rule for found in advise(inspection)] == ["growth-unfinished"]
        if aborted:
            assert run(restored, None).problems == []
            assert leftovers(there) == []
        report = run(restored, 2)
        assert (report.problems, leftovers(there)) == ([], [])
        assert contents(there) == rows
        assert len(held(there)) == 2


def test_a_table_is_not_dropped_while_it_has_copies(
    connection: Connection, growing: Engine
) -> None:
    with pytest.raises(
        DBAPIError, match=r"alembic_enterprise_guard on table .* depends on table o"
    ):
        run_sql(connection, "DROP TABLE orders")
    connection.rollback()
    assert run(growing, None).problems == []
    run_sql(connection, "DROP TABLE orders")
