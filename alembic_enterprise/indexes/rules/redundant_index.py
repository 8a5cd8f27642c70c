"""The rule redundant-index."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, Index, Table
from alembic_enterprise.indexes.remarks import drop, dropping, model, remark, size
from alembic_enterprise.indexes.serving import superfluous


def redundant_index(catalog: Catalog) -> Iterator[Finding]:
    """An index that another one of the same table does all the work of.

    Each index is written by each insert, kept in memory, vacuumed and dumped. One
    whose keys are the first keys of another finds nothing that the other does not.

    Asks for dropping it. Both are valid btree indexes. Its keys are the first keys
    of the kept one, with the same operator classes, collations and order, and
    expressions of the same text; what it INCLUDEs the kept one has as well; and
    both have the same condition or none. One that keeps rows unique goes only when
    the kept one keeps the very same columns unique, as strictly: nulls, and at
    once. Of two that are equal, the one goes that no constraint needs, and else
    the one whose name comes later.

    Never reported: a primary key, an exclusion constraint, the replica identity,
    what a foreign key refers to, what CLUSTER uses, and a partition's part of a
    partitioned index. A unique constraint is reported, and left to you to drop.

    Costs nothing later, but for this: the kept index is larger, so a statement that
    reads much of the dropped one reads a bit more.

    Leave it when the kept index is many times as large, and the statements that
    count need the small one in memory.
    """
    for table in catalog.flattened:
        if not (gone := superfluous(table)):
            continue
        for index in table.indexes:
            if index.oid in gone:
                yield _finding(catalog, table, index, gone[index.oid])


def _finding(catalog: Catalog, table: Table, index: Index, kept: Index) -> Finding:
    step, removal = "drop it", drop(catalog, table, index)
    if index.constraint is not None:
        step = f'ALTER TABLE {table.name.text} DROP CONSTRAINT "{index.constraint}"'
    return remark(
        "redundant-index",
        "warning",
        catalog,
        table,
        f"{index.name.name} does nothing that {kept.name.name} does not do: {step}",
        index=index,
        operations=[] if index.constraint else [removal],
        benefit=size(catalog, index),
        cost=dropping(table),
        model=model(remove=removal),
        kept=str(kept.name),
        kept_bytes=size(catalog, kept),
    )
