"""Growth that was killed between any two statements is carried on by the next run, with writers."""

from collections.abc import Callable, Iterator

import growing
import killed
import pytest
from autogenerate import run_sql
from sqlalchemy import Engine, NullPool, create_engine, make_url

from alembic_enterprise.shards.growth.report import Report

REFERRING = (
    (
        "CREATE TABLE lines (tenant bigint, id bigint, FOREIGN KEY (tenant, id)"
        " REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE)"
    ),
    "INSERT INTO lines SELECT tenant, id FROM orders",
)

REFERENCES = """SELECT convalidated, obj_description(oid, 'pg_constraint'),
    (SELECT count(*) FROM lines LEFT JOIN orders USING (tenant, id) WHERE amount IS NULL)
FROM pg_constraint WHERE conrelid = 'lines'::regclass AND contype = 'f' AND conparentid = 0"""


@pytest.fixture(scope="module")
def killer() -> Iterator[Callable[[str, int], str]]:
    """A function that lets a table grow in a process that is killed before its n-th change."""
    with killed.killer("grow") as run_until:
        yield run_until


def alone(engine: Engine, count: int | None) -> Report:
    """A run that is not turned away by the killed one, whose end the server has yet to notice."""
    while (report := growing.run(engine, count)).other is not None:
        pass
    return report


def test_growth_killed_before_any_statement_is_carried_on(
    database_url: str,
    other_database: Callable[..., str],
    killer: Callable[[str, int], str],
) -> None:
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        growing.orders(connection)
        run_sql(connection, *REFERRING)
    original = make_url(database_url).database
    for number in range(1, 100):
        url = other_database(original)
        engine = create_engine(url, poolclass=NullPool)
        with growing.writing(engine) as writer:
            ended = killer(url, number)
            report = alone(engine, 4)
        told = f"killed before change {number}"
        assert report.exit_code == 0, (told, report)
        with engine.connect() as connection:
            assert writer.written > 0
            assert growing.contents(connection) == writer.rows, told
            assert set(growing.held(connection).values()) == {f"{n} of 4" for n in range(4)}, told
            assert growing.leftovers(connection) == [], told
            assert connection.exec_driver_sql(REFERENCES).all() == [(True, None, 0)], told
        if ended != "killed":
            break
    else:
        pytest.fail("the run has no end")
    assert ended == "finished"
    assert number > 15


def test_growth_killed_before_any_statement_can_be_aborted(
    database_url: str,
    other_database: Callable[..., str],
    killer: Callable[[str, int], str],
) -> None:
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        growing.orders(connection)
    original = make_url(database_url).database
    for number in range(1, 12):  # the first shard; the second is like it
        url = other_database(original)
        engine = create_engine(url, poolclass=NullPool)
        with growing.writing(engine) as writer:
            assert killer(url, number) == "killed"
            report = alone(engine, None)
        assert report.exit_code == 0, report
        with engine.connect() as connection:
            assert growing.contents(connection) == writer.rows
            assert growing.leftovers(connection) == []
            assert set(growing.held(connection)) >= {"orders_shard_0", "orders_shard_1"}
