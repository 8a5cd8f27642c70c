"""What people ask of trails: all changes of a time, and what happened to one row."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.audit import capture, catalog, view
from alembic_enterprise.audit.catalog import AuditedTable
from alembic_enterprise.audit.history import PARTS
from alembic_enterprise.audit.model import FIRST_OTHER_TYPE, RESERVED
from alembic_enterprise.audit.status import chosen
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import catalog as partition_catalog
from alembic_enterprise.partitions.catalog import Catalog
from alembic_enterprise.sql import Name, message, sqlstate

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""

FIELDS = ("table", "key", "field", "old_value", "new_value", "changed_at", "changed_by", "context")
"""What a `Change` consists of: the columns of the view."""


@dataclass(frozen=True)
class Asked:
    """Which changes a report is about.

    Attributes:
        start: the first moment (aware).
        stop: the first moment after it (aware).
        actor: who made them; None for all.
        tables: names of tables, with or without their schema; none for all.
    """

    start: datetime
    stop: datetime
    actor: str | None = None
    tables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` for a time that ends before it begins."""
        if self.stop < self.start:
            raise ConfigurationError(
                f"the report would end at {self.stop.isoformat()}, and begin after that, at "
                f"{self.start.isoformat()}: give an earlier --from, or a later --to"
            )


@dataclass(frozen=True)
class Change:
    """One field of one row that changed; or a truncate, detach, attach or drop, without a field.

    Attributes:
        table: schema and name, as a person reads them.
        key: the primary key by column.
        changed_at: aware, UTC.
    """

    table: str
    key: Mapping[str, Any] | None
    field: str | None
    old_value: str | None
    new_value: str | None
    changed_at: datetime
    changed_by: str | None
    context: Mapping[str, Any] | None

    def plain(self) -> dict[str, Any]:
        """The change as JSON values."""
        return {**vars(self), "changed_at": self.changed_at.isoformat()}

    def cells(self) -> list[str | None]:
        """The change as a line of CSV: JSON for what is an object."""
        return [_cell(value) for value in self.plain().values()]


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


_CHANGES = SQL("""
SELECT "table", key::text, field, old_value, new_value, changed_at, changed_by, context::text
FROM ({views}) AS changes ORDER BY changed_at, "table", key, field""")
_VIEW = SQL("SELECT * FROM {view} WHERE changed_at >= {start} AND changed_at < {stop}{more}")


def changes(connection: Connection, asked: Asked) -> Iterator[Change]:
    """The changes in the order of time, read as they are asked for, however many there are.

    The connection's transaction becomes read-only and waits 5 seconds for a lock at most.

    Raises `ConfigurationError` for a name that no audited table has, and where a view is missing.
    """
    sql.read_only(connection)
    partitioned = partition_catalog.read(connection)
    tables = chosen(catalog.read(connection, partitioned).tables.values(), asked.tables)
    names = sorted({Name(table.history.schema, view.NAME) for table in tables})
    if not names:
        return
    _check_views(connection, names)
    views = [_changes_in(name, tables, asked) for name in names]
    query = _CHANGES.format(views=SQL(" UNION ALL ").join(views))
    with sql.canonical_output(connection):
        for table, key, field, old, new, moment, actor, context in sql.stream(connection, query):
            at = moment.astimezone(UTC)
            yield Change(table, _loaded(key), field, old, new, at, actor, _loaded(context))


_MISSING = SQL("SELECT name FROM unnest({names}::text[]) AS name WHERE to_regclass(name) IS NULL")


def _check_views(connection: Connection, names: Sequence[Name]) -> None:
    """Raise `ConfigurationError` unless all of these views are there."""
    given = Literal([name.text for name in names])
    if missing := sql.rows(connection, _MISSING.format(names=given)):
        raise ConfigurationError(
            f"the view {missing[0][0]} is missing: `alembic-enterprise audit check` says what "
            "makes it again"
        )


def _changes_in(name: Name, tables: Sequence[AuditedTable], asked: Asked) -> Composable:
    more: Composable = SQL("")
    if asked.tables:
        names = [str(table.name) for table in tables]
        more += SQL(' AND "table" = ANY ({})').format(Literal(names))
    if asked.actor is not None:
        more += SQL(" AND changed_by = {}").format(Literal(asked.actor))
    return _VIEW.format(
        view=name.sql, start=Literal(asked.start), stop=Literal(asked.stop), more=more
    )


_DECODER = json.JSONDecoder(parse_float=str)
"""Leaves a number with a fraction what it is, as text."""


def _loaded(text: str | None) -> Any:
    return None if text is None else _DECODER.decode(text)


@dataclass(frozen=True)
class Event:
    """One step in the history of a row.

    Attributes:
        at: aware, UTC.
        action: what `audit_action` says.
        changes: the fields that it changed, by name: what they were and became.
        context: who asked for it; of a truncate, detach, attach or drop what it was of.
    """

    at: datetime
    action: str
    actor: str | None
    context: Mapping[str, Any] | None
    changes: Mapping[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class RowHistory:
    """What happened to one row of a table, first to last."""

    table: Name
    key: Mapping[str, str | None]
    events: tuple[Event, ...]


_ROW = SQL("""
SELECT audit_at, audit_action, audit_actor, audit_context::text, (
    SELECT json_object_agg(key, value ORDER BY attnum)::text
    FROM (SELECT {values}) AS image, jsonb_each_text(pg_catalog.to_jsonb(image))
    JOIN pg_catalog.pg_attribute ON attrelid = {relation}::regclass AND attname = key)
FROM {history} AS h WHERE {same} OR {covering} ORDER BY audit_id""")


def row_history(connection: Connection, name: str, key: Mapping[str, str | None]) -> RowHistory:
    """What happened to one row; and to the table, or the partition that its key may be in.

    Args:
        connection: its transaction becomes read-only and waits 5 seconds for a lock at most.
        name: the audited table, with or without its schema.
        key: text for each column of the primary key, as PostgreSQL reads it, times in UTC.

    Raises:
        ConfigurationError: no audited table is called so, or more than one; columns that are
            missing or not of its primary key; a value that its column does not take.
    """
    sql.read_only(connection)
    partitioned = partition_catalog.read(connection)
    table = _only(chosen(catalog.read(connection, partitioned).tables.values(), [name]), name)
    equals = dict(sql.rows(connection, _KEY.format(key=capture.key(_oid(table.name)))))
    _check_columns(table, equals, key)
    values = {column: key[column] for column in equals}
    same = (
        SQL("h.{} {} {}").format(Identifier(name), SQL(equals[name]), Literal(values[name]))
        for name in values
    )
    query = _ROW.format(
        values=SQL(", ").join(_values(connection, table.history)),
        history=table.history.sql,
        relation=table.history.regclass,
        same=SQL(" AND ").join(same),
        covering=_covering(partitioned, table, values),
    )
    return RowHistory(table.name, values, tuple(events(_rows(connection, table, query))))


def _rows(connection: Connection, table: AuditedTable, query: Composable) -> list[tuple[Any, ...]]:
    try:
        with sql.canonical_output(connection):
            return sql.rows(connection, query)
    except DBAPIError as error:
        if not (sqlstate(error) or "").startswith("22"):  # data exceptions
            raise
        raise ConfigurationError(
            f"{table.name}: {message(error)}: write the values as an INSERT would"
        ) from error


def _only(tables: Sequence[AuditedTable], name: str) -> AuditedTable:
    if len(tables) > 1:
        there = ", ".join(str(table.name) for table in tables)
        raise ConfigurationError(f"several audited tables are called {name}: write one of {there}")
    return tables[0]


# The operators as the server writes them: another `=` may come first along the search_path.
_KEY = SQL("SELECT name, equals FROM ({key}) AS key ORDER BY position")


def _oid(name: Name) -> Composable:
    return SQL("{}::regclass").format(name.regclass)


_VALUES = SQL("""
SELECT attname, atttypid < {first_other_type} FROM pg_catalog.pg_attribute
WHERE attrelid = {history} AND attnum > 0 AND NOT attisdropped
  AND NOT starts_with(attname, {reserved}) ORDER BY attnum""")
_OTHER = SQL("CASE WHEN h.{0} IS DISTINCT FROM NULL THEN pg_catalog.concat(h.{0}) END AS {0}")


def _values(connection: Connection, history: Name) -> Iterator[Composable]:
    """The columns of a history; those of other types than PostgreSQL's own as their text.

    JSON of such a value would be what a cast of the owner of the type makes of it.
    """
    first = Literal(FIRST_OTHER_TYPE)
    query = _VALUES.format(
        history=_oid(history), first_other_type=first, reserved=Literal(RESERVED)
    )
    for name, own in sql.rows(connection, query):
        yield (SQL("h.{}") if own else _OTHER).format(Identifier(name))


def _check_columns(
    table: AuditedTable, columns: Collection[str], key: Mapping[str, str | None]
) -> None:
    if {*key} != {*columns}:
        wanted = " ".join(f"{column}=VALUE" for column in columns)
        raise ConfigurationError(
            f"{', '.join(key) or 'nothing'} is not the primary key of {table.name}: write {wanted}"
        )


_OF_TABLE = SQL("h.{first} IS NULL")
_IN_RANGE = SQL("""
 AND coalesce({moment}::timestamptz >= (h.audit_context ->> 'from')::timestamptz, true)
 AND coalesce({moment}::timestamptz < (h.audit_context ->> 'to')::timestamptz, true)""")


def _covering(
    partitioned: Catalog, table: AuditedTable, key: Mapping[str, str | None]
) -> Composable:
    """Whether a row of the history is about the table, or a partition that may hold the key."""
    of_table: Composable = _OF_TABLE.format(first=Identifier(next(iter(key))))
    found = partitioned.tables.get(table.name)
    if found is None or found.key is None or not found.timed:
        return of_table
    return of_table + _IN_RANGE.format(moment=Literal(key.get(str(found.key.columns[0]))))


def events(rows: Iterable[tuple[Any, ...]]) -> Iterator[Event]:
    """The steps in the history of a row, from its images: its fields in order, as JSON."""
    before: dict[str, str | None] = {}
    for moment, action, actor, context, text in rows:
        # What happened to a table or partition has none, but for columns that were added later.
        image: dict[str, str | None] = {} if action in PARTS else _loaded(text) or {}
        after = {} if action in ("delete", "rekey") else image
        changed = {
            name: (before.get(name), after.get(name))
            for name in image
            if before.get(name) != after.get(name)
        }
        yield Event(moment.astimezone(UTC), action, actor, _loaded(context), changed)
        before = after


def document(found: RowHistory) -> dict[str, Any]:
    """What `audit history --format json` prints; see schemas/audit-history.schema.json."""
    return {
        "format_version": FORMAT_VERSION,
        "schema": found.table.schema,
        "name": found.table.name,
        "key": dict(found.key),
        "events": [_event(item) for item in found.events],
    }


def _event(item: Event) -> dict[str, Any]:
    return {
        "at": item.at.isoformat(),
        "action": item.action,
        "actor": item.actor,
        "context": item.context,
        "changes": [
            {"field": field, "old_value": old, "new_value": new}
            for field, (old, new) in item.changes.items()
        ],
    }
