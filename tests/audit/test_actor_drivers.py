"""The actor on each driver, in threads and in tasks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)

from alembic_enterprise.audit.actor import actor, current_actor, install, tell_actor
from alembic_enterprise.errors import ActorError

TABLE = text(
    "CREATE TABLE notes (text text, actor text DEFAULT "
    "current_setting('alembic_enterprise.actor', true))"
)
WRITE = text("INSERT INTO notes (text) VALUES (:text) RETURNING actor")
READ = text("SELECT current_setting('alembic_enterprise.actor', true)")
CONTEXT = text("SELECT current_setting('alembic_enterprise.context')::json ->> 'request_id'")

HURTING = 'it\'s "quoted" \\ %s :x $1 数据 🐘' + "x" * 10_000


def url_of(database_url: str, driver: str) -> Any:
    return make_url(database_url).set(drivername=f"postgresql+{driver}")


def in_threads(database_url: str, driver: str) -> Engine:
    engine = create_engine(url_of(database_url, driver), pool_size=4)
    install(engine)
    with engine.begin() as connection:
        connection.execute(TABLE)
    return engine


async def in_tasks(database_url: str, driver: str) -> AsyncEngine:
    engine = create_async_engine(url_of(database_url, driver), pool_size=4)
    install(engine)
    async with engine.begin() as connection:
        await connection.execute(TABLE)
    return engine


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_threads(database_url: str, driver: str) -> None:
    """Forty of them on four connections, each with an actor of its own."""
    engine = in_threads(database_url, driver)

    def work(number: int) -> None:
        name = f"user:{number}" if number % 3 else None
        with actor(name), engine.connect() as connection:
            for _ in range(5):
                assert (connection.scalar(WRITE, {"text": ""}) or None) == name
                savepoint = connection.begin_nested()
                with actor(HURTING, request_id=HURTING):
                    assert connection.scalar(WRITE, {"text": ""}) == HURTING
                    assert connection.scalar(CONTEXT) == HURTING
                savepoint.rollback()
                connection.commit()
                assert connection.scalar(READ) == ""

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_connection_that_commits_by_itself(database_url: str, driver: str) -> None:
    engine = in_threads(database_url, driver)
    automatic = engine.execution_options(isolation_level="AUTOCOMMIT")
    with automatic.connect() as connection, actor("one"):
        assert connection.scalar(READ) in {None, ""}
        with pytest.raises(ActorError, match="AUTOCOMMIT"):
            connection.execute(WRITE, {"text": ""})
    engine.dispose()


def test_a_thread_takes_the_actor_along_with_its_context() -> None:
    with ThreadPoolExecutor(1) as pool, actor("one"):
        assert pool.submit(current_actor).result().name is None
        assert pool.submit(copy_context().run, current_actor).result().name == "one"
        assert asyncio.run(asyncio.to_thread(current_actor)).name == "one"


async def tasks(engine: AsyncEngine) -> None:
    """Forty at the same time on four connections, each with an actor of its own."""

    async def work(number: int) -> None:
        name = f"user:{number}" if number % 3 else None
        with actor(name, request_id=number):
            async with AsyncSession(engine) as session:
                for _ in range(5):
                    await asyncio.sleep(0)
                    assert await session.scalar(WRITE, {"text": ""}) == (name or "")
                    assert await session.scalar(CONTEXT) == str(number)
                    async with session.begin_nested() as savepoint:
                        with actor(HURTING, request_id=HURTING):
                            assert await session.scalar(WRITE, {"text": ""}) == HURTING
                            assert await session.scalar(CONTEXT) == HURTING
                        await savepoint.rollback()
                    await session.commit()
                    # Perhaps on another connection, which has not heard of it yet.
                    assert await session.scalar(READ) in {"", None}
            assert current_actor().name == name

    await asyncio.gather(*map(work, range(40)))


async def told_before(engine: AsyncEngine) -> None:
    with actor("one"):
        async with engine.begin() as connection:
            await connection.run_sync(tell_actor)
            assert await connection.scalar(READ) == "one"


async def refused(engine: AsyncEngine) -> None:
    automatic = engine.execution_options(isolation_level="AUTOCOMMIT")
    with actor("one"):
        async with automatic.connect() as connection:
            with pytest.raises(ActorError, match="AUTOCOMMIT"):
                await connection.execute(WRITE, {"text": ""})


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("story", [tasks, told_before, refused])
def test_asynchronous(database_url: str, driver: str, story: Callable[..., Any]) -> None:
    async def tell() -> None:
        engine = await in_tasks(database_url, driver)
        await story(engine)
        await engine.dispose()

    asyncio.run(tell())


MAKERS: dict[str, Callable[[AsyncEngine], Any]] = {
    "engine": lambda engine: engine,
    "sessionmaker": async_sessionmaker,
    "scoped": lambda engine: async_scoped_session(async_sessionmaker(engine), lambda: None),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_installs_on(database_url: str, make: Callable[[AsyncEngine], Any]) -> None:
    async def tell() -> None:
        engine = create_async_engine(url_of(database_url, "asyncpg"))
        install(make(engine))
        with actor("one"):
            async with engine.begin() as connection:
                await connection.execute(TABLE)
                assert await told(connection) == "one"
        await engine.dispose()

    asyncio.run(tell())


async def told(connection: AsyncConnection) -> Any:
    return await connection.scalar(WRITE, {"text": ""})
