"""Sessions of a run that works for long: their settings, and what their errors say."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alembic_enterprise import sql
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, LockedError, StepError
from alembic_enterprise.locks import Blocker, Watcher
from alembic_enterprise.sql import REFUSED, message, sqlstate

OLDEST = 140000
"""Oldest server that runs work on, as `server_version_num`: multiranges, DETACH CONCURRENTLY and
ranges of ctid came with 14."""


def connect(engine: Engine) -> Connection:
    """A connection in AUTOCOMMIT that never goes back to the pool: its session has settings."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()
    return connection


def close(connection: Connection) -> None:
    """Close a connection of `connect`; a pooler may hand on its session, so nothing stays set."""
    try:
        if not connection.invalidated:
            with suppress(SQLAlchemyError):  # a session that was cut has nothing left
                sql.execute(connection, SQL("RESET ALL"))
    finally:
        connection.close()


def set_up(connection: Connection, application: str, **settings: str) -> int:
    """Set up a session; returns the pid of its backend.

    What a role or a database sets for the application's statements would cut long ones here, so
    there are no timeouts but those given; and what others commit is seen by the next statement.
    Drivers read moments in ISO form only.
    """
    values = {
        "application_name": application,
        "DateStyle": "ISO, YMD",
        "default_transaction_isolation": "read committed",
        "idle_session_timeout": "0",
        "statement_timeout": "0",
        **settings,
    }
    commands = SQL(", ").join([*(_set(*item) for item in values.items()), _NO_TRANSACTION_TIMEOUT])
    [(pid, *_)] = sql.rows(connection, SQL("SELECT pg_backend_pid(), {}").format(commands))
    return int(pid)


def _set(name: str, value: str) -> Composable:
    return SQL("set_config({}, {}, false)").format(Literal(name), Literal(value))


# It came with 17.
_NO_TRANSACTION_TIMEOUT = SQL(
    "CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL THEN {} END"
).format(_set("transaction_timeout", "0"))


_STATE = SQL(
    "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),"
    " current_setting('transaction_read_only')::bool"
)


def require_server(connection: Connection, *, writes: bool) -> int:
    """The server's version, as `server_version_num`.

    Ask before `set_up`: what that sets must not reach the sessions of others.

    Raises `ConfigurationError` for a server that is too old or a replica, where the session
    `writes`, but its transactions are read-only, and behind a pooler by transaction.
    """
    [(version, replica, read_only)] = sql.rows(connection, _STATE)
    if version < OLDEST:
        raise ConfigurationError(
            f"the server is PostgreSQL {version // 10000}, and 14 is needed: upgrade the server"
        )
    if replica:
        raise ConfigurationError("the server is a read-only replica: give the URL of the primary")
    if read_only and writes:
        raise ConfigurationError(
            "transactions are read-only here: connect as a role, or to a database, without "
            "default_transaction_read_only"
        )
    with connect(connection.engine) as other:
        _require_apart(connection, other)
    return int(version)


def require_direct(engine: Engine) -> None:
    """Raise `ConfigurationError` behind a pooler by transaction.

    Ask before anything is set for a session, also by pg_dump, which would reach those of others.
    """
    with connect(engine) as one, connect(engine) as other:
        _require_apart(one, other)


def _require_apart(one: Connection, other: Connection) -> None:
    if are_pooled(one, other):
        raise ConfigurationError(
            "sessions share server processes here, as behind PgBouncer with pool_mode = "
            "transaction: connect to PostgreSQL itself, or with pool_mode = session"
        )


def are_pooled(one: Connection, other: Connection) -> bool:
    """Whether two connections share server processes, as PgBouncer's do in transaction pooling.

    Neither may be in a transaction: a pool of one has no other process then.
    """
    first = (_process(one), _process(other))
    # The other first now, so that a pooler that takes its processes in turns is seen as well.
    later = _process(other)
    return shared([first, (_process(one), later)])


def _process(connection: Connection) -> int:
    """The server process that ran one transaction."""
    [(pid,)] = sql.rows(connection, SQL("SELECT pg_backend_pid()"))
    connection.rollback()
    return int(pid)


def shared(rounds: Sequence[tuple[int, int]]) -> bool:
    """Whether two open sessions were not each served by one process of its own.

    Args:
        rounds: processes of the transactions that both ran.
    """
    one, other = ({pids[place] for pids in rounds} for place in (0, 1))
    return len(one) > 1 or len(other) > 1 or bool(one & other)


@contextmanager
def watched(step: str, watcher: Watcher, pid: int, blockers: set[Blocker]) -> Generator[None]:
    """Let errors of a block say which step it was, who was in its way, and what to do.

    Args:
        step: what the block does, in a word or two, and to what.
        watcher: looks who blocks the session `pid`, which the block works on.
        blockers: whoever was in the way is added to these.

    Raises `LockedError` when it did not get its locks, and `StepError` when it failed.
    """
    seen = set[Blocker]()
    try:
        with watcher.over(pid) as seen:
            yield
    except LockedError as error:
        who = "; ".join(map(str, sorted(seen, key=lambda item: item.pid)))
        raise LockedError(
            f"{step}: {error}, held by {who or 'somebody'}. Run again, or raise --lock-timeout"
        ) from error
    except DBAPIError as error:
        raise StepError(f"{step}: {said(error)}") from error
    finally:
        blockers |= seen


def said(error: DBAPIError) -> str:
    """What the server, or the driver, said of an error, with the next step."""
    state = sqlstate(error)
    if state == REFUSED:
        return message(error)
    code = "" if state is None else f" (SQLSTATE {state})"
    return f"{message(error).strip().splitlines()[0]}{code}. The next run tries again"


def error_text(error: EnterpriseError | DBAPIError) -> str:
    """What a run reports of an error."""
    return said(error) if isinstance(error, DBAPIError) else str(error)
