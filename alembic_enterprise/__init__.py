"""Partitions, shards, audit and indexes for big PostgreSQL tables, declared in SQLAlchemy models.

What a models file imports. Importing it loads neither Alembic nor click nor a database driver; and
SQLAlchemy only once a name is used, so that `alembic-enterprise --help` does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic_enterprise.audit.mixins import (
        AuditMixin,
        LineageMixin,
        SoftDeleteMixin,
        hide_deleted,
        unique_undeleted,
        without_deleted,
    )
    from alembic_enterprise.audit.model import AuditTrail
    from alembic_enterprise.audit.stamps import AuditColumns
    from alembic_enterprise.indexes.model import RecommendedIndexes
    from alembic_enterprise.partitions.model import RangePartitions
    from alembic_enterprise.shards.model import HashShards

__all__ = [
    "AuditColumns",
    "AuditMixin",
    "AuditTrail",
    "HashShards",
    "LineageMixin",
    "RangePartitions",
    "RecommendedIndexes",
    "SoftDeleteMixin",
    "hide_deleted",
    "unique_undeleted",
    "without_deleted",
]

_HOMES = {
    "AuditColumns": "alembic_enterprise.audit.stamps",
    "AuditMixin": "alembic_enterprise.audit.mixins",
    "AuditTrail": "alembic_enterprise.audit.model",
    "HashShards": "alembic_enterprise.shards.model",
    "LineageMixin": "alembic_enterprise.audit.mixins",
    "RangePartitions": "alembic_enterprise.partitions.model",
    "RecommendedIndexes": "alembic_enterprise.indexes.model",
    "SoftDeleteMixin": "alembic_enterprise.audit.mixins",
    "hide_deleted": "alembic_enterprise.audit.mixins",
    "unique_undeleted": "alembic_enterprise.audit.mixins",
    "without_deleted": "alembic_enterprise.audit.mixins",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
