"""Ways to run the command: in this process, or as the installed program."""

import os
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path

import poolers
import pytest
from console import PROGRAM, Outcome
from reviewed import Project, begun

from alembic_enterprise.cli import main

collect_ignore = ["test_pooling.py"] if poolers.LEFT_OUT else []


def pytest_report_header() -> str | None:
    left_out = "tests of pooling are left out: they need pgbouncer (apt-get install pgbouncer)"
    return left_out if poolers.LEFT_OUT else None


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs a command line in this process."""

    def run(*arguments: str, encoding: str = "utf-8") -> Outcome:
        output = TextIOWrapper(BytesIO(), encoding)
        with redirect_stdout(output), pytest.raises(SystemExit) as ended:
            main(arguments)
        output.seek(0)
        return Outcome(ended.value.code, output.read(), capsys.readouterr().err)

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands run, which is left to the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@pytest.fixture
def shop(here: Path, database_url: str, binaries: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose database is in order; its shadow is of the same PostgreSQL."""
    monkeypatch.setenv("PATH", f"{binaries}:{os.environ['PATH']}")
    return begun(here, database_url)
