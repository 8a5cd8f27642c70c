"""Which objects of a database a plan depends on: those it touches, and what is tied to these.

All that is known of an object is its definition, in which names have their schema, so whatever a
definition names is tied to its object: a foreign key to both of its tables, a partition to its
parent, a default to its sequence, a trigger to its function, a view to its tables.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from alembic_enterprise.plan.model import Step
from alembic_enterprise.plan.rehearsal.phrases import called
from alembic_enterprise.plan.schema.objects import NAME_PART, Key, Objects, shown

IRRELEVANT = frozenset({"statistics"})
"""Kinds of objects that no statement of a migration depends on."""

OWN = frozenset({"comment", "grant", "owner"})
"""Kinds that count for what is touched, and not for what is tied to it."""

ROUTINES = frozenset({"function", "procedure", "aggregate"})
"""Kinds that a statement may call."""

PROSE = ROUTINES | {"comment"}
"""Kinds whose definitions name tables that they are not tied to."""

_NAME = re.compile(rf"{NAME_PART}\.{NAME_PART}")
_QUOTED = re.compile(r'"((?:[^"]|"")+)"')
_TARGET = re.compile(r" STATISTICS \d+(?= WITH |$)")


@dataclass(frozen=True)
class Extent:
    """What a plan reaches.

    Attributes:
        touched: quoted names of what its steps make, change, drop, lock or call: of an object that
            belongs to a relation, of that relation.
        tied: of what else it depends on, without the arguments of functions.
    """

    touched: frozenset[str]
    tied: frozenset[str]

    def covers(self, key: Key, definition: str) -> bool:
        """Whether the plan depends on an object."""
        if key.kind in IRRELEVANT:
            return False
        if subject(key) in self.touched or _names(key, definition, self.touched):
            return True
        return key.kind not in OWN and _bare(subject(key)) in self.tied


def touched(steps: Sequence[Step], changed: Collection[Key], objects: Objects) -> frozenset[str]:
    """Quoted names of what steps touch.

    Args:
        steps: of the plan; the names in their effects are not quoted. Of those that were not
            measured the tables that they name are known, and the routines that they call.
        changed: the objects that they make, change or drop.
        objects: of the live database.
    """
    effects = [effect for step in steps for effect in step.effects]
    names = {name for effect in effects for name in (effect.relation, effect.table)}
    names |= {one.table for step in steps for one in step.tables}
    calls = {name for step in steps for name in called(step.statement)}
    routines = {key.name for key in objects if key.kind in ROUTINES and _last(key.name) in calls}
    relations = {key.relation for key in objects if key.relation}
    locked = {relation for relation in relations if _unquoted(relation) in names}
    return frozenset(locked | routines | {subject(key) for key in changed})


def extent(names: Collection[str], known: Objects) -> Extent:
    """What a plan reaches that touches these names, by the definitions of the objects known."""
    found = frozenset(names)
    tied = set[str]()
    for key, definition in known.items():
        if subject(key) in found and key.kind not in PROSE:
            tied.update(_NAME.findall(definition))
        elif _names(key, definition, found):
            tied.add(_bare(subject(key)))
    return Extent(found, frozenset(tied))


def slice_of(objects: Objects, reached: Extent) -> dict[Key, str]:
    """The objects that a plan depends on."""
    return {
        key: definition for key, definition in objects.items() if reached.covers(key, definition)
    }


def plain(objects: Objects) -> dict[Key, str]:
    """The objects without what does not count, and without what might hold a password."""
    return {key: _plain(key, definition) for key, definition in objects.items()}


def subject(key: Key) -> str:
    """The relation that an object belongs to or is; of others their own name."""
    return key.relation or key.name


def _names(key: Key, definition: str, names: Collection[str]) -> bool:
    """Whether an object is tied to one of these names by its definition."""
    if key.kind in PROSE:
        return False
    return any(name in names for name in _NAME.findall(definition))


def _bare(name: str) -> str:
    """The name of a function without its arguments; others as they are."""
    found = _NAME.match(name)
    return found[0] if found else name


def _last(name: str) -> str:
    """The name of a function without schema, arguments and quotes."""
    return _unquoted(_bare(name)).rpartition(".")[2]


def _unquoted(name: str) -> str:
    return _QUOTED.sub(lambda found: found[1].replace('""', '"'), name)


def _plain(key: Key, definition: str) -> str:
    if key.kind == "column":
        definition = _TARGET.sub("", definition)
    return shown(definition)
