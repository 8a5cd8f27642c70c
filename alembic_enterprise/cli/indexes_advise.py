"""`indexes advise`: what the rules say of a live database, and a migration that mends it."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import Target, project_or_url_options, tables_argument
from alembic_enterprise.cli.output import write
from alembic_enterprise.wording import bytes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, MetaData

    from alembic_enterprise.indexes.relations import Catalog
    from alembic_enterprise.indexes.report import Report


def _bytes(_context: click.Context, _option: click.Parameter, value: str) -> int:
    found = bytes_of(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a size: write 500kB, 10MB or 2GB")
    return found


@click.command("advise")
@tables_argument
@project_or_url_options
@click.option(
    "--schema",
    "schemas",
    multiple=True,
    metavar="SCHEMA",
    help="Only tables of this schema; may be repeated.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="RULE",
    help="Ask this rule only; may be repeated. `alembic-enterprise explain` lists them.",
)
@click.option(
    "--min-size",
    "minimum",
    callback=_bytes,
    default="0",
    metavar="SIZE",
    help="Leave out tables whose rows take less: 500kB, 10MB, 2GB.",
)
@click.option(
    "--replica",
    "replicas",
    multiple=True,
    metavar="URL",
    help="Call no index unused that this server uses; may be repeated. Also env:NAME, file:PATH.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How to print the result.",
)
@click.option("--write", "writes", is_flag=True, help="Write a migration of the operations.")
@click.option("-m", "--message", metavar="MESSAGE", help="What the migration is called.")
@click.pass_context
def advise_command(
    context: click.Context,
    tables: tuple[str, ...],
    target: Target,
    schemas: tuple[str, ...],
    rules: tuple[str, ...],
    minimum: int,
    replicas: tuple[str, ...],
    form: str,
    writes: bool,  # a flag of the command line
    message: str | None,
) -> None:
    """Say which indexes are missing, superfluous or broken. Changes nothing.

    Looks at the catalog and the statistics, and at no row of a table. Each finding comes with its
    figures, the operations that mend it and the line for the model. It needs no rights but to
    connect, and says what it could not see; pg_read_all_data lets it see all.

    \b
    Examples:
      alembic-enterprise indexes advise
      alembic-enterprise indexes advise orders --rule redundant-index
      alembic-enterprise indexes advise --min-size 10MB --replica env:REPLICA_URL
      alembic-enterprise indexes advise --write -m "index foreign keys"
    \b
    Exit codes:
      0  no rule has anything to say
      1  an error
      2  there are findings

    --write makes a script after the newest one, as `alembic revision` does; nothing is migrated.
    It needs a database with all scripts applied, since one that is not may do the same; with --url
    that is not looked at.
    Its downgrade leaves an index that was there before, if only begun or on some partitions.

    The package has a schema of the JSON in schemas/indexes-advise.schema.json. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    if writes != (message is not None):
        raise click.UsageError('--write and -m go together: --write -m "index foreign keys"')
    catalog, skip = target.visited(lambda connection, models: _look(connection, models, schemas))
    others = [_replica(url, schemas) for url in replicas]
    from alembic_enterprise.indexes import report  # noqa: PLC0415  # --help stays fast

    chosen = report.chosen(catalog, tables, schemas)
    found = report.Report.of(chosen, others, skip=skip, rules=rules, minimum=minimum)
    if message is not None:
        found = replace(found, written=_written(target, message, found))
    write(_printed(form, found))
    context.exit(found.exit_code)


def _look(
    connection: "Connection", models: "Sequence[MetaData]", schemas: tuple[str, ...]
) -> "tuple[Catalog, Mapping[str, str]]":
    """The live database, and the columns that the models skip."""
    from alembic_enterprise import sql  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.indexes import catalog, report  # noqa: PLC0415  # as above

    sql.read_only(connection)
    return catalog.read(connection, schemas=schemas), report.skipped(models)


def _replica(url: str, schemas: tuple[str, ...]) -> "Catalog":
    from alembic_enterprise import urls  # noqa: PLC0415  # --help stays fast

    with urls.connected(urls.parse(urls.resolved(url))) as connection:
        return _look(connection, (), schemas)[0]


def _written(target: Target, message: str, found: "Report") -> "Path | None":
    from alembic_enterprise import revision  # noqa: PLC0415  # --help stays fast

    if not found.operations:
        click.echo("Nothing to write: no finding comes with an operation.", err=True)
        return None
    if target.url is None:
        revision.refuse_behind(target.configuration())
    return revision.write(target.configuration(), message, found.operations, kept=found.kept)


def _printed(form: str, found: "Report") -> str:
    if form == "json":
        return json.dumps(found.document(), indent=2)
    from alembic_enterprise.cli.indexes_advise_text import markdown, text  # noqa: PLC0415  # as above

    return markdown(found) if form == "markdown" else text(found)
