"""Attaching and detaching, inside a transaction and concurrently."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import laws
import pytest
from alembic import command
from autogenerate import partitions, project, run_sql, write_revision
from psycopg.errors import LockNotAvailable
from scheduled import reading, session
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError

from alembic_enterprise.errors import OperationError
from alembic_enterprise.partitions.operations import AttachPartition, DetachPartition
from alembic_enterprise.partitions.operations.triggers import ON_EACH_PARTITION

PARENT = "CREATE TABLE events (id bigint, at {} NOT NULL) PARTITION BY RANGE (at)"
PART = "CREATE TABLE {} (id bigint, at {} NOT NULL)"

CONCURRENTLY = """
op.execute("INSERT INTO events VALUES (1, '2026-01-01')")
op.detach_partition("events", "january", concurrently=True)
op.execute("CREATE TABLE after_it ()")
"""


@pytest.fixture
def january(connection: Connection) -> Connection:
    """A connection to a database where `events` has the partition `january`."""
    run_sql(connection, PARENT.format("timestamptz"), PART.format("january", "timestamptz"))
    laws.apply(connection, [AttachPartition("events", "january", "2026-01-01", "2026-02-01")])
    return connection


@pytest.fixture
def upgrade(tmp_path: Path, engine: Engine) -> Callable[..., None]:
    """A function that runs `alembic upgrade` on one script with the given body."""
    config = project(tmp_path, engine, MetaData())

    def run(body: str, patient: Engine = engine) -> None:
        write_revision(tmp_path, "1", None, body)
        config.attributes["engine"] = patient
        command.upgrade(config, "head")

    return run


@pytest.fixture
def impatient(database_url: str) -> Engine:
    """An engine whose sessions wait hardly any time for locks."""
    options = {"options": "-c lock_timeout=150ms"}
    return create_engine(database_url, poolclass=NullPool, connect_args=options)


# --- Bounds


@pytest.mark.parametrize("session", ["America/Havana", "Asia/Kolkata"])
@pytest.mark.parametrize(
    ("key", "bound"),
    [
        ("date", "FROM ('2026-03-01') TO ('2026-04-01')"),
        ("timestamp", "FROM ('2026-03-01 06:30:00') TO ('2026-04-01 00:00:00')"),
        ("timestamptz", "FROM ('2026-03-01 05:30:00+00') TO ('2026-03-31 22:00:00+00')"),
    ],
)
def test_bounds_are_in_the_zone_of_the_operation(
    connection: Connection, key: str, bound: str, session: str
) -> None:
    run_sql(
        connection,
        f"SET TimeZone = '{session}'",
        "SET DateStyle = 'SQL, DMY'",
        PARENT.format(key),
        PART.format("part", key),
    )
    operation = AttachPartition("events", "part", "2026-03-01 06:30", "2026-04-01", "Europe/Berlin")
    laws.apply(connection, [operation])
    assert partitions(connection, "events") == {"part": bound}
    laws.apply(connection, [operation.reverse()])
    assert partitions(connection, "events") == {}


def test_a_missing_bound_is_unbounded(connection: Connection) -> None:
    run_sql(
        connection, PARENT.format("date"), PART.format("old", "date"), PART.format("new", "date")
    )
    operations = [
        AttachPartition("events", "old", stop="2026-01-01"),
        AttachPartition("events", "new", start="2026-01-01"),
    ]
    laws.apply(connection, operations)
    assert partitions(connection, "events") == {
        "new": "FROM ('2026-01-01') TO (MAXVALUE)",
        "old": "FROM (MINVALUE) TO ('2026-01-01')",
    }


@pytest.mark.parametrize(
    "zone",
    ["America/Port-au-Prince", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "EST5EDT", "GMT0"],
)
def test_names_of_zones_may_look_like_offsets(connection: Connection, zone: str) -> None:
    run_sql(connection, PARENT.format("timestamptz"), PART.format("part", "timestamptz"))
    laws.apply(connection, [AttachPartition("events", "part", "2026-01-01", "2026-02-01", zone)])
    [bound] = partitions(connection, "events").values()
    query = (
        f"SELECT ('2026-01-01'::timestamp AT TIME ZONE '{zone}')::timestamptz AT TIME ZONE 'UTC'"
    )
    expected = connection.exec_driver_sql(query).scalar_one()
    assert bound.startswith(f"FROM ('{expected}")


def test_a_partition_may_live_in_another_schema(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE SCHEMA archive",
        PARENT.format("date"),
        PART.format('archive."Odd ""Name"', "date"),
    )
    operation = AttachPartition(
        "events", 'Odd "Name', stop="2026-01-01", schema="public", partition_schema="archive"
    )
    laws.apply(connection, [operation])
    assert list(partitions(connection, "events")) == ['archive."Odd ""Name"']
    laws.apply(connection, [operation.reverse()])
    assert partitions(connection, "events") == {}


def test_rows_outside_the_bounds_are_refused_and_kept(january: Connection) -> None:
    run_sql(
        january, PART.format("part", "timestamptz"), "INSERT INTO part VALUES (1, '2000-01-01')"
    )
    with pytest.raises(DBAPIError, match='partition constraint of relation "part" is violated'):
        laws.apply(january, [AttachPartition("events", "part", "2026-02-01", "2026-03-01")])
    january.rollback()
    assert list(partitions(january, "events")) == ["january"]


def test_a_detach_without_bounds_cannot_be_reversed() -> None:
    with pytest.raises(OperationError, match=r"add start= and stop="):
        DetachPartition("events", "january").reverse()


# --- Concurrently, through Alembic's own commands


def test_what_comes_before_is_committed_and_the_rest_goes_on(
    january: Connection, upgrade: Callable[..., None]
) -> None:
    upgrade(CONCURRENTLY)
    assert partitions(january, "events") == {}
    count = "SELECT (SELECT count(*) FROM january), (SELECT version_num FROM alembic_version)"
    assert tuple(january.exec_driver_sql(count).one()) == (1, "1")
    assert january.exec_driver_sql("SELECT to_regclass('after_it')").scalar_one() == "after_it"


@pytest.mark.parametrize("setting", ["SET lock_timeout = '7s'", "SET LOCAL lock_timeout = '7s'"])
def test_the_lock_timeout_is_put_back(
    january: Connection, upgrade: Callable[..., None], setting: str
) -> None:
    """A setting that was local to the transaction goes with it, as after any commit."""
    keep = "op.execute(\"CREATE TABLE kept AS SELECT current_setting('lock_timeout') AS value\")"
    upgrade(f'op.execute("{setting}")\n{CONCURRENTLY}\n{keep}')
    kept = january.exec_driver_sql("SELECT value FROM kept").scalar_one()
    assert kept == ("0" if "LOCAL" in setting else "7s")


def test_a_concurrent_detach_outwaits_readers_despite_a_lock_timeout(
    january: Connection, impatient: Engine, engine: Engine, upgrade: Callable[..., None]
) -> None:
    """A timeout inside would leave the partition half detached."""
    january.exec_driver_sql("SELECT * FROM events")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(upgrade, CONCURRENTLY, impatient)
        wait_until_blocked(engine, waiting)
        january.rollback()
        waiting.result()
    assert partitions(january, "events") == {}


def wait_until_blocked(engine: Engine, future: Future[Any]) -> None:
    """Wait until the detaching session has been waiting for longer than its lock_timeout."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE '%CONCURRENTLY' AND wait_event_type = 'Lock'"
        " AND clock_timestamp() - query_start > '300ms'"
    )
    with engine.connect() as observer:
        while not observer.exec_driver_sql(
            query, execution_options={"no_parameters": True}
        ).scalar():
            assert not future.done(), future.exception()
            observer.rollback()
            time.sleep(0.01)


def test_a_plain_detach_respects_the_lock_timeout(
    january: Connection, impatient: Engine, upgrade: Callable[..., None]
) -> None:
    january.exec_driver_sql("SELECT * FROM events")
    with pytest.raises(OperationalError) as raised:
        upgrade('op.detach_partition("events", "january")', impatient)
    assert isinstance(raised.value.orig, LockNotAvailable)
    january.rollback()
    assert list(partitions(january, "events")) == ["january"]


def test_a_refused_concurrent_detach_leaves_nothing_half_done(
    january: Connection, upgrade: Callable[..., None]
) -> None:
    run_sql(january, "CREATE TABLE stray PARTITION OF events DEFAULT")
    with pytest.raises(DBAPIError, match="concurrently when a default partition exists"):
        upgrade(CONCURRENTLY)
    state = (
        "SELECT (SELECT count(*) FROM pg_inherits WHERE inhdetachpending),"
        " (SELECT count(*) FROM alembic_version), (SELECT count(*) FROM january)"
    )
    assert tuple(january.exec_driver_sql(state).one()) == (0, 0, 1), "only what came before is kept"
    run_sql(january, "DROP TABLE stray")
    upgrade(CONCURRENTLY)
    assert partitions(january, "events") == {}


# --- Again, after it was cut

AGAIN = 'op.detach_partition("events", "january", concurrently=True)'

MARKED = (
    "CREATE TABLE told (what text)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    """CREATE FUNCTION note(relation regclass, action text) RETURNS void LANGUAGE sql
        SECURITY DEFINER AS $$ INSERT INTO told VALUES (action || ' ' || relation) $$""",
    "CREATE TRIGGER marked AFTER INSERT ON {} EXECUTE FUNCTION note()",
    "COMMENT ON TRIGGER marked ON {} IS '" + ON_EACH_PARTITION + "'",
)


def marked(connection: Connection) -> list[str]:
    """The tables with a trigger."""
    found = connection.exec_driver_sql("SELECT tgrelid::regclass::text FROM pg_trigger ORDER BY 1")
    return list(found.scalars())


def cut(database_url: str) -> None:
    """Leave the partition half detached."""
    with (
        reading(database_url),
        session(database_url, options="-c lock_timeout=1") as other,
        pytest.raises(LockNotAvailable),
    ):
        other.execute("ALTER TABLE events DETACH PARTITION january CONCURRENTLY")


def test_a_detach_that_was_cut_is_finished_when_it_is_run_again(
    connection: Connection, upgrade: Callable[..., None], database_url: str
) -> None:
    run_sql(
        connection,
        PARENT.format("timestamptz"),
        *(text.format("events") for text in MARKED),
        PART.format("january", "timestamptz"),
    )
    laws.apply(connection, [AttachPartition("events", "january", "2026-01-01", "2026-02-01")])
    assert marked(connection) == ["events", "january"]
    run_sql(connection, "DELETE FROM told")
    cut(database_url)
    upgrade(AGAIN)
    assert partitions(connection, "events") == {}
    assert marked(connection) == ["events"]
    assert connection.exec_driver_sql("SELECT * FROM told").all() == []  # by the first attempt
    stamped = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    assert stamped == "1"


def test_what_is_detached_already_is_left_alone(
    january: Connection, upgrade: Callable[..., None]
) -> None:
    run_sql(
        january,
        "ALTER TABLE events DETACH PARTITION january",
        *(text.format("january") for text in MARKED),
    )
    upgrade(AGAIN)
    assert marked(january) == ["january"]  # it is not one of the table's


def test_the_partition_of_another_table_is_refused(
    january: Connection, upgrade: Callable[..., None]
) -> None:
    run_sql(january, *(text.format("events") for text in MARKED))
    run_sql(january, "CREATE TABLE others (LIKE events) PARTITION BY RANGE (at)")
    with pytest.raises(DBAPIError, match='"january" is not a partition of relation "others"'):
        upgrade(AGAIN.replace("events", "others"))
    assert list(partitions(january, "events")) == ["january"]
    assert january.exec_driver_sql("SELECT * FROM told").all() == []
