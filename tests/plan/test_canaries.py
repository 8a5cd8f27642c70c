"""What a plan leans on inside Alembic: a release that changes one of these fails here, by name."""

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from alembic.autogenerate import RevisionContext
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op_text
from alembic.config import Config
from alembic.operations.ops import AddColumnOp
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory, write_hooks
from autogenerate import project, write_revision
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table

ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(("branch_label", "version_path", "rev_id", "depends_on")),
    "message": "later",
    "autogenerate": True,
    "sql": False,
    "head": "head",
    "splice": False,
}


@pytest.fixture
def config(engine: Engine, tmp_path: Path) -> Config:
    models = MetaData()
    Table("orders", models, Column("id", Integer, primary_key=True))
    return project(tmp_path / "migrations", engine, models)


@pytest.fixture
def directory(config: Config) -> ScriptDirectory:
    return ScriptDirectory.from_config(config)


def visited(config: Config, directory: ScriptDirectory, work: Callable[..., Any]) -> None:
    """Run env.py with a function in the place of the migrations."""
    with EnvironmentContext(config, directory, fn=work, dont_mutate=True, template_args={}):
        directory.run_env()


def nothing(_revision: object, _context: object) -> list[Any]:
    """Run no migration."""
    return []


def compared(config: Config, directory: ScriptDirectory) -> RevisionContext:
    """What `alembic revision --autogenerate` makes before it writes."""
    revision = RevisionContext(config, directory, ARGUMENTS)

    def work(_revision: object, context: MigrationContext) -> list[Any]:
        revision.run_autogenerate(context.get_current_heads(), context)
        return []

    visited(config, directory, work)
    return revision


def test_canary_a_revision_context_runs_autogenerate_and_writes_later(
    config: Config, directory: ScriptDirectory, tmp_path: Path
) -> None:
    """Into another folder at first, and then into that of the project, by other directories."""
    revision = compared(config, directory)
    [directive] = revision.generated_revisions
    [upgrade] = directive.upgrade_ops_list
    assert [type(item).__name__ for item in upgrade.ops] == ["CreateTableOp"]
    for folder in (tmp_path / "elsewhere", tmp_path / "migrations" / "versions"):
        folder.mkdir(exist_ok=True)
        places = [str(tmp_path / "migrations" / "versions"), str(folder)]
        extra: Any = copy(config)
        extra.get_version_locations_list = partial(list, places)
        revision.script_directory = ScriptDirectory.from_config(extra)
        directive.version_path = str(folder)
        [script] = revision.generate_scripts()
        assert script is not None
        assert Path(script.path).parent == folder
        Path(script.path).unlink()


def test_canary_a_visit_leaves_the_version_table_alone(
    config: Config, directory: ScriptDirectory, connection: Connection
) -> None:
    compared(config, directory)
    found = connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar()
    assert found is None


def test_canary_a_migration_step_is_made_of_a_script_and_run_by_env_py(
    config: Config, directory: ScriptDirectory, connection: Connection, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write_revision(folder, "0001", None, 'op.execute("CREATE TABLE orders (id int)")')
    script = directory.get_revision("0001")
    ways = MigrationStep.upgrade_from_script, MigrationStep.downgrade_from_script
    stamped: list[object] = []
    for way in ways:

        def steps(_revision: object, _context: object, way: Any = way) -> Iterator[Any]:
            yield way(directory.revision_map, script)

        with EnvironmentContext(config, directory, fn=steps, as_sql=False):
            directory.run_env()
        stamped.append(
            connection.exec_driver_sql(
                "SELECT array_agg(version_num) FROM alembic_version"
            ).scalar()
        )
        connection.rollback()
    assert stamped == [["0001"], None]


def test_canary_hooks_are_a_list_of_the_directory_and_called_with_path_and_options(
    config: Config, directory: ScriptDirectory
) -> None:
    seen: list[tuple[str, str]] = []

    def hook(path: str, options: dict[str, str]) -> None:
        seen.append((Path(path).suffix, options["summary"]))

    register = cast("Callable[[str], Callable[[Any], Any]]", write_hooks.register)
    register("alembic_enterprise.canary")(hook)
    revision = compared(config, directory)
    named: Any = {"_hook_name": "a canary", "type": "alembic_enterprise.canary", "summary": "x"}
    directory.hooks = [named, *directory.hooks]
    [_] = revision.generate_scripts()
    assert seen == [(".py", "x")]


def test_canary_an_environment_lets_its_configure_be_replaced(
    config: Config, directory: ScriptDirectory
) -> None:
    """So a migration runs on another connection than the one that env.py gives."""
    given: list[object] = []
    environment: Any = EnvironmentContext(config, directory, fn=nothing, dont_mutate=True)
    configure = environment.configure

    def replaced(connection: Connection, **options: Any) -> None:
        given.append(connection)
        configure(connection, **options)

    environment.configure = replaced
    with environment:
        directory.run_env()
    assert [type(connection) for connection in given] == [Connection]


def test_canary_run_migrations_asks_the_context_for_its_heads(
    config: Config, directory: ScriptDirectory
) -> None:
    """So a visit answers in the place of `alembic_version`, which not every role may read."""
    found: list[object] = []

    def work(revision: object, context: MigrationContext) -> list[Any]:
        vars(context).pop("get_current_heads")
        found.extend([revision, context.get_current_heads()])
        return []

    environment: Any = EnvironmentContext(config, directory, fn=work, dont_mutate=True)
    configure = environment.configure

    def answering(connection: Connection, **options: Any) -> None:
        configure(connection, **options)
        environment.get_context().get_current_heads = lambda: ("asked",)

    environment.configure = answering
    with environment:
        directory.run_env()
    assert found == [("asked",), ()]


def test_canary_an_operation_is_rendered_by_itself(
    config: Config, directory: ScriptDirectory
) -> None:
    def work(_revision: object, context: MigrationContext) -> list[Any]:
        rendering = AutogenContext(context, autogenerate=False)
        text = render_op_text(rendering, AddColumnOp("orders", Column("n", Integer)))
        assert text == "op.add_column('orders', sa.Column('n', sa.Integer(), nullable=True))"
        return []

    visited(config, directory, work)
