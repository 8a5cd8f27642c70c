"""The text of the function that each trigger of an audited table calls.

PostgreSQL calls it once for each kind of change when a statement ends, with all rows that were
changed in that way, also by foreign keys. That need not be the order in which a row was changed:
CASCADE and SET NULL may meet in one row, a WITH may delete and insert one key, and what an AFTER
trigger FOR EACH ROW changes is told before the change that called it. So a call leaves a mark for
the next ones of the same statement: when that began, and a ">" for each level of triggers. One that
finds such a mark, and in the history the same key since then, compares its rows with those of the
table: what is not as it says any more goes before what the history has told last of that key. The
statements of a function or DO block have one mark, and come in order anyway: so an INSERT looks
only where triggers within it told something, and an UPDATE otherwise for keys told as gone.
"""

from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.audit.capture import (
    OWN_NAMES,
    ROOM,
    VARIABLES,
    columns,
    key,
    sequence,
    value,
)

# In these texts the arguments of format() are 1: the history, 2: the names of the columns that are
# kept, 3: what is kept of row n, 4: of row o, 5: whether n and o have the same key, 6: a column of
# the key, 7: _REQUIRE_ACTOR or nothing, 8: the sequence, 9: whether n and o are the same, 10: the
# setting of marks, 11: ROOM, 12: _IN_ORDER, 13: _REKEYED.

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

_EACH: LiteralString = _OLD + " FULL JOIN " + _NEW + " ON %5$s"
_GONE: LiteralString = _EACH + " WHERE n.%6$s IS NULL"
# A plan made for one row may meet millions. NOT EXISTS is a nested loop then: 20,000 rows after 20
# statements of one took 10 s, and 0.3 s with FULL JOIN, which has none and spills to disk. A JOIN
# with LIMIT 1 is one as well: 100,000 keys that all became others took 389 s.

_BEGAN: LiteralString = "extract(epoch FROM statement_timestamp())::pg_catalog.text"
# Of the statement; no setting changes how this is written.

_TOLD: LiteralString = (
    "(pg_trigger_depth() > 1 OR starts_with(current_setting(%10$L, true), " + _BEGAN + "))"
)
# Whether another call has told something of the same statement, or one less deep is to come.

_MORE: LiteralString = (
    _OLD + " LEFT JOIN " + _NEW + " ON true WHERE (%5$s) IS NOT TRUE OR " + _TOLD + " LIMIT 1"
)
# Whether some key before differs from some key now. Of several rows the second tells, and then the
# join is needed; for a statement of one row this costs half as much. LEFT, since a row that moves
# to a partition where a trigger refuses it is in old_rows alone. _TOLD is in the same query since
# the first use of each expression costs a transaction almost a microsecond.


def _latest(since: LiteralString) -> LiteralString:
    """What the history was told last of a key since then: one row of an index."""
    return (
        """LATERAL (
            SELECT o.audit_id, o.audit_at, o.audit_action IN ('delete', 'rekey') AS is_gone
            FROM %1$s AS o WHERE %5$s AND o.audit_at >= """
        + since
        + """
            ORDER BY o.audit_id DESC LIMIT 1) AS latest"""
    )


_THIS_MONTH: LiteralString = "date_trunc('month', statement_timestamp(), 'UTC')"
# A bound of partitions. With a later one, rows of a key from before it would be read for nothing.

_TOLD_BEFORE: LiteralString = (
    " AS n CROSS JOIN "
    + _latest(_THIS_MONTH)
    + """
                WHERE latest.audit_at >= statement_timestamp()
                  AND (any_told OR latest.is_gone) LIMIT 1"""
)

_IN_ORDER: LiteralString = (
    "INSERT INTO %1$s (\n            "
    + OWN_NAMES
    + """,
            %2$s)
        SELECT coalesce(greatest(latest.audit_id - %11$s + 1, (
                SELECT min(o.audit_id) FROM %1$s AS o
                WHERE %5$s AND o.audit_at >= $9 AND o.audit_at = latest.audit_at
                  AND o.audit_id > latest.audit_id - %11$s) - row_number() OVER (
                      PARTITION BY latest.audit_id ORDER BY found.number DESC)), found.number),
            coalesce(latest.audit_at, $1), $2, $3, $4, pg_current_xact_id(), $5, $6, $7,
            %3$s
        FROM changed AS n CROSS JOIN LATERAL (
            SELECT nextval(%8$L) AS number, (
                SELECT true FROM live AS o WHERE %5$s AND ($8 OR %9$s) LIMIT 1) IS NULL <> $8
                AS is_past OFFSET 0) AS found
        LEFT JOIN """
    + _latest("$9")
    + """
          ON found.is_past AND latest.audit_at >= statement_timestamp()"""
)
# Rows with an action: `$1` to `$7` are the history's own columns, `$8` is whether the action takes
# rows away, `$9` _THIS_MONTH, which the server knows when it plans this, and so leaves out older
# partitions. What is past goes before the latest of its key, and before what went there already.
# Of `live`, the table, one row is read for each by its key, and OFFSET 0 keeps the server from
# doing so twice; a query with EXISTS might read all of it.

_REKEYED: LiteralString = (
    "SELECT o.* FROM "
    + _GONE
    + "\n        UNION ALL SELECT o.* FROM "
    + _BOTH
    + """ AND %9$s
        WHERE (SELECT true FROM live AS n WHERE %5$s LIMIT 1) IS NULL
          AND (SELECT latest.is_gone FROM """
    + _latest("$9")
    + """
               WHERE latest.audit_at >= statement_timestamp()) IS NOT TRUE"""
)
# Keys that are there no more, and those that were there only for a while: two foreign keys with ON
# UPDATE CASCADE may change a key one after the other.

_CHECK_ORDER: LiteralString = (
    """
        began := """
    + _BEGAN
    + """;
        IF TG_OP = 'UPDATE' THEN
            SELECT bool_or(n.%6$s IS NULL),
                   bool_or(n.%6$s IS NULL) AND bool_or(n.%6$s IS NOT NULL AND o.%6$s IS NOT NULL)
            INTO rekeyed, is_unordered FROM """
    + _EACH
    + """;
        END IF;
        mark := current_setting(%10$L, true);
        level := began || repeat('>', pg_trigger_depth());
        IF starts_with(mark, level) IS NOT TRUE THEN
            PERFORM set_config(%10$L, level, true);
        END IF;
        -- What a trigger within this statement has told comes after what called it.
        any_told := rekeyed OR TG_OP = 'DELETE' OR starts_with(mark, level || '>');
        IF starts_with(mark, began) AND (any_told OR TG_OP = 'UPDATE') THEN
            IF TG_OP <> 'DELETE' THEN
                PERFORM FROM new_rows"""
    + _TOLD_BEFORE
    + """;
                is_unordered := is_unordered OR FOUND;
            END IF;
            IF rekeyed OR TG_OP = 'DELETE' THEN
                PERFORM FROM old_rows"""
    + _TOLD_BEFORE
    + """;
                is_unordered := is_unordered OR FOUND;
            END IF;
        END IF;
        IF is_unordered THEN  -- What is read of a table may run code of its owners.
            SELECT has_table_privilege(TG_RELID, 'SELECT') AND NOT row_security_active(TG_RELID)
                   AND bool_and(pg_has_role(relowner, current_user, 'MEMBER')
                                AND has_schema_privilege(relnamespace, 'USAGE'))
            INTO is_unordered FROM pg_catalog.pg_class
            WHERE oid IN (SELECT TG_RELID UNION ALL SELECT relid FROM pg_partition_tree(TG_RELID));
        END IF;
        IF is_unordered THEN
            FOREACH action IN ARRAY CASE TG_OP WHEN 'UPDATE' THEN ARRAY['rekey', 'update']
                                               ELSE ARRAY[lower(TG_OP)] END LOOP
                EXECUTE 'WITH live AS NOT MATERIALIZED (TABLE ' || TG_RELID::pg_catalog.regclass
                    || '), changed AS (' || CASE action WHEN 'rekey' THEN %13$L
                        WHEN 'delete' THEN 'TABLE old_rows' ELSE 'TABLE new_rows' END || ') '
                    || %12$L
                    USING audit_at, action, audit_actor, audit_context, audit_session_user,
                        audit_role, audit_application, action IN ('rekey', 'delete'),
                        """
    + _THIS_MONTH
    + """;
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
    is_unordered pg_catalog.bool;  -- rows may be told in another order than they were changed
    any_told pg_catalog.bool;  -- whatever was told of a key counts, not only that it is gone
    began pg_catalog.text;  -- the statement
    mark pg_catalog.text;  -- what another call has left
    level pg_catalog.text;  -- what this call leaves
    action pg_catalog.text;
BEGIN%7$s
    IF TG_OP = 'UPDATE' THEN
        PERFORM FROM """
    + _MORE
    + """;
        IF FOUND THEN
            PERFORM FROM """
    + _GONE
    + " OR (SELECT "
    + _TOLD
    + """) LIMIT 1;
        END IF;
        IF NOT FOUND THEN  -- Nothing that another call has to tell of these rows comes before.
        """
    + _insert("update", "%3$s", _NEW)
    + """
            RETURN NULL;
        END IF;
    ELSIF TG_OP = 'TRUNCATE' THEN
        PERFORM %1$s(TG_RELID, 'truncate');
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' OR """
    + _TOLD
    + """ THEN"""
    + _CHECK_ORDER
    + """
    ELSE
        mark := set_config(%10$L, """
    + _BEGAN
    + """ || '>', true);  -- costs less than PERFORM
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
    ELSIF TG_OP = 'INSERT' THEN
        """
    + _insert("insert", "%3$s", _NEW)
    + """
    ELSE
        """
    + _insert("delete", "%4$s", _OLD)
    + """
    END IF;
    RETURN NULL;
END
"""
)

_EXPECTED: LiteralString = r"""(
SELECT format({body}, VARIADIC arguments || ARRAY[format({in_order}, VARIADIC arguments),
                                                  format({rekeyed}, VARIADIC arguments)])
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
CROSS JOIN LATERAL (SELECT ARRAY[
    {history}, kept.names, kept.new_values, kept.old_values, keys.same, keys.one,
    CASE WHEN ({trail} -> 'require_actor')::boolean THEN {require_actor} END, {sequence},
    kept.alike,
    'alembic_enterprise.told_' || left(encode(sha256(convert_to(
        {history}, getdatabaseencoding())), 'hex'), 16),
    {room}]) AS given (arguments))"""


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
        room=Literal(str(ROOM)),
        new=value("n"),
        old=value("o"),
        columns=columns(relation, trail),
        key=key(relation),
    )
