"""pg_cron runs the rendered jobs, both by connections and by background workers."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from console import PROGRAM

from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import SetPartitionPolicy
from alembic_enterprise.server import Server, start_server, stop_server
from alembic_enterprise.sql import Name, text_of

NAMES = (Name("public", "events"), Name("public", "$job$ 'a' %s :b \\"))

Connect = Callable[[str], psycopg.Connection]


def binaries() -> Path:
    """A server of Debian that has pg_cron."""
    for found in Path("/usr/lib/postgresql").glob("*/lib/pg_cron.so"):
        return found.parent.parent / "bin"
    pytest.fail("pg_cron is missing: apt-get install postgresql-15-cron, or .ci/packages as root")


@pytest.fixture(params=["connections", "workers"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with pg_cron in database postgres, which runs jobs in either way."""
    with TemporaryDirectory(prefix="pg-cron-") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "server"
        start_server(folder, binaries())
        stop_server(folder)
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"""
                shared_preload_libraries = 'pg_cron'
                cron.use_background_workers = {request.param == "workers"}
                cron.host = '{folder}'
            """)
        try:
            yield start_server(folder, binaries())
        finally:
            stop_server(folder, immediately=True)


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    opened: list[psycopg.Connection] = []

    def connect(database: str) -> psycopg.Connection:
        url = server.url(database).replace("+psycopg", "")
        opened.append(psycopg.connect(url, autocommit=True))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def make_tables(connection: psycopg.Connection) -> None:
    for name in NAMES:
        text = f"CREATE TABLE {name.text} (at date NOT NULL) PARTITION BY RANGE (at)"
        connection.execute(text.encode())
        for statement in SetPartitionPolicy.of(name, Policy("month", 2)).statements():
            connection.execute(text_of(statement).encode())


def render(server: Server, database: str) -> str:
    options = ("--schedule", "* * * * *", "--url", server.url(database))
    return subprocess.check_output([PROGRAM, "jobs", "render", "pg_cron", *options], text=True)


def wait_for_runs(connection: psycopg.Connection, count: int) -> list[tuple[object, ...]]:
    """Database, status and message of the first run of each job, once so many have ended."""
    query = (
        "SELECT DISTINCT ON (jobid) database, status, return_message FROM cron.job_run_details"
        " WHERE status IN ('succeeded', 'failed') ORDER BY jobid, runid"
    )
    deadline = time.monotonic() + 150  # seconds; jobs begin with the minute
    while True:
        runs = connection.execute(query).fetchall()
        if len(runs) >= count:
            return runs
        assert time.monotonic() < deadline, f"pg_cron has not run {count} jobs yet: {runs}"
        time.sleep(1)


def partitions(connection: psycopg.Connection) -> int:
    (row,) = connection.execute("SELECT count(*) FROM pg_inherits").fetchall()
    return int(row[0])


def test_jobs_run_in_pg_cron_s_database_and_in_another(server: Server, connect: Connect) -> None:
    control = connect("postgres")
    control.execute("CREATE EXTENSION pg_cron")
    control.execute("CREATE DATABASE shop")
    shop = connect("shop")
    for database, connection in (("postgres", control), ("shop", shop)):
        make_tables(connection)
        text = render(server, database)
        assert ("cron.schedule_in_database(" in text) == (database == "shop")
        control.execute(text.encode())
    runs = wait_for_runs(control, 4)
    assert {run[1] for run in runs} == {"succeeded"}, runs
    assert {run[0] for run in runs} == {"postgres", "shop"}
    assert (partitions(control), partitions(shop)) == (6, 6)
