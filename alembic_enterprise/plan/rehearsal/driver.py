"""Statements that a script sends over psycopg's own connection, past SQLAlchemy.

op.get_bind().connection.cursor().execute("DROP TABLE orders")      # SQLAlchemy tells nobody
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.sql import Composable
from sqlalchemy import Connection

Around = Callable[[object, str, Any, bool], AbstractContextManager[None]]
"""Entered before a statement is sent, and left when it has run: its cursor, text and parameters,
and whether these are all that it takes to run it once more."""


def listen(connection: Connection, around: Around, ended: Callable[[str], None]) -> None:
    """Report each statement of new cursors, those of SQLAlchemy as well.

    Args:
        connection: that migrates; with another driver than psycopg nothing is reported.
        around: called with each statement.
        ended: called with "commit" or "rollback" before it is done.
    """
    driver: Any = connection.connection.driver_connection
    if isinstance(connection.connection.driver_connection, psycopg.Connection):
        driver.cursor_factory = _telling(driver.cursor_factory, around)
        driver.commit = _ending("commit", driver.commit, ended)
        driver.rollback = _ending("rollback", driver.rollback, ended)


def is_open(connection: Connection) -> bool:
    """Whether there is a transaction, as far as psycopg knows, also in AUTOCOMMIT."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        return False
    return driver.info.transaction_status != TransactionStatus.IDLE


def _ending(name: str, end: Callable[[], None], ended: Callable[[str], None]) -> Callable[[], None]:
    def telling() -> None:
        ended(name)
        end()

    return telling


def _telling(factory: type[psycopg.Cursor[Any]], around: Around) -> type[psycopg.Cursor[Any]]:
    class Telling(factory):  # type: ignore[misc, valid-type]  # whatever env.py has chosen
        def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
            with self._told(query, params):
                return super().execute(query, params, **more)

        def executemany(self, query: Any, params_seq: Any, **more: Any) -> None:
            with self._told(query, (), is_one=False):
                super().executemany(query, params_seq, **more)

        @contextmanager
        def copy(self, statement: Any, params: Any = None, **more: Any) -> Generator[Any]:
            told = self._told(statement, params, is_one=False)
            with told, super().copy(statement, params, **more) as copy:
                yield copy

        def _told(
            self, query: Any, params: Any, *, is_one: bool = True
        ) -> AbstractContextManager[None]:
            return around(self, _text(query, self), params, is_one)

    return Telling


def _text(query: Any, cursor: psycopg.Cursor[Any]) -> str:
    if isinstance(query, Composable):
        return query.as_string(cursor)
    return query.decode() if isinstance(query, bytes) else str(query)
