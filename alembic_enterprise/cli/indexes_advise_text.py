"""The texts of `indexes advise`: for a terminal, and in Markdown for a pull request."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

import click

from alembic_enterprise.cli.explain import title
from alembic_enterprise.cli.output import COLOURS, COLUMNS, wrapped, written
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.report import Report
from alembic_enterprise.operation import Operation
from alembic_enterprise.wording import counted, in_bytes, printable

LABEL = 8
"""Columns of what a fact is called."""

INDENT = 6
"""Columns before what is to be written."""


def text(report: Report) -> str:
    """What a terminal shows: the findings of a rule together, the most important rule first."""
    blocks = [_head(report)]
    for rule, found in _by_rule(report.findings):
        blocks.append("\n".join([click.style(rule, bold=True), *wrapped(title(rule))]))
        blocks += map(_finding, found)
    for label, sentences in _remarks(report):
        lines = [line for item in sentences for line in wrapped(item, "  - ", "    ")]
        blocks.append("\n".join([click.style(label, bold=True), *lines]))
    return "\n\n".join([*blocks, *_next(report)])


def _head(report: Report) -> str:
    tables = counted(report.tables, "table")
    count = len(report.findings)
    if not count:
        return f"{tables}: no rule has anything to say."
    return f"{tables}: {counted(count, 'finding')}"


def _remarks(report: Report) -> Iterator[tuple[str, list[str]]]:
    if report.waived:
        yield (
            "Skipped in the models",
            [f"{found.table}: {found.rule}: {reason}" for found, reason in report.waived],
        )
    if report.unseen:
        yield "Not seen", [*report.unseen]


def _by_rule(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    rules = dict.fromkeys(found.rule for found in findings)
    return [(rule, [found for found in findings if found.rule == rule]) for rule in rules]


def _finding(found: Finding) -> str:
    severity = click.style(found.severity, fg=COLOURS[found.severity])
    lines = [f"  {click.style(printable(found.table), bold=True)}  {severity}"]
    lines += wrapped(found.message, "    ", "    ")
    for label, words in _facts(found):
        lines += wrapped(words, f"    {label:<{LABEL}}", " " * (LABEL + 4))
    for label, code in _code(found):
        lines += [f"    {label}:", *(" " * INDENT + printable(line) for line in code)]
    return "\n".join(lines)


def _facts(found: Finding) -> Iterator[tuple[str, str]]:
    """Labels and words of the figures, and of what it costs."""
    evidence = found.evidence
    rows = f", about {evidence['rows']:,} rows" if "rows" in evidence else ""
    yield "table", f"{in_bytes(evidence['table_bytes'])}{rows}"
    if "scans" in evidence:
        yield (
            "index",
            f"{in_bytes(evidence['size_bytes'])}, {evidence['scans']:,} scans{_since(found)}",
        )
    if "cost" in evidence:
        yield "costs", evidence["cost"]


def _since(found: Finding) -> str:
    """How old the counters are."""
    since = found.evidence.get("statistics_since")
    return f" since {datetime.fromisoformat(since):%Y-%m-%d %H:%M} UTC" if since else ""


def _code(found: Finding) -> Iterator[tuple[str, list[str]]]:
    """What is to be written where."""
    if found.operations:
        yield "migration", [line for item in found.operations for line in call(item)]
    model = found.evidence.get("model", {})
    for key, words in (("add", "add to the model"), ("remove", "remove from the model")):
        if key in model:
            yield words, [model[key]]


def call(operation: Operation) -> list[str]:
    """An operation as lines of a script."""
    line = f"op.{operation}"
    if len(line) <= COLUMNS - INDENT:
        return [line]
    words = operation.words()
    return [f"op.{operation.operation_name}(", *(f"    {word}," for word in words), ")"]


def _next(report: Report) -> Iterator[str]:
    if report.written is not None:
        yield "\n".join([written(report.written), *_models(report)])
    elif report.operations:
        yield 'To write a migration of all of these: --write -m "what it is called"'
    if report.findings:
        yield f"Why, and when not to: alembic-enterprise explain {report.findings[0].rule}"


def _models(report: Report) -> Iterator[str]:
    """What is left to write after the migration."""
    labels = {label for item in report.findings if item.operations for label, _ in _code(item)}
    if labels - {"migration"}:
        yield from wrapped(
            "Change the models as shown above, too: the next autogenerate would take it back."
        )


def markdown(report: Report) -> str:
    """The same for a pull request."""
    blocks = [f"# Indexes\n\n{_head(report)}"]
    for rule, found in _by_rule(report.findings):
        blocks += [f"## {rule}", _escaped(title(rule)), *map(_section, found)]
    for label, sentences in _remarks(report):
        lines = "\n".join(f"- {_escaped(item)}" for item in sentences)
        blocks.append(f"## {label}\n\n{lines}")
    if report.written is not None:
        told = _escaped(click.format_filename(report.written))
        blocks.append("\n".join([f"The migration: {told}", *_models(report)]))
    return "\n\n".join(blocks)


def _section(found: Finding) -> str:
    facts = [f"- {label}: {_escaped(words)}" for label, words in _facts(found)]
    lines = [f"### {_escaped(found.table)} ({found.severity})", "", _escaped(found.message)]
    lines += ["", *facts]
    for label, code in _code(found):
        lines += ["", f"{label.capitalize()}:", "", "```python", *map(printable, code), "```"]
    return "\n".join(lines)


def _escaped(words: str) -> str:
    r"""Text in which Markdown sees no markup: `we_ird_name` becomes `we\_ird\_name`."""
    return re.sub(r"([\\`*_<>\[\]|#])", r"\\\1", printable(words))
