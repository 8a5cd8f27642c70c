"""The forms of statements that the table of locks tells of, by group."""

from lock_forms.columns import COLUMNS
from lock_forms.constraints import CONSTRAINTS
from lock_forms.form import Form
from lock_forms.indexes import INDEXES
from lock_forms.partitioned import PARTITIONED
from lock_forms.partitions import PARTITIONS
from lock_forms.tables import TABLES

FORMS = (*TABLES, *COLUMNS, *CONSTRAINTS, *INDEXES, *PARTITIONS, *PARTITIONED)
"""All of them; no two have the same name."""

__all__ = ["FORMS", "Form"]
