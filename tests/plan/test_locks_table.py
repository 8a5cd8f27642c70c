"""The table of locks is true: the server under test is measured, form by form."""

import json
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forked import Run
from lock_forms import FORMS, Form
from lock_forms.layouts import KEYLESS, LAYOUTS
from lock_forms.measurement import measure
from lock_forms.writing import disagreements, text, updated
from psycopg.sql import SQL
from sqlalchemy import NullPool, create_engine

from alembic_enterprise import sql
from alembic_enterprise.plan.locks.table import (
    FILE,
    Activity,
    Effect,
    LockMode,
    Role,
    Table,
    blocks,
    load,
)

ROOT = Path(__file__).parents[2]
MAJORS = (14, 15, 16, 17, 18)

ACCESS_EXCLUSIVE = frozenset({LockMode.ACCESS_EXCLUSIVE})
ON_TABLE = Effect({Role.TABLE: ACCESS_EXCLUSIVE})

LIES: list[tuple[str, dict[str, Any], str]] = [
    (
        "add-check",
        {"locks": {Role.TABLE: frozenset({LockMode.SHARE})}},
        'locks {"table": ["ACCESS EXCLUSIVE"]} was measured, not {"table": ["SHARE"]}',
    ),
    (
        "attach-partition-beside-guarded-default",
        {"scans": frozenset({Role.DEFAULT_PARTITION})},
        'scans ["candidate"] was measured, not ["default partition"]',
    ),
    (
        "alter-table-add-column-volatile-default",
        {"rewrites": frozenset()},
        'rewrites ["table", "index"] was measured, not null',
    ),
    ("vacuum", {"in_transaction": True}, "in_transaction false was measured, not null"),
    ("truncate-referenced", {"refused": None}, 'refused "0A000" was measured, not null'),
]
"""A form, what is told of it that is not true, and what a measurement says to that."""


@pytest.fixture
def superuser_url(server_url: str) -> str:
    with create_engine(server_url, poolclass=NullPool).connect() as connection:
        query = SQL("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        [(is_superuser,)] = sql.rows(connection, query)
    if not is_superuser:
        pytest.skip("forms are measured by a superuser")
    return server_url


def test_the_server_does_what_the_table_tells(superuser_url: str) -> None:
    """If not: bench/locks.py --write, and look at what it changed."""
    assert disagreements(load(), measure(superuser_url)) == []


@pytest.mark.parametrize(("form", "lie", "told"), LIES)
def test_a_false_table_is_found_out(form: str, lie: dict[str, Any], told: str) -> None:
    measured = load()
    false = {major: replace(effect, **lie) for major, effect in measured.effects[form].items()}
    table = Table(measured.servers, {**measured.effects, form: false})
    assert disagreements(table, measured) == [f"{form} on {major}: {told}" for major in MAJORS]


def test_a_table_that_lacks_what_was_measured_is_found_out() -> None:
    measured = load()
    effects = {form: told for form, told in measured.effects.items() if form != "vacuum"}
    assert disagreements(Table(measured.servers, effects), measured) == [
        f"vacuum on {major}: the table does not have it" for major in MAJORS
    ]


@pytest.mark.parametrize(
    ("form", "roles", "blocked"),
    [
        ("create-index", {Role.TABLE}, "writes, DDL"),
        ("create-index-concurrently", {Role.TABLE}, "DDL"),
        ("create-partition-of", {Role.TABLE}, "reads, writes, DDL"),
        ("attach-partition", {Role.TABLE}, "DDL"),
        ("attach-partition", {Role.CANDIDATE}, "reads, writes, DDL"),
        ("attach-partition", {Role.REFERENCED}, "writes, DDL"),
        ("attach-partition-beside-default", {Role.DEFAULT_PARTITION}, "reads, writes, DDL"),
        ("detach-partition", {Role.TABLE, Role.PARTITION}, "reads, writes, DDL"),
        ("detach-partition-concurrently", {Role.TABLE}, "DDL"),
        ("detach-partition-concurrently", {Role.PARTITION}, "reads, writes, DDL"),
        ("drop-foreign-key", {Role.TABLE, Role.REFERENCED}, "reads, writes, DDL"),
        ("partitioned-add-column", {Role.TABLE, Role.OTHER_PARTITION}, "reads, writes, DDL"),
        ("partitioned-create-trigger-row", {Role.OTHER_PARTITION}, "writes, DDL"),
        ("vacuum-full", {Role.TABLE}, "reads, writes, DDL"),
        ("validate-check", {Role.TABLE}, "DDL"),
        ("refresh-materialized-view-concurrently", {Role.MATERIALIZED_VIEW}, "writes, DDL"),
        ("reindex-index", {Role.INDEX}, "reads, writes, DDL"),
    ],
)
def test_what_the_documentation_says(form: str, roles: set[Role], blocked: str) -> None:
    """PostgreSQL docs, "Explicit Locking", and the pages of these statements."""
    for effect in load().effects[form].values():
        for role in roles:
            told = sorted(blocks(effect.locks[role]), key=list(Activity).index)
            assert ", ".join(told) == blocked


def test_the_table_tells_of_every_form_and_version() -> None:
    table = load()
    assert len(FORMS) >= 100
    assert tuple(table.servers) == MAJORS
    assert {form: set(effects) for form, effects in table.effects.items()} == {
        form.name: set(MAJORS) for form in FORMS
    }


def test_forms_and_relations_have_names_of_their_own() -> None:
    assert len({form.name for form in FORMS}) == len(FORMS)
    relations = [name for layout in LAYOUTS for name in layout.roles]
    assert len(set(relations)) == len(relations)


def test_the_file_is_as_it_would_be_written() -> None:
    assert text(load()) == FILE.read_text()


def test_versions_with_the_same_effect_share_a_line() -> None:
    other = replace(ON_TABLE, in_transaction=False)
    table = Table(
        {14: "14.1", 15: "15.1", 16: "16.1"}, {"x": {16: ON_TABLE, 15: other, 14: ON_TABLE}}
    )
    told = json.loads(text(table))["forms"]["x"]
    locks = {"table": ["ACCESS EXCLUSIVE"]}
    assert told == [
        {"majors": [14, 16], "effect": {"locks": locks}},
        {"majors": [15], "effect": {"locks": locks, "in_transaction": False}},
    ]
    assert Table.from_text(text(table)) == table


def test_a_version_that_was_not_measured_is_not_guessed() -> None:
    table = Table({14: "14.1"}, {"x": {14: ON_TABLE}})
    assert table.of("x", 14) == ON_TABLE
    assert table.of("x", 99) is None
    with pytest.raises(KeyError):
        table.of("y", 14)


def test_measuring_a_version_leaves_the_others() -> None:
    before = Table({14: "14.1", 15: "15.1"}, {"x": {14: ON_TABLE, 15: ON_TABLE}, "gone": {}})
    now = Effect(refused="42601")
    after = updated(before, Table({15: "15.2"}, {"x": {15: now}}))
    assert after == Table({14: "14.1", 15: "15.2"}, {"x": {14: ON_TABLE, 15: now}})


def test_a_form_that_reaches_a_relation_without_a_role_is_refused(superuser_url: str) -> None:
    form = Form("reach", KEYLESS, "LOCK TABLE customers")
    with pytest.raises(LookupError, match=r"reach reaches public\.customers: give that a role"):
        measure(superuser_url, [form])


SCRIPT = ROOT / "bench" / "locks.py"
CHECK = ("--check", "add-check", "truncate", "--table")
"""Its options that hold a table against two forms."""
Check = Callable[[Path], tuple[object, str]]


@pytest.fixture
def check(
    binaries: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Check:
    """A function that checks a file, and returns the exit code and what is printed."""

    def check(table: Path) -> tuple[object, str]:
        options = [*CHECK, str(table), "--binaries", str(binaries)]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return ended.value.code, capsys.readouterr().out

    return check


def test_the_command_needs_nothing_of_the_tests(run_forked: Run) -> None:
    assert run_forked([SCRIPT, "--help"], ROOT, os.environ, [os.devnull] * 3) == 0


def test_the_command_finds_the_committed_table_true(check: Check) -> None:
    code, output = check(FILE)
    assert (code, output.endswith("\n0 of 2 effects differ\n")) == (0, True)


def test_the_command_fails_on_a_false_table_and_names_the_form(
    check: Check, tmp_path: Path
) -> None:
    false = text(load()).replace('"add-check": [', '"add-check": [], "spare": [')
    (tmp_path / "locks.json").write_text(false)
    code, output = check(tmp_path / "locks.json")
    assert "\nadd-check on " in output
    assert output.endswith("\n1 of 2 effects differ\n")
    assert code == 1
