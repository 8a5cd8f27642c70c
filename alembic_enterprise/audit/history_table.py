"""The history of an audited table as a `Table`, made from the models alone."""

from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    DateTime,
    Dialect,
    MetaData,
    Table,
    Text,
    inspect,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapper
from sqlalchemy.types import TypeDecorator

from alembic_enterprise.audit.model import AuditTrail, trail_on
from alembic_enterprise.errors import DeclarationError

_CACHED = "alembic_enterprise.history"

Audited = type[Any] | Table
"""A mapped class, or a table."""


class TransactionNumber(TypeDecorator[int]):
    """The number of a transaction (`xid8`), which some drivers hand out as text."""

    impl = BigInteger
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> int:  # noqa: ARG002  # SQLAlchemy's signature
        """Read it as a number."""
        return int(value)


def history_table(model: Audited) -> Table:
    """The history of a mapped class or table, in a MetaData of its own.

    It has the columns that begin with `audit_`, then those of the table that are kept; a masked or
    hashed one is text. It is the same object each time.

    Raises `DeclarationError` for a table without `AuditTrail`.
    """
    source = source_of(model)
    if _CACHED not in source.info:
        source.info[_CACHED] = _history_table(source)
    found: Table = source.info[_CACHED]
    return found


def source_of(model: Audited) -> Table:
    """The table of a mapped class, or the table itself."""
    if isinstance(model, Table):
        return model
    return cast("Table", cast("Mapper[Any]", inspect(model)).local_table)


def _history_table(source: Table) -> Table:
    spec = spec_of(source)
    schema, name = spec.history_of(source)
    own = (
        Column("audit_id", BigInteger, nullable=False),
        Column("audit_at", DateTime(timezone=True), nullable=False),
        Column("audit_action", Text, nullable=False),
        Column("audit_actor", Text),
        Column("audit_context", JSONB),
        Column("audit_transaction", TransactionNumber, nullable=False),
        Column("audit_session_user", Text, nullable=False),
        Column("audit_role", Text, nullable=False),
        Column("audit_application", Text),
    )
    return Table(name, MetaData(), *own, *_kept(source, spec), schema=schema)


def spec_of(source: Table) -> AuditTrail:
    """The declaration of a table. Raises `DeclarationError` when it has none."""
    spec = trail_on(source)
    if spec is None:
        raise DeclarationError(
            f"{source.fullname}: no history is declared: add AuditTrail() to its __table_args__"
        )
    return spec


def _kept(source: Table, spec: AuditTrail) -> list[Column[Any]]:
    covered = {*spec.trail.mask, *spec.trail.hash}
    return [
        Column(item.name, Text() if item.name in covered else item.type.copy(), key=item.key)
        for item in source.columns
        if item.name not in spec.trail.exclude and not _virtual(item)
    ]


def _virtual(item: Column[Any]) -> bool:
    """Whether the server computes it when it is read: triggers do not see it."""
    return isinstance(item.computed, Computed) and not item.computed.persisted
