"""The PL/pgSQL blocks that create, drop, split and merge shards.

They decide on the server, on the day they run: what exists is read from its bounds, and attributes
are copied from the table as it is then. So a script works on any database, `--sql` writes what an
online upgrade executes, and what is already done is not done again.
"""

from typing import LiteralString

from alembic_enterprise.partitions.operations import pieces
from alembic_enterprise.shards.operations import own

_DECLARE: LiteralString = """DECLARE
    root constant regclass := {table};
    target constant integer := {modulus};
    ownership constant text := {ownership};
"""

_PREPARE: LiteralString = """
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_partitioned_table
                   WHERE partrelid = root AND partstrat = 'h' AND partexprs IS NULL) THEN
        RAISE EXCEPTION '% is not partitioned by hash of columns: '
            'create it with PARTITION BY HASH (...) first', root USING ERRCODE = {refused};
    END IF;
"""

_END: LiteralString = """
END"""

_SHARDS: LiteralString = """(
        SELECT relation, relname, relkind,
               held[1]::integer AS modulus, held[2]::integer AS remainder
        FROM (SELECT c.oid::regclass AS relation, c.relname, c.relkind, regexp_match(
                  pg_get_expr(c.relpartbound, 0), 'modulus ([0-9]+), remainder ([0-9]+)') AS held
              FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
              WHERE i.inhparent = root) AS children) AS shards"""

_FIND_MISSING: LiteralString = (
    """
    -- With all rows held, nothing is missing, however the shards are cut.
    SELECT max(modulus) INTO largest FROM """
    + _SHARDS
    + """;
    SELECT coalesce(sum(largest / modulus) = largest, false) INTO complete FROM """
    + _SHARDS
    + """;
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
          AND NOT EXISTS (SELECT FROM """
    + _SHARDS
    + """
                          WHERE number % modulus = remainder)
        ORDER BY number
    LOOP"""
)

_REFUSE_COLLATION: LiteralString = """
    SELECT min(c.collname) INTO label FROM pg_catalog.pg_partitioned_table AS p
    JOIN pg_catalog.pg_collation AS c ON c.oid = ANY (p.partcollation::oid[])
    WHERE p.partrelid = parent AND NOT c.collisdeterministic;
    IF label IS NOT NULL THEN
        RAISE EXCEPTION '%: the collation % of its key is nondeterministic, and no client can tell '
            'in which shard a value is: give the column a deterministic one', parent, label
            USING ERRCODE = {refused};
    END IF;
"""

CREATE_HASH_SHARDS: LiteralString = (
    _DECLARE
    + """    wanted constant integer[] := {remainders};
    largest integer;
    complete boolean;
"""
    + pieces.CREATION_VARIABLES
    + _PREPARE
    + _REFUSE_COLLATION
    + """
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);"""
    + pieces.TEMPLATE
    + pieces.STORAGE
    + _FIND_MISSING
    + pieces.CREATE
    + pieces.COPY_ATTRIBUTES
    + pieces.ATTACH
    + """
    END LOOP;"""
    + _END
)

_FIND_WANTED: LiteralString = (
    """
    SELECT array_agg(relation ORDER BY modulus, remainder) INTO wanted FROM """
    + _SHARDS
    + """
    WHERE whole_table OR (
        starts_with(obj_description(relation, 'pg_class'), ownership)
        AND (remainders IS NULL OR modulus % target = 0 AND remainder % target = ANY (remainders)));
"""
)

DROP_HASH_SHARDS: LiteralString = (
    _DECLARE
    + """    remainders constant integer[] := {remainders};
    whole_table constant boolean := {whole_table};
"""
    + pieces.DROP_VARIABLES
    + _PREPARE
    + pieces.drop(_FIND_WANTED)
    + _END
)

_CHANGES: LiteralString = (
    """(
        -- Each class that changes, with its shards of now: one to split, or several to merge.
        SELECT least(modulus, target) AS modulus, remainder % least(modulus, target) AS remainder,
               array_agg(relation ORDER BY remainder) AS shards,
               max(relname::text) FILTER (WHERE remainder < target) AS kept,
               bool_and(note IS NOT NULL AND starts_with(note, ownership)) AS ours,
               max(note) FILTER (WHERE NOT starts_with(note, ownership)) AS note,
               max(relation::text) FILTER (WHERE relkind <> 'r') AS obstacle
        FROM """
    + _SHARDS
    + """, obj_description(relation, 'pg_class') AS note
        WHERE CASE WHEN growing THEN modulus < target ELSE modulus > target END
          AND modulus % within_modulus = 0 AND remainder % within_modulus = within_remainder
        GROUP BY 1, 2 ORDER BY 2) AS changes"""
)

_REFUSE_CHANGES: LiteralString = (
    """
    SELECT min(modulus) INTO misfit FROM """
    + _SHARDS
    + """
    WHERE modulus % target <> 0 AND target % modulus <> 0;
    IF misfit IS NOT NULL THEN
        RAISE EXCEPTION '%: it has shards of modulus %, which neither divides % nor is a multiple '
            'of it, as hash partitions must be: choose another number, or build the table anew',
            parent, misfit, target USING ERRCODE = {refused};
    END IF;
    SELECT min(obstacle) INTO label FROM """
    + _CHANGES
    + """;
    IF label IS NOT NULL THEN
        RAISE EXCEPTION '%: its shard % is a foreign or a partitioned table, whose rows this '
            'operation does not move: replace it by a plain table first, or build a new table '
            'and move the rows', parent, label USING ERRCODE = {refused};
    END IF;
"""
)


_NAME_COLUMNS: LiteralString = """
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO row_columns
    FROM pg_catalog.pg_attribute
    WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.position) INTO key_columns
    FROM pg_catalog.pg_partitioned_table AS p,
         unnest(p.partattrs) WITH ORDINALITY AS k (number, position)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = parent AND a.attnum = k.number
    WHERE p.partrelid = parent;
"""

_LIFT_FOREIGN_KEYS: LiteralString = """
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
"""

_TAKE_OUT: LiteralString = """
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
        LOOP"""

_FILL: LiteralString = """
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
"""

_SET_COLUMNS: LiteralString = (
    """
        FOR command IN"""
    + own.COLUMN_SETTINGS
    + """
        LOOP
            EXECUTE command;
        END LOOP;
"""
)

_PUT_IN: LiteralString = (
    """
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
"""
    + pieces.ATTACH
    + """
        END LOOP;
"""
)

CHANGE_HASH_SHARDS: LiteralString = (
    _DECLARE
    + """    growing constant boolean := {growing};
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
"""
    + pieces.CREATION_VARIABLES
    + _PREPARE
    + _REFUSE_CHANGES
    + """
    IF NOT EXISTS (SELECT FROM """
    + _CHANGES
    + """) THEN
        RETURN;
    END IF;
"""
    + pieces.REFUSE_OLD_SNAPSHOT
    + pieces.LOCK_REFERRING
    + """
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', parent);"""
    + pieces.TEMPLATE
    + pieces.STORAGE
    + own.refuse_to_lose(_CHANGES)
    + pieces.SEE_ALL_ROWS
    + _NAME_COLUMNS
    + _LIFT_FOREIGN_KEYS
    + """
    FOR change IN SELECT * FROM """
    + _CHANGES
    + """ LOOP"""
    + _TAKE_OUT
    + pieces.CREATE
    + _FILL
    + pieces.COPY_ATTRIBUTES
    + _SET_COLUMNS
    + _PUT_IN
    + """
    END LOOP;
    FOREACH command IN ARRAY restoring LOOP
        EXECUTE command;
    END LOOP;
"""
    + pieces.SEE_AS_BEFORE
    + _END
)
"""Copies the rows of each class that changes into new tables, beside the locked table, and puts
those in the place of the old ones, which it drops once as many rows were written as were read.

Rows go straight into the new tables: no trigger fires, and indexes are built when all rows are in.
"""
