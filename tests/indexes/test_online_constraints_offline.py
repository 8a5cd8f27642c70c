"""What `--sql` writes, fed to psql, adds the same constraints as an upgrade."""

from collections.abc import Callable
from io import StringIO

import laws
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from autogenerate import run_sql
from constrained import MINED, OPERATIONS, apply, lines, tables
from sqlalchemy import Connection, NullPool, create_engine


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `lines`, `orders`, and the plain table `mined`."""
    tables(connection)
    return connection


def test_scripts_run_by_psql_do_the_same(
    table: Connection, other_database: Callable[[], str], psql: Callable[[str, str], None]
) -> None:
    everything = [*OPERATIONS.values(), MINED]
    buffer = StringIO()
    options = {"as_sql": True, "output_buffer": buffer}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    with context.begin_transaction():
        for operation in everything:
            Operations(context).invoke(operation)
    apply(table, *everything)
    url = other_database()
    with create_engine(url, poolclass=NullPool).connect() as connection:
        lines(connection)
        run_sql(connection, "CREATE TABLE mined (id int, number int)")
        psql(url, buffer.getvalue())
        assert laws.snapshot(connection) == laws.snapshot(table)
