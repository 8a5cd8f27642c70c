"""How trails stand: what is audited, since when, how much there is, and whether it is captured."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.audit import capture, catalog
from alembic_enterprise.audit.catalog import AuditedTable
from alembic_enterprise.naming import named
from alembic_enterprise.partitions import catalog as partition_catalog
from alembic_enterprise.partitions.catalog import Catalog, Partition
from alembic_enterprise.partitions.declaration import words
from alembic_enterprise.partitions.periods import Range
from alembic_enterprise.sql import Name

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""


@dataclass(frozen=True)
class Status:
    """One audited table.

    Attributes:
        since: when the oldest change that is still kept was made (aware, UTC); None when there is
            none, or it is `unreadable`.
        rows: of the history: estimate of the last ANALYZE or VACUUM, without `unknown` partitions
            that have none.
        size: bytes of the history, with indexes and TOAST.
        retain: how many whole past months the scheduled job keeps; None keeps all.
        enabled: how many of the `triggers` that the table and its partitions need are there, and
            always fire.
        unreadable: why the role cannot read the history, and what would let it; None when it can.
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
    unreadable: str | None


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
    lacking = _lacking(connection, tables)
    since = _since(connection, {name: kept[name] for name in kept if name not in lacking})
    return [
        _status(
            table,
            kept[table.history],
            since.get(table.history),
            _retained(partitioned, table.history),
            triggers[table.history],
            lacking.get(table.history),
        )
        for table in tables
    ]


def chosen(tables: Iterable[AuditedTable], names: Collection[str]) -> list[AuditedTable]:
    """The tables with one of these names, with or without their schema; none means all.

    Raises `ConfigurationError` for a name that none has.
    """
    found = sorted(tables, key=lambda table: str(table.name))
    return named(found, names, "audited table")


def _status(
    table: AuditedTable,
    kept: Sequence[Partition],
    since: datetime | None,
    retain: int | None,
    triggers: tuple[int, int],
    unreadable: str | None,
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
        unreadable=unreadable,
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


# Joined by names: a cast to regclass asks for USAGE on the schema, which the catalog does not.
_TRIGGERS = SQL("""
WITH RECURSIVE given (number, schema, relation, place, history) AS (VALUES {tables}),
tree (number, oid) AS (
    SELECT number, c.oid FROM given JOIN pg_catalog.pg_namespace AS n ON n.nspname = given.schema
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = given.relation
    UNION ALL
    SELECT number, inhrelid FROM tree JOIN pg_catalog.pg_inherits ON inhparent = tree.oid)
SELECT number::int, {needed} * count(DISTINCT c.oid)::int, count(t.oid)::int
FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid AND c.relkind IN ('r', 'p')
JOIN given USING (number) LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = given.place
LEFT JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid AND p.proname = given.history
     AND p.pronargs = 0
LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND NOT t.tgisinternal
     AND t.tgfoid = p.oid AND t.tgenabled = 'A'
GROUP BY number""")


def _triggers(
    connection: Connection, tables: Sequence[AuditedTable]
) -> Mapping[Name, tuple[int, int]]:
    """How many triggers each trail needs, and how many of them are there and always fire."""
    if not tables:
        return {}
    rows = [
        tuple(map(Literal, (number, *_pair(table.name), *_pair(table.history))))
        for number, table in enumerate(tables)
    ]
    query = _TRIGGERS.format(tables=_listed(rows), needed=Literal(len(capture.TRIGGERS)))
    found = sql.rows(connection, query)
    histories = [table.history for table in tables]
    return {histories[number]: (needed, enabled) for number, needed, enabled in found}


# Rows of a history are neither updated nor deleted: the first in a partition is the oldest. It is
# asked for through the history, since who may read that needs no right on its partitions. The rows
# of a default partition count when no other has any.
_FIRST = SQL("""
SELECT {history}, {place}, (SELECT audit_at FROM {table}
                            WHERE audit_at >= {lower} AND audit_at < {upper} LIMIT 1) AS since""")
_SINCE = SQL("""
SELECT DISTINCT ON (history) history, since FROM ({firsts}) AS firsts (history, place, since)
WHERE since IS NOT NULL ORDER BY history, place""")
_LACKING = SQL("""
SELECT number, current_user, CASE
    WHEN has_schema_privilege(n.oid, 'USAGE') THEN format('SELECT on %s.%s', n.nspname, c.relname)
    ELSE format('USAGE on schema %s', n.nspname) END
FROM (VALUES {histories}) AS given (number, schema, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = given.schema
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = given.name
WHERE NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))""")


def _lacking(connection: Connection, tables: Sequence[AuditedTable]) -> dict[Name, str]:
    """Why the role cannot read some histories, and what would let it."""
    if not tables:
        return {}
    rows = [map(Literal, (number, *_pair(table.history))) for number, table in enumerate(tables)]
    found = sql.rows(connection, _LACKING.format(histories=_listed(rows)))
    numbered = dict(enumerate(tables))
    return {numbered[row[0]].history: _unread(numbered[row[0]], *row[1:]) for row in found}


def _unread(table: AuditedTable, role: str, right: str) -> str:
    readers = words(sorted({*table.trail.readers, role}))
    return (
        f"{role} has no {right}: declare AuditTrail(readers=[{readers}]), or GRANT "
        f"pg_read_all_data TO {Name(None, role).text}"
    )


def _since(connection: Connection, kept: Mapping[Name, list[Partition]]) -> dict[Name, datetime]:
    """When the oldest change of each history was made."""
    every = [(history, item.range) for history, items in kept.items() for item in items]
    firsts = [_first(place, history, held) for place, (history, held) in enumerate(every)]
    if not firsts:
        return {}
    found = dict(sql.rows(connection, _SINCE.format(firsts=SQL(" UNION ALL ").join(firsts))))
    histories = {history.text: history for history, _ in every}
    return {histories[text]: moment.astimezone(UTC) for text, moment in found.items()}


def _first(place: int, history: Name, held: Range | None) -> Composable:
    """The query of when the first change was made in a range of a history, or in all of it."""
    lower, upper = (None, None) if held is None else (held.lower, held.upper)
    return _FIRST.format(
        history=history.regclass,
        place=Literal(place),
        table=history.sql,
        lower=Literal(lower or "-infinity"),
        upper=Literal(upper or "infinity"),
    )


def _listed(rows: Iterable[Iterable[Composable]]) -> Composable:
    """The rows of VALUES."""
    return SQL(", ").join(SQL("({})").format(SQL(", ").join(row)) for row in rows)


def _pair(name: Name) -> tuple[str | None, str]:
    return name.schema, name.name


def document(statuses: Sequence[Status]) -> dict[str, Any]:
    """What `audit status --format json` prints; see schemas/audit-status.schema.json."""
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
        "unreadable": known.unreadable,
    }


def _name(name: Name) -> dict[str, str | None]:
    return {"schema": name.schema, "name": name.name}
