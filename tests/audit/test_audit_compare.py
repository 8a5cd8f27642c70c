"""The comparison of trails as a pure function: which operation, and where it goes in the script."""

from dataclasses import replace
from typing import Any

import pytest
from alembic.operations import MigrateOperation
from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateIndexOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    ModifyTableOps,
    UpgradeOps,
)
from sqlalchemy import BigInteger, Column, Integer

from alembic_enterprise.audit.catalog import AuditedTable, Trails
from alembic_enterprise.audit.compare import compare, placed
from alembic_enterprise.audit.model import Trail
from alembic_enterprise.audit.operations import (
    AddAuditColumns,
    AlterAuditTrail,
    CreateAuditTrail,
    DropAuditColumns,
    DropAuditTrail,
)
from alembic_enterprise.errors import MismatchError
from alembic_enterprise.operation import InOrder, Operation
from alembic_enterprise.sql import Name

ORDERS = Name(None, "orders")
LIVE = Name("public", "orders")
HISTORY = Name("audit", "orders_history")
MASKED = Trail(mask=("iban",))


def resolve(name: Name) -> Name:
    return Name(name.schema or "public", name.name)


def declared(trail: Trail = MASKED, history: Name = HISTORY) -> dict[Name, AuditedTable]:
    return {ORDERS: AuditedTable(ORDERS, history, trail)}


def live(trail: Trail = MASKED, *drift: str, name: Name = LIVE, gap: bool = False) -> Trails:
    return Trails({name: AuditedTable(name, HISTORY, trail, drift=drift, gap=gap)})


def found(
    tables: dict[Name, AuditedTable], trails: Trails, *script: MigrateOperation
) -> list[Operation]:
    return compare(tables, trails, script, [ORDERS], resolve)


def modified(*steps: MigrateOperation) -> ModifyTableOps:
    return ModifyTableOps("orders", steps)


ADD = AddColumnOp("orders", Column("note", BigInteger()))
DROP = DropColumnOp.from_column_and_tablename(None, "orders", Column("total", BigInteger()))
INDEX = CreateIndexOp("ix", "orders", ["note"])
RETYPE = AlterColumnOp("orders", "total", existing_type=Integer(), modify_type=BigInteger())
CREATE_TABLE = CreateTableOp("orders", [])
DROP_TABLE = DropTableOp("orders")


def test_what_is_as_declared_gives_nothing() -> None:
    assert found(declared(), live()) == []
    assert found({}, Trails()) == []
    assert found(declared(), live(), modified(INDEX)) == []


def test_what_is_not_there_is_created() -> None:
    [operation] = found(declared(), Trails())
    assert operation == CreateAuditTrail.of(ORDERS, HISTORY, MASKED)
    [operation] = found(declared(), Trails(), CREATE_TABLE)
    assert operation == CreateAuditTrail.of(ORDERS, HISTORY, MASKED, baseline=False)


def test_a_history_that_was_there_before_stays_in_the_downgrade() -> None:
    drop = DropAuditTrail.of(ORDERS, HISTORY, MASKED)
    [operation] = found(declared(), Trails())
    assert operation.reverse() == replace(drop, drop_history=True)
    [operation] = found(declared(), Trails(kept=frozenset({HISTORY})))
    assert operation.reverse() == drop
    assert operation.reverse().reverse().reverse() == drop


@pytest.mark.parametrize(
    ("trails", "gap"),
    [
        (live(Trail(retain=3)), False),
        (live(MASKED, "pg_monitor has INSERT on audit.orders_history"), False),
        (live(MASKED, "orders has no trigger alembic_enterprise_insert", gap=True), True),
        (Trails(torn=frozenset({HISTORY})), True),
    ],
    ids=["options", "drift", "gap", "torn"],
)
def test_what_differs_is_altered(trails: Trails, *, gap: bool) -> None:
    """While others write, where rows may have to be copied."""
    [operation] = found(declared(), trails)
    assert operation == AlterAuditTrail.of(ORDERS, HISTORY, MASKED, concurrently=gap)


def test_an_alteration_knows_what_it_replaces() -> None:
    [operation] = found(declared(), live(Trail(retain=3)))
    assert isinstance(operation, AlterAuditTrail)
    assert operation.previous == Trail(retain=3)


def test_what_is_no_longer_declared_is_dropped() -> None:
    assert found({}, live()) == [DropAuditTrail.of(ORDERS, HISTORY, MASKED)]


def test_a_trail_goes_before_its_table() -> None:
    script = [modified(INDEX), DROP_TABLE]
    [operation] = operations = compare({}, live(), script, [], resolve)
    assert isinstance(operation, DropAuditTrail)
    assert not operation.baseline
    assert placed(script, operations, resolve) == [operation, *script]


def test_a_trail_of_a_table_that_is_none_of_ours_is_left_alone() -> None:
    """Its model may be in another project, on the same database."""
    assert compare({}, live(), [], [], resolve) == []


@pytest.mark.parametrize(
    ("steps", "added", "without", "expected"),
    [
        ([ADD], ["note"], [], [[ADD], None]),
        ([DROP], [], ["total"], [None, [DROP]]),
        ([ADD, INDEX, DROP], ["note"], ["total"], [[ADD], None, [INDEX, DROP]]),
        ([RETYPE], [], [], [[[RETYPE], None]]),
        ([ADD, RETYPE, DROP], ["note"], ["total"], [[ADD], [[RETYPE], None], [DROP]]),
    ],
    ids=["added", "dropped", "both", "retyped", "all"],
)
def test_columns_are_followed_by_one_alteration_between_those_added_and_those_dropped(
    steps: list[MigrateOperation],
    added: list[str],
    without: list[str],
    expected: list[list[MigrateOperation] | None],
) -> None:
    script = [modified(*steps)]
    [alter] = operations = found(declared(), live(), *script)
    assert isinstance(alter, AlterAuditTrail)
    assert (alter.added, alter.without) == (added or None, without or None)
    assert shape(placed(script, operations, resolve)) == expected


def shape(script: list[MigrateOperation]) -> list[Any]:
    """The steps of each change of a table, and None for an operation of ours."""
    return [
        shape(item.ops) if isinstance(item, InOrder) else getattr(item, "ops", None)
        for item in script
    ]


def test_the_reverse_gives_a_column_its_type_before_the_trail_follows() -> None:
    script = [modified(ADD, RETYPE, DROP)]
    upgrade = UpgradeOps(placed(script, found(declared(), live(), *script), resolve))
    [_add, inner, _drop] = shape(upgrade.reverse().ops)
    assert isinstance(inner[0][0], AlterColumnOp)
    assert inner[1] is None


def test_audit_columns_are_columns() -> None:
    add = AddAuditColumns("orders")
    [alter] = found(declared(), live(), modified(add))
    assert isinstance(alter, AlterAuditTrail)
    assert alter.added == ["created_at", "created_by", "updated_at", "updated_by"]
    drop = DropAuditColumns("orders", keep=["created_at"])
    script = [modified(drop, INDEX)]
    [alter] = operations = found(declared(), live(), *script)
    assert isinstance(alter, AlterAuditTrail)
    assert alter.without == ["created_by", "updated_at", "updated_by"]
    assert shape(placed(script, operations, resolve)) == [None, [drop, INDEX]]


def test_a_column_that_is_not_kept_as_it_is_may_get_another_type() -> None:
    retype = AlterColumnOp("orders", "iban", modify_type=BigInteger())
    for trail in (MASKED, Trail(exclude=("iban",)), Trail(hash=("iban",))):
        assert found(declared(trail), live(trail), modified(retype)) == []


def test_the_script_ends_with_new_trails_and_begins_with_dropped_ones() -> None:
    """The downgrade, its mirror, then makes the dropped ones when all else is back."""
    create = CreateAuditTrail.of(ORDERS, HISTORY, MASKED)
    drop = DropAuditTrail.of(Name(None, "other"), HISTORY, MASKED)
    other = AlterAuditTrail.of(Name(None, "third"), HISTORY, MASKED)
    script = [CREATE_TABLE, modified(INDEX)]
    assert placed(script, [drop, other, create], resolve) == [drop, *script, other, create]


def test_another_history_than_the_live_one_is_refused() -> None:
    other = Name("audit", "other")
    with pytest.raises(MismatchError, match=r"orders: .*audit\.other.*history='orders_history'"):
        found(declared(history=other), live())


def test_the_history_of_another_table_is_refused_unless_that_table_goes() -> None:
    invoices = Name("public", "invoices")
    with pytest.raises(MismatchError, match=r"that of public\.invoices: write"):
        found(declared(), live(name=invoices))
    script = [CREATE_TABLE, DropTableOp("invoices")]
    drop, create = found(declared(), live(name=invoices), *script)
    assert isinstance(drop, DropAuditTrail)
    assert isinstance(create, CreateAuditTrail)
