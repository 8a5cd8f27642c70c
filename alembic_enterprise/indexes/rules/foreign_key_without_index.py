"""The rule foreign-key-without-index."""

from collections.abc import Iterator, Sequence

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.operations import CreateIndexOnline
from alembic_enterprise.indexes.relations import Catalog, ForeignKey, Table
from alembic_enterprise.indexes.remarks import BUILDING, MANY, add, create, model, remark
from alembic_enterprise.indexes.serving import served, serves


def foreign_key_without_index(catalog: Catalog) -> Iterator[Finding]:
    """A foreign key whose columns no index begins with.

    PostgreSQL indexes the columns that a foreign key refers to, and not the ones
    that refer. When a row there is deleted, or its key changes, it looks for the
    rows that refer to it; without an index it reads the whole table, once for each
    row, and keeps the row locked meanwhile. Joins over the key read it all, too.

    Asks for an index on the columns. What counts as one: the columns are the first
    keys of a valid btree index, in any order, or the only one of a hash index,
    compared with their own collation; INCLUDE columns are no keys. A GiST index
    counts as a btree where its operator classes know how the key compares, as those
    of btree_gist do when both columns are of one type: that of an exclusion
    constraint, too. A partial index counts when its condition only says that
    columns of the key are not null. On a partitioned table each partition must have
    one; they are reported once.

    It is a note on tables of less than 10,000 rows, and when the key is NOT
    ENFORCED (PostgreSQL 18) it is nothing. When an invalid index is all that is
    missing, that one is built again.

    Costs the space of the index, and its upkeep by each insert.

    Leave it when rows are never deleted from the table that is referred to, their
    keys never change, and nobody looks for rows by the key. The evidence has the
    counters of deletes and updates there.
    """
    for table in catalog.flattened:
        keys = [key for key in table.foreign_keys if key.enforced]
        lacking = [key for key in keys if not served(table, key)]
        if lacking and not table.building:
            yield from _on(catalog, table, lacking)


def _on(catalog: Catalog, table: Table, lacking: Sequence[ForeignKey]) -> Iterator[Finding]:
    """The longest first, as its index may serve others."""
    planned: list[tuple[str, ...]] = []
    for key in sorted(lacking, key=lambda item: (-len(item.columns), item.columns)):
        if any(_begins(columns, key) for columns in planned):
            continue
        planned.append(key.columns)
        others = [item for item in lacking if item is not key and _begins(key.columns, item)]
        yield _finding(catalog, table, [key, *others])


def _begins(columns: Sequence[str], key: ForeignKey) -> bool:
    return {*columns[: len(key.columns)]} == {*key.columns}


def _finding(catalog: Catalog, table: Table, keys: Sequence[ForeignKey]) -> Finding:
    """The first key decides on the index, the others are served by it as well."""
    first, index = keys[0], _index(catalog, table, keys[0])
    there = [catalog.by_name[key.referred] for key in keys if key.referred in catalog.by_name]
    names = " and ".join(f"{key.name} to {key.referred}" for key in keys)
    return remark(
        "foreign-key-without-index",
        "warning" if table.rows >= MANY else "note",
        catalog,
        table,
        f"no index begins with {', '.join(first.columns)}, of the foreign key {names}: each row "
        "that is deleted there reads this whole table; create one",
        operations=[index],
        benefit=table.size,
        cost=BUILDING,
        model=model(add=index),
        foreign_keys=[key.name for key in keys],
        columns=[*first.columns],
        referred=[str(key.referred) for key in keys],
        on_delete=[key.on_delete for key in keys],
        referred_deletes=sum(item.deletes for item in there),
        referred_updates=sum(item.updates for item in there),
    )


def _index(catalog: Catalog, table: Table, key: ForeignKey) -> CreateIndexOnline:
    for index in table.indexes:
        begun = not index.usable and index.live and index.kind is None and index.parent is None
        if begun and serves(table, index, key):
            return create(catalog, table, index)
    return add(catalog, table, key.columns)
