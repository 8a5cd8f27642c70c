"""What one run of maintenance does, as steps: each is one statement, and so one transaction.

Pure: the statements follow from the catalog, the policy and the clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal as Word

from psycopg.sql import SQL, Composable, Identifier, Literal

from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.marks import made_for
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import (
    CreateRangePartitions,
    DetachPartition,
    triggers,
)
from alembic_enterprise.partitions.retired import Retired, Ties, retirement
from alembic_enterprise.sql import REFUSED, Name, Remaining, do_block

Kind = Word[
    "finalize",
    "guard",
    "validate",
    "create",
    "unguard",
    "mark",
    "unmark",
    "tell",
    "detach",
    "release",
    "archive",
    "drop",
    "analyze",
]

GUARD = "alembic_enterprise_guard"
"""The CHECK that spares a default partition the scan when a partition is attached."""

ANALYZE_ONLY = 180000
"""First `server_version_num` that can analyze a parent without its partitions."""


@dataclass(frozen=True)
class Step:
    """One statement of a run.

    Attributes:
        subject: the partition or period concerned, as a person reads it.
        concurrently: whether the statement waits inside for other transactions: cut short, it
            leaves half done work behind. Set for `mark` as well: it waits for no more than the
            DETACH CONCURRENTLY after it.
        remaining: what asks the server for the statement to run in its place, where an attempt that
            is cut leaves another one to be run.
    """

    kind: Kind
    subject: str
    statement: Composable
    concurrently: bool = False
    remaining: Remaining | None = None


def finalize(table: PartitionedTable, partition: Partition) -> Step:
    """Finish a concurrent detach that was interrupted: until then its rows are in limbo."""
    statement = SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE")
    return Step(
        "finalize", str(partition.name), statement.format(table.name.sql, partition.name.sql)
    )


def unmark(table: PartitionedTable, partition: Partition, *, tell: bool) -> Iterator[Step]:
    """Let a partition be like any other again: it was to be detached, and is to stay."""
    if tell:
        yield Step("tell", str(partition.name), triggers.telling(partition.name, "attach"))
    yield Step("unmark", str(partition.name), commented(partition, made_for(table.name)))


def commented(partition: Partition, text: str) -> Composable:
    """The statement that gives a partition a comment."""
    kind = SQL("FOREIGN TABLE" if partition.kind == "foreign table" else "TABLE")
    return SQL("COMMENT ON {} {} IS {}").format(kind, partition.name.sql, Literal(text))


def period(start: date, stop: date) -> str:
    """The subject of the step that creates the partition of a period."""
    return f"{start} to {stop}"


def create(table: PartitionedTable, policy: Policy, start: date, stop: date) -> Step:
    """Create the partition of one period, or what is missing of it."""
    operation = CreateRangePartitions.of_period(table.name, policy, start, stop)
    (statement,) = operation.statements()
    return Step("create", period(start, stop), statement)


def create_default(table: PartitionedTable, policy: Policy) -> Step:
    """Create the default partition."""
    operation = CreateRangePartitions.of_default(table.name, policy)
    (statement,) = operation.statements()
    return Step("create", "default", statement)


def guarded(
    create: Step, default: Partition, key: str, held: tuple[datetime, datetime]
) -> Iterator[Step]:
    """Create a partition beside a default one without a scan under an exclusive lock.

    The validated CHECK proves to the server that no row of the default partition is in the range
    (PostgreSQL docs, "ALTER TABLE ... ATTACH PARTITION"). From the first step to the last it
    refuses the rows of the period, which would have gone to the default partition.
    """
    condition = SQL("NOT ({c} IS NOT NULL AND {c} >= {lower} AND {c} < {upper})").format(
        c=Identifier(key),
        lower=Literal(held[0].isoformat(" ")),
        upper=Literal(held[1].isoformat(" ")),
    )
    names = {"table": default.name.sql, "guard": Identifier(GUARD)}
    add = SQL(
        "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {guard},"
        " ADD CONSTRAINT {guard} CHECK ({condition}) NOT VALID"
    ).format(**names, condition=condition)
    validate = SQL("ALTER TABLE {table} VALIDATE CONSTRAINT {guard}").format(**names)
    yield Step("guard", create.subject, add)
    yield Step("validate", create.subject, validate)
    yield create
    yield unguard(default.name)


def unguard(default: Name) -> Step:
    """Take the CHECK away again: it refuses rows that the default partition should take."""
    drop = SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}")
    return Step("unguard", str(default), drop.format(default.sql, Identifier(GUARD)))


def retire(
    table: PartitionedTable,
    partition: Partition,
    policy: Policy,
    now: datetime,
    ties: Ties,
) -> Iterator[Step]:
    """Detach a partition, and do with it what the policy says.

    It is marked first: killed in between, the next run still knows what it was about to do.
    """
    mark = commented(partition, retirement(table, partition, policy, now))
    detach = DetachPartition(
        table.name.name,
        partition.name.name,
        schema=table.name.schema,
        partition_schema=partition.name.schema,
        concurrently=not table.has_default,
    )
    # Both take SHARE UPDATE EXCLUSIVE on the partition: waiting for it stops no reader or writer.
    yield Step("mark", str(partition.name), mark, detach.concurrently)
    if ties.triggers:
        yield Step("tell", str(partition.name), triggers.telling(partition.name, "detach"))
    yield _detaching(detach, str(partition.name), related=ties.related)
    yield from settle(partition.name, policy, ties)


def _detaching(detach: DetachPartition, subject: str, *, related: bool) -> Step:
    """The step of the detach itself.

    At its end it locks the table at the other end of a foreign key (DetachPartitionFinalize in
    src/backend/commands/tablecmds.c), where others would queue behind it: rather cut it.
    """
    if detach.concurrently and related:
        return Step("detach", subject, detach.alteration(), remaining=detach.remaining())
    return Step("detach", subject, detach.alteration(), detach.concurrently)


def settle(name: Name, policy: Policy, ties: Ties) -> Iterator[Step]:
    """What follows the detach: the partition is tied to nothing any more, and is archived.

    It moves after its own partitions: as long as it stays, the next run knows what is left to do.
    """
    if ties.triggers:
        yield Step("release", str(name), triggers.forgetting(name))
    if ties.keys:
        yield release(name, ties.keys)
    for item in (*ties.inside, name):
        if policy.archive is not None and item.schema != policy.archive:
            yield archive(item, policy.archive)


def release(name: Name, keys: Sequence[str]) -> Step:
    """Drop foreign keys of a retired partition: they would keep the partitions they refer to."""
    drops = SQL(", ").join(
        SQL("DROP CONSTRAINT IF EXISTS {}").format(Identifier(key)) for key in keys
    )
    return Step("release", str(name), SQL("ALTER TABLE {} {}").format(name.sql, drops))


def archive(name: Name, schema: str) -> Step:
    """Move a retired partition to the archive's schema."""
    move = SQL("ALTER TABLE {} SET SCHEMA {}").format(name.sql, Identifier(schema))
    return Step("archive", str(name), move)


_DROP = """BEGIN
    LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
    -- Whoever had it before may have attached it again, or made another one of that name.
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c
        WHERE c.oid = {relation}::regclass AND NOT c.relispartition
          AND pg_catalog.obj_description(c.oid, 'pg_class') = {comment})
    THEN
        RAISE EXCEPTION 'it is no longer the partition that was retired (it may have been '
            'attached again), so it is kept' USING ERRCODE = {refused};
    END IF;
    -- The CHECK of a copy of a shard names the table it is to become a partition of.
    IF EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
        WHERE k.conname = {guard} AND k.conrelid <> {relation}::regclass
          AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = {relation}::regclass)
    THEN
        RAISE EXCEPTION '%', {growing} USING ERRCODE = {refused};
    END IF;
    DROP TABLE {table};
END"""


def drop(found: Retired) -> Step:
    """Drop a partition that was detached long enough ago, if it still is under its lock."""
    statement = do_block(
        _DROP,
        relation=found.name.regclass,
        table=found.name.sql,
        comment=Literal(found.comment),
        guard=Literal(GUARD),
        growing=Literal(
            "a growth of its shards was not ended: remove its copies with `alembic-enterprise "
            f"shards grow {found.name} --abort`; the next run drops it"
        ),
        refused=Literal(REFUSED),
    )
    return Step("drop", str(found.name), statement)


def analyze(table: PartitionedTable, server_version: int) -> Step:
    """Refresh the statistics of the parent, which autovacuum never does.

    From 18 on only the parent is sampled; before, partitions that somebody has locked are left out
    (PostgreSQL docs, "ANALYZE").
    """
    alone = server_version >= ANALYZE_ONLY
    words = SQL("ANALYZE ONLY {}" if alone else "ANALYZE (SKIP_LOCKED) {}")
    return Step("analyze", str(table.name), words.format(table.name.sql))
