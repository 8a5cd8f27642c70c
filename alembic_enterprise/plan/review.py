"""A release review: the live database, the models and the migrations, gathered into a plan.

    found = review(config, Request(datetime.now(UTC), settings.read(config)), print)
    found.plan

The live database is read while env.py has a connection to it, and then by pg_dump. All else happens
on a shadow.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic.config import Config
from alembic.script import ScriptDirectory

from alembic_enterprise import environment
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.rules import RULES as INDEX_RULES
from alembic_enterprise.plan import revisions, rules, settings, trial
from alembic_enterprise.plan.accepted import applied, protected
from alembic_enterprise.plan.model import Plan, PlanFinding, Revision, ShadowServer, Step
from alembic_enterprise.plan.proposal import autogenerate
from alembic_enterprise.plan.rehearsal.steps import steps
from alembic_enterprise.plan.report.sections import facts, summary
from alembic_enterprise.plan.rules.reading import parts
from alembic_enterprise.plan.saved import document
from alembic_enterprise.plan.seen import Progress, Request, Seen, look
from alembic_enterprise.plan.shadow.database import shadow
from alembic_enterprise.plan.trial import Tried, identity
from alembic_enterprise.revision import writable
from alembic_enterprise.wording import counted


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
        text = "\n".join([summary(self.plan), *facts(self.plan)])
        files = autogenerate.write(self.config, self.tried.changes, text, sql=with_sql)
        plan = _plan(self.request, self.seen, self.tried, files)
        return replace(self, plan=plan, files=(*self.files, *files))

    def to_be_saved(self, file: Path) -> "Review":
        """The review whose plan says where it will be saved, if it can be."""
        is_refused = document.refusal(self.plan) is not None
        return self if is_refused else replace(self, plan=replace(self.plan, file=str(file)))

    def save(self, file: Path) -> "Review":
        """Save the plan for `apply` and `verify`.

        Raises:
            ConfigurationError: the plan cannot be applied, was not asked for as one to be saved, or
                the file cannot be written.
        """
        seen, changed = self.seen, self.tried.changed
        if seen.place is None:
            raise ConfigurationError("what `apply` needs was not read: ask for the plan with --out")
        directory = ScriptDirectory.from_config(self.config)
        scripts = revisions.pending(directory, self.plan.database.revisions)
        digests = document.digests(self.config, scripts)
        saved = document.saved(self.plan, seen.place, seen.objects, changed, digests)
        with writable():
            saved.write(file)
        return replace(self, files=(*self.files, file))


def review(config: Config, request: Request, progress: Progress) -> Review:
    """Make a plan. Nothing is changed in the live database, nor in the project.

    Args:
        config: Alembic's configuration of the project.
        request: what is asked.
        progress: is called with what comes next.

    Raises:
        ConfigurationError: the project, or what it is asked for, lack something.
        StepError: a migration cannot be run on the shadow.
        ServerError: there is no server for the shadow.
    """
    with ExitStack() as stack:
        progress("reads the live database")
        seen = environment.visit(config, lambda visit: look(visit, config, request), reads=True)
        copied = None
        if seen.source is not None:
            progress("copies the schema of the live database")
            copied = stack.enter_context(shadow(seen.source, request.shadow_url))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="alembic-enterprise-")))
        tried = trial.run(config, request, seen, copied, folder, progress)
    return Review(_plan(request, seen, tried), config, request, seen, tried)


def _plan(request: Request, seen: Seen, tried: Tried, written: Sequence[Path] = ()) -> Plan:
    """The plan; a proposal that was written counts as pending."""
    done, pending = _steps(seen, tried, written), _pending(seen, tried, written)
    advised, left_out = _relevant(seen, tried, done)
    known = rules.Facts(
        steps=done,
        before=seen.catalog,
        after=tried.after,
        tables=seen.live.tables,
        paths={item.revision: item.path for item in pending},
        plugins=seen.plugins,
    )
    copied = tried.shadow
    return Plan(
        database=seen.live.database,
        circumstances=seen.live.circumstances,
        shadow=None if copied is None else ShadowServer(copied.description, copied.gaps),
        drift=tuple(tried.drift),
        model_changes=() if tried.changes is None else tried.changes.model_changes,
        enterprise_changes=() if tried.changes is None else tried.changes.enterprise,
        pending=pending,
        steps=done,
        findings=_findings(request, seen, known, advised),
        coverage=(*seen.coverage, *tried.coverage, *unread(done), *left_out),
        proof=tried.proof.proofs,
        partitioned=seen.live.statuses,
    )


def _steps(seen: Seen, tried: Tried, written: Sequence[Path]) -> tuple[Step, ...]:
    """The statements; those of a proposal have no revision until it is written."""
    proposed = () if written else tried.proposed
    return steps(
        tried.performed,
        seen.live.tables,
        tried.proof.reversible,
        "" if tried.shadow is None else tried.shadow.host.version,
        {script.revision for script in proposed},
    )


def _pending(seen: Seen, tried: Tried, written: Sequence[Path]) -> tuple[Revision, ...]:
    """The revisions that the database lacks, and those of a proposal that was written."""
    files = [file for file in written if file.suffix == ".py"]
    scripts = [(script, Path(script.path)) for script in seen.pending]
    scripts += zip(tried.proposed if files else (), files, strict=True)
    return tuple(
        Revision(script.revision, script.doc, settings.path(file, Path.cwd()))
        for script, file in scripts
    )


def _findings(
    request: Request, seen: Seen, known: rules.Facts, advised: Sequence[Finding]
) -> tuple[PlanFinding, ...]:
    """What the rules and the capabilities remark on, as the project accepts it."""
    accepted = settings.with_waivers(request.accepted, seen.pending, Path.cwd())
    found = [
        *rules.found(known),
        *protected(known.steps, accepted, known.tables),
        *(PlanFinding(finding) for finding in advised),
    ]
    return tuple(applied(found, accepted, request.now.date()))


_CHECKS = re.compile(
    r"\b(CONSTRAINT|UNIQUE|CHECK|REFERENCES|PRIMARY KEY|NOT NULL|EXCLUDE|TYPE|ATTACH PARTITION)\b",
    re.IGNORECASE,
)
"""What a statement says that rows may not satisfy."""

_ROWS = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|MERGE|COPY|SELECT|WITH|CALL|DO|REFRESH"
    r"|CREATE\s[^(]*\b(TABLE|MATERIALIZED\s+VIEW)\b.*\sAS[\s(]*(SELECT|WITH|VALUES|TABLE|EXECUTE))\b",
    re.IGNORECASE | re.DOTALL,
)
"""How a statement begins that does as its rows ask."""


def unread(done: Sequence[Step]) -> Iterator[str]:
    """What an empty shadow cannot show."""
    checking = [
        step.number
        for step in done
        if _CHECKS.search(step.statement) and any(effect.scanned for effect in step.effects)
    ]
    if checking:
        yield f"whether the live rows pass {_numbers(checking)} is not known: the shadow has none"
    if asking := [step.number for step in done if _asks_rows(step)]:
        yield (
            f"what {_numbers(asking)} does with live rows is not known, nor what a script does "
            "with what it has read: the shadow has none"
        )


def _asks_rows(step: Step) -> bool:
    return step.operation is None and any(map(_ROWS.match, parts(step.statement)))


def _numbers(numbers: Sequence[int]) -> str:
    return f"step{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _relevant(seen: Seen, tried: Tried, done: Sequence[Step]) -> tuple[list[Finding], list[str]]:
    """The remarks that this release is about, and a sentence on the others.

    What the release mends is no finding any more. Advice on indexes is heard where it touches the
    table; elsewhere `indexes advise` gives it.
    """
    enterprise = () if tried.changes is None else tried.changes.enterprise
    known = {(item.rule, item.table) for item in enterprise}
    rest = [
        item
        for item in seen.advised
        if (item.rule, item.table) not in known and identity(item) not in tried.mended
    ]
    touched = {item.table for step in done for item in step.tables}
    apart = [item for item in rest if item.rule in INDEX_RULES and item.table not in touched]
    relevant = [item for item in rest if item not in apart]
    if not apart:
        return relevant, []
    number = counted(len(apart), "finding")
    return relevant, [f"{number} on indexes of other tables: alembic-enterprise indexes advise"]
