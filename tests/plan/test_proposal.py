"""What autogenerate would write is told, tried without a trace, and written like any script."""

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.operations.ops import ExecuteSQLOp, MigrationScript, UpgradeOps
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from autogenerate import events, project, run_sql
from sqlalchemy import Column, Connection, Engine, Index, Integer, MetaData, Table

from alembic_enterprise import AuditTrail
from alembic_enterprise.environment import visit
from alembic_enterprise.errors import ConfigurationError, StepError
from alembic_enterprise.indexes.operations import AnalyzeTable
from alembic_enterprise.plan import revisions
from alembic_enterprise.plan.proposal import autogenerate
from alembic_enterprise.plan.proposal.autogenerate import Changes
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.sql import Name

Options = dict[str, Any]
Make = Callable[..., Config]

SUMMARY = 'Reviewed: \\ """ quotes\nand a second line'


@pytest.fixture
def models() -> MetaData:
    """A plain table, and one by months."""
    metadata = MetaData()
    Table("orders", metadata, Column("id", Integer, primary_key=True), Column("state", Integer))
    events(metadata, "events", Index("ix_at", "at"))
    return metadata


@pytest.fixture
def make(tmp_path: Path, engine: Engine, models: MetaData) -> Make:
    """A function that makes the project, with options as in env.py."""
    return partial(project, tmp_path / "migrations", engine, models)


def compared(config: Config, **options: Any) -> Changes:
    """As the command does while env.py has a connection to the live database."""
    return visit(config, lambda there: autogenerate.compared(there.context, "add it", **options))


def migrate(config: Config, changes: Changes, engine: Engine, folder: Path) -> Config:
    """Try a proposal on the database."""
    folder.mkdir()
    extra, scripts = autogenerate.write_apart(config, changes, folder)
    replay.upgrade(extra, engine.url, scripts)
    return extra


def test_what_differs_is_told_with_its_reason(
    make: Make, connection: Connection, models: MetaData
) -> None:
    Table("notes", models, Column("id", Integer, primary_key=True), AuditTrail())
    run_sql(
        connection,
        "CREATE TABLE orders (id int PRIMARY KEY)",
        "CREATE TABLE notes (id int PRIMARY KEY)",
        "CREATE TABLE events (id bigint, at timestamptz, PRIMARY KEY (id, at))"
        " PARTITION BY RANGE (at)",
    )
    found = compared(make())
    assert found.model_changes == (
        "op.create_index('ix_at', 'events', ['at'], unique=False)",
        "op.add_column('orders', sa.Column('state', sa.Integer(), nullable=True))",
    )
    assert [
        (item.rule, item.severity, item.table, [x.operation_name for x in item.operations])
        for item in found.enterprise
    ] == [
        ("partitions-missing", "warning", "public.events", ["create_range_partitions"]),
        ("policy-differs", "warning", "public.events", ["set_partition_policy"]),
        ("trail-missing", "warning", "public.notes", ["create_audit_trail"]),
    ]


def test_what_comes_with_a_new_table_is_a_note(make: Make) -> None:
    found = compared(make())
    assert {(item.table, item.severity) for item in found.enterprise} == {("public.events", "note")}


def test_what_is_tried_leaves_nothing_to_propose_and_the_project_as_it_was(
    make: Make, engine: Engine, tmp_path: Path
) -> None:
    config = make()
    config.set_main_option("sqlalchemy.url", "kept")
    before = sorted(tmp_path.rglob("*"))
    extra = migrate(config, compared(config), engine, tmp_path / "proposed")
    [proposed] = (tmp_path / "proposed").glob("*.py")
    assert proposed.name.endswith("_add_it.py")
    again = compared(extra)
    assert not again
    assert (again.model_changes, again.enterprise) == ((), ())
    inside = (tmp_path / "proposed", tmp_path / "migrations" / "__pycache__")
    left = [one for one in sorted(tmp_path.rglob("*")) if not {one, *one.parents} & {*inside}]
    assert left == before
    assert ScriptDirectory.from_config(config).get_heads() == []
    assert ScriptDirectory.from_config(extra).get_heads() == [proposed.name.partition("_")[0]]


def test_a_written_script_is_the_tried_one_with_the_summary(make: Make, tmp_path: Path) -> None:
    config = make()
    changes = compared(config)
    (tmp_path / "proposed").mkdir()
    _, [tried] = autogenerate.write_apart(config, changes, tmp_path / "proposed")
    [path] = autogenerate.write(config, changes, SUMMARY)
    assert path.parent == tmp_path / "migrations" / "versions"
    assert path.name == Path(tried.path).name
    directory = ScriptDirectory.from_config(config)
    script = directory.get_revision(tried.revision)
    assert script.doc == "add it"
    assert script.longdoc.endswith(f"\n\n{SUMMARY}")

    def code(file: str) -> str:
        text = re.sub("Create Date:.*", "", Path(file).read_text())
        return text.partition("Revision ID")[2].partition("from alembic")[2]

    assert code(script.path) == code(tried.path)


def test_the_sql_of_a_written_script_stands_beside_it(make: Make) -> None:
    config = make()
    path, beside = autogenerate.write(config, compared(config), "summary", sql=True)
    assert beside == path.with_suffix(".sql")
    assert "CREATE TABLE orders (" in beside.read_text()
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


def test_nothing_is_written_when_the_sql_cannot_be_told(make: Make, tmp_path: Path) -> None:
    config = make()
    template = tmp_path / "migrations" / "script.py.mako"
    asking = "upgrades}\n    op.get_bind().exec_driver_sql('SELECT 1')\n"
    template.write_text(re.sub("upgrades if .*}", asking, template.read_text(), count=1))
    with pytest.raises(StepError, match="cannot be written as SQL"):
        autogenerate.write(config, compared(config), "summary", sql=True)
    assert list((tmp_path / "migrations" / "versions").glob("*.*")) == []


def test_formatters_see_the_summary_and_run_on_written_scripts_only(
    make: Make, tmp_path: Path
) -> None:
    config = make()
    seen = tmp_path / "seen"
    copies = f"import shutil, sys; shutil.copy(sys.argv[1], {str(seen)!r})"
    (tmp_path / "copies.py").write_text(copies)
    options = {
        "hooks": "copies",
        "copies.type": "exec",
        "copies.executable": sys.executable,
        "copies.options": f"{tmp_path / 'copies.py'} REVISION_SCRIPT_FILENAME",
    }
    for name, value in options.items():
        config.set_section_option("post_write_hooks", name, value)
    changes = compared(config)
    (tmp_path / "proposed").mkdir()
    autogenerate.write_apart(config, changes, tmp_path / "proposed")
    assert not seen.exists()
    [path] = autogenerate.write(config, changes, "summary")
    assert seen.read_text() == path.read_text()
    assert "summary" in seen.read_text()


def emptied(context: Any, _revision: object, directives: list[MigrationScript]) -> None:
    """The hook of Alembic's cookbook, "Don't Generate Empty Migrations with Autogenerate"."""
    assert context.config.cmd_opts.autogenerate
    assert directives[0].message == "add it"
    assert directives[0].upgrade_ops is not None
    if directives[0].upgrade_ops.is_empty():
        directives[:] = []


def test_a_hook_that_leaves_out_empty_scripts_leaves_nothing(
    make: Make, engine: Engine, tmp_path: Path
) -> None:
    config = make(process_revision_directives=emptied)
    config.cmd_opts = Namespace(x=["a=b"])
    changes = compared(config)
    assert changes
    again = compared(migrate(config, changes, engine, tmp_path / "proposed"))
    assert not again
    assert autogenerate.write(config, again, "summary") == []
    assert vars(config.cmd_opts) == {"x": ["a=b"]}


def test_what_a_hook_adds_or_splits_is_proposed(make: Make, engine: Engine, tmp_path: Path) -> None:
    def split(_context: object, _revision: object, directives: list[MigrationScript]) -> None:
        [script] = directives
        assert script.downgrade_ops is not None
        more = UpgradeOps([ExecuteSQLOp("SELECT 1"), AnalyzeTable("orders")])
        directives.append(MigrationScript("second", more, script.downgrade_ops, head="head"))
        script.message, script.downgrade_ops = "first", type(script.downgrade_ops)([])

    config = make(process_revision_directives=split)
    changes = compared(config)
    assert "op.execute('SELECT 1')" in changes.model_changes
    assert ("analyze-table", "note") in [(item.rule, item.severity) for item in changes.enterprise]
    (tmp_path / "proposed").mkdir()
    extra, scripts = autogenerate.write_apart(config, changes, tmp_path / "proposed")
    assert [script.doc for script in scripts] == ["first", "empty message"]
    replay.upgrade(extra, engine.url, scripts)
    with engine.connect() as connection:
        known = revisions.ordered(ScriptDirectory.from_config(extra), ["second"])
        assert [script.path for script in known] == [script.path for script in scripts]
        assert connection.exec_driver_sql("SELECT * FROM alembic_version").all() == [("second",)]
    assert [path.name for path in autogenerate.write(config, changes, "summary")] == [
        Path(script.path).name for script in scripts
    ]


def test_arguments_of_env_py_reach_the_template(make: Make, tmp_path: Path) -> None:
    config = make(template_args={"ticket": "SHOP-7"})
    template = tmp_path / "migrations" / "script.py.mako"
    template.write_text(template.read_text() + "\nticket = ${repr(ticket)}\n")
    [path] = autogenerate.write(config, compared(config), "summary")
    assert "ticket = 'SHOP-7'" in path.read_text()


def test_tables_that_could_not_be_copied_are_left_alone(make: Make) -> None:
    """On a shadow: the live database may well have them."""
    found = compared(make(), unknown=[Name("public", "events")])
    assert [line.partition(",")[0] for line in found.model_changes] == ["op.create_table('orders'"]
    assert found.enterprise == ()


def indexed(found: Changes) -> Sequence[str]:
    return [item.rule for item in found.enterprise if item.rule.startswith("index-")]


def test_indexes_of_tables_that_are_large_on_the_live_server_are_built_online(
    make: Make, connection: Connection, models: MetaData
) -> None:
    run_sql(connection, "CREATE TABLE orders (id int PRIMARY KEY, state int)")
    Index("ix_state", models.tables["orders"].c.state)
    config = make(online_indexes=0)
    run_sql(connection, "INSERT INTO orders VALUES (1)")
    large = visit(config, lambda there: autogenerate.large_tables(there.context))
    assert large == {Name(None, "orders")}
    run_sql(connection, "TRUNCATE orders")
    assert visit(config, lambda there: autogenerate.large_tables(there.context)) == set()
    assert indexed(compared(config)) == []
    found = compared(config, large=large)
    assert indexed(found) == ["index-missing"]
    [path] = autogenerate.write(config, found, "summary")
    up, down = path.read_text().split("def downgrade")
    assert "op.create_index_online('ix_state'" in up
    assert "op.drop_index_online('ix_state'" in down


def test_a_database_that_is_not_at_its_head_is_not_compared(make: Make) -> None:
    config = make()
    command.revision(config)
    with pytest.raises(CommandError, match="not up to date"):
        compared(config)


def test_a_folder_that_cannot_be_written_is_told(make: Make, tmp_path: Path) -> None:
    config = make()
    changes = compared(config)
    versions = tmp_path / "migrations" / "versions"
    versions.rmdir()
    versions.write_text("")
    with pytest.raises(ConfigurationError, match="let it be writable, and run this again"):
        autogenerate.write(config, changes, "summary")
