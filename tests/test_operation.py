"""What a migration says of an operation whose connection was cut."""

import laws
import pytest
from alembic.util import CommandError
from autogenerate import run_sql
from sqlalchemy import Connection, Engine
from waiting import waiting

from alembic_enterprise.indexes.operations import CreateIndexOnline
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.operations import DetachPartition

EVENTS = (
    "CREATE TABLE events (id int, at date) PARTITION BY RANGE (at)",
    "CREATE TABLE january PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    "CREATE TABLE orders (id int)",
    "INSERT INTO orders SELECT generate_series(1, 10)",
)
BOUNDS = ("2026-01-01", "2026-02-01")
END = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("operation", "told"),
    [
        (
            CreateIndexOnline("ix_orders_id", "orders", ["id"]),
            "create_index_online('ix_orders_id', table='orders', columns=['id'])",
        ),
        (
            DetachPartition("events", "january", *BOUNDS, concurrently=True),
            (
                "detach_partition('events', partition='january', start='2026-01-01', "
                "stop='2026-02-01', concurrently=True)"
            ),
        ),
    ],
    ids=["create_index_online", "detach_partition"],
)
def test_a_connection_that_is_cut_is_told_with_the_next_step(
    connection: Connection, engine: Engine, operation: Operation, told: str
) -> None:
    """SQLAlchemy alone would say that it cannot reconnect."""
    run_sql(connection, *EVENTS)
    with engine.connect() as busy:
        busy.exec_driver_sql("LOCK TABLE orders, events IN ROW EXCLUSIVE MODE")
        with waiting(engine, lambda own: laws.apply(own, [operation])) as ended:
            run_sql(connection, END)
            error = ended.exception(60)
    assert isinstance(error, CommandError)
    said = str(error).replace("consuming input failed: ", "")  # by older releases of psycopg
    assert said == (
        f"{told}: the connection was cut: terminating connection due to administrator command. Run "
        "the migration again: this carries on. What stands before it in the script is committed "
        "already, and is run once more: take out what cannot be"
    )
    laws.apply(connection, [operation])
