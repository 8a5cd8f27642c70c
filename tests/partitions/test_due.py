"""What a policy asks for: pure functions, so laws over whatever there may be."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alembic_enterprise.partitions.catalog import Key, Partition, PartitionedTable
from alembic_enterprise.partitions.due import (
    Due,
    bounds,
    but_the_last,
    clock,
    count_past,
    covered,
    due,
    headroom,
    is_short,
    missing_days,
    out_of_time,
    past,
    window,
)
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import Every, Range, floor, shift, subtract, today
from alembic_enterprise.sql import Name

ZONES = ["UTC", "Europe/Berlin", "America/Havana", "Asia/Kolkata", "Pacific/Apia"]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def table(*partitions: Partition, naive: bool = False) -> PartitionedTable:
    key = Key("RANGE", ("at",))
    return PartitionedTable(
        Name("public", "events"), key, None, naive, covered(partitions), timed=True
    )


def partition(
    lower: datetime | None, upper: datetime | None, *, owned: bool = True, pending: bool = False
) -> Partition:
    name = Name("public", f"events_{lower}")
    return Partition(name, Range(lower, upper), "", owned, pending, "table", 0, None)


def months(*numbers: int, **flags: bool) -> list[Partition]:
    """Partitions for months of 2026; 13 is the January after."""
    first = date(2026, 1, 1)
    day = [shift(first, "month", number - 1) for number in range(30)]
    return [partition(_utc(day[number]), _utc(day[number + 1]), **flags) for number in numbers]


def _utc(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def asked(partitions: Sequence[Partition], policy: Policy, now: datetime = NOW) -> Due:
    return due(table(*partitions), partitions, policy, now)


def created(found: Due) -> list[str]:
    return [f"{start:%Y-%m}" for start, _ in found.create]


# --- Examples


def test_what_is_ahead_counts_from_now_and_not_from_the_data() -> None:
    assert created(asked(months(1), Policy("month", ahead=2, start="2026-11-01"))) == [
        "2026-11",
        "2026-12",
        "2027-01",
    ]


def test_gaps_are_due() -> None:
    assert created(asked(months(7, 9, 11, 12), Policy("month", ahead=1))) == ["2026-08", "2026-10"]


def test_nothing_there_begins_with_the_current_period() -> None:
    assert created(asked([], Policy("month", ahead=1))) == ["2026-11", "2026-12"]


def test_a_table_that_begins_in_the_future_lacks_the_present() -> None:
    assert created(asked(months(13), Policy("month", ahead=1))) == ["2026-11", "2026-12"]


def test_ahead_counts_from_a_declared_start_in_the_future() -> None:
    found = asked([], Policy("month", ahead=1, start="2027-02-01"))
    assert created(found) == ["2027-02", "2027-03"]


def test_a_period_with_two_holes_is_due_once() -> None:
    parts = [
        *months(9, 12),
        partition(datetime(2026, 10, 5, tzinfo=UTC), datetime(2026, 10, 6, tzinfo=UTC)),
        partition(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC)),
    ]
    assert created(asked(parts, Policy("month", ahead=1))) == ["2026-10", "2026-11"]


def test_a_half_detached_partition_holds_nothing() -> None:
    parts = [*months(9, 11, 12), *months(10, pending=True)]
    assert created(asked(parts, Policy("month", ahead=1))) == ["2026-10"]


def test_a_missing_default_partition_is_due() -> None:
    policy = Policy("month", ahead=0, default=True)
    assert asked(months(11), policy) == Due(default=True)
    found = due(replace(table(*months(11)), has_default=True), months(11), policy, NOW)
    assert found == Due()


def test_retained_are_whole_past_periods_beside_the_current_one() -> None:
    found = asked(months(7, 8, 9, 10, 11), Policy("month", ahead=0, retain=2))
    assert found.retire == tuple(months(7, 8))


def test_what_others_made_is_never_retired() -> None:
    parts = [*months(7, owned=False), *months(8, 9, 10, 11)]
    assert asked(parts, Policy("month", ahead=0, retain=1)).retire == tuple(months(8, 9))


def test_a_partition_that_reaches_into_what_is_retained_stays() -> None:
    long = partition(_utc(date(2026, 8, 1)), _utc(date(2026, 10, 2)))
    assert asked([long, *months(11)], Policy("month", ahead=0, retain=1)).retire == ()


def test_the_last_partition_stays_until_there_are_others() -> None:
    parts = months(1, 2)
    assert asked(parts, Policy("month", ahead=0, retain=1)).retire == tuple(parts)
    assert but_the_last(parts, parts) == months(1)


@pytest.mark.parametrize(
    ("partitions", "may_go"),
    [
        (months(7, 11), True),
        (months(10), True),  # a job that makes nothing ahead
        (months(8, 9), False),
        (months(8, 13), True),
        ([*months(8), partition(_utc(date(2026, 10, 5)), None)], True),
        ([], False),
    ],
)
def test_nothing_goes_when_all_partitions_ended_long_ago(
    partitions: list[Partition], may_go: bool
) -> None:
    assert (out_of_time(table(*partitions), Policy("month"), NOW) is None) is may_go


@pytest.mark.parametrize(("years", "doubted"), [(1, False), (2, True)])
@pytest.mark.parametrize("start", [None, "2020-01-01"])
def test_far_more_past_periods_than_a_job_can_have_missed_are_doubted(
    years: int, doubted: bool, start: str | None
) -> None:
    day = date(2026 - years, 11, 21)
    old = partition(_utc(day), _utc(shift(day, "day", 1)))
    found = asked([old], Policy("day", ahead=2, start=start))
    assert bool(found.doubt) is (doubted and start is None)
    if found.doubt:
        assert f"far from the others ({day} to {day + timedelta(days=1)}), or write" in found.doubt
        assert created_days(found) == ["2026-11-21", "2026-11-22", "2026-11-23"]


def created_days(found: Due) -> list[str]:
    return [start.isoformat() for start, _ in found.create]


def test_periods_begin_at_midnight_of_the_policy() -> None:
    policy = Policy("day", ahead=0, timezone="America/Havana")
    now = datetime(2026, 3, 9, 3, 30, tzinfo=UTC)  # the 8th is not over in Havana
    assert asked([], policy, now).create == ((date(2026, 3, 8), date(2026, 3, 9)),)


# --- Laws


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Partition], PartitionedTable, Policy, datetime]:
    """A policy, a moment, and partitions around it that somebody made somehow."""
    every = draw(st.sampled_from(get_args(Every)))
    now = draw(st.datetimes(datetime(2001, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # hypothesis wants them naive
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    current = floor(today(now, zone), every)
    start = draw(st.none() | st.integers(-8, 4).map(lambda n: shift(current, every, n).isoformat()))
    policy = Policy(
        every,
        ahead=draw(st.integers(0, 4)),
        retain=draw(st.none() | st.integers(1, 5)),
        timezone=zone.key,
        start=start,
        default=draw(st.booleans()),
    )
    empty = table(naive=draw(st.booleans()))
    partitions = draw(_partitions(empty, policy, current))
    live = replace(empty, covered=covered(partitions), has_default=draw(st.booleans()))
    return partitions, live, policy, now


@st.composite
def _partitions(
    draw: st.DrawFn, empty: PartitionedTable, policy: Policy, current: date
) -> list[Partition]:
    """Disjoint ranges: most between midnights, some crooked, maybe without an end."""
    days = draw(st.lists(st.integers(-8, 8), unique=True, max_size=10))
    moments = {bounds(empty, policy, shift(current, policy.every, n), current)[0] for n in days}
    crooked = draw(st.lists(st.integers(-5000, 5000), max_size=3))
    here, _ = bounds(empty, policy, current, current)
    moments |= {here + timedelta(hours=hours) for hours in crooked}
    edges: list[datetime | None] = [*sorted(moments)]
    edges = [*([None] * draw(st.booleans())), *edges, *([None] * draw(st.booleans()))]
    rarely = st.sampled_from([False, False, True])
    return [
        partition(lower, upper, owned=draw(st.booleans()), pending=draw(rarely))
        for lower, upper in pairwise(edges)
        if draw(st.booleans())
    ]


def applied(
    partitions: list[Partition], live: PartitionedTable, policy: Policy, found: Due
) -> tuple[list[Partition], PartitionedTable]:
    """What a run makes of them: half detached ones go, the rest of each period is created."""
    attached = [item for item in partitions if not item.pending]
    parts = [
        part
        for start, stop in found.create
        for part in subtract(Range(*bounds(live, policy, start, stop)), covered(attached))
    ]
    left = [item for item in attached if item not in found.retire]
    left += [partition(part.lower, part.upper) for part in parts]
    left.sort(key=lambda item: str((item.range and item.range.lower) or ""))
    default = live.has_default or found.default
    return left, replace(live, covered=covered(left), has_default=default)


@given(situations())
def test_after_applying_nothing_is_due(situation: Any) -> None:
    partitions, live, policy, now = situation
    found = due(live, partitions, policy, now)
    left, after = applied(partitions, live, policy, found)
    assert due(after, left, policy, now) == Due()


@given(situations())
def test_retired_is_only_ours_and_past_and_never_all(situation: Any) -> None:
    partitions, live, policy, now = situation
    found = due(live, partitions, policy, now)
    here = clock(live, policy, now)
    for item in found.retire:
        assert item.owned
        assert not item.pending
        assert item.range is not None
        assert item.range.upper is not None
        assert item.range.upper <= here
    left, _ = applied(partitions, live, policy, found)
    assert left or not any(not item.pending for item in partitions)


@given(situations())
def test_afterwards_the_present_is_covered_as_far_ahead_as_declared(situation: Any) -> None:
    partitions, live, policy, now = situation
    _, after = applied(partitions, live, policy, due(live, partitions, policy, now))
    current = floor(today(now, ZoneInfo(policy.timezone)), policy.every)
    if policy.start is None or date.fromisoformat(policy.start) <= current:
        assert not is_short(after, policy, now, policy.ahead)
        left = headroom(after, policy, now)
        assert left is None or left > timedelta(0)


@given(situations())
def test_created_periods_are_whole_in_order_and_inside_the_window(situation: Any) -> None:
    partitions, live, policy, now = situation
    first, last = window(live, policy, now)
    found = due(live, partitions, policy, now).create
    assert list(found) == sorted(set(found))
    for start, stop in found:
        assert (floor(start, policy.every), shift(start, policy.every, 1)) == (start, stop)
        assert first <= start <= last
    assert bool(found) == bool(missing_days(live, policy, now))


@given(situations())
def test_past_periods_are_counted_as_they_are_given(situation: Any) -> None:
    _, live, policy, now = situation
    lacking = missing_days(live, policy, now)
    over = past(lacking, policy, now)
    number, end = count_past(lacking, policy, now)
    assert number == len(over)
    assert not over or end == over[-1][1]


# --- Headroom


def test_headroom_is_the_time_until_the_first_hole() -> None:
    assert headroom(table(*months(11, 13)), Policy("month"), NOW) == timedelta(days=9, hours=12)


def test_a_moment_that_is_not_covered_has_no_headroom() -> None:
    assert headroom(table(*months(12)), Policy("month"), NOW) == timedelta(0)


def test_headroom_without_an_end_is_none() -> None:
    endless = table(partition(None, None))
    assert headroom(endless, Policy("month"), NOW) is None
    assert not is_short(endless, Policy("month"), NOW, 99)


def test_headroom_of_a_naive_key_is_counted_in_the_zone_of_the_policy() -> None:
    parts = [partition(datetime(2026, 11, 21), datetime(2026, 11, 22))]  # noqa: DTZ001  # naive key
    policy = Policy("day", timezone="Asia/Kolkata")
    assert headroom(table(*parts, naive=True), policy, NOW) == timedelta(hours=6, minutes=30)


@pytest.mark.parametrize(("periods", "short"), [(0, False), (1, False), (2, True)])
def test_headroom_is_short_when_periods_after_the_current_one_are_missing(
    periods: int, short: bool
) -> None:
    assert is_short(table(*months(11, 12)), Policy("month"), NOW, periods) is short


def test_a_short_month_after_a_long_one_is_no_short_headroom() -> None:
    evening = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    assert not is_short(table(*months(1, 2)), Policy("month", ahead=1), evening, 1)


@pytest.mark.parametrize(("ahead", "short"), [(0, False), (1, True)])
def test_a_policy_that_asks_for_nothing_ahead_is_not_short(ahead: int, short: bool) -> None:
    assert is_short(table(*months(11, 11)), Policy("month", ahead=ahead), NOW, None) is short


def test_a_hole_in_the_present_is_short_whatever_comes() -> None:
    assert is_short(table(*months(12, 13)), Policy("month"), NOW, 0)
