"""The rules on labelled releases: the bad are told, the good are not.

The files of `rules/` are SQL: tables, after `-- rows` what only the live database has, and after
`-- release` the statements of a migration, or calls of `op`. The first line says of which table the
rule of the folder has to tell when the file is called `bad_...`; it is silent about `good_...`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from autogenerate import project, run_sql, write_revision
from sqlalchemy import Connection, MetaData, NullPool, create_engine

from alembic_enterprise.plan import catalog, live, revisions
from alembic_enterprise.plan.model import PlanFinding
from alembic_enterprise.plan.rehearsal.rehearse import rehearse
from alembic_enterprise.plan.rehearsal.steps import steps
from alembic_enterprise.plan.revisions import VERSION_TABLE
from alembic_enterprise.plan.rules import RULES, Facts
from alembic_enterprise.plan.shadow.statements import statements

FOLDER = Path(__file__).parent / "rules"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
Told = Mapping[str, Sequence[PlanFinding]]
"""What each rule finds, by its name."""


@dataclass(frozen=True)
class Case:
    """One file."""

    rule: str
    path: Path

    @property
    def revision(self) -> str:
        """Of its migration, and the schema that it is run in."""
        return f"{self.rule.replace('-', '_')[:24]}_{self.path.stem}"

    @property
    def table(self) -> str:
        """The one that its first line is about."""
        return self.path.read_text().removeprefix("-- ").partition(": ")[0]

    @property
    def expected(self) -> list[str]:
        """The tables that the rule tells of."""
        return [self.table] if self.path.stem.startswith("bad_") else []

    @property
    def parts(self) -> tuple[str, str, list[str]]:
        """The tables, the rows and the release, by statement."""
        before, _, release = self.path.read_text().partition("\n-- release\n")
        schema, _, rows = before.partition("\n-- rows\n")
        return schema, rows, [one.text.rstrip(";") for one in statements(release)]

    def __str__(self) -> str:
        return f"{self.rule}/{self.path.stem}"


CASES = [Case(path.parent.name, path) for path in sorted(FOLDER.glob("*/*.sql"))]


@pytest.fixture(scope="module")
def facts(shared_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """All cases in one database with rows; their releases were run on another without."""
    live_url, shadow_url = shared_database(), shared_database()
    there, shadow = (create_engine(url, poolclass=NullPool) for url in (live_url, shadow_url))
    with there.connect() as full, shadow.connect() as empty:
        run_sql(empty, "CREATE TABLE alembic_version (version_num text PRIMARY KEY)")
        for case in CASES:
            schema, rows, _ = case.parts
            _load(full, case, schema, rows)
            _load(empty, case, schema)
        full.exec_driver_sql("ANALYZE")
        full.commit()
        known = live.read(full, VERSION_TABLE, NOW)
        before = catalog.read(full)
    config = project(tmp_path_factory.mktemp("project"), shadow, MetaData())
    folder = Path(config.get_main_option("script_location") or "")
    earlier = None
    for case in CASES:
        write_revision(folder, case.revision, earlier, "\n".join(_body(case)))
        earlier = case.revision
    directory = ScriptDirectory.from_config(config)
    scripts = revisions.pending(directory, [])
    performed = rehearse(config, shadow.url, scripts, print, version_table=VERSION_TABLE)
    with shadow.connect() as empty:
        after = catalog.read(empty)
    measured = steps(performed, known.tables, {}, "18.4")
    return Facts(measured, before, after, known.tables, plugins=["alembic_enterprise.*"])


@pytest.fixture(scope="module")
def told(facts: Facts) -> Told:
    """What all releases together are told."""
    return {name: list(rule(facts)) for name, rule in RULES.items()}


def _load(connection: Connection, case: Case, *scripts: str) -> None:
    run_sql(connection, f"CREATE SCHEMA {case.revision}", f"SET search_path = {case.revision}")
    run_sql(connection, *(script for script in scripts if script))


def _body(case: Case) -> list[str]:
    lines = [
        "op.execute('RESET lock_timeout')",
        f"op.execute('SET search_path = {case.revision}, public')",
    ]
    for text in case.parts[2]:
        call = text if text.startswith("op.") else f"op.execute({text!r})"
        concurrent = "CONCURRENTLY" in text
        lines += [
            *["with op.get_context().autocommit_block():"] * concurrent,
            "  " * concurrent + call,
        ]
    return lines


def found(case: Case, facts: Facts, told: Told) -> list[PlanFinding]:
    """What the rule of a case finds in its release."""
    revisions = {step.number: step.revision for step in facts.steps}
    return [
        item
        for item in told[case.rule]
        if revisions.get(item.step or 0) == case.revision
        or item.finding.table.startswith(case.revision + ".")
    ]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_releases_are_told_and_good_ones_are_not(facts: Facts, told: Told, case: Case) -> None:
    tables = [item.finding.table for item in found(case, facts, told)]
    assert [table.removeprefix(case.revision + ".") for table in tables] == case.expected


@pytest.mark.parametrize("rule", sorted({*RULES} - {"lock-table-budget", "plugin-not-enabled"}))
def test_every_rule_has_bad_and_good_cases(rule: str) -> None:
    cases = [case for case in CASES if case.rule == rule]
    assert {bool(case.expected) for case in cases} == {True, False}
    assert len(cases) >= 4


OPERATIONS = {
    "blocks-while-scanning/bad_index": (
        "create_index_online('by_state', table='orders', columns=['state'])"
    ),
    "blocks-while-scanning/bad_not_null": "set_not_null_online('orders', column='state')",
    "blocks-while-scanning/bad_foreign_key": (
        "add_foreign_key_online('of_order', source_table='lines', referent_table='orders',"
        " local_cols=['order_id'], remote_cols=['id'], ondelete='CASCADE')"
    ),
    "blocks-while-scanning/bad_unique": (
        "create_unique_constraint_online('one_state', table='orders', columns=['state', 'id'])"
    ),
    "blocks-while-scanning/bad_check": "",
    "partition-of-live-parent/bad_range": (
        "attach_partition('events', partition='events_2', start='2026-02-01 00:00:00',"
        " stop='2026-03-01 00:00:00', schema='shop', partition_schema='shop')"
    ),
    "partition-of-live-parent/bad_policy": (
        "create_range_partitions('events', every='month', start='2026-02-01', stop='2026-03-01',"
        " timezone='Europe/Berlin', schema='shop')"
    ),
    "partition-of-live-parent/bad_naive": (
        "create_range_partitions('days', every='month', start='2026-02-01', stop='2026-03-01',"
        " timezone='Europe/Berlin', schema='shop')"
    ),
    "partition-of-live-parent/bad_hash": (
        "create_hash_shards('keys', count=4, remainders=[2], schema='shop')"
    ),
    "invalid-index-in-the-way/bad_taken": (
        "drop_index_online('by_state', table='orders', schema='shop')"
    ),
    "not-null-without-default/bad_not_null": "set_not_null_online('orders', column='note')",
    "shards-incomplete/bad_new": (
        "create_hash_shards('accounts', count=3, remainders=[1], schema='shop')"
    ),
}
"""What does the same as some releases."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_findings_have_operations_that_do_the_same(facts: Facts, told: Told, name: str) -> None:
    [case] = [case for case in CASES if str(case) == name]
    [item] = found(case, facts, told)
    operations = "; ".join(map(str, item.finding.operations))
    assert operations.replace(case.revision, "shop") == OPERATIONS[name]


def test_the_step_that_moves_the_rows_is_named(facts: Facts, told: Told) -> None:
    [case] = [case for case in CASES if str(case) == "modulus-changed/bad_altered_afterwards"]
    [item] = found(case, facts, told)
    [step] = [step for step in facts.steps if step.number == item.step]
    assert step.operation == "grow_hash_shards('keys', count=4)"
