"""Calendar periods in a declared time zone, and which of them a table lacks.

Moments are `datetime` values on one line per table: aware, in UTC, for `timestamptz` keys, and
naive for `date` and `timestamp` keys. A missing end (None) is unbounded. Ranges are half-open.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import count, takewhile
from typing import Literal
from zoneinfo import ZoneInfo

from alembic_enterprise.errors import OperationError

Every = Literal["day", "week", "month", "quarter", "year"]
"""The calendar steps, by the names that `date_trunc` knows. Weeks begin on Monday (ISO 8601)."""

MONTHS: dict[str, int] = {"month": 1, "quarter": 3, "year": 12}
"""Length of the steps that are counted in months."""

DAYS: dict[str, int] = {"day": 1, "week": 7}
"""Length of the steps that are counted in days."""

SUFFIX: dict[str, str] = {
    "day": '"_y"YYYY"_m"MM"_d"DD',
    "week": '"_y"IYYY"_w"IW',
    "month": '"_y"YYYY"_m"MM',
    "quarter": '"_y"YYYY"_q"Q',
    "year": '"_y"YYYY',
}
"""What follows the table's name in a partition's name, as a pattern for PostgreSQL's `to_char`."""


def suffix(first: date, every: Every) -> str:
    """What follows the table's name in the name of the partition that begins at `first`."""
    week = first.isocalendar()
    return {
        "day": f"_y{first:%Y_m%m_d%d}",
        "week": f"_y{week.year}_w{week.week:02}",
        "month": f"_y{first:%Y_m%m}",
        "quarter": f"_y{first:%Y}_q{(first.month + 2) // 3}",
        "year": f"_y{first:%Y}",
    }[every]


SUFFIX_BYTES: dict[str, int] = {"day": 14, "week": 10, "month": 10, "quarter": 9, "year": 6}
"""Length of those suffixes, in bytes, for years of four digits."""


@dataclass(frozen=True)
class Range:
    """A half-open range of moments; None means unbounded on that side."""

    lower: datetime | None
    upper: datetime | None

    def __str__(self) -> str:
        return f"[{self.lower or 'MINVALUE'}, {self.upper or 'MAXVALUE'})"


def floor(day: date, every: Every) -> date:
    """First day of the period that holds `day`."""
    if every == "week":
        return day - timedelta(days=day.weekday())
    if every == "day":
        return day
    months = (day.year * 12 + day.month - 1) // MONTHS[every] * MONTHS[every]
    return date(months // 12, months % 12 + 1, 1)


def shift(first: date, every: Every, periods: int) -> date:
    """First day of the period that lies `periods` steps after the one that begins at `first`.

    Raises `OperationError` when that leaves the years 1 to 9999.
    """
    try:
        if every in DAYS:
            return first + timedelta(days=DAYS[every] * periods)
        months = first.year * 12 + first.month - 1 + MONTHS[every] * periods
        return date(months // 12, months % 12 + 1, 1)
    except (OverflowError, ValueError) as error:
        msg = f"{periods} periods of one {every} after {first} is outside the years 1 to 9999"
        raise OperationError(msg) from error


def distance(first: date, stop: date, every: Every) -> int:
    """How many periods lie between the first days of two of them; none when they are in reverse."""
    if every in DAYS:
        return max(0, (stop - first).days // DAYS[every])
    months = (stop.year - first.year) * 12 + stop.month - first.month
    return max(0, months // MONTHS[every])


@lru_cache(maxsize=4096)  # tables that are cut alike ask for the same days
def moment(day: date, zone: ZoneInfo | None) -> datetime:
    """Midnight of `day`: in UTC for a zone, naive without one.

    Where a clock change skips or repeats midnight, standard time decides, as in PostgreSQL
    (DetermineTimeZoneOffset in src/backend/utils/adt/datetime.c).
    """
    local = datetime(day.year, day.month, day.day)  # noqa: DTZ001  # the zone comes below, if any
    if zone is None:
        return local
    offsets = [local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)]
    standard = min(offset for offset in offsets if offset is not None)
    return (local - standard).replace(tzinfo=UTC)


def today(now: datetime, zone: ZoneInfo) -> date:
    """The day that the aware moment `now` falls on in `zone`: from its `moment` to the next one's.

    So an hour after midnight that a clock change repeats is of the day before, at first.
    """
    day = now.astimezone(zone).date()
    if day > date.min and now < moment(day, zone):
        return day - timedelta(days=1)
    return day


def periods(first: date, last: date, every: Every, zone: ZoneInfo | None) -> Iterator[Range]:
    """The periods from the one that begins at `first` through the one that begins at `last`."""
    starts = takewhile(lambda day: day <= last, (shift(first, every, n) for n in count()))
    for start in starts:
        yield Range(moment(start, zone), moment(shift(start, every, 1), zone))


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same moments as the fewest ranges, in order."""
    ends: list[tuple[datetime | None, datetime | None]] = []
    for item in sorted(ranges, key=by_lower):
        lower, upper = ends[-1] if ends else (None, None)
        if not ends or (upper is not None and not _reaches(upper, item.lower)):
            ends.append((item.lower, item.upper))
        elif upper is not None and (item.upper is None or item.upper > upper):
            ends[-1] = (lower, item.upper)
    return [Range(*pair) for pair in ends]


def subtract(wanted: Range, covered: Iterable[Range]) -> list[Range]:
    """The parts of the bounded range `wanted` that no range of `covered` holds, in order."""
    missing: list[Range] = []
    lower, upper = wanted.lower, wanted.upper
    if lower is None or upper is None:
        msg = f"{wanted} is not bounded"
        raise OperationError(msg)
    for item in merged(covered):
        if item.upper is not None and item.upper <= lower:
            continue
        if item.lower is not None and item.lower >= upper:
            break
        if item.lower is not None and item.lower > lower:
            missing.append(Range(lower, item.lower))
        if item.upper is None:
            return missing
        lower = item.upper
    if lower < upper:
        missing.append(Range(lower, upper))
    return missing


def overlap(one: Range, other: Range) -> bool:
    """Whether two ranges have a moment in common."""
    return before(one.lower, other.upper) and before(other.lower, one.upper)


def before(one: datetime | None, other: datetime | None) -> bool:
    """Whether a lower end lies before an upper one; None is unbounded."""
    return one is None or other is None or one < other


def by_lower(item: Range) -> tuple[bool, datetime]:
    """Sorts ranges by where they begin, those without a beginning first."""
    if item.lower is None:
        return (False, datetime.min)  # noqa: DTZ901  # never compared: the flag decides first
    return (True, item.lower)


def _reaches(upper: datetime, lower: datetime | None) -> bool:
    return lower is None or lower <= upper
