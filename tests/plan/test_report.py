"""The forms of a plan: golden for one with everything and one of a database in order."""

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from golden_files import golden
from markup import elements
from planned import FULL, IN_ORDER, effect

from alembic_enterprise.cli.plan_text import text
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.model import FORMAT_VERSION, Basis, Database, Plan, Step
from alembic_enterprise.plan.report.charts import CELLS
from alembic_enterprise.plan.report.document import FEW, document
from alembic_enterprise.plan.report.github import annotations
from alembic_enterprise.plan.report.html import page
from alembic_enterprise.plan.report.markdown import LIMIT, markdown, shares
from alembic_enterprise.plan.report.sarif import sarif
from alembic_enterprise.plan.report.sections import grouped, named, next_step, summary
from alembic_enterprise.plan.schema.objects import Difference

PLANS = {"full": FULL, "in_order": IN_ORDER}

by_plan = pytest.mark.parametrize("name", PLANS)


def valid(value: Mapping[str, Any], validator: Any, file: Traversable) -> None:
    validator(json.loads(file.read_text(encoding="utf-8"))).validate(value)


def as_json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


@by_plan
def test_the_text_is_golden(name: str) -> None:
    shown = click.unstyle(text(PLANS[name]))
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.isascii()
    golden(f"plan_{name}.txt", shown + "\n")


def test_a_database_in_order_says_so() -> None:
    said = "No changes. The database matches the models and policies."
    assert IN_ORDER.exit_code == 0
    assert click.unstyle(text(IN_ORDER)).splitlines()[-1] == said
    assert said in markdown(IN_ORDER)
    assert said in page(IN_ORDER)
    assert said in annotations(IN_ORDER)


@by_plan
def test_the_document_is_golden_and_as_its_schema_says(name: str) -> None:
    told = json.loads(json.dumps(document(PLANS[name])))
    schema = files("alembic_enterprise").joinpath("schemas/plan.schema.json")
    valid(told, jsonschema.Draft202012Validator, schema)
    assert (told["format_version"], told["exit_code"]) == (FORMAT_VERSION, PLANS[name].exit_code)
    golden(f"plan_{name}.json", as_json(told))


@by_plan
def test_sarif_is_golden_and_as_its_schema_says(name: str) -> None:
    log = sarif(PLANS[name])
    schema = Path(__file__).parent / "sarif" / "sarif-2.1.0-rtm.5.json"
    valid(log, jsonschema.Draft4Validator, schema)
    golden(f"plan_{name}.sarif", as_json(log))


def test_sarif_suppresses_what_is_waived() -> None:
    results = sarif(FULL)["runs"][0]["results"]
    suppressed = [item["ruleId"] for item in results if "suppressions" in item]
    assert suppressed == ["missing-primary-key"]


@by_plan
def test_the_annotations_are_golden(name: str) -> None:
    golden(f"plan_{name}.github", annotations(PLANS[name]) + "\n")


@by_plan
def test_markdown_is_golden(name: str) -> None:
    golden(f"plan_{name}.md", markdown(PLANS[name]))


@by_plan
def test_the_page_is_golden(name: str) -> None:
    shown = page(PLANS[name])
    assert not {"script", "link", "img", "iframe"} & set(elements(shown))
    golden(f"plan_{name}.html", shown)


def long(count: int) -> Plan:
    """A plan with so many steps."""
    return replace(FULL, steps=tuple(replace(FULL.steps[0], number=n) for n in range(count)))


def step(number: int, *held: tuple[str, int | None]) -> Step:
    """A step of one transaction; of each relation that it locks, the step since when."""
    effects = tuple(
        replace(effect(relation, LockMode.ACCESS_EXCLUSIVE), held_since=since)
        for relation, since in held
    )
    return Step(number, "SELECT", 1, "a1", Basis.MEASURED, effects=effects)


def test_what_is_held_is_told_in_full_once() -> None:
    """A transaction keeps its locks: each of its steps would say the same and more."""
    steps = (
        step(1, ("s.a", None)),
        step(2, ("s.a", 1), ("s.b", None)),
        step(3, ("s.a", 1), ("s.b", 2)),
        step(4, ("s.a", 1), ("s.b", 2)),
        replace(step(5, ("s.a", 1)), transaction=2),
    )
    shown = text(replace(IN_ORDER, steps=steps)).splitlines()
    assert [line.strip() for line in shown if "held" in line] == [
        "- held from before: RWD s.a since step 1",
        "- held from before: as in step 2, and RWD s.b since step 2",
        "- held from before: as in step 3",
        "- held from before: RWD s.a since step 1",
    ]


@pytest.mark.parametrize(("count", "is_counted"), [(FEW, False), (FEW + 1, True)])
def test_what_is_held_of_many_relations_is_counted(count: int, *, is_counted: bool) -> None:
    """In the document, where it would otherwise stand with each step of the transaction."""
    parts = [effect(f"s.p{n}", LockMode.ACCESS_EXCLUSIVE, "s.p") for n in range(count)]
    scan = replace(parts[1], held_since=1, scanned=True)
    first = replace(step(1), effects=tuple(parts))
    told = document(replace(IN_ORDER, steps=(first, replace(step(2), effects=(scan,)))))
    schema = files("alembic_enterprise").joinpath("schemas/plan.schema.json")
    valid(json.loads(json.dumps(told)), jsonschema.Draft202012Validator, schema)
    [all_of_them], found = (item["effects"] for item in told["steps"])
    assert len(all_of_them["relations"]) == count
    counted = {"modes": ["ACCESS EXCLUSIVE"], "blocks": ["reads", "writes", "DDL"]}
    if is_counted:
        assert told["steps"][1]["held"] == [counted | {"relations": count}]
        assert [group["relations"] for group in found] == [["s.p1"]]
    else:
        assert "held" not in told["steps"][1]
        assert sorted(len(group["relations"]) for group in found) == [1, count - 1]


def test_many_steps_that_block_the_same_are_one_cell() -> None:
    locking = step(3, ("s.a", None))
    plan = replace(IN_ORDER, steps=(step(1), step(2), locking, *map(step, range(4, CELLS + 2))))
    shown = page(plan)
    assert "<title>steps 1 to 2 block nothing</title>" in shown
    assert f"<title>steps 3 to {CELLS + 1} block reads, writes, DDL</title>" in shown
    shown = page(replace(plan, steps=plan.steps[:CELLS]))
    assert f"<title>step {CELLS} blocks reads, writes, DDL</title>" in shown


def test_a_definition_that_is_empty_is_not_told() -> None:
    plan = replace(IN_ORDER, drift=(Difference("schema", "extra", None, ""),))
    assert "  + schema extra\n\n" in click.unstyle(text(plan))


def test_nothing_is_said_of_drift_that_was_not_looked_for() -> None:
    assert summary(FULL).startswith("4 differences, 3 changes")
    assert summary(replace(FULL, shadow=None)).startswith("3 changes")


WRITE = "To write it: alembic-enterprise plan --write -m MESSAGE"
SAVE = "To apply it: alembic-enterprise plan --out FILE, and apply FILE"
APPLY = "To apply it: alembic-enterprise apply 'our plan.json'"
RELEASE = replace(IN_ORDER, pending=FULL.pending, steps=FULL.steps[:2])


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (FULL, WRITE),
        (RELEASE, SAVE),
        (replace(RELEASE, file="our plan.json"), APPLY),
        (replace(RELEASE, proof=FULL.proof), None),
        (replace(RELEASE, shadow=None), None),
        (IN_ORDER, None),
    ],
)
def test_the_last_line_is_the_next_step(plan: Plan, told: str | None) -> None:
    assert next_step(plan) == told
    for last in (click.unstyle(text(plan)).splitlines()[-1], markdown(plan).splitlines()[-1]):
        assert (last == told) == (told is not None)


def test_markdown_folds_up_what_is_long() -> None:
    assert "<details>" not in markdown(replace(FULL, steps=FULL.steps[:1]))
    assert "<details><summary>Steps (50)</summary>" in markdown(long(50))


def test_markdown_fits_into_a_comment_and_says_what_it_leaves_out() -> None:
    plan = replace(long(2_000), coverage=("unknown " * 300,) * 500)
    shown = markdown(plan)
    assert LIMIT * 0.8 < len(shown.encode()) < LIMIT
    assert shown.count("are left out here") == 2
    assert "## Findings (3)" in shown
    assert shown.count("<details>") == shown.count("</details>")


def test_a_statement_as_long_as_a_comment_is_cut() -> None:
    wide = replace(FULL, steps=(Step(1, "SELECT " + "1, " * 50_000, 1),))
    assert len(markdown(wide).encode()) < LIMIT
    assert "characters more)" in markdown(wide)


def test_short_sections_leave_their_room_to_long_ones() -> None:
    assert shares([["x" * 9], ["x" * 99], ["x" * 999]], 200) == [10, 95, 95]


def test_relations_of_one_table_are_told_together() -> None:
    """A statement may lock each of 5,000 partitions."""
    mode = LockMode.ACCESS_EXCLUSIVE
    parts = [effect(f"public.events_{n}", mode, "public.events") for n in range(5_000)]
    table, other = effect("public.events", mode), effect("public.orders", mode)
    groups = grouped([table, other, *parts])
    assert [named(group) for group in groups] == [
        "public.events and 5,000 of its relations",
        "public.orders",
    ]
    assert named(parts) == "5,000 relations of public.events"


@pytest.mark.parametrize(
    "name", ["postgresql://me:secret@db/shop", "postgresql+psycopg://db", "dbname=x password = s"]
)
def test_a_plan_does_not_take_the_url_of_a_database(name: str) -> None:
    with pytest.raises(ConfigurationError, match="not its URL"):
        Database(name, "18.6")
