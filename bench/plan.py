"""`alembic-enterprise plan` beside `alembic check`, on a database of thousands of partitions.

    python bench/plan.py
    python bench/plan.py --months 20 --rounds 1      # smaller, to try it

The models have 300 tables, 50 of which are partitioned by month for 100 months: 5,000 partitions,
all made by the project's own migrations, as they would be after some years. Then the models get two
columns and an index more, so that there is something to find, to rehearse and to prove.

`alembic check` goes without our plugin, which it would take for 5,000 tables too many. So it is
filtered by hand, as one does it: env.py asks pg_class for the names of all partitions, and its
`include_object` says no to them and to our own table. Alembic has looked at each of them by then. A
function `include_name` says so before, and is measured besides.

Each is run as a process of its own, as people run it, in turns. Printed are the medians of the
seconds, and the most memory that a process of it had (ru_maxrss); the private server is none of
them. Exits with 1 when a promise is broken.
"""

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import alembic

from alembic_enterprise.partitions.periods import shift
from alembic_enterprise.server import temporary_server
from bench._shared import exit_with, progress

TABLES = 300
PARTITIONED = 50
REVISIONS = 10
"""So many migrations make the tables: all locks of one are held at once."""

MONTHS = 100
AHEAD = 3

MOST_AGAINST_CHECK = 6.0
MOST_MEMORY = 300.0

PROGRAMS = Path(sys.executable).parent

MODELS = """
import os

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Integer, MetaData, Table, Text

stage = int(os.environ["STAGE"])
ours = os.environ["WAY"] == "ours"
metadata = MetaData()
if ours:
    from alembic_enterprise import RangePartitions

for number in range(stage * {plain}):
    Table(
        f"plain_{{number:03}}",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("customer_id", Integer, index=True),
        Column("parent_id", BigInteger, ForeignKey("plain_000.id"), index=True),
        Column("note", Text),
        Column("amount", Integer, nullable=False),
    )

for number in range(stage * {partitioned}):
    months = [RangePartitions("created_at", every="month", ahead={ahead})] if ours else []
    Table(
        f"events_{{number:03}}",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("created_at", DateTime(timezone=True), primary_key=True),
        Column("customer_id", Integer, index=True),
        Column("note", Text),
        *months,
        **({{}} if ours else {{"postgresql_partition_by": "RANGE (created_at)"}}),
    )

if "CHANGED" in os.environ:
    metadata.tables["plain_001"].append_column(Column("state", Text, index=True))
    metadata.tables["events_001"].append_column(Column("state", Text))
"""
"""At each stage of the project there are more of them; in the end two are changed."""

ENVIRONMENT = """
import os

from alembic import context
from models import metadata
from sqlalchemy import NullPool, create_engine

options = {"target_metadata": metadata, "transaction_per_migration": True}
if os.environ["WAY"] == "ours":
    import alembic_enterprise.plugin

    options["autogenerate_plugins"] = ["alembic.autogenerate.*", "alembic_enterprise.*"]


def by_hand(connection):
    query = "SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')"
    hidden = {"alembic_enterprise_policy", *connection.exec_driver_sql(query).scalars()}
    connection.rollback()

    def include_object(item, name, kind, reflected, compared):
        return kind != "table" or name not in hidden

    def include_name(name, kind, parents):
        return kind != "table" or name not in hidden

    filters = {"include_object": include_object, "include_name": include_name}
    way = os.environ["WAY"]
    return {way: filters[way]} if way in filters else {}


url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(
        url=url, literal_binds=True, dialect_opts={"paramstyle": "named"}, **options
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        context.configure(connection=connection, **by_hand(connection), **options)
        with context.begin_transaction():
            context.run_migrations()
"""

INI = """
[alembic]
script_location = migrations
prepend_sys_path = .
path_separator = os
sqlalchemy.url = {url}
"""


def main() -> int:
    """Build, measure, print; 0 when every promise is kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--months", type=int, default=MONTHS, help="partitions of each table")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = stack.enter_context(temporary_server()).url()
        build(folder, url, arguments.months)
        contenders = [
            Contender("alembic check, include_object", folder, "include_object", CHECK),
            Contender("alembic check, include_name", folder, "include_name", CHECK),
            Contender("alembic-enterprise plan", folder, "ours", PLAN),
        ]
        compete(contenders, arguments.rounds)
    progress("")
    print_table(contenders, arguments.months, arguments.rounds)
    check, _, plan = contenders
    kept = [
        print_promise("plan against check", plan.median / check.median, MOST_AGAINST_CHECK),
        print_promise("megabytes of memory", plan.memory, MOST_MEMORY),
    ]
    return 0 if all(kept) else 1


# What is compared


CHECK = ("alembic", "check")
PLAN = ("alembic-enterprise", "plan")

EXPECTED: dict[tuple[str, str], int] = {CHECK: 255, PLAN: 2}
"""How each ends when there are changes."""


@dataclass
class Contender:
    """One way to see what a release would change, and what was measured.

    Attributes:
        memory: MB.
    """

    name: str
    folder: Path
    way: str
    program: tuple[str, str]
    seconds: list[float] = field(default_factory=list)
    memory: float = 0.0

    @property
    def median(self) -> float:
        """Median of the measured seconds."""
        return statistics.median(self.seconds)

    def run(self) -> None:
        """Run it once."""
        start = perf_counter()
        environment = os.environ | {"WAY": self.way, "STAGE": str(REVISIONS), "CHANGED": "yes"}
        program, command = self.program
        process = subprocess.Popen(
            [PROGRAMS / program, command],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != EXPECTED[self.program]:
            raise SystemExit(f"{self.name} ended with {process.returncode}")
        self.seconds.append(perf_counter() - start)
        self.memory = max(self.memory, usage.ru_maxrss / 1024)


# Building


def build(folder: Path, url: str, months: int) -> None:
    """Write the project, and let its own migrations make the database."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    template = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
    plain = (TABLES - PARTITIONED) // REVISIONS
    models = MODELS.format(plain=plain, partitioned=PARTITIONED // REVISIONS, ahead=AHEAD)
    (folder / "migrations" / "script.py.mako").write_text(template.read_text())
    (folder / "migrations" / "env.py").write_text(ENVIRONMENT)
    (folder / "models.py").write_text(models)
    (folder / "alembic.ini").write_text(INI.format(url=url.replace("%", "%%")))
    start = shift(datetime.now(UTC).date().replace(day=1), "month", 1 + AHEAD - months)
    for stage in range(1, REVISIONS + 1):
        progress(f"stage {stage} of {REVISIONS}")
        revise(folder, versions, stage, start)


def revise(folder: Path, versions: Path, stage: int, start: date) -> None:
    """Make the tables of one stage as if that had been done years ago."""
    name = f"{stage:04}"
    run(folder, stage, "revision", "--autogenerate", "--message", "tables", "--rev-id", name)
    [script] = versions.glob(f"{name}_*")
    script.write_text(re.sub(r"start='[\d-]+'", f"start='{start}'", script.read_text()))
    run(folder, stage, "upgrade", "head")


def run(folder: Path, stage: int, *arguments: str) -> None:
    """Run Alembic with our plugin."""
    environment = os.environ | {"WAY": "ours", "STAGE": str(stage)}
    subprocess.run(
        [PROGRAMS / "alembic", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )


# Measuring and printing


def compete(contenders: Sequence[Contender], rounds: int) -> None:
    """Run each contender once a round."""
    for number in range(rounds):
        for contender in random.sample(contenders, len(contenders)):
            progress(f"round {number + 1} of {rounds}: {contender.name}")
            contender.run()


def print_table(contenders: Sequence[Contender], months: int, rounds: int) -> None:
    """The medians, as seconds and as multiples of the first one's."""
    print(f"{TABLES} tables, {PARTITIONED * months:,} partitions, medians of {rounds} rounds")
    print(f"{'':32}{'seconds':>9}{'x check':>9}{'MB':>7}")
    for contender in contenders:
        ratio = contender.median / contenders[0].median
        print(f"{contender.name:32}{contender.median:9.1f}{ratio:9.2f}{contender.memory:7.0f}")


def print_promise(name: str, measured: float, most: float) -> bool:
    """Print one promise; False when it is broken."""
    kept = measured <= most
    print(f"{'kept  ' if kept else 'BROKEN'} {name}: {measured:.2f}, at most {most:.2f}")
    return kept


if __name__ == "__main__":
    exit_with(main)
