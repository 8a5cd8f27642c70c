"""How trails stand: what is audited, since when, how much there is, and whether it is captured."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.audit import catalog
from alembic_enterprise.audit.catalog import AuditedTable
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import catalog as partition_catalog
from alembic_enterprise.partitions.catalog import Catalog, Partition
from alembic_enterprise.sql import Name

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""


@dataclass(frozen=True)
class Status:
    """One audited table.

    Attributes:
        since: when the oldest change that is still kept was made (aware, UTC); None when there is
            none, or the role may not read the history.
        rows: of the history: estimate of the last ANALYZE or VACUUM, without `unknown` partitions
            that have none.
        size: bytes of the history, with indexes and TOAST.
        retain: how many whole past months the scheduled job keeps; None keeps all.
        enabled: how many of the `triggers` that the table and its partitions need are there, and
            always fire.
    """

    table: AuditedTable
    since: datetime | None
    partitions: int
    rows: int
    unknown: int
    size: int
    retain: int | None
    triggers: int
    enabled: int


def look(connection: Connection, names: Collection[str] = ()) -> list[Status]:
    """How all trails stand, or those of the tables named.

    The connection's transaction becomes read-only and waits 5 seconds for a lock at most.

    Raises `ConfigurationError` for a name that no audited table has.
    """
    sql.read_only(connection)
    partitioned = partition_catalog.read(connection)
    trails = catalog.read(connection, partitioned)
    tables = chosen(trails.tables.values(), names)
    kept = _partitions(connection, partitioned, tables)
    triggers = _triggers(connection, tables)
    since = _since(connection, tables, kept)
    return [
        _status(
            table,
            kept[table.history],
            since.get(table.history),
            _retained(partitioned, table.history),
            triggers[table.history],
        )
        for table in tables
    ]


def chosen(tables: Iterable[AuditedTable], names: Collection[str]) -> list[AuditedTable]:
    """The tables with one of these names, with or without their schema; none means all.

    Raises `ConfigurationError` for a name that none has.
    """
    found = sorted(tables, key=lambda table: str(table.name))
    known = {name for table in found for name in (table.name.name, str(table.name))}
    if unknown := [name for name in names if name not in known]:
        there = ", ".join([str(table.name) for table in found][:10]) or "none"
        raise ConfigurationError(
            f"no audited table is called {', '.join(unknown)}: there are {there}"
        )
    return [
        table for table in found if not names or {table.name.name, str(table.name)} & set(names)
    ]


def _status(
    table: AuditedTable,
    kept: Sequence[Partition],
    since: datetime | None,
    retain: int | None,
    triggers: tuple[int, int],
) -> Status:
    return Status(
        table,
        since,
        partitions=len(kept),
        rows=sum(item.rows or 0 for item in kept),
        unknown=sum(item.rows is None for item in kept),
        size=sum(item.size or 0 for item in kept),
        retain=retain,
        triggers=triggers[0],
        enabled=triggers[1],
    )


def _partitions(
    connection: Connection, partitioned: Catalog, tables: Sequence[AuditedTable]
) -> Mapping[Name, list[Partition]]:
    """The partitions of the histories, in order; none of one that is gone."""
    histories = [
        partitioned.tables[table.history] for table in tables if table.history in partitioned.tables
    ]
    found = partition_catalog.partitions(connection, histories, sizes=True)
    return {table.history: found.get(table.history, []) for table in tables}


def _retained(partitioned: Catalog, history: Name) -> int | None:
    policy = partitioned.tables[history].policy if history in partitioned.tables else None
    return None if policy is None else policy.retain


_TRIGGERS = SQL("""
WITH RECURSIVE tree (number, oid) AS (
    SELECT number, relation::regclass::oid FROM (VALUES {tables}) AS given (number, relation, _)
    UNION ALL
    SELECT number, inhrelid FROM tree JOIN pg_catalog.pg_inherits ON inhparent = tree.oid)
SELECT number::int, 4 * count(DISTINCT c.oid)::int, count(t.oid)::int
FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid AND c.relkind IN ('r', 'p')
JOIN (VALUES {tables}) AS given (number, _, function) USING (number)
LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND NOT t.tgisinternal
     AND t.tgfoid = to_regprocedure(given.function) AND t.tgenabled = 'A'
GROUP BY number""")


def _triggers(
    connection: Connection, tables: Sequence[AuditedTable]
) -> Mapping[Name, tuple[int, int]]:
    """How many triggers each trail needs, and how many of them are there and always fire."""
    if not tables:
        return {}
    rows = [
        SQL("({}, {}, {})").format(
            Literal(number), Literal(table.name.text), Literal(f"{table.history.text}()")
        )
        for number, table in enumerate(tables)
    ]
    found = sql.rows(connection, _TRIGGERS.format(tables=SQL(", ").join(rows)))
    histories = [table.history for table in tables]
    return {histories[number]: (needed, enabled) for number, needed, enabled in found}


# Rows of a history are neither updated nor deleted: the first in a partition is the oldest.
_FIRST = SQL("SELECT {history}, {place}, (SELECT audit_at FROM {partition} LIMIT 1) AS since")
_SINCE = SQL("""
SELECT DISTINCT ON (history) history, since FROM ({firsts}) AS firsts (history, place, since)
WHERE since IS NOT NULL ORDER BY history, place""")
_READABLE = SQL(
    "SELECT number FROM (VALUES {partitions}) AS given (number, name)"
    " WHERE has_table_privilege(name::regclass, 'SELECT')"
)


def _since(
    connection: Connection, tables: Sequence[AuditedTable], kept: Mapping[Name, list[Partition]]
) -> dict[Name, datetime]:
    """When the oldest change of each history was made, of those that may be read."""
    every = [(table.history, item.name) for table in tables for item in kept[table.history]]
    if not every:
        return {}
    given = _listed((Literal(place), name.regclass) for place, (_, name) in enumerate(every))
    readable = {number for (number,) in sql.rows(connection, _READABLE.format(partitions=given))}
    firsts = [
        _FIRST.format(history=history.regclass, place=Literal(place), partition=name.sql)
        for place, (history, name) in enumerate(every)
        if place in readable
    ]
    if not firsts:
        return {}
    found = dict(sql.rows(connection, _SINCE.format(firsts=SQL(" UNION ALL ").join(firsts))))
    histories = {history.text: history for history, _ in every}
    return {histories[text]: moment.astimezone(UTC) for text, moment in found.items()}


def _listed(rows: Iterable[tuple[Composable, Composable]]) -> Composable:
    return SQL(", ").join(SQL("({}, {})").format(*row) for row in rows)


def document(statuses: Sequence[Status]) -> dict[str, Any]:
    """What `audit status --format json` prints; schemas/audit-status.schema.json tells it."""
    return {"format_version": FORMAT_VERSION, "tables": [_table(known) for known in statuses]}


def _table(known: Status) -> dict[str, Any]:
    trail = known.table.trail
    return {
        **_name(known.table.name),
        "history": _name(known.table.history),
        "since": None if known.since is None else known.since.isoformat(),
        "partitions": known.partitions,
        "rows": known.rows,
        "partitions_without_estimate": known.unknown,
        "bytes": known.size,
        "retain": known.retain,
        "triggers": known.triggers,
        "triggers_enabled": known.enabled,
        "exclude": list(trail.exclude),
        "mask": list(trail.mask),
        "hash": list(trail.hash),
        "require_actor": trail.require_actor,
        "readers": list(trail.readers),
        "drift": list(known.table.drift),
    }


def _name(name: Name) -> dict[str, str | None]:
    return {"schema": name.schema, "name": name.name}
