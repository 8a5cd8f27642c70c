"""The steps of a plan, from what a rehearsal has seen."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from alembic_enterprise import registry
from alembic_enterprise.plan.locks.table import LockMode, excluded
from alembic_enterprise.plan.locks.traces import Relation, by_relation, own
from alembic_enterprise.plan.model import (
    Basis,
    RelationEffect,
    Reversibility,
    Step,
    Touched,
)
from alembic_enterprise.plan.rehearsal.phrases import named
from alembic_enterprise.plan.rehearsal.rehearse import Performed
from alembic_enterprise.sql import Name


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
        server: the version that effects were measured on; predictions have their own.
        proposed: revisions that are not in the project yet.
    """
    found: list[Step] = []
    together = groupby(performed, lambda one: one.transaction)
    for transaction, (_, group) in enumerate(together, 1):
        history = _History(tables)
        for number, (one, times) in enumerate(_distinct(group), len(found) + 1):
            names = named(one.statement) if one.names is None else one.names
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
                tables=tuple(
                    _called(names, tables)
                    if one.basis is Basis.UNKNOWN
                    else _touched(effects, names, tables)
                ),
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
    if one.loses_data:
        return Reversibility.STRUCTURE_ONLY
    return Reversibility.UNKNOWN if one.calls else Reversibility.FULL


class _History:
    """What a transaction holds, which of its steps took that, and what was reported of it."""

    def __init__(self, tables: Collection[str]) -> None:
        self._tables = tables
        """The names of the live tables."""
        self._relations: dict[int, Relation] = {}
        self._live: dict[int, Name] = {}
        """What those of them are called in the live database that are there."""
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
        there = {oid: relation.name for oid, relation in one.before.items()}
        self._live.update(there if one.live is None else one.live)
        self._move(one, number)
        acted = {oid for oid, _ in one.traces.locks} | one.traces.rewritten | one.traces.scanned
        named = {oid for name in names for oid in self._called.get(name, ()) if oid in self._last}
        effects: list[RelationEffect] = []
        released: list[str] = []
        for oid in sorted(acted | named | self._moved(one), key=self._order):
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
        """Relations with other locks than before; those of an index depend on its table."""
        moved = {oid for oid, _ in one.traces.locks | one.released}
        return moved | {index for oid in moved for index in self._indexes.get(oid, ())}

    def _effect(self, oid: int, one: Performed, number: int) -> RelationEffect | None:
        """What there is to report of a relation, if anything."""
        relation, table = self._relations[oid], self._relations[self._root(oid)]
        modes, is_rewritten = own(self._modes, relation), oid in one.traces.rewritten
        if table.name.name == registry.TABLE:
            return None  # as the version table, it is nobody's but the migrations'
        if not modes and not is_rewritten:
            return None
        since, called = self._since.get(oid, number), self._name(oid)
        return RelationEffect(
            called,
            self._name(table.oid),
            modes,
            is_rewritten,
            oid in one.traces.scanned,
            None if since == number else since,
            None if called == str(relation.name) else str(relation.name),
        )

    def _name(self, oid: int) -> str:
        """The name in the live database; what is not there never has that of something else."""
        if oid in self._live:
            return str(self._live[oid])
        name = str(self._relations[oid].name)
        return f"{name} (new)" if name in self._tables else name

    def _root(self, oid: int) -> int:
        """The table that a relation belongs to: of a partition the outermost partitioned one.

        A table of the live database that has become a partition of a new one belongs to itself.
        """
        relation = self._relations[oid]
        above = relation.table if relation.table is not None else relation.parent
        if above is None or above not in self._relations:
            return oid
        return oid if oid in self._live and above not in self._live else self._root(above)

    def _order(self, oid: int) -> tuple[str, bool, str]:
        """Tables by name, each before its partitions and indexes."""
        root = self._root(oid)
        return self._name(root), oid != root, self._name(oid)


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
        or (effect.called or effect.relation).rpartition(".")[2] in names
    ]
    whole = {effect.table for effect in about if effect.relation == effect.table}
    names_of = (
        effect.relation if effect.table not in whole and effect.relation in tables else effect.table
        for effect in about
    )
    yield from (tables[name] for name in dict.fromkeys(names_of) if name in tables)


def _called(names: Collection[str], tables: Mapping[str, Touched]) -> Iterator[Touched]:
    """The figures of the tables with some names, each in the schemas that are named, if any is."""
    found: dict[str, list[tuple[str, Touched]]] = {}
    for table, touched in tables.items():
        schema, _, name = table.partition(".")
        if name in names:
            found.setdefault(name, []).append((schema, touched))
    for alike in found.values():
        meant = [touched for schema, touched in alike if schema in names]
        yield from meant or (touched for _, touched in alike)
