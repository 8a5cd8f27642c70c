"""What a migration script can do with partitions; each operation is made of literals."""

from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.operations.attachment import AttachPartition, DetachPartition
from alembic_enterprise.partitions.operations.policy import DropPartitionPolicy, SetPartitionPolicy
from alembic_enterprise.partitions.operations.ranges import (
    CreateRangePartitions,
    DropRangePartitions,
)

__all__ = [
    "OPERATIONS",
    "AttachPartition",
    "CreateRangePartitions",
    "DetachPartition",
    "DropPartitionPolicy",
    "DropRangePartitions",
    "SetPartitionPolicy",
]

OPERATIONS: list[type[Operation]] = [
    CreateRangePartitions,
    DropRangePartitions,
    AttachPartition,
    DetachPartition,
    SetPartitionPolicy,
    DropPartitionPolicy,
]
"""Every operation of this capability, for the list in `plugin`."""
