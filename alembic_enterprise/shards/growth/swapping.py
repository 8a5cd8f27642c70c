"""The short transaction that puts copies in the place of their shard, and the one that gives up.

They read what they carry over on the server, in the moment they run.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg.sql import SQL, Composable, Identifier, Literal

from alembic_enterprise.partitions.operations import pieces
from alembic_enterprise.partitions.steps import GUARD
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.shards.growth import likeness
from alembic_enterprise.shards.growth.copies import Mirror, Source
from alembic_enterprise.shards.growth.copying import together
from alembic_enterprise.shards.growth.mirror import listed
from alembic_enterprise.shards.leftovers import PENDING, Copy, Pending
from alembic_enterprise.sql import REFUSED, do_block

_SWAP: LiteralString = """DECLARE
    root constant regclass := {table};
    shard constant regclass := {shard};
    shard_row pg_catalog.pg_class;
    place name;
    copy record;
    found record;
    note text;
    command text;
    restoring text[];
    is_locked boolean;
BEGIN
    -- First while nobody waits, so that it is planned; then again under the lock.
    FOREACH is_locked IN ARRAY ARRAY[false, true] LOOP
        IF is_locked THEN
            {lock_referring}
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', root);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', shard);
            PERFORM set_config('alembic_enterprise.locked_since', clock_timestamp()::text, false);
        END IF;
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class AS c
                       ON c.oid = inhrelid AND pg_get_expr(relpartbound, c.oid) = {bound}
                       WHERE inhrelid = {shard_oid} AND inhparent = {table_oid}
                         AND NOT inhdetachpending) THEN
            RAISE EXCEPTION '%: it is no longer a partition of %, or has other bounds: '
                'run `alembic-enterprise shards grow` again', shard, root
                USING ERRCODE = {refused};
        END IF;
        IF (SELECT count(*) FROM pg_catalog.pg_trigger
            WHERE tgrelid = {shard_oid} AND tgfoid = {function} AND tgenabled = 'A') <> 2 THEN
            RAISE EXCEPTION '%: somebody has switched off the triggers that mirror its changes: '
                'run `alembic-enterprise shards grow` again', shard USING ERRCODE = {refused};
        END IF;
        -- What the copies lack would be gone, or be made while they are attached, under the lock.
        IF EXISTS ({differing}) THEN
            RAISE EXCEPTION '%: it was altered since its copies were made: '
                'run `alembic-enterprise shards grow` again', shard USING ERRCODE = {refused};
        END IF;
        IF EXISTS ({obstacles}) THEN
            RAISE EXCEPTION '%: something was made meanwhile that it cannot be replaced with: '
                'run `alembic-enterprise shards grow` again, which says what', shard
                USING ERRCODE = {refused};
        END IF;
        SELECT * INTO shard_row FROM pg_catalog.pg_class WHERE oid = shard;
        SELECT nspname INTO place FROM pg_catalog.pg_namespace WHERE oid = shard_row.relnamespace;
        -- What somebody made by hand stays his own: its parts have the comment he gave it, if any.
        note := obj_description(shard, 'pg_class');
        IF starts_with(note, {ownership}) THEN
            note := {ownership} || 'partition of ' || {root_name};
        END IF;
        restoring := '{{}}';
        -- The first copy gets the shard's name, and what it has of its own those of the shard's.
        FOR found IN
            SELECT 'INDEX' AS kind, name, like_name FROM ({indexes}) AS indexes
            UNION ALL
            SELECT 'STATISTICS', name, like_name FROM ({statistics}) AS extended
        LOOP
            restoring := restoring || format('ALTER %s %I.%I RENAME TO %I', found.kind, place,
                                             found.name, found.like_name);
        END LOOP;
        -- Triggers of the shard alone; the others come from its table, and fire as on that.
        FOR copy IN SELECT format('%I.%I', place, name) AS name FROM unnest({names}::text[]) AS name
        LOOP
            FOR found IN
                SELECT quote_ident(t.tgname) AS name, t.tgenabled, t.tgparentid = 0 AS is_own,
                       format(' ON %I.%I ', place, shard_row.relname) AS target,
                       pg_get_triggerdef(t.oid) AS definition,
                       obj_description(t.oid, 'pg_trigger') AS comment
                FROM pg_catalog.pg_trigger AS t
                LEFT JOIN pg_catalog.pg_trigger AS above ON above.oid = t.tgparentid
                WHERE t.tgrelid = {shard_oid} AND t.tgfoid <> {function}
                  AND CASE t.tgparentid WHEN 0 THEN NOT t.tgisinternal
                      ELSE t.tgconstraint = 0 AND t.tgenabled <> above.tgenabled END
                ORDER BY t.oid::bigint
            LOOP
                restoring := restoring
                    || CASE WHEN found.is_own THEN ARRAY[
                           overlay(found.definition PLACING ' ON ' || copy.name || ' '
                                   FROM strpos(found.definition, found.target)
                                   FOR length(found.target))] END
                    || format('ALTER TABLE %s %s TRIGGER %s', copy.name,
                              CASE found.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN
                              'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END,
                              found.name)
                    || CASE WHEN found.is_own THEN ARRAY[
                           format('COMMENT ON TRIGGER %s ON %s IS %L', found.name, copy.name,
                                  found.comment)] END;
            END LOOP;
        END LOOP;
    END LOOP;
    -- A shard that foreign keys refer to cannot go: they do, and come back before anybody writes.
    FOR found IN
        SELECT conrelid::regclass AS relation, quote_ident(conname) AS name, convalidated,
               regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '') AS definition,
               coalesce(obj_description(oid, 'pg_constraint'), '') AS note
        FROM pg_catalog.pg_constraint
        WHERE contype = 'f' AND confrelid = root AND conparentid = 0 ORDER BY oid::bigint
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %s', found.relation, found.name);
        restoring := restoring
            || format('ALTER TABLE %s ADD CONSTRAINT %s %s NOT VALID', found.relation, found.name,
                      found.definition)
            || format('COMMENT ON CONSTRAINT %s ON %s IS %L', found.name, found.relation,
                      CASE WHEN found.convalidated THEN {pending} ELSE '' END || found.note);
    END LOOP;
    FOR command IN
        SELECT format('ALTER TABLE %s ALTER CONSTRAINT %I %s', part, k.conname,
                      CASE WHEN k.condeferred THEN 'DEFERRABLE INITIALLY DEFERRED'
                           WHEN k.condeferrable THEN 'DEFERRABLE INITIALLY IMMEDIATE'
                           ELSE 'NOT DEFERRABLE' END)
        FROM ({keys}) AS k CROSS JOIN unnest({copies}::regclass[]) AS part
        ORDER BY k.oid::bigint
    LOOP
        EXECUTE command;
    END LOOP;
    EXECUTE format('DROP TABLE %s', shard);
    DROP FUNCTION {mirror}();
    FOR copy IN SELECT * FROM unnest({copies}::regclass[], {bounds}::text[]) AS c (relation, bound)
    LOOP
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s %s', root, copy.relation, copy.bound);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', copy.relation, {guard});
        EXECUTE format('COMMENT ON TABLE %s IS %L', copy.relation, note);
    END LOOP;
    EXECUTE format('ALTER TABLE %s RENAME TO %I', ({copies}::regclass[])[1], shard_row.relname);
    FOREACH command IN ARRAY restoring LOOP
        EXECUTE command;
    END LOOP;
END"""


def swap(
    source: Source, copies: Sequence[Copy], mirror: Mirror, obstacles: Composable
) -> Composable:
    """Drop the shard, whose rows are all in the copies, and attach them; the first gets its name.

    ACCESS EXCLUSIVE for some milliseconds: on the table, on those that refer to it, and on those it
    refers to, where attaching a copy removes the triggers of its own foreign keys. Others may take
    these locks in another order, as a transaction that deletes from a table which this one refers
    to. Of a deadlock the one ends that has waited for deadlock_timeout first: the application's,
    unless the swap gives up before. So its lock_timeout has to be shorter, which the run requires.

    Foreign keys that refer to the table are put back as NOT VALID: they hold for what is written
    from then on, and `settle` validates them.

    `obstacles` is a query: what would be lost, or keeps the shard from being replaced.
    """
    names = [source.name.name, *(copy.name.name for copy in copies[1:])]
    bound = "FOR VALUES WITH (modulus {}, remainder {})"
    return do_block(
        _SWAP,
        table=source.table.name.regclass,
        table_oid=Literal(source.table.oid),
        shard=source.name.regclass,
        shard_oid=Literal(source.shard.oid),
        bound=Literal(bound.format(*source.shard.held)),
        copies=Literal([copy.name.text for copy in copies]),
        names=Literal(names),
        bounds=Literal([bound.format(*copy.held) for copy in copies]),
        function=SQL("{}::regproc").format(mirror.name.regclass),
        mirror=mirror.name.sql,
        lock_referring=SQL(pieces.LOCK_REFERRING),
        indexes=likeness.indexes(source, Literal(copies[0].oid)),
        keys=likeness.foreign_keys(Literal(source.shard.oid)),
        statistics=likeness.statistics_names(source, Literal(copies[0].oid)),
        differing=likeness.differing(source, copies),
        obstacles=obstacles,
        guard=Literal(GUARD),
        pending=Literal(PENDING),
        ownership=Literal(OWNERSHIP),
        root_name=Literal(str(source.table.name)),
        refused=Literal(REFUSED),
    )


LOCKED_FOR = SQL(
    "SELECT extract(epoch FROM clock_timestamp()"
    " - current_setting('alembic_enterprise.locked_since')::timestamptz)::float8 * 1000"
)
"""Milliseconds since the last swap had its locks; right after it, no less than it held them."""


_QUIET: LiteralString = """BEGIN
    PERFORM set_config('lock_timeout', (2 * setting::int)::text, true)
    FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout';
    LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE;
EXCEPTION WHEN lock_not_available THEN
    NULL;  -- it is somebody else: the swap names who
END"""


def quiet(source: Source, copies: Sequence[Copy]) -> Composable:
    """Send autovacuum away from a shard and its copies; it comes back after its nap.

    It yields to whoever waits for longer than deadlock_timeout (PostgreSQL docs, "Routine
    Vacuuming"), which the swap never does; and nobody who reads or writes waits for this lock.
    """
    tables = [source.name, *(copy.name for copy in copies)]
    return do_block(_QUIET, tables=listed(name.sql for name in tables))


def settle(key: Pending) -> Composable:
    """Validate a foreign key that a swap has put back, and give it its comment again."""
    name = Identifier(key.name)
    return together(
        [
            SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(key.table.sql, name),
            SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(
                name, key.table.sql, Literal(key.comment or None)
            ),
        ]
    )


def discard(copies: Sequence[Copy], mirror: Mirror | None) -> Composable:
    """Remove what was begun for a shard: the mirror first, which would write into no table."""
    drops = [SQL("DROP FUNCTION {}() CASCADE").format(mirror.name.sql)] if mirror else []
    return together([*drops, *(SQL("DROP TABLE {}").format(copy.name.sql) for copy in copies)])
