"""Partitions, shards, audit and indexes for big PostgreSQL tables, declared in SQLAlchemy models.

What models and applications import. Importing it loads neither Alembic nor click nor a database
driver; and SQLAlchemy only once a name is used, so that `alembic-enterprise --help` does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic_enterprise.audit.actor import actor, current_actor, install, tell_actor
    from alembic_enterprise.audit.column_model import AuditColumns
    from alembic_enterprise.audit.history import as_of, diff, history
    from alembic_enterprise.audit.history_table import history_table
    from alembic_enterprise.audit.mixins import (
        AuditMixin,
        LineageMixin,
        SoftDeleteMixin,
        hide_deleted,
        unique_undeleted,
        without_deleted,
    )
    from alembic_enterprise.audit.model import AuditTrail
    from alembic_enterprise.errors import (
        ActorError,
        DeclarationError,
        EnterpriseError,
        OperationError,
        PlacementError,
    )
    from alembic_enterprise.indexes.model import RecommendedIndexes
    from alembic_enterprise.partitions.model import RangePartitions
    from alembic_enterprise.shards.model import HashShards

__all__ = [
    "ActorError",
    "AuditColumns",
    "AuditMixin",
    "AuditTrail",
    "DeclarationError",
    "EnterpriseError",
    "HashShards",
    "LineageMixin",
    "OperationError",
    "PlacementError",
    "RangePartitions",
    "RecommendedIndexes",
    "SoftDeleteMixin",
    "actor",
    "as_of",
    "current_actor",
    "diff",
    "hide_deleted",
    "history",
    "history_table",
    "install",
    "tell_actor",
    "unique_undeleted",
    "without_deleted",
]

_HOMES = {
    "ActorError": "alembic_enterprise.errors",
    "AuditColumns": "alembic_enterprise.audit.column_model",
    "AuditMixin": "alembic_enterprise.audit.mixins",
    "AuditTrail": "alembic_enterprise.audit.model",
    "DeclarationError": "alembic_enterprise.errors",
    "EnterpriseError": "alembic_enterprise.errors",
    "HashShards": "alembic_enterprise.shards.model",
    "LineageMixin": "alembic_enterprise.audit.mixins",
    "OperationError": "alembic_enterprise.errors",
    "PlacementError": "alembic_enterprise.errors",
    "RangePartitions": "alembic_enterprise.partitions.model",
    "RecommendedIndexes": "alembic_enterprise.indexes.model",
    "SoftDeleteMixin": "alembic_enterprise.audit.mixins",
    "actor": "alembic_enterprise.audit.actor",
    "as_of": "alembic_enterprise.audit.history",
    "current_actor": "alembic_enterprise.audit.actor",
    "diff": "alembic_enterprise.audit.history",
    "hide_deleted": "alembic_enterprise.audit.mixins",
    "history": "alembic_enterprise.audit.history",
    "history_table": "alembic_enterprise.audit.history_table",
    "install": "alembic_enterprise.audit.actor",
    "tell_actor": "alembic_enterprise.audit.actor",
    "unique_undeleted": "alembic_enterprise.audit.mixins",
    "without_deleted": "alembic_enterprise.audit.mixins",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
