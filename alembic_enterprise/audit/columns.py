"""Audit columns of the models and of the database, and what turns the latter into the former."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations.ops import (
    AddColumnOp,
    CreateForeignKeyOp,
    DropColumnOp,
    ModifyTableOps,
)
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Table

from alembic_enterprise import sql
from alembic_enterprise.audit.column_model import (
    ACTORS,
    AuditColumns,
    ColumnOptions,
    Existing,
    columns_on,
)
from alembic_enterprise.audit.operations.column_blocks import TOUCH, TOUCH_BODY
from alembic_enterprise.audit.operations.columns import AddAuditColumns, DropAuditColumns, choices
from alembic_enterprise.errors import MismatchError
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import Name

Resolve = Callable[[Name], Name]
"""Fills in the schema of a name, as `Catalog.resolve` does."""

ALL = ColumnOptions(soft_delete=True, lineage=True).columns
"""Every column that may be an audit column."""


@dataclass(frozen=True)
class Declared:
    """A table of the models: its declaration if it has one, and all its columns."""

    spec: AuditColumns | None
    columns: frozenset[str]


@dataclass(frozen=True)
class LiveColumns:
    """A table of the database.

    Attributes:
        columns: those of `ALL` that it has.
        trigger: the arguments of our trigger; None when there is none.
        works: whether that trigger is enabled, in each partition too, and its function unchanged.
        actor: the type of `created_by`, if an actor may have it.
        existing: "null" when `created_at` may be empty.
        without_default: those of the columns that have none.
    """

    columns: tuple[str, ...]
    trigger: tuple[str, ...] | None = None
    works: bool = False
    actor: str = "text"
    existing: Existing = "now"
    without_default: tuple[str, ...] = ()


def declared(tables: Iterable[Table]) -> dict[Name, Declared]:
    """The tables of the models, with and without audit columns."""
    return {
        Name(table.schema, table.name): Declared(
            columns_on(table), frozenset(column.name for column in table.columns)
        )
        for table in tables
    }


_TABLES = SQL("""
SELECT n.nspname, c.relname, coalesce(columns.names, '{{}}'), touch.arguments,
       coalesce(touch.works, false), columns.actor, coalesce(columns.optional, false),
       coalesce(columns.bare, '{{}}')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT array_agg(attname::text) AS names,
           min(format_type(atttypid, NULL)) FILTER (WHERE attname = 'created_by') AS actor,
           bool_or(NOT attnotnull) FILTER (WHERE attname = 'created_at') AS optional,
           array_agg(attname::text) FILTER (WHERE NOT atthasdef) AS bare
    FROM pg_catalog.pg_attribute
    WHERE attrelid = c.oid AND attname = ANY ({columns}::name[]) AND NOT attisdropped) AS columns
LEFT JOIN LATERAL (
    SELECT encode(t.tgargs, 'escape') AS arguments,
           t.tgenabled = 'O' AND p.prosrc = {body} AND p.proconfig = ARRAY['search_path=""']
           AND NOT EXISTS (
               WITH RECURSIVE clones AS (
                   SELECT oid, tgenabled FROM pg_catalog.pg_trigger WHERE tgparentid = t.oid
                   UNION ALL
                   SELECT x.oid, x.tgenabled FROM clones
                   JOIN pg_catalog.pg_trigger AS x ON x.tgparentid = clones.oid)
               SELECT FROM clones WHERE tgenabled <> 'O') AS works
    FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
    WHERE t.tgrelid = c.oid AND t.tgname = {touch} AND p.proname = {touch}) AS touch ON true
WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname !~ '^(pg_|information_schema$)' AND c.oid IN (
    SELECT oid FROM pg_catalog.pg_class WHERE relname = ANY ({named}::name[])
    UNION ALL
    SELECT tgrelid FROM pg_catalog.pg_trigger WHERE tgname = {touch} AND tgparentid = 0)
ORDER BY 1, 2""")


_IN_USE = SQL("SELECT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE proname = {touch})")


def read(connection: Connection, named: Collection[str] = ()) -> dict[Name, LiveColumns]:
    """The tables that matter: those with our trigger, and those of some names.

    A database may have many thousands of others, partitions above all. One whose trigger is its
    parent's is not read for that.

    Args:
        connection: only reads.
        named: names of tables, whatever their schema, such as those that models give audit columns.
    """
    if not named:  # a small query spares most databases the large one
        [(in_use,)] = sql.rows(connection, _IN_USE.format(touch=Literal(TOUCH)))
        if not in_use:
            return {}
    values = {"touch": Literal(TOUCH), "body": Literal(TOUCH_BODY), "columns": Literal([*ALL])}
    found = sql.rows(connection, _TABLES.format(**values, named=Literal([*named])))
    return {Name(schema, name): _live(*rest) for schema, name, *rest in found}


def _live(
    names: list[str],
    arguments: str | None,
    works: bool,
    actor: str | None,
    optional: bool,
    bare: list[str],
) -> LiveColumns:
    columns = tuple(name for name in ALL if name in names)
    # The server ends each argument with a zero byte, which `encode` writes as `\000`.
    trigger = None if arguments is None else tuple(arguments.split(r"\000")[:-1])
    kind = actor if actor in ACTORS else "text"
    return LiveColumns(
        columns, trigger, works, kind or "text", "null" if optional else "now", tuple(bare)
    )


_ACTORS = SQL("""
SELECT n.nspname, c.relname, format_type(a.atttypid, NULL)
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE a.attname = 'created_by' AND c.relkind IN ('r', 'p', 'f')
  AND c.relname = ANY ({named}::name[])""")


def refuse_other_actors(connection: Connection, tables: Iterable[Table], default: str) -> None:
    """Raise `MismatchError` where actors have another type: no script knows who becomes whom.

    Args:
        connection: only reads, and only if there are audit columns in the models.
        tables: those of the models that take part.
        default: the schema of those that name none.
    """
    specs = {Name(table.schema, table.name): columns_on(table) for table in tables}
    declared = {name: spec.options for name, spec in specs.items() if spec is not None}
    if not declared:
        return
    named = Literal([name.name for name in declared])
    found = sql.rows(connection, _ACTORS.format(named=named))
    live = {Name(schema, name): actor for schema, name, actor in found}
    pairs = [
        (name, options, live.get(Name(name.schema or default, name.name)))
        for name, options in declared.items()
    ]
    problems = [
        f"{name}: the model has AuditColumns with actors of type {options.actor}, the database has "
        f"{actor}: write that, or a migration by hand, as only you know who becomes whom. It does "
        f"for each of {', '.join(options.actors)}: ALTER COLUMN ... DROP DEFAULT; TYPE "
        f"{options.actor} USING ...; SET DEFAULT {options.default('created_by')} "
        "(not of deleted_by, which has none)"
        for name, options, actor in pairs
        if actor in ACTORS and actor != options.actor
    ]
    if problems:
        raise MismatchError("\n".join(problems))


def compare(
    tables: Mapping[Name, Declared], live: Mapping[Name, LiveColumns], resolve: Resolve
) -> list[Operation]:
    """Operations that make the audit columns of the database those of the models.

    Args:
        tables: the tables of the models that take part, as `declared` gives them.
        live: the tables of the database, as `read` gives them.
        resolve: fills in the schema of a name.
    """
    found: list[Operation] = []
    for name, table in tables.items():
        there = live.get(resolve(name))
        if there is not None:
            found += _superfluous(name, table, there)
        if table.spec is not None:
            found += _missing(name, table.spec, there)
    return found


def repairs(live: Mapping[Name, LiveColumns]) -> list[Operation]:
    """Operations that make triggers again which are off or changed, by what they were made for."""
    return [
        _again(name, table)
        for name, table in live.items()
        if table.trigger is not None and not table.works
    ]


def _again(name: Name, live: LiveColumns) -> AddAuditColumns:
    add = AddAuditColumns(
        name.name,
        live.actor,
        soft_delete="soft_delete" in (live.trigger or ()),
        lineage="lineage" in (live.trigger or ()),
        existing=live.existing,
        schema=name.schema,
        keep_trigger=True,
    )
    add.keep = [column for column in add.options.columns if column in live.columns]
    return add


def dropped(name: Name, live: LiveColumns) -> list[Operation]:
    """What goes before the `drop_table` of a table: the trigger, so that a downgrade makes it."""
    return [] if live.trigger is None else [_drop(name, live, live.columns)]


def _superfluous(name: Name, table: Declared, live: LiveColumns) -> list[Operation]:
    """What the trigger keeps and the model no longer has."""
    if live.trigger is None:
        return []
    kept = tuple(column for column in live.columns if column in table.columns)
    if table.spec is not None and {*choices(kept)} >= {*live.trigger}:
        return []
    return [_drop(name, live, kept, keep_trigger=table.spec is not None)]


def _drop(
    name: Name, live: LiveColumns, kept: tuple[str, ...], *, keep_trigger: bool = False
) -> DropAuditColumns:
    """The operation without `references`: Alembic drops foreign keys itself, before the columns."""
    drop = DropAuditColumns(
        name.name,
        live.actor,
        soft_delete="soft_delete" in (live.trigger or ()),
        lineage="lineage" in (live.trigger or ()),
        existing=live.existing,
        schema=name.schema,
        keep_trigger=keep_trigger,
    )
    drop.keep = [column for column in drop.options.columns if column in kept] or None
    return drop


def _missing(name: Name, spec: AuditColumns, live: LiveColumns | None) -> list[Operation]:
    """What the model has and the table, or the trigger, lacks."""
    options = spec.options
    # A table that is not there yet gets its columns, with foreign keys, when it is created.
    kept = [column for column in options.columns if live is None or column in live.columns]
    bare = [
        name for name in kept if live and name in live.without_default and options.default(name)
    ]
    complete = len(kept) == len(options.columns) and not bare
    if complete and live and live.works and {*choices(kept)} <= {*(live.trigger or ())}:
        return []
    refers = not {*options.actors} <= {*kept}
    add = AddAuditColumns(
        name.name,
        options.actor,
        references=options.references if refers else None,
        soft_delete=options.soft_delete,
        lineage=options.lineage,
        existing=spec.existing,
        schema=name.schema,
        keep=kept or None,
        keep_trigger=live is not None and live.trigger is not None,
        without_default=bare or None,
    )
    return [add]


def place(operations: list[MigrateOperation], found: Iterable[Operation], resolve: Resolve) -> None:
    """Put what `compare` found in the place of Alembic's own operations; the rest at the end.

    The columns that an operation adds or drops are taken out of Alembic's operations, in place, and
    so are foreign keys that it adds.
    """
    for operation in found:
        changes = [item for item in operations if isinstance(item, ModifyTableOps)]
        own = [item for item in changes if resolve(_table(item)) == resolve(_table(operation))]
        if not any(_take_place(change, operation) for change in own):
            operations.append(operation)


def _table(item: Any) -> Name:
    return Name(item.schema, getattr(item, "table_name", None) or item.table)


def _take_place(change: ModifyTableOps, operation: Any) -> bool:
    """Whether the operation now stands in the place of others among the changes of its table."""
    replaced = [item for item in change.ops if _is_part(item, operation)]
    if not replaced:
        return False
    first = change.ops.index(replaced[0])
    rest = [item for item in change.ops[first:] if item not in replaced]
    change.ops[first:] = [operation, *rest]
    return True


def _is_part(item: MigrateOperation, operation: AddAuditColumns | DropAuditColumns) -> bool:
    if isinstance(operation, DropAuditColumns):
        return isinstance(item, DropColumnOp) and item.column_name in operation.columns
    if isinstance(item, AddColumnOp):
        return item.column.name in operation.columns
    if not isinstance(item, CreateForeignKeyOp) or operation.references is None:
        return False
    return len(item.local_cols) == 1 and item.local_cols[0] in operation.columns
