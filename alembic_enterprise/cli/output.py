"""Text on standard output, in whatever encoding and with or without colour."""

import sys
import unicodedata

import click


def speaks_unicode() -> bool:
    """Whether standard output can show the symbols of timelines and bars."""
    try:
        "━●✗○◂▸…│".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write(text: str) -> None:
    """Print text; what the encoding of the terminal lacks is escaped."""
    encoding = sys.stdout.encoding or "ascii"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def printable(text: str) -> str:
    """A name from the database with its control characters escaped: they would steer a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def width(text: str) -> int:
    """How many columns a terminal needs for the text."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fitted(text: str, columns: int, ellipsis: str = "…") -> str:
    """The text in exactly so many columns: padded, or cut with an ellipsis."""
    if width(text) <= columns:
        return text + " " * (columns - width(text))
    while width(text) > columns - width(ellipsis):
        text = text[:-1]
    return fitted(text + ellipsis, columns, ellipsis)


def in_bytes(count: int) -> str:
    """A size as pg_size_pretty prints it, near enough."""
    number, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 10 * 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{number:,.0f} {units[0]}"
