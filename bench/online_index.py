"""An index on a partitioned table that four sessions write to all the time.

    python bench/online_index.py
    python bench/online_index.py --rows 20000

The table has 24 partitions by month, of 200,000 rows each. The writers run short transactions as
pgbench does: update a row, read it, insert another. Each pauses for 2 ms after an answer; the
slowest transaction is the worst stall. They do so while nothing else happens; while
`op.create_index_online` builds an index; while `op.drop_index_online` drops it; and while a plain
CREATE INDEX builds the same one. Exits with 1 when a promise is broken.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from time import perf_counter

import psycopg
from alembic.migration import MigrationContext
from alembic.operations import Operations
from psycopg.sql import SQL, Literal
from sqlalchemy import Engine, NullPool, create_engine

import alembic_enterprise.plugin  # noqa: F401  # registers the operations
from alembic_enterprise import sql
from alembic_enterprise.indexes.operations import CreateIndexOnline
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.server import temporary_server
from bench._shared import exit_with, progress, writing

PARTITIONS = 24
WRITERS = 4
PAUSE = 0.002
QUIET = 10.0
"""Seconds that the writers are watched while nothing else happens."""

MOST_STALL = 100.0
LEAST_PLAIN = 0.9
"""The part of its time for which a plain CREATE INDEX stops the writers, at least."""

CREATE = CreateIndexOnline("ix_orders_customer", "orders", ["customer", "placed_at"])
OPERATIONS = [CREATE, CREATE.reverse()]
PLAIN = "CREATE INDEX ix_orders_customer ON orders (customer, placed_at)"

TABLE = SQL("""CREATE TABLE orders (
    id bigint, placed_at timestamptz, customer integer NOT NULL, amount numeric NOT NULL,
    note text NOT NULL, PRIMARY KEY (id, placed_at)
) PARTITION BY RANGE (placed_at)""")
MOMENT = SQL("'2025-01-10Z'::timestamptz + n % 24 * interval '1 month'")
ROWS = SQL("""INSERT INTO orders
SELECT n, {moment}, n::bigint * 7919 % 50000, n % 1000, repeat(md5(n::text), 2)
FROM generate_series(0, {rows} - 1) AS n""")
MONTH = SQL("'2025-01-10Z'::timestamptz + %(id)s %% 24 * interval '1 month'")
UPDATE, SELECT, INSERT = (
    SQL(text).format(month=MONTH)
    for text in (
        "UPDATE orders SET amount = amount + 1 WHERE id = %(id)s AND placed_at = {month}",
        "SELECT amount FROM orders WHERE id = %(id)s AND placed_at = {month}",
        "INSERT INTO orders VALUES (%(id)s, {month}, 1, 1, '')",
    )
)


def main() -> int:
    """Measure and print; 0 when every promise is kept."""
    arguments = parse()
    with temporary_server() as server:
        engine = create_engine(server.url(), poolclass=NullPool)
        progress("making the table")
        rows = arguments.rows * PARTITIONS
        prepare(engine, rows)
        writers = [Writer(engine, number, rows) for number in range(WRITERS)]
        with writing(writers):
            results = [measured(name, work, writers) for name, work in contenders(engine)]
    progress("")
    print_results(results, arguments.rows)
    errors = [error for writer in writers for error in writer.errors]
    for text in errors[:3]:
        print(f"       {text.strip()}")
    return 0 if print_promises({item.name: item for item in results}, errors) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each partition")
    return parser.parse_args()


def prepare(engine: Engine, rows: int) -> None:
    """Make the table with its rows."""
    months = CreateRangePartitions("orders", "month", "2025-01-01", "2027-01-01")
    fill = ROWS.format(moment=MOMENT, rows=Literal(rows))
    with engine.begin() as connection:
        for statement in (TABLE, *months.statements(), fill):
            sql.execute(connection, statement)
    with connect(engine) as session:
        session.execute("VACUUM ANALYZE orders")
        session.execute("CHECKPOINT")


def contenders(engine: Engine) -> list[tuple[str, Callable[[], object]]]:
    """What is done while the writers write."""

    def plain() -> None:
        with connect(engine) as session:
            session.execute(PLAIN)

    return [
        ("nothing", lambda: Event().wait(QUIET)),
        *((item.operation_name, partial(operate, engine, item)) for item in OPERATIONS),
        ("CREATE INDEX", plain),
    ]


def operate(engine: Engine, operation: Operation) -> None:
    """Run an operation as a migration does."""
    with engine.connect() as connection:
        Operations(MigrationContext.configure(connection)).invoke(operation)


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        took: seconds.
        stall: the slowest transaction of a writer meanwhile, in milliseconds.
        transactions: those of all writers meanwhile, per second.
    """

    name: str
    took: float
    stall: float
    transactions: float


def measured(name: str, work: Callable[[], object], writers: Sequence["Writer"]) -> Result:
    """Do the work, and see how the writers fare."""
    progress(name)
    for writer in writers:
        writer.slowest, writer.transactions = 0.0, 0
    start = perf_counter()
    work()
    took = perf_counter() - start
    Event().wait(0.1)  # who waited has an answer now
    stall = max(writer.slowest for writer in writers) * 1000
    return Result(name, took, stall, sum(writer.transactions for writer in writers) / took)


def connect(engine: Engine) -> psycopg.Connection:
    """One more session, in autocommit."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)


@dataclass
class Writer:
    """A session that writes all the time.

    Attributes:
        slowest: the longest time that a transaction took, in seconds.
    """

    engine: Engine
    number: int
    rows: int
    errors: list[str] = field(default_factory=list)
    slowest: float = 0.0
    transactions: int = 0

    def run(self, done: Event) -> None:
        """Write until the event is set."""
        chance = random.Random(self.number)  # noqa: S311  # no secret
        with connect(self.engine) as session:
            new = self.rows + self.number
            while not done.wait(PAUSE):
                start = perf_counter()
                try:
                    self.write(session, chance.randrange(self.rows), new)
                except psycopg.Error as error:
                    self.errors.append(str(error))
                self.slowest = max(self.slowest, perf_counter() - start)
                self.transactions += 1
                new += WRITERS

    def write(self, session: psycopg.Connection, old: int, new: int) -> None:
        """One transaction: change a row, read it, and add one."""
        with session.transaction():
            session.execute(UPDATE, {"id": old})
            session.execute(SELECT, {"id": old})
            session.execute(INSERT, {"id": new})


def print_results(results: Sequence[Result], rows: int) -> None:
    """What was measured."""
    print(f"{PARTITIONS} partitions of {rows:,} rows, {WRITERS} writers")
    print(f"{'':22}{'seconds':>9}{'worst stall, ms':>18}{'transactions/s':>17}")
    for item in results:
        print(f"{item.name:22}{item.took:9.1f}{item.stall:18,.1f}{item.transactions:17,.0f}")


def print_promises(results: dict[str, Result], errors: Sequence[str]) -> bool:
    """Print one promise a line; False when one of them is broken."""
    online, plain = results["create_index_online"], results["CREATE INDEX"]
    kept = [
        at_most("errors of writers", len(errors), 0),
        at_most("worst stall of create_index_online, ms", online.stall, MOST_STALL),
        at_least("stall of CREATE INDEX in its time", plain.stall / 1000 / plain.took, LEAST_PLAIN),
    ]
    print(f"       stall against CREATE INDEX: {online.stall / plain.stall:.4f}")
    print(f"       time against CREATE INDEX: {online.took / plain.took:.2f}")
    return all(kept)


def at_most(name: str, value: float, most: float) -> bool:
    """Print a promise; False when it is broken."""
    print(f"{'kept  ' if value <= most else 'BROKEN'} {name}: {value:,.2f}, at most {most:,.2f}")
    return value <= most


def at_least(name: str, value: float, least: float) -> bool:
    """Print a promise; False when it is broken."""
    print(f"{'kept  ' if value >= least else 'BROKEN'} {name}: {value:,.2f}, at least {least:,.2f}")
    return value >= least


if __name__ == "__main__":
    exit_with(main)
