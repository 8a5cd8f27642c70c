"""`partitions check`: what needs attention in the tables of the scheduled job."""

import json

import click

from alembic_enterprise.cli.options import (
    Target,
    format_option,
    min_headroom_option,
    project_or_url_options,
    tables_argument,
)
from alembic_enterprise.cli.output import findings_text, write


@click.command("check")
@tables_argument
@project_or_url_options
@min_headroom_option
@format_option
@click.pass_context
def check_command(
    context: click.Context,
    tables: tuple[str, ...],
    target: Target,
    min_headroom: int | None,
    form: str,
) -> None:
    """Look at every table with a policy and say what needs attention. Changes nothing.

    Looks for: policies that cannot be used, short headroom, missing periods, bounds that cross
    periods, partitions without an end, rows in a default partition, interrupted detaches,
    partitions never attached, owner, grants, row security, replica identity and storage options
    that differ, invalid indexes, missing statistics, the lock table, minor releases with known
    bugs, and policies that this role may not read.

    \b
    Examples:
      alembic-enterprise partitions check
      alembic-enterprise partitions check --min-headroom 2 --format json
    \b
    Exit codes:
      0  every policy is satisfied; notes do not count
      1  an error before anything was looked at
      2  some table needs attention
      3  partitions end sooner than --min-headroom

    Where no table has a policy all is well, too: name the tables that must be there, and a database
    without them is an error.

    In the package, schemas/partitions-check.schema.json describes the JSON. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise.finding import document  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.partitions.advise import exit_code, findings  # noqa: PLC0415  # as above

    count, found = target.connected(lambda connection: findings(connection, tables, min_headroom))
    code = exit_code(found)
    if form == "json":
        write(json.dumps(document(count, found, code), indent=2))
    else:
        write(findings_text(found, "Every policy is satisfied." if count else NOTHING))
    context.exit(code)


NOTHING = "No table here has a policy, so nothing was checked. Is it the right database?"
"""What a check says that looked at no table."""
