"""Tables by the names that people give."""

from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.sql import Name


class Named(Protocol):
    """A table of whatever capability."""

    @property
    def name(self) -> Name:
        """Its full name."""
        ...


Table = TypeVar("Table", bound=Named)


def named(
    tables: Collection[Table],
    names: Collection[str],
    kind: str,
    called: Callable[[Table], set[str]] = lambda table: table.name.called,
) -> list[Table]:
    """The tables with one of these names; none means all.

    Args:
        tables: those to choose from.
        names: with or without their schema.
        kind: what they are, for the error: "sharded table".
        called: what a table may be called.

    Raises:
        ConfigurationError: no table has such a name.
    """
    known = {name for table in tables for name in called(table)}
    if unknown := [name for name in names if name not in known]:
        there = ", ".join([str(table.name) for table in tables][:10]) or "none"
        verb = "is" if len(tables) == 1 else "are"
        raise ConfigurationError(f"no {kind} is called {', '.join(unknown)}: there {verb} {there}")
    return [table for table in tables if not names or called(table) & set(names)]
