"""`verify`: whether a saved plan still holds."""

import json
from pathlib import Path

import click

from alembic_enterprise.cli.apply import DONE, file_argument, read, stale_lines
from alembic_enterprise.cli.options import Target, format_option, only_reading, project_options
from alembic_enterprise.cli.output import write


@click.command("verify")
@file_argument
@project_options
@format_option
@click.pass_context
def command(context: click.Context, file: Path, target: Target, form: str) -> None:
    """Say whether a saved plan still holds. Changes nothing.

    Its sessions are read-only, that of env.py included, and wait 5 seconds for a lock at most.

    \b
    Examples:
      alembic-enterprise verify plan.json
      alembic-enterprise verify plan.json --format json
    \b
    Exit codes:
      0  the plan holds, or is applied already
      1  an error
      4  the plan is stale, and the differences are listed

    The package has a schema of the JSON in schemas/apply.schema.json. A change that breaks readers
    changes its format_version.
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise.plan.saved.apply import verify  # noqa: PLC0415  # --help stays fast

    plan = read(file)
    with only_reading():
        report = verify(target.configuration(), plan)
    if form == "json":
        write(json.dumps(report.document(), indent=2))
    elif report.stale:
        write("\n".join(["Stale.", *stale_lines(report)]))
    else:
        write("The plan holds." if report.left else DONE)
    context.exit(report.exit_code)
