"""What keeps a shard from being split while it is in use; each is said before anything starts."""

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.shards.growth.copies import Source

# The server refuses to validate what is NOT ENFORCED, which is a column since 18.
_OBSTACLES = SQL("""
WITH shards AS (
         SELECT c.oid, c.oid::regclass::text AS name, c.relnamespace, c.reltype
         FROM pg_catalog.pg_class AS c WHERE c.oid = ANY ({shards}::oid[])),
     referring AS (SELECT k.conname::text AS name, k.conrelid::regclass::text AS relation,
                          k.conrelid, c.relkind, c.relowner
                   FROM pg_catalog.pg_constraint AS k
                   JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
                   WHERE k.contype = 'f' AND k.confrelid = {table} AND k.conparentid = 0),
     lineage AS (SELECT relid FROM pg_partition_ancestors({table}))
SELECT 'owner', pg_get_userbyid(relowner), oid::regclass::text FROM pg_catalog.pg_class
WHERE oid = {table} AND NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT 'owner', pg_get_userbyid(relowner), relation FROM referring
WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT DISTINCT 'schema', quote_ident(nspname), '' FROM shards JOIN pg_catalog.pg_namespace AS n
ON n.oid = relnamespace WHERE NOT has_schema_privilege(n.oid, 'CREATE')
UNION ALL
SELECT 'temporary', quote_ident(current_database()), ''
WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
UNION ALL
SELECT 'forced', rolname::text, shards.name FROM shards
JOIN pg_catalog.pg_class AS c ON c.oid = shards.oid AND c.relforcerowsecurity
JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner AND NOT r.rolsuper AND NOT r.rolbypassrls
UNION ALL
SELECT 'itself', name, relation FROM referring WHERE conrelid = {table}
UNION ALL
SELECT 'outer', format('%I of %s', k.conname, k.conrelid::regclass), k.confrelid::regclass::text
FROM pg_catalog.pg_constraint AS k JOIN lineage ON k.confrelid = lineage.relid
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid <> {table}
UNION ALL
SELECT 'partitioned', name, relation FROM referring
WHERE conrelid <> {table} AND relkind = 'p' AND {version} < 180000
UNION ALL
SELECT 'direct', k.conname::text, k.conrelid::regclass::text FROM pg_catalog.pg_constraint AS k
JOIN shards ON k.confrelid = shards.oid WHERE k.contype = 'f' AND k.conparentid = 0
UNION ALL
SELECT 'invalid', k.conname::text, name FROM pg_catalog.pg_constraint AS k
JOIN shards ON k.conrelid = shards.oid
WHERE NOT k.convalidated AND to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
UNION ALL
SELECT 'cut', x.indexrelid::regclass::text, name FROM pg_catalog.pg_index AS x
JOIN shards ON x.indrelid = shards.oid WHERE NOT x.indisvalid
UNION ALL
SELECT 'lacking', x.indexrelid::regclass::text, name FROM pg_catalog.pg_index AS x, shards
WHERE x.indrelid = {table}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i
                  JOIN pg_catalog.pg_index AS part ON part.indexrelid = i.inhrelid
                  WHERE i.inhparent = x.indexrelid AND part.indrelid = shards.oid)
UNION ALL
SELECT 'deferrable', k.conname::text, name FROM pg_catalog.pg_constraint AS k
JOIN shards ON k.conrelid = shards.oid WHERE k.contype IN ('p', 'u', 'x') AND k.condeferrable
UNION ALL
SELECT 'cascade', k.conname::text, name FROM pg_catalog.pg_constraint AS k
JOIN shards ON k.conrelid = shards.oid
JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = {table}
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = {table} AND a.attnum = ANY (p.partattrs::int2[])
JOIN pg_catalog.pg_attribute AS own ON own.attrelid = shards.oid AND own.attname = a.attname
WHERE k.contype = 'f' AND own.attnum = ANY (k.conkey)
  AND (k.confupdtype IN ('c', 'n', 'd') OR k.confdeltype IN ('n', 'd'))
UNION ALL
SELECT DISTINCT 'disabled', k.conname::text, k.conrelid::regclass::text
FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_trigger AS t ON t.tgconstraint = k.oid
WHERE k.contype = 'f' AND t.tgenabled <> 'O'
  AND (k.confrelid = {table} AND k.conparentid = 0 OR k.conrelid IN (SELECT oid FROM shards))
UNION ALL
SELECT DISTINCT 'depends', pg_describe_object(d.classid, d.objid, 0), name
FROM pg_catalog.pg_depend AS d JOIN shards ON d.refobjid = shards.oid
WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND (
    d.classid IN ('pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_policy'::regclass,
                  'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_publication_rel'::regclass)
    OR d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'a'
       AND d.objid IN (SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'S'))
UNION ALL
SELECT DISTINCT 'depends', pg_describe_object(d.classid, d.objid, d.objsubid), name
FROM shards JOIN pg_catalog.pg_type AS t ON t.oid = shards.reltype
JOIN pg_catalog.pg_depend AS d ON d.refobjid IN (t.oid, t.typarray) AND d.deptype = 'n'
WHERE d.refclassid = 'pg_catalog.pg_type'::regclass
UNION ALL
SELECT 'published', pubname::text, '' FROM pg_catalog.pg_publication AS p
WHERE puballtables {of_schema}
UNION ALL
SELECT 'subscribed', quote_ident(subname), '' FROM shards
JOIN pg_catalog.pg_subscription_rel ON srrelid = shards.oid
JOIN pg_catalog.pg_subscription AS s ON s.oid = srsubid AND subdbid =
     (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
UNION ALL
SELECT 'unrooted', p.pubname::text, '' FROM pg_catalog.pg_publication_rel AS r
JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid
JOIN lineage ON lineage.relid = r.prrelid WHERE NOT p.pubviaroot""")

_OF_SCHEMA = SQL("""OR p.oid IN (SELECT pnpubid FROM pg_catalog.pg_publication_namespace
                                 WHERE pnnspid IN (SELECT relnamespace FROM shards))""")

SCHEMAS_PUBLISHED = 150000
"""First `server_version_num` with publications of schemas."""

TOLD = {
    "key": "it has no primary key, and no unique key of NOT NULL columns, but for such WITHOUT "
    "OVERLAPS, so that changes of a row cannot be repeated in a copy: add one, or use "
    "op.grow_hash_shards, which locks",
    "owner": "{1} belongs to {0}: connect as {0}, or as a role that is a member of it",
    "schema": "no right to create in schema {0}: GRANT CREATE ON SCHEMA {0}",
    "temporary": "no right to make a procedure of the session in database {0}: GRANT TEMPORARY ON "
    "DATABASE {0}",
    "forced": "row security is forced on {1}, so that its owner {0}, who mirrors changes, may not "
    "see all rows: ALTER TABLE {1} NO FORCE ROW LEVEL SECURITY",
    "itself": "its foreign key {0} refers to the table itself, and would be missing while a shard "
    "is replaced: drop it and add it again afterwards, or use op.grow_hash_shards, which locks",
    "outer": "the foreign key {0} refers to {1}, which it is a partition of, and can be put back "
    "only under a lock, while all rows are checked: drop it and add it again afterwards, or build "
    "a new partition with more shards and move the rows",
    "partitioned": "the foreign key {0} of the partitioned table {1} refers to it: before 18, "
    "PostgreSQL puts it back only under a lock, while all rows are checked: drop it and add it "
    "again afterwards, or use op.grow_hash_shards, which locks",
    "direct": "the foreign key {0} of {1} refers to one shard alone: let it refer to the table",
    "invalid": "the constraint {0} of {1} is not valid, so its rows may not fit into a copy: run "
    "ALTER TABLE ... VALIDATE CONSTRAINT first",
    "cut": "the index {0} of {1} is not valid, and would be in a copy, where one that is unique "
    "refuses rows that {1} takes: DROP INDEX CONCURRENTLY {0}, or finish what makes it, first",
    "lacking": "{1} lacks the index {0} of the table, which would be made in its copies under the "
    "lock: finish what makes it, first",
    "deferrable": "the unique constraint {0} of {1} is deferrable, and changes of a row cannot be "
    "repeated by such a key: make it NOT DEFERRABLE, or use op.grow_hash_shards, which locks",
    "cascade": "the foreign key {0} of {1} may change the shard key by itself (ON UPDATE CASCADE, "
    "or SET NULL): take the action away, or use op.grow_hash_shards, which locks",
    "disabled": "triggers of the foreign key {0} of {1} are disabled, and those of the key in its "
    "place would not be: ALTER TABLE {1} ENABLE TRIGGER ALL",
    "depends": "{0} depends on {1} itself: let it depend on the table, or drop it",
    "published": "the publication {0} would publish the copies, too, and subscribers that lack "
    "them would stop: publish the table by name, WITH (publish_via_partition_root)",
    "subscribed": "the subscription {0} writes to each shard by its name, and would silently pass "
    "over all changes of those in its place: while nobody writes on the publisher, and all is "
    "applied here, ALTER PUBLICATION ... SET (publish_via_partition_root) there, and here ALTER "
    "SUBSCRIPTION {0} REFRESH PUBLICATION WITH (copy_data = false)",
    "unrooted": "the publication {0} publishes each shard by its name, and subscribers lack new "
    "ones: ALTER PUBLICATION {0} SET (publish_via_partition_root)",
}
"""What is said of each kind of obstacle, and the way around it."""


def obstacles(
    connection: Connection, table: ShardedTable, sources: Sequence[Source], version: int
) -> list[str]:
    """Why the shards of a table cannot be split while it is in use; empty when they can.

    `version` is the server's `server_version_num`.
    """
    found = [
        TOLD[kind].format(subject, relation)
        for kind, subject, relation in sql.rows(connection, query(table, sources, version))
    ]
    lacking = [] if all(source.key for source in sources) else [TOLD["key"]]
    return [*lacking, *dict.fromkeys(found)]


def query(table: ShardedTable, sources: Sequence[Source], version: int) -> Composable:
    """A query: the obstacles that the server knows, as (kind, subject, relation)."""
    return _OBSTACLES.format(
        table=Literal(table.oid),
        shards=Literal([source.shard.oid for source in sources]),
        version=Literal(version),
        of_schema=_OF_SCHEMA if version >= SCHEMAS_PUBLISHED else SQL(""),
    )
