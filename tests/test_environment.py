"""Connections of a URL, and of an env.py."""

import asyncio
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.config import Config
from psycopg.sql import SQL
from sqlalchemy import Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from alembic_enterprise import sql
from alembic_enterprise.asynchronous import noted, translated, without_asyncio
from alembic_enterprise.environment import Visit, configuration, visit
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.urls import connected, engine_of, parse

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


async def led(given: AsyncEngine) -> Engine:
    """What takes the place of an asyncio engine."""
    with noted():
        async with given.connect() as connection:
            return await connection.run_sync(without_asyncio)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_an_engine_of_asyncio_is_replaced_by_one_as_of_a_url(
    database_url: str, driver: str
) -> None:
    """Its statements are not prepared: behind a pooler they would be lost, or found twice."""
    url = make_url(database_url)
    given = create_async_engine(url.set(drivername=f"postgresql+{driver}"), poolclass=NullPool)
    for engine in (asyncio.run(led(given)), engine_of(parse(database_url))):
        with engine.connect() as connection:
            own: Any = connection.connection.dbapi_connection
            assert isinstance(own, psycopg.Connection)
            assert own.prepare_threshold is None
    plain = create_engine(url, poolclass=NullPool)
    with plain.connect() as connection:
        assert without_asyncio(connection) is plain


SESSION = SQL("SELECT current_database(), current_user, current_setting('shop.name')")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_it_leads_to_where_env_py_leads(database_url: str, role: str, driver: str) -> None:
    """By arguments of the driver, and by what events change in them, or in the session."""
    url = make_url(database_url)
    settings = {"shop.name": r"a \b"}
    options = {"options": r"-c shop.name=a\ \\b"}
    given = create_async_engine(
        url.set(drivername=f"postgresql+{driver}", database="nowhere"),
        connect_args={"server_settings": settings} if driver == "asyncpg" else options,
        poolclass=NullPool,
    )

    def connecting(_dialect: object, _record: object, _arguments: object, more: Any) -> None:
        more["database" if driver == "asyncpg" else "dbname"] = url.database

    def begin(own: Any, _record: object) -> None:
        own.cursor().execute(f"SET ROLE {role}")
        own.commit()

    event.listen(given.sync_engine, "do_connect", connecting)
    event.listen(given.sync_engine, "connect", begin)
    with asyncio.run(led(given)).connect() as connection:
        assert sql.rows(connection, SESSION) == [(url.database, role, r"a \b")]


@pytest.mark.skipif(
    version("sqlalchemy").startswith("2.0.0"), reason="SQLAlchemy has async_creator since 2.0.16"
)
def test_it_leads_to_where_a_function_of_env_py_leads(database_url: str) -> None:
    """Psycopg tells where it has connected to."""
    address = database_url.replace("+psycopg", "")

    async def creator() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(address)

    url = "postgresql+psycopg://nobody@nowhere/"
    given = create_async_engine(url, async_creator=creator, poolclass=NullPool)
    with asyncio.run(led(given)).connect() as connection:
        found = sql.rows(connection, SQL("SELECT current_database()"))
    assert found == [(make_url(database_url).database,)]


UNCHECKED = ssl.create_default_context()
UNCHECKED.check_hostname = False
UNCHECKED.verify_mode = ssl.CERT_NONE


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"host": ["a", "b"], "port": [1, 2]}, {"host": "a,b", "port": "1,2"}),
        ({"user": "me", "password": "secret"}, {"user": "me", "password": "secret"}),
        ({"ssl": "verify-full"}, {"sslmode": "verify-full"}),
        ({"ssl": UNCHECKED}, {"sslmode": "require"}),
        ({"ssl": False}, {"sslmode": "disable"}),
        ({"statement_cache_size": 0, "timeout": 5, "passfile": None}, {}),
    ],
)
def test_arguments_of_asyncpg_are_translated(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert translated(given) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dsn": "postgresql://h/d"}, "gives asyncpg a dsn, which is its own: give --url, or let"),
        ({"password": lambda: "secret"}, "a function for the password"),
        ({"ssl": True}, "with sslmode=verify-full and sslrootcert=FILE"),
    ],
)
def test_what_asyncpg_alone_knows_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        translated(given)


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


def test_an_env_that_ends_the_program_is_told(folder: Path, database_url: str) -> None:
    with environment(folder, database_url) as config:
        (folder / "env.py").write_text("import sys\nsys.exit(0)\n")
        with pytest.raises(ConfigurationError, match=r"env.py, line 2: SystemExit: 0. Mend it; "):
            visit(config, lambda found: found)


def test_an_env_that_ends_the_program_for_an_error_hides_none(
    folder: Path, database_url: str
) -> None:
    def fail(_visit: Visit) -> None:
        raise LookupError("mine")

    with environment(folder, database_url) as config:
        run = "context.run_migrations()"
        lines = (folder / "env.py").read_text().splitlines()
        [line] = [line for line in lines if run in line]
        margin = line.removesuffix(run)
        hides = [f"try:\n{margin}    {run}", "except Exception:", "    raise SystemExit(0)"]
        text = "\n".join(lines).replace(line, "\n".join(margin + each for each in hides))
        (folder / "env.py").write_text(text)
        with pytest.raises(LookupError, match="mine"):
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


LEFT_OPEN = """
from alembic import context
from sqlalchemy import NullPool, create_engine, event

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool)

@event.listens_for(engine, "connect")
def connected(driver, record):
    driver.cursor().execute("SET search_path TO public")

with engine.connect() as connection:
    connection.exec_driver_sql("CREATE SCHEMA made_by_env")
"""


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_env_that_leaves_a_transaction_open_is_read_only_as_well(
    folder: Path, database_url: str, driver: str
) -> None:
    with environment(folder, database_url.replace("psycopg", driver)) as config:
        (folder / "env.py").write_text(LEFT_OPEN)
        with pytest.raises(DBAPIError, match="cannot execute CREATE SCHEMA in a read-only transac"):
            visit(config, lambda found: found, reads=True)


AUTOCOMMIT = """
from alembic import context
from sqlalchemy import NullPool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

url = context.config.get_main_option("sqlalchemy.url")
engine = {create}(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
    connection.exec_driver_sql("CREATE TABLE made_by_env (id int)")
"""

PLAIN = """
with engine.connect() as connection:
    run(connection)
"""

ASYNCIO = """
import asyncio

async def main():
    async with engine.connect() as connection:
        await connection.run_sync(run)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("driver", "text"),
    [
        ("psycopg", AUTOCOMMIT.format(create="create_engine") + PLAIN),
        ("psycopg2", AUTOCOMMIT.format(create="create_engine") + PLAIN),
        ("psycopg", AUTOCOMMIT.format(create="create_async_engine") + ASYNCIO),
        ("asyncpg", AUTOCOMMIT.format(create="create_async_engine") + ASYNCIO),
    ],
    ids=["psycopg", "psycopg2", "psycopg with asyncio", "asyncpg"],
)
def test_an_env_in_autocommit_is_read_only_also_after_the_visit(
    folder: Path, database_url: str, driver: str, text: str
) -> None:
    """Also when nothing has been sent through its connection before; what we connect may write."""

    def write(found: Visit) -> None:
        with found.engine.begin() as other:
            other.exec_driver_sql("CREATE TABLE made_by_us (id int)")

    with environment(folder, database_url.replace("psycopg", driver)) as config:
        (folder / "env.py").write_text(text)
        with pytest.raises(DBAPIError, match="cannot execute CREATE TABLE in a read-only trans"):
            visit(config, write, reads=True)
    with connected(parse(database_url)) as connection:
        made = SQL("SELECT relname FROM pg_class WHERE relname ~ '^made_by_'")
        assert sql.rows(connection, made) == [("made_by_us",)]
