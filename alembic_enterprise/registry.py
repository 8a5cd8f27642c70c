"""The small table that keeps, in the database, what pg_catalog cannot say: policies.

It stands in the schema of the tables it describes and is created on first use, like
`alembic_version`. A row is found by `regclass`, so it follows its table through RENAME, SET SCHEMA
and pg_upgrade (PostgreSQL docs, "pg_upgrade": regclass columns can be upgraded).

Anybody may create a table of that name in a schema of their own. So a registry counts only when its
columns are what they should be, and its owner has the rights of the table's owner; and of several
that name one table, the one in the table's own schema counts.
"""

import json
from collections.abc import Mapping
from typing import Any

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.sql import Name, do_block

TABLE = "alembic_enterprise_policy"
"""Name of the registry in every schema that has one; hidden from autogenerate."""

OWNERSHIP = "alembic-enterprise: "
"""How the comment of every relation begins that we made, and may therefore drop."""

_PUT = """DECLARE
    described constant regclass := {table};
    policy constant jsonb := {policy};
    registry constant text := (
        SELECT format('%I.%I', n.nspname, {registry}) FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = described);
BEGIN
    IF to_regclass(registry) IS NULL THEN
        EXECUTE format('CREATE TABLE %s (relation regclass PRIMARY KEY, policy jsonb NOT NULL)',
                       registry);
    END IF;
    -- A table that was dropped by hand leaves its row, and its oid may come again.
    EXECUTE format('DELETE FROM %s WHERE relation = %L::regclass OR relation NOT IN '
                   '(SELECT oid FROM pg_catalog.pg_class)', registry, described);
    EXECUTE format('INSERT INTO %s (relation, policy) VALUES (%L, %L)',
                   registry, described, policy);
END"""

_REMOVE = """DECLARE
    described constant regclass := {table};
    registry text;
BEGIN
    FOR registry IN
        SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = {registry} AND c.relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE')
          AND has_table_privilege(c.oid, 'SELECT, DELETE')
    LOOP
        EXECUTE format('DELETE FROM %s WHERE relation = %L::regclass', registry, described);
    END LOOP;
END"""


def put(table: Name, policy: Mapping[str, Any]) -> list[Composable]:
    """Statements that create the registry where it is missing and set the policy of one table."""
    values = {"table": table.regclass, "registry": Literal(TABLE)}
    return [do_block(_PUT, policy=Literal(json.dumps(policy)), **values)]


def remove(table: Name) -> list[Composable]:
    """Statements that forget the policy of one table, wherever it is kept."""
    return [do_block(_REMOVE, table=table.regclass, registry=Literal(TABLE))]


_REGISTRIES = SQL("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = {registry} AND c.relkind = 'r'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
  AND 2 = (SELECT count(*) FROM pg_catalog.pg_attribute AS a
           WHERE a.attrelid = c.oid AND (a.attname, a.atttypid) IN (
               ('relation', 'pg_catalog.regclass'::regtype),
               ('policy', 'pg_catalog.jsonb'::regtype)))
ORDER BY 1""")

# A row of the table's own schema comes last and wins.
_POLICIES = SQL("""
SELECT described.oid, kept.policy::text
FROM ({kept}) AS kept
JOIN pg_catalog.pg_class AS described ON described.oid = kept.relation
JOIN pg_catalog.pg_class AS registry ON registry.oid = kept.registry
WHERE pg_has_role(registry.relowner, described.relowner, 'USAGE')
ORDER BY registry.relnamespace = described.relnamespace""")


def read(connection: Connection) -> dict[int, Any]:
    """Every policy in the database: oid of the table -> policy as parsed JSON.

    That is an object, unless somebody has written something else into the table by hand.
    """
    registries = sql.rows(connection, _REGISTRIES.format(registry=Literal(TABLE)))
    if not registries:
        return {}
    query = SQL("SELECT tableoid AS registry, relation, policy FROM {}")
    queries = [query.format(Name(schema, name).sql) for schema, name in registries]
    rows = sql.rows(connection, _POLICIES.format(kept=SQL(" UNION ALL ").join(queries)))
    return {oid: json.loads(policy) for oid, policy in rows}


_UNREADABLE = SQL("""
SELECT c.oid::regclass::text FROM pg_catalog.pg_class AS c
WHERE c.relname = {registry} AND c.relkind = 'r'
  AND NOT (has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
ORDER BY 1""")


def unreadable(connection: Connection) -> list[str]:
    """The registries that this role may not read; `read` leaves them out."""
    return [name for (name,) in sql.rows(connection, _UNREADABLE.format(registry=Literal(TABLE)))]


UNREADABLE = (
    "this role may not read these policies, so their tables are left out: connect as the owner of "
    "the tables, or GRANT SELECT on it"
)
"""What is so with a registry that is unreadable, and the next step."""
