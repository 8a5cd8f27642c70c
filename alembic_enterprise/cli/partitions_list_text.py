"""The text of `partitions list`: a timeline of all tables, then the figures of each."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import click

from alembic_enterprise.cli.output import about, fitted, speaks_unicode, width
from alembic_enterprise.partitions.catalog import Partition
from alembic_enterprise.partitions.live import Selection
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import Range
from alembic_enterprise.partitions.status import Cell, Status, Timeline, step, timeline, zone_of
from alembic_enterprise.wording import counted, in_bytes, in_days, printable

NAME, EVERY, PAST, AHEAD, HEADROOM = 25, 7, 23, 7, 10
"""Columns of the timeline; with the spaces between them they make 80."""


@dataclass(frozen=True)
class Symbols:
    """How periods are drawn."""

    exists: str
    now: str
    missing: str
    now_missing: str
    earlier: str
    later: str
    ellipsis: str


UNICODE = Symbols("━", "●", "✗", "○", "◂", "▸", "…")
ASCII = Symbols("=", "O", "x", "!", "<", ">", "~")


def text(selection: Selection, *, each: bool) -> str:
    """The whole text; with `each`, every partition is in it."""
    symbols = UNICODE if speaks_unicode() else ASCII
    pretended = " (pretended)" if selection.is_pretended else ""
    head = f"Partitioned tables at {selection.now:%Y-%m-%d %H:%M} UTC{pretended}"
    if not selection.statuses:
        return f"{head}\n\nThere are none."
    figures = [_figures(known, each=each) for known in selection.statuses]
    return "\n\n".join([head, _timelines(selection.statuses, symbols), *figures])


def _timelines(statuses: Sequence[Status], symbols: Symbols) -> str:
    bar = "past".ljust(PAST) + "now" + "ahead".rjust(AHEAD)
    head = f"{'table':<{NAME}} {'every':<{EVERY}} {bar} {'headroom':>{HEADROOM}}".rstrip()
    legend = (
        f"{symbols.exists} exists  {symbols.now} now  {symbols.missing} missing  "
        f"{symbols.now_missing} now is missing  {symbols.earlier}{symbols.later} more"
    )
    rows = [_row(known, symbols) for known in statuses]
    return "\n".join([click.style(head, bold=True), *rows, "", legend])


def _row(known: Status, symbols: Symbols) -> str:
    name = fitted(printable(str(known.table.name)), NAME, symbols.ellipsis)
    every = step(known)
    if not known.table.timed or every is None:
        column = _headroom_column(known) if known.table.timed else ""
        return f"{name} {'-':<{EVERY}} {_described(known)} {column}".rstrip()
    bar = _bar(timeline(known, every, PAST, AHEAD), symbols)
    return f"{name} {every:<{EVERY}} {bar} {_headroom_column(known)}"


def _described(known: Status) -> str:
    words = f"{counted(len(known.partitions), 'partition')} by {known.table.key}"
    return fitted(printable(words), PAST + AHEAD + 3)


def _bar(line: Timeline, symbols: Symbols) -> str:
    cells = [_cell(cell, place == line.position, symbols) for place, cell in enumerate(line.cells)]
    before = symbols.earlier if line.earlier else " "
    after = symbols.later if line.later else " "
    return "".join([before, *cells, after])


def _cell(cell: Cell, current: bool, symbols: Symbols) -> str:
    if cell is Cell.MISSING:
        return click.style(symbols.now_missing if current else symbols.missing, fg="red")
    if cell is Cell.OUTSIDE:
        return " "
    return click.style(symbols.now, fg="green", bold=True) if current else symbols.exists


def _headroom_column(known: Status) -> str:
    words = f"{_days(known):>{HEADROOM}}"
    urgent = known.headroom is not None and known.headroom.days is not None
    return click.style(words, fg="red") if urgent and not _whole_days(known) else words


def _whole_days(known: Status) -> int:
    return int(known.headroom.days or 0) if known.headroom else 0


def _days(known: Status) -> str:
    if known.headroom is None or not known.headroom.covers_now:
        return "none"
    if known.headroom.days is None:
        return "no end"
    return in_days(timedelta(days=known.headroom.days))


def _figures(known: Status, *, each: bool) -> str:
    key = printable(str(known.table.key))
    lines = [click.style(printable(str(known.table.name)), bold=True) + f"  {key}"]
    for label, words in _facts(known):
        wrapped = textwrap.wrap(words, 66, break_on_hyphens=False, break_long_words=False)
        lines += [f"  {head:<12}{line}" for head, line in zip(_heads(label), wrapped, strict=False)]
    return "\n".join([*lines, *(["", *_partitions(known)] if each else [])])


def _heads(label: str) -> Iterable[str]:
    yield label
    while True:
        yield ""


def _facts(known: Status) -> list[tuple[str, str]]:
    """Labels and words of one table, without what does not concern it."""
    facts = [("policy", _policy(known))]
    if known.table.timed:
        facts += [
            ("covered", _ranges(known, known.table.covered) or "nothing"),
            ("gaps", _ranges(known, known.gaps)),
            ("missing", _ranges(known, known.missing)),
            ("headroom", _headroom(known)),
        ]
    facts += [("partitions", _sizes(known)), ("default", _default(known))]
    facts += [("retired", _retired(known))]
    return [(label, words) for label, words in facts if words]


def _policy(known: Status) -> str:
    policy = known.table.policy
    if known.table.unusable is not None:
        return printable(known.table.unusable)
    if policy is None:
        return "none" if known.table.timed else ""
    kept = "all kept" if policy.retain is None else f"{policy.retain} kept, then {expiry(policy)}"
    words = f"every {policy.every}, {policy.ahead} ahead, {kept}; {policy.timezone}"
    if policy.shards is not None:
        return f"{words}; each in {policy.shards} shards by {printable(policy.partition_by or '')}"
    return words if known.table.timed else f"{words}; in each of its shards"


def expiry(policy: Policy) -> str:
    """What becomes of a partition that is no longer retained."""
    if policy.on_expire == "drop":
        return f"detached, and dropped after {policy.hold} days"
    return "detached" if policy.archive is None else f"moved to {printable(policy.archive)}"


def _ranges(known: Status, ranges: Sequence[Range]) -> str:
    return ", ".join(f"{_end(known, item.lower)} to {_end(known, item.upper)}" for item in ranges)


def _end(known: Status, value: datetime | None) -> str:
    """A bound in the table's zone; only the day when it is midnight there."""
    if value is None:
        return "unbounded"
    local = value if value.tzinfo is None else value.astimezone(zone_of(known.table))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return local.date().isoformat() if local == midnight else local.isoformat(" ")


def _headroom(known: Status) -> str:
    if known.headroom is None or not known.headroom.covers_now:
        return "none: no partition holds now"
    if known.headroom.until is None:
        return "no end"
    return f"{_days(known)}, to {_end(known, known.headroom.until)}"


def _sizes(known: Status) -> str:
    rows = about(known.rows, known.unknown, "partition")
    return f"{len(known.partitions):,}, {in_bytes(known.size)}, {rows}"


def _default(known: Status) -> str:
    if known.default is None:
        return ""
    rows = known.default_rows
    words = "unknown number of rows" if rows is None else counted(rows, "row")
    about = "" if known.default_exact or rows is None else "about "
    return f"{printable(known.default.name.name)}: {about}{words}"


def _retired(known: Status) -> str:
    """The partitions that are tables on their own by now."""
    if not known.retired:
        return ""
    first = known.retired[0]
    return (
        f"{len(known.retired):,} not dropped, {printable(str(first.name))} first, since "
        f"{first.since:%Y-%m-%d}"
    )


def _partitions(known: Status) -> list[str]:
    ends = ("from", "to") if known.table.timed else ("bound", "")
    rows = [("partition", *ends, "rows", "size", "")]
    rows += [_partition(known, item) for item in known.partitions]
    columns = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return ["  " + _joined(row, columns).rstrip() for row in rows]


def _joined(row: Sequence[str], columns: Sequence[int]) -> str:
    cells = [fitted(text, columns[place]) for place, text in enumerate(row)]
    for place in (3, 4):
        cells[place] = " " * (columns[place] - width(row[place])) + row[place]
    return "  ".join(cell for place, cell in enumerate(cells) if columns[place])


def _partition(known: Status, item: Partition) -> tuple[str, str, str, str, str, str]:
    same = item.name.schema == known.table.name.schema
    name = printable(item.name.name if same else str(item.name))
    lower, upper = printable(item.bound.removeprefix("FOR VALUES ")), ""
    if item.range is not None:
        lower, upper = _end(known, item.range.lower), _end(known, item.range.upper)
    rows = "unknown" if item.rows is None else f"{item.rows:,}"
    return (name, lower, upper, rows, in_bytes(item.size or 0), _notes(known, item))


def _notes(known: Status, item: Partition) -> str:
    notes = [
        "" if item.kind == "table" else item.kind,
        "" if item.owned or known.table.policy is None else "not ours",
        "detach pending" if item.pending else "",
    ]
    return ", ".join(note for note in notes if note)
