"""The pictures of a plan, as SVG inside a page: locks, sizes, and what time partitions hold."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby

from alembic_enterprise.partitions.status import Cell, Status, step, timeline
from alembic_enterprise.plan.held import Held, held
from alembic_enterprise.plan.locks.table import Activity, LockMode, blocks
from alembic_enterprise.plan.model import Plan, Step
from alembic_enterprise.plan.report.sections import numbered, size
from alembic_enterprise.wording import printable

WIDTH, NAMES, ROW = 800, 240, 24
"""Of a picture, of its column of names, and the height of a row; in pixels of its own."""

LETTERS = 34
"""Characters that fit in the column of names."""

CELLS = 100
"""Up to so many steps have a cell each; of more, those in a row that block the same have one."""

PAST, AHEAD = 24, 12
"""Periods of a timeline, before the current one and after it."""

LOCKS = (
    "What each step blocks until its transaction ends: reads and all else in red, writes in amber, "
    "DDL in blue, nothing in grey"
)
TIMES = (
    "The periods around now, which is outlined: those with a partition filled, those that lack one "
    "dashed, those that nobody asks for in grey"
)


def figures(plan: Plan) -> Iterator[str]:
    """The pictures for which the plan has data."""
    if locks := _locks(plan.steps):
        yield _figure("Locks", LOCKS, locks)
    if sizes := _sizes(plan.steps):
        yield _figure("Sizes", "The tables that the steps are about, with indexes", sizes)
    if times := [_timeline(known) for known in plan.partitioned if known.table.timed]:
        yield _figure("Partitions", TIMES, times)


def _figure(title: str, caption: str, rows: Sequence[str]) -> str:
    height = ROW * len(rows)
    shapes = "\n".join(
        f'<g transform="translate(0 {ROW * position})">{row}</g>'
        for position, row in enumerate(rows)
    )
    return (
        f"<h2>{title}</h2>\n<figure>\n"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{caption}">\n'
        f"{shapes}\n</svg>\n<figcaption>{caption}.</figcaption>\n</figure>"
    )


def _locks(steps: Sequence[Step]) -> list[str]:
    """A row for each table with a cell for each step, or for several that block the same."""
    tables = dict.fromkeys(effect.table for one in steps for effect in one.effects)
    blocked: dict[str, list[frozenset[Activity]]] = {table: [] for table in tables}
    for one, before in held(steps):
        locked = _locked(one, before)
        for table, row in blocked.items():
            row.append(locked.get(table, frozenset()))
    return [_row(table, _blocking(steps, row)) for table, row in blocked.items()]


def _locked(one: Step, before: Held) -> dict[str, frozenset[Activity]]:
    """What is blocked of the tables in which something is locked once a step has been run."""
    modes = {table: frozenset[LockMode]().union(*kept) for table, kept in before.modes.items()}
    for effect in one.effects:
        modes[effect.table] = modes.get(effect.table, frozenset[LockMode]()) | effect.modes
    return {table: blocks(some) for table, some in modes.items()}


def _blocking(steps: Sequence[Step], row: Sequence[frozenset[Activity]]) -> list[str]:
    """The cells of a table; what each step blocks is given."""
    width = (WIDTH - NAMES) / len(steps)
    together = groupby(range(len(row)), key=lambda at: (row[at], at if len(row) <= CELLS else 0))
    cells: list[str] = []
    for (blocked, _), places in together:
        first, *more = places
        name = next((activity.lower() for activity in Activity if activity in blocked), "none")
        words = ", ".join(activity for activity in Activity if activity in blocked) or "nothing"
        which = numbered([steps[first], steps[(first, *more)[-1]]])
        verb = "block" if more else "blocks"
        cells.append(_cell(name, width * first, width * (1 + len(more)), f"{which} {verb} {words}"))
    return cells


def _sizes(steps: Sequence[Step]) -> list[str]:
    """A row for each table with a bar; the longest is of the largest."""
    tables = {touched.table: touched for one in steps for touched in one.tables}
    largest = max([1, *(touched.size for touched in tables.values())])
    room = WIDTH - NAMES
    return [
        _row(name, [_cell("bar", 0, max(1, room * touched.size / largest), size(touched))])
        for name, touched in tables.items()
    ]


def _timeline(known: Status) -> str:
    """A row with a cell for each period around now."""
    every = step(known)
    if every is None:
        return _row(str(known.table.name), [])
    line = timeline(known, every, PAST, AHEAD)
    cells = [
        (_period(cell, is_now=place == line.position), f"{every} {place - PAST:+d}: {cell.value}")
        for place, cell in enumerate(line.cells)
    ]
    return _row(str(known.table.name), _cells(cells))


def _period(cell: Cell, *, is_now: bool) -> str:
    name = "none" if cell is Cell.OUTSIDE else cell.value
    return f"{name} now" if is_now else name


def _cells(cells: Sequence[tuple[str, str]]) -> list[str]:
    """Cells of one width."""
    width = (WIDTH - NAMES) / max(1, len(cells))
    return [_cell(name, width * place, width, words) for place, (name, words) in enumerate(cells)]


def _cell(name: str, left: float, width: float, words: str) -> str:
    """A rectangle that says its words when it is pointed at."""
    gap = min(2, width / 4)
    return (
        f'<rect class="{name}" x="{NAMES + left:.1f}" y="4" width="{width - gap:.1f}" '
        f'height="{ROW - 8}"><title>{_text(words)}</title></rect>'
    )


def _row(name: str, cells: Iterable[str]) -> str:
    text = printable(name)
    shown = text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
    label = f'<text x="0" y="{ROW - 8}"><title>{escape(text)}</title>{escape(shown)}</text>'
    return label + "".join(cells)


def _text(words: str) -> str:
    return escape(printable(words))
