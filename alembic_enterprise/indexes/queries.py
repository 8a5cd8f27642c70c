"""What the catalog is read with.

Sizes are those of the last VACUUM or ANALYZE: asking for the files themselves takes a lock on each
table and index, which waits for whoever alters one.
"""

from psycopg.sql import SQL

STATISTICS_SINCE = SQL("""CASE WHEN current_setting('track_counts')::boolean THEN coalesce(greatest(
           pg_stat_get_db_stat_reset_time((
               SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())),
           pg_stat_get_bgwriter_stat_reset_time()), pg_postmaster_start_time()) END""")
"""The counters of a database have no date when they were lost in a crash; those of the background
writer get one then (PostgreSQL docs, "The Cumulative Statistics System")."""

SETTINGS = SQL("""
SELECT current_setting('server_version_num')::int, {now}, coalesce(current_schema(), 'public'),
       {since}, current_setting('track_commit_timestamp')::boolean""")

TABLES = SQL("""
SELECT c.oid, n.nspname, c.relname, c.relkind::text, i.inhparent, p.partstrat::text,
       CASE WHEN p.partrelid IS NOT NULL THEN ARRAY(
           SELECT a.attname::text FROM unnest(p.partattrs) WITH ORDINALITY AS k(number, position)
           LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
           ORDER BY k.position) END,
       CASE WHEN c.relkind = 'r' AND c.reltuples < 0 THEN coalesce(pg_relation_size(c.oid), 0)
            ELSE c.relpages::bigint * current_setting('block_size')::bigint END,
       c.reltuples, c.relkind <> 'r' OR has_table_privilege(c.oid, 'SELECT'),
       pg_stat_get_tuples_updated(c.oid),
       pg_stat_get_tuples_updated(c.oid) - pg_stat_get_tuples_hot_updated(c.oid),
       pg_stat_get_tuples_deleted(c.oid), pg_stat_get_numscans(c.oid)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_inherits AS i ON c.relispartition AND i.inhrelid = c.oid
LEFT JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = c.oid
LEFT JOIN pg_catalog.pg_description AS d
       ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_catalog.pg_class'::regclass
WHERE (c.relkind IN ('r', 'p') OR c.relkind = 'f' AND c.relispartition)
  AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema$)'
  AND c.relname <> {registry}
  AND (c.relispartition OR NOT starts_with(coalesce(d.description, ''), {ownership}))
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS e
      WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY n.nspname, c.relname""")

COLUMNS = SQL("""
SELECT attrelid, attnum, attname, quote_ident(attname), atttypid, attnotnull, attcollation
FROM pg_catalog.pg_attribute
WHERE attrelid = ANY ({tables}::oid[]) AND attnum > 0 AND NOT attisdropped
ORDER BY attrelid, attnum""")

TYPES = SQL("""
WITH RECURSIVE chain (oid, base) AS (
    SELECT oid, oid FROM pg_catalog.pg_type WHERE oid = ANY ({types}::oid[])
    UNION ALL
    SELECT chain.oid, t.typbasetype
    FROM chain JOIN pg_catalog.pg_type AS t ON t.oid = chain.base AND t.typtype = 'd')
SELECT chain.oid, format_type(t.oid, NULL)
FROM chain JOIN pg_catalog.pg_type AS t ON t.oid = chain.base AND t.typtype <> 'd'""")

INDEXES = SQL("""
SELECT x.indrelid, x.indexrelid, c.relname, i.inhparent, m.amname, x.indnkeyatts, x.indkey::text,
       x.indclass::text, x.indcollation::text, x.indoption::text,
       pg_get_expr(x.indpred, x.indrelid), x.indisunique, {nulls_not_distinct},
       x.indisvalid AND x.indisready AND x.indislive, x.indislive, x.indimmediate,
       x.indisclustered, x.indisreplident,
       k.conname, CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique constraint'
                                 WHEN 'x' THEN 'exclusion constraint' END,
       x.indexrelid IN (SELECT conindid FROM pg_catalog.pg_constraint WHERE contype = 'f'),
       c.relpages::bigint * current_setting('block_size')::bigint, c.reltuples,
       pg_stat_get_numscans(c.oid), pg_stat_get_tuples_returned(c.oid), {built}, c.reloptions,
       t.spcname,
       CASE WHEN m.amname = 'gist' THEN ARRAY(
           SELECT array_to_string(ARRAY(
               SELECT a.amopopr FROM pg_catalog.pg_opclass AS o
               JOIN pg_catalog.pg_amop AS a ON a.amopfamily = o.opcfamily WHERE o.oid = class), ' ')
           FROM unnest(x.indclass) WITH ORDINALITY AS k (class, position) ORDER BY position)
       END
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
LEFT JOIN pg_catalog.pg_inherits AS i ON c.relispartition AND i.inhrelid = c.oid
LEFT JOIN pg_catalog.pg_constraint AS k
       ON k.conindid = c.oid AND k.contype IN ('p', 'u', 'x') AND k.conrelid = x.indrelid
LEFT JOIN pg_catalog.pg_tablespace AS t ON t.oid = c.reltablespace
WHERE x.indrelid = ANY ({tables}::oid[])
ORDER BY x.indrelid, c.relname""")

DEFAULT_CLASSES = SQL("SELECT oid FROM pg_catalog.pg_opclass WHERE opcdefault")

DEFINITIONS = SQL("SELECT oid, pg_get_indexdef(oid) FROM unnest({indexes}::oid[]) AS given (oid)")

FOREIGN_KEYS = SQL("""
SELECT k.conrelid, k.conname, near.names, near.types, n.nspname, c.relname, far.names, far.types,
       k.confdeltype::text, k.conpfeqop, {enforced}
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.confrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY position) AS names,
           array_agg(a.atttypid ORDER BY position) AS types
    FROM unnest(k.conkey) WITH ORDINALITY AS key (number, position)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = number) AS near
CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY position) AS names,
           array_agg(a.atttypid ORDER BY position) AS types
    FROM unnest(k.confkey) WITH ORDINALITY AS key (number, position)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = number) AS far
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ({tables}::oid[])
ORDER BY k.conrelid, k.conname""")

DISTRIBUTIONS = SQL("""
SELECT given.oid, s.attname, s.null_frac, s.correlation,
       CASE WHEN s.n_distinct BETWEEN 1 AND cardinality(s.most_common_freqs)
            THEN s.most_common_freqs[cardinality(s.most_common_freqs)] END,
       CASE WHEN given.whole
            THEN (SELECT max(bound) FROM unnest(s.histogram_bounds::text::bigint[]) AS bound) END
FROM unnest({tables}::oid[], {names}::name[], {partitioned}::boolean[], {whole}::boolean[])
     AS given (oid, name, partitioned, whole)
JOIN pg_catalog.pg_class AS c ON c.oid = given.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_stats AS s ON s.schemaname = n.nspname AND s.tablename = c.relname
     AND s.attname = given.name AND s.inherited = given.partitioned""")

DESCRIBED = SQL("""
SELECT c.oid, has_table_privilege(c.oid, 'SELECT'),
       EXISTS (SELECT FROM pg_catalog.pg_stats AS s
               WHERE s.schemaname = n.nspname AND s.tablename = c.relname)
       OR EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                  WHERE a.attrelid = c.oid AND a.attstattarget = 0)
FROM unnest({indexes}::oid[]) AS given (oid)
JOIN pg_catalog.pg_class AS c ON c.oid = given.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace""")

BUILDING = SQL("""
SELECT DISTINCT coalesce(x.indrelid, l.relation)
FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_index AS x ON x.indexrelid = l.relation
WHERE l.locktype = 'relation' AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND (x.indexrelid IS NOT NULL
       OR l.pid IN (SELECT pid FROM pg_catalog.pg_stat_progress_create_index))""")
"""The tables of which an index is being built or dropped CONCURRENTLY. Only some roles see in
pg_stat_progress_create_index which table that is; its lock is seen by all."""

SEQUENCES = SQL("""
WITH RECURSIVE chain (oid, base) AS (
    SELECT oid, typbasetype FROM pg_catalog.pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT chain.oid, t.typbasetype
    FROM chain JOIN pg_catalog.pg_type AS t ON t.oid = chain.base AND t.typtype = 'd'),
taken AS (
    SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number
    FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = d.classid
      AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    UNION
    SELECT d.refobjid, f.adrelid, f.adnum
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attrdef AS f ON f.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass
      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid = 0),
known AS (
    SELECT s.*, n.nspname, c.relname, t.oid AS relation, a.attname,
           coalesce(a.atttypid, s.seqtypid) AS type,
           CASE WHEN s.seqincrement > 0 THEN s.seqmin ELSE s.seqmax END AS first,
           CASE WHEN s.seqincrement > 0 THEN s.seqmax ELSE s.seqmin END AS own_limit,
           CASE WHEN numbers.of @> ARRAY['int2'::regtype::oid] THEN 32767
                WHEN numbers.of @> ARRAY['int4'::regtype::oid] THEN 2147483647
                ELSE 9223372036854775807 END AS most
    FROM pg_catalog.pg_sequence AS s
    JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid AND c.relpersistence <> 't'
         AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN taken ON taken.sequence = c.oid
    LEFT JOIN pg_catalog.pg_class AS t ON t.oid = taken.relation
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = taken.number
    CROSS JOIN LATERAL (
        SELECT coalesce(a.atttypid, s.seqtypid) || array_agg(base) AS of
        FROM chain WHERE oid = a.atttypid) AS numbers
    WHERE t.relispartition IS NOT TRUE AND n.nspname !~ '^(pg_|information_schema$)'),
bounded AS (
    SELECT *, CASE WHEN seqincrement > 0 THEN least(own_limit, most)
                   ELSE greatest(own_limit, -most - 1) END AS reach
    FROM known),
chosen AS (
    SELECT *, has_sequence_privilege(seqrelid, 'SELECT, USAGE') AS readable,
           count(*) OVER () AS candidates
    FROM bounded
    WHERE abs(reach::numeric) < 1e15 OR abs(seqincrement) > 1000
       OR abs(seqstart::numeric - first) > abs(reach::numeric - first) / 2
    ORDER BY pg_stat_get_tuples_inserted(relation) DESC NULLS LAST, seqrelid
    LIMIT {limit})
SELECT nspname, relname, relation, attname, type, first,
       CASE WHEN readable THEN pg_sequence_last_value(seqrelid) END, reach, own_limit, seqcycle,
       readable, candidates
FROM chosen ORDER BY nspname, relname, attname""")
"""A bigint that counts by small steps never ends, and is not asked: reading a sequence takes a lock
that is held until the transaction ends."""
