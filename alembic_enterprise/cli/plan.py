"""`plan`: what a release would do to the live database, for a reviewer to say yes or no."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import Target, only_reading, project_options
from alembic_enterprise.cli.output import draws_progress, width, written
from alembic_enterprise.cli.plan_output import Output, outputs_option

if TYPE_CHECKING:
    from sqlalchemy import URL

    from alembic_enterprise.plan.review import Review

CHANGES = 2
"""Exit code of a plan with changes that nothing blocks: one that cannot be saved is an error."""

COLUMNS = 70
"""Of the line that tells what is being done."""


@click.command("plan")
@project_options
@click.option(
    "--shadow-url",
    metavar="URL",
    help="Measure on this server, where the role may create databases, and roles stay that scripts "
    "make; also env:NAME, file:PATH.  [default: a private server of this machine]",
)
@click.option(
    "--no-shadow",
    is_flag=True,
    help="Measure nothing: what a statement does is judged by its text alone; drift stays unknown.",
)
@click.option(
    "--prove/--no-prove",
    "proves",
    default=True,
    help="Try downgrade, a second upgrade and --sql on the shadow.  [default: --prove]",
)
@click.option(
    "--whole",
    is_flag=True,
    help="Copy all partitions to the shadow, where old periods of thousands are left out.",
)
@click.option("--write", "writes", is_flag=True, help="Write the proposal into the project.")
@click.option("-m", "--message", metavar="MESSAGE", help="What the revision is called.")
@click.option("--sql", "with_sql", is_flag=True, help="With --write: also as SQL, beside it.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Save the plan for `apply` and `verify`.",
)
@outputs_option
@click.option("--exit-zero", is_flag=True, help="Exit with 0 instead of 2 and 3.")
@click.pass_context
def command(
    context: click.Context,
    target: Target,
    shadow_url: str | None,
    no_shadow: bool,  # flags of the command line, here and below
    proves: bool,
    whole: bool,
    writes: bool,
    message: str | None,
    with_sql: bool,
    out: str | None,
    outputs: "Sequence[Output]",
    exit_zero: bool,
) -> None:
    """Say what the next release would do to the live database. Changes nothing there.

    Compares the database with the models, the migrations and the policies, proposes a migration,
    and runs it with the pending ones on a shadow: a database with the live schema and no rows, on a
    private server. So the locks and rewrites of each statement are measured, and the downgrade is
    tried. The live server is asked with SELECT and by pg_dump only.

    \b
    Examples:
      alembic-enterprise plan
      alembic-enterprise plan --format text --format html=plan.html
      alembic-enterprise plan --write -m "add the state of an order"
      alembic-enterprise plan --out plan.json
      alembic-enterprise apply plan.json
    \b
    Sections, in this order:
      Drift               what was changed outside of the revisions
      Model changes       what the models have, and the database has not
      Enterprise changes  partitions, shards, audit, indexes, as declared
      Pending revisions   scripts that are not applied yet
      Steps               each statement: locks, whom they block, rewrites, sizes
      Findings            by rule; [tool.alembic-enterprise] says what is accepted
      Proof               downgrade, second upgrade, --sql: tried on the shadow
      Coverage            what was not analysed
    \b
    Exit codes:
      0  there is nothing to change
      1  an error
      2  there are changes
      3  a finding or a failed proof blocks the release

    The package has a schema of the JSON in schemas/plan.schema.json. A change that breaks readers
    changes its format_version.
    """  # noqa: D301  # click wants the character \b
    _refuse(message, writes=writes, with_sql=with_sql, no_shadow=no_shadow, given=shadow_url)
    from alembic_enterprise.plan import review, settings  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.plan.seen import Request  # noqa: PLC0415  # as above

    config = target.configuration()
    request = Request(
        now=datetime.now(UTC),
        accepted=settings.read(config),
        message=message or "proposed",
        shadow_url=None if shadow_url is None else _parsed(shadow_url),
        has_shadow=not no_shadow,
        proves=proves,
        whole=whole,
        saves=out is not None,
    )
    file = None if out is None else Path(out)
    with _replaced(file):
        with only_reading(), _progress() as progress:
            found = review.review(config, request, progress)
            if message is not None:
                found = found.written(with_sql=with_sql)
        if file is not None:
            found = found.to_be_saved(file)
        for output in outputs:
            output.write(found.plan)
        if file is not None:
            with only_reading():
                found = _saved(found, file)
    _tell(found)
    context.exit(0 if exit_zero else found.plan.exit_code)


def _refuse(
    message: str | None, *, writes: bool, with_sql: bool, no_shadow: bool, given: str | None
) -> None:
    if writes != (message is not None):
        raise click.UsageError('--write and -m go together: --write -m "add the state of an order"')
    if with_sql and not writes:
        raise click.UsageError("--sql needs --write: give --write -m MESSAGE as well")
    if no_shadow and given is not None:
        raise click.UsageError("--no-shadow and --shadow-url exclude each other: leave one out")


def _parsed(given: str) -> "URL":
    from alembic_enterprise import urls  # noqa: PLC0415  # --help stays fast

    return urls.parse(urls.resolved(given))


@contextmanager
def _replaced(file: Path | None) -> Generator[None]:
    """Remove an earlier plan, which `apply` would take, and say so unless another is saved."""
    if file is None or not file.is_file():
        yield
        return
    _refuse_other(file)
    if file.is_symlink():
        yield
        return
    file.unlink()
    try:
        yield
    finally:
        if not file.exists():
            click.echo(f"Removed: {file}, which was there before", err=True)


def _refuse_other(file: Path) -> None:
    """Keep a file that was named by mistake."""
    from alembic_enterprise.errors import ConfigurationError  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.plan.saved.document import Saved  # noqa: PLC0415  # as above

    try:
        Saved.from_text(file.read_text(encoding="utf-8"))
    except (ConfigurationError, OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"{file} exists and is not a saved plan of this version: name another file with --out"
        ) from error


@contextmanager
def _progress() -> "Generator[Callable[[str], None]]":
    """What is being done, in a line that is gone at the end; nothing in a pipe or in CI."""
    if not draws_progress():
        yield lambda _words: None
        return
    began = time.monotonic()
    shown = 0

    def show(words: str) -> None:
        draw(f"{time.monotonic() - began:4.0f} s  {words[:COLUMNS]}")

    def draw(line: str) -> None:
        """Write over the line before: click takes ANSI codes away where nobody wants colour."""
        nonlocal shown
        rest = " " * (shown - width(line))
        click.echo(f"\r{line}{rest}\r{line}", err=True, nl=False)
        shown = width(line)

    try:
        yield show
    finally:
        draw("")


def _saved(found: "Review", file: Path) -> "Review":
    """Save the plan; where it is blocked, or nothing is to be done, say that it is not."""
    from alembic_enterprise.plan.saved import document  # noqa: PLC0415  # --help stays fast

    refused = document.refusal(found.plan)
    if refused is None or found.plan.exit_code == CHANGES:
        return found.save(file)
    click.echo(f"Not saved: {refused}", err=True)
    return found


def _tell(found: "Review") -> None:
    """Say on standard error which files were written."""
    for file in found.files:
        click.echo(written(file), err=True)
