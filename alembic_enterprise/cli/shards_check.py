"""`shards check`: what needs attention in sharded tables."""

import json

import click

from alembic_enterprise.cli.options import (
    Target,
    format_option,
    project_or_url_options,
    tables_argument,
)
from alembic_enterprise.cli.output import findings_text, write


@click.command("check")
@tables_argument
@project_or_url_options
@format_option
@click.pass_context
def check_command(
    context: click.Context, tables: tuple[str, ...], target: Target, form: str
) -> None:
    """Look at every sharded table and say what needs attention. Changes nothing.

    Looks for: keys that no shard takes, interrupted detaches, shards whose names say another
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
    from alembic_enterprise.finding import document, exit_code  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.shards.advise import findings  # noqa: PLC0415  # as above

    count, found = target.connected(lambda connection: findings(connection, tables))
    code = exit_code(found)
    if form == "json":
        write(json.dumps(document(count, found, code), indent=2))
    else:
        write(findings_text(found, "Every shard is in its place." if count else NOTHING))
    context.exit(code)


NOTHING = "No table here is sharded, so nothing was checked. Is it the right database?"
"""What a check says that looked at no table."""
