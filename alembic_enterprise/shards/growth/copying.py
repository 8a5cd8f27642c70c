"""The statements by which a shard is replaced by copies of its parts; each is one transaction."""

from collections.abc import Iterable, Sequence
from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from alembic_enterprise.partitions.operations import pieces
from alembic_enterprise.partitions.steps import GUARD
from alembic_enterprise.shards.growth import mirror
from alembic_enterprise.shards.growth.copies import Mirror, Source, mirror_comment
from alembic_enterprise.shards.growth.mirror import belongs, equal, listed, of
from alembic_enterprise.shards.leftovers import Copy, copy_comment
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name, do_block, text_of

_CREATE: LiteralString = (
    """DECLARE
    root constant regclass := {shard};
"""
    + pieces.CREATION_VARIABLES
    + """BEGIN
"""
    + pieces.TEMPLATE
    + """
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
            'CONSTRAINT %I CHECK (%s)) USING %I%s%s',
            CASE table_row.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, child, parent, {guard},
            missing.guard || coalesce(' AND ' || pg_get_partition_constraintdef({table}), ''),
            (SELECT amname FROM pg_catalog.pg_am WHERE oid = table_row.relam),
            ' WITH (' || storage_parameters || ')',
            (SELECT format(' TABLESPACE %I', spcname) FROM pg_catalog.pg_tablespace
             WHERE oid = table_row.reltablespace));
        EXECUTE format('COMMENT ON TABLE %s IS %L', child, missing.comment);
"""
    + pieces.ATTRIBUTES
    + """
        FOR command IN
            SELECT format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', child, attname,
                          attstattarget)
            FROM pg_catalog.pg_attribute
            WHERE attrelid = parent AND attnum > 0 AND attstattarget >= 0 AND NOT attisdropped
            UNION ALL
            SELECT format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', child, attname,
                          array_to_string(attoptions, ', '))
            FROM pg_catalog.pg_attribute
            WHERE attrelid = parent AND attoptions IS NOT NULL AND NOT attisdropped
            UNION ALL
            SELECT format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', child, alike.name)
            FROM ({alike}) AS alike WHERE alike.is_identity
        LOOP
            EXECUTE command;
        END LOOP;
    END LOOP;
END"""
)

# What follows the name of the table tells which index of a copy is like which of the shard.
_INDEXES = SQL("""
SELECT *, row_number() OVER (PARTITION BY relation, definition ORDER BY index) AS number
FROM (SELECT x.indrelid AS relation, x.indexrelid AS index, c.relname AS name,
             x.indisreplident AS is_identity,
             substr(pg_get_indexdef(x.indexrelid), 1 + length(format('CREATE %sINDEX %I ON %I.%I',
                 CASE WHEN x.indisunique THEN 'UNIQUE ' END, c.relname, n.nspname, t.relname)))
             || x.indisprimary AS definition
      FROM pg_catalog.pg_index AS x
      JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
      JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
      WHERE x.indrelid = {relation}) AS indexes""")


def alike(source: Source, copy: Composable) -> Composable:
    """A query: the name of each index of a copy, and of the one of the shard that is like it."""
    own = _INDEXES.format(relation=Literal(source.shard.oid))
    return SQL(
        "SELECT copied.name, own.name AS like_name, own.is_identity"
        " FROM ({}) AS own JOIN ({}) AS copied USING (definition, number)"
    ).format(own, _INDEXES.format(relation=copy))


def together(statements: Iterable[Composable]) -> Composed:
    """Statements as one, in one transaction and one round trip."""
    return do_block("BEGIN\n{statements};\nEND", statements=SQL(";\n").join(statements))


def create(source: Source, names: Sequence[str], parts: Sequence[Class]) -> Composable:
    """Make the empty copies of a shard; each has all that the shard has, and a CHECK of its bounds.

    The CHECK is what the server would write for the partition, with the bounds of the table where
    that is a partition itself, so that attaching the copy need not look at its rows (PostgreSQL
    docs, "ALTER TABLE ... ATTACH PARTITION"). It names the table as a regclass, which a dump writes
    by name: copies can be restored elsewhere, and belong to the table there.
    """
    table = SQL("{}::regclass").format(source.table.name.regclass)
    return do_block(
        _CREATE,
        shard=source.name.regclass,
        table=table,
        partition_by=Literal(None),
        labels=Literal(list(names)),
        guards=Literal([text_of(belongs(source, part, table=table)) for part in parts]),
        comments=Literal([copy_comment(source.shard.oid, part) for part in parts]),
        guard=Literal(GUARD),
        alike=alike(source, SQL("child::regclass")),
    )


def follow(source: Source, copies: Sequence[Copy]) -> Composable:
    """Mirror each change of the shard from now on."""
    return together(mirror.install(source, copies))


# Names of their own, which no column of the shard has.
_BATCH: LiteralString = """#variable_conflict use_column
DECLARE
    alembic_enterprise_places tid[];
    alembic_enterprise_made tid[];
BEGIN
    BEGIN
        {all_parts}
    EXCEPTION WHEN unique_violation OR exclusion_violation OR SQLSTATE 'AE002' THEN
        {each_part}
    END;
    {note};
END"""

_ALL_PARTS = SQL("""WITH source AS MATERIALIZED (
            SELECT ctid AS alembic_enterprise_place, {columns},
                   CASE {which} ELSE {last_part} END AS alembic_enterprise_part,
                   age(xmin) <= age({since}::xid8::xid) AS alembic_enterprise_new
            FROM ONLY {shard} WHERE {range}),
            {inserts}
        SELECT array_agg(alembic_enterprise_place) INTO alembic_enterprise_places FROM source;
        IF (SELECT count(*) FILTER (WHERE ctid = ANY (alembic_enterprise_places))
            FROM ONLY {shard} WHERE {range}) < cardinality(alembic_enterprise_places) THEN
            RAISE SQLSTATE 'AE002';
        END IF;""")

_INSERTS = SQL("""{old} AS (
            INSERT INTO {copy} ({columns}) SELECT {columns} FROM source
            WHERE alembic_enterprise_part = {part} AND NOT alembic_enterprise_new),
            {new} AS (
            INSERT INTO {copy} ({columns}) SELECT {columns} FROM source
            WHERE alembic_enterprise_part = {part} AND alembic_enterprise_new
            ON CONFLICT DO NOTHING)""")

_ONE_PART = SQL("""WITH written AS (
            INSERT INTO {copy} ({columns}) SELECT {columns} FROM ONLY {shard}
            WHERE {range} AND {belongs} ON CONFLICT DO NOTHING RETURNING ctid)
        SELECT array_agg(ctid) INTO alembic_enterprise_made FROM written;
        DELETE FROM ONLY {copy} AS c WHERE ctid = ANY (alembic_enterprise_made)
        AND NOT EXISTS (SELECT FROM ONLY {shard} AS s WHERE {same});""")


def batch(source: Source, copies: Sequence[Copy], done: Mirror, pages: int) -> Composable:
    """Copy the rows of the next pages of the shard, and note it in the comment of the mirror.

    It locks no row of the shard. A row that the mirror has put into the copy is newer, and stays. A
    row that somebody deletes while this runs must not be put back. Either it was deleted before it
    was copied: then the next statement, with a snapshot of its own, does not see it in the shard
    any more, and it is taken out of the copy. Or the mirror comes after, and waits for the end of
    this transaction to delete it.

    To see whether rows are in the copy, and whether any is gone, costs least for many at once: rows
    that are older than the mirror are written without looking, and all are counted again. Only
    where that fails, the rows are copied once more and looked up one by one.
    """
    last = done.pages + pages
    comment = mirror_comment(source, done.since, "%s", last, done.file)
    rows = SQL("{} + coalesce(cardinality(alembic_enterprise_places), 0)").format(
        Literal(done.rows)
    )
    between = SQL("ctid >= {}::tid AND ctid < {}::tid").format(
        Literal(f"({done.pages},0)"), Literal(f"({last},0)")
    )
    return do_block(
        _BATCH,
        all_parts=_all_parts(source, copies, done, between),
        each_part=SQL("\n        ").join(_one_part(source, copy, between) for copy in copies),
        note=mirror.note(done.name, comment, rows),
    )


def _all_parts(
    source: Source, copies: Sequence[Copy], done: Mirror, between: Composable
) -> Composable:
    columns = listed(map(Identifier, source.stored))
    parts = [
        SQL("WHEN {} THEN {}").format(belongs(source, copy.held), Literal(number))
        for number, copy in enumerate(copies[:-1])
    ]
    inserts = [
        _INSERTS.format(
            old=Identifier(f"old_{number}"),
            new=Identifier(f"new_{number}"),
            copy=copy.name.sql,
            columns=columns,
            part=Literal(number),
        )
        for number, copy in enumerate(copies)
    ]
    return _ALL_PARTS.format(
        columns=columns,
        shard=source.name.sql,
        range=between,
        which=SQL(" ").join(parts),
        last_part=Literal(len(copies) - 1),
        since=Literal(str(done.since)),
        inserts=listed(inserts),
    )


def _one_part(source: Source, copy: Copy, between: Composable) -> Composable:
    return _ONE_PART.format(
        copy=copy.name.sql,
        shard=source.name.sql,
        columns=listed(map(Identifier, source.stored)),
        range=between,
        belongs=belongs(source, copy.held),
        same=equal(source.key, of("s"), of("c")),
    )


_REFER: LiteralString = """DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', copy, k.conname,
                      pg_get_constraintdef(k.oid))
        FROM pg_catalog.pg_constraint AS k
        LEFT JOIN pg_catalog.pg_constraint AS above ON above.oid = k.conparentid
        CROSS JOIN unnest({copies}::regclass[]) AS copy
        -- One that refers to a partitioned table has a further one for each of its partitions.
        WHERE k.contype = 'f' AND k.conrelid = {shard}
          AND (k.conparentid = 0 OR above.conrelid <> k.conrelid)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS own
                          WHERE own.conrelid = copy AND own.conname = k.conname)
        ORDER BY k.oid::bigint
    LOOP
        EXECUTE command;
    END LOOP;
END"""


def refer(source: Source, copies: Sequence[Copy]) -> Composable:
    """Give the copies the foreign keys of their shard, without a look at rows that are there."""
    names = Literal([copy.name.text for copy in copies])
    return do_block(_REFER, copies=names, shard=Literal(source.shard.oid))


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
