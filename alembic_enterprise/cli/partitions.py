"""`alembic-enterprise partitions`: what the database holds."""

import json
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import (
    Target,
    format_option,
    project_or_url_options,
    tables_argument,
)
from alembic_enterprise.cli.output import write
from alembic_enterprise.cli.partitions_check import check_command
from alembic_enterprise.cli.partitions_maintain import maintain_command

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alembic_enterprise.partitions.live import Selection


@click.group("partitions")
def command() -> None:
    """See how partitioned tables stand, and create what is due.

    \b
    Examples:
      alembic-enterprise partitions list
      alembic-enterprise partitions list events --format json
      alembic-enterprise partitions maintain --dry-run
    """  # noqa: D301  # click wants the character \b


@command.command("list")
@tables_argument
@project_or_url_options
@click.option("--schema", metavar="SCHEMA", help="Only tables of this schema.")
@format_option
def list_command(tables: tuple[str, ...], target: Target, schema: str | None, form: str) -> None:
    """List tables: a timeline, then figures.

    TABLE is written as the list prints it, with or without its schema. For tables that are named,
    every partition is listed as well.

    \b
    Examples:
      alembic-enterprise partitions list
      alembic-enterprise partitions list events audit.log
      alembic-enterprise partitions list --schema audit
      alembic-enterprise partitions list --format json

    Rows are estimates of the last ANALYZE or VACUUM; rows of a default partition are counted, up to
    1000. Headroom is the time from now to the end of the partitions that follow each other without
    a gap. It only reads; it gives up after 5 seconds when a table is locked.

    The package has a schema of the JSON in schemas/partitions-list.schema.json. A change that
    breaks readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    selection = target.connected(lambda connection: _read(connection, tables, schema))
    if form == "json":
        write(_json(selection))
    else:
        from alembic_enterprise.cli.partitions_list_text import text  # noqa: PLC0415  # --help stays fast

        write(text(selection, each=bool(tables)))


def _read(connection: "Connection", tables: tuple[str, ...], schema: str | None) -> "Selection":
    from alembic_enterprise.partitions import live  # noqa: PLC0415  # --help stays fast

    return live.select(connection, tables, schema)


def _json(selection: "Selection") -> str:
    from alembic_enterprise.partitions.status import document  # noqa: PLC0415  # --help stays fast

    return json.dumps(document(selection.statuses, selection.now), indent=2)


command.add_command(maintain_command)
command.add_command(check_command)
