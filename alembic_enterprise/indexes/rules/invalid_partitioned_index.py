"""The rule invalid-partitioned-index."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, Index, Table
from alembic_enterprise.indexes.remarks import (
    BUILDING,
    building,
    create,
    drop,
    dropping,
    remark,
    size,
)
from alembic_enterprise.indexes.serving import same


def invalid_partitioned_index(catalog: Catalog) -> Iterator[Finding]:
    """An index of a partitioned table that some partitions lack.

    CREATE INDEX ON ONLY makes such an index, and it stays invalid until every
    partition has its part attached. Meanwhile it promises nothing: a unique one
    does not keep rows of different partitions apart, and no foreign key can refer
    to it. Partitions that have no part are read from end to end.

    Asks for the missing parts, not for a new index: create_index_online goes on
    where it stopped, takes equal indexes that partitions have already, and attaches
    them. When an equal valid index is there, the invalid one is dropped instead.

    Left to you: an index that belongs to a constraint, and a table with foreign
    tables as partitions, which can have no part. It is nothing while somebody
    builds an index of the table or of a partition.

    Costs what an index costs on the partitions that lack it.

    Leave it while the parts are still being built one by one.
    """
    for root in catalog.tables:
        if root.key is None or root.building:
            continue
        for table in root.tree:
            if table.key is None:
                continue
            for index in table.indexes:
                if not index.usable and index.parent is None:
                    yield _finding(catalog, table, index)


def _finding(catalog: Catalog, table: Table, index: Index) -> Finding:
    rule, name = "invalid-partitioned-index", index.name.name
    equal = next((item for item in table.indexes if item.usable and same(item, index)), None)
    if equal is not None and index.kind is None:
        return remark(
            rule,
            "warning",
            catalog,
            table,
            f"{name} is invalid, and {equal.name.name} is equal and valid: drop it",
            index=index,
            operations=[drop(catalog, table, index)],
            benefit=size(catalog, index),
            cost=dropping(table),
        )
    missing = _missing(catalog, table, index)
    step, creation = _left_to_you(table, index), create(catalog, table, index)
    return remark(
        rule,
        "warning",
        catalog,
        table,
        f"{name} is invalid, {len(missing)} of {len(table.leaves)} partitions have no part of it: "
        f"{step or 'build those'}",
        index=index,
        operations=[] if step else building(catalog, table, index, creation),
        benefit=sum(item.size for item in missing),
        cost=BUILDING,
        partitions=[str(item.name) for item in missing],
    )


def _left_to_you(table: Table, index: Index) -> str | None:
    if any(item.kind == "foreign table" for item in table.tree):
        return "it stays so, as foreign tables can have none; index the other partitions singly"
    if index.kind is not None:
        return (
            "make an equal constraint on each of those, and ALTER INDEX "
            f"{index.name.text} ATTACH PARTITION its index"
        )
    return None


def _missing(catalog: Catalog, table: Table, index: Index) -> list[Table]:
    """The partitions without a valid part of the index."""
    parts = {item.oid for item in catalog.spread(index) if item.usable}
    return [leaf for leaf in table.leaves if not any(item.oid in parts for item in leaf.indexes)]
