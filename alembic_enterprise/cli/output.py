"""Text on standard output, in whatever encoding and with or without colour."""

import os
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alembic_enterprise.wording import counted, printable

if TYPE_CHECKING:
    from alembic_enterprise.finding import Finding

COLUMNS = 80
"""Of a terminal, as texts are made for it."""

COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
"""Of the severities, the worst first, on a terminal."""

UNFINISHED = "not finished"
"""How a run says of a table that it has left something to do."""


def written(file: Path | str) -> str:
    """What is said of a file that was written, as it is called in the folder of the command."""
    whole, here = Path(file).absolute(), Path.cwd()
    shown = whole.relative_to(here) if whole.is_relative_to(here) else whole
    return f"Written: {click.format_filename(shown)}"


def speaks_unicode() -> bool:
    """Whether standard output can show the symbols of timelines and bars."""
    try:
        "━●✗○◂▸…│".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def draws_progress() -> bool:
    """Whether standard error is a terminal that somebody looks at: no pipe, and not CI."""
    return sys.stderr.isatty() and not os.environ.get("CI")


@contextmanager
def progress_bar(**options: Any) -> Generator[Callable[[], Any]]:
    """A function that returns click's bar, with the options of `click.progressbar()`.

    It is drawn when that is first called, so that no error stands below one that has not begun.
    """
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(click.progressbar(file=sys.stderr, **options)))


def write(text: str) -> None:
    """Print text; what the encoding of the terminal lacks is escaped."""
    encoding = sys.stdout.encoding or "ascii"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def wrapped(
    words: str, first: str = "", indent: str = "", *, break_long_words: bool = False
) -> list[str]:
    """Words in lines of a terminal: `first` before the first line, `indent` before others."""
    return textwrap.wrap(
        printable(words),
        COLUMNS,
        initial_indent=first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=break_long_words,
    )


def labelled(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Lines of labels with their words, which may be coloured, in a column of their own."""
    for label, words in facts:
        lines = textwrap.wrap(words, COLUMNS - 12, break_on_hyphens=False, break_long_words=False)
        for place, line in enumerate(lines):
            yield f"  {'' if place else label:<10}{line}"


def width(text: str) -> int:
    """How many columns a terminal needs for the text."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def findings_text(findings: "Sequence[Finding]", well: str) -> str:
    """The findings, a line each, the worst first; without any, that all is well."""
    worst_first = sorted(findings, key=lambda found: [*COLOURS].index(found.severity))
    return "\n".join(map(_line, worst_first)) or well


def _line(found: "Finding") -> str:
    """A finding on one line."""
    severity = click.style(f"{found.severity}:", fg=COLOURS[found.severity])
    return f"{severity} {printable(found.table)}: {printable(found.message)} [{found.rule}]"


def about(rows: int, unknown: int, noun: str) -> str:
    """An estimate of rows, and the number of partitions or shards that it leaves out."""
    estimate = f"about {rows:,} rows"
    if not unknown:
        return estimate
    left_out = f"{counted(unknown, noun)} never analyzed"
    return f"{estimate}, {left_out}" if rows else left_out


def retried(times: int) -> str:
    """How often a run has tried again."""
    return f"{times} {'retry' if times == 1 else 'retries'} for locks"


def fitted(text: str, columns: int, ellipsis: str = "…") -> str:
    """The text in exactly so many columns: padded, or cut with an ellipsis."""
    if width(text) <= columns:
        return text + " " * (columns - width(text))
    while width(text) > columns - width(ellipsis):
        text = text[:-1]
    return fitted(text + ellipsis, columns, ellipsis)
