"""`explain`: every rule tells what it looks for, and why."""

import re
import textwrap
from collections.abc import Callable

import pytest
from autogenerate import run as migrate
from console import Outcome
from scheduled import insert, table
from sqlalchemy import Connection

from alembic_enterprise.indexes.rules import RULES as OF_INDEXES
from alembic_enterprise.plan import accepted, advice
from alembic_enterprise.plan.proposal import reasons
from alembic_enterprise.plan.rules import RULES as OF_PLANS
from alembic_enterprise.plan.settings import RULE_IDS

RULES = [*OF_INDEXES, *OF_PLANS, *accepted.EXPLANATIONS]
SHORT = [rule for rule in advice.EXPLANATIONS if rule not in RULES]


def test_the_rules_are_listed_by_command(run: Callable[..., Outcome]) -> None:
    outcome = run("explain")
    assert (outcome.code, outcome.error) == (0, "")
    assert max(map(len, outcome.output.splitlines())) <= 80
    groups = {
        name: re.findall(r"^  (\S+)", listed, re.MULTILINE)
        for name, _, listed in (group.partition("\n") for group in outcome.output.split("\n\n"))
    }
    assert [*groups] == [
        "plan",
        "partitions check",
        "shards check",
        "audit check",
        "indexes advise",
    ]
    assert groups["plan"] == [*OF_PLANS, *accepted.EXPLANATIONS]
    assert groups["indexes advise"] == [*OF_INDEXES]
    assert "orphan" in groups["partitions check"]
    assert "orphan" in groups["shards check"]
    assert {rule for group in groups.values() for rule in group} == {*RULES, *SHORT}


def test_rows_leave_the_default_partition_as_it_is_explained(
    run: Callable[..., Outcome], connection: Connection
) -> None:
    table(connection, start="2026-12-01", stop="2027-01-01", default=True)
    insert(connection, "2026-11-05Z", "2026-11-06Z", "2030-01-01Z")
    told = run("explain", "default-rows").output
    migrate(connection, textwrap.dedent("\n".join(re.findall(r"^  .*", told, re.MULTILINE))))
    query = "SELECT tableoid::regclass::text, count(*) FROM events GROUP BY 1 ORDER BY 1"
    assert connection.exec_driver_sql(query).all() == [
        ("events_default", 1),
        ("events_y2026_m11", 2),
    ]


def test_what_pyproject_accepts_is_explained() -> None:
    assert {*RULES, *SHORT} >= RULE_IDS


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


@pytest.mark.parametrize("rule", [*SHORT, *reasons.EXPLANATIONS])
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


@pytest.mark.parametrize(("near", "meant"), [("data-los", "data-lost"), ("orfan", "orphan")])
def test_a_rule_that_is_written_wrong(run: Callable[..., Outcome], near: str, meant: str) -> None:
    outcome = run("explain", near)
    assert (outcome.code, outcome.output) == (1, "")
    assert f"no rule is called {near} (did you mean {meant}" in outcome.error
