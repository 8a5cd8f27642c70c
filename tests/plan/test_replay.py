"""Migrations are run, and written as SQL, from wherever the database stands."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from autogenerate import project, write_revision
from sqlalchemy import Engine, MetaData, text
from sqlalchemy.exc import CompileError, DBAPIError, NoSuchTableError, StatementError

from alembic_enterprise.errors import ConfigurationError, StepError
from alembic_enterprise.plan import revisions
from alembic_enterprise.plan.shadow import replay


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


@pytest.fixture
def config(folder: Path, engine: Engine) -> Config:
    """A project with two branches that are merged, of which one depends on the other."""
    made = project(folder, engine, MetaData())
    write_revision(folder, "a1", None, "op.execute('SELECT 1')")
    write_revision(folder, "a2", "a1", "op.execute('SELECT 2')")
    write_revision(folder, "b1", "a1", "op.execute('SELECT 3')")
    write_revision(folder, "c1", "b1", "op.execute('SELECT 4')")
    script = folder / "versions" / "c1.py"
    script.write_text(script.read_text().replace("= 'b1'", "= ('a2', 'b1')"))
    write_revision(folder, "d1", None, "op.execute('SELECT 5')")
    other = folder / "versions" / "d1.py"
    other.write_text(other.read_text().replace("def upgrade", "depends_on = 'c1'\ndef upgrade"))
    return made


@pytest.mark.parametrize(
    ("stamped", "written"),
    [([], "12345"), (["a1"], "2345"), (["a2"], "345"), (["a2", "b1"], "45"), (["c1"], "5")],
)
def test_the_sql_begins_where_the_database_stands(
    config: Config, stamped: list[str], written: str
) -> None:
    directory = ScriptDirectory.from_config(config)
    there = {script.revision for script in revisions.ordered(directory, stamped)}
    scripts = [x for x in revisions.ordered(directory, ["d1"]) if x.revision not in there]
    text = replay.offline(config, scripts, stamped)
    assert sorted(line[7] for line in text.splitlines() if line.startswith("SELECT")) == [*written]
    assert text.rstrip().endswith("COMMIT;")
    assert ("CREATE TABLE alembic_version" in text) == (not stamped)


def test_the_sql_of_one_script_begins_at_those_it_comes_after(config: Config) -> None:
    merge = ScriptDirectory.from_config(config).get_revision("c1")
    text = replay.offline(config, [merge])
    assert "DELETE FROM alembic_version WHERE alembic_version.version_num = 'a2'" in text
    assert "UPDATE alembic_version SET version_num='c1' WHERE" in text


def test_a_script_that_asks_the_database_has_no_sql(config: Config, folder: Path) -> None:
    write_revision(folder, "e1", "d1", "op.get_bind().exec_driver_sql('SELECT 1')")
    script = ScriptDirectory.from_config(config).get_revision("e1")
    with pytest.raises(StepError, match=r"^revision e1 cannot be written as SQL: .* AttributeErr"):
        replay.offline(config, [script])


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT 'secret'::int", 'invalid input syntax for type integer: "..."'),
        ("SELECT '99999999999'::int", 'value "..." is out of range for type integer'),
        ("SELECT 1 + + 'a' 'secret'", 'syntax error at or near "..."'),
        ("SELECT 1 FROM nowhere", 'relation "nowhere" does not exist'),
    ],
)
def test_the_server_is_quoted_without_values(engine: Engine, statement: str, told: str) -> None:
    with engine.connect() as connection, pytest.raises(DBAPIError) as raised:
        connection.execute(text(statement))
    assert replay.said(raised.value) == told


def test_a_connection_that_leads_there_is_not_told_of(
    config: Config, folder: Path, engine: Engine
) -> None:
    write_revision(folder, "e1", "d1", "op.execute('DROP TABLE nowhere')")
    script = ScriptDirectory.from_config(config).get_revision("e1")
    with pytest.raises(StepError) as raised:
        replay.upgrade(config, engine.url, [script])
    assert replay.REPLACED not in str(raised.value)


def test_a_constraint_without_a_name_is_told_as_such(config: Config, folder: Path) -> None:
    write_revision(folder, "e1", "d1", "op.drop_constraint(None, 'a', type_='unique')")
    script = ScriptDirectory.from_config(config).get_revision("e1")
    with pytest.raises(StepError, match="as it has no name: name it there and in the model, or gi"):
        replay.offline(config, [script])


def caused(cause: Exception, told: str) -> Exception:
    error = ConfigurationError(told)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CompileError("no renderer for 'secret'"), "CompileError of SQLAlchemy"),
        (StatementError("no date: 'secret'", None, None, None), "StatementError of SQLAlchemy"),
        (NoSuchTableError("nowhere"), "NoSuchTableError: nowhere"),
        (
            caused(KeyError("e"), "a.py, line 3: KeyError: 'e'. Mend it"),
            "a.py, line 3: KeyError. M",
        ),
        (
            caused(ValueError("the"), "a.py, line 3: ValueError: the. Mend it"),
            "a.py, line 3: ValueError. Mend it",
        ),
        (caused(TypeError("none"), "a.py, line 3: TypeError: none."), "a.py, line 3: TypeError: n"),
    ],
)
def test_errors_of_python_are_told_without_values(error: Exception, told: str) -> None:
    assert replay.said(error).startswith(told)
    assert "secret" not in replay.said(error)
    assert "'e'" not in replay.said(error)


UNTYPED = """
import sqlalchemy as sa
op.bulk_insert(sa.table("customers", sa.column("name")), [{"name": "secret"}])
"""


def test_rows_of_untyped_columns_are_no_part_of_the_error(config: Config, folder: Path) -> None:
    """SQLAlchemy cannot write them without a type, and names the value that it failed at."""
    write_revision(folder, "e1", "d1", UNTYPED)
    script = ScriptDirectory.from_config(config).get_revision("e1")
    with pytest.raises(StepError, match=r"^revision e1 cannot be written as SQL: Compile") as error:
        replay.offline(config, [script])
    assert "secret" not in str(error.value)
