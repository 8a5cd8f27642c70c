"""The hashes of `lookup3` for arrays of integers, UUIDs and strings of bytes, with numpy.

Every step of lookup3 is one pass over an array, and is done in place where it can be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembic_enterprise.shards.hashing.lookup3 import BLOCK, LOOKUP3, SEED, WORD, hash_bytes, start

Array = NDArray[Any]
Numbers = NDArray[np.int64]
Longs = NDArray[np.uint64]
Words = NDArray[np.uint32]
State = tuple[Words, Words, Words]

CHUNK = 1 << 14
"""Rows that are hashed at a time, so that their words stay in the processor's cache."""

FEW = 32
"""Strings of that many are hashed faster one by one than together."""

UUID_BYTES = 16


@dataclass(frozen=True)
class Strings:
    """Strings of bytes that lie in one: where each begins, and its length."""

    data: bytes
    begins: Numbers
    lengths: Numbers


def hash_integers(values: Numbers) -> Longs:
    """`lookup3.hash_integer` of each."""
    return _in_chunks(len(values), lambda part: _hash_some_integers(values[part]))


def _hash_some_integers(values: Numbers) -> Longs:
    folded = values >> 32
    folded ^= values
    folded ^= values >> 63
    a, b, c = (np.full(len(values), word, np.uint32) for word in start(4))
    a += folded.astype(np.uint32)
    return _final((a, b, c))


def hash_uuids(data: bytes) -> Longs:
    """`lookup3.hash_bytes` of every 16 bytes."""
    words = np.frombuffer(data, "<u4").reshape(-1, 4)
    return _in_chunks(len(words), lambda part: _hash_some_uuids(words[part]))


def _hash_some_uuids(words: Words) -> Longs:
    a, b, c = (np.full(len(words), word, np.uint32) for word in start(UUID_BYTES))
    a += words[:, 0]
    b += words[:, 1]
    c += words[:, 2]
    _mix((a, b, c))
    a += words[:, 3]
    return _final((a, b, c))


def hash_strings(strings: Strings) -> Longs:
    """`lookup3.hash_bytes` of each."""
    # So much more that whole words can be read from the end of the last string.
    more = bytes(2 * BLOCK - len(strings.data) % 4)
    words = np.frombuffer(strings.data + more, "<u4")
    return _in_chunks(
        len(strings.begins),
        lambda part: _hash_some_strings(
            words, Strings(strings.data, strings.begins[part], strings.lengths[part])
        ),
    )


def _in_chunks(count: int, hashes: Callable[[slice], Longs]) -> Longs:
    result = np.empty(count, np.uint64)
    for first in range(0, count, CHUNK):
        part = slice(first, first + CHUNK)
        result[part] = hashes(part)
    return result


def _hash_some_strings(words: Words, strings: Strings) -> Longs:
    """Hash the longest strings first, so that those with blocks left are always the first ones."""
    blocks = strings.lengths // BLOCK
    # Numbers of few bytes are sorted many times as fast.
    order = np.argsort((-blocks).astype(np.min_scalar_type(-int(blocks.max()))), kind="stable")
    sorted_strings = Strings(strings.data, strings.begins[order], strings.lengths[order])
    hashes = np.empty(len(order), np.uint64)
    hashes[order] = _hash_sorted(words, sorted_strings, blocks[order])
    return hashes


def _hash_sorted(words: Words, strings: Strings, blocks: Numbers) -> Longs:
    state = _start(strings.lengths)
    few = 0
    for block in range(int(blocks[0])):
        left = int(np.searchsorted(-blocks, -block))  # how many have more blocks than these
        if left < FEW:
            few = left
            break
        _add_block(
            (state[0][:left], state[1][:left], state[2][:left]),
            words,
            strings.begins[:left] + BLOCK * block,
        )
    _add_rest(state, words, strings.begins + BLOCK * blocks, strings.lengths % BLOCK)
    hashes = _final(state)
    for row in range(few):
        begin = strings.begins[row]
        hashes[row] = hash_bytes(strings.data[begin : begin + strings.lengths[row]])
    return hashes


def _start(lengths: Numbers) -> State:
    """The three words with the seed in them, for each length."""
    c = (lengths + LOOKUP3).astype(np.uint32)
    a, b = c + np.uint32(SEED >> 32), c + np.uint32(SEED & WORD)
    _mix((a, b, c))
    return a, b, c


def _add_block(state: State, words: Words, places: Numbers) -> None:
    for word, added in zip(state, _three_words(words, places), strict=True):
        np.add(word, added, out=word)
    _mix(state)


def _add_rest(state: State, words: Words, places: Numbers, rest: Numbers) -> None:
    """Add the last block of every string, which is not a whole one."""
    first, second, third = _three_words(words, places)
    a, b, c = state
    a += first & MASKS[0][rest]
    b += second & MASKS[1][rest]
    c += (third & MASKS[2][rest]) << np.uint32(8)  # whose lowest byte is left to the length


MASKS = np.array(
    [
        [(1 << 8 * min(max(rest - before, 0), 4)) - 1 for rest in range(BLOCK)]
        for before in (0, 4, 8)
    ],
    np.uint32,
)
"""For each word of a last block, by its length: the bytes that belong to the string."""


def _three_words(words: Words, places: Numbers) -> list[Words]:
    """The words that begin at any byte, put together from those that begin at every fourth."""
    first = places >> 2
    right = (places << 3 & 31).astype(np.uint32)
    left = np.uint32(32) - right  # numpy shifts by 32 to zero
    parts = [words[first + number] for number in range(4)]
    return [(parts[number] >> right) | (parts[number + 1] << left) for number in range(3)]


MIX = ((0, 2, 1, 4), (1, 0, 2, 6), (2, 1, 0, 8), (0, 2, 1, 16), (1, 0, 2, 19), (2, 1, 0, 4))
"""Steps of mixing: the word that is changed, the one it is changed by, the third, and bits."""

FINAL = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))
"""Steps of the last mixing: the word that is changed, the one it is changed by, and bits."""


def _mix(state: State) -> None:
    for changed, by, third, bits in MIX:
        word, other = state[changed], state[by]
        word -= other
        word ^= _rotated(other, bits)
        other += state[third]


def _final(state: State) -> Longs:
    for changed, by, bits in FINAL:
        word, other = state[changed], state[by]
        word ^= other
        word -= _rotated(other, bits)
    return state[1].astype(np.uint64) << np.uint64(32) | state[2]


def _rotated(words: Words, bits: int) -> Words:
    rotated = words << np.uint32(bits)
    rotated |= words >> np.uint32(32 - bits)
    return rotated
