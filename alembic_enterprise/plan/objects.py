"""All objects of a database with their definitions, as plain text: two schemas compare with `==`.

Each property that a person would change by itself is an object of its own: a column, a comment, the
rights of a role. Names are quoted and have their schema, so that a definition is the same whatever
the search path. Left out are the server's own objects and those of extensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.object_queries import QUERIES


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


def read(connection: Connection) -> dict[Key, str]:
    """The objects of a database, in one transaction that is ended with it."""
    sql.execute(connection, SQL("SET LOCAL search_path = ''"))
    with sql.canonical_output(connection):
        found = [row for query in QUERIES for row in sql.rows(connection, query)]
    connection.rollback()
    return {Key(relation, kind, name): text for relation, kind, name, text in found}
