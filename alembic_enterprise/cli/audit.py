"""`alembic-enterprise audit`: what is audited, and what has happened."""

import json
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.audit_check import check_command
from alembic_enterprise.cli.audit_report import report_command
from alembic_enterprise.cli.options import (
    Target,
    format_option,
    key_of,
    project_or_url_options,
    table_argument,
    tables_argument,
)
from alembic_enterprise.cli.output import write

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alembic_enterprise.audit.report import RowHistory
    from alembic_enterprise.audit.status import Status


@click.group("audit")
def command() -> None:
    """See what is audited, and who changed what.

    \b
    Examples:
      alembic-enterprise audit status
      alembic-enterprise audit history orders id=42
      alembic-enterprise audit report --from 2026-11-01 --to 2026-12-01
    """  # noqa: D301  # click wants the character \b


@command.command("status")
@tables_argument
@project_or_url_options
@format_option
def status_command(tables: tuple[str, ...], target: Target, form: str) -> None:
    """List audited tables, with the figures of each.

    TABLE is written as the list prints it, with or without its schema.

    \b
    Examples:
      alembic-enterprise audit status
      alembic-enterprise audit status orders sales.lines
      alembic-enterprise audit status --format json

    Rows are estimates of the last ANALYZE or VACUUM. Since is the time of the oldest change that is
    kept; for a role that may not read a history it says what it lacks. It only reads; it gives up
    after 5 seconds when a table is locked.

    The package has a schema of the JSON in schemas/audit-status.schema.json. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    statuses = target.connected(lambda connection: _status(connection, tables))
    if form == "json":
        from alembic_enterprise.audit.status import document  # noqa: PLC0415  # --help stays fast

        write(json.dumps(document(statuses), indent=2))
    else:
        from alembic_enterprise.cli.audit_text import statuses_text  # noqa: PLC0415  # as above

        write(statuses_text(statuses))


def _status(connection: "Connection", tables: tuple[str, ...]) -> "list[Status]":
    from alembic_enterprise.audit.status import look  # noqa: PLC0415  # --help stays fast

    return look(connection, tables)


@command.command("history")
@table_argument
@click.argument("values", metavar="COLUMN=VALUE...", nargs=-1, required=True)
@project_or_url_options
@format_option
def history_command(table: str, values: tuple[str, ...], target: Target, form: str) -> None:
    """Tell what happened to one row, first to last.

    Give every column of the primary key, with its value as PostgreSQL would read it in an INSERT;
    times without a zone are in UTC. What follows the first = is the value. The row need not exist
    any more.

    \b
    Examples:
      alembic-enterprise audit history orders id=42
      alembic-enterprise audit history sales.lines id=7 "at=2026-11-21 12:00"
      alembic-enterprise audit history orders id=42 --format json

    Truncates, detaches, attaches and drops of the table, or of a partition that the row may have
    been in, are listed as well.

    The package has a schema of the JSON in schemas/audit-history.schema.json. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    key = key_of(values)
    found = target.connected(lambda connection: _history(connection, table, key))
    if form == "json":
        from alembic_enterprise.audit.report import document  # noqa: PLC0415  # --help stays fast

        write(json.dumps(document(found), indent=2))
    else:
        from alembic_enterprise.cli.audit_text import history_text  # noqa: PLC0415  # as above

        write(history_text(found))


def _history(connection: "Connection", table: str, key: dict[str, str | None]) -> "RowHistory":
    from alembic_enterprise.audit.report import row_history  # noqa: PLC0415  # --help stays fast

    return row_history(connection, table, key)


for _command in (report_command, check_command):
    command.add_command(_command)
