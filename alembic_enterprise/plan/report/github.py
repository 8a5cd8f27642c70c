"""The findings of a plan as annotations: commands that GitHub's runner reads from the output."""

from collections.abc import Iterator

from alembic_enterprise.finding import Severity
from alembic_enterprise.plan.model import Outcome, Plan, PlanFinding
from alembic_enterprise.plan.report.sections import summary
from alembic_enterprise.wording import printable

COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}


def annotations(plan: Plan) -> str:
    """A line for each finding and each failed proof, and one for the whole."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield from map(_finding, plan.findings)
    for item in plan.proof:
        if item.outcome is Outcome.FAILED:
            yield _command("error", "proof failed", ": ".join([item.name, *item.differences[:1]]))
    yield _command("notice", f"plan for {plan.database.name}", summary(plan))


def _finding(item: PlanFinding) -> str:
    found, waiver = item.finding, item.waiver
    place = "" if item.step is None else f" (step {item.step})"
    message = f"{found.table}{place}: {found.message}"
    if waiver is None:
        return _command(COMMANDS[found.severity], found.rule, message, item.path)
    waived = f"{message} [waived until {waiver.expires}: {waiver.reason}]"
    return _command("notice", found.rule, waived, item.path)


def _command(name: str, title: str, message: str, path: str | None = None) -> str:
    properties = ["title=" + _property(title)]
    if path is not None:
        properties.insert(0, "file=" + _property(path))
    return f"::{name} {','.join(properties)}::{_data(message)}"


def _data(text: str) -> str:
    """Text after the colons (escapeData in actions/toolkit, packages/core/src/command.ts)."""
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    """The value of a property (escapeProperty, at the same place)."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
