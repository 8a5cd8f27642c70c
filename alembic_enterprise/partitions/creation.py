"""Creates the partition of one period, by the short way or past the rows of a default partition."""

from datetime import date, datetime

from alembic_enterprise.errors import EnterpriseError, StepError
from alembic_enterprise.partitions import counts, due, status, steps
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.managed import ManagedTables
from alembic_enterprise.partitions.plainly import create_plainly, takes_the_long_way
from alembic_enterprise.partitions.report import TableReport, isolated
from alembic_enterprise.partitions.steps import Step
from alembic_enterprise.partitions.worker import Worker
from alembic_enterprise.wording import counted


def create(
    worker: Worker, seen: ManagedTables, report: TableReport, start: date, stop: date
) -> None:
    """Create the partition of a period, unless its rows are in the default partition.

    Raises `StepError` when a step fails, and `LockedError` when it does not get its locks.
    """
    table, policy = report.table, report.policy
    default = seen.default(table)
    if default is None and table.oid in seen.plain and _create_plainly(worker, report, start, stop):
        return
    step = steps.create(table, policy, start, stop)
    if default is None:
        worker.run(step, report)
        return
    held = due.bounds(table, policy, start, stop)
    if _in_the_way(worker, report, step, default, held):
        return
    try:
        for each in steps.guarded(step, default, _key(table), held):
            worker.run(each, report)
    except BaseException as error:  # Ctrl-C, too: the guard would go on to refuse rows
        failed = isinstance(error, EnterpriseError)
        if failed and ("guard", step.subject) not in report.done:
            raise
        with isolated(report):
            worker.run(steps.unguard(default.name), report)
            if failed and _in_the_way(worker, report, step, default, held):
                return
        raise


def _create_plainly(worker: Worker, report: TableReport, start: date, stop: date) -> bool:
    """Create a partition the short way, where that does all there is to do."""
    try:
        worker.run(create_plainly(report.table, report.policy, start, stop), report)
    except StepError as error:
        if takes_the_long_way(error.__cause__):
            return False
        raise
    return True


def _in_the_way(
    worker: Worker,
    report: TableReport,
    step: Step,
    default: Partition,
    held: tuple[datetime, datetime],
) -> bool:
    """Whether the default partition holds rows of a period; they are reported."""
    count, first, last = counts.rows_between(
        worker.connection, default.name, _key(report.table), held
    )
    if count:
        report.problems.append(
            f"{step.subject}: {default.name} holds {counted(count, 'row')} of this range, "
            f"from {first} to {last}. Move them away, as {status.HOW_TO_MOVE} says; the next "
            "run creates the partition"
        )
    return count > 0


def _key(table: PartitionedTable) -> str:
    """The one column that a table by time is partitioned by."""
    return (table.key.columns[0] if table.key else None) or ""
