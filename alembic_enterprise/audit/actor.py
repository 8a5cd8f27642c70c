"""Who acts, recorded in the database in each transaction that writes.

    install(engine)                                         # once, where the engine is made

    with actor("user:42", request_id=key, source="api"):    # in a request, a task, a job
        session.add(order)
        session.commit()                                    # written by user:42

One SELECT of `set_config(..., true)` goes before the first statement of a transaction that writes;
reads pay nothing. What it sets ends with the transaction, so that nothing is left to the next
client of a connection, be it pooled here or by PgBouncer.

This runs in the application: importing it loads neither Alembic nor a driver.
"""

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID
from weakref import ref

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import Transaction

from alembic_enterprise.errors import ActorError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, async_scoped_session, async_sessionmaker
    from sqlalchemy.orm import scoped_session, sessionmaker

    Target: TypeAlias = (
        Engine
        | AsyncEngine
        | sessionmaker[Any]
        | async_sessionmaker[Any]
        | scoped_session[Any]
        | async_scoped_session[Any]
    )

Settings: TypeAlias = tuple[str, str]
"""What the database is sent: the actor, and the context as a JSON object; '' for none."""

NOTHING: Settings = ("", "")


@dataclass(frozen=True)
class Actor:
    """Who acts, None for nobody, and the context in which."""

    name: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @cached_property
    def settings(self) -> Settings:
        """What the database gets of it.

        Raises `ActorError` for what PostgreSQL cannot keep.
        """
        try:
            context = json.dumps(self.context, ensure_ascii=False, allow_nan=False, default=str)
        except (TypeError, ValueError) as error:
            raise ActorError(f"the actor's context is not JSON: {error}") from error
        found = (self.name or "", context if self.context else "")
        if not _storable(*found):
            raise ActorError(
                "PostgreSQL keeps neither NUL characters nor half surrogates: take them out of "
                f"the actor {self.name!r} and its context"
            )
        return found


NOBODY = Actor()

_current: ContextVar[Actor] = ContextVar("alembic_enterprise.actor", default=NOBODY)


def current_actor() -> Actor:
    """Who acts here; outside of `with actor(...)` `NOBODY`, without name and context."""
    return _current.get()


@contextmanager
def actor(
    name: str | int | UUID | None,
    /,
    *,
    request_id: object = None,
    source: object = None,
    batch: object = None,
    **more: object,
) -> Generator[Actor]:
    """Let what is written inside be written by `name`; None is nobody.

    A block inside another one overrides its actor, and adds to its context. Tasks of asyncio and
    `asyncio.to_thread()` take the actor along; a thread that is started otherwise begins without.

    Args:
        name: who acts: a text, a whole number or a UUID; kept as text.
        request_id: which request it is for.
        source: which program or part of it writes.
        batch: which run of a job it is.
        more: other entries of the context. JSON is kept as it is, other values as their `str()`;
            None is left out, which leaves what a block around this one says.

    Raises:
        ActorError: the name is empty or of another type, or PostgreSQL cannot keep it or the
            context.
    """
    _require_name(name)
    given = {"request_id": request_id, "source": source, "batch": batch} | more
    added = {key: value for key, value in given.items() if value is not None}
    inner = Actor(None if name is None else str(name), {**_current.get().context, **added})
    _ = inner.settings  # what is wrong with it is told here, not at the first write
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)


def _require_name(name: object) -> None:
    if name == "":
        raise ActorError("an actor without a name: give one, or None for nobody")
    # The text of other objects is seldom theirs for good: that of many names their address.
    if not isinstance(name, str | int | UUID | None) or isinstance(name, bool):
        raise ActorError(
            "an actor is a text, a whole number or a UUID, not "
            f"{type(name).__name__}: pass user.id, or whatever else names who acts"
        )


def install(target: "Target") -> None:
    """Let an engine record who acts, before the first write of each transaction.

    Of a sessionmaker it is the engines it has: `bind`, `binds` and a `ShardedSession`'s `shards`.
    Once is enough, again does no harm. Connections that are open already do not notice.

    Raises:
        ActorError: a sessionmaker without an engine, or an engine of another database.
    """
    for engine in _engines(target):
        if engine.dialect.name != "postgresql":
            raise ActorError(f"{engine!r} is not PostgreSQL: install the actor where it is")
        event.listen(engine, "before_cursor_execute", _before_cursor_execute)


def tell_actor(connection: Connection) -> None:
    """Tell the database now who acts, for a write that is not seen as one.

    That is a SELECT of a function that writes, and what goes past SQLAlchemy, such as psycopg's
    `copy()`. It holds to the end of the transaction: `tell_actor(session.connection())`, or
    `await connection.run_sync(tell_actor)`. Without an actor nothing is sent.

    Raises:
        ActorError: the connection commits each statement by itself.
    """
    wanted = _current.get().settings
    if wanted != NOTHING or _sent(connection) is not None:
        _send(connection, wanted)


# Engines


def _engines(target: Any) -> list[Engine]:
    maker = getattr(target, "session_factory", target)
    options: Mapping[str, Any] | None = getattr(maker, "kw", None)
    found = [target] if options is None else _bound(options)
    engines = [getattr(one, "sync_engine", one) for one in found]
    if not engines or not all(isinstance(engine, Engine) for engine in engines):
        raise ActorError(f"{target!r} has no engine: pass the engine itself to install()")
    return engines


def _bound(options: Mapping[str, Any]) -> list[Any]:
    """What the sessions made with these arguments are bound to."""
    named: list[Mapping[Any, Any]] = [options.get(name) or {} for name in ("binds", "shards")]
    engines = [options.get("bind"), *(engine for each in named for engine in each.values())]
    return [engine for engine in engines if engine is not None]


# What the database knows


@dataclass
class _Sent:
    """What a transaction was sent, and what each savepoint goes back to; None is not known."""

    transaction: ref[Transaction]
    settings: Settings | None
    savepoints: dict[str, Settings | None] = field(default_factory=dict[str, Settings | None])


_KEY = "alembic_enterprise.actor"


def _sent(connection: Connection) -> _Sent | None:
    """What the transaction that is open now was sent; None when it was sent nothing yet.

    It is kept with the connection, which other transactions had before. They are known by their
    objects: there are many ways to end one, of which not each is an event.
    """
    sent: _Sent | None = connection.info.get(_KEY)
    transaction = connection.get_transaction()
    if sent is None or transaction is None or sent.transaction() is not transaction:
        return None
    return sent


# Text with parameters, the driver's own: nothing of an actor gets into the statement.
_SET_CONFIG = text(
    "SELECT set_config('alembic_enterprise.actor', :actor, true), "
    "set_config('alembic_enterprise.context', :context, true)"
)

# A server-side cursor would take three statements, and with SQLAlchemy 2.0 stay open.
_AT_ONCE = {"stream_results": False, "yield_per": None}


def _send(connection: Connection, settings: Settings) -> None:
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        raise ActorError(
            "an actor holds for a transaction, and this connection commits each statement by "
            "itself: write in a transaction, without AUTOCOMMIT, or outside of `with actor(...)`"
        )
    name, context = settings
    parameters: dict[str, Any] = {"actor": name, "context": context}
    connection.execute(_SET_CONFIG, parameters, execution_options=_AT_ONCE)
    sent, transaction = _sent(connection), connection.get_transaction()
    if sent is not None:
        sent.settings = settings
    elif transaction is not None:
        connection.info[_KEY] = _Sent(ref(transaction), settings)


def _before_cursor_execute(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    wanted, sent = _current.get().settings, _sent(connection)
    if sent is None and wanted == NOTHING:
        return
    word = first_word(statement)
    if sent is not None and word in SAVEPOINTS:
        _follow(sent, word, statement)
    elif (sent is None or wanted != sent.settings) and writes(word, statement):
        _send(connection, wanted)


def _follow(sent: _Sent, word: str, statement: str) -> None:
    """Know what the settings are after a savepoint is made, released or gone back to.

    SQLAlchemy sends the same statements as who writes them by hand. What is not sure is forgotten:
    to send once too often is cheap, to take a row for another one's is wrong.
    """
    found = _SAVEPOINT.fullmatch(statement)
    name = found[1].lower() if found else None
    if name is None:
        sent.savepoints.clear()
    elif word == "SAVEPOINT":
        sent.savepoints[name] = None if name in sent.savepoints else sent.settings
    if word in ENDS:
        sent.settings = sent.savepoints.get(name or "")
    elif word == "RELEASE":
        sent.savepoints.pop(name or "", None)


# Statements


WRITES = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "CALL", "DO", "EXECUTE"}
)
"""First words of statements that write, or may."""

ENDS = frozenset({"ROLLBACK", "ABORT", "COMMIT", "END"})
"""First words of statements that take settings back, to a savepoint or altogether."""

SAVEPOINTS = ENDS | {"SAVEPOINT", "RELEASE"}

UNCLEAR = frozenset({"WITH", "EXPLAIN", ""})
"""First words of statements that write if they hold a word of `WRITES`."""

_SAVEPOINT = re.compile(
    r"\s*(?:SAVEPOINT|RELEASE(?:\s+SAVEPOINT)?"
    r"|ROLLBACK(?:\s+(?:WORK|TRANSACTION))?\s+TO(?:\s+SAVEPOINT)?)\s+(\w+)[\s;]*",
    re.IGNORECASE,
)
_BEGINNING = re.compile(r"(?:[\s(;]|--[^\n]*|/\*(?:(?!/\*|\*/).)*\*/)*+(\w*)", re.DOTALL)
# What a function or a trigger is called, or does when it is, is no write.
_CREATE_AS = re.compile(r"\bTABLE\b.*?\bAS\b[\s(]*WITH\b", re.IGNORECASE | re.DOTALL)
_WRITE = re.compile(rf"\b(?:{'|'.join(sorted(WRITES))})\b", re.IGNORECASE)


def first_word(statement: str) -> str:
    """The first word behind comments, in capitals; '' where comments stand in comments."""
    found = _BEGINNING.match(statement)
    return found[1].upper() if found else ""


def writes(word: str, statement: str) -> bool:
    """Whether a statement with this first word writes.

    Not seen is a SELECT of a function that writes. Where this is not sure the answer is yes, as
    with `WITH ... SELECT ... FOR UPDATE`: it costs one statement.
    """
    if word in WRITES:
        return True
    unclear = word in UNCLEAR or ";" in statement or _creates_from(word, statement)
    return unclear and _WRITE.search(statement) is not None


def _creates_from(word: str, statement: str) -> bool:
    return word == "CREATE" and _CREATE_AS.search(statement) is not None


# Texts


# A NUL as JSON writes it, by a backslash that is not escaped itself.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _storable(name: str, context: str) -> bool:
    """Whether PostgreSQL can keep a name as text and a context as jsonb."""
    try:
        (name + context).encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name and not _NUL.search(context)
