"""What a transaction holds of its earlier steps: their locks stand until it ends.

Each step lists what it does itself. What else is held follows from the steps before it, so that
a transaction of many steps over many partitions is listed once, and not once for each step.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from alembic_enterprise.plan.locks.table import LockMode, strongest
from alembic_enterprise.plan.model import RelationEffect, Step


class Group(NamedTuple):
    """A table, the strongest modes of locks on its relations, and the step that took them."""

    table: str
    modes: frozenset[LockMode]
    since: int


class Held:
    """The locks of earlier steps.

    Attributes:
        effects: by relation, each with the step that took its locks.
        modes: by table, how many of its relations are locked in which modes.
        groups: the same effects, grouped by what is printed in one go.
        changed: groups that have gained or lost relations; the reader takes out what it has listed.
    """

    def __init__(self) -> None:
        """Begin with nothing, as a transaction does."""
        self.effects: dict[str, RelationEffect] = {}
        self.modes: dict[str, Counter[frozenset[LockMode]]] = {}
        self.groups: dict[Group, dict[str, RelationEffect]] = {}
        self.changed: set[Group] = set()

    def release(self, step: Step) -> None:
        """Let go what is not held any more, or by another name, when a step has been run."""
        for relation in step.released:
            self._drop(relation)

    def keep(self, step: Step) -> None:
        """Hold what a step has locked."""
        for effect in step.effects:
            since = effect.held_since or step.number
            self._put(replace(effect, rewritten=False, scanned=False, held_since=since))

    def _put(self, effect: RelationEffect) -> None:
        if self.effects.get(effect.relation) == effect or not effect.modes:
            return
        self._drop(effect.relation)
        self.effects[effect.relation] = effect
        self.modes.setdefault(effect.table, Counter())[effect.modes] += 1
        group = _group(effect)
        self.groups.setdefault(group, {})[effect.relation] = effect
        self.changed.add(group)

    def _drop(self, relation: str) -> None:
        if (before := self.effects.pop(relation, None)) is None:
            return
        modes, group = self.modes[before.table], _group(before)
        modes[before.modes] -= 1
        if not modes[before.modes]:
            del modes[before.modes]
        if not modes:
            del self.modes[before.table]
        del self.groups[group][relation]
        if not self.groups[group]:
            del self.groups[group]
        self.changed.add(group)


def _group(effect: RelationEffect) -> Group:
    return Group(effect.table, strongest(effect.modes), effect.held_since or 0)


def held(steps: Iterable[Step]) -> Iterator[tuple[Step, Held]]:
    """Each step, and what is held from before it while it stands; that moves on with the steps."""
    for _, transaction in groupby(steps, key=lambda step: step.transaction):
        before = Held()
        for step in transaction:
            before.release(step)
            yield step, before
            before.keep(step)


def place(effect: RelationEffect) -> tuple[str, bool, str]:
    """Where an effect comes among those of a step: tables by name, each before what it has."""
    return effect.table, effect.relation != effect.table, effect.relation
