"""What importing costs: alembic_enterprise against sqlalchemy, and the command against click.

    python bench/imports.py
    python bench/imports.py --pairs 51

The package itself loads next to nothing before a name is taken from it, so what a models file
imports is measured as well, and mapped classes with audit columns against the same without. Wall
time of whole processes, in pairs that take turns. Exits with 1 when a promise is broken.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench._shared import exit_with

COMMAND = Path(sys.executable).with_name("alembic-enterprise")

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
{imports}

class Base(DeclarativeBase):
    pass

class Order({bases}):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
BARE = MODELS.format(imports="", bases="Base")
AUDITED = MODELS.format(
    imports="from alembic_enterprise import AuditMixin", bases="AuditMixin, Base"
)


@dataclass(frozen=True)
class Pair:
    """A command of ours, the one it is measured against, and the most it may take of its time."""

    name: str
    ours: Sequence[str | Path]
    peer_name: str
    peer: Sequence[str | Path]
    most: float


PAIRS = (
    Pair(
        "import alembic_enterprise",
        (sys.executable, "-c", "import alembic_enterprise"),
        "import sqlalchemy",
        (sys.executable, "-c", "import sqlalchemy"),
        1.1,
    ),
    Pair(
        "from alembic_enterprise import RangePartitions",
        (sys.executable, "-c", "from alembic_enterprise import RangePartitions"),
        "import sqlalchemy",
        (sys.executable, "-c", "import sqlalchemy"),
        1.1,
    ),
    Pair(
        "models with AuditMixin",
        (sys.executable, "-c", AUDITED),
        "models without",
        (sys.executable, "-c", BARE),
        1.1,
    ),
    Pair(
        "alembic-enterprise --help",
        (COMMAND, "--help"),
        "import click",
        (sys.executable, "-c", "import click"),
        1.5,
    ),
)


def main() -> int:
    """Measure and print; 0 when every promise is kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=25, help="runs of each command")
    runs = parser.parse_args().pairs
    if not COMMAND.exists():
        print(f"{COMMAND} is missing: run `pip install --editable .` first", file=sys.stderr)
        return 2
    kept = [compare(pair, runs) for pair in PAIRS]
    return 0 if all(kept) else 1


def compare(pair: Pair, runs: int) -> bool:
    """Print how the two commands compare; False when ours takes too long."""
    for command in (pair.ours, pair.peer):
        seconds(command)  # files into memory, bytecode onto the disk
    measured = [(seconds(pair.ours), seconds(pair.peer)) for _ in range(runs)]
    ours = statistics.median(first for first, _ in measured)
    peer = statistics.median(second for _, second in measured)
    kept = ours / peer <= pair.most
    print(
        f"{'kept  ' if kept else 'BROKEN'} {pair.name} {ours:.3f} s, "
        f"{pair.peer_name} {peer:.3f} s: {ours / peer:.2f}, at most {pair.most:.2f} "
        f"(medians of {runs} pairs)"
    )
    return kept


def seconds(command: Sequence[str | Path]) -> float:
    """Wall time of one process."""
    start = perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - start


if __name__ == "__main__":
    exit_with(main)
