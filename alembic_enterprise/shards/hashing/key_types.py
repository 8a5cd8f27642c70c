"""The types a key may have, and what PostgreSQL hashes of their values.

A value is taken as its column keeps it: `numeric(10, 2)`, `timestamp(0)` and `varchar(3)` round or
cut what is written into them, and that comes before the hash. Each type hashes either one integer
or a string of bytes, besides `numeric`. Facts from PostgreSQL's sources: hashfunc.c in
src/backend/access/hash, and date.c, numeric.c, timestamp.c, uuid.c and varchar.c in
src/backend/utils/adt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from struct import pack
from typing import Any, cast
from uuid import UUID

from alembic_enterprise.errors import PlacementError
from alembic_enterprise.shards.hashing.lookup3 import LONG, SEED, combine, hash_bytes, hash_integer

EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001  # timestamps without time zone count from it, too
"""What PostgreSQL counts days and microseconds from."""

DIGITS = 4
"""Decimal digits in one digit of a numeric."""


@dataclass(frozen=True)
class KeyType:
    """A type by its name, as `format_type` prints it without a length or precision.

    Attributes:
        stored: turns a value into the integer or the bytes that are hashed; raises
            `PlacementError` for what is not a value of the type.
        hashed: the hash function, for what `stored` returns.
    """

    name: str
    stored: Callable[[Any], Any]
    hashed: Callable[[Any], int]


def row_hash(types: Sequence[str], values: Sequence[Any]) -> int:
    """PostgreSQL's hash of a partition key, 64 bits, unsigned.

    A row belongs to the partition whose remainder is this hash modulo the partition's modulus.
    NULL is None, and leaves the hash as it is (`compute_partition_hash_value` in
    src/backend/partitioning/partbounds.c).

    Raises:
        PlacementError: for a type whose hash is not known here, a value that is not of its type,
            or another number of values than of types.
    """
    check_number(len(types), len(values))
    row = 0
    for name, value in zip(types, values, strict=True):
        kind = type_named(name)
        if value is not None:
            row = combine(row, kind.hashed(kind.stored(value)))
    return row


def check_number(columns: int, values: int) -> None:
    """Raise `PlacementError` unless there are as many values as columns."""
    if values != columns:
        raise PlacementError(
            f"the key has {columns} columns and {values} values were given: give one value for "
            "each column, None for NULL"
        )


def type_named(name: str) -> KeyType:
    """The type of that name. Raises `PlacementError` when its hash is not known here."""
    try:
        return KEY_TYPES[name]
    except KeyError:
        raise PlacementError(unknown_type(name)) from None


def unknown_type(name: str) -> str:
    """What to say of a type that is not among `KEY_TYPES`."""
    return (
        f"the hash of type {name} is not known here: let the server place the row, or make the key "
        f"of {', '.join(KEY_TYPES)}"
    )


def _refused(name: str, value: object, wanted: str) -> PlacementError:
    return PlacementError(f"a key of type {name} got {type(value).__name__}: give {wanted}")


def _integer(name: str, bits: int) -> KeyType:
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1
    wanted = f"an int from {least} to {most}"

    def stored(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _refused(name, value, wanted)
        if not least <= value <= most:
            raise PlacementError(f"{value} is out of range for a key of type {name}: give {wanted}")
        return value

    return KeyType(name, stored, hash_integer)


def _text(name: str) -> KeyType:
    def stored(value: object) -> bytes:
        if not isinstance(value, str) or "\0" in value:
            raise _refused(name, value, "a str without NUL characters")
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise PlacementError(f"a key of type {name} got {error}: give valid text") from error

    return KeyType(name, stored, hash_bytes)


_CHARACTER = _text("character")


def _without_padding(value: object) -> bytes:
    stored: bytes = _CHARACTER.stored(value)
    return stored.rstrip(b" ")


def _boolean(value: object) -> int:
    if not isinstance(value, bool):
        raise _refused("boolean", value, "a bool")
    return int(value)


def _bytea(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(cast("bytes", value))
    raise _refused("bytea", value, "bytes")


def _uuid(value: object) -> bytes:
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, str):
        try:
            return UUID(value).bytes
        except ValueError:
            pass
    elif isinstance(value, bytes) and len(value) == 16:  # noqa: PLR2004  # a UUID has 16 bytes
        return value
    raise _refused("uuid", value, "a UUID, its text or its 16 bytes")


def _endless(value: object, bits: int) -> int | None:
    """How `infinity` and `-infinity` are stored, which Python's dates cannot be; else None."""
    most = (1 << bits - 1) - 1
    return {"infinity": most, "-infinity": -most - 1}.get(value) if type(value) is str else None


def _date(value: object) -> int:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.toordinal() - EPOCH.toordinal()
    if (endless := _endless(value, 32)) is not None:
        return endless
    raise _refused("date", value, 'a date, "infinity" or "-infinity"')


def _timestamp(name: str, epoch: datetime, wanted: str) -> KeyType:
    aware = epoch.tzinfo is not None

    def stored(value: object) -> int:
        if isinstance(value, datetime) and (value.utcoffset() is not None) == aware:
            since = value - epoch
            return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if (endless := _endless(value, 64)) is not None:
            return endless
        raise _refused(name, value, f'{wanted}, "infinity" or "-infinity"')

    return KeyType(name, stored, hash_integer)


def _numeric(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    raise _refused("numeric", value, "a Decimal or an int")


def _hash_numeric(value: Decimal) -> int:
    """Hash of a numeric: its digits of base 10,000 without outer zeros, and where they stand.

    Neither its sign nor its scale is hashed; NaN and the infinities all have the hash SEED.
    """
    if not value.is_finite():
        return SEED
    if not value:
        return SEED - 1
    digits, exponent = _decimal_digits(value)
    weight = (len(digits) + exponent) // DIGITS - 1
    groups = [int(digits[place : place + DIGITS]) for place in range(0, len(digits), DIGITS)]
    return hash_bytes(pack(f"<{len(groups)}h", *groups)) ^ (weight & LONG)


def _decimal_digits(value: Decimal) -> tuple[str, int]:
    """The digits in whole groups of `DIGITS`, no outer group all zeros, and their exponent."""
    _, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    shortest = text.rstrip("0")
    exponent = int(exponent) + len(text) - len(shortest)
    padded = shortest + "0" * (exponent % DIGITS)
    return "0" * (-len(padded) % DIGITS) + padded, exponent - exponent % DIGITS


KEY_TYPES: Mapping[str, KeyType] = {
    kind.name: kind
    for kind in (
        _integer("smallint", 16),
        _integer("integer", 32),
        _integer("bigint", 64),
        _text("text"),
        _text("character varying"),
        KeyType("character", _without_padding, hash_bytes),
        KeyType("uuid", _uuid, hash_bytes),
        KeyType("boolean", _boolean, hash_integer),
        KeyType("bytea", _bytea, hash_bytes),
        KeyType("date", _date, hash_integer),
        _timestamp("timestamp without time zone", EPOCH, "a naive datetime"),
        _timestamp(
            "timestamp with time zone", EPOCH.replace(tzinfo=UTC), "a datetime with a time zone"
        ),
        KeyType("numeric", _numeric, _hash_numeric),
    )
}
"""Every type a key may have, by name."""
