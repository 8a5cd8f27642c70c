"""What is remarked on in a plan: each rule a pure function of its facts, by noun.

The name of the function is the id of the rule, and its docstring what `alembic-enterprise explain`
prints.
"""

from collections.abc import Callable, Iterator, Mapping

from alembic_enterprise.plan.model import PlanFinding
from alembic_enterprise.plan.rules.columns import not_null_without_default, volatile_default
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.plan.rules.indexes import invalid_index_in_the_way
from alembic_enterprise.plan.rules.locks import (
    every_partition_locked,
    lock_table_budget,
    lock_timeout_around_concurrently,
    no_lock_timeout,
)
from alembic_enterprise.plan.rules.partitions import (
    attach_candidate_unprepared,
    default_partition_scanned,
    detach_while_pending,
    partition_of_live_parent,
)
from alembic_enterprise.plan.rules.refusals import explained
from alembic_enterprise.plan.rules.rows import (
    blocks_while_rewriting,
    blocks_while_scanning,
    data_lost,
    every_row_written,
    locks_held_while_scanning,
)
from alembic_enterprise.plan.rules.scripts import committed_before_the_end, plugin_not_enabled
from alembic_enterprise.plan.rules.shards import modulus_changed, shards_incomplete

__all__ = ["RULES", "Facts", "Rule", "explained", "found"]

Rule = Callable[[Facts], Iterator[PlanFinding]]

RULES: Mapping[str, Rule] = {
    rule.__name__.replace("_", "-"): rule
    for rule in (
        not_null_without_default,
        detach_while_pending,
        invalid_index_in_the_way,
        shards_incomplete,
        data_lost,
        modulus_changed,
        volatile_default,
        blocks_while_rewriting,
        default_partition_scanned,
        attach_candidate_unprepared,
        blocks_while_scanning,
        locks_held_while_scanning,
        every_row_written,
        partition_of_live_parent,
        every_partition_locked,
        lock_table_budget,
        no_lock_timeout,
        lock_timeout_around_concurrently,
        committed_before_the_end,
        plugin_not_enabled,
    )
}
"""Every rule by its id, the worst first."""


def found(facts: Facts) -> list[PlanFinding]:
    """What all rules find, in their order."""
    return [finding for rule in RULES.values() for finding in rule(facts)]
