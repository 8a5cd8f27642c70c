"""The blocks and queries of which building and dropping an index online are made.

What is there is found in the catalog each time, so a script works on any database, `--sql` writes
what an online upgrade runs, and what is already done is not done again.

`names` are the table and its partitions, however deep, with the `label` that the index of each
gets. `parts` are the indexes that are, or can become, the part of the index in each of them; `own`
are those that are called like a part and equal, and are attached to nothing. Two indexes are equal
when their shapes are, as for ATTACH: storage does not matter. The constraint of a partitioned table
has no index of a partition with partitions as its part, but a constraint: `of_constraint`.
"""

from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.sql import REFUSED, Name, Remaining

_SHAPE = SQL("""ROW(
        x.indisunique, to_jsonb(x) ->> 'indnullsnotdistinct', x.indnkeyatts, x.indclass::text,
        x.indcollation::text, x.indoption::text,
        pg_get_expr(x.indpred, x.indrelid),
        ARRAY(SELECT pg_get_indexdef(x.indexrelid, number, false)
              FROM generate_series(1, x.indnatts) AS number),
        ARRAY(SELECT attoptions::text FROM pg_catalog.pg_attribute
              WHERE attrelid = x.indexrelid ORDER BY attnum))::text""")
"""Of the index `x`; a setting of the session keeps that of the one wanted.

An operator class is of one access method, and pg_index has no column for nulls up to 14. The
options of an attribute are those of its operator class.
"""

_HAS_WANTED_SHAPE = SQL("{shape} = current_setting('alembic_enterprise.index', true)").format(
    shape=_SHAPE
)

_KEY = SQL("""hashtextextended(format('alembic_enterprise indexes %s',
        coalesce(pg_partition_root({table}), {table}::regclass)::oid), 0)""")
"""The advisory lock of a table and its partitions: two builds at once would wait for each other."""

_PID = SQL("""(SELECT pid FROM pg_catalog.pg_locks AS l
        JOIN pg_catalog.pg_database AS d ON d.oid = l.database
        WHERE d.datname = current_database() AND locktype = 'advisory' AND granted
          AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = {key})""")
"""The process that has this lock."""

_MOVED = SQL("""\
(SELECT format('%s: this session is served by another process than before, as behind '
                      'PgBouncer with pool_mode = transaction: connect to PostgreSQL itself, or '
                      'with pool_mode = session%s, and run again', {table}::regclass,
                      ', end what is left with SELECT pg_terminate_backend(' || holder || ')')
        FROM (SELECT {pid} AS holder) AS claim WHERE holder IS DISTINCT FROM pg_backend_pid())""")
"""What is wrong when the session that claimed the table is not this one; NULL when it is.

A setting of the session would not tell: each process of a pool may have kept one of another run.
"""

_NAMES = SQL("""WITH RECURSIVE tree AS (
    SELECT c.oid, NULL::oid AS parent, 0 AS level, c.relkind, c.relname, c.relnamespace
    FROM pg_catalog.pg_class AS c WHERE c.oid = {table}::regclass
    UNION ALL
    SELECT c.oid, tree.oid, tree.level + 1, c.relkind, c.relname, c.relnamespace
    FROM tree
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.oid AND NOT i.inhdetachpending
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid AND c.relispartition
), names AS (
    SELECT tree.*, n.nspname, format('%I.%I', n.nspname, tree.relname) AS table_name,
           CASE WHEN level = 0 THEN {name}
                WHEN octet_length(long) <= 63 THEN long
                -- The type `name` cuts at 63 bytes, and never through a character.
                ELSE substr(('123456789' || long)::name::text, 10) || '_'
                     || left(encode(sha256(convert_to(long, 'UTF8')), 'hex'), 8) END AS label
    FROM tree JOIN pg_catalog.pg_namespace AS n ON n.oid = tree.relnamespace
    CROSS JOIN LATERAL (SELECT tree.relname || '_' || {name}) AS joined (long)
), found AS MATERIALIZED (
    SELECT names.*, c.oid AS found_oid, c.relname AS found_name, c.relkind AS kind,
           c.relispartition, x.indisvalid, is_constraint, {has_wanted_shape}
               -- Of a partitioned table's index PostgreSQL makes no constraint.
               AND (is_constraint OR c.relkind = 'i' OR NOT {of_constraint}) AS is_equal
    FROM names JOIN pg_catalog.pg_index AS x ON x.indrelid = names.oid
    JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
    CROSS JOIN LATERAL (  -- a foreign key names the index that it refers to, too
        SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint
                       WHERE conindid = c.oid AND contype IN ('p', 'u', 'x'))) AS k (is_constraint)
), top AS (
    SELECT found_oid AS top_oid, kind AS top_kind
    FROM found WHERE level = 0 AND found_name = label AND is_equal
), attached AS (
    SELECT relid FROM top, pg_partition_tree(top_oid)
    UNION  -- what is attached to an index of a partition comes along with that
    SELECT relid FROM found, pg_partition_tree(found_oid) AS below
    WHERE found.level > 0 AND kind = 'I' AND is_equal AND NOT relispartition
      AND is_constraint = {of_constraint} AND relid <> found_oid
), parts AS (
    SELECT DISTINCT ON (found.oid)
           found.oid, found_name AS part, indisvalid, relid IS NOT NULL AS is_attached
    FROM found LEFT JOIN attached ON relid = found_oid
    WHERE is_equal AND (indisvalid OR kind = 'I')
          AND (level = 0 AND found_name = label OR level > 0 AND NOT relispartition
               AND NOT is_constraint AND (kind = 'i' OR NOT {of_constraint}))
       OR relid IS NOT NULL
    ORDER BY found.oid, relid IS NULL, found_name <> label, NOT indisvalid, found_oid::bigint
), own AS (
    SELECT oid, kind AS own_kind, indisvalid AS own_valid
    FROM found WHERE is_equal AND found_name = label AND NOT relispartition
), nodes AS (
    SELECT names.*, part, indisvalid, coalesce(part, label) AS index_name, own_kind, own_valid,
           coalesce(is_attached, false) AS is_attached,
           EXISTS (SELECT FROM names WHERE relkind = 'f') AS any_foreign
    FROM names LEFT JOIN parts USING (oid) LEFT JOIN own USING (oid)
)""")

_CLAIM = SQL("""DECLARE
    relation constant regclass := {table};
    place name;
    wanted text;
    problem text;
    worker integer;
    is_cut boolean;
BEGIN
    SELECT nspname INTO place FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation;
    IF NOT pg_try_advisory_lock({key}) THEN
        worker := {pid};
        RAISE EXCEPTION '%: pid % is at work on its indexes or constraints: run again when it has '
            'ended, or end it with SELECT pg_terminate_backend(%)', relation, worker, worker
            USING ERRCODE = {refused};
    END IF;
""")
"""How a block begins that makes sure that nobody else is at work on the table; END is to follow."""

CLAIM: LiteralString = "{claim}END"
"""Makes sure that nobody else is at work on the table."""

_UNCLAIM = SQL("""
    problem := {moved};
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = {refused}, MESSAGE = problem;
    END IF;
    PERFORM pg_advisory_unlock({key});
    """)

UNCLAIM: LiteralString = "DECLARE problem text; BEGIN{unclaim}END"
"""Lets others work on the table, if nobody else could so far."""

_TWIN = SQL("""
    -- What the server makes of the definition is seen on an empty table, which is taken back.
    BEGIN
        EXECUTE format('CREATE TABLE %I.alembic_enterprise_twin (LIKE %s)', place, relation);
        EXECUTE format('CREATE {unique}INDEX ON %I.alembic_enterprise_twin ', place)
                || {definition};
        SELECT {shape} INTO wanted FROM pg_catalog.pg_index AS x
        WHERE x.indrelid = format('%I.alembic_enterprise_twin', place)::regclass;
        RAISE EXCEPTION USING ERRCODE = 'AE002';
    EXCEPTION WHEN SQLSTATE 'AE002' THEN
        NULL;
    WHEN undefined_table THEN
        RAISE EXCEPTION '%: %: write the columns of the index without the name of their table, as '
            'each partition has a different one', relation, SQLERRM USING ERRCODE = {refused};
    END;
    """)
"""What the shape of the definition would be."""

CLAIM_CREATION: LiteralString = """{claim}
    IF (SELECT relkind FROM pg_catalog.pg_class WHERE oid = relation) NOT IN ('r', 'p', 'm') THEN
        RAISE EXCEPTION '%: it is neither a table nor a materialized view, and nothing else has '
            'indexes: correct its name', relation USING ERRCODE = {refused};
    END IF;
{twin}
    PERFORM set_config('alembic_enterprise.index', wanted, false);
    {names}
    SELECT pid, table_name INTO worker, problem
    FROM nodes JOIN pg_catalog.pg_locks AS l ON l.relation = nodes.oid
    JOIN pg_catalog.pg_stat_progress_create_index AS p USING (pid)
    WHERE part IS NULL AND p.datname = current_database() AND l.mode = 'ShareUpdateExclusiveLock'
      AND pid <> pg_backend_pid()
    ORDER BY pid LIMIT 1;
    IF worker IS NOT NULL THEN
        RAISE EXCEPTION '%: pid % is building an index of %, perhaps this one: run again when it '
            'has ended', relation, worker, problem USING ERRCODE = {refused};
    END IF;
    {names}
    SELECT (array_agg(CASE
        WHEN relkind = 'f' AND {is_unique} THEN
            format('its partition %s is a foreign table, and PostgreSQL makes no unique index '
                   'across those: detach it first', table_name)
        WHEN taken.description IS NOT NULL THEN
            format('there is %s already, and %s%s: rename or drop that, or choose another name',
                   taken.description,
                   CASE WHEN taken.is_hopeless
                        THEN 'PostgreSQL makes no constraint of an index of a partitioned table'
                        ELSE 'it is not this index' END,
                   CASE WHEN level > 0 AND NOT taken.is_hopeless THEN ' of ' || table_name END)
        ELSE
            format('%s has the invalid index %I, which is this one but for its name, perhaps of an '
                   'interrupted build: drop it with DROP INDEX CONCURRENTLY %I.%I, then run again',
                   table_name, cut_name, nspname, cut_name) END
        ORDER BY level, nodes.oid::bigint))[1]  -- what is attached goes with that above
    INTO problem
    FROM nodes LEFT JOIN LATERAL (
        SELECT CASE WHEN k.oid IS NOT NULL THEN 'the constraint ' || pg_get_constraintdef(k.oid)
                    WHEN x.indisvalid IS NULL THEN 'a relation ' || label
                    WHEN x.indisvalid THEN 'the index ' || pg_get_indexdef(x.indexrelid)
                    ELSE 'the invalid index ' || pg_get_indexdef(x.indexrelid) END AS description,
               {of_constraint} AND EXISTS (
                   SELECT FROM found WHERE found_oid = c.oid AND kind = 'I' AND NOT is_constraint
               ) AS is_hopeless
        FROM pg_catalog.pg_class AS c
        LEFT JOIN pg_catalog.pg_index AS x ON x.indexrelid = c.oid
        -- A foreign key names the index that it refers to, too.
        LEFT JOIN pg_catalog.pg_constraint AS k
             ON level = 0 AND k.conindid = c.oid AND k.contype::text = ANY ({constraints})
        WHERE c.relnamespace = nodes.relnamespace AND c.relname = label
          AND (part IS NULL AND own_kind IS NULL OR k.oid IS NOT NULL)) AS taken ON true
    -- Whose it is cannot be known, when a partition was renamed since; nobody is building it.
    LEFT JOIN (
        SELECT found.oid AS cut, found_name AS cut_name FROM found
        WHERE level > 0 AND kind = 'i' AND is_equal AND NOT indisvalid AND found_name <> label
    ) AS leftovers ON cut = nodes.oid AND part IS NULL AND own_kind IS NULL
    WHERE taken.description IS NOT NULL OR cut IS NOT NULL OR relkind = 'f' AND {is_unique};
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: %', relation, problem USING ERRCODE = {refused};
    END IF;
END"""
"""Makes sure that nobody else is at it, and that all names are free or taken by our own."""

CREATE: LiteralString = """
    SELECT statement, nodes.table_name, endured,
           row_number() OVER (ORDER BY number = 5, nodes.relkind <> 'p',
                              CASE WHEN nodes.relkind = 'p' THEN nodes.level END,
                              nodes.oid::bigint, number)
    FROM nodes LEFT JOIN nodes AS above ON above.oid = nodes.parent
    CROSS JOIN LATERAL (VALUES
        (1, CASE WHEN nodes.part IS NULL AND nodes.relkind = 'p' AND NOT nodes.any_foreign
                 THEN format('CREATE {unique}INDEX %I ON ONLY %s ', nodes.label, nodes.table_name)
                      || {definition} END, {share}),
        (2, CASE WHEN nodes.own_kind = 'i' AND NOT nodes.own_valid
                 THEN format('DROP INDEX CONCURRENTLY %I.%I', nodes.nspname, nodes.label) END,
         NULL),
        (3, CASE WHEN nodes.part IS NULL AND nodes.relkind IN ('r', 'm')
                 THEN format('CREATE {unique}INDEX CONCURRENTLY %I ON %s ', nodes.label,
                             nodes.table_name) || {definition} END, NULL),
        (4, CASE WHEN nodes.level > 0 AND NOT nodes.is_attached AND NOT nodes.any_foreign
                 THEN format('ALTER INDEX %I.%I ATTACH PARTITION %I.%I', above.nspname,
                             above.index_name, nodes.nspname, nodes.index_name) END, {exclusive}),
        (5, CASE WHEN nodes.level = 0 AND nodes.part IS NULL AND nodes.any_foreign
                 THEN format('CREATE {unique}INDEX %I ON %s ', nodes.label, nodes.table_name)
                      || {definition} END, {share})) AS steps (number, statement, endured)
    WHERE statement IS NOT NULL"""
"""What lacks: the index of each parent, invalid; then, in one partition after the other, what a cut
build has left goes, and the part comes and is attached. With the last one all are valid.

That is looked at then only, so the partition that a retention drops next must not be the last: the
newest is. Foreign tables have no part, so attaching would never make the index valid: where there
are some, it is made when all parts exist, and takes those (PostgreSQL docs, "CREATE INDEX").
"""

END_CREATION: LiteralString = """DECLARE
    is_valid boolean;
    lacking text;
    problem text;
BEGIN{unclaim}{names}
    SELECT bool_and(indisvalid IS TRUE) FILTER (WHERE level = 0),
           min(table_name) FILTER (WHERE level > 0 AND relkind <> 'f'
                                   AND (NOT is_attached OR NOT indisvalid))
    INTO is_valid, lacking FROM nodes;
    IF NOT is_valid THEN
        RAISE EXCEPTION '%: its index % is not valid, %', {table}::regclass, {name},
            coalesce('as ' || lacking || ' has no valid part of it: run again; if that does not '
                     'help, run ' || {undo} || ' first',
                     'although each partition has its part, perhaps as the last one without was '
                     'dropped: run ' || {undo} || ' first, then run again')
            USING ERRCODE = {refused};
    END IF;
END"""

CLAIM_DROP: LiteralString = """{claim}
    SELECT coalesce(pg_get_indexdef(x.indexrelid), 'a relation ' || c.relname) INTO problem
    FROM pg_catalog.pg_class AS c LEFT JOIN pg_catalog.pg_index AS x ON x.indexrelid = c.oid
    WHERE c.relname = {name} AND c.relnamespace = (
          SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = relation)
      AND x.indrelid IS DISTINCT FROM relation;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: % is not an index of it, but %: correct the name or the table',
            relation, {name}, problem USING ERRCODE = {refused};
    END IF;
    SELECT {shape} INTO wanted FROM pg_catalog.pg_index AS x
    JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
    WHERE x.indrelid = relation AND c.relname = {name};
    IF wanted IS NULL THEN
        {names}
        SELECT count(*) > 0 INTO is_cut FROM found
        WHERE {any_columns} AND level > 0 AND found_name = label
          AND EXISTS (SELECT FROM names WHERE relkind = 'f');
    END IF;
    IF is_cut THEN{twin}
    ELSIF wanted IS NULL THEN
        RAISE NOTICE '%: there is no index %, so none is dropped', relation, {name};
    END IF;
    PERFORM set_config('alembic_enterprise.index', wanted, false);
END"""
"""Makes sure that nobody else is at it, and finds the shape of the index.

Beside a foreign partition the index itself comes last, so an interrupted build may have left parts
without it: their shape is that of the definition, if there is one.
"""

DROP: LiteralString = """
    SELECT format('DROP INDEX%s %I.%I', CASE WHEN kind = 'i' THEN ' CONCURRENTLY' END, nspname,
                  label), table_name, CASE WHEN kind = 'I' THEN {exclusive} END,
           row_number() OVER (ORDER BY level DESC, nodes.oid::bigint)
    FROM nodes LEFT JOIN top ON level = 0
    CROSS JOIN LATERAL (SELECT CASE WHEN level = 0 THEN top_kind
                                    WHEN NOT is_attached THEN own_kind END) AS gone (kind)
    WHERE kind IS NOT NULL"""
"""What a cut build did not come to attach; then the index, with all that is attached to it."""

_REMAINING = SQL("""SELECT CASE WHEN moved IS NULL THEN {statement}
            ELSE format('DO %L', format('BEGIN RAISE EXCEPTION USING ERRCODE = %L, MESSAGE = %L; '
                                        'END', {refused}, moved)) END
FROM {rows} CROSS JOIN (SELECT {moved} AS moved) AS session ORDER BY {order}""")


def of_table(table: Name) -> dict[str, Composable]:
    """The placeholders of all blocks and queries that follow from the table alone."""
    key = _KEY.format(table=table.regclass)
    pid = _PID.format(key=key)
    values = {
        "table": table.regclass,
        "key": key,
        "pid": pid,
        "moved": _MOVED.format(table=table.regclass, pid=pid),
        "refused": Literal(REFUSED),
    }
    return values | {"claim": _CLAIM.format(**values), "unclaim": _UNCLAIM.format(**values)}


def of_index(table: Name, **values: Composable) -> dict[str, Composable]:
    """Those for an index: `values`, the table's, and pieces that are filled with these.

    `name`, `unique`, `definition` and `of_constraint` must be among the values.
    """
    values |= of_table(table) | {"shape": _SHAPE, "has_wanted_shape": _HAS_WANTED_SHAPE}
    return values | {"names": _NAMES.format(**values), "twin": _TWIN.format(**values)}


def remaining(
    statement: Composable, rows: Composable, order: LiteralString, **values: Composable
) -> Composed:
    """A statement for each row, in order; a refusal if this session does not hold the claim.

    `statement` is the expression that gives it, `values` those of the table.
    """
    return _REMAINING.format(statement=statement, rows=rows, order=SQL(order), **values)


def steps(query: LiteralString, **values: Composable) -> Remaining:
    """The statements that a query of `nodes` gives, in order.

    Where it says which locks of others a statement endures, that is tried patiently.
    """
    statement = SQL("CASE WHEN endured IS NULL THEN statement ELSE {patient} END")
    rows = SQL("({}\n) AS told (statement, name, endured, position)")
    inner = rows.format(SQL(query).format(**values))
    return Remaining(
        [values["names"], remaining(statement.format(**values), inner, "position", **values)]
    )


def release(table: Name) -> Composed:
    """Lets others work on the table after an error, whatever that was."""
    return SQL("SELECT pg_advisory_unlock({key})").format(**of_table(table))
