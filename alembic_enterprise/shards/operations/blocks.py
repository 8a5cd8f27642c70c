"""The PL/pgSQL blocks that create, drop, split and merge shards.

They decide on the server, on the day they run: what exists is read from its bounds, and attributes
are copied from the table as it is then. So a script works on any database, `--sql` writes what an
online upgrade executes, and what is already done is not done again.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.partitions.operations import pieces
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.shards.operations import own
from alembic_enterprise.sql import REFUSED, Name, do_block

_SHARDS = SQL("""(
        SELECT relation, relname, relkind,
               held[1]::integer AS modulus, held[2]::integer AS remainder
        FROM (SELECT c.oid::regclass AS relation, c.relname, c.relkind, regexp_match(
                  pg_get_expr(c.relpartbound, 0), 'modulus ([0-9]+), remainder ([0-9]+)') AS held
              FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
              WHERE i.inhparent = root) AS children) AS shards""")

_REFUSE_OTHERS: LiteralString = """    IF NOT EXISTS (SELECT FROM pg_catalog.pg_partitioned_table
                   WHERE partrelid = root AND partstrat = 'h' AND partexprs IS NULL) THEN
        RAISE EXCEPTION '% is not partitioned by hash of columns: '
            'create it with PARTITION BY HASH (...) first', root USING ERRCODE = {refused};
    END IF;
"""

_CREATE: LiteralString = """DECLARE
    root constant regclass := {table};
    target constant integer := {modulus};
    ownership constant text := {ownership};
    wanted constant integer[] := {remainders};
    largest integer;
    complete boolean := false;
{variables}
BEGIN
{refuse_others}
    SELECT min(c.collname) INTO label FROM pg_catalog.pg_partitioned_table AS p
    JOIN pg_catalog.pg_collation AS c ON c.oid = ANY (p.partcollation::oid[])
    WHERE p.partrelid = parent AND NOT c.collisdeterministic;
    IF label IS NOT NULL THEN
        RAISE EXCEPTION '%: the collation % of its key is nondeterministic, and no client can tell '
            'in which shard a value is: give the column a deterministic one', parent, label
            USING ERRCODE = {refused};
    END IF;

    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);{template}{storage}
    -- With all rows held, nothing is missing, however the shards are cut.
    IF has_partitions THEN
        SELECT max(modulus) INTO largest FROM {shards};
        SELECT coalesce(sum(largest / modulus) = largest, false) INTO complete FROM {shards};
    END IF;
    IF NOT complete AND target % largest <> 0 THEN
        RAISE EXCEPTION '%: it has shards of modulus %, and those of modulus % do not fit between '
            'them: write count=% and the remainders that are missing', parent, largest, target,
            largest USING ERRCODE = {refused};
    END IF;
    FOR missing IN
        SELECT table_row.relname || '_shard_' || number AS label,
               format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', target, number) AS bound
        FROM generate_series(0, target - 1) AS number
        WHERE number = ANY (coalesce(wanted, ARRAY[number]))
          AND NOT EXISTS (SELECT FROM {shards}
                          WHERE number % modulus = remainder)
        ORDER BY number
    LOOP{create}{copy_attributes}{attach}
    END LOOP;
END"""

_FIND_WANTED: LiteralString = """
    SELECT array_agg(relation ORDER BY modulus, remainder) INTO wanted FROM {shards}
    WHERE whole_table OR (
        starts_with(obj_description(relation, 'pg_class'), ownership)
        AND (remainders IS NULL OR modulus % target = 0 AND remainder % target = ANY (remainders)));
"""

_DROP: LiteralString = """DECLARE
    root constant regclass := {table};
    target constant integer := {modulus};
    ownership constant text := {ownership};
    remainders constant integer[] := {remainders};
    whole_table constant boolean := {whole_table};
{variables}
BEGIN
{refuse_others}{drop}
END"""

_CHANGES = SQL("""(
        -- Each class that changes, with its shards of now: one to split, or several to merge.
        SELECT least(modulus, target) AS modulus, remainder % least(modulus, target) AS remainder,
               array_agg(relation ORDER BY remainder) AS shards,
               max(relname::text) FILTER (WHERE remainder < target) AS kept,
               bool_and(note IS NOT NULL AND starts_with(note, ownership)) AS ours,
               max(note) FILTER (WHERE NOT starts_with(note, ownership)) AS note,
               max(relation::text) FILTER (WHERE relkind <> 'r') AS obstacle
        FROM {shards}, obj_description(relation, 'pg_class') AS note
        WHERE CASE WHEN growing THEN modulus < target ELSE modulus > target END
          AND modulus % within_modulus = 0 AND remainder % within_modulus = within_remainder
        GROUP BY 1, 2 ORDER BY 2) AS changes""").format(shards=_SHARDS)

_CHANGE: LiteralString = """DECLARE
    root constant regclass := {table};
    target constant integer := {modulus};
    ownership constant text := {ownership};
    growing constant boolean := {growing};
    within_modulus constant integer := {within_modulus};
    within_remainder constant integer := {within_remainder};
    session_row_security constant text := current_setting('row_security');
    misfit integer;
    row_columns text;
    key_columns text;
    foreign_key record;
    restoring text[] := '{{}}';
    change record;
    shard regclass;
    made text[];
    bounds text[];
    rows bigint;
    rows_held bigint;
    rows_moved bigint;
{variables}
BEGIN
{refuse_others}
    SELECT min(modulus) INTO misfit FROM {shards}
    WHERE modulus % target <> 0 AND target % modulus <> 0;
    IF misfit IS NOT NULL THEN
        RAISE EXCEPTION '%: it has shards of modulus %, which neither divides % nor is a multiple '
            'of it, as hash partitions must be: choose another number, or build the table anew',
            parent, misfit, target USING ERRCODE = {refused};
    END IF;
    SELECT min(obstacle) INTO label FROM {changes};
    IF label IS NOT NULL THEN
        RAISE EXCEPTION '%: its shard % is a foreign or a partitioned table, whose rows this '
            'operation does not move: replace it by a plain table first, or build a new table '
            'and move the rows', parent, label USING ERRCODE = {refused};
    END IF;

    IF NOT EXISTS (SELECT FROM {changes}) THEN
        RETURN;
    END IF;
{refuse_old_snapshot}{lock_referring}
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', parent);{template}{storage}
{refuse_to_lose}{see_all_rows}
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO row_columns
    FROM pg_catalog.pg_attribute
    WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.position) INTO key_columns
    FROM pg_catalog.pg_partitioned_table AS p,
         unnest(p.partattrs) WITH ORDINALITY AS k (number, position)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = parent AND a.attnum = k.number
    WHERE p.partrelid = parent;

    -- A shard that foreign keys refer to cannot be detached: they go, and are checked anew after.
    FOR foreign_key IN
        SELECT conrelid::regclass AS relation, quote_ident(conname) AS name,
               pg_get_constraintdef(oid) AS definition,
               obj_description(oid, 'pg_constraint') AS note
        FROM pg_catalog.pg_constraint
        WHERE contype = 'f' AND confrelid = parent AND conparentid = 0 ORDER BY oid::bigint
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %s', foreign_key.relation, foreign_key.name);
        restoring := restoring || format('ALTER TABLE %s ADD CONSTRAINT %s %s',
            foreign_key.relation, foreign_key.name, foreign_key.definition);
        IF foreign_key.note IS NOT NULL THEN
            restoring := restoring || format('COMMENT ON CONSTRAINT %s ON %s IS %L',
                foreign_key.name, foreign_key.relation, foreign_key.note);
        END IF;
    END LOOP;

    FOR change IN SELECT * FROM {changes} LOOP
        rows_held := 0;
        rows_moved := 0;
        made := '{{}}';
        bounds := '{{}}';
        FOREACH shard IN ARRAY change.shards LOOP
            EXECUTE format('SELECT count(*) FROM %s', shard) INTO rows;
            rows_held := rows_held + rows;
            EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, shard);
            -- Its name is free for the shard that takes its place.
            EXECUTE format('ALTER TABLE %s RENAME TO %I', shard,
                           'alembic_enterprise_old_' || shard::oid);
        END LOOP;
        FOR missing IN
            SELECT number AS remainder,
                   CASE WHEN number = change.remainder AND change.kept IS NOT NULL THEN change.kept
                        ELSE table_row.relname || '_shard_' || number END AS label,
                   format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', target, number) AS bound
            FROM generate_series(change.remainder, target - 1, change.modulus) AS number
        LOOP{create}
        -- What somebody made by hand stays his own: its parts have the comment he gave it, if any.
        IF NOT change.ours THEN
            EXECUTE format('COMMENT ON TABLE %s IS %L', child, change.note);
        END IF;
        FOREACH shard IN ARRAY change.shards LOOP
            EXECUTE format(
                'INSERT INTO %s (%s) SELECT %s FROM %s'
                ' WHERE satisfies_hash_partition(%s::oid, %s, %s, %s)', child, row_columns,
                row_columns, shard, parent::oid, target, missing.remainder, key_columns);
            GET DIAGNOSTICS rows = ROW_COUNT;
            rows_moved := rows_moved + rows;
        END LOOP;
{copy_attributes}
        FOR command IN{settings}
        LOOP
            EXECUTE command;
        END LOOP;

        made := made || child;
        bounds := bounds || missing.bound;
        END LOOP;
        IF rows_moved <> rows_held THEN
            RAISE EXCEPTION '%: % row(s) were to move and % did, so nothing is changed: look for '
                'rows in the wrong shard', parent, rows_held, rows_moved USING ERRCODE = {refused};
        END IF;
        FOREACH shard IN ARRAY change.shards LOOP
            EXECUTE format('DROP TABLE %s', shard);
        END LOOP;
        FOR missing IN SELECT * FROM unnest(made, bounds) AS shards (child, bound) LOOP
            child := missing.child;
{attach}
            FOR command IN{index_settings}
            LOOP
                EXECUTE command;
            END LOOP;
        END LOOP;

    END LOOP;
    FOREACH command IN ARRAY restoring LOOP
        EXECUTE command;
    END LOOP;
{see_as_before}
END"""
"""Copies the rows of each class that changes into new tables, beside the locked table, and puts
those in the place of the old ones, which it drops once as many rows were written as were read.

Rows go straight into the new tables: no trigger fires, and indexes are built when all rows are in.
"""


def create(
    table: Name, count: int, remainders: Sequence[int] | None, partition_by: str | None
) -> Composed:
    """The block that creates those of `count` shards that a table lacks."""
    return do_block(
        _CREATE,
        remainders=Literal(remainders),
        **_creation(partition_by),
        **_shared(table, count),
    )


def drop(
    table: Name,
    count: int,
    remainders: Sequence[int] | None,
    *,
    whole_table: bool,
    drop_rows: bool,
    operation: str,
) -> Composed:
    """The block that drops shards; its refusal of rows names the `operation`."""
    return do_block(
        _DROP,
        remainders=Literal(remainders),
        whole_table=Literal(whole_table),
        variables=_filled(pieces.DROP_VARIABLES, drop_rows=Literal(drop_rows)),
        drop=_filled(
            pieces.drop(_FIND_WANTED, pieces.DROP_OWN_REFERENCES),
            operation=Literal(operation),
            shards=_SHARDS,
        ),
        **_shared(table, count),
    )


def change(table: Name, within: Class, modulus: int, *, growing: bool) -> Composed:
    """The block by which shards inside `within` become shards of `modulus`: by splits or merges."""
    return do_block(
        _CHANGE,
        within_modulus=Literal(within.modulus),
        within_remainder=Literal(within.remainder),
        growing=Literal(growing),
        changes=_CHANGES,
        refuse_old_snapshot=_filled(pieces.REFUSE_OLD_SNAPSHOT),
        lock_referring=_filled(pieces.LOCK_REFERRING),
        refuse_to_lose=own.refuse_to_lose(_CHANGES),
        see_all_rows=_filled(pieces.SEE_ALL_ROWS),
        settings=own.SETTINGS,
        index_settings=own.INDEX_SETTINGS,
        see_as_before=_filled(pieces.SEE_AS_BEFORE),
        **_creation(None),
        **_shared(table, modulus),
    )


def _shared(table: Name, modulus: int) -> dict[str, Composable]:
    """What placeholders of all three blocks stand for."""
    return {
        "table": table.regclass,
        "modulus": Literal(modulus),
        "ownership": Literal(OWNERSHIP),
        "refused": Literal(REFUSED),
        "refuse_others": _filled(_REFUSE_OTHERS),
        "shards": _SHARDS,
    }


def _creation(partition_by: str | None) -> dict[str, Composable]:
    """The same of those that make new shards."""
    return {
        "variables": _filled(pieces.CREATION_VARIABLES, partition_by=Literal(partition_by)),
        "template": _filled(pieces.TEMPLATE),
        "storage": _filled(pieces.STORAGE),
        "create": _filled(pieces.CREATE),
        "copy_attributes": _filled(pieces.COPY_ATTRIBUTES),
        "attach": _filled(pieces.ATTACH),
    }


def _filled(piece: LiteralString, **values: Composable) -> Composed:
    return SQL(piece).format(refused=Literal(REFUSED), **values)
