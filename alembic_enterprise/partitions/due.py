"""What a policy asks for at a moment: pure functions of policy, live bounds and clock."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from alembic_enterprise.partitions.catalog import PartitionedTable
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
