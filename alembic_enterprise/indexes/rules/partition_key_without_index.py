"""The rule partition-key-without-index."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, Index, Table
from alembic_enterprise.indexes.remarks import BUILDING, MANY, add, create, model, remark


def partition_key_without_index(catalog: Catalog) -> Iterator[Finding]:
    """A partitioned table none of whose indexes has the column it is partitioned by.

    Statements that ask for the key leave out other partitions, and read the one
    that is left from end to end: all orders of a month for those of an hour, all
    customers of a shard for one of them. And without the key in a unique index the
    table has no primary key and no upsert.

    Asks for an index on the columns of the key. What counts is any index that has
    one of them as a key, on the table or on each partition, valid and without a
    condition. Inner partitions are looked at, too, by the columns they add.

    Not counted: a table by LIST, whose partitions mostly hold one value each; a key
    that is an expression; a column of a foreign key, which
    foreign-key-without-index reports. It is a note below 10,000 rows.

    Costs what an index on each partition costs.

    Leave it when partitions are only read as a whole.
    """
    for root in catalog.tables:
        if root.key is None:
            continue
        keys = {item.key.columns: item.key for item in root.tree if item.key is not None}
        referring = {name for key in root.foreign_keys for name in key.columns}
        for columns, key in keys.items():
            names = [name for name in columns if name is not None]
            if key.strategy == "LIST" or len(names) < len(columns) or referring & {*names}:
                continue
            if not _indexed(root, names):
                yield _finding(catalog, root, names)


def _indexed(table: Table, names: list[str]) -> bool:
    if any(_has(index, names) for index in table.indexes):
        return True
    below = [item for item in table.partitions if item.kind != "foreign table"]
    return bool(below) and all(_indexed(item, names) for item in below)


def _has(index: Index, names: list[str]) -> bool:
    return index.usable and _could_have(index, names)


def _could_have(index: Index, names: list[str]) -> bool:
    return index.predicate is None and not {*names}.isdisjoint(index.columns)


def _may_be(index: Index, names: list[str]) -> bool:
    """Whether an index that somebody has begun will do, once it has all its parts."""
    return not index.usable and index.kind is None and _could_have(index, names)


def _finding(catalog: Catalog, root: Table, names: list[str]) -> Finding:
    begun = next((index for index in root.indexes if _may_be(index, names)), None)
    creation = add(catalog, root, names) if begun is None else create(catalog, root, begun)
    return remark(
        "partition-key-without-index",
        "warning" if root.rows >= MANY else "note",
        catalog,
        root,
        f"it is partitioned by {', '.join(names)}, which is in none of its indexes: create one",
        operations=[creation],
        benefit=max((leaf.size for leaf in root.leaves), default=0),
        cost=BUILDING,
        model=model(add=creation),
        columns=names,
    )
