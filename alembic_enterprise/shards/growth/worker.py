"""Runs the statements of growth one by one, patiently, on connections of its own."""

import random
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import Composable
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import locks, sessions, sql
from alembic_enterprise.errors import StepError
from alembic_enterprise.locks import Patience
from alembic_enterprise.shards.growth.report import Behind, Report
from alembic_enterprise.sql import sqlstate

APPLICATION = "alembic-enterprise shards grow"
"""The `application_name` of the sessions of a run."""


UNDEFINED_FUNCTION = "42883"
"""SQLSTATE of a function that does not exist for a type."""


@dataclass(frozen=True)
class Job:
    """The choices of a run, and its clock and chance.

    Attributes:
        batch: about this many rows are copied in one transaction: as many pages as hold them.
        pause: seconds between two of these.
        max_lag: bytes that a replica may be behind; copying waits while one is further behind.
        dry_run: say what would be done, and change nothing.
        progress: called after each batch with the numbers of rows copied and expected.
        waiting: called each second while copying waits for a replica, with the slowest.
    """

    batch: int = 3000
    pause: float = 0.0
    max_lag: int | None = None
    dry_run: bool = False
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform
    progress: Callable[[int, int], None] = lambda _done, _expected: None
    waiting: Callable[[Behind], None] = lambda _behind: None


class Worker:
    """Two sessions: one for the work, one that looks who is in the way."""

    def __init__(self, stack: ExitStack, engine: Engine, job: Job) -> None:
        """Connect; the connections are closed with the stack.

        Raises `ConfigurationError` as `require_server`.
        """
        self.control = sessions.connect(engine)
        stack.callback(sessions.close, self.control)
        self.version = sessions.require_server(self.control, writes=not job.dry_run)
        self.connection = sessions.connect(engine)
        stack.callback(sessions.close, self.connection)
        _set_up(self.control, 0)
        self._pid = _set_up(self.connection, job.patience.lock_timeout)
        self._job = job
        self._watcher = locks.Watcher(self.control, job.patience.look_every)
        stack.callback(self._watcher.close)

    def first_of(self, queries: Iterable[Composable]) -> list[tuple[Any, ...]]:
        """Ask the first of some queries that the server has the functions for."""
        for query in queries:
            try:
                return sql.rows(self.connection, query)
            except DBAPIError as error:
                if sqlstate(error) != UNDEFINED_FUNCTION:
                    raise
        raise StepError("the server has none of the functions: this is a bug, please report it")

    def run(self, step: str, statement: Composable, report: Report) -> None:
        """Run one statement, a transaction of its own, and note what was in the way.

        Raises `LockedError` when it does not get its locks, and `StepError` when it fails.
        """

        def waited(_attempt: int) -> None:
            report.retries += 1

        with sessions.watched(step, self._watcher, self._pid, report.blockers):
            locks.retried(
                lambda: sql.execute(self.connection, statement),
                patience=self._job.patience,
                sleep=self._job.sleep,
                uniform=self._job.uniform,
                waited=waited,
            )


def _set_up(connection: Connection, lock_timeout: int) -> int:
    """Set up a session; returns the pid of its backend.

    Row security must not hide rows from us: rather an error. And what is in the tablespace of the
    database is copied there, whatever the role or the database say of new tables.
    """
    return sessions.set_up(
        connection,
        APPLICATION,
        lock_timeout=str(lock_timeout),
        row_security="off",
        default_tablespace="",
    )
