"""Databases to which a script goes by an engine of its own, past the connection it is given.

They are real ones, and while a script is only tried, or written as SQL, they are only read:

with only_read("alembic_enterprise_shadow_1"):
    ...     # env.py and scripts run
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from psycopg.sql import SQL
from sqlalchemy import Connection, Engine, event

from alembic_enterprise.errors import StepError
from alembic_enterprise.sql import text_of

READ_ONLY = "25006"
"""SQLSTATE of a statement that would write where it may not."""

ADVICE = (
    "A script or env.py goes to another database by an engine of its own, and does not write there "
    "while it is tried: let it use op.get_bind()"
)

_READS = re.compile(r"\s*(SELECT|WITH|VALUES|TABLE|SHOW|SET|RESET)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|INTO)\b|;\s*\S", re.IGNORECASE)


@contextmanager
def only_read(database: str | None = None) -> Generator[None]:
    """Let SQLAlchemy's engines write in no database but one, whatever their URLs and drivers.

    Each transaction is set so: a setting of the session would stay behind a pooler. What runs
    outside of transactions is not run unless it looks like a query.

    Args:
        database: its name; none may be written by default.
    """

    def look(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        is_new = connection.info.pop(_NEW, False)
        if _is_elsewhere(connection, database):
            _require_query(connection, statement)
            if is_new:
                _read_only(connection)

    event.listen(Engine, "begin", _begin)
    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(Engine, "begin", _begin)
        event.remove(Engine, "before_cursor_execute", look)


def _begin(connection: Connection) -> None:
    """Told with its first statement only: one that sends none is not to be in a transaction."""
    connection.info[_NEW] = True


def _require_query(connection: Connection, statement: str) -> None:
    """Raise `StepError` for what may write outside of a transaction."""
    if _in_autocommit(connection) and (not _READS.match(statement) or _WRITES.search(statement)):
        raise StepError(ADVICE)


def _read_only(connection: Connection) -> None:
    if not _in_autocommit(connection):
        cursor = connection.connection.cursor()
        cursor.execute(_SETTING)
        cursor.close()


def _is_elsewhere(connection: Connection, database: str | None) -> bool:
    url = connection.engine.url
    return connection.dialect.name == "postgresql" and (
        database is None or url.database != database
    )


def _in_autocommit(connection: Connection) -> bool:
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


_NEW = "alembic_enterprise_new_transaction"
_SETTING = text_of(SQL("SET TRANSACTION READ ONLY"))
