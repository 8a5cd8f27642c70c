"""The text of the function that records what no trigger sees: what becomes of a whole table.

Its settings are all that `capture` names; it runs as the trigger functions do.
"""

from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.audit import capture

_BODY: LiteralString = (
    """#variable_conflict use_column
DECLARE"""
    + capture.VARIABLES
    + """
    details pg_catalog.jsonb := (
        SELECT jsonb_build_object('relation', n.nspname || '.' || c.relname)
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = relation);
    bound pg_catalog.text;
    parts pg_catalog.text[];
    whole pg_catalog.oid;
BEGIN
    IF action NOT IN ('truncate', 'detach', 'attach', 'drop') THEN
        RAISE EXCEPTION '%% is not an action on a whole table: write truncate, detach, attach or '
            'drop', action USING ERRCODE = 'AE001';
    END IF;
    FOR bound IN
        SELECT pg_get_expr(c.relpartbound, c.oid)
        FROM pg_partition_ancestors(relation) WITH ORDINALITY AS levels (oid, height)
        JOIN pg_catalog.pg_class AS c ON c.oid = levels.oid
        WHERE c.relispartition ORDER BY height DESC
    LOOP
        parts := regexp_match(bound, 'FROM [(]([^,]*)[)] TO [(]([^,]*)[)]$');
        details := details || CASE
            WHEN CASE WHEN parts IS NULL THEN details ? 'modulus' ELSE details ? 'from' END
            THEN jsonb_build_object('exact', false)  -- there is no place for another level
            WHEN parts IS NOT NULL THEN jsonb_build_object(
                'from', trim(BOTH '''' FROM nullif(parts[1], 'MINVALUE')),
                'to', trim(BOTH '''' FROM nullif(parts[2], 'MAXVALUE')))
            WHEN starts_with(bound, 'FOR VALUES WITH ') THEN jsonb_build_object(
                'modulus', substring(bound FROM 'modulus ([0-9]+)')::pg_catalog.int4,
                'remainder', substring(bound FROM 'remainder ([0-9]+)')::pg_catalog.int4)
            ELSE jsonb_build_object('exact', false) END;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = relation AND relispartition) THEN
        -- A partition that was detached by hand still calls this, and is not the whole table.
        SELECT c.oid INTO whole
        FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
        WHERE t.tgfoid = to_regprocedure(%3$L) AND NOT c.relispartition
          AND starts_with(t.tgname, 'alembic_enterprise_')
        ORDER BY c.relkind, c.oid::pg_catalog.int8 LIMIT 1;
        IF whole <> relation THEN
            details := details || jsonb_build_object('exact', false);
        END IF;
    END IF;
    IF audit_context IS NOT NULL THEN
        details := details || jsonb_build_object('context', audit_context);
    END IF;
    INSERT INTO %1$s (
            """
    + capture.OWN_NAMES
    + """)
        VALUES (nextval(%2$L), audit_at, action, audit_actor, details, pg_current_xact_id(),
            audit_session_user, audit_role, audit_application);
END
"""
)


def body(history: Composable) -> Composed:
    """An SQL expression: what the function that records what no trigger sees should be.

    It is called `history(relation regclass, action text)`: TRUNCATE, and DETACH, ATTACH and DROP of
    a partition. Which rows it concerns goes into `audit_context`: none of these keys for the whole
    table; `from` and `to`, of a range in ISO form and UTC; `modulus` and `remainder`; and `exact`,
    false where there are bounds besides, as of a list, or it is neither the table nor a partition.

    Args:
        history: an SQL expression, as for `trigger_body.body`.
    """
    return SQL("format({}, {}, {}, {} || '()')").format(
        Literal(_BODY), history, capture.sequence(history), history
    )
