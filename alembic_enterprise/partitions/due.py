"""What a policy asks for at a moment: pure functions of policy, live bounds and clock."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import (
    Range,
    distance,
    floor,
    merged,
    moment,
    shift,
    subtract,
    today,
)

MOST = 366
"""At most this many past periods are created at once without a `start`: a year of days.

More were not forgotten by the job: somebody gave a table a partition far away from all others.
"""


def window(table: PartitionedTable, policy: Policy, now: datetime) -> tuple[date, date]:
    """First days of the first and of the last period that must exist at the moment `now`."""
    current = _current(policy, now)
    first = current
    if policy.start is not None:
        first = date.fromisoformat(policy.start)
    elif table.covered:
        begin = table.covered[0].lower or table.covered[0].upper
        begun = current if begin is None else floor(_day(table, policy, begin), policy.every)
        first = min(begun, current)  # a table that begins in the future lacks the present
    if policy.retain is not None:
        first = max(first, shift(current, policy.every, -policy.retain))
    return first, _last(policy, now)


def reach(policy: Policy, now: datetime) -> int:
    """How many periods beyond the current one must exist: `ahead`, or more for a late start."""
    current, last = _current(policy, now), _last(policy, now)
    return next(n for n in count(policy.ahead) if shift(current, policy.every, n) >= last)


def _last(policy: Policy, now: datetime) -> date:
    """First day of the last period that must exist."""
    current = _current(policy, now)
    begin = current if policy.start is None else max(current, date.fromisoformat(policy.start))
    return shift(begin, policy.every, policy.ahead)


def missing(table: PartitionedTable, policy: Policy, now: datetime) -> list[Range]:
    """The parts of the window that no range partition holds, in order."""
    first, last = window(table, policy, now)
    if first > last:
        return []
    start, stop = bounds(table, policy, first, shift(last, policy.every, 1))
    return subtract(Range(start, stop), table.covered)


def missing_days(
    table: PartitionedTable, policy: Policy, now: datetime
) -> list[tuple[date, date | None]]:
    """The whole periods that hold what is missing: first day, first day after (None: the end)."""
    end = shift(window(table, policy, now)[1], policy.every, 1)
    found: dict[tuple[date, date | None], None] = {}
    for part in missing(table, policy, now):
        if part.lower is None or part.upper is None:  # subtract() gives bounded parts only
            continue
        begin = floor(_day(table, policy, part.lower), policy.every)
        final = floor(_day(table, policy, part.upper - timedelta(microseconds=1)), policy.every)
        stop = shift(final, policy.every, 1)
        found[begin, None if stop == end else stop] = None
    return list(found)


def missing_in_any(
    tables: Sequence[PartitionedTable], policy: Policy, now: datetime
) -> list[tuple[date, date | None]]:
    """What is missing in any of the shards of a table, as `missing_days` gives it.

    All begin where the first of them does: also one that was created again.
    """
    if len(tables) == 1:
        return missing_days(tables[0], policy, now)
    begin = min(window(table, policy, now)[0] for table in tables)
    aligned = replace(policy, start=begin.isoformat())
    ranges = merged(
        Range(moment(start, None), None if stop is None else moment(stop, None))
        for table in tables
        for start, stop in missing_days(table, aligned, now)
    )
    return [
        (item.lower.date(), None if item.upper is None else item.upper.date())
        for item in ranges
        if item.lower is not None
    ]


def _current(policy: Policy, now: datetime) -> date:
    """First day of the current period."""
    return floor(today(now, ZoneInfo(policy.timezone)), policy.every)


def _day(table: PartitionedTable, policy: Policy, value: datetime) -> date:
    return value.date() if table.naive else today(value, ZoneInfo(policy.timezone))


@dataclass(frozen=True)
class Due:
    """What a table lacks and what it has too much.

    Attributes:
        create: the periods to create, first day and first day after, in order.
        retire: the partitions to retire, in order.
        default: whether the default partition is missing.
        doubt: why past periods are not created that are missing; None when there are none.
    """

    create: tuple[tuple[date, date], ...] = ()
    retire: tuple[Partition, ...] = ()
    default: bool = False
    doubt: str | None = None


def due(
    table: PartitionedTable, partitions: Sequence[Partition], policy: Policy, now: datetime
) -> Due:
    """What the policy of a table that is partitioned by time asks for at the moment `now` (aware).

    Only partitions that alembic-enterprise made are ever retired, and never all there are: the last
    one stays until others have been created. `table.covered` needs to be that of `partitions`.
    """
    _, last = window(table, policy, now)
    lacking = missing_days(table, policy, now)
    doubted = doubt([table], policy, now, lacking)
    begin = date.min if doubted is None else _current(policy, now)
    create = dict.fromkeys(
        period
        for start, stop in lacking
        for period in _split(max(start, begin), stop or shift(last, policy.every, 1), policy)
    )
    retire = expired(table, partitions, policy, now)
    if not create:
        retire = but_the_last(retire, partitions)
    return Due(tuple(create), tuple(retire), policy.default and not table.has_default, doubted)


def past(
    lacking: Iterable[tuple[date, date | None]], policy: Policy, now: datetime
) -> list[tuple[date, date]]:
    """The periods that have ended, among some that are lacking."""
    current = _current(policy, now)
    found = {
        period: None
        for start, stop in lacking
        for period in _split(start, min(stop or current, current), policy)
    }
    return list(found)


def doubt(
    tables: Sequence[PartitionedTable],
    policy: Policy,
    now: datetime,
    lacking: Sequence[tuple[date, date | None]],
) -> str | None:
    """Why past periods are not created that are missing; None when there are few enough.

    Args:
        tables: the table, or those of its shards.
        policy: of the table.
        now: the moment (aware).
        lacking: what is missing, as `missing_in_any` gives it.
    """
    if policy.start is not None or not lacking:
        return None
    missed, end = count_past(lacking, policy, now)
    if missed <= MOST:
        return None
    first = lacking[0][0]
    return (
        f"{missed} partitions from {first} to {end} are missing; that many are not created "
        "unless the declaration says where the table begins: detach the partition that is far from "
        f"the others ({_before(tables, policy, now)}), or write "
        f'start="{first}", or a later day, into the declaration'
    )


def count_past(
    lacking: Iterable[tuple[date, date | None]], policy: Policy, now: datetime
) -> tuple[int, date]:
    """How many `past` gives, and the day after the last, without going through centuries."""
    current, number, end = _current(policy, now), 0, date.min
    for start, stop in lacking:
        if start < current:
            begin, end = max(start, end), min(stop or current, current)
            number += distance(begin, end, policy.every)
    return number, end


def _before(tables: Sequence[PartitionedTable], policy: Policy, now: datetime) -> str:
    """The days that come before what is missing, of the table that begins first."""
    table = min(
        (table for table in tables if table.covered),
        key=lambda table: window(table, policy, now)[0],
    )
    ends = (table.covered[0].lower, table.covered[0].upper)
    lower, upper = (None if end is None else _day(table, policy, end) for end in ends)
    return f"{lower or 'the beginning'} to {upper}"


def _split(start: date, stop: date, policy: Policy) -> Iterator[tuple[date, date]]:
    while start < stop:
        following = shift(start, policy.every, 1)
        yield start, following
        start = following


def expired(
    table: PartitionedTable, partitions: Sequence[Partition], policy: Policy, now: datetime
) -> list[Partition]:
    """The partitions we made that lie wholly before what the policy retains, oldest first."""
    return [item for item in ended(table, partitions, policy, now) if item.owned]


def ended(
    table: PartitionedTable, partitions: Sequence[Partition], policy: Policy, now: datetime
) -> list[Partition]:
    """The partitions, whoever made them, that lie wholly before what the policy retains."""
    cut = retained_from(table, policy, now)
    if cut is None:
        return []
    return [
        item
        for item in _ranged(partitions)
        if item.range and item.range.upper and item.range.upper <= cut
    ]


def retained_from(table: PartitionedTable, policy: Policy, now: datetime) -> datetime | None:
    """The moment at which the policy begins to retain rows; None when it retains all."""
    if policy.retain is None:
        return None
    first = shift(_current(policy, now), policy.every, -policy.retain)
    cut, _ = bounds(table, policy, first, first)
    return cut


def out_of_time(table: PartitionedTable, policy: Policy, now: datetime) -> str | None:
    """Why nothing may go at the moment `now`: all partitions ended a whole period ago, or more.

    Then the job has not run for long, or the clock is wrong, and nothing in the table tells which.
    """
    current = _current(policy, now)
    before, _ = bounds(table, policy, shift(current, policy.every, -1), current)
    end = table.covered[-1].upper if table.covered else before
    if end is None or end > before:
        return None
    return (
        f"at {now:%Y-%m-%d %H:%M}, when this run began, its partitions had all ended long ago: "
        "nothing is detached or dropped. If the clock is right, the next run does it"
    )


def clocks_differ(server: datetime, here: datetime) -> str | None:
    """Why nothing may go at a moment that the server tells: this machine tells another day."""
    if abs(server - here) <= timedelta(days=1):
        return None
    return (
        f"the server's clock says {server.astimezone(UTC):%Y-%m-%d %H:%M} UTC, and this machine's "
        f"{here.astimezone(UTC):%Y-%m-%d %H:%M}: nothing is detached or dropped until they agree "
        "within a day"
    )


def but_the_last(expired: Sequence[Partition], partitions: Sequence[Partition]) -> list[Partition]:
    """Those of the expired partitions that are not the last one there is."""
    last = _ranged(partitions)[-1:]
    return [item for item in expired if item not in last]


def _ranged(partitions: Sequence[Partition]) -> list[Partition]:
    return [item for item in partitions if item.range is not None and not item.pending]


def covered(partitions: Sequence[Partition]) -> tuple[Range, ...]:
    """The moments that range partitions take rows of; a half detached one takes none."""
    return tuple(merged(item.range for item in _ranged(partitions) if item.range is not None))


def held(covered: Sequence[Range], here: datetime) -> Range | None:
    """The covered range that holds the moment `here`, on the table's line of time."""
    return next((item for item in covered if _holds(item, here)), None)


def _holds(item: Range, here: datetime) -> bool:
    begun = item.lower is None or item.lower <= here
    return begun and (item.upper is None or here < item.upper)


def clock(table: PartitionedTable, policy: Policy, now: datetime) -> datetime:
    """The aware moment `now` on the table's line of time: naive for naive keys."""
    if not table.naive:
        return now
    return now.astimezone(ZoneInfo(policy.timezone)).replace(tzinfo=None)


def headroom(table: PartitionedTable, policy: Policy, now: datetime) -> timedelta | None:
    """Time from `now` to the end of what is covered without a gap; zero when `now` is not covered.

    None when there is no end.
    """
    here = clock(table, policy, now)
    holding = held(table.covered, here)
    if holding is None:
        return timedelta(0)
    return None if holding.upper is None else holding.upper - here


def least_headroom(policy: Policy, periods: int | None) -> int:
    """How many periods after the current one are enough: one, unless the policy asks for none."""
    return min(1, policy.ahead) if periods is None else periods


def is_short(table: PartitionedTable, policy: Policy, now: datetime, periods: int | None) -> bool:
    """Whether fewer than `periods` whole periods after the current one are covered without a gap.

    None for `periods` means as many as `least_headroom` says.
    """
    current = _current(policy, now)
    least = least_headroom(policy, periods)
    _, end = bounds(table, policy, current, shift(current, policy.every, least + 1))
    holding = held(table.covered, clock(table, policy, now))
    return holding is None or (holding.upper is not None and holding.upper < end)


def bounds(
    table: PartitionedTable, policy: Policy, start: date, stop: date
) -> tuple[datetime, datetime]:
    """The moments at which the days `start` and `stop` begin, on the table's line of time."""
    local = None if table.naive else ZoneInfo(policy.timezone)
    return moment(start, local), moment(stop, local)
