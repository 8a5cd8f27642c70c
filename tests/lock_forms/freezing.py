"""What a statement locks that cannot run in a transaction block, such as CREATE INDEX CONCURRENTLY.

It commits inside, so that nothing is left to see at its end. Therefore others stand in its way: for
each table a session that has read it, would write and would maintain it. Wherever the statement has
to wait it stands still, and can be looked at; then the session it waits for goes out of its way,
one lock after the other. Where it waits for the end of a session, as CREATE INDEX CONCURRENTLY does
for writers, nobody is left in its way on that table: what it locks there later is seen only if it
has that at another halt.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection, Engine

from alembic_enterprise import sql
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.locks.traces import Locks, locks
from alembic_enterprise.sessions import connect
from alembic_enterprise.sql import Name

PAUSE = 0.005
"""Seconds between two looks whether the statement waits."""

_WAY = (
    SQL("SELECT FROM ONLY {table} LIMIT 0"),  # locks the indexes, too
    SQL("SAVEPOINT reader"),
    SQL("LOCK TABLE ONLY {table} IN ROW EXCLUSIVE MODE"),
    SQL("SAVEPOINT writer"),
    SQL("LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE"),
)
_OUT_OF_THE_WAY = (
    SQL("ROLLBACK TO SAVEPOINT writer"),
    SQL("ROLLBACK TO SAVEPOINT reader"),
    SQL("ROLLBACK"),
)

_BLOCKING = SQL("SELECT unnest(pg_catalog.pg_blocking_pids({}))")
_PID = SQL("SELECT pg_catalog.pg_backend_pid()")


class Obstacle:
    """A session that holds on one table what its readers, writers and maintainers hold."""

    def __init__(self, connection: Connection, table: Name) -> None:
        """Take the locks, in one transaction of the connection."""
        for statement in _WAY:
            sql.execute(connection, statement.format(table=table.sql))
        self.pid = backend_pid(connection)
        self._connection = connection
        self._steps = list(_OUT_OF_THE_WAY)

    def step_aside(self) -> None:
        """Let go of the strongest lock that is left; after the last one nothing is."""
        if self._steps:
            sql.execute(self._connection, self._steps.pop(0))


def frozen(
    worker: Connection, engine: Engine, statement: Composable, tables: Iterable[Name]
) -> Locks:
    """Run a statement on a connection in AUTOCOMMIT, and tell which locks it had or waited for.

    Args:
        worker: runs the statement.
        engine: of the same database, for the sessions around it.
        statement: cannot run in a transaction block.
        tables: ordinary or partitioned ones; no other table's lock makes the statement wait.

    Raises:
        DBAPIError: the server refuses the statement.
    """
    pid = Literal(backend_pid(worker))
    seen: set[tuple[int, LockMode]] = set()
    # From right to left: all that is in the way goes before the thread is waited for.
    with ThreadPoolExecutor() as pool, ExitStack() as others:
        observer = others.enter_context(connect(engine))
        found = [Obstacle(others.enter_context(engine.connect()), table) for table in tables]
        obstacles = {obstacle.pid: obstacle for obstacle in found}
        running = pool.submit(sql.execute, worker, statement)
        while not wait([running], PAUSE).done:
            blocking = {blocker for (blocker,) in sql.rows(observer, _BLOCKING.format(pid))}
            if in_the_way := blocking & obstacles.keys():
                seen |= locks(observer, pid)
                for blocker in in_the_way:
                    obstacles[blocker].step_aside()
        running.result()
    return frozenset(seen)


def backend_pid(connection: Connection) -> int:
    """The process of the server that serves a connection."""
    [(pid,)] = sql.rows(connection, _PID)
    return int(pid)
