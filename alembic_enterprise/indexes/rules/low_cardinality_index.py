"""The rule low-cardinality-index."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, Distribution, Index, Table
from alembic_enterprise.indexes.remarks import MANY, drop, dropping, model, remark, scans, size
from alembic_enterprise.indexes.serving import needed

COMMON = 0.05
"""Share of the rows from which on an index is not the way to find them."""

ORDERED = 0.9
"""Correlation from which on the rows of a value lie together, and are read together."""


def low_cardinality_index(catalog: Catalog) -> Iterator[Finding]:
    """An index on a column with a few values, each of them in many rows.

    Whatever value is asked for, its rows lie all over the table, and it is read
    faster from end to end. The planner knows that and passes the index by.

    Told of an index on one column alone, without condition, INCLUDE or uniqueness,
    when by the statistics each value, and null if there is any, is in 5 % of the
    rows or more, on a table of 10,000 rows or more. One rare value is enough to
    make it useful: then it is nothing, though partial-index-suited may say that
    most of it is not. It is also nothing when rows of one value lie together, and
    when no other index serves a foreign key of the column.

    Left to you, for it may be read for the values alone (an index-only scan), or
    for their order. If nobody does, unused-index says so and drops it.

    Costs nothing later, if nobody comes back to it. Instead, think of an index
    that begins with a more selective column, with this one behind.

    Leave it when its scans read few entries each, which the evidence shows.
    """
    for table in catalog.tables:
        if table.rows < MANY:
            continue
        for index in table.indexes:
            known = catalog.distributions.get((table.oid, index.only_column or ""))
            if known is not None and _candidate(table, index) and _common(known):
                yield _finding(catalog, table, index, known)


def _candidate(table: Table, index: Index) -> bool:
    return (
        index.usable
        and index.method in ("btree", "hash")
        and not (index.promises or index.clustered)
        and not needed(table, table, index)
    )


def _common(known: Distribution) -> bool:
    return (
        known.rarest is not None
        and min(known.rarest, known.nulls or 1) >= COMMON
        and abs(known.correlation or 0) < ORDERED
    )


def _finding(catalog: Catalog, table: Table, index: Index, known: Distribution) -> Finding:
    count, read = scans(catalog, index), sum(item.read for item in catalog.spread(index))
    return remark(
        "low-cardinality-index",
        "note",
        catalog,
        table,
        f"each value of {index.only_column} is in {known.rarest or 0:.0%} of the rows or more, so "
        f"{index.name.name} finds none faster: drop it, or put a more selective column before it",
        index=index,
        benefit=size(catalog, index),
        cost=dropping(table),
        model=model(remove=drop(catalog, table, index)),
        rarest=known.rarest,
        read_each_scan=round(read / count) if count else None,
    )
