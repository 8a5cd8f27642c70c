"""Rules about migration scripts and their environment."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from alembic_enterprise.finding import Finding, Severity
from alembic_enterprise.plan.model import PlanFinding, Step
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.plan.rules.reading import name, shape

PLUGIN = "alembic_enterprise.plugin"
"""What env.py lists in `autogenerate_plugins`, as `alembic_enterprise.*`."""

_ONCE = shape("(CREATE|DROP|INSERT INTO|ALTER .* RENAME|ALTER TYPE .* ADD VALUE) ")
_ONCE_OF_TABLE = shape("(ADD|DROP|RENAME|ATTACH|DETACH) ")
_TOLERANT = re.compile(r"\b(IF\s+(NOT\s+)?EXISTS|OR\s+REPLACE|ON\s+CONFLICT)\b", re.IGNORECASE)
_SUBJECT = shape(r"\w+ (.*? )??(TABLE|ON|INTO|VIEW|TYPE|FUNCTION|SEQUENCE)( ONLY)? {subject}")


def committed_before_the_end(facts: Facts) -> Iterator[PlanFinding]:
    """What a revision has committed stays when a later statement of it fails.

    A statement with CONCURRENTLY runs outside of a transaction: all that comes
    before it in the revision is committed first, and the revision itself is noted
    down only at its end. When something fails after that, the next upgrade begins
    at the top again, and fails at what is there already.

    Asks for a revision of its own for what runs outside of a transaction; or for
    IF NOT EXISTS, IF EXISTS and OR REPLACE before it, which do no harm the second
    time. The operations of this package find out what is left to do. Told once for
    each revision.

    Costs a file.

    Leave it when you would mend it by hand.
    """
    revisions: dict[str | None, list[Step]] = {}
    for step in facts.steps:
        revisions.setdefault(step.revision, []).append(step)
    for steps in revisions.values():
        last = max(step.transaction for step in steps)
        stuck = [step for step in steps if step.transaction < last and _is_once(facts, step)]
        if stuck:
            yield _stuck(facts, stuck, steps)


def _is_once(facts: Facts, step: Step) -> bool:
    """Whether a step fails when it has been run before, or does the same again."""
    if step.operation is not None:
        return False
    said = [match.string for match in facts.said(step, _ONCE)]
    said += [action for _, action in facts.actions(step) if _ONCE_OF_TABLE.match(action)]
    return any(_TOLERANT.search(text) is None for text in said)


def _stuck(facts: Facts, stuck: list[Step], steps: list[Step]) -> PlanFinding:
    first = stuck[0]
    later = next(step for step in steps if step.transaction > first.transaction)
    return facts.remark(
        "committed-before-the-end",
        first,
        _subject(facts, first),
        f"this is committed when step {later.number} begins: should that or a later one fail, the "
        "next upgrade fails here. Give what comes after it a revision of its own",
        severity="warning",
        steps=[step.number for step in stuck],
    )


def _subject(facts: Facts, step: Step) -> str:
    """The table that a step is about, or whatever else it names."""
    for touched in step.tables:
        return touched.table
    for match in facts.said(step, _SUBJECT):
        return str(name(match["subject"]))
    return ""


def plugin_not_enabled(facts: Facts) -> Iterator[PlanFinding]:
    """The plugin is not listed in env.py, so that autogenerate knows no partitions.

    It takes the partitions of the database for tables that no model has, and writes
    op.drop_table for each. Importing alembic_enterprise.plugin is not enough.

    Asks for autogenerate_plugins=["alembic.autogenerate.*", "alembic_enterprise.*"]
    in context.configure(). It is an error when the database has partitions.

    Costs nothing.

    Leave it when another environment of the project has it.
    """
    if any(fnmatchcase(PLUGIN, pattern) for pattern in facts.plugins):
        return
    message = (
        "autogenerate would drop partitions: in env.py, import alembic_enterprise.plugin, and "
        'write autogenerate_plugins=["alembic.autogenerate.*", "alembic_enterprise.*"] in '
        "context.configure()"
    )
    severity: Severity = "error" if any(facts.before.partitions.values()) else "warning"
    yield PlanFinding(Finding("plugin-not-enabled", severity, "env.py", message))
