"""The PL/pgSQL blocks that create and drop the partitions of a range.

They decide on the server, on the day they run: what exists is read from its bounds, periods are
counted in the declared zone, and attributes are copied from the table as it is then. So a script
works on any database, and `--sql` writes what an online upgrade executes.

A table of two levels is worked through one partitioned table after the other: by hash outside, each
of its shards; by hash inside, the table itself and then each new partition, which gets its shards.

All moments are `timestamptz`; for keys without a zone they are read as UTC. The session prints
them in ISO form and UTC meanwhile, and gets its own settings back.
"""

from typing import LiteralString

from alembic_enterprise.partitions.operations import pieces

_DECLARE: LiteralString = """DECLARE
    root constant regclass := {table};
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
    SELECT min(CASE a.atttypid WHEN 'timestamptz'::regtype THEN zone ELSE 'UTC' END),
           array_agg(p.partrelid::regclass ORDER BY p.partrelid::bigint)
    INTO key_zone, parents
    FROM pg_catalog.pg_partitioned_table AS p
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    WHERE p.partstrat = 'r' AND p.partnatts = 1
      AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
      AND (p.partrelid = root OR p.partrelid IN (  -- the shards of one by hash
          SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i
          JOIN pg_catalog.pg_partitioned_table AS h ON h.partrelid = i.inhparent
          WHERE i.inhparent = root AND h.partstrat = 'h'));
    IF parents IS NULL THEN
        RAISE EXCEPTION '% is not partitioned by range of one date or timestamp column: '
            'create it with PARTITION BY RANGE (...) first', root USING ERRCODE = {refused};
    END IF;
    PERFORM set_config('DateStyle', 'ISO, YMD', true), set_config('TimeZone', 'UTC', true);
    local_now := {now} AT TIME ZONE zone;
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


def _bounds(parents: LiteralString) -> LiteralString:
    return (
        """(
        SELECT relation, tstzrange(
            nullif(split_part(split_part(bound, ' TO ', 1), '''', 2), '')::timestamptz,
            nullif(split_part(split_part(bound, ' TO ', 2), '''', 2), '')::timestamptz) AS held
        FROM (SELECT c.oid AS relation, pg_get_expr(c.relpartbound, 0) AS bound
              FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
              WHERE i.inhparent = """
        + parents
        + """ OFFSET 0) AS children
        WHERE bound <> 'DEFAULT') AS bounds"""
    )


_FIND_MISSING: LiteralString = (
    """
    covered := '{{}}';
    IF has_partitions THEN
        SELECT coalesce(range_agg(held), '{{}}') INTO covered FROM """
    + _bounds("parent")
    + """;
    END IF;
    FOR missing IN
        -- The parts of each period that no partition holds, then the default partition.
        SELECT part AS held, table_row.relname || to_char(first, suffix_pattern) AS label,
               format('FOR VALUES FROM (%L) TO (%L)', lower(part), upper(part)) AS bound
        FROM generate_series(periods_start, periods_stop - step, step) AS first,
             unnest(tstzmultirange(tstzrange(
                 first AT TIME ZONE key_zone, (first + step) AT TIME ZONE key_zone)) - covered
             ) AS part
        WHERE by_range
        UNION ALL
        SELECT NULL, table_row.relname || '_default', 'DEFAULT'
        WHERE by_range AND with_default AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_partitioned_table WHERE partrelid = parent AND partdefid <> 0)
        UNION ALL
        SELECT NULL, table_row.relname || '_shard_' || number,
               format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', shards, number)
        FROM generate_series(0, shards - 1) AS number WHERE NOT by_range
        ORDER BY held
    LOOP"""
)

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
    shards constant integer := {shards};
    parents regclass[];
    by_range boolean;
    covered tstzmultirange;
"""
    + pieces.CREATION_VARIABLES
    + _PREPARE
    + """
    WHILE cardinality(parents) > 0 LOOP
    parent := parents[1];
    parents := parents[2:];
    by_range := (SELECT partstrat = 'r' FROM pg_catalog.pg_partitioned_table
                 WHERE partrelid = parent);
    partition_by := CASE WHEN by_range THEN {partition_by} END;
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);"""
    + pieces.TEMPLATE
    + pieces.STORAGE
    + _FIND_MISSING
    + pieces.CREATE
    + pieces.COPY_ATTRIBUTES
    + pieces.ATTACH
    + """
        IF partition_by IS NOT NULL THEN  -- nobody sees it before it has its shards
            parents := parents || child::regclass;
        END IF;
    END LOOP;
    END LOOP;
"""
    + _FINISH
    + _REPORT_STRAY_ROWS
    + _END
)
"""Creates each missing partition beside the table (LIKE), then attaches it: SHARE UPDATE EXCLUSIVE
on the table, which stops neither readers nor writers, where `PARTITION OF` takes ACCESS EXCLUSIVE
(PostgreSQL docs, "CREATE TABLE" and "ALTER TABLE ... ATTACH PARTITION").
"""

_FIND_WANTED: LiteralString = (
    """
    SELECT array_agg(i.inhrelid::regclass ORDER BY held) INTO wanted
    FROM pg_catalog.pg_inherits AS i LEFT JOIN """
    + _bounds("ANY (parents)")
    + """ ON bounds.relation = i.inhrelid
    WHERE i.inhparent = ANY (parents) AND (whole_table OR (
        starts_with(obj_description(i.inhrelid, 'pg_class'), ownership)
        AND CASE WHEN held IS NULL THEN with_default
                 ELSE range_start IS NOT NULL
                  AND lower(held) >= greatest(
                      periods_start, date_trunc(keep_unit, local_now) + (keep + 1) * keep_step
                  ) AT TIME ZONE key_zone
                  AND (ahead IS NOT NULL OR upper(held) <= periods_stop AT TIME ZONE key_zone)
            END));
"""
)

DROP_RANGE_PARTITIONS: LiteralString = (
    _DECLARE
    + """    whole_table constant boolean := {whole_table};
    keep constant integer := {keep};
    keep_unit constant text := {keep_unit};
    keep_step constant interval := {keep_step};
"""
    + pieces.DROP_VARIABLES
    + _PREPARE
    + pieces.drop(_FIND_WANTED, pieces.DROP_OWN_REFERENCES)
    + _FINISH
    + _END
)
