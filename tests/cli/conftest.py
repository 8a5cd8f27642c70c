"""Ways to run the command: in this process, or as the installed program."""

import os
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import BytesIO, TextIOWrapper
from pathlib import Path

import console
import poolers
import pytest
from console import PROGRAM, Outcome, in_files
from forked import Run
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
def program(tmp_path: Path, run_forked: Run) -> Callable[..., Outcome]:
    """A function that runs the installed program in `tmp_path`, which is left to the test."""

    def program(*arguments: str, **environment: str) -> Outcome:
        return in_files(run_forked, tmp_path, [PROGRAM, *arguments], **environment)

    return program


@pytest.fixture
def in_terminal(run_forked: Run) -> Callable[..., str]:
    """A function that runs the installed program in a terminal, and returns what it writes."""
    return partial(console.in_terminal, run_forked)


@pytest.fixture
def shop(here: Path, database_url: str, binaries: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose database is in order; its shadow is of the same PostgreSQL."""
    monkeypatch.setenv("PATH", f"{binaries}:{os.environ['PATH']}")
    return begun(here, database_url)
