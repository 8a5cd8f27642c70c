"""Rules about columns that are added to tables with rows."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from alembic_enterprise.indexes.operations import SetNotNullOnline
from alembic_enterprise.plan.model import PlanFinding, Step
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.plan.rules.reading import name, shape
from alembic_enterprise.sql import Name

_ADD = shape(
    r"ADD(?! (CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN|EXCLUDE|NOT) )( COLUMN)?( IF NOT EXISTS)?"
    r" {column} (?P<definition>.*)"
)
_DEFAULT = re.compile(r"\bDEFAULT\b(.*)", re.IGNORECASE | re.DOTALL)
_CALL = re.compile(r'(?:\b(\w+)|"((?:[^"]|"")+)")\s*\(')
_TEXT = re.compile("'[^']*'")
_SERIAL = re.compile(r"\s*(?:pg_catalog\s*\.\s*)?(?:small|big)?serial[248]?\b", re.IGNORECASE)
_IDENTITY = shape("GENERATED (ALWAYS|BY DEFAULT) AS IDENTITY")
_STORED = shape(r"GENERATED ALWAYS AS\s*\(.*\)\s*STORED")
_GENERATED = shape("GENERATED (ALWAYS|BY DEFAULT) AS")
_NOT_NULL = shape("NOT NULL")


class Added(NamedTuple):
    """A column that a step adds to a table of the live database."""

    table: str
    called: Name
    column: str
    definition: str

    @property
    def lacks_value(self) -> bool:
        """Whether rows that are there would need a value, and get none."""
        given = (_DEFAULT.search, _GENERATED.search, _SERIAL.match)
        filled = any(look(self.definition) for look in given)
        return not filled and _NOT_NULL.search(self.definition) is not None


def added(facts: Facts, step: Step) -> Iterator[Added]:
    """The columns that a step adds to tables of the live database."""
    for called, action in facts.actions(step):
        match, table = _ADD.match(action), facts.changed_table(step, called)
        if match is not None and table is not None:
            yield Added(table, called, name(match["column"]).name, match["definition"])


def volatile_default(facts: Facts) -> Iterator[PlanFinding]:
    """A column is added whose value has to be made for each row.

    A default that is the same for all rows is noted down once, whatever the size of
    the table. One that calls a volatile function, such as gen_random_uuid() or
    clock_timestamp(), is not; nor is serial, IDENTITY, or GENERATED ... STORED. The
    server rewrites the table and all its indexes, and nobody can read or write
    it until that is done. Which function is volatile the database is asked:
    pg_proc.provolatile. For times, now() is not.

    Asks for the column without the default; for the default in a statement of its
    own, which counts for new rows; and for filling the old ones in batches.

    Costs a further step, and rows without the value until they are filled.

    Leave it when the table is small.
    """
    for step in facts.steps:
        for item in added(facts, step):
            if reason := _reason(facts, item):
                yield facts.remark(
                    "volatile-default",
                    step,
                    item.table,
                    f"{reason}, so that the table is rewritten while nobody can use it: add "
                    f"{item.column} without it, set the default afterwards, and fill in batches",
                    column=item.column,
                )


def _reason(facts: Facts, item: Added) -> str | None:
    """Why a column needs a value of its own in each row."""
    if _SERIAL.match(item.definition):
        return f"{item.column} is serial"
    if _IDENTITY.search(item.definition):
        return f"{item.column} is an identity column"
    if _STORED.search(item.definition):
        return f"{item.column} is generated and stored"
    default = _DEFAULT.search(item.definition)
    calls = [] if default is None else _CALL.findall(_TEXT.sub("", default[1]))
    called = [plain.lower() or quoted.replace('""', '"') for plain, quoted in calls]
    volatile = next((function for function in called if function in facts.before.volatile), None)
    return volatile and f"the default of {item.column} calls {volatile}(), which is volatile"


def not_null_without_default(facts: Facts) -> Iterator[PlanFinding]:
    """A column is added NOT NULL and without a default to a table with rows.

    The rows that are there would have a null, so the server refuses it (23502). The
    copy of the schema that a plan is tried on has no rows, and lets it pass.

    Asks for a constant server_default, which costs nothing; or for the column
    without NOT NULL, and op.set_not_null_online once all rows have a value.

    Costs a further step.

    Leave it in no case: the step fails, unless the table is empty by then.
    """
    for step in facts.steps:
        for item in added(facts, step):
            known = facts.tables[item.table]
            if item.lacks_value and known.size and known.rows != 0:
                yield _refused(facts, step, item)


def _refused(facts: Facts, step: Step, item: Added) -> PlanFinding:
    return facts.remark(
        "not-null-without-default",
        step,
        item.table,
        f"rows that are there have no value for {item.column}, and it is NOT NULL: give it a "
        "constant server_default, or forbid nulls once all rows have a value",
        severity="error",
        operations=[
            SetNotNullOnline(item.called.name, column=item.column, schema=item.called.schema)
        ],
        column=item.column,
        rows=facts.tables[item.table].rows,
    )


def remarked_tables(facts: Facts, step: Step) -> set[str]:
    """The tables of which the rules about columns remark that a step reads or writes them."""
    columns = added(facts, step)
    return {item.table for item in columns if item.lacks_value or _reason(facts, item)}
