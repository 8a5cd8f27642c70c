"""The private server starts, is reused, survives crashes and leaves nothing behind."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, LiteralString

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from alembic_enterprise.binaries import PROGRAMS, find_binaries, newest_first, run, server_account
from alembic_enterprise.errors import ServerError
from alembic_enterprise.server import Server, start_server, stop_server, temporary_server

KEEPER = """
import sys, time
from pathlib import Path
from alembic_enterprise.server import temporary_server
with temporary_server(Path(sys.argv[1])) as server:
    print(server.folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder of a server to keep; root's server could not enter a folder of pytest's."""
    parent = Path(mkdtemp(prefix="kept-"))
    parent.chmod(0o755)
    yield parent / "server"
    stop_server(parent / "server", immediately=True)
    shutil.rmtree(parent)


@pytest.fixture
def original_initdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let initdb itself make the cluster, and not the copy of one that tests/conftest.py has."""
    monkeypatch.setattr("alembic_enterprise.server.run", run)


def connect(server: Server) -> psycopg.Connection:
    return psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True)


def ask(server: Server, question: LiteralString) -> Any:
    with connect(server) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


def pid_of(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def is_running(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("original_initdb")
def test_a_temporary_server_answers_and_leaves_nothing(binaries: Path) -> None:
    with temporary_server(binaries) as server:
        pid = pid_of(server.folder)
        assert ask(server, "SHOW listen_addresses") == ""
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SELECT datcollate FROM pg_database WHERE datname = 'template1'") == "C"
    wait_until(lambda: not is_running(pid))
    assert not server.folder.exists()


def test_an_error_inside_stops_it_too(binaries: Path) -> None:
    pids: list[int] = []

    def fail() -> None:
        with temporary_server(binaries) as server:
            pids.append(pid_of(server.folder))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    wait_until(lambda: not is_running(pids[0]))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_program_leaves_nothing(binaries: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", KEEPER, str(binaries)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        folder = Path(keeper.stdout.readline().decode().strip())
        pid = pid_of(folder)
        keeper.send_signal(how)
    wait_until(lambda: not is_running(pid))
    wait_until(lambda: not folder.exists())


def test_an_interrupt_while_it_starts_leaves_nothing(binaries: Path) -> None:
    parent = Path(mkdtemp(prefix="t-"))
    parent.chmod(0o755)
    environment = os.environ | {"TMPDIR": str(parent)}
    command = [sys.executable, "-c", KEEPER, str(binaries)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as keeper:
        wait_until(lambda: bool(list(parent.glob("*/unfinished/PG_VERSION"))))
        keeper.send_signal(signal.SIGINT)
    wait_until(lambda: not any(parent.iterdir()))
    parent.rmdir()


def test_only_its_account_reaches_the_socket(binaries: Path) -> None:
    with temporary_server(binaries) as server:
        folder, (name,) = server.socket_folder, server.socket_folder.glob(".s.PGSQL.*[0-9]")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(name.stat().st_mode) == 0o700


@pytest.mark.usefixtures("original_initdb")
def test_variables_meant_for_other_servers_are_ignored(
    binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "nowhere")
    with temporary_server(binaries) as server:
        assert ask(server, "SHOW port") == "5432"


def test_a_running_server_is_reused(folder: Path, binaries: Path) -> None:
    first = start_server(folder, binaries)
    pid = pid_of(folder)
    assert start_server(str(folder), binaries) == first
    assert pid_of(folder) == pid


def test_a_stopped_server_keeps_its_data(folder: Path, binaries: Path) -> None:
    with connect(start_server(folder, binaries)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    stop_server(folder)
    assert not (folder / "data" / "postmaster.pid").exists()
    assert ask(start_server(folder, binaries), "SELECT answer FROM kept") == 42


def test_stopping_what_does_not_run_does_nothing(folder: Path) -> None:
    stop_server(folder)
    assert not (folder / "data").exists()


def test_a_killed_postmaster_is_replaced(folder: Path, binaries: Path) -> None:
    start_server(folder, binaries)
    pid = pid_of(folder)
    family = [pid, *(child.pid for child in psutil.Process(pid).children())]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(member) for member in family))
    assert (folder / "data" / "postmaster.pid").exists()
    assert ask(start_server(folder, binaries), "SELECT 1") == 1
    assert pid_of(folder) != pid


def test_a_pid_that_another_program_has_by_now_is_stale(folder: Path, binaries: Path) -> None:
    start_server(folder, binaries)
    file = folder / "data" / "postmaster.pid"
    left_behind = file.read_text().splitlines()
    stop_server(folder)
    file.write_text("\n".join([str(os.getpid()), *left_behind[1:], ""]))
    stop_server(folder)
    assert ask(start_server(folder, binaries), "SELECT 1") == 1


def test_a_server_whose_socket_was_swept_away_is_restarted(folder: Path, binaries: Path) -> None:
    server = start_server(folder, binaries)
    (server.socket_folder / ".s.PGSQL.5432").unlink()
    assert ask(start_server(folder, binaries), "SELECT 1") == 1


def test_a_deep_folder_has_its_socket_elsewhere(folder: Path, binaries: Path) -> None:
    deep = folder.parent / ("d" * 100)
    server = start_server(deep, binaries)
    try:
        assert ask(server, "SELECT 1") == 1
        assert start_server(deep, binaries).socket_folder == server.socket_folder != deep
    finally:
        stop_server(deep, immediately=True)
    assert not server.socket_folder.exists()


def test_a_server_that_cannot_start_shows_its_log(folder: Path, binaries: Path) -> None:
    start_server(folder, binaries)
    stop_server(folder)
    with (folder / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("nonsense = on\n")
    with pytest.raises(ServerError, match='unrecognized configuration parameter "nonsense"'):
        start_server(folder, binaries)


def test_a_folder_that_its_account_may_not_write_to_is_refused(
    folder: Path, binaries: Path
) -> None:
    folder.mkdir()
    (folder / "something").touch()
    folder.chmod(0o500)
    with pytest.raises(ServerError, match=r"who may not write to .* Choose another folder"):
        start_server(folder, binaries)


def test_its_account_is_ours_or_for_root_another(binaries: Path) -> None:
    account = server_account()
    expected = os.geteuid() if account is None else account.pw_uid
    assert expected != 0
    with temporary_server(binaries) as server:
        assert psutil.Process(pid_of(server.folder)).uids().effective == expected


def copy_installation(binaries: Path, folder: Path) -> Path:
    """Copy binaries with the libraries that a wheel keeps beside their package."""
    installation = binaries.parent
    packages = installation.parent.parent
    for source in (installation, *packages.glob(f"{installation.parent.name}.libs")):
        shutil.copytree(source, folder / source.relative_to(packages), symlinks=True)
    return folder / binaries.relative_to(packages)


@pytest.mark.usefixtures("original_initdb")
def test_binaries_in_a_closed_folder_can_be_used(tmp_path: Path, binaries: Path) -> None:
    """As in the virtual environment of a project under root's home, which only root may enter."""
    copy = copy_installation(binaries, tmp_path / "closed")
    (tmp_path / "closed").chmod(0o700)
    with temporary_server(copy) as server:
        assert ask(server, "SELECT 1") == 1
    assert not server.folder.exists()


@pytest.mark.usefixtures("original_initdb")
def test_binaries_that_only_root_may_read_can_be_used(tmp_path: Path, binaries: Path) -> None:
    """As pip installs them when root's umask is 077."""
    copy = copy_installation(binaries, tmp_path / "private")
    for path in (tmp_path / "private").rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    with temporary_server(copy) as server:
        assert ask(server, "SELECT 1") == 1
    assert not server.folder.exists()


def test_a_folder_without_binaries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="does not hold initdb, pg_ctl, postgres"):
        find_binaries(tmp_path)


def test_a_machine_without_binaries_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"pip install '\.\[embedded\]'` in a checkout"):
        find_binaries(candidates=[tmp_path])


def test_the_first_complete_folder_is_taken(tmp_path: Path) -> None:
    partial, complete, later = (tmp_path / name for name in ("partial", "complete", "later"))
    for folder, programs in ((partial, PROGRAMS[:1]), (complete, PROGRAMS), (later, PROGRAMS)):
        folder.mkdir()
        for program in programs:
            (folder / program).touch(mode=0o755)
    assert find_binaries(candidates=[partial, complete, later]) == complete


def test_folders_are_sorted_by_version() -> None:
    versions = ["/usr/lib/postgresql/9.6/bin", "/opt/postgresql@17/bin", "/opt/postgresql@14/bin"]
    assert newest_first(map(Path, versions)) == [Path(versions[i]) for i in (1, 2, 0)]


def test_the_url_is_understood_by_sqlalchemy() -> None:
    url = make_url(Server(Path("/a"), Path("/b c/d"), Path("/e")).url("shop"))
    assert url.drivername == "postgresql+psycopg"
    assert (url.username, url.database) == ("postgres", "shop")
    assert dict(url.query) == {"host": "/b c/d", "port": "5432"}
