"""What is not as it should be: by the models, or by what trails and columns were made with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from alembic_enterprise.finding import AUTOGENERATE, Finding
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions import catalog as partition_catalog
from alembic_enterprise.partitions.catalog import Catalog
from alembic_enterprise.partitions.status import MAINTAIN
from alembic_enterprise.sql import Name

EXPLANATIONS: Mapping[str, str] = {
    "trail-missing": "A model declares AuditTrail(), and changes of its table are not captured.",
    "trail-drifted": """An audit trail is not what its model, or its own options, ask for.

Compares triggers, functions and their settings, owners, rights, columns, the
partitions and the policy of the history, and the view of all trails. One that
is disabled or changed lets changes go by unrecorded, or lets somebody read or
change what is kept.

Asks for a revision by `alembic revision --autogenerate`, which puts all of it
right with one op.alter_audit_trail; and where partitions of the history ran
out and nothing else is wrong, for `partitions maintain`.

Costs a lock on the table that stops its writers for a moment. Where changes
may have gone by, the rows that are there are copied into the history.

Leave it while somebody has switched a trigger off on purpose, such as for a
restore.""",
    "trail-torn": "Only a part of the trail that wrote a history is left: nothing is captured.",
    "trail-subscribed": """A subscription applies changes to an audited table that are not kept.

Logical replication applies rows and no statements, so it fires triggers of rows
only. An audit trail has triggers of statements.""",
    "trail-obstructed": """Somebody has put something on a history that can keep changes out of it.

A trigger, a rule, a constraint, a unique index or forced row security runs for
each change: it can swallow what is kept, alter it, or refuse it and so fail the
writers of the table. It is not ours, and no operation touches it.""",
    "trail-undeclared": "The changes of a table are captured, and its model has no AuditTrail().",
    "audit-columns-drifted": "The audit columns of a table, or their trigger, are not as declared.",
}
"""What `explain` prints of the findings, by their ids."""


@dataclass(frozen=True)
class Live:
    """What is read of a database before anything is looked for."""

    partitioned: Catalog
    trails: Trails


def read(connection: Connection) -> Live:
    """All trails, and the tables that are partitioned, the histories among them.

    The transaction becomes read-only and waits 5 seconds for a lock at most.
    """
    sql.read_only(connection)
    partitioned = partition_catalog.read(connection)
    return Live(partitioned, catalog.read(connection, partitioned))


def findings(
    connection: Connection, live: Live, tables: Sequence[Table] | None = None
) -> list[Finding]:
    """Look at every trail, and at the trigger of audit columns.

    Args:
        connection: where `live` was read.
        live: what is there.
        tables: those of the models; None to go by what the trails were made with.

    Raises:
        MismatchError: a history cannot be the one that is declared.
    """
    trails = live.trails
    with_columns = columns.read(connection, [table.name for table in tables or ()])
    past = [
        _subscribed(name, subscription)
        for name, subscription in catalog.subscribed(connection).items()
        if name in trails.tables
    ]
    past += _obstructed(connection, trails)
    if tables is None:
        return [*by_options(trails), *past, *map(_unlike, columns.repairs(with_columns))]
    resolve = trails.seen_with(live.partitioned).resolve
    unlike = columns.compare(columns.declared(tables), with_columns, resolve)
    return [*by_models(tables, trails, resolve), *past, *map(_unlike, unlike)]


def by_options(trails: Trails) -> list[Finding]:
    """The findings on trails that are not what their own options ask for."""
    drifted = [_drifted(table) for table in trails.tables.values() if table.drift]
    return [*drifted, *(_torn(name) for name in sorted(trails.torn))]


def by_models(
    tables: Sequence[Table], trails: Trails, resolve: Callable[[Name], Name]
) -> list[Finding]:
    """The findings on trails that are not what the models declare; others are left alone."""
    names = [Name(table.schema, table.name) for table in tables]
    operations = compare(catalog.declared(tables), trails, [], names, resolve)
    return [_needed(item, trails, resolve) for item in operations]


def policies_closed(connection: Connection, live: Live) -> list[Finding]:
    """The notes on policies of histories that this role may not read, and that are not compared."""
    schemas = {table.history.schema for table in live.trails.tables.values()}
    closed = registry.closed(connection).items() if schemas else ()
    names = [name for schema, name in closed if schema in schemas]
    return [Finding("registry-closed", "note", name, _CLOSED) for name in names]


_CLOSED = (
    "this role may not read the policies of histories, so they are not compared: "
    f"{registry.OPEN_IT.format('the histories')}"
)


_RUN = f"run {MAINTAIN}"


def _drifted(table: AuditedTable) -> Finding:
    about = (table.name, table.history, table.trail)
    repair = AlterAuditTrail.of(*about, concurrently=table.gap)
    return Finding(
        "trail-drifted",
        "error",
        str(table.name),
        f"{table.trouble}: {_RUN if table.lapsed else f'write a revision with op.{repair}'}",
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


def _obstructed(connection: Connection, trails: Trails) -> Iterator[Finding]:
    audited = {table.history: table.name for table in trails.tables.values()}
    for history, found in catalog.obstacles(connection, audited).items():
        yield Finding(
            "trail-obstructed",
            "warning",
            str(audited[history]),
            f"somebody has put on {history} what can swallow its changes, alter or refuse them: "
            f"{'; '.join(found)}. It is left alone: look what it is for, and drop it by hand "
            "unless it does no harm",
            {"obstacles": found},
        )


def _needed(item: Operation, trails: Trails, resolve: Callable[[Name], Name]) -> Finding:
    about = cast("CreateAuditTrail | AlterAuditTrail | DropAuditTrail", item)
    name = resolve(about.name)
    table = trails.tables.get(name)
    drift = () if table is None else table.drift
    step = f"{AUTOGENERATE}, or by hand with op.{item}"
    if isinstance(item, CreateAuditTrail):
        rule, told = "trail-missing", "the model declares AuditTrail(), and nothing is captured"
    elif isinstance(item, AlterAuditTrail):
        rule, told = "trail-drifted", _altered(item.trail, table)
        if table is not None and table.lapsed and table.trail == item.trail:
            step = _RUN
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


def _unlike(item: Operation) -> Finding:
    about = cast("AddAuditColumns | DropAuditColumns", item)
    told = "the trigger that fills its audit columns is missing, disabled or changed"
    if isinstance(item, DropAuditColumns):
        told = "a trigger fills audit columns that the model has not"
    elif about.columns:
        told = f"it has no {', '.join(about.columns)}"
    elif about.without_default:
        names = ", ".join(about.without_default)
        told = f"{names} has no default, so new rows have no value for it"
    return Finding(
        "audit-columns-drifted",
        "error",
        str(about.name),
        f"{told}: {AUTOGENERATE}, or by hand with op.{item}",
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
