"""Connections: of a project's own env.py, or of a URL. Nothing here keeps or prints a password."""

import configparser
import logging
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from os import environ
from pathlib import Path
from typing import Any, TypeVar

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.sql import SQL
from sqlalchemy import (
    URL,
    Connection,
    MetaData,
    NullPool,
    Pool,
    Table,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from alembic_enterprise.errors import ConfigurationError, EnterpriseError
from alembic_enterprise.sql import text_of

Result = TypeVar("Result")

SHAPE = "postgresql://user:password@host:5432/database"
"""How a URL is written."""

DRIVER = "postgresql+psycopg"
"""What every URL without a driver gets, whatever the release of SQLAlchemy takes it for."""

OTHER_NAMES = ("postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg_async")
"""Schemes that are read as `DRIVER`; an asyncio driver cannot be used here."""

MEND_ENVIRONMENT = "Mend it; commands that take --url go without env.py"
MEND_MIGRATION = "Mend the migration, and run this again"
"""The next step after an error in env.py or what it imports, and after one in a migration."""

CONNECT_TIMEOUT = 10
"""Seconds that a URL of the command line gets to connect, unless it has a connect_timeout."""


@dataclass(frozen=True)
class Visit:
    """What env.py has set up at the point where it runs the migrations.

    Attributes:
        connection: the one given to `context.configure()`.
        opts: the arguments given to it.
        in_transaction: whether the connection was in a transaction then; None if it is not known.
    """

    context: MigrationContext
    connection: Connection
    opts: dict[str, Any]
    in_transaction: bool | None

    @property
    def metadata(self) -> Sequence[MetaData]:
        """What it gives as `target_metadata`, which may be several or none."""
        given = self.opts.get("target_metadata")
        if given is None:
            return ()
        return (given,) if isinstance(given, MetaData) else tuple(given)

    @property
    def tables(self) -> list[Table]:
        """The tables of the models."""
        return [table for part in self.metadata for table in part.tables.values()]


def resolved(given: str) -> str:
    """The URL that `env:NAME` or `file:PATH` stand for, as openssl writes such sources.

    Anything else is a URL already. Raises `ConfigurationError` when there is none.
    """
    scheme, _, source = given.partition(":")
    if scheme == "env":
        if not (url := environ.get(source, "").strip()):
            raise ConfigurationError(f"the variable {source} is not set: let it hold the URL")
        return url
    if scheme == "file":
        return _from_file(Path(source))
    return given


def _from_file(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(
            f"{path} cannot be read ({reason}): let it hold the URL, readable for who runs this"
        ) from error
    if len(lines) != 1:
        raise ConfigurationError(f"{path} does not hold one line: write {SHAPE} there")
    return lines[0]


def parse(url: str) -> URL:
    """The URL with a driver that is installed. Raises `ConfigurationError`, without the URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(f"the URL cannot be read: write {SHAPE}") from error
    if parsed.drivername in OTHER_NAMES:
        parsed = parsed.set(drivername=DRIVER)
    if parsed.get_backend_name() != "postgresql":
        raise ConfigurationError(f"the URL is not a PostgreSQL one: write {SHAPE}")
    if "@" in (parsed.host or ""):
        raise ConfigurationError("the URL has two @: write the one in the password as %40")
    return parsed


@contextmanager
def connected(url: URL) -> Generator[Connection]:
    """A connection of its own to the database of a parsed URL.

    Raises `ConfigurationError` when its driver is not installed, or not known.
    """
    arguments: dict[str, Any] = {}
    if url.drivername == DRIVER:
        # Prepared statements would be lost, or found twice, behind PgBouncer.
        arguments["prepare_threshold"] = None
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigurationError(
            f"the driver of the URL, {url.get_driver_name()}, cannot be loaded ({error}): write "
            f"{SHAPE}, or install it"
        ) from error
    with engine.connect() as connection:
        yield connection


def configuration(files: Sequence[str], name: str, arguments: Sequence[str]) -> Config:
    """What `alembic -c FILE -n NAME -x ARGUMENT` would use.

    Raises `ConfigurationError` when there is no such file, or no such section in it.
    """
    ini, toml = _files(files, environ.get("ALEMBIC_CONFIG"))
    if not (Path(ini).is_file() or _has_section(Path(toml))):
        place = f"{ini} does not exist" if files else "there is no alembic.ini here"
        raise ConfigurationError(
            f"{place}: run this in the project's folder, or give -c FILE, or --url URL where the "
            "command takes it"
        )
    options = Namespace(
        config=list(files), name=name, x=list(arguments), raiseerr=False, quiet=True
    )
    config = Config(ini, toml_file=toml, ini_section=name, cmd_opts=options)
    sections = config.file_config
    if Path(ini).is_file() and sections.sections() and not sections.has_section(name):
        there = (key for key in sections.sections() if sections.has_option(key, "script_location"))
        raise ConfigurationError(
            f"{ini} has no section [{name}]: give -n the name of one with a script_location, "
            f"of which it has {', '.join(there) or 'none'}"
        )
    return config


def _files(given: Sequence[str], default: str | None) -> tuple[str, str]:
    """The ini file and the pyproject.toml, chosen as Alembic's command line does."""
    names = [*given, *([default] if default else [])]
    tomls = [name for name in names if Path(name).name == "pyproject.toml"]
    inis = [name for name in names if name not in tomls]
    return (inis or ["alembic.ini"])[0], (tomls or ["pyproject.toml"])[0]


def _has_section(toml: Path) -> bool:
    return toml.is_file() and "[tool.alembic]" in toml.read_text(encoding="utf-8")


def visit(config: Config, function: Callable[[Visit], Result], *, reads: bool = False) -> Result:
    """Run env.py, and `function` where it would run the migrations; nothing is migrated.

    What env.py prints goes to standard error. With `reads` its sessions are read-only, those made
    before `function` is called.

    Raises:
        ConfigurationError: env.py fails, does not connect, or connects to several databases.
        Exception: whatever `function` raises; and errors of Alembic and SQLAlchemy as they are.
    """
    script = ScriptDirectory.from_config(config)
    results: list[Result] = []
    failures: list[Exception] = []
    observed: list[bool] = []
    read_only = ExitStack()

    def work(_revision: object, context: MigrationContext) -> list[Any]:
        read_only.close()  # the sessions that `function` makes itself may write
        vars(context).pop("get_current_heads", None)  # that of `_observe`
        try:
            results.append(function(_visit(context, observed)))
        except Exception as error:
            failures.append(error)
            raise
        return []

    environment = EnvironmentContext(
        config, script, fn=work, as_sql=False, dont_mutate=True, template_args={}
    )
    _observe(environment, observed)
    if reads:
        read_only.enter_context(_read_only())
    with guarded(script, failures), environment, read_only:
        script.run_env()
    if len(results) != 1:
        raise ConfigurationError(
            f"env.py ran context.run_migrations() {len(results)} times, for as many databases: "
            "give --url URL for the one you mean"
        )
    return results[0]


@contextmanager
def _read_only() -> Generator[None]:
    """Let each new session of this process be read-only, whatever its URL or its driver has."""

    def connected_now(driver: Any, _record: object) -> None:
        before, driver.autocommit = driver.autocommit, True
        cursor = driver.cursor()
        cursor.execute(text_of(SQL("SET default_transaction_read_only = on")))
        cursor.close()
        driver.autocommit = before

    event.listen(Pool, "connect", connected_now)
    try:
        yield
    finally:
        event.remove(Pool, "connect", connected_now)


def _observe(environment: EnvironmentContext, observed: list[bool]) -> None:
    """Note whether the connection is in a transaction when env.py configures the context.

    From then on Alembic leaves that transaction to env.py, so that no `autocommit_block()` works.

    Until its migrations would run, the context knows of no revision: Alembic would read
    `alembic_version` to choose them, which not every role may.
    """
    configure = environment.configure

    def observing(connection: Connection | None = None, *more: Any, **options: Any) -> None:
        if connection is not None:
            observed.append(connection.in_transaction())
        configure(connection, *more, **options)
        environment.get_context().get_current_heads = lambda: ()  # type: ignore[method-assign]  # as below

    environment.configure = observing  # type: ignore[method-assign]  # for this instance only


def _visit(context: MigrationContext, observed: Sequence[bool]) -> Visit:
    if context.connection is None:
        raise ConfigurationError("env.py gives context.configure() no connection: add connection=")
    if context.dialect.name != "postgresql":
        raise ConfigurationError(
            f"env.py connects to {context.dialect.name}, not to PostgreSQL: where it has several "
            "databases, give --url URL for the one you mean"
        )
    in_transaction = observed[-1] if observed else None
    return Visit(context, context.connection, context.opts, in_transaction)


@contextmanager
def guarded(script: ScriptDirectory, failures: Sequence[Exception] = ()) -> Generator[None]:
    """Run env.py inside: what it prints goes to standard error, and its errors say where they are.

    Args:
        script: the project's scripts.
        failures: errors that are not of env.py, and stay as they are.

    Raises:
        ConfigurationError: env.py, or the models, fail.
    """
    with _own_errors(script, failures), _quiet():
        yield


@contextmanager
def _quiet() -> Generator[None]:
    """Keep what Alembic logs, and env.py prints, out of the output."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(before)


OUTPUT, ERRORS = 1, 2
"""The numbers of the files that programs inherit."""


@contextmanager
def quiet_hooks() -> Generator[None]:
    """Keep what Alembic's post-write hooks print out of the output.

    Alembic announces each of them, and has no option against it. Those that are programs, as
    formatters are, print to standard error.
    """
    with redirect_stdout(StringIO()), _programs_apart():
        yield


@contextmanager
def _programs_apart() -> Generator[None]:
    """Let programs that are started inside print to standard error."""
    try:
        before = os.dup(OUTPUT)
    except OSError:  # there is none
        yield
        return
    try:
        with suppress(OSError):
            os.dup2(ERRORS, OUTPUT)
        yield
    finally:
        os.dup2(before, OUTPUT)
        os.close(before)


@contextmanager
def _own_errors(script: ScriptDirectory, failures: Sequence[Exception]) -> Generator[None]:
    """Tell where in the project an error of env.py, or of the models, comes from."""
    try:
        yield
    except ArgumentError as error:
        if "URL" in str(error) or error in failures:
            raise
        raise ConfigurationError(_located(script, error)) from error
    except (EnterpriseError, CommandError, SQLAlchemyError, configparser.Error):
        raise
    except Exception as error:
        if error in failures:
            raise
        raise ConfigurationError(_located(script, error)) from error


def _is_own(file: Path, env: Path) -> bool:
    """Whether it is of the project; an environment of Python may be inside its folder."""
    inside = file.is_relative_to(Path.cwd()) or file.is_relative_to(env.parent)
    return inside and "site-packages" not in file.parts


def _located(script: ScriptDirectory, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == "psycopg2":
        return f"psycopg2 is not installed: write the URL as {SHAPE.replace('://', '+psycopg://')}"
    frames = traceback.extract_tb(error.__traceback__)
    env = Path(script.env_py_location)
    places = [(one.filename, one.lineno) for one in frames if _is_own(Path(one.filename), env)]
    if isinstance(error, SyntaxError):  # what cannot be read is no frame
        places.append((str(error.filename), error.lineno))
    file, line = places[-1] if places else (str(env), None)
    place = file if line is None else f"{file}, line {line}"
    what = f"{place}: {type(error).__name__}: {error}"
    return f"{what}. {MEND_MIGRATION if _is_migration(script, Path(file)) else MEND_ENVIRONMENT}"


def _is_migration(script: ScriptDirectory, file: Path) -> bool:
    """Whether it is in a folder of migrations, where Alembic finds them unless told."""
    folders = [Path(each) for each in script.version_locations] or [Path(script.dir, "versions")]
    return any(file.absolute().is_relative_to(folder.absolute()) for folder in folders)
