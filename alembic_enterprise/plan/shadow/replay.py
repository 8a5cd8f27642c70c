"""A project's own migrations, run on a database that env.py does not know of."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any, TypeVar

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection
from sqlalchemy.exc import (
    CompileError,
    DBAPIError,
    NoReferenceError,
    NoSuchTableError,
    SQLAlchemyError,
)

from alembic_enterprise.environment import guarded
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, StepError
from alembic_enterprise.plan.revisions import start
from alembic_enterprise.plan.shadow import apart, elsewhere
from alembic_enterprise.sql import message, sqlstate
from alembic_enterprise.urls import connected

Result = TypeVar("Result")
Watch = Callable[[Connection, Script], None]
"""Called with the connection of the migration before each script begins."""

FROM_NOTHING = "Run `alembic upgrade {}` on an empty database to see more"
ON_A_COPY = (
    "That has the schema of the live database and no rows: a script that reads rows finds none "
    "there"
)
"""Advice for an upgrade that fails; {} stands for its revision."""

REPLACED = (
    "env.py made a connection of its own, in whose place this ran on one to the shadow: if it "
    'lacks a SET of env.py, let that use sqlalchemy.url or config.attributes["connection"]'
)
"""Advice for a migration that does not find something on another connection than env.py's."""

_NOT_FOUND = ("42P01", "3F000", "42704", "42501")
"""SQLSTATE of a table, a schema or a setting that does not exist, and of a missing right."""

_ELSEWHERE = (apart.REFUSED, apart.NO_HANDLER, elsewhere.READ_ONLY)
"""SQLSTATE of what leads to another database, and would write there if it were run by hand."""


_OF_WORDS = ("0A", "25", "3D", "3F", "42", "55", "58")
"""How SQLSTATEs begin that say nothing of rows."""

_NOT_RUN = (apart.ADVICE, apart.SHARED, elsewhere.ADVICE)
"""What is said of statements that are kept from the server, which needs no more advice."""


def is_of_words(state: str | None) -> bool:
    """Whether a statement with this SQLSTATE fails as it is, however many rows there are."""
    return state is not None and state.startswith(_OF_WORDS)


def unwatched(_connection: Connection, _script: Script) -> None:
    """The `watch` of those who need none."""


@dataclass(frozen=True)
class _Way:
    """Up or down: what Alembic runs of a script, and what is said when that fails."""

    step: Callable[..., Any]
    done: str
    advice: str


_UP = _Way(MigrationStep.upgrade_from_script, "run on the shadow", FROM_NOTHING)
_DOWN = _Way(
    MigrationStep.downgrade_from_script,
    "taken back on the shadow",
    "Mend its downgrade(), or let it raise NotImplementedError when there is no way back",
)
_WRITTEN = _Way(
    MigrationStep.upgrade_from_script,
    "written as SQL",
    "Let it do without answers of the database, give the columns of rows their types, or go "
    "without --sql",
)


def upgrade(
    config: Config,
    url: URL,
    scripts: Iterable[Script],
    watch: Watch = unwatched,
    advice: str = FROM_NOTHING,
) -> None:
    """Run the upgrades of scripts in order on a database, through env.py.

    Whatever database env.py connects to, the migrations run on the given one: env.py gets its URL
    as sqlalchemy.url and a connection as `config.attributes["connection"]`, and should it use
    neither, `context.configure()` gets that connection all the same.

    Args:
        config: Alembic's configuration of the project.
        url: of the database.
        scripts: in the order in which they run.
        watch: called before each script.
        advice: the next step when a migration fails; {} stands for its revision.

    Raises:
        ConfigurationError: env.py fails.
        StepError: a migration fails; the message names its revision.
    """
    _migrate(config, url, scripts, watch, replace(_UP, advice=advice))


def downgrade(
    config: Config, url: URL, scripts: Iterable[Script], watch: Watch = unwatched
) -> None:
    """The same with the downgrades, the last of the scripts first."""
    _migrate(config, url, reversed(list(scripts)), watch, _DOWN)


def visit(config: Config, url: URL, function: Callable[[MigrationContext], Result]) -> Result:
    """Run env.py on a database, and a function where it would run the migrations."""
    results: list[Result] = []

    def work(_revision: object, context: MigrationContext) -> Iterator[Any]:
        results.append(function(context))
        return iter(())

    with connected(url) as connection:
        _run(config, ScriptDirectory.from_config(config), work, connection, [])
    return results[0]


def offline(config: Config, scripts: Sequence[Script], stamped: Sequence[str] | None = None) -> str:
    """What `alembic upgrade --sql` writes for scripts that come after one another.

    Args:
        config: Alembic's configuration of the project.
        scripts: in the order in which they come.
        stamped: the revisions of the database; by default those that the scripts come after.
    """
    directory = ScriptDirectory.from_config(config)
    output, before = StringIO(), config.output_buffer
    running: list[str] = []
    environment = EnvironmentContext(
        config,
        directory,
        fn=_steps(directory, scripts, _WRITTEN, running),
        as_sql=True,
        starting_rev=(start(scripts) if stamped is None else stamped) or None,
    )
    config.output_buffer = output
    try:
        with _named(running, _WRITTEN), elsewhere.only_read(), guarded(directory), environment:
            directory.run_env()
    finally:
        config.output_buffer = before
    return output.getvalue()


def _migrate(config: Config, url: URL, scripts: Iterable[Script], watch: Watch, way: _Way) -> None:
    directory = ScriptDirectory.from_config(config)
    running: list[str] = []
    more: list[str] = []
    steps = _steps(directory, scripts, way, running, watch)
    with connected(url) as connection, _named(running, way, more):
        _run(config, directory, steps, connection, more)


def _steps(
    directory: ScriptDirectory,
    scripts: Iterable[Script],
    way: _Way,
    running: list[str],
    watch: Watch = unwatched,
) -> Callable[..., Any]:
    """What Alembic calls for the steps to run; their revisions are added to `running`."""

    def steps(_revision: object, context: MigrationContext) -> Iterator[Any]:
        if running:
            raise ConfigurationError(
                "env.py runs the migrations of several databases: give the one you mean with -x, "
                "if env.py takes that"
            )
        for script in scripts:
            running.append(script.revision)
            if context.connection is not None:
                watch(context.connection, script)
            yield way.step(directory.revision_map, script)

    return steps


def _run(
    config: Config,
    directory: ScriptDirectory,
    function: Callable[..., Any],
    connection: Connection,
    advice: list[str],
) -> None:
    """Run env.py with a function in the place of the migrations, on a connection.

    What may be why it fails, besides what the server says, is added to `advice`.
    """
    environment = EnvironmentContext(config, directory, fn=function, as_sql=False, template_args={})
    with _pointed(config, connection):
        environment.configure = _redirected(  # type: ignore[method-assign]  # this instance only
            environment.configure, connection, advice
        )
        here = elsewhere.only_read(connection.engine.url.database)
        with apart.watched(connection), here, guarded(directory), environment:
            directory.run_env()


@contextmanager
def _pointed(config: Config, connection: Connection) -> Generator[None]:
    """Let the configuration lead to a connection, and put it back."""
    before = config.get_main_option("sqlalchemy.url")
    attributes = dict(config.attributes)
    url = connection.engine.url.render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        yield
    finally:
        config.attributes.clear()
        config.attributes.update(attributes)
        if before is None:
            config.remove_main_option("sqlalchemy.url")
        else:
            config.set_main_option("sqlalchemy.url", before.replace("%", "%%"))


def _redirected(
    configure: Callable[..., None], here: Connection, advice: list[str]
) -> Callable[..., None]:
    """`context.configure()` with another connection, unless the given one leads there already."""

    def redirected(connection: Connection | None = None, *more: Any, **options: Any) -> None:
        database = None if connection is None else connection.engine.url.database
        leads_there = database == here.engine.url.database
        if connection is not None and not leads_there:
            advice.append(REPLACED)
        configure(connection if leads_there else here, *more, **options)

    return redirected


@contextmanager
def _named(running: Sequence[str], way: _Way, more: Sequence[str] = ()) -> Generator[None]:
    """Let errors say which revision it was, and what else may be why."""
    try:
        yield
    except (EnterpriseError, CommandError, SQLAlchemyError) as error:
        if not running:
            raise
        revision = running[-1]
        state = sqlstate(error) if isinstance(error, DBAPIError) else None
        sentences = [f"revision {revision} cannot be {way.done}: {said(error)}"]
        is_advised = state in _ELSEWHERE or str(error) in _NOT_RUN
        if not is_advised and not (way.advice == ON_A_COPY and is_of_words(state)):
            sentences.append(way.advice.format(revision))
        if state == elsewhere.READ_ONLY:
            sentences.append(elsewhere.ADVICE)
        if state in _NOT_FOUND:
            sentences += more
        raise StepError(". ".join(sentences)) from error


def said(error: Exception) -> str:
    """What went wrong, on a line, without the values that it was about."""
    if isinstance(error, DBAPIError):
        told = _by_server(error)
    elif isinstance(error, SQLAlchemyError):
        told = _by_sqlalchemy(error)
    else:
        told = _by_python(str(error), error.__cause__)
    return told.strip().splitlines()[0].rstrip(".")


_OF_NAMES = (NoSuchTableError, NoReferenceError)
"""Errors of SQLAlchemy that name tables and columns, and no value that it was to write."""

_DATA = "22"
"""Class of the errors that are about a value; one of the driver has no SQLSTATE."""

# Quotation marks are those of lc_messages.
_LITERAL = re.compile("[\"«»„“]'.*'[\"«»“”]", re.DOTALL)
_QUOTED = re.compile("[\"'«»„“‚‘].*[\"'«»“”‘’]", re.DOTALL)  # noqa: RUF001  # that is what they are


def _by_sqlalchemy(error: SQLAlchemyError) -> str:
    kind = type(error).__name__
    if isinstance(error, _OF_NAMES):
        return f"{kind}: {error}"
    if isinstance(error, CompileError) and str(error).endswith(_NAMELESS):
        # As Alembic writes it for `unique=True` and ForeignKey() in models without a convention.
        return (
            "a constraint cannot be dropped, as it has no name: name it there and in the model, or "
            "give the MetaData a naming_convention"
        )
    return f"{kind} of SQLAlchemy, whose words may hold values"


_NAMELESS = "it has no name"
"""How `visit_drop_constraint` in SQLAlchemy's sql/compiler.py ends its complaint."""


def _by_server(error: DBAPIError) -> str:
    is_of_value = (sqlstate(error) or _DATA).startswith(_DATA)
    return (_QUOTED if is_of_value else _LITERAL).sub('"..."', message(error))


def _by_python(told: str, cause: BaseException | None) -> str:
    """How a script's error is reported: its own words may be the value it did not expect."""
    if not isinstance(cause, ValueError | KeyError):
        return told
    kind = type(cause).__name__
    return told.replace(f"{kind}: {cause}", kind)
