"""Operations that autogenerate emits are told by table, with the reason for each."""

from alembic.operations import MigrateOperation
from alembic.operations.ops import AddColumnOp, CreateTableOp
from sqlalchemy import Column, Integer

from alembic_enterprise.audit.operations import CreateAuditTrail
from alembic_enterprise.indexes.operations import AnalyzeTable
from alembic_enterprise.partitions.operations import CreateRangePartitions, SetPartitionPolicy
from alembic_enterprise.plan.proposal.reasons import findings, table_of
from alembic_enterprise.sql import Name

SPRING = CreateRangePartitions("events", "month", "2026-03-01", "2026-06-01")
AUTUMN = CreateRangePartitions("events", "month", "2026-09-01", "2026-12-01")
POLICY = SetPartitionPolicy("events", "month", schema="Other")


def told(*operations: MigrateOperation) -> list[tuple[str, str, str, int]]:
    return [
        (item.table, item.rule, item.severity, len(item.operations))
        for item in findings(operations, "public")
    ]


def test_the_operations_of_a_table_stand_together_by_their_reasons() -> None:
    [policy, ranges, analyzed] = findings(
        [POLICY, SPRING, AnalyzeTable("events"), AUTUMN], "public"
    )
    assert policy.operations == (POLICY,)
    assert ranges.operations == (SPRING, AUTUMN)
    assert analyzed.message == "a hook of env.py asks for it"
    assert told(POLICY, SPRING, AnalyzeTable("events"), AUTUMN) == [
        ("Other.events", "policy-differs", "warning", 1),
        ("public.events", "partitions-missing", "warning", 2),
        ("public.events", "analyze-table", "note", 1),
    ]


def test_nobody_lacks_yet_what_a_new_table_comes_with() -> None:
    trail = CreateAuditTrail("events", "events_history")
    assert told(trail) == [("public.events", "trail-missing", "error", 1)]
    assert told(trail, CreateTableOp("events", [], schema="public")) == [
        ("public.events", "trail-missing", "note", 1)
    ]


def test_an_operation_is_about_a_table_or_about_none() -> None:
    column = AddColumnOp("events", Column("a", Integer), schema="Other")
    assert table_of(column, "public") == Name("Other", "events")
    assert table_of(SPRING, None) == Name(None, "events")
    assert table_of(MigrateOperation(), "public") is None
