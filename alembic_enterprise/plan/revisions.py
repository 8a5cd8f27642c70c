"""Which revisions a database has, and which scripts it lacks."""

from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter

from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.sql import Name

VERSION_TABLE = Name(None, "alembic_version")
"""Where Alembic keeps the revisions, unless env.py says otherwise."""


def stamped(connection: Connection, version_table: Name = VERSION_TABLE) -> list[str]:
    """The revisions that a database is stamped with."""
    table = Literal(version_table.text)
    [(there,)] = sql.rows(connection, SQL("SELECT to_regclass({}) IS NOT NULL").format(table))
    if not there:
        return []
    query = SQL("SELECT version_num FROM {} ORDER BY 1").format(version_table.sql)
    return [revision for (revision,) in sql.rows(connection, query)]


def pending(directory: ScriptDirectory, stamped: Iterable[str]) -> list[Script]:
    """The scripts that a database lacks, in the order in which they are to be run.

    Raises:
        ConfigurationError: the project has several heads, or lacks a revision that is stamped.
    """
    heads = _heads(directory)
    if len(heads) > 1:
        raise ConfigurationError(
            f"the project has {len(heads)} heads ({', '.join(heads)}), and it is not known which "
            "comes next: run `alembic merge heads`, and this again"
        )
    there = {script.revision for script in ordered(directory, stamped)}
    return [script for script in ordered(directory, heads) if script.revision not in there]


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


def start(scripts: Sequence[Script]) -> list[str]:
    """The revisions that scripts come after."""
    there = {script.revision for script in scripts}
    before = [name for script in scripts for name in _before(script)]
    return [name for name in dict.fromkeys(before) if name not in there]


def _heads(directory: ScriptDirectory) -> list[str]:
    """The heads but for those that another script depends on, which it brings with it."""
    scripts = list(directory.walk_revisions())
    before = {name for script in scripts for name in _before(script)}
    needed = {_script(directory, name).revision for name in before}
    return [head for head in directory.get_heads() if head not in needed]


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
