"""What `doctor` looks at, collected and not yet judged."""

import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Any

import alembic
import psycopg
import sqlalchemy
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Table
from sqlalchemy.exc import SQLAlchemyError

from alembic_enterprise import registry, sql
from alembic_enterprise.environment import Visit, guarded, visit
from alembic_enterprise.errors import EnterpriseError
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.managed import MAY_ACT_AS_OWNER, MAY_CREATE_AS_OWNER
from alembic_enterprise.partitions.model import declared_on
from alembic_enterprise.sessions import are_pooled
from alembic_enterprise.sql import Name

PLUGIN = "alembic_enterprise.plugin"
"""The module that env.py has to import."""


@dataclass(frozen=True)
class Versions:
    """Of what is installed."""

    python: str
    alembic: str
    sqlalchemy: str
    psycopg: str


@dataclass(frozen=True)
class Offline:
    """What env.py sets up for `alembic upgrade --sql`.

    Attributes:
        lock_timeout: whether the script has one, or the role; None: not known.
    """

    lock_timeout: bool | None
    transaction_per_migration: bool


@dataclass(frozen=True)
class Project:
    """What env.py shows without a connection.

    Attributes:
        offline: None where env.py fails when it is to write SQL.
    """

    plugin_imported: bool
    offline: Offline | None


@dataclass(frozen=True)
class Environment:
    """What env.py has set up for its connection.

    Attributes:
        in_transaction: whether a transaction was open before the migrations; None: not known.
        unseen_schemas: schemas of models that autogenerate does not read, for want of
            include_schemas.
    """

    autogenerate_plugins: tuple[str, ...]
    has_metadata: bool
    transaction_per_migration: bool
    in_transaction: bool | None
    unseen_schemas: tuple[str, ...]


@dataclass(frozen=True)
class Privileges:
    """What the role may do.

    Attributes:
        unused: schemas with policies that it may not use.
        unreadable: schemas whose policies it may not SELECT.
        closed_schemas: pairs of a schema and who may not CREATE in it: the role, or an owner of
            tables there.
        foreign_tables: tables with a declaration or policy, and the roles that own them.
        unset_owners: those of these roles whose rights it has, but to whom it may not SET ROLE.
        others: who else may CREATE in a schema of the search_path, as pairs of a schema and a role;
            None stands for PUBLIC.
    """

    role: str
    unused: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    closed_schemas: tuple[tuple[str, str], ...] = ()
    foreign_tables: Mapping[str, str] = field(default_factory=dict[str, str])
    unset_owners: frozenset[str] = frozenset()
    others: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class Facts:
    """All that the checks need.

    Attributes:
        server_version: as `server_version_num`.
        lock_timeout: as `SHOW lock_timeout` prints it.
        default_timeout: whether sessions of the role have one before anybody sets it.
        read_only: whether transactions may not write unless they ask for it.
        isolation: as `SHOW transaction_isolation` prints it.
        pretended: the moment that the clock stands at, as it was set; empty: it goes.
        pooled: whether sessions share server processes; None: not known.
        project: None when there is only a URL; and so is `environment`.
    """

    database: str
    versions: Versions
    server_version: int
    lock_timeout: str
    default_timeout: bool
    read_only: bool
    isolation: str
    pretended: str
    privileges: Privileges
    pooled: bool | None
    project: Project | None
    environment: Environment | None


def versions() -> Versions:
    """The versions of what this runs with."""
    return Versions(
        python=platform.python_version(),
        alembic=alembic.__version__,
        sqlalchemy=sqlalchemy.__version__,
        psycopg=psycopg.__version__,
    )


def of_project(config: Config) -> Facts:
    """The facts of a project, from where its env.py would migrate, and from what it would write.

    Raises what `visit` does.
    """
    facts = visit(config, _visited)
    return replace(facts, project=unconnected(config, facts.default_timeout))


def unconnected(config: Config, default_timeout: bool | None = None) -> Project:
    """What a project shows without a connection, once its env.py has been run with one."""
    offline = _offline(config, default_timeout)
    return Project(plugin_imported=PLUGIN in sys.modules, offline=offline)


def _offline(config: Config, default_timeout: bool | None) -> Offline | None:
    """What env.py sets up when it is to write SQL; it is run for that, and shows nothing."""
    found: list[Offline] = []
    written = StringIO()
    config.output_buffer = written

    def work(_revision: object, context: MigrationContext) -> list[Any]:
        found.append(_written(context, written, default_timeout))
        return []

    script = ScriptDirectory.from_config(config)
    environment = EnvironmentContext(config, script, fn=work, as_sql=True, dont_mutate=True)
    shown = StringIO()
    try:
        with guarded(script), redirect_stdout(shown), redirect_stderr(shown), environment:
            script.run_env()
    except (EnterpriseError, CommandError, SQLAlchemyError):
        return None
    return found[0] if found else None


def _written(context: MigrationContext, script: StringIO, default_timeout: bool | None) -> Offline:
    """What a script has: the SQL as far as it goes, and the arguments of context.configure()."""
    each = bool(context.opts.get("transaction_per_migration"))
    output: object = context.output_buffer
    if output is not script:  # but one that env.py has given it
        return Offline(default_timeout or None, each)
    return Offline("lock_timeout" in script.getvalue().lower() or default_timeout, each)


def _visited(visit: Visit) -> Facts:
    """The facts from where env.py would migrate; ends the transaction."""
    opts = visit.opts
    found = Environment(
        autogenerate_plugins=tuple(opts.get("autogenerate_plugins") or ()),
        has_metadata=bool(visit.metadata),
        transaction_per_migration=bool(opts.get("transaction_per_migration")),
        in_transaction=visit.in_transaction,
        unseen_schemas=() if opts.get("include_schemas") else _other_schemas(visit),
    )
    return of_database(visit.connection, visit.tables, found)


def _other_schemas(visit: Visit) -> tuple[str, ...]:
    """The schemas of the models, without the one that a table without a schema is in."""
    default = visit.connection.dialect.default_schema_name
    named = {table.schema for table in visit.tables if table.schema is not None}
    return tuple(sorted(named - {default}))


def of_database(
    connection: Connection, tables: Sequence[Table] = (), environment: Environment | None = None
) -> Facts:
    """The facts of a database, and of the tables that models declare; ends the transaction."""
    [found] = sql.rows(connection, _SETTINGS)
    database, server_version, lock_timeout, by_default, read_only, isolation, pretended = found
    privileges = _privileges(connection, tables)
    return Facts(
        database=database,
        versions=versions(),
        server_version=server_version,
        lock_timeout=lock_timeout,
        default_timeout=by_default,
        read_only=read_only,
        isolation=isolation,
        pretended=pretended,
        privileges=privileges,
        pooled=_pooled(connection, environment),
        project=None,
        environment=environment,
    )


# The options of a connection are those of env.py's engine, which psql does not have.
_SETTINGS = SQL("""
SELECT current_database(), current_setting('server_version_num')::integer,
       current_setting('lock_timeout'), source <> 'client' AND reset_val <> '0',
       current_setting('default_transaction_read_only')::boolean,
       current_setting('transaction_isolation'), {}
FROM pg_catalog.pg_settings WHERE name = 'lock_timeout'""").format(sql.PRETENDED)

_SCHEMAS = SQL("""
SELECT n.nspname, current_user FROM pg_catalog.pg_namespace AS n
WHERE n.nspname = ANY ({schemas}::name[]) AND NOT has_schema_privilege(n.oid, 'CREATE')
UNION
SELECT n.nspname, pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY ({tables}::oid[]) AND NOT {creating}
ORDER BY 2, 1""")

_OWNERS = SQL("""
SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY ({tables}::oid[]) AND NOT {ours}
ORDER BY 1, 2""")


# Who can log in and act as this role anyway, as superusers can, gains nothing by a function.
_OTHERS = SQL("""
SELECT n.nspname, CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END
FROM pg_catalog.pg_namespace AS n, aclexplode(n.nspacl) AS a
WHERE n.nspname = ANY (current_schemas(false)) AND a.privilege_type = 'CREATE'
  AND a.grantee <> n.nspowner
  AND (a.grantee = 0 OR EXISTS (
       SELECT FROM pg_catalog.pg_roles AS r
       WHERE r.rolcanlogin AND pg_has_role(r.oid, a.grantee, 'MEMBER')
         AND NOT pg_has_role(r.oid, current_user, 'MEMBER')))
ORDER BY 1, 2""")

# One that serves the tables beside it: anybody may have a table of that name.
_UNREADABLE = SQL("""
SELECT n.nspname, has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = {registry} AND c.relkind = 'r'
  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
  AND EXISTS (SELECT FROM pg_catalog.pg_class AS p
              WHERE p.relnamespace = n.oid AND p.relkind = 'p'
                AND pg_has_role(c.relowner, p.relowner, 'USAGE'))
ORDER BY 1""")


def _privileges(connection: Connection, tables: Sequence[Table]) -> Privileges:
    [(role,)] = sql.rows(connection, SQL("SELECT current_user"))
    live = catalog.read(connection)
    declared = {
        live.resolve(Name(table.schema, table.name)) for table in tables if declared_on(table)
    }
    kept = {name for name, table in live.tables.items() if table.policy} | declared
    schemas = sorted({live.default_schema, *(str(name.schema) for name in kept)})
    oids = Literal([live.tables[name].oid for name in kept if name in live.tables])
    closed = sql.rows(
        connection,
        _SCHEMAS.format(schemas=Literal(schemas), tables=oids, creating=MAY_CREATE_AS_OWNER),
    )
    owners = sql.rows(connection, _OWNERS.format(tables=oids, ours=MAY_ACT_AS_OWNER))
    unreadable = sql.rows(connection, _UNREADABLE.format(registry=Literal(registry.TABLE)))
    return Privileges(
        role,
        unused=tuple(name for name, used, _ in unreadable if not used),
        unreadable=tuple(name for name, _, read in unreadable if not read),
        closed_schemas=tuple((name, who) for name, who in closed),
        foreign_tables={str(Name(schema, name)): owner for schema, name, owner, _ in owners},
        unset_owners=frozenset(owner for _, _, owner, inherits in owners if inherits),
        others=tuple((schema, other) for schema, other in sql.rows(connection, _OTHERS)),
    )


def _pooled(connection: Connection, environment: Environment | None) -> bool | None:
    """Whether sessions share server processes; None where it cannot be found out."""
    if environment is not None and environment.in_transaction is not False:
        return None
    connection.rollback()
    try:
        with connection.engine.connect() as other:
            if connection.connection.dbapi_connection is other.connection.dbapi_connection:
                return None
            return are_pooled(connection, other)
    except SQLAlchemyError:
        return None
