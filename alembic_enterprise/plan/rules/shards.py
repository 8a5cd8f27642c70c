"""Rules about tables by hash."""

from collections.abc import Iterator

from alembic_enterprise.plan.model import PlanFinding, Step
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.shards.moduli import coverage, holes
from alembic_enterprise.shards.operations import CreateHashShards
from alembic_enterprise.sql import Name


def shards_incomplete(facts: Facts) -> Iterator[PlanFinding]:
    """The plan leaves a table by hash without some of its shards.

    A row whose hash no shard holds is refused. Which one that is nobody can tell by
    its key, so it looks like a fault that comes and goes.

    Asks for the remainders that lack. Not counted: what lacked before the plan,
    which `alembic-enterprise shards check` tells.

    Costs nothing: the new shards are empty.

    Leave it when a later step outside of the plan attaches them.
    """
    for table, sharded in facts.after.sharded.items():
        before = facts.before.sharded.get(table)
        if coverage(sharded.held) != 1 and (before is None or coverage(before.held) == 1):
            yield _incomplete(facts, sharded)


def _incomplete(facts: Facts, table: ShardedTable) -> PlanFinding:
    lacking = [hole.remainder for hole in holes(table.held, table.count)] if table.held else []
    told = f"remainder {', '.join(map(str, lacking))} of {table.count}" if lacking else "all shards"
    place = (table.name.name, table.count, lacking, table.name.schema)
    return facts.remark(
        "shards-incomplete",
        _last(facts, table.name),
        str(table.name),
        f"{told} will be missing, and {float(1 - coverage(table.held)):.1%} of all keys are "
        "refused: create what lacks",
        severity="error",
        operations=[CreateHashShards(*place)] if lacking else (),
        modulus=table.count,
        remainders=lacking,
    )


def modulus_changed(facts: Facts) -> Iterator[PlanFinding]:
    """The plan gives a table by hash other shards, into which all rows have to move.

    With another number of shards each row is in another one, but for those of a
    shard that is not split. In a migration they are copied under ACCESS EXCLUSIVE
    from beginning to end, or not copied at all, when the shards are dropped or
    detached and made anew.

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
            _last(facts, table),
            str(table),
            f"its rows move from {len(before.held)} shards to {len(after.held)}: run "
            f"`alembic-enterprise shards grow {table.name} --to {after.count}` before"
            if after.count > before.count
            else f"its rows move from {len(before.held)} shards to {len(after.held)}, while "
            "nobody can use it: leave the shards as they are, or do it when nobody needs them",
            shards_before=len(before.held),
            shards_after=len(after.held),
        )


def _last(facts: Facts, table: Name) -> Step | None:
    """The last step that does something to a table."""
    touching = (
        step
        for step in reversed(facts.steps)
        if any(effect.table == str(table) for effect in step.effects)
    )
    return next(touching, None)
