"""All objects of a database with their definitions, as plain text: two schemas compare with `==`.

Each property that a person would change by itself is an object of its own: a column, a comment, the
rights of a role. Names are quoted and have their schema, so that a definition is the same whatever
the search path. Left out are the server's own objects and those of extensions.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import unified_diff
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

    @property
    def diff(self) -> tuple[str, ...]:
        """How definitions of several lines differ, as `diff` says it; empty for those of one."""
        texts = [text or "" for text in (self.before, self.after)]
        if not any("\n" in text for text in texts):
            return ()
        before, after = (text.split("\n") if text else [] for text in texts)
        return tuple([*unified_diff(before, after, n=1, lineterm="")][len(("---", "+++")) :])


RELATIONS = ("table", "foreign table", "view", "materialized view", "sequence")
"""Kinds of objects that others belong to."""

OWNED_AS = {"procedure": "function", "aggregate": "function"}
"""What an object is called by its owner and its rights, where that is not its kind."""

NAME_PART = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)'
"""A pattern of a name as the server prints it, without its schema."""

_PARENT = re.compile(rf"of ({NAME_PART}\.{NAME_PART}) ")
_INDEX = re.compile(rf"INDEX {NAME_PART} ON (?:ONLY )?")


def compare(before: Objects, after: Objects) -> list[Difference]:
    """The differences of two schemas, in the order of their relations.

    What belongs to a relation that only one of them has is not told besides, nor are the owner and
    the rights of any such object. What has become of a partition is not told when the same has
    become of its parent. A definition that might hold a password is not told.
    """
    alone = before.keys() ^ after.keys()
    whole = {key.name for key in alone if key.kind in RELATIONS}
    owned = {f"{OWNED_AS.get(key.kind, key.kind)} {key.name}" for key in alone}
    differences = {
        key: Difference(key.kind, key.name, _shown(before.get(key)), _shown(after.get(key)))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and (key.relation not in whole or key.kind in RELATIONS)
        and not _is_of(key, owned)
    }
    parents = _parents({**before, **after})
    known = {(key.relation, _become(key, item)) for key, item in differences.items()}
    return [
        item
        for key, item in differences.items()
        if (parents.get(key.relation), _become(key, item)) not in known
    ]


SECRET = re.compile(r"\w+://|\bpassword\s*=", re.IGNORECASE)
"""Where a text may hold a password."""


def shown(definition: str) -> str:
    """The definition, unless it might hold a password: then what it is told by."""
    if SECRET.search(definition) is None:
        return definition
    digest = hashlib.sha256(definition.encode()).hexdigest()
    return f"not shown, since it might hold a password (SHA-256 {digest})"


def _shown(definition: str | None) -> str | None:
    return None if definition is None else shown(definition)


def _is_of(key: Key, owned: set[str]) -> bool:
    """Whether a key is of the owner or of rights of one of these."""
    called = key.name
    if key.kind == "grant":
        return any(called[: found.start()] in owned for found in re.finditer(" to ", called))
    return key.kind == "owner" and called in owned


def is_of_schema(key: Key, schemas: Collection[str]) -> bool:
    """Whether an object is one of some schemas, called "schema NAME", its owner, or a right."""
    called = f"schema {key.name}" if key.kind == "schema" else key.name
    return called in schemas or called.startswith(tuple(f"{schema} to " for schema in schemas))


def _parents(objects: Objects) -> dict[str, str]:
    """The partitioned table of each partition, by quoted names."""
    found = (
        (key.relation, _PARENT.match(text))
        for key, text in objects.items()
        if key.kind == "partition"
    )
    return {relation: parent[1] for relation, parent in found if parent}


def _become(key: Key, item: Difference) -> tuple[str | None, ...]:
    """What has become of an object, without the names that it has for its table's sake.

    Those of indexes and constraints of a partition are mostly the server's choice.
    """
    name = "" if key.kind in ("index", "constraint") else key.name
    texts = (name, item.before, item.after)
    plain = (text and _INDEX.sub("INDEX ON ", text).replace(key.relation, "") for text in texts)
    return (key.kind, *plain)


def read(connection: Connection) -> dict[Key, str]:
    """The objects of a database, in one transaction that is ended with it."""
    sql.begin(connection)
    # To compile queries of this length would take longer than they do.
    sql.rows(connection, _PLAINLY)
    with sql.canonical_output(connection):
        found = [row for query in QUERIES for row in sql.rows(connection, query)]
    sql.end(connection)
    return {Key(relation, kind, name): text for relation, kind, name, text in found}


_PLAINLY = SQL("SELECT set_config('search_path', '', true), set_config('jit', 'off', true)")
