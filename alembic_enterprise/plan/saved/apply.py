"""Applying a saved plan through the project's env.py, or only checking whether it still holds.

    report = apply(config, saved)
    report.exit_code

Each transaction of env.py gives up when it gets no lock, and is tried again as a whole: a revision
where env.py has transaction_per_migration, and otherwise all of them. Once a revision has committed
something without its stamp, as in an `autocommit_block()`, nothing is tried again.
"""

import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alembic_enterprise import environment, locks, sessions, sql
from alembic_enterprise.environment import Visit, guarded
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, LockedError, StepError
from alembic_enterprise.locks import Blocker, Patience, Watcher
from alembic_enterprise.plan.revisions import ordered, stamped
from alembic_enterprise.plan.saved.document import Saved, Stale, State, digests_again, stale
from alembic_enterprise.plan.saved.migrating import Session, migrating
from alembic_enterprise.plan.saved.place import Place
from alembic_enterprise.plan.saved.words import held_by, said, shortened, without_values
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.sql import Name, sqlstate

LOCK = "alembic_enterprise.apply"
"""Name of the advisory lock that two runs on one database compete for."""

APPLICATION = "alembic-enterprise apply"
"""The `application_name` of the session that holds it."""

READING = "5s"
"""How long the catalog is waited for."""

UNCOMMITTED = (
    "env.py has not committed it, since its context.run_migrations() is not in `with "
    "context.begin_transaction()`"
)

CUT = "the session that keeps another run away was lost"
"""Why nothing is begun any more: somebody else may be at work."""

NOT_KNOWN = (
    "It is not known what is committed, since the server does not answer: `alembic current` shows "
    "it, and `alembic-enterprise plan` what is left"
)
"""The next step when the stamp cannot be read in the end."""

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
        is_known: whether `left` and `applied` could be read in the end.
    """

    left: list[str]
    applied: list[str] = field(default_factory=list[str])
    stale: Stale = field(default_factory=Stale)
    other: Blocker | None = None
    retries: int = 0
    blockers: set[Blocker] = field(default_factory=set[Blocker])
    problem: str | None = None
    is_known: bool = True

    @property
    def exit_code(self) -> int:
        """0: all is well. 1: something failed. 4: the plan is stale."""
        if self.stale:
            return 4
        return 0 if self.problem is None and self.other is None else 1

    def document(self) -> dict[str, Any]:
        """The report for programs; see schemas/apply.schema.json."""
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
    """Whether a plan still holds; env.py's connection and the others are read-only.

    Raises:
        ConfigurationError: env.py fails.
        LockedError: somebody keeps readers away from a table.
        DBAPIError: there is no connection, or the catalog cannot be read.
    """
    report = Report(list(plan.digests))
    destination = environment.visit(config, _destination, reads=True)
    sessions.require_direct(destination.engine)
    with _reading(destination.engine) as connection, locks.reading(connection):
        _look(connection, config, plan, destination.place, report)
    return report


def apply(config: Config, plan: Saved, job: Job | None = None) -> Report:
    """Apply the revisions of a plan that still holds, and report.

    Opens two connections beside that of env.py: one reads the catalog, and is closed; one holds the
    advisory lock and looks who is in the way.

    Raises:
        ConfigurationError: before anything is tried: env.py fails, or the server is read-only or
            behind a pooler by transaction.
        LockedError: the same, since somebody keeps readers away from a table.
        DBAPIError: before anything is tried: there is no connection, or the catalog cannot be read.
    """
    destination = environment.visit(config, _destination)
    report = Report(list(plan.digests))
    with ExitStack() as stack:
        control = sessions.connect(destination.engine)
        stack.callback(sessions.close, control)
        sessions.require_server(control, writes=True)
        sessions.set_up(control, APPLICATION, lock_timeout=READING)
        report.other = locks.only_run(stack, control, LOCK)
        if report.other is None:
            with _reading(destination.engine) as connection, locks.reading(connection):
                _look(connection, config, plan, destination.place, report)
        if report.exit_code == 0 and report.left:
            _Run(config, plan, destination, control, job or Job(), report).run()
    return report


@dataclass(frozen=True)
class _Destination:
    """Where env.py leads to, and how one gets there."""

    engine: Engine
    place: Place


def _destination(visit: Visit) -> _Destination:
    context = visit.context
    given = Name(context.version_table_schema, context.version_table)
    return _Destination(visit.engine, Place.read(visit.connection, given))


def _look(
    connection: Connection, config: Config, plan: Saved, place: Place, report: Report
) -> None:
    """Report whether the plan holds, and that nothing of it is left if it is applied already."""
    directory = ScriptDirectory.from_config(config)
    again = digests_again(config, _scripts(directory, plan.digests), plan.digests)
    revisions = tuple(stamped(connection, place.version_table))
    there = _up_to(directory, revisions)
    state = State(place, revisions, there, again, drift.objects_of(connection))
    report.stale = stale(plan, state)
    if plan.is_applied(state):
        report.left = []


def _up_to(directory: ScriptDirectory, revisions: Iterable[str]) -> frozenset[str]:
    """Some revisions and those before them, as far as the project has them.

    Another database may have others, and that it is another is what is to be told.
    """
    known = [script.revision for script in _scripts(directory, revisions)]
    before = [script.revision for script in ordered(directory, known)]
    return frozenset([*revisions, *before])


@contextmanager
def _reading(engine: Engine) -> Generator[Connection]:
    """A connection of its own that cannot write, nor wait for long."""
    with engine.connect() as connection:
        connection.detach()
        setting = SQL("SELECT set_config('default_transaction_read_only', 'on', false), {}")
        patience = SQL("set_config('lock_timeout', {}, false)").format(Literal(READING))
        sql.rows(connection, setting.format(patience))
        connection.commit()
        yield connection


def _scripts(directory: ScriptDirectory, revisions: Iterable[str]) -> list[Script]:
    """The scripts of those revisions that the project has."""
    known = {script.revision: script for script in directory.walk_revisions()}
    return [known[revision] for revision in revisions if revision in known]


class _Run:
    """A run on a plan that holds: the report it fills, and the session that env.py migrates on."""

    def __init__(
        self,
        config: Config,
        plan: Saved,
        destination: _Destination,
        control: Connection,
        job: Job,
        report: Report,
    ) -> None:
        self.config = config
        self.plan = plan
        self.destination = destination
        self.control = control
        self.job = job
        self.report = report
        self.directory = ScriptDirectory.from_config(config)
        self.running = report.left[0]
        self.told = ""
        self.kept = list[str]()
        self.unsure = list[str]()
        self.seen = set[Blocker]()

    def run(self) -> None:
        """Apply all that is left, unless something ends it."""
        with closing(Watcher(self.control, self.job.patience.look_every)) as watcher:
            try:
                while self.report.left and not self.report.stale:
                    self._further(watcher)
            except (EnterpriseError, CommandError, SQLAlchemyError) as error:
                self._note_in_the_end()
                held = held_by(self.seen) if isinstance(error, LockedError) else ""
                told = f"revision {self.running}: {said(error)}{held}"
                stop = "" if told.endswith("...") else "."
                self.report.problem = f"{told}{stop} {self._next_step(error)}"
            except KeyboardInterrupt:
                self._note_in_the_end()
                raise KeyboardInterrupt(self._interrupted()) from None

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
        """Run env.py for what is left; when some of it is applied, the rest is another attempt.

        While nothing is, somebody else may have changed the schema before a further attempt.
        """
        if self.report.retries and not self.report.applied:
            with _reading(self.destination.engine) as connection:
                _look(connection, self.config, self.plan, self.destination.place, self.report)
            if self.report.stale or not self.report.left:
                return
        self._require_lock()
        before = len(self.report.left)
        failure: DBAPIError | None = None
        try:
            with ExitStack() as stack:
                self._migrate(stack, watcher)
        except DBAPIError as error:
            if self.kept or self.unsure or sqlstate(error) not in locks.LOCKED:
                raise StepError(said(error)) from error
            failure = error
        finally:
            self.report.blockers |= set(map(without_values, self.seen))
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
                self._tell(f"revision {script.revision}")
                session.begin_revision()
                with session.unnoted():
                    self._require(context, script)
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
        session = stack.enter_context(migrating(own, self.job.patience.lock_timeout))
        self.kept, self.unsure = session.kept, session.unsure
        return session

    def _require(self, context: MigrationContext, script: Script) -> None:
        """Raise `StepError` unless the database has what the plan has before a script, and no more.

        It is env.py's own connection that is asked.
        """
        planned = list(self.plan.digests)
        before = {*planned[: planned.index(script.revision)]}
        before |= {each.revision for each in ordered(self.directory, self.plan.start)}
        now = context.get_current_heads()
        if {each.revision for each in ordered(self.directory, now)} != before:
            told = ", ".join(now) or "no revision"
            raise StepError(f"the database is at {told}, since somebody else has stamped it")

    def _require_lock(self) -> None:
        """Raise `StepError` when nothing keeps another run away any more."""
        try:
            sql.rows(self.control, SQL("SELECT 1"))
        except SQLAlchemyError as error:
            raise StepError(f"{CUT}: {said(error)}") from error

    def _note_in_the_end(self) -> None:
        """The same as `_note`, unless it fails: the server may be gone, the stamp be unknown."""
        self.report.is_known = False
        with suppress(SQLAlchemyError, EnterpriseError):
            self._note()
            self.report.is_known = True

    def _note(self) -> None:
        """Look which revisions are applied, with another session if that of the lock was lost."""
        table = self.destination.place.version_table
        try:
            now = stamped(self.control, table)
        except SQLAlchemyError:
            with _reading(self.destination.engine) as connection:
                now = stamped(connection, table)
        there = {script.revision for script in ordered(self.directory, now)}
        self.report.applied += [each for each in self.report.left if each in there]
        self.report.left = [each for each in self.report.left if each not in there]

    def _tell(self, words: str) -> None:
        """Report progress, unless it is what another attempt of the same said last."""
        if words != self.told:
            self.job.progress(words)
        self.told = words

    def _waited(self, attempt: int) -> None:
        self.report.retries += 1
        patience = self.job.patience
        self.job.progress(
            f"revision {self.running}: no lock within {patience.lock_timeout} ms, "
            f"{attempt} of {patience.attempts} times{held_by(self.seen)}"
        )

    def _interrupted(self) -> str:
        """What is found after Ctrl-C."""
        applied, left = (", ".join(each) for each in (self.report.applied, self.report.left))
        stays = f" {self._told_kept()}." if self.kept or self.unsure else ""
        found = f"Applied: {applied or 'none'}. Not applied: {left or 'none'}."
        told = f"{found}{stays} `alembic-enterprise plan` shows what is left"
        return f"Interrupted. {told if self.report.is_known else NOT_KNOWN + stays}"

    def _told_kept(self) -> str:
        stays, unsure = ("; ".join(map(shortened, each)) for each in (self.kept, self.unsure))
        told = [f"This stays: {stays}"] if self.kept else []
        if self.unsure:
            told.append(f"It is not known what this has committed before it failed: {unsure}")
        return ". ".join(told)

    def _next_step(self, error: Exception) -> str:
        if self.kept or self.unsure:
            return (
                f"{self._told_kept()}. Undo it, or let the "
                "script go on from there, and make a new plan, which shows it as drift"
            )
        if not self.report.is_known:
            return NOT_KNOWN
        if self.report.applied:
            return "Nothing of it is committed, and those before it are applied: make a new plan"
        if isinstance(error, LockedError):
            return "Nothing is committed: run this again, or raise --lock-timeout"
        return (
            "Nothing is committed: mend it, and run this again, or make a new plan if that changes "
            "the schema or a script"
        )
