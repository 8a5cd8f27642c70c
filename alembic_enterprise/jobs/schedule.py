"""When a job runs: the part of cron's syntax that every scheduler reads alike."""

import re
from dataclasses import dataclass

from alembic_enterprise.errors import ConfigurationError

FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day of the month": (1, 31),
    "month": (1, 12),
    "day of the week": (0, 6),
}
"""The five fields in order, with their least and greatest numbers; 0 is Sunday."""

WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
"""As systemd calls them, in cron's order."""

LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Days of the months, at most."""

_PART = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?", re.ASCII)


@dataclass(frozen=True)
class Schedule:
    """A schedule: its text, and for each of `FIELDS` the numbers it stands for, in order."""

    text: str
    numbers: tuple[tuple[int, ...], ...]

    @property
    def on_calendar(self) -> str:
        """The same for systemd's OnCalendar=, in UTC (systemd.time(7))."""
        minutes, hours, days, months, weekdays = map(_listed, self.numbers, FIELDS.values())
        names = ",".join(WEEKDAYS[number] for number in self.numbers[4]) + " "
        return f"{names if weekdays != '*' else ''}*-{months}-{days} {hours}:{minutes}:00 UTC"


def parse(text: str) -> Schedule:
    """Read five fields as cron does.

    Left out is what schedulers read differently, or not at all: names, 7 for Sunday, `@daily`, and
    both days at once (any of the two for cron, both for others).

    Raises:
        ConfigurationError: it cannot be read, or never comes true.
    """
    fields = text.split()
    if len(fields) != len(FIELDS):
        raise _error(text, "does not have five fields", "minute hour day month weekday")
    numbers = tuple(_numbers(text, *item) for item in zip(fields, FIELDS, strict=True))
    _, _, days, months, _ = numbers
    if fields[2] != "*" and fields[4] != "*":
        raise _error(text, "has both days of the month and of the week", "* for one of them")
    if all(LONGEST[month - 1] < days[0] for month in months):
        raise _error(text, "never comes true", "a day that the month has")
    return Schedule(" ".join(fields), numbers)


def _numbers(text: str, field: str, name: str) -> tuple[int, ...]:
    found = sorted({number for part in field.split(",") for number in _part(text, part, name)})
    return tuple(found)


def _part(text: str, part: str, name: str) -> range:
    least, greatest = FIELDS[name]
    match = _PART.fullmatch(part)
    if match is None:
        raise _error(text, f"has {part!r} as {name}", "numbers, *, 1,2 or 1-5, and */15 for steps")
    first, last, step = match.groups()
    if step is not None and first is not None and last is None:
        raise _error(text, f"has {part!r} as {name}", f"{first}-{greatest}/{step}")
    start = least if first is None else int(first)
    stop = int(last or (greatest if first is None else first))
    every = int(step or 1)
    empty = last is not None and start == stop  # 0-0 is every day of the week for some
    if empty or not (least <= start <= stop <= greatest and every):
        raise _error(text, f"has {part!r} as {name}", f"numbers from {least} to {greatest}")
    return range(start, stop + 1, every)


def _error(text: str, what: str, advice: str) -> ConfigurationError:
    return ConfigurationError(f"the schedule {text!r} {what}: write {advice}")


def _listed(numbers: tuple[int, ...], limits: tuple[int, int]) -> str:
    least, greatest = limits
    if len(numbers) == greatest - least + 1:
        return "*"
    return ",".join(f"{number:02}" for number in numbers)
