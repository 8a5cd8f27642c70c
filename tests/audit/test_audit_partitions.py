"""Audited tables in partitions and shards: each change once, whoever makes or takes a partition."""

from datetime import UTC, datetime
from typing import Any

import growing
import laws
import pytest
from audited import drift
from autogenerate import run_sql
from sqlalchemy import (
    Column,
    Connection,
    Date,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    select,
)
from waiting import waiting

from alembic_enterprise import AuditTrail, RangePartitions
from alembic_enterprise.audit.history import as_of
from alembic_enterprise.audit.operations import AlterAuditTrail, CreateAuditTrail
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.maintain import Job, maintain
from alembic_enterprise.partitions.operations import (
    AttachPartition,
    CreateRangePartitions,
    DetachPartition,
    DropRangePartitions,
    SetPartitionPolicy,
)
from alembic_enterprise.partitions.report import TableReport
from alembic_enterprise.partitions.steps import Step
from alembic_enterprise.partitions.worker import Worker
from alembic_enterprise.shards.operations import GrowHashShards, ShrinkHashShards

BOUNDS = ("2026-01-01", "2026-02-01")
JANUARY = CreateRangePartitions("events", "month", *BOUNDS)
DEFAULT = CreateRangePartitions("events", "month", default=True)
DROP = DropRangePartitions("events", "month", *BOUNDS, drop_rows=True)
TRAIL = CreateAuditTrail("events", "events_history")
EVENTS = Table(
    "events",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", Date, primary_key=True),
    RangePartitions("at", every="month"),
    AuditTrail(),
)
ORDERS = CreateAuditTrail("orders", "orders_history", baseline=False)


def events(connection: Connection, *operations: Operation) -> None:
    """A table by month whose changes are kept."""
    run_sql(
        connection,
        "CREATE TABLE events (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
    )
    laws.apply(connection, [TRAIL, *operations])


def kept(connection: Connection, columns: str = "audit_action, id") -> list[tuple[Any, ...]]:
    """The history of `events` in order."""
    query = f"SELECT {columns} FROM audit.events_history ORDER BY audit_id, id"
    rows = [tuple(row) for row in connection.exec_driver_sql(query)]
    connection.commit()
    return rows


def removed(connection: Connection) -> list[tuple[Any, ...]]:
    """What became of partitions, with their bounds."""
    columns = ("relation", "from", "to")
    told = ", ".join(f"audit_context ->> '{name}'" for name in columns)
    return [row for row in kept(connection, f"audit_action, {told}, id") if row[4] is None]


def test_the_job_makes_audited_partitions(engine: Engine) -> None:
    with engine.connect() as connection:
        events(connection, JANUARY, SetPartitionPolicy("events", "month", ahead=1))
        maintain(engine, Job(now=datetime(2026, 2, 15, tzinfo=UTC)))
        run_sql(
            connection,
            "INSERT INTO events_y2026_m03 VALUES (1, '2026-03-03')",
            "INSERT INTO events VALUES (2, '2026-03-03')",
            "UPDATE events SET at = '2026-01-31' WHERE id = 2",  # into another partition
            "DELETE FROM events_y2026_m01",
        )
        assert kept(connection) == [
            ("insert", 1),
            ("insert", 2),
            ("rekey", 2),
            ("update", 2),
            ("delete", 2),
        ]


def test_what_the_job_retires_is_recorded_and_audited_no_more(engine: Engine) -> None:
    with engine.connect() as connection:
        policy = SetPartitionPolicy("events", "month", ahead=0, retain=1)
        events(connection, JANUARY, policy)
        for _ in range(2):  # the first run doubts a clock by which all partitions ended long ago
            maintain(engine, Job(now=datetime(2026, 6, 15, tzinfo=UTC)))
        run_sql(connection, "INSERT INTO events_y2026_m01 VALUES (1, '2026-01-03')")
        assert removed(connection) == [
            ("detach", "public.events_y2026_m01", "2026-01-01", "2026-02-01", None)
        ]
        assert len(kept(connection)) == 1


def rows_now(connection: Connection) -> list[tuple[Any, ...]]:
    """The rows of `events` as the history knows them."""
    found = connection.execute(as_of(EVENTS, func.clock_timestamp())).all()
    connection.rollback()
    return sorted(tuple(row) for row in found)


def test_a_row_that_comes_after_its_month_was_detached_stays(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default partition takes it, before the job is done with the month."""

    def write(worker: Worker, step: Step, report: TableReport) -> None:
        run_step(worker, step, report)
        if step.kind == "detach":
            with engine.begin() as other:
                other.exec_driver_sql("INSERT INTO events VALUES (2, '2026-01-03')")

    run_step = Worker.run
    monkeypatch.setattr(Worker, "run", write)
    with engine.connect() as connection:
        policy = SetPartitionPolicy("events", "month", ahead=0, retain=1)
        events(connection, JANUARY, DEFAULT, policy)
        run_sql(connection, "INSERT INTO events VALUES (1, '2026-01-03')")
        for _ in range(2):
            maintain(engine, Job(now=datetime(2026, 6, 15, tzinfo=UTC)))
        assert [row[0] for row in rows_now(connection)] == [2]


def test_truncating_and_dropping_a_partition_is_recorded(connection: Connection) -> None:
    events(connection, JANUARY)
    # Where text is read otherwise, bounds have to be read alike.
    run_sql(
        connection,
        "SET standard_conforming_strings = off",
        "TRUNCATE events_y2026_m01",
        "RESET standard_conforming_strings",
    )
    laws.apply(connection, [DROP])
    bounds = ("public.events_y2026_m01", *BOUNDS, None)
    assert removed(connection) == [("truncate", *bounds), ("drop", *bounds)]


def test_what_is_written_until_a_detach_gets_its_locks_is_recorded_before(engine: Engine) -> None:
    with engine.connect() as connection:
        events(connection, JANUARY)
        connection.exec_driver_sql("INSERT INTO events VALUES (1, '2026-01-03')")
        detach = DetachPartition("events", "events_y2026_m01", *BOUNDS)
        with waiting(engine, lambda other: laws.apply(other, [detach])) as detached:
            connection.exec_driver_sql("INSERT INTO events VALUES (2, '2026-01-04')")
            connection.commit()
            detached.result()
        assert [action for action, _ in kept(connection)] == ["insert", "insert", "detach"]
        assert rows_now(connection) == []


def test_detaching_and_attaching_again_is_recorded(connection: Connection) -> None:
    events(connection, JANUARY)
    names = ("events", "events_y2026_m01", *BOUNDS)
    laws.apply(connection, [DetachPartition(*names), AttachPartition(*names)])
    bounds = ("public.events_y2026_m01", *BOUNDS, None)
    told = [action for action, *where in removed(connection) if (*where,) == bounds]
    assert told == ["detach", "truncate", "attach"]  # of what was detached nothing is left
    run_sql(connection, "INSERT INTO events_y2026_m01 VALUES (1, '2026-01-03')")
    assert kept(connection)[-1] == ("insert", 1)


BY_HAND = [
    ("RANGE (id)", "FROM (MINVALUE) TO (7)", "FROM (7) TO (100)"),
    ('RANGE ("Na me")', "FROM ('a') TO ('b')", "FROM ('b') TO ('z')"),
    ("HASH (id)", "WITH (MODULUS 2, REMAINDER 0)", "WITH (MODULUS 2, REMAINDER 1)"),
    ('HASH ("Na me", id)', "WITH (MODULUS 2, REMAINDER 0)", "WITH (MODULUS 2, REMAINDER 1)"),
]


def by_hand(connection: Connection, partition_by: str, *bounds: str) -> Table:
    """An audited table that only `postgresql_partition_by` declares, of two partitions."""
    table = Table(
        "things",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("Na me", Text, primary_key=True, key="name"),
        AuditTrail(),
        postgresql_partition_by=partition_by,
    )
    table.create(connection)
    for number, bound in enumerate(bounds):
        connection.exec_driver_sql(
            f"CREATE TABLE things_{number} PARTITION OF things FOR VALUES {bound}"
        )
    connection.commit()
    laws.apply(connection, [CreateAuditTrail("things", "things_history", baseline=False)])
    run_sql(
        connection,
        "INSERT INTO things SELECT n, chr(97 + n % 3) || n FROM generate_series(1, 20) AS n",
    )
    return table


@pytest.mark.parametrize("partition_by", BY_HAND)
def test_a_partition_made_by_hand_takes_its_rows(
    connection: Connection, partition_by: tuple[str, ...]
) -> None:
    table = by_hand(connection, *partition_by)
    run_sql(connection, "TRUNCATE things_0")
    left = connection.execute(select(table)).all()
    assert 0 < len(left) < 20
    found = connection.execute(as_of(table, func.clock_timestamp())).all()
    assert sorted(map(tuple, found)) == sorted(map(tuple, left))


def test_a_level_more_than_the_history_can_tell_leaves_rows_in(connection: Connection) -> None:
    table = by_hand(connection, *BY_HAND[0])
    run_sql(
        connection,
        "ALTER TABLE things DETACH PARTITION things_0",
        """CREATE TABLE one (LIKE things) PARTITION BY RANGE ("Na me")""",
        "CREATE TABLE one_of_it PARTITION OF one FOR VALUES FROM ('a') TO ('b')",
        "ALTER TABLE things ATTACH PARTITION one FOR VALUES FROM (1) TO (7)",
        "SELECT audit.things_history('one_of_it', 'truncate')",
    )
    assert len(connection.execute(as_of(table, func.clock_timestamp())).all()) == 20


def audited_orders(connection: Connection) -> int:
    """The sharded table with a trail; how many rows it has."""
    growing.orders(connection)
    laws.apply(connection, [ORDERS])
    return growing.ROWS


def changes_of_each_shard(connection: Connection) -> list[tuple[str, int]]:
    """What is kept of an update of every row, shard by shard, and of all rows together."""
    shards = connection.exec_driver_sql(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'orders'::regclass ORDER BY 1"
    ).scalars()
    for shard in list(shards):
        run_sql(connection, f"UPDATE {shard} SET amount = -1")
    run_sql(connection, "UPDATE orders SET amount = -2")
    found = connection.exec_driver_sql(
        "SELECT audit_action, count(*) FROM audit.orders_history GROUP BY 1 ORDER BY 1"
    )
    return [(action, number) for action, number in found]


def test_partitions_of_what_is_attached_are_audited(connection: Connection) -> None:
    events(connection)
    run_sql(
        connection,
        "CREATE TABLE old (id int, at date, PRIMARY KEY (id, at)) PARTITION BY HASH (id)",
        "CREATE TABLE old_0 PARTITION OF old FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "INSERT INTO old VALUES (1, '2026-01-02')",
    )
    laws.apply(connection, [AttachPartition("events", "old", *BOUNDS)])
    run_sql(connection, "INSERT INTO old_0 VALUES (2, '2026-01-02')")
    assert kept(connection) == [("attach", None), ("insert", 2)]
    laws.apply(connection, [AlterAuditTrail("events", "events_history")])
    assert kept(connection)[2:] == [("detach", None), ("baseline", 1), ("baseline", 2)]
    assert drift(connection) == []


def test_shards_that_grew_online_are_audited_and_their_copying_is_not(engine: Engine) -> None:
    with engine.connect() as connection:
        rows = audited_orders(connection)
        assert not growing.run(engine, 4).problems
        kept = connection.exec_driver_sql("SELECT count(*) FROM audit.orders_history")
        assert kept.scalar_one() == 0
        assert changes_of_each_shard(connection) == [("update", 2 * rows)]


@pytest.mark.parametrize("count", [4, 1])
def test_shards_that_an_operation_made_are_audited(connection: Connection, count: int) -> None:
    rows = audited_orders(connection)
    kind = GrowHashShards if count > 1 else ShrinkHashShards
    laws.apply(connection, [kind("orders", count)])
    assert changes_of_each_shard(connection) == [("update", 2 * rows)]
