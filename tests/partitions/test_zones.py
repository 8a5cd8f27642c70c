"""Bounds are the calendar's in the declared zone, whatever the session's settings."""

from datetime import UTC, date, datetime, timedelta
from datetime import time as Time  # noqa: N812  # `time` is an argument
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import laws
import pytest
from autogenerate import partitions, run_sql
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.partitions.periods import Every, Range, floor, periods, shift

SESSIONS = [
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Europe/Berlin",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Pacific/Apia",
    "Pacific/Kiritimati",
]
STYLES = ["ISO, MDY", "SQL, DMY", "German, DMY", "Postgres, MDY", "Postgres, YMD"]

CLOCK_CHANGES = {
    "America/Sao_Paulo": date(2018, 11, 4),  # skips midnight
    "Asia/Beirut": date(2022, 3, 27),  # skips midnight
    "Africa/Cairo": date(2024, 10, 31),  # repeats the hour before midnight
    "America/Havana": date(2024, 11, 3),  # repeats the hour after midnight
    "Europe/Berlin": date(2024, 3, 31),
    "Pacific/Apia": date(2011, 12, 30),  # a day that never was
}

LAST = date(2022, 12, 31)
"""Later rules differ between releases of the time zone database, which server and Python have of
their own."""

KEYS = ["date", "timestamp", "timestamptz"]


@cache
def zones() -> list[str]:
    """Zones with each kind of clock change, and of offset."""
    more = ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Pyongyang", "Europe/Dublin"]
    more += ["Africa/Casablanca", "America/Caracas", "Antarctica/Troll", "Europe/Moscow"]
    return [*CLOCK_CHANGES, *more]


def table(connection: Connection, key: str) -> str:
    run_sql(
        connection,
        f"CREATE TABLE IF NOT EXISTS events_{key} (at {key} NOT NULL) PARTITION BY RANGE (at)",
    )
    return f"events_{key}"


def created(connection: Connection, name: str, operation: CreateRangePartitions) -> list[Range]:
    """The ranges of the partitions that an operation creates; they are rolled back."""
    [statement] = operation.statements()
    connection.exec_driver_sql(statement.as_string(), execution_options={"no_parameters": True})
    tables = catalog.read(connection).tables.values()
    [wanted] = [item for item in tables if item.name.name == name]
    found = catalog.partitions(connection, [wanted])[wanted.name]
    connection.rollback()
    return [item.range for item in found if item.range is not None]


def expected(operation: CreateRangePartitions, key: str) -> list[Range]:
    """The same in Python: an empty period (a day that never was) needs no partition."""
    assert operation.start is not None
    assert operation.stop is not None
    last = shift(date.fromisoformat(operation.stop), operation.every, -1)
    zone = ZoneInfo(operation.timezone) if key == "timestamptz" else None
    found = periods(date.fromisoformat(operation.start), last, operation.every, zone)
    return [item for item in found if item.lower != item.upper]


@pytest.mark.parametrize("zone", CLOCK_CHANGES)
@pytest.mark.parametrize("key", KEYS)
def test_bounds_do_not_depend_on_the_session(connection: Connection, key: str, zone: str) -> None:
    name, change = table(connection, key), CLOCK_CHANGES[zone]
    first, last = change - timedelta(days=3), change + timedelta(days=4)
    daily = CreateRangePartitions(name, "day", str(first), str(last), timezone=zone)
    for number, session in enumerate(SESSIONS):
        style = STYLES[number % len(STYLES)]
        run_sql(connection, f"SET TimeZone = '{session}'", f"SET DateStyle = '{style}'")
        found = created(connection, name, daily)
        assert found == expected(daily, key), (session, style)
        assert all(this.upper == following.lower for this, following in pairwise(found))


def test_bounds_at_clock_changes_are_as_expected(connection: Connection) -> None:
    """Written out once, so that not everything rests on the arithmetic in Python."""
    name = table(connection, "timestamptz")
    run_sql(connection, "SET TimeZone = 'Asia/Tokyo'")
    for zone, day, first, last in (
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04 03:00:00+00", "2018-11-05 02:00:00+00"),
        ("America/Havana", "2024-11-03", "2024-11-03 05:00:00+00", "2024-11-04 05:00:00+00"),
    ):
        stop = str(date.fromisoformat(day) + timedelta(days=1))
        laws.apply(connection, [CreateRangePartitions(name, "day", day, stop, timezone=zone)])
        assert f"FROM ('{first}') TO ('{last}')" in partitions(connection, name).values()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    key=st.sampled_from(KEYS),
    every=st.sampled_from(["day", "week", "month", "quarter", "year"]),
    start=st.dates(date(1975, 1, 1), LAST),
    number=st.integers(1, 8),
    zone=st.sampled_from(zones()),
    session=st.sampled_from(SESSIONS),
    style=st.sampled_from(STYLES),
)
def test_the_server_and_python_agree(
    connection: Connection,
    key: str,
    every: Every,
    start: date,
    number: int,
    zone: str,
    session: str,
    style: str,
) -> None:
    name, first = table(connection, key), floor(start, every)
    stop = shift(first, every, number)
    operation = CreateRangePartitions(name, every, str(first), str(stop), timezone=zone)
    run_sql(connection, f"SET TimeZone = '{session}'", f"SET DateStyle = '{style}'")
    assert created(connection, name, operation) == expected(operation, key)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    now=st.dates(date(1990, 1, 1), LAST),
    time=st.times(),
    every=st.sampled_from(["day", "week", "month", "quarter", "year"]),
    zone=st.sampled_from(zones()),
    key=st.sampled_from(KEYS),
)
def test_both_agree_on_the_current_period(
    connection: Connection, now: date, time: Time, every: Every, zone: str, key: str
) -> None:
    name, moment = table(connection, key), datetime.combine(now, time, UTC)
    first = floor(moment.astimezone(ZoneInfo(zone)).date(), every)
    operation = CreateRangePartitions(name, every, str(first), ahead=1, timezone=zone)
    run_sql(connection, f"SET alembic_enterprise.now = '{moment.isoformat()}'")
    fixed: Any = CreateRangePartitions(
        name, every, str(first), str(shift(first, every, 2)), timezone=zone
    )
    assert created(connection, name, operation) == expected(fixed, key)
