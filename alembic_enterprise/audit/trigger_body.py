"""The text of the function that each trigger of an audited table calls.

PostgreSQL calls it once for each kind of change when a statement ends, with all rows that were
changed in that way, also by foreign keys. That need not be the order in which a row was changed:
CASCADE and SET NULL may meet in one row, a MERGE may delete and insert one key, and what an AFTER
trigger FOR EACH ROW changes is told before the change that called it. So a call leaves a mark for
the next ones of the same statement. One that finds a mark which may mean this, and the same key
in the history since the statement began, compares its rows with those of the table: what is not
as it says any more goes before what the history has told last of that key.
"""

from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.audit.capture import OWN_NAMES, VARIABLES, columns, key, sequence, value

# In these texts the arguments of format() are 1: the history, 2: the names of the columns that are
# kept, 3: what is kept of row n, 4: of row o, 5: whether n and o have the same key, 6: a column of
# the key, 7: _REQUIRE_ACTOR or nothing, 8: the sequence, 9: whether n and o are the same, 10: the
# setting of marks, 11: _IN_ORDER, 12: _REKEYED.

_REQUIRE_ACTOR: LiteralString = """
    IF audit_actor IS NULL THEN
        IF TG_OP = 'DELETE' THEN
            PERFORM FROM old_rows LIMIT 1;
        ELSIF TG_OP <> 'TRUNCATE' THEN
            PERFORM FROM new_rows LIMIT 1;
        END IF;
        IF NOT FOUND AND TG_OP <> 'TRUNCATE' THEN
            RETURN NULL;  -- nothing was changed
        END IF;
        RAISE EXCEPTION '%.%: changes need an actor: write within `with actor("...")` on an '
            'engine given to install(), or run '
            'SELECT set_config(''alembic_enterprise.actor'', ''...'', true) first',
            TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'AE001';
    END IF;"""


def _insert(action: LiteralString, values: LiteralString, source: LiteralString) -> LiteralString:
    # With a constant of no type the server makes each row twice: for the SELECT, and for the table.
    own = (
        OWN_NAMES.replace("audit_id", "nextval(%8$L)")
        .replace("audit_action", "'" + action + "'::pg_catalog.text")
        .replace("audit_transaction", "pg_current_xact_id()")
    )
    return (
        "INSERT INTO %1$s (\n            "
        + OWN_NAMES
        + ",\n            %2$s)\n        SELECT "
        + own
        + ",\n            "
        + values
        + "\n        FROM "
        + source
        + ";"
    )


_NEW: LiteralString = "new_rows AS n"
_OLD: LiteralString = "old_rows AS o"
_BOTH: LiteralString = _OLD + " JOIN " + _NEW + " ON %5$s"

_GONE: LiteralString = _OLD + " FULL JOIN " + _NEW + " ON %5$s WHERE n.%6$s IS NULL"
# A plan made for one row may meet millions. NOT EXISTS is a nested loop then: 20,000 rows after 20
# statements of one took 10 s, and 0.3 s with FULL JOIN, which has none and spills to disk.

_OTHER: LiteralString = _OLD + " LEFT JOIN " + _NEW + " ON true WHERE (%5$s) IS NOT TRUE LIMIT 1"
# Whether any key before is another one than any of the keys now. Of several rows the second tells,
# and then the join is needed; for a statement of one row this costs half as much.

_LATEST: LiteralString = """LATERAL (
            SELECT o.audit_id, o.audit_at FROM %1$s AS o
            WHERE %5$s
              AND o.audit_at >= date_trunc('month', statement_timestamp() - interval '1 day', 'UTC')
            ORDER BY o.audit_id DESC LIMIT 1) AS latest"""
# What the history has told last of a key: one row of an index, in the partitions of now.

_EARLIER: LiteralString = (
    " AS n CROSS JOIN "
    + _LATEST
    + "\n            WHERE latest.audit_at >= statement_timestamp() LIMIT 1"
)

_IN_ORDER: LiteralString = (
    "INSERT INTO %1$s (\n            "
    + OWN_NAMES
    + """,
            %2$s)
        SELECT coalesce(latest.audit_id - 1, nextval(%8$L)), coalesce(latest.audit_at, $1), $2, $3,
            $4, pg_current_xact_id(), $5, $6, $7,
            %3$s
        FROM changed AS n CROSS JOIN LATERAL (
            SELECT (SELECT true FROM live AS o WHERE %5$s AND ($8 OR %9$s) LIMIT 1) IS NULL <> $8
                AS is_past OFFSET 0) AS found
        LEFT JOIN """
    + _LATEST
    + """
          ON found.is_past AND latest.audit_at >= statement_timestamp()"""
)
# Rows with an action: `$8` is whether it takes rows away. Of `live`, the table, one row is read for
# each by its key; a query with EXISTS might read all of it.

_REKEYED: LiteralString = (
    "SELECT o.* FROM "
    + _GONE
    + "\n        UNION ALL SELECT o.* FROM "
    + _BOTH
    + """ AND %9$s
        WHERE (SELECT true FROM live AS n WHERE %5$s LIMIT 1) IS NULL"""
)
# Keys that are there no more, and those that were there only for a while: two foreign keys with ON
# UPDATE CASCADE may change a key one after the other.

_CHECK_ORDER: LiteralString = (
    """
        depth := pg_trigger_depth();
        mark := current_setting(%10$L, true);
        IF starts_with(mark, statement_timestamp()::pg_catalog.text) IS NOT TRUE THEN
            mark := statement_timestamp();
        ELSIF rekeyed OR strpos(mark, repeat('>', depth)) > 0  -- of a trigger in this statement
                OR mark ~ (CASE TG_OP WHEN 'DELETE' THEN 'INSERT|UPDATE' WHEN 'UPDATE' THEN 'DELETE'
                                      ELSE '-$' END) THEN
            IF TG_OP <> 'DELETE' THEN
                PERFORM FROM new_rows"""
    + _EARLIER
    + """;
                is_again := FOUND;
            END IF;
            IF rekeyed OR TG_OP = 'DELETE' THEN
                PERFORM FROM old_rows"""
    + _EARLIER
    + """;
                is_again := is_again IS TRUE OR FOUND;
            END IF;
        END IF;
        IF rekeyed AND is_again IS NOT TRUE THEN
            PERFORM FROM """
    + _BOTH
    + """ LIMIT 1;
            is_again := FOUND;
        END IF;
        action := repeat('>', depth - 1) || TG_OP;
        IF strpos(mark, action) = 0 AND (rekeyed OR action <> 'UPDATE') THEN
            mark := set_config(%10$L, mark || action, true);
        END IF;
        IF depth > 1 THEN
            PERFORM nextval(%8$L);  -- for what goes before
        END IF;
        IF is_again THEN  -- What is read of a table may run code of its owner.
            SELECT pg_has_role(relowner, current_user, 'MEMBER')
                   AND has_table_privilege(oid, 'SELECT') AND NOT row_security_active(oid)
            INTO is_again FROM pg_catalog.pg_class WHERE oid = TG_RELID;
        END IF;
        IF is_again THEN
            FOREACH action IN ARRAY CASE TG_OP WHEN 'UPDATE' THEN ARRAY['rekey', 'update']
                                               ELSE ARRAY[lower(TG_OP)] END LOOP
                EXECUTE 'WITH live AS NOT MATERIALIZED (TABLE ' || TG_RELID::pg_catalog.regclass
                    || '), changed AS (' || CASE action WHEN 'rekey' THEN %12$L
                        WHEN 'delete' THEN 'TABLE old_rows' ELSE 'TABLE new_rows' END || ') '
                    || %11$L
                    USING audit_at, action, audit_actor, audit_context, audit_session_user,
                        audit_role, audit_application, action IN ('rekey', 'delete');
            END LOOP;
            RETURN NULL;
        END IF;"""
)

_BODY: LiteralString = (
    """#variable_conflict use_variable
DECLARE"""
    + VARIABLES
    + """
    rekeyed pg_catalog.bool;  -- keys are not there any more
    is_again pg_catalog.bool;  -- rows may have been changed more than once
    depth pg_catalog.int4;
    mark pg_catalog.text;
    action pg_catalog.text;
BEGIN%7$s
    IF TG_OP = 'UPDATE' THEN  -- which has the most to do
        PERFORM FROM """
    + _OTHER
    + """;
        IF NOT FOUND AND coalesce(current_setting(%10$L, true), '') = ''
                AND pg_trigger_depth() = 1 THEN  -- one row
        """
    + _insert("update", "%3$s", _NEW)
    + """
            RETURN NULL;
        END IF;
        IF FOUND THEN  -- several keys, or another one
            PERFORM FROM """
    + _GONE
    + """ LIMIT 1;
            rekeyed := FOUND;
        END IF;
    END IF;
    IF TG_OP <> 'TRUNCATE' AND (rekeyed OR coalesce(current_setting(%10$L, true), '') <> ''
                                OR pg_trigger_depth() > 1) THEN"""
    + _CHECK_ORDER
    + """
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF rekeyed THEN
        """
    + _insert("rekey", "%4$s", _GONE)
    + """
        END IF;
        """
    + _insert("update", "%3$s", _NEW)
    + """
        RETURN NULL;
    ELSIF TG_OP = 'INSERT' THEN
        """
    + _insert("insert", "%3$s", _NEW)
    + """
    ELSIF TG_OP = 'DELETE' THEN
        """
    + _insert("delete", "%4$s", _OLD)
    + """
    ELSE
        PERFORM %1$s(TG_RELID, 'truncate');
        RETURN NULL;
    END IF;
    IF mark IS NULL THEN
        mark := set_config(%10$L, concat(statement_timestamp(), TG_OP), true);
    END IF;
    RETURN NULL;
END
"""
)

_EXPECTED: LiteralString = r"""(
SELECT format({body}, {history}, kept.names, kept.new_values, kept.old_values, keys.same,
              keys.one, CASE WHEN ({trail} -> 'require_actor')::boolean THEN {require_actor} END,
              {sequence}, kept.alike, marks.setting,
              format({in_order}, {history}, kept.names, kept.new_values, NULL, keys.same, NULL,
                     NULL, {sequence}, kept.alike),
              format({rekeyed}, NULL, NULL, NULL, NULL, keys.same, keys.one, NULL, NULL,
                     kept.alike))
FROM (SELECT string_agg(quoted, E',\n            ' ORDER BY position) AS names,
             string_agg({new}, E',\n            ' ORDER BY position) AS new_values,
             string_agg({old}, E',\n            ' ORDER BY position) AS old_values,
             format('ROW(%s)::pg_catalog.record OPERATOR("pg_catalog".*=) ROW(%s)',
                    string_agg('n.' || quoted, ', ' ORDER BY position),
                    string_agg('o.' || quoted, ', ' ORDER BY position)) AS alike
      FROM ({columns}) AS columns) AS kept
CROSS JOIN (SELECT string_agg(format('n.%s %s o.%s', quoted, equals, quoted),
                              ' AND ' ORDER BY position) AS same,
                   min(quoted) AS one
            FROM ({key}) AS key_columns HAVING count(*) > 0) AS keys
CROSS JOIN (SELECT 'alembic_enterprise.told_' || left(encode(sha256(convert_to(
                       {history}, getdatabaseencoding())), 'hex'), 16) AS setting) AS marks)"""


def body(relation: Composable, history: Composable, trail: Composable) -> Composed:
    """An SQL expression: what the trigger function of a table should be (`pg_proc.prosrc`).

    Args:
        relation: an SQL expression, the oid of the audited table, not of a partition of it.
        history: an SQL expression, the history's schema and name as text, as `qualified` quotes
            them; the functions are called the same.
        trail: an SQL expression, the `Trail` as jsonb; names that it excludes need not exist.

    Returns:
        Text; NULL for a table without a primary key.
    """
    return SQL(_EXPECTED).format(
        body=Literal(_BODY),
        in_order=Literal(_IN_ORDER),
        rekeyed=Literal(_REKEYED),
        history=history,
        sequence=sequence(history),
        trail=trail,
        require_actor=Literal(_REQUIRE_ACTOR),
        new=value("n"),
        old=value("o"),
        columns=columns(relation, trail),
        key=key(relation),
    )
