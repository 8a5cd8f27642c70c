"""The forms of statements that are measured, by group."""

from alembic_enterprise.plan.forms.columns import COLUMNS
from alembic_enterprise.plan.forms.constraints import CONSTRAINTS
from alembic_enterprise.plan.forms.form import Form
from alembic_enterprise.plan.forms.indexes import INDEXES
from alembic_enterprise.plan.forms.partitioned import PARTITIONED
from alembic_enterprise.plan.forms.partitions import PARTITIONS
from alembic_enterprise.plan.forms.tables import TABLES

FORMS = (*TABLES, *COLUMNS, *CONSTRAINTS, *INDEXES, *PARTITIONS, *PARTITIONED)
"""All of them; no two have the same name."""

__all__ = ["FORMS", "Form"]
