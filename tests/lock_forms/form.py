"""A form of a statement."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from lock_forms.layouts import Layout


@dataclass(frozen=True)
class Form:
    """A kind of statement, and one of its kind.

    Attributes:
        name: such as "alter-table-set-not-null"; the table of locks has it by this name.
        layout: what the statement is about.
        statement: what is run to measure the form.
    """

    name: str
    layout: Layout
    statement: LiteralString


def forms(layout: Layout, statements: Mapping[str, LiteralString]) -> tuple[Form, ...]:
    """Forms of one layout, from their statements by name."""
    return tuple(Form(name, layout, statement) for name, statement in statements.items())
