"""Which indexes follow from the models alone, and how a comparison gets to see them."""

import re
from collections.abc import Collection, Iterator, Mapping
from hashlib import md5
from typing import Any, NamedTuple

from sqlalchemy import Column, Index, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.elements import conv

from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.indexes.model import FOREIGN_KEYS, TIME_KEYS, declared_on
from alembic_enterprise.partitions.declaration import NAME_BYTES, quoted, words
from alembic_enterprise.partitions.model import declared_on as partitions_on


class Recommended(NamedTuple):
    """An index that a table lacks, of BRIN or else a btree."""

    columns: tuple[Column[Any], ...]
    brin: bool = False


def add(metadata: MetaData) -> list[Index]:
    """Give the tables of a MetaData the indexes that its `RecommendedIndexes` asks for.

    Returns those that were not there: none without a declaration, and none when called again. They
    stay there: what Alembic found refers to them, long after the comparison.

    Raises:
        DeclarationError: `skip` names a column that no table has.
    """
    declared = declared_on(metadata)
    if declared is None:
        return []
    tables = [metadata.tables[key] for key in sorted(metadata.tables)]
    _check_skip(tables, declared.skip)
    taken: dict[str | None, set[str]] = {table.schema: set() for table in tables}
    for table in tables:
        taken[table.schema].update(_names(table))
    return [
        _index(item, taken[table.schema])
        for table in tables
        for item in recommended(table, declared.rules, declared.skip)
    ]


def recommended(table: Table, rules: Collection[str], skip: Collection[str]) -> list[Recommended]:
    """The indexes that a table of the models lacks, in an order that the models alone decide.

    Args:
        table: the table.
        rules: as in `RecommendedIndexes`.
        skip: the columns that none may have, such as "sales.orders.region".
    """
    names = {column.name for column in table.columns}
    allowed = {name for name in names if f"{table.fullname}.{name}" not in skip}
    found: list[Recommended] = []
    if FOREIGN_KEYS in rules:
        found += _of_foreign_keys(table, allowed)
    if TIME_KEYS in rules:
        found += _of_time_key(table, allowed)
    return found


def _of_foreign_keys(table: Table, allowed: set[str]) -> Iterator[Recommended]:
    """The longest first, as its index may serve others."""
    keys = list(_keys(table))
    references = [tuple(key.columns) for key in table.foreign_key_constraints]
    named = {tuple(column.name for column in columns): columns for columns in references}
    for names in sorted(named, key=lambda found: (-len(found), found)):
        if {*names} <= allowed and not any(key.serves(names) for key in keys):
            keys.append(_Key(names))
            yield Recommended(named[names])


def _of_time_key(table: Table, allowed: set[str]) -> Iterator[Recommended]:
    declared = partitions_on(table)
    if declared is None:
        return
    [column] = declared.key_columns(table)
    spelled = _spelled(table)
    brin = [index for index in table.indexes if _method(index) == "brin" and not _is_partial(index)]
    summarised = {name for index in brin for name in _columns(index, spelled)}
    served = any(key.serves((column.name,)) for key in _keys(table))
    if column.name in allowed and not served and column.name not in summarised:
        yield Recommended((column,), brin=True)


class _Key(NamedTuple):
    """What a btree or hash index begins with: columns, which for its rows are not null."""

    columns: tuple[str, ...]
    not_null: frozenset[str] = frozenset()

    def serves(self, names: tuple[str, ...]) -> bool:
        """Whether rows are found by the equality of these columns, in any order."""
        begins = {*self.columns[: len(names)]} == {*names}
        return begins and self.not_null <= {*names}


def _keys(table: Table) -> Iterator[_Key]:
    for constraint in table.constraints:
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint):
            yield _Key(tuple(column.name for column in constraint.columns))
    spelled = _spelled(table)
    for index in table.indexes:
        not_null = _not_null(index, spelled)
        if _method(index) in ("btree", "hash") and not_null is not None:
            yield _Key(tuple(_columns(index, spelled)), not_null)


def _method(index: Index) -> str:
    return str(index.dialect_options["postgresql"]["using"] or "btree").lower()


def _is_partial(index: Index) -> bool:
    return index.dialect_options["postgresql"]["where"] is not None


_ORDER = re.compile(r"( (ASC|DESC))?( NULLS (FIRST|LAST))?$", re.IGNORECASE)


def _columns(index: Index, spelled: Mapping[str, str]) -> Iterator[str]:
    """The columns that an index begins with; an expression, or another collation, ends them."""
    for element in index.expressions:
        name = spelled.get(_ORDER.sub("", _text(element)))
        if name is None:
            return
        yield name


_IS_NOT_NULL = re.compile(r"\(?(.+?) IS NOT NULL\)?$", re.IGNORECASE)


def _not_null(index: Index, spelled: Mapping[str, str]) -> frozenset[str] | None:
    """The columns that each row of an index has, or None when its predicate asks for more."""
    if not _is_partial(index):
        return frozenset()
    where = _text(index.dialect_options["postgresql"]["where"])
    matches = [_IS_NOT_NULL.match(part) for part in re.split(" AND ", where, flags=re.IGNORECASE)]
    names = [spelled.get(match[1]) for match in matches if match]
    found = frozenset(name for name in names if name)
    return found if len(names) == len(matches) and None not in names else None


def _spelled(table: Table) -> dict[str, str]:
    """The columns of a table by how SQL may write them."""
    names = [column.name for column in table.columns]
    return {**{name: name for name in names}, **{quoted(name): name for name in names}}


def _text(element: Any) -> str:
    if not isinstance(element, ClauseElement):
        return str(element)
    # With another paramstyle, SQLAlchemy doubles each per cent sign.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy's
    options = {"literal_binds": True, "include_table": False}
    return str(element.compile(dialect=dialect, compile_kwargs=options))


_BRIN: dict[str, Any] = {
    "postgresql_using": "brin",
    "postgresql_with": {"autosummarize": "on"},  # or only VACUUM would take up new rows
}


def _index(item: Recommended, taken: set[str]) -> Index:
    """The index, on its table from now on, under a name that is not taken; now it is."""
    options = _BRIN if item.brin else {}
    names = [column.name for column in item.columns]
    own = "_".join([item.columns[0].table.name, *names])
    convention = item.columns[0].table.metadata.naming_convention.get("ix", "")
    index = Index(own if "constraint_name" in str(convention) else None, *item.columns, **options)
    name = str(index.name or f"ix_{own}")
    if len(name.encode()) > NAME_BYTES or name in taken:
        name = shortened(name, repr(names))
    index.name = conv(name)  # no convention is applied to it again
    taken.add(name)
    return index


def shortened(name: str, key: str) -> str:
    """A name that has room, and differs from that of another key."""
    mark = "_" + md5((name + key).encode(), usedforsecurity=False).hexdigest()[:8]
    return name.encode()[: NAME_BYTES - len(mark)].decode(errors="ignore") + mark


def _names(table: Table) -> list[str]:
    """What shares its names with indexes: the table, its indexes, its keys; those that have one."""
    kinds = (PrimaryKeyConstraint, UniqueConstraint)
    keys = (item for item in table.constraints if isinstance(item, kinds))
    return [table.name, *(str(item.name) for item in (*table.indexes, *keys) if item.name)]


def _check_skip(tables: Collection[Table], skip: Collection[str]) -> None:
    """Raise `DeclarationError` for a column that is skipped and not there."""
    columns = {table.fullname: [column.name for column in table.columns] for table in tables}
    known = {f"{table}.{column}" for table, names in columns.items() for column in names}
    for name in skip:
        if name not in known:
            table = name.rpartition(".")[0]
            there = f"{table} has {words(columns[table])}" if table in columns else ""
            raise DeclarationError(
                f'RecommendedIndexes(skip={{"{name}": ...}}): there is no such column; '
                + (there or 'write the table before it, such as "orders.region"')
            )
