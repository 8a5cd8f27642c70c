"""A release review: the live database, the models and the migrations, gathered into a plan.

    found = review(config, Request(datetime.now(UTC), policy), print)
    found.plan

The live database is read while env.py has a connection to it, and not again. All else happens on a
shadow.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from psycopg.sql import SQL
from sqlalchemy import URL

from alembic_enterprise import environment, sql
from alembic_enterprise.environment import Visit, connected
from alembic_enterprise.errors import ConfigurationError, StepError
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.rules import RULES as INDEX_RULES
from alembic_enterprise.operation import sqlstate
from alembic_enterprise.plan import advice, live, policy, rules, settings, surroundings
from alembic_enterprise.plan.live import Live
from alembic_enterprise.plan.model import (
    Plan,
    PlanFinding,
    RelationEffect,
    Revision,
    ShadowServer,
    Step,
)
from alembic_enterprise.plan.policy import ReviewPolicy
from alembic_enterprise.plan.proposal import autogenerate
from alembic_enterprise.plan.proposal.autogenerate import Changes
from alembic_enterprise.plan.proposal.proof import Proven, prove
from alembic_enterprise.plan.rehearsal import unmeasured
from alembic_enterprise.plan.rehearsal.rehearse import Performed, refused, rehearse
from alembic_enterprise.plan.rehearsal.steps import steps
from alembic_enterprise.plan.report.sections import facts, summary
from alembic_enterprise.plan.saved import document
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.schema.objects import Difference, Key, Objects
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.plan.shadow.database import Shadow, shadow
from alembic_enterprise.plan.surroundings import Surroundings
from alembic_enterprise.revision import writable
from alembic_enterprise.sql import Name
from alembic_enterprise.wording import counted

Progress = Callable[[str], None]
"""Called with what comes next, in words."""

_PATIENT = SQL("SELECT set_config('idle_in_transaction_session_timeout', '0', true)")


@dataclass(frozen=True)
class Request:
    """What is asked of a review.

    Attributes:
        now: the moment of the review (aware).
        policy: what the project accepts.
        message: what the proposed revision is called.
        shadow_url: a server for the shadow; None for a private one.
        has_shadow: whether anything is measured.
        proves: whether the downgrade and the rest are tried.
        whole: whether the shadow gets all partitions.
        saves: whether the plan is to be saved.
    """

    now: datetime
    policy: ReviewPolicy
    message: str = "proposed"
    shadow_url: URL | None = None
    has_shadow: bool = True
    proves: bool = True
    whole: bool = False
    saves: bool = False


@dataclass(frozen=True)
class Seen:
    """What was read of the live database.

    Attributes:
        pending: the scripts that it lacks.
        changes: what it lacks of the models; None while scripts are pending.
        large: tables whose indexes are to be built online.
        plugins: `autogenerate_plugins` of env.py.
        advised: what the capabilities remark.
        objects: all that is there; empty unless the plan is to be saved.
    """

    live: Live
    version_table: Name
    pending: Sequence[Script]
    changes: Changes | None
    large: set[Name]
    plugins: Sequence[str]
    surroundings: Surroundings
    advised: Sequence[Finding]
    unseen: Sequence[str]
    objects: Objects
    shadow: Shadow | None


@dataclass(frozen=True)
class Tried:
    """What came of running the scripts.

    Attributes:
        drift: what was changed in the live database outside of its revisions.
        changes: what the database lacks of the models, once it has the pending scripts.
        proposed: the scripts that were made of them, by revision.
        performed: the statements of all scripts.
        after: the surroundings once they have run.
        changed: what the scripts have made, changed or dropped.
        proof: what was tried besides, and which revisions a downgrade takes back.
        coverage: what was not analysed, a sentence each.
    """

    changes: Changes | None
    proposed: Sequence[Script]
    performed: Sequence[Performed]
    after: Surroundings
    changed: frozenset[Key]
    drift: Sequence[Difference] = ()
    proof: Proven = field(default_factory=Proven)
    coverage: Sequence[str] = ()


@dataclass(frozen=True)
class Review:
    """A plan, and what it was made of.

    Attributes:
        files: those that were written.
    """

    plan: Plan
    config: Config
    request: Request
    seen: Seen
    tried: Tried
    files: tuple[Path, ...] = ()

    def written(self, *, with_sql: bool = False) -> "Review":
        """Write the proposal into the project; from then on its scripts are pending."""
        if not self.tried.changes:
            return self
        told = "\n".join([summary(self.plan), *facts(self.plan)])
        files = autogenerate.write(self.config, self.tried.changes, told, sql=with_sql)
        plan = _plan(self.request, self.seen, self.tried, files)
        return replace(self, plan=plan, files=(*self.files, *files))

    def save(self, file: Path) -> "Review":
        """Save the plan for `apply` and `verify`.

        Raises:
            ConfigurationError: the plan cannot be applied, or the file not be written.
        """
        directory = ScriptDirectory.from_config(self.config)
        scripts = replay.pending(directory, self.plan.database.revisions)
        digests = document.digests(self.config, scripts)
        text = document.saved(self.plan, self.seen.objects, self.tried.changed, digests).text()
        with writable():
            file.write_text(text, encoding="utf-8")
        return replace(self, files=(*self.files, file))


def review(config: Config, request: Request, progress: Progress) -> Review:
    """Make a plan. Nothing is changed in the live database, nor in the project.

    Args:
        config: Alembic's configuration of the project.
        request: what is asked.
        progress: is told what comes next.

    Raises:
        ConfigurationError: the project, or what it is asked for, lack something.
        StepError: a migration cannot be run on the shadow.
        ServerError: there is no server for the shadow.
    """
    with ExitStack() as stack:
        progress("reads the live database, and copies its schema")
        seen = environment.visit(config, lambda visit: _look(visit, config, request, stack))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="alembic-enterprise-")))
        tried = _try(config, request, seen, folder, progress)
    return Review(_plan(request, seen, tried), config, request, seen, tried)


def _look(visit: Visit, config: Config, request: Request, stack: ExitStack) -> Seen:
    """Read the live database. The shadow is there until the stack is left."""
    if not visit.metadata:
        raise ConfigurationError(
            "env.py gives context.configure() no target_metadata, so there are no models to "
            "compare with: add target_metadata="
        )
    connection, context = visit.connection, visit.context
    version_table = Name(context.version_table_schema, context.version_table)
    sql.read_only(connection)
    sql.rows(connection, _PATIENT)  # a large schema takes minutes to be copied
    stamped = drift.stamped(connection, version_table)
    pending = replay.pending(ScriptDirectory.from_config(config), stamped)
    changes = None if pending else autogenerate.compared(context, request.message)
    copied = None
    if request.has_shadow:
        copied = stack.enter_context(
            shadow(connection, version_table, request.shadow_url, whole=request.whole)
        )
    known = live.read(connection, version_table, request.now)
    advised, unseen = advice.advised(connection, visit.metadata)
    return Seen(
        known,
        version_table,
        pending,
        changes,
        autogenerate.large_tables(context),
        tuple(visit.opts.get("autogenerate_plugins") or ()),
        surroundings.read(connection),
        advised,
        unseen,
        drift.read(connection) if request.saves else {},  # the last: it ends the transaction
        copied,
    )


def _try(config: Config, request: Request, seen: Seen, folder: Path, progress: Progress) -> Tried:
    """Run the scripts on the shadow, those to come from a folder of their own."""
    copied = seen.shadow
    if copied is None:
        return _untried(config, seen, folder)
    progress("runs all revisions, to see what was changed outside of them")
    differences = drift.drift(config, copied, seen.version_table)
    with connected(copied.url) as connection:
        before = drift.read(connection)
    with copied.clone() as start:
        performed = _rehearsed(config, seen, copied, seen.pending, progress)
        changes = seen.changes
        if changes is None:
            changes = replay.visit(
                config, copied.url, lambda context: _compared(context, request, seen)
            )
        extended, proposed = (
            autogenerate.trial(config, changes, folder) if changes else (config, [])
        )
        performed += _rehearsed(extended, seen, copied, proposed, progress)
        proven = Proven()
        if request.proves and performed:
            progress("tries the downgrade, the upgrade once more, and the SQL")
            scripts = [*seen.pending, *proposed]
            proven = prove(extended, copied, start, scripts, seen.version_table)
    with connected(copied.url) as connection:
        after = surroundings.read(connection)
        changed = document.changes(before, drift.read(connection))
    return Tried(changes, proposed, performed, after, changed, differences, proven)


def _rehearsed(
    config: Config, seen: Seen, copied: Shadow, scripts: Sequence[Script], progress: Progress
) -> list[Performed]:
    major = copied.original.major
    try:
        return rehearse(
            config, copied.url, scripts, progress, major=major, version_table=seen.version_table
        )
    except StepError as error:
        refusal = refused(error)
        state = None if refusal is None else sqlstate(refusal)
        more = refusal and rules.explained(refusal.statement or "", state)
        if state == UNDEFINED_TABLE and not copied.whole:
            more = PERHAPS_LEFT_OUT
        if more is None:
            raise
        raise StepError(f"{error}. {more}") from error


UNDEFINED_TABLE = "42P01"
PERHAPS_LEFT_OUT = "If that is an old partition, the shadow is without it: give --whole"


def _proposed(
    config: Config, changes: Changes | None, folder: Path
) -> tuple[Config, Sequence[Script]]:
    """The scripts that bring changes about, in a folder, and a configuration that knows them."""
    return autogenerate.trial(config, changes, folder) if changes else (config, [])


def _compared(context: MigrationContext, request: Request, seen: Seen) -> Changes:
    """What the shadow lacks of the models, by the sizes of the live tables."""
    unknown = () if seen.shadow is None else seen.shadow.unknown
    return autogenerate.compared(context, request.message, unknown=unknown, large=seen.large)


def _untried(config: Config, seen: Seen, folder: Path) -> Tried:
    """What is known without a shadow."""
    changes = seen.changes
    extended, proposed = _proposed(config, changes, folder)
    scripts = [*seen.pending, *proposed]
    coverage = [UNMEASURED, *([] if changes is not None else [UNCOMPARED])]
    try:
        performed = unmeasured.written(extended, scripts, seen.version_table)
    except CommandError as error:
        performed = []
        coverage.append(f"the statements are not known without a database: {error}")
    return Tried(
        changes, proposed, performed, seen.surroundings, frozenset(), coverage=tuple(coverage)
    )


UNMEASURED = (
    "drift was not looked for, no effect of a statement is known and no downgrade was tried: leave "
    "out --no-shadow"
)
UNCOMPARED = (
    "models are compared with the database as the pending revisions leave it, for which there is "
    "no shadow: leave out --no-shadow, or migrate first"
)


def _plan(request: Request, seen: Seen, tried: Tried, written: Sequence[Path] = ()) -> Plan:
    """The plan; a proposal that was written counts as pending."""
    copied, home = seen.shadow, Path.cwd()
    proposed = () if written else tried.proposed
    done = steps(
        tried.performed,
        seen.live.tables,
        tried.proof.reversible,
        "" if copied is None else copied.host.version,
        {script.revision for script in proposed},
    )
    files = [file for file in written if file.suffix == ".py"]
    scripts = [(script, Path(script.path)) for script in seen.pending]
    scripts += zip(tried.proposed if files else (), files, strict=True)
    pending = [
        Revision(script.revision, script.doc, settings.path(file, home)) for script, file in scripts
    ]
    enterprise = () if tried.changes is None else tried.changes.enterprise
    known = rules.Facts(
        done,
        seen.surroundings,
        tried.after,
        seen.live.tables,
        {item.revision: item.path for item in pending},
        seen.plugins,
    )
    accepted = settings.with_waivers(request.policy, seen.pending, home)
    advised, left = _relevant(seen.advised, enterprise, done)
    found = [
        *rules.found(known),
        *policy.protected(done, accepted),
        *(PlanFinding(finding) for finding in advised),
    ]
    return Plan(
        seen.live.database,
        seen.live.circumstances,
        None if copied is None else ShadowServer(copied.description, copied.gaps),
        tuple(tried.drift),
        () if tried.changes is None else tried.changes.model_changes,
        tuple(enterprise),
        tuple(pending),
        done,
        tuple(policy.applied(found, accepted, request.now.date())),
        (*seen.live.coverage, *seen.unseen, *tried.coverage, *_unread(done), *left),
        tried.proof.proofs,
        seen.live.statuses,
    )


def _unread(done: Sequence[Step]) -> Iterator[str]:
    """What the live rows may still refuse."""
    reading = [step.number for step in done if any(map(_reads_all, step.effects))]
    if reading:
        numbers = ", ".join(map(str, reading))
        yield f"whether the live rows pass step {numbers} is not known: the shadow has none"


def _reads_all(effect: RelationEffect) -> bool:
    """Whether a step looks at each row while nobody may change it, as what checks rows does."""
    return effect.scanned and bool(effect.blocks)


def _relevant(
    advised: Sequence[Finding], enterprise: Sequence[Finding], done: Sequence[Step]
) -> tuple[list[Finding], list[str]]:
    """The remarks that this release is about, and a sentence on the others.

    What the release mends is no finding any more. Advice on indexes is heard where it touches the
    table; elsewhere `indexes advise` gives it.
    """
    mended = {(item.rule, item.table) for item in enterprise}
    touched = {item.table for step in done for item in step.tables}
    rest = [item for item in advised if (item.rule, item.table) not in mended]
    apart = [x for x in rest if x.rule in INDEX_RULES and x.table not in touched]
    told = [x for x in rest if x not in apart]
    if not apart:
        return told, []
    number = counted(len(apart), "finding")
    return told, [f"{number} on indexes of other tables: alembic-enterprise indexes advise"]
