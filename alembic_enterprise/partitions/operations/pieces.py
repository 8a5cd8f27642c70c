"""Pieces of PL/pgSQL that create and drop partitions of any kind, for blocks to be made of.

The block around them declares `root`, the table the operation is for, and `ownership`; the rest of
what they use is in `CREATION_VARIABLES` and `DROP_VARIABLES`. `parent` is the table that gets a
partition: the root, or a partition of it that is partitioned itself. `missing` is a partition to
create: its `label`, the name it should have, and its `bound`, as ATTACH PARTITION wants it.

A block plans each query anew whenever it runs, in a loop several times, and that takes most of its
time. So one is asked only where `table_row`, or a quick look, says that it may find something.
"""

from typing import LiteralString

from alembic_enterprise.partitions.operations import triggers

CREATION_VARIABLES: LiteralString = """    parent regclass := root;
    partition_by text := {partition_by};
    missing record;
    table_row pg_catalog.pg_class;
    child_row pg_catalog.pg_class;
    place name;
    is_granted boolean;
    has_partitions boolean;
    access_method text;
    tablespace text;
    storage_parameters text;
    label text;
    child text;
    command text;
"""

TEMPLATE: LiteralString = """
    SELECT * INTO table_row FROM pg_catalog.pg_class WHERE oid = parent;
    SELECT n.nspname, ' USING ' || quote_ident(a.amname), ' TABLESPACE ' || quote_ident(t.spcname),
           table_row.relacl IS NOT NULL OR EXISTS (
               SELECT FROM pg_catalog.pg_attribute WHERE attrelid = parent AND attacl IS NOT NULL),
           -- ANALYZE takes relhassubclass from a table whose only partition is being detached.
           EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = parent)
    INTO place, access_method, tablespace, is_granted, has_partitions
    FROM pg_catalog.pg_namespace AS n
    LEFT JOIN pg_catalog.pg_am AS a ON a.oid = table_row.relam
    LEFT JOIN pg_catalog.pg_tablespace AS t ON t.oid = table_row.reltablespace
    WHERE n.oid = table_row.relnamespace;
"""
"""Looks at what each partition is made after. Lock the table first, so that it stays so."""

STORAGE: LiteralString = """
    -- A partitioned table has no storage parameters: the latest partition of ours shows them, or
    -- where there is none the latest. One that was attached may have others for a reason, and so
    -- may those of past months. By time, that is the one that ends last, whenever it was made.
    IF has_partitions OR parent <> root THEN
        WITH RECURSIVE tree AS (
            SELECT root::oid AS oid, NULL COLLATE "C" AS bound UNION ALL
            SELECT i.inhrelid, CASE WHEN a.attnum IS NULL THEN tree.bound
                                    ELSE pg_get_expr(c.relpartbound, 0) END
            FROM tree JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.oid
            JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
            LEFT JOIN pg_catalog.pg_partitioned_table AS p
                 ON p.partrelid = tree.oid AND p.partstrat = 'r' AND p.partnatts = 1
            LEFT JOIN pg_catalog.pg_attribute AS a
                 ON a.attrelid = tree.oid AND a.attnum = p.partattrs[0] AND a.atttypid IN
                    ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype))
        SELECT array_to_string(c.reloptions, ', ') INTO storage_parameters
        FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
        WHERE c.relkind = 'r'
        ORDER BY coalesce(starts_with(obj_description(c.oid, 'pg_class'), ownership), false) DESC,
                 split_part(split_part(bound, ' TO ', 2), '''', 2) DESC NULLS LAST,
                 c.oid::bigint DESC LIMIT 1;
    END IF;
"""
"""Looks for the storage parameters that each partition gets, behind `TEMPLATE`."""

CREATE: LiteralString = """
        -- A name is only a label: when it is taken, the next free number follows it.
        label := missing.label;
        FOR number IN 2..1000 LOOP
            EXIT WHEN octet_length(label) > 63
                   OR to_regclass(format('%I.%I', place, label)) IS NULL
                  AND to_regtype(format('%I.%I', place, label)) IS NULL;
            label := missing.label || '_' || number;
        END LOOP;
        IF octet_length(label) > 63 THEN
            RAISE EXCEPTION '%: the name of partition % has more than 63 bytes: '
                'shorten the name of the table', parent, label USING ERRCODE = {refused};
        END IF;
        child := format('%I.%I', place, label);
        EXECUTE format(
            'CREATE %sTABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED '
            'INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS '
            'INCLUDING STATISTICS)%s%s%s%s',
            CASE table_row.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, child, parent,
            ' PARTITION BY ' || partition_by, access_method,
            CASE WHEN partition_by IS NULL THEN ' WITH (' || storage_parameters || ')' END,
            tablespace);
        EXECUTE format('COMMENT ON TABLE %s IS %L', child,
                       ownership || 'partition of ' || place || '.' || table_row.relname);
"""
"""Creates `child`, a table of its own that is like `parent`."""

ATTRIBUTES: LiteralString = """
        -- LIKE leaves these behind: owner, grants, row security and replica identity.
        SELECT * INTO child_row FROM pg_catalog.pg_class WHERE oid = child::regclass;
        IF table_row.relowner <> child_row.relowner THEN
            EXECUTE format('ALTER TABLE %s OWNER TO %s', child, table_row.relowner::regrole);
        END IF;
        IF child_row.relacl IS NOT NULL THEN
            FOR command IN
                SELECT DISTINCT format('REVOKE ALL ON TABLE %s FROM %s', child,
                                       CASE grantee WHEN 0 THEN 'PUBLIC'
                                                    ELSE grantee::regrole::text END)
                FROM pg_catalog.pg_class AS c, aclexplode(c.relacl)
                WHERE c.oid = child::regclass AND grantee <> c.relowner
            LOOP
                EXECUTE command;
            END LOOP;
        END IF;
        IF is_granted THEN
            FOR command IN
                SELECT format('GRANT %s%s ON TABLE %s TO %s%s', privilege_type, columns, child,
                              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
                              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
                FROM (SELECT table_row.relacl AS acl, NULL AS columns
                      UNION ALL
                      SELECT attacl, format(' (%I)', attname) FROM pg_catalog.pg_attribute
                      WHERE attrelid = parent AND attacl IS NOT NULL) AS sources, aclexplode(acl)
                WHERE grantee <> table_row.relowner
            LOOP
                EXECUTE command;
            END LOOP;
        END IF;
        IF table_row.relrowsecurity THEN
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', child);
        END IF;
        IF table_row.relforcerowsecurity THEN
            EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', child);
        END IF;
        IF table_row.relreplident IN ('f', 'n') THEN
            EXECUTE format('ALTER TABLE %s REPLICA IDENTITY %s', child,
                           CASE table_row.relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END);
        END IF;
"""
"""Gives `child` what `parent` has, but for triggers: those would fire while rows are copied."""

COPY_ATTRIBUTES: LiteralString = ATTRIBUTES + triggers.COPY

ATTACH: LiteralString = """
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s %s', parent, child, missing.bound);
        IF table_row.relreplident = 'i' THEN
            FOR command IN  -- the index came with ATTACH
                SELECT format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', child, c.relname)
                FROM pg_catalog.pg_index AS x
                JOIN pg_catalog.pg_inherits AS i ON i.inhparent = x.indexrelid
                JOIN pg_catalog.pg_index AS own ON own.indexrelid = i.inhrelid
                JOIN pg_catalog.pg_class AS c ON c.oid = own.indexrelid
                WHERE x.indrelid = parent AND x.indisreplident AND own.indrelid = child::regclass
            LOOP
                EXECUTE command;
            END LOOP;
        END IF;
"""

REFUSE_OLD_SNAPSHOT: LiteralString = """
    IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        RAISE EXCEPTION '%: a transaction that is % does not see the rows written since it began: '
            'run this migration with the isolation level READ COMMITTED', root,
            upper(current_setting('transaction_isolation')) USING ERRCODE = {refused};
    END IF;
"""

LOCK_REFERRING: LiteralString = """
    -- Writers of a table that refers to this one lock it first, and then this one.
    FOR command IN
        SELECT format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', conrelid::regclass)
        FROM pg_catalog.pg_constraint
        WHERE contype = 'f' AND confrelid = root AND conparentid = 0 AND conrelid <> root
          AND has_table_privilege(conrelid, 'UPDATE, DELETE, TRUNCATE')  -- else LOCK is refused
        GROUP BY conrelid ORDER BY conrelid::bigint
    LOOP
        EXECUTE command;
    END LOOP;
"""
"""Locks the tables whose foreign keys refer to the root, as dropping those or detaching a partition
does, in the same order for all. It goes before the lock on the root. Needs `command`.
"""

SEE_ALL_ROWS: LiteralString = """
    -- Row security must not hide rows from us: rather an error.
    PERFORM set_config('row_security', 'off', true);
"""

SEE_AS_BEFORE: LiteralString = """
    PERFORM set_config('row_security', session_row_security, true);
"""

DROP_VARIABLES: LiteralString = """    parents regclass[] := ARRAY[root];
    drop_rows constant boolean := {drop_rows};
    session_row_security constant text := current_setting('row_security');
    wanted regclass[];
    partition regclass;
    parent regclass;
    command text;
    told record;
    is_foreign boolean;
    is_locked boolean;
    rows_held bigint;
"""


_REFUSE_ROWS: LiteralString = """
        CONTINUE WHEN drop_rows;
        FOREACH partition IN ARRAY coalesce(wanted, '{{}}') LOOP
            -- What a foreign table points at is not ours to drop: it is detached, and loses no row.
            CONTINUE WHEN (SELECT relkind = 'f' FROM pg_catalog.pg_class WHERE oid = partition);
            IF is_locked THEN
                EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition);
            END IF;
            EXECUTE format('SELECT count(*) FROM (SELECT FROM %s LIMIT %s) AS held', partition,
                           CASE WHEN is_locked THEN '1' ELSE 'ALL' END) INTO rows_held;
            IF rows_held > 0 THEN
                RAISE EXCEPTION '%: partition % holds % row(s). Move them away, or pass '
                    'drop_rows=True to op.% to lose them', root, partition, rows_held,
                    {operation} USING ERRCODE = {refused};
            END IF;
        END LOOP;
"""
"""Refuses to go on when a partition among `wanted` holds rows."""

_DROP_WANTED: LiteralString = (
    """
    FOREACH partition IN ARRAY coalesce(wanted, '{{}}') LOOP
        is_foreign := (SELECT relkind = 'f' FROM pg_catalog.pg_class WHERE oid = partition);
"""
    + triggers.tell("partition", "'drop'")
    + """
        -- A partition that foreign keys refer to cannot be dropped in place. Any other is:
        -- detaching gives it foreign keys of its own, one for each partition they refer to.
        IF is_foreign OR EXISTS (SELECT FROM pg_catalog.pg_constraint
                                 WHERE contype = 'f' AND confrelid = partition) THEN
            parent := (SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = partition);
            EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, partition);
        END IF;
        IF NOT is_foreign THEN
            EXECUTE format('DROP TABLE %s', partition);
        END IF;
    END LOOP;
"""
)
"""Drops the partitions that are `wanted`, and only detaches those that are foreign tables."""


DROP_OWN_REFERENCES: LiteralString = """
    -- The table goes next; until then its rows would keep those that they refer to.
    FOR command IN
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', root, conname)
        FROM pg_catalog.pg_constraint
        WHERE whole_table AND contype = 'f' AND conrelid = root AND confrelid = root
    LOOP
        EXECUTE command;
    END LOOP;
"""
"""Drops the foreign keys from the root to itself, where `whole_table` says that it goes."""


def drop(find: LiteralString, before: LiteralString = "") -> LiteralString:
    """Drops only what is empty: rows are counted first, and looked for again under the lock.

    `find` is the statement that selects the partitions of the `parents` INTO `wanted`; `before`
    runs when they are to go.
    """
    return (
        "\n    IF NOT drop_rows THEN"
        + REFUSE_OLD_SNAPSHOT
        + "    END IF;"
        + SEE_ALL_ROWS
        + """
    -- Counted first, while nobody waits for a lock; then again under the one that keeps rows out.
    FOREACH is_locked IN ARRAY ARRAY[false, true] LOOP
        IF is_locked THEN
"""
        + LOCK_REFERRING
        + """
            FOREACH parent IN ARRAY parents LOOP
                EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', parent);
            END LOOP;
        END IF;
"""
        + find
        + _REFUSE_ROWS
        + "    END LOOP;"
        + before
        + _DROP_WANTED
        + SEE_AS_BEFORE
    )
