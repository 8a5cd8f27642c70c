"""`alembic-enterprise shards`: where rows are, and how evenly."""

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
from alembic_enterprise.cli.shards_advise import advise_command
from alembic_enterprise.cli.shards_check import check_command
from alembic_enterprise.cli.shards_grow import grow_command
from alembic_enterprise.cli.shards_locate import locate_command

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alembic_enterprise.shards.status import Status


@click.group("shards")
def command() -> None:
    """See how sharded tables stand, and split their shards.

    \b
    Examples:
      alembic-enterprise shards list
      alembic-enterprise shards locate orders tenant_id=42
      alembic-enterprise shards grow orders --to 16
    """  # noqa: D301  # click wants the character \b


@command.command("list")
@tables_argument
@project_or_url_options
@format_option
def list_command(tables: tuple[str, ...], target: Target, form: str) -> None:
    """List tables: figures, then a bar for each shard.

    TABLE is written as the list prints it, with or without its schema. Of tables that are not named
    the first 32 shards are shown.

    \b
    Examples:
      alembic-enterprise shards list
      alembic-enterprise shards list orders sales.lines
      alembic-enterprise shards list --format json

    Rows are estimates of the last ANALYZE or VACUUM. Skew is the rows of a shard in multiples of
    its fair share, which is the mean unless the table is growing. It only reads; it gives up after
    5 seconds when a table is locked.

    The package has a schema of the JSON in schemas/shards-list.schema.json. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    statuses = target.connected(lambda connection: _read(connection, tables))
    if form == "json":
        from alembic_enterprise.shards.status import document  # noqa: PLC0415  # --help stays fast

        write(json.dumps(document(statuses), indent=2))
    else:
        from alembic_enterprise.cli.shards_list_text import text  # noqa: PLC0415  # --help stays fast

        write(text(statuses, each=bool(tables)))


def _read(connection: "Connection", tables: tuple[str, ...]) -> "list[Status]":
    from alembic_enterprise.shards import inspection  # noqa: PLC0415  # --help stays fast

    return inspection.look(connection, tables)


for _command in (locate_command, check_command, advise_command, grow_command):
    command.add_command(_command)
