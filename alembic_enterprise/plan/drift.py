"""How a live database differs from what its own revisions give, by changes outside of them."""

import json
from dataclasses import dataclass
from enum import StrEnum
from zoneinfo import ZoneInfo

from alembic.config import Config
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import registry, sql
from alembic_enterprise.environment import connected
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.periods import Range, floor, periods, today
from alembic_enterprise.plan import objects, replay
from alembic_enterprise.plan.objects import Key, Objects
from alembic_enterprise.plan.shadow import VERSION_TABLE, Shadow
from alembic_enterprise.sql import Name


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


def drift(
    config: Config,
    shadow: Shadow,
    version_table: Name = VERSION_TABLE,
) -> list[Difference]:
    """What was changed in a live database outside of its revisions.

    It is compared with a database that its revisions have made, both on the shadow's server, which
    prints definitions as only one version of PostgreSQL does.

    Args:
        config: Alembic's configuration of the project.
        shadow: of the live database.
        version_table: where Alembic keeps the revisions.

    Raises:
        ConfigurationError: the project lacks a revision that the database is stamped with, or
            env.py fails.
        StepError: a migration cannot be run from an empty database.
        ServerError: no further database can be had.
    """
    with connected(shadow.url) as connection:
        revisions = stamped(connection, version_table)
        after = read(connection)
    with shadow.database() as url:
        replay.upgrade(config, url, revisions)
        with connected(url) as connection:
            if found := compare(read(connection), after):
                found = compare(_copied(connection, shadow, version_table), after)
            return found


def stamped(connection: Connection, version_table: Name = VERSION_TABLE) -> list[str]:
    """The revisions that a database is stamped with."""
    table = Literal(version_table.text)
    [(there,)] = sql.rows(connection, SQL("SELECT to_regclass({}) IS NOT NULL").format(table))
    if not there:
        return []
    query = SQL("SELECT version_num FROM {} ORDER BY 1").format(version_table.sql)
    return [revision for (revision,) in sql.rows(connection, query)]


def _copied(connection: Connection, shadow: Shadow, version_table: Name) -> Objects:
    """The objects of a database once they have gone through pg_dump, as those of the shadow have.

    Not every definition reads the same afterwards: `c IN ('a', 'b')` of a varchar does not.
    """
    with shadow.copy(connection, version_table) as url, connected(url) as copied:
        return read(copied)


def read(connection: Connection) -> Objects:
    """The objects of a database, but for the partitions that the scheduled job looks after."""
    passed_over = _maintained(connection)
    found = {**objects.read(connection), **_policies(connection)}
    return {key: text for key, text in found.items() if key.relation not in passed_over}


def _maintained(connection: Connection) -> set[str]:
    """Partitions of a whole period of their table's policy, with those inside of them."""
    tables = catalog.read(connection, strict=False).kept()
    named = {table.name: table for table in tables}
    whole = [
        partition.name.text
        for name, partitions in catalog.partitions(connection, tables).items()
        for partition in partitions
        if partition.range is not None and is_period(partition.range, named[name])
    ]
    return {name for (name,) in sql.rows(connection, _INSIDE.format(Literal(whole)))}


def is_period(held: Range, table: PartitionedTable) -> bool:
    """Whether a range is one period of the table's policy."""
    policy = table.policy
    if policy is None or held.lower is None:
        return False
    zone = ZoneInfo(policy.timezone)
    day = held.lower.date() if table.naive else today(held.lower, zone)
    first = floor(day, policy.every)
    return [held] == list(periods(first, first, policy.every, None if table.naive else zone))


def _policies(connection: Connection) -> dict[Key, str]:
    kept = registry.read(connection)
    names = sql.rows(connection, _NAMED.format(Literal(list(kept))))
    return {
        Key(name, "maintenance policy", name): json.dumps(kept[oid], sort_keys=True)
        for oid, name in names
    }


_INSIDE = SQL("""
WITH RECURSIVE tree AS (
    SELECT name::regclass::oid AS oid FROM unnest({}::text[]) AS given (name)
    UNION ALL SELECT inhrelid FROM tree JOIN pg_catalog.pg_inherits ON inhparent = tree.oid)
SELECT format('%I.%I', n.nspname, c.relname) FROM tree
JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace""")

_NAMED = SQL("""
SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = ANY ({}::oid[])""")
