"""What growth finds in the database: a shard as it has to be copied, and copies that were begun.

All that a run knows is in the database: in the comments of its copies, and in the comment of
the function that mirrors changes, which counts the rows copied so far. So a run that was killed is
carried on by the next.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.errors import StepError
from alembic_enterprise.partitions.declaration import NAME_BYTES
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.shards import leftovers
from alembic_enterprise.shards.catalog import Shard, ShardedTable
from alembic_enterprise.shards.leftovers import OWNERS, UNVALIDATED, Copy
from alembic_enterprise.shards.model import SUFFIX
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name

TRIGGER = "!alembic_enterprise_mirror"
"""Name of the trigger on a shard that is copied. Triggers fire by name, and this must be the first:
another may use a unique value again that the row has just given up."""


@dataclass(frozen=True)
class Column:
    """A column of a key.

    Attributes:
        equals: the schema of the operator `=` by which the index finds it.
    """

    name: str
    equals: str


@dataclass(frozen=True)
class Source:
    """A shard that is to be split, as it is now.

    Attributes:
        owner: the role it belongs to.
        columns: all, in order.
        stored: those that a statement can write: generated ones are computed again.
        key: a unique key that tells rows apart and contains the shard key; empty when none does.
        hashed: the columns of the shard key.
        file: the number of its file, which a rewrite changes.
        pages: how many pages the file has.
        size: bytes, with indexes and TOAST.
        rows: estimate of the last ANALYZE or VACUUM; 0 when there was none.
    """

    table: ShardedTable
    shard: Shard
    owner: str
    columns: tuple[str, ...]
    stored: tuple[str, ...]
    key: tuple[Column, ...]
    file: int
    pages: int
    size: int
    rows: int

    @property
    def name(self) -> Name:
        """The shard's name."""
        return self.shard.name

    @property
    def hashed(self) -> tuple[str, ...]:
        """The columns of the shard key."""
        return tuple(name for name in self.table.key.columns if name is not None)


@dataclass(frozen=True)
class Mirror:
    """The function that repeats changes of a shard in its copies.

    Attributes:
        shard: the oid of the shard.
        since: the first transaction, all of whose changes it repeats.
        rows: how many rows were copied so far.
        pages: the first pages of the shard, whose rows these are.
        file: the number of the file that these pages are of.
        fires: whether its triggers stand on the shard, and fire always.
    """

    name: Name
    oid: int
    shard: int
    since: int
    rows: int
    pages: int
    file: int
    fires: bool


@dataclass(frozen=True)
class Growing:
    """What growth has begun on one table."""

    copies: tuple[Copy, ...]
    mirrors: tuple[Mirror, ...]

    def of(self, shard: int) -> tuple[list[Copy], Mirror | None]:
        """The copies of a shard, by remainder, and its mirror."""
        copies = [item for item in self.copies if item.shard == shard]
        mirrors = [item for item in self.mirrors if item.shard == shard]
        return sorted(copies, key=lambda copy: copy.held), mirrors[0] if mirrors else None

    @property
    def shards(self) -> list[int]:
        """The oids of the shards that were begun."""
        return sorted({copy.shard for copy in self.copies} | {one.shard for one in self.mirrors})


def mirror_comment(source: Source, since: object, rows: object, pages: object, file: int) -> str:
    """What marks a mirror, and says how far its shard is copied."""
    return (
        f"{_MIRROR_OF}{source.shard.oid} since transaction {since}; "
        f"copied {rows} rows in {pages} pages of file {file}"
    )


_SOURCE = SQL("""
SELECT pg_get_userbyid(c.relowner),
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
             WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum),
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
             WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
             ORDER BY attnum),
       pg_relation_filenode(c.oid)::bigint,
       pg_relation_size(c.oid) / current_setting('block_size')::bigint,
       pg_total_relation_size(c.oid), greatest(c.reltuples, 0)::bigint
FROM pg_catalog.pg_class AS c WHERE c.oid = {shard}""")

# The primary key where there is one. That of a partitioned table has all columns of its key. One
# WITHOUT OVERLAPS is an exclusion constraint, which no ON CONFLICT names.
_KEY = SQL("""
SELECT a.attname::text, n.nspname::text
FROM (SELECT x.* FROM pg_catalog.pg_index AS x
      JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
      WHERE x.indrelid = {shard} AND x.indisunique AND NOT x.indisexclusion AND x.indimmediate
        AND x.indisvalid AND x.indexprs IS NULL AND x.indpred IS NULL AND c.relispartition
        AND NOT EXISTS (SELECT FROM unnest(x.indkey) WITH ORDINALITY AS k (number, position)
                        JOIN pg_catalog.pg_attribute ON attrelid = {shard} AND attnum = number
                        WHERE position <= x.indnkeyatts AND NOT attnotnull)
      ORDER BY x.indisprimary DESC, x.indexrelid LIMIT 1) AS x,
     unnest(x.indkey, x.indclass) WITH ORDINALITY AS k (number, class, position)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = {shard} AND a.attnum = k.number
JOIN pg_catalog.pg_opclass AS c ON c.oid = k.class
JOIN pg_catalog.pg_amop AS m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
     AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
JOIN pg_catalog.pg_operator AS o ON o.oid = m.amopopr AND o.oprname = '='
JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
ORDER BY k.position""")


def source(connection: Connection, table: ShardedTable, shard: Shard) -> Source:
    """Read a shard, in two round trips."""
    oid = Literal(shard.oid)
    [(owner, columns, stored, *figures)] = sql.rows(connection, _SOURCE.format(shard=oid))
    key = tuple(Column(*found) for found in sql.rows(connection, _KEY.format(shard=oid)))
    return Source(table, shard, owner, tuple(columns), tuple(stored), key, *figures)


def unvalidated(connection: Connection, copies: Sequence[Copy]) -> list[tuple[Name, str]]:
    """The foreign keys of copies that are not validated yet, with their tables."""
    which = SQL("k.conrelid = ANY ({}::oid[])").format(Literal([copy.oid for copy in copies]))
    found = sql.rows(connection, UNVALIDATED.format(which=which))
    return [(Name(schema, name), key) for schema, name, key, *_ in found]


_MIRROR_OF = OWNERSHIP + "mirror of shard "
_MIRROR = re.compile(
    rf"{re.escape(_MIRROR_OF)}(\d+) since transaction (\d+); "
    r"copied (\d+) rows in (\d+) pages of file (\d+)"
)

# That of a shard which was restored from a dump is known by its triggers only.
_MIRRORS = SQL("""
SELECT n.nspname, p.proname, p.oid, fires.count = 2, d.description
FROM pg_catalog.pg_description AS d
JOIN pg_catalog.pg_proc AS p ON p.oid = d.objoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE t.tgenabled = 'A'), count(*) AS of_shards
                    FROM pg_catalog.pg_trigger AS t
                    WHERE t.tgfoid = p.oid AND t.tgrelid = ANY ({shards}::oid[])) AS fires
WHERE d.classoid = 'pg_catalog.pg_proc'::regclass
  AND starts_with(d.description, {mirror_of}) AND p.proowner IN ({owners})
  AND (fires.of_shards > 0
       OR substring(d.description FROM ' of shard (\\d+) ')::oid = ANY ({shards}::oid[]))
ORDER BY 1, 2""")


def read(connection: Connection, table: ShardedTable) -> Growing:
    """What growth has begun on a table, in two round trips."""
    copies = [copy for copy in leftovers.copies(connection) if copy.table == table.oid]
    shards = {shard.oid for shard in table.shards} | {copy.shard for copy in copies}
    query = _MIRRORS.format(
        shards=Literal(sorted(shards)),
        mirror_of=Literal(_MIRROR_OF),
        owners=OWNERS.format(table=Literal(table.oid)),
    )
    mirrors = [
        _mirror(Name(schema, name), oid, fires, comment)
        for schema, name, oid, fires, comment in sql.rows(connection, query)
    ]
    return Growing(tuple(copies), tuple(item for item in mirrors if item is not None))


def _mirror(name: Name, oid: int, fires: bool, comment: str) -> Mirror | None:
    match = _MIRROR.fullmatch(comment)
    if match is None:
        return None
    shard, since, rows, pages, file = map(int, match.groups())
    return Mirror(name, oid, shard, since, rows, pages, file, fires)


_PROGRESS = SQL(
    "SELECT obj_description({mirror}, 'pg_proc'), pg_relation_filenode({shard})::bigint"
)


def progress(connection: Connection, source: Source, mirror: Mirror) -> Mirror:
    """How far a shard is copied by now; no page of it when its file is another one.

    VACUUM FULL and CLUSTER rewrite the rows in another order.
    """
    query = _PROGRESS.format(mirror=Literal(mirror.oid), shard=Literal(source.shard.oid))
    [(comment, file)] = sql.rows(connection, query)
    now = _mirror(mirror.name, mirror.oid, mirror.fires, comment or "")
    if now is None or file is None:
        raise StepError(
            f"copy {source.name}: somebody has removed its mirror, or the shard: the next run "
            "begins anew"
        )
    return now if now.file == file else replace(now, pages=0, file=file)


_TAKEN = SQL("""
SELECT relname::text FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE nspname = {schema} AND relname = ANY ({names}::text[])
UNION
SELECT typname::text FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
WHERE nspname = {schema} AND typname = ANY ({names}::text[])""")


def free_names(connection: Connection, source: Source, parts: Sequence[Class]) -> list[str]:
    """Names for new shards: a number follows one that is taken in the schema of the shard."""
    numbers = ["", *(f"_{number}" for number in range(2, 10))]
    choices = [
        [
            _label(source.table.name.name, SUFFIX.format(part.remainder) + number)
            for number in numbers
        ]
        for part in parts
    ]
    names = Literal([name for choice in choices for name in choice])
    query = _TAKEN.format(schema=Literal(source.name.schema), names=names)
    taken = {name for (name,) in sql.rows(connection, query)}
    return [next((name for name in choice if name not in taken), choice[0]) for choice in choices]


def _label(table: str, suffix: str) -> str:
    """The name of a shard; where it is too long it is the name of the table that is cut."""
    return table.encode()[: NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix
