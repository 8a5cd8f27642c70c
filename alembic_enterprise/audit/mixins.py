"""AuditMixin and its kin: audit columns of mapped classes, and queries without deleted rows.

class Order(SoftDeleteMixin[int], LineageMixin[int], Base):
    __tablename__ = "orders"
    audit_columns = AuditColumns(actor=BigInteger, references="users.id")

hide_deleted(sessions)                                                       # a sessionmaker
session.scalars(select(Order))                                               # those left
session.scalars(select(Order).execution_options(include_deleted=True))       # all
"""

from dataclasses import replace
from datetime import datetime
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from sqlalchemy import Index, event, text
from sqlalchemy.orm import (
    Mapped,
    ORMExecuteState,
    Session,
    UserDefinedOption,
    declared_attr,
    mapped_column,
    sessionmaker,
    with_loader_criteria,
)
from sqlalchemy.sql.base import ExecutableOption

from alembic_enterprise.audit.column_model import AuditColumns, ColumnOptions
from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.declaration import words

if TYPE_CHECKING:  # type checkers know `default=` on each Python; at run time it came with 3.13
    from typing_extensions import TypeVar

    Actor = TypeVar("Actor", default=str)
else:
    from typing import TypeVar

    Actor = TypeVar("Actor")
"""What an actor is in Python: `str`, `int` or `uuid.UUID`."""


ALL_COLUMNS = ColumnOptions(soft_delete=True, lineage=True).columns
"""The columns that a mixin may bring."""


def _column(name: str) -> Any:
    """A mapped column, a new one for each class, as its `audit_columns` says."""

    def make(cls: type["AuditMixin[Any]"]) -> Mapped[Any]:
        arguments, options = _declared(cls).arguments(name)
        return mapped_column(*arguments, **options)

    return declared_attr(make)


class AuditMixin(Generic[Actor]):
    """Gives a class `created_at`, `created_by`, `updated_at` and `updated_by`.

    The database fills them, whoever writes. `AuditMixin[int]` says to type checkers what an actor
    is; what it is in the database stands in the class, or in a base of the project's own:

        audit_columns = AuditColumns(actor=BigInteger, references="users.id")

    What the database wrote is read by the statement that writes, so that nothing has to be loaded
    later, which an asynchronous session could not do. A class that has `__mapper_args__` of its own
    writes `"eager_defaults": True` into them for that. A dataclass (`MappedAsDataclass`) has
    `AuditColumns(...)` in `__table_args__` instead: SQLAlchemy wants mixins that are dataclasses.
    """

    audit_columns: ClassVar[AuditColumns] = AuditColumns()

    created_at: Mapped[datetime] = _column("created_at")
    created_by: Mapped[Actor | None] = _column("created_by")
    updated_at: Mapped[datetime] = _column("updated_at")
    updated_by: Mapped[Actor | None] = _column("updated_by")

    __mapper_args__: Any = {"eager_defaults": True}  # noqa: RUF012  # SQLAlchemy copies it


class SoftDeleteMixin(AuditMixin[Actor]):
    """Also gives it `deleted_at`, which the application sets, and `deleted_by`, which follows."""

    deleted_at: Mapped[datetime | None] = _column("deleted_at")
    deleted_by: Mapped[Actor | None] = _column("deleted_by")


class LineageMixin(AuditMixin[Actor]):
    """Also gives it `data_lineage`: what `actor(...)` was given besides, of the last change."""

    data_lineage: Mapped[dict[str, Any] | None] = _column("data_lineage")


def _declared(cls: type[AuditMixin[Any]]) -> AuditColumns:
    given = cls.audit_columns
    own = [name for name in ALL_COLUMNS if name in {*vars(cls), *get_annotations(cls)}]
    if own and cls.__module__ != __name__:
        raise DeclarationError(
            f"{cls.__name__}: its mixin brings {words(own)}: remove what the class says of "
            f"{'it' if len(own) == 1 else 'them'}"
        )
    for argument, mixin in (("soft_delete", SoftDeleteMixin), ("lineage", LineageMixin)):
        if getattr(given.options, argument) and not issubclass(cls, mixin):
            raise DeclarationError(
                f"{cls.__name__}: audit_columns says {argument}=True, for which the class needs "
                f"{mixin.__name__}: write class {cls.__name__}({mixin.__name__}, ...)"
            )
    return AuditColumns.of(
        replace(
            given.options,
            soft_delete=issubclass(cls, SoftDeleteMixin),
            lineage=issubclass(cls, LineageMixin),
        ),
        given.existing,
    )


def without_deleted() -> ExecutableOption:
    """The option that leaves deleted rows of every `SoftDeleteMixin` out of one statement.

    session.scalars(select(Order).options(without_deleted()))
    """
    return with_loader_criteria(
        SoftDeleteMixin, lambda cls: cls.deleted_at.is_(None), include_aliases=True
    )


def hide_deleted(sessions: sessionmaker[Any] | type[Session] | Session) -> None:
    """Leave deleted rows out of every SELECT of these sessions.

    What a relationship loads is filtered, too. A statement sees all rows with the execution option
    `include_deleted=True`. For asynchronous sessions, give them a sessionmaker to begin with:

        plain = sessionmaker()
        hide_deleted(plain)
        sessions = async_sessionmaker(engine, sync_session_class=plain)
    """
    event.listen(sessions, "do_orm_execute", _hide)


def _hide(state: ORMExecuteState) -> None:
    if not state.is_select:
        return
    # Loaders of columns and relationships have the options of the statement that they follow: but
    # for the relationships of an object that was added or merged, which no statement loaded.
    alone = state.lazy_loaded_from is not None and not any(
        isinstance(option, _Decided) for option in state.user_defined_options
    )
    follows = state.is_column_load or (state.is_relationship_load and not alone)
    if follows:
        return
    hides = not state.execution_options.get("include_deleted")
    options = [_Decided(), without_deleted()] if hides else [_Decided()]
    state.statement = state.statement.options(*options)


class _Decided(UserDefinedOption):
    """What a statement has that was looked at, and all that is loaded for its objects later."""

    propagate_to_loaders = True


def unique_undeleted(name: str, *columns: str) -> Index:
    """An index that keeps columns unique among the rows that are not deleted.

    __table_args__ = (unique_undeleted("ux_orders_code", "code"),)
    """
    return Index(name, *columns, unique=True, postgresql_where=text("deleted_at IS NULL"))
