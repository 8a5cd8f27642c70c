"""The rule expression-index-without-statistics."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.operations import AnalyzeTable
from alembic_enterprise.indexes.relations import Catalog, Table
from alembic_enterprise.indexes.remarks import remark, schema_of


def expression_index_without_statistics(catalog: Catalog) -> Iterator[Finding]:
    """An index on an expression of which the planner knows nothing yet.

    PostgreSQL keeps statistics of the values of an indexed expression, but makes
    them at the next ANALYZE only, and autovacuum waits until a tenth of the rows
    has changed. Until then the planner guesses that a two-hundredth of the rows
    fits, and may pass the index by, or join in the wrong order.

    Asks for ANALYZE. Told of a valid index with an expression that has entries and
    no statistics, once for each table or partition. Not counted: one whose
    statistics target is 0, which is somebody's wish.

    Costs a sample of the table; nobody waits.

    Leave it when autovacuum has announced itself.
    """
    for table in catalog.flattened:
        names = [
            index.name.name
            for index in table.indexes
            if index.oid in catalog.undescribed and index.usable and index.rows > 0
        ]
        if names:
            yield _finding(catalog, table, names)


def _finding(catalog: Catalog, table: Table, names: list[str]) -> Finding:
    analyze = AnalyzeTable(table.name.name, schema_of(catalog, table))
    return remark(
        "expression-index-without-statistics",
        "warning",
        catalog,
        table,
        f"there are no statistics of the expressions of {', '.join(names)}: analyze the table",
        operations=[analyze],
        cost="reads a sample of the table; nobody waits",
        indexes=names,
    )
