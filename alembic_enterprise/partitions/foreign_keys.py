"""The foreign keys from and to partitioned tables, and the partitions that they keep."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key that refers to a partitioned table.

    Attributes:
        source: the table that has the key.
        columns: its columns, in the order of `referred`.
    """

    source: Name
    columns: tuple[str, ...]
    referred: tuple[str, ...]


_FOREIGN_KEYS = SQL("""
SELECT referred.asked, n.nspname, c.relname,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS o(num, pos)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = o.num
             ORDER BY o.pos),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS o(num, pos)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = o.num
             ORDER BY o.pos)
FROM unnest({asked}::oid[], {relations}::oid[]) AS referred (asked, relation)
JOIN pg_catalog.pg_constraint AS k ON k.confrelid = referred.relation
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
ORDER BY 2, 3""")


def foreign_keys(
    connection: Connection, tables: Collection[PartitionedTable]
) -> dict[Name, list[ForeignKey]]:
    """The foreign keys that refer to each of some tables, or to the one that it is a shard of."""
    names = {table.oid: table.name for table in tables}
    found: dict[Name, list[ForeignKey]] = {name: [] for name in names.values()}
    if not names:
        return found
    pairs = sorted((table.oid, item.oid) for table in tables for item in table.lineage)
    asked, relations = (Literal(list(oids)) for oids in zip(*pairs, strict=True))
    query = _FOREIGN_KEYS.format(asked=asked, relations=relations)
    for parent, schema, name, columns, referred in sql.rows(connection, query):
        key = ForeignKey(Name(schema, name), tuple(columns), tuple(referred))
        found[names[parent]].append(key)
    return found


def is_referred(connection: Connection, key: ForeignKey, partition: Name) -> bool:
    """Whether any row refers, by a foreign key, to a row of one partition."""
    equal = SQL(" AND ").join(
        SQL("p.{} = r.{}").format(Identifier(referred), Identifier(column))
        for column, referred in zip(key.columns, key.referred, strict=True)
    )
    query = SQL("SELECT EXISTS (SELECT FROM {} AS r JOIN {} AS p ON {})")
    [(found,)] = sql.rows(connection, query.format(key.source.sql, partition.sql, equal))
    return bool(found)


def why_kept(
    connection: Connection, table: PartitionedTable, keys: Iterable[ForeignKey], partition: Name
) -> str | None:
    """Why a partition of a table has to stay: rows refer to it, by one of some keys."""
    for key in keys:
        if is_referred(connection, key, partition):
            if key.source in table.names:
                return (
                    f"{partition} stays: rows of its own table refer to it, perhaps its own ones. "
                    f"Set {', '.join(key.columns)} of those to NULL, or delete them; the next run "
                    "goes on"
                )
            return (
                f"{partition} stays: rows of {key.source} refer to it. Delete them or "
                "retire their partitions first; the next run goes on"
            )
    return None


_KEYS = SQL("""
SELECT k.conname::text FROM pg_catalog.pg_constraint AS k
WHERE k.contype = 'f' AND k.conrelid = {relation} AND k.confrelid = ANY ({parents}::oid[])
ORDER BY 1""")


def keys_of(
    connection: Connection, partition: Name, tables: Iterable[PartitionedTable]
) -> tuple[str, ...]:
    """The names of a partition's own foreign keys to some tables."""
    query = keys_query(SQL("{}::regclass").format(partition.regclass), tables)
    return tuple(name for (name,) in sql.rows(connection, query))


def keys_query(relation: Composable, tables: Iterable[PartitionedTable]) -> Composed:
    """The query for the names of a relation's own foreign keys to some tables.

    `relation` is an expression for its oid.
    """
    return _KEYS.format(relation=relation, parents=_lineages(tables))


def _lineages(tables: Iterable[PartitionedTable]) -> Literal:
    """The oids of some tables, and of those that they are shards of."""
    return Literal(sorted({item.oid for table in tables for item in table.lineage}))


_RELATED = SQL("""
SELECT conrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conrelid = ANY ({parents})
UNION
SELECT confrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = ANY ({parents})
""")


def related_tables(connection: Connection, tables: Iterable[PartitionedTable]) -> set[int]:
    """The oids of tables that foreign keys lead from or to."""
    oids = Literal(sorted(table.oid for table in tables))
    query = _RELATED.format(parents=SQL("{}::oid[]").format(oids))
    return {oid for (oid,) in sql.rows(connection, query)}
