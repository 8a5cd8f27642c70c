"""What a migration script can do to tables that are too large, or too busy, for plain DDL."""

from alembic_enterprise.indexes.operations.elements import Expression
from alembic_enterprise.indexes.operations.foreign_key import (
    AddForeignKeyOnline,
    DropForeignKeyOnline,
)
from alembic_enterprise.indexes.operations.index import CreateIndexOnline, DropIndexOnline
from alembic_enterprise.indexes.operations.not_null import DropNotNullOnline, SetNotNullOnline
from alembic_enterprise.indexes.operations.patience import patiently
from alembic_enterprise.indexes.operations.statistics import AnalyzeTable
from alembic_enterprise.indexes.operations.unique import (
    CreateUniqueConstraintOnline,
    DropUniqueConstraintOnline,
)
from alembic_enterprise.operation import Operation

__all__ = [
    "OPERATIONS",
    "AddForeignKeyOnline",
    "AnalyzeTable",
    "CreateIndexOnline",
    "CreateUniqueConstraintOnline",
    "DropForeignKeyOnline",
    "DropIndexOnline",
    "DropNotNullOnline",
    "DropUniqueConstraintOnline",
    "Expression",
    "SetNotNullOnline",
    "patiently",
]

OPERATIONS: list[type[Operation]] = [
    CreateIndexOnline,
    DropIndexOnline,
    CreateUniqueConstraintOnline,
    DropUniqueConstraintOnline,
    AddForeignKeyOnline,
    DropForeignKeyOnline,
    SetNotNullOnline,
    DropNotNullOnline,
    AnalyzeTable,
]
"""Every operation of this capability, for the list in `plugin`."""
