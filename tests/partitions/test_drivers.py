"""Engines of users run on other drivers than ours."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from alembic.util import CommandError
from autogenerate import events, generate, partitions, run, run_sql, upgrade
from sqlalchemy import Column, Connection, Integer, MetaData, NullPool, create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine

NAME = 'we"ird % :x'


def story(connection: Connection) -> None:
    """Generate, upgrade, compare, be refused, detach concurrently, downgrade."""
    metadata = MetaData()
    events(metadata, NAME, Column("n", Integer, index=True), timezone="Asia/Tokyo")
    table = '"we""ird % :x"'
    run_sql(connection, "SET TimeZone = 'America/Havana'", "SET DateStyle = 'German'")
    script = upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []
    run_sql(connection, f"INSERT INTO {table} VALUES (1, now())")
    with pytest.raises(CommandError) as raised:
        run(connection, script.downgrade)
    connection.rollback()
    assert str(raised.value).startswith(f"{table}: partition ")
    assert str(raised.value).endswith("to lose them"), "one line, without what the driver adds"
    last = list(partitions(connection, table))[-1].strip('"').replace('""', '"')
    connection.rollback()
    run(connection, f"op.detach_partition({NAME!r}, {last!r}, concurrently=True)")
    assert len(partitions(connection, table)) == 3
    run_sql(connection, f"DELETE FROM {table}")
    run(connection, script.downgrade)
    assert generate(connection, MetaData()).calls == []


def url_of(database_url: str, driver: str) -> Any:
    return make_url(database_url).set(drivername=f"postgresql+{driver}")


def in_psycopg2(database_url: str) -> None:
    engine = create_engine(url_of(database_url, "psycopg2"), poolclass=NullPool)
    with engine.connect() as connection:
        story(connection)


def in_asyncpg(database_url: str) -> None:
    async def run_story() -> None:
        engine = create_async_engine(url_of(database_url, "asyncpg"), poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(story)

    asyncio.run(run_story())


@pytest.mark.parametrize("driver", [in_psycopg2, in_asyncpg])
def test_other_drivers(database_url: str, driver: Callable[[str], None]) -> None:
    driver(database_url)
