"""What the rules find, in the order in which one reads it."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.catalog import without_collector
from alembic_enterprise.indexes.relations import Catalog
from alembic_enterprise.indexes.rules import RULES
from alembic_enterprise.indexes.rules.unused_index import unused_index

_SEVERITIES = ("error", "warning", "note")


@without_collector()
def advise(catalog: Catalog, *, rules: Collection[str] = (), minimum: int = 0) -> list[Finding]:
    """The findings, the most severe first; among equals by benefit, then by size of the table.

    What several rules would have done is reported once, by the first of them in `RULES`.

    Args:
        catalog: the live database.
        rules: the ids of those that are asked; none for all.
        minimum: bytes that the rows of a table must take; findings on smaller ones are left out.

    Raises:
        ConfigurationError: there is no such rule.
    """
    if unknown := [rule for rule in rules if rule not in RULES]:
        raise ConfigurationError(
            f"no rule is called {', '.join(unknown)}: the rules are {', '.join(RULES)}"
        )
    asked = [rule for name, rule in RULES.items() if not rules or name in rules]
    found = _once(finding for rule in asked for finding in rule(catalog))
    return sorted((item for item in found if item.evidence["table_bytes"] >= minimum), key=_order)


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings without those whose operations an earlier one has."""
    done: set[str] = set()
    for finding in findings:
        operations = [repr(operation) for operation in finding.operations]
        if operations and done.issuperset(operations):
            continue
        done.update(operations)
        yield finding


def _order(finding: Finding) -> tuple[Any, ...]:
    evidence = finding.evidence
    weight = (-evidence["benefit"], -evidence["table_bytes"])
    return (_SEVERITIES.index(finding.severity), *weight, finding.table, finding.rule)


def used_elsewhere(findings: Iterable[Finding], replicas: Sequence[Catalog]) -> list[Finding]:
    """The findings, without the unused indexes that a replica does use.

    A replica counts its own scans. One whose counters are too young says nothing, so that nothing
    is called unused.
    """
    unused = [{item.evidence["index"] for item in unused_index(replica)} for replica in replicas]
    return [
        finding
        for finding in findings
        if finding.rule != "unused-index"
        or all(finding.evidence["index"] in names for names in unused)
    ]
