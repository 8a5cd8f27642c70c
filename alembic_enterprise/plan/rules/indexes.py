"""Rules about indexes."""

from collections.abc import Iterator

from alembic_enterprise.indexes.operations import DropIndexOnline
from alembic_enterprise.plan.model import PlanFinding, Step, is_called
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.plan.rules.reading import name, names, shape
from alembic_enterprise.sql import Name

_CREATE = shape(
    "CREATE( UNIQUE)? INDEX( CONCURRENTLY)?(?P<tolerant> IF NOT EXISTS)? {index} ON( ONLY)? {table}"
)
_DROP = shape(r"DROP INDEX( CONCURRENTLY)?( IF EXISTS)? (?P<names>.*?)( CASCADE| RESTRICT)?\Z")


def invalid_index_in_the_way(facts: Facts) -> Iterator[PlanFinding]:
    """An index is created under a name that an INVALID one has.

    CREATE INDEX CONCURRENTLY leaves an INVALID index when it fails. The next try
    finds the name taken and fails (42P07); with IF NOT EXISTS it does nothing, says
    that all is well, and no query ever uses the index. The copy of the schema that
    a plan is tried on has no INVALID index, so that all goes well there.

    Asks for dropping it first; op.create_index_online does so by itself, when it is
    of the same kind, and goes on where it was interrupted.

    Costs nothing: nobody could use it.

    Leave it when somebody is building it just now.
    """
    dropped = list[Name]()
    for step in facts.steps:
        for match in facts.said(step, _DROP):
            dropped += names(match["names"])
        if step.operation is None:
            yield from _in_the_way(facts, step, dropped)


def _in_the_way(facts: Facts, step: Step, dropped: list[Name]) -> Iterator[PlanFinding]:
    for match in facts.said(step, _CREATE):
        index, table = name(match["index"]).name, facts.live_table(step, name(match["table"]))
        for invalid, owner in facts.before.invalid_indexes.items():
            if invalid.name != index or str(owner) != table:
                continue
            if not any(is_called(str(invalid), str(gone)) for gone in dropped):
                yield facts.remark(
                    "invalid-index-in-the-way",
                    step,
                    str(owner),
                    f"{invalid} is INVALID, and {_what(match['tolerant'])}: drop it first, or use "
                    "op.create_index_online",
                    severity="error",
                    operations=[DropIndexOnline(invalid.name, owner.name, schema=owner.schema)],
                    index=str(invalid),
                )


def _what(tolerant: str | None) -> str:
    return "stays so, as IF NOT EXISTS passes over it" if tolerant else "its name is taken"
