"""Python programs in processes that have imported Alembic, SQLAlchemy and psycopg already.

with forking() as run:
    assert run([PROGRAM, "doctor"], folder, os.environ, [os.devnull, "output", "error"]) == 0

To import them takes a process half a second of computing, more than most commands do. So one
process does, and forks for each program. It imports nothing of ours, which each does as ever.
What Python reads when it begins is as it was: of its variables only PYTHONIOENCODING has effect.

As a program it reads lines of JSON, and answers each with the exit code of the program in it.
"""

import gc
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

IMPORTED = (
    "alembic.command",
    "alembic.config",
    "click",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.orm",
)

Run = Callable[[Sequence[str | Path], Path, Mapping[str, str], Sequence[str | Path]], int]
"""A script and its arguments, a folder, the environment, and the files that are its streams."""


@contextmanager
def forking() -> Generator[Run]:
    """A function that runs a Python script, and returns its exit code as `subprocess` has it."""
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:

        def run(
            command: Sequence[str | Path],
            folder: Path,
            environment: Mapping[str, str],
            streams: Sequence[str | Path],
        ) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            asked = [[*map(str, command)], str(folder), {**environment}, [*map(str, streams)]]
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run


def main() -> None:
    """Run the program of each line in a process of its own, which ends as any other does."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # a collection would copy what each fork shares with this process
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            become(*json.loads(line))
            return
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201  # the answer


def become(
    command: list[str], folder: str, environment: dict[str, str], streams: list[str]
) -> None:
    """Let this process be that of a program."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, name in enumerate(streams):
        file = os.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    # The streams stay what they are: Alembic, when it is imported, keeps the standard output.
    encoding = environment.get("PYTHONIOENCODING")
    output, error = sys.stdout, sys.stderr
    assert isinstance(output, TextIOWrapper)
    assert isinstance(error, TextIOWrapper)
    output.reconfigure(encoding=encoding, line_buffering=output.isatty())
    error.reconfigure(encoding=encoding, errors=error.errors)
    sys.argv = command
    sys.path[0] = str(Path(command[0]).resolve().parent)
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
