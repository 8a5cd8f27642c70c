"""All objects of a database with their definitions, as plain text: two schemas compare with `==`.

Each property that a person would change by itself is an object of its own: a column, a comment, the
rights of a role. Names are quoted and have their schema, so that a definition is the same whatever
the search path. Left out are the server's own objects and those of extensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.schema.queries import QUERIES


@dataclass(frozen=True, order=True)
class Key:
    """What identifies an object.

    Attributes:
        relation: quoted name of the table, view or sequence that the object belongs to or is; empty
            for others, such as functions.
        kind: "table", "column", "index" and so on.
        name: quoted, with its schema.
    """

    relation: str
    kind: str
    name: str


Objects = Mapping[Key, str]
"""The definition of each object, such as "integer NOT NULL" for a column."""


class Change(StrEnum):
    """What has become of an object."""

    ADDED = "added"
    MISSING = "missing"
    CHANGED = "changed"


@dataclass(frozen=True)
class Difference:
    """An object that two schemas do not have in common.

    Attributes:
        kind: "table", "column", "index" and so on.
        name: quoted, with its schema.
        before: its definition in the first schema; None when it is not there.
        after: in the second.
    """

    kind: str
    name: str
    before: str | None
    after: str | None

    @property
    def change(self) -> Change:
        """From the first schema to the second."""
        if self.before is None:
            return Change.ADDED
        return Change.MISSING if self.after is None else Change.CHANGED


RELATIONS = ("table", "foreign table", "view", "materialized view", "sequence")
"""Kinds of objects that others belong to."""


def compare(before: Objects, after: Objects) -> list[Difference]:
    """The differences of two schemas, in the order of their relations.

    What belongs to a relation that only one of them has is not told besides.
    """
    whole = {key.name for key in before.keys() ^ after.keys() if key.kind in RELATIONS}
    return [
        Difference(key.kind, key.name, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and (key.relation not in whole or key.kind in RELATIONS)
    ]


def read(connection: Connection) -> dict[Key, str]:
    """The objects of a database, in one transaction that is ended with it."""
    sql.execute(connection, SQL("SET LOCAL search_path = ''"))
    with sql.canonical_output(connection):
        found = [row for query in QUERIES for row in sql.rows(connection, query)]
    connection.rollback()
    return {Key(relation, kind, name): text for relation, kind, name, text in found}
