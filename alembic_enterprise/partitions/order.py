"""In what order the job works on tables."""

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.foreign_keys import ForeignKey
from alembic_enterprise.sql import Name


def referring_first(
    tables: Sequence[PartitionedTable], foreign_keys: Mapping[Name, Collection[ForeignKey]]
) -> list[Name]:
    """Tables that refer to others first: their rows must go before those they refer to.

    Args:
        tables: the tables, of which shards stand for the table that they belong to.
        foreign_keys: those that refer to each of them.
    """
    try:
        return list(TopologicalSorter(_referring(tables, foreign_keys)).static_order())
    except CycleError:
        return [table.name for table in tables]


def _referring(
    tables: Sequence[PartitionedTable], foreign_keys: Mapping[Name, Collection[ForeignKey]]
) -> dict[Name, set[Name]]:
    """The tables that refer to each table; a foreign key of a root is one of each shard."""
    shards: dict[Name, set[Name]] = {}
    for table in tables:
        for item in table.lineage:
            shards.setdefault(item.name, set()).add(table.name)
    return {
        table.name: {
            name
            for key in foreign_keys[table.name]
            if key.source not in table.names
            for name in shards.get(key.source, ())
        }
        for table in tables
    }
