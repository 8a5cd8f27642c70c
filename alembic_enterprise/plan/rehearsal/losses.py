"""What a statement takes away for good, as the catalog before and after shows, whatever it says.

A table is known by its oid and a column by its number, so that neither is lost sight of when the
release has given it another name before.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from alembic_enterprise.plan.locks.traces import Relations
from alembic_enterprise.plan.model import Loss


def losses(
    live: Relations,
    before: Relations,
    after: Relations,
    emptied: Collection[int],
    *,
    keeps_partitions: bool = False,
) -> Iterator[Loss]:
    """What was in the live database, and is not any more.

    Args:
        live: its relations.
        before: those before the statement.
        after: those after it.
        emptied: tables that have lost their rows to TRUNCATE.
        keeps_partitions: whether the rows of partitions that are gone are elsewhere, or were none:
            an operation of ours has seen to that, unless it was told to lose them.
    """
    if before is after and not emptied:
        return
    gone = {oid for oid in live.keys() & before.keys() - after.keys() if live[oid].kind in "rpm"}
    gone |= live.keys() & set(emptied)
    if keeps_partitions:
        gone = {oid for oid in gone if live[oid].parent is None}
    yield from map(Loss, sorted(str(live[oid].name) for oid in _outermost(gone, live)))
    for oid, old in before.items():
        now = after.get(oid)
        if now is not None and now is not old:
            yield from _of_columns(live, oid, before, after)


def _outermost(gone: Collection[int], live: Relations) -> set[int]:
    """Tables without their partitions; one that has lost several, and all, stands for them."""
    found, inside = set(gone), defaultdict[int, set[int]](set)
    for relation in live.values() if any(live[oid].parent for oid in gone) else ():
        if relation.parent is not None and relation.table is None:
            inside[relation.parent].add(relation.oid)
    while more := {oid for oid, parts in inside.items() if parts <= found} - found:
        found |= more
    return {_told(oid, gone, inside) for oid in found if live[oid].parent not in found}


def _told(oid: int, gone: Collection[int], inside: Mapping[int, Collection[int]]) -> int:
    """A table, or its only partition when it is that which is gone."""
    while oid not in gone and len(inside[oid]) == 1:
        [oid] = inside[oid]
    return oid


def _of_columns(live: Relations, oid: int, before: Relations, after: Relations) -> Iterator[Loss]:
    """Of a table that stays, the columns that are gone or have a type that holds less.

    They are gone as well from tables that have become partitions of it in the release.
    """
    changed = [
        (number, old[0], now and now[1])
        for number, (old, now) in enumerate(
            zip(before[oid].columns, after[oid].columns, strict=False)
        )
        if old is not None and (now is None or holds_less(now[1], old[1]))
    ]
    if changed and oid in live and live[oid].kind == "c":
        yield from _of_type(live, oid)
        return
    tables = (oid, *_attached(live, oid, before)) if changed else ()
    for table in tables:
        for number, name, becomes in changed if table in live else ():
            if known := _known(live, table, number if table == oid else None, name):
                yield Loss(str(live[table].name), known, becomes)


def _of_type(live: Relations, oid: int) -> Iterator[Loss]:
    """Of all columns of a composite type, what it has lost."""
    for relation in live.values():
        for column in relation.columns:
            if column is not None and column[1] == f"({oid})":
                yield Loss(str(relation.name), column[0], str(live[oid].name))


def _known(live: Relations, table: int, number: int | None, name: str) -> str | None:
    """What a column is called in the live database, if it is there.

    It has kept its number, but for one of a partition: there it has the name of its table's.
    """
    columns = live[table].columns
    if number is not None and columns:
        known = columns[number] if number < len(columns) else None
        return known and known[0]
    names = {one[0] for one in live[_top(live, table)].columns if one is not None}
    return name if name in names else None


def _attached(live: Relations, oid: int, before: Relations) -> Iterator[int]:
    """The live tables that are in a table by now, and were not."""
    for other in sorted(live.keys() & before.keys() - {oid}):
        is_table, above = before[other].kind in "rp", live[other].parent
        if not is_table or _top(before, other) != oid or _top(live, other) == oid:
            continue
        if above is None or _top(before, above) != oid:
            yield other


def _top(relations: Relations, oid: int) -> int:
    """The outermost table that a relation is a partition of; else itself."""
    above = relations[oid].parent if oid in relations else None
    return oid if above is None or above not in relations else _top(relations, above)


_FLOATING = {"real", "double precision"}
_TIMESTAMPS = {"timestamp without time zone", "timestamp with time zone"}
_TIMES = {"time without time zone", "time with time zone"}
_TEXTS = {"text", "character varying", "character", "bpchar"}
_LESS = (
    (_FLOATING, {"numeric", "bigint"}),
    ({"numeric"}, _FLOATING),  # 6 or 15 digits: FLT_DIG, DBL_DIG
    ({"real"}, {"double precision", "integer"}),
    ({"date"} | _TIMES, _TIMESTAMPS),
    (_TIMES, {"interval"}),
    ({"time without time zone"}, {"time with time zone"}),
    ({"name", '"char"'}, _TEXTS),
    ({"cidr"}, {"inet"}),
)
"""Types, and those whose values they take without an error and without a part of them."""

_ALL = float("inf")
_NUMBERS = {
    **dict.fromkeys(("smallint", "integer", "bigint"), 0),
    "money": 2,
    **dict.fromkeys(("numeric", *_FLOATING), _ALL),
}
_CLOCK = dict.fromkeys((*_TIMESTAMPS, *_TIMES, "interval"), 6)
"""How many digits types keep after the point unless told; fewer round in silence."""

_DIGITS = re.compile(r"\((?:\d+,)?(-?\d+)\)")


def holds_less(new: str, old: str) -> bool:
    """Whether ALTER COLUMN TYPE rounds or cuts values that were of another type, in silence.

    Types are as `format_type` prints them; of arrays their elements count. One that refuses a value
    is none of these, since the release fails then; nor does a look at the types tell what USING
    does. The fields of an interval are not looked at.
    """
    new, old = new.removesuffix("[]"), old.removesuffix("[]")
    to, of = (_DIGITS.sub("", given) for given in (new, old))
    if any(to in smaller and of in larger for smaller, larger in _LESS):
        return True
    alike = (kind for kind in (_NUMBERS, _CLOCK) if to in kind and of in kind)
    return any(_digits(new, kind[to]) < _digits(old, kind[of]) for kind in alike)


def _digits(given: str, usual: float) -> float:
    """How many digits a type keeps after the point; -2 are whole hundreds."""
    found = _DIGITS.search(given)
    return usual if found is None else int(found[1])
