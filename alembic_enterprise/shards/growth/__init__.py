"""Growth of a sharded table while it is read and written."""

from alembic_enterprise.shards.growth.run import Job, abort, grow

__all__ = ["Job", "abort", "grow"]
