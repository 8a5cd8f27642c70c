"""Statements that wait for a lock, and what others do meanwhile.

with waiting(engine, lambda own: laws.apply(own, [operation])) as future:
    connection.commit()             # lets go of what the operation waits for
future.result()
"""

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Engine

from alembic_enterprise import sql

Result = TypeVar("Result")

_WAITS = SQL("SELECT FROM pg_stat_activity WHERE pid = {} AND wait_event_type = 'Lock'")


@contextmanager
def waiting(engine: Engine, work: Callable[[Connection], Result]) -> Generator[Future[Result]]:
    """Do the work on a connection of its own; the block runs once that waits for a lock."""
    with engine.connect() as own, engine.connect() as observer, ThreadPoolExecutor() as pool:
        [(pid,)] = sql.rows(own, SQL("SELECT pg_backend_pid()"))
        own.commit()
        future = pool.submit(work, own)
        while not (sql.rows(observer, _WAITS.format(Literal(pid))) or future.done()):
            observer.rollback()  # the statistics of a transaction stay as they are
            time.sleep(0.005)  # leaves the processor to what is waited for
        observer.rollback()  # a concurrent build would wait for its end
        yield future
