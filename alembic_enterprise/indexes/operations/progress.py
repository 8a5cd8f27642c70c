"""How far the server is with an index, logged while it is built.

    INFO  [alembic.indexes] ix_orders_at on orders: partition 3 of 24, building index: loading
    tuples in tree, 43 %

Short builds say nothing: the first look comes after one interval.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection, NullPool, QueuePool
from sqlalchemy.exc import SQLAlchemyError

from alembic_enterprise import sql
from alembic_enterprise.sessions import connect
from alembic_enterprise.sql import Name

log = logging.getLogger("alembic.indexes")

INTERVAL = 5.0
"""Seconds between two looks."""

_PROGRESS = SQL("""
WITH top AS (
    SELECT x.indexrelid AS index FROM pg_catalog.pg_index AS x
    JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
    WHERE x.indrelid = {table}::regclass AND c.relname = {name})
SELECT p.phase,
       CASE WHEN tuples_total > 0 THEN 100 * tuples_done / tuples_total
            WHEN blocks_total > 0 THEN 100 * blocks_done / blocks_total END,
       current_locker_pid,
       (SELECT count(*) FROM pg_partition_tree((SELECT index FROM top)) WHERE isleaf) + 1,
       (SELECT count(*) FROM pg_partition_tree({table}) WHERE isleaf)
FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.pid = {pid}""")


@contextmanager
def told(
    connection: Connection,
    table: Name,
    name: str,
    wait: Callable[[Event, float], bool] = Event.wait,
) -> Generator[None]:
    """Log, while the block runs, how far the session of a connection is with an index.

    Args:
        connection: the session that builds; another one of its engine looks on.
        table: the table.
        name: the index.
        wait: waits for the end of the block, or a number of seconds; True at the end.
    """
    if connection.dialect.is_async or not isinstance(connection.engine.pool, NullPool | QueuePool):
        # One has connections for a single thread, the other perhaps a single connection.
        yield
        return
    [(pid,)] = sql.rows(connection, SQL("SELECT pg_backend_pid()"))
    query = _PROGRESS.format(table=table.regclass, name=Literal(name), pid=Literal(pid))
    ended = Event()

    def look() -> None:
        with suppress(SQLAlchemyError):  # without that connection nothing is told, no more
            while not wait(ended, INTERVAL):
                with connect(connection.engine) as observer:
                    tell(observer, query, f"{name} on {table}")

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def tell(observer: Connection, query: Composable, subject: str) -> None:
    """Log what the server says of a build at the moment, if there is one."""
    for phase, percent, locker, number, total in sql.rows(observer, query):
        log.info("%s: %s", subject, sentence(phase, percent, locker, number, total))


def sentence(phase: str, percent: int | None, locker: int | None, number: int, total: int) -> str:
    """What is said of a build.

    Args:
        phase: as PostgreSQL calls it (docs, "CREATE INDEX Progress Reporting").
        percent: of the phase.
        locker: the pid that it waits for; 0 or None for nobody.
        number: the partition that gets its part, from 1.
        total: the partitions; 0 for a plain table.
    """
    words = [f"partition {min(number, total)} of {total}"] if total else []
    words.append(f"{phase} (pid {locker})" if locker else phase)
    if percent is not None:
        words.append(f"{percent} %")
    return ", ".join(words)
