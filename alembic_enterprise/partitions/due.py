"""What a policy asks for at a moment: pure functions of policy, live bounds and clock."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import Range, floor, moment, shift, subtract, today


def window(policy: Policy, live: PartitionedTable, now: datetime) -> tuple[date, date]:
    """First days of the first and of the last period that must exist at the moment `now`."""
    current = floor(today(now, ZoneInfo(policy.timezone)), policy.every)
    first = current
    if policy.start is not None:
        first = date.fromisoformat(policy.start)
    elif live.covered:
        begin = live.covered[0].lower or live.covered[0].upper
        first = current if begin is None else floor(_day(begin, policy, live), policy.every)
    if policy.retain is not None:
        first = max(first, shift(current, policy.every, -policy.retain))
    return first, shift(current, policy.every, policy.ahead)


def missing_days(
    policy: Policy, live: PartitionedTable, now: datetime
) -> list[tuple[date, date | None]]:
    """The whole periods that hold what is missing: first day, first day after (None: the end)."""
    first, last = window(policy, live, now)
    if first > last:
        return []
    local = None if live.naive else ZoneInfo(policy.timezone)
    stop = moment(shift(last, policy.every, 1), local)
    found: dict[tuple[date, date | None], None] = {}
    for part in subtract(Range(moment(first, local), stop), live.covered):
        if part.lower is None or part.upper is None:  # subtract() gives bounded parts only
            continue
        begin = floor(_day(part.lower, policy, live), policy.every)
        final = floor(_day(part.upper - timedelta(microseconds=1), policy, live), policy.every)
        end = None if part.upper == stop else shift(final, policy.every, 1)
        found[begin, end] = None
    return list(found)


def _day(value: datetime, policy: Policy, live: PartitionedTable) -> date:
    return value.date() if live.naive else today(value, ZoneInfo(policy.timezone))


@dataclass(frozen=True)
class Due:
    """What a table lacks and what it has too much.

    Attributes:
        create: the periods to create, first day and first day after, in order.
        retire: the partitions to retire, in order.
    """

    create: tuple[tuple[date, date], ...] = ()
    retire: tuple[Partition, ...] = ()


def due(
    table: PartitionedTable, partitions: Sequence[Partition], policy: Policy, now: datetime
) -> Due:
    """What the policy of a live table asks for at the moment `now` (aware).

    Only partitions that alembic-enterprise made are ever retired, and never the last one.
    """
    _, last = window(policy, table, now)
    create = [
        period
        for start, stop in missing_days(policy, table, now)
        for period in _split(start, stop or shift(last, policy.every, 1), policy)
    ]
    return Due(tuple(create), tuple(expired(table, partitions, policy, now)))


def _split(start: date, stop: date, policy: Policy) -> Iterator[tuple[date, date]]:
    while start < stop:
        following = shift(start, policy.every, 1)
        yield start, following
        start = following


def expired(
    table: PartitionedTable, partitions: Sequence[Partition], policy: Policy, now: datetime
) -> list[Partition]:
    """The partitions that lie wholly before what the policy retains, oldest first."""
    if policy.retain is None:
        return []
    current = floor(today(now, ZoneInfo(policy.timezone)), policy.every)
    local = None if table.naive else ZoneInfo(policy.timezone)
    cut = moment(shift(current, policy.every, -policy.retain), local)
    ranged = [item for item in partitions if item.range is not None and not item.pending]
    return [
        item
        for item in ranged[:-1]
        if item.owned and item.range and item.range.upper and item.range.upper <= cut
    ]


def headroom(table: PartitionedTable, now: datetime, policy: Policy | None) -> timedelta | None:
    """Time from `now` to the end of what is covered without a gap; zero when `now` is not covered.

    None when there is no end.
    """
    here = now
    if table.naive:
        here = now.astimezone(ZoneInfo(policy.timezone if policy else "UTC")).replace(tzinfo=None)
    for item in table.covered:
        if (item.lower is None or item.lower <= here) and item.upper is None:
            return None
        if item.upper and (item.lower is None or item.lower <= here) and here < item.upper:
            return item.upper - here
    return timedelta(0)


def is_short(left: timedelta | None, policy: Policy, now: datetime, periods: int) -> bool:
    """Whether a headroom is less than so many periods, as long as the current one, last."""
    if left is None:
        return False
    first = floor(today(now, ZoneInfo(policy.timezone)), policy.every)
    return left < shift(first, policy.every, periods) - first


def bounds(
    table: PartitionedTable, policy: Policy, start: date, stop: date
) -> tuple[datetime, datetime]:
    """The moments at which the days `start` and `stop` begin, on the table's line of time."""
    local = None if table.naive else ZoneInfo(policy.timezone)
    return moment(start, local), moment(stop, local)
