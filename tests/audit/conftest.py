"""Which tests of the audit are left out, and a subscription for the others."""

from collections.abc import Callable, Iterator

import poolers
import pytest
from autogenerate import run_sql
from psycopg import sql
from sqlalchemy import Connection

collect_ignore = ["test_actor_pooling.py"] if poolers.LEFT_OUT else []


@pytest.fixture
def subscribe(connection: Connection) -> Iterator[Callable[[str], None]]:
    """A function that has a subscription fill a table, from the same one, without a worker."""
    url = connection.engine.url.set(drivername="postgresql")
    origin = sql.Literal(url.render_as_string(hide_password=False))
    made: list[sql.Identifier] = []

    def make(table: str) -> None:
        made.append(sql.Identifier(f"fills {table} %"))
        statements = (
            sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(made[-1], sql.Identifier(table)),
            sql.SQL(
                "CREATE SUBSCRIPTION {0} CONNECTION {1} PUBLICATION {0}"
                " WITH (create_slot = false, enabled = false, slot_name = NONE, copy_data = false)"
            ).format(made[-1], origin),
        )
        for statement in statements:  # the second is to see what the first has committed
            run_sql(connection, statement.as_string())

    yield make
    connection.rollback()
    run_sql(connection, *(f"DROP SUBSCRIPTION {name.as_string()}" for name in made))
