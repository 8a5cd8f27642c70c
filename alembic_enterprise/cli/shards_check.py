"""`shards check`: what needs attention in sharded tables."""

import json
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import Target, format_option, tables_argument, targeted
from alembic_enterprise.cli.output import findings_text, write

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alembic_enterprise.finding import Finding


@click.command("check")
@tables_argument
@targeted
@format_option
@click.pass_context
def check_command(
    context: click.Context, tables: tuple[str, ...], target: Target, form: str
) -> None:
    """Look at every sharded table and say what needs attention. Changes nothing.

    Looks for: keys that no shard takes, interrupted detaches, shards whose names tell another
    remainder, shards with more than 1.5 times their share of the rows, growth that was left
    unfinished, foreign keys it did not validate, copies it left of tables that are gone, tables
    made as shards and never attached, and rows in them that belong elsewhere.

    \b
    Examples:
      alembic-enterprise shards check
      alembic-enterprise shards check orders --format json
    \b
    Exit codes:
      0  all is well; notes do not count
      1  an error before anything was looked at
      2  some table needs attention

    Where no table is sharded all is well, too: name the tables that must be there, and a database
    without them is an error.

    The package has a schema of the JSON in schemas/shards-check.schema.json. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    count, findings = target.connected(lambda connection: _findings(connection, tables))
    from alembic_enterprise.finding import document, exit_code  # noqa: PLC0415  # as above

    code = exit_code(findings)
    if form == "json":
        write(json.dumps(document(count, findings, code), indent=2))
    else:
        write(findings_text(findings, "Every shard is in its place." if count else NOTHING))
    context.exit(code)


def _findings(connection: "Connection", only: tuple[str, ...]) -> "tuple[int, list[Finding]]":
    """How many tables were looked at, and what was found."""
    from alembic_enterprise.shards.advise import advise, stray  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.shards.inspection import inspect, strays  # noqa: PLC0415  # as above

    inspected = inspect(connection, only)
    found = [finding for item in inspected for finding in advise(item)]
    copies = [] if only else strays(connection)
    return len(inspected), [*found, *map(stray, copies)]


NOTHING = "No table here is sharded, so nothing was checked. Is it the right database?"
"""What a check says that looked at no table."""
