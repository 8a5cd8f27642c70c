"""Maintenance of many tables: the scheduled job beside pg_partman, on the same server.

    python bench/maintain.py
    python bench/maintain.py --tables 50 --rounds 21
    python bench/maintain.py --binaries /usr/lib/postgresql/16/bin
    python bench/maintain.py --url postgresql+psycopg://...    on a running server, as superuser

pg_partman 4 is needed beside the server: on Debian 12, `apt-get install postgresql-15-partman`.

Each of them has a database with the same empty tables: a primary key and an index, by month, for
two years and some months ahead. In each run each table lacks its newest partition and has one too
many, which is detached and kept. A run is on a fresh copy of that database, and the contenders take
turns, peers next to each other; the ratio is the median of those of the rounds. If they leave
different partitions behind, that is an error. The clock includes connecting and, for the job, all
from the call of `maintain()` to its report; neither starts Python in it.

What both do: create a table LIKE the other, attach it, detach the oldest one. These tables have no
grants, row security or storage parameters. With any of them the job makes a partition by a block
that copies them and takes more than twice as long; pg_partman copies none unless it is told to.

What the job does beyond that: each step is a transaction under a short lock_timeout, and is tried
again. The detach is CONCURRENT, which takes two. What is detached gets a comment first, by which
the next run makes up for one that was killed. So it commits four times for each table. It looks at
what stands around the tables, and once more at the partitions that it changed.

What pg_partman does beyond that: it stays in the server, and works out name and bounds of all
partitions one by one. Its procedure commits once for each table, its function once in all, after a
detach that locks the table against readers. It goes by the clock (infinite_time_partitions) here,
which spares it to look for the newest row. Its default partitions are dropped first: the job makes
none unless it is told to, and neither could spare a look at their rows.

Neither analyzes, which is pg_partman's default and `--no-analyze` of the job; one more comparison
is with ANALYZE by both. The private server syncs nothing to disk. Where a server does, four commits
wait longer than one: measure yours by `--url`. Exits with 1 when the promise is broken.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import NullPool, create_engine, make_url

from alembic_enterprise import sql
from alembic_enterprise.errors import EnterpriseError
from alembic_enterprise.partitions.maintain import Job, maintain
from alembic_enterprise.partitions.operations import CreateRangePartitions, SetPartitionPolicy
from alembic_enterprise.partitions.periods import floor, shift
from alembic_enterprise.server import temporary_server
from bench._shared import exit_with, progress

PREMADE = 3
"""What pg_partman is asked to make ahead at first; then one more."""

MOST = 0.5

TABLE = SQL(
    "CREATE TABLE {} (id bigint NOT NULL, created_at timestamptz NOT NULL, customer_id integer,"
    " amount integer, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)"
)
INDEX = SQL("CREATE INDEX ON {} (customer_id)")
PARTITIONS = SQL(
    "SELECT inhparent::regclass::text, pg_get_expr(relpartbound, 0)"
    " FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE relkind = 'r' ORDER BY 1, 2"
)
VERSION = SQL(
    "SELECT default_version FROM pg_available_extensions"
    " WHERE name = 'pg_partman' AND default_version LIKE '4.%'"
)
MISSING = (
    "pg_partman 4 is not installed beside this server: on Debian 12, `apt-get install "
    "postgresql-15-partman`, and --binaries /usr/lib/postgresql/15/bin"
)


class NotComparableError(Exception):
    """What was to be compared is not there, or is not the same."""


@dataclass
class Contender:
    """One way to maintain the tables of a database, and what was measured.

    Attributes:
        template: the database with the tables as they are before.
        peer: whom it is compared with; in each round they run one after the other.
    """

    name: str
    template: str
    run: Callable[[str], None]
    peer: "Contender | None" = None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median of the measured seconds."""
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float:
        """Median of what it took of its peer's time in each round."""
        pairs = zip(self.seconds, (self.peer or self).seconds, strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def main() -> int:
    """Build, measure, print; 0 when the promise is kept."""
    arguments = parse()
    try:
        with ExitStack() as stack:
            url = arguments.url or stack.enter_context(temporary_server(arguments.binaries)).url()
            contenders = prepare(stack, url, arguments.tables, arguments.months)
            for number in range(arguments.rounds):
                progress(f"round {number + 1} of {arguments.rounds}")
                compete(url, contenders)
    except (EnterpriseError, NotComparableError) as error:
        progress("")
        print(error, file=sys.stderr)
        return 2
    progress("")
    return 0 if print_result(contenders, arguments.tables) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a running server; without it, a private one is started")
    parser.add_argument(
        "--binaries",
        type=Path,
        default=Path("/usr/lib/postgresql/15/bin"),
        help="of the private server; pg_partman must be installed beside them",
    )
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--months", type=int, default=24, help="that the oldest partition is old")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each contender")
    return parser.parse_args()


# What is compared


def ours(url: str, *, analyze: bool = False) -> None:
    """Run the job, which must leave nothing undone."""
    report = maintain(create_engine(url, poolclass=NullPool), Job(analyze=analyze))
    if report.undone:
        raise NotComparableError(f"the job left something undone: {report.tables}")


def procedure(url: str, *, analyze: bool = False) -> None:
    """Run pg_partman as its documentation tells for many tables: a commit after each."""
    call = SQL("CALL partman.run_maintenance_proc(p_analyze := {})").format(Literal(analyze))
    execute(url, call)


def function(url: str) -> None:
    """Run pg_partman as its background worker does: all in one transaction."""
    execute(url, SQL("SELECT partman.run_maintenance()"))


def prepare(stack: ExitStack, url: str, tables: int, months: int) -> list[Contender]:
    """Build both databases and say who competes; the databases go when the stack closes."""
    if not rows(url, VERSION):
        raise NotComparableError(MISSING)
    names = [f"events_{number:03}" for number in range(tables)]
    partman, enterprise = (stack.enter_context(database(url)) for _ in range(2))
    build_partman(of(url, partman), names, months)
    partitions = len(rows(of(url, partman), PARTITIONS)) // tables
    build_ours(of(url, enterprise), names, months, partitions - months)
    peer = Contender("pg_partman, run_maintenance_proc()", partman, procedure)
    in_one = Contender("pg_partman, run_maintenance()", partman, function, peer)
    job = Contender("alembic-enterprise", enterprise, ours, peer)
    analyzing = partial(procedure, analyze=True), partial(ours, analyze=True)
    other_peer = Contender("pg_partman, and ANALYZE", partman, analyzing[0])
    other_job = Contender("alembic-enterprise, and ANALYZE", enterprise, analyzing[1], other_peer)
    return [in_one, peer, job, other_peer, other_job]


def compete(url: str, contenders: Sequence[Contender]) -> None:
    """Run each contender once, forwards or backwards, and see that all did the same."""
    results: set[tuple[Any, ...]] = set()
    for contender in random.choice((contenders, contenders[::-1])):  # noqa: S311  # an order
        with database(url, contender.template) as name:
            before = set(rows(of(url, name), PARTITIONS))  # and the server knows its catalogs
            start = perf_counter()
            contender.run(of(url, name))
            contender.seconds.append(perf_counter() - start)
            after = set(rows(of(url, name), PARTITIONS))
        tables = len({table for table, _ in after})
        if not len(after - before) == len(before - after) == tables:
            raise NotComparableError(f"{contender.name} made {len(after - before)} partitions")
        results.add(tuple(sorted(after)))
    if len(results) > 1:
        raise NotComparableError("the contenders made different partitions")


# Building


def build_partman(url: str, tables: Sequence[str], months: int) -> None:
    """Make the tables by pg_partman, with one partition to create and one to retire."""
    first = shift(floor(datetime.now(UTC).date(), "month"), "month", -months)
    create = SQL(
        "SELECT partman.create_parent({}, 'created_at', 'native', 'monthly',"
        " p_premake := {}, p_start_partition := {})"
    )
    execute(url, SQL("CREATE SCHEMA partman"), SQL("CREATE EXTENSION pg_partman SCHEMA partman"))
    for table in tables:
        progress(f"pg_partman makes {table}")
        execute(
            url,
            *structure(table),
            create.format(Literal(f"public.{table}"), Literal(PREMADE), Literal(str(first))),
            SQL("DROP TABLE {}").format(Identifier(f"{table}_default")),
        )
    execute(
        url,
        SQL("UPDATE partman.part_config SET infinite_time_partitions = true"),
        # It counts from this moment, not from the period's beginning, and rounds: so in the first
        # half of a month it makes as many as it was asked for, and in the second one more.
        SQL("SELECT partman.run_maintenance()"),
        SQL("UPDATE partman.part_config SET premake = premake + 1, retention = {}").format(
            Literal(f"{months - 1} months")
        ),
        SQL("VACUUM ANALYZE"),
    )


def build_ours(url: str, tables: Sequence[str], months: int, ahead: int) -> None:
    """Make the tables by alembic-enterprise, just as far as pg_partman made them."""
    current = floor(datetime.now(UTC).date(), "month")
    start, stop = (shift(current, "month", periods) for periods in (-months, ahead))
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for table in tables:
            progress(f"alembic-enterprise makes {table}")
            create = CreateRangePartitions(table, "month", str(start), str(stop))
            policy = SetPartitionPolicy(table, "month", ahead, retain=months - 1)
            for statement in (*structure(table), *create.statements(), *policy.statements()):
                sql.execute(connection, statement)
    execute(url, SQL("VACUUM ANALYZE"))


def structure(table: str) -> list[Composable]:
    """The statements that make a table without partitions."""
    return [TABLE.format(Identifier(table)), INDEX.format(Identifier(table))]


@contextmanager
def database(url: str, template: str = "template0") -> Generator[str]:
    """The name of a copy of a database, which is dropped at the end."""
    name = f"bench_{token_hex(4)}"
    create = SQL("CREATE DATABASE {} TEMPLATE {}")
    execute(url, create.format(Identifier(name), Identifier(template)), SQL("CHECKPOINT"))
    try:
        yield name
    finally:
        execute(url, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def of(url: str, name: str) -> str:
    """The URL of another database of the server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def connect(url: str) -> psycopg.Connection:
    """A connection in autocommit, in UTC, as pg_partman takes the zone of the session."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, options="-c TimeZone=UTC")


def execute(url: str, *statements: Composable) -> None:
    """Run statements, each in a transaction of its own."""
    with connect(url) as connection:
        for statement in statements:
            connection.execute(sql.text_of(statement).encode())


def rows(url: str, query: Composable) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with connect(url) as connection:
        return connection.execute(sql.text_of(query).encode()).fetchall()


# Printing


def print_result(contenders: Sequence[Contender], tables: int) -> bool:
    """Print medians and promise; False when it is broken."""
    job = contenders[2]
    print(f"{tables} tables, each with a partition to create and one to retire")
    print(f"{f'medians of {len(job.seconds)} rounds':36}{'seconds':>9}{'x pg_partman':>14}")
    for contender in contenders:
        print(f"{contender.name:36}{contender.median:9.3f}{contender.ratio:14.2f}")
    kept = job.ratio <= MOST
    print(
        f"{'kept  ' if kept else 'BROKEN'} alembic-enterprise beside pg_partman: {job.ratio:.2f}, "
        f"at most {MOST:.2f}"
    )
    return kept


if __name__ == "__main__":
    exit_with(main)
