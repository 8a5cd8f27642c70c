"""Triggers that have to stand on each partition, too, as pieces of PL/pgSQL and as statements.

PostgreSQL gives a new partition the row triggers of its table, and none of the statement triggers:
those fire for statements on the very relation that they stand on (PostgreSQL docs, "Overview of
Trigger Behavior"). A statement trigger whose comment is `ON_EACH_PARTITION` is meant for every
partition. So whoever makes one here gives it those of its table. And whoever takes one away says so
to the trigger's function, in its form with the arguments (regclass, text), where there is one that
runs with its owner's rights. What they do, nobody here needs to know.

But it runs in the session of who calls, and what it leaves there, a search_path for instance,
counts for whatever comes after it, with the caller's rights. So it is called only when nobody gains
by that: when all who can log in as its owner can act as the caller anyway; or when that is so of
the table's owner, who chose the trigger's function, and both functions have one owner. Otherwise
the operation is refused, since nobody would see what is missing where nothing was recorded.
"""

from typing import LiteralString

from psycopg.sql import Composable, Composed, Literal

from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import REFUSED, Name, do_block

ON_EACH_PARTITION = OWNERSHIP + "on each partition"
"""How the comment of a trigger begins that every partition of its table should have."""

WITH_ROWS_UNTOLD = ON_EACH_PARTITION + ", with rows that it was not told of"
"""The comment where rows were there before the trigger; whoever learns of them takes it back."""

_MARKED: LiteralString = """pg_catalog.pg_trigger AS t
            JOIN pg_catalog.pg_description AS d ON d.objoid = t.oid AND d.objsubid = 0
                 AND d.classoid = 'pg_catalog.pg_trigger'::regclass
                 AND starts_with(d.description, ownership || 'on each partition')"""

COPY: LiteralString = (
    """
        IF table_row.relhastriggers THEN
            FOR command IN
                SELECT unnest(ARRAY[
                    overlay(definition PLACING ' ON ' || child || ' '
                            FROM strpos(definition, source) FOR length(source)),
                    format('ALTER TABLE %s %s TRIGGER %I', child,
                           CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                                          WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END, tgname),
                    format('COMMENT ON TRIGGER %I ON %s IS %L', tgname, child, description)])
                FROM (SELECT t.tgname, t.tgenabled, d.description,
                             pg_get_triggerdef(t.oid) AS definition,
                             format(' ON %I.%I ', place, table_row.relname) AS source
                      FROM """
    + _MARKED
    + """
                      WHERE t.tgrelid = parent AND t.tgtype & 1 = 0
                      ORDER BY t.tgname) AS statement_triggers
            LOOP
                EXECUTE command;
            END LOOP;
        END IF;
"""
)
"""Gives `child` the triggers of `parent`, whose schema is `place` and whose row is `table_row`."""


def tell(relation: LiteralString, action: LiteralString) -> LiteralString:
    """Says what is about to happen to a partition, or refuses it.

    Needs `told`, a record, and `ownership`; and what `{refused}` stands for.
    """
    return (
        """
            -- The query below takes much longer to plan than to ask whether there is a trigger.
            IF (SELECT relhastriggers FROM pg_catalog.pg_class WHERE oid = """
        + relation
        + """) THEN
                FOR told IN"""
        + _listeners(relation, action)
        + """                LOOP
                    IF NOT told.is_safe THEN
                        RAISE EXCEPTION '%: function % has to record the %, and role %, who owns '
                            'it, could get the rights of role % by that. Run this as role %, who '
                            'owns the table, or let a role that nobody logs in as own the function',
                            """
        + relation
        + """, told.listener, told.action, told.owner, current_user, told.table_owner
                            USING ERRCODE = {refused};
                    END IF;
                    EXECUTE told.call;
                END LOOP;
            END IF;
"""
    )


def _listeners(relation: LiteralString, action: LiteralString) -> LiteralString:
    """A query: the functions that are to be called, how, and whether nobody gains by it."""
    return (
        """
                SELECT DISTINCT p.oid::regprocedure AS listener, p.proowner::regrole AS owner,
                    c.relowner::regrole AS table_owner, """
        + action
        + """ AS action,
                    format('SELECT %s(%L::regclass, %L::text)', called, c.oid::regclass, """
        + action
        + """) AS call,
                    EXISTS (
                        SELECT FROM unnest(ARRAY[p.proowner, c.relowner]) AS chooser
                        WHERE (chooser = p.proowner OR p.proowner = f.proowner) AND NOT EXISTS (
                            SELECT FROM pg_catalog.pg_roles AS r
                            WHERE r.rolcanlogin AND pg_has_role(r.oid, chooser, 'MEMBER')
                              AND NOT pg_has_role(r.oid, current_user, 'MEMBER'))) AS is_safe
                FROM """
        + _MARKED
        + """
                JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
                JOIN pg_catalog.pg_proc AS f ON f.oid = t.tgfoid
                JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
                CROSS JOIN format('%I.%I', n.nspname, f.proname) AS called
                JOIN pg_catalog.pg_proc AS p
                     ON p.oid = to_regprocedure(called || '(regclass, text)')
                WHERE t.tgrelid = """
        + relation
        + """
                  AND p.prosecdef  -- anybody can have made it: never with the rights of who calls
"""
    )


_FORGET: LiteralString = (
    """
            FOR command IN
                SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) FROM """
    + _MARKED
    + """
                WHERE t.tgtype & 1 = 0 AND (
                    t.tgrelid = relation
                    OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(relation)))
            LOOP
                EXECUTE command;
            END LOOP;
"""
)
"""Takes the triggers from `relation`, which is no partition any more, and from its partitions."""

_COPY_TO_ALL: LiteralString = (
    """
    FOR child IN SELECT relid::regclass::text FROM pg_partition_tree(relation) LOOP"""
    + COPY
    + """
    END LOOP;
"""
)
"""Gives the triggers to `relation`, and to its partitions: each fires for the rows it is sent."""

_MARK_ROWS: LiteralString = (
    """
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', relation) INTO filled;
    IF filled THEN
        FOR command IN
            SELECT format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, relation, {untold})
            FROM """
    + _MARKED
    + """
            WHERE t.tgrelid = relation AND t.tgtype & 1 = 0
        LOOP
            EXECUTE command;
        END LOOP;
    END IF;
"""
)
"""Marks the triggers: the table held rows before they were created."""

_TELL_EMPTY: LiteralString = (
    """
    IF NOT filled AND NOT row_security_active(relation) THEN  -- which may hide its rows
"""
    + tell("relation", "'truncate'")
    + """
    END IF;
"""
)
"""Says that it has no rows, before it is said to be attached: what it held when it was detached,
or one of its name did, does not come back.
"""

_LOCK: LiteralString = """
    IF (SELECT relkind FROM pg_catalog.pg_class WHERE oid = relation) <> 'f' THEN  -- it refuses one
        LOCK TABLE {part} IN ACCESS EXCLUSIVE MODE;
    END IF;
"""
"""Waits for who writes to a partition, but for a foreign table, whose rows are elsewhere."""

_DECLARE: LiteralString = """DECLARE
    ownership constant text := {ownership};
    relation constant regclass := {relation};
    command text;
    told record;
"""

_OF_PARENT: LiteralString = """    parent constant regclass := {parent};
    child text;
    table_row pg_catalog.pg_class;
    place name;
    filled boolean;
BEGIN
    SELECT * INTO table_row FROM pg_catalog.pg_class WHERE oid = parent;
    SELECT nspname INTO place FROM pg_catalog.pg_namespace WHERE oid = table_row.relnamespace;
"""


def attached(table: Name, partition: Name) -> Composed:
    """The statement that follows the ATTACH of a table that was made elsewhere."""
    body = _OF_PARENT + _FORGET + _COPY_TO_ALL + _MARK_ROWS + _TELL_EMPTY
    body += tell("relation", "'attach'")
    return _block(body, partition, parent=table.regclass, untold=Literal(WITH_ROWS_UNTOLD))


def telling(partition: Name, action: LiteralString) -> Composed:
    """The statement that says what a partition is about to be: "detach", "drop", or "attach" back.

    It goes before the DETACH, which takes the bounds away.
    """
    return _block("BEGIN\n" + tell("relation", f"'{action}'"), partition)


def telling_under_lock(table: Name, partition: Name) -> Composed:
    """Like `telling`, for a DETACH in the same transaction: takes the locks of the DETACH first.

    What somebody writes until then is recorded before, so nothing follows the end of the rows.
    """
    lock = "BEGIN\n    LOCK TABLE ONLY {whole} IN ACCESS EXCLUSIVE MODE;" + _LOCK
    told = tell("relation", "'detach'")
    return _block(lock + told, partition, whole=table.sql, part=partition.sql)


def forgetting(partition: Name) -> Composed:
    """The statement that follows a DETACH: what was a partition has the triggers no more."""
    return _block("BEGIN\n" + _FORGET, partition)


def _block(body: LiteralString, partition: Name, **more: Composable) -> Composed:
    named = {"ownership": Literal(OWNERSHIP), "refused": Literal(REFUSED)}
    return do_block(_DECLARE + body + "END", relation=partition.regclass, **named, **more)
