"""A build that was killed, at any point, is carried on by the next run and ends valid."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import indexed
import killed
import pytest
from alembic.util import CommandError
from indexed import indexes, sales
from sqlalchemy import Engine, NullPool, create_engine, make_url

BUILDING = """SELECT pid, application_name FROM pg_stat_activity
WHERE starts_with(query, 'CREATE INDEX CONCURRENTLY {}') AND wait_event_type = 'Lock'
  AND datname = current_database()"""


def alone(engine: Engine) -> None:
    """Build, not turned away by the killed run, whose end the server has yet to notice."""
    while True:
        try:
            return indexed.create(engine)
        except CommandError as error:
            assert "is at work on its index" in str(error)  # noqa: PT017  # the only one


def test_a_build_killed_before_any_statement_is_carried_on(
    database_url: str, other_database: Callable[..., str]
) -> None:
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        sales(connection)
    original = make_url(database_url).database
    with killed.killer("create index") as run_until:
        for number in range(1, 100):
            url = other_database(original)
            ended = run_until(url, number)
            engine = create_engine(url, poolclass=NullPool)
            alone(engine)
            with engine.connect() as connection:
                assert indexes(connection) == indexed.ALL, f"killed before change {number}"
            if ended != "killed":
                break
        else:
            pytest.fail("the run has no end")
    assert ended == "finished"
    assert number > 10


def test_a_build_killed_while_it_builds_a_part_is_carried_on(
    database_url: str, other_database: Callable[..., str]
) -> None:
    """The server goes on with what it was told, until it is ended or wants to answer."""
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        sales(connection)
    original = make_url(database_url).database
    with killed.killer("create index") as run_until:
        for busy, terminated in product(indexed.PARTITIONS, [True, False]):
            url = other_database(original)
            cut(create_engine(url, poolclass=NullPool), busy, partial(run_until, url), terminated)


def cut(engine: Engine, busy: str, run_until: Callable[[int], str], terminated: bool) -> None:
    """Kill the run that builds the part of a partition somebody writes to, and run again."""
    with engine.connect() as connection, engine.connect() as writer, ThreadPoolExecutor() as pool:
        writer.exec_driver_sql(f"INSERT INTO {busy} SELECT * FROM {busy} LIMIT 1")
        ended = pool.submit(run_until, 100)
        query = BUILDING.format(f"{busy}_ix")
        while (found := connection.exec_driver_sql(query).first()) is None:
            connection.rollback()
        connection.rollback()
        os.kill(int(found.application_name), signal.SIGKILL)
        assert ended.result() == "killed"
        with pytest.raises(CommandError, match=f"pid {found.pid} is at work on its index"):
            indexed.create(engine)
        if terminated:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({found.pid})")
            connection.rollback()
        writer.rollback()
        alone(engine)
        assert indexes(connection) == indexed.ALL
