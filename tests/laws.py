"""The three laws of every operation, and the snapshot of the catalog that they compare.

A new operation adds an `Example` to its capability's tests and so obeys all three:

- it renders: executing the rendered text gives an equal operation;
- it reverses: the catalog after up and down equals the catalog before, and up works again;
- it converges: apply, compare, and nothing is left to do (each capability has its own comparison).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from alembic.autogenerate import render_python_code
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import UpgradeOps
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import Connection

import alembic_enterprise.plugin  # noqa: F401  # registers the operations
from alembic_enterprise import registry, sql
from alembic_enterprise.operation import Operation


@dataclass
class Example:
    """An operation, and the statements that make the database it is meant for."""

    operation: Operation
    setup: tuple[str, ...] = ()


def renders(operation: Operation) -> str:
    """The law of rendering. Returns the text, for the golden file."""
    text = rendered(operation)
    recorder = Recorder(MigrationContext.configure(dialect_name="postgresql"))
    exec(text, {"op": recorder, "sa": sqlalchemy})  # noqa: S102  # what Alembic does with a migration script
    assert recorder.invoked == [operation]
    return text


def reverses(connection: Connection, example: Example) -> None:
    """The law of reversal, on a database of the example's own."""
    prepare(connection, example)
    before = snapshot(connection)
    apply(connection, [example.operation])
    after = snapshot(connection)
    assert after != before
    apply(connection, [example.operation.reverse()])
    assert snapshot(connection) == before
    apply(connection, [example.operation])
    assert snapshot(connection) == after


def all_reverse(connection: Connection, examples: Sequence[Example]) -> None:
    """The law of reversal for one example after the other, in a database empty before each."""
    for example in examples:
        reverses(connection, example)
        _empty(connection)


def rendered(operation: Operation) -> str:
    """The call that autogenerate writes for an operation."""
    lines = render_python_code(UpgradeOps([operation])).splitlines()
    return "\n".join(
        line.removeprefix("    ") for line in lines if not line.lstrip().startswith("#")
    )


def prepare(connection: Connection, example: Example) -> None:
    """Run the statements of an example, in January 2026, when few partitions are due."""
    connection.exec_driver_sql("SET alembic_enterprise.now = '2026-01-15 12:00+00'")
    for statement in example.setup:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    connection.commit()


def _empty(connection: Connection) -> None:
    """Drop all that is in the database: this takes a fraction of making another one."""
    schemas = sql.rows(connection, _SCHEMAS)
    for (name,) in schemas:
        sql.execute(connection, SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))
    sql.execute(connection, SQL("CREATE SCHEMA public"))
    connection.commit()
    sql.execute(connection, SQL("RESET ALL"))  # what an example has set in the session
    connection.commit()


def apply(connection: Connection, operations: Iterable[MigrateOperation]) -> None:
    """Run operations the way `alembic upgrade` does, each in a transaction."""
    for operation in operations:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with context.begin_transaction():
            Operations(context).invoke(operation)
        connection.commit()


class Recorder(Operations):
    """Stands in for `op`, and keeps operations instead of running them."""

    def __init__(self, context: MigrationContext) -> None:
        """Begin with none."""
        super().__init__(context)
        self.invoked: list[MigrateOperation] = []

    def invoke(self, operation: MigrateOperation) -> Any:
        """Keep one operation."""
        self.invoked.append(operation)


_SCHEMAS = SQL(
    "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)' ORDER BY 1"
)

# From 16384 on are the oids of what initdb did not make (FirstNormalObjectId): an index finds them.
_RELATIONS = SQL("""
SELECT c.oid::regclass::text, c.relkind::text, c.relispartition, pg_get_expr(c.relpartbound, 0),
       pg_get_partkeydef(c.oid), c.relpersistence::text, c.relreplident::text, c.relrowsecurity,
       c.relforcerowsecurity, pg_get_userbyid(c.relowner), c.relacl::text, c.reloptions::text,
       obj_description(c.oid, 'pg_class'),
       ARRAY(SELECT i.inhparent::regclass::text FROM pg_inherits AS i
             WHERE i.inhrelid = c.oid)::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid >= 16384 AND n.nspname !~ '^(pg_|information_schema)'
  AND c.relname NOT LIKE {registry}
ORDER BY 1""")

_COLUMNS = SQL("""
SELECT a.attrelid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attidentity::text, a.attgenerated::text, a.attacl::text, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid >= 16384 AND n.nspname !~ '^(pg_|information_schema)'
  AND c.relname NOT LIKE {registry} AND c.relkind IN ('r', 'p', 'f')
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 1, 2""")

_CONSTRAINTS = SQL("""
SELECT k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid), k.convalidated
FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = k.connamespace
WHERE k.oid >= 16384 AND n.nspname !~ '^(pg_|information_schema)'
  AND k.conrelid::regclass::text NOT LIKE {registry}
ORDER BY 1, 2, 3""")

_INDEXES = SQL("""
SELECT pg_get_indexdef(x.indexrelid), x.indisvalid, x.indisreplident
FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE x.indexrelid >= 16384 AND n.nspname !~ '^(pg_|information_schema)'
  AND c.relname NOT LIKE {registry}
ORDER BY 1""")

_TRIGGERS = SQL("""
SELECT t.tgrelid::regclass::text, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text,
       obj_description(t.oid, 'pg_trigger')
FROM pg_trigger AS t WHERE t.tgconstraint = 0 AND t.tgrelid::regclass::text NOT LIKE {registry}
ORDER BY 1, 2""")

_FUNCTIONS = SQL("""
SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
       p.proacl::text, obj_description(p.oid, 'pg_proc')
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.oid >= 16384 AND n.nspname !~ '^(pg_|information_schema)' AND p.prokind IN ('f', 'p')
  AND p.proname NOT LIKE {registry}
ORDER BY 1""")


def snapshot(connection: Connection) -> dict[str, Any]:
    """All that an operation may change, comparable with `==`; policies by name of their table."""
    pattern = Literal(f"%{registry.TABLE}%")
    queries = {"relations": _RELATIONS, "columns": _COLUMNS}
    queries |= {"constraints": _CONSTRAINTS, "indexes": _INDEXES}
    queries |= {"triggers": _TRIGGERS, "functions": _FUNCTIONS}
    with sql.canonical_output(connection):
        found: dict[str, Any] = {
            name: sql.rows(connection, query.format(registry=pattern))
            for name, query in queries.items()
        }
    found["policies"] = sorted(_policies(connection))
    connection.commit()
    return found


def _policies(connection: Connection) -> list[tuple[str, str]]:
    name = SQL("SELECT {}::oid::regclass::text")
    return [
        (str(sql.rows(connection, name.format(Literal(oid)))[0][0]), str(policy))
        for oid, policy in registry.read(connection).items()
    ]
