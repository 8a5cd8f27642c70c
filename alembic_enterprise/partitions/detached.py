"""Detached partitions, whose rows an empty one in their place would keep out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.due import bounds, past
from alembic_enterprise.partitions.marks import PARTITION_OF, made_for, unreadable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import AttachPartition
from alembic_enterprise.partitions.periods import Range, overlap, suffix
from alembic_enterprise.partitions.retired import NO_PERIOD, Retired, Ties, called_as_today, retired
from alembic_enterprise.registry import KEPT
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Detached:
    """A table of ours that was a partition.

    Attributes:
        held: the moments it held; None when nothing tells them but its name.
        was: its own name when a run retired it; None when no run did.
    """

    name: Name
    held: Range | None = None
    was: Name | None = None


@dataclass(frozen=True)
class Unclaimed:
    """A retired partition that no run drops, though its policy may say so.

    Attributes:
        why: as words that its name precedes.
        mark: what its comment says; None when that cannot be read.
    """

    name: Name
    why: str
    mark: Retired | None = None


_MARKED = SQL("""
SELECT n.nspname, c.relname, d.description
FROM pg_catalog.pg_description AS d
JOIN pg_catalog.pg_class AS c ON c.oid = d.objoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND starts_with(d.description, {prefix})
ORDER BY 1, 2""")


def detached_from(
    connection: Connection, tables: Iterable[PartitionedTable]
) -> dict[Name, list[Detached]]:
    """What was detached from some tables, and is where it was, or where a run has archived it.

    Nothing tells which moments it held when no run has detached it.
    """
    rows = _marked(connection)
    wanted = {table.oid: table for table in tables} if rows else {}
    made = {made_for(table.name): table for table in wanted.values()}
    found: dict[Name, list[Detached]] = {table.name: [] for table in wanted.values()}
    marks: list[Retired] = []
    for schema, name, comment in rows:
        if comment in made:
            found[made[comment].name].append(Detached(Name(schema, name)))
        elif mark := retired(Name(schema, name), comment, Ties()):
            marks.append(mark)
    for mark in called_as_today(connection, marks, wanted.values()):
        table = wanted.get(mark.oid)
        if table and mark.belonged_to(table) and mark.in_place(table.policy):
            found[table.name].append(Detached(mark.name, mark.held(table), mark.was))
    return found


def unclaimed(connection: Connection) -> list[Unclaimed]:
    """What no run drops: its table is gone, or its comment tells too little, or cannot be read."""
    marks: list[Retired] = []
    found: list[Unclaimed] = []
    for schema, name, comment in _marked(connection):
        if mark := retired(Name(schema, name), comment, Ties()):
            marks.append(mark)
        elif unreadable(comment):
            found.append(Unclaimed(Name(schema, name), UNREADABLE))
    tables = catalog.read(connection, bounds=False, strict=False).tables.values() if marks else ()
    there = {table.oid: table for table in tables}
    for mark in called_as_today(connection, marks, tables):
        if mark.oid not in there or not mark.belonged_to(there[mark.oid]):
            why = f"was retired from {mark.table}, which is no longer that table"
            found.append(Unclaimed(mark.name, why, mark))
        elif mark.to_drop and mark.range is None and not mark.put_away:
            found.append(Unclaimed(mark.name, NO_PERIOD, mark))
    return found


UNREADABLE = "has the comment of a retired partition, which cannot be read"
"""Of one whose comment somebody has changed, or an early release has written."""


def retired_from(
    connection: Connection, tables: Sequence[PartitionedTable]
) -> dict[Name, list[Retired]]:
    """What runs have retired from some tables, the first one first, and nobody has dropped."""
    wanted = {table.oid: table for table in tables}
    found: dict[Name, list[Retired]] = {table.name: [] for table in tables}
    marks = called_as_today(connection, _marks(connection), tables)
    for mark in sorted(marks, key=lambda mark: mark.since):
        table = wanted.get(mark.oid)
        if table and mark.belonged_to(table):
            found[table.name].append(mark)
    return found


def _marks(connection: Connection) -> list[Retired]:
    read = (retired(Name(*names), comment, Ties()) for *names, comment in _marked(connection))
    return [mark for mark in read if mark]


def _marked(connection: Connection) -> list[tuple[Any, ...]]:
    """Each table with a comment of ours that is no partition: schema, name and comment."""
    return sql.rows(connection, _MARKED.format(prefix=Literal(PARTITION_OF)))


def filled(
    table: PartitionedTable,
    policy: Policy,
    now: datetime,
    lacking: Iterable[tuple[date, date | None]],
    detached: Sequence[Detached],
) -> dict[tuple[date, date], Detached]:
    """The periods, among some that are lacking, whose rows a detached partition has.

    Only those that are over: where rows are written now, or will be, they would be refused.
    """
    found: dict[tuple[date, date], Detached] = {}
    for start, stop in past(lacking, policy, now) if detached else ():
        period = Range(*bounds(table, policy, start, stop))
        label = Name(table.name.schema, table.name.name + suffix(start, policy.every))
        for item in detached:
            held = item.held or (period if (item.was or item.name) == label else None)
            if held is not None and overlap(held, period):
                found.setdefault((start, stop), replace(item, held=held))
    return found


def filled_in_any(
    tables: Iterable[PartitionedTable],
    policy: Policy,
    now: datetime,
    lacking: Sequence[tuple[date, date | None]],
    detached: Mapping[Name, Sequence[Detached]],
) -> dict[tuple[date, date], list[tuple[PartitionedTable, Detached]]]:
    """As `filled`, for a table or its shards, of what is lacking in any of them."""
    found: dict[tuple[date, date], list[tuple[PartitionedTable, Detached]]] = {}
    for table in tables:
        here = detached.get(table.name, ())
        for period, item in filled(table, policy, now, lacking, here).items():
            found.setdefault(period, []).append((table, item))
    return found


def without(
    lacking: Iterable[tuple[date, date | None]], periods: Iterable[tuple[date, date]]
) -> list[tuple[date, date | None]]:
    """What is lacking but for some whole periods of it."""
    found: list[tuple[date, date | None]] = []
    gone = sorted(periods)
    for first, stop in lacking:
        start = first
        for begin, end in gone:
            if start <= begin and (stop is None or end <= stop):
                found += [(start, begin)] if start < begin else []
                start = end
        if stop is None or start < stop:
            found.append((start, stop))
    return found


def advice(table: PartitionedTable, item: Detached) -> str:
    """What to do with the rows of a detached partition whose period the policy retains."""
    keep = keeping(item.name)
    if item.held is not None and any(overlap(item.held, held) for held in table.covered):
        return (
            f"{item.name} was detached, and has rows of a period that the policy retains and that "
            f"has another partition: put them there, or keep them apart: {keep}"
        )
    return (
        f"{item.name} was detached, and has the rows of a period that the policy retains: "
        f"attach it with {_attaching(table, item)}, or, for an empty partition in its place, {keep}"
    )


def keeping(name: Name) -> str:
    """The statement that keeps a table of ours apart: nothing is said of it any more."""
    return f"COMMENT ON TABLE {name.text} IS '{KEPT}'"


def _attaching(table: PartitionedTable, item: Detached) -> str:
    """The call that attaches it again."""
    lower, upper = (None, None) if item.held is None else (item.held.lower, item.held.upper)
    operation = AttachPartition(
        table.name.name,
        item.name.name,
        start=_text(lower),
        stop=_text(upper),
        schema=table.name.schema,
        partition_schema=None if item.name.schema == table.name.schema else item.name.schema,
    )
    return f"op.{operation}"


def _text(moment: datetime | None) -> str | None:
    """A bound in UTC, as the operation takes it."""
    if moment is None:
        return None
    plain = moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    return plain.isoformat(" ").removesuffix(" 00:00:00")
