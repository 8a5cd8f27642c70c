"""How a table stands at a moment: the pure functions, without a database."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from alembic_enterprise.partitions.catalog import Key, Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import Every, Range, moment, periods, shift
from alembic_enterprise.partitions.status import (
    COUNTED,
    Cell,
    Headroom,
    Status,
    coverage_from,
    default_rows,
    status,
    step,
    timeline,
)
from alembic_enterprise.sql import Name

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def table(policy: Policy | None = None, *, naive: bool = False) -> PartitionedTable:
    key = Key("RANGE", ("at",))
    return PartitionedTable(Name("public", "events"), key, policy, naive=naive, timed=True)


def partition(held: Range | None, *, pending: bool = False, rows: int | None = 0) -> Partition:
    bound = "DEFAULT" if held is None else str(held)
    name = Name("public", bound)
    return Partition(
        name, held, bound, owned=True, pending=pending, kind="table", rows=rows, size=1
    )


def months(first: str, last: str, zone: str | None = "UTC") -> list[Partition]:
    days = [datetime.fromisoformat(text).date() for text in (first, last)]
    local = None if zone is None else ZoneInfo(zone)
    return [partition(held) for held in periods(days[0], days[1], "month", local)]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(known: list[Partition], live: PartitionedTable | None = None) -> Status:
    return status(live or table(), known, NOW, {})


def test_headroom_lasts_to_the_end_of_what_follows_without_a_gap() -> None:
    known = at([*months("2026-10-01", "2026-12-01"), *months("2027-02-01", "2027-05-01")])
    assert known.headroom == Headroom(covers_now=True, until=utc("2027-01-01"), days=40.5)


def test_there_is_no_headroom_when_now_is_not_covered() -> None:
    known = at([*months("2026-01-01", "2026-10-01"), *months("2026-12-01", "2027-05-01")])
    assert known.headroom == Headroom(covers_now=False, until=None, days=0.0)


def test_an_upper_bound_is_outside() -> None:
    ranges = [Range(None, NOW)]
    assert coverage_from(ranges, NOW).covers_now is False
    endless = Headroom(covers_now=True, until=None, days=None)
    assert coverage_from([Range(NOW, None)], NOW) == endless


def test_a_naive_key_is_measured_by_the_clock_of_its_zone() -> None:
    """It is 21:00 in Tokyo, three hours before the end of the day."""
    policy = Policy("month", timezone="Asia/Tokyo")
    held = Range(datetime(2026, 11, 1), datetime(2026, 11, 22))  # noqa: DTZ001  # a naive key
    known = at([partition(held)], table(policy, naive=True))
    assert known.headroom is not None
    assert known.headroom.days == pytest.approx(0.125, abs=0.01)


def test_a_half_detached_partition_is_not_covered() -> None:
    held = Range(utc("2026-11-01"), utc("2026-12-01"))
    known = at([partition(held, pending=True)])
    assert (known.table.covered, known.headroom) == ((), Headroom(False, None, 0.0))


def test_gaps_are_between_the_first_and_the_last_partition() -> None:
    known = at([*months("2026-01-01", "2026-03-01"), *months("2026-05-01", "2026-06-01")])
    assert known.gaps == (Range(utc("2026-04-01"), utc("2026-05-01")),)
    assert known.missing == ()  # nobody asked for more


def test_what_the_policy_asks_for_and_is_not_there_is_missing() -> None:
    policy = Policy("month", ahead=2, retain=8)
    known = at(
        [*months("2026-01-01", "2026-03-01"), *months("2026-05-01", "2026-12-01")], table(policy)
    )
    assert known.missing == (
        Range(utc("2026-04-01"), utc("2026-05-01")),
        Range(utc("2027-01-01"), utc("2027-02-01")),
    )
    assert at(list(known.partitions), table(replace(policy, ahead=1, retain=1))).missing == ()


def test_a_table_without_partitions_has_none() -> None:
    known = at([], table(Policy("month", ahead=0)))
    assert known.missing == (Range(utc("2026-11-01"), utc("2026-12-01")),)
    assert (known.gaps, known.rows, known.size, known.default) == ((), 0, 0, None)


def test_a_table_that_is_not_partitioned_by_time_has_no_headroom() -> None:
    live = replace(table(), timed=False)
    known = at([partition(None)], live)
    assert (known.headroom, known.gaps, known.missing) == (None, (), ())


def test_rows_without_an_estimate_are_unknown_and_not_zero() -> None:
    known = at([partition(None, rows=None), partition(Range(None, NOW), rows=7)])
    assert (known.rows, known.unknown, known.default_rows) == (7, 1, None)


@pytest.mark.parametrize(
    ("estimate", "counts", "expected"),
    [
        (None, {}, (None, False)),
        (5, {}, (5, False)),
        (5, {"DEFAULT": 7}, (7, True)),
        (None, {"DEFAULT": 0}, (0, True)),
        (5, {"DEFAULT": COUNTED}, (COUNTED, False)),
        (5000, {"DEFAULT": COUNTED}, (5000, False)),
    ],
)
def test_rows_of_a_default_partition_are_exact_below_the_limit(
    estimate: int | None, counts: dict[str, int], expected: tuple[int | None, bool]
) -> None:
    counted = {Name("public", name): count for name, count in counts.items()}
    assert default_rows(partition(None, rows=estimate), counted) == expected


@pytest.mark.parametrize("every", ["day", "week", "month", "quarter", "year"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_the_length_of_periods_is_known_from_a_partition(every: Every, zone: str | None) -> None:
    first = datetime(2026, 1, 5, tzinfo=UTC).date()
    local = None if zone is None else ZoneInfo(zone)
    held = Range(moment(first, local), moment(shift(first, every, 1), local))
    if every not in {"day", "week"}:
        first = first.replace(day=1)
        held = Range(moment(first, local), moment(shift(first, every, 1), local))
    odd = Range(held.upper, None)
    assert step(at([partition(held), partition(odd)], table(naive=zone is None))) == every
    assert step(at([partition(odd)], table(naive=zone is None))) is None


def drawn(known: Status, every: Every = "month") -> str:
    line = timeline(known, every, 4, 3)
    cells = "".join({Cell.EXISTS: "=", Cell.MISSING: "x", Cell.OUTSIDE: " "}[c] for c in line.cells)
    return f"{'<' if line.earlier else '|'}{cells}{'>' if line.later else '|'}"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("2026-09-01", "2026-12-01")], "|  ====  |"),
        ([("2026-07-01", "2027-02-01")], "|========|"),
        ([("2026-06-01", "2027-03-01")], "<========>"),
        ([("2026-09-01", "2026-09-01"), ("2026-12-01", "2026-12-01")], "|  =xx=  |"),
        ([("2026-08-01", "2026-10-01")], "| ===x   |"),  # the current one is always wanted
        ([("2025-01-01", "2025-02-01")], "<    x   |"),
        ([], "|    x   |"),
    ],
)
def test_the_timeline_shows_periods_around_now(parts: list[tuple[str, str]], expected: str) -> None:
    assert drawn(at([item for first, last in parts for item in months(first, last)])) == expected


def test_the_timeline_shows_what_the_policy_misses() -> None:
    known = at(
        months("2026-09-01", "2026-11-01"), table(Policy("month", ahead=2, start="2026-08-01"))
    )
    assert drawn(known) == "| x===xx |"


def test_the_timeline_counts_in_the_zone_of_the_table() -> None:
    """Now is still in November in UTC, and in December in Kiritimati (UTC+14)."""
    policy = Policy("month", timezone="Pacific/Kiritimati")
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    known = status(table(policy), months("2026-12-01", "2026-12-01", policy.timezone), now, {})
    assert timeline(known, "month", 1, 0).cells == (Cell.OUTSIDE, Cell.EXISTS)


def test_a_partition_that_holds_a_part_of_a_period_leaves_it_missing() -> None:
    half = Range(utc("2026-11-01"), utc("2026-11-15"))
    assert drawn(at([partition(half)])) == "|    x   |"


def test_unbounded_partitions_reach_beyond_both_ends() -> None:
    known = at(
        [partition(Range(None, utc("2026-11-01"))), partition(Range(utc("2026-11-01"), None))]
    )
    assert drawn(known) == "<========>"
