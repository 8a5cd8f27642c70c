"""How errors are printed: one line that ends in the next step, and never a password."""

import configparser
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
from alembic.util import CommandError
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from alembic_enterprise.errors import EnterpriseError
from alembic_enterprise.sql import message, sqlstate
from alembic_enterprise.urls import SHAPE
from alembic_enterprise.wording import printable

NEXT_STEPS = {
    "08P01": "Connect to PostgreSQL itself, or to a PgBouncer with pool_mode = session.",
    "28000": "Check the user in the URL, and pg_hba.conf on the server.",
    "28P01": "Check the password in the URL.",
    "3D000": "Create the database, or correct its name in the URL.",
    "42501": "Connect as a role that may, or GRANT it.",
    "53300": "Try again when connections are free.",
    "55P03": "Another transaction holds a lock on the table: run this again.",
    "57014": "Run it again, or raise statement_timeout.",
}
"""What to do, by SQLSTATE (PostgreSQL docs, appendix A)."""

CONNECT = "Check that the server is up and that the URL (sqlalchemy.url, or --url) is right."
"""What to do about an error without SQLSTATE: no server has answered."""

LOG_IN = (
    "Check user, password and database in the URL (sqlalchemy.url, or --url); where the server is "
    "busy, try again."
)
"""The same where a server has: libpq repeats its words, but has no SQLSTATE of a failed login."""

HIDDEN = "***"

_URL = SHAPE.replace("://", "+psycopg://")

_IN_URL = re.compile(r"(://[^\s:/?#@]*:)(?!password@)(?:\S+|[^@\n]+)@")
"""Matches the password of a URL, but not the placeholder in `SHAPE`.

It ends at the last @ of the word, or at the next @ if it contains spaces.
"""

_ASSIGNED = re.compile(r"""(password["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&;,"']+)""", re.IGNORECASE)


_WORDS = {"", "password"}


def report(error: Exception, arguments: Sequence[str]) -> int:
    """Print an error to standard error and return the exit code: 1 for a wrong command line, too.

    Of `partitions maintain` and `partitions check`, 2 and 3 tell something of the tables.
    """
    _print(_told(error), "Error: ", "red", arguments)
    return 1


def warn(text: str, arguments: Sequence[str]) -> None:
    """Print a warning of Python to standard error, in one line."""
    _print(f"warning: {printable(text)}", "warning: ", "yellow", arguments)


def _print(words: str, title: str, colour: str, arguments: Sequence[str]) -> None:
    before, _, rest = redacted(words, _sources(arguments)).partition(title)
    text = before + click.style(title, fg=colour) + rest if rest else before
    color = False if os.environ.get("NO_COLOR") else None
    encoding = sys.stderr.encoding or "ascii"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=True, color=color)


def _told(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(file=shown)
        return shown.getvalue().rstrip()
    line = explained(error)
    if line is not None:
        return "Error: " + line
    trace = "".join(traceback.format_exception(error)).rstrip()
    return f"{trace}\nError: this is a bug of alembic-enterprise: please report the lines above"


def explained(error: Exception) -> str | None:
    """One line for an error somebody can do something about, else None."""
    return next((told(error) for kind, told in _TOLD if isinstance(error, kind)), None)


def _line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:?") if lines else type(error).__name__


def _said(error: DBAPIError) -> str:
    """What the server, or else the driver, says of it, without the statement."""
    return _line(message(error))


def _next_step(error: DBAPIError) -> str:
    state = sqlstate(error)
    if state is None:
        return LOG_IN if "FATAL:  " in _said(error) else CONNECT
    return NEXT_STEPS.get(state, f"See SQLSTATE {state} in PostgreSQL's documentation.")


_TOLD: tuple[tuple[tuple[type[Exception], ...], Callable[[Any], str]], ...] = (
    ((EnterpriseError, CommandError), str),
    (
        (configparser.InterpolationError,),
        # Its own text shows a part of the value.
        lambda error: f"{error.option} in [{error.section}] has a single %. Write it as %%.",
    ),
    (
        (configparser.Error,),
        lambda error: f"{_line(error)}. Correct the file, or give -n SECTION for another section.",
    ),
    (
        (NoSuchModuleError, ArgumentError),
        lambda error: f"{_line(error)}. Set sqlalchemy.url: {_URL}",
    ),
    ((DBAPIError,), lambda error: f"{_said(error)}. {_next_step(error)}"),
    ((SQLAlchemyError,), lambda error: f"{_line(error)}. Look at the engine that env.py makes."),
)
"""How each kind of error is printed; the first that fits."""


def redacted(text: str, sources: Iterable[str] = ()) -> str:
    """The text without passwords.

    Those in URLs and behind `password=` are found by their place; those that the `sources` (the
    command line, the configuration) have in such places are hidden wherever they stand.
    """
    text = _IN_URL.sub(rf"\1{HIDDEN}@", text)
    text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    found = {password for source in sources for password in passwords(source)}
    for password in sorted(found, key=len, reverse=True):
        text = re.sub(_whole(password), HIDDEN, text)
    return text


def _whole(password: str) -> str:
    """A pattern that does not find it in the middle of a word."""
    before, after = r"\b" * password[0].isalnum(), r"\b" * password[-1].isalnum()
    return before + re.escape(password) + after


def passwords(source: str) -> Iterator[str]:
    """What stands in the place of a password, in each spelling an error could have.

    Left out is what would only make errors unreadable: the user's name, and the word itself.
    """
    for pattern in (r"://([^\s:/?#@]*):(\S+)@", r"://([^\s:/?#@]*):(.+)@"):
        for user, password in re.findall(pattern, source):
            # Not escaped, it is cut at such a mark, and the tail taken for the host or the port.
            marks = re.finditer(r"[@:/?#]", password)
            tails = {password[mark.end() :] + "@" for mark in marks} - {"@"}
            yield from {password, unquote(password), *tails} - {user, *_WORDS}
    for match in _ASSIGNED.finditer(source):
        value = match[2].strip("\"'")
        yield from {value, unquote(value)} - _WORDS


def _sources(arguments: Sequence[str]) -> Iterator[str]:
    """Where a password may come from: the command line, the files it names, the environment."""
    names = ["alembic.ini", "pyproject.toml", *os.environ.get("ALEMBIC_CONFIG", "").split()]
    for argument in arguments:
        yield argument
        names += [argument, argument.partition("=")[2], argument.removeprefix("-c")]
        names += [argument.rpartition("file:")[2]]
    for path in map(Path, filter(None, names)):
        with suppress(OSError):  # what could not be read is in no error
            if len(str(path)) < os.pathconf("/", "PC_NAME_MAX") and path.is_file():
                yield path.read_text(encoding="utf-8", errors="replace")
    for name, value in os.environ.items():
        yield f"password={value}" if name == "PGPASSWORD" else value
