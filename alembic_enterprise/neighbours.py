"""What others propose about partitions, and must not: dropping what a partition has from its table.

Alembic compares a partition that has a model of its own like any table, with indexes and keys of
which the model says nothing. alembic-utils reads triggers, policies and grants of every table, and
proposes to drop those that nobody registered. The server refuses to drop what is inherited, but for
grants, where dropping is wrong.
"""

import sys
from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations.ops import DropConstraintOp, DropIndexOp, ModifyTableOps
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql

_PARTITIONS = SQL("""
SELECT n.nspname || '.' || c.relname
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relispartition AND c.relkind <> 'i'""")

_INHERITED = SQL("""
SELECT n.nspname, c.relname, found.name
FROM (SELECT i.indrelid AS relation, x.relname AS name
      FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
      WHERE x.relispartition
      UNION SELECT conrelid, conname FROM pg_catalog.pg_constraint WHERE conparentid <> 0) AS found
JOIN pg_catalog.pg_class AS c ON c.oid = found.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relispartition AND c.relname = ANY ({tables}::name[])""")


def spare_inherited(
    connection: Connection, default_schema: str | None, operations: list[MigrateOperation]
) -> None:
    """Remove Alembic's drops of inherited indexes, keys and foreign keys, in place."""
    changes = [item for item in operations if isinstance(item, ModifyTableOps) and _drops(item)]
    if not changes:
        return
    tables = Literal(sorted({item.table_name for item in changes}))
    inherited = set(sql.rows(connection, _INHERITED.format(tables=tables)))
    for change in changes:
        place = (change.schema or default_schema, change.table_name)
        spared = [item for item in _drops(change) if (*place, _dropped(item)) in inherited]
        change.ops = [item for item in change.ops if item not in spared]
    empty = [change for change in changes if not change.ops]
    operations[:] = [item for item in operations if item not in empty]


def _drops(change: ModifyTableOps) -> list[DropIndexOp | DropConstraintOp]:
    return [item for item in change.ops if isinstance(item, DropIndexOp | DropConstraintOp)]


def _dropped(drop: DropIndexOp | DropConstraintOp) -> object:
    return drop.index_name if isinstance(drop, DropIndexOp) else drop.constraint_name


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
