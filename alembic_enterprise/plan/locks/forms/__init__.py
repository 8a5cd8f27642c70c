"""The forms of statements that are measured, by group."""

from alembic_enterprise.plan.locks.forms.columns import COLUMNS
from alembic_enterprise.plan.locks.forms.constraints import CONSTRAINTS
from alembic_enterprise.plan.locks.forms.form import Form
from alembic_enterprise.plan.locks.forms.indexes import INDEXES
from alembic_enterprise.plan.locks.forms.partitioned import PARTITIONED
from alembic_enterprise.plan.locks.forms.partitions import PARTITIONS
from alembic_enterprise.plan.locks.forms.tables import TABLES

FORMS = (*TABLES, *COLUMNS, *CONSTRAINTS, *INDEXES, *PARTITIONS, *PARTITIONED)
"""All of them; no two have the same name."""

__all__ = ["FORMS", "Form"]
