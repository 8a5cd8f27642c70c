"""All that Alembic learns about us, as one readable list; imported by name in env.py.

    import alembic_enterprise.plugin  # noqa: F401
    context.configure(..., autogenerate_plugins=["alembic.autogenerate.*", "alembic_enterprise.*"])

It is no entry point: before Alembic 1.20.1 a plugin's entry point made `import alembic` raise
(alembic ticket 1873).
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import DropTableOp, UpgradeOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Table

from alembic_enterprise import neighbours, reflection
from alembic_enterprise.errors import MismatchError
from alembic_enterprise.operation import Operation, execute, refuse_translation, render, reported
from alembic_enterprise.partitions import catalog, compare
from alembic_enterprise.partitions import operations as partition_operations
from alembic_enterprise.partitions.catalog import Catalog
from alembic_enterprise.shards import catalog as shard_catalog
from alembic_enterprise.shards import compare as shard_compare
from alembic_enterprise.shards import operations as shard_operations
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.sql import Name

log = logging.getLogger("alembic.autogenerate.partitions")
"""Below Alembic's own logger, which alembic.ini shows on the terminal."""

OPERATIONS = [*partition_operations.OPERATIONS, *shard_operations.OPERATIONS]

NAME = "alembic_enterprise.partitions"
"""What `autogenerate_plugins=["alembic_enterprise.*"]` matches."""


def setup(plugin: Plugin) -> None:
    """Add our comparators to Alembic's: hide before anything is reflected, compare at the end.

    Each has a `compare_element` of its own, so that no result of another plugin can silence it.
    """
    plugin.add_autogenerate_comparator(
        _hide,
        "schema",
        "alembic_enterprise.hide",
        qualifier="postgresql",
        priority=DispatchPriority.FIRST,
    )
    plugin.add_autogenerate_comparator(
        _compare_partitions,
        "schema",
        "alembic_enterprise.partitions",
        qualifier="postgresql",
        priority=DispatchPriority.LAST,
    )


def register() -> None:
    """Tell Alembic our operations, their rendering and our comparators; once per process."""
    if hasattr(Operations, OPERATIONS[0].operation_name):
        return
    for operation in OPERATIONS:
        name = operation.operation_name
        Operations.register_operation(name)(operation)
        setattr(Operations, name, reported()(getattr(Operations, name)))  # also of its arguments
    Operations.implementation_for(Operation)(execute)
    renderers.dispatch_for(Operation)(render)
    Plugin.setup_plugin_from_module(sys.modules[__name__], NAME)


def _hide(
    context: AutogenContext, _upgrade: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    reflection.hide_partitions(context)
    return PriorityDispatchResult.CONTINUE


def _compare_partitions(
    context: AutogenContext, upgrade: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    connection = context.connection
    if connection is None:
        return PriorityDispatchResult.CONTINUE
    with reported():
        refuse_translation(connection)
        live, shards = catalog.read(connection), shard_catalog.read(connection)
        found = _found(context, live, shards)
    _guard_drops(upgrade, live, shards)
    neighbours.spare_inherited(connection, context.dialect.default_schema_name, upgrade.ops)
    neighbours.spare_partitions(connection, upgrade.ops)
    for item in found:
        log.info("Detected %s", item)
    for remark in shard_compare.locking(found):
        log.warning(remark)
    upgrade.ops.extend(found)
    return PriorityDispatchResult.CONTINUE


def _found(
    context: AutogenContext, live: Catalog, shards: Mapping[Name, ShardedTable]
) -> list[Operation]:
    """What makes the live partitions and shards those that the models declare."""
    tables = [table for table in context.sorted_tables if _takes_part(context, table)]
    existing = _existing(context, tables, live)
    sharded = shard_catalog.declared(tables)
    for remark in shard_compare.unfinished(sharded, shards, live.resolve):
        log.info(remark)
    incomplete = shard_compare.incomplete(sharded, shards, live.resolve)
    inside = shard_catalog.declared_inside(tables)
    for remark in shard_compare.inside(inside, shards, live.resolve):
        log.warning(remark)
    return _together(
        lambda: shard_compare.compare(sharded, shards, live.resolve),  # which ranges go into
        lambda: compare.compare(catalog.declared(tables), live, existing, incomplete),
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


def _takes_part(context: AutogenContext, table: Table) -> bool:
    """What the environment's include_name and include_object say of a table."""
    schema = None if table.schema == context.dialect.default_schema_name else table.schema
    named = context.run_name_filters(table.name, "table", {"schema_name": schema})
    return named and context.run_object_filters(
        table, table.name, "table", False, None
    )  # as Alembic calls it


def _existing(context: AutogenContext, tables: Sequence[Table], live: Catalog) -> set[Name]:
    default = context.dialect.default_schema_name
    schemas = {None if table.schema == default else table.schema for table in tables}
    return {
        live.resolve(Name(schema, name))
        for schema in schemas
        for name in context.inspector.get_table_names(schema=schema)
    }


def _guard_drops(upgrade: UpgradeOps, live: Catalog, shards: Mapping[Name, ShardedTable]) -> None:
    """Before a partitioned table is dropped, look for rows in its partitions."""
    guarded: list[MigrateOperation] = []
    for operation in upgrade.ops:
        if isinstance(operation, DropTableOp):
            name = Name(operation.schema, operation.table_name)
            if table := live.tables.get(live.resolve(name)):
                guarded += compare.dropped(name, table, live)
            if sharded := shards.get(live.resolve(name)):
                guarded += shard_compare.dropped(name, sharded)
        guarded.append(operation)
    upgrade.ops[:] = guarded


register()
