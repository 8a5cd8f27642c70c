"""What captures changes: triggers, comments, and of the functions all but the body.

What depends on the columns of a table is an SQL expression, evaluated by the server from the
catalog as it is then. The blocks that make a function use the same expression as the reader that
looks whether a function is still what it should be.

The functions run with the rights of the history's owner, so nothing in them may be found along a
search_path that a caller can change: it is empty, and types and tables are written with their
schema, since a temporary one is found even then (PostgreSQL docs, "Writing SECURITY DEFINER
Functions Safely"). Their variables are called as the history's own columns; columns of the
audited table are written with the name of their row, and one of such a name must be excluded.
"""

import json
from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.audit.model import Trail
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import triggers
from alembic_enterprise.registry import OWNERSHIP

HISTORY_COMMENT = OWNERSHIP + "audit trail"
"""What marks a history that a trail writes to."""

KEPT_COMMENT = OWNERSHIP + "audit history"
"""What marks a history whose trail was dropped."""

TRIGGER_COMMENT = triggers.ON_EACH_PARTITION
"""What marks our triggers; whoever makes a partition gives it those of the table that have it."""

UNTOLD_COMMENT = triggers.WITH_ROWS_UNTOLD
"""What marks them where the history does not know rows that are there."""

TRIGGERS: dict[str, tuple[LiteralString, int]] = {
    "insert": ("REFERENCING NEW TABLE AS new_rows", 4),
    "update": ("REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows", 16),
    "delete": ("REFERENCING OLD TABLE AS old_rows", 8),
    "truncate": ("", 32),
}
"""The triggers by event: what each refers to, and its `pg_trigger.tgtype`.

Each is called `alembic_enterprise_<event>`, fires after each statement, and always: whatever
`session_replication_role` is. What a subscription applies are no statements, but for its first copy
and TRUNCATE: row triggers alone fire for it (PostgreSQL docs, "Logical Replication", Architecture).
"""

OWN_TYPES: dict[str, str] = {
    "audit_id": "pg_catalog.int8 NOT NULL",
    "audit_at": "pg_catalog.timestamptz NOT NULL",
    "audit_action": "pg_catalog.text NOT NULL",
    "audit_actor": "pg_catalog.text",
    "audit_context": "pg_catalog.jsonb",
    "audit_transaction": "pg_catalog.xid8 NOT NULL",
    "audit_session_user": "pg_catalog.name NOT NULL",
    "audit_role": "pg_catalog.name NOT NULL",
    "audit_application": "pg_catalog.text",
}
"""The first columns of every history; those of the table follow, as `columns` gives them.

The action is "insert", "update", "delete", "rekey" (the key that a row had before it got another)
or "baseline" (it was there when the trail began); or it is "truncate", "detach", "attach" or
"drop", of a whole table or partition.
"""


OWN_COLUMNS = ", ".join(f"{name} {kind}" for name, kind in OWN_TYPES.items())
"""The same, as CREATE TABLE has them."""

NEVER_NULL = tuple(name for name, kind in OWN_TYPES.items() if kind.endswith("NOT NULL"))
"""Those of them that are NOT NULL. No other column is, as a truncate has no values."""


ROOM = 16
"""How far the numbers that a sequence gives (`audit_id`) are apart.

What was done before something that is told already goes between.
"""


def comment(trail: Trail) -> str:
    """The comment of a trigger function, from which the trail is read back."""
    return OWNERSHIP + json.dumps(trail.to_json(), sort_keys=True)


def policy(trail: Trail) -> Policy:
    """The policy of a history: partitions by month, which the scheduled job makes and retires."""
    return Policy(
        "month", retain=trail.retain, on_expire="detach" if trail.retain is None else "drop"
    )


_COLUMNS = SQL("""SELECT a.attnum AS position, a.attname AS name,
       '"' || replace(a.attname, '"', '""') || '"' AS quoted,
       CASE WHEN {trail} -> 'mask' ? a.attname THEN 'mask'
            WHEN {trail} -> 'hash' ? a.attname THEN 'hash' ELSE 'as it is' END AS kept,
       CASE WHEN ({trail} -> 'mask') || ({trail} -> 'hash') ? a.attname THEN 'text'
            ELSE format_type(base.type, base.modifier) END AS type,
       CASE WHEN ({trail} -> 'mask') || ({trail} -> 'hash') ? a.attname THEN 'text'
            ELSE format_type(base.type, -1) END AS bare,
       CASE WHEN ({trail} -> 'mask') || ({trail} -> 'hash') ? a.attname THEN ''
            ELSE {collated} END AS collated
FROM pg_catalog.pg_attribute AS a
CROSS JOIN LATERAL (
    WITH RECURSIVE domains AS (
        SELECT t.oid AS type, a.atttypmod AS modifier, t.typtype, t.typbasetype, t.typtypmod
        FROM pg_catalog.pg_type AS t WHERE t.oid = a.atttypid
        UNION ALL
        SELECT t.oid, domains.typtypmod, t.typtype, t.typbasetype, t.typtypmod FROM domains
        JOIN pg_catalog.pg_type AS t ON t.oid = domains.typbasetype WHERE domains.typtype = 'd')
    SELECT domains.type, domains.modifier FROM domains WHERE domains.typtype <> 'd') AS base
WHERE a.attrelid = {relation} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
  AND NOT {trail} -> 'exclude' ? a.attname""")


def columns(relation: Composable, trail: Composable) -> Composed:
    """A query: the columns of a table that its history keeps.

    Args:
        relation: an SQL expression, the oid of the table.
        trail: an SQL expression, the `Trail` as jsonb; names that it excludes need not exist.

    Returns:
        `position, name, quoted, kept ('as it is', 'mask' or 'hash'), type, bare, collated`. The
        type is as `format_type` prints it; of a domain it is the type beneath, whose values need no
        checking. `bare` is the type without length or precision, which a history has where values
        that were kept before need not fit. `collated` is as `collated` gives it.
    """
    return _COLUMNS.format(relation=relation, trail=trail, collated=collated(SQL("a")))


_COLLATED = SQL("""coalesce((
           SELECT format(' COLLATE "%s"."%s"', replace(n.nspname, '"', '""'),
                         replace(c.collname, '"', '""'))
           FROM pg_catalog.pg_collation AS c
           JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
           WHERE c.oid = {attribute}.attcollation AND NOT c.collisdeterministic), '')""")


def collated(attribute: Composable) -> Composed:
    """An SQL expression: the COLLATE of a column, where it takes values for equal that differ.

    A key of that kind is the same one however it is written, in the history as in the table.

    Args:
        attribute: the alias of a row of pg_attribute.
    """
    return _COLLATED.format(attribute=attribute)


# The operators of the primary key's index: `=` of a type from an extension is in another schema.
# The index of PRIMARY KEY (..., WITHOUT OVERLAPS) is GiST, where `=` of ranges has the number 18.
# Each is looked up by itself: the order of so many joins takes the server longer than to run them.
_KEY = SQL("""SELECT a.attname AS name, '"' || replace(a.attname, '"', '""') || '"' AS quoted, (
           SELECT format('OPERATOR("%s".%s)', replace(n.nspname, '"', '""'), o.oprname)
           FROM pg_catalog.pg_opclass AS c JOIN pg_catalog.pg_amop AS m
               ON m.amopfamily = c.opcfamily
               AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
               AND m.amopstrategy = CASE WHEN x.indisexclusion AND c.opcintype IN (
                   'pg_catalog.anyrange'::regtype, 'pg_catalog.anymultirange'::regtype)
                   THEN 18 ELSE 3 END
           JOIN pg_catalog.pg_operator AS o ON o.oid = m.amopopr
           JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
           WHERE c.oid = k.class) AS equals, k.position
FROM pg_catalog.pg_index AS x
CROSS JOIN unnest(x.indkey, x.indclass) WITH ORDINALITY AS k (number, class, position)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number
WHERE x.indrelid = {relation} AND x.indisprimary AND k.position <= x.indnkeyatts OFFSET 0""")


def key(relation: Composable) -> Composed:
    """A query: the columns of a table's primary key, as `name, quoted, equals, position`."""
    return _KEY.format(relation=relation)


VARIABLES: LiteralString = """
    audit_at constant pg_catalog.timestamptz := clock_timestamp();
    audit_actor constant pg_catalog.text :=
        nullif(current_setting('alembic_enterprise.actor', true), '');
    audit_context constant pg_catalog.jsonb :=
        nullif(current_setting('alembic_enterprise.context', true), '')
        ::pg_catalog.jsonb;
    audit_session_user constant pg_catalog.name := session_user;
    audit_role constant pg_catalog.name :=
        coalesce(nullif(current_setting('role'), 'none')::pg_catalog.name, audit_session_user);
    audit_application constant pg_catalog.text := current_setting('application_name');"""

OWN_NAMES: LiteralString = (
    "audit_id, audit_at, audit_action, audit_actor, audit_context, audit_transaction,\n"
    "            audit_session_user, audit_role, audit_application"
)
"""Their names, as an INSERT has them."""

_VALUE: LiteralString = """CASE kept
    WHEN 'as it is' THEN format('%s.%s', {row}, quoted)
    WHEN 'mask' THEN format('CASE WHEN %s.%s IS DISTINCT FROM NULL THEN ''***'' END', {row}, quoted)
    ELSE format('CASE WHEN %1$s.%2$s IS DISTINCT FROM NULL THEN '
                'encode(sha256(convert_to(concat(%1$s.%2$s), ''%3$s'')), ''hex'') END',
                {row}, quoted, CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII'
                                                          ELSE 'UTF8' END) END"""


def value(row: LiteralString) -> Composed:
    """An SQL expression over `columns`: how the history gets a column of the row called `row`.

    `concat` uses the output of the type, where a cast could be somebody else's function. What
    is hashed is UTF-8, whatever the database is in; in SQL_ASCII, which may hold any bytes, these.
    """
    return SQL(_VALUE).format(row=Literal(row))


def qualified(schema: Composable, name: Composable) -> Composed:
    """An SQL expression: two names (expressions too) as one text, both always quoted.

    `quote_ident` depends on a setting of the session, and on the keywords of a release.
    """
    quoted = SQL("""'"' || replace({}, '"', '""') || '"'""")
    return SQL("({} || '.' || {})").format(quoted.format(schema), quoted.format(name))


def sequence(history: Composable) -> Composed:
    """An SQL expression: the name of the sequence that numbers a history, as its own is given."""
    return SQL("""(left({}, -1) || '_id"')""").format(history)


SEARCH_PATH = 'search_path=""'
"""The first setting of these functions and of that in `recording` (`pg_proc.proconfig`)."""

TEXT_SETTINGS = (
    "TimeZone=UTC",
    "DateStyle=ISO, YMD",
    "IntervalStyle=postgres",
    "bytea_output=hex",
    "extra_float_digits=1",
)
"""The settings that the text of a value depends on, pinned where there is such a text."""


def settings(trail: Composable) -> Composed:
    """An SQL expression: the settings of the trigger function (`pg_proc.proconfig`).

    Those of `recording` are all of them: it prints bounds.
    """
    pinned = SQL("CASE WHEN {} -> 'hash' <> '[]' THEN {}::text[] END")
    return SQL("({}::text[] || {})").format(
        Literal([SEARCH_PATH]), pinned.format(trail, Literal([*TEXT_SETTINGS]))
    )
