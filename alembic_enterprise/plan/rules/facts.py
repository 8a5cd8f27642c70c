"""What rules judge, and how they say what they have found."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from alembic_enterprise.finding import Finding, Severity
from alembic_enterprise.operation import Operation
from alembic_enterprise.plan.catalog import Catalog
from alembic_enterprise.plan.model import (
    Basis,
    PlanFinding,
    RelationEffect,
    Step,
    Touched,
    is_called,
)
from alembic_enterprise.plan.rules.reading import actions, parts
from alembic_enterprise.sql import Name

SMALL = 10 * 1024**2
"""Bytes of a table below which what takes long elsewhere is over at once."""

LARGE = 1024**3
"""Bytes of a table from which on nobody wants to wait until all of it is read."""


@dataclass(frozen=True)
class Facts:
    """A plan before it is judged.

    Attributes:
        steps: in the order in which they run.
        before: the live database.
        after: what the steps leave, as the shadow has it then; `before` when there is none.
        tables: the tables of the live database by schema and name, partitions by their own names
            as well.
        paths: of the scripts, by revision.
        plugins: `autogenerate_plugins` of env.py.
    """

    steps: tuple[Step, ...]
    before: Catalog
    after: Catalog
    tables: Mapping[str, Touched] = field(default_factory=dict[str, Touched])
    paths: Mapping[str, str] = field(default_factory=dict[str, str])
    plugins: Sequence[str] = ()

    @cached_property
    def _parts(self) -> Mapping[int, tuple[str, ...]]:
        return {step.number: parts(step.statement) for step in self.steps}

    def said(self, step: Step, *shapes: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """Matches of the shapes among the statements of a step, which may hold several."""
        for part in self._parts[step.number]:
            yield from (match for shape in shapes if (match := shape.match(part)))

    def actions(self, step: Step) -> Iterator[tuple[Name, str]]:
        """What a step's ALTER TABLE does, one by one, with the table as it is written there."""
        for part in self._parts[step.number]:
            yield from actions(part)

    def size(self, table: str) -> int | None:
        """Bytes of a table of the live database; None when it is not there."""
        known = self.tables.get(table)
        return None if known is None else known.size

    @cached_property
    def _called(self) -> Mapping[str, list[str]]:
        """The tables of the live database by what they may be called: with their schema or not."""
        found: dict[str, list[str]] = {}
        for table in self.tables:
            for called in (table, table.partition(".")[2]):
                found.setdefault(called, []).append(table)
        return found

    def effect_on(self, step: Step, name: Name) -> RelationEffect | None:
        """The effect of a step on the table of the live database that a statement calls so."""
        text = str(name)
        return next(
            (
                effect
                for effect in step.effects
                if is_called(effect.called or effect.relation, text)
                and effect.relation in self.tables
            ),
            None,
        )

    def live_table(self, step: Step, name: Name) -> str | None:
        """The same table alone, also when it is not known what the step does to it."""
        if effect := self.effect_on(step, name):
            return effect.relation
        called = self._called.get(str(name), ())
        return called[0] if len(called) == 1 else None

    def changed_table(self, step: Step, name: Name) -> str | None:
        """The same table, when the step does something to it, as far as that is known."""
        if step.basis is Basis.UNKNOWN:
            return self.live_table(step, name)
        effect = self.effect_on(step, name)
        return None if effect is None else effect.relation

    def remark(
        self,
        rule: str,
        step: Step | None,
        table: str,
        message: str,
        *,
        severity: Severity | None = None,
        operations: Iterable[Operation] = (),
        **evidence: Any,
    ) -> PlanFinding:
        """A finding, about a step as a rule.

        Args:
            rule: its id.
            step: what it is about; None for the plan as a whole.
            table: what it is about; `evidence` may say `table_bytes` when the size of something
                else counts.
            message: the problem, and the next step.
            severity: as in `Finding`; None when it depends on the size.
            operations: what does the same otherwise.
            evidence: the figures behind it; what is None is left out.
        """
        given = {"table_bytes": self.size(table), **evidence}
        figures = {name: value for name, value in given.items() if value is not None}
        finding = Finding(
            rule,
            severity or _severity(figures.get("table_bytes")),
            table,
            message,
            figures,
            tuple(operations),
        )
        if step is None:
            return PlanFinding(finding)
        return PlanFinding(finding, step.number, self.paths.get(step.revision or ""))


def _severity(size: int | None) -> Severity:
    if size is None:
        return "warning"
    if size < SMALL:
        return "note"
    return "warning" if size < LARGE else "error"
