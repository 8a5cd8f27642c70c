"""Names and composed SQL; the one place where a statement is run, and what the server says of it.

A statement is a `psycopg.sql.Composable`, so that a name or a value can only get into it quoted.
"""

from asyncio import CancelledError
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

from alembic.runtime.migration import MigrationContext
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal
from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import DBAPIError, ProgrammingError

REFUSED = "AE001"
"""SQLSTATE of a refusal raised by our own blocks; the message ends in the next step."""

NOW = SQL(
    "coalesce(nullif(pg_catalog.current_setting('alembic_enterprise.now', true), '')"
    "::timestamptz, pg_catalog.now())"
)
"""The server's clock, or the moment that `SET alembic_enterprise.now` asks to pretend."""

PRETENDED = SQL("coalesce(pg_catalog.current_setting('alembic_enterprise.now', true), '')")
"""That moment as it is written there; empty while nobody pretends one."""


@dataclass(frozen=True, order=True)
class Name:
    """The name of a relation; without a schema it is looked up along the search_path."""

    schema: str | None
    name: str

    @property
    def sql(self) -> Composable:
        """The name as an identifier, always quoted."""
        return Identifier(self.name) if self.schema is None else Identifier(self.schema, self.name)

    @property
    def text(self) -> str:
        """The name as text, quoted."""
        return text_of(self.sql)

    @property
    def regclass(self) -> Composable:
        """The name as a literal that `::regclass` resolves, also in a script run much later."""
        return Literal(self.text)

    @property
    def called(self) -> set[str]:
        """What a person may call it: its name, with or without the schema."""
        return {self.name, str(self)}

    def __str__(self) -> str:
        return self.name if self.schema is None else self.schema + "." + self.name


def text_of(statement: Composable) -> str:
    """The statement as the text that is sent to the server, or printed with `--sql`."""
    return statement.as_string(None)


def rendered(statement: Composable) -> SQL:
    """The same, composed once and for all: its parts are not quoted again with each use."""
    return SQL(text_of(statement))  # pyright: ignore[reportArgumentType]  # they are quoted


class Remaining(Composed):
    """A query whose rows are statements that remain to be run, in their order; none: all is done.

    What CREATE INDEX CONCURRENTLY is run on is known to the server alone, and no function or block
    may run it (PostgreSQL docs, "CREATE INDEX"). So the server is asked, whenever the script runs.
    """


def do_block(body: LiteralString, **values: Composable) -> Composed:
    """An anonymous PL/pgSQL block; `values` fill the placeholders of `body`."""
    return SQL("DO {}").format(dollar_quoted(SQL(body).format(**values), "block"))


def dollar_quoted(text: Composable, tag: LiteralString) -> Composed:
    """Text as a string in dollar quotes, on lines of its own.

    The quote grows until the text does not contain it: a table may be called `$block$`.
    """
    quote: LiteralString = "$" + tag + "$"
    body = rendered(text)
    while quote[:-1] in text_of(body):
        quote = "$_" + quote[1:]
    return SQL("{}\n{}\n{}").format(SQL(quote), body, SQL(quote))


def run(context: MigrationContext, statement: Composable) -> None:
    r"""Run one statement of a migration, or write it out when the script is made with `--sql`.

    Both ways use the very same text: it goes past SQLAlchemy's `text()`, so a literal `:x` or `%`
    reaches the server as it is written. What `Remaining` tells is run as well: with `--sql` by
    psql's `\gexec`, which takes each row of a query for a statement.
    """
    text = text_of(statement)
    if context.as_sql:
        told = isinstance(statement, Remaining)
        end = "\n\\gexec" if told else context.impl.command_terminator
        context.impl.static_output(text + end)
        return
    if context.connection is None:
        msg = "this migration context has no connection; configure one in env.py"
        raise TypeError(msg)
    if isinstance(statement, Remaining):
        run_remaining(context.connection, statement)
        return
    _execute(context.connection, text)


def run_remaining(connection: Connection, query: Remaining) -> None:
    """Run the statements that a query returns.

    One whose table has been dropped meanwhile is skipped, if the query no longer returns it: the
    retention of partitions does not wait for the indexes of all of them.
    """
    for (text,) in rows(connection, query):
        try:
            _execute(connection, text)
        except ProgrammingError:
            if (text,) in rows(connection, query):
                raise


def execute(connection: Connection, statement: Composable) -> None:
    """Run one statement on a connection, without any parameter processing."""
    _execute(connection, text_of(statement))


def rows(connection: Connection, query: Composable) -> list[tuple[Any, ...]]:
    """Run one query on a connection, and return all its rows."""
    return [tuple(row) for row in many_rows(connection, query)]


def many_rows(connection: Connection, query: Composable) -> Sequence[Sequence[Any]]:
    """As `rows`, as SQLAlchemy has them: tens of thousands are not copied."""
    return _execute(connection, text_of(query)).fetchall()


def stream(connection: Connection, query: Composable) -> Iterator[tuple[Any, ...]]:
    """Run one query, and hand its rows out one by one, however many: the server keeps the rest."""
    options = {"no_parameters": True, "stream_results": True, "max_row_buffer": 1000}
    for row in connection.exec_driver_sql(text_of(query), execution_options=options):
        yield tuple(row)


def _execute(connection: Connection, text: str) -> CursorResult[Any]:
    return connection.exec_driver_sql(text, execution_options={"no_parameters": True})


def begin(connection: Connection) -> None:
    """Begin a transaction on a connection in AUTOCOMMIT; on others the first statement does.

    What is set for a transaction alone would be gone at once, and each query would see another
    moment.
    """
    if _is_in_autocommit(connection):
        execute(connection, SQL("BEGIN"))


def end(connection: Connection) -> None:
    """Roll back the transaction, also that of `begin`, of which not every driver knows."""
    if _is_in_autocommit(connection):
        execute(connection, SQL("ROLLBACK"))
    connection.rollback()


def _is_in_autocommit(connection: Connection) -> bool:
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def read_only(connection: Connection) -> None:
    """Let the transaction refuse to write, wait 5 seconds for a lock at most, and print plainly."""
    guard = SQL(
        "SELECT set_config('transaction_read_only', 'on', true),"
        " set_config('lock_timeout', '5s', true), set_config('bytea_output', 'hex', true),"
        " set_config('DateStyle', 'ISO, YMD', true)"
    )
    rows(connection, guard)


@contextmanager
def canonical_output(connection: Connection) -> Generator[None]:
    """Let the session print times in ISO form and UTC, and put its own settings back afterwards.

    `pg_get_expr` prints partition bounds with the session's DateStyle and TimeZone; other settings
    than these give text that cannot be read back (PostgreSQL docs, "Date/Time Output"). After an
    error nothing is put back: the settings go when the transaction that made them is rolled back,
    and stay where there is none, as with AUTOCOMMIT.
    """
    with _settings(connection, {"DateStyle": "ISO, YMD", "TimeZone": "UTC"}):
        yield


@contextmanager
def plain_tables(connection: Connection) -> Generator[None]:
    """Let a query that would run code of a table's owner fail: a policy of row security, or a view.

    Whoever looks at a table before reading it may have to wait for the owner, who makes it
    something else meanwhile. Minor releases of before August 2024 do not know of views
    (CVE-2024-7348). After an error the settings stay, as those of `canonical_output` do.
    """
    wanted = {"row_security": "off", "restrict_nonsystem_relation_kind": "view"}
    with _settings(connection, wanted):
        yield


_SETTINGS = SQL("""
WITH before AS MATERIALIZED (
    SELECT name, wanted, current_setting(name, true) AS value
    FROM unnest({names}::text[], {wanted}::text[]) AS settings(name, wanted))
SELECT name, value, set_config(name, wanted, false) FROM before WHERE value IS NOT NULL""")


@contextmanager
def _settings(connection: Connection, wanted: Mapping[str, str]) -> Generator[None]:
    """Change settings of the session for a while, but for those that this server does not know."""
    before = {name: value for name, value, _ in rows(connection, _change(wanted))}
    yield
    rows(connection, _change(before))


def _change(settings: Mapping[str, str]) -> Composed:
    names, wanted = list(settings), list(settings.values())
    return _SETTINGS.format(names=Literal(names), wanted=Literal(wanted))


def sqlstate(error: DBAPIError) -> str | None:
    """The SQLSTATE of an error: psycopg 3 says `sqlstate`, psycopg2 and asyncpg say `pgcode`."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def message(error: DBAPIError) -> str:
    """What the server said, in one line."""
    diagnostics = getattr(error.orig, "diag", None)
    told = getattr(diagnostics, "message_primary", None)
    if told:
        return str(told)
    # SQLAlchemy 2.0 puts the name of a class before what asyncpg says.
    lines = str((error.orig and error.orig.__cause__) or error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__


def interruption(error: BaseException) -> BaseException | None:
    """Ctrl-C, or what asyncio makes of it, if this error has hidden it."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, (KeyboardInterrupt, CancelledError)):
        behind = behind.__context__
    return behind
