"""Partitions, shards, audit and indexes for big PostgreSQL tables, declared in SQLAlchemy models.

What a models file imports. Importing it loads neither Alembic nor click nor a database driver.
"""

from alembic_enterprise.partitions.model import RangePartitions

__all__ = ["RangePartitions"]
