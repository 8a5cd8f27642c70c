"""When a constraint is checked: with each statement, or at the end of the transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from psycopg.sql import SQL, Composable, Literal

from alembic_enterprise.errors import OperationError

_DEFERRABLE: Mapping[bool | None, LiteralString] = {
    None: "",
    True: " DEFERRABLE",
    False: " NOT DEFERRABLE",
}

_INITIALLY: Mapping[str | None, LiteralString] = {
    None: "",
    "DEFERRED": " INITIALLY DEFERRED",
    "IMMEDIATE": " INITIALLY IMMEDIATE",
}


@dataclass(frozen=True)
class Deferral:
    """The arguments `deferrable` and `initially`, as Alembic's own operations take them."""

    deferrable: bool | None
    initially: str | None

    def __post_init__(self) -> None:
        """Raise `OperationError` when `initially` is not SQL, or contradicts the other."""
        if self.initially not in _INITIALLY:
            raise OperationError(
                f'initially={self.initially!r} is not known: write "DEFERRED" or "IMMEDIATE"'
            )
        if self.deferrable is False and self.initially == "DEFERRED":
            raise OperationError(
                'what is not deferrable cannot be initially="DEFERRED": write deferrable=True, or '
                'initially="IMMEDIATE"'
            )

    @property
    def sql(self) -> Composable:
        """What stands at the end of ADD CONSTRAINT, perhaps nothing."""
        return SQL(_DEFERRABLE[self.deferrable]) + SQL(_INITIALLY[self.initially])

    @property
    def row(self) -> Composable:
        """`condeferrable` and `condeferred` of pg_constraint, as a row."""
        deferred = self.initially == "DEFERRED"
        return SQL("({}, {})").format(Literal(bool(self.deferrable) or deferred), Literal(deferred))
