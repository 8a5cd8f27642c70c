"""What a migration script can do with shards; each operation is made of literals."""

from alembic_enterprise.operation import Operation
from alembic_enterprise.shards.operations.counts import CreateHashShards, DropHashShards
from alembic_enterprise.shards.operations.growth import (
    GrowHashShards,
    MergeHashShards,
    ShrinkHashShards,
    SplitHashShard,
)

__all__ = [
    "OPERATIONS",
    "CreateHashShards",
    "DropHashShards",
    "GrowHashShards",
    "MergeHashShards",
    "ShrinkHashShards",
    "SplitHashShard",
]

OPERATIONS: list[type[Operation]] = [
    CreateHashShards,
    DropHashShards,
    GrowHashShards,
    ShrinkHashShards,
    SplitHashShard,
    MergeHashShards,
]
"""Every operation of this capability, for the list in `plugin`."""
