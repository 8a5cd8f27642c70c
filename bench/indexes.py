"""Advice on a big catalog: all rules beside the bare queries of the catalog.

    python bench/indexes.py                    5,000 tables with 4 indexes each
    python bench/indexes.py --tables 500
    python bench/indexes.py --binaries /usr/lib/postgresql/16/bin

The tables have a primary key by a sequence, a foreign key, a partial index, one on an expression
and a hundred rows, and are analyzed. Every tenth lacks the index for its foreign key, and has one
that is redundant. The bare queries are those that the advice sends, sent again over the same
connection, and all their rows fetched. None is prepared, as each is sent once in real life. Both
take turns. Exits with 1 when a promise is broken.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import psycopg
from psycopg.sql import Literal
from sqlalchemy import Connection, NullPool, create_engine, event, make_url

from alembic_enterprise import sql
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes import catalog
from alembic_enterprise.indexes.advise import advise
from alembic_enterprise.server import temporary_server
from bench._shared import exit_with, progress

MOST = 1.5

_BUILD = """BEGIN
    FOR number IN {first}..{last} LOOP
        EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, parent_id int, state text,
                        created_at timestamptz DEFAULT now(), deleted_at timestamptz)', number);
        EXECUTE format('INSERT INTO t%s (parent_id, state)
                        SELECT n, n FROM generate_series(1, 100) AS n', number);
        EXECUTE format('CREATE INDEX ON t%s (%s)', number,
                       CASE WHEN number % 10 = 0 THEN 'id' ELSE 'parent_id, created_at' END);
        EXECUTE format('CREATE INDEX ON t%s (state) WHERE deleted_at IS NULL', number);
        EXECUTE format('CREATE INDEX ON t%s (lower(state))', number);
        EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (parent_id) REFERENCES t%s',
                       number, greatest(number - 1, 1));
        EXECUTE format('ANALYZE t%s', number);
    END LOOP;
END"""


def main() -> int:
    """Build, measure, print; 0 when the promise is kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binaries", type=Path, help="of another server than the embedded one")
    parser.add_argument("--tables", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with temporary_server(arguments.binaries) as server:
        build(server.url(), arguments.tables)
        return measure(server.url(), arguments.tables, arguments.rounds)


def build(url: str, tables: int, step: int = 100) -> None:
    """The tables, a transaction for each hundred: more would take too many locks."""
    with psycopg.connect(_plain(url), autocommit=True) as session:
        for first in range(1, tables + 1, step):
            last = min(first + step - 1, tables)
            block = sql.do_block(_BUILD, first=Literal(first), last=Literal(last))
            session.execute(block)
        session.execute("VACUUM ANALYZE pg_catalog.pg_class, pg_catalog.pg_attribute")
        session.execute("VACUUM ANALYZE pg_catalog.pg_index, pg_catalog.pg_statistic")
        session.execute("VACUUM ANALYZE pg_catalog.pg_constraint, pg_catalog.pg_depend")


def measure(url: str, tables: int, rounds: int) -> int:
    """Take turns and compare the medians; the first round of each warms up."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"prepare_threshold": None})
    queries: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: queries.append(given[2]))
    bare: list[float] = []
    whole: list[float] = []
    findings: list[Finding] = []
    count = 0
    with engine.connect() as connection:
        for number in range(rounds + 1):
            queries.clear()
            start = perf_counter()
            findings = advised(connection)
            whole.append(perf_counter() - start)
            count = len(queries)
            bare.append(seconds(connection, [*queries]))
            progress(f"round {number} of {rounds}: {whole[-1]:.2f} s, {bare[-1]:.2f} s")
    progress("")
    rules = {item.rule: sum(other.rule == item.rule for other in findings) for item in findings}
    ratio = statistics.median(whole[1:]) / statistics.median(bare[1:])
    print(f"{tables:,} tables with 4 indexes each, medians of {rounds} rounds")
    print(f"{count} bare queries   {statistics.median(bare[1:]):6.2f} s")
    print(f"the whole advice  {statistics.median(whole[1:]):6.2f} s   {ratio:.2f} x")
    print("findings: " + ", ".join(f"{count:,} {rule}" for rule, count in rules.items()))
    print(f"{'kept  ' if ratio < MOST else 'BROKEN'} at most {MOST} x")
    return 0 if ratio < MOST else 1


def advised(connection: Connection) -> list[Finding]:
    """All findings."""
    known = catalog.read(connection)
    connection.rollback()
    return advise(known)


def seconds(connection: Connection, queries: Sequence[str]) -> float:
    """How long the queries alone take."""
    start = perf_counter()
    for query in queries:
        connection.exec_driver_sql(query, execution_options={"no_parameters": True}).fetchall()
    taken = perf_counter() - start
    connection.rollback()
    return taken


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


if __name__ == "__main__":
    exit_with(main)
