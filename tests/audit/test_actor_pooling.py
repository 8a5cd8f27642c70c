"""No actor leaks between clients of a PgBouncer that pools by transaction."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy
from poolers import pooler
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from alembic_enterprise.audit.actor import actor, install

TABLE = text(
    "CREATE TABLE notes (client text, actor text DEFAULT "
    "NULLIF(current_setting('alembic_enterprise.actor', true), ''), backend int DEFAULT "
    "pg_backend_pid())"
)
WRITE = text("INSERT INTO notes (client) VALUES (:client) RETURNING actor, backend")
SETTINGS = text(
    "SELECT current_setting('alembic_enterprise.actor', true), "
    "current_setting('alembic_enterprise.context', true), pg_backend_pid()"
)

# What is prepared on a connection of the server would be there for another client, too. asyncpg
# prepares each statement; so each gets a name that no client has had.
UNPREPARED: dict[str, dict[str, Any]] = {
    "psycopg": {"prepare_threshold": None},
    "asyncpg": {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"statement_{uuid4()}",
    },
}

NO_NAMES = pytest.mark.skipif(
    re.fullmatch(r"2\.0\.\d", sqlalchemy.__version__) is not None,
    reason="names of prepared statements came with SQLAlchemy 2.0.10",
)


@pytest.fixture
def pooled_url(engine: Engine, database_url: str) -> Iterator[str]:
    """The test's database behind a PgBouncer with two connections to the server."""
    with engine.begin() as connection:
        connection.execute(TABLE)
    with pooler(database_url, "transaction", 2) as url:
        yield url


def client(url: str) -> Engine:
    """A client that installed the actor, with a connection to PgBouncer for each transaction."""
    engine = create_engine(url, poolclass=NullPool, connect_args=UNPREPARED["psycopg"])
    install(engine)
    return engine


def test_the_next_client_of_a_connection_finds_nothing(pooled_url: str) -> None:
    with client(pooled_url).connect() as one, client(pooled_url).connect() as other:
        with actor("one", request_id="r"):
            backend = one.execute(WRITE, {"client": "one"}).one().backend
            one.commit()
        found: list[Any] = []
        for _ in range(4):  # each of the two connections answers at some time
            found.append(other.execute(SETTINGS).one())
            other.commit()
        assert [row for row in found if row[2] == backend], "the same connection of the server"
        assert {row[:2] for row in found} <= {("", ""), (None, None)}
        with actor("other"):
            assert other.execute(WRITE, {"client": "other"}).one().actor == "other"


def test_a_connection_is_told_anew_in_each_transaction(pooled_url: str) -> None:
    """PgBouncer may have given it another connection of the server meanwhile."""
    with client(pooled_url).connect() as one, client(pooled_url).connect() as other:
        for number in range(10):
            other.execute(SETTINGS)  # takes one of the two, so that they change places
            with actor(f"user:{number}"):
                written = one.execute(WRITE, {"client": "one"}).one()
            assert written.actor == f"user:{number}"
            (other if number % 2 else one).commit()
            one.rollback()
            other.rollback()


def work(connection: Connection, name: str | None) -> None:
    with actor(name):
        for _ in range(50):
            connection.execute(SETTINGS)
            assert connection.execute(WRITE, {"client": name}).one().actor == name
            connection.commit()


def test_twelve_clients_on_two_connections(pooled_url: str, engine: Engine) -> None:
    """Each third of them nobody."""
    names = [f"user:{number}" if number % 3 else None for number in range(12)]

    def run(name: str | None) -> None:
        with client(pooled_url).connect() as connection:
            work(connection, name)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(run, names))
    check(engine, clients=12)


@pytest.mark.parametrize("driver", ["psycopg", pytest.param("asyncpg", marks=NO_NAMES)])
def test_twelve_tasks_on_two_connections(pooled_url: str, engine: Engine, driver: str) -> None:
    names = [f"user:{number}" if number % 3 else None for number in range(12)]
    url = make_url(pooled_url).set(drivername=f"postgresql+{driver}")

    async def run(name: str | None) -> None:
        asynchronous = create_async_engine(url, poolclass=NullPool, connect_args=UNPREPARED[driver])
        install(asynchronous)
        async with asynchronous.connect() as connection:
            await connection.run_sync(work, name)

    async def everybody() -> None:
        await asyncio.gather(*map(run, names))

    asyncio.run(everybody())
    check(engine, clients=12)


def check(engine: Engine, clients: int) -> None:
    """Each row has the actor of its client, and the clients shared two connections."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT client, actor, backend FROM notes")).all()
    assert len(rows) == clients * 50
    assert [row for row in rows if row.client != row.actor] == []
    assert len({row.backend for row in rows}) == 2
