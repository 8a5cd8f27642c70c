"""What a statement did, as the session that ran it can tell before its transaction ends.

A session looks at its database and at its own locks, runs the statement, and looks again.

    before = look(connection)
    sql.execute(connection, statement)
    traces = difference(before, look(connection))
"""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.sql import SQL, Composable
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.locks import LockMode
from alembic_enterprise.sql import Name

Locks = frozenset[tuple[int, LockMode]]
"""Locks on relations, by the oid of each."""


@dataclass(frozen=True)
class Relation:
    """A relation at a moment.

    Attributes:
        kind: `pg_class.relkind`.
        table: the oid of an index's table; None unless it is an index.
        file: the number of its file; None when it has none, as a view or a partitioned table.
        size: bytes of the rows it holds, an index in its table.
        read: how many rows sequential scans of this transaction have read.
    """

    oid: int
    name: Name
    kind: str
    table: int | None
    file: int | None
    size: int
    read: int


Relations = Mapping[int, Relation]
"""Relations by oid."""


@dataclass(frozen=True)
class Look:
    """What a session sees of its database and of itself at a moment."""

    relations: Relations
    locks: Locks


@dataclass(frozen=True)
class Traces:
    """What a statement did to relations that stood before it, by oid.

    Attributes:
        locks: those it took in addition.
        rewritten: tables and indexes that have a new file with rows in it.
        scanned: tables that were read from beginning to end.
    """

    locks: Locks
    rewritten: frozenset[int]
    scanned: frozenset[int]


# The last counter is what pg_stat_xact_all_tables shows as seq_tup_read.
_RELATIONS = SQL("""
SELECT c.oid, n.nspname, c.relname, c.relkind::text, i.indrelid,
       pg_catalog.pg_relation_filenode(c.oid),
       coalesce(pg_catalog.pg_relation_size(coalesce(i.indrelid, c.oid)), 0),
       pg_catalog.pg_stat_get_xact_tuples_returned(c.oid)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
WHERE c.oid >= 16384 AND n.nspname !~ '^pg_'""")

# Those of the catalog have smaller oids: FirstNormalObjectId in src/include/access/transam.h.
_LOCKS = SQL("""
SELECT relation, mode FROM pg_catalog.pg_locks
WHERE pid = {pid} AND locktype = 'relation' AND relation >= 16384
  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())""")


def look(connection: Connection) -> Look:
    """All relations but the server's own, and the locks of the connection's transaction."""
    return Look(relations(connection), locks(connection, SQL("pg_catalog.pg_backend_pid()")))


def relations(connection: Connection) -> dict[int, Relation]:
    """All relations of the database but the server's own, by oid."""
    found = sql.rows(connection, _RELATIONS)
    return {row[0]: Relation(row[0], Name(row[1], row[2]), *row[3:]) for row in found}


def locks(connection: Connection, pid: Composable) -> Locks:
    """The locks that a session holds on relations, and the one it may be waiting for."""
    found = sql.rows(connection, _LOCKS.format(pid=pid))
    return frozenset((oid, LockMode.of_catalog(mode)) for oid, mode in found)


def difference(before: Look, after: Look) -> Traces:
    """What happened between two looks of one transaction."""
    new = {(oid, mode) for oid, mode in after.locks - before.locks if oid in before.relations}
    scanned = {
        relation.oid
        for relation in after.relations.values()
        if relation.kind in "rm" and relation.read > _read(before.relations, relation.oid)
    }
    return Traces(
        frozenset(new),
        rewritten(before.relations, after.relations),
        frozenset(scanned & before.relations.keys()),
    )


def rewritten(before: Relations, after: Relations) -> frozenset[int]:
    """The tables and indexes of before that have another file by now.

    An index may have been built anew under another oid and the same name. An empty file is no
    rewrite: TRUNCATE leaves one.
    """
    now = {relation.name: relation for relation in after.values()}
    pairs = ((old, after.get(old.oid) or now.get(old.name)) for old in before.values())
    return frozenset(
        old.oid
        for old, new in pairs
        if new is not None and new.kind in "rmi" and new.size > 0 and new.file != old.file
    )


def _read(relations: Relations, oid: int) -> int:
    return relations[oid].read if oid in relations else 0
