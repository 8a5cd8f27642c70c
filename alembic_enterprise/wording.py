"""How names and figures are written for people, wherever they are shown, and sizes by them."""

import re
from collections.abc import Iterable
from datetime import timedelta


def printable(text: str) -> str:
    """A name from the database with its control characters escaped: they would steer a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def in_bytes(count: int) -> str:
    """A size as pg_size_pretty prints it, near enough."""
    number, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 10 * 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{number:,.0f} {units[0]}"


UNITS = ("b", "kb", "mb", "gb", "tb")
"""In which people write sizes, each 1024 times the one before it, as PostgreSQL counts them."""


def bytes_of(text: str) -> int | None:
    """A size as people write it, such as "500kB", "10 mb" or "8192"; None when it is not one."""
    found = re.fullmatch(rf"([0-9]+)\s*({'|'.join(UNITS)})?", text.strip().lower())
    if found is None:
        return None
    power: int = 1024 ** UNITS.index(found[2] or "b")
    return int(found[1]) * power


def in_days(span: timedelta) -> str:
    """Whole days: "< 1 day", "1 day", "1,000 days"."""
    days = span // timedelta(days=1)
    return counted(days, "day") if days else "< 1 day"


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 row", "1,000 rows"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def first_few(items: Iterable[object], most: int = 3) -> str:
    """The first few, and how many more there are: "a, b, c and 2 more"."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
