"""Tables with their columns, indexes and foreign keys, as the rows of a few queries."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
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
    rows = sql.rows(
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
        row[0]: _table(row, columns, indexes, keys, building=row[0] in building) for row in rows
    }
    parents = {row[0]: row[4] for row in rows}
    unread = [names[row[0]] for row in rows if not row[9] and row[4] is None]
    return _nested(tables, parents), unread


def listed(oids: Iterable[int]) -> Literal:
    """Oids as an array; psycopg's own lists take a hundred times as long."""
    return Literal("{" + ",".join(map(str, oids)) + "}")


def _columns(connection: Connection, tables: list[int]) -> tuple[Columns, Mapping[int, str]]:
    """The columns, and the names of their types."""
    rows = sql.rows(connection, queries.COLUMNS.format(tables=listed(tables)))
    oids = listed({row[4] for row in rows})
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
        tables=listed(tables),
        # Older servers lack the column (PostgreSQL docs, release notes of 15).
        nulls_not_distinct=SQL("x.indnullsnotdistinct" if server.version >= _15 else "false"),
        built=SQL("pg_xact_commit_timestamp(x.xmin)" if server.dated else "NULL::timestamptz"),
    )
    rows = sql.rows(connection, query)
    defaults = {oid for (oid,) in sql.rows(connection, queries.DEFAULT_CLASSES)}
    usual = {
        classes for classes in {row[7] for row in rows} if defaults.issuperset(_numbers(classes))
    }
    special = [row[1] for row in rows if _special(row, columns[row[0]], usual)]
    told = _definitions(connection, special)
    found: dict[int, list[Index]] = defaultdict(list)
    for row in rows:
        table = row[0]
        found[table].append(_index(row, names[table].schema, columns[table], told.get(row[1])))
    return {table: tuple(indexes) for table, indexes in found.items()}


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
    rows = sql.rows(connection, queries.DEFINITIONS.format(indexes=listed(indexes)))
    return {oid: definitions.keys(text) for oid, text in rows}


@lru_cache(maxsize=4096)
def _numbers(vector: str) -> tuple[int, ...]:
    """An int2vector or oidvector; most are the same few."""
    return tuple(map(int, vector.split()))


def _index(
    row: Row, schema: str | None, columns: Mapping[int, Column], told: tuple[str, ...] | None
) -> Index:
    """An index of a row as `queries.INDEXES` has it."""
    _, oid, name, parent, method, count, numbers, *vectors = row[:10]
    names = tuple([columns[number].name if number else None for number in _numbers(numbers)])
    elements = _elements(names[:count], told or ("",) * count, *vectors)
    return Index._make(
        (oid, Name(schema, name), parent, method, elements, names[count:], *row[10:])
    )


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
        tables=listed(tables),
        # Older servers lack the column (PostgreSQL docs, release notes of 18).
        enforced=SQL("k.conenforced" if server.version >= _18 else "true"),
    )
    found: dict[int, list[ForeignKey]] = defaultdict(list)
    for table, *row in sql.rows(connection, query):
        found[table].append(_foreign_key(types, *row))
    return {table: tuple(keys) for table, keys in found.items()}


def _foreign_key(
    types: Mapping[int, str],
    name: str,
    columns: list[str],
    near: list[int],
    schema: str,
    table: str,
    others: list[str],
    far: list[int],
    on_delete: str,
    enforced: bool,
) -> ForeignKey:
    return ForeignKey(
        name,
        tuple(columns),
        tuple(types[kind] for kind in near),
        Name(schema, table),
        tuple(others),
        tuple(types.get(kind, "") for kind in far),
        _ON_DELETE[on_delete],
        enforced,
    )


def _building(connection: Connection, indexes: Mapping[int, tuple[Index, ...]]) -> set[int]:
    """The tables at whose indexes somebody is at work; it matters only when one is not usable."""
    if all(index.usable for found in indexes.values() for index in found):
        return set()  # and looking at the locks disturbs others
    return {oid for (oid,) in sql.rows(connection, queries.BUILDING)}


def _table(
    row: Row,
    columns: Columns,
    indexes: Mapping[int, tuple[Index, ...]],
    keys: Mapping[int, tuple[ForeignKey, ...]],
    *,
    building: bool,
) -> Table:
    oid, schema, name, kind, parent, strategy, key, size, rows, _, *counted = row
    inserts, updates, moved, deletes, scans = counted
    return Table(
        oid=oid,
        name=Name(schema, name),
        kind=KINDS[kind],
        partition=parent is not None,
        key=None if strategy is None else Key(STRATEGIES[strategy], tuple(key)),
        size=size,
        rows=max(rows, 0),
        columns={column.name: column for column in columns.get(oid, {}).values()},
        indexes=indexes.get(oid, ()),
        foreign_keys=keys.get(oid, ()),
        building=building,
        inserts=inserts,
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

    def grown(oid: int) -> Table:
        table = tables[oid]
        return _with(table, tuple(map(grown, below[oid]))) if oid in below else table

    return [grown(oid) for oid, parent in parents.items() if parent is None]


def _with(table: Table, partitions: tuple[Table, ...]) -> Table:
    """A partitioned table with its partitions; figures added up."""
    figures: dict[str, Any] = {
        figure: sum(getattr(item, figure) for item in partitions) for figure in _FIGURES
    }
    building = table.building or any(item.building for item in partitions)
    return replace(table, partitions=partitions, building=building, **figures)


_FIGURES = ("size", "rows", "inserts", "updates", "moved", "deletes", "scans")
"""A partitioned table has none of its own."""
