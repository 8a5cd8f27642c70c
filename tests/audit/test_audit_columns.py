"""Audit columns: added without a rewrite, kept by the database, compared with the models."""

from typing import Any, LiteralString

import laws
import pytest
from golden_files import golden
from laws import Example
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from alembic_enterprise.audit.operations.columns import AddAuditColumns, DropAuditColumns
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import Name, text_of

NAMES = [
    ("public", "orders"),
    ("sales", "orders"),
    ("Mixed Schema", 'we"ird'),
    ("public", "Mixed Case"),
    ("sales", "select"),
    ("public", "ö" * 26),
    ("public", "o" * 63),
    ("public", "$block$ :x %s 'quoted' \\"),
]

KINDS: dict[str, LiteralString] = {
    "plain": "CREATE TABLE {table} (id bigint PRIMARY KEY, code text)",
    "by range": """
        CREATE TABLE {table} (id bigint PRIMARY KEY, code text) PARTITION BY RANGE (id);
        CREATE TABLE {schema}.low PARTITION OF {table} FOR VALUES FROM (MINVALUE) TO (1000);
        CREATE TABLE {schema}.high PARTITION OF {table} FOR VALUES FROM (1000) TO (MAXVALUE)""",
    "by hash, then range": """
        CREATE TABLE {table} (id bigint PRIMARY KEY, code text) PARTITION BY HASH (id);
        CREATE TABLE {schema}.even PARTITION OF {table}
            FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY RANGE (id);
        CREATE TABLE {schema}.even_low PARTITION OF {schema}.even
            FOR VALUES FROM (MINVALUE) TO (1000);
        CREATE TABLE {schema}.even_high PARTITION OF {schema}.even
            FOR VALUES FROM (1000) TO (MAXVALUE);
        CREATE TABLE {schema}.odd PARTITION OF {table}
            FOR VALUES WITH (MODULUS 2, REMAINDER 1)""",
}
"""Statements that make a table `(id, code)`."""


def made(kind: str, schema: str = "public", name: str = "orders", rows: int = 0) -> tuple[str, ...]:
    """Statements that make a table of a kind, and `people` beside it, which actors refer to."""
    statements: list[LiteralString] = [
        "CREATE SCHEMA IF NOT EXISTS {schema}",
        "CREATE TABLE {schema}.people (id bigint PRIMARY KEY)",
        "INSERT INTO {schema}.people SELECT generate_series(1, 100)",
        KINDS[kind],
    ]
    values = {"schema": Identifier(schema), "table": Identifier(schema, name)}
    composed = [SQL(statement).format(**values) for statement in statements]
    if rows:
        insert = SQL("INSERT INTO {table} SELECT n, 'code' || n FROM generate_series(1, {rows}) n")
        composed.append(insert.format(rows=rows, **values))
    return tuple(map(text_of, composed))


def examples(schema: str, name: str, kind: str = "plain") -> list[Example]:
    """One example of each operation, and of each shape that has a path of its own."""
    setup = made(kind, schema, name, rows=20)
    add = AddAuditColumns(name, schema=schema)
    whole = AddAuditColumns(
        name, "uuid", soft_delete=True, lineage=True, existing="null", schema=schema
    )
    referring = AddAuditColumns(name, "bigint", f"{schema}.people.id", schema=schema)
    kept = ["created_at", "created_by", "updated_at", "updated_by"]
    more = AddAuditColumns(
        name, lineage=True, soft_delete=True, schema=schema, keep=kept, keep_trigger=True
    )
    adopted = f"ALTER TABLE {Name(schema, name).text} ADD created_at timestamptz DEFAULT now()"
    bare = "ALTER created_at SET NOT NULL, ALTER created_at DROP DEFAULT"
    lacking = (adopted, f"ALTER TABLE {Name(schema, name).text} {bare}")
    own = ["created_at"]
    given = AddAuditColumns(name, schema=schema, keep=own, without_default=own)
    return [
        Example(add, setup),
        Example(whole, setup),
        Example(referring, setup),
        Example(more, (*setup, *map(text_of, add.statements()))),
        Example(AddAuditColumns(name, schema=schema, keep=["created_at"]), (*setup, adopted)),
        Example(given, (*setup, *lacking)),
        Example(add.reverse(), (*setup, *map(text_of, add.statements()))),
        Example(whole.reverse(), (*setup, *map(text_of, whole.statements()))),
        Example(more.reverse(), (*setup, *map(text_of, more.statements()))),
    ]


@pytest.mark.parametrize(("schema", "name"), NAMES)
def test_operations_render(schema: str, name: str) -> None:
    for example in examples(schema, name):
        laws.renders(example.operation)


def test_rendered_text_is_golden() -> None:
    text = "\n\n".join(
        laws.rendered(operation)
        for example in examples("sales", "orders")
        for operation in (example.operation, example.operation.reverse())
        if isinstance(operation, Operation)
    )
    golden("audit_column_operations.txt", text + "\n")


@pytest.mark.parametrize(("schema", "name"), NAMES)
def test_operations_reverse(connection: Connection, schema: str, name: str) -> None:
    laws.all_reverse(connection, examples(schema, name))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_operations_on_partitioned_tables_reverse(connection: Connection, kind: str) -> None:
    laws.all_reverse(connection, examples("sales", "orders", kind))


def run(connection: Connection, operation: AddAuditColumns | DropAuditColumns) -> None:
    laws.apply(connection, [operation])


def execute(connection: Connection, statement: str, **settings: str) -> Any:
    """Run a statement in a transaction of its own, in which the settings are made."""
    for name, value in settings.items():
        connection.exec_driver_sql(
            "SELECT set_config(%s, %s, true)", (f"alembic_enterprise.{name}", value)
        )
    result = connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    found = result.all() if result.returns_rows else None
    connection.commit()
    return found


def files(connection: Connection) -> dict[str, int]:
    """The file of each table: a rewrite gives it another."""
    query = "SELECT oid::regclass::text, relfilenode FROM pg_class WHERE relkind IN ('r', 'p')"
    return dict(execute(connection, query))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_rewritten(connection: Connection, kind: str) -> None:
    for number in range(len(examples("public", "orders"))):
        example = examples(f"example {number}", "orders", kind)[number]
        laws.prepare(connection, Example(example.operation, example.setup))
        before = files(connection)
        laws.apply(connection, [example.operation])
        assert files(connection) == before, example.operation


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_there_get_the_moment_of_the_migration(
    connection: Connection, kind: str
) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made(kind, rows=20)))
    execute(connection, "SELECT", actor="who migrates")
    run(connection, AddAuditColumns("orders", soft_delete=True))
    [(rows, moments, known)] = execute(
        connection,
        "SELECT count(created_at + (updated_at - created_at)), count(DISTINCT created_at),"
        " count(coalesce(created_by, updated_by, deleted_by, deleted_at::text)) FROM orders",
    )
    assert (rows, moments, known) == (20, 1, 0)


def test_rows_that_are_there_get_no_actor_although_one_is_set(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain", rows=20)))
    connection.exec_driver_sql("SET alembic_enterprise.actor = 'who migrates'")
    connection.exec_driver_sql('SET alembic_enterprise.context = \'{"source": "deployment"}\'')
    connection.commit()
    run(connection, AddAuditColumns("orders", lineage=True))
    query = "SELECT count(created_by), count(updated_by), count(data_lineage) FROM orders"
    assert execute(connection, query) == [(0, 0, 0)]


def test_rows_that_are_there_may_stay_without_moments(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain", rows=20)))
    run(connection, AddAuditColumns("orders", existing="null"))
    execute(connection, "INSERT INTO orders VALUES (21)")
    query = "SELECT id FROM orders WHERE created_at IS NOT NULL AND updated_at IS NOT NULL"
    assert execute(connection, query) == [(21,)]


def test_a_column_that_is_there_gets_the_default_that_it_lacks(connection: Connection) -> None:
    """The ORM leaves it to the database to fill the column."""
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("by range", rows=1)))
    execute(connection, "ALTER TABLE orders ADD created_at timestamptz, ADD created_by varchar(9)")
    execute(connection, "UPDATE orders SET created_at = 'epoch'")
    execute(connection, "ALTER TABLE orders ALTER created_at SET NOT NULL")
    run(connection, AddAuditColumns("orders"))
    execute(connection, "INSERT INTO orders VALUES (2)", actor="user:42")
    query = "SELECT created_at = 'epoch', created_by FROM orders ORDER BY id"
    assert execute(connection, query) == [(True, None), (False, "user:42")]


def test_a_default_of_the_column_s_own_stays(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain")))
    execute(connection, "ALTER TABLE orders ADD created_by text DEFAULT 'somebody'")
    run(connection, AddAuditColumns("orders"))
    execute(connection, "INSERT INTO orders VALUES (1)", actor="user:42")
    assert execute(connection, "SELECT created_by FROM orders") == [("somebody",)]


ACTORS = {
    "text": ("user:42", "it's \"o'neil\" \\ 💼"),
    "bigint": ("42", "-9000000000000000000"),
    "uuid": ("6f0a3a52-7c5e-4d1c-9f58-6ac0c0a8b001", "00000000-0000-0000-0000-000000000000"),
}

WRITES = {
    "update": "UPDATE orders SET code = 'changed' WHERE id = 1",
    "upsert": "INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET code = 'changed'",
    "merge": (
        "MERGE INTO orders USING (VALUES (1)) AS new (id) ON orders.id = new.id"
        " WHEN MATCHED THEN UPDATE SET code = 'changed'"
    ),
    "move": "UPDATE orders SET id = 2001, code = 'changed' WHERE id = 1",
    "forged": "UPDATE orders SET code = 'changed', updated_by = NULL, updated_at = 'epoch'",
}
"""Statements that change the row 1."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("actor", ACTORS)
def test_the_database_keeps_who_and_when(connection: Connection, kind: str, actor: str) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made(kind)))
    run(connection, AddAuditColumns("orders", actor))
    first, second = ACTORS[actor]
    query = (
        "SELECT code, created_at, created_by::text, updated_at > created_at, updated_by::text,"
        " pg_typeof(updated_by)::text FROM orders"
    )
    writes = dict(WRITES)
    if connection.dialect.server_version_info < (15,):  # type: ignore[operator]  # it is connected
        del writes["merge"]  # which came with PostgreSQL 15
    for write, statement in writes.items():
        [(made_at,)] = execute(
            connection, "INSERT INTO orders VALUES (1, 'new') RETURNING now()", actor=first
        )
        execute(connection, statement, actor=second)
        expected = [("changed", made_at, first, True, second, actor)]
        assert execute(connection, query) == expected, write
        execute(connection, "TRUNCATE orders")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_a_change_sent_straight_to_a_partition_is_kept_too(
    connection: Connection, kind: str
) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made(kind, rows=20)))
    run(connection, AddAuditColumns("orders"))
    [(partition,)] = execute(connection, "SELECT tableoid::regclass::text FROM orders LIMIT 1")
    execute(connection, f"UPDATE {partition} SET code = 'x'", actor="straight")
    assert execute(connection, f"SELECT DISTINCT updated_by FROM {partition}") == [("straight",)]


def test_a_partition_made_later_has_columns_and_trigger(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("by range")))
    run(connection, AddAuditColumns("orders"))
    execute(connection, "DROP TABLE high")
    execute(connection, "CREATE TABLE high PARTITION OF orders FOR VALUES FROM (1000) TO (3000)")
    execute(connection, "INSERT INTO orders VALUES (2000)", actor="one")
    execute(connection, "UPDATE orders SET code = 'x'", actor="two")
    query = "SELECT created_by, updated_by FROM high"
    assert execute(connection, query) == [("one", "two")]


def test_without_an_actor_the_change_has_none(connection: Connection) -> None:
    """After a transaction that had one, the setting is empty, not NULL."""
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain")))
    run(connection, AddAuditColumns("orders", "bigint", lineage=True))
    execute(connection, "INSERT INTO orders VALUES (1)", actor="42", context='{"batch": 7}')
    execute(connection, "INSERT INTO orders VALUES (2)")
    execute(connection, "UPDATE orders SET code = 'x'")
    query = "SELECT created_by, updated_by, data_lineage FROM orders ORDER BY id"
    assert execute(connection, query) == [(42, None, None), (None, None, None)]


def test_an_actor_of_the_wrong_type_fails_the_statement(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain", rows=1)))
    run(connection, AddAuditColumns("orders", "bigint"))
    with pytest.raises(DataError, match='invalid input syntax for type bigint: "user:42"'):
        execute(connection, "UPDATE orders SET code = 'x'", actor="user:42")


def test_deleting_softly_keeps_who_and_restoring_forgets(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain", rows=1)))
    run(connection, AddAuditColumns("orders", soft_delete=True))
    deleted = "SELECT deleted_by, deleted_at IS NOT NULL FROM orders"
    execute(connection, "UPDATE orders SET deleted_at = now()", actor="one")
    execute(connection, "UPDATE orders SET code = 'x'", actor="two")
    assert execute(connection, deleted) == [("one", True)]
    execute(connection, "UPDATE orders SET deleted_at = NULL", actor="three")
    assert execute(connection, deleted) == [(None, False)]


def test_lineage_is_that_of_the_last_change(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain")))
    run(connection, AddAuditColumns("orders", lineage=True))
    lineage = "SELECT data_lineage FROM orders"
    execute(connection, "INSERT INTO orders VALUES (1)", context='{"batch": 7}')
    assert execute(connection, lineage) == [({"batch": 7},)]
    execute(connection, "UPDATE orders SET code = 'x'", context='{"request_id": "a:b"}')
    assert execute(connection, lineage) == [({"request_id": "a:b"},)]


def test_running_it_again_changes_nothing(connection: Connection) -> None:
    operation = AddAuditColumns("orders", "bigint", "people.id", soft_delete=True, lineage=True)
    laws.prepare(connection, Example(operation, made("by hash, then range", rows=20)))
    run(connection, operation)
    before = laws.snapshot(connection)
    run(connection, operation)
    assert laws.snapshot(connection) == before


def test_the_function_goes_with_its_last_trigger(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain")))
    for table in ("orders", "people"):
        run(connection, AddAuditColumns(table))
    functions = "SELECT count(*) FROM pg_proc WHERE proname = 'alembic_enterprise_touch'"
    run(connection, DropAuditColumns("orders"))
    assert execute(connection, functions) == [(1,)]
    run(connection, DropAuditColumns("people"))
    assert execute(connection, functions) == [(0,)]


KEYS = (
    "SELECT conrelid::regclass::text, pg_get_constraintdef(oid), conparentid <> 0, convalidated"
    " FROM pg_constraint WHERE contype = 'f' AND confrelid = 'people'::regclass ORDER BY 1, 2"
)


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_keys_are_valid_and_those_of_partitions_belong_to_the_table(
    connection: Connection, kind: str
) -> None:
    operation = AddAuditColumns("orders", "bigint", "people.id", soft_delete=True)
    laws.prepare(connection, Example(operation, made(kind, rows=20)))
    run(connection, operation)
    found = execute(connection, KEYS)
    relations = execute(connection, "SELECT count(*) FROM pg_partition_tree('orders')")[0][0] or 1
    assert len(found) == 3 * relations
    assert {definition for _, definition, _, _ in found} == {
        f"FOREIGN KEY ({column}) REFERENCES people(id)"
        for column in ("created_by", "updated_by", "deleted_by")
    }
    assert all(valid for *_, valid in found)
    assert all(inherited == (relation != "orders") for relation, _, inherited, _ in found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_written_to_while_foreign_keys_are_validated(
    engine: Engine, connection: Connection, kind: str
) -> None:
    operation = AddAuditColumns("orders", "bigint", "people.id")
    laws.prepare(connection, Example(operation, made(kind, rows=20)))
    columns, keys, validation, _ = map(text_of, operation.statements())
    connection.exec_driver_sql("SET alembic_enterprise.lock_timeout = '1min'")
    for statement in (columns, keys):
        execute(connection, statement)
    assert not any(valid for *_, valid in execute(connection, KEYS))
    connection.exec_driver_sql(validation, execution_options={"no_parameters": True})
    with engine.connect() as writer:
        writer.exec_driver_sql("SET lock_timeout = '10s'")
        execute(writer, "INSERT INTO orders VALUES (1001), (1002)", actor="7")
        execute(writer, "UPDATE orders SET code = 'x'", actor="8")
    connection.commit()
    assert execute(connection, "SELECT DISTINCT updated_by FROM orders") == [(8,)]


@pytest.mark.parametrize("references", [None, "people.id"])
def test_it_waits_for_locks_no_longer_than_the_session_would(
    engine: Engine, connection: Connection, references: str | None
) -> None:
    operation = AddAuditColumns("orders", "bigint", references)
    laws.prepare(connection, Example(operation, made("plain")))
    with engine.connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM orders")
        connection.exec_driver_sql("SET lock_timeout = '50ms'")
        connection.commit()
        with pytest.raises(OperationalError, match="lock timeout"):
            run(connection, operation)


def test_what_the_foreign_keys_refer_to_must_hold(connection: Connection) -> None:
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("by range")))
    run(connection, AddAuditColumns("orders", "bigint", "people.id"))
    with pytest.raises(IntegrityError, match="foreign key"):
        execute(connection, "INSERT INTO orders VALUES (1)", actor="101")


def test_texts_are_not_resolved_along_a_search_path_of_others(connection: Connection) -> None:
    """A session's own `now()` and `=` are none of the trigger's."""
    laws.prepare(connection, Example(AddAuditColumns("orders"), made("plain", rows=1)))
    run(connection, AddAuditColumns("orders"))
    execute(connection, "CREATE SCHEMA trap")
    execute(
        connection,
        "CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE sql"
        " AS $$ SELECT timestamptz 'epoch' $$",
    )
    execute(connection, "SET search_path = trap, public, pg_catalog")
    execute(connection, "UPDATE orders SET code = 'x'")
    assert execute(connection, "SELECT updated_at > 'epoch' FROM orders") == [(True,)]
