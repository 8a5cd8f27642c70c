"""What all declarations of partitions share: the way to their table, and the checks there."""

from abc import abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from typing import Any, ClassVar, Self, TypeVar

from sqlalchemy import (
    Column,
    Constraint,
    Dialect,
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


@cache
def dialect() -> Dialect:
    """SQLAlchemy's PostgreSQL, whatever the driver; loaded late, so that models import fast."""
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # as the docstring says

    return postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy left it untyped


class Declaration(SchemaItem):
    """Base of what goes into `__table_args__` or `Table(...)` and sets `PARTITION BY` itself.

    Two kinds on one table nest in the order written: the second is how each partition of the first
    is partitioned itself.

    Attributes:
        strategy: "RANGE" or "HASH".
        keys: the columns of the key, as PostgreSQL or as Python calls them.
        suffix_bytes: length of what follows the table's name in the name of a partition.
    """

    strategy: ClassVar[str]
    keys: tuple[str, ...]
    suffix_bytes: int

    @property
    def partition_count(self) -> int | None:
        """How many partitions there are; None when time decides."""
        return None

    @abstractmethod
    def check(self, table: Table) -> None:
        """Raise `DeclarationError` unless PostgreSQL can partition `table` like this."""

    def key_columns(self, table: Table) -> list[Column[Any]]:
        """The columns of the key. Raises `DeclarationError` for one that `table` has not."""
        return [self._key_column(table, name) for name in self.keys]

    def key_names(self, table: Table) -> list[str]:
        """The columns of the key as PostgreSQL calls them, not as Python does."""
        return [column.name for column in self.key_columns(table)]

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
        levels = declarations_on(parent)
        if not levels and parent.kwargs.get("postgresql_partition_by") is not None:
            raise DeclarationError(
                f"{parent.fullname}: {type(self).__name__} sets PARTITION BY itself; "
                "remove postgresql_partition_by"
            )
        if not any(self._is_again(parent, before) for before in levels):
            levels = (*levels, self)
        parent.kwargs["postgresql_partition_by"] = PartitionBy(levels[0].keys, levels)
        event.listen(parent, "after_parent_attach", self._check_complete)

    def _is_again(self, table: Table, before: "Declaration") -> bool:
        mine = type(self).__name__
        if mine != type(before).__name__:
            return False
        if repr(before) != repr(self):
            raise DeclarationError(f"{table.fullname}: two {mine} on one table; keep one of them")
        return True

    def _check_complete(self, table: Table, _metadata: object) -> None:
        self.check(table)
        levels = declarations_on(table)
        names = levels[0].key_names(table)
        table.kwargs["postgresql_partition_by"] = PartitionBy(names, levels)


class PartitionBy(str):
    """The text of PARTITION BY, which remembers the declarations that it comes from.

    As an option of the table it goes where the table goes, through `Table.to_metadata()` too, and
    in a migration script it is plain text: that of the first declaration.
    """

    __slots__ = ("levels",)

    levels: tuple[Declaration, ...]

    def __new__(cls, columns: Iterable[str], levels: tuple[Declaration, ...]) -> Self:
        """Compose the text for the columns of the first declaration's key."""
        text = super().__new__(cls, f"{levels[0].strategy} ({', '.join(map(quoted, columns))})")
        text.levels = levels
        return text


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def words(values: Iterable[object]) -> str:
    """Values as they are written in a call."""
    return ", ".join(f'"{value}"' if isinstance(value, str) else repr(value) for value in values)


@contextmanager
def called(declaration: str) -> Generator[None]:
    """Prefix the errors of a declaration that does not know its table yet with its own text."""
    try:
        yield
    except DeclarationError as error:
        raise DeclarationError(f"{declaration}: {error}") from None


def check_known(argument: str, value: object, known: Sequence[str]) -> None:
    """Raise `DeclarationError` for an unknown value; it names the nearest known one."""
    if value in known:
        return
    near = get_close_matches(str(value).lower(), known, 1)
    meant = f" (did you mean {words(near)}?)" if near else ""
    raise DeclarationError(f"{argument}={value!r}: write one of {words(known)}{meant}")


Kind = TypeVar("Kind", bound=Declaration)


def declarations_on(table: Table) -> tuple[Declaration, ...]:
    """The declarations on a table, outer first."""
    text = table.kwargs.get("postgresql_partition_by")
    return text.levels if isinstance(text, PartitionBy) else ()


def declaration_on(table: Table, kind: type[Kind]) -> Kind | None:
    """The declaration of one kind on a table, at either level, if it has one."""
    return next((spec for spec in declarations_on(table) if isinstance(spec, kind)), None)


def inner_key(table: Table) -> str | None:
    """How each partition of a table is partitioned itself, as the text of PARTITION BY."""
    inner = declarations_on(table)[1:]
    return str(PartitionBy(inner[0].key_names(table), inner)) if inner else None


def check_unique_keys(table: Table, columns: Sequence[Column[Any]], called: str) -> None:
    """Raise `DeclarationError` for a primary or unique key that lacks a column of the key.

    Args:
        table: the table.
        columns: the columns of the partition key.
        called: what one of them is to the reader: "partition column" or "shard column".
    """
    for key in _unique_keys(table):
        for column in columns:
            _check_unique(table, key, column, called)


def _unique_keys(table: Table) -> list[Constraint | Index]:
    keys: list[Constraint | Index] = [
        item
        for item in table.constraints
        if isinstance(item, PrimaryKeyConstraint | UniqueConstraint) and item.columns
    ]
    return [*keys, *(index for index in table.indexes if index.unique)]


def _check_unique(table: Table, key: Any, column: Column[Any], called: str) -> None:
    names = [item.name for item in key.columns]
    if column.name in names:
        return
    wanted = [name for spec in declarations_on(table) for name in spec.key_names(table)]
    corrected = words(dict.fromkeys([*names, *wanted]))
    if isinstance(key, PrimaryKeyConstraint):
        kind = "the primary key"
        advice = f"PrimaryKeyConstraint({corrected}), or primary_key=True for each of these columns"
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


def check_length(table: Table) -> None:
    """Raise `DeclarationError` when names of partitions, with their suffixes, would be cut."""
    suffix_bytes = sum(spec.suffix_bytes for spec in declarations_on(table))
    length = len(table.name.encode()) + suffix_bytes
    if length > NAME_BYTES:
        raise DeclarationError(
            f"{table.fullname}: the names of its partitions would have {length} bytes, and "
            f"PostgreSQL cuts names at {NAME_BYTES}: shorten the table's name to "
            f"{NAME_BYTES - suffix_bytes} bytes"
        )
