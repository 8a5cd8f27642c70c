"""The rule leaf-only-index."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, Index, Table
from alembic_enterprise.indexes.remarks import (
    BUILDING,
    building,
    create,
    idle,
    model,
    named,
    remark,
)
from alembic_enterprise.indexes.serving import like, serves, superfluous

HALF = 0.5
"""Share of the partitions that must have it before the others are taken to lack it."""


def leaf_only_index(catalog: Catalog) -> Iterator[Finding]:
    """An index that partitions have, and their table has not.

    Somebody has created it on one partition, or on each. The next partition will
    not have it, and nobody notices until statements on it are slow.

    Asks for the index on the table: create_index_online takes the equal indexes
    that partitions have, builds the missing ones, and new partitions get theirs
    when they are attached. A note, without the operation, when less than half of
    the partitions have it: that may be meant so.

    Not counted: what keeps rows unique or apart, which is a promise of that
    partition only; one for a foreign key that the partition has alone; one that
    another index of the partition makes redundant; one that is never scanned; and
    one that the table has as well, valid or not.

    Costs what an index costs on the partitions that lack it.

    Leave it when old partitions are asked other questions than the new ones.
    """
    for root in catalog.tables:
        if root.key is not None:
            yield from _below(catalog, root)


def _below(catalog: Catalog, root: Table) -> Iterator[Finding]:
    found: dict[Any, list[tuple[Table, Index]]] = defaultdict(list)
    for table in root.tree[1:]:
        gone = superfluous(table)
        for index in table.indexes:
            own = any(serves(table, index, key) for key in table.foreign_keys)
            if _alone(index) and index.oid not in gone and not own:
                found[like(index)].append((table, index))
    known = {like(index) for index in root.indexes}
    for alike, places in found.items():
        if alike not in known and not all(idle(catalog, index) for _, index in places):
            yield _finding(catalog, root, places)


def _alone(index: Index) -> bool:
    return index.parent is None and index.usable and not index.promises


def _finding(catalog: Catalog, root: Table, places: Sequence[tuple[Table, Index]]) -> Finding:
    holding = {leaf.oid for table, _ in places for leaf in table.leaves}
    lacking = [leaf for leaf in root.leaves if leaf.oid not in holding]
    index = places[0][1]
    words = [column or "expression" for column in index.columns]
    creation = create(catalog, root, index, name=named(catalog, root, words))
    usual = len(holding) >= HALF * len(root.leaves)
    return remark(
        "leaf-only-index",
        "warning" if usual else "note",
        catalog,
        root,
        f"{len(holding)} of {len(root.leaves)} partitions have an index like {index.name}, the "
        "table itself has none, nor will a new partition: "
        + ("create it on the table" if usual else "create it on the table, unless that is meant"),
        operations=building(catalog, root, index, creation) if usual else [],
        benefit=sum(item.size for item in lacking),
        cost=BUILDING,
        model=model(add=creation),
        indexes=[str(item.name) for _, item in places],
        partitions=[str(item.name) for item in lacking],
    )
