"""A migration script from operations, as `alembic revision` would write it."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from autogenerate import project, write_revision
from sqlalchemy import Engine, MetaData

from alembic_enterprise import revision
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions.operations import DetachPartition, SetPartitionPolicy

OPERATIONS = [
    SetPartitionPolicy("orders", "month"),
    DetachPartition("orders", "orders_2025", start="2025-01-01", stop="2026-01-01"),
]


@pytest.fixture
def config(tmp_path: Path, engine: Engine) -> Config:
    return project(tmp_path / "migrations", engine, MetaData())


def folder(config: Config) -> Path:
    return Path(ScriptDirectory.from_config(config).versions)


def rewritten(config: Config, old: str, new: str) -> None:
    """Change the project's env.py."""
    env = Path(ScriptDirectory.from_config(config).env_py_location)
    text = env.read_text()
    assert text.count(old) == 1
    env.write_text(text.replace(old, new))


def test_the_script_runs_the_operations_and_reverses_them(config: Config) -> None:
    first = revision.write(config, "first", OPERATIONS)
    second = revision.write(config, "second of all", [])
    assert first.parent == second.parent == folder(config)
    assert second.name.endswith("_second_of_all.py")
    upgrade, downgrade = first.read_text().split("def downgrade")
    calls = ["op.set_partition_policy('orders', every='month')", "op.detach_partition("]
    assert [upgrade.index(call) for call in calls] == sorted(map(upgrade.index, calls))
    calls = ["op.attach_partition(", "op.drop_partition_policy('orders', every='month')"]
    assert [downgrade.index(call) for call in calls] == sorted(map(downgrade.index, calls))
    assert f"Revises: {first.name.partition('_')[0]}" in second.read_text()


def test_what_was_there_before_is_not_reversed(config: Config) -> None:
    written = revision.write(config, "first", OPERATIONS, kept=OPERATIONS[:1])
    upgrade, downgrade = written.read_text().split("def downgrade")
    assert "op.set_partition_policy('orders', every='month')" in upgrade
    assert "op.attach_partition(" in downgrade
    assert "    pass  # not reversed: set_partition_policy completed 'orders', which" in downgrade
    assert "op.drop_partition_policy(" not in downgrade


def test_nothing_is_printed(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to whoever asked for the script."""
    revision.write(config, "first", OPERATIONS)
    assert capsys.readouterr().out == ""


def test_what_env_py_does_to_scripts_is_done_to_this_one(config: Config) -> None:
    rewritten(
        config,
        "options = dict(",
        "def number(context, revision, directives):\n"
        "    directives[0].rev_id = '0001'\n"
        "options = dict(alembic_module_prefix='alembic.op.', process_revision_directives=number,",
    )
    written = revision.write(config, "first", OPERATIONS)
    assert written.name == "0001_first.py"
    assert "    alembic.op.set_partition_policy(" in written.read_text()


def test_several_heads_are_named(config: Config) -> None:
    for name in ("aaaa", "bbbb"):
        write_revision(folder(config).parent, name, None, "pass")
    with pytest.raises(ConfigurationError, match=r"2 heads \((aaaa, bbbb|bbbb, aaaa)\).*merge"):
        revision.write(config, "first", OPERATIONS)


def test_several_databases_are_refused(config: Config) -> None:
    rewritten(
        config,
        "            context.run_migrations()\n",
        "            context.run_migrations()\n            context.run_migrations()\n",
    )
    with pytest.raises(ConfigurationError, match=r"several databases.*by hand"):
        revision.write(config, "first", OPERATIONS)
    assert list(folder(config).iterdir()) == []


def test_a_project_that_lets_no_script_through(config: Config) -> None:
    rewritten(
        config,
        "options = dict(",
        "def none(context, revision, directives):\n    directives.clear()\n"
        "options = dict(process_revision_directives=none,",
    )
    with pytest.raises(ConfigurationError, match=r"process_revision_directives in env\.py left no"):
        revision.write(config, "first", OPERATIONS)


def test_a_project_without_scripts(config: Config) -> None:
    config.set_main_option("script_location", str(folder(config).parent / "nowhere"))
    with pytest.raises(CommandError, match="doesn't exist"):
        revision.write(config, "first", OPERATIONS)


def test_an_env_py_that_fails_is_located(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rewritten(config, "options = dict(", "options = nothing_like_that(")
    with pytest.raises(ConfigurationError, match=r"env\.py.*nothing_like_that"):
        revision.write(config, "first", OPERATIONS)


@pytest.mark.parametrize(("line", "said"), [("def", "SyntaxError"), ("nothing", "NameError")])
def test_a_script_that_cannot_be_read_is_located(config: Config, line: str, said: str) -> None:
    (folder(config) / "broken.py").write_text(f"import os\n{line}\n")
    with pytest.raises(
        ConfigurationError, match=rf"broken\.py, line 2: {said}: .*Mend the migration, and"
    ):
        revision.write(config, "first", OPERATIONS)


def test_a_folder_that_cannot_be_written_is_named(config: Config) -> None:
    folder(config).rmdir()
    folder(config).touch()  # also root cannot write into a file
    with pytest.raises(ConfigurationError, match=r"versions.*let it be writable"):
        revision.write(config, "first", OPERATIONS)


PROGRAM = """
from alembic.config import Config
from alembic_enterprise import revision
from alembic_enterprise.partitions.operations import SetPartitionPolicy
revision.write(Config("alembic.ini"), "first", [SetPartitionPolicy("orders", "month")])
"""


def test_a_project_without_the_plugin_is_sent_to_the_doctor(
    tmp_path: Path, database_url: str
) -> None:
    """Its script would fail: Alembic would not know the operations."""
    subprocess.run(
        [sys.executable, "-m", "alembic", "init", "migrations"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    ini = tmp_path / "alembic.ini"
    url = database_url.replace("%", "%%")
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", url))
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    assert "does not import alembic_enterprise.plugin" in ended.stderr
    assert "run `alembic-enterprise doctor`" in ended.stderr
    assert list((tmp_path / "migrations" / "versions").glob("*.py")) == []
