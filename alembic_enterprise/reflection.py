"""What Alembic's comparison gets to see: the database without partitions and our own tables.

Partitions are hidden *before* they are reflected: reflecting them and filtering afterwards costs
as much as the whole comparison of a large database, and Alembic proposes to drop what it sees
(alembic issue 539). What it leans on in Alembic and SQLAlchemy:

- `AutogenContext.inspector` can be replaced before the first comparator uses it;
- the inspector reads tables through `get_table_names` and the `get_multi_*` methods.

`tests/test_reflection.py` has a canary for each.
"""

import copy
import functools
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

from alembic.autogenerate.api import AutogenContext
from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.base import PGInspector
from sqlalchemy.engine.reflection import ObjectKind, ObjectScope

from alembic_enterprise import registry, sql

# Indexes, most of a catalog with many partitions, have no row type: OFFSET 0 lets the server pass
# them over by that early column, without unpacking the rest of the row. A history is ours by the
# function that fills it, whatever somebody wrote into its comment.
_TABLES = SQL("""
SELECT c.relname, NOT c.relispartition AND c.relname <> {registry}
       AND NOT starts_with(coalesce(d.description, ''), {ownership})
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
                       JOIN pg_catalog.pg_description AS told ON told.objoid = p.oid
                            AND told.classoid = 'pg_catalog.pg_proc'::regclass
                       WHERE p.proname = c.relname AND p.pronamespace = c.relnamespace
                         AND starts_with(told.description, {ownership}))
FROM (SELECT oid, relname, relnamespace, relkind, relpersistence, relispartition
      FROM pg_catalog.pg_class WHERE reltype <> 0 OFFSET 0) AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_description AS d
       ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_catalog.pg_class'::regclass
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {schema}
  AND (NOT c.relispartition OR c.relname = ANY ({declared}::name[]))
ORDER BY 1""")

_CLONED_FOREIGN_KEYS = SQL("""
SELECT c.relname, k.conname
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid <> 0 AND NOT c.relispartition AND {schema}
  AND c.relname = ANY ({tables}::name[])""")

_PARTITION_KEYS = SQL("""
SELECT c.relname, pg_get_partkeydef(c.oid)
FROM pg_catalog.pg_partitioned_table AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.partrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE {schema}""")


# With the default of 4, the server prefers to read all of pg_attribute and pg_index, which many
# partitions make huge, to looking up the few visible tables; catalogs are in memory anyway. It is
# set until the transaction ends.
_CATALOGS_IN_MEMORY = SQL("SELECT set_config('random_page_cost', '1', true)")


def hide_partitions(context: AutogenContext) -> None:
    """Replace the inspector that Alembic compares through by one that sees no partitions."""
    visible = cast("VisibleInspector", copy.copy(context.inspector))
    visible.__class__ = VisibleInspector
    visible.info_cache = {}
    default = context.dialect.default_schema_name
    visible.declared = {
        (None if table.schema == default else table.schema, table.name)
        for table in context.sorted_tables
    }
    context.inspector = visible
    if context.connection is not None:
        sql.rows(context.connection, _CATALOGS_IN_MEMORY)


def _of_visible_tables(method: Any) -> Any:
    """The same method, but without names it reads the visible tables and not every partition."""

    @functools.wraps(method)
    def narrowed(
        self: "VisibleInspector", schema: str | None = None, filter_names: Any = None, **kw: Any
    ) -> Any:
        if kw.get("kind", ObjectKind.TABLE) is not ObjectKind.TABLE:
            return method(self, schema=schema, filter_names=filter_names, **kw)
        names = self.get_table_names(schema) if filter_names is None else list(filter_names)
        return method(self, schema=schema, filter_names=names, **kw) if names else {}

    return narrowed


def _is_mark(comment: str | None) -> bool:
    return comment is not None and comment.startswith(registry.OWNERSHIP)


class VisibleInspector(PGInspector):
    """An inspector that leaves out partitions, our own tables and cloned foreign keys.

    A partition that has a model of its own (`declared`) stays visible: it is compared like any
    table. A foreign key to a partitioned table has one clone in pg_constraint for each partition;
    SQLAlchemy reflects them all.
    """

    declared: set[tuple[str | None, str]]

    get_multi_columns = _of_visible_tables(PGInspector.get_multi_columns)
    get_multi_pk_constraint = _of_visible_tables(PGInspector.get_multi_pk_constraint)
    get_multi_indexes = _of_visible_tables(PGInspector.get_multi_indexes)
    get_multi_unique_constraints = _of_visible_tables(PGInspector.get_multi_unique_constraints)
    get_multi_check_constraints = _of_visible_tables(PGInspector.get_multi_check_constraints)
    _get_multi_table_comment = _of_visible_tables(PGInspector.get_multi_table_comment)
    _get_multi_foreign_keys = _of_visible_tables(PGInspector.get_multi_foreign_keys)

    def get_table_names(self, schema: str | None = None, **_: Any) -> list[str]:
        """Names of the visible tables of one schema, or of the search_path."""
        if schema not in self._tables:
            self._tables[schema] = self._read_table_names(schema)
        return list(self._tables[schema])

    def get_foreign_keys(self, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """Foreign keys of one table, without their clones."""
        return self.get_multi_foreign_keys(schema, [table_name], **kw)[schema, table_name]

    def get_multi_foreign_keys(
        self,
        schema: str | None = None,
        filter_names: Sequence[str] | None = None,
        kind: ObjectKind = ObjectKind.TABLE,
        scope: ObjectScope = ObjectScope.DEFAULT,
        **kw: Any,
    ) -> Any:
        """Foreign keys of the visible tables, without their clones."""
        found = self._get_multi_foreign_keys(schema, filter_names, kind=kind, scope=scope, **kw)
        clones = self._clones(schema, [name for (_, name), keys in found.items() if keys])
        return {
            table: [key for key in keys if (table[1], key["name"]) not in clones]
            for table, keys in found.items()
        }

    def _clones(self, schema: str | None, tables: list[str]) -> set[tuple[Any, ...]]:
        if not tables:
            return set()
        return set(self._rows(_CLONED_FOREIGN_KEYS, schema, tables=Literal(tables)))

    def get_table_comment(self, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """Comment of one table, unless it is our mark."""
        return self.get_multi_table_comment(schema, [table_name], **kw)[schema, table_name]

    def get_multi_table_comment(
        self,
        schema: str | None = None,
        filter_names: Sequence[str] | None = None,
        kind: ObjectKind = ObjectKind.TABLE,
        scope: ObjectScope = ObjectScope.DEFAULT,
        **kw: Any,
    ) -> Any:
        """Comments of the visible tables, without our mark on a partition that has a model."""
        found = self._get_multi_table_comment(schema, filter_names, kind=kind, scope=scope, **kw)
        return {
            table: {"text": None if _is_mark(comment["text"]) else comment["text"]}
            for table, comment in found.items()
        }

    def get_table_options(self, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """Options of one table, `PARTITION BY` among them."""
        return self.get_multi_table_options(schema, [table_name], **kw)[schema, table_name]

    def get_multi_table_options(
        self,
        schema: str | None = None,
        filter_names: Sequence[str] | None = None,
        kind: ObjectKind = ObjectKind.TABLE,
        scope: ObjectScope = ObjectScope.DEFAULT,
        **kw: Any,
    ) -> Any:
        """Options of tables, `PARTITION BY` among them, so that a dropped table can be put back.

        Nothing compares options; only tables without a model are read, as they may be dropped.
        """
        wanted = self.get_table_names(schema) if filter_names is None else filter_names
        dropped = [name for name in wanted if (schema, name) not in self.declared]
        options: dict[Any, dict[str, Any]] = {(schema, name): {} for name in wanted}
        if dropped:
            options |= self._inherited_options(schema, dropped, kind, scope, kw)
            for name, key in self._rows(_PARTITION_KEYS, schema):
                if name in dropped:
                    options[schema, name] = {"postgresql_partition_by": key}
        return options

    def _inherited_options(
        self,
        schema: str | None,
        names: list[str],
        kind: ObjectKind,
        scope: ObjectScope,
        kw: dict[str, Any],
    ) -> dict[Any, dict[str, Any]]:
        try:
            return super().get_multi_table_options(schema, names, kind, scope, **kw)
        except NotImplementedError:  # SQLAlchemy 2.0 reads none from PostgreSQL
            return {}

    @cached_property
    def _tables(self) -> dict[str | None, list[str]]:
        return {}

    def _read_table_names(self, schema: str | None) -> list[str]:
        rows = self._rows(
            _TABLES,
            schema,
            registry=Literal(registry.TABLE),
            ownership=Literal(registry.OWNERSHIP),
            declared=Literal([name for place, name in self.declared if place == schema]),
        )
        return [name for name, visible in rows if visible or (schema, name) in self.declared]

    def _rows(self, query: SQL, schema: str | None, **values: Composable) -> list[tuple[Any, ...]]:
        place: Composable = SQL("n.nspname = {}").format(Literal(schema))
        if schema is None:  # what SQLAlchemy takes for the tables of no schema
            place = SQL("pg_table_is_visible(c.oid) AND n.nspname <> 'pg_catalog'")
        return sql.rows(cast("Connection", self.bind), query.format(schema=place, **values))
