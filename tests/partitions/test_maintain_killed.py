"""A run killed between any two statements, or with its server, is finished by the next."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import killed
import laws
import psutil
import pytest
from autogenerate import run_sql
from psycopg.sql import SQL, Identifier
from scheduled import NOW, before, done, insert, names, only, run, table
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url

from alembic_enterprise import sql
from alembic_enterprise.binaries import find_binaries
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions.advise import advise
from alembic_enterprise.partitions.inspection import inspect
from alembic_enterprise.server import start_server, stop_server, temporary_server

SPAN = ("2026-09-01", "2026-12-01")


def beside_a_default(connection: Connection) -> None:
    """Guard, validate, create, unguard; a detach that locks; a drop."""
    table(connection, "events", *SPAN, retain=1, default=True, on_expire="drop", hold=0)
    insert(connection, "2026-09-09Z", "2026-10-10Z", "2020-01-01Z")


def archived(connection: Connection) -> None:
    """A concurrent detach, and a move to another schema."""
    run_sql(connection, "CREATE SCHEMA old")
    table(connection, "events", *SPAN, retain=1, on_expire="archive", archive="old")
    insert(connection, "2026-09-09Z", "2026-10-10Z")


def referring(connection: Connection) -> None:
    """A foreign key to let go of."""
    table(connection, "events", *SPAN, retain=1)
    columns = (
        "id bigint, at {} NOT NULL, PRIMARY KEY (id, at),"
        " FOREIGN KEY (id, at) REFERENCES events (id, at)"
    )
    table(connection, "items", *SPAN, columns=columns, retain=1)
    insert(connection, "2026-09-09Z", "2026-10-10Z")
    insert(connection, "2026-09-09Z", "2026-10-10Z", table="items")


@pytest.fixture(scope="module")
def killer() -> Iterator[Callable[[str, int], str]]:
    """A function that runs the job in a process that is killed before its n-th change."""
    with killed.killer("maintain") as run_until:
        yield run_until


@pytest.mark.parametrize("prepare", [beside_a_default, archived, referring])
def test_a_run_killed_before_any_statement_is_made_up_for_by_the_next(
    database_url: str,
    other_database: Callable[..., str],
    killer: Callable[[str, int], str],
    prepare: Callable[[Connection], None],
) -> None:
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.connect() as connection:
        prepare(connection)
    original = make_url(database_url).database
    whole = state_after_a_run(other_database(original))
    for number in range(1, 100):
        url = other_database(original)
        if killer(url, number) != "killed":
            break
        assert state_after_a_run(url) == whole, f"killed before change {number}"
    else:
        pytest.fail("the run has no end")
    assert number > 5
    assert state_after_a_run(url) == whole


def state_after_a_run(url: str) -> dict[str, Any]:
    """The catalog and all rows after one more run, which leaves nothing to do."""
    engine = create_engine(url, poolclass=NullPool)
    report = run(engine, drop_detached=True)
    assert report.exit_code(1) == 0, report
    assert all(item.done == [] for item in run(engine, drop_detached=True).tables)
    with engine.connect() as connection:
        found = laws.snapshot(connection)
        relations = {name for name, kind, *_ in found["relations"] if kind == "r"}
        found["rows"] = {name: rows_of(connection, name) for name in relations}
        return found


def rows_of(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    parts = [Identifier(part) for part in name.split(".")]
    return sorted(sql.rows(connection, SQL("SELECT * FROM {}").format(SQL(".").join(parts))))


# --- Servers of their own


@pytest.fixture
def binaries(request: pytest.FixtureRequest) -> Path:
    """The binaries under test; with a server by URL, those of the wheel or the machine."""
    server = str(request.config.getoption("--server"))
    return find_binaries(None if server == "embedded" or "://" in server else Path(server))


def to(url: str, options: str = "") -> Engine:
    return create_engine(url, poolclass=NullPool, connect_args={"options": options})


def test_a_server_killed_in_the_middle_is_reported_and_made_up_for(binaries: Path) -> None:
    with temporary_server(binaries) as server:
        # A server started for tests would lose what was committed last.
        engine = to(server.url(), "-c synchronous_commit=on")
        with engine.connect() as connection:
            beside_a_default(connection)
        postmaster = psutil.Process(
            int((server.folder / "data/postmaster.pid").read_text().split()[0])
        )

        def kill(_worker: Connection) -> None:
            processes = [postmaster, *postmaster.children(recursive=True)]
            for process in processes:
                with suppress(psutil.NoSuchProcess):  # it may have seen that the first one is gone
                    process.kill()
            psutil.wait_procs(processes)

        before(engine, "DO", kill)  # with the guard in place
        report = run(engine)
        assert "create 2026-12-01 to 2027-01-01: " in "\n".join(only(report).problems)
        assert report.exit_code(0) == 2
        again = to(start_server(server.folder, binaries).url())
        assert done(run(again))[0] == "unguard public.events_default"
        assert done(run(again)) == []
        with again.connect() as connection:
            assert names(connection) == ["default", "y2026_m10", "y2026_m11", "y2026_m12"]


def test_a_replica_is_told_and_can_be_checked(binaries: Path) -> None:
    with temporary_server(binaries) as server:
        with to(server.url()).connect() as connection:
            table(connection, start="2026-11-01", stop="2026-12-01")
        stop_server(server.folder)
        (server.folder / "data/standby.signal").touch()  # a standby without a primary
        engine = to(start_server(server.folder, binaries).url())
        with pytest.raises(ConfigurationError, match="read-only replica: give the URL of the prim"):
            run(engine)
        with engine.connect() as connection:
            (inspected,) = inspect(connection, now=NOW)
        assert [found.rule for found in advise(inspected)] == [
            "headroom-short",
            "partitions-missing",
        ]
