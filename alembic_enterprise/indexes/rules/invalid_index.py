"""The rule invalid-index."""

import re
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

_TRANSIENT = re.compile(r"_cc(new|old)\d*$")
"""How REINDEX CONCURRENTLY calls the second index (PostgreSQL docs, "REINDEX")."""


def invalid_index(catalog: Catalog) -> Iterator[Finding]:
    """An index that was not built to its end, or not dropped to its end.

    CREATE INDEX CONCURRENTLY, REINDEX CONCURRENTLY and DROP INDEX CONCURRENTLY
    leave one when they fail or are cut. No statement uses it, and each write still
    has to keep it; an invalid unique index even refuses duplicates.

    Asks for building it again, or for dropping it: when an equal valid one is
    there, when its name ends in _ccnew or _ccold, as REINDEX calls the second one,
    or when dropping it had begun. One that belongs to a constraint, or is part of
    a partitioned index, can only be built again by REINDEX INDEX CONCURRENTLY,
    which is left to you.

    It is nothing while somebody builds or drops an index of the table. The index
    of a partitioned table is the business of invalid-partitioned-index.

    Costs as much as the first attempt. A unique index fails again as long as there
    are duplicates: look for them first.

    Leave it while an interrupted build is about to be started again.
    """
    for table in catalog.flattened:
        if table.kind != "table" or table.building:
            continue
        for index in table.indexes:
            if not index.usable:
                yield _finding(catalog, table, index)


def _finding(catalog: Catalog, table: Table, index: Index) -> Finding:
    what = f"{index.name.name} is invalid"
    if index.kind is not None or index.parent is not None:
        told = f"{what}: REINDEX INDEX CONCURRENTLY {index.name.text}"
        return remark("invalid-index", "warning", catalog, table, told, index=index, cost=BUILDING)
    if reason := _to_drop(table, index):
        return remark(
            "invalid-index",
            "warning",
            catalog,
            table,
            f"{what}, and {reason}: drop it",
            index=index,
            operations=[drop(catalog, table, index)],
            benefit=size(catalog, index),
            cost=dropping(table),
        )
    look = "look for duplicates, and " if index.unique else ""
    return remark(
        "invalid-index",
        "warning",
        catalog,
        table,
        f"{what}, and no statement uses it: {look}build it again",
        index=index,
        operations=building(catalog, table, index, create(catalog, table, index)),
        benefit=size(catalog, index),
        cost=BUILDING,
    )


def _to_drop(table: Table, index: Index) -> str | None:
    if not index.live:
        return "dropping it had begun"
    if _TRANSIENT.search(index.name.name):
        return "REINDEX has left it"
    equal = next((item for item in table.indexes if item.usable and same(item, index)), None)
    return None if equal is None else f"{equal.name.name} is equal and valid"
