"""How a live database differs from what its own revisions give, by changes outside of them."""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from typing import Any

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, event

from alembic_enterprise import registry, sql
from alembic_enterprise.environment import connected
from alembic_enterprise.errors import StepError
from alembic_enterprise.operation import RUNNING
from alembic_enterprise.partitions.catalog import NOW
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.plan.schema import objects
from alembic_enterprise.plan.schema.objects import Difference, Key, Objects, compare
from alembic_enterprise.plan.shadow import maintained, replay
from alembic_enterprise.plan.shadow.database import VERSION_TABLE, Shadow
from alembic_enterprise.plan.shadow.replay import Watch
from alembic_enterprise.sql import Name


def drift(
    config: Config,
    shadow: Shadow,
    version_table: Name = VERSION_TABLE,
) -> list[Difference]:
    """What was changed in a live database outside of its revisions.

    It is compared with a database that its revisions have made, both on the shadow's server, which
    prints definitions as only one version of PostgreSQL does.

    Args:
        config: Alembic's configuration of the project.
        shadow: of the live database.
        version_table: where Alembic keeps the revisions.

    Raises:
        ConfigurationError: the project lacks a revision that the database is stamped with, or
            env.py fails.
        StepError: a migration cannot be run from an empty database.
        ServerError: no further database can be had.
    """
    with connected(shadow.url) as connection:
        revisions = stamped(connection, version_table)
        [(now,)] = sql.rows(connection, SQL("SELECT {}").format(NOW))
        after = read(connection)
    scripts = replay.ordered(ScriptDirectory.from_config(config), revisions)
    if not shadow.whole:
        # A script may need an older partition than there is then: all of them are made below.
        with suppress(StepError):
            return _drift(config, shadow, version_table, scripts, after, _newest(now.date()))
    return _drift(config, shadow, version_table, scripts, after, _as_they_are)


def _drift(
    config: Config,
    shadow: Shadow,
    version_table: Name,
    scripts: Sequence[Script],
    after: Objects,
    watch: Watch,
) -> list[Difference]:
    with shadow.database() as url:
        replay.upgrade(config, url, scripts, watch)
        with connected(url) as connection:
            if found := compare(read(connection), after):
                found = compare(_copied(connection, shadow, version_table), after)
            return found


def _as_they_are(_connection: Connection, _script: Script) -> None:
    """Let scripts make what they say."""


def _newest(today: date) -> Watch:
    """Let scripts make no more than the newest of the partitions that the scheduled job makes."""

    def changed(
        _connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        running = RUNNING.get()
        if isinstance(running, CreateRangePartitions):
            [usual] = running.statements()
            if statement == sql.text_of(usual):
                return sql.text_of(maintained.newest(running, today)), parameters
        return statement, parameters

    def watch(connection: Connection, _script: Script) -> None:
        if not event.contains(connection, "before_cursor_execute", changed):
            event.listen(connection, "before_cursor_execute", changed, retval=True)

    return watch


def stamped(connection: Connection, version_table: Name = VERSION_TABLE) -> list[str]:
    """The revisions that a database is stamped with."""
    table = Literal(version_table.text)
    [(there,)] = sql.rows(connection, SQL("SELECT to_regclass({}) IS NOT NULL").format(table))
    if not there:
        return []
    query = SQL("SELECT version_num FROM {} ORDER BY 1").format(version_table.sql)
    return [revision for (revision,) in sql.rows(connection, query)]


def _copied(connection: Connection, shadow: Shadow, version_table: Name) -> Objects:
    """The objects of a database once they have gone through pg_dump, as those of the shadow have.

    Not every definition reads the same afterwards: `c IN ('a', 'b')` of a varchar does not.
    """
    with shadow.copy(connection, version_table) as url, connected(url) as copied:
        return read(copied)


def read(connection: Connection) -> Objects:
    """The objects of a database, but for the partitions that the scheduled job looks after."""
    trees = maintained.inside(connection, maintained.read(connection)).values()
    names = [name.text for tree in trees for name in tree]
    passed_over = {called for _, called in sql.rows(connection, _CALLED.format(Literal(names)))}
    found = {**objects.read(connection), **_policies(connection)}
    return {key: text for key, text in found.items() if key.relation not in passed_over}


def _policies(connection: Connection) -> dict[Key, str]:
    kept = registry.read(connection)
    names = sql.rows(connection, _CALLED.format(Literal(list(kept))))
    return {
        Key(name, "maintenance policy", name): json.dumps(kept[oid], sort_keys=True)
        for oid, name in names
    }


_CALLED = SQL("""
SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = ANY ({}::regclass[])""")
