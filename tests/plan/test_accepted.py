"""What a project accepts in a plan: severities, protected tables and waivers."""

import tomllib
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from planned import EVENTS, FULL, ORDERS, SCRIPT, STEPS, effect

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding
from alembic_enterprise.plan.accepted import (
    Accepted,
    RuleSetting,
    applied,
    declared,
    protected,
    waivers,
)
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.model import Basis, Outcome, PlanFinding, Proof, Step

RULES = ("unused-index", "rewrites-table")
LIVE = (ORDERS.table, EVENTS.table)
TODAY = date(2026, 11, 21)
WAIVER = {
    "rule": "unused-index",
    "table": "public.orders",
    "reason": "used once a year",
    "expires": date(2027, 1, 31),
}


def read(text: str) -> Accepted:
    return declared(tomllib.loads(text), RULES)


def found(rule: str = "unused-index", table: str = "public.orders", **more: Any) -> PlanFinding:
    return PlanFinding(Finding(rule, "warning", table, "drop it", more))


def told(findings: list[PlanFinding]) -> list[tuple[str, str]]:
    return [(item.finding.severity, item.finding.rule) for item in findings]


def test_what_a_project_accepts() -> None:
    accepted = read("""
        protected-tables = ["public.orders"]
        waivers = [
            {rule = "unused-index", table = "orders", reason = "yearly", expires = 2027-01-31},
        ]
        [rules]
        unused-index = "off"
        rewrites-table = {severity = "error", below = {"1 GB" = "note", "10MB" = "off"}}
        """)
    assert accepted.protected == ("public.orders",)
    assert accepted.rules["unused-index"] == RuleSetting("off")
    assert accepted.rules["rewrites-table"].below == ((10 * 2**20, "off"), (2**30, "note"))
    assert [waiver.expires for waiver in accepted.waivers] == [date(2027, 1, 31)]
    assert declared({}, RULES) == Accepted()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("protected = []", "'protected' is not a key: write one of protected-tables, rules"),
        ("protected-tables = 'orders'", "protected-tables: 'orders' is not a list of strings"),
        ("rules = ['unused-index']", "rules is not a table"),
        ("rules.nonsense = 'off'", "'nonsense' is not a rule: `alembic-enterprise explain` lists"),
        ("rules.unused-idx = 'off'", "'unused-idx' is not a rule, but unused-index is: `alembic"),
        ("rules.unused-index = 'fatal'", "is not a severity: write one of error, note, off"),
        ("rules.unused-index = {severity = ['off']}", r"\['off'\] is not a severity"),
        ("rules.unused-index = {level = 'off'}", "'level' is not a key: write one of below"),
        ("rules.unused-index.below.lots = 'off'", "'lots' is not a size: write 500kB"),
        ("waivers = {}", "waivers is not a list"),
        ("waivers = ['unused-index']", r"waivers\[0\] is not a table"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"pyproject.toml: .*{message}"):
        read(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": ""}, "has no reason: a waiver needs rule, table, reason and expires"),
        ({"reason": " "}, "has no reason: say why"),
        ({"expires": None}, r"\(unused-index\) has no expires"),
        ({"rule": None, "table": None}, "has no rule and no table"),
        ({"rule": "nonsense"}, "'nonsense' is not a rule: `alembic-enterprise explain` lists"),
        ({"rule": 5}, "5 is not a rule: `alembic-enterprise explain` lists"),
        ({"rule": "waiver-unused"}, "'waiver-unused' is not a rule"),
        ({"table": 5}, "is not a list of strings: write"),
        ({"expires": "soon"}, "expires = soon is not a date: write the last day"),
        ({"expires": 2027}, "expires = 2027 is not a date"),
        ({"because": "x"}, "'because' is not a key: write one of expires, reason, rule, table"),
    ],
)
def test_a_waiver_says_of_what_it_is_and_why_and_until_when(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"{SCRIPT}: .*\[1\].* ?{message}"):
        waivers([WAIVER, WAIVER | change], RULES, SCRIPT)


def test_a_migration_writes_the_date_as_text() -> None:
    [waiver] = waivers([WAIVER | {"expires": "2027-01-31"}], RULES, SCRIPT)
    assert (waiver.expires, waiver.path) == (date(2027, 1, 31), SCRIPT)


def test_a_rule_can_be_louder_milder_and_off() -> None:
    findings = [found(), found("rewrites-table")]
    loud = read("rules = {unused-index = 'error', rewrites-table = 'off'}")
    assert told(applied(findings, loud, TODAY)) == [("error", "unused-index")]
    assert told(applied(findings, Accepted(), TODAY))[0] == ("warning", "unused-index")


@pytest.mark.parametrize(
    ("size", "severity"), [(1, None), (2**20 - 1, None), (2**20, "note"), (2**30, "error")]
)
def test_small_tables_are_milder(size: int, severity: str | None) -> None:
    accepted = read(
        "rules.unused-index = {severity = 'error', below = {'1GB' = 'note', '1MB' = 'off'}}"
    )
    kept = applied([found(table_bytes=size)], accepted, TODAY)
    assert [item.finding.severity for item in kept] == ([] if severity is None else [severity])


def test_a_table_of_unknown_size_counts_as_a_large_one() -> None:
    accepted = read("rules.unused-index.below.'1TB' = 'off'")
    assert told(applied([found()], accepted, TODAY)) == [("warning", "unused-index")]


@pytest.mark.parametrize("table", ["public.orders", "orders"])
def test_a_waived_error_does_not_block(table: str) -> None:
    accepted = declared({"rules": {"unused-index": "error"}}, RULES)
    [blocking] = applied([found()], accepted, TODAY)
    assert blocking.is_blocking
    waived = replace(accepted, waivers=waivers([WAIVER | {"table": table}], RULES))
    [item] = applied([found()], waived, TODAY)
    assert not item.is_blocking
    assert item.waiver == waived.waivers[0]


def test_a_waiver_holds_on_its_last_day_and_not_after_it() -> None:
    accepted = Accepted(waivers=waivers([WAIVER], RULES))
    [waived] = applied([found()], accepted, date(2027, 1, 31))
    assert waived.waiver is not None
    late = applied([found()], accepted, date(2027, 2, 1))
    assert told(late) == [("warning", "unused-index"), ("warning", "waiver-expired")]
    assert "expired on 2027-01-31" in late[1].finding.message


def test_a_waiver_of_nothing_is_a_finding() -> None:
    accepted = Accepted(waivers=waivers([WAIVER], RULES))
    [unused] = applied([found(table="public.other")], accepted, TODAY)[1:]
    assert (unused.finding.rule, unused.finding.table) == ("waiver-unused", "public.orders")
    silent = replace(accepted, rules={"waiver-unused": RuleSetting("off")})
    assert applied([], silent, TODAY) == []


def test_a_waiver_in_a_migration_is_of_its_own_findings_only() -> None:
    accepted = Accepted(waivers=waivers([WAIVER], RULES, SCRIPT))
    mine, other = replace(found(), path=SCRIPT), replace(found(), path="other.py")
    kept = applied([mine, other], accepted, TODAY)
    assert {item.path for item in kept if item.waiver is None} == {"other.py"}


def test_the_worst_first_and_what_is_waived_last() -> None:
    accepted = Accepted({"rewrites-table": RuleSetting("error")}, waivers=waivers([WAIVER], RULES))
    kept = applied([found(), found(table="public.b"), found("rewrites-table")], accepted, TODAY)
    assert [(item.finding.table, item.finding.severity) for item in kept] == [
        ("public.orders", "error"),
        ("public.b", "warning"),
        ("public.orders", "warning"),
    ]


def test_a_step_that_changes_a_protected_table_is_an_error() -> None:
    accepted = Accepted(protected=("events",))
    kept = [*protected(STEPS, accepted, LIVE)]
    assert [(item.step, item.finding.table) for item in kept] == [
        (2, "public.events"),
        (5, "public.events"),  # nobody knows what it does
    ]
    assert all(item.is_blocking for item in kept)


def test_reading_a_protected_table_is_allowed() -> None:
    reads = effect("public.orders", LockMode.ACCESS_SHARE)
    step = Step(1, "", 1, basis=Basis.MEASURED, effects=(reads,), tables=(ORDERS, EVENTS))
    assert not [*protected([step], Accepted(protected=("orders",)), LIVE)]
    writes = replace(step, effects=(effect("public.orders", LockMode.ROW_EXCLUSIVE),))
    assert [*protected([writes], Accepted(protected=("orders",)), LIVE)]


def test_locks_that_are_still_held_are_told_once() -> None:
    found = protected(STEPS, Accepted(protected=("orders",)), LIVE)
    assert [item.step for item in found] == [1, 3]


@pytest.mark.parametrize("name", ['public."Big"', '"public"."Big"', '"Big"', "public.Big", "Big"])
def test_a_protected_table_is_named_as_sql_writes_it_or_as_people_do(name: str) -> None:
    locks = effect("public.Big", LockMode.ACCESS_EXCLUSIVE)
    step = Step(1, "", 1, basis=Basis.MEASURED, effects=(locks,))
    [item] = protected([step], Accepted(protected=(name,)), ["public.Big"])
    assert (item.finding.rule, item.finding.table) == ("protected-table", "public.Big")


def test_a_protected_table_that_is_none_is_a_finding() -> None:
    [item] = protected(STEPS, Accepted(protected=("public.order",)), LIVE)
    assert (item.step, item.finding.rule, item.finding.table) == (
        None,
        "protected-table-missing",
        "public.order",
    )
    assert not item.is_blocking
    renamed = replace(effect("public.orders", LockMode.ACCESS_EXCLUSIVE), called="public.order")
    step = Step(1, "", 1, basis=Basis.MEASURED, effects=(renamed,))
    [new] = protected([step], Accepted(protected=("public.order",)), LIVE)
    assert (new.finding.rule, new.finding.table) == ("protected-table", "public.orders")


@pytest.mark.parametrize(
    ("statement", "is_told"),
    [
        ("GRANT SELECT (id), UPDATE ON public.events, orders TO reader", True),
        ('REVOKE ALL ON TABLE ONLY_ONE, "orders" FROM public', True),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA other, public TO reader", True),
        ("CREATE ROLE reader;\nGRANT SELECT ON Orders TO reader", True),
        ("GRANT USAGE ON SCHEMA public TO orders", False),
        ("GRANT EXECUTE ON FUNCTION orders(integer) TO reader", False),
        ("GRANT orders TO reader", False),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA other TO reader", False),
    ],
)
def test_rights_on_a_protected_table_are_told(statement: str, *, is_told: bool) -> None:
    """Servers up to 17 take no lock for them."""
    step = Step(1, statement, 1, basis=Basis.MEASURED)
    found = [*protected([step], Accepted(protected=("public.orders",)), LIVE)]
    assert [item.finding.table for item in found] == ["public.orders"] * is_told


def test_the_exit_code() -> None:
    passed = replace(FULL, findings=(), proof=())
    assert (FULL.exit_code, passed.exit_code) == (3, 2)
    assert replace(passed, proof=(Proof("x", Outcome.FAILED),)).exit_code == 3
    assert replace(passed, proof=(Proof("x", Outcome.SKIPPED),)).exit_code == 2
    error = FULL.findings[0]
    assert replace(passed, findings=(error,)).exit_code == 3
    assert replace(passed, findings=FULL.findings[1:]).exit_code == 2
