"""The scheduled job: keep every declared policy true, and stop nobody meanwhile.

Works from the registry alone, with the rights of the tables' owner. Each step is one transaction
under a short lock_timeout, tried again as a whole; the failure of one table never stops the others;
a run that was killed at any point is made up for by the next.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import CycleError, TopologicalSorter

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import locks, sql
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, LockedError
from alembic_enterprise.locks import Patience
from alembic_enterprise.operation import message, sqlstate
from alembic_enterprise.partitions import catalog, due, steps, surroundings
from alembic_enterprise.partitions.catalog import Catalog, Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.report import Report, TableReport
from alembic_enterprise.partitions.steps import Retired, Step
from alembic_enterprise.partitions.surroundings import ForeignKey
from alembic_enterprise.sql import Name

LOCK = "alembic_enterprise.partitions.maintain"
"""Name of the advisory lock that two runs on one database compete for."""

OLDEST = 140000
"""Oldest server this runs on: multiranges and DETACH CONCURRENTLY came with 14."""


@dataclass(frozen=True)
class Job:
    """The choices of a run, and its clock and chance.

    Attributes:
        now: the moment to work for (aware); None asks the server.
        only: names of the tables to work on; empty means all.
        dry_run: collect the statements and execute none.
        yes: also drop what `on_expire="detach"` left, once it was held long enough.
        analyze: refresh the statistics of tables whose partitions changed.
        progress: called after each step with the numbers of steps done and expected.
    """

    now: datetime | None = None
    only: frozenset[str] = frozenset()
    dry_run: bool = False
    yes: bool = False
    analyze: bool = True
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform
    progress: Callable[[int, int], None] = lambda _done, _expected: None


def maintain(bind: Engine | Connection, job: Job | None = None) -> Report:
    """Run the job on a database, and report.

    Opens connections of its own on the engine of `bind`: one for the advisory lock and for looking
    at blockers, one for the work.

    Raises:
        ConfigurationError: before anything is tried: server too old, or a replica.
    """
    job = job or Job()
    engine = bind.engine
    with ExitStack() as stack:
        control = stack.enter_context(_autocommit(engine))
        version = _require(control)
        if not stack.enter_context(locks.advisory_lock(control, LOCK)):
            other = locks.advisory_holder(control, LOCK)
            return Report(job.now or catalog.read(control).now, [], other)
        run = _Run(job, control, _autocommit(engine), version)
        stack.callback(run.close)
        return run.run()


def _autocommit(engine: Engine) -> Connection:
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def _require(connection: Connection) -> int:
    """The version of the server, as `server_version_num`, once it is known to be fit."""
    state = SQL("SELECT current_setting('server_version_num')::int, pg_is_in_recovery()")
    [(version, replica)] = sql.rows(connection, state)
    if version < OLDEST:
        raise ConfigurationError(
            f"the server is PostgreSQL {version // 10000}, and 14 is needed: upgrade the server"
        )
    if replica:
        raise ConfigurationError("the server is a read-only replica: give the URL of the primary")
    return int(version)


@dataclass
class _Run:
    """One run: where it works, what it found, and the reports it fills."""

    job: Job
    control: Connection
    work: Connection
    version: int
    now: datetime = field(init=False)
    live: Catalog = field(init=False)
    partitions: Mapping[Name, Sequence[Partition]] = field(init=False)
    foreign_keys: Mapping[Name, Sequence[ForeignKey]] = field(init=False)
    retired: Sequence[Retired] = field(init=False)
    guards: set[Name] = field(init=False)
    report: Report = field(init=False)
    finished: int = 0
    expected: int = 0

    def close(self) -> None:
        """Give back the connection, whichever it is by now."""
        self.work.close()

    def run(self) -> Report:
        """Read everything once, work through the phases, and measure what is left."""
        self.live = catalog.read(self.work)
        self.now = self.job.now or self.live.now
        tables = [table for table in self.live.tables.values() if self._wanted(table)]
        self.report = Report(self.now, [])
        reports = [(table, _report(table)) for table in tables]
        self.report.tables = [report for _, report in reports]
        self.partitions = catalog.partitions(self.work, tables)
        self.foreign_keys = surroundings.foreign_keys(self.work, tables)
        self.retired = surroundings.retired_partitions(self.work)
        self.guards = surroundings.guarded_partitions(self.work)
        self.expected = sum(map(self._expected, tables))
        for phase in (self._create, self._retire, self._drop, self._analyze):
            for table, report in self._ordered(reports):
                self._isolated(phase, table, report)
        self._measure()
        return self.report

    def _expected(self, table: PartitionedTable) -> int:
        """How many steps a table probably takes, for the progress bar."""
        if table.policy is None:
            return 0
        wanted = due.due(table, self.partitions[table.name], table.policy, self.now)
        each = 4 if table.has_default else 1
        steps_of_one = 3 if table.policy.archive else 2
        changes = each * len(wanted.create) + steps_of_one * len(wanted.retire)
        return changes + bool(changes)

    def _wanted(self, table: PartitionedTable) -> bool:
        names = {str(table.name), table.name.name}
        return table.policy is not None and (not self.job.only or bool(names & self.job.only))

    def _ordered(
        self, reports: list[tuple[PartitionedTable, TableReport]]
    ) -> Iterator[tuple[PartitionedTable, TableReport]]:
        """Tables that refer to others first: their rows must go before those they refer to."""
        graph = {
            table.name: {key.source for key in self.foreign_keys[table.name]} - {table.name}
            for table, _ in reports
        }
        by_name = {table.name: (table, report) for table, report in reports}
        try:
            order: Iterable[Name] = list(TopologicalSorter(graph).static_order())
        except CycleError:
            order = by_name
        return (by_name[name] for name in order if name in by_name)

    def _isolated(
        self,
        phase: Callable[[PartitionedTable, TableReport, Policy], None],
        table: PartitionedTable,
        report: TableReport,
    ) -> None:
        """Run one phase of one table; whatever happens to it stays in its report."""
        try:
            phase(table, report, report.policy)
        except EnterpriseError as error:
            report.problems.append(str(error))
        except DBAPIError as error:
            report.problems.append(f"{message(error)} (SQLSTATE {sqlstate(error)})")
            if error.connection_invalidated:
                self.work.close()
                self.work = _autocommit(self.work.engine)

    def _create(self, table: PartitionedTable, report: TableReport, policy: Policy) -> None:
        found = self.partitions[table.name]
        for step in steps.finalize(table, found):
            self._run(step, report)
        default = next((item for item in found if item.is_default), None)
        if default is not None and default.name in self.guards:
            self._run(steps.unguard(default), report)
        for start, stop in due.due(table, found, policy, self.now).create:
            step = steps.create(table, policy, start, stop)
            if default is None:
                self._run(step, report)
            else:
                held = due.bounds(table, policy, start, stop)
                self._create_beside(default, table, step, held, report)

    def _create_beside(
        self,
        default: Partition,
        table: PartitionedTable,
        step: Step,
        held: tuple[datetime, datetime],
        report: TableReport,
    ) -> None:
        """Create a partition where a default one may already hold rows of its range."""
        key = (table.key.columns[0] if table.key else None) or ""
        count, first, last = surroundings.rows_between(self.work, default.name, key, held)
        if count:
            report.problems.append(
                f"{step.subject}: {default.name} holds {count} row(s) of this range, from {first} "
                f"to {last}. Move them away; the next run creates the partition"
            )
            return
        try:
            for guarded in steps.guarded(step, default, key, held):
                self._run(guarded, report)
        except (EnterpriseError, DBAPIError):
            self._run(steps.unguard(default), report)  # it would refuse rows of the range
            raise

    def _retire(self, table: PartitionedTable, report: TableReport, policy: Policy) -> None:
        expired = due.due(table, self.partitions[table.name], policy, self.now).retire
        if expired and table.has_default:
            report.notes.append(
                "its default partition makes every detach lock the whole table for a moment; "
                "without one it would be concurrent"
            )
        for partition in expired:
            refusal = self._referred(table, partition)
            if refusal is not None:
                report.problems.append(refusal)
                continue
            for step in steps.retire(table, partition, policy, self.now):
                self._run(step, report)

    def _referred(self, table: PartitionedTable, partition: Partition) -> str | None:
        """Why a partition has to stay: rows of other tables refer to it."""
        for key in self.foreign_keys[table.name]:
            count = surroundings.referring_rows(self.work, key, partition.name)
            if count:
                return (
                    f"{partition.name} stays: {count} row(s) of {key.source} refer to it. Delete "
                    "them or retire their partitions first; the next run goes on"
                )
        return None

    def _drop(self, table: PartitionedTable, report: TableReport, policy: Policy) -> None:
        for found in self.retired:
            left = found.table == str(table.name) and found.name.schema == table.name.schema
            if policy.archive is not None and left:  # a run was killed before it moved this one
                self._run(steps.archive(found.name, policy.archive), report)
        for found in steps.droppable(self.retired, table, policy, self.now, yes=self.job.yes):
            self._run(steps.drop(found), report)

    def _analyze(self, table: PartitionedTable, report: TableReport, _policy: Policy) -> None:
        changed = {kind for kind, _ in report.done} & {"create", "detach", "finalize"}
        if changed and self.job.analyze:
            self._run(steps.analyze(table, self.version), report)

    def _run(self, step: Step, report: TableReport) -> None:
        """Run one step, patiently; in a dry run only write it down."""
        if self.job.dry_run:
            self.report.statements += [sql.text_of(item) + ";" for item in step.statements]
            report.done.append((step.kind, step.subject))
            return
        [(pid,)] = sql.rows(self.work, SQL("SELECT pg_backend_pid()"))
        with locks.watched(self.control, pid, self.job.patience.lock_timeout / 2000) as blockers:
            try:
                self._execute(step, report)
            except LockedError as error:
                held = "; ".join(map(str, sorted(blockers, key=lambda item: item.pid)))
                raise LockedError(
                    f"{step.kind} {step.subject}: {error}, held by {held or 'somebody'}. "
                    "Run again, or raise --lock-timeout"
                ) from error
            finally:
                report.blockers |= blockers
        report.done.append((step.kind, step.subject))
        self.finished += 1
        self.job.progress(self.finished, max(self.finished, self.expected))

    def _execute(self, step: Step, report: TableReport) -> None:
        if not step.transactional:  # it waits inside; a timeout would leave it half done
            sql.execute(self.work, SQL("SET lock_timeout = 0"))
            for statement in step.statements:
                sql.execute(self.work, statement)
            return

        def waited(_attempt: int) -> None:
            report.retries += 1

        locks.retried(
            lambda: _transaction(self.work, step.statements, self.job.patience.lock_timeout),
            patience=self.job.patience,
            sleep=self.job.sleep,
            uniform=self.job.uniform,
            waited=waited,
        )

    def _measure(self) -> None:
        """Look at the database again: what the policies have now."""
        live = catalog.read(self.work)
        reports = {report.name: report for report in self.report.tables}
        tables = [table for name, table in live.tables.items() if name in reports]
        partitions = catalog.partitions(self.work, tables)
        for table in tables:
            report = reports[table.name]
            report.headroom = due.headroom(table, self.now, report.policy)
            report.partitions = len(partitions[report.name])
            default = next((item for item in partitions[report.name] if item.is_default), None)
            report.default_rows = (
                None if default is None else surroundings.row_count(self.work, default.name)
            )


def _report(table: PartitionedTable) -> TableReport:
    if table.policy is None:
        raise ConfigurationError(f"{table.name} has no policy")
    return TableReport(table.name, table.policy)


def _transaction(work: Connection, statements: Sequence[Composable], lock_timeout: int) -> None:
    """Run statements in one transaction, under a lock_timeout in milliseconds."""
    sql.execute(work, SQL("BEGIN"))
    try:
        sql.execute(work, SQL("SET LOCAL lock_timeout = {}").format(Literal(lock_timeout)))
        for statement in statements:
            sql.execute(work, statement)
        sql.execute(work, SQL("COMMIT"))
    except BaseException:
        if not work.invalidated:
            sql.execute(work, SQL("ROLLBACK"))
        raise
