"""How a copy is like its shard: whether it can take its place, and which index is which."""

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions.steps import GUARD
from alembic_enterprise.shards.growth.copies import Source
from alembic_enterprise.shards.leftovers import Copy
from alembic_enterprise.shards.operations.own import statistics

# What follows the name of the table tells which index of a copy is like which of the shard.
_INDEXES = SQL("""
SELECT *, row_number() OVER (PARTITION BY relation, definition ORDER BY index) AS number
FROM (SELECT x.indrelid AS relation, x.indexrelid AS index, c.relname AS name,
             x.indisreplident AS is_identity, x.indisclustered AS is_clustered,
             ARRAY(SELECT (attnum, attstattarget)::text FROM pg_catalog.pg_attribute
                   WHERE attrelid = x.indexrelid AND attstattarget >= 0 ORDER BY 1) AS targets,
             (x.indisprimary, c.reltablespace, substr(
                 pg_get_indexdef(x.indexrelid), 1 + length(format('CREATE %sINDEX %I ON %I.%I',
                     CASE WHEN x.indisunique THEN 'UNIQUE ' END, c.relname, n.nspname,
                     t.relname))))::text AS definition
      FROM pg_catalog.pg_index AS x
      JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
      JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
      WHERE x.indrelid = {relation} AND x.indislive) AS indexes""")


def indexes(source: Source, copy: Composable) -> Composable:
    """A query: the name of each index of a copy, and of the one of the shard that is like it."""
    own = _INDEXES.format(relation=Literal(source.shard.oid))
    return SQL(
        "SELECT copied.name, own.name AS like_name, own.index AS like_index, own.is_identity,"
        " own.is_clustered FROM ({}) AS own JOIN ({}) AS copied USING (definition, number)"
    ).format(own, _INDEXES.format(relation=copy))


def statistics_names(source: Source, copy: Composable) -> Composable:
    """A query: the name of each extended statistics of a copy, and of the like of the shard.

    Left out is what is in another schema than the shard, where LIKE does not make it.
    """
    own = statistics(Literal(source.shard.oid))
    return SQL(
        "SELECT copied.stxname AS name, own.stxname AS like_name"
        " FROM ({}) AS own JOIN ({}) AS copied USING (definition, number, stxnamespace)"
    ).format(own, statistics(copy))


# What a copy is given when it is made, and only that: else it would never be like its shard. The
# index that CLUSTER used last is left out: it is not worth beginning anew.
_LIKENESS = SQL("""(
    SELECT ROW (
        r.relowner, r.relpersistence, r.relrowsecurity, r.relforcerowsecurity, r.reltablespace,
        CASE WHEN r.relreplident IN ('f', 'n') THEN r.relreplident END,
        ARRAY(SELECT unnest(r.reloptions) ORDER BY 1),
        ARRAY(SELECT DISTINCT (attname, grantee, privilege_type, is_grantable)::text
              FROM (SELECT NULL::name AS attname, r.relacl AS acl
                    UNION ALL
                    SELECT attname, attacl FROM pg_catalog.pg_attribute
                    WHERE attrelid = r.oid AND attnum > 0 AND NOT attisdropped) AS granted,
                   aclexplode(acl)
              WHERE grantee <> r.relowner ORDER BY 1),
        ARRAY(SELECT (attname, atttypid, atttypmod, attnotnull, attgenerated, attstorage,
                      attcompression, greatest(attstattarget, -1), attoptions,
                      pg_get_expr(adbin, adrelid))::text
              FROM pg_catalog.pg_attribute
              LEFT JOIN pg_catalog.pg_attrdef ON adrelid = attrelid AND adnum = attnum
              WHERE attrelid = r.oid AND attnum > 0 AND NOT attisdropped ORDER BY attname),
        ARRAY(SELECT conname || pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint
              WHERE conrelid = r.oid AND contype = 'c' AND conname <> {guard} ORDER BY 1),
        ARRAY(SELECT (definition, is_identity, targets)::text FROM ({indexes}) AS indexes
              ORDER BY 1),
        ARRAY(SELECT (definition, sampled)::text FROM ({statistics}) AS extended ORDER BY 1))::text
    FROM pg_catalog.pg_class AS r WHERE r.oid = {relation})""")

# One that refers to a partitioned table has a further one for each of its partitions.
_FOREIGN_KEYS = SQL("""
SELECT k.* FROM pg_catalog.pg_constraint AS k
LEFT JOIN pg_catalog.pg_constraint AS above ON above.oid = k.conparentid
WHERE k.contype = 'f' AND k.conrelid = {relation}
  AND (k.conparentid = 0 OR above.conrelid <> k.conrelid)""")

# Without what those of copies differ in until the swap, see `copying.refer`.
_DEFINITIONS = SQL("""ARRAY(
    SELECT conname || ' ' || regexp_replace(pg_get_constraintdef(oid),
        '( DEFERRABLE)?( INITIALLY DEFERRED)?( NOT ENFORCED)?( NOT VALID)?$', '\\3')
    FROM ({keys}) AS keys ORDER BY 1)""")


def foreign_keys(relation: Composable) -> Composable:
    """A query: the rows of pg_constraint that are foreign keys of a shard or of a copy."""
    return _FOREIGN_KEYS.format(relation=relation)


def alike(connection: Connection, source: Source, copies: Sequence[Copy]) -> bool:
    """Whether copies are like their shard still, but for foreign keys that they lack yet."""
    return not sql.rows(connection, _differing(source, copies, SQL("NOT {} <@ {}")))


def differing(source: Source, copies: Sequence[Copy]) -> Composable:
    """A query: the copies that are not like their shard, or have not the same foreign keys."""
    return _differing(source, copies, SQL("{} <> {}"))


def _differing(source: Source, copies: Sequence[Copy], keys: SQL) -> Composable:
    copy, shard = SQL("copied.oid"), Literal(source.shard.oid)
    return SQL(
        "SELECT FROM unnest({}::oid[]) AS copied (oid) WHERE {} IS DISTINCT FROM {} OR {}"
    ).format(
        Literal([copy.oid for copy in copies]),
        _likeness(copy),
        _likeness(shard),
        keys.format(*(_DEFINITIONS.format(keys=foreign_keys(item)) for item in (copy, shard))),
    )


def _likeness(relation: Composable) -> Composable:
    return _LIKENESS.format(
        relation=relation,
        guard=Literal(GUARD),
        indexes=_INDEXES.format(relation=SQL("r.oid")),
        statistics=statistics(SQL("r.oid")),
    )
