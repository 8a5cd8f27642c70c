"""Models with audited tables, for the tests of what autogenerate does with them.

metadata = orders(AuditTrail(mask=["iban"]), Column("note", Text))
"""

from typing import Any

from autogenerate import run_sql
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text

from alembic_enterprise import AuditTrail
from alembic_enterprise.audit import catalog
from alembic_enterprise.audit.catalog import Trails
from alembic_enterprise.partitions import catalog as partition_catalog

NAMES = [
    ("sales", "orders"),
    ("Mixed Schema", 'we"ird'),
    ("public", "Mixed Case"),
    ("sales", "select"),
    ("public", "ö" * 22),
    ("public", "o" * 45),
    ("public", "$block$ :x %s 'quoted' \\"),
]
"""Schema and name of tables that hurt; the history's name still fits."""


def orders(
    *items: Any, name: str = "orders", metadata: MetaData | None = None, **kw: Any
) -> MetaData:
    """Models with the table `orders`, of a key, two columns and `items`."""
    metadata = metadata or MetaData()
    key = Column("id", BigInteger, primary_key=True, autoincrement=False)
    columns = (key, Column("iban", Text), Column("total", BigInteger))
    Table(name, metadata, *columns, *items, **kw)
    return metadata


def audited(*items: Any, trail: dict[str, Any] | None = None, **kw: Any) -> MetaData:
    """The same with an `AuditTrail` of these options."""
    return orders(*items, AuditTrail(**trail or {}), **kw)


def trails(connection: Connection) -> Trails:
    """The live trails."""
    found = catalog.read(connection, partition_catalog.read(connection))
    connection.rollback()
    return found


def drift(connection: Connection) -> list[str]:
    """What is wrong with the live trails, all together."""
    found = trails(connection)
    return [text for table in found.tables.values() for text in table.drift] + [
        f"{name} is torn" for name in found.torn
    ]


def schema_of(connection: Connection, *names: str) -> None:
    """Make schemas, with names that need quotes."""
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    run_sql(connection, *(f"CREATE SCHEMA IF NOT EXISTS {name}" for name in quoted))
