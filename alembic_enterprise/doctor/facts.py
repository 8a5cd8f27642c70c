"""What `doctor` looks at, collected and not yet judged."""

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import alembic
import psycopg
import sqlalchemy
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Table
from sqlalchemy.exc import SQLAlchemyError

from alembic_enterprise import registry, sql
from alembic_enterprise.environment import Visit
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.model import declared_on
from alembic_enterprise.sql import Name

PLUGIN = "alembic_enterprise.plugin"
"""The module that env.py has to import."""


@dataclass(frozen=True)
class Environment:
    """What env.py has set up.

    Attributes:
        in_transaction: whether a transaction was open before the migrations; None: not known.
        unseen_schemas: schemas of models that autogenerate does not read, for want of
            include_schemas.
    """

    plugin_imported: bool
    autogenerate_plugins: tuple[str, ...]
    has_metadata: bool
    transaction_per_migration: bool
    in_transaction: bool | None
    unseen_schemas: tuple[str, ...]


@dataclass(frozen=True)
class Privileges:
    """What the role may do.

    Attributes:
        unreadable: schemas whose policies it may not read.
        closed_schemas: schemas in which it may not CREATE.
        foreign_tables: tables with a declaration or policy, and the roles that own them.
    """

    role: str
    unreadable: tuple[str, ...] = ()
    closed_schemas: tuple[str, ...] = ()
    foreign_tables: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Facts:
    """All that the checks need.

    Attributes:
        server_version: as `server_version_num`.
        lock_timeout: as `SHOW lock_timeout` prints it.
        pooled: whether sessions share server processes; None: not known.
        environment: None when there is only a URL.
    """

    database: str
    python: str
    alembic: str
    sqlalchemy: str
    psycopg: str
    server_version: int
    lock_timeout: str
    privileges: Privileges
    pooled: bool | None
    environment: Environment | None


def of_project(visit: Visit) -> Facts:
    """The facts of a project, from where its env.py would migrate; ends the transaction."""
    opts = visit.opts
    found = Environment(
        plugin_imported=PLUGIN in sys.modules,
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
    settings = SQL(
        "SELECT current_database(), current_setting('server_version_num')::integer,"
        " current_setting('lock_timeout')"
    )
    [(database, server_version, lock_timeout)] = sql.rows(connection, settings)
    privileges = _privileges(connection, tables)
    return Facts(
        database=database,
        python=platform.python_version(),
        alembic=alembic.__version__,
        sqlalchemy=sqlalchemy.__version__,
        psycopg=psycopg.__version__,
        server_version=server_version,
        lock_timeout=lock_timeout,
        privileges=privileges,
        pooled=_pooled(connection, environment),
        environment=environment,
    )


_SCHEMAS = SQL("""
SELECT n.nspname FROM pg_catalog.pg_namespace AS n
WHERE n.nspname = ANY ({schemas}::name[]) AND NOT has_schema_privilege(n.oid, 'CREATE')
ORDER BY 1""")

_OWNERS = SQL("""
SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY ({tables}::oid[]) AND NOT pg_has_role(c.relowner, 'USAGE')
ORDER BY 1, 2""")


# One that serves the tables beside it: anybody may have a table of that name.
_UNREADABLE = SQL("""
SELECT n.nspname FROM pg_catalog.pg_class AS c
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
    closed = sql.rows(connection, _SCHEMAS.format(schemas=Literal(schemas)))
    oids = [live.tables[name].oid for name in kept if name in live.tables]
    owners = sql.rows(connection, _OWNERS.format(tables=Literal(oids)))
    unreadable = sql.rows(connection, _UNREADABLE.format(registry=Literal(registry.TABLE)))
    return Privileges(
        role,
        unreadable=tuple(name for (name,) in unreadable),
        closed_schemas=tuple(name for (name,) in closed),
        foreign_tables={str(Name(schema, name)): owner for schema, name, owner in owners},
    )


def _pooled(connection: Connection, environment: Environment | None) -> bool | None:
    """Whether sessions share server processes, which PgBouncer does in transaction pooling.

    Our transaction has to end first: a pool of one has no other server for us.
    """
    if environment is not None and environment.in_transaction is not False:
        return None
    connection.rollback()
    try:
        with connection.engine.connect() as other:
            if connection.connection.dbapi_connection is other.connection.dbapi_connection:
                return None
            return shared([(_process(connection), _process(other)) for _ in range(3)])
    except SQLAlchemyError:
        return None


def _process(connection: Connection) -> int:
    """The server process that ran one transaction."""
    [(pid,)] = sql.rows(connection, SQL("SELECT pg_backend_pid()"))
    connection.rollback()
    return int(pid)


def shared(rounds: Sequence[tuple[int, int]]) -> bool:
    """Whether two open sessions were not each served by one process of its own.

    Args:
        rounds: processes of the transactions that both ran in turn.
    """
    one, other = ({pids[place] for pids in rounds} for place in (0, 1))
    return len(one) > 1 or len(other) > 1 or bool(one & other)
