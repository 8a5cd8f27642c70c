"""AuditTrail: what a model declares, and the `Trail` that follows from it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Self

from sqlalchemy import Table, event
from sqlalchemy.schema import SchemaItem

from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.declaration import NAME_BYTES, called, words
from alembic_enterprise.partitions.periods import SUFFIX_BYTES

RESERVED = "audit_"
"""How the history's own columns begin; no column of an audited table may."""

FIRST_OTHER_TYPE = 16384
"""The first oid of what is not PostgreSQL's own.

`to_jsonb` and its like look for a cast to json of types from there on, and call the function that
the owner of the type has given it, with the rights of whoever reads (json_categorize_type in
src/backend/utils/adt/jsonfuncs.c).
"""

HISTORY_BYTES = NAME_BYTES - SUFFIX_BYTES["month"]
"""Longest name of a history table in bytes: its partitions by month are named after it."""

_TRAIL = "alembic_enterprise.trail"


@dataclass(frozen=True)
class Trail:
    """What is kept of the changes of one table, declared or live.

    Attributes:
        exclude: columns that are not kept; like the next two, names of the database, sorted.
        mask: columns kept as `***`; NULL stays NULL.
        hash: columns kept as the sha256, in hexadecimal, of their text.
        require_actor: whether a change without an actor is refused.
        retain: how many whole past months of history are kept; None keeps all.
        owner: the role that owns the history; None means the role that migrates.
        readers: roles that may read the history, sorted.
    """

    exclude: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    require_actor: bool = False
    retain: int | None = None
    owner: str | None = None
    readers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise `DeclarationError` when a value cannot be used."""
        for name in ("exclude", "mask", "hash", "readers"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        for one, other in combinations(("exclude", "mask", "hash"), 2):
            both = sorted({*getattr(self, one)} & {*getattr(self, other)})
            if both:
                raise DeclarationError(
                    f"{words(both)} is in {one}= and in {other}=: write it in one of them"
                )
        if self.retain is not None and (type(self.retain) is not int or self.retain < 1):
            raise DeclarationError(
                f"retain={self.retain!r}: write a whole number of months from 1 up"
            )

    def to_json(self) -> dict[str, Any]:
        """The trail as the comment of its function keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The trail that `to_json` gave; keys of a newer release are ignored."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(**known)


def _names(argument: str, given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        raise DeclarationError(f'{argument}="{given}": write {argument}=["{given}"]')
    items: list[object] = [*given] if isinstance(given, Iterable) else [given]
    names = [item for item in items if isinstance(item, str)]
    if len(names) < len(items):
        raise DeclarationError(
            f'{argument}={given!r}: write a list of names, such as {argument}=["email"]'
        )
    return tuple(sorted(set(names)))


class AuditTrail(SchemaItem):
    """Declares that each change of a table's rows is kept in a history table.

    Goes into `__table_args__` or `Table(...)`:

        class Order(Base):
            __tablename__ = "orders"
            __table_args__ = (AuditTrail(exclude=["search_text"], mask=["iban"], retain=24),)

    The history of `orders` is the table `audit.orders_history`, that of `sales.orders` is
    `audit.sales_orders_history`. It is partitioned by month.

    Args:
        exclude: columns that are not kept. These and the next two are names of the database; no
            column of the primary key can be among them.
        mask: columns kept as `***`, from then on: what was kept before stays as it is.
        hash: columns kept as the sha256 of their text: equal values can be told, not read.
        require_actor: refuse changes made without `actor(...)`.
        retain: how many whole past months of history the scheduled job keeps; None keeps all, which
            `as_of` needs.
        schema: schema of the history table.
        history: name of the history table, when it is to be another.
        owner: the role that shall own the history; best one that cannot log in.
        readers: roles that may read the history.
        baseline: also keep the rows that exist when the trail begins.

    Attributes:
        trail: what is kept, as it is compared with the database.

    Raises:
        DeclarationError: when the models are imported, with the declaration to write instead.
    """

    __visit_name__ = "audit_trail"

    def __init__(
        self,
        *,
        exclude: Iterable[str] = (),
        mask: Iterable[str] = (),
        hash: Iterable[str] = (),  # noqa: A002  # the word of the operation
        require_actor: bool = False,
        retain: int | None = None,
        schema: str = "audit",
        history: str | None = None,
        owner: str | None = None,
        readers: Iterable[str] = (),
        baseline: bool = True,
    ) -> None:
        """Take the declaration; the table is checked once all its columns are known."""
        with called("AuditTrail"):
            kept = (_names("exclude", exclude), _names("mask", mask), _names("hash", hash))
            self.trail = Trail(*kept, require_actor, retain, owner, _names("readers", readers))
        self.schema = schema
        self.history = history
        self.baseline = baseline

    def __repr__(self) -> str:
        """The declaration as it would be written."""
        given = {**vars(self.trail), "schema": self.schema, "history": self.history}
        given["baseline"] = self.baseline
        default = {**vars(Trail()), "schema": "audit", "history": None, "baseline": True}
        written = [f"{name}={given[name]!r}" for name in given if given[name] != default[name]]
        return f"AuditTrail({', '.join(written)})"

    def history_of(self, table: Table) -> tuple[str, str]:
        """Schema and name of the history of a table that this is declared on."""
        prefix = "" if table.schema is None else f"{table.schema}_"
        return self.schema, self.history or f"{prefix}{table.name}_history"

    def check(self, table: Table) -> None:
        """Raise `DeclarationError` unless the changes of `table` can be kept like this."""
        key = [column.name for column in table.primary_key]
        if not key:
            raise DeclarationError(
                f"{table.fullname}: AuditTrail needs a primary key, by which the history knows a "
                "row: give one of its columns primary_key=True"
            )
        for argument in ("exclude", "mask", "hash"):
            _check_columns(table, argument, getattr(self.trail, argument), key)
        names = (column.name for column in table.columns)
        _check_reserved(table, [name for name in names if name not in self.trail.exclude])
        _check_length(table, self.history_of(table)[1])

    def _set_parent(self, parent: Any, **_: Any) -> None:
        """Attach to a table (the hook of every SchemaItem) and check it when it is complete."""
        event.listen(parent, "after_parent_attach", self._check_complete)

    def _check_complete(self, table: Table, _metadata: object) -> None:
        self.check(table)
        before = trail_on(table)
        if before is not None and repr(before) != repr(self):
            raise DeclarationError(
                f"{table.fullname}: two AuditTrail on one table; keep one of them"
            )
        # A column takes its info along through Table.to_metadata(), and Alembic renders none of it.
        next(iter(table.primary_key)).info[_TRAIL] = self


def trail_on(table: Table) -> AuditTrail | None:
    """The trail declared on a table, if it has one."""
    found = (column.info.get(_TRAIL) for column in table.primary_key)
    return next((spec for spec in found if spec is not None), None)


def _check_columns(table: Table, argument: str, given: tuple[str, ...], key: list[str]) -> None:
    names = [column.name for column in table.columns]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise DeclarationError(
            f"{table.fullname}: AuditTrail({argument}=[{words(unknown)}]): no such column; it has "
            f"{words(names)}"
        )
    if {*given} & {*key}:
        rest = words(name for name in given if name not in key)
        raise DeclarationError(
            f"{table.fullname}: AuditTrail({argument}=[{words(given)}]): the history knows a row "
            f"by its primary key ({', '.join(key)}): write {argument}=[{rest}]"
        )


def _check_reserved(table: Table, kept: Iterable[str]) -> None:
    taken = [name for name in kept if name.startswith(RESERVED)]
    if taken:
        raise DeclarationError(
            f"{table.fullname}.{taken[0]}: the history's own columns begin with {RESERVED}: call "
            f"it {taken[0].removeprefix(RESERVED) or 'something'}, or leave it out: "
            f"AuditTrail(exclude=[{words(taken)}])"
        )


def _check_length(table: Table, name: str) -> None:
    length = len(name.encode())
    if length > HISTORY_BYTES:
        raise DeclarationError(
            f"{table.fullname}: the name of its history, {name}, has {length} bytes, and "
            f"{HISTORY_BYTES} leave room for its partitions: write "
            'AuditTrail(history="...") with a shorter one'
        )
