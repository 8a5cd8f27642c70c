"""What a project's own env.py sets up, and where its errors are."""

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
from sqlalchemy import Connection, Engine, MetaData, Table, event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from alembic_enterprise import asynchronous
from alembic_enterprise.errors import ConfigurationError, EnterpriseError
from alembic_enterprise.sql import interruption, text_of
from alembic_enterprise.urls import SHAPE

Result = TypeVar("Result")

MEND_ENVIRONMENT = "Mend it; commands that take --url go without env.py"
MEND_MIGRATION = "Mend the migration, and run this again"
"""The next step after an error in env.py or what it imports, and after one in a migration."""


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
    def engine(self) -> Engine:
        """What connects to where env.py does, without asyncio."""
        return asynchronous.without_asyncio(self.connection)

    @property
    def tables(self) -> list[Table]:
        """The tables of the models."""
        return [table for part in self.metadata for table in part.tables.values()]


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
        if reads and context.connection is not None:
            _look(context.connection)  # env.py may go on with it
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
    with guarded(script, failures), environment, read_only, asynchronous.noted():
        script.run_env()
    if len(results) != 1:
        raise ConfigurationError(
            f"env.py ran context.run_migrations() {len(results)} times, for as many databases: "
            "give --url URL for the one you mean"
        )
    return results[0]


@contextmanager
def _read_only() -> Generator[None]:
    """Let new connections of this process be read-only, whatever their URL or their driver has.

    Each transaction begins so: a setting of the session would reach others behind a pooler. There
    is no other way in AUTOCOMMIT, and where an event of env.py has left a transaction open.
    """

    def connected_now(connection: Connection) -> None:
        dialect: Any = connection.dialect
        if dialect.name != "postgresql":
            return
        try:
            dialect.set_readonly(connection.connection.dbapi_connection, True)
        except dialect.dbapi.Error:
            _set_read_only(connection)

    event.listen(Engine, "engine_connect", connected_now)
    event.listen(Engine, "before_cursor_execute", _look)
    try:
        yield
    finally:
        event.remove(Engine, "engine_connect", connected_now)
        event.remove(Engine, "before_cursor_execute", _look)


def _look(connection: Connection, *_: Any) -> None:
    """Let a session be read-only that has no transactions of its driver."""
    own = connection.connection.dbapi_connection
    if connection.dialect.name == "postgresql" and getattr(own, "autocommit", False):
        _set_read_only(connection)


def _set_read_only(connection: Connection) -> None:
    """Let a session be read-only, and the transaction that is open."""
    if not connection.info.get(_IS_READ_ONLY):
        connection.info[_IS_READ_ONLY] = True
        cursor = connection.connection.cursor()
        cursor.execute(text_of(SQL("SET default_transaction_read_only = on")))
        cursor.execute(text_of(SQL("SET transaction_read_only = on")))
        cursor.close()


_IS_READ_ONLY = "alembic_enterprise_read_only"


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
        with _ends_nothing(script, failures):
            yield
    except ArgumentError as error:
        if "URL" in str(error) or error in failures:
            raise
        raise ConfigurationError(_located(script, error)) from error
    except (EnterpriseError, CommandError, SQLAlchemyError, configparser.Error) as error:
        if interruption(error) is not None:  # an autocommit_block() ends in an error that hides it
            raise KeyboardInterrupt from None
        raise
    except Exception as error:
        if error in failures:
            raise
        raise ConfigurationError(_located(script, error)) from error


@contextmanager
def _ends_nothing(script: ScriptDirectory, failures: Sequence[Exception]) -> Generator[None]:
    """Let env.py not end this program, perhaps with 0: why it would is the error."""
    try:
        yield
    except SystemExit as error:
        behind = error.__cause__ or error.__context__
        if isinstance(behind, _TOLD) or (isinstance(behind, Exception) and behind in failures):
            raise behind  # noqa: B904  # its own cause stays
        raise ConfigurationError(_located(script, error)) from error


_TOLD = (EnterpriseError, CommandError, SQLAlchemyError, KeyboardInterrupt)
"""Errors that say themselves what is to be done; env.py may end the program for them."""


def _is_own(file: Path, env: Path) -> bool:
    """Whether it is of the project; an environment of Python may be inside its folder."""
    inside = file.is_relative_to(Path.cwd()) or file.is_relative_to(env.parent)
    return inside and "site-packages" not in file.parts


def _located(script: ScriptDirectory, error: BaseException) -> str:
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
    """Whether it is in a folder of migrations, where Alembic finds them by default."""
    folders = [Path(each) for each in script.version_locations] or [Path(script.dir, "versions")]
    return any(file.absolute().is_relative_to(folder.absolute()) for folder in folders)
