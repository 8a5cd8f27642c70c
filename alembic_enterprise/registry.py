"""The small table that keeps, in the database, what pg_catalog cannot say: policies.

It stands in the schema of the tables it describes and is created on first use, like
`alembic_version`. A row is found by `regclass`, so it follows its table through RENAME, SET SCHEMA,
pg_dump and pg_upgrade (PostgreSQL docs, "pg_upgrade": regclass columns can be upgraded).
"""

import json
from collections.abc import Mapping
from typing import Any

from psycopg.sql import SQL, Composable, Composed, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.sql import Name

TABLE = "alembic_enterprise_policy"
"""Name of the registry in every schema that has one; hidden from autogenerate."""

OWNERSHIP = "alembic-enterprise: "
"""How the comment of every relation begins that we made, and may therefore drop."""


def put(table: Name, policy: Mapping[str, Any]) -> list[Composable]:
    """Statements that create the registry where it is missing and set the policy of one table."""
    registry = Name(table.schema, TABLE).sql
    return [
        _create(registry),
        SQL(
            "INSERT INTO {} (relation, policy) VALUES ({}::regclass, {}::jsonb)\n"
            "ON CONFLICT (relation) DO UPDATE SET policy = excluded.policy"
        ).format(registry, table.regclass, Literal(json.dumps(policy))),
    ]


def remove(table: Name) -> list[Composable]:
    """Statements that forget the policy of one table."""
    registry = Name(table.schema, TABLE).sql
    return [
        _create(registry),
        SQL("DELETE FROM {} WHERE relation = {}::regclass").format(registry, table.regclass),
    ]


def _create(registry: Composable) -> Composed:
    return SQL(
        "CREATE TABLE IF NOT EXISTS {} (\n"
        "    relation regclass PRIMARY KEY,\n"
        "    policy jsonb NOT NULL\n"
        ")"
    ).format(registry)


_REGISTRIES = SQL(
    "SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c\n"
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace\n"
    "WHERE c.relname = {} AND c.relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE')\n"
    "AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1"
)


def read(connection: Connection) -> dict[int, Any]:
    """Every policy in the database that may be read: oid of the table -> policy as parsed JSON."""
    registries = sql.rows(connection, _REGISTRIES.format(Literal(TABLE)))
    if not registries:
        return {}
    query = SQL("SELECT relation::oid, policy::text FROM {}")
    queries = [query.format(Name(schema, name).sql) for schema, name in registries]
    rows = sql.rows(connection, SQL(" UNION ALL ").join(queries))
    return {oid: json.loads(policy) for oid, policy in rows}
