"""The steps of a plan, from what a rehearsal has seen."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from alembic_enterprise import registry
from alembic_enterprise.plan.locks.table import LockMode, excluded
from alembic_enterprise.plan.locks.traces import Relation, Relations, by_relation, own
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
    together = groupby(performed, lambda one: one.transaction)
    for transaction, (_, group) in enumerate(together, 1):
        history = _History()
        for number, (one, times) in enumerate(_distinct(group), len(found) + 1):
            names = _names(one.statement)
            effects, released = history.take(one, number, names)
            step = Step(
                number=number,
                statement=one.statement if times == 1 else f"{one.statement}\n-- {times:,} times",
                transaction=transaction,
                revision=None if one.revision in proposed else one.revision,
                basis=one.basis,
                server=server if one.basis is Basis.MEASURED else one.predicted_for,
                effects=tuple(effects),
                reversibility=_reversibility(one, reversible),
                tables=tuple(_touched(effects, names, tables)),
                operation=one.operation,
                transactional=one.transactional,
                lock_timeout=one.lock_timeout,
                lost=one.lost,
                released=tuple(released),
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
        and not (did.locks or did.rewritten or did.emptied or one.lost or one.released)
        and did.scanned <= last.traces.scanned
    )


def _reversibility(one: Performed, reversible: Mapping[str, bool]) -> Reversibility:
    works = reversible.get(one.revision)
    if not works:
        return Reversibility.UNKNOWN if works is None else Reversibility.NO
    return Reversibility.STRUCTURE_ONLY if one.loses_data else Reversibility.FULL


def _names(statement: str) -> set[str]:
    """All that may be the name of a relation in a statement, without schemas."""
    found = _NAME.findall(statement)
    return {quoted.replace('""', '"') or plain.lower() for quoted, plain in found}


class _History:
    """What a transaction holds, which of its steps took that, and what was told of it."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._modes = defaultdict[int, set[LockMode]](set)
        self._since: dict[int, int] = {}
        self._last: dict[int, RelationEffect] = {}
        """The effect that was last told of each."""
        self._called = defaultdict[str, set[int]](set)
        self._indexes = defaultdict[int, set[int]](set)
        """Those that are locked, by the oids of their tables."""

    def take(
        self, one: Performed, number: int, names: Collection[str]
    ) -> tuple[list[RelationEffect], list[str]]:
        """The effects of a step on what it is about; and the relations that are held no more."""
        self._relations.update(one.before)
        self._move(one, number)
        acted = {oid for oid, _ in one.traces.locks} | one.traces.rewritten | one.traces.scanned
        named = {oid for name in names for oid in self._called.get(name, ()) if oid in self._last}
        effects: list[RelationEffect] = []
        released: list[str] = []
        for oid in sorted(
            acted | named | self._moved(one), key=lambda oid: _order(self._relations, oid)
        ):
            last, effect = self._last.pop(oid, None), self._effect(oid, one, number)
            if last is not None and (effect is None or effect.relation != last.relation):
                released.append(last.relation)
            if effect is not None and effect.modes:
                self._last[oid] = effect
                self._called[self._relations[oid].name.name].add(oid)
            is_new = last is None or effect is None or effect.modes != last.modes
            if effect is not None and (oid in acted or oid in named or is_new):
                effects.append(effect)
        return effects, released

    def _move(self, one: Performed, number: int) -> None:
        """Let go what a savepoint had kept, and take what is new."""
        for oid, mode in one.released:
            self._modes[oid].discard(mode)
        for oid, taken in by_relation(one.traces.locks).items():
            kept = self._modes[oid]
            if oid not in self._since or not excluded(taken) <= excluded(kept):
                self._since[oid] = number
            kept |= taken
            if (table := self._relations[oid].table) is not None:
                self._indexes[table].add(oid)

    def _moved(self, one: Performed) -> set[int]:
        """Relations with other locks than before; what is told of an index depends on its table."""
        moved = {oid for oid, _ in one.traces.locks | one.released}
        return moved | {index for oid in moved for index in self._indexes.get(oid, ())}

    def _effect(self, oid: int, one: Performed, number: int) -> RelationEffect | None:
        """What there is to tell of a relation, if anything."""
        relation, table = self._relations[oid], self._relations[_root(self._relations, oid)]
        modes, is_rewritten = own(self._modes, relation), oid in one.traces.rewritten
        if table.name.name == registry.TABLE:
            return None  # as the version table, it is nobody's but the migrations'
        if not modes and not is_rewritten:
            return None
        since = self._since.get(oid, number)
        return RelationEffect(
            str(relation.name),
            str(table.name),
            modes,
            is_rewritten,
            oid in one.traces.scanned,
            None if since == number else since,
        )


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
    effects: Iterable[RelationEffect], names: Collection[str], tables: Mapping[str, Touched]
) -> Iterator[Touched]:
    """The figures of the tables that a statement is about; a partition alone has its own.

    These are the tables to which it does something, and those that it names: it may do with the
    locks that are held.
    """
    about = [
        effect
        for effect in effects
        if effect.held_since is None
        or effect.rewritten
        or effect.scanned
        or effect.relation.rpartition(".")[2] in names
    ]
    whole = {effect.table for effect in about if effect.relation == effect.table}
    names_of = (
        effect.relation if effect.table not in whole and effect.relation in tables else effect.table
        for effect in about
    )
    yield from (tables[name] for name in dict.fromkeys(names_of) if name in tables)
