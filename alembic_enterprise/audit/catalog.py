"""Audited tables, declared in the models or read from the database: the same noun.

A live trail is known by the comment on its trigger function, which holds its options; its history
is the table of the same name, and its table the one whose triggers call the function.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Table

from alembic_enterprise import sql
from alembic_enterprise.audit import capture, drift
from alembic_enterprise.audit.drift import Parts
from alembic_enterprise.audit.model import FIRST_OTHER_TYPE, Trail, trail_on
from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.catalog import Catalog
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import Name

_TOLD = 3
"""How many of the things that drifted are told in one line."""


@dataclass(frozen=True)
class AuditedTable:
    """A table with its trail; the rest is known only where it can be.

    Attributes:
        history: the table that keeps the changes.
        baseline: whether the rows that exist when the trail begins are kept; only declared.
        drift: what of a live trail is not as its options ask for, each as a sentence.
        gap: whether there may be changes, or rows, that a live history lacks.
        lapsed: whether all that drifted is partitions that the scheduled job makes.
    """

    name: Name
    history: Name
    trail: Trail
    baseline: bool = field(default=True, compare=False)
    drift: tuple[str, ...] = field(default=(), compare=False)
    gap: bool = field(default=False, compare=False)
    lapsed: bool = field(default=False, compare=False)

    @property
    def trouble(self) -> str:
        """The first of what is not as it should be, in one line; empty where all is."""
        more = len(self.drift) - _TOLD
        return "; ".join([*self.drift[:_TOLD], *([f"and {more} more"] if more > 0 else [])])


@dataclass(frozen=True)
class Trails:
    """The trails of a database.

    Attributes:
        tables: the audited tables, by their full names.
        torn: histories of which only a part is left, so that their tables are not known.
        visible: the audited tables that a name without a schema finds along the search_path.
        kept: histories that trails left when they were dropped.
    """

    tables: Mapping[Name, AuditedTable] = field(default_factory=dict[Name, AuditedTable])
    torn: frozenset[Name] = frozenset()
    visible: Mapping[str, Name] = field(default_factory=dict[str, Name])
    kept: frozenset[Name] = frozenset()

    def seen_with(self, partitioned: Catalog) -> Catalog:
        """The partitioned tables, in a catalog that resolves names of audited ones, too."""
        return replace(partitioned, visible={**self.visible, **partitioned.visible})


def declared(tables: Iterable[Table]) -> dict[Name, AuditedTable]:
    """The tables of the models that have an `AuditTrail`.

    Raises `DeclarationError` when two of them have the same history.
    """
    found: dict[Name, AuditedTable] = {}
    taken: dict[Name, Name] = {}
    for table in tables:
        spec = trail_on(table)
        if spec is None:
            continue
        spec.check(table)
        name, history = Name(table.schema, table.name), Name(*spec.history_of(table))
        if history in taken:
            raise DeclarationError(
                f"{name}: its history would be {history}, as that of {taken[history]}: write "
                'AuditTrail(history="...") on one of them'
            )
        taken[history] = name
        found[name] = AuditedTable(name, history, spec.trail, spec.baseline)
    return found


# What is ours is known by its comment: a database without a trail costs this one query. Of the
# comments on functions those on PostgreSQL's own are passed by, which are thousands; of those on
# tables only those on partitioned ones are read, as each partition has one.
_MARKED = SQL("""
SELECT n.nspname, marked.name, marked.kept
FROM (SELECT p.pronamespace AS place, p.proname AS name, false AS kept
      FROM pg_catalog.pg_description AS d JOIN pg_catalog.pg_proc AS p ON p.oid = d.objoid
      WHERE d.classoid = 'pg_catalog.pg_proc'::regclass AND d.objoid >= {first_other}
        AND starts_with(d.description, {options})
        AND p.prorettype = 'pg_catalog.trigger'::regtype AND p.pronargs = 0
      UNION
      SELECT c.relnamespace, c.relname, d.description = {kept}
      FROM pg_catalog.pg_partitioned_table AS p
      JOIN pg_catalog.pg_class AS c ON c.oid = p.partrelid
      JOIN pg_catalog.pg_description AS d
           ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_catalog.pg_class'::regclass
      WHERE d.description IN ({mark}, {kept})) AS marked
JOIN pg_catalog.pg_namespace AS n ON n.oid = marked.place
ORDER BY 1, 2""")


class _Row(NamedTuple):
    """A row of `_TRAILS`: oids of the function, the history and the table, each if it is there.

    `place` and `table` are the schema and the name of the table, and `visible` is whether this name
    is found along the search_path.
    """

    schema: str
    name: str
    function: int | None
    history: int | None
    relation: int | None
    place: str
    table: str
    visible: bool
    options: str | None


# A partition that was detached by hand may still call the function; the table is partitioned then.
_TRAILS = SQL("""
SELECT n.nspname, marked.name, p.oid, history.oid, audited.oid, place.nspname, audited.relname,
       pg_table_is_visible(audited.oid),
       substr(obj_description(p.oid, 'pg_proc'), length({ownership}) + 1)
FROM (VALUES {marked}) AS marked (schema, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = marked.schema
LEFT JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid AND p.proname = marked.name
      AND p.prorettype = 'pg_catalog.trigger'::regtype AND p.pronargs = 0
LEFT JOIN pg_catalog.pg_class AS history ON history.relnamespace = n.oid
      AND history.relname = marked.name AND history.relkind = 'p'
LEFT JOIN (
    SELECT DISTINCT ON (t.tgfoid) t.tgfoid AS function, c.*
    FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS calling ON calling.oid = t.tgrelid
    JOIN pg_catalog.pg_class AS c ON c.oid = CASE
        WHEN calling.relispartition THEN pg_partition_root(calling.oid) ELSE calling.oid END
    WHERE starts_with(t.tgname, 'alembic_enterprise_')
    ORDER BY t.tgfoid, c.relkind, c.oid::bigint) AS audited ON audited.function = p.oid
LEFT JOIN pg_catalog.pg_namespace AS place ON place.oid = audited.relnamespace
ORDER BY 1, 2""")


def read(connection: Connection, partitioned: Catalog) -> Trails:
    """The trails of a database, in three round trips; where there is none, in one.

    Args:
        connection: where to read.
        partitioned: its partitioned tables, the histories among them.
    """
    values = {
        "options": OWNERSHIP + "{",
        "mark": capture.HISTORY_COMMENT,
        "kept": capture.KEPT_COMMENT,
        "first_other": FIRST_OTHER_TYPE,
    }
    query = _MARKED.format(**{key: Literal(value) for key, value in values.items()})
    found = sql.rows(connection, query)
    marked = [(schema, name) for schema, name, is_kept in found if not is_kept]
    kept = frozenset(Name(schema, name) for schema, name, is_kept in found if is_kept)
    if not marked:
        return Trails(kept=kept)
    names = [SQL("({}, {})").format(Literal(schema), Literal(name)) for schema, name in marked]
    query = _TRAILS.format(marked=SQL(", ").join(names), ownership=Literal(OWNERSHIP))
    rows = [_Row(*row) for row in sql.rows(connection, query)]
    parts = [one for row in rows if (one := _parts(row)) is not None]
    tables = [
        AuditedTable(
            one.table,
            one.history,
            one.trail or Trail(),
            drift=found.sentences,
            gap=found.gap,
            lapsed=found.lapsed,
        )
        for one, found in zip(parts, drift.read(connection, parts, partitioned), strict=True)
    ]
    whole = {table.history for table in tables}
    return Trails(
        tables={table.name: table for table in tables},
        torn=frozenset(name for name in (Name(*row) for row in marked) if name not in whole),
        visible={row.table: Name(row.place, row.table) for row in rows if row.visible},
        kept=kept,
    )


def _parts(row: _Row) -> Parts | None:
    """The parts of a trail; None of one whose table is not known."""
    if row.function is None or row.relation is None:
        return None
    table, history = Name(row.place, row.table), Name(row.schema, row.name)
    return Parts(table, history, _trail(row.options), row.function, row.history, row.relation)


def _trail(options: str | None) -> Trail | None:
    """The trail in the comment of a function, or None when it cannot be read."""
    try:
        return Trail.from_json(json.loads(options or ""))
    except (ValueError, TypeError, DeclarationError):  # of a newer release, or written by hand
        return None


_SUBSCRIBED = SQL("""
SELECT n.nspname, c.relname, min(s.subname)
FROM pg_catalog.pg_subscription_rel AS r
JOIN pg_catalog.pg_subscription AS s ON s.oid = r.srsubid AND s.subdbid =
     (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
JOIN pg_catalog.pg_class AS c ON c.oid = coalesce(pg_partition_root(r.srrelid), r.srrelid)
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
GROUP BY 1, 2 ORDER BY 1, 2""")


def subscribed(connection: Connection) -> dict[Name, str]:
    """Tables that a subscription writes to, audited or not -> the name of one such subscription."""
    found = sql.rows(connection, _SUBSCRIBED)
    return {Name(schema, table): subscription for schema, table, subscription in found}


# An INSERT into the history fires its own rules, statement triggers and row security alone, and
# the row triggers and constraints of the partition, too. What partitions inherit is told once.
_OBSTACLES = SQL("""
SELECT n.nspname, history.relname, found.what
FROM (VALUES {histories}) AS given (schema, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = given.schema
JOIN pg_catalog.pg_class AS history
     ON history.relnamespace = n.oid AND history.relname = given.name
CROSS JOIN LATERAL pg_partition_tree(history.oid) AS part
CROSS JOIN LATERAL (
    SELECT format('trigger %I on %s, which calls %s of role %s', t.tgname, part.relid,
                  p.oid::regprocedure, p.proowner::regrole)
    FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
    WHERE t.tgrelid = part.relid AND NOT t.tgisinternal AND t.tgparentid = 0
      AND t.tgenabled <> 'D' AND t.tgtype & 4 > 0 AND (t.tgtype & 1 > 0 OR part.level = 0)
    UNION ALL
    SELECT format('rule %I on %s', rulename, part.relid) FROM pg_catalog.pg_rewrite
    WHERE ev_class = part.relid AND ev_type = '3' AND ev_enabled <> 'D' AND part.level = 0
    UNION ALL
    SELECT format('constraint %I on %s, %s', conname, part.relid, pg_get_constraintdef(oid))
    FROM pg_catalog.pg_constraint
    WHERE conrelid = part.relid AND contype IN ('c', 'f', 'p', 'u', 'x') AND conparentid = 0
      AND coninhcount = 0
    UNION ALL
    SELECT format('unique index %s on %s', indexrelid::regclass, part.relid)
    FROM pg_catalog.pg_index
    WHERE indrelid = part.relid AND indisunique
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conindid = indexrelid)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = indexrelid)
    UNION ALL
    SELECT format('row security of %s, forced upon its owner', part.relid)
    WHERE history.relrowsecurity AND history.relforcerowsecurity AND part.level = 0
) AS found (what)
ORDER BY 1, 2, 3""")


def obstacles(connection: Connection, histories: Iterable[Name]) -> dict[Name, list[str]]:
    """What somebody has put on histories that can swallow a change, alter it or refuse it."""
    names = [SQL("({}, {})").format(Literal(name.schema), Literal(name.name)) for name in histories]
    found: dict[Name, list[str]] = {}
    if names:
        query = _OBSTACLES.format(histories=SQL(", ").join(names))
        for schema, name, what in sql.rows(connection, query):
            found.setdefault(Name(schema, name), []).append(what)
    return found


_HELD = SQL("""
SELECT n.nspname, c.relname, array_agg(a.attname::text)
FROM (VALUES {histories}) AS given (schema, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = given.schema
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = given.name
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY 1, 2""")


def held(connection: Connection, histories: Iterable[Name]) -> dict[Name, list[str]]:
    """The columns of histories, also those that their tables have no more."""
    names = [SQL("({}, {})").format(Literal(name.schema), Literal(name.name)) for name in histories]
    if not names:
        return {}
    found = sql.rows(connection, _HELD.format(histories=SQL(", ").join(names)))
    return {Name(schema, name): columns for schema, name, columns in found}
