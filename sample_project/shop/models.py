"""The shop's tables; orders and events grow by the month and by the week, lines in shards."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    MetaData,
    Numeric,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from alembic_enterprise import AuditMixin, AuditTrail, HashShards, RangePartitions

NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
"""How constraints and indexes are called, so that migrations can name them."""


class Base(DeclarativeBase):
    """Base of every model."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it once, as documented
        int: BigInteger,
        datetime: DateTime(timezone=True),
        Decimal: Numeric(12, 2),
        dict[str, Any]: JSONB,
    }


class Customer(AuditMixin, Base):
    """Someone who buys; a plain table that says who wrote a row first and last."""

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    orders: Mapped[list["Order"]] = relationship(back_populates="customer")


class Order(Base):
    """What a customer bought; one partition a month, kept for ever, each change on record."""

    __tablename__ = "orders"
    __table_args__ = (
        Index(None, "customer_id"),
        RangePartitions("created_at", every="month"),
        AuditTrail(),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    status: Mapped[str] = mapped_column(server_default="new")
    note: Mapped[str | None]
    customer: Mapped[Customer] = relationship(back_populates="orders")
    lines: Mapped[list["OrderLine"]] = relationship(back_populates="order")


class OrderLine(Base):
    """One article of an order; eight shards, each with all lines of its orders; on record, too."""

    __tablename__ = "order_lines"
    __table_args__ = (
        ForeignKeyConstraint(["order_id", "order_created_at"], ["orders.id", "orders.created_at"]),
        HashShards("order_id", count=8),
        AuditTrail(),
    )

    order_id: Mapped[int] = mapped_column(primary_key=True)
    order_created_at: Mapped[datetime] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    article: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal]
    order: Mapped[Order] = relationship(back_populates="lines")


class Event(Base):
    """What happened in the shop; one partition a week, kept for a year."""

    __tablename__ = "events"
    __table_args__ = (
        ForeignKeyConstraint(["order_id", "order_created_at"], ["orders.id", "orders.created_at"]),
        Index(None, "customer_id", "happened_at"),
        RangePartitions("happened_at", every="week", retain=52, timezone="Europe/Berlin"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    happened_at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    kind: Mapped[str]
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    order_id: Mapped[int | None]
    order_created_at: Mapped[datetime | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
