"""AuditColumns: what a model declares, and the `ColumnOptions` that follow from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    FetchedValue,
    ForeignKey,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.declaration import called, check_known, dialect, words

_COLUMNS = "alembic_enterprise.columns"

_TOUCHED = ("updated_at", "updated_by", "deleted_by", "data_lineage")
"""The columns that the trigger writes, so that the ORM reads them after an UPDATE."""

Existing = Literal["now", "null"]
"""What rows that are there before the columns get as their moments."""

ACTORS: dict[str, type[TypeEngine[Any]]] = {"text": Text, "bigint": BigInteger, "uuid": Uuid}
"""Types an actor may have, as `format_type` prints them."""

ACTOR = "NULLIF(current_setting('alembic_enterprise.actor'::text, true), ''::text)"
"""Who acts: the setting is empty, not NULL, after a transaction that had one. As it is printed."""

CONTEXT = "(NULLIF(current_setting('alembic_enterprise.context'::text, true), ''::text))::jsonb"
"""What the actor acts for, as the server prints the expression."""


@dataclass(frozen=True)
class ColumnOptions:
    """Which audit columns a table has, declared or live.

    Attributes:
        actor: type of `created_by`, `updated_by` and `deleted_by`: "text", "bigint" or "uuid".
        references: the column that these refer to, as "users.id" or "people.users.id".
        soft_delete: whether there are `deleted_at` and `deleted_by`.
        lineage: whether there is `data_lineage`.
    """

    actor: str = "text"
    references: str | None = None
    soft_delete: bool = False
    lineage: bool = False

    def __post_init__(self) -> None:
        """Raise `DeclarationError` when a value cannot be used."""
        check_known("actor", self.actor, [*ACTORS])
        if self.references is not None and "." not in self.references:
            raise DeclarationError(
                f'references="{self.references}": write table and column, such as "users.id"'
            )

    @property
    def moments(self) -> tuple[str, ...]:
        """The columns that hold a moment."""
        return ("created_at", "updated_at", *(["deleted_at"] if self.soft_delete else []))

    @property
    def actors(self) -> tuple[str, ...]:
        """The columns that hold an actor."""
        return ("created_by", "updated_by", *(["deleted_by"] if self.soft_delete else []))

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, in the order in which a table gets them."""
        pairs = zip(self.moments, self.actors, strict=True)
        return (*(name for pair in pairs for name in pair), *self._lineage)

    @property
    def _lineage(self) -> tuple[str, ...]:
        return ("data_lineage",) if self.lineage else ()

    def default(self, name: str) -> str | None:
        """The default of a column, as the server prints it."""
        if name in ("created_at", "updated_at"):
            return "now()"
        if name in ("created_by", "updated_by"):
            return ACTOR if self.actor == "text" else f"({ACTOR})::{self.actor}"
        return CONTEXT if name == "data_lineage" else None


class AuditColumns(SchemaItem):
    """Gives a table the columns `created_at`, `created_by`, `updated_at` and `updated_by`.

    Goes into `Table(...)`, before what names these columns; a class has `AuditMixin`:

        orders = Table("orders", metadata, Column("id", BigInteger, primary_key=True),
                       AuditColumns(actor=BigInteger, references="users.id", soft_delete=True))

    The database fills them, whoever writes: moments from the transaction's clock, actors from
    `actor(...)`, and `updated_*` by a trigger.

    Args:
        actor: type of the actors: Text, BigInteger or Uuid.
        references: column that they refer to, as in `sqlalchemy.ForeignKey`: "users.id".
        soft_delete: also `deleted_at` and `deleted_by`.
        lineage: also `data_lineage`, what `actor(...)` was given besides: request, source, batch.
        existing: what `created_at` and `updated_at` of rows that are there before them become: the
            moment of the migration ("now"), or nothing ("null"; then they may stay empty).

    Attributes:
        options: the columns, as they are compared with the database.

    Raises:
        DeclarationError: when the models are imported, with the declaration to write instead.
    """

    __visit_name__ = "audit_columns"

    def __init__(
        self,
        *,
        actor: TypeEngine[Any] | type[TypeEngine[Any]] = Text,
        references: str | None = None,
        soft_delete: bool = False,
        lineage: bool = False,
        existing: Existing = "now",
    ) -> None:
        """Take the declaration; each table gets columns of its own."""
        with called("AuditColumns"):
            self.options = ColumnOptions(_actor_type(actor), references, soft_delete, lineage)
            check_known("existing", existing, get_args(Existing))
        self.existing: Existing = existing

    def __repr__(self) -> str:
        """The declaration as it would be written."""
        default = {**vars(ColumnOptions()), "existing": "now"}
        given = {**vars(self.options), "existing": self.existing}
        given["actor"], default["actor"] = ACTORS[self.options.actor].__name__, Text.__name__
        written = [
            f"{name}={value if name == 'actor' else repr(value)}"
            for name, value in given.items()
            if value != default[name]
        ]
        return f"AuditColumns({', '.join(written)})"

    @classmethod
    def of(cls, options: ColumnOptions, existing: Existing) -> Self:
        """The declaration that gives these columns."""
        kind = ACTORS[options.actor]
        more = {"soft_delete": options.soft_delete, "lineage": options.lineage}
        return cls(actor=kind, references=options.references, existing=existing, **more)

    def arguments(self, name: str) -> tuple[list[Any], dict[str, Any]]:
        """What `Column` and `mapped_column` take for one of the columns."""
        default = self.options.default(name)
        options: dict[str, Any] = {"server_default": None if default is None else text(default)}
        options["nullable"] = default != "now()" or self.existing == "null"
        if name in _TOUCHED:
            options["server_onupdate"] = FetchedValue()
        if name == "created_at":
            options["info"] = {_COLUMNS: self}
        if name in self.options.moments:
            return [DateTime(timezone=True)], options
        if name not in self.options.actors:
            from sqlalchemy.dialects.postgresql import JSONB  # noqa: PLC0415  # models import fast

            return [JSONB()], options
        references = self.options.references
        return [
            ACTORS[self.options.actor](),
            *([ForeignKey(references)] if references else []),
        ], options

    def columns(self) -> Iterator[Column[Any]]:
        """New columns."""
        for name in self.options.columns:
            arguments, options = self.arguments(name)
            yield Column(name, *arguments, **options)

    def _set_parent(self, parent: Any, **_: Any) -> None:
        """Add the columns to a table (the hook of every SchemaItem)."""
        before = columns_on(parent)
        if before is not None and repr(before) == repr(self):
            return
        taken = [name for name in self.options.columns if name in parent.columns]
        if taken:
            raise DeclarationError(
                f"{parent.fullname}: AuditColumns brings {words(taken)} itself: remove "
                f"{'it' if len(taken) == 1 else 'them'} from the table"
            )
        for column in self.columns():
            parent.append_column(column)


def columns_on(table: Table) -> AuditColumns | None:
    """The audit columns declared on a table, if it has them."""
    column = table.columns.get("created_at")
    return None if column is None else column.info.get(_COLUMNS)


def _actor_type(given: TypeEngine[Any] | type[TypeEngine[Any]]) -> str:
    for name, plain in ACTORS.items():
        if given is plain:
            return name
    kind = given() if isinstance(given, type) else given
    try:
        written = kind.compile(dialect()).lower()
    except (AttributeError, CompileError):  # no type of SQLAlchemy, or one such as NullType
        written = "?"
    if written not in ACTORS:
        known = ", ".join(kind.__name__ for kind in ACTORS.values())
        shown = getattr(given, "__name__", repr(given))
        raise DeclarationError(f"actor={shown}: write one of {known}")
    return written
