"""Keys to place: random ones of every type and the frozen ones of pghash.json."""

import json
import random
import string
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

VECTORS = Path(__file__).parent / "shards" / "pghash.json"
"""Hashes that PostgreSQL computed: types by their internal names, values as JSON has them."""

NAMES = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "text": "text",
    "varchar": "character varying",
    "bpchar": "character",
    "uuid": "uuid",
    "bool": "boolean",
    "bytea": "bytea",
    "date": "date",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "numeric": "numeric",
}
"""Internal names of types, and what `format_type` prints."""

FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "bytea": bytes.fromhex,
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamptz": datetime.fromisoformat,
    "numeric": Decimal,
    "uuid": UUID,
}


class Vector(NamedTuple):
    """A key and its hash."""

    types: list[str]
    values: list[Any]
    row_hash: int
    remainders: dict[int, int]


def vectors() -> Iterator[Vector]:
    """The frozen keys."""
    for found in json.loads(VECTORS.read_text())["vectors"]:
        yield Vector(
            [NAMES[name] for name in found["types"]],
            [
                value if value is None else FROM_JSON.get(name, lambda same: same)(value)
                for name, value in zip(found["types"], found["values"], strict=True)
            ],
            int(found["row_hash"]),
            {int(modulus): remainder for modulus, remainder in found["remainders"].items()},
        )


ALPHABET = (
    *(string.ascii_letters + string.digits + string.punctuation + " ") * 2,
    *"äéßøЖשقあ東京한😀🏳\u0301\u200b\u00a0\ufffd\U0010ffff\x01\x7f\t\n",
)


def _integers(chance: random.Random, bits: int) -> int:
    edge = 1 << bits - 1
    if chance.random() < 0.05:
        return chance.choice((0, 1, -1, edge - 1, -edge, 1 - edge))
    # Of every size: many bits are rare in uniform numbers.
    return chance.randrange(-edge, edge) >> chance.randrange(bits)


def _text(chance: random.Random) -> str:
    length = 4000 if chance.random() < 0.002 else chance.randrange(60)
    return "".join(chance.choices(ALPHABET, k=length))


def _padded(chance: random.Random) -> str:
    return _text(chance)[:30] + chance.choice(("", " ", "   ", "\u00a0", "\t ", " \n"))


def _numeric(chance: random.Random) -> Decimal:
    shape = chance.randrange(6)
    if shape == 0:
        return Decimal(chance.choice(NUMERICS))
    digits = str(chance.randrange(10 ** chance.randrange(1, 40)))
    if shape == 1:
        digits += "0" * chance.randrange(20)
    places = chance.randrange(-30, 30)
    return Decimal(f"{chance.choice('+-')}{digits}E{places}")


NUMERICS = (
    *("0", "-0", "0.00", "0E+30", "1", "1.0", "1.00", "1.0000", "-1", "10", "100", "1000"),
    *("9999", "10000", "10001", "100000000", "1E+100", "1.5E+131000", "9" * 400, "1" + "0" * 5000),
    *("0.1", "0.0001", "0.00001", "0.00010000", "0.99990000", "1E-16383", "0." + "0" * 999 + "7"),
    *("1234.5678", "12345.6789", "-99999999999999999999.5", "NaN", "Infinity", "-Infinity"),
)
"""Numbers around the edges of digits of base 10,000, and the ends of the type."""


DAYS = date.max.toordinal()


def _date(chance: random.Random) -> date | str:
    if chance.random() < 0.01:
        return chance.choice((date.min, date.max, "infinity", "-infinity"))
    return date.fromordinal(chance.randrange(1, DAYS + 1))


def _timestamp(chance: random.Random) -> datetime | str:
    if chance.random() < 0.01:
        return chance.choice((datetime.min, datetime.max, "infinity", "-infinity"))  # noqa: DTZ901  # naive on purpose
    return datetime(1, 1, 1) + timedelta(  # noqa: DTZ001  # naive on purpose
        days=chance.randrange(DAYS - 1), microseconds=chance.randrange(86_400_000_000)
    )


def _timestamptz(chance: random.Random) -> datetime | str:
    moment = _timestamp(chance)
    if isinstance(moment, str):
        return moment
    zones = UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=9, minutes=30))
    return moment.replace(tzinfo=chance.choice(zones))


RANDOM: dict[str, Callable[[random.Random], Any]] = {
    "smallint": lambda chance: _integers(chance, 16),
    "integer": lambda chance: _integers(chance, 32),
    "bigint": lambda chance: _integers(chance, 64),
    "text": _text,
    "character varying": _text,
    "character": _padded,
    "uuid": lambda chance: UUID(int=chance.getrandbits(128)),
    "boolean": lambda chance: chance.random() < 0.5,
    "bytea": lambda chance: chance.randbytes(chance.randrange(80)),
    "date": _date,
    "timestamp without time zone": _timestamp,
    "timestamp with time zone": _timestamptz,
    "numeric": _numeric,
}
"""For each type a function that makes one value."""

COLUMNS = dict.fromkeys(RANDOM) | {"character": "character(40)"}
"""How a column of a type is declared, where its name is not enough."""


def random_keys(types: list[str], count: int) -> list[tuple[Any, ...]]:
    """Keys of the given types, the same on each call; one value in twenty is NULL."""
    chance = random.Random(repr(types))  # noqa: S311  # the same on each run
    return [
        tuple(None if chance.random() < 0.05 else RANDOM[name](chance) for name in types)
        for _ in range(count)
    ]
