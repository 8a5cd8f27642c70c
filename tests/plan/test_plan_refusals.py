"""What the server refuses on each version has a next step, known by its SQLSTATE."""

from collections.abc import Callable, Iterator

import pytest
from autogenerate import run_sql
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.plan.rules import explained
from alembic_enterprise.sql import sqlstate

SCHEMA = """
CREATE TABLE events (id bigint, at date, body text) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE UNIQUE INDEX by_time ON events (at);
CREATE TABLE orders (id bigint PRIMARY KEY);
"""

REFUSED = {
    "CREATE INDEX CONCURRENTLY by_id ON events (id)": "op.create_index_online",
    "DROP INDEX CONCURRENTLY by_time": "op.drop_index_online",
    "ALTER TABLE events ADD CONSTRAINT one UNIQUE USING INDEX by_time": (
        "op.create_unique_constraint_online"
    ),
    "ALTER TABLE events ADD CONSTRAINT key PRIMARY KEY (id)": "add them to the key",
    "CREATE UNIQUE INDEX by_id ON events (id)": "add them to the key",
    "CREATE TABLE visits (id bigint UNIQUE, at date) PARTITION BY RANGE (at)": (
        "add them to the key"
    ),
    "ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY": "op.detach_partition",
}


@pytest.fixture(scope="module")
def engine(shared_database: Callable[..., str]) -> Iterator[Engine]:
    engine = create_engine(shared_database(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        run_sql(connection, SCHEMA)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("statement", REFUSED)
def test_a_refusal_ends_in_the_next_step(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        assert REFUSED[statement] in refused(connection, statement)


def test_a_foreign_key_that_is_not_valid(engine: Engine) -> None:
    statement = "ALTER TABLE events ADD FOREIGN KEY (id) REFERENCES orders NOT VALID"
    with engine.connect() as connection:
        if (connection.dialect.server_version_info or ()) >= (18,):
            pytest.skip("PostgreSQL 18 takes it")
        assert "op.add_foreign_key_online" in refused(connection, statement)


def test_concurrently_in_a_transaction(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        assert "autocommit_block" in refused(connection, "CREATE INDEX CONCURRENTLY ON orders (id)")


def refused(connection: Connection, statement: str) -> str:
    """What is said of a statement that the server refuses."""
    with pytest.raises(DBAPIError) as error:
        connection.exec_driver_sql(statement)
    told = explained(statement, sqlstate(error.value))
    assert told is not None
    return told


def test_what_is_not_known_is_not_explained() -> None:
    assert explained("SELECT 1/0", "22012") is None
    assert explained("CREATE INDEX CONCURRENTLY i ON t (a)", None) is None
