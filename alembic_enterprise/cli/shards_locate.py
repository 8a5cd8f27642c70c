"""`shards locate`: in which shard a key is."""

from typing import TYPE_CHECKING, Any

import click

from alembic_enterprise.cli.options import Target, key_of, project_or_url_options, table_argument
from alembic_enterprise.cli.output import write
from alembic_enterprise.wording import printable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alembic_enterprise.shards.location import Location


@click.command("locate")
@table_argument
@click.argument("values", metavar="[COLUMN=VALUE]...", nargs=-1)
@project_or_url_options
@click.option("--null", "nulls", multiple=True, metavar="COLUMN", help="A column that is NULL.")
def locate_command(
    table: str, values: tuple[str, ...], target: Target, nulls: tuple[str, ...]
) -> None:
    """Say in which shard a key is.

    Give every column of the key, with its value as PostgreSQL would read it in an INSERT. What
    follows the first = is the value, which may be empty; NULL is written as --null COLUMN.

    \b
    Examples:
      alembic-enterprise shards locate orders tenant_id=42
      alembic-enterprise shards locate sales.lines tenant_id=42 "day=2026-11-21"
      alembic-enterprise shards locate orders tenant_id=42 --null region

    The shard is computed, as an application would, and asked from the server; the row need not
    exist. When those two differ, or no shard takes the key, it is an error.
    """  # noqa: D301  # click wants the character \b
    key = key_of(values, nulls)
    found = target.connected(lambda connection: _locate(connection, table, key))
    write(_text(found))


def _locate(connection: "Connection", table: str, key: dict[str, str | None]) -> "Location":
    from alembic_enterprise.shards.location import locate  # noqa: PLC0415  # --help stays fast

    return locate(connection, table, key)


def _text(found: "Location") -> str:
    key = ", ".join(f"{column} = {_shown(value)}" for column, value in found.key.items())
    held = found.shard.held
    server = f"{found.shard.name}  remainder {held.remainder} of {held.modulus}"
    computed = server if found.refusal is None else f"not possible: {found.refusal}"
    lines = [
        click.style(printable(str(found.table)), bold=True) + "  " + printable(key),
        f"  computed  {printable(computed)}",
        f"  server    {printable(server)}",
    ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    from alembic_enterprise.shards.prediction import shown  # noqa: PLC0415  # --help stays fast

    text = shown(value)
    return "NULL" if text is None else text
