"""The scheduled job: keeps each policy of a database true, and waits for its locks only briefly.

One step is one statement and one transaction; the failure of one table never stops the others; a
run that was killed at any point is finished by the next. A default partition has the table locked
for a moment, and refuses rows of a period while that is created (`steps.guarded`). A foreign key
has writers of the table at its other end wait; where it leads to the table, while that other table
is read (RI_PartitionRemove_Check in src/backend/utils/adt/ri_triggers.c).
"""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import date, datetime

from psycopg.sql import SQL
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import locks, registry, sql
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, StepError
from alembic_enterprise.partitions import (
    catalog,
    counts,
    creation,
    detached,
    due,
    foreign_keys,
    managed,
    status,
    steps,
)
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.detached import Detached
from alembic_enterprise.partitions.due import Due
from alembic_enterprise.partitions.managed import look, look_again
from alembic_enterprise.partitions.order import referring_first
from alembic_enterprise.partitions.plainly import DISAGREE
from alembic_enterprise.partitions.report import Report, TableReport, isolated
from alembic_enterprise.partitions.retired import Retired, Ties, why_not_archived
from alembic_enterprise.partitions.steps import Step
from alembic_enterprise.partitions.worker import Job, Worker, set_up
from alembic_enterprise.sessions import close, connect, error_text, require_server
from alembic_enterprise.sql import Name
from alembic_enterprise.wording import counted

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
        [(now, server)] = sql.rows(control, SQL("SELECT {}, now()").format(sql.NOW))
        pretended = job.now is not None or now != server
        doubt = None if pretended else due.clocks_differ(server, job.clock())
        now = job.now or now
        other = locks.only_run(stack, control, LOCK)
        if other is not None:
            return Report(now, [], other)
        worker = Worker(bind.engine, control, job)
        stack.callback(worker.close)
        run = _Run(job, worker, version, now, doubt)
        if pretended and job.now is None and not job.dry_run:
            run.notes.append(PRETENDED.format(now))
        return run.run()


PRETENDED = "now was {:%Y-%m-%d %H:%M %Z}, as alembic_enterprise.now says until its RESET"
"""What a run says that did not go by the clock."""


class _Run:
    """One run: what it saw last, and the reports it fills."""

    def __init__(
        self, job: Job, worker: Worker, version: int, now: datetime, doubt: str | None
    ) -> None:
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
            table.name: doubt or due.out_of_time(table, policy, now)
            for table, policy in self.seen.policies()
        }
        self.reports = {
            table.name: TableReport(table, policy, now, partitions=len(self.seen.of(table)))
            for table, policy in self.seen.policies()
        }
        self.worker.expected = sum(map(self._expected, self.reports.values()))
        if self.worker.expected and not job.dry_run:
            job.progress(0, self.worker.expected)

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
                for report in fit:
                    with isolated(report):
                        phase(report)
            self._look_again()
            for report in fit:
                self._take_back(report)
            self._count_default_rows()
        except (EnterpriseError, DBAPIError) as error:
            for report in fit:
                report.problems.append(f"the run ended before its end: {error_text(error)}")
        statements = self.worker.statements if self.job.dry_run else None
        problems = catalog.why_unusable(self.seen.unusable)
        reports = list(self.reports.values())
        return Report(self.now, reports, None, statements, problems, self.notes)

    def _fit(self) -> list[TableReport]:
        """The tables that can be worked on, in order.

        Raises `ConfigurationError` when none of them can.
        """
        refused = {
            name: text
            for name, report in self.reports.items()
            if (text := self.seen.refusal(report.table))
        }
        if refused and len(refused) == len(self.reports):
            raise ConfigurationError(next(iter(refused.values())))
        for name, text in refused.items():
            self.reports[name].problems.append(text)
        fit = [report.table for name, report in self.reports.items() if name not in refused]
        return [self.reports[name] for name in referring_first(fit, self.seen.foreign_keys)]

    def _look_again(self) -> None:
        """See what the steps since the last look have changed, if any were tried."""
        if self.seen_at == self.worker.tried:
            return
        known = {name: self._untouched(report) for name, report in self.reports.items()}
        try:
            self.seen = look_again(self.worker.connection, self.seen, known)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self.seen = look_again(self.worker.connection, self.seen, known)  # on a new one
        self.seen_at = self.worker.tried
        self.wanted.clear()
        for table in self.seen.tables:
            if table.name in self.reports:
                self.reports[table.name].table = table
                self.reports[table.name].partitions = len(self.seen.of(table))

    def _untouched(self, report: TableReport) -> list[Partition]:
        """The partitions that no step has changed; where one has failed, any may have been."""
        if report.problems:
            return []
        touched = {subject for _, subject in report.done}
        return [item for item in self.seen.of(report.table) if str(item.name) not in touched]

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
            if found.put_away:
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
        filled = self._filled(report)
        for item in dict.fromkeys(filled.values()):
            report.problems.append(detached.advice(report.table, item))
        for start, stop in wanted.create:
            if (start, stop) in filled:
                continue
            try:
                creation.create(self.worker, self.seen, report, start, stop)
            except StepError as error:  # the other periods may succeed
                report.problems.append(str(error))
        if wanted.default:
            self.worker.run(steps.create_default(report.table, report.policy), report)
            report.table = replace(report.table, has_default=True)

    def _filled(self, report: TableReport) -> dict[tuple[date, date], Detached]:
        """The periods whose rows a detached partition has: an empty one would keep them out."""
        table, policy, lacking = report.table, report.policy, self._due(report).create
        if not due.past(lacking, policy, self.now):
            return {}
        there = detached.detached_from(self.worker.connection, [table]).get(table.name, [])
        return detached.filled(table, policy, self.now, lacking, there)

    def _take_back(self, report: TableReport) -> None:
        """Report periods of which the server's time zone data left out a part, as not done."""
        if report.table.naive or self.job.dry_run:
            return
        for start, stop in self._due(report).create:
            step = ("create", steps.period(start, stop))
            if step in report.done:
                report.done.remove(step)
                report.problems.append(DISAGREE.format(step[1], report.policy.timezone))

    def _retire(self, report: TableReport) -> None:
        table, policy, expired = report.table, report.policy, self._due(report).retire
        ended = due.ended(table, self.seen.of(table), policy, self.now)
        if strangers := [item for item in ended if not item.owned]:
            report.notes.append(
                f"{counted(len(strangers), 'partition')}, {strangers[0].name} first, ended before "
                "what the policy retains and will stay, as alembic-enterprise did not make them: "
                "`alembic-enterprise partitions check` hands them over"
            )
        if expired and self._must_stay(report):
            return
        if expired and policy.archive is not None and policy.archive not in self.seen.schemas:
            report.problems.append(
                f"schema {policy.archive} is missing, or closed to this role: CREATE SCHEMA, or "
                "GRANT CREATE on it; the next run archives"
            )
            return
        if expired and table.has_default:
            span = self._span(table)
            report.notes.append(
                f"its default partition makes every detach lock the whole table {span}; without "
                "one it would be concurrent"
            )
        for partition in expired:
            self._retire_one(report, partition)

    def _span(self, table: PartitionedTable) -> str:
        """How long a detach locks a table with a default partition."""
        names = dict.fromkeys(str(key.source) for key in self.seen.foreign_keys[table.name])
        if not names:
            return "for a moment"
        return f"while PostgreSQL reads {', '.join(names)} for rows that refer to it"

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
        referred = foreign_keys.why_kept(connection, report.table, keys, partition.name)
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
        return foreign_keys.keys_of(self.worker.connection, partition.name, referred)

    def _drop(self, report: TableReport) -> None:
        for found in self.seen.retired_of(report.table):
            drop_detached = self.job.drop_detached
            if not found.droppable(report.policy, self.now, drop_detached=drop_detached):
                continue
            if found.why_it_stays is not None:
                report.notes.append(found.why_it_stays)
                continue
            if found.retained_again(report.table, report.policy, self.now):
                self._keep(report, found)
                continue
            if self._must_stay(report):
                return
            with isolated(report):  # the others may go
                self.worker.run(steps.drop(found), report)

    def _keep(self, report: TableReport, found: Retired) -> None:
        """Say what to do with a retired partition that the policy retains again."""
        item = Detached(found.name, found.held(report.table))
        text = detached.advice(report.table, item)
        if text not in report.problems:
            report.notes.append(text)

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
