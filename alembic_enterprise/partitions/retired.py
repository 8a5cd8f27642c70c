"""Partitions that a run has detached: tables on their own, known by what their comment says."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Ties:
    """What ties a partition to other relations.

    Attributes:
        keys: its foreign keys to tables with a policy.
        inside: its own partitions, when it is partitioned itself.
        triggers: whether it has triggers that stand on each partition of its table.
        related: whether foreign keys lead from its table or to it.
    """

    keys: tuple[str, ...] = ()
    inside: tuple[Name, ...] = ()
    triggers: bool = False
    related: bool = False


@dataclass(frozen=True)
class Retired:
    """A partition that a run detached, found by its comment.

    Attributes:
        table: the table it belonged to, as the comment names it, or by its name of today.
        oid: the oid of that table: another one may have taken the name since.
        since: when it was retired, aware.
        to_drop: whether the policy said so at that time.
        comment: the one it was found by.
        was: its own name at that time; None when an earlier release wrote the comment.
    """

    name: Name
    table: Name
    oid: int
    since: datetime
    to_drop: bool
    ties: Ties
    comment: str
    was: Name | None = None

    def belonged_to(self, table: PartitionedTable) -> bool:
        """Whether it was a partition of the table."""
        return (self.table, self.oid) == (table.name, table.oid)

    @property
    def put_away(self) -> bool:
        """Whether somebody has given it another name or schema since."""
        return self.was not in (None, self.name)

    def in_place(self, table: PartitionedTable) -> bool:
        """Whether it stands where it was detached from the table: not archived, nor put away."""
        return self.name.schema == table.name.schema if self.was is None else not self.put_away

    @property
    def why_it_stays(self) -> str:
        """What is told of one that is put away, with the next step."""
        return (
            f"{self.name} was called {self.was} when it was retired, and stays. Drop it by hand "
            f"when it is not needed, or COMMENT ON TABLE {self.name.text} IS NULL ends this note"
        )

    def droppable(self, policy: Policy, now: datetime, *, drop_detached: bool) -> bool:
        """Whether it may be dropped: held long enough, and with consent.

        The policy has to say so now, and had to when it was detached: changing it afterwards does
        not doom what was meant to stay. `drop_detached` is consent to drop that as well.
        """
        dooms = self.to_drop and policy.on_expire == "drop"
        consent = dooms or (drop_detached and policy.on_expire != "archive")
        return consent and self.since + timedelta(days=policy.hold) <= now


_NAME = r'"((?:[^"]|"")+)"\."((?:[^"]|"")+)"'
_RETIRED = re.compile(
    rf"{re.escape(OWNERSHIP)}partition of {_NAME}; retired (\S+) from (\d{{1,10}}) to (keep|drop)"
    rf"(?: as {_NAME})?"
)


def retired(name: Name, comment: str, ties: Ties) -> Retired | None:
    """Read the comment of a table that is no partition any more; anybody may have written it."""
    match = _RETIRED.fullmatch(comment)
    if match is None:
        return None
    schema, table, since, oid, purpose, *own = match.groups()
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return Retired(
        name=name,
        table=_name(schema, table),
        oid=int(oid),
        since=moment,
        to_drop=purpose == "drop",
        ties=ties,
        comment=comment,
        was=None if None in own else _name(*own),
    )


def _name(*quoted: str) -> Name:
    schema, name = (part.replace('""', '"') for part in quoted)
    return Name(schema, name)


def retirement(table: PartitionedTable, partition: Partition, policy: Policy, now: datetime) -> str:
    """The comment of a partition that is retired, which `retired` reads."""
    purpose = "drop" if policy.on_expire == "drop" else "keep"
    return (
        f"{OWNERSHIP}partition of {table.name.text}; "
        f"retired {now.astimezone(UTC).isoformat()} from {table.oid} to {purpose} "
        f"as {partition.name.text}"
    )


_TAKEN = SQL("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) IN ({names})""")


def _taken(connection: Connection, names: Iterable[Name]) -> set[Name]:
    """Those of some names that a relation has."""
    pairs = SQL(", ").join(
        SQL("({}, {})").format(Literal(name.schema), Literal(name.name)) for name in names
    )
    return {Name(*row) for row in sql.rows(connection, _TAKEN.format(names=pairs))}


def called_as_today(
    connection: Connection, found: Sequence[Retired], tables: Iterable[PartitionedTable]
) -> Sequence[Retired]:
    """Retired partitions with the names of today of tables that were renamed or moved since.

    Where something else has the former name now, that may be the table, restored: the oid in the
    comment is of another database then.
    """
    today = {table.oid: table.name for table in tables}
    former = {item.table for item in found if today.get(item.oid, item.table) != item.table}
    if not former:
        return found
    free = former - _taken(connection, former)
    return [
        replace(item, table=today.get(item.oid, item.table)) if item.table in free else item
        for item in found
    ]


def why_not_archived(connection: Connection, policy: Policy, partition: Name) -> str | None:
    """Why a partition cannot move to the archive of its policy: there its name is taken."""
    if policy.archive in (None, partition.schema):
        return None
    if not _taken(connection, [Name(policy.archive, partition.name)]):
        return None
    return (
        f"{partition} cannot move to {policy.archive}, where a relation has its name: rename that, "
        "or give the policy an archive of its own. The next run goes on"
    )
