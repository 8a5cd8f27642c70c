"""A plan as a comment on a pull request."""

import re
from collections.abc import Iterable, Sequence
from textwrap import indent

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
from alembic_enterprise.wording import printable

LIMIT = 65_000
"""Bytes of a whole comment; GitHub takes 65,536 characters."""

LONG = 2_000
"""Bytes from which a section is folded up."""

STATEMENT = 2_000
"""Characters of a statement that are shown."""

FACTS = 20
"""How many sentences about where it comes from are shown."""

RESERVED = 400
"""Bytes that a section needs besides its entries: heading, folding, and the note of what is cut."""


def markdown(plan: Plan) -> str:
    """The comment: long sections folded up, and what does not fit left out with a note."""
    head = "\n".join([f"# {_escaped(title(plan))}", "", f"**{_escaped(summary(plan))}**", ""])
    head += "\n".join(f"- {_escaped(_cut(sentence))}" for sentence in [*facts(plan)][:FACTS])
    last = [_escaped(sentence) for sentence in [next_step(plan)] if sentence]
    meanings = [f"Legend: {_escaped(sentence)}  " for sentence in legend(plan)]
    tail = "\n".join([*meanings, *last])
    found = sections(plan)
    entries = [[_entry(entry) for entry in section.entries] for section in found]
    room = LIMIT - _bytes([head, tail]) - RESERVED * len(found)
    blocks = [
        _section(section, texts, space)
        for section, texts, space in zip(found, entries, shares(entries, room), strict=True)
    ]
    return "\n\n".join([head, *blocks, *([tail] if tail else [])]) + "\n"


def shares(entries: Sequence[Sequence[str]], room: int) -> list[int]:
    """How many bytes each section gets: all it needs, or an equal share of what others leave."""
    needs = [_bytes(texts) for texts in entries]
    given = [0] * len(needs)
    smallest_first = sorted(range(len(needs)), key=needs.__getitem__)
    for done, position in enumerate(smallest_first):
        given[position] = min(needs[position], (room - sum(given)) // (len(needs) - done))
    return given


def _section(section: Section, texts: Sequence[str], space: int) -> str:
    shown = [*_fitting(texts, space)]
    left = len(texts) - len(shown)
    note = [f"*{left:,} more are left out here.*"] if left else []
    body = "\n".join([*shown, *note])
    if _bytes(shown) < LONG:
        return f"## {section.heading}\n\n{body}"
    summary = f"<summary>{section.heading}</summary>"
    return f"## {section.title}\n\n<details>{summary}\n\n{body}\n\n</details>"


def _fitting(texts: Iterable[str], space: int) -> Iterable[str]:
    for text in texts:
        space -= _bytes([text])
        if space < 0:
            return
        yield text


def _bytes(texts: Iterable[str]) -> int:
    """With a line feed after each."""
    return sum(len(text.encode()) + 1 for text in texts)


def _entry(entry: Entry) -> str:
    """An item of a list, in which code stands indented; code alone when there is nothing else."""
    code = [line for text in entry.code for line in ("", *_fenced(text), "")]
    if not entry.head:
        return "\n".join(code).strip("\n")
    mark = f"**{entry.mark}** " if entry.mark else ""
    before = [f"<br>{_escaped(_cut(words))}" for words in entry.before]
    after = [f"- {_escaped(_cut(words))}" for words in entry.after]
    lines = [mark + _escaped(_cut(entry.head)), *before, *code, *after]
    return "- " + indent("\n".join(lines), "  ").strip()


def _fenced(code: str) -> list[str]:
    """Code between fences that are longer than any row of backticks in it."""
    lines = [printable(line) for line in _cut(code).split("\n")]
    longest = max([2, *map(len, re.findall("`+", code))])
    fence = "`" * (longest + 1)
    return [f"{fence}{_language(code)}", *lines, fence]


def _language(code: str) -> str:
    """No statement begins with the sign of a diff."""
    if code.startswith("@@ "):
        return "diff"
    return "python" if code.startswith("op.") else "sql"


def _cut(text: str) -> str:
    left = len(text) - STATEMENT
    return text if left <= 0 else f"{text[:STATEMENT]} ... ({left:,} characters more)"


def _escaped(words: str) -> str:
    """Text in which neither Markdown nor GitHub sees anything: no markup, no link, no mention."""
    escaped = re.sub(r"([\\`*_<>\[\]|#~&])", r"\\\1", printable(words).strip())
    # At the beginning they would make a list.
    escaped = re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escaped)
    # A space of no width: an address or a name after it is none to GitHub.
    return escaped.replace("@", "@&#8203;").replace("://", ":&#8203;//")
