"""Growth of a sharded table from 4 to 8 shards, with four writers at work all the time.

    python bench/growth.py
    python bench/growth.py --rows 200000

The writers insert, update, delete and change shard keys, which moves rows between shards. Each
keeps a model of what it has committed; in the end the table must be exactly what it was, with the
models applied, every row in the shard of its hash. Each writer pauses for 2 ms after each answer;
the slowest answer is the worst stall.

The rows of all shards are also copied by a bare `INSERT ... SELECT` for each, into empty tables
with the same indexes, with the same writers at work: growth copies as much, and also mirrors,
compares and swaps. It is done before and after growth, and the mean of both counts. Exits with 1
when a promise is broken.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event
from time import perf_counter
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import Engine, NullPool, create_engine

from alembic_enterprise import sql
from alembic_enterprise.server import temporary_server
from alembic_enterprise.shards.growth import Job, grow
from alembic_enterprise.shards.operations import CreateHashShards
from bench._shared import exit_with, progress, writing

BEFORE, AFTER = 4, 8
TENANTS = 5_000
PAUSE = 0.002

LEAST_THROUGHPUT = 0.5
MOST_LOCKED = 50.0
MOST_STALL = 50.0

TABLE = SQL("""CREATE TABLE orders (
    tenant_id bigint, id bigint, placed_at timestamptz NOT NULL, amount numeric NOT NULL,
    state text NOT NULL, note text NOT NULL, PRIMARY KEY (tenant_id, id)
) PARTITION BY HASH (tenant_id)""")
INDEXES = (
    SQL("CREATE INDEX ON orders (placed_at)"),
    SQL("CREATE INDEX ON orders (state, placed_at)"),
)
ROWS = SQL("""INSERT INTO orders
SELECT n % {tenants}, n, '2026-01-01Z'::timestamptz + n * interval '17 seconds', n % 1000 / 7.0,
       (ARRAY['new', 'paid', 'sent'])[1 + n % 3], repeat(md5(n::text), 3)
FROM generate_series(0, {rows} - 1) AS n""")
EXPECTED = SQL("CREATE TABLE expected AS SELECT tenant_id, id, amount FROM orders")
SHARDS = SQL("""SELECT c.relname, pg_get_expr(c.relpartbound, 0)
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'orders'::regclass ORDER BY 1""")
MISPLACED = SQL("""SELECT count(*) FROM orders AS o JOIN pg_class AS c ON c.oid = o.tableoid
WHERE NOT satisfies_hash_partition('orders'::regclass, {modulus},
          split_part(c.relname, '_shard_', 2)::int, tenant_id)""")
DIFFERENCE = SQL("""SELECT count(*) FROM (
    (SELECT tenant_id, id, amount FROM orders EXCEPT ALL SELECT * FROM expected) UNION ALL
    (SELECT * FROM expected EXCEPT ALL SELECT tenant_id, id, amount FROM orders)) AS differing""")


def main() -> int:
    """Measure and print; 0 when every promise is kept."""
    arguments = parse()
    if arguments.grow:
        print(json.dumps(grown(arguments.grow)))
        return 0
    with temporary_server() as server:
        engine = create_engine(server.url(), poolclass=NullPool)
        progress("making the table")
        prepare(engine, arguments.rows)
        writers = [Writer(engine, kind, number) for number, kind in enumerate(KINDS)]
        with writing(writers):
            before = bare(engine)
            for writer in writers:
                writer.slowest = 0.0
            progress("growing")
            found = measure(engine)
            stall = max(writer.slowest for writer in writers)
            after = bare(engine)
        progress("comparing with the models")
        figures: dict[str, Any] = {"bare": (before + after) / 2, "stall": stall * 1000}
        result = Result(rows=arguments.rows, **found, **figures, **check(engine, writers))
    progress("")
    print_result(result, writers)
    return 0 if print_promises(result, writers) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table")
    parser.add_argument("--grow", metavar="URL", help=argparse.SUPPRESS)
    return parser.parse_args()


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        took: seconds of growth.
        locked: the longest time that the table was locked, in milliseconds.
        problems: why growth ended early.
        bare: seconds of the bare copies.
        stall: the slowest answer to a writer while the table grew, in milliseconds.
        differing: rows that are missing or too many, in comparison with the models.
        misplaced: rows in a shard that is not that of their hash.
    """

    rows: int
    took: float
    locked: float
    problems: list[str]
    bare: float
    stall: float
    differing: int
    misplaced: int


def measure(engine: Engine) -> dict[str, Any]:
    """Let the table grow in a process of its own, as the command does."""
    url = engine.url.render_as_string(hide_password=False)
    process = subprocess.run(
        [sys.executable, __file__, "--grow", url],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,  # Ctrl-C is for this process, which then ends that one
    )
    found: dict[str, Any] = json.loads(process.stdout)
    return found


def grown(url: str) -> dict[str, Any]:
    """Let the table grow, in this process."""
    start = perf_counter()
    report = grow(create_engine(url, poolclass=NullPool), "orders", AFTER, Job(progress=show))
    return {
        "took": perf_counter() - start,
        "locked": max((done.locked for done in report.done), default=0.0),
        "problems": report.problems,
    }


# The table


def prepare(engine: Engine, rows: int) -> None:
    """Make the table with its rows, and what is expected of it."""
    create = CreateHashShards("orders", count=BEFORE)
    fill = ROWS.format(tenants=Literal(TENANTS), rows=Literal(rows))
    with engine.begin() as connection:
        for statement in (TABLE, *INDEXES, *create.statements(), fill, EXPECTED):
            sql.execute(connection, statement)
    with connect(engine) as session:
        session.execute("VACUUM ANALYZE orders")


def bare(engine: Engine) -> float:
    """Seconds that it takes to copy every shard, one after the other, and nothing else."""
    took = 0.0
    with connect(engine) as session:
        for name, _ in session.execute(SHARDS).fetchall():
            progress(f"copying {name} barely")
            session.execute(SQL("CREATE TABLE bare (LIKE orders INCLUDING ALL)"))
            start = perf_counter()
            session.execute(SQL("INSERT INTO bare SELECT * FROM {}").format(Identifier(name)))
            took += perf_counter() - start
            session.execute("DROP TABLE bare")
    return took


def check(engine: Engine, writers: Sequence["Writer"]) -> dict[str, Any]:
    """Rows that differ from the models, and rows that are in the wrong shard."""
    with connect(engine) as session:
        session.execute("CREATE INDEX ON expected (id)")
        for writer in writers:
            touched = list(writer.model)
            session.execute("DELETE FROM expected WHERE id = ANY (%s)", [touched])
            rows = [(row[0], key, row[1]) for key, row in writer.model.items() if row is not None]
            with session.cursor().copy("COPY expected FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        [(differing,)] = session.execute(DIFFERENCE).fetchall()
        [(misplaced,)] = session.execute(MISPLACED.format(modulus=Literal(AFTER))).fetchall()
    return {"differing": differing, "misplaced": misplaced}


def connect(engine: Engine) -> psycopg.Connection:
    """One more session, in autocommit."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)


# The writers

KINDS = ("insert", "update", "delete", "move")


@dataclass
class Writer:
    """A session that changes rows of its own all the time.

    Attributes:
        model: what it has committed: id -> (tenant, amount), or None for a deleted row.
        slowest: the longest time that a statement took, in seconds.
    """

    engine: Engine
    kind: str
    number: int
    model: dict[int, tuple[int, int] | None] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    slowest: float = 0.0
    statements: int = 0

    def run(self, done: Event) -> None:
        """Write until the event is set."""
        chance = random.Random(self.number)  # noqa: S311  # no secret
        with connect(self.engine) as session:
            [(rows,)] = session.execute("SELECT count(*) FROM expected").fetchall()
            while not done.wait(PAUSE):
                # Ids of its own: those that leave its number when divided by the number of writers.
                key = chance.randrange(rows // 4) * 4 + self.number
                start = perf_counter()
                try:
                    self.write(session, key, rows, chance)
                except psycopg.Error as error:
                    self.errors.append(str(error))
                self.slowest = max(self.slowest, perf_counter() - start)
                self.statements += 1

    def write(
        self, session: psycopg.Connection, key: int, rows: int, chance: random.Random
    ) -> None:
        """Run one statement, and note what it has done."""
        before = self.model.get(key, (key % TENANTS, None))
        if self.kind == "insert":
            key += rows
            if key in self.model:
                return
            row = (chance.randrange(TENANTS), 1)
            session.execute(
                "INSERT INTO orders VALUES (%s, %s, now(), %s, 'new', '')", [row[0], key, row[1]]
            )
            self.model[key] = row
        elif before is None:
            return
        elif self.kind == "delete":
            session.execute("DELETE FROM orders WHERE tenant_id = %s AND id = %s", [before[0], key])
            self.model[key] = None
        else:
            tenant = before[0] if self.kind == "update" else chance.randrange(TENANTS)
            amount = chance.randrange(1000)
            session.execute(
                "UPDATE orders SET tenant_id = %s, amount = %s WHERE tenant_id = %s AND id = %s",
                [tenant, amount, before[0], key],
            )
            self.model[key] = (tenant, amount)


# Printing


def print_result(result: Result, writers: Sequence[Writer]) -> None:
    """What was measured."""
    statements = sum(writer.statements for writer in writers)
    print(
        f"{BEFORE} to {AFTER} shards, {result.rows:,} rows, {statements:,} statements of 4 writers"
    )
    print(f"growth       {result.took:8.1f} s  {result.rows / result.took:10,.0f} rows/s")
    print(f"bare copies  {result.bare:8.1f} s  {result.rows / result.bare:10,.0f} rows/s")
    print(f"longest lock {result.locked:8.1f} ms, worst stall of a writer {result.stall:.1f} ms")


def print_promises(result: Result, writers: Sequence[Writer]) -> bool:
    """Print one promise a line; False when one of them is broken."""
    errors = [error for writer in writers for error in writer.errors]
    for text in [*result.problems, *errors[:3]]:
        print(f"       {text.strip()}")
    kept = [
        at_most("problems of the run", len(result.problems), 0),
        at_most("errors of writers", len(errors), 0),
        at_most("rows lost or too many", result.differing, 0),
        at_most("rows in the wrong shard", result.misplaced, 0),
        at_most("longest lock, ms", result.locked, MOST_LOCKED),
        at_most("worst stall of a writer, ms", result.stall, MOST_STALL),
        at_least("throughput against bare copies", result.bare / result.took, LEAST_THROUGHPUT),
    ]
    return all(kept)


def at_most(name: str, value: float, most: float) -> bool:
    """Print a promise; False when it is broken."""
    print(f"{'kept  ' if value <= most else 'BROKEN'} {name}: {value:,.2f}, at most {most:,.2f}")
    return value <= most


def at_least(name: str, value: float, least: float) -> bool:
    """Print a promise; False when it is broken."""
    print(f"{'kept  ' if value >= least else 'BROKEN'} {name}: {value:,.2f}, at least {least:,.2f}")
    return value >= least


def show(done: int, expected: int) -> None:
    """How far growth is."""
    progress(f"growing: {done:,} of {expected:,} rows")


if __name__ == "__main__":
    exit_with(main)
