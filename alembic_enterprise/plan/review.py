"""A release review: the live database, the models and the migrations, gathered into a plan.

    found = review(config, Request(datetime.now(UTC), policy), print)
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
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.rules import RULES as INDEX_RULES
from alembic_enterprise.plan import policy, rules, settings, trial
from alembic_enterprise.plan.model import Plan, PlanFinding, Revision, ShadowServer, Step
from alembic_enterprise.plan.proposal import autogenerate
from alembic_enterprise.plan.rehearsal.steps import steps
from alembic_enterprise.plan.report.sections import facts, summary
from alembic_enterprise.plan.saved import document
from alembic_enterprise.plan.seen import Progress, Request, Seen, look
from alembic_enterprise.plan.shadow import replay
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
        saved = document.saved(self.plan, self.seen.objects, self.tried.changed, digests)
        with writable():
            saved.write(file)
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
        progress("reads the live database")
        seen = environment.visit(config, lambda visit: look(visit, config, request), reads=True)
        if seen.source is not None:
            progress("copies the schema of the live database")
            copied = stack.enter_context(shadow(seen.source, request.shadow_url))
            seen = replace(seen, shadow=copied)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="alembic-enterprise-")))
        tried = trial.run(config, request, seen, folder, progress)
    return Review(_plan(request, seen, tried), config, request, seen, tried)


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
    advised, left = _relevant(seen, tried, done)
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
        (*seen.coverage, *tried.coverage, *_unread(done), *left),
        tried.proof.proofs,
        seen.live.statuses,
    )


_CHECKS = re.compile(
    r"\b(CONSTRAINT|UNIQUE|CHECK|REFERENCES|PRIMARY KEY|NOT NULL|ATTACH PARTITION)\b", re.IGNORECASE
)
"""What a statement says that rows may not satisfy."""


_ROWS = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|COPY|SELECT|WITH|CALL)\b", re.IGNORECASE)
"""How a statement begins that does as its rows ask."""


def _unread(done: Sequence[Step]) -> Iterator[str]:
    """What an empty shadow cannot tell."""
    checking = [
        step.number
        for step in done
        if _CHECKS.search(step.statement) and any(effect.scanned for effect in step.effects)
    ]
    if checking:
        yield f"whether the live rows pass {_listed(checking)} is not known: the shadow has none"
    if asking := [step.number for step in done if _ROWS.match(step.statement)]:
        yield (
            f"what {_listed(asking)} does with live rows is not known, nor what a script does with "
            "what it has read: the shadow has none"
        )


def _listed(numbers: Sequence[int]) -> str:
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
    told = [item for item in rest if item not in apart]
    if not apart:
        return told, []
    number = counted(len(apart), "finding")
    return told, [f"{number} on indexes of other tables: alembic-enterprise indexes advise"]
