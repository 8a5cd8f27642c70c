"""Rules of `advise` on partitions that should have left their table, or have left it."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from alembic_enterprise.finding import Finding
from alembic_enterprise.partitions.detached import Detached, Unclaimed, advice, filled, keeping
from alembic_enterprise.partitions.due import (
    but_the_last,
    due,
    ended,
    expired,
    retained_from,
)
from alembic_enterprise.partitions.inspection import Inspection
from alembic_enterprise.partitions.marks import made_for
from alembic_enterprise.partitions.periods import Range
from alembic_enterprise.partitions.retired import Retired
from alembic_enterprise.partitions.status import MAINTAIN
from alembic_enterprise.partitions.steps import commented
from alembic_enterprise.sql import text_of
from alembic_enterprise.wording import counted


def ended_not_ours(inspection: Inspection) -> Iterator[Finding]:
    """A partition is older than the policy retains, and stays: alembic-enterprise did not make it.

    It was there when the table was adopted, or was attached by hand. The job
    never takes away what others have made, whatever `retain` and `on_expire` say.

    COMMENT ON TABLE, as the finding writes it, hands a partition over: from then
    on the job treats it as its own. Or detach it, which keeps its rows in a table.

    Leave it where its rows are to stay.
    """
    table, policy = inspection.table, inspection.table.policy
    if policy is None:
        return
    found = [
        item
        for item in ended(table, inspection.partitions, policy, inspection.now)
        if not item.owned
    ]
    if found:
        names = [item.name for item in found]
        comments = [text_of(commented(item, made_for(table.name))) for item in found]
        yield Finding(
            "ended-not-ours",
            "note",
            str(table.name),
            f"{counted(len(names), 'partition')}, {names[0]} first, ended before what the policy "
            "retains and will stay, as alembic-enterprise did not make them. To hand one over to "
            f"the scheduled job, as --format json has it for each: {comments[0]}",
            {"partitions": [str(name) for name in names], "comments": comments},
        )


def expired_not_retired(inspection: Inspection) -> Iterator[Finding]:
    """A partition of ours is older than the policy retains, and is still attached after two days.

    The scheduled job does not run, or something keeps the partition: rows of other
    tables that refer to it, or locks that nobody releases.

    Asks for `partitions maintain`, which says what is in its way.

    Costs what the policy says: the partition is detached, and dropped or archived.

    Leave it where it is known what keeps it, and until when.
    """
    table, policy = inspection.table, inspection.table.policy
    if policy is None or not table.timed:
        return
    late = expired(table, inspection.partitions, policy, inspection.now - GRACE)
    names = [str(item.name) for item in but_the_last(late, inspection.partitions)]
    if names:
        yield Finding(
            "expired-not-retired",
            "warning",
            str(table.name),
            f"{counted(len(names), 'partition')}, {names[0]} first, ended before what the policy "
            f"retains and should be gone: run {MAINTAIN}, which says what keeps them",
            {"partitions": names},
        )


GRACE = timedelta(days=2)
"""How long a job that runs every day may take to retire a partition, once it has failed."""


def detach_pending(inspection: Inspection) -> Iterator[Finding]:
    """A concurrent detach was interrupted: rows are invisible and inserts in the range fail."""
    for partition in inspection.partitions:
        if partition.pending:
            yield Finding(
                "detach-pending",
                "error",
                str(inspection.table.name),
                f"detaching {partition.name} was interrupted, its rows are in limbo: run "
                f"{MAINTAIN}, which finalizes it",
                {"partition": str(partition.name)},
            )


def orphan(inspection: Inspection) -> Iterator[Finding]:
    """A table that we made as a partition is not attached, and nobody retired it."""
    retained = [item.name for item in _retained(inspection)]
    for item in inspection.detached:
        if item.held is None and item.was is None and item.name not in retained:
            yield Finding(
                "orphan",
                "warning",
                str(inspection.table.name),
                f"{item.name} was made as a partition and is not attached: attach it "
                "(op.attach_partition), drop it when its rows are not needed, or keep it: "
                f"{keeping(item.name)}",
                {"partition": str(item.name)},
            )


def detached_retained(inspection: Inspection) -> Iterator[Finding]:
    """A partition is detached whose rows the policy retains: nobody finds them in the table.

    It was retired, and retain= is longer now; or somebody detached it. The job
    creates no empty partition in its place, since that would keep its rows out.

    Asks for op.attach_partition, as the finding writes it.

    Costs a look at all of its rows, while nobody reads or writes the table.

    Leave it, by the COMMENT that the finding writes, where its rows are to stay apart.
    """
    for item in _retained(inspection):
        yield Finding(
            "detached-retained",
            "warning",
            str(inspection.table.name),
            advice(inspection.table, item),
            {"partition": str(item.name)},
        )


def retired_unclaimed(found: Iterable[Unclaimed]) -> list[Finding]:
    """A partition was retired, and no run drops it.

    Its table was dropped, another one has its name now, or all was restored from a
    dump, where the marks of the job name tables that are not these. Or its mark, a
    comment, cannot be read, or is of an earlier release and does not tell which
    period it holds: the policy may retain that again.

    Asks for dropping it by hand, or for the COMMENT that says that it is to stay.
    """
    return [
        Finding(
            "retired-unclaimed",
            "warning" if item.mark is None or item.mark.to_drop else "note",
            str(item.name),
            f"it {item.why}, so no run drops it: drop it by hand when it is not needed, or "
            f"{keeping(item.name)}",
            _said(item.mark),
        )
        for item in found
    ]


def _said(mark: Retired | None) -> dict[str, object]:
    if mark is None:
        return {}
    return {"table": str(mark.table), "retired": mark.since.isoformat()}


def _retained(inspection: Inspection) -> list[Detached]:
    """What is detached although the policy retains it: by the moments it held, or by its name."""
    table, policy = inspection.table, inspection.table.policy
    if policy is None or not table.timed:
        return []
    lacking = due(table, inspection.partitions, policy, inspection.now).create
    there = filled(table, policy, inspection.now, lacking, inspection.detached)
    cut = retained_from(table, policy, inspection.now)
    known = [item for item in inspection.detached if item.held and _ends_after(item.held, cut)]
    return list(dict.fromkeys([*known, *there.values()]))


def _ends_after(held: Range, cut: datetime | None) -> bool:
    return cut is None or held.upper is None or held.upper > cut
