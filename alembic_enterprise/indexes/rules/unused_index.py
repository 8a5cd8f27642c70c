"""The rule unused-index."""

from collections.abc import Iterator, Sequence

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.catalog import ROWS
from alembic_enterprise.indexes.relations import Catalog, Index, Table
from alembic_enterprise.indexes.remarks import (
    counted_since,
    drop,
    dropping,
    idle,
    model,
    remark,
    size,
)
from alembic_enterprise.indexes.serving import needed, superfluous


def unused_index(catalog: Catalog) -> Iterator[Finding]:
    """An index that no statement has scanned since the statistics began.

    It is written by each insert, kept in memory, vacuumed and dumped for nothing.

    Asks for dropping it: a valid index without a scan, its partitions added up,
    that keeps nothing unique or apart, is not the replica identity or what CLUSTER
    uses, on a table of 1,000 rows or more, for PostgreSQL reads smaller ones
    from end to end. It must have been counted for at least 7 days, since the
    counters were reset or lost in a crash; with track_commit_timestamp = on also
    since the index was made, otherwise see for yourself that it is not new.

    A note, without the operation, when it is the only index for a foreign key, or
    one on an expression. The first serves whoever deletes what is referred to; the
    statistics of the second also serve the planner of other statements. Of several
    unused ones for a foreign key the smallest is left. An index that makes another
    one redundant, of the table or of a partition, is not reported: drop the other
    one first.

    Replicas count for themselves: ask all of them, with --replica.

    Costs nothing later, if nobody comes back to it.

    Leave it when it is for what happens rarely: the end of the quarter, an audit.
    """
    for root in catalog.tables:
        gone: set[int] = set()
        for table, index in _candidates(catalog, root):
            keys = [key.name for key in needed(root, table, index, gone)]
            if not keys and None not in index.columns:
                gone.update(item.oid for item in catalog.spread(index))
            yield _finding(catalog, table, index, keys)


def _candidates(catalog: Catalog, root: Table) -> list[tuple[Table, Index]]:
    """The unused indexes of a table, then those of each partition; the largest first."""
    found = [
        (table, index)
        for table in root.tree
        if table.rows >= ROWS
        for index in sorted(_unused(catalog, table), key=lambda item: -size(catalog, item))
    ]
    if not found:
        return []  # as in most tables
    kept = {index.oid for table in root.tree for index in superfluous(table).values()}
    return [
        (table, index)
        for table, index in found
        if kept.isdisjoint(item.oid for item in catalog.spread(index))
    ]


def _unused(catalog: Catalog, table: Table) -> Iterator[Index]:
    for index in table.indexes:
        plain = index.usable and index.parent is None and not (index.promises or index.clustered)
        if plain and idle(catalog, index):
            yield index


def _finding(catalog: Catalog, table: Table, index: Index, keys: Sequence[str]) -> Finding:
    expression = None in index.columns
    if keys:
        step = f"no other one is left for the foreign key {' and '.join(keys)}: keep it, unless "
        step += "rows that are referred to are never deleted"
    elif expression:
        step = "drop it, unless the planner needs the statistics of its expression"
    else:
        step = "drop it" if index.built else "drop it, unless it is newer than that"
    decided, removal = not keys and not expression, drop(catalog, table, index)
    since = counted_since(catalog, index)
    assert since is not None, "it was counted"  # noqa: S101  # for type checkers
    return remark(
        "unused-index",
        "warning" if decided else "note",
        catalog,
        table,
        f"nobody has scanned {index.name.name} in {(catalog.now - since).days} days: {step}",
        index=index,
        operations=[removal] if decided else [],
        benefit=size(catalog, index),
        cost=dropping(table),
        model=model(remove=removal) if decided else None,
        foreign_keys=[*keys] or None,
    )
