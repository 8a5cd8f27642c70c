"""A text put at the end of the docstring of a script."""

import ast
import re


def extended(source: str, text: str) -> str:
    """A module's source with a text after what its docstring says, whatever the text contains.

    A module without a docstring gets one.
    """
    data, body = source.encode(), ast.parse(source).body
    found, first, last = _docstring(data, body)
    before, end = ("", "\n") if found is None else (f"{found.rstrip()}\n\n", "")
    new = _literal(f"{before}{text}\n") + end
    return b"".join([data[:first], new.encode(), data[last:]]).decode()


def _docstring(data: bytes, body: list[ast.stmt]) -> tuple[str | None, int, int]:
    """What it says, and where it begins and ends, in bytes; None, and where it belongs."""
    starts = [0, *(feed.end() for feed in re.finditer(rb"\n", data))]
    if not body:
        return None, len(data), len(data)
    first = starts[body[0].lineno - 1]
    match body[0]:
        case ast.Expr(ast.Constant(str(found)), end_lineno=int(line), end_col_offset=int(column)):
            return found, first, starts[line - 1] + column
        case _:
            return None, first, first


def _literal(text: str) -> str:
    """A string in three quotes. What cannot be seen is escaped: it could hide what comes after."""
    quoted = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{"".join(map(_visible, quoted))}"""'


def _visible(character: str) -> str:
    if character == "\n" or character.isprintable():
        return character
    return character.encode("unicode_escape").decode()
