"""Operations that autogenerate emits are told by table, with the reason for each."""

import pytest
from alembic.operations import MigrateOperation
from alembic.operations.ops import AddColumnOp, AlterColumnOp, CreateTableOp, DropColumnOp
from sqlalchemy import Column, Integer

from alembic_enterprise.audit.operations import AlterAuditTrail, CreateAuditTrail, DropAuditColumns
from alembic_enterprise.indexes.operations import AnalyzeTable
from alembic_enterprise.partitions.operations import CreateRangePartitions, SetPartitionPolicy
from alembic_enterprise.plan import advice
from alembic_enterprise.plan.proposal.reasons import EXPLANATIONS, REASONS, findings, table_of
from alembic_enterprise.shards.operations import CreateHashShards
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
    assert told(trail) == [("public.events", "trail-missing", "warning", 1)]
    assert told(trail, CreateTableOp("events", [], schema="public")) == [
        ("public.events", "trail-missing", "note", 1)
    ]


@pytest.mark.parametrize(
    ("other", "severity"),
    [
        (AddColumnOp("events", Column("a", Integer), schema="public"), "note"),
        (DropColumnOp("events", "a"), "note"),
        (AlterColumnOp("events", "a", modify_type=Integer()), "note"),
        (AlterColumnOp("events", "a", modify_nullable=True), "warning"),
        (AddColumnOp("others", Column("a", Integer)), "warning"),
        (AddColumnOp("events", Column("a", Integer), schema="Other"), "warning"),
    ],
)
def test_a_trail_follows_the_columns_of_its_table(other: MigrateOperation, severity: str) -> None:
    trail = AlterAuditTrail("events", "events_history")
    assert told(other, trail) == [("public.events", "trail-drifted", severity, 1)]


def test_what_the_plan_mends_itself_is_no_error() -> None:
    made = CreateHashShards("keys", 4)
    dropped = DropAuditColumns("events")
    assert {severity for _, _, severity, _ in told(made, dropped)} == {"warning"}


def test_each_reason_is_explained() -> None:
    assert {item.rule for item in REASONS.values()} <= {*EXPLANATIONS, *advice.EXPLANATIONS}


def test_an_operation_is_about_a_table_or_about_none() -> None:
    column = AddColumnOp("events", Column("a", Integer), schema="Other")
    assert table_of(column, "public") == Name("Other", "events")
    assert table_of(SPRING, None) == Name(None, "events")
    assert table_of(MigrateOperation(), "public") is None
