"""What autogenerate finds: reads the models and the database, compares, and completes the script.

Functions for `plugin` to register. `prepare` runs before anything is reflected, `compare_all` when
Alembic has found what it finds by itself, and `spare_types` after other people's plugins.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation
from alembic.operations.ops import DropTableOp, ModifyTableOps, UpgradeOps
from alembic.util import PriorityDispatchResult
from sqlalchemy import Connection, Table

from alembic_enterprise import neighbours, reflection, registry
from alembic_enterprise.audit import catalog as audit_catalog
from alembic_enterprise.audit import columns as audit_columns
from alembic_enterprise.audit import compare as audit_compare
from alembic_enterprise.audit.catalog import Trails
from alembic_enterprise.audit.column_model import columns_on
from alembic_enterprise.errors import MismatchError
from alembic_enterprise.indexes import compare as index_compare
from alembic_enterprise.indexes import recommend, sizes
from alembic_enterprise.operation import Operation, refuse_translation, reported
from alembic_enterprise.partitions import catalog as partition_catalog
from alembic_enterprise.partitions import compare as partition_compare
from alembic_enterprise.partitions.catalog import Catalog
from alembic_enterprise.partitions.detached import Detached, detached_from
from alembic_enterprise.shards import catalog as shard_catalog
from alembic_enterprise.shards import compare as shard_compare
from alembic_enterprise.shards import inspection as shard_inspection
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.sql import Name

log = logging.getLogger("alembic.autogenerate.partitions")
"""Below Alembic's own logger, which alembic.ini shows on the terminal."""


@dataclass(frozen=True)
class Live:
    """What the database has, each kind by the full names of the tables."""

    partitioned: Catalog
    shards: Mapping[Name, ShardedTable]
    columns: Mapping[Name, audit_columns.LiveColumns]
    trails: Trails
    detached: Mapping[Name, Sequence[Detached]] = field(
        default_factory=dict[Name, Sequence[Detached]]
    )

    def resolve(self, name: Name) -> Name:
        """The name with its schema filled in."""
        return self.partitioned.resolve(name)


def prepare(
    context: AutogenContext, _upgrade: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    """Let Alembic see no partitions and none of our own tables, and the recommended indexes.

    Refuse what its own comparison would fail for.
    """
    connection, default = context.connection, context.dialect.default_schema_name
    with reported():
        for metadata in dict.fromkeys(table.metadata for table in context.sorted_tables):
            recommend.add(metadata)
        if connection is not None:
            tables = [table for table in context.sorted_tables if _takes_part(context, table)]
            audit_columns.refuse_other_actors(connection, tables, default or "public")
    reflection.hide_partitions(context)
    return PriorityDispatchResult.CONTINUE


def compare_all(
    context: AutogenContext, upgrade: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    """Complete what Alembic found, and guard what it drops."""
    connection = context.connection
    if connection is None:
        return PriorityDispatchResult.CONTINUE
    with reported():
        refuse_translation(connection)
        live = _read(connection, context.sorted_tables)
        tables = [table for table in context.sorted_tables if _takes_part(context, table)]
        live = _with_detached(connection, tables, live)
        columns = _place_columns(upgrade, tables, live)
        partition_compare.check_references(tables)
        _remark_on_shards(tables, live)
        _refuse_closed(connection, upgrade, tables, live)
        found = _found(context, connection, upgrade, tables, live)
        partition_compare.check_key_types(upgrade.ops, live.partitioned)
    _guard_drops(upgrade, live)
    neighbours.spare_inherited(connection, context.dialect.default_schema_name, upgrade.ops)
    neighbours.spare_ours(connection, upgrade.ops)
    with reported():
        _build_online(context, connection, upgrade)
    for item in [*columns, *found]:
        log.info("Detected %s", item)
    for remark in audit_compare.reasons(found, live.trails, live.resolve):
        log.info(remark)
    held = audit_catalog.held(connection, audit_compare.growing(found))
    for remark in audit_compare.stale(found, held):
        log.warning(remark)
    declared = partition_catalog.declared(tables).values()
    for remark in partition_compare.left_out(declared, live.partitioned, live.detached):
        log.warning(remark)
    for remark in shard_compare.locking(found):
        log.warning(remark)
    placed = audit_compare.placed(upgrade.ops, found, live.resolve)
    upgrade.ops[:] = [part for item in placed for part in _apart(item)]
    for remark in index_compare.committing(upgrade):
        log.warning(remark)
    return PriorityDispatchResult.CONTINUE


def spare_types(
    context: AutogenContext, upgrade: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    """Let changes of types reach the tables that no model has."""
    if context.connection is not None and context.dialect.name == "postgresql":
        neighbours.spare_types(context.connection, upgrade.ops)
    return PriorityDispatchResult.CONTINUE


def _read(connection: Connection, tables: Iterable[Table]) -> Live:
    partitioned = partition_catalog.read(connection)
    trails = audit_catalog.read(connection, partitioned)
    keys = [table.key for table in partitioned.tables.values()]
    hashed = any(key.strategy == "HASH" for key in keys if key)
    with_columns = [table.name for table in tables if columns_on(table)]
    return Live(
        trails.seen_with(partitioned),
        shard_catalog.read(connection) if hashed else {},
        audit_columns.read(connection, with_columns),
        trails,
    )


def _with_detached(connection: Connection, tables: Sequence[Table], live: Live) -> Live:
    """The same with what was detached; its query reads the comments of all partitions."""
    declared = partition_catalog.declared(tables).values()
    gaps = partition_compare.with_gaps(declared, live.partitioned)
    return replace(live, detached=detached_from(connection, gaps)) if gaps else live


def _place_columns(upgrade: UpgradeOps, tables: Sequence[Table], live: Live) -> list[Operation]:
    """Put audit columns in the place of what Alembic found of them."""
    declared = audit_columns.declared(tables)
    found = audit_columns.compare(declared, live.columns, live.resolve)
    audit_columns.place(upgrade.ops, found, live.resolve)
    return found


def _remark_on_shards(tables: Sequence[Table], live: Live) -> None:
    """Warn of what is wrong with shards and asks for no operation."""
    declared, inside = shard_catalog.declared(tables), shard_catalog.declared_inside(tables)
    for remark in shard_compare.unfinished(declared, live.shards, live.resolve):
        log.info(remark)
    for remark in shard_compare.inside(inside, live.shards, live.resolve):
        log.warning(remark)


def _refuse_closed(
    connection: Connection, upgrade: UpgradeOps, tables: Sequence[Table], live: Live
) -> None:
    """Refuse to compare or drop a table whose policy this role may not read."""
    dropped = [
        Name(item.schema, item.table_name) for item in upgrade.ops if isinstance(item, DropTableOp)
    ]
    declared = partition_catalog.declared(tables).values()
    unknown = partition_compare.without_policy(declared, dropped, live.partitioned)
    closed = registry.closed(connection) if unknown else {}
    problems = [
        f"{name}: its policy is not known, as this role may not read {closed[name.schema]}: "
        f"{registry.OPEN_IT.format('the table')}"
        for name in unknown
        if name.schema in closed
    ]
    if problems:
        raise MismatchError("\n".join(problems))


def _found(
    context: AutogenContext,
    connection: Connection,
    upgrade: UpgradeOps,
    tables: Sequence[Table],
    live: Live,
) -> list[Operation]:
    """What makes the live partitions, shards and trails those that the models declare."""
    existing = _existing(context, tables, live)
    shards, resolve = live.shards, live.resolve
    sharded, audited = shard_catalog.declared(tables), audit_catalog.declared(tables)
    incomplete = shard_compare.incomplete(sharded, shards, resolve)
    orphans = shard_inspection.orphans(connection, [shards[resolve(name)] for name in incomplete])
    partitioned = partition_catalog.declared(tables)
    names = [Name(item.schema, item.name) for item in tables]
    return _together(
        lambda: shard_compare.compare(sharded, shards, resolve, orphans),  # which ranges go into
        lambda: partition_compare.compare(
            partitioned, live.partitioned, existing, incomplete, live.detached
        ),
        lambda: audit_compare.compare(audited, live.trails, upgrade.ops, names, resolve),
    )


def _together(*comparisons: Callable[[], list[Operation]]) -> list[Operation]:
    """What all comparisons find; or, in one `MismatchError`, what no migration can mend."""
    found: list[Operation] = []
    problems: list[str] = []
    for comparison in comparisons:
        try:
            found += comparison()
        except MismatchError as error:
            problems.append(str(error))
    if problems:
        raise MismatchError("\n".join(problems))
    return found


def _build_online(context: AutogenContext, connection: Connection, upgrade: UpgradeOps) -> None:
    """Let indexes of large tables be built online, where env.py asks for it."""
    size = index_compare.threshold(context.opts.get("online_indexes"))
    if size is not None:
        large = sizes.larger(connection, index_compare.tables(upgrade), size)
        index_compare.rewrite(upgrade, large)


def _takes_part(context: AutogenContext, table: Table) -> bool:
    """What the environment's include_name and include_object say of a table."""
    schema = None if table.schema == context.dialect.default_schema_name else table.schema
    named = context.run_name_filters(table.name, "table", {"schema_name": schema})
    return named and context.run_object_filters(
        table, table.name, "table", False, None
    )  # as Alembic calls it


def _existing(context: AutogenContext, tables: Sequence[Table], live: Live) -> set[Name]:
    default = context.dialect.default_schema_name
    schemas = {None if table.schema == default else table.schema for table in tables}
    return {
        live.resolve(Name(schema, name))
        for schema in schemas
        for name in context.inspector.get_table_names(schema=schema)
    }


def _guard_drops(upgrade: UpgradeOps, live: Live) -> None:
    """Before a table is dropped, drop what is ours of it; look for rows in its partitions."""
    guarded: list[MigrateOperation] = []
    for operation in upgrade.ops:
        if isinstance(operation, DropTableOp):
            name = Name(operation.schema, operation.table_name)
            guarded += _guards(name, live.resolve(name), live)
        guarded.append(operation)
    upgrade.ops[:] = guarded


def _guards(name: Name, full: Name, live: Live) -> list[Operation]:
    found: list[Operation] = []
    if columns := live.columns.get(full):
        found += audit_columns.dropped(name, columns)
    if table := live.partitioned.tables.get(full):
        found += partition_compare.dropped(name, table, live.partitioned)
    if sharded := live.shards.get(full):
        found += shard_compare.dropped(name, sharded)
    return found


def _apart(item: MigrateOperation) -> Iterator[MigrateOperation]:
    """The changes of a table with ours out of them, in their order.

    With `render_as_batch` what is left is collected until the end of a block, and ours is not.
    """
    if not isinstance(item, ModifyTableOps):
        yield item
        return
    for ours, steps in groupby(item.ops, lambda step: isinstance(step, Operation)):
        if ours:
            yield from steps
        else:
            yield ModifyTableOps(item.table_name, [*steps], schema=item.schema)
