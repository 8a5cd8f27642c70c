"""The steps of a plan, from what a rehearsal has seen."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from alembic_enterprise import registry
from alembic_enterprise.plan.locks.table import LockMode, excluded
from alembic_enterprise.plan.locks.traces import Relations, by_relation, own
from alembic_enterprise.plan.model import (
    Basis,
    RelationEffect,
    Reversibility,
    Step,
    Touched,
)
from alembic_enterprise.plan.rehearsal.rehearse import Performed

_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')


def steps(
    performed: Sequence[Performed],
    tables: Mapping[str, Touched],
    reversible: Mapping[str, bool],
    server: str,
    proposed: Collection[str] = (),
) -> tuple[Step, ...]:
    """The statements of a rehearsal as steps.

    Args:
        performed: in the order in which they ran; of several rehearsals, one after the other.
        tables: the figures of the live tables, by schema and name; those of a partitioned table
            are of all its partitions, which have their own as well.
        reversible: whether the downgrade of a revision was tried and works; one that is left out
            was not.
        server: the version that effects were measured on; predictions tell theirs.
        proposed: revisions that are not in the project yet.
    """
    found: list[Step] = []
    together = groupby(performed, lambda one: (one.revision in proposed, one.transaction))
    for transaction, (_, group) in enumerate(together, 1):
        history = _History()
        for number, (one, times) in enumerate(_distinct(group), len(found) + 1):
            effects = tuple(history.effects(one, number))
            step = Step(
                number,
                one.statement if times == 1 else f"{one.statement}\n-- {times:,} times",
                transaction,
                None if one.revision in proposed else one.revision,
                one.basis,
                server if one.basis is Basis.MEASURED else one.predicted_for,
                effects,
                _reversibility(one, reversible),
                tuple(_touched(one, effects, tables)),
                one.operation,
                one.transactional,
                one.lock_timeout,
            )
            found.append(step)
    return tuple(found)


def _distinct(performed: Iterable[Performed]) -> Iterator[tuple[Performed, int]]:
    """Statements, and how often each came in a row without doing anything that it had not done."""
    last, times = None, 0
    for one in performed:
        if last is not None and _repeats(one, last):
            times += 1
            continue
        if last is not None:
            yield last, times
        last, times = one, 1
    if last is not None:
        yield last, times


def _repeats(one: Performed, last: Performed) -> bool:
    did = one.traces
    return (
        (one.statement, one.revision, one.operation) == (last.statement, last.revision, None)
        and not (did.locks or did.rewritten or did.emptied)
        and did.scanned <= last.traces.scanned
    )


def _reversibility(one: Performed, reversible: Mapping[str, bool]) -> Reversibility:
    works = reversible.get(one.revision)
    if not works:
        return Reversibility.UNKNOWN if works is None else Reversibility.NO
    return Reversibility.STRUCTURE_ONLY if one.loses_data else Reversibility.FULL


class _History:
    """Which step of a transaction has taken the locks on a relation."""

    def __init__(self) -> None:
        self._since: dict[int, int] = {}
        # What is only held is the same in every later step: thousands of partitions may be.
        self._held: dict[tuple[int, frozenset[LockMode]], RelationEffect] = {}

    def effects(self, one: Performed, number: int) -> Iterator[RelationEffect]:
        """What a statement does to each relation, and what is held of those before it."""
        new, held = by_relation(one.traces.locks), by_relation(one.held)
        done = one.traces.rewritten | one.traces.scanned
        modes = {
            oid: held.get(oid, set()) | new.get(oid, set())
            for oid in new.keys() | held.keys() | done
        }
        for oid, taken in new.items():
            if oid not in self._since or not excluded(taken) <= excluded(held.get(oid, ())):
                self._since[oid] = number
        for oid in sorted(modes, key=lambda oid: _order(one.before, oid)):
            if one.before[_root(one.before, oid)].name.name == registry.TABLE:
                continue  # as the version table, it is nobody's but the migrations'
            mine = own(modes, one.before[oid])
            if oid in new or oid in done:
                if mine or oid in one.traces.rewritten:
                    yield self._effect(oid, one, mine, number)
            elif mine:
                yield self._only_held(oid, one, mine, number)

    def _effect(
        self, oid: int, one: Performed, modes: frozenset[LockMode], number: int
    ) -> RelationEffect:
        relation = one.before[oid]
        since = self._since.get(oid, number)
        return RelationEffect(
            str(relation.name),
            str(one.before[_root(one.before, oid)].name),
            modes,
            oid in one.traces.rewritten,
            oid in one.traces.scanned,
            None if since == number else since,
        )

    def _only_held(
        self, oid: int, one: Performed, modes: frozenset[LockMode], number: int
    ) -> RelationEffect:
        key = oid, modes
        if key not in self._held:
            self._held[key] = self._effect(oid, one, modes, number)
        return self._held[key]


def _root(relations: Relations, oid: int) -> int:
    """The table that a relation belongs to: of a partition the outermost partitioned one."""
    relation = relations[oid]
    above = relation.table if relation.table is not None else relation.parent
    return oid if above is None or above not in relations else _root(relations, above)


def _order(relations: Relations, oid: int) -> tuple[str, bool, str]:
    """Tables by name, each before its partitions and indexes."""
    root = _root(relations, oid)
    return str(relations[root].name), oid != root, str(relations[oid].name)


def _touched(
    one: Performed, effects: Sequence[RelationEffect], tables: Mapping[str, Touched]
) -> Iterator[Touched]:
    """The figures of the tables that a statement is about; a partition alone has its own.

    These are the tables to which it does something, and those that it names: it may do with the
    locks that are held.
    """
    names = {quoted.replace('""', '"') or plain for quoted, plain in _NAME.findall(one.statement)}
    about = [
        effect
        for effect in effects
        if effect.held_since is None
        or effect.rewritten
        or effect.scanned
        or effect.relation.rpartition(".")[2] in names
    ]
    whole = {effect.table for effect in about if effect.relation == effect.table}
    told = (
        effect.relation if effect.table not in whole and effect.relation in tables else effect.table
        for effect in about
    )
    yield from (tables[name] for name in dict.fromkeys(told) if name in tables)
