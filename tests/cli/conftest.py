"""Ways to run the command: in this process, or as the installed program."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from console import PROGRAM, Outcome

from alembic_enterprise.cli import main

SYSTEM = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
WITHOUT_PGBOUNCER = not (
    "REQUIRE_PGBOUNCER" in os.environ or shutil.which("pgbouncer", path=SYSTEM)
)

collect_ignore = ["test_pooling.py"] if WITHOUT_PGBOUNCER else []


def pytest_report_header() -> str | None:
    left_out = "test_pooling.py is left out: it needs pgbouncer (apt-get install pgbouncer)"
    return left_out if WITHOUT_PGBOUNCER else None


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs a command line in this process."""

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        output, error = capsys.readouterr()
        return Outcome(ended.value.code, output, error)

    return run


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Outcome]:
    """A function that runs the installed program in `tmp_path`, which is left to the test."""

    def program(*arguments: str, **environment: str) -> Outcome:
        variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        ended = subprocess.run(
            [PROGRAM, *arguments],
            cwd=tmp_path,
            env=variables | environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return Outcome(ended.returncode, ended.stdout, ended.stderr)

    return program
