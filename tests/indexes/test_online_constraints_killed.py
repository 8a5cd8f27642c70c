"""A run that was killed, at any point, is carried on by the next one, or taken back."""

import killed
import laws
import pytest
from alembic.util import CommandError
from constrained import LEAVES, OPERATIONS, apply, tables
from sqlalchemy import Connection

from alembic_enterprise.operation import Operation


@pytest.fixture
def table(connection: Connection) -> Connection:
    """A connection to a database with `lines`, `orders`, and the plain table `mined`."""
    tables(connection)
    return connection


def alone(connection: Connection, operation: Operation) -> None:
    """Run it, not turned away by the killed run, whose end the server has yet to notice."""
    while True:
        try:
            return apply(connection, operation)
        except CommandError as error:
            assert "is at work on its index" in str(error)  # noqa: PT017  # the only one
            connection.rollback()


@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_run_killed_before_any_statement_is_carried_on_or_taken_back(
    table: Connection, database_url: str, kind: str
) -> None:
    operation = OPERATIONS[kind]
    before = laws.snapshot(table)
    apply(table, operation)
    after = laws.snapshot(table)
    apply(table, operation.reverse())
    with killed.killer(kind) as run_until:
        ended, number = "", 0
        while ended != "finished":
            number += 1
            ended = run_until(database_url, number)
            alone(table, operation)
            assert laws.snapshot(table) == after, f"killed before change {number}"
            apply(table, operation.reverse())
            assert run_until(database_url, number) == ended
            alone(table, operation.reverse())
            assert laws.snapshot(table) == before, f"taken back before change {number}"
    assert number > len(LEAVES)
