"""What rules make of steps that are written down, without a server."""

from dataclasses import replace
from datetime import timedelta

import pytest
from planned import EVENTS, ORDERS, SCRIPT, STEPS, effect, months

from alembic_enterprise.plan.catalog import Catalog
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.model import Basis, Step, Touched
from alembic_enterprise.plan.rules import Facts, found
from alembic_enterprise.plan.rules.locks import every_partition_locked, lock_table_budget
from alembic_enterprise.plan.rules.reading import actions, name, names, parts
from alembic_enterprise.plan.rules.rows import (
    blocks_while_scanning,
    data_lost,
    every_row_written,
    locks_held_while_scanning,
)
from alembic_enterprise.plan.rules.scripts import plugin_not_enabled
from alembic_enterprise.sql import Name

EXCLUSIVE = LockMode.ACCESS_EXCLUSIVE
NAME = Name("public", "events")
PARTITIONS = {NAME: months().partitions}
LIVE = {str(item.name): Touched(str(item.name), 1, 1, 0, 3) for item in PARTITIONS[NAME]}
WHOLE = Step(
    1,
    "ALTER TABLE events ADD COLUMN note text",
    1,
    "9b1e44d2a7c3",
    Basis.MEASURED,
    "18.6",
    (
        effect("public.events", LockMode.ACCESS_EXCLUSIVE),
        *(effect(name, LockMode.ACCESS_EXCLUSIVE, "public.events") for name in LIVE),
    ),
)


def facts(*steps: Step, known: Catalog | None = None, plugins: str = "*") -> Facts:
    there = known or Catalog(partitions=PARTITIONS)
    tables = {ORDERS.table: ORDERS, EVENTS.table: EVENTS, **LIVE}
    return Facts(steps, there, there, tables, {"9b1e44d2a7c3": SCRIPT}, [plugins])


def test_a_finding_says_which_step_and_which_script_it_is_of() -> None:
    steps = [replace(step, operation=None, lock_timeout=None) for step in STEPS]
    known = Catalog(lock_slots=1000, volatile=["gen_random_uuid"])
    told = [
        (item.finding.rule, item.finding.table, item.step, item.path)
        for item in found(facts(*steps, known=known))
    ]
    assert told == [
        ("volatile-default", "public.orders", 1, SCRIPT),
        ("no-lock-timeout", "public.orders", 1, SCRIPT),
        ("committed-before-the-end", "public.orders", 3, None),
    ]


@pytest.mark.parametrize(
    ("size", "severity"),
    [(0, "note"), (10 * 2**20, "warning"), (2**30 - 1, "warning"), (2**30, "error")],
)
def test_the_larger_the_table_the_worse(size: int, severity: str) -> None:
    scan = replace(effect("public.orders", LockMode.SHARE), scanned=True)
    step = Step(1, "CREATE INDEX ON orders (id)", 1, effects=(scan,))
    given = replace(facts(step), tables={ORDERS.table: replace(ORDERS, size=size)})
    [item] = blocks_while_scanning(given)
    assert item.finding.severity == severity
    assert item.finding.evidence["table_bytes"] == size


@pytest.mark.parametrize(
    ("size", "rows", "severity"),
    [(1, None, "warning"), (2**30 - 1, 5, "warning"), (2**30, 5, "error"), (2**30, 0, None)],
)
def test_what_is_lost_is_never_a_note(size: int, rows: int | None, severity: str | None) -> None:
    step = Step(1, "DROP TABLE orders", 1, effects=(effect("public.orders", EXCLUSIVE),))
    known = {ORDERS.table: replace(ORDERS, size=size, rows=rows)}
    told = [*data_lost(replace(facts(step), tables=known))]
    assert [item.finding.severity for item in told] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("statement", "transactional", "written"),
    [
        ("UPDATE orders SET note = 'WHERE'", True, "all of its rows"),
        ("UPDATE orders SET note = $1", False, "all of its rows"),
        ("DELETE FROM public.orders", True, "all of its rows"),
        ("DELETE FROM orders WHERE note IS NULL", True, "all that fit its condition"),
        ("DELETE FROM orders WHERE id IN (SELECT id FROM orders LIMIT 9)", False, None),
        ("SELECT * FROM orders FOR UPDATE", True, None),
        ("MERGE INTO orders AS o USING n ON true WHEN MATCHED THEN DELETE", True, "all that fit"),
        ("MERGE INTO orders AS o USING n ON true WHEN NOT MATCHED THEN INSERT DEFAULT", True, None),
        ("WITH a AS (UPDATE orders SET id = 1 RETURNING 1) TABLE a", True, "all of its rows"),
        ("DO $$ BEGIN UPDATE orders SET a = 1; DELETE FROM orders; END $$", False, "all of its"),
        ("DO $$ BEGIN DELETE FROM orders WHERE id = 1; END $$", False, None),
    ],
)
def test_rows_are_to_be_written_in_batches(
    statement: str, transactional: bool, written: str | None
) -> None:
    """A batch in an autocommit block has a condition, whatever it reads for it."""
    scan = replace(effect("public.orders", LockMode.ROW_EXCLUSIVE), scanned=True)
    step = Step(1, statement, 1, effects=(scan,), transactional=transactional)
    told = [item.finding for item in every_row_written(facts(step))]
    assert [item.severity for item in told] == (["error"] if written else [])
    assert all(written in item.message for item in told if written)


def test_a_lock_of_an_earlier_step_is_named() -> None:
    locks = effect("public.orders", LockMode.ACCESS_EXCLUSIVE)
    first = Step(1, "ALTER TABLE orders ADD COLUMN note text", 1, effects=(locks,))
    scan = replace(effect("public.events", LockMode.SHARE_UPDATE_EXCLUSIVE), scanned=True)
    step = Step(2, "ALTER TABLE events VALIDATE CONSTRAINT positive", 1, effects=(scan,))
    assert not [*blocks_while_scanning(facts(first, step))], "by itself it stops nobody"
    [item] = locks_held_while_scanning(facts(first, step))
    assert (item.finding.table, item.finding.severity) == ("public.events", "warning")
    assert item.finding.evidence["locked"] == {"public.orders": ["reads", "writes"]}
    assert "locks of step 1 on public.orders are held until" in item.finding.message


@pytest.mark.parametrize(("slots", "severity"), [(76, "error"), (77, "warning"), (154, None)])
def test_the_locks_of_a_transaction_are_counted_with_their_indexes(
    slots: int, severity: str | None
) -> None:
    """The shadow has 18 partitions; the live database has more, and their indexes."""
    known = Catalog(partitions=PARTITIONS, locks={NAME: 77}, lock_slots=slots)
    told = [item.finding for item in lock_table_budget(facts(WHOLE, known=known))]
    assert [(item.severity, item.evidence["locks"]) for item in told] == (
        [(severity, 77)] if severity else []
    )


def test_the_locks_on_some_partitions_are_counted_one_by_one() -> None:
    one = replace(WHOLE, effects=WHOLE.effects[1:3])
    known = Catalog(partitions=PARTITIONS, locks={NAME: 77}, lock_slots=10)
    [item] = lock_table_budget(facts(one, known=known))
    assert item.finding.evidence["locks"] == 2 * (1 + 3)


def test_partitions_that_an_earlier_step_locked_are_not_told_again() -> None:
    many = {f"public.e{n}": Touched(f"public.e{n}", 1) for n in range(30)}
    modes = [effect(name, LockMode.SHARE_ROW_EXCLUSIVE, "public.events") for name in many]
    step = replace(WHOLE, effects=(*modes, effect("public.events", LockMode.ACCESS_EXCLUSIVE)))
    given = replace(facts(step), tables=many | {EVENTS.table: EVENTS})
    [item] = every_partition_locked(given)
    assert item.finding.evidence["partitions"] == 30
    held = replace(step, effects=tuple(replace(one, held_since=1) for one in step.effects))
    assert not [*every_partition_locked(replace(given, steps=(held,)))]


@pytest.mark.parametrize(
    ("listed", "severity"),
    [
        ("alembic_enterprise.*", None),
        ("alembic_enterprise.plugin", None),
        ("*", None),
        ("alembic.autogenerate.*", "error"),
    ],
)
def test_the_plugin_has_to_be_listed(listed: str, severity: str | None) -> None:
    told = [item.finding.severity for item in plugin_not_enabled(facts(plugins=listed))]
    assert told == ([severity] if severity else [])


def test_the_plugin_is_no_error_without_partitions() -> None:
    [item] = plugin_not_enabled(facts(known=Catalog(), plugins="alembic.autogenerate.*"))
    assert item.finding.severity == "warning"


def test_names_are_read_as_the_server_reads_them() -> None:
    assert name('"Mixed Case"."we""ird"') == Name("Mixed Case", 'we"ird')
    assert name("Public . Orders") == Name("public", "orders")
    assert name("größe") == Name(None, "größe")
    assert names('a, "b, c"') == [Name(None, "a"), Name(None, "b, c")]
    assert names("lower(a)") == []


def test_statements_and_actions_are_told_apart() -> None:
    text = "-- first\nALTER TABLE a ADD b numeric(9, 2) DEFAULT 'x, y', DROP c; SELECT ';'"
    first, second = parts(text)
    assert second == "SELECT ';'"
    table = Name(None, "a")
    assert [*actions(first)] == [
        (table, "ADD b numeric(9, 2) DEFAULT 'x, y'"),
        (table, "DROP c"),
    ]


def test_a_lock_timeout_is_seconds_in_the_evidence() -> None:
    step = replace(STEPS[2], operation=None, lock_timeout=timedelta(milliseconds=1500))
    told = {item.finding.rule: item.finding for item in found(facts(step))}
    assert told["lock-timeout-around-concurrently"].evidence["lock_timeout_seconds"] == 1.5
