"""Taking locks on tables in use: a short timeout, whole-transaction retries, and who is in the way.

A waiting ACCESS EXCLUSIVE request makes everybody queue behind it, so it must give up soon
(PostgreSQL docs, "Explicit Locking"); and after ROLLBACK TO SAVEPOINT earlier locks are still held,
so it is the whole transaction that is tried again.
"""

import hashlib
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Lock, Thread
from typing import TypeVar

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alembic_enterprise import sql
from alembic_enterprise.errors import LockedError
from alembic_enterprise.sql import message, sqlstate
from alembic_enterprise.wording import first_few

Result = TypeVar("Result")

LOCKED = ("55P03", "40P01")
"""SQLSTATEs worth another try: lock_not_available and deadlock_detected."""


@dataclass(frozen=True, order=True)
class Blocker:
    """A session that somebody waits for, or a transaction that was prepared.

    Attributes:
        pid: its process; 0 for a prepared transaction, which has none.
        since: when its running (or last) statement began, or it was prepared; aware.
        query: the statement; of a prepared transaction, what ends it.
    """

    pid: int
    user: str
    application: str
    since: datetime | None
    query: str

    def __str__(self) -> str:
        since = "" if self.since is None else f" since {self.since:%H:%M:%S}"
        application = f" ({self.application})" if self.application else ""
        what = f"pid {self.pid}" if self.pid else "a prepared transaction"
        return f"{what}, {self.user}{application}{since}: {self.query}"


@dataclass(frozen=True)
class Patience:
    """How long to wait for locks, and how often.

    Attributes:
        lock_timeout: milliseconds to wait for one lock.
        attempts: how often the transaction is tried in all.
        longest: seconds of the longest pause between two tries.
        concurrently: seconds that a statement with CONCURRENTLY may take, which waits inside.
    """

    lock_timeout: int = 200
    attempts: int = 20
    longest: float = 30.0
    concurrently: float = 600.0

    @property
    def look_every(self) -> float:
        """Seconds between two looks at who is in the way: four in a `lock_timeout`."""
        return self.lock_timeout / 4000

    def pause(self, attempt: int, uniform: Callable[[float, float], float]) -> float:
        """Seconds to wait after try number `attempt` (from 1): full jitter, doubling."""
        return uniform(0.0, min(self.longest, self.lock_timeout / 1000 * 2**attempt))


def retried(
    transaction: Callable[[], Result],
    *,
    patience: Patience,
    sleep: Callable[[float], None],
    uniform: Callable[[float, float], float],
    waited: Callable[[int], None] = lambda _attempt: None,
) -> Result:
    """Run a whole transaction until it gets its locks.

    Raises `LockedError` after the last attempt; any other error at once.
    """
    for attempt in range(1, patience.attempts + 1):
        try:
            return transaction()
        except DBAPIError as error:
            if sqlstate(error) not in LOCKED:
                raise
            if attempt == patience.attempts:
                raise LockedError(
                    f"no lock within {patience.lock_timeout} ms, {attempt} times"
                ) from error
            waited(attempt)
            sleep(patience.pause(attempt, uniform))
    raise LockedError("no attempt was allowed: give at least one")


class Watcher:
    """Collects, on another connection, who blocks one statement after the other.

    One thread looks after all of them: starting one for each takes as long as a short statement.
    """

    def __init__(self, control: Connection, period: float) -> None:
        """Look every `period` seconds, from now until `close`.

        `control` must be in AUTOCOMMIT, and used by nobody else while a statement is watched.
        """
        self._control = control
        self._period = period
        self._watched: tuple[int, set[Blocker]] | None = None
        self._looking = Lock()
        self._done = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._done.set()
        self._thread.join()

    @contextmanager
    def over(self, pid: int) -> Generator[set[Blocker]]:
        """Collect who blocks the session `pid` while the block runs; complete once it has ended."""
        seen: set[Blocker] = set()
        self._watched = (pid, seen)
        try:
            yield seen
        finally:
            with self._looking:
                self._watched = None

    def _watch(self) -> None:
        before = None
        with suppress(SQLAlchemyError):  # without that connection nobody is named, no more
            while not self._done.wait(self._period):
                with self._looking:
                    watched = self._watched
                    if watched is not None and watched is before:  # a short statement costs no look
                        pid, seen = watched
                        seen.update(blockers(self._control, pid))
                before = watched


_WHO = SQL("""pid, coalesce(usename, ''), coalesce(application_name, ''), query_start,
       left(regexp_replace(coalesce(query, ''), '\\s+', ' ', 'g'), 60)""")
"""A `Blocker`, of `pg_stat_activity`."""

_PREPARED = SQL("""
SELECT 0, owner::text, '', prepared,
       format('end it with COMMIT PREPARED %1$L or ROLLBACK PREPARED %1$L', gid){more}
FROM pg_catalog.pg_prepared_xacts AS p
JOIN pg_catalog.pg_locks AS own
     ON own.transactionid = p.transaction AND own.granted AND own.pid IS NULL
JOIN pg_catalog.pg_locks AS held
     ON held.virtualtransaction = own.virtualtransaction AND held.granted AND held.pid IS NULL
WHERE {where}
GROUP BY 1, 2, 3, 4, 5""")
"""A `Blocker`, of a transaction that was prepared: its locks belong to no process any more."""

_BLOCKERS = SQL("""
SELECT {who}
FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_blocking_pids({pid}))
UNION ALL
{prepared}""")

_WANTED = SQL("""0 = ANY ((SELECT pg_blocking_pids({pid}))::integer[]) AND EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l WHERE l.pid = {pid} AND NOT l.granted
      AND ROW(l.locktype, l.database, l.relation, l.transactionid) IS NOT DISTINCT FROM
          ROW(held.locktype, held.database, held.relation, held.transactionid))""")
"""The zero stands for prepared transactions (PostgreSQL docs, "System Information Functions")."""


def blockers(connection: Connection, pid: int) -> list[Blocker]:
    """The sessions, and the transactions that were prepared, that block a session right now."""
    number = Literal(pid)
    prepared = _PREPARED.format(more=SQL(""), where=_WANTED.format(pid=number))
    query = _BLOCKERS.format(who=_WHO, pid=number, prepared=prepared)
    return [Blocker(*row) for row in sql.rows(connection, query)]


_EXCLUSIVE = SQL("""
SELECT {who}, array_agg(DISTINCT relation::regclass::text)
FROM pg_catalog.pg_locks AS held JOIN pg_catalog.pg_stat_activity USING (pid)
WHERE {where} AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3, 4, 5
UNION ALL
{prepared}""")

_LOCKED_OUT = SQL("""held.locktype = 'relation' AND held.mode = 'AccessExclusiveLock'
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.relation IN (SELECT oid FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p'))""")


@contextmanager
def reading(connection: Connection) -> Generator[None]:
    """Let the error of a block that reads, and gets no lock, say who is in its way.

    Only ACCESS EXCLUSIVE keeps readers away, also where it is only waited for (PostgreSQL docs,
    "Explicit Locking"). The connection's transaction is ended.

    Raises `LockedError`; the error itself where nobody is in the way any more.
    """
    try:
        yield
    except DBAPIError as error:
        if sqlstate(error) != LOCKED[0]:
            raise
        connection.rollback()
        tables = SQL(", array_agg(DISTINCT held.relation::regclass::text)")
        prepared = _PREPARED.format(more=tables, where=_LOCKED_OUT)
        query = _EXCLUSIVE.format(who=_WHO, where=_LOCKED_OUT, prepared=prepared)
        found = sql.rows(connection, query)
        if not found:
            raise
        who = "; ".join(f"{Blocker(*row)} (locks {first_few(tables)})" for *row, tables in found)
        raise LockedError(f"{message(error)}. In the way: {who}. Run this again") from error


def advisory_key(name: str) -> int:
    """The advisory lock for a name: a signed 64-bit number, stable over releases."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


@contextmanager
def advisory_lock(connection: Connection, name: str) -> Generator[bool]:
    """Hold the session-level advisory lock of a name; yields False when somebody else has it.

    The connection must be in AUTOCOMMIT: held in a transaction, the lock's snapshot would make
    concurrent index builds wait (PostgreSQL docs, "CREATE INDEX", "Building Indexes Concurrently").
    """
    key = Literal(advisory_key(name))
    [(taken,)] = sql.rows(connection, SQL("SELECT pg_try_advisory_lock({})").format(key))
    try:
        yield taken
    finally:
        if taken:
            with suppress(SQLAlchemyError):  # a session that was cut has let go of it
                sql.rows(connection, SQL("SELECT pg_advisory_unlock({})").format(key))


_HOLDER = SQL("""
SELECT {who}
FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (classid::bigint << 32) | objid::bigint = {key}""")


def advisory_holder(connection: Connection, name: str) -> Blocker | None:
    """Who holds the advisory lock of a name, if anybody does."""
    found = sql.rows(connection, _HOLDER.format(who=_WHO, key=Literal(advisory_key(name))))
    return Blocker(*found[0]) if found else None


def only_run(stack: ExitStack, connection: Connection, name: str) -> Blocker | None:
    """Hold the advisory lock of a name until the stack ends, or say who has it."""
    while not stack.enter_context(advisory_lock(connection, name)):
        other = advisory_holder(connection, name)
        if other is not None:  # else it has just ended
            return other
    return None
