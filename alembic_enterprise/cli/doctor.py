"""`alembic-enterprise doctor`: what a project has and lacks."""

import json
import textwrap
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import Target, format_option, project_or_url_options
from alembic_enterprise.cli.output import write
from alembic_enterprise.wording import printable

if TYPE_CHECKING:
    from alembic_enterprise.doctor.checks import Row

LABELS = {
    "ok": ("ok", "green"),
    "missing": ("missing", "red"),
    "unknown": ("not checked", "yellow"),
}
"""How a state is called, and its colour on a terminal."""


@click.command("doctor")
@project_or_url_options
@format_option
@click.pass_context
def command(context: click.Context, target: Target, form: str) -> None:
    """Say what is right, and what is missing.

    Connects as env.py does and changes nothing. Each thing that is missing comes with its fix. With
    --url there is no env.py, and what depends on it is not checked; and where a project cannot
    connect, what needs the server is not.

    \b
    Looks at:
      versions of Python, Alembic, SQLAlchemy, psycopg and the server
      env.py: the plugin, autogenerate_plugins, target_metadata, include_schemas,
        transactions, and what it sets up for `alembic upgrade --sql`
      lock_timeout
      PgBouncer's transaction pooling
      privileges on schemas, and ownership of partitioned tables
      who else may create functions in schemas of the search_path
    \b
    Examples:
      alembic-enterprise doctor
      alembic-enterprise doctor -c deploy/alembic.ini -n production
      alembic-enterprise doctor --url postgresql://app@db/shop --format json

    \b
    Exit codes:
      0  nothing is missing
      1  something is missing, or an error
    """  # noqa: D301  # click wants the character \b
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  # --help stays fast

    from alembic_enterprise.doctor import checks, facts  # noqa: PLC0415  # as above

    if target.url is not None:
        found = target.connected(facts.of_database)
    else:
        try:
            found = facts.of_project(target.configuration())
        except DBAPIError:
            project = facts.unconnected(target.configuration())
            _show(form, "No connection", checks.examine_unconnected(facts.versions(), project))
            raise
    rows = checks.examine(found)
    _show(form, f"Database {found.database}, role {found.privileges.role}", rows)
    context.exit(1 if any(row.state == "missing" for row in rows) else 0)


def _show(form: str, head: str, rows: "list[Row]") -> None:
    from alembic_enterprise.doctor import checks  # noqa: PLC0415  # --help stays fast

    if form == "json":
        write(json.dumps(checks.document(rows), indent=2))
    else:
        lines = [line for row in rows for line in _lines(row)]
        write("\n".join([printable(head), "", *lines, "", _summary(rows)]))


def _lines(row: "Row") -> list[str]:
    label, colour = LABELS[row.state]
    text = _wrapped(printable(row.message))
    lines = [click.style(f"{label:<11}", fg=colour) + "  " + text[0], *_indented(text[1:])]
    if row.fix is not None:
        lines += _indented(_wrapped("-> " + printable(row.fix), "   "))
    return lines


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, 67, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _indented(lines: list[str]) -> list[str]:
    return [" " * 13 + line for line in lines]


def _summary(rows: "list[Row]") -> str:
    missing = sum(row.state == "missing" for row in rows)
    if missing:
        return f"{missing} missing. Apply what follows each arrow and run doctor again."
    if any(row.state == "unknown" for row in rows):
        return "Nothing is missing of what was checked."
    return "Nothing is missing."
