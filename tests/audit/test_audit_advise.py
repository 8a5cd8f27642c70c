"""What `audit check` finds with trails and audit columns, and the step that each finding names."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from audited import audited, orders
from autogenerate import generate, pretend, run, run_sql, upgrade
from sqlalchemy import Column, Connection, MetaData, Table, Text, Uuid

from alembic_enterprise import AuditColumns, HashShards
from alembic_enterprise.audit.advise import findings, read
from alembic_enterprise.finding import Finding
from alembic_enterprise.partitions.maintain import Job, maintain


def inspected(connection: Connection, metadata: MetaData | None = None) -> list[Finding]:
    """The findings, by the models or without them."""
    tables: list[Table] | None = None if metadata is None else metadata.sorted_tables
    found = findings(connection, read(connection), tables)
    connection.rollback()
    return found


def mended(connection: Connection, finding: Finding) -> None:
    """Do what a finding tells to write."""
    run(connection, "op." + finding.message.partition(" with op.")[2])


# --- Trails


@pytest.mark.parametrize("by_models", [True, False])
def test_the_advice_after_a_forgotten_rename(connection: Connection, by_models: bool) -> None:
    """As it is, it would leave what was kept in a column of its own."""
    upgrade(connection, audited(Column("note", Text)))
    run_sql(connection, "INSERT INTO orders (id, note) VALUES (1, 'kept')")
    run(connection, "op.alter_column('orders', 'note', new_column_name='remark')")
    changed = audited(Column("remark", Text))
    [found] = inspected(connection, changed if by_models else None)
    assert "each change of a row fails, as its body names note" in found.message
    renamed = 'renamed={"note": "remark"}'
    assert f"where that was note until now, add {renamed}" in found.message
    call = found.message.partition(" with op.")[2].removesuffix(")")
    run(connection, f"op.{call}, {renamed})")
    assert inspected(connection, changed) == []
    rows = connection.exec_driver_sql("SELECT remark FROM audit.orders_history").all()
    connection.rollback()
    assert [tuple(row) for row in rows] == [("kept",)]


def test_the_arguments_that_differ_are_told(connection: Connection) -> None:
    upgrade(connection, audited(trail={"retain": 24}))
    run_sql(connection, "DROP VIEW audit.audit_trail")
    changed = audited(trail={"mask": ["iban"]})
    [found] = inspected(connection, changed)
    assert found.message.startswith(
        "the model declares mask=['iban'], and the trail has []; the model declares "
        "retain=None, and the trail has 24; the view audit.audit_trail is missing: write a "
    )
    mended(connection, found)
    assert inspected(connection, changed) == []


def test_a_trail_of_which_a_part_is_left(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, "DROP FUNCTION audit.orders_history() CASCADE")
    [found] = inspected(connection, audited())
    assert found.message.startswith("only a part of its trail is left, and nothing is captured: w")


@pytest.mark.parametrize("by_models", [True, False])
def test_months_that_nobody_made_are_the_scheduled_jobs(
    connection: Connection, by_models: bool
) -> None:
    models = audited()
    upgrade(connection, models)
    pretend(connection, "2028-06-15")
    [found] = inspected(connection, models if by_models else None)
    assert found.message.startswith("audit.orders_history has no partition from 2028-06-01")
    assert found.message.endswith("on: run `alembic-enterprise partitions maintain`")
    maintain(connection.engine, Job(now=datetime(2028, 6, 15, tzinfo=UTC)))
    assert inspected(connection, models) == []


def test_months_and_more_are_put_right_by_one_revision(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, "DROP VIEW audit.audit_trail")
    pretend(connection, "2028-06-15")
    [found] = inspected(connection)
    mended(connection, found)
    assert inspected(connection, audited()) == []


SWALLOW = (
    "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE TRIGGER {} EXECUTE FUNCTION swallow()",
)
CHECK = "ALTER TABLE audit.orders_history ADD CONSTRAINT mine CHECK (id < 9)"
OBSTACLES = {
    "trigger mine on audit.orders_history, which calls swallow() of role ": (
        SWALLOW[0],
        SWALLOW[1].format("mine BEFORE INSERT ON audit.orders_history FOR EACH ROW"),
    ),
    "trigger mine on audit.orders_history_": (
        SWALLOW[0],
        """DO $$BEGIN EXECUTE (
            SELECT format('CREATE TRIGGER mine BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION'
                          ' swallow()', min(relid::text))
            FROM pg_partition_tree('audit.orders_history') WHERE isleaf); END$$""",
    ),
    "rule mine on audit.orders_history": (
        "CREATE RULE mine AS ON INSERT TO audit.orders_history DO INSTEAD NOTHING",
    ),
    "constraint mine on audit.orders_history, CHECK ((id < 9))": (CHECK,),
    "unique index audit.mine on audit.orders_history": (
        "CREATE UNIQUE INDEX mine ON audit.orders_history (audit_at)",
    ),
    "row security of audit.orders_history, forced upon its owner": (
        "ALTER TABLE audit.orders_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    ),
}


@pytest.mark.parametrize("by_models", [True, False])
@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_others_put_on_a_history_is_told_and_left_alone(
    connection: Connection, obstacle: str, by_models: bool
) -> None:
    metadata = audited()
    upgrade(connection, metadata)
    run_sql(connection, *OBSTACLES[obstacle])
    [finding] = inspected(connection, metadata if by_models else None)
    assert (finding.rule, finding.severity) == ("trail-obstructed", "warning")
    assert (finding.table, finding.operations) == ("public.orders", ())
    [told] = finding.evidence["obstacles"]
    assert told.startswith(obstacle)
    assert told in finding.message
    assert generate(connection, metadata).calls == []


def test_what_cannot_keep_changes_out_of_a_history_is_not_told(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(
        connection,
        *SWALLOW[:1],
        SWALLOW[1].format("later BEFORE DELETE ON audit.orders_history FOR EACH ROW"),
        SWALLOW[1].format("off BEFORE INSERT ON audit.orders_history FOR EACH ROW"),
        "ALTER TABLE audit.orders_history DISABLE TRIGGER off",
        "ALTER TABLE audit.orders_history ENABLE ROW LEVEL SECURITY",
        "CREATE INDEX ON audit.orders_history (total)",
    )
    assert inspected(connection) == []


# --- Audit columns


@pytest.mark.parametrize("by_models", [True, False])
@pytest.mark.parametrize(
    "columns", [AuditColumns(), AuditColumns(actor=Uuid, soft_delete=True, lineage=True)]
)
def test_a_trigger_of_audit_columns_that_is_off(
    connection: Connection, columns: AuditColumns, by_models: bool
) -> None:
    metadata = orders(columns)
    upgrade(connection, metadata)
    assert inspected(connection, metadata if by_models else None) == []
    run_sql(connection, "ALTER TABLE orders DISABLE TRIGGER USER")
    [found] = inspected(connection, metadata if by_models else None)
    assert (found.rule, found.severity) == ("audit-columns-drifted", "error")
    assert found.message.startswith("the trigger that fills its audit columns is missing, disab")
    mended(connection, found)
    assert inspected(connection, metadata) == []
    assert generate(connection, metadata).calls == []


def test_a_trigger_that_is_off_in_a_partition_is_one_finding(connection: Connection) -> None:
    metadata = orders(AuditColumns(), HashShards("id", count=2))
    upgrade(connection, metadata)
    run_sql(connection, "ALTER TABLE orders_shard_1 DISABLE TRIGGER USER")
    [found] = inspected(connection)
    assert found.table == "public.orders"
    mended(connection, found)
    assert inspected(connection) == []


def test_a_trigger_of_a_partition_alone_is_looked_at_too(connection: Connection) -> None:
    metadata = orders(AuditColumns(), name="orders_0")
    upgrade(connection, metadata)
    run_sql(
        connection,
        "CREATE TABLE orders (LIKE orders_0) PARTITION BY HASH (id)",
        "ALTER TABLE orders ATTACH PARTITION orders_0 FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "ALTER TABLE orders_0 DISABLE TRIGGER USER",
    )
    assert len(inspected(connection, metadata)) == 1
    [found] = inspected(connection)
    mended(connection, found)
    assert inspected(connection) == inspected(connection, metadata) == []


def test_audit_columns_that_are_not_there(connection: Connection) -> None:
    upgrade(connection, orders())
    [found] = inspected(connection, orders(AuditColumns()))
    assert found.message.startswith("it has no created_at, created_by, updated_at, updated_by: wri")
    mended(connection, found)
    assert inspected(connection, orders(AuditColumns())) == []


def test_audit_columns_that_nothing_fills(connection: Connection) -> None:
    metadata = orders(AuditColumns())
    upgrade(connection, metadata)
    run_sql(connection, "ALTER TABLE orders ALTER created_at DROP DEFAULT")
    [found] = inspected(connection, metadata)
    assert found.message.startswith("created_at has no default, so new rows have no value for it:")
    mended(connection, found)
    assert inspected(connection, metadata) == []


def test_audit_columns_that_the_model_has_not(connection: Connection) -> None:
    upgrade(connection, orders(AuditColumns()))
    [found] = inspected(connection, orders())
    assert found.message.startswith("a trigger fills audit columns that the model has not: write ")


# --- Logical replication


@pytest.mark.filterwarnings("ignore:.*wal_level.*")
def test_a_table_that_a_subscription_fills(
    connection: Connection, subscribe: Callable[[str], None]
) -> None:
    """None of our triggers fires for what it applies."""
    models = audited()
    upgrade(connection, models)
    subscribe("orders")
    for metadata in (None, models):
        [found] = inspected(connection, metadata)
        assert (found.rule, found.severity, found.table) == (
            "trail-subscribed",
            "error",
            "public.orders",
        )
        assert found.message.startswith(
            "what subscription fills orders % applies to it is not kept, as it fires row triggers "
            "only: audit the table where it comes from. Or end the subscription, and then write "
        )
    assert "op." not in generate(connection, models).upgrade
