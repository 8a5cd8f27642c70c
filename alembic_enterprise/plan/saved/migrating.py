"""The session of a migration: how long it waits for locks, and what it has committed for good.

with migrating(connection, 200) as session:
    session.begin_revision()    # before each
    ...                         # Alembic runs it
session.kept                    # what stays of it, though it fails
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, event

from alembic_enterprise import sql

_EVENTS = ("before_cursor_execute", "after_cursor_execute", "begin", "commit", "rollback")

_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_LOOK = re.compile(
    r"\s*(?:SET|SHOW)\b|\s*(?:SELECT|WITH)\b.*\b(?:pg_\w+|set_config|current_setting)\b",
    re.IGNORECASE | re.DOTALL,
)

_STASH = SQL(
    "SELECT set_config('alembic_enterprise.apply', current_setting('lock_timeout'), false),"
    " set_config('lock_timeout', '0', false)"
)
_RESTORE = SQL(
    "SELECT set_config('lock_timeout', current_setting('alembic_enterprise.apply'), false)"
)


@dataclass
class Session:
    """What a connection is used for in a migration.

    Attributes:
        kept: statements of the running revision that are committed, or may have left something.
    """

    connection: Connection
    lock_timeout: int
    kept: list[str] = field(default_factory=list[str])
    _open: list[str] = field(default_factory=list[str])
    _committing: list[str] = field(default_factory=list[str])

    def begin_revision(self) -> list[str]:
        """Forget what went before, and set the lock timeout, whatever env.py has set.

        Returns `kept`, which is filled while the revision runs.
        """
        self.kept, self._open, self._committing = [], [], []
        setting = SQL("SELECT set_config('lock_timeout', {}, false)")
        sql.rows(self.connection, setting.format(Literal(str(self.lock_timeout))))
        return self.kept

    def begin(self, _connection: Connection) -> None:
        """What was to be committed is so: else this would be a rollback."""
        self.kept += self._committing
        self._committing = []

    def commit(self, _connection: Connection) -> None:
        """This is told before it is done."""
        self._committing, self._open = self._open, []

    def rollback(self, _connection: Connection) -> None:
        """Nothing of the transaction stays."""
        self._committing, self._open = [], []

    def before_cursor_execute(
        self, connection: Connection, _cursor: Any, statement: str, *_: Any
    ) -> None:
        """Let a statement that waits inside do so: a timeout would leave it half done."""
        if _is_alone(connection) and _CONCURRENTLY.search(statement):
            self.kept.append(statement)
            sql.rows(connection, _STASH)

    def after_cursor_execute(
        self, connection: Connection, _cursor: Any, statement: str, *_: Any
    ) -> None:
        """Note what changes something."""
        if not _is_alone(connection):
            self._open += [] if _LOOK.match(statement) else [statement]
        elif _CONCURRENTLY.search(statement):
            sql.rows(connection, _RESTORE)
        elif not _LOOK.match(statement):
            self.kept.append(statement)


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


def _is_alone(connection: Connection) -> bool:
    """Whether each statement is a transaction of its own, by the driver's word."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))
