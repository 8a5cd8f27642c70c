"""Partitions that a run has detached: tables on their own, known by what their comment says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.due import retained_from
from alembic_enterprise.partitions.marks import Mark
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import Range
from alembic_enterprise.registry import KEPT
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Ties:
    """What ties a partition to other relations.

    Attributes:
        keys: its foreign keys to tables that retire partitions.
        inside: its own partitions, when it is partitioned itself.
        triggers: whether it has triggers that stand on each partition of its table.
        related: whether foreign keys lead from its table or to it.
    """

    keys: tuple[str, ...] = ()
    inside: tuple[Name, ...] = ()
    triggers: bool = False
    related: bool = False


NO_PERIOD = "was retired by an earlier release, whose comment does not tell which period it holds"
"""Of one that may hold rows which the policy retains again."""


@dataclass(frozen=True)
class Retired:
    """A partition that a run detached, found by its comment.

    Attributes:
        table: the table it belonged to, as the comment names it, or by its name of today.
        oid: the oid of that table: another one may have taken the name since.
        since: when it was retired, aware.
        to_drop: whether the policy said so at that time.
        range: the moments it held, aware; those of a naive key as if they were in UTC. None when
            its comment does not tell: then no run drops it.
        was: its own name at that time.
        comment: the one it was found by.
    """

    name: Name
    table: Name
    oid: int
    since: datetime
    to_drop: bool
    range: Range | None
    was: Name
    ties: Ties
    comment: str

    def belonged_to(self, table: PartitionedTable) -> bool:
        """Whether it was a partition of the table."""
        return (self.table, self.oid) == (table.name, table.oid)

    @property
    def put_away(self) -> bool:
        """Whether somebody has given it another name or schema since."""
        return self.was != self.name

    def in_place(self, policy: Policy | None) -> bool:
        """Whether it is where a run has left it: where it was, or in the archive of the policy."""
        if policy is None or policy.archive is None:
            return not self.put_away
        return self.name in (self.was, Name(policy.archive, self.was.name))

    def held(self, table: PartitionedTable) -> Range | None:
        """The moments it held, on the table's line of time; None when its comment tells none."""
        if not table.naive or self.range is None:
            return self.range
        ends = (self.range.lower, self.range.upper)
        return Range(*(None if end is None else end.replace(tzinfo=None) for end in ends))

    @property
    def why_it_stays(self) -> str | None:
        """What a run reports of one that it must not drop, whatever its policy, and what to do."""
        if self.put_away:
            why = f"was called {self.was} when it was retired, and stays"
        elif self.range is None:
            why = f"{NO_PERIOD}, and stays"
        else:
            return None
        return (
            f"{self.name} {why}. Drop it by hand when it is not needed; "
            f"COMMENT ON TABLE {self.name.text} IS '{KEPT}' silences this note, and autogenerate "
            "does not propose to drop it"
        )

    def retained_again(self, table: PartitionedTable, policy: Policy, now: datetime) -> bool:
        """Whether the policy of its table retains what it held, as it did not when it went."""
        cut, held = retained_from(table, policy, now), self.held(table)
        return cut is None or held is None or held.upper is None or held.upper > cut

    def droppable(self, policy: Policy, now: datetime, *, drop_detached: bool) -> bool:
        """Whether it may be dropped: held long enough, and with consent.

        The policy has to say so now, and had to when it was detached: changing it afterwards does
        not doom what was meant to stay. `drop_detached` is consent to drop that as well.
        """
        dooms = self.to_drop and policy.on_expire == "drop"
        consent = dooms or (drop_detached and policy.on_expire != "archive")
        return consent and self.since + timedelta(days=policy.hold) <= now


def retired(name: Name, comment: str, ties: Ties) -> Retired | None:
    """Read the comment of a table that is no longer a partition; anybody may have written it."""
    mark = Mark.of(comment)
    return None if mark is None else Retired(name=name, ties=ties, comment=comment, **vars(mark))


def retirement(table: PartitionedTable, partition: Partition, policy: Policy, now: datetime) -> str:
    """The comment of a partition that is retired, which `retired` reads."""
    return Mark(
        table=table.name,
        oid=table.oid,
        since=now,
        to_drop=policy.on_expire == "drop",
        range=partition.range or Range(None, None),
        was=partition.name,
    ).text


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
