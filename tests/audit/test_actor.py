"""What the database is told of the actor, and when."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    NullPool,
    Table,
    create_engine,
    event,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session
from sqlalchemy.orm import sessionmaker as sessionmaker_of

from alembic_enterprise.audit.actor import (
    NOBODY,
    Actor,
    actor,
    current_actor,
    first_word,
    install,
    tell_actor,
    writes,
)
from alembic_enterprise.errors import ActorError

NOTES = """
CREATE TABLE notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text,
    actor text DEFAULT current_setting('alembic_enterprise.actor', true),
    context text DEFAULT current_setting('alembic_enterprise.context', true))"""

WRITE = text("INSERT INTO notes (text) VALUES ('x') RETURNING NULLIF(actor, '')")
READ = text("SELECT current_setting('alembic_enterprise.actor', true)")


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Sent:
    """What is sent to a server, in order."""

    def __init__(self, engine: Engine) -> None:
        self.statements: list[str] = []
        self.parameters: list[Any] = []
        event.listen(engine, "before_cursor_execute", self.record)

    def record(
        self, _c: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        self.statements.append(statement)
        self.parameters.append(parameters)

    @property
    def words(self) -> list[str]:
        """The first word of each statement, `tell` for those that tell the actor."""
        return [
            "tell" if "set_config" in statement else first_word(statement)
            for statement in self.statements
        ]

    @property
    def told(self) -> list[str]:
        """Each actor that the server was told."""
        return [
            parameters["actor"]
            for parameters, word in zip(self.parameters, self.words, strict=True)
            if word == "tell"
        ]


@pytest.fixture(scope="module")
def notes_url(shared_database: Callable[..., str]) -> str:
    """A database that `pooled` empties for each test: this takes less than making another one."""
    return shared_database()


@pytest.fixture
def pooled(notes_url: str) -> Iterator[Engine]:
    """An engine with one connection, used again and again, and nothing but the table of notes."""
    engine = create_engine(notes_url, pool_size=1, max_overflow=0)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text(NOTES))
    install(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sent(pooled: Engine) -> Sent:
    return Sent(pooled)


def write(connection: Connection) -> str | None:
    """Write a row, and return the actor that the database took for it."""
    written: str | None = connection.scalar(WRITE)
    return written


# When


def test_it_is_told_right_before_the_first_write_of_a_transaction(
    pooled: Engine, sent: Sent
) -> None:
    with actor("user:42"), pooled.begin() as connection:
        connection.execute(READ)
        write(connection)
        connection.execute(text("UPDATE notes SET text = 'y'"))
        connection.execute(text("DELETE FROM notes"))
    assert sent.words == ["SELECT", "tell", "INSERT", "UPDATE", "DELETE"]
    assert sent.statements[1] == (
        "SELECT set_config('alembic_enterprise.actor', %(actor)s, true), "
        "set_config('alembic_enterprise.context', %(context)s, true)"
    )
    assert sent.parameters[1] == {"actor": "user:42", "context": ""}


def test_the_orm_tells_once_however_much_it_flushes(pooled: Engine, sent: Sent) -> None:
    with actor("user:42"), Session(pooled) as session:
        session.add_all([Note(text=str(number)) for number in range(3)])
        session.flush()
        session.add(note := Note(text="another"))
        session.commit()
        note.text = "changed"
        session.commit()
    assert sent.words == ["tell", "INSERT", "INSERT", "SELECT", "tell", "UPDATE"]


def test_core_tells_once_for_thousands_of_rows(pooled: Engine, sent: Sent) -> None:
    with pooled.connect() as connection:
        notes = Table("notes", MetaData(), autoload_with=connection)
        connection.rollback()
        sent.statements.clear()
        rows = [{"text": str(number)} for number in range(3000)]
        with actor("batch"):
            found = connection.scalars(insert(notes).returning(notes.c.actor), rows).all()
    assert set(found) == {"batch"}
    assert sent.words == ["tell", "INSERT", "INSERT", "INSERT"]


def test_nothing_is_sent_without_an_actor(pooled: Engine, sent: Sent) -> None:
    with pooled.begin() as connection:
        assert write(connection) is None
        tell_actor(connection)
    with actor(None), pooled.begin() as connection:
        assert write(connection) is None
        tell_actor(connection)
    assert sent.words == ["INSERT", "INSERT"]


READS = (
    "SELECT 1",
    "  -- DELETE\n select 1",
    "/* UPDATE */ (SELECT id FROM notes FOR UPDATE)",
    "SELECT 'a;b'",
    "VALUES (1)",
    "TABLE notes",
    "WITH deleted AS (SELECT 1 AS update_count) SELECT * FROM deleted",
    "EXPLAIN ANALYZE SELECT 1",
    "SHOW work_mem",
    "SET LOCAL work_mem = '4MB'",
    "SAVEPOINT a",
    "LOCK TABLE notes",
    "CREATE TABLE others (id bigint)",
    "CREATE TABLE others AS TABLE notes",
    "CREATE TRIGGER a BEFORE UPDATE ON notes EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "LISTEN notes",
)


@pytest.mark.parametrize("statement", READS)
def test_nothing_is_sent_for_reads(pooled: Engine, sent: Sent, statement: str) -> None:
    with actor("user:42"), pooled.begin() as connection:
        connection.exec_driver_sql(statement)
    assert sent.told == []


WRITES = (
    "INSERT INTO notes (text) VALUES ('x')",
    "\n\t-- a comment\n  insert into notes (text) values ('x')",
    "/* SELECT */ UPDATE notes SET text = 'x'",
    "/* of /* several */ levels */ DELETE FROM notes",
    "/**/--\n/*-*/;DELETE FROM notes",
    "WITH a AS (SELECT 1) INSERT INTO notes (text) SELECT 'x' FROM a",
    "WITH a AS (\n  -- here\n  delete from notes returning id) SELECT * FROM a",
    "with a as materialized (UPDATE notes SET text = 'x' RETURNING 1) SELECT 1",
    "EXPLAIN ANALYZE INSERT INTO notes (text) VALUES ('x')",
    "CREATE TEMP TABLE gone AS (WITH a AS (DELETE FROM notes RETURNING *) SELECT * FROM a)",
    "SELECT 1; DELETE FROM notes",
    "SET LOCAL work_mem = '4MB'; DELETE FROM notes",
    "TRUNCATE notes",
    "COPY notes (text) FROM '/dev/null'",
    "DO $$ BEGIN INSERT INTO notes (text) VALUES ('x'); END $$",
    "CALL note()",
    "EXECUTE noted",
)


@pytest.mark.parametrize("statement", WRITES)
def test_every_way_to_write_is_seen(pooled: Engine, sent: Sent, statement: str) -> None:
    with pooled.begin() as connection:
        body = "INSERT INTO notes (text) VALUES ('x')"
        connection.exec_driver_sql(f"CREATE PROCEDURE note() LANGUAGE sql AS $${body}$$")
        connection.exec_driver_sql(f"PREPARE noted AS {body}")
    with actor("user:42"), pooled.begin() as connection:
        connection.exec_driver_sql(statement)
        assert set(connection.scalars(text("SELECT actor FROM notes"))) <= {"user:42"}
    assert sent.words[-3] == "tell"


def test_merge_is_a_write() -> None:
    """PostgreSQL has it from 15 on."""
    statement = "MERGE INTO notes USING others ON true WHEN MATCHED THEN DELETE"
    assert writes(first_word(statement), statement)


# Who


def test_another_actor_is_told_and_the_first_one_again(pooled: Engine, sent: Sent) -> None:
    with pooled.begin() as connection:
        with actor("one"):
            assert write(connection) == "one"
            with actor("two"):
                connection.execute(READ)
                assert write(connection) == "two"
            assert write(connection) == "one"
            assert write(connection) == "one"
        connection.execute(READ)
        assert write(connection) is None
        assert write(connection) is None
    assert sent.told == ["one", "two", "one", ""]


def test_the_same_actor_in_another_block_is_not_told_again(pooled: Engine, sent: Sent) -> None:
    with pooled.begin() as connection:
        for _ in range(2):
            with actor("one", batch=7):
                write(connection)
    assert sent.told == ["one"]


def test_a_block_in_a_block_inherits_the_context() -> None:
    assert current_actor() is NOBODY
    with actor("one", request_id="r", source="web", tenant=3) as outer:
        with actor("two", source="job", batch=None, tenant=None, name="n") as inner:
            assert current_actor() is inner
            context = {"request_id": "r", "source": "job", "tenant": 3, "name": "n"}
            assert inner == Actor("two", context)
        with actor(None) as inner:
            assert inner == Actor(None, outer.context)
        assert current_actor() is outer
    assert current_actor() is NOBODY


def test_an_error_ends_the_block() -> None:
    with pytest.raises(ZeroDivisionError), actor("one"):
        _ = 1 / 0
    assert current_actor() is NOBODY


def test_it_decorates_a_function() -> None:
    @actor("job:nightly")
    def nightly() -> str | None:
        return current_actor().name

    assert (nightly(), nightly(), current_actor().name) == ("job:nightly", "job:nightly", None)


HURTING = (
    'it\'s "quoted" \\',
    "'); DROP TABLE notes; --",
    "%s %(actor)s :actor $1 {} %%",
    "Зоя 数据 🐘 \u202e",
    "line\nbreak\ttab \\u0000",
    "x" * 10_000,
)


@pytest.mark.parametrize("name", HURTING)
def test_any_text_arrives_as_it_is(pooled: Engine, name: str) -> None:
    context = {"request_id": name, name: [name, {"key": name}], "n": 1.5, "yes": True}
    with actor(name, **context), pooled.begin() as connection:
        assert write(connection) == name
        assert json.loads(str(connection.scalar(text("SELECT context FROM notes")))) == context
        assert connection.scalar(text("SELECT context::jsonb FROM notes")) == context


def test_the_context_holds_what_was_given_only(pooled: Engine) -> None:
    with pooled.begin() as connection:
        for given in ({}, {"source": "api"}, {"request_id": UUID(int=1), "batch": 0}):
            with actor(42, **given):
                assert write(connection) == "42"
        found = connection.scalars(text("SELECT context FROM notes ORDER BY id")).all()
    one = '{"request_id": "00000000-0000-0000-0000-000000000001", "batch": 0}'
    assert found == ["", '{"source": "api"}', one]


def test_a_context_does_without_an_actor(pooled: Engine) -> None:
    with actor(None, source="cron"), pooled.begin() as connection:
        assert write(connection) is None
        assert connection.scalar(text("SELECT context FROM notes")) == '{"source": "cron"}'


@pytest.mark.parametrize("name", [object(), ["user:1"], b"user:1", True, 1.5])
def test_what_is_no_name_is_refused(name: Any) -> None:
    words = f"an actor is a text, a whole number or a UUID, not {type(name).__name__}: pass user.id"
    with pytest.raises(ActorError) as raised, actor(name):
        pass
    assert str(raised.value).startswith(words)


@pytest.mark.parametrize(
    ("name", "context", "words"),
    [
        ("", {}, "without a name"),
        ("a\0b", {}, "NUL"),
        ("a", {"x": ["\0"]}, "NUL"),
        ("a", {"x": "\\\0"}, "NUL"),
        ("\ud800", {}, "surrogates"),
        ("a", {"x\udfff": 1}, "surrogates"),
        ("a", {"x": float("nan")}, "not JSON"),
        ("a", {"x": {(): 1}}, "not JSON"),
    ],
)
def test_what_cannot_be_kept_is_refused(name: str, context: dict[str, Any], words: str) -> None:
    with pytest.raises(ActorError, match=words), actor(name, **context):
        pytest.fail("it was let in")
    assert current_actor() is NOBODY


# For how long


def setting(connection: Connection) -> str | None:
    found: str | None = connection.scalar(READ)
    return found


def test_it_ends_with_the_transaction(pooled: Engine, sent: Sent) -> None:
    """And then reads as '', not as NULL, on a connection that has seen it before."""
    with pooled.begin() as connection:
        process = connection.scalar(text("SELECT pg_backend_pid()"))
        assert setting(connection) is None
    with actor("one"), pooled.connect() as connection:
        write(connection)
        connection.commit()
        assert setting(connection) == ""
        write(connection)
        connection.rollback()
        assert setting(connection) == ""
        write(connection)
    with pooled.begin() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) == process
        assert setting(connection) == ""
        assert write(connection) is None
    with actor("two"), pooled.begin() as connection:
        assert write(connection) == "two"
    assert sent.told == ["one"] * 3 + ["two"]


def test_what_was_told_before_a_savepoint_outlives_it(pooled: Engine, sent: Sent) -> None:
    with actor("one"), pooled.begin() as connection:
        write(connection)
        for _ in range(2):
            savepoint = connection.begin_nested()
            assert write(connection) == "one"
            savepoint.rollback()
            assert write(connection) == "one"
    assert sent.told == ["one"]


def test_a_savepoint_in_a_savepoint_that_told(pooled: Engine, sent: Sent) -> None:
    with actor("one"), pooled.begin() as connection, connection.begin_nested():
        write(connection)
        connection.begin_nested().rollback()
        assert write(connection) == "one"
    assert sent.told == ["one"]


def test_what_a_savepoint_told_goes_with_it(pooled: Engine, sent: Sent) -> None:
    with actor("one"), pooled.begin() as connection:
        savepoint = connection.begin_nested()
        write(connection)
        savepoint.rollback()
        assert setting(connection) == ""
        assert write(connection) == "one"
        with connection.begin_nested():
            assert write(connection) == "one"
        assert write(connection) == "one"
    assert sent.told == ["one", "one"]


def test_what_a_savepoint_told_stays_when_it_is_released(pooled: Engine, sent: Sent) -> None:
    with actor("one"), pooled.begin() as connection:
        for _ in range(3):
            with connection.begin_nested():
                assert write(connection) == "one"
    assert sent.told == ["one"]


def test_nobody_is_not_taken_for_the_actor_before_a_savepoint(pooled: Engine) -> None:
    with pooled.begin() as connection:
        with actor("one"):
            write(connection)
        savepoint = connection.begin_nested()
        with actor("two"):
            write(connection)
        savepoint.rollback()
        assert setting(connection) == "one"
        assert write(connection) is None


def test_savepoints_in_another_order(pooled: Engine) -> None:
    with actor("one"), pooled.begin() as connection:
        outer = connection.begin_nested()
        with actor("two"):
            write(connection)
        connection.begin_nested()
        with pytest.warns(SAWarning, match="already deassociated"):
            outer.rollback()
        with actor("two"):
            assert write(connection) == "two"


BY_HAND = (
    ("SAVEPOINT a", "ROLLBACK TO a"),
    ("savepoint a;", "rollback transaction to savepoint A ;"),
    ("/* of a tracer */ SAVEPOINT a", "ROLLBACK TO SAVEPOINT a /* of a tracer */"),
    ("SAVEPOINT a -- c", "ROLLBACK TO a -- c"),
    ('SAVEPOINT "a b"', 'ROLLBACK TO "a b"'),
)


@pytest.mark.parametrize(("make", "undo"), BY_HAND)
def test_savepoints_by_hand(pooled: Engine, make: str, undo: str) -> None:
    """Each is made when two was told, and undone when three was: the server is back at two."""
    with actor("one"), pooled.begin() as connection:
        write(connection)
        connection.exec_driver_sql("SAVEPOINT a")
        with actor("two"):
            write(connection)
            connection.exec_driver_sql(make)
            with actor("three"):
                write(connection)
                connection.exec_driver_sql(undo)
                assert setting(connection) == "two"
                assert write(connection) == "three"
                connection.exec_driver_sql(undo)
        assert write(connection) == "one"
        connection.exec_driver_sql("ROLLBACK TO a")
        assert write(connection) == "one"


def test_savepoints_of_one_name_by_hand(pooled: Engine) -> None:
    """One hides the other, until it is gone."""
    with pooled.begin() as connection:
        with actor("one"):
            write(connection)
            connection.exec_driver_sql("SAVEPOINT a")
            connection.exec_driver_sql("SAVEPOINT b")
        with actor("two"):
            write(connection)
            connection.exec_driver_sql("SAVEPOINT a")
            connection.exec_driver_sql("ROLLBACK TO b")
            connection.exec_driver_sql("ROLLBACK TO a")
            assert setting(connection) == "one"
            assert write(connection) == "two"


def test_savepoints_by_hand_one_after_the_other(pooled: Engine, sent: Sent) -> None:
    with actor("one"), pooled.begin() as connection:
        write(connection)
        for _ in range(3):
            connection.exec_driver_sql("SAVEPOINT a")
            write(connection)
            connection.exec_driver_sql("ROLLBACK TO a")
            assert write(connection) == "one"
            connection.exec_driver_sql("RELEASE a")
    assert sent.told == ["one"]


def test_transactions_by_hand(pooled: Engine) -> None:
    """SQLAlchemy does not notice that its transaction is another one now."""
    with actor("one"), pooled.begin() as connection:
        for end in ("COMMIT", "ROLLBACK AND CHAIN", "end", "abort"):
            write(connection)
            connection.exec_driver_sql("BEGIN" if end != "COMMIT" else "SELECT 1")
            connection.exec_driver_sql(end)
            assert write(connection) == "one"


def test_a_session_in_a_transaction_of_somebody_else(pooled: Engine, sent: Sent) -> None:
    """As tests do it that roll back what they did."""
    with pooled.connect() as connection:
        connection.begin()
        for _ in range(2):
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                with actor("one"):
                    session.add(Note(text="x"))
                    session.commit()
                found = session.scalars(text("SELECT actor FROM notes")).all()
                assert set(found) == {"one"}
        connection.rollback()
    assert sent.told == ["one"]


def test_two_phases(pooled: Engine) -> None:
    with actor("one"), pooled.connect() as connection:
        transaction = connection.begin_twophase()
        assert write(connection) == "one"
        transaction.rollback()
        assert setting(connection) == ""


@pytest.mark.parametrize("seed", range(20))
def test_every_row_has_the_actor_of_its_moment(pooled: Engine, seed: int) -> None:
    """Blocks, savepoints and transactions, opened and ended at random."""
    random = Random(seed)  # noqa: S311  # to be repeated, not to be kept secret
    written = 0
    with ExitStack() as end, pooled.connect() as connection:
        blocks: list[ExitStack] = []
        savepoints: list[Any] = []
        for _ in range(300):
            step = random.choice(["write"] * 4 + ["in", "out", "save", "release", "undo", "end"])
            if step == "write":
                assert write(connection) == current_actor().name
                written += 1
            elif step == "in":
                blocks.append(end.enter_context(ExitStack()))
                blocks[-1].enter_context(actor(random.choice(["one", "two", None])))
            elif step == "out" and blocks:
                blocks.pop().close()
            elif step == "save":
                savepoints.append(connection.begin_nested())
            elif step in {"release", "undo"} and savepoints:
                savepoint = savepoints.pop()
                savepoint.commit() if step == "release" else savepoint.rollback()
            elif step == "end" and random.random() < 0.2:
                random.choice([connection.commit, connection.rollback])()
                savepoints.clear()
    assert written > 50


# Connections of other kinds


def test_a_connection_that_commits_by_itself_is_refused(pooled: Engine) -> None:
    """What is told would be over before the write."""
    engine = pooled.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        with actor("one"):
            assert setting(connection) is None
            with pytest.raises(ActorError, match="commits each statement by itself"):
                write(connection)
            with pytest.raises(ActorError, match="without AUTOCOMMIT"):
                tell_actor(connection)
        assert write(connection) is None
        assert connection.scalar(text("SELECT count(*) FROM notes")) == 1


@pytest.mark.parametrize("options", [{"stream_results": True}, {"yield_per": 2}])
def test_it_is_told_by_one_statement_where_results_are_streamed(
    pooled: Engine, options: dict[str, Any]
) -> None:
    """A server-side cursor would be declared first, and be left open by SQLAlchemy 2.0."""
    at_once = {"stream_results": False, "yield_per": None}
    with actor("one"), pooled.execution_options(**options).begin() as connection:
        assert connection.scalar(WRITE, execution_options=at_once) == "one"


def test_a_function_that_writes_needs_the_actor_told_before(pooled: Engine, sent: Sent) -> None:
    with pooled.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION note() RETURNS text LANGUAGE sql AS $$"
            "INSERT INTO notes (text) VALUES ('x') RETURNING actor $$"
        )
    with actor("one"), pooled.begin() as connection:
        assert connection.scalar(select(func.note())) is None
        tell_actor(connection)
        assert connection.scalar(select(func.note())) == "one"
        assert write(connection) == "one"
    assert sent.told == ["one"]


def test_telling_the_actor_needs_no_installation(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(NOTES))
        with actor("one"):
            tell_actor(connection)
        assert write(connection) == "one"
        tell_actor(connection)
        assert write(connection) is None


def test_copy_of_the_driver_needs_the_actor_told_before(pooled: Engine) -> None:
    with actor("one"), pooled.begin() as connection:
        tell_actor(connection)
        driver: Any = connection.connection.driver_connection
        with driver.cursor().copy("COPY notes (text) FROM STDIN") as copy:
            copy.write_row(["x"])
        assert connection.scalar(text("SELECT actor FROM notes")) == "one"


# Installation


def test_installed_twice_it_tells_once(pooled: Engine, sent: Sent) -> None:
    install(pooled)
    install(sessionmaker_of(pooled))
    with actor("one"), pooled.begin() as connection:
        write(connection)
    assert sent.told == ["one"]


MAKERS: dict[str, Callable[[Engine], Any]] = {
    "engine": lambda engine: engine,
    "sessionmaker": sessionmaker_of,
    "binds": lambda engine: sessionmaker_of(binds={Note: engine}),
    "shards": lambda engine: sessionmaker_of(class_=ShardedSession, shards={"a": engine}),
    "scoped_session": lambda engine: scoped_session(sessionmaker_of(bind=engine)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_installs_on(engine: Engine, make: Callable[[Engine], Any]) -> None:
    install(make(engine))
    with engine.begin() as connection:
        connection.execute(text(NOTES))
        with actor("one"):
            assert write(connection) == "one"


def test_what_has_no_engine_is_refused(connection: Connection) -> None:
    targets: list[Any] = [
        sessionmaker_of(),
        sessionmaker_of(connection),
        connection,
        "postgresql://",
    ]
    for target in targets:
        with pytest.raises(ActorError, match="has no engine: pass the engine itself"):
            install(target)


def test_another_database_is_refused() -> None:
    with pytest.raises(ActorError, match="is not PostgreSQL"):
        install(create_engine("sqlite://", poolclass=NullPool))


def test_importing_it_loads_no_more_than_sqlalchemy() -> None:
    """It runs in the application, which has a driver of its own choice."""
    program = (
        "import sys, sqlalchemy, sqlalchemy.dialects.postgresql; before = set(sys.modules);"
        "import alembic_enterprise.audit.actor;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(ended.stdout.split()) - set(sys.stdlib_module_names)
    assert loaded == {"alembic_enterprise"}
