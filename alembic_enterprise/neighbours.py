"""What others propose about partitions and trails, and must not: dropping what is not theirs.

Alembic compares a partition that has a model of its own like any table, with indexes and keys of
which the model says nothing. alembic-utils reads functions and views, and triggers, policies and
grants of every table, and proposes to drop those that nobody registered. The server refuses to drop
what is inherited, but for grants, where dropping is wrong; and it would drop an audit trail.
alembic-postgresql-enum knows the columns of the models alone, and histories have types of theirs.
"""

import sys
from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations.ops import DropConstraintOp, DropIndexOp, ModifyTableOps
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import registry, sql
from alembic_enterprise.sql import Name

PREFIX = "alembic_enterprise_"
"""How the names of our triggers begin, and of functions that several tables share."""

_OURS = SQL("""
SELECT n.nspname || '.' || c.relname
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relispartition AND c.relkind <> 'i'
UNION ALL
SELECT n.nspname || '.' || coalesce(c.relname, p.proname)
FROM pg_catalog.pg_description AS d
LEFT JOIN pg_catalog.pg_class AS c
       ON d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0 AND c.oid = d.objoid
LEFT JOIN pg_catalog.pg_proc AS p
       ON d.classoid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = coalesce(c.relnamespace, p.pronamespace)
WHERE starts_with(d.description, {ownership})""")

_INHERITED = SQL("""
SELECT n.nspname, c.relname, found.name
FROM (SELECT i.indrelid AS relation, x.relname AS name
      FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
      WHERE x.relispartition
      UNION SELECT conrelid, conname FROM pg_catalog.pg_constraint WHERE conparentid <> 0) AS found
JOIN pg_catalog.pg_class AS c ON c.oid = found.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relispartition AND c.relname = ANY ({tables}::name[])""")


_ENUMS = SQL("""
SELECT of_type.nspname, t.typname, n.nspname, c.relname, a.attname, a.atttypid <> t.oid
FROM pg_catalog.pg_description AS d
JOIN pg_catalog.pg_class AS c ON c.oid = d.objoid AND c.relkind = 'p'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.typtype = 'e' AND a.atttypid IN (t.oid, t.typarray)
JOIN pg_catalog.pg_namespace AS of_type ON of_type.oid = t.typnamespace
WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
  AND starts_with(d.description, {ownership})
ORDER BY 3, 4, a.attnum""")


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


def spare_ours(connection: Connection, operations: list[MigrateOperation]) -> None:
    """Remove alembic-utils' drops of what is ours or belongs to a partition, in place."""
    utils: Any = sys.modules.get("alembic_utils.reversible_op")
    if utils is None or not any(isinstance(item, utils.DropOp) for item in operations):
        return
    rows = sql.rows(connection, _OURS.format(ownership=Literal(registry.OWNERSHIP)))
    ours = {_plain(name) for [name] in rows}
    operations[:] = [
        item
        for item in operations
        if not isinstance(item, utils.DropOp) or not _is_ours(item, ours)
    ]


def spare_types(connection: Connection, operations: list[MigrateOperation]) -> None:
    """Let alembic-postgresql-enum change the enums of our tables, and not drop them, in place."""
    enums: Any = sys.modules.get("alembic_postgresql_enum.operations")
    if enums is None:
        return
    changes = (enums.AddEnumValuesOp, enums.SyncEnumValuesOp)
    if not any(isinstance(item, (*changes, enums.DropEnumOp)) for item in operations):
        return
    columns: dict[Name, list[Any]] = {}
    rows = sql.rows(connection, _ENUMS.format(ownership=Literal(registry.OWNERSHIP)))
    for schema, enum, *place, is_array in rows:
        columns.setdefault(Name(schema, enum), []).append(_reference(*place, is_array=is_array))
    changed: list[Any] = [item for item in operations if isinstance(item, changes)]
    for item in changed:
        item.affected_columns += columns.get(_name(item), [])
    operations[:] = [
        item
        for item in operations
        if not isinstance(item, enums.DropEnumOp) or _name(item) not in columns
    ]


def _name(change: Any) -> Name:
    return Name(change.schema, change.name)


def _reference(schema: str, table: str, column: str, *, is_array: bool) -> Any:
    enums: Any = sys.modules["alembic_postgresql_enum"]
    kind = enums.ColumnType.ARRAY if is_array else enums.ColumnType.COMMON
    return enums.TableReference(table, column, table_schema=schema, column_type=kind)


def _is_ours(drop: Any, ours: set[str]) -> bool:
    """Whether a view or function, or the table of a trigger, policy or grant, is one of ours.

    A trigger or policy has a table, `on_entity`, a grant has another, `table`; the name of a view
    or function is its `signature`, up to the arguments. Our triggers on other tables have a prefix.
    """
    entity = drop.target
    name, _, _arguments = str(getattr(entity, "signature", "")).partition("(")
    table = getattr(entity, "table", None) or name
    relation = getattr(entity, "on_entity", None) or f"{entity.schema}.{table}"
    return _plain(relation) in ours or _plain(name).startswith(PREFIX)


def _plain(name: str) -> str:
    return name.replace('"', "")
