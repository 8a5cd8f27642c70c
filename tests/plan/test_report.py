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

from alembic_enterprise.cli.planning import text
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.model import FORMAT_VERSION, Database, Plan, Step
from alembic_enterprise.plan.report.document import document
from alembic_enterprise.plan.report.github import annotations
from alembic_enterprise.plan.report.html import page
from alembic_enterprise.plan.report.markdown import LIMIT, markdown, shares
from alembic_enterprise.plan.report.sarif import sarif
from alembic_enterprise.plan.report.sections import grouped, named

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
