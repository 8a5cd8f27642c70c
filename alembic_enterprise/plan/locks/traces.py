"""What a statement did, as the session that ran it can see before its transaction ends.

A session looks at its database and at its own locks, runs the statement, and looks again.

    before = look(connection)
    sql.execute(connection, statement)
    traces = difference(before, look(connection, before))

It sees the same whether the tables hold rows or not, but for what the server looks up row by row:
up to 15, a foreign key to a partitioned table is such.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.locks.table import LockMode, excluded
from alembic_enterprise.sql import Name

Locks = frozenset[tuple[int, LockMode]]
"""Locks on relations, by the oid of each."""


@dataclass(frozen=True)
class Relation:
    """A relation at a moment.

    Attributes:
        kind: `pg_class.relkind`.
        table: the oid of an index's table; None unless it is an index.
        parent: the oid of what it is a partition of; None unless it is one.
        file: the number of its file; None when it has none, as a view or a partitioned table.
        size: bytes of the rows it holds, an index in its table.
        columns: of a table that is no partition, or of a composite type, name and type of each by
            its number; None for one that was dropped or is generated, which holds nothing of its
            own. Of types that are not the server's own, composite ones are listed, and arrays of
            them, as the oid of their relation in parentheses.
    """

    oid: int
    name: Name
    kind: str
    table: int | None
    parent: int | None
    file: int | None
    size: int
    columns: tuple[tuple[str, str] | None, ...] = ()


Relations = Mapping[int, Relation]
"""Relations by oid."""


@dataclass(frozen=True)
class Look:
    """What a session sees of its database and of itself at a moment.

    Attributes:
        scans: how often tables and indexes were read as a whole, by oid. Earlier transactions of
            the session may count as well, so that only the difference within one says something.
        lock_timeout: None when there is none.
        began: when this transaction did, on the server's clock.
        horizon: the first transaction whose changes may come after this.
    """

    relations: Relations
    locks: Locks
    scans: Mapping[int, int]
    lock_timeout: timedelta | None
    began: datetime
    horizon: str


@dataclass(frozen=True)
class Traces:
    """What a statement did to relations that stood before it, by oid.

    Attributes:
        locks: those it took in addition.
        rewritten: tables and indexes that were rewritten, row by row.
        scanned: tables that were read from beginning to end.
        emptied: tables that have lost their rows to TRUNCATE.
    """

    locks: Locks = frozenset()
    rewritten: frozenset[int] = frozenset()
    scanned: frozenset[int] = frozenset()
    emptied: frozenset[int] = frozenset()


# Those of the catalog have smaller oids: FirstNormalObjectId in src/include/access/transam.h.
_OURS = SQL(
    "c.oid >= 16384 AND c.relnamespace NOT IN"
    " (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname ~ '^pg_')"
)

_RELATIONS = SQL("""
SELECT c.oid, n.nspname, c.relname, c.relkind::text, i.indrelid, h.inhparent,
       pg_catalog.pg_relation_filenode(c.oid),
       coalesce(pg_catalog.pg_relation_size(coalesce(i.indrelid, c.oid)), 0),
       CASE WHEN c.relkind IN ('r', 'p', 'c') AND NOT c.relispartition THEN ARRAY(
           SELECT CASE WHEN attisdropped OR attgenerated <> '' THEN ARRAY[NULL, NULL]
                       ELSE ARRAY[attname, CASE WHEN atttypid < 16384 THEN
                           pg_catalog.format_type(atttypid, atttypmod) ELSE coalesce((
                               SELECT '(' || coalesce(e.typrelid, t.typrelid) || ')'
                               FROM pg_catalog.pg_type AS t
                               LEFT JOIN pg_catalog.pg_type AS e
                                      ON e.oid = t.typelem AND t.typcategory = 'A'
                               WHERE t.oid = atttypid AND coalesce(e.typrelid, t.typrelid) <> 0
                           ), '') END] END
           FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 ORDER BY attnum) END
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = c.oid AND c.relispartition
WHERE {} AND {}""")

_ALL = SQL("true")

# A row that was not touched since keeps the transaction that made it. Should that be so long ago
# that its number looks like a new one, the row is read again, and is as it was.
# What becomes of columns is not to be seen there: tables are given that were locked for it.
_SINCE = SQL(
    "(least(pg_catalog.age(c.xmin), pg_catalog.age(n.xmin)) <= pg_catalog.age({}::xid)"
    " OR c.oid = ANY ({}::oid[]))"
)

_STATE = SQL("""
SELECT pg_catalog.transaction_timestamp(),
       coalesce(pg_catalog.pg_current_xact_id_if_assigned(),
                pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))::xid::text,
       pg_catalog.current_setting('lock_timeout')::interval,
       (SELECT count(*) FROM pg_catalog.pg_class AS c WHERE {})""").format(_OURS)

_LOCKS = SQL("""
SELECT relation, mode FROM pg_catalog.pg_locks
WHERE pid = {pid} AND locktype = 'relation' AND relation >= 16384
  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())""")

# What pg_stat_xact_all_tables shows as seq_scan, and for indexes as idx_scan. It counts scans of
# tables without rows as well.
_SCANS = SQL("""
SELECT oid, count FROM unnest({}::oid[]) AS given (oid)
CROSS JOIN LATERAL (SELECT pg_catalog.pg_stat_get_xact_numscans(oid) OFFSET 0) AS scans (count)
WHERE count > 0""")
_ALL_SCANS = _SCANS.format(
    SQL("ARRAY(SELECT oid FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind ~ '[rmi]')")
)


def look(connection: Connection, before: Look | None = None, released: Locks = frozenset()) -> Look:
    """All relations but the server's own, and the locks of the connection's transaction.

    Args:
        connection: the session that looks.
        before: an earlier look of the same session, after which nobody else has changed relations;
            then only what has changed is read.
        released: locks that the session had meanwhile, in a transaction of its own.
    """
    [(began, horizon, timeout, count)] = sql.rows(connection, _STATE)
    held = locks(connection, SQL("pg_catalog.pg_backend_pid()"))
    found = None if before is None else _since(connection, before, held | released)
    if found is None or len(found) != count:  # some are gone
        found = relations(connection)
    query = _ALL_SCANS
    if before is not None and before.began == began:  # what is read meanwhile is locked
        read = {oid for oid, _ in held}.union(before.scans)
        query = _SCANS.format(Literal([*read]))
    return Look(found, held, dict(sql.rows(connection, query)), timeout or None, began, horizon)


def relations(connection: Connection, which: Composable = _ALL) -> dict[int, Relation]:
    """All relations of the database but the server's own, or some of them, by oid."""
    found = sql.rows(connection, _RELATIONS.format(_OURS, which))
    return {
        oid: Relation(oid, Name(schema, name), kind, table, parent, file, size, _columns(columns))
        for oid, schema, name, kind, table, parent, file, size, columns in found
    }


def _columns(rows: Sequence[Sequence[str | None]] | None) -> tuple[tuple[str, str] | None, ...]:
    return tuple(None if name is None or of is None else (name, of) for name, of in rows or ())


def _since(connection: Connection, before: Look, held: Locks) -> Relations:
    known = before.relations
    locked = {oid for oid, mode in held if mode is LockMode.ACCESS_EXCLUSIVE and oid in known}
    tables = [oid for oid in locked if known[oid].kind in "rpc" and known[oid].parent is None]
    which = _SINCE.format(Literal(before.horizon), Literal(tables))
    changed = relations(connection, which)
    if all(known.get(oid) == relation for oid, relation in changed.items()):
        return known
    return {**known, **changed}


def locks(connection: Connection, pid: Composable) -> Locks:
    """The locks that a session holds on relations, and the one it may be waiting for."""
    found = sql.rows(connection, _LOCKS.format(pid=pid))
    return frozenset((oid, LockMode.of_catalog(mode)) for oid, mode in found)


def difference(before: Look, after: Look, truncated: Collection[str] = ()) -> Traces:
    """What happened between two looks of one transaction.

    Args:
        before: the first.
        after: the second.
        truncated: tables, without schemas, that the statement says it truncates: one that got a new
            file from its transaction before gets no other (`ExecuteTruncateGuts` in
            src/backend/commands/tablecmds.c).
    """
    known = before.relations
    scans = {oid: count - before.scans.get(oid, 0) for oid, count in after.scans.items()}
    scanned = {oid for oid, count in scans.items() if count > 0 and _is_table(known.get(oid))}
    files = new_files(known, after.relations)
    gone = _emptied(known, after.relations, files, scans) | _named(known, after.locks, truncated)
    return Traces(
        frozenset((oid, mode) for oid, mode in after.locks - before.locks if oid in known),
        frozenset(oid for oid in files if oid not in gone and known[oid].table not in gone),
        frozenset(scanned - gone),
        gone,
    )


def new_files(before: Relations, after: Relations) -> frozenset[int]:
    """The tables and indexes of before that have another file by now.

    An index may have been rebuilt under another oid and the same name.
    """
    if before is after:
        return frozenset()
    changed = [old for oid, old in before.items() if after.get(oid) is not old]
    built = {one.name: one for one in after.values() if one.kind == "i" and one.oid not in before}
    pairs = ((old, after.get(old.oid) or built.get(old.name)) for old in changed)
    return frozenset(
        old.oid
        for old, new in pairs
        if new is not None and new.kind in "rmi" and new.file != old.file and new.table == old.table
    )


def _emptied(
    before: Relations, after: Relations, files: Iterable[int], scans: Mapping[int, int]
) -> frozenset[int]:
    """The tables among those with new files that have been truncated.

    TRUNCATE rebuilds each index, for which it reads the empty table, and nothing else; what
    rewrites a table reads that once more, or an index.
    """
    built, read = Counter[int | None](), Counter[int | None]()
    for oid in files:
        built[before[oid].table] += 1
    for oid, count in scans.items():
        read[oid] += count
        read[before[oid].table if oid in before else None] += count
    return frozenset(
        oid
        for oid in files
        if before[oid].kind == "r" and not after[oid].size and read[oid] <= built[oid]
    )


def _named(known: Relations, held: Locks, names: Collection[str]) -> frozenset[int]:
    """The tables with these names, and their partitions, that the session has for itself."""
    if not names:
        return frozenset()
    alone = {oid for oid, mode in held if mode is LockMode.ACCESS_EXCLUSIVE and oid in known}
    return frozenset(
        oid
        for oid in alone
        if known[oid].kind == "r" and any(one.name.name in names for one in _lineage(known, oid))
    )


def _lineage(known: Relations, oid: int | None) -> Iterator[Relation]:
    """A table, and what it is a partition of."""
    while oid is not None and (one := known.get(oid)) is not None:
        yield one
        oid = one.parent


def _is_table(relation: Relation | None) -> bool:
    return relation is not None and relation.kind in "rm"


def by_relation(taken: Locks) -> dict[int, set[LockMode]]:
    """The modes on each relation, by oid."""
    found: dict[int, set[LockMode]] = {}
    for oid, mode in taken:
        found.setdefault(oid, set()).add(mode)
    return found


def own(modes: Mapping[int, set[LockMode]], relation: Relation) -> frozenset[LockMode]:
    """The modes on a relation; of an index, those that stop more than the ones on its table do."""
    if relation.table is None:
        return frozenset(modes[relation.oid])
    stopped = excluded(modes.get(relation.table, ()))
    return frozenset(mode for mode in modes[relation.oid] if not mode.conflicts <= stopped)
