"""Applying a saved plan through the project's env.py, or only checking whether it still holds.

    report = apply(config, saved)
    report.exit_code

Each transaction of env.py gives up when it gets no lock, and is tried again as a whole: a revision
where env.py has transaction_per_migration, and otherwise all of them. What a revision has committed
by itself, in an `autocommit_block()`, is never run a second time.
"""

import random
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from psycopg.sql import SQL
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alembic_enterprise import environment, locks, sessions, sql
from alembic_enterprise.environment import Visit, guarded
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, LockedError, StepError
from alembic_enterprise.locks import Blocker, Patience, Watcher
from alembic_enterprise.operation import message, sqlstate
from alembic_enterprise.plan.rehearsal.phrases import readable
from alembic_enterprise.plan.saved.document import Saved, Stale, State, digests_again, stale
from alembic_enterprise.plan.saved.migrating import Session, migrating
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.sql import Name

LOCK = "alembic_enterprise.apply"
"""Name of the advisory lock that two runs on one database compete for."""

APPLICATION = "alembic-enterprise apply"
"""The `application_name` of the session that holds it."""

STATEMENT = 60
"""How much of a statement is told, in characters."""

UNCOMMITTED = (
    "env.py has not committed it, since its context.run_migrations() is not in `with "
    "context.begin_transaction()`"
)

DOCUMENT_VERSION = 1
"""Of `Report.document`; it changes when a reader of the old shape would go wrong."""


@dataclass(frozen=True)
class Job:
    """The choices of a run, and its clock and chance.

    Attributes:
        progress: called with what is being done, in words.
    """

    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform
    progress: Callable[[str], None] = lambda _words: None


@dataclass
class Report:
    """How a run ended.

    Attributes:
        left: revisions of the plan that the database has not got, in order.
        applied: those that it has got from this run.
        stale: why nothing was applied, if it is that.
        other: another run that is at work.
        retries: how often a transaction was tried again.
        blockers: who was in the way.
        problem: what ended the run, with the next step.
    """

    left: list[str]
    applied: list[str] = field(default_factory=list[str])
    stale: Stale = field(default_factory=Stale)
    other: Blocker | None = None
    retries: int = 0
    blockers: set[Blocker] = field(default_factory=set[Blocker])
    problem: str | None = None

    @property
    def exit_code(self) -> int:
        """0: all is well. 1: something failed. 4: the plan is stale."""
        if self.stale:
            return 4
        return 0 if self.problem is None and self.other is None else 1

    def document(self) -> dict[str, Any]:
        """The report for programs; schemas/apply.schema.json tells its shape."""
        return {
            "format_version": DOCUMENT_VERSION,
            "exit_code": self.exit_code,
            "applied": self.applied,
            "left": self.left,
            "reasons": list(self.stale.reasons),
            "differences": [
                {
                    "kind": item.kind,
                    "name": item.name,
                    "change": item.change.value,
                    "before": item.before,
                    "after": item.after,
                }
                for item in self.stale.differences
            ],
            "other": None if self.other is None else str(self.other),
            "retries": self.retries,
            "blockers": sorted(map(str, self.blockers)),
            "problem": self.problem,
        }


def verify(config: Config, plan: Saved) -> Report:
    """Whether a plan still holds; the database is only read.

    Raises:
        ConfigurationError: env.py fails.
        DBAPIError: there is no connection, or the catalog cannot be read.
    """
    place = environment.visit(config, _place)
    return Report(list(plan.digests), stale=stale(plan, _state(config, plan, place)))


def apply(config: Config, plan: Saved, job: Job | None = None) -> Report:
    """Apply the revisions of a plan that still holds, and report.

    Opens two connections beside that of env.py: one reads the catalog, and is closed; one holds the
    advisory lock and looks who is in the way.

    Raises:
        ConfigurationError: before anything is tried: env.py fails, or the server is read-only.
        DBAPIError: before anything is tried: there is no connection, or the catalog cannot be read.
    """
    place = environment.visit(config, _place)
    report = Report(list(plan.digests))
    with ExitStack() as stack:
        control = stack.enter_context(sessions.connect(place.engine))
        sessions.configured(control, APPLICATION)
        sessions.require_server(control, writes=True)
        report.other = locks.only_run(stack, control, LOCK)
        if report.other is None:
            report.stale = stale(plan, _state(config, plan, place))
        if report.exit_code == 0:
            _Run(config, place, control, job or Job(), report).run()
    return report


@dataclass(frozen=True)
class _Place:
    """Where env.py leads to."""

    engine: Engine
    version_table: Name


def _place(visit: Visit) -> _Place:
    engine = visit.connection.engine
    if engine.dialect.is_async:
        url = environment.parse(engine.url.render_as_string(hide_password=False))
        engine = create_engine(url, poolclass=NullPool)
    context = visit.context
    return _Place(engine, Name(context.version_table_schema, context.version_table))


def _state(config: Config, plan: Saved, place: _Place) -> State:
    """What is there now."""
    directory = ScriptDirectory.from_config(config)
    again = digests_again(config, _scripts(directory, plan.digests), plan.digests)
    with _reading(place.engine) as connection:
        [(database, server)] = sql.rows(
            connection, SQL("SELECT current_database(), current_setting('server_version')")
        )
        revisions = tuple(drift.stamped(connection, place.version_table))
        return State(database, server.split()[0], revisions, again, drift.read(connection))


@contextmanager
def _reading(engine: Engine) -> Generator[Connection]:
    """A connection of its own that cannot write."""
    with engine.connect() as connection:
        connection.detach()
        sql.execute(connection, SQL("SET default_transaction_read_only = on"))
        connection.commit()
        yield connection


def _scripts(directory: ScriptDirectory, revisions: Iterable[str]) -> list[Script]:
    """The scripts of those revisions that the project has."""
    known = {script.revision: script for script in directory.walk_revisions()}
    return [known[revision] for revision in revisions if revision in known]


class _Run:
    """A run on a plan that holds: the report it fills, and the session that env.py migrates on."""

    def __init__(
        self, config: Config, place: _Place, control: Connection, job: Job, report: Report
    ) -> None:
        self.config = config
        self.place = place
        self.control = control
        self.job = job
        self.report = report
        self.directory = ScriptDirectory.from_config(config)
        self.running = report.left[0]
        self.kept = list[str]()
        self.seen = set[Blocker]()

    def run(self) -> None:
        """Apply all that is left, unless something ends it."""
        with closing(Watcher(self.control, self.job.patience.lock_timeout / 4000)) as watcher:
            try:
                while self.report.left:
                    self._further(watcher)
            except (EnterpriseError, CommandError, SQLAlchemyError) as error:
                with suppress(SQLAlchemyError):  # the server may be gone; the error is what to see
                    self._note()
                held = _held_by(self.seen) if isinstance(error, LockedError) else ""
                told = f"revision {self.running}: {_said(error)}{held}"
                self.report.problem = f"{told}. {self._next_step(error)}"

    def _further(self, watcher: Watcher) -> None:
        """Apply at least one revision, trying again for its locks."""
        locks.retried(
            lambda: self._attempt(watcher),
            patience=self.job.patience,
            sleep=self.job.sleep,
            uniform=self.job.uniform,
            waited=self._waited,
        )

    def _attempt(self, watcher: Watcher) -> None:
        """Run env.py for what is left; when some of it is applied, the rest is another attempt."""
        before = len(self.report.left)
        failure: DBAPIError | None = None
        try:
            with ExitStack() as stack:
                self._migrate(stack, watcher)
        except DBAPIError as error:
            if self.kept or sqlstate(error) not in locks.LOCKED:
                raise StepError(_said(error)) from error
            failure = error
        finally:
            self.report.blockers |= self.seen
        self._note()
        if len(self.report.left) == before:
            raise failure or StepError(UNCOMMITTED)

    def _migrate(self, stack: ExitStack, watcher: Watcher) -> None:
        """Let env.py run the migrations that are left."""
        scripts = _scripts(self.directory, self.report.left)

        def steps(_revision: object, context: MigrationContext) -> Iterator[Any]:
            if context.connection is None:
                raise ConfigurationError("env.py runs no migrations online: let it connect")
            session = self._session(stack, watcher, context.connection)
            for script in scripts:
                self.running = script.revision
                self.job.progress(f"revision {script.revision}")
                self.kept = session.begin_revision()
                yield MigrationStep.upgrade_from_script(self.directory.revision_map, script)

        environment = EnvironmentContext(
            self.config,
            self.directory,
            fn=steps,
            as_sql=False,
            destination_rev=scripts[-1].revision,
        )
        with guarded(self.directory), environment:
            self.directory.run_env()

    def _session(self, stack: ExitStack, watcher: Watcher, own: Connection) -> Session:
        """Look after a connection of env.py until the stack ends."""
        [(pid,)] = sql.rows(own, SQL("SELECT pg_backend_pid()"))
        self.seen = stack.enter_context(watcher.over(pid))
        return stack.enter_context(migrating(own, self.job.patience.lock_timeout))

    def _note(self) -> None:
        """Look which revisions are applied."""
        stamped = drift.stamped(self.control, self.place.version_table)
        there = {script.revision for script in replay.ordered(self.directory, stamped)}
        self.report.applied += [each for each in self.report.left if each in there]
        self.report.left = [each for each in self.report.left if each not in there]

    def _waited(self, attempt: int) -> None:
        self.report.retries += 1
        patience = self.job.patience
        self.job.progress(
            f"revision {self.running}: no lock within {patience.lock_timeout} ms, "
            f"{attempt} of {patience.attempts} times{_held_by(self.seen)}"
        )

    def _next_step(self, error: Exception) -> str:
        if self.kept:
            return (
                f"This of it stays: {'; '.join(map(_shortened, self.kept))}. Undo it, or let the "
                "script go on from there, and make a new plan, which shows it as drift"
            )
        if self.report.applied:
            return "Nothing of it is committed, and those before it are applied: make a new plan"
        if isinstance(error, LockedError):
            return "Nothing is committed: run this again, or raise --lock-timeout"
        return "Nothing is committed: mend it, and make a new plan"


def _held_by(blockers: Collection[Blocker]) -> str:
    who = "; ".join(map(str, sorted(blockers, key=lambda item: item.pid)))
    return f", held by {who}" if who else ""


def _said(error: Exception) -> str:
    """What happened, in one line, without the next step of other commands."""
    if isinstance(error, DBAPIError):
        state = sqlstate(error)
        code = "" if state is None else f" (SQLSTATE {state})"
        return f"{message(error).strip().splitlines()[0]}{code}"
    return str(error).partition(". Mend it; ")[0].rstrip(".")


def _shortened(statement: str) -> str:
    """The beginning of a statement, without values of rows."""
    words = " ".join(readable(statement).split())
    return words if len(words) <= STATEMENT else f"{words[:STATEMENT]}..."
