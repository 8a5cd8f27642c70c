"""Behind a PgBouncer that pools by transaction, an operation stops when it gets another process."""

import re
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import constrained
import laws
import pytest
from alembic.operations import MigrateOperation
from alembic.util import CommandError
from poolers import pooler
from sqlalchemy import Connection, NullPool, create_engine, event

from alembic_enterprise.indexes.operations import CreateIndexOnline
from alembic_enterprise.operation import Operation

INDEX = CreateIndexOnline("ix_lines", "lines", ["number"])
CREATING: dict[str, Operation] = {"index": INDEX, **constrained.OPERATIONS}
DROPPING = {f"drop {kind}": operation.reverse() for kind, operation in CREATING.items()}
OPERATIONS = CREATING | DROPPING

UNPREPARED = {"prepare_threshold": None}
"""What is prepared on a connection of the server would be there for another client, too."""

REFUSAL = re.compile(
    r"lines: this session is served by another process than before, as behind PgBouncer with "
    r"pool_mode = transaction: connect to PostgreSQL itself, or with pool_mode = session, end what "
    r"is left with (SELECT pg_terminate_backend\(\d+\)), and run again"
)

CLAIMED, ASKED = "pg_try_advisory_lock", "AS moved"
"""Statements that take the advisory lock, and that ask what remains to be done."""


@dataclass(frozen=True)
class Pool:
    """A client of a pool with two connections to the server, and another one."""

    own: Connection
    other: Connection

    @contextmanager
    def taken_after(self, words: str) -> Generator[None]:
        """Let the other take the process that has run a statement with these words."""

        def listen(*given: Any) -> None:
            if words in given[2] and not self.other.in_transaction():
                self.other.exec_driver_sql("SELECT 1")  # PgBouncer gives the last one used first

        event.listen(self.own, "after_cursor_execute", listen)
        yield
        event.remove(self.own, "after_cursor_execute", listen)
        self.other.rollback()


def apply(connection: Connection, operation: MigrateOperation) -> None:
    laws.apply(connection, [operation])


@pytest.fixture
def pool(
    connection: Connection, database_url: str
) -> Callable[[str], AbstractContextManager[Pool]]:
    """A function that lets clients of a pool with a given mode use the test's database."""
    constrained.lines(connection)

    @contextmanager
    def pool(mode: str) -> Generator[Pool]:
        with pooler(database_url, mode, 2) as url:
            pooled = create_engine(url, poolclass=NullPool, connect_args=UNPREPARED)
            with pooled.connect() as own, pooled.connect() as other:
                yield Pool(own, other)

    return pool


@pytest.mark.parametrize("words", [CLAIMED, ASKED])
@pytest.mark.parametrize("kind", OPERATIONS)
def test_another_process_is_refused_and_what_to_do_then_is_right(
    connection: Connection,
    pool: Callable[[str], AbstractContextManager[Pool]],
    kind: str,
    words: str,
) -> None:
    operation = OPERATIONS[kind]
    if kind in DROPPING:
        apply(connection, CREATING[kind.removeprefix("drop ")])
    before = laws.snapshot(connection)
    with pool("transaction") as clients:
        with clients.taken_after(words), pytest.raises(CommandError) as raised:
            apply(clients.own, operation)
        told = REFUSAL.fullmatch(str(raised.value))
        assert told, str(raised.value)
        if words == CLAIMED:
            assert laws.snapshot(connection) == before
        with pytest.raises(CommandError, match=r"lines: pid \d+ is at work on its indexes"):
            apply(connection, operation)
        connection.rollback()
        connection.exec_driver_sql(told[1].replace(")", ", 60000)"))  # and wait for its end
        connection.commit()
        apply(connection, operation)
    done = laws.snapshot(connection)
    apply(connection, operation)
    assert laws.snapshot(connection) == done != before


@pytest.mark.parametrize("kind", CREATING)
def test_pooling_by_session_passes(
    connection: Connection, pool: Callable[[str], AbstractContextManager[Pool]], kind: str
) -> None:
    before = laws.snapshot(connection)
    with pool("session") as clients, clients.taken_after(CLAIMED):
        apply(clients.own, CREATING[kind])
        assert laws.snapshot(connection) != before
        apply(clients.own, CREATING[kind].reverse())
    assert laws.snapshot(connection) == before
