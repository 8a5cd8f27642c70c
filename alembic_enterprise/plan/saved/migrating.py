"""The session of a migration: how long it waits for locks, and what it has committed for good.

with migrating(connection, 200) as session:
    session.begin_revision()    # before each
    ...                         # Alembic runs it
session.kept                    # what stays, though it fails
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection, event

from alembic_enterprise import sql
from alembic_enterprise.operation import RESTORE_TIMEOUTS, RUNNING, STASH_TIMEOUTS
from alembic_enterprise.plan.rehearsal.phrases import (
    ends_transaction,
    goes_back,
    is_query,
    is_silent,
)
from alembic_enterprise.plan.shadow.statements import statements

_EVENTS = ("before_cursor_execute", "after_cursor_execute", "begin", "commit", "rollback")

_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)

_COMMITS = re.compile(r"COMMIT|CALL", re.IGNORECASE)

_CALLED = re.compile(r"([\w.]+|\")\s*\(")
_ASKS = re.compile(
    r"(pg_catalog\.)?(set_config|current_setting|to_regclass|format_type|pg_backend_pid"
    r"|pg_get_\w+|pg_\w+_is_visible)|any|in|exists|and|or|coalesce|cast",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(r"\b(FROM|JOIN|TABLE)\s+(?!pg_catalog\.)", re.IGNORECASE)


@dataclass
class Session:
    """What a connection is used for in a migration.

    Attributes:
        kept: statements that are committed, or may have left something, while their revision's
            stamp is not committed.
        unsure: a statement that may commit inside, and has not come to its end.
    """

    connection: Connection
    lock_timeout: int
    kept: list[str] = field(default_factory=list[str])
    unsure: list[str] = field(default_factory=list[str])
    _open: list[str] = field(default_factory=list[str])
    _committing: list[str] = field(default_factory=list[str])
    # The open transaction holds the stamp of an earlier revision, or is to commit it.
    _has_stamp: bool = False
    _commits_stamp: bool = False
    _has_begun: bool = False
    # By SQL, of which the driver does not know.
    _is_ended: bool = False
    _is_own: bool = False

    def begin_revision(self) -> None:
        """Forget what has its stamp, and set the lock timeout, whatever env.py has set."""
        if self._is_alone or not self.connection.in_transaction():
            self.kept.clear()
        else:
            self._has_stamp = self._has_begun
        self._has_begun = True
        self._open, self._committing = [], []
        setting = SQL("SELECT set_config('lock_timeout', {}, false)")
        self._set(setting.format(Literal(str(self.lock_timeout))))

    def begin(self, _connection: Connection) -> None:
        """The next transaction begins, so the last COMMIT went through."""
        if self._commits_stamp:
            self.kept.clear()
        self.kept += self._committing
        self._committing, self._commits_stamp, self._is_ended = [], False, False

    def commit(self, _connection: Connection) -> None:
        """SQLAlchemy calls this before it sends COMMIT; `begin` shows that it succeeded."""
        self._committing, self._open = self._open, []
        self._commits_stamp, self._has_stamp = self._has_stamp, False

    def rollback(self, _connection: Connection) -> None:
        """Nothing of the transaction stays."""
        self._committing, self._open = [], []
        self._commits_stamp = self._has_stamp = False

    def before_cursor_execute(
        self, _connection: Connection, _cursor: Any, statement: str, *_: Any
    ) -> None:
        """Let a statement that waits inside do so: a timeout would leave it half done."""
        if self._is_own:
            return
        if ends_transaction(statement) and not goes_back(statement):
            self.kept += [*self._open, *_changing(statement)]
            self._open, self._is_ended = [], True
        elif self._is_alone and _CONCURRENTLY.search(statement):
            self.kept.append(statement)
            self._set_timeouts(STASH_TIMEOUTS)
        elif self._is_alone and RUNNING.get() is None and may_commit(statement):
            self.unsure.append(statement)

    def after_cursor_execute(
        self, _connection: Connection, _cursor: Any, statement: str, *_: Any
    ) -> None:
        """Note what changes something."""
        if self._is_own:
            return
        self.unsure.clear()
        if ends_transaction(statement) and not goes_back(statement):
            return
        if not self._is_alone:
            self._open += _changing(statement)
        elif _CONCURRENTLY.search(statement):
            self._set_timeouts(RESTORE_TIMEOUTS)
        else:
            self.kept += _changing(statement)

    @property
    def _is_alone(self) -> bool:
        """Whether each statement is a transaction of its own, by the driver's word or by SQL."""
        driver = self.connection.connection.dbapi_connection
        return self._is_ended or bool(getattr(driver, "autocommit", False))

    @contextmanager
    def unnoted(self) -> Generator[None]:
        """What runs inside is of no migration."""
        self._is_own = True
        try:
            yield
        finally:
            self._is_own = False

    def _set_timeouts(self, setting: Composable) -> None:
        """Our own operations see to their timeouts, and the server remembers one value of each."""
        if RUNNING.get() is None:
            self._set(setting)

    def _set(self, setting: Composable) -> None:
        with self.unnoted():
            sql.rows(self.connection, setting)


def may_commit(statement: str) -> bool:
    """Whether it is a procedure, or a block that may commit inside: either may fail after that.

    The text of a block shows it: a function that it calls can commit nothing (PostgreSQL docs,
    PL/pgSQL, "Transaction Management"), and other languages have a function of such a name.
    """
    return any(
        item.words[:1] == ("CALL",)
        or (item.words[:1] == ("DO",) and _COMMITS.search(item.text) is not None)
        for item in statements(f"{statement}\n;")
    )


def is_look(statement: str) -> bool:
    """Whether it is sure to change nothing: a setting, or a question about the catalog.

    A function may do anything, and so may a view; operations of this package only look.
    """
    if is_silent(statement):
        return True
    if not is_query(statement):
        return False
    if RUNNING.get() is not None:
        return True
    asks = all(_ASKS.fullmatch(name) for name in _CALLED.findall(statement))
    return asks and _ELSEWHERE.search(statement) is None


def _changing(statement: str) -> list[str]:
    return [] if is_look(statement) else [statement]


@contextmanager
def migrating(connection: Connection, lock_timeout: int) -> Generator[Session]:
    """Watch over a connection inside the block.

    Args:
        connection: that Alembic migrates on.
        lock_timeout: milliseconds.
    """
    session = Session(connection, lock_timeout)
    hooks = [(name, getattr(session, name)) for name in _EVENTS]
    for name, hook in hooks:
        event.listen(connection, name, hook)
    try:
        yield session
    finally:
        for name, hook in hooks:
            event.remove(connection, name, hook)
