"""How a run of the command ended."""

import os
import pty
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("alembic-enterprise")
"""The installed program."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int | str | None
    output: str
    error: str


def in_terminal(arguments: list[str], into: Path | None = None, **environment: str) -> str:
    """What the program writes to a terminal; its standard output may go into a file instead."""
    main_end, program_end = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    program = [str(PROGRAM), *arguments]
    with ExitStack() as stack:
        terminal = stack.enter_context(os.fdopen(main_end, "rb", buffering=0))
        ended = subprocess.run(
            program,
            stdin=program_end,
            stdout=program_end if into is None else stack.enter_context(into.open("w")),
            stderr=program_end,
            env=variables | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"} | environment,
            check=False,
        )
        assert ended.returncode in {0, 1}
        os.close(program_end)
        return _all_of(terminal.fileno())


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
