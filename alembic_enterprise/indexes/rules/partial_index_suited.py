"""The rule partial-index-suited."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, Index, Table
from alembic_enterprise.indexes.remarks import (
    BUILDING,
    MANY,
    create,
    drop,
    model,
    remark,
    scans,
    size,
    suffixed,
)
from alembic_enterprise.indexes.serving import superfluous

MOSTLY = 0.9
"""Share of the rows that are null, from which on most of an index is of no use."""


def partial_index_suited(catalog: Catalog) -> Iterator[Finding]:
    """An index on a column that is null in almost all rows.

    So are columns of soft deletion and audit: deleted_at, deleted_by, updated_by.
    Nine tenths of such an index are nulls, and who looks for null reads the table
    anyway. An index of the others only is as much smaller, and inserts of rows
    without a value need not write it.

    Asks for the same index with the condition that the column is not null, and for
    dropping the old one. Told of a btree on one column alone, without condition,
    INCLUDE or uniqueness, when by the statistics 90 % of the rows or more are null,
    on a table of 10,000 rows or more. Comparisons, joins and foreign keys use it as
    before. It must have been scanned: unused-index reports others, and
    redundant-index of one that need not be there at all.

    Costs one more build, and for its length the space of both.

    Leave it when statements read the rows in the order of the column, nulls
    included, or count the nulls by it.
    """
    for table in catalog.tables:
        if table.rows < MANY:
            continue
        for index in table.indexes:
            known = catalog.distributions.get((table.oid, index.only_column or ""))
            if known is None or not MOSTLY <= known.nulls < 1 or not _candidate(index):
                continue
            if scans(catalog, index) and index.oid not in superfluous(table):
                yield _finding(catalog, table, index, known.nulls)


def _candidate(index: Index) -> bool:
    return index.usable and index.method == "btree" and not (index.promises or index.clustered)


def _finding(catalog: Catalog, table: Table, index: Index, nulls: float) -> Finding:
    assert index.only_column is not None, "it is on one column"  # noqa: S101  # for type checkers
    where = f"{table.columns[index.only_column].text} IS NOT NULL"
    name = suffixed(catalog, index, "_not_null")
    partial = create(catalog, table, index, name=name, where=where)
    removal = drop(catalog, table, index)
    return remark(
        "partial-index-suited",
        "note",
        catalog,
        table,
        f"{nulls:.0%} of {index.only_column} are null, and so is {index.name.name}: replace it by "
        "one of the other rows only",
        index=index,
        operations=[partial, removal],
        benefit=int(size(catalog, index) * nulls),
        cost=BUILDING,
        model=model(add=partial, remove=removal),
        nulls=round(nulls, 4),
    )
