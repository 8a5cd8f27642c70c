"""How a live database differs from what its own revisions give, by changes outside of them."""

import json
from collections.abc import Collection
from contextlib import suppress
from datetime import date
from typing import Any

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from psycopg.sql import SQL, Literal
from sqlalchemy import URL, Connection, event

from alembic_enterprise import registry, sql
from alembic_enterprise.errors import StepError
from alembic_enterprise.operation import RUNNING
from alembic_enterprise.partitions import managed
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.plan.revisions import ordered
from alembic_enterprise.plan.schema import objects
from alembic_enterprise.plan.schema.objects import (
    Difference,
    Key,
    Objects,
    compare,
    is_of_schema,
)
from alembic_enterprise.plan.shadow import maintained, replay
from alembic_enterprise.plan.shadow.database import Shadow
from alembic_enterprise.plan.shadow.replay import Watch
from alembic_enterprise.sql import Name
from alembic_enterprise.urls import connected


def drift(
    config: Config,
    shadow: Shadow,
    version_table: Name,
    live: Objects,
    schemas: Collection[str] = (),
) -> list[Difference]:
    """What was changed in a live database outside of its revisions.

    It is compared with a database that its revisions have made, both on the shadow's server, which
    prints definitions as only one version of PostgreSQL does.

    Args:
        config: Alembic's configuration of the project.
        shadow: of the live database.
        version_table: where Alembic keeps the revisions.
        live: the objects of the shadow.
        schemas: quoted names of those that are made beforehand, and not compared themselves.

    Raises:
        ConfigurationError: the project lacks a revision that the database is stamped with, or
            env.py fails.
        StepError: a migration cannot be run from an empty database.
        DBAPIError: nor can env.py.
        ServerError: no further database can be had.
    """
    after = _without(schemas, live)
    scripts = ordered(ScriptDirectory.from_config(config), shadow.original.revisions)

    def found(watch: Watch) -> list[Difference]:
        with shadow.database() as url:
            _create(url, schemas)
            replay.upgrade(config, url, scripts, watch)
            with connected(url) as connection:
                before = _without(schemas, objects_of(connection))
                if differences := compare(before, after):
                    copied = _copied(connection, shadow, version_table)
                    differences = compare(_without(schemas, copied), after)
                return differences

    if not shadow.whole:
        # A script may need an older partition than there is then: all of them are made below.
        with suppress(StepError):
            return found(_newest(_today(shadow.url)))
    return found(replay.unwatched)


def schemas(connection: Connection) -> list[str]:
    """Quoted names of the schemas that somebody has made, and no extension."""
    return [name for (name,) in sql.rows(connection, _SCHEMAS)]


def _create(url: URL, schemas: Collection[str]) -> None:
    if not schemas:
        return
    with connected(url) as connection:
        for schema in schemas:
            name = SQL(schema)  # pyright: ignore[reportArgumentType]  # quoted by the server
            sql.execute(connection, SQL("CREATE SCHEMA {}").format(name))
        connection.commit()


def _without(schemas: Collection[str], found: Objects) -> Objects:
    """Objects without some schemas themselves; what is in these stays."""
    names = {f"schema {name}" for name in schemas}
    return {key: text for key, text in found.items() if not is_of_schema(key, names)}


def _today(url: URL) -> date:
    with connected(url) as connection:
        [(now,)] = sql.rows(connection, SQL("SELECT {}").format(sql.NOW))
    today: date = now.date()
    return today


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


def _copied(connection: Connection, shadow: Shadow, version_table: Name) -> Objects:
    """The objects of a database once they have gone through pg_dump, as those of the shadow have.

    Not every definition reads the same afterwards: `c IN ('a', 'b')` of a varchar does not.
    """
    with shadow.copy(connection, version_table) as url, connected(url) as copied:
        return objects_of(copied)


def objects_of(connection: Connection) -> Objects:
    """The objects of a database, but for the partitions that the scheduled job makes and retires.

    The transaction of the connection is ended with it.
    """
    trees = [*maintained.inside(connection, maintained.read(connection)).values()]
    retired = managed.retired_partitions(connection, [])
    trees += [[found.name, *found.ties.inside] for found in retired]
    names = [name.text for tree in trees for name in tree]
    passed_over = {called for _, called in sql.rows(connection, _CALLED.format(Literal(names)))}
    policies = _policies(connection)
    found = {**objects.read(connection), **policies}  # the last: it ends the transaction
    return {key: text for key, text in found.items() if key.relation not in passed_over}


def _policies(connection: Connection) -> dict[Key, str]:
    kept = registry.read(connection)
    names = sql.rows(connection, _CALLED.format(Literal(list(kept))))
    return {
        Key(name, "maintenance policy", name): json.dumps(kept[oid], sort_keys=True)
        for oid, name in names
    }


_SCHEMAS = SQL("""
SELECT quote_ident(nspname) FROM pg_catalog.pg_namespace AS n
WHERE nspname !~ '^(pg_|information_schema$)' AND nspname <> 'public'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.deptype = 'e'
                  AND d.classid = 'pg_catalog.pg_namespace'::regclass AND d.objid = n.oid)
ORDER BY 1""")

_CALLED = SQL("""
SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = ANY ({}::regclass[])""")
