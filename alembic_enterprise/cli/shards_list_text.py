"""The text of `shards list`: the figures of each table, then a bar for each shard."""

from collections.abc import Sequence

import click

from alembic_enterprise.cli.output import (
    COLUMNS,
    about,
    fitted,
    labelled,
    speaks_unicode,
    width,
)
from alembic_enterprise.shards.moduli import Class, splits
from alembic_enterprise.shards.status import SKEW, Standing, Status
from alembic_enterprise.wording import in_bytes, printable

FEW = 32
"""Shards of a table that are shown when it was not named."""

SHARE = 10
"""Columns of a bar that stand for the fair share."""

FULL = round(SHARE * SKEW)
"""Columns of the longest bar."""


def text(statuses: Sequence[Status], *, each: bool) -> str:
    """The whole text; with `each`, every shard is in it."""
    if not statuses:
        return "Sharded tables\n\nThere are none."
    blocks = [_table(known, each=each) for known in statuses]
    if any(known.skew is not None for known in statuses):
        line, mark, more = _symbols()
        blocks.append(f"{line * SHARE}{mark} is the fair share, {more} more than {SKEW} times that")
    return "\n\n".join(["Sharded tables", *blocks])


def _symbols() -> tuple[str, str, str]:
    """What a bar is drawn with: its line, the mark of the fair share, and its end when too long."""
    return ("━", "│", "▸") if speaks_unicode() else ("=", "|", ">")


def _table(known: Status, *, each: bool) -> str:
    name, key = printable(str(known.table.name)), printable(str(known.table.key))
    lines = [click.style(name, bold=True) + f"  {key}"]
    lines += labelled(_facts(known))
    shown = known.shards if each else known.shards[:FEW]
    lines += ["", *_shards(known, shown)] if shown else []
    if len(shown) < len(known.shards):
        lines.append(f"  and {len(known.shards) - len(shown)} more: name the table to see them")
    return "\n".join(lines)


def _facts(known: Status) -> list[tuple[str, str]]:
    """Labels and words of one table, without what does not concern it."""
    rows = about(known.rows, known.unknown, "shard")
    facts = [
        ("shards", f"{len(known.shards):,}, {in_bytes(known.size)}, {rows}"),
        ("growing", _growing(known)),
        ("holes", _holes(known)),
        ("skew", _skew(known)),
    ]
    return [(label, words) for label, words in facts if words]


def _growing(known: Status) -> str:
    if not known.growing:
        return ""
    left = len(splits(known.table.held, known.table.count))
    return f"to {known.table.count} shards: {left} left to split"


def _holes(known: Status) -> str:
    if known.coverage == 1:
        return ""
    refused = f"{float(1 - known.coverage):.1%} of all keys are refused"
    if not known.holes:
        return refused
    remainders = ", ".join(str(held.remainder) for held in known.holes)
    return f"remainder {remainders} of {known.table.count}: {refused}"


def _skew(known: Status) -> str:
    fullest = max(known.shards, key=lambda item: item.skew or 0, default=None)
    if fullest is None or fullest.skew is None:
        return ""
    return f"{fullest.skew:.2f} at most, in {printable(fullest.shard.name.name)}"


def _shards(known: Status, shown: Sequence[Standing]) -> list[str]:
    rows = [("shard", "holds", "rows", "size", "skew"), *(_shard(known, item) for item in shown)]
    columns = [max(map(width, column)) for column in zip(*rows, strict=True)]
    columns[0] = min(columns[0], max(12, COLUMNS - sum(columns[1:]) - FULL - 1 - 2 * len(rows[0])))
    bars = ["", *map(_bar, shown)]
    return [
        f"  {_joined(row, columns)}  {bar}".rstrip() for row, bar in zip(rows, bars, strict=True)
    ]


def _joined(row: Sequence[str], columns: Sequence[int]) -> str:
    names = [fitted(cell, columns[place]) for place, cell in enumerate(row[:2])]
    figures = [" " * (columns[place] - width(row[place])) + row[place] for place in (2, 3, 4)]
    return "  ".join([*names, *figures])


def _shard(known: Status, item: Standing) -> tuple[str, str, str, str, str]:
    name = item.shard.name
    same = name.schema == known.table.name.schema
    rows = "unknown" if item.rows is None else f"{item.rows:,}"
    skew = "" if item.skew is None else f"{item.skew:.2f}"
    words = printable(name.name if same else str(name))
    return words, _holds(item.shard.held, item), rows, in_bytes(item.size), skew


def _holds(held: Class, item: Standing) -> str:
    notes = ["detach pending" if item.pending else "", item.shard.kind.removesuffix("table")]
    more = [note.strip() for note in notes if note]
    return ", ".join([f"{held.remainder} of {held.modulus}", *more])


def _bar(item: Standing) -> str:
    """The rows of a shard, against its fair share."""
    if item.skew is None:
        return ""
    line, mark, more = _symbols()
    length = min(round(SHARE * item.skew), FULL)
    cells = (line * length).ljust(SHARE)
    drawn = cells[:SHARE] + mark + cells[SHARE:]
    if item.skew <= SKEW:
        return drawn
    return click.style(drawn[:-1] + more, fg="red")
