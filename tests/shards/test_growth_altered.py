"""Growth while the table is altered, or restored elsewhere: no writer fails because of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import growing
import pytest
from autogenerate import run_sql
from psycopg import sql
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.binaries import find_binaries
from alembic_enterprise.errors import ConfigurationError
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
def mirrored(connection: Connection, engine: Engine) -> Engine:
    """The engine, on a table whose only shard is copied and mirrored, but was not replaced yet."""
    growing.orders(connection, 1, columns=COLUMNS)
    run_sql(connection, "ALTER TABLE orders DROP COLUMN gone")
    growing.stopped(engine, growing.COMPARING, count=2)
    return engine


def write(engine: Engine, id: str = "id", amount: str = "amount") -> None:  # noqa: A002  # its name
    """Every kind of change, by the names that the columns have now."""
    names = {"id": sql.Identifier(id), "amount": sql.Identifier(amount)}
    with growing.session(engine) as writer:
        for statement in WRITES:
            writer.execute(sql.SQL(statement).format(**names))


def rows_of_copies(connection: Connection) -> list[tuple[int, int, int]]:
    """The rows of the copies, under the names that the columns had when they were made."""
    union = " UNION ALL ".join(
        f"SELECT tenant, id, amount FROM {name}" for name in growing.copies(connection)
    )
    found = connection.exec_driver_sql(f"{union} ORDER BY 1, 2").all()
    connection.rollback()
    return [(tenant, key, amount) for tenant, key, amount in found]


def test_a_column_that_is_renamed_is_mirrored_still(
    connection: Connection, mirrored: Engine
) -> None:
    run_sql(
        connection,
        'ALTER TABLE orders RENAME COLUMN id TO "the Id"',
        "ALTER TABLE orders RENAME amount TO old",
    )
    write(mirrored, "the Id", "old")
    wanted = 'SELECT tenant, "the Id", old FROM orders ORDER BY 1, 2'
    rows = connection.exec_driver_sql(wanted).all()
    connection.rollback()
    assert rows_of_copies(connection) == rows
    report = growing.run(mirrored, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    assert connection.exec_driver_sql(wanted).all() == rows
    connection.rollback()
    assert growing.leftovers(connection) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP COLUMN note", "column note"),
        ("DROP COLUMN size", "column size"),
        ("ALTER COLUMN note TYPE varchar(99)", 'column "note"'),
    ],
)
def test_a_column_can_go_when_the_copies_have(
    connection: Connection, mirrored: Engine, change: str, told: str
) -> None:
    with pytest.raises(DBAPIError, match=rf"trigger !alembic_enterprise_mirror.* on {told}"):
        run_sql(connection, f"ALTER TABLE orders {change}")
    connection.rollback()
    write(mirrored)
    assert growing.run(mirrored, None).problems == []
    run_sql(connection, f"ALTER TABLE orders {change}")
    assert growing.run(mirrored, 2).problems == []


def test_a_copy_cannot_be_dropped_as_long_as_changes_are_repeated_in_it(
    connection: Connection, mirrored: Engine
) -> None:
    for copy in growing.copies(connection):
        with pytest.raises(DBAPIError, match=rf"trigger !alembic_enterprise_mirror.* table {copy}"):
            run_sql(connection, f"DROP TABLE {copy}")
        connection.rollback()
    write(mirrored)


@pytest.mark.parametrize("dropped", ["ALTER TABLE orders DROP COLUMN note", "DROP TABLE {}"])
def test_what_goes_with_all_that_depends_on_it_begins_anew(
    connection: Connection, mirrored: Engine, dropped: str
) -> None:
    run_sql(connection, dropped.format(growing.copies(connection)[1]) + " CASCADE")
    write(mirrored)
    rows = growing.contents(connection)
    report = growing.run(mirrored, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    assert growing.contents(connection) == rows
    assert growing.leftovers(connection) == []


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
    connection: Connection, mirrored: Engine, change: str
) -> None:
    run_sql(connection, "CREATE SCHEMA aside", change)
    write(mirrored)
    rows = growing.contents(connection)
    while problems := growing.run(mirrored, 2).problems:
        assert problems[0].endswith("Run again with --abort, then without")
        assert growing.run(mirrored, None).problems == []
    assert growing.contents(connection) == rows
    assert sorted(growing.held(connection).values()) == ["0 of 2", "1 of 2"]
    assert growing.leftovers(connection) == []


# --- What is done to a shard itself, until the lock on it

OF_SHARD = "FROM pg_class WHERE oid = 'orders_shard_0'::regclass"
INDEXES = "SELECT count(*) FROM pg_index WHERE indrelid = 'orders_shard_0'::regclass"

MEANWHILE: dict[str, tuple[str, str]] = {
    "REVOKE SELECT ON orders_shard_0 FROM PUBLIC": (
        f"SELECT has_table_privilege('public', oid, 'SELECT') {OF_SHARD}",
        "False",
    ),
    "REVOKE UPDATE (amount) ON orders_shard_0 FROM PUBLIC": (
        f"SELECT has_column_privilege('public', oid, 'amount', 'UPDATE') {OF_SHARD}",
        "False",
    ),
    "ALTER TABLE orders_shard_0 OWNER TO {role}": (
        f"SELECT relowner = '{{role}}'::regrole {OF_SHARD}",
        "True",
    ),
    "ALTER TABLE orders_shard_0 ENABLE ROW LEVEL SECURITY": (
        f"SELECT relrowsecurity {OF_SHARD}",
        "True",
    ),
    "ALTER TABLE orders_shard_0 REPLICA IDENTITY FULL": (f"SELECT relreplident {OF_SHARD}", "f"),
    "ALTER TABLE orders_shard_0 SET (fillfactor = 70)": (
        f"SELECT reloptions {OF_SHARD}",
        "['fillfactor=70']",
    ),
    "ALTER TABLE orders_shard_0 ALTER amount SET DEFAULT 9": (
        "SELECT count(*) FROM pg_attrdef WHERE adrelid = 'orders_shard_0'::regclass",
        "2",
    ),
    "CREATE STATISTICS s ON id, amount FROM orders_shard_0": (
        "SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = 'orders_shard_0'::regclass",
        "2",
    ),
    "ALTER STATISTICS kept SET STATISTICS 500": (
        "SELECT stxstattarget FROM pg_statistic_ext WHERE stxname = 'kept'",
        "500",
    ),
    "ALTER INDEX low ALTER COLUMN 1 SET STATISTICS 1000": (
        "SELECT max(attstattarget) FROM pg_attribute WHERE attrelid = 'low'::regclass",
        "1000",
    ),
    "DROP INDEX back; CREATE INDEX forth ON orders (note)": (
        f"{INDEXES} AND pg_get_indexdef(indexrelid) LIKE '%(note)'",
        "1",
    ),
}
"""What is done to a shard while it is copied -> a query of the shard that has its name, and what
that returns."""


@pytest.mark.parametrize("done", MEANWHILE)
def test_what_is_done_to_a_shard_that_is_copied_is_not_undone(
    connection: Connection, engine: Engine, role: str, done: str
) -> None:
    growing.orders(connection, 1, columns=COLUMNS)
    run_sql(
        connection,
        "CREATE INDEX back ON orders (amount DESC)",
        "GRANT SELECT, UPDATE (amount) ON orders_shard_0 TO PUBLIC",
        "CREATE STATISTICS kept ON id, note FROM orders_shard_0",
        "CREATE INDEX low ON orders_shard_0 (lower(note))",
    )
    growing.before(
        engine, "locked_since', clock", lambda: other(engine, done.replace("{role}", role))
    )
    [problem] = growing.run(engine, 2).problems
    assert problem.endswith(
        "orders_shard_0: it was altered since its copies were made: run `alembic-enterprise shards"
        " grow` again"
    )
    write(engine)
    rows = growing.contents(connection)
    report = growing.run(engine, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    query, wanted = MEANWHILE[done]
    assert str(growing.one(connection, query.replace("{role}", role))) == wanted
    assert growing.contents(connection) == rows


def other(engine: Engine, statement: str) -> None:
    """Run a statement in another session."""
    with engine.connect() as connection:
        run_sql(connection, statement)


def test_a_foreign_key_that_is_added_is_not_checked_under_the_lock(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, 1)
    run_sql(
        connection,
        "CREATE TABLE tenants (id bigint PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(0, 39)",
    )
    add = "ALTER TABLE orders ADD FOREIGN KEY (tenant) REFERENCES tenants"
    growing.before(engine, "locked_since', clock", lambda: other(engine, add))
    assert "it was altered since its copies were made" in growing.run(engine, 2).problems[0]
    report = growing.run(engine, 2)
    assert (report.problems, report.removed) == ([], []), "the copies get it, and stay"
    keys = "FROM pg_constraint WHERE contype = 'f' AND conrelid::regclass::text ~ '^orders_shard_'"
    assert growing.one(connection, f"SELECT count(*) FILTER (WHERE convalidated) {keys}") == 2
    drop = "ALTER TABLE orders DROP CONSTRAINT orders_tenant_fkey"
    growing.before(engine, "locked_since', clock", lambda: other(engine, drop))
    assert "it was altered since its copies were made" in growing.run(engine, 4).problems[0]
    assert growing.run(engine, 4).problems == []
    assert growing.one(connection, f"SELECT count(*) {keys}") == 0


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            "CREATE RULE r AS ON DELETE TO orders_shard_0 DO INSTEAD NOTHING",
            "rule r on table orders_shard_0 depends on",
        ),
        ("CREATE INDEX late ON ONLY orders (amount)", "orders_shard_0 lacks the index late"),
    ],
)
def test_an_obstacle_that_is_made_is_told_by_the_next_run(
    connection: Connection, engine: Engine, made: str, told: str
) -> None:
    growing.orders(connection, 1)
    growing.before(engine, "locked_since', clock", lambda: other(engine, made))
    assert "something was made meanwhile that it cannot" in growing.run(engine, 2).problems[0]
    with pytest.raises(ConfigurationError, match=told):
        growing.run(engine, 2)
    assert growing.run(engine, None).removed == ["public.orders_shard_0"]
    assert growing.leftovers(connection) == []


def test_a_shard_that_is_detached_stays_so_with_its_rows(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection)
    rows = growing.one(connection, "SELECT count(*) FROM orders_shard_0")
    detach = "ALTER TABLE orders DETACH PARTITION orders_shard_0"
    growing.before(engine, "locked_since', clock", lambda: other(engine, detach))
    assert "it is no longer a partition of orders" in growing.run(engine, 4).problems[0]
    report = growing.run(engine, 4)
    assert (report.problems, report.removed) == ([], ["a shard that is gone"])
    assert list(growing.held(connection).values()) == ["1 of 4", "3 of 4"]
    assert growing.one(connection, "SELECT count(*) FROM orders_shard_0") == rows
    assert growing.leftovers(connection) == ["orders_shard_0"], "no more than that"


# --- Dumps


@pytest.fixture
def restored(
    mirrored: Engine, other_database: Callable[..., str], request: pytest.FixtureRequest
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
        for item in (mirrored.url, url)
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
        assert growing.contents(there) == growing.contents(connection)
        assert len(growing.copies(there)) == 2
        write(restored)
        rows = growing.contents(there)
        [inspection] = inspect(there)
        there.rollback()
        assert [found.rule for found in advise(inspection)] == ["growth-unfinished"]
        if aborted:
            assert growing.run(restored, None).problems == []
            assert growing.leftovers(there) == []
        report = growing.run(restored, 2)
        assert (report.problems, growing.leftovers(there)) == ([], [])
        assert growing.contents(there) == rows
        assert len(growing.held(there)) == 2


def test_a_table_is_not_dropped_while_it_has_copies(
    connection: Connection, mirrored: Engine
) -> None:
    with pytest.raises(
        DBAPIError, match=r"alembic_enterprise_guard on table .* depends on table o"
    ):
        run_sql(connection, "DROP TABLE orders")
    connection.rollback()
    assert growing.run(mirrored, None).problems == []
    run_sql(connection, "DROP TABLE orders")
