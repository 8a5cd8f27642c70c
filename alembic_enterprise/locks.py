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
from alembic_enterprise.operation import message, sqlstate

Result = TypeVar("Result")

LOCKED = ("55P03", "40P01")
"""SQLSTATEs worth another try: lock_not_available and deadlock_detected."""


@dataclass(frozen=True, order=True)
class Blocker:
    """A session that somebody waits for.

    Attributes:
        since: when its running (or last) statement began, aware.
    """

    pid: int
    user: str
    application: str
    since: datetime | None
    query: str

    def __str__(self) -> str:
        since = "" if self.since is None else f" since {self.since:%H:%M:%S}"
        application = f" ({self.application})" if self.application else ""
        return f"pid {self.pid}, {self.user}{application}{since}: {self.query}"


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

_BLOCKERS = SQL("""
SELECT {who}
FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_blocking_pids({pid}))""")


def blockers(connection: Connection, pid: int) -> list[Blocker]:
    """The sessions that block the session `pid` right now."""
    return [
        Blocker(*row) for row in sql.rows(connection, _BLOCKERS.format(who=_WHO, pid=Literal(pid)))
    ]


_EXCLUSIVE = SQL("""
SELECT {who}, array_agg(DISTINCT relation::regclass::text)
FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
JOIN pg_catalog.pg_class AS c ON c.oid = relation AND c.relkind IN ('r', 'p')
WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid <> pg_backend_pid()
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 1, 2, 3, 4, 5""")


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
        found = sql.rows(connection, _EXCLUSIVE.format(who=_WHO))
        if not found:
            raise
        who = "; ".join(f"{', '.join(tables[:3])} by {Blocker(*row)}" for *row, tables in found)
        raise LockedError(f"{message(error)}. Locked are {who}. Run this again") from error


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
