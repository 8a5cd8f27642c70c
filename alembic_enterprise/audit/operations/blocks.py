"""The PL/pgSQL blocks that make, keep up and drop an audit trail.

They decide on the server, on the day they run: columns, keys and partitions are read as they are
then, and what is right already stays. So one pair of blocks makes a trail and alters it.
"""

import json
from typing import LiteralString

from psycopg.sql import SQL, Composable, Literal

from alembic_enterprise.audit import capture, recording, trigger_body, view
from alembic_enterprise.audit.model import FIRST_OTHER_TYPE, Trail
from alembic_enterprise.audit.operations import baseline, refusals
from alembic_enterprise.audit.operations.baseline import DECLARE
from alembic_enterprise.partitions.operations import pieces
from alembic_enterprise.sql import Name

MAKE_HISTORY: LiteralString = (
    DECLARE
    + """    trail constant jsonb := {trail};
    without constant jsonb := {without};
    place constant text := {place};
    problem text;
    other text;
BEGIN"""
    + pieces.REFUSE_OLD_SNAPSHOT
    + refusals.TABLE
    + refusals.SHARED_HISTORY
    + """
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = place) THEN
        EXECUTE format('CREATE SCHEMA %I', place);
    END IF;
    IF to_regclass(history) IS NULL THEN"""
    + refusals.SEQUENCE
    + """
        IF to_regclass({sequence}) IS NULL THEN
            EXECUTE format('CREATE SEQUENCE %s START {room}', {sequence});
        ELSE  -- left by a history that was dropped or renamed
            EXECUTE format('ALTER SEQUENCE %s OWNED BY NONE', {sequence});
            EXECUTE format('ALTER SEQUENCE %s OWNER TO %I', {sequence}, current_user);
        END IF;
        EXECUTE format('CREATE TABLE %s (%s) PARTITION BY RANGE (audit_at)', history,
                       {own_columns});
        EXECUTE format('ALTER SEQUENCE %s INCREMENT {room} OWNED BY %s.audit_id', {sequence},
                       history);
        EXECUTE format('COMMENT ON TABLE %s IS %L', history, {comment});
    END IF;
"""
    + refusals.FOREIGN_HISTORY
    + refusals.OWNERS
    + refusals.RENAMED
    + """END"""
)
"""Refuses what cannot be audited, or not by this migration, and creates the history with its own
columns only.
"""

_HISTORY: LiteralString = """
    SELECT name INTO column_name FROM unnest(ARRAY['audit_id', 'audit_action']) AS name
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                      WHERE attrelid = history::regclass AND attname = name);
    IF FOUND THEN
        RAISE EXCEPTION '%: % has no column %: rename it back, or begin another history: ALTER '
            'TABLE % RENAME TO ...', root, history, column_name, history USING ERRCODE = {refused};
    END IF;
    FOR command IN
        SELECT format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', history, a.attname)
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = history::regclass AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attnotnull AND NOT a.attname = ANY ({never_null}::text[])
        UNION ALL
        -- Of what was kept until now nobody knows it.
        SELECT format('ALTER TABLE %s ADD COLUMN %I %s', history, own.name,
                      replace(own.type, ' NOT NULL', ''))
        FROM jsonb_each_text({own_types}) AS own (name, type)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                          WHERE a.attrelid = history::regclass AND a.attname = own.name)
    LOOP
        EXECUTE command;
    END LOOP;
"""
"""Gives the history the columns that are its own, and lets the others be NULL.

What somebody has put on it, such as a trigger or row security, is his.
"""

_COLUMNS: LiteralString = (
    """
    FOR column_name, wanted_type IN SELECT * FROM jsonb_each_text(renamed) LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_attribute
                   WHERE attrelid = history::regclass AND attname = column_name)
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                                WHERE attrelid = history::regclass AND attname = wanted_type) THEN
            EXECUTE format('ALTER TABLE %s RENAME COLUMN %I TO %I', history, column_name,
                           wanted_type);
        END IF;
    END LOOP;
    FOR column_name, wanted_type, bare_type, live_type, collated, collation_differs, lossy,
            old_value IN
        SELECT wanted.name, wanted.type, wanted.bare, format_type(a.atttypid, a.atttypmod),
               wanted.collated, wanted.collated <> {collated},
               a.atttypid <> wanted.bare::regtype AND NOT EXISTS (
                   SELECT FROM pg_catalog.pg_cast WHERE castsource = a.atttypid
                      AND casttarget = wanted.bare::regtype AND castmethod = 'b'),
               (SELECT CASE wanted.kept WHEN 'as it is' THEN array_to_string(m.attmissingval, '')
                                        WHEN 'mask' THEN '***' END
                FROM pg_catalog.pg_attribute AS m
                WHERE m.attname = wanted.name AND NOT m.attisdropped AND m.atthasmissing
                  AND (m.attrelid = root OR m.attrelid IN (SELECT relid
                                                           FROM pg_partition_tree(root)))
                  -- Of a column that was excluded the rows may have had any value.
                  AND strpos(obj_description(to_regprocedure(history || '()'), 'pg_proc'),
                             to_json(wanted.name)::text) = 0
                LIMIT 1)
        FROM ({columns}) AS wanted
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = history::regclass
             AND a.attname = wanted.name AND NOT a.attisdropped
        ORDER BY wanted.position
    LOOP
        IF live_type IS NULL THEN
            -- With the value that PostgreSQL reads in rows from before the column.
            EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s%s DEFAULT %L', history, column_name,
                           wanted_type, collated, old_value);
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', history, column_name);
        ELSIF live_type NOT IN (wanted_type, bare_type) THEN
            BEGIN
                IF lossy THEN  -- the same bytes need no reading
                    -- Of types that are others' the text: JSON is what they have made a cast to it.
                    EXECUTE format('SELECT EXISTS (SELECT FROM %1$s WHERE ' || CASE
                        WHEN greatest(live_type::regtype::oid::bigint, bare_type::regtype::oid)
                             < {first_other_type}
                        THEN 'to_jsonb(%2$I::%3$s::%4$s) IS DISTINCT FROM to_jsonb(%2$I))'
                        ELSE 'pg_catalog.concat(%2$I::%3$s) <> pg_catalog.concat(%2$I))' END,
                        history, column_name, bare_type, live_type) INTO lossy;
                END IF;
                IF lossy THEN
                    RAISE data_exception;
                END IF;
                IF starts_with(obj_description(to_regclass({view}), 'pg_class'), {comment}) THEN
                    EXECUTE format('DROP VIEW %s', {view});  -- it may show that column
                END IF;
                IF wanted_type <> bare_type THEN  -- 5 reads as 5.00 now, unless some were cut
                    BEGIN
                        EXECUTE format('SELECT EXISTS (SELECT FROM %1$s WHERE'
                                       ' %2$I::%3$s::%4$s IS DISTINCT FROM %2$I::%4$s)', history,
                                       column_name, wanted_type, bare_type) INTO lossy;
                    EXCEPTION WHEN data_exception THEN
                        lossy := true;
                    END;
                    wanted_type := CASE WHEN lossy THEN bare_type ELSE wanted_type END;
                END IF;
                EXECUTE format('ALTER TABLE %s ALTER COLUMN %I TYPE %s%s USING %I::%s::%s',
                               history, column_name, bare_type, collated, column_name,
                               wanted_type, bare_type);
            EXCEPTION WHEN data_exception OR cannot_coerce THEN
                RAISE EXCEPTION '%: what % has kept in column % is not of type %: rename that '
                    'column, and run this again', root, history, column_name, wanted_type
                    USING ERRCODE = {refused};
            END;
        ELSIF collation_differs THEN
            IF starts_with(obj_description(to_regclass({view}), 'pg_class'), {comment}) THEN
                EXECUTE format('DROP VIEW %s', {view});
            END IF;
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I TYPE %s%s', history, column_name,
                           live_type, collated);
        END IF;
    END LOOP;
    key_columns := ARRAY(SELECT quoted FROM ({key}) AS key ORDER BY position) || '"audit_id"'::text;
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_index AS x
        WHERE x.indrelid = history::regclass AND x.indisvalid AND x.indpred IS NULL
          AND key_columns = ARRAY(
              SELECT '"' || replace(a.attname, '"', '""') || '"'
              FROM unnest(x.indkey) WITH ORDINALITY AS k (number, position)
              JOIN pg_catalog.pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number
              ORDER BY k.position)
    ) THEN
        EXECUTE format('CREATE INDEX ON %s (%s)', history, array_to_string(key_columns, ', '));"""
    + refusals.FOREIGN_CODE
    + """
        -- Of no row: a column with a default gave them a key, if it was not in the key until now.
        EXECUTE format('UPDATE %1$s SET %2$s = NULL WHERE %2$s IS NOT NULL AND audit_action IN'
                       ' (''truncate'', ''detach'', ''attach'', ''drop'')',
                       history, key_columns[1]);
    END IF;
"""
)

_MAKE_FUNCTION: LiteralString = """
        EXECUTE format(
            'CREATE OR REPLACE FUNCTION %s RETURNS %s LANGUAGE plpgsql SECURITY DEFINER '
            'SET search_path = '''' %s AS %L', signature, result,
            (SELECT string_agg(format('SET %s = %L', split_part(item, '=', 1),
                                      split_part(item, '=', 2)), ' ')
             FROM unnest(pinned[2:]) AS item), source);
"""
"""Makes the function `signature` of `result`, `source` and the settings `pinned`."""

_FUNCTIONS: LiteralString = (
    """
    FOR signature, result, source, pinned IN
        VALUES (history || '()', 'trigger', {trigger_body}, {settings}),
               (history || '(relation regclass, action text)', 'void', {record_body},
                {all_settings}::text[])
    LOOP"""
    + _MAKE_FUNCTION
    + """    END LOOP;
    EXECUTE format('COMMENT ON FUNCTION %s() IS %L', history, {function_comment});
"""
)

_TRIGGERS: LiteralString = """
    FOR signature, relation IN
        SELECT tgname, tgrelid FROM pg_catalog.pg_trigger
        WHERE tgfoid = (history || '()')::regprocedure AND NOT tgisinternal AND tgparentid = 0
          AND NOT (tgname = ANY (SELECT 'alembic_enterprise_' || name
                                 FROM (VALUES {triggers}) AS events (name, transition, type))
                   AND (tgrelid = root OR tgrelid IN (SELECT relid FROM pg_partition_tree(root))))
        ORDER BY tgrelid::bigint
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', signature, relation);
        untold := untold || root;  -- what of the history is of the table, nobody knows
    END LOOP;
    FOR signature, event, transition, relation, told IN
        SELECT 'alembic_enterprise_' || events.name, upper(events.name), events.transition,
               tables.oid, standing.fires AND standing.comment IS DISTINCT FROM {untold_comment}
        FROM (SELECT root AS oid UNION SELECT relid FROM pg_partition_tree(root)) AS tables
        CROSS JOIN (VALUES {triggers}) AS events (name, transition, type)
        LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = tables.oid AND NOT t.tgisinternal
             AND t.tgname = 'alembic_enterprise_' || events.name
        CROSS JOIN LATERAL (SELECT
            (t.tgfoid = (history || '()')::regprocedure AND t.tgenabled = 'A'
             AND t.tgtype = events.type AND t.tgqual IS NULL AND t.tgattr = ''
             AND (t.tgoldtable IS NOT NULL) = (events.transition LIKE '%OLD TABLE AS old_rows%')
             AND (t.tgnewtable IS NOT NULL) = (events.transition LIKE '%NEW TABLE AS new_rows%')
             AND coalesce(t.tgoldtable, 'old_rows') = 'old_rows'
             AND coalesce(t.tgnewtable, 'new_rows') = 'new_rows') IS TRUE,
            obj_description(t.oid, 'pg_trigger')) AS standing (fires, comment)
        WHERE (standing.fires AND standing.comment = {trigger_comment}) IS NOT TRUE
        ORDER BY tables.oid::bigint
    LOOP
        IF NOT told THEN
            untold := untold || relation;
        END IF;
        EXECUTE format('CREATE OR REPLACE TRIGGER %s AFTER %s ON %s %s FOR EACH STATEMENT '
                       'EXECUTE FUNCTION %s()', signature, event, relation, transition, history);
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s', relation, signature);
        EXECUTE format('COMMENT ON TRIGGER %s ON %s IS %L', signature, relation,
                       {trigger_comment});
    END LOOP;
"""

_OURS: LiteralString = """(
        SELECT 'TABLE ' || c.oid::regclass AS name, c.relowner AS owner,
               coalesce(c.relacl, acldefault('r', c.relowner)) AS acl, NULL AS of_columns
        FROM pg_partition_tree(history) JOIN pg_catalog.pg_class AS c ON c.oid = relid
        UNION ALL
        SELECT 'TABLE ' || relid, NULL, a.attacl, format('(%I) ', a.attname)
        FROM pg_partition_tree(history) CROSS JOIN LATERAL (
            SELECT * FROM pg_catalog.pg_attribute  -- by its index, not all of it
            WHERE attrelid = relid AND attacl IS NOT NULL OFFSET 0) AS a
        UNION ALL
        SELECT 'SEQUENCE ' || c.oid::regclass, NULL, c.relacl, NULL  -- owned by the table's owner
        FROM pg_catalog.pg_class AS c
        WHERE c.oid = {sequence}::regclass
        UNION ALL
        SELECT 'FUNCTION ' || p.oid::regprocedure, p.proowner,
               coalesce(p.proacl, acldefault('f', p.proowner)), NULL
        FROM pg_catalog.pg_proc AS p
        WHERE p.oid IN ((history || '()')::regprocedure,
                        (history || '(regclass, text)')::regprocedure)) AS ours"""

_RIGHTS: LiteralString = (
    """
    -- Where owners differ, somebody gave a part away: he must not get the rest by this.
    history_owner := coalesce(quote_ident(trail ->> 'owner')::regrole, (
        SELECT CASE WHEN count(DISTINCT owner) = 1 THEN min(owner::bigint)::oid::regrole
                    ELSE quote_ident(current_user)::regrole END
        FROM """
    + _OURS
    + """ WHERE of_columns IS NULL));
    FOR command IN
        SELECT format('GRANT %s ON SCHEMA %I TO %s', needs, place, needy)
        FROM pg_catalog.pg_class CROSS JOIN LATERAL (VALUES
            ('USAGE', history_owner), ('CREATE', history_owner),  -- for the partitions to come
            ('USAGE', relowner::regrole)) AS wanted (needs, needy)
        WHERE oid = root AND NOT has_schema_privilege(needy, place, needs)
    LOOP
        EXECUTE command;
    END LOOP;
    FOR command IN
        SELECT format('ALTER %s OWNER TO %s', name, history_owner) FROM """
    + _OURS
    + """
        WHERE owner <> history_owner AND of_columns IS NULL
    LOOP
        EXECUTE command;
    END LOOP;
    FOR command IN
        SELECT DISTINCT format('REVOKE ALL %sON %s FROM %s CASCADE', of_columns, name,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
        FROM """
    + _OURS
    + """, aclexplode(acl) WHERE grantee <> history_owner
    LOOP
        EXECUTE command;
    END LOOP;
    FOR command IN
        SELECT format('GRANT SELECT ON %s TO %I', relid, reader)
        FROM jsonb_array_elements_text(trail -> 'readers') AS reader, pg_partition_tree(history)
        UNION ALL
        SELECT format('GRANT USAGE ON SCHEMA %I TO %I', place, reader)
        FROM jsonb_array_elements_text(trail -> 'readers') AS reader
        UNION ALL
        -- Who makes and drops partitions of the table gives them the triggers, and records it.
        SELECT format('GRANT EXECUTE ON FUNCTION %1$s(), %1$s(regclass, text) TO %2$s', history,
                      relowner::regrole)
        FROM pg_catalog.pg_class WHERE oid = root AND relowner <> history_owner
    LOOP
        EXECUTE command;
    END LOOP;
"""
)

CAPTURE: LiteralString = (
    DECLARE
    + """    trail constant jsonb := {trail};
    shown_trail constant jsonb :=
        jsonb_set(trail, '{{exclude}}', (trail -> 'exclude') || {without}::jsonb);
    renamed constant jsonb := {renamed};
    place constant text := {place};
    column_name text;
    wanted_type text;
    bare_type text;
    live_type text;
    collated text;
    collation_differs boolean;
    lossy boolean;
    old_value text;
    key_columns text[];
    signature text;
    result text;
    source text;
    pinned text[];
    event text;
    transition text;
    relation regclass;
    told boolean;
    -- A history that was just made has columns of its own only.
    untold regclass[] := ARRAY(SELECT root WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute WHERE attrelid = history::regclass AND attnum > 0
           AND NOT attisdropped AND NOT starts_with(attname, 'audit_')));
    history_owner regrole;
    command text;
BEGIN
    -- Nobody writes until columns, functions and triggers are right together.
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', root);
"""
    + _HISTORY
    + _COLUMNS
    + _FUNCTIONS
    + _TRIGGERS
    + baseline.GAPS
    + """
    EXECUTE format('COMMENT ON TABLE %s IS %L', history, {comment});
"""
    + _RIGHTS
    + """END"""
)
"""Gives the history the columns of the table, and the table the functions and triggers that fill
it. What a history was told before changes went past it ends with `detach`.
"""


def expected(trail: Trail, schema: str) -> dict[str, Composable]:
    """What fills in `CAPTURE` besides what all blocks share: the catalog reader looks for it, too.

    Args:
        trail: what is kept.
        schema: that of the history.
    """
    root, history, shown = SQL("root"), SQL("history"), SQL("shown_trail")
    events = [
        SQL("({}, {}, {})").format(Literal(event), Literal(transition), Literal(kind))
        for event, (transition, kind) in capture.TRIGGERS.items()
    ]
    return {
        "columns": capture.columns(root, shown),
        "collated": capture.collated(SQL("a")),
        "key": capture.key(root),
        "first_other_type": Literal(FIRST_OTHER_TYPE),
        "trigger_body": trigger_body.body(root, history, shown),
        "record_body": recording.body(history),
        "never_null": Literal([*capture.NEVER_NULL]),
        "own_types": SQL("{}::jsonb").format(Literal(json.dumps(capture.OWN_TYPES))),
        "settings": capture.settings(shown),
        "all_settings": Literal([capture.SEARCH_PATH, *capture.TEXT_SETTINGS]),
        "function_comment": Literal(capture.comment(trail)),
        "triggers": SQL(", ").join(events),
        "view": Literal(Name(schema, view.NAME).text),
    }


DROP: LiteralString = (
    DECLARE
    + """    drop_history constant boolean := {drop_history};
    command text;
    signature text;
    result text;
    source text;
    pinned text[];
    other text;
    rows_held bigint := 0;
BEGIN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', root);"""
    + refusals.SHARED_HISTORY
    + """
    IF to_regclass(history) IS NOT NULL THEN"""
    + refusals.FOREIGN_HISTORY
    + """
    END IF;
    IF drop_history AND NOT {drop_rows} AND to_regclass(history) IS NOT NULL THEN"""
    + pieces.REFUSE_OLD_SNAPSHOT
    + """
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', history);
        EXECUTE format('SELECT count(*) FROM %s WHERE audit_action <> ''baseline''', history)
        INTO rows_held;
    END IF;
    IF rows_held > 0 THEN
        RAISE EXCEPTION '%: its history % holds % change(s). Keep it with op.drop_audit_trail(..., '
            'drop_history=False), or pass drop_rows=True to lose them', root, history, rows_held
            USING ERRCODE = {refused};
    END IF;
    IF NOT drop_history AND to_regclass(history) IS NOT NULL
            AND to_regprocedure(history || '(regclass, text)') IS NOT NULL THEN
        -- Its owner may have put anything there, which would run with the rights of who migrates.
        FOR signature, result, source, pinned IN
            VALUES (history || '(relation regclass, action text)', 'void', {record_body},
                    {all_settings}::text[])
        LOOP"""
    + _MAKE_FUNCTION
    + """
        END LOOP;
        EXECUTE format('SELECT %s(%L, ''detach'')', history, root);
    END IF;
    FOR command IN
        SELECT format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass)
        FROM pg_catalog.pg_trigger
        WHERE tgfoid = to_regprocedure(history || '()') AND NOT tgisinternal
        ORDER BY tgrelid::bigint
    LOOP
        EXECUTE command;
    END LOOP;
    EXECUTE format('DROP FUNCTION IF EXISTS %s(), %s(regclass, text)', history, history);
    IF to_regclass(history) IS NOT NULL THEN
        EXECUTE format('COMMENT ON TABLE %s IS %L', history, {kept_comment});
    END IF;
END"""
)
