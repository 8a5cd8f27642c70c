"""What all declarations of partitions share: the way to their table, and the checks there."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

from sqlalchemy import (
    Column,
    Constraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.schema import SchemaItem

from alembic_enterprise.errors import DeclarationError

NAME_BYTES = 63
"""Longest identifier in bytes (NAMEDATALEN - 1, PostgreSQL docs, "Identifiers")."""


class Declaration(SchemaItem):
    """Base of what goes into `__table_args__` or `Table(...)` and sets `PARTITION BY` itself.

    Attributes:
        strategy: "RANGE" or "HASH".
        keys: the columns of the key, as PostgreSQL or as Python calls them.
    """

    strategy: ClassVar[str]
    keys: tuple[str, ...]

    @abstractmethod
    def check(self, table: Table) -> None:
        """Raise `DeclarationError` unless PostgreSQL can partition `table` like this."""

    def key_columns(self, table: Table) -> list[Column[Any]]:
        """The columns of the key. Raises `DeclarationError` for one that `table` has not."""
        return [self._key_column(table, name) for name in self.keys]

    def _key_column(self, table: Table, name: str) -> Column[Any]:
        column = table.columns.get(name)
        if column is None:
            column = next((item for item in table.columns if item.name == name), None)
        if column is None:
            names = words(item.name for item in table.columns)
            raise DeclarationError(
                f"{table.fullname}: {type(self).__name__}({words([name])}): no such column; "
                f"it has {names}"
            )
        return column

    def _set_parent(self, parent: Any, **_: Any) -> None:
        """Attach to a table (the hook of every SchemaItem) and check it when it is complete."""
        before = declaration_on(parent)
        if before is not None:
            self._check_twice(parent, before)
        elif parent.kwargs.get("postgresql_partition_by") is not None:
            raise DeclarationError(
                f"{parent.fullname}: {type(self).__name__} sets PARTITION BY itself; "
                "remove postgresql_partition_by"
            )
        parent.kwargs["postgresql_partition_by"] = PartitionBy(self.keys, self)
        event.listen(parent, "after_parent_attach", self._check_complete)

    def _check_twice(self, table: Table, before: "Declaration") -> None:
        mine, other = type(self).__name__, type(before).__name__
        if mine != other:
            raise DeclarationError(
                f"{table.fullname}: {other} and {mine} on one table are not supported yet; "
                "keep one of them"
            )
        if repr(before) != repr(self):
            raise DeclarationError(f"{table.fullname}: two {mine} on one table; keep one of them")

    def _check_complete(self, table: Table, _metadata: object) -> None:
        self.check(table)
        names = [column.name for column in self.key_columns(table)]  # not what Python calls them
        table.kwargs["postgresql_partition_by"] = PartitionBy(names, self)


class PartitionBy(str):
    """The text of PARTITION BY, which remembers the declaration that it comes from.

    As an option of the table it goes where the table goes, through `Table.to_metadata()` too, and
    in a migration script it is plain text.
    """

    __slots__ = ("spec",)

    spec: Declaration

    def __new__(cls, columns: Iterable[str], spec: Declaration) -> Self:
        """Compose the text for the columns of the key."""
        text = super().__new__(cls, f"{spec.strategy} ({', '.join(map(quoted, columns))})")
        text.spec = spec
        return text


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def words(values: Iterable[str]) -> str:
    """Values as they are written in a call."""
    return ", ".join(f'"{value}"' for value in values)


def declaration_on(table: Table) -> Declaration | None:
    """The declaration on a table, if it has one."""
    text = table.kwargs.get("postgresql_partition_by")
    return text.spec if isinstance(text, PartitionBy) else None


def check_unique_keys(table: Table, columns: Sequence[Column[Any]], called: str) -> None:
    """Raise `DeclarationError` for a primary or unique key that lacks a column of the key.

    Args:
        table: the table.
        columns: the columns of the partition key.
        called: what one of them is to the reader: "partition column" or "shard column".
    """
    for key in _unique_keys(table):
        for column in columns:
            _check_unique(table, key, column, columns, called)


def _unique_keys(table: Table) -> list[Constraint | Index]:
    keys: list[Constraint | Index] = [
        item
        for item in table.constraints
        if isinstance(item, PrimaryKeyConstraint | UniqueConstraint) and item.columns
    ]
    return [*keys, *(index for index in table.indexes if index.unique)]


def _check_unique(
    table: Table, key: Any, column: Column[Any], columns: Sequence[Column[Any]], called: str
) -> None:
    names = [item.name for item in key.columns]
    if column.name in names:
        return
    corrected = words([*names, *(item.name for item in columns if item.name not in names)])
    if isinstance(key, PrimaryKeyConstraint):
        kind, advice = "the primary key", f"PrimaryKeyConstraint({corrected})"
    elif isinstance(key, UniqueConstraint):
        kind, advice = "a unique constraint", f"UniqueConstraint({corrected})"
    else:
        kind, advice = (
            f"the unique index {key.name}",
            f'Index("{key.name}", {corrected}, unique=True)',
        )
    raise DeclarationError(
        f"{table.fullname}: {kind} ({', '.join(names)}) lacks the {called} {column.name}, "
        f"and PostgreSQL can only keep it unique inside one partition: write {advice}"
    )


def check_length(table: Table, suffix_bytes: int) -> None:
    """Raise `DeclarationError` when names of partitions, with their suffix, would be cut."""
    length = len(table.name.encode()) + suffix_bytes
    if length > NAME_BYTES:
        raise DeclarationError(
            f"{table.fullname}: the names of its partitions would have {length} bytes, and "
            f"PostgreSQL cuts names at {NAME_BYTES}: shorten the table's name to "
            f"{NAME_BYTES - suffix_bytes} bytes"
        )
