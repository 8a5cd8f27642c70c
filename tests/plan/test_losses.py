"""What is gone for good follows from the relations before and after; no server is needed."""

from dataclasses import replace

import pytest

from alembic_enterprise.plan.locks.traces import Relation
from alembic_enterprise.plan.model import Loss
from alembic_enterprise.plan.rehearsal.losses import holds_less, losses
from alembic_enterprise.sql import Name

ORDERS, EVENTS, EVENTS_1, EVENTS_2, EVENTS_2_A, KEY = range(1, 7)


def relation(
    oid: int, name: str, kind: str = "r", *, table: int | None = None, parent: int | None = None
) -> Relation:
    return Relation(oid, Name("public", name), kind, table, parent, oid, 0)


LIVE = {
    one.oid: one
    for one in (
        replace(relation(ORDERS, "orders"), columns=(("id", "bigint"), None, ("note", "text"))),
        relation(EVENTS, "events", "p"),
        relation(EVENTS_1, "events_1", parent=EVENTS),
        relation(EVENTS_2, "events_2", "p", parent=EVENTS),
        relation(EVENTS_2_A, "events_2_a", parent=EVENTS_2),
        relation(KEY, "events_1_key", "i", table=EVENTS_1, parent=EVENTS),
    )
}


def lost(*without: int, emptied: tuple[int, ...] = (), ours: bool = False) -> list[Loss]:
    after = {oid: one for oid, one in LIVE.items() if oid not in without}
    return [*losses(LIVE, LIVE, after, emptied, keeps_partitions=ours)]


def test_a_table_is_lost_with_its_partitions() -> None:
    assert lost(EVENTS, EVENTS_1, EVENTS_2, EVENTS_2_A, KEY) == [Loss("public.events")]
    assert lost(EVENTS_2, EVENTS_2_A) == [Loss("public.events_2")]
    assert lost(EVENTS_1, KEY) == [Loss("public.events_1")]
    assert lost(KEY) == []


def test_a_table_without_rows_in_any_of_its_partitions_stands_for_them() -> None:
    assert lost(emptied=(EVENTS_1, EVENTS_2_A)) == [Loss("public.events")]
    assert lost(emptied=(EVENTS_2_A,)) == [Loss("public.events_2_a")]
    assert lost(EVENTS_1, EVENTS_2, EVENTS_2_A) == [Loss("public.events")]


def test_operations_of_ours_keep_the_rows_of_partitions() -> None:
    assert lost(ORDERS, EVENTS_1, ours=True) == [Loss("public.orders")]


def test_what_the_release_has_made_is_no_loss() -> None:
    made = LIVE | {9: relation(9, "orders_new")}
    assert not [*losses(LIVE, made, LIVE, [9])]


def test_tables_and_columns_are_called_as_in_the_live_database() -> None:
    renamed = replace(
        LIVE[ORDERS],
        name=Name("other", "old"),
        columns=(("number", "bigint"), None, ("remark", "text"), ("made", "date")),
    )
    before = LIVE | {ORDERS: renamed}
    after = LIVE | {ORDERS: replace(renamed, columns=(("number", "integer"), None, None, None))}
    assert [*losses(LIVE, before, after, [])] == [Loss("public.orders", "note")]
    gone = {oid: one for oid, one in before.items() if oid != ORDERS}
    assert [*losses(LIVE, before, gone, [])] == [Loss("public.orders")]


def with_columns(*names: str | None, of: Relation) -> Relation:
    return replace(of, columns=tuple(None if name is None else (name, "text") for name in names))


def test_a_column_of_a_partition_that_was_detached_is_lost() -> None:
    """Which columns a partition has its table tells, as long as it is one."""
    live = LIVE | {EVENTS: with_columns("at", "note", of=LIVE[EVENTS])}
    alone = replace(LIVE[EVENTS_1], name=Name("old", "events_1"), parent=None)
    before = live | {EVENTS_1: with_columns("note", "at", "made", of=alone)}
    after = live | {EVENTS_1: with_columns(None, "at", None, of=alone)}
    assert [*losses(live, before, after, [])] == [Loss("public.events_1", "note")]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_column_of_a_table_that_was_attached_is_lost(*, is_new: bool) -> None:
    """Its rows are in it, whatever the columns of its new table have been before."""
    whole = with_columns("at", "note", of=LIVE[EVENTS])
    live = LIVE if is_new else LIVE | {EVENTS: whole}
    oid = 9 if is_new else EVENTS
    above = {oid: replace(whole, oid=oid), 10: relation(10, "deep", "p", parent=oid)}
    put = replace(LIVE[ORDERS], parent=10, columns=())
    before = live | above | {ORDERS: put}
    after = before | {oid: with_columns("at", None, of=above[oid])}
    told = [Loss("public.orders", "note")]
    assert [*losses(live, before, after, [])] == (
        told if is_new else [Loss("public.events", "note"), *told]
    )


@pytest.mark.parametrize(
    ("old", "new", "less"),
    [
        ("numeric(9,2)", "integer", True),
        ("numeric(9,2)", "numeric(9,1)", True),
        ("numeric", "numeric(9,2)", True),
        ("numeric(9,2)", "numeric(20,2)", False),
        ("numeric(9,2)", "numeric", False),
        ("integer", "numeric(9,2)", False),
        ("bigint", "integer", False),
        ("numeric", "double precision", True),
        ("double precision", "real", True),
        ("real", "double precision", False),
        ("timestamp with time zone", "date", True),
        ("timestamp(3) without time zone", "time without time zone", True),
        ("timestamp with time zone", "timestamp(0) with time zone", True),
        ("timestamp(3) with time zone", "timestamp(6) with time zone", False),
        ("timestamp without time zone", "timestamp(6) without time zone", False),
        ("timestamp without time zone", "timestamp with time zone", False),
        ("date", "timestamp without time zone", False),
        ("character varying(9)", "character varying(3)", False),
        ("text", "text", False),
        ("double precision", "numeric(10,2)", True),
        ("real", "numeric(10,0)", True),
        ("real", "numeric", True),
        ("double precision", "numeric", True),
        ("numeric(10,0)", "bigint", False),
        ("numeric(5,-2)", "integer", False),
        ("integer", "numeric(6,-2)", True),
        ("numeric", "money", True),
        ("numeric(10,2)", "money", False),
        ("money", "numeric(10,2)", False),
        ("integer", "real", True),
        ("bigint", "real", True),
        ("bigint", "double precision", True),
        ("smallint", "real", False),
        ("integer", "double precision", False),
        ("timestamp with time zone", "timestamp(0) without time zone", True),
        ("timestamp without time zone", "timestamp(0) with time zone", True),
        ("timestamp(0) without time zone", "timestamp with time zone", False),
        ("time with time zone", "time without time zone", True),
        ("time(0) without time zone", "time with time zone", False),
        ("interval", "interval(0)", True),
        ("interval(3)", "interval", False),
        ("interval", "time without time zone", True),
        ("time without time zone", "interval", False),
        ("text", "name", True),
        ("character varying(100)", "name", True),
        ("name", "text", False),
        ("text", '"char"', True),
        ("inet", "cidr", True),
        ("cidr", "inet", False),
        ("numeric(10,2)[]", "integer[]", True),
        ("double precision[]", "numeric(10,2)[]", True),
        ("timestamp(3) with time zone[]", "timestamp(0) without time zone[]", True),
        ("integer[]", "bigint[]", False),
        ("text[]", "text[]", False),
    ],
)
def test_a_type_that_rounds_or_cuts_in_silence_holds_less(old: str, new: str, less: bool) -> None:
    assert holds_less(new, old) is less
