"""The PL/pgSQL blocks that create and drop partitions.

They decide on the server, on the day they run: what exists is read from its bounds, periods are
counted in the declared zone, and attributes are copied from the table as it is then. So a script
works on any database, and `--sql` writes what an online upgrade executes.

All moments are `timestamptz`; for keys without a zone they are read as UTC. The session prints
them in ISO form and UTC meanwhile, and gets its own settings back.
"""

from typing import LiteralString

_DECLARE: LiteralString = """DECLARE
    parent constant regclass := {table};
    range_start constant date := {start};
    range_stop constant date := {stop};
    ahead constant integer := {ahead};
    zone constant text := {timezone};
    unit constant text := {unit};
    step constant interval := {step};
    with_default constant boolean := {default};
    ownership constant text := {ownership};
    session_style constant text := current_setting('DateStyle');
    session_zone constant text := current_setting('TimeZone');
    key_zone text;
    local_now timestamp;
    periods_start timestamp;
    periods_stop timestamp;
"""

_PREPARE: LiteralString = """
BEGIN
    SELECT CASE a.atttypid WHEN 'timestamptz'::regtype THEN zone ELSE 'UTC' END INTO key_zone
    FROM pg_catalog.pg_partitioned_table AS p
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = parent AND p.partstrat = 'r' AND p.partnatts = 1
      AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype);
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not partitioned by range of one date or timestamp column: '
            'create it with PARTITION BY RANGE (...) first', parent USING ERRCODE = {refused};
    END IF;
    PERFORM set_config('DateStyle', 'ISO, YMD', true), set_config('TimeZone', 'UTC', true);
    local_now := coalesce(
        nullif(current_setting('alembic_enterprise.now', true), '')::timestamptz, now()
    ) AT TIME ZONE zone;
    periods_start := date_trunc(unit, range_start::timestamp);
    periods_stop := coalesce(
        date_trunc(unit, range_stop + step - interval '1 day'),  -- the end of the period it is in
        date_trunc(unit, local_now) + (ahead + 1) * step);
"""

_FINISH: LiteralString = """
    PERFORM set_config('DateStyle', session_style, true),
            set_config('TimeZone', session_zone, true);"""

_END: LiteralString = """
END"""

_BOUNDS: LiteralString = """(
        SELECT relation, tstzrange(
            nullif(split_part(split_part(bound, ' TO ', 1), '''', 2), '')::timestamptz,
            nullif(split_part(split_part(bound, ' TO ', 2), '''', 2), '')::timestamptz) AS held
        FROM (SELECT c.oid AS relation, pg_get_expr(c.relpartbound, 0) AS bound
              FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
              WHERE i.inhparent = parent OFFSET 0) AS children
        WHERE bound <> 'DEFAULT') AS bounds"""

_FIND_MISSING: LiteralString = (
    """
    SELECT coalesce(range_agg(held), '{{}}') INTO covered FROM """
    + _BOUNDS
    + """;
    FOR missing IN
        -- The parts of each period that no partition holds, then the default partition.
        SELECT part AS held, to_char(first, suffix_pattern) AS suffix,
               format('FOR VALUES FROM (%L) TO (%L)', lower(part), upper(part)) AS bound
        FROM generate_series(periods_start, periods_stop - step, step) AS first,
             unnest(tstzmultirange(tstzrange(
                 first AT TIME ZONE key_zone, (first + step) AT TIME ZONE key_zone)) - covered
             ) AS part
        UNION ALL
        SELECT NULL, '_default', 'DEFAULT'
        WHERE with_default AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_partitioned_table WHERE partrelid = parent AND partdefid <> 0)
        ORDER BY held
    LOOP"""
)

_CREATE: LiteralString = """
        -- A name is only a label: when it is taken, the next free number follows it.
        label := table_row.relname || missing.suffix;
        FOR number IN 2..1000 LOOP
            EXIT WHEN to_regclass(format('%I.%I', place, label)) IS NULL
                  AND to_regtype(format('%I.%I', place, label)) IS NULL;
            label := table_row.relname || missing.suffix || '_' || number;
        END LOOP;
        IF octet_length(label) > 63 THEN
            RAISE EXCEPTION '%: the name of partition % has more than 63 bytes: '
                'shorten the name of the table', parent, label USING ERRCODE = {refused};
        END IF;
        child := format('%I.%I', place, label);
        EXECUTE format(
            'CREATE %sTABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED '
            'INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS '
            'INCLUDING STATISTICS)%s%s%s',
            CASE table_row.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, child, parent,
            (SELECT format(' USING %I', amname) FROM pg_catalog.pg_am WHERE oid = table_row.relam),
            ' WITH (' || storage_parameters || ')',
            (SELECT format(' TABLESPACE %I', spcname) FROM pg_catalog.pg_tablespace
             WHERE oid = table_row.reltablespace));
        EXECUTE format('COMMENT ON TABLE %s IS %L', child,
                       ownership || 'partition of ' || place || '.' || table_row.relname);
"""

_COPY_ATTRIBUTES: LiteralString = """
        -- LIKE leaves these behind: owner, grants, row security and replica identity.
        IF table_row.relowner <> (SELECT relowner FROM pg_catalog.pg_class
                                  WHERE oid = child::regclass) THEN
            EXECUTE format('ALTER TABLE %s OWNER TO %s', child, table_row.relowner::regrole);
        END IF;
        FOR command IN
            SELECT DISTINCT format('REVOKE ALL ON TABLE %s FROM %s', child,
                                   CASE grantee WHEN 0 THEN 'PUBLIC'
                                                ELSE grantee::regrole::text END)
            FROM pg_catalog.pg_class AS c, aclexplode(c.relacl)
            WHERE c.oid = child::regclass AND grantee <> c.relowner
        LOOP
            EXECUTE command;
        END LOOP;
        FOR command IN
            SELECT format('GRANT %s%s ON TABLE %s TO %s%s', privilege_type, columns, child,
                          CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
                          CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
            FROM (SELECT table_row.relacl AS acl, NULL AS columns
                  UNION ALL
                  SELECT attacl, format(' (%I)', attname) FROM pg_catalog.pg_attribute
                  WHERE attrelid = parent AND attacl IS NOT NULL) AS sources, aclexplode(acl)
            WHERE grantee <> table_row.relowner
            UNION ALL
            SELECT format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', child)
            WHERE table_row.relrowsecurity
            UNION ALL
            SELECT format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', child)
            WHERE table_row.relforcerowsecurity
            UNION ALL
            SELECT format('ALTER TABLE %s REPLICA IDENTITY %s', child,
                          CASE table_row.relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
            WHERE table_row.relreplident IN ('f', 'n')
        LOOP
            EXECUTE command;
        END LOOP;
"""

_ATTACH: LiteralString = """
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s %s', parent, child, missing.bound);
        FOR command IN  -- the index came with ATTACH
            SELECT format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', child, c.relname)
            FROM pg_catalog.pg_index AS x
            JOIN pg_catalog.pg_inherits AS i ON i.inhparent = x.indexrelid
            JOIN pg_catalog.pg_index AS own ON own.indexrelid = i.inhrelid
            JOIN pg_catalog.pg_class AS c ON c.oid = own.indexrelid
            WHERE table_row.relreplident = 'i'
              AND x.indrelid = parent AND x.indisreplident AND own.indrelid = child::regclass
        LOOP
            EXECUTE command;
        END LOOP;
    END LOOP;
"""

_REPORT_STRAY_ROWS: LiteralString = """
EXCEPTION WHEN check_violation THEN
    SELECT partdefid::regclass INTO child FROM pg_catalog.pg_partitioned_table
    WHERE partrelid = parent;
    RAISE EXCEPTION '%: its default partition % holds rows of the new partition %. Detach it '
        '(op.detach_partition), run this again, then put its rows back where they belong: '
        'INSERT INTO % SELECT * FROM %', parent, child, missing.bound, parent, child
        USING ERRCODE = {refused};"""

CREATE_RANGE_PARTITIONS: LiteralString = (
    _DECLARE
    + """    suffix_pattern constant text := {suffix};
    covered tstzmultirange;
    missing record;
    table_row pg_catalog.pg_class;
    place name;
    storage_parameters text;
    label text;
    child text;
    command text;
"""
    + _PREPARE
    + """
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
    SELECT * INTO table_row FROM pg_catalog.pg_class WHERE oid = parent;
    SELECT nspname INTO place FROM pg_catalog.pg_namespace WHERE oid = table_row.relnamespace;
    -- A partitioned table has no storage parameters: the newest partition shows them.
    SELECT array_to_string(c.reloptions, ', ') INTO storage_parameters
    FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = parent AND c.relkind = 'r' ORDER BY c.oid::bigint DESC LIMIT 1;
"""
    + _FIND_MISSING
    + _CREATE
    + _COPY_ATTRIBUTES
    + _ATTACH
    + _FINISH
    + _REPORT_STRAY_ROWS
    + _END
)
"""Creates each missing partition beside the table (LIKE), then attaches it: SHARE UPDATE EXCLUSIVE
on the table, which stops neither readers nor writers, where `PARTITION OF` takes ACCESS EXCLUSIVE
(PostgreSQL docs, "CREATE TABLE" and "ALTER TABLE ... ATTACH PARTITION").
"""

DROP_RANGE_PARTITIONS: LiteralString = (
    _DECLARE
    + """    whole_table constant boolean := {whole_table};
    drop_rows constant boolean := {drop_rows};
    keep constant integer := {keep};
    keep_unit constant text := {keep_unit};
    keep_step constant interval := {keep_step};
    session_row_security constant text := current_setting('row_security');
    wanted regclass[];
    partition regclass;
    is_foreign boolean;
    is_locked boolean;
    rows_held bigint;
"""
    + _PREPARE
    + """
    IF current_setting('transaction_isolation') NOT LIKE 'read %' AND NOT drop_rows THEN
        RAISE EXCEPTION '%: a transaction that is % does not see the rows written since it began: '
            'run this migration with the isolation level READ COMMITTED', parent,
            upper(current_setting('transaction_isolation')) USING ERRCODE = {refused};
    END IF;
    -- Row security must not hide rows from the count: rather an error.
    PERFORM set_config('row_security', 'off', true);
    -- Counted first, while nobody waits for a lock; then again under the one that keeps rows out.
    FOREACH is_locked IN ARRAY ARRAY[false, true] LOOP
        IF is_locked THEN
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', parent);
        END IF;
    SELECT array_agg(i.inhrelid::regclass ORDER BY held) INTO wanted
    FROM pg_catalog.pg_inherits AS i LEFT JOIN """
    + _BOUNDS
    + """ ON bounds.relation = i.inhrelid
    WHERE i.inhparent = parent AND (whole_table OR (
        starts_with(obj_description(i.inhrelid, 'pg_class'), ownership)
        AND CASE WHEN held IS NULL THEN with_default
                 ELSE range_start IS NOT NULL
                  AND lower(held) >= greatest(
                      periods_start, date_trunc(keep_unit, local_now) + (keep + 1) * keep_step
                  ) AT TIME ZONE key_zone
                  AND (ahead IS NOT NULL OR upper(held) <= periods_stop AT TIME ZONE key_zone)
            END));
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
                    'drop_rows=True to op.drop_range_partitions to lose them', parent, partition,
                    rows_held USING ERRCODE = {refused};
            END IF;
        END LOOP;
    END LOOP;
    FOREACH partition IN ARRAY coalesce(wanted, '{{}}') LOOP
        is_foreign := (SELECT relkind = 'f' FROM pg_catalog.pg_class WHERE oid = partition);
        -- A partition that foreign keys refer to cannot be dropped in place. Any other is:
        -- detaching gives it foreign keys of its own, one for each partition they refer to.
        IF is_foreign OR EXISTS (SELECT FROM pg_catalog.pg_constraint
                                 WHERE contype = 'f' AND confrelid = partition) THEN
            EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, partition);
        END IF;
        IF NOT is_foreign THEN
            EXECUTE format('DROP TABLE %s', partition);
        END IF;
    END LOOP;
    PERFORM set_config('row_security', session_row_security, true);
"""
    + _FINISH
    + _END
)
"""Counts rows under the lock that keeps new ones out, and drops only what is empty."""
