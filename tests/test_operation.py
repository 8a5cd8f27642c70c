"""Operations that commit as they go, in a connection that is cut or not theirs to commit."""

from pathlib import Path
from typing import Any

import laws
import pytest
from alembic import command
from alembic.util import CommandError
from autogenerate import project, run_sql, write_revision
from sqlalchemy import Connection, Engine, MetaData
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
        f"{told}: the connection was lost: terminating connection due to administrator command. "
        "Run the migration again: this carries on. Statements before it in the script are "
        "committed and will run again: remove those that cannot run twice"
    )
    laws.apply(connection, [operation])


NESTED = """
op.execute("CREATE TABLE orders (id int)")
with op.get_context().autocommit_block():
    op.create_index_online("by_id", "orders", ["id"])
    op.execute("VACUUM orders")
op.execute("CREATE TABLE after_it (id int)")
"""


@pytest.mark.parametrize("options", [{}, {"transactional_ddl": False}])
def test_an_autocommit_block_may_be_open_already(
    tmp_path: Path, engine: Engine, connection: Connection, options: dict[str, Any]
) -> None:
    config = project(tmp_path, engine, MetaData(), **options)
    write_revision(tmp_path, "1", None, NESTED)
    command.upgrade(config, "head")
    found = connection.exec_driver_sql("SELECT to_regclass('by_id'), to_regclass('after_it')")
    assert tuple(found.one()) == ("by_id", "after_it")


def test_a_transaction_of_env_py_is_told_with_the_next_step(tmp_path: Path, engine: Engine) -> None:
    """Alembic's autocommit_block() ends in an assertion without a word."""
    config = project(tmp_path, engine, MetaData())
    environment = tmp_path / "env.py"
    configure = "context.configure(connection"
    setting = 'connection.exec_driver_sql("SET search_path TO public")'
    text = environment.read_text()
    environment.write_text(text.replace(configure, f"{setting}\n        {configure}"))
    write_revision(tmp_path, "1", None, 'op.create_index_online("by_id", "orders", ["id"])')
    with pytest.raises(CommandError) as refused:
        command.upgrade(config, "head")
    assert str(refused.value) == (
        "create_index_online('by_id', table='orders', columns=['id']) commits as it goes, and "
        "env.py opens a transaction before context.configure(), which Alembic leaves alone: in "
        "env.py, call connection.commit() first, and connect() instead of begin()"
    )
