"""Shards as residue classes: what they hold, lack and can become."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alembic_enterprise.shards.moduli import (
    ALL,
    COUNT_MAX,
    Class,
    coverage,
    evenly,
    fits,
    holes,
    multiples,
    splits,
)


@st.composite
def tables(draw: st.DrawFn) -> list[Class]:
    """The shards of a table in order, after some splits: every row has exactly one shard."""
    moduli = [draw(st.integers(1, 6))]
    for factor in draw(st.lists(st.integers(2, 3), max_size=3)):
        moduli.append(moduli[-1] * factor)
    shards = evenly(moduli[0])
    for smaller, larger in pairwise(moduli):
        chosen = draw(st.sets(st.integers(0, smaller - 1)))
        shards = [
            part
            for one in shards
            for part in (
                one.split(larger) if one.modulus == smaller and one.remainder in chosen else [one]
            )
        ]
    return shards


def rows_of(shard: Class, number: int = 500) -> list[int]:
    return [row for row in range(number) if row % shard.modulus == shard.remainder]


@given(tables())
def test_splits_leave_each_row_exactly_one_shard(shards: list[Class]) -> None:
    assert coverage(shards) == 1
    assert sorted(row for shard in shards for row in rows_of(shard)) == list(range(500))


@given(tables())
def test_no_two_shards_of_a_table_have_one_remainder(shards: list[Class]) -> None:
    """So that a name made of the remainder is free."""
    remainders = [shard.remainder for shard in shards]
    assert len(remainders) == len(set(remainders))


@given(tables(), st.data())
def test_holes_are_what_is_missing(shards: list[Class], data: st.DataObject) -> None:
    lost = data.draw(st.sets(st.sampled_from(shards)))
    left = [shard for shard in shards if shard not in lost]
    largest = max(shard.modulus for shard in shards)
    found = holes(left, largest)
    assert coverage(left) + coverage(found) == 1
    assert found == sorted(part for shard in lost for part in shard.split(largest))


@given(tables(), st.integers(1, 4))
def test_splitting_what_is_left_reaches_the_count(shards: list[Class], factor: int) -> None:
    count = max(shard.modulus for shard in shards) * factor
    todo = splits(shards, count)
    done = [shard for shard in shards if shard not in todo]
    done += [part for shard in todo for part in shard.split(count)]
    assert sorted(done) == evenly(count)


@given(st.integers(1, 64), st.integers(2, 5), st.data())
def test_a_split_keeps_its_remainder_first_and_loses_no_row(
    modulus: int, factor: int, data: st.DataObject
) -> None:
    shard = Class(modulus, data.draw(st.integers(0, modulus - 1)))
    parts = shard.split(modulus * factor)
    assert parts[0].remainder == shard.remainder
    assert len(parts) == factor
    assert all(shard.holds(part) and not part.holds(shard) for part in parts)
    assert sorted(row for part in parts for row in rows_of(part)) == rows_of(shard)


def test_a_shard_is_split_into_itself_and_the_one_that_follows() -> None:
    assert Class(8, 3).split(16) == [Class(16, 3), Class(16, 11)]
    assert Class(8, 3).split(8) == [Class(8, 3)]


def test_coverage_is_exact_over_mixed_moduli() -> None:
    assert coverage(evenly(10)) == 1
    assert coverage([Class(10, 0), Class(20, 1)]) == Fraction(3, 20)
    assert coverage([]) == 0


@pytest.mark.parametrize(
    ("moduli", "modulus", "expected"),
    [
        ([10], 20, True),
        ([10, 20], 40, True),
        ([10], 16, False),
        ([16], 8, True),
        ([8, 16], 8, True),
        ([4, 12], 6, False),
        ([10, 20], 30, False),
        ([], 7, True),
    ],
)
def test_each_modulus_divides_the_next_larger(
    moduli: list[int], modulus: int, expected: bool
) -> None:
    assert fits(moduli, modulus) is expected


def test_counts_ahead_are_reached_by_splitting_shards() -> None:
    assert list(multiples(256)) == [512, 768, 1024]
    assert list(multiples(400)) == [800]
    assert not multiples(COUNT_MAX)
    assert not multiples(1000)


def test_all_rows_are_a_class_of_their_own() -> None:
    assert evenly(1) == [ALL]
    assert ALL.holds(Class(8, 3))
