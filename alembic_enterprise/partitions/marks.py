"""What the comment of a partition of ours says: whose it is, and when a run retired it.

    alembic-enterprise: partition of public.orders
    alembic-enterprise: partition of "public"."orders"; retired 2028-02-01T00:00:00+00:00
        from 16400 to drop 2026-01-01T00:00:00+00:00/2026-02-01T00:00:00+00:00
        as "public"."orders_y2026_m01"

The second one is a single line; earlier releases wrote it without the moments. The blocks that
create partitions write the first one, too: `operations/pieces.py`, and `growth/swapping.py` of
shards.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from alembic_enterprise.partitions.periods import Range
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import Name

PARTITION_OF = OWNERSHIP + "partition of "
"""What each such comment begins with."""

RETIRED = "; retired "
"""What only the comment of a retired one contains."""

RETIRED_PATTERN = RETIRED + r'\S+ from \d+ to (keep|drop)( \S+)? as ".+"$'
"""How such a comment ends, as a regular expression of the server."""


def made_for(table: Name) -> str:
    """The comment of a partition that we made for a table."""
    return f"{PARTITION_OF}{table}"


@dataclass(frozen=True)
class Mark:
    """What the comment of a retired partition says.

    Attributes:
        table: the table that it belonged to.
        oid: the oid of that table.
        since: when it was retired, aware.
        to_drop: whether the policy said so at that time.
        range: the moments it held, aware; those of a naive key as if they were in UTC. None when
            the comment does not tell.
        was: its own name at that time.
    """

    table: Name
    oid: int
    since: datetime
    to_drop: bool
    range: Range | None
    was: Name

    @property
    def text(self) -> str:
        """The comment."""
        purpose = "drop" if self.to_drop else "keep"
        return (
            f"{PARTITION_OF}{self.table.text}{RETIRED}{_in_utc(self.since)} from {self.oid} "
            f"to {purpose}{_moments(self.range)} as {self.was.text}"
        )

    @classmethod
    def of(cls, comment: str) -> Self | None:
        """Read a comment; anybody may have written it. None when it is not one of ours."""
        match = _WHOLE.fullmatch(comment)
        if match is None:
            return None
        schema, table, since, oid, purpose, lower, upper, *own = match.groups()
        try:
            held = Range(_end(lower), _end(upper)) if lower else None
            moment = _aware(since)
        except ValueError:
            return None
        whole = _name(schema, table)
        return cls(whole, int(oid), moment, purpose == "drop", held, _name(*own))


_NAME = r'"((?:[^"]|"")+)"\."((?:[^"]|"")+)"'
_WHOLE = re.compile(
    rf"{re.escape(PARTITION_OF)}{_NAME}{re.escape(RETIRED)}(\S+) from (\d{{1,10}}) to (keep|drop)"
    rf"(?: ([^\s/]+)/([^\s/]+))? as {_NAME}"
)

_OPEN = ".."
"""An end that a range does not have, as ISO 8601 writes an interval."""


def unreadable(comment: str) -> bool:
    """Whether a comment says that a run retired the table, and the rest cannot be read."""
    begins = comment.startswith(PARTITION_OF + '"')  # as no comment of `made_for` does
    return begins and RETIRED in comment and Mark.of(comment) is None


def _moments(held: Range | None) -> str:
    if held is None:
        return ""
    ends = (_OPEN if end is None else _in_utc(end) for end in (held.lower, held.upper))
    return " " + "/".join(ends)


def _end(text: str) -> datetime | None:
    return None if text == _OPEN else _aware(text)


def _aware(text: str) -> datetime:
    """Raises `ValueError` for what is not a moment with an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _in_utc(moment: datetime) -> str:
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return aware.astimezone(UTC).isoformat()


def _name(*quoted: str) -> Name:
    schema, name = (part.replace('""', '"') for part in quoted)
    return Name(schema, name)
