"""HashShards: what a model declares."""

import re
import warnings
from typing import Any

from sqlalchemy import Column, Enum, Table, TypeDecorator
from sqlalchemy.exc import CompileError

from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.declaration import (
    Declaration,
    called,
    check_length,
    check_unique_keys,
    declaration_on,
    dialect,
    words,
)
from alembic_enterprise.shards.moduli import COUNT_MAX, multiples

SUFFIX = "_shard_{}"
"""What follows the table's name in the name of a shard: its remainder."""

FEW = 3
"""Counts ahead that a warning lists."""

TYPES = {
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "TEXT": "text",
    "VARCHAR": "character varying",
    "CHAR": "character",
    "UUID": "uuid",
    "BOOLEAN": "boolean",
    "BYTEA": "bytea",
    "DATE": "date",
    "TIMESTAMP WITHOUT TIME ZONE": "timestamp without time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "NUMERIC": "numeric",
    "DECIMAL": "numeric",
}
"""Types a key may have: what SQLAlchemy writes, and what `format_type` prints."""


class HashShards(Declaration):
    """Declares that a table lives in hash partitions, called shards.

    Goes into `__table_args__` or `Table(...)` and sets `PARTITION BY` itself:

        class Order(Base):
            __tablename__ = "orders"
            __table_args__ = (HashShards("tenant_id", count=8),)

    A shard is named after its table and remainder: `orders_shard_0` through `orders_shard_7`.

    With `RangePartitions` after it, each shard is partitioned by time as well
    (`orders_shard_0_y2026_m11`), and its number cannot grow in place. With `RangePartitions` before
    it, each partition by time has shards of its own (`orders_y2026_m11_shard_0`), and another count
    goes for the partitions made from then on: `shard_of` is right for those only.

    Args:
        keys: the columns whose values decide, part of the primary key and of every unique key;
            of type integer, text, uuid, boolean, bytea, date, timestamp or numeric.
        count: how many shards, 1 to 1024. It can later become a multiple of itself, so that a power
            of two leaves most ways open; any other gives a warning with the counts ahead.

    Raises:
        DeclarationError: when the models are imported, with the declaration to write instead.
    """

    __visit_name__ = "hash_shards"
    strategy = "HASH"

    def __init__(self, *keys: str, count: int) -> None:
        """Take the declaration; the table is checked once all its columns are known."""
        with called(f"HashShards({words(keys)})"):
            check_count(count)
            _check_keys(keys)
        if count & (count - 1):
            warnings.warn(_odd_count(keys, count), stacklevel=2)
        self.keys = keys
        self.count = count
        self.suffix_bytes = len(SUFFIX.format(count - 1))

    def __repr__(self) -> str:
        """The declaration as it would be written."""
        return f"HashShards({', '.join(map(repr, self.keys))}, count={self.count})"

    @property
    def partition_count(self) -> int:
        """How many shards there are."""
        return self.count

    def check(self, table: Table) -> None:
        """Raise `DeclarationError` unless PostgreSQL can partition `table` like this."""
        columns = self.key_columns(table)
        for column in columns:
            key_type(column)
        check_unique_keys(table, columns, "shard column")
        check_length(table)


def declared_on(table: Table) -> HashShards | None:
    """The declaration on a table, at either level, if it has one."""
    return declaration_on(table, HashShards)


def check_count(count: object) -> None:
    """Raise `DeclarationError` unless a table can have `count` shards."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= COUNT_MAX:
        raise DeclarationError(f"count={count!r}: write a whole number from 1 to {COUNT_MAX}")


def _check_keys(keys: tuple[object, ...]) -> None:
    texts = {key for key in keys if isinstance(key, str)}
    if not keys or len(texts) < len(keys):
        raise DeclarationError(
            "name the columns of the key as texts, each once: write "
            'HashShards("tenant_id", count=8)'
        )


def _odd_count(keys: tuple[str, ...], count: int) -> str:
    power = 1 << (count - 1).bit_length()
    ahead = list(map(str, multiples(count)))
    more = " or another multiple" if len(ahead) > FEW else ""
    splits = f"can be split into {', '.join(ahead[:FEW])}{more}" if ahead else "cannot be split"
    return (
        f"HashShards({words(keys)}, count={count}): {count} shards {splits}; {power} is not a "
        f"multiple of {count}, and needs the table rebuilt. Write a power of two such as "
        f"count={power}, or keep this count knowingly: before the models, "
        'warnings.filterwarnings("ignore", "HashShards")'
    )


_MODIFIERS = re.compile(r"\([^)]*\)| COLLATE .*")


def key_type(column: Column[Any]) -> str:
    """The type of a key column, as `format_type` prints it without a length or precision.

    Raises `DeclarationError` for a type whose hash a client cannot compute.
    """
    kind = column.type.dialect_impl(dialect())
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    if isinstance(kind, Enum) and kind.native_enum:
        raise _refused(
            column, "PostgreSQL hashes an enum by its OID, which a restored dump changes"
        )
    try:
        written = column.type.compile(dialect())
    except CompileError:  # such as NullType, of a column without a type
        written = "?"
    name = TYPES.get(_MODIFIERS.sub("", written))
    if name is None:
        raise _refused(column, "no client can tell in which shard such a value is")
    return name


def _refused(column: Column[Any], reason: str) -> DeclarationError:
    return DeclarationError(
        f"{column.table.fullname}.{column.name} is of type {column.type!r}: {reason}; shard by a "
        "column of type Integer, String, Uuid, Boolean, LargeBinary, Date, DateTime or Numeric"
    )
