"""What the history of an audited table holds, as SQLAlchemy selectables.

    connection.execute(history(Order, 42))                    # what happened to one row
    connection.execute(as_of(Order, moment))                  # the rows as they were then
    connection.execute(diff(Order, monday, tuesday))          # each change of a field in between

They are plain `Select` objects, for `Connection`, `Session` and their asynchronous kin, with any
driver. More conditions go onto the columns of `history_table(Order)`, or of `.subquery()`.

A moment is that of the statement, not of its commit: a transaction that was still open then has
its changes in `as_of`. The history knows nothing from before it began, nor of what `retain` made it
forget: `as_of` is refused where that may leave rows out, and a change without an earlier row
says so in `diff`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    and_,
    case,
    column,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    table,
)
from sqlalchemy import cast as converted
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.roles import SQLRole
from sqlalchemy.sql.selectable import NamedFromClause

from alembic_enterprise.audit.history_table import Audited, history_table, source_of, spec_of
from alembic_enterprise.audit.model import FIRST_OTHER_TYPE, RESERVED
from alembic_enterprise.errors import OperationError
from alembic_enterprise.partitions.declaration import declarations_on, quoted
from alembic_enterprise.wording import counted

GONE = ("delete", "rekey")
"""Actions after which a row with this key is no more."""

PARTS = ("truncate", "detach", "attach", "drop")
"""Actions on a table or one of its partitions: rows of the history with no key."""

_FIRST_OTHER_TYPE: ColumnElement[int] = literal_column(str(FIRST_OTHER_TYPE), BigInteger)

Moment = datetime | ColumnElement[datetime]


def history(model: Audited, key: Any) -> Select[Any]:
    """What happened to one row, first to last: rows of `history_table(model)`.

    Among them are the truncates, detaches, attaches and drops of the partition that its key falls
    into, or of the whole table.

    Args:
        model: a mapped class or table with `AuditTrail`.
        key: its primary key: a value; for several columns a tuple, a list, or a dict by column.

    Raises:
        DeclarationError: the table has no `AuditTrail`.
        OperationError: the key does not fit the primary key.
    """
    source, found = source_of(model), history_table(model)
    names, values = _key(source), _values(source, key)
    same = [found.c[name] == values[name] for name in names]
    row = {name: literal(values[name], found.c[name].type) for name in names}
    covering = and_(found.c[names[0]].is_(None), _covers(source, found, row))
    return select(found).where(or_(and_(*same), covering)).order_by(found.c.audit_id)


def as_of(model: Audited, moment: Moment, *, incomplete: bool = False) -> Select[Any]:
    """The rows of a table as they were at a moment.

    The columns are those that the history keeps, masked and hashed ones as it keeps them. Rows are
    left out that went with a truncate, detach or drop until then; those of a table that was
    detached, and then attached with rows, are as they were when it was detached. A truncate of a
    partition whose bounds the history cannot tell (by list, default) leaves its rows in; so does
    one of a shard once the table is gone, whose hash tells which rows were in it. What a table is
    partitioned by is known from its declaration, or from a plain `postgresql_partition_by`.

    Args:
        model: a mapped class or table with `AuditTrail`.
        moment: an aware datetime, or an expression.
        incomplete: give the rows that the history has where `retain` may have made it forget
            others: those that had not changed for longer than it keeps.

    Raises:
        DeclarationError: the table has no `AuditTrail`.
        OperationError: the moment has no time zone; or `retain` is set, without `incomplete`.
    """
    source, found = source_of(model), history_table(model)
    if not incomplete:
        _require_all_kept(source)
    latest = _latest(source, found, _aware(moment)).subquery("latest")
    columns = [item for item in latest.c if not str(item.name).startswith(RESERVED)]
    present = latest.c.audit_action.not_in(GONE)
    return select(*columns).where(present, ~_removed(source, found, latest, moment))


def _require_all_kept(source: Table) -> None:
    retain = spec_of(source).trail.retain
    if retain is not None:
        raise OperationError(
            f"{source.fullname}: its history keeps {counted(retain, 'month')}, and a row that has "
            "not changed for longer is not in it: write as_of(..., incomplete=True) for those that "
            "are, or declare AuditTrail() without retain="
        )


def _latest(source: Table, found: Table, moment: Moment) -> Select[Any]:
    """The last row of the history of each key until a moment, deleted ones too."""
    key = [found.c[name] for name in _key(source)]
    own = (found.c.audit_id, found.c.audit_action)
    kept = [item for item in found.c if not item.name.startswith(RESERVED)]
    # The order of the index (key..., audit_id), read backwards.
    order = [item.desc() for item in (*key, found.c.audit_id)]
    until = (found.c.audit_at <= moment, key[0].is_not(None))
    return _first_of_each(select(*own, *kept).where(*until).order_by(*order), key)


def _first_of_each(query: Select[Any], key: Sequence[ColumnElement[Any]]) -> Select[Any]:
    if hasattr(postgresql, "distinct_on"):  # since SQLAlchemy 2.1, which warns of the other way
        return query.ext(postgresql.distinct_on(*key))
    return query.distinct(*key)


def _removed(source: Table, found: Table, row: FromClause, moment: Moment) -> ColumnElement[bool]:
    """Whether the row went with the table or partition it was in, until a moment."""
    event, again = found.alias("event"), found.alias("again")
    first = _key(source)[0]
    then = (
        select(again.c.audit_action)
        .where(again.c[first].is_(None), again.c.audit_at <= moment)
        .where(again.c.audit_id > event.c.audit_id)
        .where(_detail(again, "relation") == _detail(event, "relation"))
        .order_by(again.c.audit_id)
        .limit(1)
        .scalar_subquery()
    )
    action = event.c.audit_action
    attached = and_(action == "detach", then.is_not_distinct_from("attach"))
    counts = and_(action.in_(("truncate", "drop", "detach")), ~attached)
    return (
        select(event.c.audit_id)
        .where(event.c[first].is_(None), event.c.audit_at <= moment)
        .where(event.c.audit_id > row.c.audit_id, counts, _covers(source, event, row.c))
        .exists()
    )


def _covers(source: Table, event: FromClause, row: Any) -> ColumnElement[bool]:
    """Whether the bounds of an event on a table or partition hold a row.

    An event without bounds is one of the whole table.
    """
    levels = _levels(source)
    lower, upper, modulus = (_detail(event, name) for name in ("from", "to", "modulus"))
    conditions = [
        event.c.audit_action.in_(PARTS),
        func.coalesce(_detail(event, "exact"), "true") == "true",
    ]
    if "RANGE" in levels:
        [item] = levels["RANGE"]
        conditions += [
            or_(lower.is_(None), row[item.key] >= converted(lower, item.type)),
            or_(upper.is_(None), row[item.key] < converted(upper, item.type)),
        ]
    else:
        conditions += [lower.is_(None), upper.is_(None)]
    if "HASH" in levels:
        remainder = converted(_detail(event, "remainder"), Integer)
        key = [row[item.key] for item in levels["HASH"]]
        held = func.pg_catalog.satisfies_hash_partition(
            _hashed(source), converted(modulus, Integer), remainder, *key
        )
        conditions.append(or_(modulus.is_(None), held))
    else:
        conditions.append(modulus.is_(None))
    return and_(*conditions)


def _levels(source: Table) -> dict[str, list[Column[Any]]]:
    """What a table is partitioned by: the key by strategy, declared or written by hand."""
    declared = {level.strategy: level.key_columns(source) for level in declarations_on(source)}
    written = source.dialect_options["postgresql"]["partition_by"]
    if declared or written is None:
        return declared
    from alembic_enterprise.partitions.catalog import parse_key  # noqa: PLC0415  # loads a driver

    key = parse_key(str(written))
    columns = [item for name in key.columns for item in source.primary_key if item.name == name]
    is_one = key.strategy == "HASH" or len(key.columns) == 1
    return {key.strategy: columns} if is_one and len(columns) == len(key.columns) else {}


def _hashed(source: Table) -> ColumnElement[Any]:
    """The oid of a table by hash: the table itself, or one of its partitions, which hash alike."""
    schema = "" if source.schema is None else quoted(source.schema) + "."
    root = func.to_regclass(schema + quoted(source.name))
    parted = table(
        "pg_partitioned_table", column("partrelid"), column("partstrat"), schema="pg_catalog"
    )
    inherits = table("pg_inherits", column("inhrelid"), column("inhparent"), schema="pg_catalog")
    children = select(inherits.c.inhrelid).where(inherits.c.inhparent == root)
    mine = or_(parted.c.partrelid == root, parted.c.partrelid.in_(children))
    return (
        select(parted.c.partrelid)
        .where(converted(parted.c.partstrat, Text) == "h", mine)
        .limit(1)
        .scalar_subquery()
    )


def _detail(event: FromClause, name: str) -> ColumnElement[Any]:
    """What the row of a truncate, detach, attach or drop says of its relation, as text."""
    return event.c.audit_context.op("->>", return_type=Text())(name)


def diff(model: Audited, start: Moment, stop: Moment) -> Select[Any]:
    """Each change of a field from `start` until before `stop`, in no order.

    The rows are: `key` (the primary key as a JSON object), `field`, `old_value` and `new_value` (as
    text, in the form of JSON), `changed_at`, `changed_by`, `context`. An insert has no old values,
    a delete no new ones; another key is a delete, and an update of a key that was not there. Where
    the history has no row of that key before an update, as then, or where `retain` made it forget
    that, or a trail began without `baseline`, each field that is not NULL is there without its old
    value, and the context has `"old_values": "no earlier row"`. A truncate, detach, attach or drop
    is one row without key and field, whose context has `action` and `relation`. Rows that were
    there when the history began are no change. A value of a type that is not PostgreSQL's own is
    its text, not what a cast to JSON would make of it; a history that has such a type tells here
    of the columns of the model alone.

    Args:
        model: a mapped class or table with `AuditTrail`.
        start: an aware datetime, or an expression.
        stop: the same.

    Raises:
        DeclarationError: the table has no `AuditTrail`.
        OperationError: a moment has no time zone, or `stop` is before `start`.
    """
    _check_order(_aware(start), _aware(stop))
    names, found = _key(source_of(model)), history_table(model)
    changed = found.alias("changed")
    before = _before(found, changed, names, stop)
    image = _image(found, changed)
    each = func.jsonb_each_text(image).table_valued("key", "value", name="each").lateral()
    old, new = _values_of(changed, before, each)
    on_row = and_(changed.c.audit_action.not_in(PARTS), ~func.starts_with(each.c.key, RESERVED))
    joined = changed.outerjoin(before, before.c.audit_action.not_in(GONE)).outerjoin(each, on_row)
    columns: list[ColumnElement[Any]] = [
        _key_object(changed, names).label("key"),
        each.c.key.label("field"),
        old.label("old_value"),
        new.label("new_value"),
        changed.c.audit_at.label("changed_at"),
        changed.c.audit_actor.label("changed_by"),
        _context(changed, before).label("context"),
    ]
    return (
        select(*columns)
        .select_from(joined)
        .where(changed.c.audit_at >= start, changed.c.audit_at < stop)
        .where(changed.c.audit_action != "baseline")
        .where(or_(each.c.key.is_(None), old.is_distinct_from(new)))
    )


def _before(
    found: Table, changed: NamedFromClause, names: Sequence[str], stop: Moment
) -> FromClause:
    """The row of the history before an update, by the index (key..., audit_id)."""
    earlier = found.alias("earlier")
    return (
        select(_image(found, earlier).label("image"), earlier.c.audit_action)
        .where(changed.c.audit_action == "update")
        .where(*(earlier.c[name] == changed.c[name] for name in names))
        .where(earlier.c.audit_id < changed.c.audit_id)
        # The planner leaves out the partitions that come after `stop`, and those after the change.
        .where(earlier.c.audit_at <= changed.c.audit_at, earlier.c.audit_at < stop)
        .order_by(earlier.c.audit_id.desc())
        .limit(1)
        .lateral("before")
    )


def _image(found: Table, row: NamedFromClause) -> ColumnElement[Any]:
    """A row of the history as JSON, without a call of what others have given their types."""
    kept = [item for item in found.c if not item.name.startswith(RESERVED)]
    shown = [_shown(row.c[str(item.key)]).label(item.name) for item in kept]
    named = select(*shown).correlate(row).subquery("named")
    by_name = select(_to_jsonb(named.table_valued())).scalar_subquery()
    return case((_has_other_types(found), by_name), else_=_to_jsonb(row.table_valued()))


def _shown(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """A value as JSON: of other types than PostgreSQL's own the text, by the output function."""
    own = converted(func.pg_catalog.pg_typeof(value), BigInteger) < _FIRST_OTHER_TYPE
    written = _to_jsonb(func.pg_catalog.concat(value))
    return case((own, _to_jsonb(value)), (value.is_distinct_from(null()), written))


# With its schema, as is whatever takes any type: one of exactly the type would come before it.
def _to_jsonb(value: Any) -> ColumnElement[Any]:
    return func.pg_catalog.to_jsonb(value, type_=JSONB)


def _object(*pairs: Any) -> ColumnElement[Any]:
    return func.pg_catalog.jsonb_build_object(*pairs, type_=JSONB)


def _has_other_types(found: Table) -> ColumnElement[bool]:
    """Whether the history has a column of a type that is not PostgreSQL's own."""
    columns = table(
        "pg_attribute",
        *map(column, ("attrelid", "atttypid", "attnum", "attisdropped")),
        schema="pg_catalog",
    )
    kept = func.to_regclass(f"{quoted(str(found.schema))}.{quoted(found.name)}")
    return (
        select(columns.c.attnum)
        .where(columns.c.attrelid == kept, columns.c.attnum > 0, ~columns.c.attisdropped)
        .where(converted(columns.c.atttypid, BigInteger) >= _FIRST_OTHER_TYPE)
        .exists()
    )


def _values_of(
    changed: FromClause, before: FromClause, each: FromClause
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """The old and the new value of a field."""
    gone = changed.c.audit_action.in_(GONE)
    earlier = before.c.image.op("->>", return_type=Text())(each.c.key)
    return case((gone, each.c.value), else_=earlier), case((gone, null()), else_=each.c.value)


def _key_object(row: FromClause, names: Sequence[str]) -> ColumnElement[Any]:
    pairs = [
        item for name in names for item in (literal(row.c[name].name, Text), _shown(row.c[name]))
    ]
    return case((row.c[names[0]].is_not(None), _object(*pairs)))


def _context(row: FromClause, before: FromClause) -> ColumnElement[Any]:
    def noted(name: str, value: ColumnElement[Any]) -> ColumnElement[Any]:
        given = func.coalesce(row.c.audit_context, _object(), type_=JSONB)
        return given.op("||", return_type=JSONB())(_object(literal(name, Text), value))

    not_kept = and_(row.c.audit_action == "update", before.c.image.is_(None))
    return case(
        (row.c.audit_action.in_(PARTS), noted("action", row.c.audit_action)),
        (not_kept, noted("old_values", literal("no earlier row", Text))),
        else_=row.c.audit_context,
    )


def _key(source: Table) -> list[str]:
    """The primary key, by the keys of its columns."""
    return [str(item.key) for item in source.primary_key]


def _values(source: Table, key: Any) -> dict[str, Any]:
    names, columns = _key(source), {item.name: str(item.key) for item in source.primary_key}
    values: dict[str, Any] = {}
    if isinstance(key, Mapping):
        given = cast("Mapping[str, Any]", key)
        values = {columns.get(name, name): value for name, value in given.items()}
    else:
        several = isinstance(key, tuple) or (isinstance(key, list) and len(names) > 1)
        parts = cast("Sequence[Any]", key if several else (key,))
        values = dict(zip(names, parts, strict=True)) if len(parts) == len(names) else {}
    if values.keys() != {*names} or None in values.values():
        wanted = ", ".join(f'"{name}": ...' for name in names)
        raise OperationError(f"{source.fullname}: {key!r} is not a primary key: write {{{wanted}}}")
    return values


def _check_order(start: Moment, stop: Moment) -> None:
    if isinstance(start, datetime) and isinstance(stop, datetime) and stop < start:
        raise OperationError(f"{stop} is before {start}: give the earlier moment first")


def _aware(moment: Moment) -> Moment:
    aware = isinstance(moment, datetime) and moment.utcoffset() is not None
    if not aware and not isinstance(moment, SQLRole):
        raise OperationError(f"{moment} has no time zone: write datetime(..., tzinfo=UTC)")
    return moment
