"""`apply`: the revisions of a saved plan, while what it was made for still stands."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import (
    Target,
    attempts_option,
    format_option,
    lock_timeout_option,
    project_options,
)
from alembic_enterprise.cli.output import retried, write
from alembic_enterprise.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic_enterprise.plan.saved.apply import Report
    from alembic_enterprise.plan.saved.document import Saved
    from alembic_enterprise.plan.schema.objects import Difference

AGAIN = "Make a new plan: alembic-enterprise plan --out FILE"

DONE = "Nothing to do: all revisions of the plan are applied already."
"""What is said of a plan that an earlier run has applied, or somebody else."""

COLOURS = {"added": "green", "missing": "red", "changed": "yellow"}
"""Of what has become of an object, on a terminal."""

file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.command("apply")
@file_argument
@project_options
@lock_timeout_option
@attempts_option
@format_option
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    target: Target,
    lock_timeout: int,
    attempts: int,
    form: str,
) -> None:
    """Apply a saved plan, if it still holds.

    FILE is what `plan --out FILE` saved. It does not hold for another server, database or
    search_path, nor when the revision of the database, a script of the plan, or an object that its
    steps depend on has changed since. Then nothing is applied, and the differences are listed.
    Other changes, and what the scheduled job has done, do not matter.

    The revisions run through env.py as with `alembic upgrade`, one run at a time. Each transaction
    gives up after --lock-timeout, which overrides what env.py sets, and is tried again as a whole,
    if the plan still holds; who is in the way is printed. CREATE INDEX CONCURRENTLY and the like
    wait without a timeout. Once a revision has committed something but not its row in
    alembic_version, as in an autocommit_block(), nothing is retried; the output lists what was
    committed. Nor is a CALL, or a DO that commits inside, run twice.

    What env.py does itself, and modules that scripts import, are not compared.

    \b
    Examples:
      alembic-enterprise plan --out plan.json
      alembic-enterprise apply plan.json
      alembic-enterprise apply plan.json --lock-timeout 2000 --format json
    \b
    Exit codes:
      0  all revisions of the plan are applied, by this run or already
      1  an error, or another run is at work
      4  the plan is stale; nothing was applied

    The package has a schema of the JSON in schemas/apply.schema.json. A change that breaks readers
    changes its format_version.
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise.locks import Patience  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.plan.saved.apply import Job, apply  # noqa: PLC0415  # as above

    job = Job(
        Patience(lock_timeout, attempts),
        progress=lambda words: click.echo(printable(words), err=True),
    )
    plan = read(file)
    report = apply(target.configuration(), plan, job)
    write(_json(report) if form == "json" else _text(report))
    context.exit(report.exit_code)


def read(file: Path) -> "Saved":
    """The plan in a file. Raises `ConfigurationError` when there is none."""
    from alembic_enterprise.errors import ConfigurationError  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.plan.saved.document import Saved  # noqa: PLC0415  # as above

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(
            f"{file} cannot be read ({reason}): give a file of `plan --out`"
        ) from error
    return Saved.from_text(text)


def _json(report: "Report") -> str:
    return json.dumps(report.document(), indent=2)


def _text(report: "Report") -> str:
    if report.other is not None:
        return f"Another run is at work, and nothing was applied: {printable(str(report.other))}"
    if report.stale:
        return "\n".join(["Stale, and nothing was applied.", *stale_lines(report)])
    applied = [f"Applied: {', '.join(report.applied)}"] if report.applied else []
    done = [] if report.applied or report.left else [DONE]
    waited = [f"  waited for {printable(text)}" for text in sorted(map(str, report.blockers))]
    retries = [f"  {retried(report.retries)}"] if report.retries else []
    word = "Not applied" if report.is_known else "Not known to be applied"
    left = [f"{word}: {', '.join(report.left)}"] if report.left else []
    problem = [] if report.problem is None else [f"Error: {printable(report.problem)}"]
    return "\n".join([*applied, *done, *retries, *waited, *left, *problem])


def stale_lines(report: "Report") -> "Iterator[str]":
    """Why a plan is stale, and what to do."""
    for reason in report.stale.reasons:
        yield f"  {printable(reason)}"
    for difference in report.stale.differences:
        yield from _difference(difference)
    yield AGAIN


def _difference(difference: "Difference") -> "Iterator[str]":
    change = difference.change.value
    mark = click.style(change, fg=COLOURS[change])
    yield f"  {mark}: {difference.kind} {printable(difference.name)}"
    if difference.diff:
        yield from (f"    {printable(line.expandtabs(4))}" for line in difference.diff)
        return
    for word, definition in (("was", difference.before), ("is", difference.after)):
        if definition:
            yield f"    {word}: {printable(definition)}"
