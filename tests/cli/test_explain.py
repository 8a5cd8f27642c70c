"""`explain`: every rule tells what it looks for, and why."""

from collections.abc import Callable

import pytest
from console import Outcome

from alembic_enterprise.indexes.rules import RULES as OF_INDEXES
from alembic_enterprise.plan import advice, policy
from alembic_enterprise.plan.proposal import reasons
from alembic_enterprise.plan.rules import RULES as OF_PLANS
from alembic_enterprise.plan.settings import RULES as OF_SETTINGS

RULES = [*OF_INDEXES, *OF_PLANS, *policy.RULES]
SHORT = [rule for rule in advice.RULES if rule not in RULES]


def test_the_rules_can_be_listed(run: Callable[..., Outcome]) -> None:
    outcome = run("explain")
    assert (outcome.code, outcome.error) == (0, "")
    assert max(map(len, outcome.output.splitlines())) <= 80
    assert [line.split()[0] for line in outcome.output.splitlines() if line[0] != " "] == [
        *RULES,
        *SHORT,
    ]


def test_what_pyproject_accepts_is_explained() -> None:
    assert {*RULES, *SHORT} >= OF_SETTINGS


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_explained(run: Callable[..., Outcome], rule: str) -> None:
    outcome = run("explain", rule)
    name, empty, first, *more = outcome.output.splitlines()
    assert (outcome.code, name, empty) == (0, rule, "")
    assert first[0].isupper()
    assert len(more) > 3
    assert max(map(len, outcome.output.splitlines())) <= 80
    assert "\nCosts " in outcome.output
    assert "\nLeave it " in outcome.output


@pytest.mark.parametrize("rule", [*SHORT, *reasons.RULES])
def test_what_the_capabilities_remark_is_explained(run: Callable[..., Outcome], rule: str) -> None:
    outcome = run("explain", rule)
    name, empty, first, *_ = outcome.output.splitlines()
    assert (outcome.code, name, empty) == (0, rule, "")
    assert first[0].isupper()
    assert outcome.output.rstrip().endswith(".")
    assert max(map(len, outcome.output.splitlines())) <= 100


def test_a_rule_of_two_capabilities_is_explained_for_both(run: Callable[..., Outcome]) -> None:
    told = run("explain", "orphan").output
    assert "as a partition is not attached" in told
    assert "as a shard is not attached" in told


def test_a_rule_that_is_not_there(run: Callable[..., Outcome]) -> None:
    outcome = run("explain", "nonsense")
    assert (outcome.code, outcome.output) == (1, "")
    assert "no rule is called nonsense: `alembic-enterprise explain` lists them" in outcome.error
