"""What is not as it should be: by the models, or by what trails and columns were made with."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Connection, Table

from alembic_enterprise import registry, sql
from alembic_enterprise.audit import catalog, columns
from alembic_enterprise.audit.catalog import AuditedTable, Trails
from alembic_enterprise.audit.compare import compare
from alembic_enterprise.audit.model import Trail
from alembic_enterprise.audit.operations import (
    AddAuditColumns,
    AlterAuditTrail,
    CreateAuditTrail,
    DropAuditColumns,
    DropAuditTrail,
)
from alembic_enterprise.finding import Finding
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions import catalog as partition_catalog
from alembic_enterprise.sql import Name

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""


_AUTOGENERATE = "write a revision with `alembic revision --autogenerate`"
_MAINTAIN = "run `alembic-enterprise partitions maintain`"


def inspect(connection: Connection, tables: Sequence[Table] | None = None) -> list[Finding]:
    """Look at every trail, and at the trigger of audit columns.

    Args:
        connection: its transaction becomes read-only and waits 5 seconds for a lock at most.
        tables: those of the models; None to go by what the trails were made with.

    Raises:
        MismatchError: a history cannot be the one that is declared.
    """
    sql.read_only(connection)
    partitioned = partition_catalog.read(connection)
    live = catalog.read(connection, partitioned)
    stamped = columns.read(connection, [table.name for table in tables or ()])
    past = [
        _subscribed(name, subscription)
        for name, subscription in catalog.subscribed(connection).items()
        if name in live.tables
    ]
    if tables is None:
        return [*by_options(live), *past, *map(_unstamped, columns.repairs(stamped))]
    resolve = replace(partitioned, visible={**live.visible, **partitioned.visible}).resolve
    unlike = columns.compare(columns.declared(tables), stamped, resolve)
    return [*by_models(tables, live, resolve), *past, *map(_unstamped, unlike)]


def count(connection: Connection) -> int:
    """How many tables have a trail."""
    return len(catalog.read(connection, partition_catalog.read(connection)).tables)


def by_options(live: Trails) -> list[Finding]:
    """The findings on trails that are not what their own options ask for."""
    drifted = [_drifted(table) for table in live.tables.values() if table.drift]
    return [*drifted, *(_torn(name) for name in sorted(live.torn))]


def by_models(
    tables: Sequence[Table], live: Trails, resolve: Callable[[Name], Name]
) -> list[Finding]:
    """The findings on trails that are not what the models declare; others are left alone."""
    names = [Name(table.schema, table.name) for table in tables]
    operations = compare(catalog.declared(tables), live, [], names, resolve)
    return [_needed(item, live, resolve) for item in operations]


def policies_closed(connection: Connection) -> list[Finding]:
    """The notes on policies of histories that this role may not read, and that are not compared."""
    live = catalog.read(connection, partition_catalog.read(connection))
    schemas = {table.history.schema for table in live.tables.values()}
    closed = registry.closed(connection).items() if schemas else ()
    names = [name for schema, name in closed if schema in schemas]
    return [Finding("registry-closed", "note", name, _CLOSED) for name in names]


_CLOSED = (
    "this role may not read the policies of histories, so they are not compared: connect as the "
    "owner of the histories, or GRANT USAGE on its schema and SELECT on it"
)


def _drifted(table: AuditedTable) -> Finding:
    about = (table.name, table.history, table.trail)
    repair = AlterAuditTrail.of(*about, concurrently=table.gap)
    return Finding(
        "trail-drifted",
        "error",
        str(table.name),
        f"{table.trouble}: {_MAINTAIN if table.lapsed else f'write a revision with op.{repair}'}",
        {"drift": list(table.drift)},
        (repair,),
    )


def _torn(history: Name) -> Finding:
    return Finding(
        "trail-torn",
        "error",
        str(history),
        "only a part of the trail that wrote this history is left: nothing is captured. Write "
        "a revision with `alembic revision --autogenerate`, where the model has AuditTrail()",
    )


def _subscribed(name: Name, subscription: str) -> Finding:
    return Finding(
        "trail-subscribed",
        "error",
        str(name),
        f"what subscription {subscription} applies to it is not kept, as it fires row triggers "
        "only: audit the table where it comes from. Or end the subscription, and then write a "
        "revision with op.drop_audit_trail and op.create_audit_trail, which goes on with the "
        "rows that are there",
        {"subscription": subscription},
    )


def _needed(item: Operation, live: Trails, resolve: Callable[[Name], Name]) -> Finding:
    about = cast("CreateAuditTrail | AlterAuditTrail | DropAuditTrail", item)
    name = resolve(about.name)
    table = live.tables.get(name)
    drift = () if table is None else table.drift
    step = f"{_AUTOGENERATE}, or by hand with op.{item}"
    if isinstance(item, CreateAuditTrail):
        rule, told = "trail-missing", "the model declares AuditTrail(), and nothing is captured"
    elif isinstance(item, AlterAuditTrail):
        rule, told = "trail-drifted", _altered(item.trail, table)
        if table is not None and table.lapsed and table.trail == item.trail:
            step = _MAINTAIN
    else:
        rule, told = "trail-undeclared", "changes are captured, and the model has no AuditTrail()"
    return Finding(
        rule,
        "warning" if rule == "trail-undeclared" else "error",
        str(name),
        f"{told}: {step}",
        {"drift": list(drift)},
        (item,),
    )


def _unstamped(item: Operation) -> Finding:
    about = cast("AddAuditColumns | DropAuditColumns", item)
    told = "the trigger that fills its audit columns is missing, off or another one"
    if isinstance(item, DropAuditColumns):
        told = "a trigger fills audit columns that the model has not"
    elif about.columns:
        told = f"it has no {', '.join(about.columns)}"
    return Finding(
        "audit-columns-drifted",
        "error",
        str(about.name),
        f"{told}: {_AUTOGENERATE}, or by hand with op.{item}",
        {"missing": about.columns if isinstance(item, AddAuditColumns) else []},
        (item,),
    )


def _altered(declared: Trail, table: AuditedTable | None) -> str:
    """Why a trail is altered: what drifted, and the arguments that differ."""
    if table is None:
        return "only a part of its trail is left, and nothing is captured"
    live = vars(table.trail)
    differing = [
        f"the model declares {name}={_written(value)}, and the trail has {_written(live[name])}"
        for name, value in vars(declared).items()
        if value != live[name]
    ]
    return "; ".join([*differing, *([table.trouble] if table.drift else [])])


def _written(value: Any) -> str:
    return repr([*cast("tuple[str, ...]", value)] if isinstance(value, tuple) else value)


def exit_code(findings: Sequence[Finding]) -> int:
    """What `audit check` ends with; notes do not count."""
    return 2 if any(found.severity != "note" for found in findings) else 0


def document(tables: int, findings: Sequence[Finding]) -> dict[str, Any]:
    """What `audit check --format json` prints, as schemas/audit-check.schema.json says.

    `tables` is how many have a trail.
    """
    return {
        "format_version": FORMAT_VERSION,
        "exit_code": exit_code(findings),
        "tables": tables,
        "findings": [found.plain() for found in findings],
    }
