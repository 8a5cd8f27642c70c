"""How a sharded table stands: pure functions of its live shards and their sizes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from alembic_enterprise.partitions.catalog import Partition
from alembic_enterprise.shards.catalog import Shard, ShardedTable
from alembic_enterprise.shards.moduli import COUNT_MAX, Class, coverage, holes
from alembic_enterprise.sql import Name

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""

SKEW = 1.5
"""Rows of a shard, in multiples of its fair share, from which on it is remarked on."""


@dataclass(frozen=True)
class Standing:
    """One shard of a table.

    Attributes:
        rows: estimate of the last ANALYZE or VACUUM; None when there was none and it is not empty.
        size: bytes, with indexes and TOAST.
        pending: whether a concurrent detach was interrupted: it takes no rows.
        skew: its rows in multiples of its fair share, the mean when all are of one modulus; None
            while it or another has no estimate, or the table is empty.
    """

    shard: Shard
    rows: int | None
    size: int
    pending: bool
    skew: float | None = None


@dataclass(frozen=True)
class Status:
    """One sharded table, with its shards in order of modulus and remainder."""

    table: ShardedTable
    shards: tuple[Standing, ...]

    @property
    def rows(self) -> int:
        """Estimate of all rows, without the shards that have none."""
        return sum(item.rows or 0 for item in self.shards)

    @property
    def unknown(self) -> int:
        """How many shards have rows, but no estimate yet."""
        return sum(item.rows is None for item in self.shards)

    @property
    def size(self) -> int:
        """Bytes of all shards, with indexes and TOAST."""
        return sum(item.size for item in self.shards)

    @property
    def coverage(self) -> Fraction:
        """The part of all keys that finds a shard."""
        return coverage(item.shard.held for item in self.shards if not item.pending)

    @property
    def holes(self) -> list[Class]:
        """What no shard holds, as classes of the largest modulus; none when that is too large."""
        if self.table.count > COUNT_MAX:
            return []
        held = [item.shard.held for item in self.shards if not item.pending]
        return holes(held, self.table.count)

    @property
    def growing(self) -> bool:
        """Whether some shards are split and others not."""
        return len(self.table.moduli) > 1

    @property
    def skew(self) -> float | None:
        """That of the fullest shard; None when it is not known."""
        return max((item.skew for item in self.shards if item.skew is not None), default=None)


def status(table: ShardedTable, partitions: Iterable[Partition]) -> Status:
    """How a table stands.

    Args:
        table: as `catalog.read` gives it.
        partitions: the same shards as `partitions.catalog.partitions` gives them, with sizes.
    """
    sizes = {item.name: item for item in partitions}
    known = [(shard, sizes[shard.name]) for shard in table.shards if shard.name in sizes]
    skews = _skews([(shard.held, item.rows) for shard, item in known])
    return Status(
        table,
        tuple(
            Standing(shard, item.rows, item.size or 0, item.pending, skews.get(shard.held))
            for shard, item in known
        ),
    )


def _skews(shards: Sequence[tuple[Class, int | None]]) -> Mapping[Class, float]:
    """Rows in multiples of the fair share, by class; empty when a number is not known."""
    rows = {held: count for held, count in shards if count is not None}
    if len(rows) < len(shards) or not any(rows.values()):
        return {}
    whole = sum(rows.values()) / coverage(rows)
    return {held: float(count * held.modulus / whole) for held, count in rows.items()}


def document(statuses: Sequence[Status]) -> dict[str, Any]:
    """What `shards list --format json` prints; see schemas/shards-list.schema.json."""
    return {"format_version": FORMAT_VERSION, "tables": [_table(known) for known in statuses]}


def _table(known: Status) -> dict[str, Any]:
    table = known.table
    return {
        **_name(table.name),
        "key": list(table.key.columns),
        "types": list(table.types),
        "count": table.count,
        "moduli": table.moduli,
        "growing": known.growing,
        "coverage": float(known.coverage),
        "holes": [held._asdict() for held in known.holes],
        "rows": known.rows,
        "shards_without_estimate": known.unknown,
        "bytes": known.size,
        "skew": _rounded(known.skew),
        "shards": [_shard(item) for item in known.shards],
    }


def _shard(item: Standing) -> dict[str, Any]:
    return {
        **_name(item.shard.name),
        **item.shard.held._asdict(),
        "kind": item.shard.kind,
        "owned": item.shard.owned,
        "detach_pending": item.pending,
        "rows": item.rows,
        "bytes": item.size,
        "skew": _rounded(item.skew),
    }


def _name(name: Name) -> dict[str, str | None]:
    return {"schema": name.schema, "name": name.name}


def _rounded(skew: float | None) -> float | None:
    return None if skew is None else round(skew, 3)
