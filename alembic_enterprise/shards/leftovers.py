"""What growth makes beside a table, and leaves when it is ended: copies, and keys to validate.

A copy says by its comment which rows of which shard it holds; and the CHECK that repeats its
bounds names the table it belongs to, in the way that follows a rename and a dump.
"""

import re
from dataclasses import dataclass

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions.steps import GUARD
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name

PENDING = OWNERSHIP + "to be validated; "
"""How the comment of a foreign key begins that a swap has put back and nobody validated yet."""


@dataclass(frozen=True)
class Copy:
    """A table that takes over a part of a shard.

    Attributes:
        shard: the oid of the shard it was made from; in a database that was restored from a dump,
            the one the shard had where the dump was made.
        held: the rows it will hold.
        table: the oid of the table that the shard is of; None when that is gone.
    """

    name: Name
    oid: int
    shard: int
    held: Class
    table: int | None


@dataclass(frozen=True)
class Pending:
    """A foreign key that refers to a sharded table, was put back by a swap, and is to be validated.

    Attributes:
        table: the table that has it.
        comment: what somebody had noted on it.
        referred: the oid of the sharded table.
    """

    table: Name
    name: str
    comment: str
    referred: int


def copy_comment(shard: int, held: Class) -> str:
    """What marks a copy of the shard with this oid."""
    return f"{_COPY_OF}{shard} for modulus {held.modulus}, remainder {held.remainder}"


_COPY_OF = OWNERSHIP + "copy of shard "
_COPY = re.compile(rf"{re.escape(_COPY_OF)}(\d+) for modulus (\d+), remainder (\d+)")

# Anybody may write such a comment on a table of his own: only what the owner of a shard has counts.
_COPIES = SQL("""
SELECT n.nspname, c.relname, c.oid, guarded.relation, d.description
FROM pg_catalog.pg_description AS d
JOIN pg_catalog.pg_class AS c ON c.oid = d.objoid AND c.relkind = 'r' AND NOT c.relispartition
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT g.refobjid AS relation FROM pg_catalog.pg_constraint AS k
    JOIN pg_catalog.pg_depend AS g ON g.classid = 'pg_catalog.pg_constraint'::regclass
         AND g.objid = k.oid AND g.refclassid = 'pg_catalog.pg_class'::regclass
    WHERE k.conrelid = c.oid AND k.conname = {guard} AND g.refobjid <> c.oid LIMIT 1) AS guarded
    ON true
WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
  AND starts_with(d.description, {prefix})
  AND (guarded.relation IS NULL OR c.relowner IN ({owners}))
ORDER BY 1, 2""")

OWNERS = SQL("""SELECT relowner FROM pg_catalog.pg_class WHERE oid = {table} OR oid IN (
    SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = {table})""")
"""A query: who owns a table, and its shards."""


def copies(connection: Connection) -> list[Copy]:
    """All copies in the database, by name, in one round trip."""
    query = _COPIES.format(
        guard=Literal(GUARD),
        prefix=Literal(_COPY_OF),
        owners=OWNERS.format(table=SQL("guarded.relation")),
    )
    return [
        Copy(Name(schema, name), oid, shard, Class(modulus, remainder), table)
        for schema, name, oid, table, comment in sql.rows(connection, query)
        for shard, modulus, remainder in _numbers(comment)
    ]


def _numbers(comment: str) -> list[tuple[int, int, int]]:
    """Shard, modulus and remainder in a comment; none when it is another one."""
    match = _COPY.fullmatch(comment)
    return [] if match is None else [(int(match[1]), int(match[2]), int(match[3]))]


UNVALIDATED = SQL("""
SELECT n.nspname, c.relname, k.conname::text, coalesce(obj_description(k.oid, 'pg_constraint'), ''),
       k.confrelid
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT k.convalidated AND {which}
  AND to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
ORDER BY 1, 2, 3""")
"""A query: foreign keys that are to be validated, with their tables, comments and what they refer
to."""


def pending(connection: Connection) -> list[Pending]:
    """All foreign keys that swaps have left to be validated, in one round trip."""
    marked = SQL("starts_with(obj_description(k.oid, 'pg_constraint'), {})")
    query = UNVALIDATED.format(which=marked.format(Literal(PENDING)))
    return [
        Pending(Name(schema, name), key, comment.removeprefix(PENDING), referred)
        for schema, name, key, comment, referred in sql.rows(connection, query)
    ]
