"""What autogenerate writes for audit columns: one operation, in the place of Alembic's own."""

import re
from collections.abc import Callable
from typing import Any

import laws
import pytest
from alembic.util import CommandError
from autogenerate import Script, generate, run, run_sql, upgrade
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.schema import SchemaItem

from alembic_enterprise import AuditColumns, HashShards, RangePartitions

OPTIONS: dict[str, Any] = {"compare_type": True, "compare_server_default": True}


def models(*items: Any, schema: str | None = None, name: str = "orders") -> MetaData:
    """The tables `people (id)` and `orders (id, code)`, the latter with more items."""
    metadata = MetaData()
    Table("people", metadata, Column("id", BigInteger, primary_key=True), schema=schema)
    key = Column("id", BigInteger, primary_key=True)
    Table(name, metadata, key, Column("code", Text), *items, schema=schema)
    return metadata


def without(left_out: str) -> Callable[..., bool]:
    """The `include_name` of an env.py that leaves a table out."""

    def include(name: str, *_: object) -> bool:
        return name != left_out

    return include


def without_object(left_out: str) -> Callable[..., bool]:
    """The `include_object` of such an env.py."""

    def include(_object: object, name: str, *_: object) -> bool:
        return name != left_out

    return include


def migrate(connection: Connection, metadata: MetaData, **options: Any) -> Script:
    """Generate a script, and see that it goes up, down, and up again, and leaves nothing to do."""
    before = laws.snapshot(connection)
    script = upgrade(connection, metadata, **OPTIONS, **options)
    after = laws.snapshot(connection)
    assert generate(connection, metadata, **OPTIONS, **options).calls == []
    run(connection, script.downgrade)
    assert laws.snapshot(connection) == before
    run(connection, script.upgrade)
    assert laws.snapshot(connection) == after
    return script


CHOICES = {
    "few": AuditColumns(),
    "all": AuditColumns(actor=Uuid, soft_delete=True, lineage=True, existing="null"),
    "referring": AuditColumns(actor=BigInteger, references="people.id", soft_delete=True),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_a_new_table_gets_the_trigger(connection: Connection, choice: str) -> None:
    script = migrate(connection, models(CHOICES[choice], Index("ix", "created_at")))
    calls = [call for call in script.calls if "index" not in call]
    assert calls == ["create_table", "create_table", "add_audit_columns"]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_table_that_lacks_the_columns_gets_them(connection: Connection, choice: str) -> None:
    upgrade(connection, models())
    run_sql(connection, "INSERT INTO people VALUES (1)", "INSERT INTO orders VALUES (1, 'old')")
    script = migrate(connection, models(CHOICES[choice]))
    assert script.calls == ["add_audit_columns"]


def test_it_stands_where_the_columns_would(connection: Connection) -> None:
    upgrade(connection, models())
    items = [AuditColumns(), Column("more", Text), Index("ix_created", "created_at")]
    script = migrate(connection, models(*items))
    assert script.calls == ["add_audit_columns", "add_column", "create_index"]


@pytest.mark.parametrize("choice", CHOICES)
def test_in_batches(connection: Connection, choice: str) -> None:
    """An operation of ours inside of a batch would run before those that this collects."""
    upgrade(connection, models(Column("old", Text)))
    items = [Column("more", Text), CHOICES[choice], Index("ix_created", "created_at")]
    assert migrate(connection, models(*items), render_as_batch=True).calls == ["add_audit_columns"]


def test_the_text_is_one_call(connection: Connection) -> None:
    upgrade(connection, models())
    script = generate(connection, models(CHOICES["referring"]))
    assert script.upgrade.splitlines()[1:-1] == [
        "op.add_audit_columns(",
        "    'orders',",
        "    actor='bigint',",
        "    references='people.id',",
        "    soft_delete=True,",
        ")",
    ]
    assert "op.drop_audit_columns(" in script.downgrade


def test_columns_that_are_there_are_taken_over_and_stay(connection: Connection) -> None:
    upgrade(connection, models())
    run_sql(connection, "ALTER TABLE orders ADD created_at timestamptz NOT NULL DEFAULT now()")
    script = migrate(connection, models(AuditColumns()))
    assert script.calls == ["add_audit_columns"]
    assert "keep=['created_at']" in script.downgrade


@pytest.mark.parametrize("compared", [True, False])
def test_columns_that_are_there_get_the_default_that_they_lack(
    connection: Connection, compared: bool
) -> None:
    """As where the application had filled `created_at` itself; a downgrade takes it away again."""
    own = Column("created_at", DateTime(timezone=True), nullable=False)
    upgrade(connection, models(own))
    before = laws.snapshot(connection)
    options = {"compare_server_default": compared}
    script = upgrade(connection, models(AuditColumns()), **options)
    assert "add_audit_columns" in script.calls
    assert "without_default=['created_at']" in script.downgrade
    run_sql(connection, "INSERT INTO orders VALUES (1)")
    assert generate(connection, models(AuditColumns()), **OPTIONS).calls == []
    run(connection, script.downgrade)
    assert laws.snapshot(connection) == before


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "compared"])
@pytest.mark.parametrize("schema", [None, 'Mixed "Schema'])
def test_actors_of_another_type_are_changed_by_hand(
    connection: Connection, schema: str | None, options: dict[str, Any]
) -> None:
    """Alembic would fail when it compares defaults, and its script when it is run."""
    run_sql(connection, 'CREATE SCHEMA IF NOT EXISTS "Mixed ""Schema"')
    options = {"include_schemas": True, **options}
    upgrade(connection, models(AuditColumns(soft_delete=True), schema=schema), **options)
    changed = models(AuditColumns(actor=BigInteger, soft_delete=True), schema=schema)
    told = (
        r"orders: the model has AuditColumns with actors of type bigint, the database has text: "
        r".* of created_by, updated_by, deleted_by: .*; SET DEFAULT (\(.*\)::bigint) \(not of "
    )
    with pytest.raises(CommandError, match=told) as error:
        generate(connection, changed, **options)
    connection.rollback()
    left_out = {"include_object": without_object("orders"), **options}
    assert generate(connection, changed, **left_out).calls == []
    [default] = re.findall(told, str(error.value))
    names = ("created_by", "updated_by", "deleted_by")
    steps = [f"ALTER {x} DROP DEFAULT, ALTER {x} TYPE bigint USING NULL" for x in names]
    steps += [f"ALTER {name} SET DEFAULT {default}" for name in ("created_by", "updated_by")]
    table = changed.tables["orders" if schema is None else f"{schema}.orders"]
    quoted = connection.dialect.identifier_preparer.format_table(table)
    run_sql(connection, f"ALTER TABLE {quoted} {', '.join(steps)}")
    assert generate(connection, changed, **options).calls == []
    run_sql(connection, "SET alembic_enterprise.actor = '7'", f"INSERT INTO {quoted} VALUES (1)")
    assert connection.exec_driver_sql(f"SELECT created_by FROM {quoted}").scalar_one() == 7


def test_columns_of_other_types_become_actors(connection: Connection) -> None:
    """As far as PostgreSQL casts them by itself."""
    upgrade(connection, models(Column("created_by", Integer)))
    script = migrate(connection, models(AuditColumns(actor=BigInteger)))
    assert sorted(script.calls) == ["add_audit_columns", "alter_column"]


@pytest.mark.parametrize("schema", ["sales", 'Mixed "Schema'])
def test_tables_of_any_schema(connection: Connection, schema: str) -> None:
    run_sql(connection, f'CREATE SCHEMA IF NOT EXISTS "{schema.replace(chr(34), chr(34) * 2)}"')
    filters = {"include_schemas": True}
    upgrade(connection, models(schema=schema, name='we"ird'), **filters)
    columns = AuditColumns(actor=BigInteger, references=f"{schema}.people.id", lineage=True)
    script = migrate(connection, models(columns, schema=schema, name='we"ird'), **filters)
    assert script.calls == ["add_audit_columns"]


@pytest.mark.parametrize("partitions", ["range", "shards", "both"])
def test_tables_with_partitions(connection: Connection, partitions: str) -> None:
    """The key of the partitions may be one of the columns."""
    by_range = RangePartitions("created_at", every="month", start="2026-01-01")
    levels: dict[str, list[SchemaItem]] = {
        "range": [by_range],
        "shards": [HashShards("id", count=2)],
        "both": [HashShards("id", count=2), by_range],
    }
    metadata = MetaData()
    columns = AuditColumns(lineage=True)
    key = PrimaryKeyConstraint("id", "created_at")
    plain = (Column("id", BigInteger), Column("code", Text))
    Table("orders", metadata, *plain, columns, key, *levels[partitions])
    script = migrate(connection, metadata)
    assert "add_audit_columns" in script.calls
    run_sql(connection, "INSERT INTO orders VALUES (1)", "UPDATE orders SET code = 'x'")


DRIFT = {
    "trigger": "DROP TRIGGER alembic_enterprise_touch ON orders",
    "disabled": "ALTER TABLE orders DISABLE TRIGGER alembic_enterprise_touch",
    "disabled in one partition": "ALTER TABLE orders_shard_1 DISABLE TRIGGER USER",
    "for replicas only": "ALTER TABLE orders ENABLE REPLICA TRIGGER alembic_enterprise_touch",
    "function": (
        "CREATE OR REPLACE FUNCTION alembic_enterprise_touch() RETURNS trigger LANGUAGE plpgsql"
        " SET search_path = '' AS 'BEGIN RETURN NEW; END'"
    ),
    "search path": "ALTER FUNCTION alembic_enterprise_touch() RESET search_path",
    "default": "ALTER TABLE orders ALTER created_by DROP DEFAULT",
    "arguments": (
        "CREATE OR REPLACE TRIGGER alembic_enterprise_touch BEFORE UPDATE ON orders"
        " FOR EACH ROW EXECUTE FUNCTION alembic_enterprise_touch()"
    ),
}


def test_a_trigger_that_does_not_work_is_found_and_mended(connection: Connection) -> None:
    """One after the other in one database, as each repair leaves it as it was."""
    metadata = models(AuditColumns(soft_delete=True), HashShards("id", count=2))
    upgrade(connection, metadata)
    before = laws.snapshot(connection)
    assert generate(connection, metadata).calls == []
    for what, statement in DRIFT.items():
        run_sql(connection, statement)
        assert laws.snapshot(connection) != before, what
        assert upgrade(connection, metadata).calls == ["add_audit_columns"], what
        assert laws.snapshot(connection) == before, what
    assert generate(connection, metadata).calls == []


@pytest.mark.parametrize("choice", CHOICES)
def test_the_columns_go_with_the_declaration(connection: Connection, choice: str) -> None:
    upgrade(connection, models(CHOICES[choice]))
    script = migrate(connection, models())
    assert [call for call in script.calls if call != "drop_constraint"] == ["drop_audit_columns"]


def test_columns_that_the_model_keeps_stay(connection: Connection) -> None:
    upgrade(connection, models(AuditColumns()))
    kept = [column for column in AuditColumns().columns() if column.name != "updated_by"]
    for column in kept:
        column.info.clear()
    script = migrate(connection, models(*kept))
    assert script.calls == ["drop_audit_columns"]
    assert "keep=['created_at', 'created_by', 'updated_at']" in script.upgrade


SMALL, LARGE = AuditColumns(), AuditColumns(soft_delete=True, lineage=True)
MIDDLE, OTHER = AuditColumns(soft_delete=True), AuditColumns(lineage=True)


@pytest.mark.parametrize(
    ("before", "after", "calls"),
    [
        (SMALL, LARGE, ["add_audit_columns"]),
        (MIDDLE, LARGE, ["add_audit_columns"]),
        (LARGE, MIDDLE, ["drop_audit_columns"]),
        (LARGE, SMALL, ["drop_audit_columns"]),
        (MIDDLE, OTHER, ["add_audit_columns", "drop_audit_columns"]),
    ],
)
def test_columns_by_choice_come_and_go(
    connection: Connection, before: AuditColumns, after: AuditColumns, calls: list[str]
) -> None:
    upgrade(connection, models(before))
    assert sorted(migrate(connection, models(after)).calls) == calls
    run_sql(connection, "INSERT INTO orders VALUES (1)", "UPDATE orders SET code = 'x'")


def test_one_of_two_columns_by_choice_may_stay(connection: Connection) -> None:
    upgrade(connection, models(MIDDLE))
    script = migrate(connection, models(SMALL, Column("deleted_by", Text)))
    assert script.calls == ["drop_audit_columns"]
    run_sql(connection, "INSERT INTO orders VALUES (1)", "UPDATE orders SET code = 'x'")


def test_a_dropped_table_has_its_trigger_again_after_the_downgrade(connection: Connection) -> None:
    """Its columns stay until it goes, as they may be the key of its partitions."""
    metadata = MetaData()
    key = (Column("id", BigInteger), PrimaryKeyConstraint("id", "created_at"))
    Table("orders", metadata, LARGE, *key, postgresql_partition_by="RANGE (created_at)")
    upgrade(connection, metadata)
    script = migrate(connection, MetaData())
    assert script.calls == ["drop_audit_columns", "drop_table"]


def test_other_tables_and_triggers_are_left_alone(connection: Connection) -> None:
    """A table may have such columns of its own, and a trigger and a function of any other name."""
    upgrade(connection, models(AuditColumns()))
    run_sql(
        connection,
        "CREATE TABLE theirs (id int, created_at date, updated_by int, deleted_by text)",
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch()",
        "CREATE TRIGGER touch BEFORE UPDATE ON theirs FOR EACH ROW EXECUTE FUNCTION touch()",
    )
    found = generate(connection, models(AuditColumns()), include_name=without("theirs"))
    assert found.calls == []


def test_tables_that_env_leaves_out_are_left_alone(connection: Connection) -> None:
    upgrade(connection, models())
    found = generate(connection, models(AuditColumns()), include_object=without_object("orders"))
    assert found.calls == []
