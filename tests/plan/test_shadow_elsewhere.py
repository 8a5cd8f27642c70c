"""A script that goes to the live database by an engine of its own writes nothing while planning."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from autogenerate import project, write_revision
from sqlalchemy import Connection, Engine, MetaData, text

from alembic_enterprise.errors import StepError
from alembic_enterprise.plan.saved import document
from alembic_enterprise.plan.shadow import elsewhere, replay
from alembic_enterprise.urls import parse

PLAIN = """
import sqlalchemy as sa
url = op.get_context().config.attributes["engine"].url
engine = sa.create_engine(url, poolclass=sa.NullPool, {options})
with engine.{way}() as connection:
    connection.execute(sa.text("UPDATE notes SET body = 'written'"))
"""
ASYNCHRONOUS = """
import asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
url = op.get_context().config.attributes["engine"].url.set(drivername="postgresql+asyncpg")

async def write():
    engine = create_async_engine(url, poolclass=sa.NullPool)
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE notes SET body = 'written'"))

asyncio.run(write())
"""
READS = """
import sqlalchemy as sa
url = op.get_context().config.attributes["engine"].url
engine = sa.create_engine(url, poolclass=sa.NullPool, {options})
with engine.connect() as connection:
    assert connection.execute(sa.text("SELECT body FROM notes")).scalar_one() == "kept"
"""
AUTOCOMMIT = 'isolation_level="AUTOCOMMIT"'
WRITING = {
    "a transaction": PLAIN.format(options="", way="begin"),
    "in autocommit": PLAIN.format(options=AUTOCOMMIT, way="connect"),
    "asyncpg": ASYNCHRONOUS,
}


@pytest.fixture
def notes(engine: Engine) -> Iterator[Connection]:
    """A connection to the live database."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE TABLE notes AS SELECT 'kept' AS body"))
        yield connection


def written(folder: Path, engine: Engine, body: str) -> Config:
    config = project(folder, engine, MetaData())
    write_revision(folder, "0001", None, body)
    return config


@pytest.mark.parametrize("way", WRITING)
def test_it_does_not_write(
    notes: Connection,
    engine: Engine,
    other_database: Callable[..., str],
    tmp_path: Path,
    way: str,
) -> None:
    config = written(tmp_path / "migrations", engine, WRITING[way])
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    with pytest.raises(StepError) as raised:
        replay.upgrade(config, parse(other_database()), scripts)
    assert elsewhere.ADVICE in str(raised.value)
    assert "to see more" not in str(raised.value)
    document.digests(config, scripts)
    assert list(notes.execute(text("SELECT body FROM notes")).scalars()) == ["kept"]


@pytest.mark.parametrize("options", ["", AUTOCOMMIT])
def test_it_may_read(notes: Connection, engine: Engine, tmp_path: Path, options: str) -> None:
    config = written(tmp_path / "migrations", engine, READS.format(options=options))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert replay.offline(config, scripts)
    assert notes.execute(text("SELECT body FROM notes")).scalar_one() == "kept"
