"""A plan as JSON values, as schemas/plan.schema.json says."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from alembic_enterprise.plan.held import Held, held, place
from alembic_enterprise.plan.locks.table import Activity, LockMode, blocks
from alembic_enterprise.plan.model import (
    FORMAT_VERSION,
    Circumstances,
    Plan,
    PlanFinding,
    RelationEffect,
    Step,
)
from alembic_enterprise.plan.report.sections import grouped
from alembic_enterprise.plan.schema.objects import Difference

Member = TypeVar("Member", bound=StrEnum)

FEW = 100
"""Up to so many relations that are held from before are told with each step."""


def document(plan: Plan) -> dict[str, Any]:
    """What `--format json` prints."""
    return {
        "format_version": FORMAT_VERSION,
        "exit_code": plan.exit_code,
        "database": vars(plan.database) | {"revisions": [*plan.database.revisions]},
        "circumstances": _circumstances(plan.circumstances),
        "shadow": plan.shadow and vars(plan.shadow) | {"gaps": [*plan.shadow.gaps]},
        "drift": [_difference(item) for item in plan.drift],
        "model_changes": [*plan.model_changes],
        "enterprise_changes": [item.plain() for item in plan.enterprise_changes],
        "pending": [dict(vars(item)) for item in plan.pending],
        "steps": [_step(step, before) for step, before in held(plan.steps)],
        "findings": [_finding(item) for item in plan.findings],
        "proof": [vars(item) | {"differences": [*item.differences]} for item in plan.proof],
        "coverage": [*plan.coverage],
    }


def _circumstances(sampled: Circumstances) -> dict[str, Any]:
    return {
        "sampled_at": sampled.sampled_at.astimezone(UTC).isoformat(),
        "longest_transaction_seconds": _seconds(sampled.longest_transaction),
        "replication_lag_seconds": _seconds(sampled.replication_lag),
    }


def _seconds(time: timedelta | None) -> float | None:
    return None if time is None else time.total_seconds()


def _difference(item: Difference) -> dict[str, Any]:
    return vars(item) | {"change": item.change}


def _step(step: Step, before: Held) -> dict[str, Any]:
    values = {
        **vars(step),
        "lock_timeout": _seconds(step.lock_timeout),
        "effects": [_effect(group) for group in grouped(_effects(step, before))],
        "tables": [dict(vars(touched)) for touched in step.tables],
    }
    del values["released"], values["lost"]
    return values | {"held": _held(before)} if len(before.effects) > FEW else values


def _effects(step: Step, before: Held) -> Sequence[RelationEffect]:
    """What a step does, and what is held from before it, if that is little."""
    if len(before.effects) > FEW:
        return step.effects
    own = {effect.relation for effect in step.effects}
    rest = [effect for relation, effect in before.effects.items() if relation not in own]
    return sorted([*step.effects, *rest], key=place) if rest else step.effects


def _held(before: Held) -> list[dict[str, Any]]:
    """How many relations are locked from before: the steps that did it say which."""
    relations = Counter[frozenset[LockMode]]()
    for modes in before.modes.values():
        relations.update(modes)
    return [
        {
            "modes": _ordered(LockMode, modes),
            "blocks": _ordered(Activity, blocks(modes)),
            "relations": count,
        }
        for modes, count in relations.items()
    ]


def _effect(group: Sequence[RelationEffect]) -> dict[str, Any]:
    """The effect on relations of one table, of which there may be thousands."""
    first = group[0]
    return {
        "table": first.table,
        "relations": [effect.relation for effect in group],
        "modes": _ordered(LockMode, first.modes),
        "blocks": _ordered(Activity, first.blocks),
        "rewritten": first.rewritten,
        "scanned": first.scanned,
        "held_since": first.held_since,
    }


def _ordered(kind: type[Member], members: frozenset[Member]) -> list[Member]:
    return [member for member in kind if member in members]


def _finding(item: PlanFinding) -> dict[str, Any]:
    waiver = item.waiver
    return {
        **item.finding.plain(),
        "step": item.step,
        "path": item.path,
        "waiver": waiver
        and {
            "reason": waiver.reason,
            "expires": waiver.expires.isoformat(),
            "path": waiver.path,
        },
    }
