"""How rows would be spread over shards by a key: pure functions of sampled values."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.shards.hashing.key_types import row_hash
from alembic_enterprise.shards.status import SKEW
from alembic_enterprise.sql import Name

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""

COUNTS = (4, 8, 16, 32, 64)
"""Numbers of shards that are predicted when none is asked for."""

ENOUGH = 100
"""Sampled rows a shard must have on average: with fewer, its skew is mostly chance."""


@dataclass(frozen=True)
class UniqueKey:
    """A primary or unique key, or unique index, with its columns; None is an expression."""

    name: str
    columns: tuple[str | None, ...]
    primary: bool


@dataclass(frozen=True)
class Column:
    """A column that could be a key.

    Attributes:
        type: as `format_type` prints it without a length or precision; of a domain, the type
            below it.
        nullable: whether it may be NULL: all rows without a value fall into one shard.
    """

    name: str
    type: str
    nullable: bool


@dataclass(frozen=True)
class Sample:
    """Rows of a table, by chance.

    Attributes:
        rows: estimate of all rows of the table.
        sampled: how many of them are here.
        columns: those that could be a key.
        values: of each such column, how often each value is among the rows.
        refused: other columns, and why they could not be a key.
        keys: what is unique in the table.
    """

    table: Name
    rows: int
    sampled: int
    columns: Sequence[Column]
    values: Mapping[str, Counter[Hashable]]
    refused: Mapping[str, str]
    keys: Sequence[UniqueKey]


@dataclass(frozen=True)
class Spread:
    """Rows over `count` shards.

    Attributes:
        count: how many shards.
        least: sampled rows of the emptiest shard.
        most: those of the fullest.
        mean: those of all on average.
    """

    count: int
    least: int
    most: int
    mean: float

    @property
    def skew(self) -> float:
        """Rows of the fullest shard in multiples of the mean."""
        return self.most / self.mean if self.mean else 1.0

    @property
    def sensible(self) -> bool:
        """Whether no shard has far too many rows, and enough were sampled to tell."""
        return self.skew <= SKEW and self.mean >= ENOUGH


@dataclass(frozen=True)
class Candidate:
    """A key for the shards of a table, with what it would make of them.

    Attributes:
        distinct: how many values were sampled, NULL among them.
        hottest: the most frequent value; None is NULL.
        share: its part of the rows, 0 to 1.
        lacking: primary and unique keys that would have to contain the column, and do not.
    """

    column: Column
    distinct: int
    hottest: Any
    share: float
    spreads: tuple[Spread, ...]
    lacking: tuple[UniqueKey, ...]

    @property
    def counts(self) -> list[int]:
        """The predicted numbers of shards that make sense."""
        return [spread.count for spread in self.spreads if spread.sensible]


def candidates(sample: Sample, counts: Sequence[int]) -> list[Candidate]:
    """Every key that one column makes, the most useful first.

    That is one that allows the most shards; then one that leaves unique keys as they are, is never
    NULL, and has no frequent value.
    """
    found = [_candidate(sample, column, counts) for column in sample.columns]
    return sorted(found, key=_usefulness)


def _usefulness(item: Candidate) -> tuple[int, int, bool, float]:
    return -max(item.counts, default=0), len(item.lacking), item.column.nullable, item.share


def _candidate(sample: Sample, column: Column, counts: Sequence[int]) -> Candidate:
    values = sample.values[column.name]
    rows = _by_remainder(row_hashes(column.type, list(values)), values.values(), counts)
    [(hottest, times)] = values.most_common(1) or [(None, 0)]
    return Candidate(
        column,
        distinct=len(values),
        hottest=hottest,
        share=times / (sample.sampled or 1),
        spreads=tuple(spread(rows, count) for count in sorted(set(counts))),
        lacking=tuple(key for key in sample.keys if column.name not in key.columns),
    )


def row_hashes(kind: str, values: Sequence[Any]) -> list[int]:
    """The hashes of single-column keys: with numpy where it is installed, else one by one."""
    try:
        from alembic_enterprise.shards import vectorised  # noqa: PLC0415  # numpy is optional
    except ConfigurationError:
        return [row_hash([kind], [value]) for value in values]
    hashes: list[int] = vectorised.row_hashes([kind], [values]).tolist()
    return hashes


def _by_remainder(
    hashes: Iterable[int], times: Iterable[int], counts: Iterable[int]
) -> Mapping[int, int]:
    """Rows by what gives their shard for each of the counts: far fewer than there are hashes."""
    multiple = math.lcm(*counts)
    rows: Counter[int] = Counter()
    for row, number in zip(hashes, times, strict=True):
        rows[row % multiple] += number
    return rows


def spread(rows: Mapping[int, int], count: int) -> Spread:
    """How rows are spread over `count` shards.

    Args:
        rows: how many have each hash, or remainder of a multiple of `count`.
        count: how many shards.
    """
    shards = [0] * count
    for row, number in rows.items():
        shards[row % count] += number
    return Spread(count, min(shards), max(shards), sum(shards) / count)


def document(sample: Sample, found: Sequence[Candidate]) -> dict[str, Any]:
    """What `shards advise --format json` prints; see schemas/shards-advise.schema.json."""
    scale = sample.rows / sample.sampled if sample.sampled else 0.0
    return {
        "format_version": FORMAT_VERSION,
        "schema": sample.table.schema,
        "name": sample.table.name,
        "rows": sample.rows,
        "sampled": sample.sampled,
        "candidates": [_plain(item, scale) for item in found],
        "refused": dict(sample.refused),
    }


def _plain(item: Candidate, scale: float) -> dict[str, Any]:
    return {
        "column": item.column.name,
        "type": item.column.type,
        "nullable": item.column.nullable,
        "distinct": item.distinct,
        "hottest": shown(item.hottest),
        "hottest_share": round(item.share, 6),
        "keys_to_change": [
            {"name": key.name, "columns": list(key.columns), "primary": key.primary}
            for key in item.lacking
        ],
        "counts": item.counts,
        "predictions": [
            {
                "count": spread.count,
                "least": round(spread.least * scale),
                "mean": round(spread.mean * scale),
                "most": round(spread.most * scale),
                "skew": round(spread.skew, 3),
            }
            for spread in item.spreads
        ],
    }


def shown(value: Any) -> str | None:
    """A value as text; None for NULL."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return None if value is None else str(value)
