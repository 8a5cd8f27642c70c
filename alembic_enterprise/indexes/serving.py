"""What an index can do in the place of another, and for a foreign key."""

from collections.abc import Collection, Mapping
from typing import Any

from alembic_enterprise.indexes.relations import ForeignKey, Index, Table


def served(table: Table, key: ForeignKey) -> bool:
    """Whether the rows that refer to one are found, in all partitions if the table has some."""
    if any(serves(table, index, key) and index.usable for index in table.indexes):
        return True
    below = [item for item in table.partitions if item.kind != "foreign table"]
    return bool(below) and all(served(item, key) for item in below)


def serves(table: Table, index: Index, key: ForeignKey) -> bool:
    """Whether an index would find the rows that refer to one.

    Its first keys have to be the columns of the foreign key, in whatever order, compared as the
    columns themselves are. It may leave out rows where one of them is null: no row of another table
    is equal to them.
    """
    if index.columns[0] not in key.columns:
        return False  # as are most
    count = len(key.columns)
    return (
        {*index.columns[:count]} == {*key.columns}
        and _finds_equals(index, key)
        and all(
            element.collation == table.columns[element.column].collation
            for element in index.elements[:count]
            if element.column is not None
        )
        and _only_without_nulls(table, index.predicate, key.columns)
    )


def _finds_equals(index: Index, key: ForeignKey) -> bool:
    """Whether an index that begins with the columns of a key finds rows by its operators.

    Those of btree and hash compare whole families of types, as integer with bigint; those that
    btree_gist brings, one type with itself.
    """
    if index.method == "gist":
        known = dict(zip(index.columns, index.operators, strict=True))
        compared = zip(key.columns, key.operators, strict=True)
        return all(operator in known[name] for name, operator in compared)
    return index.method == "btree" or (index.method == "hash" and len(key.columns) == 1)


def _only_without_nulls(table: Table, predicate: str | None, columns: Collection[str]) -> bool:
    if predicate is None:
        return True
    accepted = {f"({table.columns[name].text} IS NOT NULL)" for name in columns}
    inner = predicate[1:-1] if predicate.startswith("((") else predicate
    return accepted.issuperset(inner.split(" AND "))


def needed(root: Table, table: Table, index: Index, gone: Collection[int] = ()) -> list[ForeignKey]:
    """The foreign keys for which no other index of the table would do.

    Args:
        root: the table whose foreign keys its partitions have, too.
        table: the same, or one of its partitions.
        index: an index of `table`.
        gone: oids of indexes that are to be dropped themselves, and so will not do.
    """
    others = [
        item for item in table.indexes if item is not index and item.usable and item.oid not in gone
    ]
    keys = [key for item in (root, *table.tree) for key in item.foreign_keys]
    return [
        key
        for key in dict.fromkeys(keys)
        if key.enforced
        and serves(table, index, key)
        and not any(serves(table, item, key) for item in others)
    ]


def superfluous(table: Table) -> Mapping[int, Index]:
    """Indexes by oid that another one of the same table makes superfluous, and that one."""
    firsts = [index.columns[0] or index.elements[0].text for index in table.indexes]
    if len({*firsts}) == len(firsts):
        return {}  # as in most tables
    trees = [index for index in table.indexes if index.usable and index.method == "btree"]
    found = {
        index.oid: [kept for kept in trees if _instead(kept, index)]
        for index in trees
        if _may_go(index)
    }
    return {
        oid: min(others, key=lambda kept: (bool(found.get(kept.oid)), _rank(kept)))
        for oid, others in found.items()
        if others
    }


def _may_go(index: Index) -> bool:
    return (
        index.parent is None
        and index.kind in (None, "unique constraint")
        and not (index.referenced or index.replica_identity or index.clustered)
    )


def _instead(kept: Index, index: Index) -> bool:
    """Whether one is to be kept instead of the other; of equal ones, the first by rank."""
    if kept is index or not _replaces(kept, index):
        return False
    return not (_may_go(kept) and _replaces(index, kept)) or _rank(kept) < _rank(index)


def _rank(index: Index) -> tuple[Any, ...]:
    return (_may_go(index), index.kind is None, not index.unique, index.name)


def _replaces(kept: Index, index: Index) -> bool:
    """Whether one btree does all that another does: finds the same rows, as unique as they were."""
    count = len(index.elements)
    begins = [item.key for item in kept.elements[:count]] == [item.key for item in index.elements]
    return (
        begins
        and kept.predicate == index.predicate
        and {*kept.columns, *kept.include}.issuperset(index.include)
        and (not index.unique or (len(kept.elements) == count and _as_strict(kept, index)))
    )


def _as_strict(kept: Index, index: Index) -> bool:
    return (
        kept.unique
        and (kept.nulls_not_distinct or not index.nulls_not_distinct)
        and (kept.immediate or not index.immediate)
    )


def like(index: Index) -> tuple[Any, ...]:
    """What an index is, whatever it is called and wherever it stands."""
    return (
        index.method,
        tuple(element.key for element in index.elements),
        index.include,
        index.predicate,
        index.unique,
        index.nulls_not_distinct,
    )


def same(one: Index, other: Index) -> bool:
    """Whether two indexes are equal but for their names."""
    return like(one) == like(other)
