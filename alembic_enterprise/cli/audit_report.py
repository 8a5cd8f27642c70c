"""`audit report`: all changes of a time, as a stream."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from alembic_enterprise.cli.options import Target, as_listed, project_or_url_options
from alembic_enterprise.cli.output import draws_progress, progress_bar

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alembic_enterprise.audit.report import Asked, Change

CLOSED = 141
"""What shells report of a program whose reader went away (128 + SIGPIPE)."""

BATCH = 1000
"""Changes that are written at once."""


def _moment(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> datetime | None:
    """A day or a time in ISO 8601; in UTC when it has no zone."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not a time: write 2026-11-21, or 2026-11-21T12:00Z"
        ) from error
    return moment if moment.utcoffset() is not None else moment.replace(tzinfo=UTC)


@click.command("report")
@project_or_url_options
@click.option(
    "--from", "start", callback=_moment, required=True, metavar="TIME", help="The beginning."
)
@click.option(
    "--to",
    "stop",
    callback=_moment,
    metavar="TIME",
    help="The end, which is left out.  [default: now]",
)
@click.option("--actor", metavar="ACTOR", help="Only changes made by this actor.")
@click.option(
    "--table",
    "tables",
    multiple=True,
    callback=as_listed,
    metavar="TABLE",
    help="Only changes of this table; may be repeated.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "jsonl"]),
    default="text",
    show_default=True,
    help="How to print them.",
)
@click.pass_context
def report_command(
    context: click.Context,
    target: Target,
    start: datetime,
    stop: datetime | None,
    actor: str | None,
    tables: tuple[str, ...],
    form: str,
) -> None:
    """Print every change in a span of time, oldest first.

    TIME is a day or a time as in ISO 8601, in UTC unless it has a zone. Whoever runs it must be
    allowed to read the view audit_trail beside the histories.

    \b
    Examples:
      alembic-enterprise audit report --from 2026-11-01 --to 2026-12-01
      alembic-enterprise audit report --from 2026-11-21T12:00+01:00 \\
          --actor user:42 --table orders --format csv > changes.csv
      alembic-enterprise audit report --from 2026-01-01 --format jsonl > all.jsonl

    A change of a row gives a line for each field, and none where only masked or excluded columns
    changed: `audit history` lists those. In CSV, key and context are JSON, and an empty cell is
    NULL or an empty text; JSON lines tell those apart. Both are complete, where the text cuts long
    values. The server sorts, and keeps what is not printed yet: the memory it takes here
    does not grow with the number of changes.

    In the package, schemas/audit-report.schema.json describes each JSON line. Keys may be added,
    but not changed.

    \b
    Exit codes:
      0    everything was printed
      1    an error
      141  the reader of the output went away
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise.audit.report import Asked  # noqa: PLC0415  # --help stays fast

    asked = Asked(start, stop or datetime.now(UTC), actor, tables)
    try:
        target.connected(lambda connection: _print(connection, asked, form))
    except BrokenPipeError:
        # Python would write the rest of its buffer when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        context.exit(CLOSED)


def _print(connection: "Connection", asked: "Asked", form: str) -> None:
    from alembic_enterprise.audit.report import changes  # noqa: PLC0415  # --help stays fast

    with _progress(asked) as progress:
        found = _told(changes(connection, asked), progress)
        for part in _parts(found, form):
            click.echo(part, nl=False)


def _parts(changes: "Iterator[Change]", form: str) -> Iterator[str | bytes]:
    """The output in parts, so that neither all of it is kept nor each line is written alone."""
    if form == "text":
        from alembic_enterprise.cli.audit_text import changes_text  # noqa: PLC0415  # as above

        encoding = sys.stdout.encoding or "ascii"
        for lines in _batches(changes_text(changes)):
            text = "".join(f"{line}\n" for line in lines)
            yield text.encode(encoding, "backslashreplace").decode(encoding)
    elif form == "jsonl":
        for batch in _batches(changes):
            yield "".join(json.dumps(item.plain()) + "\n" for item in batch)
    else:
        from alembic_enterprise.audit.report import FIELDS  # noqa: PLC0415  # as above

        yield _csv([FIELDS])
        for batch in _batches(changes):
            yield _csv(item.cells() for item in batch)


def _batches(items: "Iterator[Any]") -> "Iterator[list[Any]]":
    while batch := list(islice(items, BATCH)):
        yield batch


def _csv(rows: Iterable[Iterable[str | None]]) -> bytes:
    """Lines of CSV, in UTF-8 whatever the terminal speaks: they are for programs."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue().encode()


def _told(changes: "Iterable[Change]", progress: Callable[[datetime], None]) -> "Generator[Change]":
    for count, item in enumerate(changes):
        if count % BATCH == 0:
            progress(item.changed_at)
        yield item


@contextmanager
def _progress(asked: "Asked") -> Generator[Callable[[datetime], None]]:
    """A bar of the time that is done with, on a terminal that the output does not go to."""
    if sys.stdout.isatty() or not draws_progress():
        yield lambda _moment: None
        return
    seconds = max(1, int((asked.stop - asked.start).total_seconds()))
    with progress_bar(length=seconds, label="changes") as drawn:

        def show(moment: datetime) -> None:
            drawn().update(int((moment - asked.start).total_seconds()) - drawn().pos)

        yield show
        drawn().update(seconds - drawn().pos)
