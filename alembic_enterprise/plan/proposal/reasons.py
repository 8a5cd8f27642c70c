"""Why autogenerate emits operations of ours, as findings; `advise` has rules of the same ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations.ops import CreateTableOp

from alembic_enterprise.audit.operations import (
    AddAuditColumns,
    AlterAuditTrail,
    CreateAuditTrail,
    DropAuditColumns,
    DropAuditTrail,
)
from alembic_enterprise.finding import Finding, Severity
from alembic_enterprise.indexes.operations import CreateIndexOnline, DropIndexOnline
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.operations import (
    CreateRangePartitions,
    DropPartitionPolicy,
    DropRangePartitions,
    SetPartitionPolicy,
)
from alembic_enterprise.shards.operations import (
    CreateHashShards,
    DropHashShards,
    GrowHashShards,
    ShrinkHashShards,
)
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class _Reason:
    """Why autogenerate emits an operation."""

    rule: str
    severity: Severity
    message: str


_REASONS: dict[type[Operation], _Reason] = {
    CreateRangePartitions: _Reason(
        "partitions-missing", "warning", "the policy of the model asks for partitions to be made"
    ),
    DropRangePartitions: _Reason(
        "partitions-undeclared", "warning", "the table goes, and its partitions go before it"
    ),
    SetPartitionPolicy: _Reason(
        "policy-differs", "warning", "the policy of the model is not the one that is kept for it"
    ),
    DropPartitionPolicy: _Reason(
        "policy-undeclared", "warning", "a policy is kept for it, and the models declare none"
    ),
    CreateHashShards: _Reason(
        "shards-missing", "error", "the model declares shards that are not there"
    ),
    GrowHashShards: _Reason(
        "shards-differ", "warning", "the model declares more shards than there are"
    ),
    ShrinkHashShards: _Reason(
        "shards-differ", "warning", "the model declares fewer shards than there are"
    ),
    DropHashShards: _Reason(
        "shards-undeclared", "warning", "the table goes, and its shards go before it"
    ),
    CreateAuditTrail: _Reason(
        "trail-missing", "error", "the model declares AuditTrail(), and nothing is captured"
    ),
    AlterAuditTrail: _Reason(
        "trail-drifted", "error", "its audit trail is not the one that the model asks for"
    ),
    DropAuditTrail: _Reason(
        "trail-undeclared", "warning", "changes are captured, and the model has no AuditTrail()"
    ),
    AddAuditColumns: _Reason(
        "audit-columns-drifted", "error", "it lacks audit columns that the model declares"
    ),
    DropAuditColumns: _Reason(
        "audit-columns-drifted", "error", "it has audit columns that the model does not declare"
    ),
    CreateIndexOnline: _Reason(
        "index-missing", "warning", "the model declares an index, and the table is large"
    ),
    DropIndexOnline: _Reason(
        "index-undeclared", "warning", "the model does not declare an index, and the table is large"
    ),
}


def findings(
    operations: Sequence[MigrateOperation], default_schema: str | None
) -> Iterator[Finding]:
    """A finding for each table and reason, in the order of the tables' first operations.

    Nobody lacks yet what belongs to a table that is made with it: of such it is a note.
    """
    new = {table_of(x, default_schema) for x in operations if isinstance(x, CreateTableOp)}
    groups: dict[Name | None, dict[_Reason, list[Operation]]] = {}
    for item in operations:
        if isinstance(item, Operation):
            group = groups.setdefault(table_of(item, default_schema), {})
            group.setdefault(_reason(item), []).append(item)
    for table, reasons in groups.items():
        for reason, items in reasons.items():
            yield Finding(
                reason.rule,
                "note" if table in new else reason.severity,
                "" if table is None else str(table),
                reason.message,
                operations=tuple(items),
            )


def table_of(operation: Any, default_schema: str | None) -> Name | None:
    """The full name of the table that an operation is about, if it is about one."""
    name = getattr(operation, "table_name", None) or getattr(operation, "table", None)
    return Name(operation.schema or default_schema, name) if isinstance(name, str) else None


def _reason(item: Operation) -> _Reason:
    """That of its kind; other operations come from a hook of env.py alone."""
    other = _Reason(item.operation_name.replace("_", "-"), "note", "a hook of env.py asks for it")
    return _REASONS.get(type(item), other)
