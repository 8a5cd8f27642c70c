"""What a statement takes away for good, as the catalog before and after it tells, whatever it says.

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
        if now is not None and now is not old and oid in live:
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
    """Of a table that stays, the columns that are gone or have a type that holds less."""
    table = str(live[oid].name)
    for known, old, now in zip(
        live[oid].columns, before[oid].columns, after[oid].columns, strict=False
    ):
        if known is None or old is None:
            continue
        if now is None:
            yield Loss(table, known[0])
        elif holds_less(now[1], old[1]):
            yield Loss(table, known[0], now[1])


_FLOATING = {"real", "double precision"}
_TIMESTAMPS = {"timestamp without time zone", "timestamp with time zone"}
_TIMES = {"time without time zone", "time with time zone"}
_TEXTS = {"text", "character varying", "character", "bpchar"}
_LESS = (
    (_FLOATING, {"numeric", "bigint"}),
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
