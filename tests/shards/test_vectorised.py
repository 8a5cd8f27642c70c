"""Whole columns are placed as their keys are one by one."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hash_keys import RANDOM, random_keys, vectors
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, Uuid

from alembic_enterprise.errors import PlacementError
from alembic_enterprise.shards.hashing.arrays import CHUNK, FEW
from alembic_enterprise.shards.hashing.key_types import row_hash
from alembic_enterprise.shards.model import HashShards
from alembic_enterprise.shards.placement import shard_of
from alembic_enterprise.shards.vectorised import row_hashes, shards_of

KEYS = [*([name] for name in RANDOM), ["bigint", "text"], ["uuid", "date", "numeric"]]


def one_by_one(types: Sequence[str], columns: Sequence[Any]) -> list[int]:
    return [row_hash(types, key) for key in zip(*columns, strict=True)]


def test_frozen_keys() -> None:
    for vector in vectors():
        columns = [[value] for value in vector.values]
        assert row_hashes(vector.types, columns).tolist() == [vector.row_hash], vector


@pytest.mark.parametrize("types", KEYS, ids=", ".join)
def test_sequences_of_values(types: list[str]) -> None:
    columns = list(zip(*random_keys(types, 10_000), strict=True))
    assert row_hashes(types, columns).tolist() == one_by_one(types, columns)


@pytest.mark.parametrize("types", KEYS, ids=", ".join)
def test_arrays_of_objects(types: list[str]) -> None:
    columns = list(zip(*random_keys(types, 500), strict=True))
    arrays = [np.fromiter(column, object, len(column)) for column in columns]
    assert row_hashes(types, arrays).tolist() == one_by_one(types, columns)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("smallint", dtype) for dtype in ("i1", "u1", "i2", ">i2")),
        *(("integer", dtype) for dtype in ("i2", "u2", "i4", ">i4", "i8")),
        *(("bigint", dtype) for dtype in ("i4", "u4", "i8", ">i8", "u8")),
        *(("boolean", "?"), ("text", "U9"), ("character", "U9"), ("numeric", "i8")),
    ],
)
def test_arrays_of_numbers_and_texts(name: str, dtype: str) -> None:
    array = np.arange(0 if "u" in dtype else -100, 100).astype(dtype)
    assert row_hashes([name], [array]).tolist() == one_by_one([name], [array.tolist()])


@pytest.mark.parametrize(
    ("name", "unit", "units"),
    [("date", "D", "D s us"), ("timestamp without time zone", "us", "D s ms us ns")],
)
def test_arrays_of_moments(name: str, unit: str, units: str) -> None:
    days = np.arange("1999-12-01", "2000-02-01", dtype="M8[D]")
    expected = one_by_one([name], [days.astype(f"M8[{unit}]").tolist()])
    for other in units.split():
        assert row_hashes([name], [days.astype(f"M8[{other}]")]).tolist() == expected, other


def test_moments_in_utc_stand_for_timestamps_with_time_zone() -> None:
    moments = np.array(["2026-11-21T12:00:00.000001", "1999-12-31T23:59:59", "NaT"], "M8[us]")
    aware = [
        datetime(2026, 11, 21, 12, microsecond=1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        None,
    ]
    types = ["timestamp with time zone"]
    assert row_hashes(types, [moments]).tolist() == one_by_one(types, [aware])


def test_uuids_as_bytes() -> None:
    keys = [UUID(int=number << 64 | number) for number in range(0, 1 << 40, 1 << 30)]
    expected = one_by_one(["uuid"], [keys])
    data = b"".join(key.bytes for key in keys)
    rows = np.frombuffer(data, np.uint8).reshape(-1, 16)
    for array in (rows, np.frombuffer(data, "V16"), np.frombuffer(data, "S16"), rows[::-1][::-1]):
        assert row_hashes(["uuid"], [array]).tolist() == expected


def test_masked_values_are_null() -> None:
    array = np.ma.MaskedArray([1, 2, 3], mask=[False, True, False])
    types = ["bigint", "text"]
    columns = [[1, None, 3], ["a", "b", None]]
    assert row_hashes(types, [array, columns[1]]).tolist() == one_by_one(types, columns)
    assert row_hashes(["bigint"], [np.ma.MaskedArray([7, 8])]).tolist() == one_by_one(
        ["bigint"], [[7, 8]]
    )


@pytest.mark.parametrize("count", [0, 1, FEW - 1, FEW, FEW + 1, CHUNK, CHUNK + 1])
def test_any_number_of_rows(count: int) -> None:
    """Of texts of every length, so that the last block has every length, too."""
    columns = [range(count), ["é" * (number % 50) for number in range(count)]]
    found = row_hashes(["bigint", "text"], columns)
    assert found.tolist() == one_by_one(["bigint", "text"], columns)


@pytest.mark.parametrize("long", [1, FEW - 1, FEW, 2 * FEW])
def test_a_few_long_texts_among_short_ones(long: int) -> None:
    texts = ["x" * (30_000 + number) for number in range(long)] + ["short"] * 100
    assert row_hashes(["text"], [texts]).tolist() == one_by_one(["text"], [texts])


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("smallint", np.array([1, 40_000]), "40000 is out of range"),
        ("bigint", np.array([-1, 2**63], "f8"), "got float"),
        ("bigint", np.array([2**63], "u8"), "out of range"),
        ("bigint", [1, "2"], "got str"),
        ("bigint", np.array([True]), "got bool"),
        ("text", ["a", 1], "got int"),
        ("text", ["a", "b\0c"], "without NUL"),
        ("text", ["a", "\ud800"], "surrogates not allowed"),
        ("text", np.array([1]), "got int"),
        ("date", np.array(["2026-11-21T12"], "M8[h]"), r"round them to datetime64\[D\]"),
        ("timestamp without time zone", np.array([1], "M8[ns]"), "finer values"),
        ("uuid", np.zeros((3, 15), np.uint8), "16 bytes"),
        ("double precision", [1.0], "not known here"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, column: Any, message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        row_hashes([name], [column])


@pytest.mark.parametrize("columns", [[[1]], [[1], ["a", "b"]], [[1], ["a"], ["b"]]])
def test_columns_fit_the_key(columns: list[Any]) -> None:
    with pytest.raises(PlacementError, match=r"the key has 2 columns.* give one for each"):
        row_hashes(["bigint", "text"], columns)


# Declarations


def orders(make: Callable[[], Any] = Text) -> Table:
    return Table(
        "orders",
        MetaData(),
        HashShards("tenant_id", "region", count=8),
        Column("tenant_id", BigInteger, primary_key=True),
        Column("region", make(), primary_key=True),
    )


def test_the_shards_of_a_table() -> None:
    columns = np.arange(100), ["eu", "us"] * 50
    expected = [shard_of(orders(), key) for key in zip(range(100), columns[1], strict=True)]
    assert shards_of(orders(), columns).tolist() == expected
    named = {"region": columns[1], "tenant_id": columns[0]}
    assert shards_of(orders(), named).tolist() == expected


def test_types_of_the_models_turn_values_into_stored_ones() -> None:
    table = orders(lambda: Uuid(native_uuid=False))
    columns = range(9), [UUID(int=number) for number in range(9)]
    expected = [shard_of(table, key) for key in zip(*columns, strict=True)]
    assert shards_of(table, columns).tolist() == expected
    with pytest.raises(PlacementError, match="2 columns and 3 values"):
        shards_of(table, (*columns, columns[0]))


def test_without_numpy_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "from alembic_enterprise.shards.placement import shard_of\n"
        "import alembic_enterprise.shards.vectorised"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "ConfigurationError" in run.stderr.splitlines()[-1]
    assert "run `pip install '.[numpy]'` in a checkout" in run.stderr.splitlines()[-1]
