"""What one run of maintenance does, as steps: each is one transaction, or one statement outside.

Pure: the statements follow from the catalog, the policy and the clock.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal as Word

from psycopg.sql import SQL, Composable, Identifier, Literal

from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import CreateRangePartitions, DetachPartition
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import Name

Kind = Word["finalize", "guard", "create", "mark", "detach", "archive", "drop", "analyze"]

GUARD = "alembic_enterprise_guard"
"""The CHECK that spares a default partition the scan when a partition is attached."""


ANALYZE_ONLY = 180000
"""First `server_version_num` that can analyze a parent without its partitions."""


@dataclass(frozen=True)
class Step:
    """One transaction of a run, or one statement that is refused inside a transaction.

    Attributes:
        subject: the partition or period concerned, as a person reads it.
        transactional: whether it runs in a transaction, under a lock_timeout, and is retried.
    """

    kind: Kind
    subject: str
    statements: tuple[Composable, ...]
    transactional: bool = True


@dataclass(frozen=True)
class Retired:
    """A partition that a run detached, found by its comment.

    Attributes:
        table: the table it belonged to, as the comment names it.
        since: when it was retired, aware.
    """

    name: Name
    table: str
    since: datetime


_RETIRED = re.compile(rf"{re.escape(OWNERSHIP)}partition of (.+); retired (\S+)", re.DOTALL)


def retired(name: Name, comment: str) -> Retired | None:
    """Read the comment of a table that is no partition any more."""
    match = _RETIRED.fullmatch(comment)
    return None if match is None else Retired(name, match[1], datetime.fromisoformat(match[2]))


def finalize(table: PartitionedTable, partitions: Sequence[Partition]) -> Iterator[Step]:
    """Finish each concurrent detach that was interrupted: until then its rows are in limbo."""
    statement = SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE")
    for partition in partitions:
        if partition.pending:
            done = statement.format(table.name.sql, partition.name.sql)
            yield Step("finalize", str(partition.name), (done,))


def create(table: PartitionedTable, policy: Policy, start: date, stop: date) -> Step:
    """Create the partition of one period, or what is missing of it."""
    operation = CreateRangePartitions(
        table.name.name,
        policy.every,
        start.isoformat(),
        stop.isoformat(),
        timezone=policy.timezone,
        schema=table.name.schema,
    )
    return Step("create", f"{start} to {stop}", tuple(operation.statements()))


def guarded(
    create: Step, default: Partition, key: str, held: tuple[datetime, datetime]
) -> Iterator[Step]:
    """Create a partition beside a default one without a scan under an exclusive lock.

    The validated CHECK tells the server that no row of the default partition is in the range
    (PostgreSQL docs, "ALTER TABLE ... ATTACH PARTITION").
    """
    target, column = default.name.sql, Identifier(key)
    drop = unguard(default)
    condition = SQL("NOT ({c} IS NOT NULL AND {c} >= {lower} AND {c} < {upper})").format(
        c=column, lower=Literal(held[0].isoformat(" ")), upper=Literal(held[1].isoformat(" "))
    )
    add = SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({}) NOT VALID")
    validate = SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(target, Identifier(GUARD))
    yield Step(
        "guard",
        create.subject,
        (*drop.statements, add.format(target, Identifier(GUARD), condition)),
    )
    yield Step("guard", create.subject, (validate,))
    yield create
    yield drop


def unguard(default: Partition) -> Step:
    """Take the CHECK away again: it refuses rows that the default partition should take."""
    drop = SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
        default.name.sql, Identifier(GUARD)
    )
    return Step("guard", str(default.name), (drop,))


def retire(
    table: PartitionedTable, partition: Partition, policy: Policy, now: datetime
) -> Iterator[Step]:
    """Detach a partition, and move it away when the policy archives.

    It is marked first: killed in between, the next run still knows what it was about to do.
    """
    name = str(partition.name)
    comment = f"{OWNERSHIP}partition of {table.name}; retired {now.astimezone(UTC).isoformat()}"
    mark = SQL("COMMENT ON TABLE {} IS {}").format(partition.name.sql, Literal(comment))
    yield Step("mark", name, (mark,))
    detach = DetachPartition(
        table.name.name,
        partition.name.name,
        schema=table.name.schema,
        partition_schema=partition.name.schema,
        concurrently=not table.has_default,
    )
    yield Step("detach", name, tuple(detach.statements()), transactional=table.has_default)
    if policy.archive is not None:
        yield archive(partition.name, policy.archive)


def archive(name: Name, schema: str) -> Step:
    """Move a retired partition to the archive's schema."""
    move = SQL("ALTER TABLE {} SET SCHEMA {}").format(name.sql, Identifier(schema))
    return Step("archive", str(name), (move,))


def drop(found: Retired) -> Step:
    """Drop a partition that was detached long enough ago."""
    return Step("drop", str(found.name), (SQL("DROP TABLE {}").format(found.name.sql),))


def droppable(
    found: Sequence[Retired], table: PartitionedTable, policy: Policy, now: datetime, *, yes: bool
) -> list[Retired]:
    """Which retired partitions of a table may be dropped: held long enough, and with consent."""
    if policy.on_expire != "drop" and not (yes and policy.on_expire == "detach"):
        return []
    hold = timedelta(days=policy.hold)
    return [item for item in found if item.table == str(table.name) and item.since + hold <= now]


def analyze(table: PartitionedTable, server_version: int) -> Step:
    """Refresh the statistics of the parent, which autovacuum never does.

    From 18 on only the parent is sampled (PostgreSQL docs, "ANALYZE").
    """
    words = SQL("ANALYZE ONLY {}" if server_version >= ANALYZE_ONLY else "ANALYZE {}")
    return Step("analyze", str(table.name), (words.format(table.name.sql),))
