"""The live database as the rules look at it, read in a few queries, however many tables there are.

No query looks at rows. What a role may not see is left out, and listed in `Catalog.unseen`.
"""

import gc
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from psycopg.sql import Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.indexes import queries, tables
from alembic_enterprise.indexes.relations import Catalog, Distribution, Sequence, Table
from alembic_enterprise.partitions.model import TIMES
from alembic_enterprise.sql import Name
from alembic_enterprise.wording import first_few

MINIMUM_AGE = timedelta(days=7)
"""How old the counters of scans must be before an index that has none is called unused."""

ROWS = 1000
"""Rows of a table below which no rule asks what values its columns have."""

SEQUENCES = 1000
"""How many sequences are read at most: each takes an entry of the server's table of locks."""

WHOLE = ("smallint", "integer", "bigint")
"""The types of keys that count."""


@contextmanager
def without_collector() -> Generator[None]:
    """Make and look at many objects, of which none is garbage.

    Python's collector would look through all of them again and again, which took longer than making
    them (bench/indexes.py).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@without_collector()
def read(connection: Connection, *, schemas: Collection[str] = ()) -> Catalog:
    """Everything the rules need, of the tables in some schemas or in all.

    Left out are temporary tables, those of extensions, and what alembic-enterprise keeps itself.
    """
    settings = queries.SETTINGS.format(now=sql.NOW, since=queries.STATISTICS_SINCE)
    [(version, now, schema, since, dated)] = sql.rows(connection, settings)
    found, unread = tables.read(connection, tables.Server(version, dated))
    chosen = [table for table in found if not schemas or table.name.schema in schemas]
    sequences, unknown = _sequences(connection, {table.oid: table.name for table in found})
    undescribed, hidden = _undescribed(connection, chosen)
    return Catalog(
        now=now,
        default_schema=schema,
        statistics_since=since,
        tables=tuple(chosen),
        sequences=tuple(
            item for item in sequences if not schemas or (item.table or item.name).schema in schemas
        ),
        every=tuple(found),
        distributions=_distributions(connection, chosen),
        undescribed=undescribed,
        unseen=(*_young(now, since), *_unread(unread), *unknown, *hidden),
    )


def _young(now: datetime, since: datetime | None) -> Iterator[str]:
    if since is None:
        yield "track_counts is off, so scans are not counted: no index is called unused"
    elif now - since < MINIMUM_AGE:
        yield (
            f"the statistics of scans began at {since:%Y-%m-%d %H:%M} UTC: no index is called "
            f"unused before they are {MINIMUM_AGE.days} days old"
        )


def _unread(unread: Collection[Name]) -> Iterator[str]:
    if unread:
        yield (
            f"no right to SELECT from {first_few(unread)}: what values their columns have is not "
            "known, and rules that use it are silent there"
        )


def _sequences(
    connection: Connection, names: Mapping[int, Name]
) -> tuple[list[Sequence], list[str]]:
    """The sequences that may run out, and what could not be read of them."""
    rows = sql.rows(connection, queries.SEQUENCES.format(limit=Literal(SEQUENCES)))
    oids = tables.oid_array({row[4] for row in rows})
    types = dict(sql.rows(connection, queries.TYPES.format(types=oids)))
    found = [_sequence(row, names, types) for row in rows if row[2] is None or row[2] in names]
    unreadable = [Name(row[0], row[1]) for row in rows if not row[10]]
    unknown: list[str] = []
    if unreadable:
        unknown.append(f"no right to SELECT from the sequences {first_few(unreadable)}")
    if rows and rows[0][11] > len(rows):
        unknown.append(
            f"{rows[0][11] - len(rows):,} sequences were not read, which takes a lock each: they "
            "are those of the tables with the fewest inserts"
        )
    return found, unknown


def _sequence(row: tuple[Any, ...], names: Mapping[int, Name], types: dict[int, str]) -> Sequence:
    schema, name, table, column, kind, first, last, limit, own_limit, cycles, *_ = row
    return Sequence(
        name=Name(schema, name),
        table=names.get(table),
        column=column,
        type=types[kind],
        first=first,
        last=last,
        limit=limit,
        own_limit=own_limit,
        cycles=cycles,
    )


def _distributions(
    connection: Connection, chosen: Iterable[Table]
) -> dict[tuple[int, str], Distribution]:
    """What is known of the values of columns that a rule may ask about."""
    wanted = [
        (table.oid, name, table.key is not None, table.columns[name].type in WHOLE)
        for table in chosen
        if table.rows >= ROWS
        for name in _asked(table)
    ]
    if not wanted:
        return {}
    oids, names, partitioned, whole = map(list, zip(*wanted, strict=True))
    query = queries.DISTRIBUTIONS.format(
        tables=tables.oid_array(oids),
        names=Literal(names),
        partitioned=Literal(partitioned),
        whole=Literal(whole),
    )
    return {(oid, name): Distribution(*rest) for oid, name, *rest in sql.rows(connection, query)}


def _asked(table: Table) -> set[str]:
    """Columns of time, and those that an index has alone."""
    times = {name for name, column in table.columns.items() if column.type in TIMES}
    return times | {index.only_column for index in table.indexes if index.only_column}


def _undescribed(
    connection: Connection, chosen: Iterable[Table]
) -> tuple[frozenset[int], list[str]]:
    """The indexes for whose expressions there are no statistics; and what could not be seen."""
    expressions = {
        index.oid: index
        for table in chosen
        for leaf in table.leaves
        for index in leaf.indexes
        if None in index.columns
    }
    if not expressions:
        return frozenset(), []
    oids = tables.oid_array(expressions)
    rows = sql.many_rows(connection, queries.DESCRIBED.format(indexes=oids))
    hidden = [expressions[oid].name for oid, visible, _ in rows if not visible]
    told = (
        "only owners and pg_read_all_data see statistics of expressions, as of "
        f"{first_few(hidden)}: whether there are any is not known"
    )
    found = frozenset(oid for oid, visible, described in rows if visible and not described)
    return found, [told] if hidden else []
