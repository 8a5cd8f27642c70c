"""What a migration script can do with audit columns and trails."""

from alembic_enterprise.audit.operations.columns import AddAuditColumns, DropAuditColumns
from alembic_enterprise.audit.operations.trail import (
    AlterAuditTrail,
    CreateAuditTrail,
    DropAuditTrail,
)
from alembic_enterprise.operation import Operation

__all__ = [
    "OPERATIONS",
    "AddAuditColumns",
    "AlterAuditTrail",
    "CreateAuditTrail",
    "DropAuditColumns",
    "DropAuditTrail",
]

OPERATIONS: list[type[Operation]] = [
    AddAuditColumns,
    DropAuditColumns,
    CreateAuditTrail,
    AlterAuditTrail,
    DropAuditTrail,
]
"""Every operation of this capability, for the list in `plugin`."""
