"""`make demo`, run as a person would."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

DEMO = Path(__file__).parents[2] / "sample_project" / "demo.py"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that the server's account may enter."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def start(folder: Path) -> subprocess.Popen[str]:
    """Start the demo, with its temporary files in a folder, out of reach of our own signals."""
    return subprocess.Popen(
        [sys.executable, DEMO],
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_goes_as_told_and_leaves_nothing(folder: Path) -> None:
    with start(folder) as demo:
        output = demo.communicate()[0]
    assert demo.returncode == 0, output
    assert "The server is stopped and everything is removed." in output
    assert list(folder.iterdir()) == []
    assert "\033" not in output
    assert [line for line in output.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaves_nothing_when_interrupted(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C reaches the demo and the command it runs."""
    with start(folder) as demo:
        for line in demo.stdout or ():
            if line.startswith("$ alembic upgrade head"):
                os.killpg(demo.pid, number)
                break
        output = demo.communicate()[0]
    assert demo.returncode == 130, output
    assert "Traceback" not in output
    assert list(folder.iterdir()) == []
