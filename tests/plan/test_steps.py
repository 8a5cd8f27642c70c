"""The steps of a plan follow from what a rehearsal has seen; no server is needed."""

from dataclasses import replace
from itertools import count
from typing import Any

from alembic_enterprise.plan.held import Held, held
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
    **more: Any,
) -> Performed:
    parts = {name: more.pop(name) for name in ("rewritten", "scanned") if name in more}
    traces = Traces(frozenset(locks), **parts)
    text = f"DO {next(NUMBERS)}" if statement is None else statement
    known = Performed(text, "0001", 1, before=RELATIONS, traces=traces)
    return replace(known, **{"basis": Basis.MEASURED, **more})


def made(*of: Performed, reversible: bool = True) -> tuple[Step, ...]:
    return steps(of, LIVE, {"0001": reversible, "0002": reversible}, "18.4", {"0002"})


def kept(before: Held) -> dict[str, int | None]:
    return {relation: effect.held_since for relation, effect in before.effects.items()}


def told(step: Step) -> list[tuple[str, str, int | None]]:
    return [(one.relation, one.table, one.held_since) for one in step.effects]


def test_locks_are_told_of_the_step_that_took_them() -> None:
    first = performed((ORDERS, EXCLUSIVE))
    second = performed((LINES, SHARE), (ORDERS, READING))
    third = performed()
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
    assert three.effects == four.effects == ()
    assert [kept(before) for _, before in held((one, two, three, four))] == [
        {},
        {"public.orders": 1},
        {"public.orders": 1, "public.order lines": 2},
        {},
    ]
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
    both = ((ORDERS, EXCLUSIVE), (LINES, EXCLUSIVE))
    named = performed(statement='ALTER TABLE public."order lines" ADD a int')
    assert [[one.table for one in step.tables] for step in made(whole, alone)] == [
        ["public.events"],
        ["public.events_1"],
    ]
    _, last = made(performed(*both), named)
    assert told(last) == [("public.order lines", "public.order lines", 1)]
    assert [one.table for one in last.tables] == ["public.order lines"]
    _, last = made(performed(*both), performed(statement="ALTER TABLE Public.Orders ADD a int"))
    assert [one.table for one in last.tables] == ["public.orders"]


def test_a_step_of_which_nothing_is_known_is_about_the_tables_that_it_names() -> None:
    block = performed(statement="DO $$ BEGIN ...", names=("orders", "id"), basis=Basis.UNKNOWN)
    said = performed(statement='VACUUM "order lines"', basis=Basis.UNKNOWN, transaction=2)
    assert [[one.table for one in step.tables] for step in made(block, said)] == [
        ["public.orders"],
        ["public.order lines"],
    ]


def test_of_tables_in_two_schemas_the_one_is_meant_whose_schema_is_named() -> None:
    live = LIVE | {"other.orders": Touched("other.orders", 1)}
    texts = ("VACUUM other.orders", "VACUUM orders")
    vacuums = [performed(statement=text, basis=Basis.UNKNOWN) for text in texts]
    one, either = steps(vacuums, live, {}, "18.4")
    assert [item.table for item in one.tables] == ["other.orders"]
    assert [item.table for item in either.tables] == ["public.orders", "other.orders"]


def test_a_table_has_its_live_name_whatever_it_is_called_by_then() -> None:
    """A new one never has the name of another one that is there."""
    renamed = RELATIONS | {ORDERS: replace(RELATIONS[ORDERS], name=Name("old", "orders_1"))}
    new = Relation(9, Name("public", "orders"), "p", None, None, 9, 0)
    known = {oid: one.name for oid, one in RELATIONS.items()}
    first = performed((ORDERS, SHARE))
    text = "ALTER TABLE orders_1 ADD a int"
    second = performed((ORDERS, EXCLUSIVE), statement=text, before=renamed, live=known)
    attached = renamed | {9: new, ORDERS: replace(renamed[ORDERS], parent=9)}
    third = performed((9, EXCLUSIVE), (ORDERS, READING), before=attached, live=known, transaction=2)
    done = made(first, second, third)
    assert [told(step) for step in done] == [
        [("public.orders", "public.orders", None)],
        [("public.orders", "public.orders", None)],
        [
            ("public.orders", "public.orders", None),
            ("public.orders (new)", "public.orders (new)", None),
        ],
    ]
    assert [step.effects[0].called for step in done] == [None, "old.orders_1", "old.orders_1"]
    assert [[one.table for one in step.tables] for step in done] == [["public.orders"]] * 3
    assert [step.released for step in done] == [(), (), ()]


def test_what_a_downgrade_brings_back() -> None:
    kept, lost = performed(), performed(loses_data=True)
    asks = performed(calls=True)
    assert [step.reversibility for step in made(kept, lost, asks)] == [
        Reversibility.FULL,
        Reversibility.STRUCTURE_ONLY,
        Reversibility.UNKNOWN,
    ]
    [no] = made(kept, reversible=False)
    [untried] = steps([kept], LIVE, {}, "18.4")
    assert (no.reversibility, untried.reversibility) == (Reversibility.NO, Reversibility.UNKNOWN)


def test_what_is_proposed_has_no_revision_yet() -> None:
    pending, proposed = performed(), performed(revision="0002", transaction=2)
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
    again = replace(update, traces=Traces(scanned=frozenset([ORDERS])))
    more = performed((LINES, READING), statement=said)
    done = made(update, again, again, more, replace(again, transaction=2))
    assert [step.statement for step in done] == [f"{said}\n-- 3 times", said, said]
    assert [(step.number, step.transaction) for step in done] == [(1, 1), (2, 1), (3, 2)]


def test_a_transaction_that_goes_back_to_a_savepoint_lets_go() -> None:
    lost = frozenset([(ORDERS, EXCLUSIVE)])
    first, second = performed((ORDERS, SHARE), (LINES, SHARE)), performed((ORDERS, EXCLUSIVE))
    done = made(
        first, second, performed(released=lost), performed(released=frozenset([(LINES, SHARE)]))
    )
    assert [step.released for step in done] == [(), (), (), ("public.order lines",)]
    modes = [before.effects["public.orders"].modes for _, before in [*held(done)][-1:]]
    assert modes == [{SHARE}]


def test_the_lock_of_an_index_is_told_until_its_table_is_locked_as_well() -> None:
    index, table = performed((ORDERS_KEY, EXCLUSIVE)), performed((ORDERS, EXCLUSIVE))
    done = made(index, table, performed(released=frozenset([(ORDERS, EXCLUSIVE)])), performed())
    assert [told(step) for step in done] == [
        [("public.orders_pkey", "public.orders", None)],
        [("public.orders", "public.orders", None)],
        [("public.orders_pkey", "public.orders", 1)],
        [],
    ]
    assert [step.released for step in done] == [(), ("public.orders_pkey",), ("public.orders",), ()]


def test_many_steps_over_many_partitions_are_told_in_proportion() -> None:
    """Each would otherwise tell again of all that its transaction has locked."""
    partitions = {
        oid: Relation(oid, Name("public", f"e{oid}"), "r", None, EVENTS, oid, 0)
        for oid in range(100, 400)
    }
    known = RELATIONS | partitions
    whole = performed(*((oid, EXCLUSIVE) for oid in partitions), before=known)
    each = [performed(statement=f"ALTER TABLE e{oid} ADD CHECK (true)") for oid in partitions]
    done = made(whole, *each)
    assert sum(len(step.effects) for step in done) == 2 * len(partitions)
    [*_, (_, before)] = held(done)
    assert len(before.effects) == len(partitions)
    assert len(before.groups) == 1
