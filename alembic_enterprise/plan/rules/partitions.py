"""Rules about making, attaching and detaching partitions."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.catalog import Partition, PartitionedTable
from alembic_enterprise.partitions.operations import AttachPartition, CreateRangePartitions
from alembic_enterprise.partitions.periods import today
from alembic_enterprise.plan.catalog import Catalog
from alembic_enterprise.plan.model import PlanFinding, RelationEffect, Step, is_called
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.plan.rules.reading import name, shape
from alembic_enterprise.shards.operations import CreateHashShards
from alembic_enterprise.sql import Name
from alembic_enterprise.wording import in_bytes

PARTITION_OF = shape("CREATE( UNLOGGED)? TABLE( IF NOT EXISTS)? {partition} PARTITION OF {table} ")
_ATTACH = shape("ALTER TABLE( IF EXISTS)?( ONLY)? {table} ATTACH PARTITION {partition} ")
_DETACH_CONCURRENTLY = shape(
    "ALTER TABLE( IF EXISTS)?( ONLY)? {table} DETACH PARTITION {partition} CONCURRENTLY"
)


def partition_of_live_parent(facts: Facts) -> Iterator[PlanFinding]:
    """A partition is made by CREATE TABLE ... PARTITION OF a table in use.

    That takes ACCESS EXCLUSIVE on the partitioned table: it waits for everybody who
    uses any of its partitions, and meanwhile all others wait behind it. A table
    that is made beside it and attached takes SHARE UPDATE EXCLUSIVE there, which
    stops neither reads nor writes.

    Asks for op.create_range_partitions or op.create_hash_shards, which make and
    attach; or for CREATE TABLE (LIKE ...) and op.attach_partition. Not counted: a
    table that the plan makes itself.

    Costs nothing but the longer script.

    Leave it when nobody uses the table yet.
    """
    for step in facts.steps:
        for match in facts.said(step, PARTITION_OF):
            parent = facts.effect_on(step, name(match["table"]))
            if parent is not None and parent.held_since is None:
                yield _made(facts, step, parent, name(match["partition"]))


def _made(facts: Facts, step: Step, parent: RelationEffect, partition: Name) -> PlanFinding:
    return facts.remark(
        "partition-of-live-parent",
        step,
        parent.relation,
        f"PARTITION OF stops all who read or write {parent.relation}: make {partition.name} beside "
        "it (LIKE), and attach it",
        operations=_attached(facts.after, parent.relation, partition),
        partition=str(partition),
    )


def _attached(after: Catalog, parent: str, partition: Name) -> tuple[Operation, ...]:
    """The operations that make the same partition, as far as its bounds are known."""
    for table in after.tables.values():
        for item in after.partitions.get(table.name, ()):
            if str(table.name) == parent and is_called(str(item.name), str(partition)):
                return (*_by_hash(after, item), *_by_range(table, item))
    return ()


def _by_hash(after: Catalog, partition: Partition) -> Iterator[Operation]:
    for table in after.sharded.values():
        for shard in table.shards:
            if shard.name == partition.name:
                yield CreateHashShards(
                    table.name.name,
                    count=shard.held.modulus,
                    remainders=[shard.held.remainder],
                    schema=table.name.schema,
                )


def _by_range(table: PartitionedTable, partition: Partition) -> Iterator[Operation]:
    held, policy = partition.range, table.policy
    if held is None:
        return
    if policy is not None and held.lower is not None and held.upper is not None:
        zone = ZoneInfo(policy.timezone)
        ends = (held.lower, held.upper)
        start, stop = (end.date() if table.naive else today(end, zone) for end in ends)
        yield CreateRangePartitions.of_period(table.name, policy, start, stop)
        return
    yield AttachPartition(
        table.name.name,
        partition.name.name,
        start=_moment(held.lower),
        stop=_moment(held.upper),
        schema=table.name.schema,
        partition_schema=partition.name.schema,
    )


def _moment(end: datetime | None) -> str | None:
    """A bound, which was read in UTC."""
    return None if end is None else end.replace(tzinfo=None).isoformat(" ")


def default_partition_scanned(facts: Facts) -> Iterator[PlanFinding]:
    """A partition is added, and the default partition is read to the end for that.

    The rows that belong to the new partition must not be in the default one, so
    the server looks at all of it, under ACCESS EXCLUSIVE. Should it find one, the
    step fails. It does not look when a valid CHECK of the default partition
    excludes the range.

    Asks for such a CHECK, which is added NOT VALID and then validated, each in a
    transaction of its own, and dropped once the partition is there. That is what
    `alembic-enterprise partitions maintain` does. Not counted: a default partition
    without rows.

    Costs one more look at the default partition, which stops nobody.

    Leave it when the default partition is small, and its rows belong elsewhere.
    """
    for step in facts.steps:
        for default in defaults_scanned(facts, step):
            if facts.before.defaults[default.relation] != 0:
                yield _read(facts, step, default)


def _read(facts: Facts, step: Step, default: RelationEffect) -> PlanFinding:
    return facts.remark(
        "default-partition-scanned",
        step,
        default.table,
        f"all of the default partition {default.relation} is read while nobody can use it, and a "
        "row that belongs to the new partition ends this: validate a CHECK that excludes the "
        "range first",
        table_bytes=facts.size(default.relation),
        partition=default.relation,
        default_rows=facts.before.defaults[default.relation],
    )


def defaults_scanned(facts: Facts, step: Step) -> list[RelationEffect]:
    """The default partitions that a step reads, when it reads nothing else of their tables."""
    scanned = [effect for effect in step.effects if effect.scanned]
    defaults = [effect for effect in scanned if effect.relation in facts.before.defaults]
    return [
        default
        for default in defaults
        if all(effect is default or effect.table != default.table for effect in scanned)
    ]


def attach_candidate_unprepared(facts: Facts) -> Iterator[PlanFinding]:
    """A table with rows is attached, and read to the end for that.

    The server makes sure that all its rows fit, builds the indexes that it lacks,
    and checks foreign keys: with ACCESS EXCLUSIVE on the table, and locks on the
    tables that it refers to. It does none of that for what is there already.

    Asks for a CHECK of the bounds, `key IS NOT NULL AND key >= a AND key < b`, that
    is added NOT VALID and validated before, and for the same indexes and foreign
    keys as the partitioned table has. The CHECK is dropped afterwards.

    Costs the reading all the same, but nobody waits for it.

    Leave it when nobody uses the table, and it refers to no other.
    """
    for step in facts.steps:
        for match in facts.said(step, _ATTACH):
            candidate = facts.effect_on(step, name(match["partition"]))
            if candidate is not None and candidate.scanned:
                yield _unprepared(facts, step, candidate, name(match["table"]))


def _unprepared(facts: Facts, step: Step, candidate: RelationEffect, parent: Name) -> PlanFinding:
    size = facts.size(candidate.relation)
    amount = "all of it" if size is None else f"all {in_bytes(size)} of it"
    return facts.remark(
        "attach-candidate-unprepared",
        step,
        candidate.relation,
        f"ATTACH reads {amount} while nobody can use it: before, add a CHECK of its bounds NOT "
        f"VALID and validate it, and give it the indexes and foreign keys of {parent}",
        parent=str(parent),
    )


def candidates_scanned(facts: Facts, step: Step) -> list[RelationEffect]:
    """The tables that a step attaches and reads."""
    named = (name(match["partition"]) for match in facts.said(step, _ATTACH))
    found = (facts.effect_on(step, candidate) for candidate in named)
    return [effect for effect in found if effect is not None and effect.scanned]


def detach_while_pending(facts: Facts) -> Iterator[PlanFinding]:
    """DETACH ... CONCURRENTLY beside one that was interrupted.

    A table can have one partition that is being detached concurrently. When that
    was cut, the partition is neither in nor out: its rows are invisible, and the
    server refuses the next DETACH CONCURRENTLY of the table (55000). The copy of
    the schema that a plan is tried on knows nothing of that.

    Asks for ALTER TABLE ... DETACH PARTITION ... FINALIZE before, which
    `alembic-enterprise partitions maintain` runs by itself.

    Costs a moment of ACCESS EXCLUSIVE on the partition.

    Leave it in no case: the step fails.
    """
    for step in facts.steps:
        for match in facts.said(step, _DETACH_CONCURRENTLY):
            table = facts.live_table(step, name(match["table"]))
            for parent, pending in _pending(facts.before):
                if str(parent) == table:
                    yield _barred(facts, step, parent, pending)


def _barred(facts: Facts, step: Step, parent: Name, pending: Name) -> PlanFinding:
    return facts.remark(
        "detach-while-pending",
        step,
        str(parent),
        f"this is refused until {pending} is detached: run ALTER TABLE {parent.text} DETACH "
        f"PARTITION {pending.text} FINALIZE before",
        severity="error",
        partition=str(pending),
    )


def _pending(known: Catalog) -> Iterator[tuple[Name, Name]]:
    """Tables, and their partitions of which a detach was interrupted."""
    for parent, partitions in known.partitions.items():
        yield from ((parent, item.name) for item in partitions if item.pending)
