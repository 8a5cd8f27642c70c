"""What the benchmarks share; `make bench` passes over it, for its name.

They import it as `bench._shared`, for `make install` leaves the project's folder on the path. With
`bench` itself there, mypy would find two modules named `autogenerate`: one is of the tests.
"""

import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from threading import Event, Thread
from typing import NoReturn, Protocol

INTERRUPTED = 130
"""What shells report of a program that Ctrl-C ended."""


class Writer(Protocol):
    """A session that writes until it is told that all is done."""

    def run(self, done: Event) -> None: ...


def exit_with(main: Callable[[], int]) -> NoReturn:
    """End the process with what a benchmark's `main` returns."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        progress("")
        sys.exit(INTERRUPTED)


def progress(text: str) -> None:
    """Say on a terminal what goes on, on a line that the next one replaces."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


@contextmanager
def writing(writers: Iterable[Writer]) -> Generator[None]:
    """Let the writers write while the block runs."""
    done = Event()
    threads = [Thread(target=writer.run, args=[done]) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
