"""Why autogenerate emits operations of ours, as findings; `advise` has rules of most ids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations.ops import AddColumnOp, AlterColumnOp, CreateTableOp, DropColumnOp

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
    """Why autogenerate emits an operation; never an error, as the plan itself mends it."""

    rule: str
    message: str
    severity: Severity = "warning"


REASONS: Mapping[type[Operation], _Reason] = {
    CreateRangePartitions: _Reason(
        "partitions-missing", "the policy of the model asks for partitions to be made"
    ),
    DropRangePartitions: _Reason(
        "partitions-undeclared", "the table goes, and its partitions go before it"
    ),
    SetPartitionPolicy: _Reason(
        "policy-differs", "the policy of the model is not the one that is kept for it"
    ),
    DropPartitionPolicy: _Reason(
        "policy-undeclared", "a policy is kept for it, and the models declare none"
    ),
    CreateHashShards: _Reason("shards-missing", "the model declares shards that are not there"),
    GrowHashShards: _Reason("shards-differ", "the model declares more shards than there are"),
    ShrinkHashShards: _Reason("shards-differ", "the model declares fewer shards than there are"),
    DropHashShards: _Reason("shards-undeclared", "the table goes, and its shards go before it"),
    CreateAuditTrail: _Reason(
        "trail-missing", "the model declares AuditTrail(), and nothing is captured"
    ),
    AlterAuditTrail: _Reason(
        "trail-drifted", "its audit trail is not the one that the model asks for"
    ),
    DropAuditTrail: _Reason(
        "trail-undeclared", "changes are captured, and the model has no AuditTrail()"
    ),
    AddAuditColumns: _Reason(
        "audit-columns-drifted", "it lacks audit columns that the model declares"
    ),
    DropAuditColumns: _Reason(
        "audit-columns-drifted", "it has audit columns that the model does not declare"
    ),
    CreateIndexOnline: _Reason(
        "index-missing", "the model declares an index, and the table is large"
    ),
    DropIndexOnline: _Reason(
        "index-undeclared", "the model does not declare an index, and the table is large"
    ),
}
"""Of each kind of operation."""

EXPLANATIONS: Mapping[str, str] = {
    "partitions-undeclared": """The models have no such table any more, and its partitions go.

The proposed revision drops them before the table, and its downgrade makes them
again, empty. It is what the plan does, and blocks nothing.""",
    "policy-differs": """The partition policy of a model is not the one that the database keeps.

The proposed revision keeps that of the model, which `alembic-enterprise
partitions maintain` then follows. It is what the plan does, and blocks nothing.""",
    "policy-undeclared": """A partition policy is kept in the database, and the model has none.

The proposed revision drops it, and nobody makes or expires partitions of the
table by it any more. It is what the plan does, and blocks nothing.""",
    "shards-differ": """A model declares another number of shards than there are.

The proposed revision splits or merges them, with their rows, while nobody can
use the table: modulus-changed says how to go about it. It is what the plan
does.""",
    "shards-undeclared": """The models have no such table any more, and its shards go.

The proposed revision drops them before the table, and its downgrade makes them
again, empty. It is what the plan does, and blocks nothing.""",
    "index-missing": """A model declares an index that a large table lacks.

The proposed revision builds it online, by `online_indexes` of env.py. It is
what the plan does, and blocks nothing.""",
    "index-undeclared": """A large table has an index that no model declares.

The proposed revision drops it online, by `online_indexes` of env.py. It is what
the plan does, and blocks nothing.""",
}
"""What `explain` prints of those that are no rules: they block nothing, and nobody waives them."""


def findings(
    operations: Sequence[MigrateOperation], default_schema: str | None
) -> Iterator[Finding]:
    """A finding for each table and reason, in the order of the tables' first operations.

    Nobody lacks yet what belongs to a table that is made with it, and a trail is expected to follow
    the columns of its table: of such it is a note.
    """
    new = {table_of(x, default_schema) for x in operations if isinstance(x, CreateTableOp)}
    altered = {table_of(x, default_schema) for x in operations if _alters_columns(x)}
    groups: dict[Name | None, dict[_Reason, list[Operation]]] = {}
    for item in operations:
        if isinstance(item, Operation):
            group = groups.setdefault(table_of(item, default_schema), {})
            group.setdefault(_reason(item), []).append(item)
    for table, reasons in groups.items():
        for reason, items in reasons.items():
            follows = reason is REASONS[AlterAuditTrail] and table in altered
            yield Finding(
                reason.rule,
                "note" if table in new or follows else reason.severity,
                "" if table is None else str(table),
                reason.message,
                operations=tuple(items),
            )


def table_of(operation: Any, default_schema: str | None) -> Name | None:
    """The full name of the table that an operation is about, if it is about one."""
    name = getattr(operation, "table_name", None) or getattr(operation, "table", None)
    return Name(operation.schema or default_schema, name) if isinstance(name, str) else None


def _alters_columns(operation: MigrateOperation) -> bool:
    """Whether it adds, drops or retypes columns of a table."""
    retypes = isinstance(operation, AlterColumnOp) and operation.modify_type is not None
    kinds = (AddColumnOp, DropColumnOp, AddAuditColumns, DropAuditColumns)
    return retypes or isinstance(operation, kinds)


def _reason(item: Operation) -> _Reason:
    """That of its kind; other operations come from a hook of env.py alone."""
    other = _Reason(item.operation_name.replace("_", "-"), "a hook of env.py asks for it", "note")
    return REASONS.get(type(item), other)
