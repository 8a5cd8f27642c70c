"""The steps of a plan follow from what a rehearsal has seen; no server is needed."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.locks.traces import Relation, Traces
from alembic_enterprise.plan.model import Basis, RelationEffect, Reversibility, Step, Touched
from alembic_enterprise.plan.rehearsal.rehearse import Performed
from alembic_enterprise.plan.rehearsal.steps import steps
from alembic_enterprise.sql import Name

EXCLUSIVE, SHARE, READING = (
    LockMode.ACCESS_EXCLUSIVE,
    LockMode.SHARE,
    LockMode.ACCESS_SHARE,
)
ORDERS, ORDERS_KEY, EVENTS, EVENTS_1, EVENTS_1_KEY, LINES = range(1, 7)

RELATIONS = {
    one.oid: one
    for one in (
        Relation(ORDERS, Name("public", "orders"), "r", None, None, 1, 0),
        Relation(ORDERS_KEY, Name("public", "orders_pkey"), "i", ORDERS, None, 2, 0),
        Relation(EVENTS, Name("public", "events"), "p", None, None, None, 0),
        Relation(EVENTS_1, Name("public", "events_1"), "r", None, EVENTS, 3, 0),
        Relation(EVENTS_1_KEY, Name("public", "events_1_pkey"), "i", EVENTS_1, None, 4, 0),
        Relation(LINES, Name("public", "order lines"), "r", None, None, 5, 0),
    )
}
LIVE = {
    f"public.{name}": Touched(f"public.{name}", size)
    for name, size in {"orders": 10, "events": 20, "events_1": 5, "order lines": 7}.items()
}

NUMBERS = count()


def performed(
    *locks: tuple[int, LockMode],
    statement: str | None = None,
    held: Iterable[tuple[int, LockMode]] = (),
    **more: Any,
) -> Performed:
    parts = {name: more.pop(name) for name in ("rewritten", "scanned") if name in more}
    traces = Traces(frozenset(locks), **parts)
    text = f"DO {next(NUMBERS)}" if statement is None else statement
    known = Performed(text, "0001", 1, before=RELATIONS, held=frozenset(held), traces=traces)
    return replace(known, **{"basis": Basis.MEASURED, **more})


def made(*of: Performed, reversible: bool = True) -> tuple[Step, ...]:
    return steps(of, LIVE, {"0001": reversible, "0002": reversible}, "18.4", {"0002"})


def told(step: Step) -> list[tuple[str, str, int | None]]:
    return [(one.relation, one.table, one.held_since) for one in step.effects]


def test_locks_are_told_of_the_step_that_took_them() -> None:
    first = performed((ORDERS, EXCLUSIVE))
    second = performed((LINES, SHARE), (ORDERS, READING), held=((ORDERS, EXCLUSIVE),))
    third = performed(held=((ORDERS, EXCLUSIVE), (ORDERS, READING), (LINES, SHARE)))
    other = performed(transaction=2)
    one, two, three, four = made(first, second, third, other)
    assert one.effects == (
        RelationEffect("public.orders", "public.orders", frozenset([EXCLUSIVE])),
    )
    # A weaker lock adds nothing to one that is held.
    assert told(two) == [
        ("public.order lines", "public.order lines", None),
        ("public.orders", "public.orders", 1),
    ]
    assert told(three) == [
        ("public.order lines", "public.order lines", 2),
        ("public.orders", "public.orders", 1),
    ]
    assert four.effects == ()
    assert [step.transaction for step in (one, two, three, four)] == [1, 1, 1, 2]


def test_partitions_and_indexes_belong_to_their_table() -> None:
    [step] = made(
        performed(
            *((oid, EXCLUSIVE) for oid in (EVENTS, EVENTS_1, EVENTS_1_KEY, ORDERS_KEY)),
            rewritten=frozenset([EVENTS_1, EVENTS_1_KEY]),
            scanned=frozenset([EVENTS_1]),
        )
    )
    assert told(step) == [
        ("public.events", "public.events", None),
        ("public.events_1", "public.events", None),
        ("public.events_1_pkey", "public.events", None),
        ("public.orders_pkey", "public.orders", None),
    ]
    marks = [(one.rewritten, one.scanned) for one in step.effects]
    assert marks == [(False, False), (True, True), (True, False), (False, False)]


def test_an_index_that_blocks_no_more_than_its_table_is_left_out() -> None:
    [step] = made(performed((ORDERS, EXCLUSIVE), (ORDERS_KEY, EXCLUSIVE)))
    assert told(step) == [("public.orders", "public.orders", None)]


def test_figures_are_of_the_tables_that_a_step_is_about() -> None:
    whole = performed((EVENTS, EXCLUSIVE), (EVENTS_1, EXCLUSIVE))
    alone = performed((EVENTS_1, SHARE), transaction=2)
    held = ((ORDERS, EXCLUSIVE), (LINES, EXCLUSIVE))
    named = performed(statement='ALTER TABLE public."order lines" ADD a int', held=held)
    assert [[one.table for one in step.tables] for step in made(whole, alone)] == [
        ["public.events"],
        ["public.events_1"],
    ]
    *_, last = made(performed(*held), replace(named, transaction=1))
    assert [one.table for one in last.tables] == ["public.order lines"]


def test_what_a_downgrade_brings_back() -> None:
    kept, lost = performed(), performed(loses_data=True)
    assert [step.reversibility for step in made(kept, lost)] == [
        Reversibility.FULL,
        Reversibility.STRUCTURE_ONLY,
    ]
    [no] = made(kept, reversible=False)
    [untried] = steps([kept], LIVE, {}, "18.4")
    assert (no.reversibility, untried.reversibility) == (Reversibility.NO, Reversibility.UNKNOWN)


def test_a_rehearsal_of_its_own_is_a_transaction_of_its_own() -> None:
    pending, proposed = performed(), performed(revision="0002")
    one, two = made(pending, proposed)
    assert (one.transaction, one.revision) == (1, "0001")
    assert (two.transaction, two.revision) == (2, None)


def test_the_version_that_effects_are_known_of() -> None:
    predicted = performed(basis=Basis.PREDICTED, predicted_for="16.2")
    unknown = performed(basis=Basis.UNKNOWN)
    assert [step.server for step in made(performed(), predicted, unknown)] == ["18.4", "16.2", None]


def test_statements_that_say_the_same_are_one_step() -> None:
    said = "UPDATE orders SET a = ... WHERE id = ..."
    update = performed((ORDERS, READING), statement=said, scanned=frozenset([ORDERS]))
    again = replace(update, traces=Traces(scanned=frozenset([ORDERS])), held=update.traces.locks)
    more = performed((LINES, READING), statement=said, held=update.traces.locks)
    done = made(update, again, again, more, replace(again, transaction=2))
    assert [step.statement for step in done] == [f"{said}\n-- 3 times", said, said]
    assert [(step.number, step.transaction) for step in done] == [(1, 1), (2, 1), (3, 2)]
