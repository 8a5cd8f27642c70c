"""Shards in databases of their own: what SQLAlchemy's `ShardedSession` asks for.

    engines = {"a": create_engine(...), "b": create_engine(...)}       # by remainder: 0, 1
    session = ShardedSession(shards=engines, **choosers(Order, engines)._asdict())

Each database has the whole table, declared alike, and of its shards only the one that is its own
(`op.create_hash_shards("orders", count=2, remainders=[1])`): so the server refuses what comes to
the wrong place, such as a row whose key is changed.

Rows of several databases come one database after the other: ORDER BY and LIMIT hold in each.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    Alias,
    BinaryExpression,
    BindParameter,
    Column,
    ColumnElement,
    FromClause,
    Table,
)
from sqlalchemy.orm import Mapper, ORMExecuteState
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BooleanClauseList, Tuple

from alembic_enterprise.errors import PlacementError
from alembic_enterprise.shards.model import declared_on
from alembic_enterprise.shards.placement import declared_key, shard_of

MOST_KEYS = 10_000
"""So many keys of one statement are placed; with more, it goes to every database."""

Criteria = Mapping[str, Sequence[Any]]
"""The values that columns of one table may have, by their names."""


class Choosers(NamedTuple):
    """The three functions that `ShardedSession` takes, under the names of its arguments."""

    shard_chooser: Callable[..., str]
    identity_chooser: Callable[..., list[str]]
    execute_chooser: Callable[[ORMExecuteState], list[str]]


def choosers(declared: Table | type, shards: Iterable[str]) -> Choosers:
    """Functions that find the database of each row by its key.

    Other classes of the session bring their own declarations, of as many shards.

    Args:
        declared: a table, or a mapped class, that declares `HashShards`.
        shards: the ids of the databases, by the remainder that each holds; a mapping of engines in
            this order will do.

    Raises:
        PlacementError: `declared` declares no shards, or another number of them.
    """
    router = Router(tuple(shards))
    router.check(declared)
    return Choosers(router.of_instance, router.of_identity, router.of_statement)


@dataclass(frozen=True)
class Router:
    """The ids of the databases, by the remainder that each holds."""

    ids: tuple[str, ...]

    def check(self, declared: Table | type) -> None:
        """Raise `PlacementError` unless the table has a shard for each database."""
        _, count = declared_key(declared)
        if count != len(self.ids):
            raise PlacementError(
                f"{declared} declares {count} shards, and {len(self.ids)} databases were "
                f"given: give {count}, in the order of their remainders"
            )

    def of_instance(self, mapper: Mapper[Any], instance: Any, clause: Any = None) -> str:
        """The database into which an object is flushed.

        Raises `PlacementError` when its class declares no shards, or its key is not set.
        """
        table = _declared(mapper)
        if table is None or instance is None:
            raise PlacementError(
                f"no database follows from {mapper.class_.__name__}{_words(clause)}: put "
                "HashShards into its __table_args__, or keep it out of this session"
            )
        self.check(table)
        columns = [_value(mapper, instance, column) for column in _key_columns(table)]
        return self.ids[shard_of(table, columns)]

    def of_identity(self, mapper: Mapper[Any], primary_key: Sequence[Any], **_: Any) -> list[str]:
        """The databases in which an object with this primary key may be."""
        table = _declared(mapper)
        if table is None:
            return list(self.ids)
        pairs = zip(mapper.primary_key, primary_key, strict=True)
        return self._in_order(self._placed(table, {item.name: [value] for item, value in pairs}))

    def of_statement(self, state: ORMExecuteState) -> list[str]:
        """The databases in which a statement may find rows; of an INSERT, the one of its rows.

        What cannot be told from `column == value` and `column.in_(values)`, joined by AND, goes to
        every database.

        Raises `PlacementError` for an INSERT whose rows are not all of one database.
        """
        if state.is_insert:
            return [self._of_insert(state)]
        found = [self._placed(table, criteria) for table, criteria in _criteria(state)]
        # Somebody has to answer, even that there are no rows.
        return self._in_order(set(self.ids).intersection(*found)) or [self.ids[0]]

    def _in_order(self, ids: set[str]) -> list[str]:
        return [name for name in self.ids if name in ids]

    def _placed(self, table: Table, criteria: Criteria) -> set[str]:
        self.check(table)
        names = [column.name for column in _key_columns(table)]
        if not all(name in criteria for name in names):
            return set(self.ids)
        values = [criteria[name] for name in names]
        if math.prod(map(len, values)) > MOST_KEYS:
            return set(self.ids)
        try:
            return {self.ids[shard_of(table, key)] for key in product(*values)}
        except PlacementError:  # of another type than the column: how the server takes it, it knows
            return set(self.ids)

    def _of_insert(self, state: ORMExecuteState) -> str:
        table = _declaring(getattr(state.statement, "table", None))
        rows = state.parameters or []
        rows = [rows] if isinstance(rows, Mapping) else rows
        if table is None or not rows:
            raise PlacementError(
                "no database follows from this INSERT: add objects to the session, or pass the "
                "rows to execute() as parameters"
            )
        self.check(table)
        columns = _key_columns(table)
        for column in columns:
            _check_set(column, table.name, all(column.key in row for row in rows))
        found = {shard_of(table, [row.get(column.key) for column in columns]) for row in rows}
        if len(found) > 1:
            raise PlacementError(
                f"rows of {len(found)} databases in one INSERT: add objects to the session, or "
                "group the rows by shard_of() first"
            )
        return self.ids[found.pop()]


def _words(clause: Any) -> str:
    return "" if clause is None else f" in {str(clause).splitlines()[0]}"


def _declared(mapper: Mapper[Any]) -> Table | None:
    """The table of a mapped class, or of one it inherits from, that declares shards."""
    return next((table for table in map(_declaring, mapper.tables) if table is not None), None)


def _declaring(source: object) -> Table | None:
    """The same, when it is a table that declares shards."""
    if not isinstance(source, Table):
        return None
    table = cast("Table", source)
    return table if declared_on(table) else None


def _key_columns(table: Table) -> list[Column[Any]]:
    key, _ = declared_key(table)
    columns = {column.name: column for column in table.columns}
    return [columns[name] for name in key.columns]


def _value(mapper: Mapper[Any], instance: Any, column: Column[Any]) -> Any:
    value = getattr(instance, mapper.get_property_by_column(column).key)
    _check_set(column, mapper.class_.__name__, value is not None)
    return value


def _check_set(column: Column[Any], owner: str, is_set: bool) -> None:  # a fact, no switch
    """Raise `PlacementError` for a value that is not there, and is not to be NULL."""
    default = column.default is not None or column.server_default is not None
    if not is_set and (default or not column.nullable):
        raise PlacementError(
            f"{owner}.{column.key} is not set, and its database is chosen before any default: "
            "set it first"
        )


def _criteria(state: ORMExecuteState) -> Iterator[tuple[Table, Criteria]]:
    """What a statement says of the columns of each of its tables and aliases."""
    parameters = state.parameters or {}
    if not isinstance(parameters, Mapping):
        return  # each set of them may have other values
    found: dict[FromClause, dict[str, Sequence[Any]]] = {}
    where = getattr(state.statement, "whereclause", None)
    for column, values in _conditions(where, parameters):
        found.setdefault(column.table, {})[column.name] = values
    for source, criteria in found.items():
        table = _declaring(source.element if isinstance(source, Alias) else source)
        if table is not None:
            yield table, criteria


def _conditions(
    where: ColumnElement[Any] | None, parameters: Mapping[str, Any]
) -> Iterator[tuple[Column[Any], Sequence[Any]]]:
    """Columns with the values that they must have, each for itself."""
    if isinstance(where, BooleanClauseList) and where.operator is operators.and_:
        for clause in where.clauses:
            yield from _conditions(clause, parameters)
    elif isinstance(where, BinaryExpression):
        yield from _condition(where, parameters)


def _condition(
    where: BinaryExpression[Any], parameters: Mapping[str, Any]
) -> Iterator[tuple[Column[Any], Sequence[Any]]]:
    left, right = where.left, where.right
    if isinstance(left, BindParameter):  # as lazy loads write it
        left, right = right, left
    values = _values(where.operator, right, parameters)
    if values is None:
        return
    if isinstance(left, Column):
        yield left, values
    elif isinstance(left, Tuple):  # as selectinload() asks for a composite foreign key
        for place, column in enumerate(left.clauses):
            if isinstance(column, Column):
                yield column, [row[place] for row in values]


def _values(
    operator: object, given: ColumnElement[Any], parameters: Mapping[str, Any]
) -> list[Any] | None:
    """What the other side of `=` or IN may be; None for another operator, or if not known."""
    if not isinstance(given, BindParameter):
        return None
    value: Any = parameters.get(given.key, given.effective_value)
    if operator is operators.eq and value is not None:
        return [value]
    if operator is operators.in_op and isinstance(value, Sequence | set | frozenset):
        return list(cast("Sequence[Any]", value))
    return None
