"""What the capabilities remark on the live database, whatever the release changes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import getdoc
from itertools import chain

from sqlalchemy import Connection, MetaData

from alembic_enterprise.audit import advise as audit
from alembic_enterprise.errors import EnterpriseError
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes import catalog as index_catalog
from alembic_enterprise.indexes import report as index_report
from alembic_enterprise.indexes.rules import RULES as INDEX_RULES
from alembic_enterprise.partitions import advise as partitions
from alembic_enterprise.partitions.leaving import retired_unclaimed
from alembic_enterprise.shards import advise as shards

Remarks = Callable[[Connection, Sequence[MetaData]], Iterable[Finding]]


def advised(
    live: Connection, models: Sequence[MetaData]
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The findings of all capabilities, and a sentence for each that could not look.

    Args:
        live: its transaction becomes read-only.
        models: may say which columns have no index on purpose.
    """
    found: list[Finding] = []
    unseen: list[str] = []
    for name, remarks in CAPABILITIES.items():
        try:
            found += remarks(live, models)
        except EnterpriseError as error:
            unseen.append(f"{name} were not looked at: {error}")
    return tuple(found), tuple(unseen)


def _partitions(live: Connection, _models: Sequence[MetaData]) -> Iterable[Finding]:
    return partitions.findings(live)[1]


def _shards(live: Connection, _models: Sequence[MetaData]) -> Iterable[Finding]:
    return shards.findings(live)[1]


def _audit(live: Connection, models: Sequence[MetaData]) -> Iterable[Finding]:
    tables = [table for part in models for table in part.tables.values()]
    return audit.findings(live, audit.read(live), tables)


def _indexes(live: Connection, models: Sequence[MetaData]) -> Iterable[Finding]:
    skip = index_report.skipped(models)
    return index_report.Report.of(index_catalog.read(live), skip=skip).findings


CAPABILITIES: dict[str, Remarks] = {
    "partitions": _partitions,
    "shards": _shards,
    "audit trails": _audit,
    "indexes": _indexes,
}
"""Who is asked, in the order in which it is told."""


def _docstrings(*functions: Callable[..., object]) -> dict[str, str]:
    """What functions say of themselves, by the ids of their findings, which are called as they."""
    return {item.__name__.replace("_", "-"): getdoc(item) or "" for item in functions}


BY_COMMAND: Mapping[str, Mapping[str, str]] = {
    "partitions check": _docstrings(
        partitions.headroom_short,
        *partitions.RULES,
        retired_unclaimed,
        partitions.registry_closed,
    ),
    "shards check": _docstrings(*shards.RULES, shards.copy_without_table),
    "audit check": audit.EXPLANATIONS,
    "indexes advise": _docstrings(*INDEX_RULES.values()),
}
"""What the findings are about, by the command that has them and by their ids."""

EXPLANATIONS: Mapping[str, str] = {
    rule: "\n\n".join(texts[rule] for texts in BY_COMMAND.values() if rule in texts)
    for rule in chain(*BY_COMMAND.values())
}
"""What `explain` prints of their findings, by the ids."""
