"""All that Alembic learns about us, as one readable list; imported by name in env.py.

    import alembic_enterprise.plugin  # noqa: F401
    context.configure(..., autogenerate_plugins=["alembic.autogenerate.*", "alembic_enterprise.*"])

It is no entry point: before Alembic 1.20.1 a plugin's entry point made `import alembic` raise
(alembic ticket 1873).
"""

import sys

from alembic.autogenerate import renderers
from alembic.operations import Operations
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority

from alembic_enterprise import comparison, revision
from alembic_enterprise.audit import operations as audit_operations
from alembic_enterprise.indexes import operations as index_operations
from alembic_enterprise.operation import (
    InOrder,
    Operation,
    execute,
    render,
    render_in_order,
    reported,
)
from alembic_enterprise.partitions import operations as partition_operations
from alembic_enterprise.shards import operations as shard_operations

OPERATIONS = [
    *partition_operations.OPERATIONS,
    *shard_operations.OPERATIONS,
    *audit_operations.OPERATIONS,
    *index_operations.OPERATIONS,
]

NAME = "alembic_enterprise.partitions"
"""What `autogenerate_plugins=["alembic_enterprise.*"]` matches.

It covers all capabilities, and keeps the name of the first, which an env.py may list in full.
"""


def setup(plugin: Plugin) -> None:
    """Add our comparators to Alembic's: before anything is reflected, at the end, and after others.

    Each has a `compare_element` of its own, so that no result of another plugin can silence it.
    """
    plugin.add_autogenerate_comparator(
        comparison.prepare,
        "schema",
        "alembic_enterprise.hide",
        qualifier="postgresql",
        priority=DispatchPriority.FIRST,
    )
    plugin.add_autogenerate_comparator(
        comparison.compare_all,
        "schema",
        "alembic_enterprise.partitions",
        qualifier="postgresql",
        priority=DispatchPriority.LAST,
    )
    plugin.add_autogenerate_comparator(
        comparison.spare_types,
        "schema",
        "alembic_enterprise.types",
        priority=DispatchPriority.LAST,  # those with a qualifier come before those without
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
    renderers.dispatch_for(InOrder)(render_in_order)
    renderers.dispatch_for(revision.Kept)(revision.render_kept)
    Plugin.setup_plugin_from_module(sys.modules[__name__], NAME)


register()
