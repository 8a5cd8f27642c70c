"""Who looks at a connection before and after each statement that somebody else sends over it."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg.sql import SQL
from sqlalchemy import Connection, UpdateBase, event
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.operation import RUNNING
from alembic_enterprise.plan.locks.traces import Look, look
from alembic_enterprise.plan.rehearsal import driver
from alembic_enterprise.plan.rehearsal.phrases import (
    begins_transaction,
    ends_transaction,
    goes_back,
    is_block,
    is_silent,
)
from alembic_enterprise.sql import Name

_EVENTS = ("before_cursor_execute", "after_cursor_execute", "begin", "commit", "rollback")


@dataclass(frozen=True)
class Recorded:
    """A statement that was run, with the looks around it.

    Attributes:
        statement: its text as the server gets it, but with the driver's placeholders.
        operation: the call that ran it, when it is an operation of this package.
        drops_rows: whether that was told to lose rows, with `drop_rows=True`.
        transaction: its number, 1 is the first; a statement outside of a block has one of its own.
        transactional: whether it ran in a transaction block; if not, the looks see its locks no
            more.
        before: relations and locks before it.
        after: the same after it.
        tried: the looks around the statement in a transaction block, when it ran outside of one
            and may run inside.
    """

    statement: str
    operation: str | None
    drops_rows: bool
    transaction: int
    transactional: bool
    before: Look
    after: Look
    tried: tuple[Look, Look] | None


class Recorder:
    """Tells of each statement on a connection, but for settings and Alembic's own bookkeeping."""

    def __init__(
        self, connection: Connection, version_table: Name, tell: Callable[[Recorded], None]
    ) -> None:
        """Begin to listen."""
        self._connection = connection
        self._version_table = version_table
        self._tell = tell
        self._transactions = 0
        self._is_numbered = False
        # Nobody else changes relations meanwhile; locks and scans count in their transaction only.
        self._last: Look | None = None
        self._is_fresh = False
        # By a BEGIN of its own, of which the driver does not know.
        self._is_open = False
        self._tried: tuple[Look, Look] | None = None
        self._is_looking = False
        # That of SQLAlchemy, whose statements are told by its events.
        self._cursor: object = None
        for name in _EVENTS:
            event.listen(connection, name, getattr(self, name))
        driver.listen(connection, self._around, lambda name: getattr(self, name)(connection))

    @property
    def is_numbered(self) -> bool:
        """Whether the transaction that is open has a statement, and so a number."""
        return self._is_numbered

    def begin(self, _connection: Connection) -> None:
        """A transaction begins, or has ended."""
        self._is_fresh = self._is_numbered = False

    commit = begin

    def rollback(self, connection: Connection) -> None:
        """What it had made is gone, what it had dropped is there again."""
        self.begin(connection)
        self._last, self._is_open = None, False

    def before_cursor_execute(
        self,
        _connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: ExecutionContext,
        _executemany: bool,
    ) -> None:
        """Look, unless the last look still counts."""
        if self._is_looking:
            return
        if not self._passes_over(statement, context):
            options = {"no_parameters": context.execution_options.get("no_parameters", False)}
            self._look(statement, parameters, options)
        self._cursor = cursor

    def after_cursor_execute(
        self,
        connection: Connection,
        _cursor: Any,
        statement: str,
        parameters: Any,
        context: ExecutionContext,
        _executemany: bool,
    ) -> None:
        """Look again, and report."""
        if self._is_looking:
            return
        if not self._passes_over(statement, context):
            with self._unrecorded():
                self._record(_sent(statement, parameters, context))
        else:
            self._follow(connection, statement)

    @contextmanager
    def _around(
        self, cursor: object, statement: str, parameters: Any, repeats: bool
    ) -> Generator[None]:
        """The same for what goes past SQLAlchemy."""
        if self._is_looking or cursor is self._cursor or self._connection.closed:
            yield
        elif is_silent(statement):
            yield
            self._follow(self._connection, statement)
        else:
            # SQLAlchemy takes a list for the parameters of several.
            given = tuple(parameters) if hasattr(parameters, "append") else parameters
            self._look(statement, given, {"no_parameters": given is None}, tries=repeats)
            yield
            with self._unrecorded():
                self._record(statement if given is None else statement.replace("%%", "%"))

    def _look(
        self, statement: str, parameters: Any, options: dict[str, Any], *, tries: bool = True
    ) -> None:
        self._tried = None
        with self._unrecorded():
            if not self._is_fresh:
                self._last = look(self._connection, self._last)
            if tries and self._in_autocommit:
                self._tried = self._try(statement, parameters, options)

    def _follow(self, connection: Connection, statement: str) -> None:
        """Notice what SQL does to the transaction."""
        if goes_back(statement):
            self._last, self._is_fresh = None, False
        elif ends_transaction(statement):
            self.rollback(connection)
        elif begins_transaction(statement):
            self._is_open = True

    def _passes_over(self, statement: str, context: ExecutionContext) -> bool:
        compiled = getattr(context.compiled, "statement", None)
        if isinstance(compiled, UpdateBase):
            table: Any = compiled.table
            return Name(table.schema, table.name) == self._version_table
        return is_silent(statement)

    @property
    def _in_autocommit(self) -> bool:
        dbapi = self._connection.connection.dbapi_connection
        is_open = self._is_open or driver.is_open(self._connection)
        return bool(getattr(dbapi, "autocommit", False)) and not is_open

    def _try(
        self, statement: str, parameters: Any, options: dict[str, Any]
    ) -> tuple[Look, Look] | None:
        """Run a statement in a transaction block that is rolled back, if it may run in one."""
        sql.execute(self._connection, SQL("BEGIN"))
        try:
            before = look(self._connection, self._last)
            self._connection.exec_driver_sql(statement, parameters, execution_options=options)
            return before, look(self._connection, before)
        except DBAPIError:
            return None  # what is wrong with it is said when it runs
        finally:
            sql.execute(self._connection, SQL("ROLLBACK"))

    def _record(self, statement: str) -> None:
        before, operation = self._last, RUNNING.get()
        if before is None:
            return
        if self._tried is None:
            # What has committed inside has let go of its locks, by which columns are looked at.
            again = is_block(statement) and self._in_autocommit
            after = look(self._connection, None if again else before)
        else:
            after = look(self._connection, before, self._tried[1].locks)
        is_inside = not self._in_autocommit
        if not (is_inside and self._is_numbered):
            self._transactions += 1
        self._last, self._is_fresh, self._is_numbered = after, is_inside, is_inside
        self._tell(
            Recorded(
                statement=statement,
                operation=None if operation is None else str(operation),
                drops_rows=operation is not None and "drop_rows" in operation.arguments(),
                transaction=self._transactions,
                transactional=is_inside,
                before=before,
                after=after,
                tried=self._tried,
            )
        )

    @contextmanager
    def _unrecorded(self) -> Generator[None]:
        self._is_looking = True
        try:
            yield
        finally:
            self._is_looking = False


def _sent(statement: str, parameters: Any, context: ExecutionContext) -> str:
    """The text that the server gets, of which the driver takes doubled percent signs for one.

    It does so where it looks for placeholders: psycopg, and only if it is given parameters.
    """
    is_literal = context.execution_options.get("no_parameters", False) and not parameters
    if is_literal or context.dialect.paramstyle not in {"format", "pyformat"}:
        return statement
    return statement.replace("%%", "%")
