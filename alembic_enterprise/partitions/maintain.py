"""The scheduled job: keeps each policy of a database true, and waits for its locks only briefly.

One step is one statement and one transaction; the failure of one table never stops the others; a
run that was killed at any point is finished by the next. A default partition has the table locked
for a moment, and refuses rows of a period while that is created (`steps.guarded`); a foreign key
has writers of the table at its other end wait.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime
from graphlib import CycleError, TopologicalSorter

from psycopg.sql import SQL
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import locks, registry, sql
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, StepError
from alembic_enterprise.partitions import catalog, counts, due, managed, status, steps
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.due import Due
from alembic_enterprise.partitions.managed import look, look_again
from alembic_enterprise.partitions.plainly import DISAGREE, create_plainly, takes_the_long_way
from alembic_enterprise.partitions.report import Report, TableReport
from alembic_enterprise.partitions.retired import Ties, why_not_archived
from alembic_enterprise.partitions.steps import Step
from alembic_enterprise.partitions.worker import Job, Worker, set_up
from alembic_enterprise.sessions import close, connect, require_server, said
from alembic_enterprise.sql import Name

__all__ = ["LOCK", "Job", "maintain"]

LOCK = "alembic_enterprise.partitions.maintain"
"""Name of the advisory lock that two runs on one database compete for."""


def maintain(bind: Engine | Connection, job: Job | None = None) -> Report:
    """Run the job on a database, and report.

    Opens two connections of its own on the engine of `bind`: one for the advisory lock and for
    looking at blockers, one for the work.

    Raises:
        ConfigurationError: before anything is tried: the server is too old, read-only or behind a
            pooler by transaction, no table with a policy has a name of `job.only`, or the role owns
            none of them.
        DBAPIError: before anything is tried: there is no connection, or the catalog cannot be read.
    """
    job = job or Job()
    with ExitStack() as stack:
        control = connect(bind.engine)
        stack.callback(close, control)
        version = require_server(control, writes=not job.dry_run)
        set_up(control, 0, 0)
        [(now,)] = sql.rows(control, SQL("SELECT {}").format(catalog.NOW))
        now = job.now or now
        other = locks.only_run(stack, control, LOCK)
        if other is not None:
            return Report(now, [], other)
        worker = Worker(bind.engine, control, job)
        stack.callback(worker.close)
        return _Run(job, worker, version, now).run()


class _Run:
    """One run: what it saw last, and the reports it fills."""

    def __init__(self, job: Job, worker: Worker, version: int, now: datetime) -> None:
        self.job = job
        self.worker = worker
        self.version = version
        self.now = now
        self.seen = look(worker.connection, job.only)
        closed = {} if job.only else registry.closed(worker.connection)
        self.notes = [f"{name}: {registry.CLOSED}" for name in closed.values()]
        self.seen_at = 0
        self.wanted: dict[Name, Due] = {}
        self.out_of_time = {
            table.name: due.out_of_time(table, policy, now)
            for table, policy in self.seen.policies()
        }
        self.reports = {
            table.name: TableReport(table, policy, now, partitions=len(self.seen.of(table)))
            for table, policy in self.seen.policies()
        }
        self.worker.expected = sum(map(self._expected, self.reports.values()))

    def _expected(self, report: TableReport) -> int:
        """How many steps a table probably takes, for the progress bar."""
        wanted = self._due(report)
        each = 4 if report.table.has_default else 1
        steps_of_one = 3 if report.policy.archive else 2
        changes = each * len(wanted.create) + steps_of_one * len(wanted.retire)
        return changes + bool(changes)

    def _due(self, report: TableReport) -> Due:
        """What a table lacked, or had too much, when it was last looked at."""
        wanted = self.wanted.get(report.name)
        if wanted is None:
            partitions = self.seen.of(report.table)
            wanted = due.due(report.table, partitions, report.policy, self.now)
            self.wanted[report.name] = wanted
        return wanted

    def run(self) -> Report:
        """Work through the phases, each over all tables, and look at what is left."""
        fit = self._fit()
        phases = [self._repair, self._create, self._retire, self._repair, self._drop, self._analyze]
        if self.job.dry_run:  # nothing happens that would have to be repaired
            phases = list(dict.fromkeys(phases))
        try:
            for phase in phases:
                if phase != self._retire:  # it goes by what was created, so it need not see that
                    self._look_again()
                for report in self._ordered(fit):
                    with _isolated(report):
                        phase(report)
            self._look_again()
            for report in fit:
                self._take_back(report)
            self._count_default_rows()
        except (EnterpriseError, DBAPIError) as error:
            for report in fit:
                report.problems.append(f"the run ended before its end: {_error_text(error)}")
        statements = self.worker.statements if self.job.dry_run else None
        problems = catalog.why_unusable(self.seen.unusable)
        reports = list(self.reports.values())
        return Report(self.now, reports, None, statements, problems, self.notes)

    def _fit(self) -> list[TableReport]:
        """The tables that can be worked on. Raises `ConfigurationError` when none of them can."""
        refused = {
            name: text
            for name, report in self.reports.items()
            if (text := self.seen.refusal(report.table))
        }
        if refused and len(refused) == len(self.reports):
            raise ConfigurationError(next(iter(refused.values())))
        for name, text in refused.items():
            self.reports[name].problems.append(text)
        return [report for name, report in self.reports.items() if name not in refused]

    def _look_again(self) -> None:
        """See what the steps since the last look have changed, if any were tried."""
        if self.seen_at == self.worker.tried:
            return
        try:
            self.seen = look_again(self.worker.connection, self.seen)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self.seen = look_again(self.worker.connection, self.seen)  # on a new one
        self.seen_at = self.worker.tried
        self.wanted.clear()
        for table in self.seen.tables:
            if table.name in self.reports:
                self.reports[table.name].table = table
                self.reports[table.name].partitions = len(self.seen.of(table))

    def _ordered(self, reports: Iterable[TableReport]) -> Iterator[TableReport]:
        """Tables that refer to others first: their rows must go before those they refer to."""
        by_name = {report.name: report for report in reports}
        graph = self._referring(list(by_name.values()))
        try:
            order: Iterable[Name] = list(TopologicalSorter(graph).static_order())
        except CycleError:
            order = by_name
        return (by_name[name] for name in order if name in by_name)

    def _referring(self, reports: Sequence[TableReport]) -> dict[Name, set[Name]]:
        """The tables that refer to each table; a foreign key of a root is one of each shard."""
        shards: dict[Name, set[Name]] = {}
        for report in reports:
            for item in report.table.lineage:
                shards.setdefault(item.name, set()).add(report.name)
        return {
            report.name: {
                name
                for key in self.seen.foreign_keys[report.name]
                if key.source not in report.table.names
                for name in shards.get(key.source, ())
            }
            for report in reports
        }

    def _repair(self, report: TableReport) -> None:
        """Finish what was begun: by a run that was killed, or by a step that failed."""
        default = self.seen.default(report.table)
        if default is not None and default.name in self.seen.guards:
            self.worker.run(steps.unguard(default.name), report)
        for step in (*self._finishing(report), *self._settling(report)):
            self.worker.run(step, report)

    def _finishing(self, report: TableReport) -> Iterator[Step]:
        """What is left to do with partitions that were about to be detached."""
        table, policy, partitions = report.table, report.policy, self.seen.of(report.table)
        expired = due.expired(table, partitions, policy, self.now)
        for partition in partitions:
            if partition.pending:
                yield steps.finalize(table, partition)
            elif partition.marked and partition not in expired:
                yield from steps.unmark(table, partition, tell=table.oid in self.seen.with_triggers)

    def _settling(self, report: TableReport) -> Iterator[Step]:
        """What is left to do with tables that are detached."""
        for found in self.seen.retired_of(report.table):
            if not found.in_place(report.table):
                continue
            refusal = why_not_archived(self.worker.connection, report.policy, found.name)
            if refusal is None:
                yield from steps.settle(found.name, report.policy, found.ties)
            elif refusal not in report.problems:
                report.problems.append(refusal)

    def _create(self, report: TableReport) -> None:
        wanted = self._due(report)
        if wanted.doubt is not None:
            report.problems.append(wanted.doubt)
        for start, stop in wanted.create:
            try:
                self._create_one(report, start, stop)
            except StepError as error:  # the other periods may succeed
                report.problems.append(str(error))
        if wanted.default:
            self.worker.run(steps.create_default(report.table, report.policy), report)
            report.table = replace(report.table, has_default=True)

    def _create_one(self, report: TableReport, start: date, stop: date) -> None:
        table, policy = report.table, report.policy
        default = self.seen.default(table)
        if default is None and self._create_plainly(report, start, stop):
            return
        step = steps.create(table, policy, start, stop)
        if default is None:
            self.worker.run(step, report)
            return
        held = due.bounds(table, policy, start, stop)
        if self._in_the_way(report, step, default, held):
            return
        try:
            for each in steps.guarded(step, default, _key(table), held):
                self.worker.run(each, report)
        except BaseException as error:  # Ctrl-C, too: the guard would go on to refuse rows
            failed = isinstance(error, EnterpriseError)
            if failed and ("guard", step.subject) not in report.done:
                raise
            with _isolated(report):
                self.worker.run(steps.unguard(default.name), report)
                if failed and self._in_the_way(report, step, default, held):
                    return
            raise

    def _create_plainly(self, report: TableReport, start: date, stop: date) -> bool:
        """Create a partition the short way, where that does all there is to do."""
        if report.table.oid not in self.seen.plain:
            return False
        try:
            self.worker.run(create_plainly(report.table, report.policy, start, stop), report)
        except StepError as error:
            if takes_the_long_way(error.__cause__):
                return False
            raise
        return True

    def _take_back(self, report: TableReport) -> None:
        """A period is not done that the server, by its own hours, created less of than is due."""
        if report.table.naive or self.job.dry_run:
            return
        for start, stop in self._due(report).create:
            step = ("create", steps.period(start, stop))
            if step in report.done:
                report.done.remove(step)
                report.problems.append(DISAGREE.format(step[1], report.policy.timezone))

    def _in_the_way(
        self, report: TableReport, step: Step, default: Partition, held: tuple[datetime, datetime]
    ) -> bool:
        """Whether the default partition holds rows of a period; they are reported."""
        count, first, last = counts.rows_between(
            self.worker.connection, default.name, _key(report.table), held
        )
        if count:
            report.problems.append(
                f"{step.subject}: {default.name} holds {count} row(s) of this range, from {first} "
                f"to {last}. Move them away; the next run creates the partition"
            )
        return count > 0

    def _retire(self, report: TableReport) -> None:
        table, policy, expired = report.table, report.policy, self._due(report).retire
        if expired and self._must_stay(report):
            return
        if expired and policy.archive is not None and policy.archive not in self.seen.schemas:
            report.problems.append(
                f"schema {policy.archive} is missing, or closed to this role: CREATE SCHEMA, or "
                "GRANT CREATE on it; the next run archives"
            )
            return
        if expired and table.has_default:
            report.notes.append(
                "its default partition makes every detach lock the whole table for a moment; "
                "without one it would be concurrent"
            )
        for partition in expired:
            self._retire_one(report, partition)

    def _must_stay(self, report: TableReport) -> bool:
        """Whether nothing of a table may go in this run; it is reported once."""
        reason = self.out_of_time.get(report.name)
        if reason is not None and reason not in report.problems:
            report.problems.append(reason)
        return reason is not None

    def _retire_one(self, report: TableReport, partition: Partition) -> None:
        refusal = self._why_it_stays(report, partition)
        if refusal is not None:
            report.problems.append(refusal)
            return
        ties = Ties(
            self._keys_of(report.table, partition),
            self._inside(partition),
            report.table.oid in self.seen.with_triggers,
            report.table.oid in self.seen.related,
        )
        for step in steps.retire(report.table, partition, report.policy, self.now, ties):
            self.worker.run(step, report)

    def _why_it_stays(self, report: TableReport, partition: Partition) -> str | None:
        policy, keys = report.policy, self.seen.foreign_keys[report.name]
        if not keys and policy.archive is None:
            return None  # nothing to ask the server for
        connection = self.worker.connection
        referred = managed.why_kept(connection, keys, partition.name)
        return referred or why_not_archived(connection, policy, partition.name)

    def _inside(self, partition: Partition) -> tuple[Name, ...]:
        """The partitions of a partition that is partitioned itself."""
        if partition.kind != "partitioned table":
            return ()
        return managed.inside(self.worker.connection, partition.name)

    def _keys_of(self, table: PartitionedTable, partition: Partition) -> tuple[str, ...]:
        """The foreign keys of a partition to tables that retire partitions, too."""
        referred = self.seen.referred(table)
        if not referred:
            return ()
        return managed.keys_of(self.worker.connection, partition.name, referred)

    def _drop(self, report: TableReport) -> None:
        for found in self.seen.retired_of(report.table):
            drop_detached = self.job.drop_detached
            if not found.droppable(report.policy, self.now, drop_detached=drop_detached):
                continue
            if found.put_away:
                report.notes.append(found.why_it_stays)
                continue
            if self._must_stay(report):
                return
            with _isolated(report):  # the others may go
                self.worker.run(steps.drop(found), report)

    def _analyze(self, report: TableReport) -> None:
        changed = {kind for kind, _ in report.done} & {"create", "detach", "finalize"}
        if changed and self.job.analyze:
            self.worker.run(steps.analyze(report.table, self.version), report)

    def _count_default_rows(self) -> None:
        defaults = {
            report.name: found
            for report in self.reports.values()
            if (found := self.seen.default(report.table)) is not None
        }
        with suppress(DBAPIError):  # one that is locked stays unknown
            rows = counts.count_rows(
                self.worker.connection, [item.name for item in defaults.values()], status.COUNTED
            )
            for name, default in defaults.items():
                self.reports[name].default_rows, _ = status.default_rows(default, rows)


def _key(table: PartitionedTable) -> str:
    """The one column that a table by time is partitioned by."""
    return (table.key.columns[0] if table.key else None) or ""


@contextmanager
def _isolated(report: TableReport) -> Generator[None]:
    """Whatever happens to a table stays in its report."""
    try:
        yield
    except (EnterpriseError, DBAPIError) as error:
        text = _error_text(error)
        if text not in report.problems:  # a server that is gone fails each phase
            report.problems.append(text)


def _error_text(error: EnterpriseError | DBAPIError) -> str:
    return said(error) if isinstance(error, DBAPIError) else str(error)
