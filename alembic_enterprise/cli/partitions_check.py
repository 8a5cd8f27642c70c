"""`partitions check`: what needs attention in the tables of the scheduled job."""

import json
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import (
    Target,
    format_option,
    min_headroom_option,
    tables_argument,
    targeted,
)
from alembic_enterprise.cli.output import findings_text, write

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alembic_enterprise.finding import Finding


@click.command("check")
@tables_argument
@targeted
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
      0  every policy is true; notes do not count
      1  an error before anything was looked at
      2  some table needs attention
      3  partitions end sooner than --min-headroom

    Where no table has a policy all is well, too: name the tables that must be there, and a database
    without them is an error.

    In the package, schemas/partitions-check.schema.json describes the JSON. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    count, findings = target.connected(
        lambda connection: _findings(connection, frozenset(tables), min_headroom)
    )
    from alembic_enterprise.finding import document  # noqa: PLC0415  # as above
    from alembic_enterprise.partitions.advise import exit_code  # noqa: PLC0415  # as above

    code = exit_code(findings)
    if form == "json":
        write(json.dumps(document(count, findings, code), indent=2))
    else:
        write(findings_text(findings, "Every policy is true." if count else NOTHING))
    context.exit(code)


def _findings(
    connection: "Connection", only: frozenset[str], min_headroom: int | None
) -> "tuple[int, list[Finding]]":
    """How many tables were looked at, and what was found."""
    from alembic_enterprise import registry  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.partitions.advise import (  # noqa: PLC0415  # as above
        advise,
        registries_closed,
    )
    from alembic_enterprise.partitions.inspection import inspect  # noqa: PLC0415  # as above

    inspected = inspect(connection, only)
    closed = {} if only else registry.closed(connection)
    found = [found for item in inspected for found in advise(item, min_headroom)]
    return len(inspected), [*found, *registries_closed(closed.values())]


NOTHING = "No table here has a policy, so nothing was checked. Is it the right database?"
"""What a check says that looked at no table."""
