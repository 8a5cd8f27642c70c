"""How a table stands at a moment: pure functions of live partitions, policy and clock."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import pairwise
from typing import Any, get_args
from zoneinfo import ZoneInfo

from alembic_enterprise.partitions import due
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import (
    Every,
    Range,
    before,
    floor,
    moment,
    overlap,
    shift,
    subtract,
    today,
)
from alembic_enterprise.partitions.retired import Retired
from alembic_enterprise.sql import Name
from alembic_enterprise.wording import in_days

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""

COUNTED = 1000
"""Rows of a default partition are counted up to this number; beyond it there is an estimate."""


@dataclass(frozen=True)
class Headroom:
    """How long rows that are written from now on find a partition other than the default.

    Attributes:
        covers_now: whether rows of this moment do.
        until: the end of the coverage that holds now; None when it has none, or does not hold now.
        days: from now until then; 0 when now is not covered, None when coverage has no end.
    """

    covers_now: bool
    until: datetime | None
    days: float | None


@dataclass(frozen=True)
class Status:
    """One table at a moment. Gaps, missing ranges and headroom only when it is `table.timed`.

    Attributes:
        now: the moment, on the same line as the table's bounds.
        gaps: what no partition holds between the first and the last one.
        missing: what the policy asks for and no partition holds.
        default_rows: rows in the default partition; None without one, or when it is unknown.
        default_exact: whether they were counted.
        retired: what runs have detached from it and nobody has dropped, the first one first.
    """

    table: PartitionedTable
    partitions: tuple[Partition, ...]
    now: datetime
    gaps: tuple[Range, ...] = ()
    missing: tuple[Range, ...] = ()
    headroom: Headroom | None = None
    default_rows: int | None = None
    default_exact: bool = False
    retired: tuple[Retired, ...] = ()

    @property
    def default(self) -> Partition | None:
        """The default partition, if there is one."""
        return next((item for item in self.partitions if item.is_default), None)

    @property
    def rows(self) -> int:
        """Estimate of all rows, without the partitions that have none."""
        return sum(item.rows or 0 for item in self.partitions)

    @property
    def unknown(self) -> int:
        """How many partitions have rows, but no estimate yet."""
        return sum(item.rows is None for item in self.partitions)

    @property
    def size(self) -> int:
        """Bytes of all partitions, with indexes and TOAST."""
        return sum(item.size or 0 for item in self.partitions)


def status(
    table: PartitionedTable,
    partitions: Sequence[Partition],
    now: datetime,
    counts: Mapping[Name, int],
) -> Status:
    """How a table stands at the aware moment `now`.

    Args:
        table: as `catalog.read` gives it.
        partitions: as `catalog.partitions` gives them, with sizes.
        now: the server's clock.
        counts: rows of default partitions, up to `COUNTED`.
    """
    known = Status(table, tuple(partitions), now_as_bounds(table, now))
    rows, exact = default_rows(known.default, counts)
    known = replace(known, default_rows=rows, default_exact=exact)
    if not table.timed:
        return known
    table = replace(table, covered=due.covered(partitions))
    return replace(
        known,
        table=table,
        gaps=gaps(table.covered),
        missing=missing_by_policy(table, now),
        headroom=coverage_from(table.covered, known.now),
    )


def now_as_bounds(table: PartitionedTable, now: datetime) -> datetime:
    """The aware moment `now` as the table's bounds are written: naive for naive keys."""
    if not (table.timed and table.naive):
        return now.astimezone(UTC)
    return now.astimezone(zone_of(table)).replace(tzinfo=None)


def zone_of(table: PartitionedTable) -> ZoneInfo:
    """The zone in which the table's periods begin; UTC when nothing says so."""
    return ZoneInfo(table.policy.timezone if table.policy else "UTC")


def coverage_from(covered: Sequence[Range], now: datetime) -> Headroom:
    """How long coverage without a hole lasts from `now` on."""
    holding = due.held(covered, now)
    if holding is None:
        return Headroom(covers_now=False, until=None, days=0.0)
    if holding.upper is None:
        return Headroom(covers_now=True, until=None, days=None)
    days = (holding.upper - now) / timedelta(days=1)
    return Headroom(covers_now=True, until=holding.upper, days=round(days, 2))


def shortage(
    table: PartitionedTable, policy: Policy, now: datetime, periods: int | None
) -> str | None:
    """Why the headroom is too short, and what to do; None if it is long enough.

    Args:
        table: with what its partitions cover.
        policy: that of the table.
        now: an aware moment.
        periods: as `due.least_headroom` takes them.
    """
    if not due.is_short(table, policy, now, periods):
        return None
    here = due.clock(table, policy, now)
    left = due.headroom(table, policy, now)
    if not left:
        return f"{_uncovered(table, here)}. Run {MAINTAIN}"
    ending = f"partitions end in {in_days(left)}"
    least = due.least_headroom(policy, periods)
    if due.reach(policy, now) < least:
        return (
            f"{ending}: the policy keeps {policy.ahead} ahead, and --min-headroom asks for "
            f"{least}. Raise ahead= in the model, or give a smaller --min-headroom"
        )
    return f"{ending}: run {MAINTAIN}"


MAINTAIN = "`alembic-enterprise partitions maintain`"
"""What creates partitions that are due."""

HOW_TO_MOVE = "`alembic-enterprise explain default-rows`"
"""What says how rows get out of the default partition."""


def _uncovered(table: PartitionedTable, here: datetime) -> str:
    """What follows where no partition holds the moment `here`."""
    ends = [item.upper for item in table.covered if item.upper is not None and item.upper <= here]
    ended = f", the last ended {in_days(here - ends[-1])} ago" if ends else ""
    fate = "go into the default one" if table.has_default else "are refused"
    return f"no partition holds now{ended}: rows written now {fate}"


def gaps(covered: Sequence[Range]) -> tuple[Range, ...]:
    """The holes between the first and the last moment of ranges in order."""
    return tuple(Range(before.upper, after.lower) for before, after in pairwise(covered))


def missing_by_policy(table: PartitionedTable, now: datetime) -> tuple[Range, ...]:
    """What the table's policy asks for at the aware moment `now` and no partition holds."""
    return () if table.policy is None else tuple(due.missing(table, table.policy, now))


def default_rows(default: Partition | None, counts: Mapping[Name, int]) -> tuple[int | None, bool]:
    """Rows of a default partition, and whether that is the exact number."""
    if default is None:
        return None, False
    count = counts.get(default.name)
    if count is None:
        return default.rows, False
    return (count, True) if count < COUNTED else (max(count, default.rows or 0), False)


def step(known: Status) -> Every | None:
    """The length of the table's periods: of its policy, or else of its newest whole period."""
    if known.table.policy is not None:
        return known.table.policy.every
    ranges = [item.range for item in known.partitions if item.range is not None]
    for held in reversed(ranges):
        if (every := _length(held, known.table)) is not None:
            return every
    return None


def _length(held: Range, table: PartitionedTable) -> Every | None:
    if held.lower is None or held.upper is None:
        return None
    local = None if table.naive else zone_of(table)
    first = held.lower.date() if local is None else today(held.lower, local)
    steps: tuple[Every, ...] = get_args(Every)
    for every in steps:
        if (moment(first, local), moment(shift(first, every, 1), local)) == (
            held.lower,
            held.upper,
        ):
            return every
    return None


class Cell(Enum):
    """What is known of one period of a timeline."""

    EXISTS = "exists"
    MISSING = "missing"
    OUTSIDE = "outside"


@dataclass(frozen=True)
class Timeline:
    """The periods around now: `cells[position]` is the current one.

    Attributes:
        earlier: whether there are partitions before the first cell.
        later: whether there are partitions after the last cell.
    """

    cells: tuple[Cell, ...]
    position: int
    earlier: bool
    later: bool


def timeline(known: Status, every: Every, past: int, ahead: int) -> Timeline:
    """The table's periods from `past` before the current one to `ahead` after it."""
    local = None if known.table.naive else zone_of(known.table)
    current = floor(known.now.date() if local is None else today(known.now, local), every)
    periods = [
        Range(moment(shift(current, every, n), local), moment(shift(current, every, n + 1), local))
        for n in range(-past, ahead + 1)
    ]
    ranges = known.table.covered
    wanted = [*known.gaps, *known.missing, periods[past]]
    return Timeline(
        cells=tuple(_cell(period, ranges, wanted) for period in periods),
        position=past,
        earlier=bool(ranges) and before(ranges[0].lower, periods[0].lower),
        later=bool(ranges) and before(periods[-1].upper, ranges[-1].upper),
    )


def _cell(period: Range, covered: Sequence[Range], wanted: Sequence[Range]) -> Cell:
    holes = subtract(period, covered)
    if not holes:
        return Cell.EXISTS
    return Cell.MISSING if any(overlap(period, item) for item in wanted) else Cell.OUTSIDE


def document(statuses: Sequence[Status], now: datetime) -> dict[str, Any]:
    """What `partitions list --format json` prints; see schemas/partitions-list.schema.json."""
    return {
        "format_version": FORMAT_VERSION,
        "now": now.astimezone(UTC).isoformat(),
        "tables": [_table(known) for known in statuses],
    }


def _table(known: Status) -> dict[str, Any]:
    table, default = known.table, known.default
    return {
        "schema": table.name.schema,
        "name": table.name.name,
        "strategy": table.key.strategy.lower() if table.key else None,
        "key": list(table.key.columns) if table.key else [],
        "timed": table.timed,
        "policy": None if table.policy is None else asdict(table.policy),
        "policy_error": table.unusable,
        "covered": _ranges(table.covered) if table.timed else None,
        "gaps": _ranges(known.gaps) if table.timed else None,
        "missing": _ranges(known.missing) if table.timed else None,
        "headroom": _headroom(known.headroom),
        "rows": known.rows,
        "partitions_without_estimate": known.unknown,
        "bytes": known.size,
        "default": default
        and {
            "schema": default.name.schema,
            "name": default.name.name,
            "rows": known.default_rows,
            "exact": known.default_exact,
        },
        "partitions": [_partition(item) for item in known.partitions],
        "retired": [
            {"schema": item.name.schema, "name": item.name.name, "since": _text(item.since)}
            for item in known.retired
        ],
    }


def _headroom(headroom: Headroom | None) -> dict[str, Any] | None:
    return None if headroom is None else asdict(headroom) | {"until": _text(headroom.until)}


def _partition(item: Partition) -> dict[str, Any]:
    return {
        "schema": item.name.schema,
        "name": item.name.name,
        "bound": item.bound,
        "from": _text(item.range.lower) if item.range else None,
        "to": _text(item.range.upper) if item.range else None,
        "default": item.is_default,
        "kind": item.kind,
        "owned": item.owned,
        "detach_pending": item.pending,
        "rows": item.rows,
        "bytes": item.size,
    }


def _ranges(ranges: Sequence[Range]) -> list[dict[str, str | None]]:
    return [{"from": _text(item.lower), "to": _text(item.upper)} for item in ranges]


def _text(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
