"""A clock, or a partition, that somebody may have got wrong: the job asks before it acts on it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import laws
import pytest
from autogenerate import run_sql
from scheduled import NOW, count, done, insert, names, only, relations, run, table
from sqlalchemy import Connection, Engine

from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.advise import advise
from alembic_enterprise.partitions.due import MOST
from alembic_enterprise.partitions.inspection import inspect
from alembic_enterprise.partitions.maintain import Job, maintain
from alembic_enterprise.partitions.operations import SetPartitionPolicy
from alembic_enterprise.partitions.periods import floor, shift
from alembic_enterprise.partitions.report import Report

DROP: dict[str, Any] = {"retain": 2, "on_expire": "drop", "hold": 0}
FAR = datetime(2099, 5, 21, tzinfo=UTC)

# --- The clock


@pytest.mark.parametrize("days", [-2, 2])
def test_nothing_goes_when_the_server_and_this_machine_tell_other_days(
    connection: Connection, engine: Engine, days: int
) -> None:
    """It is the server's clock that the periods are counted by, right or wrong."""
    [(server,)] = connection.exec_driver_sql("SELECT now()").all()
    first = shift(floor(server.date(), "month"), "month", -3)
    table(connection, start=first.isoformat(), stop=server.date().isoformat(), **DROP)
    there = names(connection)

    def clock(apart: timedelta) -> Report:
        return maintain(engine, Job(clock=lambda: server + apart))

    (problem,) = only(clock(timedelta(days=days))).problems
    assert problem.endswith("nothing is detached or dropped until they agree within a day")
    assert names(connection)[: len(there)] == there
    assert clock(timedelta(hours=20)).exit_code(1) == 0
    assert names(connection)[0] == there[1]


def test_one_run_with_a_wrong_clock_takes_nothing_away(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-08-01", stop="2026-12-01", **DROP)
    insert(connection, "2026-11-11Z")
    (problem,) = only(run(engine, now=FAR)).problems
    assert problem == (
        "at 2099-05-21 00:00, when this run began, its partitions had all ended long ago: nothing "
        "is detached or dropped. If the clock is right, the next run does it"
    )
    assert names(connection)[:4] == ["y2026_m08", "y2026_m09", "y2026_m10", "y2026_m11"]
    assert run(engine).exit_code(1) == 0
    assert names(connection)[:3] == ["y2026_m09", "y2026_m10", "y2026_m11"]
    assert count(connection) == 1


def test_a_wrong_clock_does_not_end_the_time_that_what_is_detached_is_held(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-08-01", stop="2026-12-01", retain=2, on_expire="drop", hold=30)
    run(engine)
    assert "events_y2026_m08" in relations(connection)
    run(engine, now=FAR)
    assert "events_y2026_m08" in relations(connection)
    assert "drop public.events_y2026_m08" in done(run(engine, now=NOW + timedelta(days=30)))


def test_a_job_that_was_away_for_long_goes_on_with_its_next_run(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2025-01-01", stop="2025-03-01", retain=1)
    report = run(engine)
    assert (report.exit_code(1), len(only(report).problems)) == (2, 1)
    assert run(engine).exit_code(1) == 0
    assert names(connection) == ["y2026_m10", "y2026_m11", "y2026_m12"]


def test_a_dry_run_says_so_too(connection: Connection, engine: Engine) -> None:
    table(connection, start="2025-01-01", stop="2025-03-01", retain=1)
    report = run(engine, dry_run=True)
    assert len(only(report).problems) == 1
    assert not any("DETACH" in text for text in report.statements or ())


def test_a_policy_with_nothing_ahead_is_not_away(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-09-01", stop="2026-11-01", ahead=0, retain=1)
    assert run(engine).exit_code(0) == 0
    assert names(connection) == ["y2026_m10", "y2026_m11"]


# --- A partition far from the others


@pytest.mark.parametrize("year", ["1970", "2006"])
def test_a_partition_of_another_age_fills_no_centuries(
    connection: Connection, engine: Engine, year: str
) -> None:
    table(connection, start="2026-11-19", stop="2026-11-20", every="day", retain=None)
    run_sql(
        connection,
        f"CREATE TABLE typo PARTITION OF events FOR VALUES FROM ('{year}-11-19Z')"
        f" TO ('{year}-11-20Z')",
    )
    report = run(engine)
    (problem,) = only(report).problems
    assert f"partitions from {year}-11-20 to 2026-11-21 are missing" in problem
    assert f'write start="{year}-11-20"' in problem
    assert report.exit_code(1) == 2
    assert names(connection) == ["typo", "y2026_m11_d19", "y2026_m11_d21", "y2026_m11_d22"]
    (inspected,) = inspect(connection, now=NOW)
    assert problem in [found.message for found in advise(inspected)]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_nor_does_one_of_the_year_1(connection: Connection, engine: Engine, zone: str) -> None:
    """It begins before what Python's datetime knows, somewhere."""
    table(connection, every="day", ahead=0, timezone=zone)
    run_sql(
        connection,
        "CREATE TABLE least PARTITION OF events FOR VALUES FROM ('0001-01-01Z') TO ('0002-01-01Z')",
    )
    (problem,) = only(run(engine)).problems
    assert "are missing; that many are not created" in problem
    assert names(connection) == ["least", "y2026_m11_d21"]


@pytest.mark.parametrize("key", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("'infinity'", "MAXVALUE"),
        ("'12026-01-01'", "MAXVALUE"),
        ("'12026-01-01'", "'12027-01-01'"),
        ("MINVALUE", "'-infinity'"),
        ("MINVALUE", "'0044-03-15 BC'"),
        ("MINVALUE", "'0001-01-01'"),
        ("'-infinity'", "'0001-07-01'"),
    ],
)
def test_one_that_holds_no_moment_of_the_calendar_covers_none(
    connection: Connection, engine: Engine, key: str, lower: str, upper: str
) -> None:
    """Rows such as those of prices that are valid for ever."""
    table(connection, start="2026-09-01", stop="2026-12-01", key=key, retain=1)
    bounds = f"FROM ({lower}) TO ({upper})"
    run_sql(connection, f"CREATE TABLE endless PARTITION OF events FOR VALUES {bounds}")
    [live] = catalog.read(connection).tables.values()
    assert [(item.lower, item.upper) for item in live.covered] == [
        tuple(datetime(2026, month, 1, tzinfo=None if live.naive else UTC) for month in (9, 12))
    ]
    assert run(engine).exit_code(1) == 0
    assert set(names(connection)) == {"y2026_m10", "y2026_m11", "y2026_m12", "endless"}


def test_a_declared_beginning_is_meant(connection: Connection, engine: Engine) -> None:
    table(connection, every="day", ahead=0)
    first = (NOW - timedelta(days=MOST + 1)).date().isoformat()
    laws.apply(connection, [SetPartitionPolicy("events", every="day", ahead=0, start=first)])
    report = run(engine, dry_run=True)
    assert only(report).problems == []
    assert len(report.statements or ()) > MOST
