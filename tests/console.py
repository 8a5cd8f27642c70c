"""How a run of the command ended."""

import sys
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
