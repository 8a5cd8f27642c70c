"""The statements by which a shard is replaced by copies of its parts; each is one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from alembic_enterprise.partitions.operations import pieces
from alembic_enterprise.partitions.steps import GUARD
from alembic_enterprise.shards.growth import likeness, mirror
from alembic_enterprise.shards.growth.copies import Mirror, Source, mirror_comment
from alembic_enterprise.shards.growth.mirror import belongs, equal, listed, of
from alembic_enterprise.shards.leftovers import Copy, copy_comment
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.shards.operations import own
from alembic_enterprise.sql import REFUSED, Name, do_block, dollar_quoted, text_of

_CREATE: LiteralString = """DECLARE
    root constant regclass := {shard};
    tried bigint;
    is_tried boolean := false;
    untried text;
{variables}BEGIN
{template}
    SELECT string_agg(option, ', ') INTO storage_parameters
    FROM (SELECT unnest(table_row.reloptions) AS option
          UNION ALL
          SELECT 'toast.' || unnest(reloptions) FROM pg_catalog.pg_class
          WHERE oid = table_row.reltoastrelid) AS options;
    FOR missing IN
        SELECT * FROM unnest({labels}::text[], {guards}::text[], {comments}::text[])
                      AS copies (label, guard, comment)
    LOOP
        child := format('%I.%I', place, missing.label);
        EXECUTE format(
            'CREATE %sTABLE %s (LIKE %s INCLUDING ALL EXCLUDING IDENTITY, '
            'CONSTRAINT %I CHECK (%s))%s%s%s',
            CASE table_row.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, child, parent, {guard},
            missing.guard || coalesce(' AND ' || pg_get_partition_constraintdef({table}), ''),
            access_method, ' WITH (' || storage_parameters || ')', tablespace);
        EXECUTE format('COMMENT ON TABLE %s IS %L', child, missing.comment);
{attributes}
        FOR command IN{settings}
            UNION ALL
            SELECT format('ALTER STATISTICS %I.%I OWNER TO %I', place, stxname,
                          pg_get_userbyid(table_row.relowner))
            FROM pg_catalog.pg_statistic_ext
            WHERE stxrelid = child::regclass AND stxowner <> table_row.relowner
            UNION ALL
            SELECT format('ALTER INDEX %I.%I ALTER COLUMN %s SET STATISTICS %s', place, name,
                          attnum, attstattarget)
            FROM ({indexes}) AS indexes
            JOIN pg_catalog.pg_attribute ON attrelid = like_index AND attstattarget >= 0
            UNION ALL
            SELECT format('ALTER TABLE %s %s %I', child, choice, name)
            FROM ({indexes}) AS indexes, LATERAL (VALUES
                ('REPLICA IDENTITY USING INDEX', is_identity), ('CLUSTER ON', is_clustered))
                AS choices (choice, chosen) WHERE chosen
        LOOP
            EXECUTE command;
        END LOOP;
    END LOOP;
    BEGIN
        PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
        FOREACH command IN ARRAY {probes}::text[] LOOP
            EXECUTE command;
            GET DIAGNOSTICS tried = ROW_COUNT;
            is_tried := is_tried OR tried > 0;
        END LOOP;
        TRUNCATE {copies};
    EXCEPTION WHEN syntax_error_or_access_rule_violation THEN
        RAISE EXCEPTION '%: %, where the search_path is pg_catalog, pg_temp, as it is while its '
            'changes are repeated in copies: let each function in an index, a CHECK or a generated '
            'column name schemas, or ALTER FUNCTION ... SET search_path', {shard}::regclass, SQLERRM
            USING ERRCODE = {refused};
    END;
    IF NOT is_tried THEN
        {untried}
    END IF;
    IF untried IS NOT NULL THEN
        RAISE EXCEPTION '%: it has no row to try % with, and the search_path is pg_catalog, '
            'pg_temp while its changes are repeated in copies: ALTER FUNCTION ... SET search_path, '
            'or use op.grow_hash_shards, which locks', {shard}::regclass, untried
            USING ERRCODE = {refused};
    END IF;
END"""

# Those of a body that was parsed when they were made, and of the server's and of extensions in C,
# need no search_path. Before 15 it is the table that depends on those of a generated column.
_UNTRIED = SQL("""SELECT string_agg(DISTINCT p.oid::regprocedure::text, ', ') INTO untried
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_proc AS p ON p.oid = d.refobjid AND p.prosqlbody IS NULL
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
    WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass
      AND (d.classid, d.objid) IN (
          SELECT 'pg_catalog.pg_class'::regclass, indexrelid FROM pg_catalog.pg_index
          WHERE indrelid = {shard}
          UNION ALL
          SELECT 'pg_catalog.pg_class'::regclass, {shard}
          UNION ALL
          SELECT 'pg_catalog.pg_constraint'::regclass, oid FROM pg_catalog.pg_constraint
          WHERE conrelid = {shard} AND contype = 'c'
          UNION ALL
          SELECT 'pg_catalog.pg_attrdef'::regclass, e.oid FROM pg_catalog.pg_attrdef AS e
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
          WHERE e.adrelid = {shard} AND a.attgenerated <> '')
      AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting
                      WHERE starts_with(setting, 'search_path='));""")

# Enough for what is NULL in some rows, or a condition of an index excludes; of the first pages, as
# a part may have few rows, and a shard many.
_PROBE = SQL(
    "INSERT INTO {copy} ({columns}) SELECT {columns} FROM ONLY {shard}"
    " WHERE {belongs} AND ctid < '(1000,0)' LIMIT 100"
)


def together(statements: Iterable[Composable]) -> Composed:
    """Statements as one, in one transaction and one round trip."""
    return do_block("BEGIN\n{statements};\nEND", statements=SQL(";\n").join(statements))


def create(source: Source, names: Sequence[str], parts: Sequence[Class]) -> Composable:
    """Make the empty copies of a shard; each has all that the shard has, and a CHECK of its bounds.

    The CHECK is what the server would write for the partition, with the bounds of the table where
    that is a partition itself, so that attaching the copy need not look at its rows (PostgreSQL
    docs, "ALTER TABLE ... ATTACH PARTITION"). It names the table as a regclass, which a dump writes
    by name: copies can be restored elsewhere, and belong to the table there.

    Some rows are copied on trial, so that it is not the application's statements which fail, once
    they are mirrored, as an expression of a column or an index works only with its search_path.
    Where the shard has none, functions that may need it are reported.
    """
    table = SQL("{}::regclass").format(source.table.name.regclass)
    copies = [Name(source.name.schema, name) for name in names]
    return do_block(
        _CREATE,
        shard=source.name.regclass,
        table=table,
        variables=SQL(pieces.CREATION_VARIABLES).format(partition_by=Literal(None)),
        template=SQL(pieces.TEMPLATE),
        attributes=SQL(pieces.ATTRIBUTES),
        settings=own.SETTINGS,
        labels=Literal(list(names)),
        guards=Literal([text_of(belongs(source, part, table=table)) for part in parts]),
        comments=Literal([copy_comment(source.shard.oid, part) for part in parts]),
        guard=Literal(GUARD),
        indexes=likeness.indexes(source, SQL("child::regclass")),
        probes=Literal(
            [text_of(_probe(source, *made)) for made in zip(copies, parts, strict=True)]
        ),
        copies=listed(copy.sql for copy in copies),
        untried=_UNTRIED.format(shard=Literal(source.shard.oid)),
        refused=Literal(REFUSED),
    )


def _probe(source: Source, copy: Name, part: Class) -> Composable:
    return _PROBE.format(
        copy=copy.sql,
        columns=listed(map(Identifier, source.stored)),
        shard=source.name.sql,
        belongs=belongs(source, part),
    )


def follow(source: Source, copies: Sequence[Copy]) -> Composable:
    """Mirror each change of the shard from now on."""
    return together(mirror.install(source, copies))


# A batch is run hundreds of times: its statements are parsed and planned once, and that for any
# pages: the planner would rather do so each time, as it does not know how few they are.
_COPYING = SQL("""CREATE OR REPLACE PROCEDURE {procedure}(
    alembic_enterprise_page bigint, alembic_enterprise_end bigint, alembic_enterprise_rows bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET max_parallel_workers_per_gather = 0 AS {body}""")

PROCEDURE = SQL("pg_temp.alembic_enterprise_copy")
"""Copies rows in batches; it belongs to the session, and goes with it."""

# Names of their own, which no column of the shard has.
_BATCH = SQL("""#variable_conflict use_column
DECLARE
    alembic_enterprise_first constant tid := format('(%s,0)', alembic_enterprise_page);
    alembic_enterprise_next constant tid := format('(%s,0)', alembic_enterprise_end);
    alembic_enterprise_since xid :=
        least({since}::xid8, pg_snapshot_xmin(pg_current_snapshot()))::xid;
    alembic_enterprise_settled bigint;
    alembic_enterprise_others tid[];
    {made} tid[];
BEGIN
    {copy_settled}
    SELECT count(*) FILTER (WHERE {settled}), array_agg(ctid) FILTER (WHERE NOT {settled})
    INTO alembic_enterprise_settled, alembic_enterprise_others
    FROM ONLY {shard} WHERE {range};
    {copy_others}
    IF cardinality({all_made}) > alembic_enterprise_settled THEN
        {remove_gone}
    END IF;
    {note};
END""")

_RANGE = SQL("ctid >= alembic_enterprise_first AND ctid < alembic_enterprise_next")

# Written before the mirror was there, by transactions that had ended before this one began to copy.
# Such rows only become fewer. No transaction is older than number 0, so none is settled then.
_SETTLED = SQL("age(xmin) > age(alembic_enterprise_since)")

_COPY_SETTLED = SQL("""BEGIN
        WITH written AS (
            INSERT INTO {copy} ({columns}) SELECT {columns} FROM ONLY {shard}
            WHERE {range} AND {settled} AND {belongs} RETURNING ctid)
        SELECT array_agg(ctid) INTO {made} FROM written;
    EXCEPTION WHEN unique_violation OR exclusion_violation THEN
        alembic_enterprise_since := '0';
    END;""")

_COPY_OTHERS = SQL("""WITH written AS (
        INSERT INTO {copy} ({columns}) SELECT {columns} FROM ONLY {shard}
        WHERE ctid = ANY (alembic_enterprise_others) AND {belongs}
        ON CONFLICT DO NOTHING RETURNING ctid)
    SELECT {made} || array_agg(ctid) INTO {made} FROM written;""")

# Whoever moves a row to other pages waits for this transaction to end, if its copy was made here.
_REMOVE_GONE = SQL("""DELETE FROM ONLY {copy} AS c WHERE ctid = ANY ({made})
        AND NOT EXISTS (SELECT FROM ONLY {shard} AS s WHERE {range} AND {same});""")


def prepare(source: Source, copies: Sequence[Copy], begun: Mirror) -> Composable:
    """Make the procedure that copies the rows of some pages, and notes it in the mirror's comment.

    It locks no row of the shard. A row that the mirror has put into the copy is newer, and stays. A
    row that somebody deletes while this runs must not be put back. Either it was deleted before it
    was copied: then a later statement, with a snapshot of its own, does not see it in the shard any
    more, and it is taken out of the copy. Or the mirror comes after, and waits for the end of this
    transaction to delete it.

    To look whether a row is in the copy already costs a third of writing it, so that settled rows
    are written without. Where one of them is there, as somebody has just changed it, all rows of
    the batch are looked up. And to see whether any is gone, rows are counted: settled ones that
    were written and are still there make up all that was written, unless others were.
    """
    parts = [_part(source, copy, number) for number, copy in enumerate(copies)]
    comment = mirror_comment(source, begun.since, "%s", "%s", begun.file)
    copied = SQL(
        "alembic_enterprise_rows + alembic_enterprise_settled"
        " + coalesce(cardinality(alembic_enterprise_others), 0), alembic_enterprise_end"
    )
    body = _BATCH.format(
        since=Literal(str(begun.since)),
        made=SQL(" tid[];\n    ").join(part["made"] for part in parts),
        all_made=SQL(" || ").join(part["made"] for part in parts),
        shard=source.name.sql,
        range=_RANGE,
        settled=_SETTLED,
        copy_settled=_for_each(parts, _COPY_SETTLED),
        copy_others=_for_each(parts, _COPY_OTHERS),
        remove_gone=_for_each(parts, _REMOVE_GONE),
        note=mirror.note(begun.name, comment, copied),
    )
    return _COPYING.format(procedure=PROCEDURE, body=dollar_quoted(body, "batch"))


def batch(done: Mirror, pages: int) -> Composable:
    """Copy the rows of the next pages of the shard that `prepare` was run for."""
    numbers = map(Literal, (done.pages, done.pages + pages, done.rows))
    return SQL("CALL {}({})").format(PROCEDURE, listed(numbers))


def _for_each(parts: Iterable[Mapping[str, Composable]], statement: SQL) -> Composable:
    return SQL("\n    ").join(statement.format(**part) for part in parts)


def _part(source: Source, copy: Copy, number: int) -> dict[str, Composable]:
    """What the statements for one copy are filled with."""
    return {
        "copy": copy.name.sql,
        "made": Identifier(f"alembic_enterprise_made_{number}"),
        "shard": source.name.sql,
        "columns": listed(map(Identifier, source.stored)),
        "range": _RANGE,
        "settled": _SETTLED,
        "belongs": belongs(source, copy.held),
        "same": equal(source.key, of("s"), of("c")),
    }


_REFER: LiteralString = """DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s DEFERRABLE INITIALLY DEFERRED NOT VALID',
                      copy, k.conname, pg_get_constraintdef(k.oid))
        FROM ({keys}) AS k CROSS JOIN unnest({copies}::regclass[]) AS copy
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS own
                          WHERE own.conrelid = copy AND own.conname = k.conname)
        ORDER BY k.oid::bigint
    LOOP
        EXECUTE command;
    END LOOP;
END"""


def refer(source: Source, copies: Sequence[Copy]) -> Composable:
    """Give the copies the foreign keys of their shard, without a look at rows that are there.

    They look at rows at the end of the writer's transaction: of a statement that deletes rows, and
    by WITH those that they refer to, they would be told before the mirror is. The swap makes them
    like those of the shard again, as ATTACH takes over no others.
    """
    return do_block(
        _REFER,
        copies=Literal([copy.name.text for copy in copies]),
        keys=likeness.foreign_keys(Literal(source.shard.oid)),
    )


def validate(copy: Name, key: str) -> Composable:
    """Look at all rows of a copy: attaching it need not then."""
    return SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(copy.sql, Identifier(key))


_COMPARE = SQL("""
SELECT own.rows, copied.rows, own.checksum IS NOT DISTINCT FROM copied.checksum
FROM (SELECT count(*) AS rows, sum({checksum}) AS checksum FROM ONLY {shard}) AS own,
     (SELECT count(*) AS rows, sum({checksum}) AS checksum FROM ({copies}) AS rows) AS copied""")

CHECKSUMS = (
    SQL("hash_record_extended(ROW ({}), 0)"),
    SQL("hashtextextended(ROW ({})::text, 0)"),
)
"""Checksums of a row. The first is faster, and refused (42883) where a type such as json has no
hash function; the second takes any."""


def compare(source: Source, copies: Sequence[Copy], checksum: SQL) -> Composable:
    """Count the rows of shard and copies, and say whether their contents are equal.

    It is one statement, and so sees one moment: the mirror works in the writer's transaction.
    """
    columns = listed(map(Identifier, source.columns))
    read = SQL("SELECT {} FROM ONLY {}")
    return _COMPARE.format(
        checksum=checksum.format(columns),
        shard=source.name.sql,
        copies=SQL(" UNION ALL ").join(read.format(columns, copy.name.sql) for copy in copies),
    )
