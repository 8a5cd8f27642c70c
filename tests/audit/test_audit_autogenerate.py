"""What autogenerate does with audited tables: from a new one to one that goes, and back."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import laws
import pytest
from alembic import command
from alembic.util import CommandError
from audited import NAMES, audited, drift, orders, schema_of, trails
from autogenerate import generate, partitions, project, run, run_sql, upgrade
from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    NullPool,
    Numeric,
    Table,
    Text,
    create_engine,
    inspect,
)

from alembic_enterprise import AuditColumns, AuditTrail, HashShards, RangePartitions, registry
from alembic_enterprise.sql import Name

ROW = "INSERT INTO orders (id, iban, total) VALUES (1, 'DE1', 10)"


def history(connection: Connection, columns: str, name: str = "audit.orders_history") -> list[Any]:
    """What a history holds, oldest first, each row as text."""
    query = f"SELECT format_type(0, NULL) IS NULL, {columns} FROM {name} ORDER BY audit_id"
    found = [tuple(row)[1:] for row in connection.exec_driver_sql(query)]
    connection.rollback()
    return [row[0] if len(row) == 1 else row for row in found]


# --- The life of a trail


def test_a_new_table_is_audited_from_its_first_row(connection: Connection) -> None:
    script = upgrade(connection, audited())
    assert script.calls == ["create_table", "create_audit_trail"]
    assert generate(connection, audited()).calls == []
    run_sql(connection, ROW, "UPDATE orders SET total = 11", "DELETE FROM orders")
    found = history(connection, "audit_action, id, total")
    assert found == [("insert", 1, 10), ("update", 1, 11), ("delete", 1, 11)]


def test_an_existing_table_begins_with_the_rows_it_has(connection: Connection) -> None:
    upgrade(connection, orders())
    run_sql(connection, ROW)
    assert upgrade(connection, audited()).calls == ["create_audit_trail"]
    assert history(connection, "audit_action, id, total") == [("baseline", 1, 10)]
    assert generate(connection, audited()).calls == []


def test_a_trail_without_a_baseline_begins_empty(connection: Connection) -> None:
    upgrade(connection, orders())
    run_sql(connection, ROW)
    upgrade(connection, audited(trail={"baseline": False}))
    assert history(connection, "id") == []
    assert generate(connection, audited(trail={"baseline": False})).calls == []


def test_each_option_is_compared(connection: Connection) -> None:
    upgrade(connection, audited())
    for options in (
        {"mask": ["iban"]},
        {"hash": ["iban"]},
        {"exclude": ["iban"]},
        {"retain": 3},
        {"require_actor": True},
        {"readers": ["pg_monitor"]},
        {"owner": "pg_monitor"},
    ):
        script = upgrade(connection, audited(trail=options))
        assert script.calls == ["alter_audit_trail"], options
        assert generate(connection, audited(trail=options)).calls == [], options
        run(connection, script.downgrade)
        assert generate(connection, audited()).calls == [], options


def test_a_trail_that_is_no_longer_declared_leaves_its_history(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, ROW)
    script = upgrade(connection, orders())
    assert script.calls == ["drop_audit_trail"]
    assert generate(connection, orders()).calls == []
    run_sql(connection, "DELETE FROM orders")
    assert history(connection, "audit_action")[0] == "insert"
    assert "delete" not in history(connection, "audit_action")
    run(connection, script.downgrade)
    assert generate(connection, audited()).calls == []
    run(connection, script.upgrade)
    assert upgrade(connection, audited()).calls == ["create_audit_trail"]
    assert generate(connection, audited()).calls == []


def test_a_trail_that_is_declared_again_leaves_its_history(connection: Connection) -> None:
    """The downgrade, too: what the history holds is older than the script."""
    upgrade(connection, audited())
    run_sql(connection, "INSERT INTO orders VALUES (1)")
    upgrade(connection, orders())
    script = upgrade(connection, audited())
    assert script.calls == ["create_audit_trail"]
    run(connection, script.downgrade)
    assert generate(connection, orders()).calls == []
    run(connection, script.upgrade)
    assert generate(connection, audited()).calls == []
    assert history(connection, "audit_action") == ["insert", *["detach", "baseline"] * 2]


def test_a_table_that_goes_leaves_its_history(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, ROW)
    script = upgrade(connection, MetaData())
    assert script.calls == ["drop_audit_trail", "drop_table"]
    assert generate(connection, MetaData(), include_schemas=True).calls == []
    assert history(connection, "audit_action")[0] == "insert"
    run(connection, script.downgrade)
    assert generate(connection, audited()).calls == []
    run_sql(connection, ROW)
    assert history(connection, "audit_action")[-1] == "insert"


def test_the_same_through_alembics_own_commands(tmp_path: Path, engine: Engine) -> None:
    metadata = audited(AuditColumns(), trail={"mask": ["iban"]})
    config = project(tmp_path, engine, metadata)
    command.revision(config, "first", autogenerate=True, rev_id="1")
    command.upgrade(config, "head")
    command.check(config)
    config.attributes["metadata"] = audited(Column("note", Text), trail={"retain": 12})
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        command.check(config)
    command.revision(config, "second", autogenerate=True, rev_id="2")
    command.upgrade(config, "head")
    command.check(config)
    with engine.connect() as connection:
        before = laws.snapshot(connection)
    command.downgrade(config, "1")
    config.attributes["metadata"] = metadata
    command.upgrade(config, "1")
    with engine.connect() as connection:
        assert generate(connection, metadata).calls == []
    command.downgrade(config, "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
        assert set(inspect(connection).get_table_names("audit")) <= {registry.TABLE}
    command.upgrade(config, "head")
    with engine.connect() as connection:
        assert laws.snapshot(connection) == before


# --- Columns


def test_an_added_column_is_kept_from_then_on(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, ROW)
    changed = audited(Column("note", Text))
    script = upgrade(connection, changed)
    assert script.calls == ["add_column", "alter_audit_trail"]
    assert generate(connection, changed).calls == []
    run_sql(connection, "UPDATE orders SET note = 'new'")
    assert history(connection, "note") == [None, "new"]
    run(connection, script.downgrade)
    assert generate(connection, audited()).calls == []
    assert history(connection, "note") == [None, "new"], "what was kept stays"
    run_sql(connection, "DELETE FROM orders")
    run(connection, script.upgrade)
    assert generate(connection, changed).calls == []


def test_a_dropped_column_keeps_its_history(connection: Connection) -> None:
    changed = audited(Column("note", Text))
    upgrade(connection, changed)
    run_sql(connection, "INSERT INTO orders (id, note) VALUES (1, 'old')")
    script = upgrade(connection, audited())
    assert script.calls == ["alter_audit_trail", "drop_column"]
    assert "without=['note']" in script.upgrade
    run_sql(connection, "UPDATE orders SET total = 1")
    assert history(connection, "note") == ["old", None]
    assert generate(connection, audited()).calls == []
    run(connection, script.downgrade)
    assert generate(connection, changed).calls == []
    run_sql(connection, "UPDATE orders SET note = 'again'")
    assert history(connection, "note") == ["old", None, "again"]


def test_columns_added_dropped_and_retyped_in_one_script_are_one_alteration(
    connection: Connection,
) -> None:
    before = audited(Column("note", Text), Column("rate", Integer), trail={"mask": ["note"]})
    after = audited(Column("place", Text), Column("rate", Numeric), trail={"hash": ["place"]})
    upgrade(connection, before)
    run_sql(connection, "INSERT INTO orders (id, note, rate) VALUES (1, 'a', 1)")
    script = upgrade(connection, after)
    assert script.calls == ["add_column", "alter_column", "alter_audit_trail", "drop_column"]
    assert generate(connection, after).calls == []
    run_sql(connection, "UPDATE orders SET rate = 1.5, place = 'b'")
    found = history(connection, "note, rate, left(place, 4)")
    assert found == [("***", 1, None), (None, 1.5, "3e23")]
    run_sql(connection, "UPDATE orders SET rate = 2", "DELETE FROM audit.orders_history")
    run(connection, script.downgrade)
    assert generate(connection, before).calls == []
    run_sql(connection, "UPDATE orders SET note = 'c'")
    run(connection, script.upgrade)
    assert generate(connection, after).calls == []


def test_a_column_of_another_type_that_is_masked_changes_nothing(connection: Connection) -> None:
    upgrade(connection, audited(trail={"mask": ["total"]}))
    changed = audited(Column("n", Integer), trail={"mask": ["total"]})
    changed.tables["orders"].c.total.type = Numeric()
    script = upgrade(connection, changed)
    assert script.calls == ["add_column", "alter_audit_trail", "alter_column"]
    assert generate(connection, changed).calls == []


def test_scripts_in_batches_are_the_same(connection: Connection) -> None:
    """What `render_as_batch` asks for, which SQLite needs, and PostgreSQL does not."""
    upgrade(connection, audited(Column("old", Integer)))
    metadata = audited(Column("new", Text, server_default="n"), AuditColumns())
    script = upgrade(connection, metadata, render_as_batch=True)
    assert "batch_op.drop_column('old')" in script.upgrade
    assert generate(connection, metadata, render_as_batch=True).calls == []
    assert drift(connection) == []
    run_sql(connection, "INSERT INTO orders VALUES (1)")
    run(connection, script.downgrade)
    assert drift(connection) == []


def test_a_renamed_column_takes_its_history_along(connection: Connection) -> None:
    """Written by hand, as Alembic sees a rename as a new column and a dropped one."""
    upgrade(connection, audited(Column("note", Text)))
    run_sql(connection, "INSERT INTO orders (id, note) VALUES (1, 'kept')")
    changed = audited(Column("remark", Text))
    run(
        connection,
        "op.alter_column('orders', 'note', new_column_name='remark')\n"
        "op.alter_audit_trail('orders', history='orders_history', renamed={'note': 'remark'})",
    )
    assert generate(connection, changed).calls == []
    run_sql(connection, "UPDATE orders SET remark = 'new'")
    assert history(connection, "remark") == ["kept", "new"]


def test_a_column_that_is_renamed_without_a_word_begins_anew(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "alembic")
    upgrade(connection, audited(Column("note", Text)))
    run_sql(connection, "INSERT INTO orders (id, note) VALUES (1, 'kept')")
    run(connection, "op.alter_column('orders', 'note', new_column_name='remark')")
    changed = audited(Column("remark", Text))
    assert upgrade(connection, changed).calls == ["alter_audit_trail"]
    assert 'where that was note until now, add renamed={"note": "remark"}' in caplog.text
    run_sql(connection, "UPDATE orders SET remark = 'new'")
    assert history(connection, "note, remark") == [("kept", None), (None, "new")]
    assert generate(connection, changed).calls == []


@pytest.mark.parametrize("option", ["exclude", "mask", "hash"])
def test_what_was_kept_otherwise_until_now_is_told(
    connection: Connection, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    upgrade(connection, audited(trail={option: ["iban", "total"]}))
    assert caplog.text == ""
    upgrade(connection, audited(trail={option: ["total"]}))
    [told] = caplog.messages
    assert told.startswith(f"orders: iban is not in {option}= any more: as_of() has ")
    caplog.clear()
    key = Column("id", BigInteger, primary_key=True, autoincrement=False)
    metadata = MetaData()
    Table("orders", metadata, key, Column("iban", Text), AuditTrail())
    upgrade(connection, metadata)  # the column goes with the option
    assert caplog.text == ""


def test_a_column_that_is_added_again_may_be_kept_apart(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    noted = audited(Column("note", Text, server_default="new"))
    upgrade(connection, noted)
    run_sql(connection, "INSERT INTO orders (id, note) VALUES (1, 'old')")
    upgrade(connection, audited())
    assert caplog.text == ""
    script = generate(connection, noted)
    [told] = caplog.messages
    assert told.startswith("orders: its history has a column note from before: as_of() has the old")
    rename = told.partition("ALTER TABLE ")[2].partition(" TO ...")[0]
    run(connection, f"op.execute('ALTER TABLE {rename} TO note_before')\n{script.upgrade}")
    assert history(connection, "note_before, note") == [("old", "new")]


def test_columns_that_the_server_computes_are_kept_when_they_are_stored(
    connection: Connection,
) -> None:
    metadata = audited(Column("twice", BigInteger, Computed("total * 2", persisted=True)))
    upgrade(connection, metadata)
    run_sql(connection, ROW)
    assert history(connection, "twice") == [20]
    assert generate(connection, metadata).calls == []


def test_audit_columns_are_kept_like_any_other(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, ROW)
    changed = audited(AuditColumns())
    script = upgrade(connection, changed)
    assert script.calls == ["add_audit_columns", "alter_audit_trail"]
    assert generate(connection, changed).calls == []
    run_sql(connection, "SET alembic_enterprise.actor = 'ann'", "UPDATE orders SET total = 1")
    assert history(connection, "updated_by") == [None, "ann"]
    run(connection, script.downgrade)
    assert generate(connection, audited()).calls == []
    run(connection, script.upgrade)
    assert generate(connection, changed).calls == []
    script = upgrade(connection, audited())
    assert script.calls == ["alter_audit_trail", "drop_audit_columns"]
    run(connection, script.downgrade)
    assert generate(connection, changed).calls == []


# --- Partitions, schemas, names


def test_partitions_and_shards_are_audited(connection: Connection) -> None:
    metadata = audited(HashShards("id", count=2))
    columns = (
        Column("id", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
    )
    Table("events", metadata, *columns, AuditTrail(), RangePartitions("at", every="month"))
    script = upgrade(connection, metadata)
    assert script.calls[-2:] == ["create_audit_trail", "create_audit_trail"]
    assert generate(connection, metadata).calls == []
    shard = next(iter(partitions(connection, "orders")))
    run_sql(
        connection, ROW, f"UPDATE {shard} SET total = 2", "INSERT INTO events VALUES (1, now())"
    )
    assert set(history(connection, "audit_action")) <= {"insert", "update"}
    assert history(connection, "audit_action", "audit.events_history") == ["insert"]
    run_sql(connection, "TRUNCATE events, audit.orders_history")
    run_sql(connection, "TRUNCATE orders, audit.events_history", "TRUNCATE audit.orders_history")
    run(connection, script.downgrade)
    assert trails(connection).tables == {}


def test_a_table_that_becomes_partitioned_by_hand_is_found(connection: Connection) -> None:
    """The new table has no triggers, and the old one, now a partition, calls the function."""
    upgrade(connection, audited())
    run_sql(
        connection,
        "ALTER TABLE orders RENAME TO old",
        "CREATE TABLE orders (LIKE old INCLUDING ALL) PARTITION BY RANGE (id)",
        "ALTER TABLE orders ATTACH PARTITION old FOR VALUES FROM (0) TO (1000)",
    )
    metadata = audited(postgresql_partition_by="RANGE (id)")
    assert upgrade(connection, metadata).calls == ["alter_audit_trail"]
    assert generate(connection, metadata).calls == []
    run_sql(connection, ROW, "UPDATE old SET total = 2")
    assert history(connection, "audit_action") == ["insert", "update"]


def test_names_that_hurt(connection: Connection) -> None:
    first, second = MetaData(), MetaData()
    for schema, name in NAMES:
        schema_of(connection, schema)
        place = None if schema == "public" else schema
        column = Column("sel ect \"%' :x", Text)
        audited(name=name, schema=place, metadata=first, trail={"mask": ["iban"]})
        audited(column, name=name, schema=place, metadata=second, trail={"hash": ["iban"]})
    upgrade(connection, first, include_schemas=True)
    script = upgrade(connection, second, include_schemas=True)
    assert script.calls == ["add_column", "alter_audit_trail"] * len(NAMES)
    assert generate(connection, second, include_schemas=True).calls == []
    run(connection, script.downgrade)
    assert generate(connection, first, include_schemas=True).calls == []


def test_a_history_may_stand_in_the_schema_of_its_table(connection: Connection) -> None:
    metadata = audited(trail={"schema": "public", "history": "Wer war's"})
    upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []
    assert trails(connection).tables[Name("public", "orders")].history == Name(
        "public", "Wer war's"
    )


def test_a_table_found_along_the_search_path_is_the_models(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, "CREATE SCHEMA first", "SET search_path = first, public")
    assert generate(connection, audited()).calls == []
    assert generate(connection, orders()).calls == ["drop_audit_trail"]


def test_another_history_is_refused(connection: Connection) -> None:
    upgrade(connection, audited())
    with pytest.raises(CommandError, match=r"history='orders_history'"):
        generate(connection, audited(trail={"history": "changes"}))


# --- What must never appear


def test_histories_never_appear(connection: Connection) -> None:
    """Nor what belongs to them; a table of somebody else in their schema does."""
    metadata = audited()
    upgrade(connection, metadata)
    options = {"include_schemas": True}
    assert generate(connection, metadata, **options).calls == []
    assert generate(connection, MetaData(), **options).calls == ["drop_audit_trail", "drop_table"]
    run_sql(connection, "CREATE TABLE audit.mine (id bigint PRIMARY KEY)")
    assert generate(connection, metadata, **options).calls == ["drop_table"]
    Table("mine", metadata, Column("id", BigInteger, primary_key=True), schema="audit")
    assert generate(connection, metadata, **options).calls == []
    run_sql(connection, "COMMENT ON TABLE audit.orders_history IS 'a remark of somebody else'")
    assert generate(connection, metadata, **options).calls == ["alter_audit_trail"]


STRANGERS = """
CREATE SCHEMA audit;
CREATE FUNCTION audit.if_modified() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION audit.orders_history(n int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION audit.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
COMMENT ON FUNCTION audit.noted() IS 'alembic-enterprise: a remark of somebody else';
CREATE VIEW audit.recent AS SELECT 1 AS n;
CREATE TABLE audit.logged_actions (event_id bigint PRIMARY KEY);
"""
TRIGGERS = """
CREATE TRIGGER audit_trigger_row AFTER UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION audit.if_modified();
CREATE TRIGGER alembic_enterprise_mine AFTER INSERT ON orders
    FOR EACH STATEMENT EXECUTE FUNCTION audit.noted();
ALTER TABLE orders DISABLE TRIGGER audit_trigger_row;
"""


def strangers(connection: Connection) -> list[Any]:
    """All triggers and functions that are not ours."""
    query = """SELECT tgname::text, tgenabled::text, pg_get_triggerdef(t.oid)
        FROM pg_trigger AS t WHERE tgfoid::regproc::text LIKE 'audit.%' AND NOT tgname = ANY (ARRAY[
            'alembic_enterprise_insert', 'alembic_enterprise_update', 'alembic_enterprise_delete',
            'alembic_enterprise_truncate'])
        UNION ALL SELECT p.oid::regprocedure::text, proacl::text, pg_get_functiondef(p.oid)
        FROM pg_proc AS p WHERE p.oid::regprocedure::text = ANY (ARRAY[
            'audit.if_modified()', 'audit.noted()', 'audit.orders_history(integer)'])
        UNION ALL SELECT relname, relacl::text, obj_description(oid) FROM pg_class
        WHERE relname IN ('recent', 'logged_actions') ORDER BY 1"""
    found = [
        tuple(row)
        for row in connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    ]
    connection.rollback()
    return found


def test_what_others_have_is_never_touched(connection: Connection) -> None:
    """Other audit tools' triggers, functions, views and tables, in our schema too."""
    upgrade(connection, orders())
    run_sql(connection, STRANGERS, TRIGGERS)
    assert generate(connection, orders()).calls == []
    before = strangers(connection)
    assert len(before) == 7
    first = upgrade(connection, audited())
    assert first.calls == ["create_audit_trail"]
    assert generate(connection, audited()).calls == []
    second = upgrade(connection, audited(Column("note", Text), trail={"readers": ["pg_monitor"]}))
    assert second.calls == ["add_column", "alter_audit_trail"]
    assert strangers(connection) == before
    run(connection, second.downgrade)
    run(connection, first.downgrade)
    assert strangers(connection) == before
    assert generate(connection, orders()).calls == []


def test_a_trail_of_another_project_is_left_alone(connection: Connection) -> None:
    upgrade(connection, audited())

    def without_orders(_object: Any, name: str | None, kind: str, *_: Any) -> bool:
        return not (kind == "table" and name == "orders")

    run_sql(connection, "ALTER TABLE orders DISABLE TRIGGER alembic_enterprise_insert")
    assert generate(connection, MetaData(), include_object=without_orders).calls == []
    assert generate(connection, audited(), include_object=without_orders).calls == []
    assert drift(connection) == ["orders: trigger alembic_enterprise_insert is disabled"]


# --- Written with --sql


def test_offline_scripts_make_the_same_database(
    tmp_path: Path, engine: Engine, other_database: Callable[[], str]
) -> None:
    models = [
        orders(HashShards("id", count=2)),
        audited(AuditColumns(), HashShards("id", count=2), trail={"hash": ["iban"]}),
        audited(Column("note", Text), HashShards("id", count=2)),
    ]
    config = project(tmp_path, engine, models[0])
    for number, metadata in enumerate(models):
        config.attributes["metadata"] = metadata
        command.revision(config, "next", autogenerate=True, rev_id=str(number))
        command.upgrade(config, "head")
    config.output_buffer = StringIO()
    command.upgrade(config, "head", sql=True)
    offline_engine = create_engine(other_database(), poolclass=NullPool)
    with offline_engine.connect() as connection:
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        run_sql(autocommit, config.output_buffer.getvalue())
    with engine.connect() as connection, offline_engine.connect() as offline:
        assert laws.snapshot(offline) == laws.snapshot(connection)
        assert generate(offline, models[-1]).calls == []
