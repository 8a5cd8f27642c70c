"""The same hashes for whole columns at once, with numpy: to split COPY input, or to foresee skew.

A column is a numpy array or any sequence of the values that `hashing.key_types` takes. Arrays may
be of integers or booleans, `datetime64` (UTC for timestamps with time zone), text, or UUIDs as 16
bytes each (`V16`, `S16`, or rows of 16 `uint8`). NULL is None, NaT, or what a masked array masks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, cast

from sqlalchemy import Table

from alembic_enterprise.errors import ConfigurationError, PlacementError
from alembic_enterprise.shards.hashing.key_types import EPOCH, KeyType, type_named
from alembic_enterprise.shards.hashing.lookup3 import COMBINE, hash_bytes, hash_integer
from alembic_enterprise.shards.placement import declared_key

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError as error:
    raise ConfigurationError(
        "whole columns are placed with numpy, which is not installed: "
        "run `pip install '.[numpy]'` in a checkout of alembic-enterprise"
    ) from error

from alembic_enterprise.shards.hashing.arrays import (
    UUID_BYTES,
    Array,
    Longs,
    Numbers,
    Strings,
    hash_integers,
    hash_strings,
    hash_uuids,
)


def shards_of(declared: Table | type, columns: Sequence[Any] | Mapping[str, Any]) -> Numbers:
    """The numbers of the shards that keys belong to, as `placement.shard_of` gives them for one.

    Args:
        declared: a table, or a mapped class, that declares `HashShards`.
        columns: for each column of the key the values of all rows: in the order of the declaration,
            or by the names of the columns.

    Raises:
        PlacementError: when the table declares no shards, or for what are no keys of it.
    """
    key, count = declared_key(declared)
    processors = map(key.processors.get, key.columns)
    stored = [
        column if process is None else [process(value) for value in column]
        for process, column in zip(processors, key.in_order(columns), strict=True)
    ]
    return (row_hashes(key.types, stored) % np.uint64(count)).astype(np.int64)


def row_hashes(types: Sequence[str], columns: Sequence[Any]) -> Longs:
    """PostgreSQL's hashes of partition keys, as `hashing.key_types.row_hash` gives them for one.

    Raises:
        PlacementError: for a type whose hash is not known here, a value that is not of its type, or
            columns that differ in length or in number from the types.
    """
    lengths = {len(column) for column in columns}
    if len(types) != len(columns) or len(lengths) > 1:
        raise PlacementError(
            f"the key has {len(types)} columns, and {len(columns)} came, with {sorted(lengths)} "
            "rows: give one for each column of the key, all of one length"
        )
    rows = np.zeros(max(lengths, default=0), np.uint64)
    for name, column in zip(types, columns, strict=True):
        kind = type_named(name)
        values, present = _without_nulls(column)
        hashes = _hashes(kind, values)
        if present is None:
            rows = _combined(rows, hashes)
        else:
            rows[present] = _combined(rows[present], hashes)
    return rows


def _combined(rows: Longs, columns: Longs) -> Longs:
    added = columns + np.uint64(COMBINE)
    added += rows << np.uint64(54)
    added += rows >> np.uint64(7)
    added ^= rows
    return added


def _without_nulls(column: Any) -> tuple[Any, NDArray[np.bool_] | None]:
    """The values that are not NULL, and where they stand; None when they are all."""
    if not _is_array(column):
        column = list(column)
        if None not in column:
            return column, None
        column = np.fromiter(column, object, len(column))
    present = _present(column)
    values: Array = np.asarray(column)
    return (values, None) if present.all() else (values[present], present)


def _is_array(value: object) -> TypeGuard[Array]:
    return isinstance(value, np.ndarray)


def _present(column: Array) -> NDArray[np.bool_]:
    if isinstance(column, np.ma.MaskedArray):
        return ~np.ma.getmaskarray(cast("Array", column))
    if column.dtype.kind == "M":
        return ~np.isnat(column)
    if column.dtype.kind == "O":
        return np.fromiter((value is not None for value in column), np.bool_, len(column))
    return np.ones(len(column), np.bool_)


# From values to integers and bytes


ARRAYS = {
    "smallint": "iu",
    "integer": "iu",
    "bigint": "iu",
    "boolean": "b",
    "date": "M",
    "timestamp without time zone": "M",
    "timestamp with time zone": "M",
    "uuid": "VSu",
}
"""The arrays that need no look at each value, by type: kinds of their dtype."""


def _hashes(kind: KeyType, values: Any) -> Longs:
    if _is_array(values):
        if values.dtype.kind in ARRAYS.get(kind.name, ""):
            return _hashes_of_array(kind, values)
        values = values.tolist()
    if kind.name in ("text", "character varying") and (texts := _texts(values)):
        return hash_strings(texts)
    stored = map(kind.stored, values)
    if kind.hashed is hash_integer:
        return hash_integers(np.fromiter(stored, np.int64, len(values)))
    if kind.name == "uuid":
        return hash_uuids(b"".join(stored))
    if kind.hashed is hash_bytes:
        return hash_strings(_end_to_end(list(stored)))
    return np.fromiter(map(kind.hashed, stored), np.uint64, len(values))


def _hashes_of_array(kind: KeyType, values: Array) -> Longs:
    if kind.name == "uuid":
        return hash_uuids(_bytes_of_uuids(values))
    if values.dtype.kind == "M":
        return hash_integers(_since_epoch(kind, values))
    if values.size and kind.name != "boolean":
        kind.stored(int(values.min()))
        kind.stored(int(values.max()))
    return hash_integers(values.astype(np.int64, copy=False))


def _since_epoch(kind: KeyType, values: Array) -> Numbers:
    """Days or microseconds, as PostgreSQL stores them."""
    unit = "datetime64[D]" if kind.name == "date" else "datetime64[us]"
    exact = values.astype(unit)
    if (exact != values).any():
        raise PlacementError(
            f"a key of type {kind.name} got {values.dtype} with finer values: round them to {unit}"
        )
    since: Array = exact - np.datetime64(EPOCH.isoformat()).astype(unit)
    return since.astype(np.int64)


def _bytes_of_uuids(values: Array) -> bytes:
    data = values.tobytes()
    if len(data) != UUID_BYTES * len(values):
        raise PlacementError(
            f"a key of type uuid got an array of {values.dtype}: give 16 bytes for each value"
        )
    return data


def _end_to_end(strings: Sequence[bytes]) -> Strings:
    lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    return Strings(b"".join(strings), np.cumsum(lengths) - lengths, lengths)


def _texts(values: Sequence[Any]) -> Strings | None:
    """Texts encoded together, ten times as fast as one by one; None when one is not valid."""
    try:
        data = "\0".join([*values, ""]).encode()
    except (TypeError, UnicodeEncodeError):
        return None
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    if len(ends) != len(values):  # PostgreSQL has no text with NUL in it
        return None
    begins = np.zeros_like(ends)
    begins[1:] = ends[:-1] + 1
    return Strings(data, begins, ends - begins)
