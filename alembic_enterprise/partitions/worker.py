"""Runs the steps of maintenance one by one, patiently, on a connection of its own."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import locks, sessions, sql
from alembic_enterprise.errors import StepError
from alembic_enterprise.locks import Patience
from alembic_enterprise.partitions.policies import policy_now
from alembic_enterprise.partitions.report import TableReport
from alembic_enterprise.partitions.steps import Step

APPLICATION = "alembic-enterprise partitions maintain"
"""The `application_name` of the sessions of a run."""


@dataclass(frozen=True)
class Job:
    """The choices of a run, and its clock and chance.

    Attributes:
        now: the moment to work for (aware); None asks the server.
        only: names of the tables to work on; empty means all.
        dry_run: collect the statements and execute none.
        drop_detached: also drop what `on_expire="detach"` has detached, `hold` days later.
        analyze: refresh the statistics of tables whose partitions changed.
        clock: tells the moment on this machine, which is compared with the server's.
        progress: called before the first step, and after each, with the numbers of steps done and
            expected.
    """

    now: datetime | None = None
    only: frozenset[str] = frozenset()
    dry_run: bool = False
    drop_detached: bool = False
    analyze: bool = True
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    progress: Callable[[int, int], None] = lambda _done, _expected: None


def set_up(connection: Connection, lock_timeout: float, statement_timeout: float) -> int:
    """Set the session's timeouts, in milliseconds, 0 for none; returns the pid of its backend."""
    return sessions.set_up(
        connection,
        APPLICATION,
        lock_timeout=f"{lock_timeout:.0f}",
        statement_timeout=f"{statement_timeout:.0f}",
    )


def _require_same_policy(connection: Connection, step: str, report: TableReport) -> None:
    """Raise `StepError` when the policy of a table is not the one that the run uses."""
    oids = [item.oid for item in reversed(report.table.lineage)]
    if policy_now(connection, oids) != report.policy:
        raise StepError(f"{step}: the policy has changed. The next run will use the new one")


class Worker:
    """Runs steps, or in a dry run only writes them down.

    Attributes:
        statements: those of a dry run, as text.
        tried: how many steps were run that change the catalog, successfully or not.
        finished: how many of them succeeded.
        expected: how many will, for the progress bar.
    """

    def __init__(self, engine: Engine, control: Connection, job: Job) -> None:
        """Begin without a connection; `control` is another one, to look at blockers."""
        self.statements: list[str] = []
        self.tried = 0
        self.finished = 0
        self.expected = 0
        self._engine = engine
        self._job = job
        self._watcher = locks.Watcher(control, job.patience.look_every)
        self._connection: Connection | None = None
        self._pid = 0
        self._timeouts: tuple[float, ...] = ()
        self._lost: DBAPIError | None = None

    @property
    def connection(self) -> Connection:
        """The connection to look on: it waits for a lock no longer than a step does.

        Raises `DBAPIError` as `_connect`.
        """
        connection = self._connect()
        self._set(connection, self._job.patience.lock_timeout, 0)
        return connection

    def _connect(self) -> Connection:
        """The connection to work on: a new one when the last was lost.

        Raises `DBAPIError` when there is none to be had, and then again without trying.
        """
        if self._lost is not None:
            raise self._lost
        if self._connection is None or self._connection.invalidated:
            self._disconnect()
            try:
                self._connection = sessions.connect(self._engine)
                self._timeouts = (self._job.patience.lock_timeout, 0)
                self._pid = set_up(self._connection, *self._timeouts)
            except DBAPIError as error:
                self._lost = error
                raise
        return self._connection

    def close(self) -> None:
        """Close the connection, and stop looking at blockers."""
        self._watcher.close()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            sessions.close(self._connection)

    def run(self, step: Step, report: TableReport) -> None:
        """Run one step and note it in the report.

        Raises `LockedError` when it does not get its locks, and `StepError` when it fails.
        """
        if self._job.dry_run:
            self.statements.append(sql.text_of(step.statement) + ";")
        else:
            self._execute(step, report)
            self.finished += 1
            self._job.progress(self.finished, max(self.finished, self.expected))
        report.done.append((step.kind, step.subject))

    def _execute(self, step: Step, report: TableReport) -> None:
        self.tried += step.kind != "analyze"
        run = self._concurrently if step.concurrently else self._patiently
        connection = self._connect()
        words = f"{step.kind} {step.subject}"

        def attempt() -> None:
            if step.kind == "drop":  # nobody can undo it, and it may have waited long for its lock
                _require_same_policy(connection, words, report)
            if step.remaining is not None:
                sql.run_remaining(connection, step.remaining)
            else:
                sql.execute(connection, step.statement)

        with sessions.watched(words, self._watcher, self._pid, report.blockers):
            run(connection, attempt, report)

    def _patiently(
        self, connection: Connection, attempt: Callable[[], None], report: TableReport
    ) -> None:
        self._set(connection, self._job.patience.lock_timeout, 0)

        def waited(_attempt: int) -> None:
            report.retries += 1

        locks.retried(
            attempt,
            patience=self._job.patience,
            sleep=self._job.sleep,
            uniform=self._job.uniform,
            waited=waited,
        )

    def _concurrently(
        self, connection: Connection, attempt: Callable[[], None], _report: TableReport
    ) -> None:
        """Run a statement that waits inside: short timeouts would leave it half done."""
        self._set(connection, 0, self._job.patience.concurrently * 1000)
        attempt()

    def _set(self, connection: Connection, *timeouts: float) -> None:
        """Set the session's timeouts, as `set_up` takes them, unless they are set already."""
        if self._timeouts != timeouts:
            set_up(connection, *timeouts)
            self._timeouts = timeouts
