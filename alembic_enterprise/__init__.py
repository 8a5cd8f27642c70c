"""Partitions, shards, audit and indexes for big PostgreSQL tables, declared in SQLAlchemy models.

What a models file imports. Importing it loads neither Alembic nor click nor a database driver; and
SQLAlchemy only once a name is used, so that `alembic-enterprise --help` does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic_enterprise.partitions.model import RangePartitions
    from alembic_enterprise.shards.model import HashShards

__all__ = ["HashShards", "RangePartitions"]

_HOMES = {
    "HashShards": "alembic_enterprise.shards.model",
    "RangePartitions": "alembic_enterprise.partitions.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
