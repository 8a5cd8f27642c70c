"""The rule brin-suited-time-key."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, Column, Index, Table
from alembic_enterprise.indexes.remarks import BUILDING, add, drop, model, remark, size
from alembic_enterprise.partitions.model import TIMES

LARGE = 100 * 1024**2
"""Bytes of rows from which on a BRIN index is worth thinking of."""

ORDERED = 0.99
"""Correlation from which on rows are in the order of time."""

MOVED = 0.001
"""Share of the rows that updates may have moved."""


def brin_suited_time_key(catalog: Catalog) -> Iterator[Finding]:
    """A large table in the order of time, without the small index made for that.

    A BRIN index notes the first and last moment of each megabyte of the table. It
    is a thousand times smaller than a btree, costs inserts next to nothing, and
    finds the rows of an hour or a day. It works as long as rows are added in the
    order of time and stay where they are.

    Asks for one when no index begins with the column: a date or timestamp whose
    correlation is above 0.99 by the statistics, in a table of 100 MB or more, with
    few nulls and almost no update that moved a row (all were HOT). When the table
    has a btree on that column alone, replacing it is left to you: BRIN serves
    ranges, but neither ORDER BY with LIMIT nor the search for one moment.

    Not counted: the column by which the table is partitioned, as partitions are
    left out without any index; and a table of which another column of time has an
    index already.

    Costs a few pages. Ranges are summarised as soon as they are full, by
    autosummarize = on.

    Leave it when nobody asks for the rows of a time.
    """
    for table in catalog.tables:
        if table.size < LARGE or table.moved > MOVED * table.rows:
            continue
        keys = {name for item in table.tree if item.key for name in item.key.columns}
        times = [column for column in table.columns.values() if column.type in TIMES]
        suited = [item for item in times if item.name not in keys and _suited(catalog, table, item)]
        leading = [
            index for index in table.indexes if _begins(index, [item.name for item in times])
        ]
        if suited and not leading:
            yield _create(catalog, table, suited[0])
        elif len(leading) == 1 and _replaceable(leading[0], suited):
            yield _replace(catalog, table, leading[0])


def _suited(catalog: Catalog, table: Table, column: Column) -> bool:
    known = catalog.distributions.get((table.oid, column.name))
    return known is not None and abs(known.correlation or 0) > ORDERED and known.nulls < MANY_NULLS


MANY_NULLS = 0.1
"""Share of the rows without a moment, which are in any range."""


def _begins(index: Index, names: list[str]) -> bool:
    columns = index.columns if index.method == "brin" else index.columns[:1]
    return any(name in names for name in columns)


def _replaceable(index: Index, suited: list[Column]) -> bool:
    alone = index.only_column in [column.name for column in suited]
    return alone and index.method == "btree" and not index.promises


def _create(catalog: Catalog, table: Table, column: Column) -> Finding:
    creation = add(catalog, table, [column.name], using="brin", with_={"autosummarize": "on"})
    return remark(
        "brin-suited-time-key",
        "note",
        catalog,
        table,
        f"rows are in the order of {column.name}, and no index begins with it: create a BRIN index",
        operations=[creation],
        benefit=table.size,
        cost=BUILDING,
        model=model(add=creation),
        column=column.name,
    )


def _replace(catalog: Catalog, table: Table, index: Index) -> Finding:
    assert index.only_column is not None, "it is on one column"  # noqa: S101  # for type checkers
    creation = add(catalog, table, [index.only_column], using="brin", with_={"autosummarize": "on"})
    return remark(
        "brin-suited-time-key",
        "note",
        catalog,
        table,
        f"rows are in the order of {index.only_column}: a BRIN index does for ranges what "
        f"{index.name.name} does; replace it, unless single moments or the last rows are asked for",
        index=index,
        benefit=size(catalog, index),
        cost=BUILDING,
        model=model(add=creation, remove=drop(catalog, table, index)),
        column=index.only_column,
    )
