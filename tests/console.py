"""How a run of the command ended."""

import os
import pty
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from forked import Run

PROGRAM = Path(sys.executable).with_name("alembic-enterprise")
"""The installed program."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int | str | None
    output: str
    error: str


def in_files(run: Run, folder: Path, command: Sequence[str | Path], **environment: str) -> Outcome:
    """How a program in Python ends that writes to no terminal."""
    with (
        NamedTemporaryFile("r", encoding="utf-8") as output,
        NamedTemporaryFile("r", encoding="utf-8") as error,
    ):
        streams = [os.devnull, output.name, error.name]
        code = run(command, folder, _variables() | environment, streams)
        return Outcome(code, output.read(), error.read())


def in_terminal(
    run: Run, arguments: Sequence[str], into: Path | None = None, **environment: str
) -> str:
    """What the program writes to a terminal; its standard output may go into a file instead."""
    main_end, program_end = pty.openpty()
    name = os.ttyname(program_end)
    variables = _variables() | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"} | environment
    with os.fdopen(main_end, "rb", buffering=0) as terminal:
        code = run([PROGRAM, *arguments], Path.cwd(), variables, [name, into or name, name])
        assert code in {0, 1}
        os.close(program_end)
        return _all_of(terminal.fileno())


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "NO_COLOR"}


def _all_of(descriptor: int) -> str:
    written = b""
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            part = b""
        if not part:
            return written.decode()
        written += part
