"""How a rule says what it has found: evidence and operations in the same words everywhere."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from alembic_enterprise.finding import Finding, Severity
from alembic_enterprise.indexes.catalog import MINIMUM_AGE
from alembic_enterprise.indexes.operations import (
    AnalyzeTable,
    CreateIndexOnline,
    DropIndexOnline,
    Expression,
)
from alembic_enterprise.indexes.recommend import shortened
from alembic_enterprise.indexes.relations import Catalog, Element, Index, Table
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.declaration import NAME_BYTES
from alembic_enterprise.sql import Name

MANY = 10_000
"""Rows from which on reading all of a table takes time that somebody notices."""

BUILDING = "reads the table twice; nobody waits, and each later write also writes the index"
"""What CREATE INDEX CONCURRENTLY costs."""


def dropping(table: Table) -> str:
    """What it costs to drop an index: a partitioned table knows no DROP INDEX CONCURRENTLY."""
    if table.key is not None:
        return "stops all use of the table and its partitions for a moment"
    return "waits for the transactions that use the table; nobody waits for it"


def remark(
    rule: str,
    severity: Severity,
    catalog: Catalog,
    table: Table,
    message: str,
    *,
    index: Index | None = None,
    operations: Sequence[Operation] = (),
    benefit: int = 0,
    **evidence: Any,
) -> Finding:
    """A finding on a table, or on an index of it.

    Args:
        rule: its id.
        severity: as in `Finding`.
        catalog: where it was found.
        table: what it is about.
        message: the problem, and the next step.
        index: the index it is about.
        operations: what mends it.
        benefit: bytes that need not be stored, or read each time, once it is mended; findings are
            ordered by it.
        evidence: more of it; what is None is left out.
    """
    figures: dict[str, Any] = {
        "table_bytes": table.size,
        "rows": int(table.rows),
        "benefit": benefit,
        **(_of_index(catalog, index) if index is not None else {}),
        **evidence,
    }
    if table.partition:
        figures["model"] = None  # models know of no partition
    told = {name: value for name, value in figures.items() if value is not None}
    return Finding(rule, severity, str(table.name), message, told, tuple(operations))


def _of_index(catalog: Catalog, index: Index) -> Mapping[str, Any]:
    since = counted_since(catalog, index)
    return {
        "index": str(index.name),
        "size_bytes": size(catalog, index),
        "scans": scans(catalog, index),
        "statistics_since": since and since.astimezone(UTC).isoformat(timespec="seconds"),
    }


def size(catalog: Catalog, index: Index) -> int:
    """Bytes of an index, with those attached to it."""
    return sum(item.size for item in catalog.spread(index))


def scans(catalog: Catalog, index: Index) -> int:
    """How often an index was scanned, with those attached to it."""
    return sum(item.scans for item in catalog.spread(index))


def counted_since(catalog: Catalog, index: Index) -> datetime | None:
    """Since when its scans are counted: as long as the statistics, or it, exist."""
    if catalog.statistics_since is None or index.built is None:
        return catalog.statistics_since
    return max(catalog.statistics_since, index.built)


def idle(catalog: Catalog, index: Index) -> bool:
    """Whether it was counted for long enough, and never scanned."""
    since = counted_since(catalog, index)
    return since is not None and catalog.now - since >= MINIMUM_AGE and scans(catalog, index) == 0


def create(catalog: Catalog, table: Table, index: Index, **changed: Any) -> CreateIndexOnline:
    """The operation that makes such an index; some arguments may be others."""
    return CreateIndexOnline(**{**_arguments(catalog, table, index), **changed})


def drop(catalog: Catalog, table: Table, index: Index) -> DropIndexOnline:
    """The operation that drops an index; its reverse makes it again."""
    return DropIndexOnline(**_arguments(catalog, table, index))


def _arguments(catalog: Catalog, table: Table, index: Index) -> dict[str, Any]:
    return {
        "name": index.name.name,
        "table": table.name.name,
        "schema": schema_of(catalog, table),
        "columns": [_spelled(table, element) for element in index.elements],
        "unique": index.unique,
        "using": None if index.method == "btree" else index.method,
        "include": [*index.include],
        "where": index.predicate,
        "nulls_not_distinct": index.nulls_not_distinct,
        "with_": dict(option.split("=", 1) for option in index.options or ()) or None,
        "tablespace": index.tablespace,
    }


def building(
    catalog: Catalog, table: Table, index: Index, creation: CreateIndexOnline
) -> list[Operation]:
    """The operations that make such an index, with statistics of its expressions if it has some."""
    plain = all(element.column is not None for element in index.elements)
    analyze = AnalyzeTable(table.name.name, schema_of(catalog, table))
    return [creation] if plain else [creation, analyze]


def takes(catalog: Catalog, creation: CreateIndexOnline) -> bool:
    """Whether it takes an index that is there: a begun one of its name, or one of a partition."""
    place = Name(creation.schema or catalog.default_schema, creation.table)
    table = catalog.flattened_by_name[place]
    storage: dict[str, Any] = {"with_": creation.with_, "tablespace": creation.tablespace}
    return any(
        create(catalog, table, index, name=creation.name, **storage) == creation
        for item in table.tree
        for index in item.indexes
        if index.kind is None and index.parent is None
        if item is not table or index.relname == creation.name
    )


def schema_of(catalog: Catalog, table: Table) -> str | None:
    """As Alembic writes it: none where a table is made without one."""
    return None if table.name.schema == catalog.default_schema else table.name.schema


_ORDERS = {0: "", 1: " DESC NULLS LAST", 2: " NULLS FIRST", 3: " DESC"}
"""`pg_index.indoption` in words."""


def _spelled(table: Table, element: Element) -> str:
    """A column by its name, anything else as CREATE INDEX takes it."""
    if element.text and element.text != _plain(table, element):
        return Expression(element.text)
    assert element.column is not None, "expressions have a text"  # noqa: S101  # for type checkers
    if order := _ORDERS[element.options & 3]:
        return Expression(table.columns[element.column].text + order)
    return element.column


def _plain(table: Table, element: Element) -> str | None:
    return None if element.column is None else table.columns[element.column].text


def add(
    catalog: Catalog, table: Table, columns: Sequence[str], **options: Any
) -> CreateIndexOnline:
    """The operation that makes a new index on columns, under a name that is free."""
    name = named(catalog, table, columns)
    schema = schema_of(catalog, table)
    return CreateIndexOnline(name, table.name.name, [*columns], schema, **options)


def named(catalog: Catalog, table: Table, columns: Sequence[str]) -> str:
    """How SQLAlchemy calls an index by default, or a name near it that is free."""
    name = "_".join(["ix", table.name.name, *columns])
    return _free(catalog, Name(table.name.schema, name), repr([*columns]))


def suffixed(catalog: Catalog, index: Index, suffix: str) -> str:
    """The name of an index with something behind it, which no relation of the schema has."""
    return _free(catalog, Name(index.name.schema, index.name.name + suffix), suffix)


def _free(catalog: Catalog, name: Name, key: str) -> str:
    if name.name in catalog.taken.get(name.schema, ()) or len(name.name.encode()) > NAME_BYTES:
        return shortened(name.name, key)
    return name.name


def model(add: CreateIndexOnline | None = None, remove: DropIndexOnline | None = None) -> Any:
    """The lines to paste into the model, or to delete there."""
    lines = {"add": add, "remove": remove}
    return {what: item.model_line() for what, item in lines.items() if item is not None}
