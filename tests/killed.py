"""Runs of a job in processes that end before a given statement, as SIGKILL ends them.

with killer("grow") as run_until:
    assert run_until(url, 3) == "killed"  # before its third change

As a program it reads lines of a database's URL and a number n, and answers "killed" for a run that
was ended before its n-th statement that changes something, and "finished" for one with fewer.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import constrained
import growing
import indexed
import scheduled
from sqlalchemy import Engine, NullPool, create_engine, event

RUNS: dict[str, Callable[[Engine], object]] = {
    **constrained.RUNS,
    "create index": indexed.create,
    "grow": lambda engine: growing.run(engine, batch=100),
    "maintain": lambda engine: scheduled.run(engine, drop_detached=True),
}


@contextmanager
def killer(job: str) -> Generator[Callable[[str, int], str]]:
    """A function that lets one of `RUNS` work on a database until its n-th change."""
    with subprocess.Popen(
        [sys.executable, __file__, job],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parent)},
    ) as process:

        def ask(url: str, number: int) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{url} {number}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield ask
        process.kill()


def main() -> None:
    """Answer each line; every run is a process of its own."""
    for line in sys.stdin:
        url, number = line.split()
        process = os.fork()
        if process == 0:
            run_until(url, int(number), RUNS[sys.argv[1]])
            os._exit(0)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "finished" if status == 0 else "failed", flush=True)  # noqa: T201  # the answer


def run_until(url: str, last: int, run: Callable[[Engine], object]) -> None:
    """Run a job, and end this process before the change number `last`."""
    name = {"application_name": str(os.getpid())}  # so that a test can kill it at any moment
    engine = create_engine(url, poolclass=NullPool, connect_args=name)
    changes = count(1)

    def listen(*given: Any) -> None:
        looks = given[2].lstrip().startswith(("SELECT", "WITH"))
        if not looks and next(changes) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "before_cursor_execute", listen)
    run(engine)


if __name__ == "__main__":
    main()
