"""The rows that a history lacks: those from before its trail, and those of gaps in it.

A gap is marked on the triggers of the table or partition by one block, and filled by another, which
may run while others write.
"""

from typing import LiteralString

from psycopg.sql import SQL, Composable, Literal

from alembic_enterprise.audit import capture
from alembic_enterprise.audit.operations import refusals
from alembic_enterprise.partitions.operations import pieces

DECLARE: LiteralString = """DECLARE
    root constant regclass := {table};
    history constant text := {history};
"""

_TOPMOST: LiteralString = """(
        SELECT DISTINCT one FROM unnest(untold) AS one
        WHERE NOT EXISTS (SELECT FROM pg_partition_ancestors(one) AS above
                          WHERE above <> one AND above = ANY (untold)))"""
"""Of the tables in `untold`, those that are not in another one of them."""

GAPS: LiteralString = (
    """
    untold := CASE {copied} WHEN 'all' THEN ARRAY[root] WHEN 'gaps' THEN untold ELSE '{{}}' END;
    FOR relation IN SELECT one FROM """
    + _TOPMOST
    + """ AS topmost
    LOOP
        IF obj_description(history::regclass, 'pg_class') IS DISTINCT FROM {kept_comment} THEN
            EXECUTE format('SELECT %s(%L, ''detach'') FROM %s LIMIT 1', history, relation, history);
        END IF;
        FOR signature IN
            SELECT tgname FROM pg_catalog.pg_trigger
            WHERE tgrelid = relation AND tgfoid = (history || '()')::regprocedure
        LOOP
            EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', signature, relation,
                           {untold_comment});
        END LOOP;
        -- Every change from here on has a greater number, whichever rows the baseline finds.
        PERFORM set_config('alembic_enterprise.baseline', nextval({sequence})::text, false);
    END LOOP;
"""
)
"""Ends what the history tells of tables that it was not told all of, and marks them: `BASELINE`
copies their rows. A history that was kept has ended when its trail was dropped.
"""

BASELINE: LiteralString = (
    DECLARE
    + """    trail constant jsonb := {trail};
"""
    + capture.VARIABLES
    + """
    untold constant regclass[] := ARRAY(
        SELECT tgrelid::regclass FROM pg_catalog.pg_trigger
        WHERE tgfoid = (history || '()')::regprocedure
          AND obj_description(oid, 'pg_trigger') = {untold_comment});
    session_row_security constant text := current_setting('row_security');
    session_settings constant text[] := ARRAY(
        SELECT split_part(item, '=', 1) || '=' || current_setting(split_part(item, '=', 1))
        FROM unnest({text_settings}::text[]) AS item);
    names text;
    new_values text;
    relation regclass;
    signature text;
BEGIN
    IF cardinality(untold) = 0 THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE %s IN ROW EXCLUSIVE MODE', history);"""
    + refusals.FOREIGN_CODE
    + pieces.SEE_ALL_ROWS
    + """
    PERFORM set_config(split_part(item, '=', 1), split_part(item, '=', 2), true)
    FROM unnest({text_settings}::text[]) AS item;
    SELECT string_agg(quoted, ', ' ORDER BY position), string_agg({value}, ', ' ORDER BY position)
    INTO names, new_values FROM ({columns}) AS columns;
    FOR relation IN SELECT one FROM """
    + _TOPMOST
    + """ AS topmost
    LOOP
        EXECUTE format(
            'INSERT INTO %s (audit_id, audit_at, audit_action, audit_actor, audit_context,'
            ' audit_transaction, audit_session_user, audit_role, audit_application, %s)'
            ' SELECT $1, $2, ''baseline'', $3, $4, $5, $6, $7, $8, %s FROM %s AS n',
            history, names, new_values, relation)
        USING current_setting('alembic_enterprise.baseline')::bigint, audit_at, audit_actor,
            audit_context, pg_current_xact_id(), audit_session_user, audit_role,
            audit_application;
    END LOOP;
    FOR signature, relation IN
        SELECT tgname, tgrelid FROM pg_catalog.pg_trigger
        WHERE tgrelid = ANY (untold) AND tgfoid = (history || '()')::regprocedure
    LOOP
        EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', signature, relation, {trigger_comment});
    END LOOP;
    PERFORM set_config(split_part(item, '=', 1), split_part(item, '=', 2), true)
    FROM unnest(session_settings) AS item;"""
    + pieces.SEE_AS_BEFORE
    + """END"""
)
"""Copies the rows of tables that are marked, while others write: what they change is told after it,
or is in it already and told once more.
"""

VALUES: dict[str, Composable] = {
    "columns": capture.columns(SQL("root"), SQL("trail")),
    "value": capture.value("n"),
    "text_settings": Literal([*capture.TEXT_SETTINGS]),
}
"""What fills in `BASELINE` besides what all blocks share."""
