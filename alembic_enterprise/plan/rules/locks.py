"""Rules about locks: how long they are waited for, and how many there are."""

from collections.abc import Iterator, Sequence

from alembic_enterprise.plan.held import held
from alembic_enterprise.plan.locks.table import Activity
from alembic_enterprise.plan.model import PlanFinding, RelationEffect, Step
from alembic_enterprise.plan.rules.alternatives import alternative
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.plan.rules.reading import shape

CONCURRENTLY = shape(
    r"(CREATE( UNIQUE)? INDEX|DROP INDEX|REINDEX.*|ALTER TABLE .* DETACH PARTITION .*)"
    r" CONCURRENTLY\b"
)

MANY_PARTITIONS = 20
"""Partitions of a table from which on some of them are always busy."""

BUDGET = 0.5
"""Share of the lock table that a transaction may take without a remark."""


def no_lock_timeout(facts: Facts) -> Iterator[PlanFinding]:
    """A step waits for its lock for as long as it takes.

    A statement that stops readers or writers has to wait for those who are there,
    and while it waits, all who come after it wait behind it: for an ALTER TABLE
    of a millisecond, a report of ten minutes stops a table for ten minutes.

    Asks for a lock_timeout of a few seconds: SET lock_timeout in env.py, ALTER
    ROLE, or `alembic-enterprise apply`, which tries again as well. Told once for
    each revision, with its largest table.

    Costs another try when the table was busy.

    Leave it when nobody else uses the database then.
    """
    waiting: dict[str | None, list[tuple[int, Step, str]]] = {}
    for step in facts.steps:
        if step.lock_timeout is None and not _is_patient(facts, step):
            locked = (effect.table for effect in step.effects if _waits(facts, effect))
            for table in dict.fromkeys(locked):
                found = waiting.setdefault(step.revision, [])
                found.append((facts.size(table) or 0, step, table))
    for every in waiting.values():
        _, step, table = max(every, key=lambda item: item[0])
        yield facts.remark(
            "no-lock-timeout",
            step,
            table,
            "it waits for its lock without an end, and everybody else behind it: SET lock_timeout "
            "in env.py, or run the plan with `alembic-enterprise apply`",
            severity="warning",
            steps=sorted({step.number for _, step, _ in every}),
        )


def _is_patient(facts: Facts, step: Step) -> bool:
    """Whether nobody waits behind it; operations that run online see to that themselves."""
    online = step.operation is not None and not step.transactional
    return online or any(facts.said(step, CONCURRENTLY))


def _waits(facts: Facts, effect: RelationEffect) -> bool:
    """Whether a step takes a lock on a table of the live database that stops some use of it."""
    if effect.held_since is not None or effect.table not in facts.tables:
        return False
    return bool(effect.blocks & {Activity.READS, Activity.WRITES})


def lock_timeout_around_concurrently(facts: Facts) -> Iterator[PlanFinding]:
    """A statement with CONCURRENTLY runs under a lock_timeout.

    It waits for the transactions that use the table, more than once and in the
    middle, and lock_timeout counts for that. When it strikes, CREATE INDEX and
    REINDEX leave an INVALID index, and DETACH PARTITION a partition that is neither
    in nor out. As it stops nobody, it may wait.

    Asks for SET lock_timeout = 0 around it, as op.create_index_online and the like
    do by themselves.

    Costs nothing.

    Leave it in no case.
    """
    for step in facts.steps:
        if step.lock_timeout is None or not any(facts.said(step, CONCURRENTLY)):
            continue
        table = _about(step)
        yield facts.remark(
            "lock-timeout-around-concurrently",
            step,
            table,
            "lock_timeout cuts it while it waits inside, and leaves it half done: SET lock_timeout "
            "= 0 before it, or use the operation that does",
            severity="warning",
            operations=alternative(facts, step).operations,
            lock_timeout_seconds=step.lock_timeout.total_seconds(),
        )


def _about(step: Step) -> str:
    """The table that a step is about."""
    names = [*(item.table for item in step.tables), *(item.table for item in step.effects)]
    return names[0] if names else ""


def every_partition_locked(facts: Facts) -> Iterator[PlanFinding]:
    """One statement takes a lock on many partitions that stops their use.

    It takes them one by one, and waits wherever somebody is busy, while it keeps
    those it has: readers and writers of all partitions wait for the slowest
    transaction in one of them. Triggers, such as those of op.create_audit_trail,
    and all of ALTER TABLE do that to a partitioned table.

    Asks for a time without long transactions, for a lock_timeout, and for trying
    again, as `alembic-enterprise apply` does. Indexes and constraints have
    operations that go from partition to partition. Told from 20 partitions on.

    Costs some tries.

    Leave it when nobody uses the table for long at a time.
    """
    for step in facts.steps:
        locked: dict[str, list[str]] = {}
        for effect in step.effects:
            is_partition = effect.relation in facts.tables and effect.relation != effect.table
            if is_partition and _waits(facts, effect):
                locked.setdefault(effect.table, []).append(effect.relation)
        for table, partitions in locked.items():
            if len(partitions) >= MANY_PARTITIONS:
                yield _spread(facts, step, table, len(partitions))


def _spread(facts: Facts, step: Step, table: str, partitions: int) -> PlanFinding:
    return facts.remark(
        "every-partition-locked",
        step,
        table,
        f"it waits for all who use any of {partitions:,} partitions, and keeps those it has "
        "meanwhile: run it with a lock_timeout and tries again (`alembic-enterprise apply`)",
        operations=alternative(facts, step).operations,
        partitions=partitions,
    )


def lock_table_budget(facts: Facts) -> Iterator[PlanFinding]:
    """A transaction needs much of the room that the server has for locks.

    All sessions share one table of locks, with room for max_locks_per_transaction *
    (max_connections + max_prepared_transactions). When it is full, whoever comes
    next fails with "out of shared memory" (53200). Each partition and each index
    of it takes a lock of its own.

    Asks for more max_locks_per_transaction, which a restart of the server brings
    about, or for fewer tables in one transaction. It is an error when the
    transaction alone does not fit.

    Costs some shared memory.

    Leave it when nothing else runs then.
    """
    for step, relations in _at_the_end(facts.steps):
        locks = {table: _locks(facts, table, locked) for table, locked in relations.items()}
        needed, slots = sum(locks.values()), facts.before.lock_slots
        if needed > BUDGET * slots:
            yield facts.remark(
                "lock-table-budget",
                step,
                max(locks, key=lambda table: locks[table]),
                f"transaction {step.transaction} needs {needed:,} locks of {slots:,} that fit: "
                "raise max_locks_per_transaction, or change fewer tables at a time",
                severity="error" if needed > slots else "warning",
                locks=needed,
                slots=slots,
            )


def _at_the_end(steps: Sequence[Step]) -> Iterator[tuple[Step, dict[str, set[str]]]]:
    """The last step of each transaction, and the relations that are locked then, by table."""
    last = {step.transaction: step for step in steps}
    for step, before in held(steps):
        if step is last[step.transaction]:
            found: dict[str, set[str]] = {}
            for effect in (*before.effects.values(), *step.effects):
                found.setdefault(effect.table, set()).add(effect.relation)
            yield step, dict(sorted(found.items()))


def _locks(facts: Facts, table: str, locked: set[str]) -> int:
    """Locks on a table with its partitions, and on the indexes of all.

    The shadow may lack old partitions: when all that it has are locked, those are as well.
    """
    for name, partitions in facts.after.partitions.items():
        copied = {str(item.name) for item in partitions} & facts.tables.keys()
        if str(name) == table and copied and copied <= locked:
            return facts.before.locks.get(name, 0)
    return sum(1 + facts.tables[relation].indexes for relation in locked & facts.tables.keys())
