"""Connections of a URL, and of an env.py."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.config import Config

from alembic_enterprise.environment import Visit, configuration, connected, parse, visit
from alembic_enterprise.errors import ConfigurationError

ENV = """
from alembic import context
from sqlalchemy import NullPool, create_engine

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool)
with engine.{connect}() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d", "postgresql+psycopg://h/d"),
        ("postgres://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg_async://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg2://h/d"),
    ],
)
def test_a_url_gets_the_driver_that_is_installed(url: str, expected: str) -> None:
    assert parse(url).render_as_string() == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("shop", "cannot be read: write postgresql://"),
        ("postgresql://h:port/d", "cannot be read: write postgresql://"),
        ("sqlite://", "not a PostgreSQL one"),
        ("postgresql://me:p@ss@h/d", "write the one in the password as %40"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_to_write(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        parse(url)
    assert url not in str(raised.value)


def test_a_url_whose_driver_is_not_there_says_what_to_write() -> None:
    message = "the driver of the URL, nobodys, cannot be loaded .*: write .*, or install it"
    with (
        pytest.raises(ConfigurationError, match=message) as raised,
        connected(parse("postgresql+nobodys://me:secret@h/d")),
    ):
        pass
    assert "secret" not in str(raised.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALEMBIC_CONFIG", raising=False)
    return tmp_path


def chosen(*files: str) -> tuple[str | None, str | None]:
    config = configuration(files, "alembic", [])
    return config.config_file_name, config.toml_file_name


def test_files_are_chosen_as_alembic_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alembic.ini", "other.ini", "third.ini"):
        (folder / name).write_text("[alembic]\n")
    assert chosen() == ("alembic.ini", "pyproject.toml")
    assert chosen("other.ini") == ("other.ini", "pyproject.toml")
    assert chosen("x/pyproject.toml", "other.ini") == ("other.ini", "x/pyproject.toml")
    monkeypatch.setenv("ALEMBIC_CONFIG", "third.ini")
    assert chosen() == ("third.ini", "pyproject.toml")
    assert chosen("other.ini") == ("other.ini", "pyproject.toml")


def test_a_pyproject_with_a_section_of_alembic_suffices(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.other]\n")
    with pytest.raises(ConfigurationError, match=r"there is no alembic\.ini here"):
        chosen()
    (folder / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "m"\n')
    assert chosen() == ("alembic.ini", "pyproject.toml")


@contextmanager
def environment(folder: Path, url: str, connect: str = "connect") -> Generator[Config]:
    (folder / "env.py").write_text(ENV.format(connect=connect))
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    yield config


@pytest.mark.parametrize(("connect", "expected"), [("connect", False), ("begin", True)])
def test_alembic_lets_us_watch_configure(
    folder: Path, database_url: str, connect: str, expected: bool
) -> None:
    """A canary: env.py calls the function set on our instance of EnvironmentContext."""
    with environment(folder, database_url, connect) as config:
        assert visit(config, lambda found: found.in_transaction) is expected


def test_nothing_is_written_by_a_visit(folder: Path, database_url: str) -> None:
    """Not even the version table."""

    def tables(found: Visit) -> list[str]:
        query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        return list(found.connection.exec_driver_sql(query).scalars())

    with environment(folder, database_url) as config:
        assert visit(config, tables) == []
        assert visit(config, tables) == []


def test_an_error_of_the_function_stays_what_it_is(folder: Path, database_url: str) -> None:
    def fail(_visit: Visit) -> None:
        raise LookupError("mine")

    with environment(folder, database_url) as config, pytest.raises(LookupError, match="mine"):
        visit(config, fail)


def test_an_env_that_runs_no_migrations_is_told(folder: Path) -> None:
    (folder / "env.py").write_text("")
    config = Config()
    config.set_main_option("script_location", str(folder))
    with pytest.raises(ConfigurationError, match=r"0 times"):
        visit(config, lambda found: found)


def test_an_env_without_a_connection_is_told(folder: Path) -> None:
    (folder / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(dialect_name='postgresql')\n"
        "context.run_migrations()\n"
    )
    config = Config()
    config.set_main_option("script_location", str(folder))
    with pytest.raises(ConfigurationError, match=r"no connection: add connection="):
        visit(config, lambda found: found)


def test_an_env_of_several_databases_is_told_of_the_one_that_is_none_of_ours(folder: Path) -> None:
    with (
        environment(folder, "sqlite://") as config,
        pytest.raises(ConfigurationError, match=r"to sqlite, not .* give --url URL for the one"),
    ):
        visit(config, lambda found: found)
