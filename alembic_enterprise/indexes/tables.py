"""Tables with their columns, indexes and foreign keys, as the rows of a few queries."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import registry, sql
from alembic_enterprise.indexes import definitions, queries
from alembic_enterprise.indexes.relations import Column, Element, ForeignKey, Index, Table
from alembic_enterprise.partitions.catalog import KINDS, STRATEGIES, Key
from alembic_enterprise.sql import Name

_ON_DELETE = {
    "a": "NO ACTION",
    "r": "RESTRICT",
    "c": "CASCADE",
    "n": "SET NULL",
    "d": "SET DEFAULT",
}
"""`pg_constraint.confdeltype` in words."""

_15, _18 = 150000, 180000
"""Values of `server_version_num`."""

Row = Sequence[Any]
_TABLE = itemgetter(0)
"""The oid of the table that a row belongs to; rows are sorted by it."""

Columns = Mapping[int, Mapping[int, Column]]
"""By the oid of the table and the number of the column."""


class Server(NamedTuple):
    """What the queries depend on.

    Attributes:
        version: `server_version_num`.
        dated: whether it notes the time of commits, and so when an index was made.
    """

    version: int
    dated: bool


def read(connection: Connection, server: Server) -> tuple[list[Table], list[Name]]:
    """The tables that are no partitions; and those whose rows this role may not read."""
    rows = sql.many_rows(
        connection,
        queries.TABLES.format(
            registry=Literal(registry.TABLE), ownership=Literal(registry.OWNERSHIP)
        ),
    )
    names = {row[0]: Name(row[1], row[2]) for row in rows}
    kept = [row[0] for row in rows if row[3] != "f"]
    columns, types = _columns(connection, kept)
    indexes = _indexes(connection, server, kept, names, columns)
    keys = _foreign_keys(connection, server, kept, types)
    building = _building(connection, indexes)
    tables = {
        row[0]: _table(row, names, columns, indexes, keys, building=row[0] in building)
        for row in rows
    }
    parents = {row[0]: row[4] for row in rows}
    unread = [names[row[0]] for row in rows if not row[9] and row[4] is None]
    return _nested(tables, parents), unread


def oid_array(oids: Iterable[int]) -> Literal:
    """Oids as an array; psycopg's own lists take a hundred times as long."""
    return Literal("{" + ",".join(map(str, oids)) + "}")


def _columns(connection: Connection, tables: list[int]) -> tuple[Columns, Mapping[int, str]]:
    """The columns, and the names of their types."""
    rows = sql.many_rows(connection, queries.COLUMNS.format(tables=oid_array(tables)))
    oids = oid_array({row[4] for row in rows})
    types: dict[int, str] = dict(sql.rows(connection, queries.TYPES.format(types=oids)))
    found: dict[int, dict[int, Column]] = defaultdict(dict)
    for table, number, name, text, kind, not_null, collation in rows:
        found[table][number] = _column(name, text, types[kind], not_null, collation)
    return found, types


_column = lru_cache(maxsize=4096)(Column)
"""Tables have many columns alike: one of each will do."""


def _indexes(
    connection: Connection,
    server: Server,
    tables: list[int],
    names: Mapping[int, Name],
    columns: Columns,
) -> Mapping[int, tuple[Index, ...]]:
    query = queries.INDEXES.format(
        tables=oid_array(tables),
        # Older servers lack the column (PostgreSQL docs, release notes of 15).
        nulls_not_distinct=SQL("x.indnullsnotdistinct" if server.version >= _15 else "false"),
        built=SQL("pg_xact_commit_timestamp(x.xmin)" if server.dated else "NULL::timestamptz"),
    )
    rows = sql.many_rows(connection, query)
    defaults = {oid for (oid,) in sql.rows(connection, queries.DEFAULT_CLASSES)}
    usual = {
        classes for classes in {row[7] for row in rows} if defaults.issuperset(_numbers(classes))
    }
    special = [row[1] for row in rows if _special(row, columns[row[0]], usual)]
    told = _definitions(connection, special)
    return {
        table: tuple(
            [_index(row, names[table].schema, columns[table], told.get(row[1])) for row in group]
        )
        for table, group in groupby(rows, _TABLE)
    }


def _special(row: Row, columns: Mapping[int, Column], usual: set[str]) -> bool:
    """Whether the names of its columns and their order do not say all about the keys."""
    method, count, numbers, classes, collations = row[4:9]
    if method not in ("btree", "hash") or classes not in usual:
        return True
    keys = _numbers(numbers)[:count]
    return 0 in keys or tuple([columns[key].collation for key in keys]) != _numbers(collations)


def _definitions(connection: Connection, indexes: list[int]) -> Mapping[int, tuple[str, ...]]:
    if not indexes:
        return {}
    rows = sql.many_rows(connection, queries.DEFINITIONS.format(indexes=oid_array(indexes)))
    return {oid: definitions.keys(text) for oid, text in rows}


@lru_cache(maxsize=4096)
def _numbers(vector: str) -> tuple[int, ...]:
    """An int2vector or oidvector; most are the same few."""
    return tuple(map(int, vector.split()))


def _index(
    row: Row, schema: str | None, columns: Mapping[int, Column], told: tuple[str, ...] | None
) -> Index:
    """An index of a row as `queries.INDEXES` has it."""
    _, oid, name, parent, method, count, numbers, classes, collations, options, *rest, found = row
    every = _numbers(numbers)
    keys = tuple([columns[number].name if number else None for number in every[:count]])
    include = tuple([columns[number].name for number in every[count:]])
    elements = _elements(keys, told or ("",) * count, classes, collations, options)
    rest.append(tuple([_numbers(of_key) for of_key in found or ()]))
    return Index(oid, schema, name, parent, method, elements, keys, include, *rest)


@lru_cache(maxsize=4096)
def _elements(
    columns: tuple[str | None, ...], texts: tuple[str, ...], *vectors: str
) -> tuple[Element, ...]:
    """The keys of an index, by their classes, collations and orders; most are the same few."""
    keys = zip(columns, texts, *map(_numbers, vectors), strict=True)
    return tuple(map(Element._make, keys))


def _foreign_keys(
    connection: Connection, server: Server, tables: list[int], types: Mapping[int, str]
) -> Mapping[int, tuple[ForeignKey, ...]]:
    query = queries.FOREIGN_KEYS.format(
        tables=oid_array(tables),
        # Older servers lack the column (PostgreSQL docs, release notes of 18).
        enforced=SQL("k.conenforced" if server.version >= _18 else "true"),
    )
    rows = sql.many_rows(connection, query)
    return {
        table: tuple([_foreign_key(row, types) for row in group])
        for table, group in groupby(rows, _TABLE)
    }


def _foreign_key(row: Row, types: Mapping[int, str]) -> ForeignKey:
    """A foreign key of a row as `queries.FOREIGN_KEYS` has it."""
    _, name, columns, near, schema, table, others, far, on_delete, operators, enforced = row
    return ForeignKey(
        name,
        tuple(columns),
        tuple([types[kind] for kind in near]),
        Name(schema, table),
        tuple(others),
        tuple([types.get(kind, "") for kind in far]),
        _ON_DELETE[on_delete],
        tuple(operators),
        enforced,
    )


def _building(connection: Connection, indexes: Mapping[int, tuple[Index, ...]]) -> set[int]:
    """The tables at whose indexes somebody is at work; it matters only when one is not usable."""
    if all(index.usable for found in indexes.values() for index in found):
        return set()  # and looking at the locks disturbs others
    return {oid for (oid,) in sql.rows(connection, queries.BUILDING)}


def _table(
    row: Row,
    names: Mapping[int, Name],
    columns: Columns,
    indexes: Mapping[int, tuple[Index, ...]],
    keys: Mapping[int, tuple[ForeignKey, ...]],
    *,
    building: bool,
) -> Table:
    """A table of a row as `queries.TABLES` has it, without its partitions."""
    oid, _, _, kind, parent, strategy, key, size, rows, _, *counted = row
    updates, moved, deletes, scans = counted
    return Table(
        oid,
        names[oid],
        KINDS[kind],
        partition=parent is not None,
        key=None if strategy is None else Key(STRATEGIES[strategy], tuple(key)),
        size=size,
        rows=max(rows, 0),
        columns={column.name: column for column in columns.get(oid, {}).values()},
        indexes=indexes.get(oid, ()),
        foreign_keys=keys.get(oid, ()),
        building=building,
        updates=updates,
        moved=moved,
        deletes=deletes,
        scans=scans,
    )


def _nested(tables: Mapping[int, Table], parents: Mapping[int, int | None]) -> list[Table]:
    """The tables that are no partitions, each with its own below it."""
    below: dict[int, list[int]] = defaultdict(list)
    for oid, parent in parents.items():
        if parent is not None and parent in tables:
            below[parent].append(oid)
    return [_grown(tables, below, oid) for oid, parent in parents.items() if parent is None]


def _grown(tables: Mapping[int, Table], below: Mapping[int, Sequence[int]], oid: int) -> Table:
    """A table with its partitions, if it has some; figures added up."""
    table = tables[oid]
    if oid not in below:
        return table
    partitions = tuple([_grown(tables, below, partition) for partition in below[oid]])
    figures: dict[str, Any] = {
        figure: sum(getattr(item, figure) for item in partitions) for figure in _FIGURES
    }
    building = table.building or any(item.building for item in partitions)
    return table._replace(partitions=partitions, building=building, **figures)


_FIGURES = ("size", "rows", "updates", "moved", "deletes", "scans")
"""A partitioned table has none of its own."""
