"""Rules about tables by hash."""

from collections.abc import Iterator

from alembic_enterprise.plan.model import PlanFinding, RelationEffect, Step
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.plan.rules.partitions import PARTITION_OF
from alembic_enterprise.plan.rules.reading import name, shape
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.shards.moduli import coverage, holes
from alembic_enterprise.shards.operations import CreateHashShards
from alembic_enterprise.sql import Name


def shards_incomplete(facts: Facts) -> Iterator[PlanFinding]:
    """The plan leaves a table by hash without some of its shards.

    A row whose hash no shard holds is refused. Which one that is nobody can tell by
    its key, so it looks like a fault that comes and goes.

    Asks for the remainders that lack. Not counted: what lacked before the plan,
    which `alembic-enterprise shards check` lists.

    Costs nothing: the new shards are empty.

    Leave it when a later step outside of the plan attaches them.
    """
    for table, sharded in facts.after.sharded.items():
        before = facts.before.sharded.get(table)
        if coverage(sharded.held) != 1 and (before is None or coverage(before.held) == 1):
            yield _incomplete(facts, sharded)


def _incomplete(facts: Facts, table: ShardedTable) -> PlanFinding:
    lacking = [hole.remainder for hole in holes(table.held, table.count)] if table.held else []
    what = f"remainder {', '.join(map(str, lacking))} of {table.count}" if lacking else "all shards"
    return facts.remark(
        "shards-incomplete",
        _changing(facts, table.name),
        str(table.name),
        f"{what} will be missing, and {float(1 - coverage(table.held)):.1%} of all keys are "
        "refused: create what lacks",
        severity="error",
        operations=[
            CreateHashShards(
                table.name.name,
                count=table.count,
                remainders=lacking,
                schema=table.name.schema,
            )
        ]
        if lacking
        else (),
        modulus=table.count,
        remainders=lacking,
    )


def modulus_changed(facts: Facts) -> Iterator[PlanFinding]:
    """The plan gives a table by hash other shards, into which all rows have to move.

    With another number of shards each row is in a different one, but for those of a
    shard that is not split. In a migration they are copied under ACCESS EXCLUSIVE
    from beginning to end, or not copied at all, when the shards are dropped or
    detached and created again.

    Asks for `alembic-enterprise shards grow`, which copies them while they are read
    and written, before the migration. After that op.grow_hash_shards finds nothing
    to do.

    Costs room for the rows once more, and the time to copy them, in which nobody
    waits.

    Leave it when the table is small.
    """
    for table, after in facts.after.sharded.items():
        before = facts.before.sharded.get(table)
        if before is None or not {*before.held} - {*after.held} or before.count == after.count:
            continue
        yield facts.remark(
            "modulus-changed",
            _changing(facts, table),
            str(table),
            f"its rows move from {len(before.held)} shards to {len(after.held)}: run "
            f"`alembic-enterprise shards grow {table.name} --to {after.count}` before"
            if after.count > before.count
            else f"its rows move from {len(before.held)} shards to {len(after.held)}, while "
            "nobody can use it: leave the shards as they are, or do it when nobody needs them",
            shards_before=len(before.held),
            shards_after=len(after.held),
        )


def _changing(facts: Facts, table: Name) -> Step | None:
    """The last step that changes which shards a table has; else the last one that touches it."""
    about = [step for step in facts.steps if _effects(step, table)]
    changing = [step for step in about if _changes(facts, step, table)]
    locking = [step for step in about if any(x.held_since is None for x in _effects(step, table))]
    return next(reversed(changing or locking), None)


def _effects(step: Step, table: Name) -> list[RelationEffect]:
    return [effect for effect in step.effects if str(table) in (effect.table, effect.called)]


_ATTACHES = shape("ALTER TABLE( IF EXISTS)?( ONLY)? {table} (ATTACH|DETACH) PARTITION ")


def _changes(facts: Facts, step: Step, table: Name) -> bool:
    if step.operation is not None:
        return "_hash_shard" in step.operation and repr(table.name) in step.operation
    said = facts.said(step, _ATTACHES, PARTITION_OF)
    return any(facts.live_table(step, name(match["table"])) == str(table) for match in said)
