"""What statements say, as far as rules ask for it: their words and the names in them."""

import re
from collections.abc import Iterator
from typing import LiteralString

from alembic_enterprise.plan.shadow.statements import statements
from alembic_enterprise.sql import Name

_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAME = rf"{_IDENTIFIER}(?:\s*\.\s*{_IDENTIFIER})?"
_NAMES = re.compile(rf"\s*{_NAME}(?:\s*,\s*{_NAME})*\s*")


def shape(words: LiteralString) -> re.Pattern[str]:
    """The pattern of a statement: `{table}` is a name with or without its schema, a space any.

    The rest is as in regular expressions: "ALTER TABLE( ONLY)? {table} DETACH PARTITION".
    """
    named = re.sub(r"\{(\w+)\}", lambda match: rf"(?P<{match[1]}>{_NAME})", words)
    return re.compile(named.replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


def name(text: str) -> Name:
    """A name as SQL writes it; without a schema it is one of the search_path."""
    *schema, last = (_plain(part) for part in re.findall(_IDENTIFIER, text))
    return Name(schema[0] if schema else None, last)


def _plain(identifier: str) -> str:
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier.lower()


def names(text: str) -> list[Name]:
    """Names with commas between them; none when there is anything else."""
    if _NAMES.fullmatch(text) is None:
        return []
    return [name(one) for one in re.findall(_NAME, text)]


def parts(text: str) -> tuple[str, ...]:
    """The statements that a text consists of, without semicolons and the comments before each."""
    found = statements(text + "\n;")
    return tuple(one.text.rstrip(";").rstrip() for one in found if one.words)


_ALTER_TABLE = shape("ALTER TABLE( IF EXISTS)?( ONLY)? {table} (?P<actions>.*)")
_PUNCTUATION = re.compile(r"""'[^']*'|"[^"]*"|[(),\[\]]""")


def actions(statement: str) -> Iterator[tuple[Name, str]]:
    """What an ALTER TABLE does, one by one, with its table.

    Commas part it, but for those in quotes and in parentheses.
    """
    match = _ALTER_TABLE.match(statement)
    if match is None:
        return
    table, text, depth, start = name(match["table"]), match["actions"], 0, 0
    for mark in _PUNCTUATION.finditer(text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(mark[0], 0)
        if mark[0] == "," and depth == 0:
            yield table, text[start : mark.start()].strip()
            start = mark.end()
    yield table, text[start:].strip()
