"""Calendar arithmetic: exact on every day of every year, in any zone."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alembic_enterprise.errors import OperationError
from alembic_enterprise.partitions.periods import (
    SUFFIX_BYTES,
    Every,
    Range,
    distance,
    floor,
    merged,
    moment,
    periods,
    shift,
    subtract,
    today,
)

EVERY: list[Every] = ["day", "week", "month", "quarter", "year"]
DAYS = st.dates(date(1902, 1, 1), date(2900, 1, 1))
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Africa/Cairo"]
HOURS = st.integers(0, 200)


def at(hour: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour)


def range_of(lower: int, length: int) -> Range:
    """A range of hours, unbounded at the ends of what is tested."""
    upper = lower + length
    return Range(None if lower == 0 else at(lower), None if upper > 180 else at(upper))


RANGES = st.builds(range_of, HOURS, st.integers(1, 60))


@given(DAYS, st.sampled_from(EVERY))
def test_a_day_lies_in_its_period_and_in_no_other(day: date, every: Every) -> None:
    first = floor(day, every)
    assert first <= day < shift(first, every, 1)
    assert floor(first, every) == first


@given(DAYS, st.sampled_from(EVERY), st.integers(-300, 300))
def test_steps_add_up(day: date, every: Every, number: int) -> None:
    first = floor(day, every)
    assert shift(shift(first, every, number), every, 1) == shift(first, every, number + 1)
    assert shift(shift(first, every, number), every, -number) == first
    assert distance(first, shift(first, every, number), every) == max(0, number)


@pytest.mark.parametrize(
    ("every", "first", "following"),
    [
        ("day", date(2028, 2, 29), date(2028, 3, 1)),
        ("week", date(2026, 12, 28), date(2027, 1, 4)),
        ("month", date(2026, 12, 1), date(2027, 1, 1)),
        ("quarter", date(2026, 10, 1), date(2027, 1, 1)),
        ("year", date(2026, 1, 1), date(2027, 1, 1)),
    ],
)
def test_periods_follow_the_calendar(every: Every, first: date, following: date) -> None:
    assert floor(following - timedelta(days=1), every) == first
    assert shift(first, every, 1) == following


def test_stepping_out_of_the_calendar_is_an_error() -> None:
    with pytest.raises(OperationError, match="outside the years 1 to 9999"):
        shift(date(9999, 12, 1), "month", 1)


@given(DAYS, st.sampled_from(EVERY), st.sampled_from(ZONES), st.integers(1, 40))
def test_periods_are_contiguous_in_every_zone(
    day: date, every: Every, name: str, number: int
) -> None:
    first, zone = floor(day, every), ZoneInfo(name)
    found = list(periods(first, shift(first, every, number - 1), every, zone))
    assert len(found) == number
    assert merged(found) == [Range(moment(first, zone), moment(shift(first, every, number), zone))]


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", date(2026, 7, 1), datetime(2026, 6, 30, 22, tzinfo=UTC)),
        # The clock goes from 23:59 to 01:00: there is no midnight.
        ("America/Sao_Paulo", date(2018, 11, 4), datetime(2018, 11, 4, 3, tzinfo=UTC)),
        # The clock goes from 00:59 back to 00:00: midnight comes twice.
        ("America/Havana", date(2026, 11, 1), datetime(2026, 11, 1, 5, tzinfo=UTC)),
    ],
)
def test_midnight_is_what_postgresql_takes_it_for(zone: str, day: date, expected: datetime) -> None:
    """The expectations are what PostgreSQL says; test_zones.py asks the server itself."""
    assert moment(day, ZoneInfo(zone)) == expected


def test_without_a_zone_midnight_is_naive() -> None:
    assert moment(date(2026, 11, 1), None) == datetime(2026, 11, 1)  # noqa: DTZ001  # the point


def test_today_depends_on_the_zone() -> None:
    now = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)
    assert today(now, ZoneInfo("Europe/Berlin")) == date(2026, 11, 1)
    assert today(now, ZoneInfo("America/New_York")) == date(2026, 10, 31)


@pytest.mark.parametrize("zone", ["America/Havana", "Atlantic/Azores", "Europe/Berlin", "Etc/UTC"])
def test_a_day_lasts_from_its_moment_to_that_of_the_next(zone: str) -> None:
    """Also where a clock change skips or repeats midnight."""
    for day in (date(2028, 1, 1) + timedelta(days=n) for n in range(366)):
        begin, end = (moment(one, ZoneInfo(zone)) for one in (day, day + timedelta(days=1)))
        assert today(begin, ZoneInfo(zone)) == day
        assert today(end - timedelta(microseconds=1), ZoneInfo(zone)) == day


def hours(ranges: list[Range]) -> set[int]:
    """The hours that some ranges hold, from a day before to a day after all of them."""
    return {
        hour
        for hour in range(-24, 300)
        if any(
            (item.lower is None or item.lower <= at(hour))
            and (item.upper is None or at(hour) < item.upper)
            for item in ranges
        )
    }


@given(st.lists(RANGES, max_size=8))
def test_merging_keeps_every_moment_and_leaves_gaps_between(ranges: list[Range]) -> None:
    found = merged(ranges)
    assert hours(found) == hours(ranges)
    for left, right in itertools.pairwise(found):
        assert left.upper is not None
        assert right.lower is not None
        assert left.upper < right.lower


@given(HOURS, st.integers(1, 60), st.lists(RANGES, max_size=8))
def test_subtracting_leaves_exactly_what_is_not_covered(
    start: int, length: int, covered: list[Range]
) -> None:
    wanted = Range(at(start), at(start + length))
    missing = subtract(wanted, covered)
    assert hours(missing) == hours([wanted]) - hours(covered)
    assert merged(missing) == missing


def test_an_unbounded_range_cannot_be_wanted() -> None:
    with pytest.raises(OperationError, match="is not bounded"):
        subtract(Range(None, at(1)), [])


def test_suffix_lengths_are_those_of_the_names() -> None:
    names = ["_y2026_m11_d05", "_y2026_w46", "_y2026_m11", "_y2026_q4", "_y2026"]
    assert dict(zip(EVERY, map(len, names), strict=True)) == SUFFIX_BYTES
