"""The keys of an index, taken out of what pg_get_indexdef prints."""

import re
from collections.abc import Iterator


def keys(definition: str) -> tuple[str, ...]:
    """The text of each key, with its collation, operator class and order.

    >>> keys('CREATE INDEX i ON public.t USING btree (lower(a), "b, c" DESC) INCLUDE (d)')
    ('lower(a)', '"b, c" DESC')
    """
    return tuple(key.strip() for key in _keys(definition))


def _keys(definition: str) -> Iterator[str]:
    key, depth = "", 0
    for part in _PARTS.findall(definition):
        if part == ")":
            depth -= 1
            if depth == 0:
                yield key
                return
        elif part == "," and depth == 1:
            yield key
            key = ""
            continue
        if depth:
            key += part
        depth += part == "("


_PARTS = re.compile(r"""'[^']*'|"[^"]*"|[(),]|[^'"(),]+""")
"""What is quoted as a whole, and what keys begin and end with."""
