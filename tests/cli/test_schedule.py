"""Schedules are read as cron reads them, and say the same to systemd."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, product, takewhile

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.jobs.schedule import FIELDS, Schedule, parse

START, END = datetime(2026, 11, 21, tzinfo=UTC), datetime(2027, 11, 21, tzinfo=UTC)


def part(least: int, greatest: int) -> st.SearchStrategy[str]:
    numbers = st.integers(least, greatest)
    ends = st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)
    ranges = ends.map(lambda ends: f"{ends[0]}-{ends[1]}")
    steps = st.tuples(st.just("*") | ranges, st.integers(1, 30)).map(lambda it: f"{it[0]}/{it[1]}")
    return st.just("*") | numbers.map(str) | ranges | steps


def field(limits: tuple[int, int]) -> st.SearchStrategy[str]:
    return st.just("*") | st.lists(part(*limits), min_size=1, max_size=3).map(",".join)


FIVE = st.tuples(*map(field, FIELDS.values()))


def named(schedule: Schedule) -> Iterator[datetime]:
    """The minutes of a year that the five sets of numbers name, in order."""
    minutes, hours, days, months, weekdays = schedule.numbers
    for day in (START + timedelta(days=count) for count in range(365)):
        if day.month in months and day.day in days and day.isoweekday() % 7 in weekdays:
            for hour, minute in product(hours, minutes):
                yield day.replace(hour=hour, minute=minute)


@settings(deadline=None)  # some schedules come true once a year
@given(FIVE)
def test_what_is_read_is_what_cron_reads(fields: tuple[str, ...]) -> None:
    text = " ".join(fields)
    try:
        schedule = parse(text)
    except ConfigurationError:
        return  # cron may read more
    moments = takewhile(lambda moment: moment < END, CronSim(text, START - timedelta(minutes=1)))
    assert list(islice(named(schedule), 50)) == list(islice(moments, 50))


@given(FIVE)
def test_what_is_refused_is_so_for_a_reason(fields: tuple[str, ...]) -> None:
    refusal = ""
    try:
        parse(" ".join(fields))
    except ConfigurationError as error:
        refusal = str(error)
    both = fields[2] != "*" and fields[4] != "*"
    assert ("has both days" in refusal) == both
    assert both or not refusal or "never comes true" in refusal


@given(FIVE)
def test_systemd_is_told_each_number(fields: tuple[str, ...]) -> None:
    try:
        schedule = parse(" ".join(fields))
    except ConfigurationError:
        return
    match = re.fullmatch(
        r"(?:([A-Z][\w,]+) )?\*-(\S+)-(\S+) (\S+):(\S+):00 UTC", schedule.on_calendar
    )
    assert match is not None
    _, months, days, hours, minutes = match.groups()
    for told, numbers in zip((minutes, hours, days, months), schedule.numbers, strict=False):
        assert told == "*" or tuple(map(int, told.split(","))) == numbers


@pytest.mark.parametrize(
    ("text", "calendar"),
    [
        ("23 4 * * *", "*-*-* 04:23:00 UTC"),
        ("*/15 * * * *", "*-*-* *:00,15,30,45:00 UTC"),
        ("0 3 1 */3 *", "*-01,04,07,10-01 03:00:00 UTC"),
        ("5 0-2 * * 0,6", "Sun,Sat *-*-* 00,01,02:05:00 UTC"),
        ("  0\t0  *  *  1-5 ", "Mon,Tue,Wed,Thu,Fri *-*-* 00:00:00 UTC"),
    ],
)
def test_systemd_is_told_the_same(text: str, calendar: str) -> None:
    assert parse(text).on_calendar == calendar


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not have five fields"),
        ("@daily", "does not have five fields: write minute hour day month weekday"),
        ("0 0 * * * *", "does not have five fields"),
        ("60 0 * * *", "has '60' as minute: write numbers from 0 to 59"),
        ("0 24 * * *", "as hour"),
        ("0 0 0 * *", "as day of the month: write numbers from 1 to 31"),
        ("0 0 * 13 *", "as month"),
        ("0 0 * * 7", "as day of the week: write numbers from 0 to 6"),
        ("0 0 * * MON", "has 'MON' as day of the week: write numbers, *"),
        ("0 0 * jan *", "has 'jan' as month"),
        ("5/15 * * * *", "has '5/15' as minute: write 5-59/15"),
        ("*/0 * * * *", "has '*/0' as minute"),
        ("30-10 * * * *", "has '30-10' as minute"),
        ("0 0 * * 0-0", "has '0-0' as day of the week"),
        ("1, * * * *", "has '' as minute"),
        ("-1 * * * *", "has '-1' as minute"),
        ("٣ * * * *", "as minute"),
        ("1;reboot * * * *", "as minute"),
        ("0 0 1 * 1", "both days of the month and of the week: write * for one of them"),
        ("0 0 31 2,4 *", "never comes true"),
    ],
)
def test_what_schedulers_do_not_read_alike_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    assert reason in str(raised.value)


def test_the_29th_of_february_comes() -> None:
    first, second = islice(CronSim(parse("0 0 29 2 *").text, START), 2)
    assert [first.year, second.year] == [2028, 2032]
