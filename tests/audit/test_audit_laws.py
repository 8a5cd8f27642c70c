"""The three laws over every operation on trails, in several schemas, with names that hurt."""

import json
from dataclasses import replace

import laws
import pytest
from golden_files import golden
from laws import Example
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.audit import capture, recording, trigger_body
from alembic_enterprise.audit.model import Trail
from alembic_enterprise.audit.operations import AlterAuditTrail, CreateAuditTrail, DropAuditTrail
from alembic_enterprise.audit.operations.trail import _AuditTrail
from alembic_enterprise.sql import Name, text_of

NAMES = [
    ("public", "orders", "orders_history"),
    ("Mixed Schema", 'we"ird', 'we"ird his"tory'),
    ("sales", "select", "user"),
    ("public", "ö" * 31, "ö" * 26),
    ("public", "o" * 63, "o" * 53),
    ("public", "$block$ :x %s 'quoted' \\", "$block$ :x %s 'quoted' \\ %1$s"),
]

TRAIL = Trail(mask=("Full Name",), hash=("amount",), exclude=('we"ird %1$s',))


def table(schema: str, name: str) -> tuple[str, ...]:
    """Statements that make a table with a partition, and columns of names that hurt."""
    statement = SQL(
        "RESET alembic_enterprise.now;"  # histories go by the clock
        "CREATE SCHEMA IF NOT EXISTS {schema};"
        "CREATE DOMAIN {schema}.positive AS integer CHECK (value > 0);"
        'CREATE TABLE {table} (n integer, "Key %s" text, amount {schema}.positive,'
        ' "Full Name" varchar(30), "we""ird %1$s" int[], audit timestamptz,'
        ' PRIMARY KEY (n, "Key %s")) PARTITION BY RANGE (n);'
        "CREATE TABLE {schema}.part PARTITION OF {table} DEFAULT"
    ).format(schema=Identifier(schema), table=Identifier(schema, name))
    return (text_of(statement),)


def examples(schema: str, name: str, history: str) -> list[Example]:
    """One example of every operation, and of every shape that has a path of its own."""
    setup = table(schema, name)
    names = (Name(schema, name), Name("audit", history))
    create = CreateAuditTrail.of(*names, TRAIL)
    plain = replace(create, baseline=False, history_schema=schema)
    alter = AlterAuditTrail.of(*names, replace(TRAIL, require_actor=True), previous=TRAIL)
    created = (*setup, *map(text_of, replace(create, baseline=False).statements()))
    drop = DropAuditTrail.of(*names, TRAIL)
    return [
        Example(create, setup),
        Example(plain, setup),
        Example(alter, created),
        Example(replace(alter, require_actor=False, retain=12, previous=TRAIL), created),
        Example(replace(alter, require_actor=False, mask=[], previous=TRAIL), created),
        Example(drop, created),
        Example(replace(drop, drop_history=True), created),
        Example(replace(alter, concurrently=True), created),
    ]


@pytest.mark.parametrize(("schema", "name", "history"), NAMES)
def test_operations_render(schema: str, name: str, history: str) -> None:
    for example in examples(schema, name, history):
        laws.renders(example.operation)


def test_rendered_text_is_golden() -> None:
    texts = [laws.rendered(one.operation) for one in examples("sales", "orders", "orders_history")]
    golden("audit_trail_operations.txt", "\n\n".join(texts) + "\n")


@pytest.mark.parametrize(("schema", "name", "history"), NAMES)
def test_operations_reverse(connection: Connection, schema: str, name: str, history: str) -> None:
    """Every one with one of the names; with the others to make a trail, and to drop it."""
    found = examples(schema, name, history)
    every = name == NAMES[1][1]
    laws.all_reverse(connection, found if every else [found[0], found[5]])


@pytest.mark.parametrize(("schema", "name", "history"), NAMES)
def test_functions_are_what_is_expected(
    connection: Connection, schema: str, name: str, history: str
) -> None:
    """Made, altered and made again: the reader finds the very text that the operation wrote."""
    create = CreateAuditTrail.of(Name(schema, name), Name("audit", history), TRAIL)
    laws.prepare(connection, Example(create, table(schema, name)))
    laws.apply(connection, [create])
    assert drift(connection, create) == [(False, False, False)]
    changed = AlterAuditTrail.of(create.name, create.history_name, Trail(require_actor=True))
    assert drift(connection, changed) == [(True, False, True)]
    laws.apply(connection, [replace(changed, hash=["amount"])])
    assert drift(connection, replace(changed, hash=["amount"])) == [(False, False, False)]


def drift(connection: Connection, operation: _AuditTrail) -> list[tuple[bool, ...]]:
    """Whether body of trigger function, of recording function, and settings are others."""
    trail = SQL("{}::jsonb").format(Literal(json.dumps(operation.trail.to_json())))
    history = capture.qualified(SQL("n.nspname"), SQL("t.relname"))
    relation = SQL("{}::regclass").format(operation.name.regclass)
    query = SQL(
        "SELECT f.prosrc IS DISTINCT FROM {body}, r.prosrc <> {record}, f.proconfig <> {settings}"
        " FROM pg_class AS t JOIN pg_namespace AS n ON n.oid = t.relnamespace"
        " JOIN pg_proc AS f ON f.oid = to_regprocedure({history} || '()')"
        " JOIN pg_proc AS r ON r.oid = to_regprocedure({history} || '(regclass, text)')"
        " WHERE t.oid = {name}::regclass"
    ).format(
        body=trigger_body.body(relation, history, trail),
        record=recording.body(history),
        settings=capture.settings(trail),
        history=history,
        name=operation.history_name.regclass,
    )
    return sql.rows(connection, query)
