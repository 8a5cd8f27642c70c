"""A project's own migrations, run on a database that env.py does not know of."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alembic_enterprise.environment import connected, guarded
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, StepError
from alembic_enterprise.operation import message


def upgrade(config: Config, url: URL, revisions: Iterable[str]) -> None:
    """Migrate an empty database to some revisions, through env.py.

    Whatever database env.py connects to, the migrations run on the given one: env.py gets its URL
    as sqlalchemy.url and a connection as `config.attributes["connection"]`, and should it use
    neither, `context.configure()` gets that connection all the same.

    Raises:
        ConfigurationError: env.py fails, or the project has no such revision.
        StepError: a migration fails; the message names its revision.
    """
    directory = ScriptDirectory.from_config(config)
    scripts = ordered(directory, revisions)
    running = list[str]()

    def steps(_revision: object, _context: MigrationContext) -> Iterator[Any]:
        if running:
            raise ConfigurationError(
                "env.py runs the migrations of several databases: give the one you mean with -x, "
                "if env.py takes that"
            )
        for script in scripts:
            running.append(script.revision)
            yield MigrationStep.upgrade_from_script(directory.revision_map, script)

    environment = EnvironmentContext(config, directory, fn=steps, as_sql=False)
    with connected(url) as connection, _pointed(config, connection), _named(running):
        environment.configure = _redirected(  # type: ignore[method-assign]  # this instance only
            environment.configure, connection
        )
        with guarded(directory), environment:
            directory.run_env()


def ordered(directory: ScriptDirectory, revisions: Iterable[str]) -> list[Script]:
    """The scripts up to some revisions, each after those it comes after or depends on.

    Raises:
        ConfigurationError: the project has no such revision.
    """
    graph: dict[str, set[str]] = {}
    scripts: dict[str, Script] = {}
    waiting = [_script(directory, revision) for revision in revisions]
    while waiting:
        script = waiting.pop()
        if script.revision in scripts:
            continue
        before = [_script(directory, each) for each in _before(script)]
        scripts[script.revision] = script
        graph[script.revision] = {each.revision for each in before}
        waiting += before
    return [scripts[revision] for revision in TopologicalSorter(graph).static_order()]


def _before(script: Script) -> list[str]:
    names: list[str] = []
    for given in (script.down_revision, script.dependencies):
        names += [given] if isinstance(given, str) else given or ()
    return names


def _script(directory: ScriptDirectory, revision: str) -> Script:
    try:
        [found] = directory.get_revisions(revision)
    except (CommandError, ValueError) as error:
        raise ConfigurationError(
            f"the project has no revision {revision}, which the database is stamped with: get the "
            "script that made it, or stamp the database with one that is here"
        ) from error
    return found


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


def _redirected(configure: Callable[..., None], here: Connection) -> Callable[..., None]:
    """`context.configure()` with another connection, unless the given one leads there already."""

    def redirected(connection: Connection | None = None, *more: Any, **options: Any) -> None:
        database = None if connection is None else connection.engine.url.database
        leads_there = database == here.engine.url.database
        configure(connection if leads_there else here, *more, **options)

    return redirected


@contextmanager
def _named(running: Sequence[str]) -> Generator[None]:
    """Let errors say which revision it was."""
    try:
        yield
    except (EnterpriseError, CommandError, SQLAlchemyError) as error:
        if not running:
            raise
        raise StepError(
            f"revision {running[-1]} cannot be run on the shadow: {_said(error)}. Run `alembic "
            f"upgrade {running[-1]}` on an empty database to see more"
        ) from error


def _said(error: Exception) -> str:
    told = message(error) if isinstance(error, DBAPIError) else str(error)
    return told.strip().splitlines()[0].rstrip(".")
