"""Canaries: what reflection.py leans on in Alembic and SQLAlchemy, one test for each, by name."""

from alembic.autogenerate.api import AutogenContext
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.dialects.postgresql.base import PGInspector
from sqlalchemy.schema import SchemaItem

from alembic_enterprise import reflection


def context(connection: Connection) -> AutogenContext:
    return AutogenContext(MigrationContext.configure(connection), MetaData())


def test_canary_the_inspector_of_a_comparison_can_be_replaced(connection: Connection) -> None:
    found = context(connection)
    reflection.hide_partitions(found)
    assert type(found.inspector) is reflection.VisibleInspector


def test_canary_postgresql_connections_are_inspected_by_a_pginspector(
    connection: Connection,
) -> None:
    assert type(inspect(connection)) is PGInspector


def test_canary_an_inspector_keeps_what_it_knows_in_its_dict(connection: Connection) -> None:
    """A copy that changes its class is then a whole inspector."""
    found = inspect(connection)
    assert {"bind", "engine", "dialect", "info_cache"} <= set(vars(found))


def test_canary_alembic_asks_the_inspector_for_names_before_it_reflects(
    connection: Connection,
) -> None:
    """Hidden names never reach the reflection: no statement about them is sent."""
    connection.exec_driver_sql("CREATE TABLE p (at date NOT NULL) PARTITION BY RANGE (at)")
    connection.exec_driver_sql("CREATE TABLE hidden PARTITION OF p DEFAULT")
    found = context(connection)
    reflection.hide_partitions(found)
    assert found.inspector.get_table_names() == ["p"]
    assert list(found.inspector.get_multi_columns()) == [(None, "p")]


def test_canary_schema_items_are_attached_through_set_parent() -> None:
    """`RangePartitions` overrides it to reach its table."""
    assert callable(SchemaItem()._set_parent)  # noqa: SLF001  # the canary
