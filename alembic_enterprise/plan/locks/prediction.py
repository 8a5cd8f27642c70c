"""What a statement did that cannot be looked at in its transaction, by the table of locks.

What it was about shows in what it left: an index that is new, gone or replaced, a partition
that is none any more.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.locks.table import Effect, LockMode, Role, load
from alembic_enterprise.plan.locks.traces import Relations, Traces, new_files

_FORMS = (
    (r"CREATE (UNIQUE )?INDEX CONCURRENTLY\b", "create-index-concurrently", None),
    (r"DROP INDEX CONCURRENTLY\b", "drop-index-concurrently", None),
    (
        r"REINDEX \(?.*\bCONCURRENTLY\b",
        "reindex-table-concurrently",
        "partitioned-reindex-table-concurrently",
    ),
    (r"REINDEX ", None, "partitioned-reindex-table"),
    (r"CLUSTER ", None, "partitioned-cluster"),
    (r"VACUUM \(?.*\bFULL\b", "vacuum-full", "partitioned-vacuum-full"),
    (
        r"ALTER TABLE .*\bDETACH PARTITION .*\bCONCURRENTLY$",
        "detach-partition-concurrently",
        None,
    ),
)
"""How statements begin, and their forms: of a table, and of all partitions of one."""

_MORE = {
    Role.REFERENCING: "detach-partition-of-referenced-concurrently",
    Role.SUBPARTITION: "detach-nested-partition-concurrently",
}
"""Forms that tell more of a partition that goes, when there is a relation of this role."""

_NEIGHBOURS = SQL("""
SELECT conrelid, confrelid FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND (conrelid = {partition} OR confrelid = {parent} AND conparentid = 0)""")

Roles = dict[Role, frozenset[int]]
"""Relations by what they are to a statement."""


@dataclass(frozen=True)
class Prediction:
    """What a statement does on a version of PostgreSQL.

    Attributes:
        server: the version that was measured.
    """

    traces: Traces
    server: str


def predicted(
    connection: Connection, statement: str, before: Relations, after: Relations, major: int
) -> Prediction | None:
    """What a statement that has been run does, if its form was measured on a version.

    Args:
        connection: to the database where it ran.
        statement: its text.
        before: the relations that stood before it.
        after: those that stand now.
        major: the version of PostgreSQL that is asked about.
    """
    roles = _roles(connection, before, after)
    form = _form(statement, of_partitions=Role.PARTITION_INDEX in roles)
    if form is None or not any(roles.values()):
        return None
    table = load()
    if table.of(form, major) is None:
        return None
    forms = [form, *(more for role, more in _MORE.items() if roles.get(role))]
    effects = [effect for name in forms if (effect := table.of(name, major))]
    return Prediction(_traces(effects, roles), table.servers[major])


def _form(statement: str, *, of_partitions: bool) -> str | None:
    text = " ".join(statement.upper().rstrip("; \n").split())
    for begin, form, partitioned in _FORMS:
        if re.match(begin, text):
            return partitioned if of_partitions and partitioned else form
    return None


def _roles(connection: Connection, before: Relations, after: Relations) -> Roles:
    """The relations that a statement was about, by what has become of them."""
    for oid, relation in before.items():
        now = after.get(oid)
        is_partition = relation.parent is not None and relation.table is None
        if is_partition and now is not None and now.parent is None:
            return _detached(connection, before, relation.parent or 0, oid)
    files = new_files(before, after)
    changed = [
        relation.table
        for one, other in ((before, after), (after, before))
        for relation in one.values()
        if relation.table is not None and (relation.oid not in other or relation.oid in files)
    ]
    tables = frozenset(oid for oid in files if before[oid].table is None) or frozenset(changed)
    indexes = frozenset(oid for oid in files if before[oid].table is not None)
    parents = {before[oid].parent for oid in tables if oid in before}
    if len(tables) > 1 and None not in parents:
        of = frozenset(oid for oid in parents if oid is not None)
        return {Role.TABLE: of, Role.PARTITION: tables, Role.PARTITION_INDEX: indexes}
    return {Role.TABLE: tables, Role.INDEX: indexes}


def _detached(connection: Connection, before: Relations, parent: int, partition: int) -> Roles:
    query = _NEIGHBOURS.format(partition=Literal(partition), parent=Literal(parent))
    keys = sql.rows(connection, query)
    return {
        Role.TABLE: frozenset([parent]),
        Role.PARTITION: frozenset([partition]),
        Role.SUBPARTITION: frozenset(_inside(before, partition)),
        Role.REFERENCED: frozenset(to for of, to in keys if of == partition),
        Role.REFERENCING: frozenset(of for of, to in keys if to == parent),
    }


def _inside(relations: Relations, parent: int) -> Iterator[int]:
    for relation in relations.values():
        if relation.parent == parent and relation.table is None:
            yield relation.oid
            yield from _inside(relations, relation.oid)


def _traces(effects: Iterable[Effect], roles: Roles) -> Traces:
    held: set[tuple[int, LockMode]] = set()
    rewritten: set[int] = set()
    scanned: set[int] = set()
    for effect in effects:
        for role, modes in effect.locks.items():
            held |= {(oid, mode) for oid in roles.get(role, ()) for mode in modes}
        rewritten |= {oid for role in effect.rewrites for oid in roles.get(role, ())}
        scanned |= {oid for role in effect.scans for oid in roles.get(role, ())}
    return Traces(frozenset(held), frozenset(rewritten), frozenset(scanned))
