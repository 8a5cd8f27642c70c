"""The rule missing-primary-key."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, Index, Table
from alembic_enterprise.indexes.remarks import remark
from alembic_enterprise.indexes.serving import superfluous


def missing_primary_key(catalog: Catalog) -> Iterator[Finding]:
    """A table without a primary key.

    Nothing tells its rows apart: a row that is there twice cannot be deleted once,
    SQLAlchemy cannot map the table, and logical replication refuses updates and
    deletes of it unless it has another replica identity.

    Asks for a primary key, which is for you to choose. When columns that are never
    null are unique already, the statement is given that makes them the key. It is
    a note while no row is updated or deleted: nobody has had to name one so far.

    Not counted: a partitioned table each of whose partitions has one, as its own
    would have to contain the partition key.

    Costs an index, and ADD PRIMARY KEY stops writes while it is built: build a
    unique index first, without that.

    Leave it for rows that are only ever added and read all together.
    """
    for table in catalog.tables:
        if _has_one(table) or (table.partitions and all(map(_has_one, table.leaves))):
            continue
        changes = table.updates + table.deletes
        yield remark(
            "missing-primary-key",
            "warning" if changes else "note",
            catalog,
            table,
            f"it has no primary key: {_step(table)}",
            updates=table.updates,
            deletes=table.deletes,
        )


def _has_one(table: Table) -> bool:
    return "primary key" in [index.kind for index in table.indexes]


def _step(table: Table) -> str:
    gone = superfluous(table)  # redundant-index drops those
    candidates = [item for item in table.indexes if item.oid not in gone]
    index = next((item for item in candidates if _could_be(table, item)), None)
    if index is None:
        return "choose one, add what it lacks, and build it as a unique index first"
    add = f"ALTER TABLE {table.name.text} ADD PRIMARY KEY"
    if index.kind is not None or table.key is not None:
        columns = (table.columns[name].text for name in index.columns if name is not None)
        return f"{', '.join(columns)} could be it; {add} ({', '.join(columns)})"
    return f'{index.name.name} could be it, at once: {add} USING INDEX "{index.name.name}"'


def _could_be(table: Table, index: Index) -> bool:
    """Whether it keeps all rows apart; ADD PRIMARY KEY USING INDEX takes a default order only."""
    return (
        index.unique
        and index.usable
        and index.immediate
        and index.predicate is None
        and all(
            element.column is not None
            and element.options == 0
            and table.columns[element.column].not_null
            for element in index.elements
        )
    )
