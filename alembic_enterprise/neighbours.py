"""What other people's plugins propose about partitions, and must not.

alembic-utils reads triggers, policies and grants of every table, and proposes to drop those that
nobody registered. A partition has them from its table: dropping them is wrong for grants, and for
triggers refused by the server.
"""

import sys
from typing import Any

from alembic.operations import MigrateOperation
from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import sql

_PARTITIONS = SQL("""
SELECT n.nspname || '.' || c.relname
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relispartition AND c.relkind <> 'i'""")


def spare_partitions(connection: Connection, operations: list[MigrateOperation]) -> None:
    """Remove alembic-utils' drops of what belongs to a partition, in place."""
    utils: Any = sys.modules.get("alembic_utils.reversible_op")
    if utils is None or not any(isinstance(item, utils.DropOp) for item in operations):
        return
    partitions = {_plain(name) for [name] in sql.rows(connection, _PARTITIONS)}
    operations[:] = [
        item
        for item in operations
        if not isinstance(item, utils.DropOp) or _relation(item) not in partitions
    ]


def _relation(drop: Any) -> str:
    """Schema and table of a trigger or policy (`on_entity`) or of a grant (`table`)."""
    entity = drop.target
    on_entity = getattr(entity, "on_entity", None)
    return _plain(on_entity or f"{entity.schema}.{getattr(entity, 'table', '')}")


def _plain(name: str) -> str:
    return name.replace('"', "")
