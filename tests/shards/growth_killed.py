"""Lets tables grow in processes that end before a given statement, as SIGKILL ends them.

Reads lines of a database's URL and a number n; prints "killed" for each run that was ended before
its n-th statement that changes something, and "finished" for one that has none so far.
"""

import os
import signal
import sys
from itertools import count
from typing import Any

from growing import run
from sqlalchemy import NullPool, create_engine, event


def main() -> None:
    """Answer each line; every run is a process of its own."""
    for line in sys.stdin:
        url, number = line.split()
        process = os.fork()
        if process == 0:
            run_until(url, int(number))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "finished" if status == 0 else "failed", flush=True)  # noqa: T201  # the answer


def run_until(url: str, last: int) -> None:
    """Let the table grow, and end this process before the change number `last`."""
    engine = create_engine(url, poolclass=NullPool)
    changes = count(1)

    def listen(*given: Any) -> None:
        if given[2].startswith(("DO", "ANALYZE", "ALTER")) and next(changes) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "before_cursor_execute", listen)
    run(engine, batch=100)


if __name__ == "__main__":
    main()
