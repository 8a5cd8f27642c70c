"""`audit check`: whether trails are what they should be."""

import json
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import Target, format_option, project_or_url_options
from alembic_enterprise.cli.output import findings_text, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table

    from alembic_enterprise.environment import Visit
    from alembic_enterprise.finding import Finding


@click.command("check")
@project_or_url_options
@format_option
@click.pass_context
def check_command(context: click.Context, target: Target, form: str) -> None:
    """Look at every trail and say what is not as it should be. Changes nothing.

    In a project, the models say how it should be. With --url there are none: then it is what the
    trails were made with, which the comments on their functions keep. It needs no rights but to
    connect; a note lists policies that this role may not read.

    Looks for: triggers that are missing, disabled or changed, on the table and on each partition;
    rows that a history lacks, and other tables that write to it; functions, their settings and
    owner; rights that somebody has, and should not; columns that a history lacks or has with
    another type; its partitions and their policy; triggers, rules, constraints and row
    security that somebody has put on it; the view of all trails; the trigger that fills the columns
    of AuditMixin. With models also for tables without the trail that they declare, and trails that
    they do not.

    \b
    Examples:
      alembic-enterprise audit check
      alembic-enterprise audit check --url postgresql://auditor@db/shop
    \b
    Exit codes:
      0  every trail is as it should be; notes do not count
      1  an error before anything was looked at
      2  some trail is not

    Where there is no trail at all, and the models declare none, all is well, too: the text says so,
    and tables in the JSON is 0.

    The package has a schema of the JSON in schemas/audit-check.schema.json. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise import environment  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.finding import document, exit_code  # noqa: PLC0415  # as above

    if target.url is None:
        count, findings = environment.visit(target.configuration(), _of_project)
    else:
        count, findings = target.connected(_found)
    code = exit_code(findings)
    if form == "json":
        write(json.dumps(document(count, findings, code), indent=2))
    else:
        write(findings_text(findings, "Every trail is as it should be." if count else NOTHING))
    context.exit(code)


NOTHING = "No table here has a trail. Is it the right database?"
"""What a check says that found no trail, and nothing else."""


def _of_project(visit: "Visit") -> "tuple[int, list[Finding]]":
    from alembic_enterprise import locks  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.errors import ConfigurationError  # noqa: PLC0415  # as above

    if not visit.metadata:
        raise ConfigurationError(
            "env.py gives context.configure() no target_metadata: import your models there, and "
            "write target_metadata=Base.metadata, or give --url URL to use what the trails were "
            "made with"
        )
    with locks.reading(visit.connection):
        return _found(visit.connection, visit.tables)


def _found(
    connection: "Connection", tables: "Sequence[Table] | None" = None
) -> "tuple[int, list[Finding]]":
    """How many trails there are, and what was found; by the models' tables, if there are any."""
    from alembic_enterprise.audit import advise  # noqa: PLC0415  # --help stays fast

    live = advise.read(connection)
    found = advise.findings(connection, live, tables)
    return len(live.trails.tables), [*found, *advise.policies_closed(connection, live)]
