"""How the tables of a live database stand: reads the catalog, then asks the pure functions."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.status import COUNTED, Status, status


@dataclass(frozen=True)
class Selection:
    """Some tables at the moment `now` (aware)."""

    now: datetime
    statuses: tuple[Status, ...]


_NESTED = SQL("SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'p' AND relispartition")


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
    nested = {oid for (oid,) in sql.rows(connection, _NESTED)}
    tables = chosen(list(live.tables.values()), nested, names, schema)
    partitions = catalog.partitions(connection, tables, sizes=True)
    defaults = [item.name for found in partitions.values() for item in found if item.is_default]
    counted = catalog.counted(connection, defaults, COUNTED)
    return Selection(
        live.now,
        tuple(status(table, partitions[table.name], live.now, counted) for table in tables),
    )


def chosen(
    tables: list[PartitionedTable], nested: set[int], names: Collection[str], schema: str | None
) -> list[PartitionedTable]:
    """The tables with one of these names. Raises `ConfigurationError` for a name that none has.

    Without names, tables that are partitions themselves (`nested`) need a policy to be listed.
    """
    inside = [table for table in tables if schema in (None, table.name.schema)]
    known = {name for table in inside for name in table.called}
    if unknown := [name for name in names if name not in known]:
        there = ", ".join(str(table.name) for table in inside[:10]) or "none"
        raise ConfigurationError(
            f"no partitioned table is called {', '.join(unknown)}: there are {there}"
        )
    if not names:
        return [table for table in inside if table.policy or table.oid not in nested]
    return [table for table in inside if table.called & set(names)]
