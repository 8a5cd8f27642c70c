"""The text of `plan`, for a terminal."""

from collections.abc import Iterable, Iterator

import click

from alembic_enterprise.cli.output import COLOURS, wrapped
from alembic_enterprise.plan.model import Plan
from alembic_enterprise.plan.report.sections import (
    Entry,
    Section,
    facts,
    legend,
    next_step,
    sections,
    summary,
    title,
)

MARK_COLOURS = {
    **COLOURS,
    "waived": "blue",
    "PASS": "green",
    "FAIL": "red",
    "SKIP": "yellow",
    "+": "green",
    "-": "red",
    "~": "yellow",
}
"""Of what stands before an entry."""


def text(plan: Plan) -> str:
    """What a terminal shows, in the order of a review; the summary is last, where the eye is.

    After it comes the next step.
    """
    named = [click.style(line, bold=True) for line in wrapped(title(plan), break_long_words=True)]
    head = [*named, *_all(facts(plan), "  ", "    ")]
    blocks = ["\n".join(head), *map(_section, sections(plan))]
    if meanings := legend(plan):
        blocks.append("\n".join(_all(meanings, "Legend: ", "        ")))
    last = [summary(plan), *filter(None, [next_step(plan)])]
    blocks.append("\n".join(_all(last, "", "")))
    return "\n\n".join(blocks)


def _section(section: Section) -> str:
    heading = click.style(section.heading, bold=True)
    return "\n".join([heading, *(line for entry in section.entries for line in _entry(entry))])


def _entry(entry: Entry) -> Iterator[str]:
    if entry.head:
        yield from _head(entry)
    yield from _all(entry.before, "    ", "      ")
    indent = "    " if entry.head else "  "
    for code in entry.code:
        yield from _all(code.split("\n"), indent, f"{indent}  ")
    yield from _all(entry.after, "    - ", "      ")


def _head(entry: Entry) -> Iterator[str]:
    mark = f"{entry.mark} " if entry.mark else ""
    first, *more = wrapped(mark + entry.head, "  ", "    ", break_long_words=True)
    coloured = click.style(entry.mark, fg=MARK_COLOURS.get(entry.mark))
    yield f"  {coloured}{first[2 + len(entry.mark) :]}"
    yield from more


def _all(texts: Iterable[str], first: str, indent: str) -> Iterator[str]:
    for words in texts:
        yield from wrapped(words, first, indent, break_long_words=True)
