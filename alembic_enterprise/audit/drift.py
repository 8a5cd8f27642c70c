"""What of the live trails is not as their options ask for: one query that finds all of it.

Each of its parts gives the number of a trail and a sentence, about something that
`op.alter_audit_trail` puts right. Some mean that changes may have gone past the trail.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import LiteralString

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import registry, sql
from alembic_enterprise.audit import capture, recording, trigger_body, view
from alembic_enterprise.audit.model import Trail
from alembic_enterprise.partitions.catalog import Catalog
from alembic_enterprise.partitions.due import missing
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Parts:
    """What a live trail consists of.

    Attributes:
        history: name of the history, and of both functions.
        trail: the options; None when they cannot be read.
        function: oid of the trigger function.
        history_oid: None when it is gone.
        relation: oid of the table.
    """

    table: Name
    history: Name
    trail: Trail | None
    function: int
    history_oid: int | None
    relation: int


@dataclass(frozen=True)
class Drift:
    """What is not as it should be with a live trail.

    Attributes:
        sentences: all of it.
        gap: whether there may be changes, or rows, that the history lacks.
        lapsed: whether all of it is partitions that the scheduled job makes.
    """

    sentences: tuple[str, ...]
    gap: bool
    lapsed: bool


# `audited` are the tables with all their partitions, `kept` the histories with theirs.
_TREES: LiteralString = """
WITH RECURSIVE trails (number, name, trail, function, history, relation) AS (VALUES {trails}),
audited (number, function, relation) AS (
    SELECT number, function, relation FROM trails
    UNION ALL
    SELECT number, function, inhrelid FROM audited
    JOIN pg_catalog.pg_inherits ON inhparent = relation
    JOIN pg_catalog.pg_class ON oid = inhrelid WHERE relispartition),
kept (number, relation) AS (
    SELECT number, history FROM trails WHERE history IS NOT NULL
    UNION ALL
    SELECT number, inhrelid FROM kept JOIN pg_catalog.pg_inherits ON inhparent = relation),
functions AS (
    SELECT t.number, p.oid, p.oid::regprocedure::text AS called, p.proowner AS owner,
           coalesce(p.proacl, acldefault('f', p.proowner)) AS rights, p.prosrc, p.proconfig,
           p.prosecdef, p.provolatile, p.oid = t.function AS by_trigger
    FROM trails AS t JOIN pg_catalog.pg_proc AS main ON main.oid = t.function
    JOIN pg_catalog.pg_proc AS p ON p.pronamespace = main.pronamespace AND p.proname = main.proname
     AND oidvectortypes(p.proargtypes) IN ('', 'regclass, text')),
relations AS (
    SELECT k.number, c.oid, c.oid::regclass::text AS called, c.relowner AS owner,
           coalesce(c.relacl, acldefault('r', c.relowner)) AS rights
    FROM kept AS k JOIN pg_catalog.pg_class AS c ON c.oid = k.relation),
sequences AS (
    SELECT DISTINCT t.number, c.oid, c.oid::regclass::text AS called, c.relowner AS owner,
           coalesce(c.relacl, acldefault('s', c.relowner)) AS rights
    FROM trails AS t JOIN pg_catalog.pg_depend AS d
      ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = t.history
     AND d.classid = 'pg_catalog.pg_class'::regclass
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind = 'S'),
gone AS (
    SELECT t.number, a.attname AS name FROM trails AS t
    JOIN pg_catalog.pg_proc AS p ON p.oid = t.function
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.history AND a.attnum > 0
     AND strpos(p.prosrc, 'n."' || replace(a.attname, '"', '""') || '"') > 0
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS x WHERE x.attrelid = t.relation
                      AND x.attname = a.attname AND NOT x.attisdropped)),
readers AS (
    SELECT t.number, t.history, r.oid
    FROM trails AS t CROSS JOIN jsonb_array_elements_text(t.trail -> 'readers') AS reader (name)
    JOIN pg_catalog.pg_roles AS r ON r.rolname = reader.name),
views AS (
    SELECT t.number, t.history, c.relowner AS owner
    FROM trails AS t JOIN pg_catalog.pg_class AS history ON history.oid = t.history
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = history.relnamespace
     AND c.relname = {view_name}
     AND starts_with(obj_description(c.oid, 'pg_class'), {history_comment})
    WHERE c.relowner IN (SELECT owner FROM relations))
"""

_TRIGGERS: LiteralString = """
SELECT a.number, format(CASE
    WHEN obj_description(t.oid, 'pg_trigger') = {untold_comment}
    THEN '%s has rows that its history lacks'
    WHEN t.oid IS NULL THEN '%s has no trigger %s'
    WHEN t.tgenabled = 'D' THEN '%s: trigger %s is disabled'
    WHEN t.tgenabled <> 'A' THEN '%s: trigger %s does not always fire'
    ELSE '%s: trigger %s differs' END, a.relation::regclass, wanted.name)
FROM audited AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.relation
CROSS JOIN (VALUES {triggers}) AS wanted (name, type, old_rows, new_rows)
LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = a.relation AND t.tgname = wanted.name
WHERE c.relkind <> 'f'  -- which has no rows of its own
  AND ((t.tgenabled, t.tgfoid, t.tgtype, t.tgoldtable, t.tgnewtable) IS DISTINCT FROM
       ('A', a.function, wanted.type, wanted.old_rows, wanted.new_rows)
    OR t.tgqual IS NOT NULL OR t.tgattr <> ''
    OR obj_description(t.oid, 'pg_trigger') IS DISTINCT FROM {trigger_comment})"""

_STRANGERS: LiteralString = """
SELECT DISTINCT trails.number, format('%s: trigger %I writes to the history of %s, which it is not '
                                      'part of', t.tgrelid::regclass, t.tgname,
                                      trails.relation::regclass)
FROM trails JOIN pg_catalog.pg_trigger AS t ON t.tgfoid = trails.function AND NOT t.tgisinternal
WHERE t.tgparentid = 0 AND NOT EXISTS (
    SELECT FROM audited AS a
    CROSS JOIN (VALUES {triggers}) AS wanted (name, type, old_rows, new_rows)
    WHERE a.number = trails.number AND a.relation = t.tgrelid AND wanted.name = t.tgname)"""

_REFUSING: LiteralString = """
SELECT trails.number, format('%s: column %I is NOT NULL', trails.history::regclass, a.attname)
FROM trails JOIN pg_catalog.pg_attribute AS a ON a.attrelid = trails.history AND a.attnum > 0
WHERE a.attnotnull AND NOT a.attisdropped AND NOT a.attname = ANY ({never_null}::text[])
UNION ALL
SELECT trails.number, format('%s has no column %s', trails.history::regclass, own.name)
FROM trails CROSS JOIN unnest({own_columns}::text[]) AS own (name)
WHERE trails.history IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = trails.history AND a.attname = own.name)"""

_FUNCTIONS: LiteralString = """
SELECT f.number, format('%s: %s', f.called, wrong.what)
FROM functions AS f JOIN trails USING (number)
CROSS JOIN LATERAL (
    SELECT coalesce('each change of a row fails, as its body names ' || (
               SELECT string_agg(quote_ident(gone.name), ', ' ORDER BY gone.name)
               FROM gone WHERE f.by_trigger AND gone.number = f.number),
           'its body is not the one for the columns of the table')
    WHERE f.prosrc IS DISTINCT FROM
          CASE WHEN f.by_trigger THEN {body} ELSE {recording_body} END
    UNION ALL
    SELECT 'its settings are not those it needs'
    WHERE f.proconfig IS DISTINCT FROM
          CASE WHEN f.by_trigger THEN {settings} ELSE {all_settings} END
    UNION ALL
    SELECT 'it is not SECURITY DEFINER' WHERE NOT f.prosecdef
    UNION ALL
    SELECT 'it is not VOLATILE, so that each change fails' WHERE f.provolatile <> 'v'
    UNION ALL
    SELECT format('%s may execute it', CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                       ELSE a.grantee::regrole::text END)
    FROM aclexplode(f.rights) AS a
    WHERE a.grantee <> f.owner AND (a.is_grantable OR a.grantee <> (
        SELECT relowner FROM pg_catalog.pg_class WHERE oid = trails.relation))
    UNION ALL
    SELECT format('%s may not execute it', c.relowner::regrole)
    FROM pg_catalog.pg_class AS c
    WHERE c.oid = trails.relation
      AND NOT has_function_privilege(c.relowner, f.oid, 'EXECUTE')
) AS wrong (what)
UNION ALL
SELECT trails.number, format('%s has no function that records TRUNCATE', trails.relation::regclass)
FROM trails
WHERE NOT EXISTS (SELECT FROM functions AS f WHERE f.number = trails.number AND NOT f.by_trigger)"""

_RIGHTS: LiteralString = """
SELECT DISTINCT held.number, format('%s has %s on %s', CASE a.grantee WHEN 0 THEN 'PUBLIC'
           ELSE a.grantee::regrole::text END, a.privilege_type, held.called)
FROM (SELECT * FROM relations UNION ALL SELECT * FROM sequences
      UNION ALL
      SELECT r.number, r.oid, r.called, r.owner, c.attacl FROM relations AS r
      JOIN pg_catalog.pg_attribute AS c ON c.attrelid = r.oid AND c.attacl IS NOT NULL
     ) AS held CROSS JOIN aclexplode(held.rights) AS a
WHERE a.grantee <> held.owner AND NOT (
    a.privilege_type = 'SELECT' AND NOT a.is_grantable
    AND EXISTS (SELECT FROM readers AS r WHERE r.number = held.number AND r.oid = a.grantee
                UNION ALL
                SELECT FROM views AS v WHERE v.number = held.number AND v.owner = a.grantee))
UNION ALL
SELECT r.number, format('%s may not read %s', r.oid::regrole, r.history::regclass)
FROM readers AS r
WHERE NOT (has_table_privilege(r.oid, r.history, 'SELECT')
           AND has_schema_privilege(r.oid, (SELECT relnamespace FROM pg_catalog.pg_class
                                            WHERE oid = r.history), 'USAGE'))
UNION ALL
SELECT number, format('%s, who owns the view of all trails, may not read %s', owner::regrole,
                      history::regclass)
FROM views WHERE NOT has_table_privilege(owner, history, 'SELECT')
UNION ALL
SELECT trails.number, format('%s may not use schema %I%s', needy.role::regrole, n.nspname, also)
FROM trails JOIN pg_catalog.pg_class AS history ON history.oid = trails.history
JOIN pg_catalog.pg_class AS audited ON audited.oid = trails.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = history.relnamespace
CROSS JOIN LATERAL (VALUES (history.relowner, ' and create in it'), (audited.relowner, '')
    ) AS needy (role, also)
WHERE NOT has_schema_privilege(needy.role, n.oid, 'USAGE')
   OR also <> '' AND NOT has_schema_privilege(needy.role, n.oid, 'CREATE')"""

_OWNERS: LiteralString = """
SELECT held.number, format('%s belongs to %s', held.called, held.owner::regrole)
FROM (SELECT number, called, owner FROM relations UNION ALL SELECT number, called, owner
      FROM sequences UNION ALL SELECT number, called, owner FROM functions) AS held
JOIN trails USING (number) JOIN pg_catalog.pg_class AS history ON history.oid = trails.history
WHERE held.owner <> coalesce((SELECT oid FROM pg_catalog.pg_roles
                              WHERE rolname = trails.trail ->> 'owner'), history.relowner)"""

_COLUMNS: LiteralString = """
SELECT trails.number, CASE
    WHEN a.attnum IS NULL THEN format('%s has no column %I%s', trails.history::regclass,
        wanted.name, CASE count(*) FILTER (WHERE a.attnum IS NULL) OVER (PARTITION BY trails.number)
            WHEN 1 THEN (SELECT format(': where that was %I until now, add renamed={{%s: %s}}',
                                       min(name), to_json(min(name)), to_json(wanted.name))
                         FROM gone WHERE number = trails.number HAVING count(*) = 1) END)
    ELSE format('%s: column %I is %s and not %s', trails.history::regclass, wanted.name,
                format_type(a.atttypid, a.atttypmod) || {collated}, wanted.type || wanted.collated)
    END
FROM trails CROSS JOIN LATERAL ({columns}) AS wanted
LEFT JOIN LATERAL (
    SELECT * FROM pg_catalog.pg_attribute AS a  -- by its index, not all of it
    WHERE a.attrelid = trails.history AND a.attname = wanted.name AND NOT a.attisdropped OFFSET 0
) AS a ON true
WHERE trails.history IS NOT NULL
  AND (a.attnum IS NULL
    OR format_type(a.atttypid, a.atttypmod) NOT IN (wanted.type, wanted.bare)
    OR wanted.collated <> {collated})"""

_HISTORIES: LiteralString = """
SELECT number, format('the history of %s is gone', relation::regclass)
FROM trails WHERE history IS NULL
UNION ALL
SELECT number, format('%s: its comment differs', history::regclass)
FROM trails
WHERE history IS NOT NULL
  AND obj_description(history, 'pg_class') IS DISTINCT FROM {history_comment}
UNION ALL
SELECT trails.number, format('%s has no index on the key of the table: where that key is another '
                             'one than before, as_of() may have rows twice until the trail is '
                             'dropped and made anew', trails.history::regclass)
FROM trails
WHERE trails.history IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS x
    WHERE x.indrelid = trails.history AND x.indisvalid AND x.indpred IS NULL
      AND ARRAY(SELECT '"' || replace(a.attname, '"', '""') || '"'
                FROM unnest(x.indkey) WITH ORDINALITY AS k (number, position)
                LEFT JOIN pg_catalog.pg_attribute AS a
                       ON a.attrelid = x.indrelid AND a.attnum = k.number ORDER BY k.position)
        = ARRAY(SELECT quoted FROM ({key}) AS key ORDER BY position)
          || '"audit_id"'::text
    OFFSET 0)"""

# Several trails share a view: the first of them says so, and one operation makes it.
_VIEWS: LiteralString = """
SELECT min(trails.number), format(CASE WHEN shown.oid IS NULL THEN 'the view %s.%s is missing'
                                       ELSE 'the view %s.%s differs' END,
                                  place.nspname, {view_name})
FROM trails JOIN pg_catalog.pg_class AS history ON history.oid = trails.history
JOIN pg_catalog.pg_namespace AS place ON place.oid = history.relnamespace
LEFT JOIN pg_catalog.pg_class AS shown ON shown.relnamespace = place.oid
      AND shown.relname = {view_name}
WHERE shown.oid IS NULL OR obj_description(shown.oid, 'pg_class') IS DISTINCT FROM {view_comment}
GROUP BY place.nspname, shown.oid"""

_GAPS: tuple[LiteralString, ...] = (_TRIGGERS, _STRANGERS)
_OTHERS: tuple[LiteralString, ...] = (
    _REFUSING,
    _FUNCTIONS,
    _RIGHTS,
    _OWNERS,
    _COLUMNS,
    _HISTORIES,
    _VIEWS,
)


def read(connection: Connection, trails: Sequence[Parts], partitioned: Catalog) -> list[Drift]:
    """What is wrong with each of some trails, in one round trip; in two where a policy is missing.

    Nothing is said of a policy in a registry that this role may not read.

    Args:
        connection: where to read.
        trails: what they consist of.
        partitioned: the partitioned tables of the database, the histories among them.
    """
    if not trails:
        return []
    closed = registry.closed(connection) if _is_policy_missing(trails, partitioned) else {}
    found = {number: set(_mistaken(one, partitioned, closed)) for number, one in enumerate(trails)}
    lapsed = [set(_lapsed(one, partitioned)) for one in trails]
    gaps: set[int] = set()
    for number, text, gap in sql.rows(connection, _query(trails)):
        found[number].add(text)
        gaps |= {number} if gap else set()
    return [
        Drift(tuple(sorted(texts | late)), number in gaps, lapsed=bool(late and not texts))
        for number, (texts, late) in enumerate(zip(found.values(), lapsed, strict=True))
    ]


def _is_policy_missing(trails: Sequence[Parts], partitioned: Catalog) -> bool:
    histories = (partitioned.tables.get(one.history) for one in trails)
    return any(history is not None and history.policy is None for history in histories)


def _mistaken(parts: Parts, partitioned: Catalog, closed: Collection[str]) -> Iterator[str]:
    """What is wrong with the options, and with the policy unless its registry is `closed`."""
    if parts.trail is None:
        yield f"{parts.history}: the comment on its function holds no options that can be read"
        return
    history = partitioned.tables.get(parts.history)
    if history is None or (history.policy is None and parts.history.schema in closed):
        return
    if history.policy != capture.policy(parts.trail):
        yield f"{parts.history}: its policy is missing, or differs"


def _lapsed(parts: Parts, partitioned: Catalog) -> Iterator[str]:
    """Partitions from this month on that the job has not made; retention is about older ones."""
    history = partitioned.tables.get(parts.history)
    if history is None or parts.trail is None:
        return
    policy = capture.policy(parts.trail)
    ahead = replace(policy, start=f"{partitioned.now.astimezone(UTC):%Y-%m-01}")
    for part in missing(history, ahead, partitioned.now):
        yield f"{parts.history} has no partition from {part.lower} on"


def _query(trails: Sequence[Parts]) -> Composable:
    table, history, trail = SQL("trails.relation"), SQL("trails.name"), SQL("trails.trail")
    values = {
        "triggers": _rows(_triggers()),
        "trigger_comment": Literal(capture.TRIGGER_COMMENT),
        "untold_comment": Literal(capture.UNTOLD_COMMENT),
        "history_comment": Literal(capture.HISTORY_COMMENT),
        "body": trigger_body.body(table, history, trail),
        "recording_body": recording.body(history),
        "settings": capture.settings(trail),
        "all_settings": Literal([capture.SEARCH_PATH, *capture.TEXT_SETTINGS]),
        "columns": capture.columns(table, trail),
        "collated": capture.collated(SQL("a")),
        "key": capture.key(table),
        "never_null": Literal([*capture.NEVER_NULL]),
        "own_columns": Literal([*capture.OWN_TYPES]),
        "view_name": Literal(view.NAME),
        "view_comment": view.comment(SQL("place.nspname"), SQL("shown.oid")),
    }
    part_of = SQL("SELECT part.*, {} FROM ({}) AS part (number, sentence)")
    parts = (
        part_of.format(Literal(gap), SQL(part).format(**values))
        for gap, some in ((True, _GAPS), (False, _OTHERS))
        for part in some
    )
    trees = SQL(_TREES).format(
        trails=_rows(map(_row, range(len(trails)), trails)),
        view_name=Literal(view.NAME),
        history_comment=Literal(capture.HISTORY_COMMENT),
    )
    return trees + SQL("\nUNION ALL\n").join(parts)


def _row(number: int, parts: Parts) -> Composable:
    values = (parts.function, parts.history_oid, parts.relation)
    return SQL("({}, {}, {}::jsonb, {})").format(
        Literal(number),
        Literal(parts.history.text),
        Literal(json.dumps((parts.trail or Trail()).to_json())),
        SQL(", ").join(SQL("{}::oid").format(Literal(value)) for value in values),
    )


def _triggers() -> Iterator[Composable]:
    for event, (transition, kind) in capture.TRIGGERS.items():
        tables = [name if name in transition else None for name in ("old_rows", "new_rows")]
        yield SQL("({}, {}::int2, {}::name, {}::name)").format(
            *map(Literal, ("alembic_enterprise_" + event, kind, *tables))
        )


def _rows(rows: Iterable[Composable]) -> Composable:
    return SQL(",\n").join(rows)
