"""PostgreSQL's 64-bit hash functions, with the seed of hash partitioning.

It is Bob Jenkins' lookup3, to which PostgreSQL gives a seed of 64 bits and takes two words out of.
Facts from PostgreSQL's sources: `hash_bytes_extended` and `hash_bytes_uint32_extended` in
src/common/hashfn.c, `hash_combine64` in src/include/common/hashfn.h, `hashint8extended` in
src/backend/access/hash/hashfunc.c, HASH_PARTITION_SEED in src/include/catalog/partition.h; and of
servers on little-endian machines, the only ones that build their words as it is done here.

A rotation is written as two shifts that are not masked: what they leave above 32 bits goes with the
one mask at the end of each line, which is what makes this fast in Python.
"""

from functools import lru_cache
from struct import Struct

SEED = 0x7A5B22367996DCFD
"""What every hash of a partition key starts from."""

LOOKUP3 = 0x9E3779B9 + 3923095
"""Start of the three words, before the length in bytes is added."""

COMBINE = 0x49A0F4DD15E5A8E3
"""What is added each time a column's hash joins the row's."""

WORD = 0xFFFFFFFF
LONG = 0xFFFFFFFFFFFFFFFF
BLOCK = 12
"""Bytes that are mixed at a time."""

_WORDS = Struct("<III")


def hash_integer(value: int) -> int:
    """Hash of an integer of up to 64 bits; it does not depend on the width of its column."""
    a, b, c = start(4)
    # The upper half folds into the lower one so that it changes no small number, below zero either.
    return _final(a + (value ^ value >> 32 ^ value >> 63), b, c)


def hash_bytes(data: bytes) -> int:
    """Hash of a string of bytes."""
    a, b, c = start(len(data))
    whole = len(data) - len(data) % BLOCK
    for first, second, third in _WORDS.iter_unpack(data[:whole]):
        a, b, c = _mix(a + first, b + second, c + third)
    rest = int.from_bytes(data[whole:], "little")
    # The last block leaves the lowest byte of the third word to the length.
    return _final(a + rest, b + (rest >> 32), c + (rest >> 64 << 8))


def combine(row: int, column: int) -> int:
    """Hash of a row so far, with the hash of one more column."""
    return row ^ ((column + COMBINE + (row << 54) + (row >> 7)) & LONG)


@lru_cache(maxsize=256)
def start(length: int) -> tuple[int, int, int]:
    """The three words with the seed in them, for that many bytes to come."""
    word = LOOKUP3 + length
    return _mix(word + (SEED >> 32), word + SEED, word)


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Stir three words of 32 bits, given with whatever stands above those."""
    a, b, c = a & WORD, b & WORD, c & WORD
    a = ((a - c) ^ (c << 4) ^ (c >> 28)) & WORD
    c = (c + b) & WORD
    b = ((b - a) ^ (a << 6) ^ (a >> 26)) & WORD
    a = (a + c) & WORD
    c = ((c - b) ^ (b << 8) ^ (b >> 24)) & WORD
    b = (b + a) & WORD
    a = ((a - c) ^ (c << 16) ^ (c >> 16)) & WORD
    c = (c + b) & WORD
    b = ((b - a) ^ (a << 19) ^ (a >> 13)) & WORD
    a = (a + c) & WORD
    c = ((c - b) ^ (b << 4) ^ (b >> 28)) & WORD
    return a, (b + a) & WORD, c


def _final(a: int, b: int, c: int) -> int:
    """Stir three words for the last time, and return two of them as one of 64 bits."""
    b &= WORD
    c = ((c ^ b) - (b << 14) - (b >> 18)) & WORD
    a = ((a ^ c) - (c << 11) - (c >> 21)) & WORD
    b = ((b ^ a) - (a << 25) - (a >> 7)) & WORD
    c = ((c ^ b) - (b << 16) - (b >> 16)) & WORD
    a = ((a ^ c) - (c << 4) - (c >> 28)) & WORD
    b = ((b ^ a) - (a << 14) - (a >> 18)) & WORD
    c = ((c ^ b) - (b << 24) - (b >> 8)) & WORD
    return b << 32 | c
