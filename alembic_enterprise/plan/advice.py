"""What the capabilities remark on the live database, whatever the release changes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import getdoc
from itertools import chain

from sqlalchemy import Connection, MetaData

from alembic_enterprise import registry
from alembic_enterprise.audit import advise as audit
from alembic_enterprise.errors import EnterpriseError
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes import catalog as index_catalog
from alembic_enterprise.indexes import report as index_report
from alembic_enterprise.indexes.rules import RULES as INDEX_RULES
from alembic_enterprise.partitions import advise as partitions
from alembic_enterprise.partitions import inspection as partition_inspection
from alembic_enterprise.shards import advise as shards
from alembic_enterprise.shards import inspection as shard_inspection

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


def _partitions(live: Connection, _models: Sequence[MetaData]) -> Iterator[Finding]:
    for inspected in partition_inspection.inspect(live):
        yield from partitions.advise(inspected)
    yield from partitions.registries_closed(registry.unreadable(live))


def _shards(live: Connection, _models: Sequence[MetaData]) -> Iterator[Finding]:
    for inspected in shard_inspection.inspect(live):
        yield from shards.advise(inspected)
    yield from map(shards.stray, shard_inspection.strays(live))


def _audit(live: Connection, models: Sequence[MetaData]) -> Iterable[Finding]:
    return audit.inspect(live, [table for part in models for table in part.tables.values()])


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

_CALLED: Mapping[Callable[..., object], str] = {
    partitions.options_differ: "attributes-differ",
    partitions.registries_closed: "registry-closed",
    shards.stray: "copy-without-table",
}
"""The ids of findings that are not called as the functions that give them."""

_OF_AUDIT: Mapping[str, str] = {
    "trail-missing": "A model declares AuditTrail(), and changes of its table are not captured.",
    "trail-drifted": """An audit trail is not what its model, or its own options, ask for.

Compares triggers, functions and their settings, owners, rights, columns, the
partitions and the policy of the history, and the view of all trails. One that
is off, or another one, lets changes go by untold, or lets somebody read or
change what is kept.

Asks for a revision by `alembic revision --autogenerate`, which puts all of it
right with one op.alter_audit_trail; and where partitions of the history ran
out and nothing else is wrong, for `partitions maintain`.

Costs a lock on the table that stops its writers for a moment. Where changes
may have gone by, the rows that are there are copied into the history.

Leave it while somebody has switched a trigger off on purpose, such as for a
restore.""",
    "trail-torn": "Only a part of the trail that wrote a history is left: nothing is captured.",
    "trail-subscribed": """A subscription applies changes to an audited table that are not kept.

Logical replication applies rows and no statements, so it fires triggers of rows
only. An audit trail has triggers of statements.""",
    "trail-undeclared": "The changes of a table are captured, and its model has no AuditTrail().",
    "audit-columns-drifted": "The audit columns of a table, or their trigger, are not as declared.",
}


def _docstrings(*functions: Callable[..., object]) -> dict[str, str]:
    """What functions say of themselves, by the ids of their findings; some have the same."""
    found: dict[str, list[str]] = {}
    for function in functions:
        rule = _CALLED.get(function, function.__name__.replace("_", "-"))
        found.setdefault(rule, []).append(getdoc(function) or "")
    return {rule: "\n\n".join(texts) for rule, texts in found.items()}


BY_COMMAND: Mapping[str, Mapping[str, str]] = {
    "partitions check": _docstrings(
        partitions.headroom_short, *partitions.RULES, partitions.registries_closed
    ),
    "shards check": _docstrings(*shards.RULES, shards.stray),
    "audit check": _OF_AUDIT,
    "indexes advise": _docstrings(*INDEX_RULES.values()),
}
"""What the findings are about, by the command that has them and by their ids."""

RULES: Mapping[str, str] = {
    rule: "\n\n".join(texts[rule] for texts in BY_COMMAND.values() if rule in texts)
    for rule in chain(*BY_COMMAND.values())
}
"""What `explain` prints of their findings, by the ids."""
