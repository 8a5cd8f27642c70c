"""Audited tables, declared and live: the same noun, read in few round trips."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from audited import NAMES, audited, orders, schema_of, trails
from autogenerate import run_sql, upgrade
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, event

from alembic_enterprise import AuditTrail
from alembic_enterprise.audit import catalog
from alembic_enterprise.audit.catalog import Trails
from alembic_enterprise.audit.model import Trail
from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions import catalog as partition_catalog
from alembic_enterprise.sql import Name

OPTIONS: dict[str, Any] = {
    "exclude": ["total"],
    "mask": ["iban"],
    "require_actor": True,
    "retain": 7,
    "owner": "pg_monitor",
    "readers": ["pg_read_all_stats", "pg_monitor"],
}


def test_a_declaration_and_its_live_trail_are_equal(connection: Connection) -> None:
    metadata = audited(trail=OPTIONS, schema="public")
    upgrade(connection, metadata)
    declared = catalog.declared(metadata.sorted_tables)
    assert declared == trails(connection).tables
    assert declared[Name("public", "orders")].trail == Trail(**OPTIONS)


def test_names_that_hurt(connection: Connection) -> None:
    metadata = MetaData()
    for schema, name in NAMES:
        schema_of(connection, schema, "audit \"'%")
        trail = {"schema": "audit \"'%", "history": f"{name}{schema[:1]}"}
        audited(name=name, schema=schema, metadata=metadata, trail=trail)
    upgrade(connection, metadata, include_schemas=True)
    found = trails(connection).tables
    assert catalog.declared(metadata.sorted_tables) == found
    assert {table.drift for table in found.values()} == {()}


def test_a_table_without_a_declaration_is_none() -> None:
    assert catalog.declared(orders().sorted_tables) == {}


def test_two_tables_cannot_have_one_history() -> None:
    metadata = MetaData()
    for schema, name in (("a", "b_c"), ("a_b", "c")):
        key = Column("id", BigInteger, primary_key=True)
        Table(name, metadata, key, AuditTrail(), schema=schema)
    with pytest.raises(DeclarationError, match=r"audit\.a_b_c_history, as that of .*history="):
        catalog.declared(metadata.sorted_tables)


@contextmanager
def counted(connection: Connection) -> Generator[list[str]]:
    """The statements sent meanwhile."""
    found: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(connection, "before_cursor_execute", record)
    yield found
    event.remove(connection, "before_cursor_execute", record)


def test_a_database_without_a_trail_costs_one_query(connection: Connection) -> None:
    upgrade(connection, orders())
    partitioned = partition_catalog.read(connection)
    with counted(connection) as statements:
        assert catalog.read(connection, partitioned) == Trails()
    assert len(statements) == 1


def test_any_number_of_trails_costs_three_queries(connection: Connection) -> None:
    metadata = audited()
    for number in range(3):
        Table(f"t{number}", metadata, Column("id", BigInteger, primary_key=True), AuditTrail())
    upgrade(connection, metadata)
    partitioned = partition_catalog.read(connection)
    with counted(connection) as statements:
        assert len(catalog.read(connection, partitioned).tables) == 4
    assert len(statements) == 3


def test_a_trail_without_its_function_or_its_triggers_is_torn(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, "DROP FUNCTION audit.orders_history() CASCADE")
    history = frozenset({Name("audit", "orders_history")})
    assert trails(connection) == Trails(torn=history)
    run_sql(
        connection, "COMMENT ON TABLE audit.orders_history IS 'alembic-enterprise: audit history'"
    )
    assert trails(connection) == Trails(kept=history), "what was kept on purpose is no trail"


def test_a_renamed_table_keeps_its_trail(connection: Connection) -> None:
    upgrade(connection, audited())
    run_sql(connection, "CREATE SCHEMA sales", "ALTER TABLE orders SET SCHEMA sales")
    run_sql(connection, "ALTER TABLE sales.orders RENAME TO purchases")
    [(name, table)] = trails(connection).tables.items()
    assert name == Name("sales", "purchases")
    assert table.history == Name("audit", "orders_history")
    assert table.drift == ("the view audit.audit_trail differs",)


def test_a_reader_that_may_see_little_reads_the_trails_all_the_same(
    connection: Connection, role: str
) -> None:
    upgrade(connection, audited())
    run_sql(connection, f"SET ROLE {role}")
    [table] = trails(connection).tables.values()
    assert table.drift == (), "that it may not read the policy is no drift"
