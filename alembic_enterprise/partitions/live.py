"""How the tables of a live database stand: reads the catalog, then asks the pure functions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import registry, sql
from alembic_enterprise.naming import named
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import Catalog, PartitionedTable
from alembic_enterprise.partitions.counts import count_rows
from alembic_enterprise.partitions.detached import retired_from
from alembic_enterprise.partitions.status import COUNTED, Status, status


@dataclass(frozen=True)
class Selection:
    """Some tables at the moment `now` (aware), which may be pretended."""

    now: datetime
    statuses: tuple[Status, ...]
    is_pretended: bool = False


def select(
    connection: Connection, names: Collection[str] = (), schema: str | None = None
) -> Selection:
    """How partitioned tables stand, in a constant number of round trips.

    Args:
        connection: its transaction becomes read-only and waits 5 seconds for a lock at most.
        names: tables, with or without their schema; none means all.
        schema: only tables of this schema.

    Raises:
        ConfigurationError: no partitioned table has such a name.
    """
    sql.read_only(connection)
    live = catalog.read(connection, strict=False)
    nested = catalog.nested_oids(connection)
    closed = registry.closed(connection)
    tables = [_with_unknown_policy(table, live, closed) for table in live.tables.values()]
    tables = chosen(tables, nested, names, schema)
    partitions = catalog.partitions(connection, tables, sizes=True)
    defaults = [item.name for found in partitions.values() for item in found if item.is_default]
    counts = count_rows(connection, defaults, COUNTED)
    retired = retired_from(connection, tables)
    [(pretended,)] = sql.rows(connection, SQL("SELECT {}").format(sql.PRETENDED))
    return Selection(
        live.now,
        tuple(
            replace(
                status(table, partitions[table.name], live.now, counts),
                retired=tuple(retired[table.name]),
            )
            for table in tables
        ),
        is_pretended=bool(pretended),
    )


def _with_unknown_policy(
    table: PartitionedTable, live: Catalog, closed: Mapping[str, str]
) -> PartitionedTable:
    """The table; where its policy may stand in a registry that is closed to this role, with that.

    `closed` is as `registry.closed` gives it.
    """
    name = closed.get((table.root or table).name.schema or "")
    timed = any(item.timed for item in live.timed(table))
    if name is None or not timed or table.policy or table.unusable:
        return table
    return replace(table, unusable=UNKNOWN.format(name))


UNKNOWN = "unknown: no right to read {}: " + registry.OPEN_IT.format("the tables")
"""Why a policy in a registry that is closed is not read, and the next step."""


def chosen(
    tables: list[PartitionedTable], nested: set[int], names: Collection[str], schema: str | None
) -> list[PartitionedTable]:
    """The tables with one of these names. Raises `ConfigurationError` for a name that none has.

    Without names, tables that are partitions themselves (`nested`) need a policy to be listed, or
    to be shards whose policy is not known.
    """
    inside = [table for table in tables if schema in (None, table.name.schema)]
    if names:
        return named(inside, names, "partitioned table", lambda table: table.called)
    return [
        table
        for table in inside
        if table.policy or table.oid not in nested or (table.root and table.unusable)
    ]
