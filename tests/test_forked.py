"""Programs that are forked end, and find themselves, as others do."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from forked import Run

SCRIPT = """
import atexit, os, signal, sys, time, warnings

atexit.register(print, "the end")
print(__name__, sys.argv, sys.path, os.getcwd(), sorted(os.environ.items()), time.tzname)
print([(one.encoding, one.errors) for one in (sys.stdout, sys.stderr)], sys.stdin.read())
print([name for name in sys.modules if name.startswith("alembic_enterprise")])
print(sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__, sys.stdout.line_buffering)
print(signal.getsignal(signal.SIGINT), warnings.filters, flush=True)
{}
"""


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('a reason')", 1),
        ("1 / 0", 1),
        ("raise KeyboardInterrupt", -2),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    ],
)
def test_a_forked_program_is_one_like_any_other(
    run_forked: Run, tmp_path: Path, last: str, code: int
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(last))
    command = ["script.py", "one", "two three"]
    environment = os.environ | {"TZ": "Asia/Tokyo", "PYTHONIOENCODING": "ascii"}
    with NamedTemporaryFile("r") as output, NamedTemporaryFile("r") as error:
        streams = [os.devnull, output.name, error.name]
        assert run_forked(command, tmp_path, environment, streams) == code
        forked = output.read(), error.read().splitlines()[-1:]
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.splitlines()[-1:]) == (code, *forked)
