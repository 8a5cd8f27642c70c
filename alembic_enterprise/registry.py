"""The small table that keeps, in the database, what pg_catalog cannot say: policies.

It is in the schema of the tables it describes and is created on first use, like
`alembic_version`. A row is found by `regclass`, so it follows its table through RENAME, SET SCHEMA
and pg_upgrade (PostgreSQL docs, "pg_upgrade": regclass columns can be upgraded).

Anybody may create a table of that name in a schema of their own, with what runs code of theirs when
somebody else reads or writes it. So it is looked at before it is touched:

- A registry is read when it is an ordinary table with the columns it should have, and reading it
  runs nothing: no policy of row security, no expression of an index or of statistics.
- It counts for a table when its owner has the rights of the table's owner; and of several that name
  one table, the one in the table's own schema counts.
- It is written when it counts for the table, and writing runs nothing either: it has no trigger,
  rule, check or further column.
"""

import json
from collections.abc import Mapping
from typing import Any, LiteralString, NamedTuple

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.sql import REFUSED, Name, do_block

TABLE = "alembic_enterprise_policy"
"""Name of the registry in every schema that has one; hidden from autogenerate."""

OWNERSHIP = "alembic-enterprise: "
"""How the comment of every relation begins that we made, and may therefore drop."""

KEPT = OWNERSHIP + "kept"
"""The comment of a table that a person keeps: nobody drops it, and autogenerate does not see it."""

_READABLE = SQL("""c.relkind = 'r' AND NOT row_security_active(c.oid)
              AND 2 = (SELECT count(*) FROM pg_catalog.pg_attribute AS a
                       WHERE a.attrelid = c.oid AND (a.attname, a.atttypid) IN (
                           ('relation', 'pg_catalog.regclass'::regtype),
                           ('policy', 'pg_catalog.jsonb'::regtype)))
              -- The planner evaluates these where they are constant.
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_index
                              WHERE indrelid = c.oid AND coalesce(indexprs, indpred) IS NOT NULL)
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext WHERE stxrelid = c.oid)""")

_REFUSE_CODE = SQL("""
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        WHERE c.oid = to_regclass(registry)
              AND NOT (c.relhasrules OR c.relchecks > 0 OR c.relnatts > 2)
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid)
              AND {readable})
    THEN
        RAISE EXCEPTION '%: % cannot be written to: it has to be an ordinary table (relation '
            'regclass, policy jsonb) without triggers, rules, checks, row security and indexes by '
            'expression. Take away what is more, or drop it',
            described, registry USING ERRCODE = {refused};
    END IF;
""").format(readable=_READABLE, refused=Literal(REFUSED))

_PUT = """DECLARE
    described constant regclass := {table};
    owner constant oid := (SELECT relowner FROM pg_catalog.pg_class WHERE oid = described);
    policy constant jsonb := {policy};
    registry constant text := (
        SELECT format('%I.%I', n.nspname, {registry}) FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = described);
    keeper oid;
    grantee oid;
BEGIN
    IF to_regclass(registry) IS NULL THEN
        EXECUTE format('CREATE TABLE %s (relation regclass PRIMARY KEY, policy jsonb NOT NULL)',
                       registry);
        -- Whoever may write here may have partitions dropped: default privileges were not for that.
        FOR grantee IN SELECT DISTINCT acl.grantee FROM pg_catalog.pg_class AS c
                       CROSS JOIN aclexplode(c.relacl) AS acl
                       WHERE c.oid = to_regclass(registry) AND acl.grantee <> c.relowner LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', registry,
                           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END);
        END LOOP;
    ELSIF has_table_privilege(registry, 'INSERT') THEN
        -- What is looked at now stays so.
        EXECUTE format('LOCK TABLE ONLY %s IN ROW EXCLUSIVE MODE', registry);
    END IF;
    SELECT relowner INTO keeper FROM pg_catalog.pg_class WHERE oid = to_regclass(registry);
    IF NOT pg_has_role(keeper, owner, 'USAGE') THEN
        RAISE EXCEPTION '%: its policy would not count in %, which belongs to role %, '
            'without the rights of role %, who owns the table. Run this as that role; if % is '
            'somebody else''s, drop it', described, registry, keeper::regrole, owner::regrole,
            registry USING ERRCODE = {refused};
    END IF;{refuse_code}
    -- A table that was dropped by hand leaves its row, and its oid may come again.
    EXECUTE format('DELETE FROM ONLY %s WHERE relation = %L::regclass OR relation NOT IN '
                   '(SELECT oid FROM pg_catalog.pg_class)', registry, described);
    EXECUTE format('INSERT INTO %s (relation, policy) VALUES (%L, %L)',
                   registry, described, policy);
END"""

_REMOVE = """DECLARE
    described constant regclass := {table};
    owner constant oid := (SELECT relowner FROM pg_catalog.pg_class WHERE oid = described);
    command text;
    registry text;
BEGIN
    -- Locked first, and then looked at again.
    FOREACH command IN ARRAY ARRAY['LOCK TABLE ONLY %s IN ROW EXCLUSIVE MODE',
                                   'DELETE FROM ONLY %s WHERE relation = %L::regclass'] LOOP
        FOR registry IN
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE c.relname = {registry} AND has_schema_privilege(n.oid, 'USAGE')
              AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'DELETE')
              AND pg_has_role(c.relowner, owner, 'USAGE') AND {readable}
        LOOP{refuse_code}
            EXECUTE format(command, registry, described);
        END LOOP;
    END LOOP;
END"""


def put(table: Name, policy: Mapping[str, Any]) -> list[Composable]:
    """Statements that create the registry where it is missing and set the policy of one table.

    They refuse one in which it would not count, or that runs code when it is written to.
    """
    values = {"policy": Literal(json.dumps(policy)), "refused": Literal(REFUSED)}
    return [_block(_PUT, table, **values)]


def remove(table: Name) -> list[Composable]:
    """Statements that forget the policy of one table, in every registry that counts for it.

    They refuse one that runs code when it is written to.
    """
    return [_block(_REMOVE, table, readable=_READABLE)]


def _block(body: LiteralString, table: Name, **more: Composable) -> Composable:
    named = {"table": table.regclass, "registry": Literal(TABLE), "refuse_code": _REFUSE_CODE}
    return do_block(body, **named, **more)


_REGISTRIES = SQL("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = {registry} AND has_schema_privilege(n.oid, 'USAGE')
              AND has_table_privilege(c.oid, 'SELECT') AND {readable}
ORDER BY 1""").format(registry=Literal(TABLE), readable=_READABLE)

# A row of the table's own schema comes last and wins.
_POLICIES = SQL("""
SELECT described.oid, kept.policy::text, registry.oid::regclass::text,
       registry.relowner::regrole::text, described.relowner::regrole::text,
       pg_has_role(registry.relowner, described.relowner, 'USAGE'),
       registry.relnamespace = described.relnamespace
FROM ({kept}) AS kept
JOIN pg_catalog.pg_class AS described ON described.oid = kept.relation
JOIN pg_catalog.pg_class AS registry ON registry.oid = kept.registry
ORDER BY 7""")


class _Row(NamedTuple):
    """A row of `_POLICIES`: `counts` for the table, and is in the table's own schema (`beside`)."""

    oid: int
    policy: str
    registry: str
    keeper: str
    owner: str
    counts: bool
    beside: bool


def read(connection: Connection) -> dict[int, Any]:
    """Every policy in the database: oid of the table -> policy as parsed JSON.

    That is an object, unless somebody has written something else into the table by hand.
    """
    return {row.oid: json.loads(row.policy) for row in _rows(connection) if row.counts}


def read_with_disowned(connection: Connection) -> tuple[dict[int, Any], dict[int, tuple[Any, str]]]:
    """What `read` gives, and policies that no longer count: oid -> policy, and why.

    Those stand in their table's own schema, and one of the two was given to another owner since.
    """
    rows = _rows(connection)
    counting = {row.oid: json.loads(row.policy) for row in rows if row.counts}
    disowned = {
        row.oid: (json.loads(row.policy), DISOWNED.format(row.registry, row.keeper, row.owner))
        for row in rows
        if row.beside and row.oid not in counting
    }
    return counting, disowned


DISOWNED = (
    "its policy does not count: {} belongs to {}, who lacks the rights of {}, the owner of the "
    "table. Give it to a role with the rights of its tables' owners; if it is a stranger's, drop it"
)
"""Why the policy of a table that changed its owner does not count, and the next step."""


def _rows(connection: Connection) -> list[_Row]:
    registries = sql.rows(connection, _REGISTRIES)
    if not registries:
        return []
    query = SQL("SELECT tableoid AS registry, relation, policy FROM ONLY {}")
    queries = [query.format(Name(schema, name).sql) for schema, name in registries]
    with sql.plain_tables(connection):
        rows = sql.rows(connection, _POLICIES.format(kept=SQL(" UNION ALL ").join(queries)))
    return [_Row(*row) for row in rows]


_CLOSED = SQL("""
SELECT c.oid::regclass::text, n.nspname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = {registry} AND c.relkind = 'r'
  AND (row_security_active(c.oid) OR NOT (
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')))
ORDER BY 1""")


def closed(connection: Connection) -> dict[str, str]:
    """The registries that this role may not read, or not whole, by schema.

    `read` leaves them out.
    """
    query = _CLOSED.format(registry=Literal(TABLE))
    return {schema: name for name, schema in sql.rows(connection, query)}


OPEN_IT = "connect as the owner of {}, or GRANT USAGE on its schema and SELECT on it"
"""The next step with a registry that is closed, or with several; whose owner is put in."""

CLOSED = (
    "this role may not read these policies, so their tables are left out: "
    f"{OPEN_IT.format('the tables')}"
)
"""Why the policies of a registry that is closed are left out, and the next step."""
