"""Memory of a session that updates all rows of an audited table in one statement.

    python bench/audit_memory.py
    python bench/audit_memory.py --rows 10000000    # minutes, and some GB of disk

Of two tables one has ten times as many rows. All rows of each are updated by one statement, in a
session of its own, with the server's default work_mem, 4 MB. What the triggers are handed, old and
new rows, and the join that looks for changed keys have to go to files. What counts is memory of its
own (RssAnon in /proc/<pid>/status) of the session's process, read every 10 ms, beyond what it was
before; the buffers that all sessions share are not in it. Linux only.

Afterwards the history must hold each row of the table once, as it is now. The server's data are in
the folder for temporary files, not in memory. Exits with 1 when a promise is broken.
"""

import argparse
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from threading import Event, Thread
from time import perf_counter

import psycopg
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import Engine, NullPool, create_engine

from alembic_enterprise import sql
from alembic_enterprise.audit.operations import CreateAuditTrail
from alembic_enterprise.server import temporary_server
from bench._shared import exit_with, progress

TIMES = 10
"""How many times more rows the larger table has."""

WORK_MEM = 4.0

MOST = 8.0
"""Of work_mem: two sets of rows, a hash table of twice work_mem, and buffers of its files."""

MOST_GROWTH = 2.0

TABLE = SQL("CREATE TABLE {} (id bigint PRIMARY KEY, amount bigint, state text)")
ROWS = SQL("INSERT INTO {} SELECT n, n % 1000, 'new' FROM generate_series(1, {}) AS n")
UPDATE = SQL("UPDATE {} SET amount = amount + 1, state = 'paid'")
CAPTURED = SQL(
    "SELECT count(*), count(DISTINCT h.id), count(*) FILTER (WHERE audit_action = 'update'"
    " AND (h.amount, h.state) = (o.amount, o.state)) FROM {} AS h LEFT JOIN {} AS o USING (id)"
)
TEMPORARY = SQL("SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()")


@dataclass(frozen=True)
class Result:
    """What was measured for one table.

    Attributes:
        before: MB of the session's own memory before the statement.
        highest: the most MB that it was meanwhile.
        took: seconds of the statement.
        spilled: MB written to temporary files.
        lost: rows that the history lacks, has twice, or has otherwise than they are.
    """

    rows: int
    before: float
    highest: float
    took: float
    spilled: float
    lost: int

    @property
    def used(self) -> float:
        """MB that the statement needed at most."""
        return self.highest - self.before


def main() -> int:
    """Measure and print; 0 when every promise is kept."""
    rows = parse().rows
    os.environ.setdefault("TMPDIR", gettempdir())  # so that the server's data are not in memory
    with temporary_server() as server:
        engine = create_engine(server.url(), poolclass=NullPool)
        results = [measure(engine, f"orders_{count}", count) for count in (rows // TIMES, rows)]
    progress("")
    print_results(results)
    return 0 if print_promises(*results) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the larger table")
    return parser.parse_args()


# Measuring


def measure(engine: Engine, table: str, rows: int) -> Result:
    """Make a table, update it, and compare its history with it."""
    progress(f"making {rows:,} rows")
    prepare(engine, table, rows)
    progress(f"updating {rows:,} rows")
    with connect(engine) as session:
        # What any session needs: caches, code, the plans of the triggers.
        session.execute(UPDATE.format(Identifier(table)) + SQL(" WHERE false"))
        spilled = temporary_bytes(engine)
        with watching(session.info.backend_pid) as seen:
            start = perf_counter()
            session.execute(UPDATE.format(Identifier(table)))
            took = perf_counter() - start
    progress(f"comparing {rows:,} rows")
    spilled = temporary_bytes(engine) - spilled
    return Result(rows, seen[0], max(seen), took, spilled / 1e6, lost(engine, table, rows))


def prepare(engine: Engine, table: str, rows: int) -> None:
    """Make a table with a trail and its rows, which the trail does not know."""
    name = Identifier(table)
    create = CreateAuditTrail(table, f"{table}_history", baseline=False)
    statements = [TABLE.format(name), ROWS.format(name, Literal(rows)), *create.statements()]
    with engine.begin() as connection:
        for statement in statements:
            sql.execute(connection, statement)
    with connect(engine) as session:
        session.execute(SQL("VACUUM ANALYZE {}").format(name))


def lost(engine: Engine, table: str, rows: int) -> int:
    """How many rows the history lacks, has twice, or has otherwise than they are."""
    history = Identifier("audit", f"{table}_history")
    with connect(engine) as session:
        session.execute("SET work_mem = '256MB'")
        [counts] = session.execute(CAPTURED.format(history, Identifier(table))).fetchall()
    return max(abs(rows - int(count)) for count in counts)


def temporary_bytes(engine: Engine) -> int:
    """How many bytes sessions that have ended wrote to temporary files."""
    with connect(engine) as session:
        [(count,)] = session.execute(TEMPORARY).fetchall()
    return int(count)


@contextmanager
def watching(pid: int) -> Generator[list[float]]:
    """The MB of a process's own memory, one figure each 10 ms while the block runs."""
    done, seen = Event(), [own_memory(pid)]

    def watch() -> None:
        while not done.wait(0.01):
            seen.append(own_memory(pid))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def own_memory(pid: int) -> float:
    """MB of memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [size] = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return int(size) / 1024


def connect(engine: Engine) -> psycopg.Connection:
    """One more session, in autocommit."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)


# Printing


def print_results(results: list[Result]) -> None:
    """One line for each table."""
    print(f"UPDATE of all rows, MB of the session's own memory, work_mem {WORK_MEM:.0f} MB")
    print(f"{'rows':>12}{'before':>9}{'highest':>9}{'more':>7}{'seconds':>9}{'MB of files':>13}")
    for result in results:
        print(
            f"{result.rows:12,}{result.before:9.1f}{result.highest:9.1f}{result.used:7.1f}"
            f"{result.took:9.1f}{result.spilled:13,.0f}"
        )


def print_promises(small: Result, large: Result) -> bool:
    """Print one promise a line; False when one of them is broken."""
    kept = [
        at_most("rows lost, or kept otherwise than they are", small.lost + large.lost, 0),
        at_most("memory, x work_mem", large.used / WORK_MEM, MOST),
        at_most(f"memory for {TIMES} times the rows", large.used / small.used, MOST_GROWTH),
    ]
    return all(kept)


def at_most(name: str, value: float, most: float) -> bool:
    """Print a promise; False when it is broken."""
    print(f"{'kept  ' if value <= most else 'BROKEN'} {name}: {value:,.2f}, at most {most:,.2f}")
    return value <= most


if __name__ == "__main__":
    exit_with(main)
