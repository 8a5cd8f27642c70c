"""Dropping partitions: never rows by accident, never what others made."""

from dataclasses import replace
from typing import Any

import autogenerate
import laws
import pytest
from alembic.util import CommandError
from autogenerate import partitions, pretend, run_sql
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, MetaData, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError
from waiting import waiting

from alembic_enterprise.partitions.operations import CreateRangePartitions, DropRangePartitions

PARENT = (
    "CREATE TABLE events (id bigint, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
)
YEAR = CreateRangePartitions("events", "month", "2026-01-01", "2027-01-01")


@pytest.fixture
def events(connection: Connection) -> Connection:
    """A connection to a database with a table of twelve months."""
    run_sql(connection, PARENT)
    laws.apply(connection, [YEAR])
    return connection


def drop(connection: Connection, *arguments: Any, **more: Any) -> None:
    """Drop what the arguments say, the year without any."""
    year = YEAR.turned_into(DropRangePartitions)
    given = DropRangePartitions(*arguments, **more) if arguments else replace(year, **more)
    laws.apply(connection, [given])


def count(connection: Connection, table: str = "events") -> int:
    found = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
    connection.commit()
    return int(found)


def test_a_partition_with_rows_stops_the_drop_with_their_number(events: Connection) -> None:
    run_sql(events, "INSERT INTO events SELECT n, '2026-06-06' FROM generate_series(1, 7) AS n")
    before = laws.snapshot(events)
    with pytest.raises(CommandError) as raised:
        drop(events)
    events.rollback()
    assert str(raised.value) == (
        "events: partition events_y2026_m06 holds 7 row(s). Move them away, or pass "
        "drop_rows=True to op.drop_range_partitions to lose them"
    )
    assert laws.snapshot(events) == before
    drop(events, drop_rows=True)
    assert partitions(events, "events") == {}
    assert count(events) == 0


def test_only_whole_partitions_inside_the_range_are_dropped(events: Connection) -> None:
    drop(events, "events", "month", "2026-03-01", "2026-11-01")
    assert list(partitions(events, "events")) == [
        f"events_y2026_m{month}" for month in ("01", "02", "11", "12")
    ]


def test_without_a_stop_all_that_follows_is_dropped(events: Connection) -> None:
    """The reverse of "through `ahead` periods": run later, it also drops what came since."""
    pretend(events, "2026-05-05")
    drop(events, "events", "month", "2026-03-01", ahead=1)
    assert list(partitions(events, "events")) == ["events_y2026_m01", "events_y2026_m02"]


def test_what_the_previous_policy_asks_for_stays(connection: Connection) -> None:
    """A raised `ahead` goes back half a year later, when its partitions hold rows."""
    pretend(connection, "2026-01-15")
    three, six = MetaData(), MetaData()
    autogenerate.events(three, ahead=3)
    autogenerate.events(six, ahead=6)
    autogenerate.upgrade(connection, three)
    script = autogenerate.upgrade(connection, six)
    pretend(connection, "2026-06-15")
    run_sql(connection, "INSERT INTO events VALUES (1, '2026-06-01'), (2, '2026-07-01')")
    autogenerate.run(connection, script.downgrade)
    assert list(partitions(connection, "events"))[-1] == "events_y2026_m07"
    assert count(connection) == 2


def test_only_what_we_made_is_dropped(events: Connection) -> None:
    run_sql(
        events,
        "COMMENT ON TABLE events_y2026_m06 IS 'mine'",
        "COMMENT ON TABLE events_y2026_m07 IS NULL",
        "CREATE TABLE events_y2027_m01 PARTITION OF events"
        " FOR VALUES FROM ('2027-01-01Z') TO ('2027-02-01Z')",
    )
    drop(events, "events", "month", "2026-01-01", ahead=3)
    left = ["events_y2026_m06", "events_y2026_m07", "events_y2027_m01"]
    assert list(partitions(events, "events")) == left


def test_a_table_that_goes_whole_takes_all_partitions_along(events: Connection) -> None:
    run_sql(
        events,
        "COMMENT ON TABLE events_y2026_m06 IS 'mine'",
        "CREATE TABLE history PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01Z')"
        " PARTITION BY HASH (id)",
        "CREATE TABLE leaf PARTITION OF history FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "CREATE TABLE stray PARTITION OF events DEFAULT",
    )
    run_sql(events, "INSERT INTO events VALUES (1, '2000-01-01')")
    with pytest.raises(CommandError, match=r"partition history holds 1 row"):
        drop(events, whole_table=True)
    events.rollback()
    run_sql(events, "DELETE FROM events", "INSERT INTO events VALUES (1, '2100-01-01')")
    with pytest.raises(CommandError, match=r"partition stray holds 1 row"):
        drop(events, whole_table=True)
    events.rollback()
    run_sql(events, "DELETE FROM events")
    drop(events, whole_table=True)
    assert partitions(events, "events") == {}
    assert events.exec_driver_sql("SELECT to_regclass('leaf')").scalar_one() is None


def test_the_default_partition_goes_only_on_request(events: Connection) -> None:
    laws.apply(events, [CreateRangePartitions("events", "month", default=True)])
    drop(events)
    assert list(partitions(events, "events")) == ["events_default"]
    drop(events, "events", "month", default=True)
    assert partitions(events, "events") == {}


def test_referenced_partitions_are_dropped_when_no_row_refers_to_them(events: Connection) -> None:
    run_sql(
        events,
        "CREATE TABLE notes (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES events)",
        "INSERT INTO events VALUES (1, '2026-06-06')",
        "INSERT INTO notes VALUES (1, '2026-06-06')",
    )
    with pytest.raises(CommandError, match="holds 1 row"):
        drop(events)
    events.rollback()
    with pytest.raises(DBAPIError, match="violates foreign key constraint"):
        drop(events, drop_rows=True)
    events.rollback()
    assert (count(events), count(events, "notes")) == (1, 1)
    run_sql(events, "DELETE FROM notes", "DELETE FROM events")
    drop(events)
    assert partitions(events, "events") == {}


def test_rows_that_refer_to_their_own_table_go_with_it(events: Connection) -> None:
    run_sql(
        events,
        "ALTER TABLE events ADD COLUMN before bigint, ADD COLUMN began timestamptz,"
        " ADD FOREIGN KEY (before, began) REFERENCES events (id, at)",
        "INSERT INTO events VALUES (1, '2026-06-06', 1, '2026-06-06')",
        "INSERT INTO events VALUES (2, '2026-07-07', 1, '2026-06-06')",
    )
    before = laws.snapshot(events)
    with pytest.raises(CommandError, match="holds 1 row"):
        drop(events, whole_table=True)
    events.rollback()
    assert laws.snapshot(events) == before
    drop(events, whole_table=True, drop_rows=True)
    assert partitions(events, "events") == {}


def test_a_foreign_table_is_detached_and_kept(events: Connection) -> None:
    """Whether its server can be reached or not: none of its rows is lost."""
    run_sql(
        events,
        "ALTER TABLE events DROP CONSTRAINT events_pkey",
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER gone FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere')",
        "CREATE FOREIGN TABLE far_away PARTITION OF events FOR VALUES FROM (MINVALUE)"
        " TO ('2026-01-01Z') SERVER gone",
    )
    drop(events, whole_table=True)
    run_sql(events, "DROP TABLE events")
    found = events.exec_driver_sql("SELECT relkind FROM pg_class WHERE relname = 'far_away'")
    assert found.scalar_one() == "f"


def test_rows_written_while_the_drop_waits_are_counted(events: Connection, engine: Engine) -> None:
    def drop_elsewhere(own: Connection) -> None:
        with pytest.raises(CommandError, match="events_y2026_m06 holds 1 row"):
            drop(own)

    events.exec_driver_sql("INSERT INTO events VALUES (1, '2026-06-06')")
    with waiting(engine, drop_elsewhere) as refused:
        events.commit()
    refused.result()
    assert count(events) == 1


def test_a_writer_of_a_table_that_refers_to_it_is_waited_for(
    events: Connection, engine: Engine
) -> None:
    """Such a writer locks his table first, and then the partitioned one, to look for the key."""
    run_sql(
        events,
        "CREATE TABLE notes (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES events)",
        "INSERT INTO events VALUES (1, '2026-01-01')",
    )
    events.exec_driver_sql("LOCK TABLE notes IN ROW EXCLUSIVE MODE")
    later = DropRangePartitions("events", "month", "2026-06-01", "2027-01-01")
    with waiting(engine, lambda own: laws.apply(own, [later])) as dropped:
        events.exec_driver_sql("INSERT INTO notes SELECT * FROM events")
        events.commit()
    dropped.result()
    assert (count(events, "notes"), len(partitions(events, "events"))) == (1, 5)


def test_a_table_of_somebody_else_may_refer_to_it(
    events: Connection, engine: Engine, role: str
) -> None:
    """To detach it is enough to read that; LOCK TABLE asks for more."""
    run_sql(
        events,
        "CREATE TABLE notes (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES events)",
        f"GRANT SELECT ON notes TO {role}",
        *(
            f"ALTER TABLE {name} OWNER TO {role}"
            for name in ["events", *partitions(events, "events")]
        ),
    )
    with engine.connect() as owner:
        run_sql(owner, f"SET ROLE {role}")
        drop(owner)
    assert partitions(events, "events") == {}


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_that_could_miss_rows_is_refused(
    events: Connection, database_url: str, level: str
) -> None:
    """A count in an old snapshot is zero however many rows have been committed since."""
    engine = create_engine(database_url, isolation_level=level)
    with engine.connect() as own:
        own.exec_driver_sql("SELECT 1 FROM pg_class")
        run_sql(events, "INSERT INTO events VALUES (1, '2026-06-06')")
        with pytest.raises(CommandError, match=f"{level} does not see.*READ COMMITTED"):
            laws.apply(own, [YEAR.reverse()])
    engine.dispose()
    assert count(events) == 1


def test_rows_hidden_by_row_security_are_not_lost(
    events: Connection, engine: Engine, role: str
) -> None:
    """Row security applies to the owner as well when it is forced."""
    run_sql(
        events,
        "INSERT INTO events VALUES (1, '2026-06-06')",
        "ALTER TABLE events_y2026_m06 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        *(
            f"ALTER TABLE {name} OWNER TO {role}"
            for name in ["events", *partitions(events, "events")]
        ),
    )
    with engine.connect() as owner:
        run_sql(owner, f"SET ROLE {role}")
        assert count(owner, "events_y2026_m06") == 0
        with pytest.raises(DBAPIError, match="would be affected by row-level security policy"):
            drop(owner)
        owner.rollback()
        run_sql(
            events, "ALTER TABLE events_y2026_m06 NO FORCE ROW LEVEL SECURITY", "DELETE FROM events"
        )
        drop(owner)
        assert owner.exec_driver_sql("SHOW row_security").scalar_one() == "on"
    assert partitions(events, "events") == {}


def test_lock_timeout_is_respected_and_nothing_is_half_done(
    events: Connection, engine: Engine
) -> None:
    before = laws.snapshot(events)
    events.exec_driver_sql("SELECT * FROM events_y2026_m12")
    with engine.connect() as impatient:
        run_sql(impatient, "SET lock_timeout = '50ms'")
        with pytest.raises(OperationalError) as raised:
            drop(impatient)
        assert isinstance(raised.value.orig, LockNotAvailable)
    events.rollback()
    assert laws.snapshot(events) == before
