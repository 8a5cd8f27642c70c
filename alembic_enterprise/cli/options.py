"""The options that commands share: which project, or which database, and how to go about it."""

import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alembic.config import Config
    from sqlalchemy import Connection, Engine, MetaData

Result = TypeVar("Result")

_QUOTED = r'"((?:[^"]|"")+)"'
_AS_IN_SQL = re.compile(rf'(?:(?:{_QUOTED}|[^".]+)\.)?(?:{_QUOTED}|[^".]+)')


def unquoted(name: str) -> str:
    """The name of a table as lists print it, also when it is given as SQL quotes it."""
    if _AS_IN_SQL.fullmatch(name) is None:
        return name
    return re.sub(_QUOTED, lambda found: found[1].replace('""', '"'), name)


def as_listed(_context: object, _parameter: object, given: Any) -> Any:
    """Click callback: `unquoted`, for an argument of one name or several."""
    return unquoted(given) if isinstance(given, str) else tuple(map(unquoted, given))


table_argument = click.argument("table", callback=as_listed)
tables_argument = click.argument("tables", metavar="[TABLE]...", nargs=-1, callback=as_listed)
min_headroom_option = click.option(
    "--min-headroom",
    type=click.IntRange(0),
    metavar="PERIODS",
    help="Exit with 3 when fewer than this many periods after the current one have partitions.  "
    "[default: 1; 0 for a policy with ahead=0]",
)
lock_timeout_option = click.option(
    "--lock-timeout",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    metavar="MS",
    help="How long to wait for one lock.",
)
attempts_option = click.option(
    "--attempts",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="How often to try a transaction that gets no lock.",
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the result.",
)


def key_of(values: tuple[str, ...], nulls: tuple[str, ...] | None = None) -> dict[str, str | None]:
    """A key by column, as COLUMN=VALUE and the columns that are NULL give it.

    `nulls` is None where a key has none, and the command no --null.
    """
    key: dict[str, str | None] = {}
    for value in values:
        column, equals, text = value.partition("=")
        if not equals:
            instead = f"write COLUMN={value}{'' if nulls is None else ', or --null COLUMN'}"
            raise click.UsageError(f"{value!r} is not COLUMN=VALUE: {instead}")
        _add_column(key, column, text)
    for column in nulls or ():
        _add_column(key, column, None)
    return key


def _add_column(key: dict[str, str | None], column: str, text: str | None) -> None:
    if column in key:
        raise click.UsageError(f"{column} is given twice: give each column once")
    key[column] = text


@dataclass(frozen=True)
class Target:
    """What the command line says of the project or the database."""

    files: tuple[str, ...]
    name: str
    arguments: tuple[str, ...]
    url: str | None

    def configuration(self) -> "Config":
        """Alembic's configuration. Raises `ConfigurationError` when there is none."""
        from alembic_enterprise import environment  # noqa: PLC0415  # --help stays fast

        return environment.configuration(self.files, self.name, self.arguments)

    def connected(self, function: "Callable[[Connection], Result]") -> Result:
        """Call a function with a connection: of `--url`, or else of env.py."""
        return self.visited(lambda connection, _models: function(connection))

    def worked(self, function: "Callable[[Engine], Result]") -> Result:
        """Call a function that works for long, in sessions of its own, with what opens them."""
        from alembic_enterprise import asynchronous  # noqa: PLC0415  # --help stays fast

        def called(connection: "Connection") -> Result:
            engine = asynchronous.without_asyncio(connection)
            connection.rollback()  # env.py's transaction would be open for as long as the run
            return function(engine)

        return self.connected(called)

    def visited(self, function: "Callable[[Connection, Sequence[MetaData]], Result]") -> Result:
        """The same, also with the models of env.py; there are none with `--url`."""
        from alembic_enterprise import environment, locks, urls  # noqa: PLC0415  # --help stays fast

        def called(connection: "Connection", models: "Sequence[MetaData]") -> Result:
            with locks.reading(connection):
                return function(connection, models)

        if self.url is None:
            return environment.visit(
                self.configuration(), lambda visit: called(visit.connection, visit.metadata)
            )
        url = urls.parse(urls.resolved(self.url))
        with urls.connected(url) as connection:
            return called(connection, ())


_OPTIONS = (
    click.option(
        "-c",
        "--config",
        "files",
        multiple=True,
        metavar="FILE",
        help="alembic.ini or pyproject.toml.  [default: $ALEMBIC_CONFIG, alembic.ini]",
    ),
    click.option(
        "-n",
        "--name",
        default="alembic",
        metavar="SECTION",
        show_default=True,
        help="Section of the ini file.",
    ),
    click.option(
        "-x",
        "arguments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Argument for env.py, as `alembic -x`; may be repeated.",
    ),
    click.option(
        "--url",
        metavar="URL",
        help="Database to use, without env.py: postgresql://user@host/database. To keep it off the "
        "command line, env:NAME for a variable that holds it, or file:PATH. Variables of "
        "libpq complete it (PGPASSWORD, PGPASSFILE).",
    ),
)


@contextmanager
def only_reading() -> Generator[None]:
    """Let every session of this process be read-only unless it says otherwise, env.py's included.

    libpq takes options of a session from the environment (PostgreSQL docs, "Environment
    Variables"); what is in a URL counts more, and `environment.visit` sees to that.
    """
    before = os.environ.get("PGOPTIONS")
    os.environ["PGOPTIONS"] = f"{before or ''} -c default_transaction_read_only=on".strip()
    try:
        yield
    finally:
        del os.environ["PGOPTIONS"]
        if before is not None:
            os.environ["PGOPTIONS"] = before


def project_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add -c, -n and -x; the command gets them as `target`."""

    @wraps(command)
    def with_target(
        *values: Any, files: tuple[str, ...], name: str, arguments: tuple[str, ...], **options: Any
    ) -> Any:
        return command(*values, target=Target(files, name, arguments, None), **options)

    return _with(with_target, _OPTIONS[:-1])


def project_or_url_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add -c, -n, -x and --url; the command gets them as `target`."""

    @wraps(command)
    def with_target(
        *values: Any,
        files: tuple[str, ...],
        name: str,
        arguments: tuple[str, ...],
        url: str | None,
        **options: Any,
    ) -> Any:
        if url is not None and (files or arguments):
            raise click.UsageError("--url does not use env.py: leave out -c and -x, or --url")
        return command(*values, target=Target(files, name, arguments, url), **options)

    return _with(with_target, _OPTIONS)


def _with(command: Callable[..., Any], options: "Sequence[Any]") -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command
