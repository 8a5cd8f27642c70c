"""What `indexes advise` reports, in each form: findings, and what is left out or not seen."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from sqlalchemy import MetaData

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes import advise, model
from alembic_enterprise.indexes.operations import CreateIndexOnline
from alembic_enterprise.indexes.relations import Catalog
from alembic_enterprise.indexes.remarks import takes
from alembic_enterprise.naming import named
from alembic_enterprise.operation import Operation

FORMAT_VERSION = 1
"""Of `Report.document`; it changes when a reader of the old shape would go wrong."""


@dataclass(frozen=True)
class Report:
    """The advice on one database.

    Attributes:
        tables: how many were looked at.
        findings: as `advise` orders them.
        waived: findings that the models answer with a reason, and that.
        unseen: what could not be looked at, a sentence each.
        written: the migration that was made of the findings.
        kept: the operations that take an index which is there; dropping it would not undo them.
    """

    tables: int
    findings: tuple[Finding, ...]
    waived: tuple[tuple[Finding, str], ...] = ()
    unseen: tuple[str, ...] = ()
    written: Path | None = None
    kept: tuple[Operation, ...] = ()

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        replicas: Sequence[Catalog] = (),
        *,
        skip: Mapping[str, str] | None = None,
        rules: Collection[str] = (),
        minimum: int = 0,
    ) -> Self:
        """The advice on a database.

        Args:
            catalog: the database, or a part of it.
            replicas: the same on its replicas, each with counters of its own.
            skip: the columns that the models skip, as `skipped` gives them.
            rules: as for `advise`.
            minimum: as for `advise`.

        Raises:
            ConfigurationError: there is no such rule.
        """
        told = advise.advise(catalog, rules=rules, minimum=minimum)
        found = advise.used_elsewhere(told, replicas)
        reasons = [(item, waived(item, skip or {}, catalog.default_schema)) for item in found]
        findings = tuple(item for item, reason in reasons if reason is None)
        operations = [operation for item in findings for operation in item.operations]
        creations = [item for item in operations if isinstance(item, CreateIndexOnline)]
        return cls(
            tables=len(catalog.tables),
            findings=findings,
            waived=tuple((item, reason) for item, reason in reasons if reason is not None),
            unseen=tuple(_unseen(found, catalog, replicas)),
            kept=tuple(item for item in creations if takes(catalog, item)),
        )

    @property
    def exit_code(self) -> int:
        """The exit code of `indexes advise`; notes count, too."""
        return 2 if self.findings else 0

    @property
    def operations(self) -> list[Operation]:
        """What mends all that can be mended without a decision, in order."""
        return [operation for found in self.findings for operation in found.operations]

    def document(self) -> dict[str, Any]:
        """What `--format json` prints, as schemas/indexes-advise.schema.json says."""
        waived = [
            {"rule": found.rule, "table": found.table, "reason": reason}
            for found, reason in self.waived
        ]
        return {
            "format_version": FORMAT_VERSION,
            "exit_code": self.exit_code,
            "findings": [finding.plain() for finding in self.findings],
            "unseen": [*self.unseen],
            "waived": waived,
            "revision": None if self.written is None else str(self.written),
        }


def _unseen(
    findings: Sequence[Finding], catalog: Catalog, replicas: Sequence[Catalog]
) -> Iterator[str]:
    yield from catalog.unseen
    for replica in replicas:
        yield from (f"on a replica: {sentence}" for sentence in replica.unseen)
    if not replicas and any(found.rule == "unused-index" for found in findings):
        yield "replicas count scans for themselves: name each with --replica"


def chosen(catalog: Catalog, names: Collection[str], schemas: Collection[str] = ()) -> Catalog:
    """The catalog with the tables of these names only, with or without their schema; none for all.

    Raises:
        ConfigurationError: no table has such a name, or is in one of these schemas.
    """
    there = {table.name.schema for table in catalog.tables}
    if empty := [schema for schema in schemas if schema not in there]:
        raise ConfigurationError(
            f"no table is in the schema {', '.join(empty)}: correct --schema, or leave it out"
        )
    if not names:
        return catalog
    tables = named(catalog.tables, names, "table")
    wanted = {table.name for table in tables}
    return replace(
        catalog,
        tables=tuple(tables),
        sequences=tuple(item for item in catalog.sequences if item.table in wanted),
    )


def skipped(models: Iterable[MetaData]) -> dict[str, str]:
    """The columns that `RecommendedIndexes` of the models skip, and why."""
    declared = [found for found in map(model.declared_on, models) if found]
    return {name: reason for found in declared for name, reason in found.skip.items()}


def waived(finding: Finding, skip: Mapping[str, str], default_schema: str) -> str | None:
    """Why the models want no such index, or None.

    Args:
        finding: of whatever rule; only foreign keys without an index are waived.
        skip: as `skipped` gives it.
        default_schema: the one that models need not name.
    """
    if finding.rule != model.FOREIGN_KEYS:
        return None
    tables = (finding.table, finding.table.removeprefix(f"{default_schema}."))
    names = [f"{table}.{column}" for table in tables for column in finding.evidence["columns"]]
    return next((skip[name] for name in names if name in skip), None)
