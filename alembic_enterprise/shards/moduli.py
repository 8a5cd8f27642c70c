"""Arithmetic of hash partitions: what shards hold, lack, and can become.

A shard is a residue class: it holds the rows whose hash leaves `remainder` when divided by
`modulus`. Every modulus of a table must divide the next larger one (PostgreSQL docs, "CREATE
TABLE"), so that two classes of one table are apart, or one is inside the other.
"""

from collections.abc import Collection, Iterable
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

COUNT_MAX = 1024
"""Most shards of a table; beyond, planning and locks cost more than shards are worth."""


class Class(NamedTuple):
    """A residue class: the hashes that leave `remainder` when divided by `modulus`."""

    modulus: int
    remainder: int

    def holds(self, other: "Class") -> bool:
        """Whether the other class is inside this one."""
        inside = other.modulus % self.modulus == 0
        return inside and other.remainder % self.modulus == self.remainder

    def split(self, modulus: int) -> list["Class"]:
        """The classes of a larger modulus that are inside this one, by remainder.

        The first has the same remainder: it keeps the name of the shard that was split.
        """
        remainders = range(self.remainder, modulus, self.modulus)
        return [Class(modulus, remainder) for remainder in remainders]


ALL = Class(1, 0)
"""The class of all rows."""


def evenly(count: int) -> list[Class]:
    """The classes of `count` shards."""
    return ALL.split(count)


def coverage(shards: Iterable[Class]) -> Fraction:
    """The part of all rows that shards hold: exactly 1 when none is refused."""
    return sum((Fraction(1, shard.modulus) for shard in shards), Fraction(0))


def holes(shards: Collection[Class], count: int) -> list[Class]:
    """The classes of `count` that no shard holds; `count` is a multiple of every modulus."""
    if coverage(shards) == 1:
        return []
    return [wanted for wanted in evenly(count) if not any(one.holds(wanted) for one in shards)]


def splits(shards: Iterable[Class], count: int) -> list[Class]:
    """The shards that must be split on the way to `count`: those of a smaller modulus, in order."""
    return sorted(shard for shard in shards if shard.modulus < count)


def fits(moduli: Collection[int], modulus: int) -> bool:
    """Whether a modulus may stand beside others: each divides the next larger one."""
    chain = sorted({*moduli, modulus})
    return all(larger % smaller == 0 for smaller, larger in pairwise(chain))


def multiples(count: int) -> range:
    """The counts that are reached by splitting each shard, up to `COUNT_MAX`."""
    return range(2 * count, COUNT_MAX + 1, count)
