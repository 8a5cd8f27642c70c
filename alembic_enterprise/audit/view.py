"""The view `audit_trail`: the changes that all trails of a schema have kept, a row for each field.

Its columns are `"table", key, field, old_value, new_value, changed_at, changed_by, context`, as
`history.diff` gives them for one table. It reads whole rows, as JSON: so it does not hinder columns
of a history from being added, renamed or given another type, but for those of the key. Where one is
of a type that is not PostgreSQL's own, it names all: `to_jsonb` would call what the owner of such a
type has made its cast to json, with the rights of whoever reads. An enum without such a cast, or an
array of it, is no obstacle, so that its values can change; when it gets one, the view is not what
it should be.
"""

from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.audit import capture
from alembic_enterprise.audit.model import FIRST_OTHER_TYPE
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import REFUSED, Name, do_block

NAME = "audit_trail"
"""What the view is called, in the schema of the histories that it shows."""

COLUMNS = 8
"""How many columns it has."""

_BRANCH: LiteralString = """SELECT %1$L::text AS "table",
       CASE WHEN changed.%2$s IS NOT NULL THEN pg_catalog.jsonb_build_object(%3$s) END AS key,
       each.key AS field, shown.old_value, shown.new_value,
       changed.audit_at AS changed_at, changed.audit_actor AS changed_by,
       CASE WHEN changed.audit_action IN ('truncate', 'detach', 'attach', 'drop')
            THEN changed.audit_context ||
                 pg_catalog.jsonb_build_object('action', changed.audit_action)
            WHEN changed.audit_action = 'update' AND before.image IS NULL
            THEN coalesce(changed.audit_context, '{}')
                 || pg_catalog.jsonb_build_object('old_values', 'no earlier row')
            ELSE changed.audit_context END AS context
FROM %4$s AS changed
LEFT JOIN LATERAL (
    SELECT %7$s AS image, earlier.audit_action FROM %4$s AS earlier
    WHERE changed.audit_action = 'update' AND %5$s
      AND earlier.audit_id < changed.audit_id AND earlier.audit_at <= changed.audit_at
    ORDER BY earlier.audit_id DESC LIMIT 1
) AS before ON before.audit_action NOT IN ('delete', 'rekey')
LEFT JOIN LATERAL jsonb_each_text(%6$s) AS each
    ON changed.audit_action NOT IN ('truncate', 'detach', 'attach', 'drop')
    AND NOT starts_with(each.key, 'audit_')
CROSS JOIN LATERAL (
    SELECT CASE WHEN changed.audit_action IN ('delete', 'rekey') THEN each.value
                ELSE before.image ->> each.key END AS old_value,
           CASE WHEN changed.audit_action NOT IN ('delete', 'rekey') THEN each.value
           END AS new_value) AS shown
WHERE changed.audit_action <> 'baseline'
  AND (each.key IS NULL OR shown.old_value IS DISTINCT FROM shown.new_value)"""
"""The changes of one history: table, first column and pairs of its key, history, equal keys, and
the rows called `changed` and `earlier` as JSON.
"""

_VALUE: LiteralString = """format(CASE WHEN kept.atttypid < {first_other_type} THEN '%1$s.%2$s'
    ELSE 'CASE WHEN %1$s.%2$s IS DISTINCT FROM NULL THEN pg_catalog.concat(%1$s.%2$s) END' END,
    {row}, '"' || replace(kept.attname, '"', '""') || '"')"""
"""A column of a history that `kept` is, to be put into JSON: of other types than PostgreSQL's own
the text, by the output function. `concat` calls nothing else, and no cast.
"""

_IMAGE: LiteralString = (
    """(
    SELECT format('pg_catalog.to_jsonb(%s)', CASE
        WHEN bool_and(kept.atttypid < {first_other_type} OR EXISTS (
            SELECT FROM pg_catalog.pg_type AS t
            WHERE kept.atttypid IN (t.oid, t.typarray) AND t.typtype = 'e' AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_cast
                WHERE castsource = t.oid AND casttarget = 'pg_catalog.json'::regtype)))
        THEN {row}
        ELSE format('(SELECT named FROM (SELECT %s) AS named)', string_agg(
            """
    + _VALUE
    + """ || ' AS "' || replace(kept.attname, '"', '""') || '"', ', ' ORDER BY kept.attnum)
            FILTER (WHERE NOT starts_with(kept.attname, 'audit_'))) END)
    FROM pg_catalog.pg_attribute AS kept
    WHERE kept.attrelid = trails.oid AND kept.attnum > 0 AND NOT kept.attisdropped)"""
)
"""A row of a history, called `row`, as JSON."""

_BRANCHES: LiteralString = """trails AS MATERIALIZED (
        SELECT history.oid, history.relname, history.relowner, source.oid AS source,
               (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = source.relnamespace)
               || '.' || source.relname AS called,
               {history} AS history, d.description
        FROM pg_catalog.pg_proc AS f
        JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
        JOIN pg_catalog.pg_description AS d
            ON d.objoid = f.oid AND d.classoid = 'pg_catalog.pg_proc'::regclass
        JOIN pg_catalog.pg_class AS history
            ON history.relnamespace = n.oid AND history.relname = f.proname
        CROSS JOIN LATERAL (
            SELECT c.* FROM pg_catalog.pg_trigger AS t
            JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
            WHERE t.tgfoid = f.oid AND NOT t.tgisinternal AND NOT c.relispartition
            ORDER BY c.relkind = 'p' DESC, c.oid::bigint LIMIT 1) AS source
        WHERE n.nspname = {place} AND f.pronargs = 0 AND history.relkind = 'p'
          AND starts_with(d.description, {ownership} || '{{')),
    branches AS (
        SELECT relname, format({branch}, called, min(quoted),
                   string_agg(format('%L, %s', key_columns.name, {key_value}), ', '
                              ORDER BY position), history,
                   string_agg(format('earlier.%s %s changed.%s', quoted, equals, quoted), ' AND '
                              ORDER BY position), {changed_image}, {earlier_image})
               || format(' AND has_table_privilege(%L::regclass, ''SELECT'')', history) AS branch
        FROM trails CROSS JOIN LATERAL ({key}) AS key_columns
        LEFT JOIN pg_catalog.pg_attribute AS kept
               ON kept.attrelid = trails.oid AND kept.attname = key_columns.name
        GROUP BY trails.oid, relname, called, history)"""
"""The trails whose histories are in a schema, and what the view shows of each."""

_QUERY: LiteralString = (
    "(SELECT string_agg(branch, E'\\nUNION ALL\\n' ORDER BY relname) FROM branches)"
)

# It is printed with the schemas that are not on the search_path.
_MADE: LiteralString = """(
    SELECT {comment} || ' ' || encode(sha256(convert_to(concat({query}, c.reloptions,
        regexp_replace(replace(pg_get_viewdef(c.oid), quote_ident({place}) || '.', ''),
                       'OPERATOR\\([^)]*\\.([^.)]+)\\)', '\\1', 'g')), 'UTF8')), 'hex')
    FROM pg_catalog.pg_class AS c WHERE c.oid = {view_oid})"""
"""The comment of the view: it tells whether the query, or what was made of it, is another one."""

_REFRESH: LiteralString = (
    """DECLARE
    place constant text := {schema};
    audit_trail constant text := {view};
    ours boolean;
    query text;
    readers text[];
    histories regclass[];
    left_by_former regclass[];
    view_owner regrole;
    command text;
BEGIN
    SELECT starts_with(obj_description(c.oid, 'pg_class'), {comment}) IS TRUE INTO ours
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = place AND c.relname = {name};
    WITH """
    + _BRANCHES
    + """,
    reading AS (SELECT trails.oid, substr(description, length({ownership}) + 1)::jsonb -> 'readers'
                       AS readers FROM trails)
    SELECT """
    + _QUERY
    + """,
           (SELECT array_agg(format('%I', reader)) FROM (
                SELECT jsonb_array_elements_text(reading.readers) FROM reading
                UNION SELECT pg_get_userbyid(relowner) FROM trails) AS all_readers (reader)),
           (SELECT array_agg(oid) FROM trails),
           (SELECT array_agg(reading.oid) FROM reading JOIN pg_catalog.pg_class AS former
                ON former.oid = to_regclass(audit_trail)
            WHERE NOT reading.readers ? pg_get_userbyid(former.relowner)),
           (SELECT relowner FROM trails ORDER BY relname LIMIT 1)
    INTO query, readers, histories, left_by_former, view_owner;
    IF query IS NULL THEN
        IF ours THEN
            EXECUTE format('DROP VIEW %s', audit_trail);
        END IF;
        RETURN;
    END IF;
    IF NOT ours THEN
        RAISE EXCEPTION '% is there already and is not the view of all trails: rename it, or keep '
            'the histories in another schema', audit_trail USING ERRCODE = {refused};
    END IF;
    IF (SELECT count(*) FROM pg_catalog.pg_attribute
        WHERE attrelid = to_regclass(audit_trail) AND attnum > 0) > {columns} THEN
        EXECUTE format('DROP VIEW %s', audit_trail);  -- somebody gave it more
    END IF;
    -- The barrier: no function of a reader gets to see rows or statistics of other histories.
    EXECUTE format('CREATE OR REPLACE VIEW %s WITH (security_barrier) AS %s', audit_trail, query);
    EXECUTE format('COMMENT ON VIEW %s IS %L', audit_trail, """
    + _MADE
    + """);
    FOR command IN
        SELECT format('REVOKE SELECT ON %s FROM %s', part.oid::regclass, former.relowner::regrole)
        FROM pg_catalog.pg_class AS former, unnest(left_by_former) AS history,
             pg_partition_tree(history) AS tree
        JOIN pg_catalog.pg_class AS part ON part.oid = tree.relid
        WHERE former.oid = audit_trail::regclass
          AND former.relowner NOT IN (view_owner, part.relowner)
        UNION ALL
        SELECT format('ALTER VIEW %s OWNER TO %s', audit_trail, view_owner)
        FROM pg_catalog.pg_class WHERE oid = audit_trail::regclass AND relowner <> view_owner
        UNION ALL
        SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', audit_trail,
                               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
        FROM pg_catalog.pg_class, aclexplode(relacl)
        WHERE oid = audit_trail::regclass AND grantee NOT IN (relowner, view_owner)
        UNION ALL
        SELECT format('GRANT SELECT ON %s TO %s', history, view_owner)
        FROM unnest(histories) AS history JOIN pg_catalog.pg_class ON oid = history
        WHERE relowner <> view_owner
        UNION ALL
        SELECT format('GRANT SELECT ON %s TO %s', audit_trail, reader)
        FROM unnest(readers) AS reader
    LOOP
        EXECUTE command;
    END LOOP;
END"""
)


def _values(place: Composable) -> dict[str, Composable]:
    names = (SQL("n.nspname"), SQL("history.relname"))
    return {
        "place": place,
        "comment": Literal(capture.HISTORY_COMMENT),
        "ownership": Literal(OWNERSHIP),
        "history": capture.qualified(*names),
        "key": capture.key(SQL("trails.source")),
        "branch": Literal(_BRANCH),
        "key_value": _of_row(_VALUE, "changed"),
        "changed_image": _of_row(_IMAGE, "changed"),
        "earlier_image": _of_row(_IMAGE, "earlier"),
    }


def _of_row(expression: LiteralString, row: str) -> Composed:
    first = Literal(FIRST_OTHER_TYPE)
    return SQL(expression).format(row=Literal(row), first_other_type=first)


def comment(place: Composable, view: Composable) -> Composed:
    """An SQL expression: what the comment of the view should be, as it is now.

    The server's own text of the view goes into it, which a newer release may write otherwise: then
    the view is made again once.

    Args:
        place: an SQL expression, the schema.
        view: an SQL expression, the oid of the view.
    """
    made = SQL("(WITH " + _BRANCHES + " SELECT " + _MADE + ")")
    return made.format(query=SQL(_QUERY), view_oid=view, **_values(place))


def refresh(schema: str) -> Composed:
    """A statement that makes the view of all trails of a schema, or drops it with the last one.

    Owners and readers of its trails may read it: each is shown the histories that it may read
    itself. It reads them with the rights of its own owner, who owns the first of them and gets
    SELECT on the others.
    """
    return do_block(
        _REFRESH,
        schema=Literal(schema),
        name=Literal(NAME),
        view=Literal(Name(schema, NAME).text),
        view_oid=SQL("audit_trail::regclass"),
        query=SQL("query"),
        columns=Literal(COLUMNS),
        refused=Literal(REFUSED),
        **_values(SQL("place")),
    )
