"""What comes of a release: its scripts, pending and proposed, run on the shadow."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.environment import MEND_MIGRATION
from alembic_enterprise.errors import StepError
from alembic_enterprise.finding import Finding
from alembic_enterprise.plan import advice, catalog, rules
from alembic_enterprise.plan.catalog import Catalog
from alembic_enterprise.plan.locks import traces
from alembic_enterprise.plan.locks.traces import Relations
from alembic_enterprise.plan.proposal import autogenerate
from alembic_enterprise.plan.proposal.autogenerate import Changes
from alembic_enterprise.plan.proposal.proof import Proven, prove
from alembic_enterprise.plan.rehearsal import unmeasured
from alembic_enterprise.plan.rehearsal.rehearse import Performed, refused, rehearse
from alembic_enterprise.plan.saved import document
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.schema.objects import Difference, Key, Objects
from alembic_enterprise.plan.seen import Progress, Request, Seen
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.plan.shadow.database import Shadow
from alembic_enterprise.sql import sqlstate
from alembic_enterprise.urls import connected
from alembic_enterprise.wording import counted, first_few

Identity = tuple[str, str, tuple[str, ...]]
"""What a finding is about, whatever its figures are: rule, table and calls."""


def identity(item: Finding) -> Identity:
    """The identity of a finding."""
    return item.rule, item.table, tuple(map(str, item.operations))


@dataclass(frozen=True)
class Tried:
    """What came of running the scripts.

    Attributes:
        changes: what the database lacks of the models, once it has the pending scripts; None when
            that is not known.
        proposed: the scripts that were made of them.
        performed: the statements of all scripts.
        after: the catalog once they have run.
        changed: the objects that they make, change or drop; empty unless the plan is to be saved.
        drift: what was changed in the live database outside of its revisions.
        mended: remarks that nobody makes any more once they have run, by their identity.
        proof: what was tried besides, and which revisions a downgrade takes back.
        coverage: what was not analysed, a sentence each.
        shadow: on which they ran; None when they did not.
    """

    changes: Changes | None
    proposed: Sequence[Script]
    performed: Sequence[Performed]
    after: Catalog
    changed: Collection[Key] = ()
    drift: Sequence[Difference] = ()
    mended: Collection[Identity] = ()
    proof: Proven = field(default_factory=Proven)
    coverage: Sequence[str] = ()
    shadow: Shadow | None = None


@dataclass(frozen=True)
class _Start:
    """The shadow before the scripts."""

    relations: Relations
    remarks: Sequence[Finding]
    objects: Objects


@dataclass(frozen=True)
class _End:
    """The shadow after them: its catalog, and what has become of the start."""

    catalog: Catalog
    mended: Collection[Identity] = ()
    changed: Collection[Key] = ()


def run(
    config: Config,
    request: Request,
    seen: Seen,
    copied: Shadow | None,
    folder: Path,
    progress: Progress,
) -> Tried:
    """Run the scripts on the shadow.

    Args:
        config: Alembic's configuration of the project.
        request: what is asked.
        seen: the live database.
        copied: its shadow; None for what is known without one.
        folder: an empty one, for the scripts to come.
        progress: is called with what comes next.

    Raises:
        ConfigurationError: env.py fails, or the models cannot be brought about.
        StepError: a migration cannot be run.
        ServerError: no further database can be had.
    """
    if copied is None:
        return _unmeasured(config, seen, folder)
    progress("runs all revisions, to see what was changed outside of them")
    before = _start(copied, seen)
    differences, coverage = _drift(config, copied, seen, before.objects)
    rehearsed = partial(
        _rehearsed, seen=seen, live=before.relations, differences=differences, progress=progress
    )
    with copied.clone() as start:
        pending = rehearsed(config, copied, seen.pending)
        changes = _changes(config, copied, request, seen)
        extended, proposed = _proposed(config, changes, folder)
        more = rehearsed(extended, copied, proposed)
        scripts = [*seen.pending, *proposed]
        if pending and more and seen.is_one_transaction:
            # env.py runs them in one: what the pending ones lock is held while the others run.
            with copied.clone(start) as url:
                performed = rehearsed(extended, replace(copied, url=url), scripts)
        else:
            performed = [*pending, *_afterwards(pending, more)]
        proven = Proven()
        if request.proves and performed:
            progress("tries the downgrade, the upgrade once more, and the SQL")
            proven = prove(extended, copied, start, scripts, seen.version_table, before.objects)
    after = _end(copied, seen, before if performed else None)
    return Tried(
        changes=changes,
        proposed=proposed,
        performed=performed,
        after=after.catalog,
        changed=after.changed,
        drift=differences,
        mended=after.mended,
        proof=proven,
        coverage=coverage,
        shadow=replace(copied, gaps=(*copied.gaps, *copied.host.left())),
    )


def _drift(
    config: Config, copied: Shadow, seen: Seen, live: Objects
) -> tuple[Sequence[Difference], Sequence[str]]:
    """What was changed outside of the revisions, if these can be run from nothing."""
    try:
        return drift.drift(config, copied, seen.version_table, live), ()
    except (StepError, DBAPIError) as error:
        refusal, reason = refused(error), _reason(error)
    lacks_schema = refusal is not None and sqlstate(refusal) == INVALID_SCHEMA_NAME
    if lacks_schema and (schemas := _schemas(copied)):
        named = first_few(schemas)
        try:
            found = drift.drift(config, copied, seen.version_table, live, schemas)
            return found, (BEFOREHAND.format(named),)
        except (StepError, DBAPIError) as error:
            reason += f"; nor do they where these schemas are there, {named}: {_reason(error)}"
    if hint := refusal and copied.explained(refusal):
        reason = f"{reason.rstrip('.')}. {hint}"
    return (), (f"drift is not known, since the revisions do not run from nothing: {reason}",)


def _schemas(copied: Shadow) -> list[str]:
    with connected(copied.url) as connection:
        return drift.schemas(connection)


def _reason(error: StepError | DBAPIError) -> str:
    return str(error) if isinstance(error, StepError) else replay.said(error)


INVALID_SCHEMA_NAME = "3F000"
"""SQLSTATE of a schema that does not exist."""

BEFOREHAND = (
    "the revisions run from nothing only where these schemas are there: {}. Their owners and "
    "rights are not compared: let env.py or the first revision CREATE SCHEMA IF NOT EXISTS"
)


def _start(copied: Shadow, seen: Seen) -> _Start:
    with connected(copied.url) as connection:
        remarks, _ = advice.advised(connection, seen.models)
        relations = traces.relations(connection)
        objects = drift.objects_of(connection)  # ends the transaction
    return _Start(relations, remarks, objects)


def _end(copied: Shadow, seen: Seen, before: _Start | None) -> _End:
    """The shadow after the scripts; `before` is None where they have done nothing.

    Only a plan that is to be saved, which has a place, tells which objects they change.
    """
    with connected(copied.url) as connection:
        known = catalog.read(connection)
        if before is None:
            return _End(known)
        mended = set(map(identity, before.remarks))
        if mended:
            mended -= set(map(identity, advice.advised(connection, seen.models)[0]))
        if seen.place is None:
            return _End(known, mended)
        changed = document.changes(before.objects, drift.objects_of(connection))
    return _End(known, mended, changed)


def _afterwards(done: Sequence[Performed], more: Sequence[Performed]) -> list[Performed]:
    """Number the transactions of a second rehearsal after those of the first."""
    last = done[-1].transaction if done else 0
    return [replace(one, transaction=last + one.transaction) for one in more]


def _rehearsed(
    config: Config,
    copied: Shadow,
    scripts: Sequence[Script],
    *,
    seen: Seen,
    live: Relations,
    differences: Sequence[Difference],
    progress: Progress,
) -> list[Performed]:
    if not scripts:
        return []
    try:
        return rehearse(
            config,
            copied.url,
            scripts,
            progress,
            live=live,
            major=copied.original.major,
            version_table=seen.version_table,
        )
    except StepError as error:
        sentences = [str(error), *_hints(error, copied, differences)]
        refusal = refused(error)
        if len(sentences) == 1 and refusal is not None and replay.is_of_words(sqlstate(refusal)):
            sentences.append(MEND_MIGRATION)
        raise StepError(". ".join(text.rstrip(".") for text in sentences)) from error


UNDEFINED_TABLE = "42P01"
"""SQLSTATE of a relation that does not exist."""

NAMED = 3
"""How many differences are named that may be why a script fails."""


def _hints(error: StepError, copied: Shadow, differences: Sequence[Difference]) -> list[str]:
    """What may be why a script fails, besides what the server says."""
    refusal = refused(error)
    state = None if refusal is None else sqlstate(refusal)
    hints = [refusal and rules.explained(refusal.statement or "", state)]
    hints.append(refusal and copied.explained(refusal))
    if state == UNDEFINED_TABLE and not copied.whole:
        hints.append("If that is an old partition, the shadow is without it: give --whole")
    hints += copied.host.left()
    if differences:
        names = ", ".join(f"{x.kind} {x.name} ({x.change})" for x in differences[:NAMED])
        number = counted(len(differences), "object")
        hints.append(f"{number} changed outside of the revisions may be why: {names}")
    return [hint for hint in hints if hint]


def _proposed(
    config: Config, changes: Changes | None, folder: Path
) -> tuple[Config, Sequence[Script]]:
    """The scripts that bring changes about, in a folder, and a configuration that knows them."""
    return autogenerate.write_apart(config, changes, folder) if changes else (config, [])


def _changes(config: Config, copied: Shadow, request: Request, seen: Seen) -> Changes:
    """What the database lacks of the models, once it has the pending scripts."""
    if seen.changes is not None:
        return seen.changes

    def compared(context: MigrationContext) -> Changes:
        return autogenerate.compared(
            context, request.message, unknown=copied.unknown, large=seen.large
        )

    return replay.visit(config, copied.url, compared)


def _unmeasured(config: Config, seen: Seen, folder: Path) -> Tried:
    """What is known without a shadow."""
    changes = seen.changes
    extended, proposed = _proposed(config, changes, folder)
    scripts = [*seen.pending, *proposed]
    coverage = [UNMEASURED, *([] if changes is not None else [UNCOMPARED])]
    performed: list[Performed] = []
    try:
        performed = unmeasured.written(
            extended, scripts, seen.version_table, is_one_transaction=seen.is_one_transaction
        )
    except CommandError as error:
        coverage.append(f"the statements are not known without a database: {error}")
    return Tried(changes, proposed, performed, seen.catalog, coverage=tuple(coverage))


UNMEASURED = (
    "drift was not looked for, no effect of a statement is known and no downgrade was tried: leave "
    "out --no-shadow"
)
UNCOMPARED = (
    "models are compared with the database as the pending revisions leave it, for which there is "
    "no shadow: leave out --no-shadow, or migrate first"
)
