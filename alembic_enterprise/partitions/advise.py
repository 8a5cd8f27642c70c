"""What is not as it should be: one rule a function, each pure over one inspected table."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from alembic_enterprise import finding, registry
from alembic_enterprise.finding import Finding, Severity
from alembic_enterprise.partitions.catalog import Partition
from alembic_enterprise.partitions.detached import filled, unclaimed
from alembic_enterprise.partitions.due import bounds, due, headroom, least_headroom, window
from alembic_enterprise.partitions.inspection import Attributes, Inspection, inspect
from alembic_enterprise.partitions.leaving import (
    detach_pending,
    detached_retained,
    ended_not_ours,
    expired_not_retired,
    orphan,
    retired_unclaimed,
)
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.partitions.periods import floor, shift, today
from alembic_enterprise.partitions.status import COUNTED, HOW_TO_MOVE, MAINTAIN, shortage
from alembic_enterprise.sql import Name
from alembic_enterprise.wording import counted

FIXED_DETACH = {14: 140014, 15: 150009, 16: 160005, 17: 170001}
"""First minor release, as `server_version_num`, in which DETACH keeps foreign keys enforced."""

BUDGET = 0.5
"""Share of the lock table that one statement over all partitions may take without a remark."""


def findings(
    connection: Connection, only: Collection[str] = (), min_headroom: int | None = None
) -> tuple[int, list[Finding]]:
    """How many tables were looked at, and all findings on them, with what could not be read.

    Args:
        connection: its transaction becomes read-only.
        only: names of the tables to look at; empty means all.
        min_headroom: as for `advise`.

    Raises `ConfigurationError` as `inspect`.
    """
    inspected = inspect(connection, only)
    found = [found for item in inspected for found in advise(item, min_headroom)]
    if not only:
        found += retired_unclaimed(unclaimed(connection))
        found += registry_closed(registry.closed(connection).values())
    return len(inspected), found


def advise(inspection: Inspection, min_headroom: int | None = None) -> list[Finding]:
    """All findings on one table; `min_headroom` counts periods, as `due.least_headroom` says."""
    found = list(headroom_short(inspection, min_headroom))
    for rule in RULES:
        found += rule(inspection)
    return found


def policy_unusable(inspection: Inspection) -> Iterator[Finding]:
    """Nothing keeps it true: it cannot be used here, was broken by hand, or stopped to count."""
    table = inspection.table
    if table.unusable is not None:
        yield Finding("policy-unusable", "error", str(table.name), table.unusable)


def registry_closed(names: Iterable[str]) -> list[Finding]:
    """Nothing is known of the tables whose policies this role may not read."""
    return [Finding("registry-closed", "note", name, registry.CLOSED) for name in names]


def headroom_short(inspection: Inspection, min_headroom: int | None) -> Iterator[Finding]:
    """The last partition ends soon: rows after it are refused, or fall into the default one.

    Looks at the moment where the partitions end that follow the present one
    without a hole. It asks for `partitions maintain`, which makes those that are
    due; where that makes none, the policy keeps too few: a larger ahead= in the
    model, or a smaller --min-headroom.

    Costs a short lock for each partition, which stops neither readers nor writers
    of the table, unless foreign keys lead from it or to it: then its writers wait.

    Leave it where nothing will be written after that moment.
    """
    table, policy = inspection.table, inspection.table.policy
    if policy is None:
        return
    short = shortage(table, policy, inspection.now, min_headroom)
    left = headroom(table, policy, inspection.now)
    if short is not None and left is not None:
        yield Finding(
            "headroom-short",
            "error",
            str(table.name),
            short,
            {
                "headroom_seconds": left.total_seconds(),
                "min_headroom_periods": least_headroom(policy, min_headroom),
            },
        )


def partitions_missing(inspection: Inspection) -> Iterator[Finding]:
    """The policy asks for periods that no partition holds."""
    table, policy = inspection.table, inspection.table.policy
    if policy is None:
        return
    found = due(table, inspection.partitions, policy, inspection.now)
    there = filled(table, policy, inspection.now, found.create, inspection.detached)
    missing = [period for period in found.create if period not in there]
    if found.doubt is not None:
        yield Finding("partitions-missing", "warning", str(table.name), found.doubt, {})
    if missing:
        first, last = missing[0][0], missing[-1][1]
        yield Finding(
            "partitions-missing",
            "warning",
            str(table.name),
            f"no partition for {counted(len(missing), 'period')} between {first} and {last}: run "
            f"{MAINTAIN}",
            {"missing": [[start.isoformat(), stop.isoformat()] for start, stop in missing]},
            tuple(
                CreateRangePartitions.of_period(table.name, policy, start, stop)
                for start, stop in missing
            ),
        )


def bounds_misaligned(inspection: Inspection) -> Iterator[Finding]:
    """A partition begins or ends inside a period of the policy: it cannot expire with one."""
    crooked = [item for item in inspection.partitions if _crooked(item, inspection)]
    if crooked:
        yield Finding(
            "bounds-misaligned",
            "note",
            str(inspection.table.name),
            f"{counted(len(crooked), 'partition')} not of whole periods of the policy, "
            f"{crooked[0].name} first; what is missing of a period gets a partition of its own",
            {"partitions": [str(item.name) for item in crooked]},
        )


def range_endless(inspection: Inspection) -> Iterator[Finding]:
    """A partition without an end takes the rows of periods that are due."""
    table, policy = inspection.table, inspection.table.policy
    if policy is None or not table.timed:
        return
    _, last = window(table, policy, inspection.now)
    _, stop = bounds(table, policy, last, shift(last, policy.every, 1))
    for partition in inspection.partitions:
        held = partition.range
        if held is not None and held.upper is None and (held.lower is None or held.lower < stop):
            since = "" if held.lower is None else f" from {held.lower} on"
            yield Finding(
                "range-endless",
                "note",
                str(table.name),
                f"{partition.name} takes all rows{since}, so no period there gets a partition, and "
                "its rows never expire: detach it (op.detach_partition) and attach it with an end "
                "(op.attach_partition, stop=)",
                {"partition": str(partition.name)},
            )


def _crooked(partition: Partition, inspection: Inspection) -> bool:
    table, policy = inspection.table, inspection.table.policy
    if policy is None or partition.range is None:
        return False
    for value in (partition.range.lower, partition.range.upper):
        if value is None:
            continue
        day = value.date() if table.naive else today(value, ZoneInfo(policy.timezone))
        start, _ = bounds(table, policy, floor(day, policy.every), day)
        if start != value:
            return True
    return False


def default_rows(inspection: Inspection) -> Iterator[Finding]:
    """Rows fell into the default partition; they are in the way of the partition they belong to.

    As long as it has rows of a period, PostgreSQL refuses a partition for that
    period, and `partitions maintain` leaves it out and says so.

    Asks for moving them, period by period. In a migration, for November 2026 of
    the table events:

      op.execute("CREATE TABLE moved (LIKE events)")
      op.execute(
          "WITH gone AS (DELETE FROM events_default WHERE at >= '2026-11-01'"
          " AND at < '2026-12-01' RETURNING *) INSERT INTO moved TABLE gone"
      )
      op.create_range_partitions(
          "events", every="month", start="2026-11-01", stop="2026-12-01"
      )
      op.execute("INSERT INTO events TABLE moved")
      op.drop_table("moved")

    An identity column GENERATED ALWAYS needs OVERRIDING SYSTEM VALUE in the last
    INSERT. Triggers of the table fire: an audit trail records the move as a delete
    and an insert.

    Costs a scan of the default partition, which nobody reads or writes from the
    attachment to the end of the transaction.

    Leave it where the rows belong to no period, such as one far in the future.
    """
    if inspection.default_rows:
        yield Finding(
            "default-rows",
            "warning",
            str(inspection.table.name),
            f"the default partition holds {_rows(inspection.default_rows)}: move them "
            f"into partitions of their own before those are due, as {HOW_TO_MOVE} says",
            {"rows": inspection.default_rows},
        )


def _rows(number: int) -> str:
    return f"{number:,} or more rows" if number >= COUNTED else counted(number, "row")


def attributes_differ(inspection: Inspection) -> Iterator[Finding]:
    """A partition has not the owner, grants, row security or replica identity of its table.

    Or it has other storage options than the latest of ours, as a new one gets; the partitioned
    table itself has none.
    """
    compared = [(inspection.parent, name, leaf) for name, leaf in inspection.leaves.items()]
    for above, name, below in [
        (inspection.root, inspection.table.name, inspection.parent),
        *compared,
    ]:
        if above and below and (words := _differences(above, below)):
            yield _different(inspection, name, words, "warning")
    yield from _options_differ(inspection)


def _options_differ(inspection: Inspection) -> Iterator[Finding]:
    leaves = inspection.leaves
    ranged = [item for item in inspection.partitions if item.range and item.name in leaves]
    ours = [item for item in ranged if item.owned] or ranged
    for name, leaf in leaves.items():
        if ours and leaf.options != leaves[ours[-1].name].options:
            yield _different(inspection, name, ["storage options"], "note")


def _different(inspection: Inspection, name: Name, words: list[str], severity: Severity) -> Finding:
    return Finding(
        "attributes-differ",
        severity,
        str(inspection.table.name),
        f"{name} differs in {', '.join(words)}: ALTER the one that is wrong",
        {"partition": str(name), "differs": words},
    )


def _differences(parent: Attributes, leaf: Attributes) -> list[str]:
    pairs = {
        "owner": (parent.owner, leaf.owner),
        "grants": (parent.grants, leaf.grants),
        "row security": (parent.row_security, leaf.row_security),
        "replica identity": (parent.replica_identity, leaf.replica_identity),
    }
    return [word for word, (wanted, found) in pairs.items() if wanted != found]


def index_invalid(inspection: Inspection) -> Iterator[Finding]:
    """An index of the table or of a partition is invalid: written to, and never read."""
    if inspection.invalid_indexes:
        yield Finding(
            "index-invalid",
            "error",
            str(inspection.table.name),
            f"{', '.join(inspection.invalid_indexes)}: invalid. REINDEX it, or attach what the "
            "parent's index lacks",
            {"indexes": list(inspection.invalid_indexes)},
        )


def statistics_missing(inspection: Inspection) -> Iterator[Finding]:
    """Nobody analyzed the whole table; autovacuum only ever analyzes its partitions."""
    filled = any(item.rows for item in inspection.partitions)
    if filled and inspection.analyzed is None:
        yield Finding(
            "statistics-missing",
            "note",
            str(inspection.table.name),
            f"the table as a whole was never analyzed: ANALYZE {inspection.table.name}",
        )


def lock_budget(inspection: Inspection) -> Iterator[Finding]:
    """One statement without pruning would take much of the server's lock table."""
    slots, needed = inspection.server.lock_slots, inspection.relations
    if needed > BUDGET * slots:
        yield Finding(
            "lock-budget",
            "warning",
            str(inspection.table.name),
            f"a query over all partitions locks {needed} relations of {slots} that fit: raise "
            "max_locks_per_transaction, or keep fewer partitions (retain=)",
            {"relations": needed, "slots": slots},
        )


def minor_release(inspection: Inspection) -> Iterator[Finding]:
    """This minor release leaves foreign keys of detached partitions unenforced."""
    version = inspection.server.version
    fixed = FIXED_DETACH.get(version // 10000, 0)
    if version < fixed and inspection.refers:
        yield Finding(
            "minor-release",
            "warning",
            str(inspection.table.name),
            f"PostgreSQL {version // 10000}.{version % 10000} loses foreign keys on DETACH: "
            f"upgrade to {fixed // 10000}.{fixed % 10000} or newer",
            {"server_version_num": version, "fixed_in": fixed},
        )


RULES: Sequence[Callable[[Inspection], Iterator[Finding]]] = (
    policy_unusable,
    partitions_missing,
    bounds_misaligned,
    range_endless,
    ended_not_ours,
    expired_not_retired,
    default_rows,
    detach_pending,
    orphan,
    detached_retained,
    attributes_differ,
    index_invalid,
    statistics_missing,
    lock_budget,
    minor_release,
)
"""Every rule but the one with a threshold of its own."""


def exit_code(findings: Sequence[Finding]) -> int:
    """The exit code of `partitions check`: as `partitions maintain`, and notes do not count."""
    if any(found.rule == "headroom-short" for found in findings):
        return 3
    return finding.exit_code(findings)
