"""Operation: a dataclass of literals that knows its SQL, its reverse and how it renders.

    @dataclass
    class CreateThing(Operation):
        operation_name: ClassVar[str] = "create_thing"
        table: str

        def statements(self): ...        # composed SQL, a pure function of the fields
        def reverse(self): ...           # another operation

        @classmethod
        def create_thing(cls, operations, table):    # becomes op.create_thing(table)
            return operations.invoke(cls(table))

It is not frozen: Alembic's `Rewriter` sets an attribute on every operation it walks over.
"""

from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import MISSING, Field, fields
from typing import Any, ClassVar, TypeVar, cast

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import OpContainer
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from psycopg.sql import SQL, Composable
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alembic_enterprise import sql
from alembic_enterprise.errors import EnterpriseError, OperationError
from alembic_enterprise.sql import REFUSED, message, sqlstate

Other = TypeVar("Other", bound="Operation")

LINE = 60
"""Longest list of arguments that is rendered on one line, in characters."""


class Operation(MigrateOperation):
    """Base of every operation; subclasses are dataclasses whose fields are literals."""

    operation_name: ClassVar[str]
    """Name of the method on `op`, and of the classmethod that Alembic registers."""

    @abstractmethod
    def statements(self) -> Sequence[Composable]:
        """The SQL, the same online and with `--sql`."""

    @abstractmethod
    def reverse(self) -> MigrateOperation:
        """The operation that puts back what this one changed."""

    @property
    def in_transaction(self) -> bool:
        """Whether the statements may run in the migration's transaction; else each has its own."""
        return True

    def watched(self, connection: Connection) -> AbstractContextManager[object]:
        """What goes on around statements that are not `in_transaction`, while they run online."""
        del connection
        return nullcontext()

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return (self.operation_name, self.arguments())

    def arguments(self) -> dict[str, Any]:
        """The arguments that differ from their defaults, in the order of declaration."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
            if field.compare and getattr(self, field.name) != _default(field)
        }

    def turned_into(self, kind: type[Other], **more: Any) -> Other:
        """An operation of another kind with the same values in the fields that both have."""
        mine, theirs = ({item.name for item in fields(one)} for one in (self, kind))  # type: ignore[arg-type]  # dataclasses
        return kind(**{**{name: getattr(self, name) for name in mine & theirs}, **more})

    def words(self, sqlalchemy: str = "sa.") -> list[str]:
        """The arguments as they are written in a call: the first by position.

        Args:
            sqlalchemy: what a script writes before the names of SQLAlchemy.
        """
        del sqlalchemy  # literals alone have none
        first, *rest = self.arguments().items()
        return [repr(first[1]), *(f"{name}={value!r}" for name, value in rest)]

    def __str__(self) -> str:
        """The call on one line: `name('table', key=value)`."""
        return f"{self.operation_name}({', '.join(self.words())})"


RUNNING: ContextVar[Operation | None] = ContextVar("alembic_enterprise_operation", default=None)
"""The operation whose statements are being run, for whoever watches them."""


class InOrder(OpContainer):
    """Operations of which the later depend on what the earlier leave, also when all are reversed.

    Alembic reverses a script from its end; here the reverse of the first comes first again.
    """

    def reverse(self) -> "InOrder":
        """The reverse operations in the same order."""
        return InOrder([cast("Operation", item).reverse() for item in self.ops])


def _default(field: Field[Any]) -> Any:
    return MISSING if field.default is MISSING else field.default


def execute(operations: Operations, operation: Operation) -> None:
    """Run an operation: the one implementation that Alembic calls for all of ours."""
    context = operations.get_context()
    with reported(), _running(operation):
        refuse_translation(None if context.as_sql else context.connection)
        statements = operation.statements()
        if operation.in_transaction:
            for statement in statements:
                sql.run(context, statement)
            return
        with _cut(operation), _committing(context, operation), _without_timeouts(context):
            online = None if context.as_sql else context.connection
            with nullcontext() if online is None else operation.watched(online):
                for statement in statements:
                    sql.run(context, statement)


@contextmanager
def _running(operation: Operation) -> Generator[None]:
    token = RUNNING.set(operation)
    try:
        yield
    finally:
        RUNNING.reset(token)


COMMIT_FIRST = "in env.py, call connection.commit() first, and connect() instead of begin()"
"""The next step where env.py opens a transaction before Alembic could."""


@contextmanager
def _committing(context: MigrationContext, operation: Operation) -> Generator[None]:
    """An autocommit_block(), which may be nested.

    Raises `OperationError` in a transaction that env.py opened.
    """
    with ExitStack() as stack:
        if context.as_sql or not _commits_each(context.connection):
            try:
                stack.enter_context(context.autocommit_block())
            except AssertionError as error:  # all that Alembic says
                raise OperationError(
                    f"{operation} commits as it goes, and env.py opens a transaction before "
                    f"context.configure(), which Alembic leaves alone: {COMMIT_FIRST}"
                ) from error
        yield


def _commits_each(connection: Connection | None) -> bool:
    """Whether each statement is committed by itself, as in an autocommit_block()."""
    if connection is None:
        return False
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


CARRIES_ON = (
    "Run the migration again: this carries on. Statements before it in the script are committed "
    "and will run again: remove those that cannot run twice"
)
"""The next step after an operation that commits as it goes was interrupted."""


@contextmanager
def _cut(operation: Operation) -> Generator[None]:
    """Say why a connection was lost; an autocommit_block() ends in an error that hides it.

    It hides Ctrl-C as well, which goes on as it came. Operations that commit as they go can all be
    run again, and do what is left.
    """
    try:
        yield
    except SQLAlchemyError as error:
        if (interruption := sql.interruption(error)) is not None:
            interruption.add_note(f"{operation}: interrupted. {CARRIES_ON}")
            # Where it came from fills pages, and tells nothing.
            raise interruption.with_traceback(None) from None
        lost = _loss(error)
        if lost is None:
            raise
        raise CommandError(
            f"{operation}: the connection was lost: {message(lost)}. {CARRIES_ON}"
        ) from lost


def _loss(error: BaseException | None) -> DBAPIError | None:
    """The error by which a connection was lost, if this one came from that."""
    while error is not None:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return error
        error = error.__context__
    return None


def refuse_translation(connection: Connection | None) -> None:
    """Raise `OperationError` when SQLAlchemy would translate schemas: our SQL would not follow."""
    if connection is not None and connection.get_execution_options().get("schema_translate_map"):
        raise OperationError(
            "schema_translate_map does not reach this operation, which would run in another "
            "schema: set the search_path instead, as Alembic's cookbook does for many tenants"
        )


_TIMEOUTS = SQL(
    "unnest(ARRAY['lock_timeout', 'statement_timeout', 'transaction_timeout']) AS name"
    " WHERE current_setting(name, true) IS NOT NULL"  # the last one came with 17
)
STASH_TIMEOUTS = SQL(
    "SELECT set_config('alembic_enterprise.' || name, current_setting(name), false),"
    " set_config(name, '0', false) FROM {}"
).format(_TIMEOUTS)
"""Let what follows in this session wait; the server remembers how long it waited before."""
RESTORE_TIMEOUTS = SQL(
    "SELECT set_config(name, current_setting('alembic_enterprise.' || name), false) FROM {}"
).format(_TIMEOUTS)
"""Undo `STASH_TIMEOUTS`. They do not nest: a second stash would overwrite the first."""
RESTORE_LOCK_TIMEOUT = SQL(
    "SELECT set_config('lock_timeout', current_setting('alembic_enterprise.lock_timeout'), false)"
)
"""First statement of an operation that is not `in_transaction` and yet must not wait for ever."""


@contextmanager
def _without_timeouts(context: MigrationContext) -> Generator[None]:
    """Statements with CONCURRENTLY wait inside; a timeout would leave them half done.

    The server remembers the values meanwhile, so that `--sql` can write the same statements. After
    an error the connection may be gone, and the error is what to see.
    """
    sql.run(context, STASH_TIMEOUTS)
    try:
        yield
    except BaseException:
        with suppress(SQLAlchemyError):
            sql.run(context, RESTORE_TIMEOUTS)
        raise
    sql.run(context, RESTORE_TIMEOUTS)


def render(autogen_context: AutogenContext, operation: Operation) -> str:
    """The call to write into the script; one argument a line when there are many."""
    prefix = autogen_context.opts["alembic_module_prefix"] or ""
    words = operation.words(autogen_context.opts["sqlalchemy_module_prefix"] or "")
    inner = ", ".join(words)
    if len(inner) > LINE:
        inner = "\n    " + ",\n    ".join(words) + ",\n"
    return f"{prefix}{operation.operation_name}({inner})"


def render_in_order(autogen_context: AutogenContext, container: InOrder) -> list[str]:
    """The calls, one after the other."""
    return [line for item in container.ops for line in render_op(autogen_context, item)]


@contextmanager
def reported() -> Generator[None]:
    """Turn our errors, and refusals of our blocks, into the one line that Alembic's CLI prints."""
    try:
        yield
    except EnterpriseError as error:
        raise CommandError(str(error)) from error
    except DBAPIError as error:
        if sqlstate(error) != REFUSED:
            raise
        raise CommandError(message(error)) from error
