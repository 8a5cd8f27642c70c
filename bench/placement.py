"""Placing keys in shards: one by one in Python, and whole columns with numpy.

    python bench/placement.py
    python bench/placement.py --rounds 51

Keys per second say little about another machine. So each type takes turns with a peer of the same
run: one call of hashlib.blake2b for each key, and one pass that multiplies as many numbers of 64
bits with numpy. Medians of the rounds. Exits with 1 when a promise is broken.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from time import perf_counter
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from alembic_enterprise.shards.hashing.key_types import KEY_TYPES, row_hash
from alembic_enterprise.shards.vectorised import row_hashes
from bench._shared import exit_with

KEYS = 10_000
"""Keys in one measured round in Python."""

ROWS = 500_000
"""Rows of the arrays, and of the peer's array."""

VALUES = 50_000
"""Values of those columns that are no arrays: Python holds them as objects."""

PROMISES = {
    "bigint": (12.0, 150.0),
    "uuid": (25.0, 200.0),
    "text": (25.0, 600.0),
}
"""At most so many times a call of blake2b for a key, and a multiplication for a row."""


class Speed(NamedTuple):
    """Median keys per second, and how many times the peer's time a key takes."""

    keys: float
    ratio: float


def main() -> int:
    """Measure and print; 0 when every promise is kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=31, help="measured rounds of each type")
    rounds = parser.parse_args().rounds
    print(f"{'':<28}{'Python':>12}{'x blake2b':>11}{'numpy':>14}{'x multiply':>12}   keys/s")
    kept = [show(name, rounds) for name in [*KEY_TYPES, "bigint, text"]]
    return 0 if all(kept) else 1


def show(name: str, rounds: int) -> bool:
    """Measure one key and print it; False when a promise is broken."""
    types = name.split(", ")
    one = one_by_one(types, rounds)
    all_at_once = whole_columns(types, rounds)
    most = PROMISES.get(name)
    kept = most is None or (one.ratio <= most[0] and all_at_once.ratio <= most[1])
    promise = "" if most is None else f"   at most {most[0]:g} and {most[1]:g}"
    print(
        f"{name:<28}{one.keys:>12,.0f}{one.ratio:>11.1f}"
        f"{all_at_once.keys:>14,.0f}{all_at_once.ratio:>12.1f}{promise}{'' if kept else ' BROKEN'}",
        flush=True,
    )
    return kept


def one_by_one(types: Sequence[str], rounds: int) -> Speed:
    """Keys that come one after the other, as in a request."""
    keys = list(zip(*(values(name, KEYS) for name in types), strict=True))
    data = [b"sixteen bytes %2d" % (number % 100) for number in range(KEYS)]

    def place() -> None:
        for key in keys:
            row_hash(types, key)

    def peer() -> None:
        for item in data:
            blake2b(item, digest_size=8).digest()

    return compared(place, KEYS, peer, KEYS, rounds)


def whole_columns(types: Sequence[str], rounds: int) -> Speed:
    """Columns that are there as a whole, as in COPY input."""
    columns = [column(name) for name in types]
    count = min(map(len, columns))
    columns = [item[:count] for item in columns]
    numbers, product = np.arange(ROWS, dtype=np.uint64), np.zeros(ROWS, np.uint64)

    def peer() -> None:
        np.multiply(numbers, numbers, out=product)

    return compared(lambda: row_hashes(types, columns), count, peer, ROWS, rounds)


def compared(
    ours: Callable[[], object], keys: int, peer: Callable[[], object], units: int, rounds: int
) -> Speed:
    """Take turns with a peer."""
    pairs = [(seconds(ours) / keys, seconds(peer) / units) for _ in range(rounds)]
    return Speed(
        1 / statistics.median(own for own, _ in pairs),
        statistics.median(own / other for own, other in pairs),
    )


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = perf_counter()
    run()
    return perf_counter() - start


def values(name: str, count: int) -> list[Any]:
    """Values of a type, as applications hold them."""
    chance = random.Random(name)  # noqa: S311  # the same on each run
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    make: dict[str, Callable[[int], Any]] = {
        "smallint": lambda _: chance.randrange(-(2**15), 2**15),
        "integer": lambda _: chance.randrange(-(2**31), 2**31),
        "bigint": lambda _: chance.randrange(-(2**63), 2**63),
        "uuid": lambda _: UUID(int=chance.getrandbits(128)),
        "boolean": lambda number: number % 2 == 0,
        "bytea": lambda _: chance.randbytes(20),
        "date": lambda number: (moment + timedelta(days=number)).date(),
        "timestamp without time zone": lambda number: (
            moment.replace(tzinfo=None) + timedelta(microseconds=number * 987_654_321)
        ),
        "timestamp with time zone": lambda number: (
            moment + timedelta(microseconds=number * 987_654_321)
        ),
        "numeric": lambda _: Decimal(chance.getrandbits(40)) / 100,
    }
    texts: Callable[[int], Any] = "customer-{}".format
    return [make.get(name, texts)(number) for number in range(count)]


def column(name: str) -> Any:
    """An array where one can be had without a look at each value, else a list."""
    chance = np.random.default_rng(1)
    if name in ("smallint", "integer", "bigint"):
        bits = {"smallint": 16, "integer": 32, "bigint": 64}[name]
        edge = 1 << bits - 1
        return chance.integers(-edge, edge, ROWS, np.int64).astype(f"i{bits // 8}")
    if name == "boolean":
        return chance.integers(0, 2, ROWS).astype(np.bool_)
    if name == "uuid":
        return chance.integers(0, 256, (ROWS, 16), np.uint8)
    if name == "date":
        return np.datetime64("2026-11-21") + chance.integers(-9999, 9999, ROWS)
    if name.startswith("timestamp"):
        return np.datetime64("2026-11-21", "us") + chance.integers(-(2**50), 2**50, ROWS)
    return values(name, VALUES)


if __name__ == "__main__":
    exit_with(main)
