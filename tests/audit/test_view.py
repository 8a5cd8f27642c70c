"""The view of all trails: what it shows, to whom, and how it follows trails as they come and go."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic.util import CommandError
from audited import NAMES, schema_of
from autogenerate import run, run_sql
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    MetaData,
    Table,
    Text,
    column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import ProgrammingError

from alembic_enterprise.audit.history import diff
from alembic_enterprise.audit.model import AuditTrail

START, STOP = datetime(2026, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
VIEW = table(
    "audit_trail",
    *(column(name, Text) for name in ("table", "field", "old_value", "new_value", "changed_by")),
    *(column(name, JSONB) for name in ("key", "context")),
    column("changed_at", DateTime(timezone=True)),
    schema="audit",
)


def audited(schema: str, name: str) -> Table:
    """A table with a key of two columns."""
    return Table(
        name,
        MetaData(),
        Column("tenant", BigInteger, primary_key=True),
        Column("we\"ird %s ':x' \\", Text, primary_key=True),
        Column("total", BigInteger),
        AuditTrail(history=f"{name}_history"[-50:]),
        schema=schema,
    )


def trail(item: Table, **more: Any) -> str:
    """The call that makes the trail of a table."""
    options = {"history": f"{item.name}_history"[-50:], "schema": item.schema, "baseline": False}
    words = ", ".join(f"{name}={value!r}" for name, value in {**options, **more}.items())
    return f"op.create_audit_trail({item.name!r}, {words})"


def shown(connection: Connection) -> list[tuple[Any, ...]]:
    names = "table", "key", "field", "old_value", "new_value", "changed_at", "changed_by", "context"
    found = connection.execute(select(*(VIEW.c[name] for name in names)))
    return sorted((tuple(row) for row in found), key=repr)


def made(connection: Connection, *names: str) -> None:
    """Tables with a key `id`, and a trail each."""
    for name in names:
        run_sql(connection, f"CREATE TABLE {name} (id int PRIMARY KEY, total int)")
        run(connection, f"op.create_audit_trail('{name}', history='{name}_log', baseline=False)")


def exists(connection: Connection) -> bool:
    found = connection.exec_driver_sql("SELECT to_regclass('audit.audit_trail')").scalar_one()
    connection.rollback()
    return found is not None


def test_it_shows_what_the_differences_of_each_table_are(connection: Connection) -> None:
    tables = [audited(*names) for names in NAMES]
    schema_of(connection, *{schema for schema, _ in NAMES} - {"public"})
    for item in tables:
        item.create(connection)
        connection.commit()
        run(connection, trail(item))
        for statement in (
            item.insert().values([(1, "a b", 5), (2, "c", None)]),
            item.update().values(total=6),
            item.update().where(item.c.tenant == 2).values(tenant=3),
            item.delete().where(item.c.tenant == 1),
        ):
            connection.execute(statement)
            connection.commit()
    run_sql(connection, 'TRUNCATE sales."select"')
    expected = [
        (f"{item.schema}.{item.name}", *row)
        for item in tables
        for row in connection.execute(diff(item, START, STOP))
    ]
    assert shown(connection) == sorted(expected, key=repr)
    assert len(expected) == 16 * len(tables) + 1


def test_it_comes_with_the_first_trail_and_goes_with_the_last(connection: Connection) -> None:
    drop = "op.drop_audit_trail('{0}', history='{0}_log')"
    made(connection, "orders", "lines")
    run_sql(connection, "INSERT INTO orders VALUES (1)", "INSERT INTO lines VALUES (2)")
    assert {row[0] for row in shown(connection)} == {"public.orders", "public.lines"}
    run(connection, drop.format("orders"))
    assert {row[0] for row in shown(connection)} == {"public.lines"}
    run(connection, drop.format("lines") + "\n")
    assert not exists(connection)
    run(connection, "op.create_audit_trail('lines', history='lines_log', baseline=False)")
    run(
        connection,
        "op.drop_audit_trail('lines', history='lines_log', drop_history=True, drop_rows=True)",
    )
    assert not exists(connection)


def test_columns_of_histories_come_and_change_under_it(connection: Connection) -> None:
    made(connection, "orders")
    run_sql(
        connection,
        "INSERT INTO orders VALUES (1, 5)",
        "ALTER TABLE orders ADD note text",
        "ALTER TABLE orders ALTER total TYPE numeric(9, 2)",
        "ALTER TABLE orders ALTER id TYPE bigint",
    )
    run(connection, "op.alter_audit_trail('orders', history='orders_log')")
    run_sql(connection, "UPDATE orders SET note = 'n', total = 7")
    fields = [row[2:5] for row in shown(connection)]
    assert fields == [
        ("id", None, "1"),
        ("note", None, "n"),
        ("total", "5.00", "7.00"),  # as the table reads it
        ("total", None, "5.00"),
    ]


@pytest.fixture
def as_role(connection: Connection) -> Iterator[Callable[[str], None]]:
    """A function that lets the connection act as a role."""

    def become(role: str) -> None:
        connection.exec_driver_sql(f"SET ROLE {role}")

    yield become
    connection.rollback()
    connection.exec_driver_sql("RESET ROLE")


def test_who_may_read_it(
    connection: Connection, new_role: Callable[..., str], as_role: Callable[[str], None]
) -> None:
    owner, all_trails, one_trail, nobody = (new_role() for _ in range(4))
    create = (
        "op.create_audit_trail({0!r}, history='{0}_log', baseline=False, owner={1!r},"
        " readers={2!r})"
    )
    for name, readers in (("orders", [all_trails]), ("lines", [all_trails, one_trail])):
        run_sql(connection, f"CREATE TABLE {name} (id int PRIMARY KEY)")
        run(connection, create.format(name, owner, readers))
        run_sql(connection, f"INSERT INTO {name} VALUES (1)")
    as_role(all_trails)
    assert {row[0] for row in shown(connection)} == {"public.orders", "public.lines"}
    as_role(one_trail)
    assert {row[0] for row in shown(connection)} == {"public.lines"}
    connection.rollback()
    as_role(nobody)
    with pytest.raises(ProgrammingError, match="permission denied"):
        shown(connection)


def test_who_may_read_it_no_longer(
    connection: Connection, new_role: Callable[..., str], as_role: Callable[[str], None]
) -> None:
    reader = new_role()
    made(connection, "orders")
    alter = "op.alter_audit_trail('orders', history='orders_log', readers={!r})"
    run(connection, alter.format([reader]))
    run_sql(connection, "GRANT SELECT ON audit.audit_trail TO PUBLIC")
    run(connection, alter.format(None))
    as_role(reader)
    with pytest.raises(ProgrammingError, match="permission denied"):
        shown(connection)


@pytest.mark.parametrize(
    "theirs",
    ["CREATE TABLE audit.audit_trail (id int)", "CREATE VIEW audit.audit_trail AS SELECT 1"],
)
def test_what_others_called_so_is_left_alone(connection: Connection, theirs: str) -> None:
    run_sql(connection, "CREATE SCHEMA audit", theirs)
    with pytest.raises(CommandError) as raised:
        made(connection, "orders")
    assert str(raised.value) == (
        '"audit"."audit_trail" is there already and is not the view of all trails: rename it, or '
        "keep the histories in another schema"
    )


FILL = """
INSERT INTO audit.{0}_log (audit_id, audit_at, audit_action, audit_transaction,
    audit_session_user, audit_role, id, total)
SELECT nextval('audit.{0}_log_id'), month + id * interval '1 second', 'update', '7', 'me', 'me',
       id, extract(month FROM month)
FROM generate_series('2026-01-01 00:00+00', '2026-04-01 00:00+00', interval '1 month') AS month,
     generate_series(1, 2000) AS id"""


def test_only_the_months_and_the_tables_asked_for_are_read(connection: Connection) -> None:
    months = "every='month', start='2026-01-01', stop='2026-05-01', schema='audit'"
    made(connection, "orders", "lines")
    for name in ("orders", "lines"):
        run(connection, f"op.create_range_partitions('{name}_log', {months})")
        run_sql(connection, FILL.format(name))
    run_sql(connection, "SET TimeZone = 'UTC'", "ANALYZE audit.orders_log, audit.lines_log")
    asked = """SELECT count(*) FROM audit.audit_trail
               WHERE changed_at >= '2026-02-01' AND changed_at < '2026-03-01'"""
    plan = explained(connection, asked)
    assert executed(plan, "changed") == {"orders_log_y2026_m02", "lines_log_y2026_m02"}
    before = {"orders_log_y2026_m01", "lines_log_y2026_m01"}
    assert executed(plan, "earlier") == executed(plan, "changed") | before
    assert "WindowAgg" not in plan
    plan = explained(connection, asked + """ AND "table" = 'public.lines'""")
    assert "orders" not in plan
    assert connection.exec_driver_sql(asked).scalar_one() == 4000


def explained(connection: Connection, query: str) -> str:
    options = "ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF"
    return "\n".join(connection.exec_driver_sql(f"EXPLAIN ({options}) {query}").scalars())


def executed(plan: str, alias: str) -> set[str]:
    """The partitions that were read under an alias."""
    found = re.findall(rf" on (\w+_y\d+_m\d+) {alias}(?:_\d+)? \((.*)\)", plan)
    return {name for name, told in found if told != "never executed"}


@pytest.mark.parametrize("context", [None, {"path": "/orders"}])
def test_an_update_without_a_predecessor_does_not_pass_for_an_insert(
    connection: Connection, context: dict[str, str] | None
) -> None:
    """As when retention has dropped the month of the change before."""
    item = audited("public", "orders")
    item.create(connection)
    connection.commit()
    run(connection, trail(item))
    connection.execute(item.insert().values([(1, "a", 5)]))
    connection.commit()
    run_sql(connection, "DELETE FROM audit.orders_history")
    connection.exec_driver_sql(
        "SELECT set_config('alembic_enterprise.context', %s, true)",
        ("" if context is None else json.dumps(context),),
    )
    connection.execute(item.update().values(total=6))
    connection.commit()
    found = connection.execute(diff(item, START, STOP)).all()
    assert {(row.field, row.old_value, row.new_value) for row in found} == {
        ("tenant", None, "1"),
        ("we\"ird %s ':x' \\", None, "a"),
        ("total", None, "6"),
    }
    assert all(row.context == {**(context or {}), "old_values": "no earlier row"} for row in found)
    assert shown(connection) == sorted([("public.orders", *row) for row in found], key=repr)
