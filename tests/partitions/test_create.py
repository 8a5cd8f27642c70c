"""Creating partitions on tables with a past: gaps, odd bounds, taken names, locks."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import laws
import pytest
from alembic.util import CommandError
from autogenerate import partitions, pretend, run, run_sql
from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL, Identifier
from scheduled import reading, session
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from alembic_enterprise import sql
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.sql import text_of

PARENT = "CREATE TABLE events (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at)"


def create(connection: Connection, *arguments: Any, table: str = "events", **more: Any) -> None:
    laws.apply(connection, [CreateRangePartitions(table, *arguments, **more)])


def bounds(connection: Connection, table: str = "events") -> list[str]:
    """The bounds of a table's partitions without the time of day where it is midnight."""
    return [
        bound.replace(" 00:00:00+00", "").replace("'", "")
        for bound in partitions(connection, table).values()
    ]


def by_hand(connection: Connection, name: str, start: str, stop: str) -> None:
    run_sql(
        connection, f"CREATE TABLE {name} PARTITION OF events FOR VALUES FROM ({start}) TO ({stop})"
    )


# --- What is missing


def test_missing_periods_are_caught_up(connection: Connection) -> None:
    run_sql(connection, PARENT)
    pretend(connection, "2026-01-31 23:59+00")
    create(connection, "month", "2026-01-01", ahead=1)
    assert list(partitions(connection, "events")) == ["events_y2026_m01", "events_y2026_m02"]
    pretend(connection, "2026-06-01 00:00+00")
    create(connection, "month", "2026-01-01", ahead=1)
    months = [f"events_y2026_m0{month}" for month in range(1, 8)]
    assert list(partitions(connection, "events")) == months


def test_gaps_are_filled_and_rows_stay(connection: Connection) -> None:
    run_sql(connection, PARENT)
    by_hand(connection, "february", "'2026-02-01Z'", "'2026-03-01Z'")
    by_hand(connection, "may", "'2026-05-01Z'", "'2026-06-01Z'")
    run_sql(connection, "INSERT INTO events VALUES (1, '2026-02-02'), (2, '2026-05-05')")
    create(connection, "month", "2026-01-01", "2026-07-01")
    assert len(partitions(connection, "events")) == 6
    assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one() == 2


def test_the_rest_of_a_partly_covered_period_is_created(connection: Connection) -> None:
    run_sql(connection, PARENT)
    by_hand(connection, "ten_days", "'2026-03-10 12:00Z'", "'2026-03-20Z'")
    create(connection, "month", "2026-02-01", "2026-05-01")
    assert bounds(connection) == [
        "FROM (2026-02-01) TO (2026-03-01)",
        "FROM (2026-03-01) TO (2026-03-10 12:00:00+00)",
        "FROM (2026-03-10 12:00:00+00) TO (2026-03-20)",
        "FROM (2026-03-20) TO (2026-04-01)",
        "FROM (2026-04-01) TO (2026-05-01)",
    ]
    assert {"events_y2026_m03", "events_y2026_m03_2"} < set(partitions(connection, "events"))


@pytest.mark.parametrize(
    ("first", "last"),
    [("MINVALUE", "MAXVALUE"), ("'-infinity'", "'infinity'"), ("'0044-03-15 BC'", "MAXVALUE")],
)
def test_unbounded_partitions_are_respected(connection: Connection, first: str, last: str) -> None:
    run_sql(connection, PARENT)
    by_hand(connection, "history", first, "'2026-03-01Z'")
    by_hand(connection, "future", "'2026-05-01Z'", last)
    create(connection, "month", "2026-01-01", "2027-01-01")
    create(connection, "year", "1990-01-01", "2030-01-01")
    assert bounds(connection)[1:3] in (
        ["FROM (2026-03-01) TO (2026-04-01)", "FROM (2026-04-01) TO (2026-05-01)"],
        ["FROM (2026-04-01) TO (2026-05-01)", "FROM (2026-05-01) TO (MAXVALUE)"],
    )
    assert len(bounds(connection)) == 4


def test_partitions_are_read_in_the_order_of_their_bounds(connection: Connection) -> None:
    run_sql(connection, PARENT, "CREATE TABLE a PARTITION OF events DEFAULT")
    by_hand(connection, "b", "'2026-05-01Z'", "MAXVALUE")
    by_hand(connection, "c", "'2026-03-01Z'", "'2026-04-01Z'")
    by_hand(connection, "d", "MINVALUE", "'2026-03-01Z'")
    [table] = catalog.read(connection).tables.values()
    found = catalog.partitions(connection, [table])[table.name]
    assert [item.name.name for item in found] == ["d", "c", "b", "a"]


def test_partitions_without_a_range_are_read_in_the_order_of_their_names(
    connection: Connection,
) -> None:
    run_sql(connection, "CREATE TABLE keys (id bigint) PARTITION BY LIST (id)")
    for number, name in enumerate(["b", "c", "a"]):
        run_sql(connection, f"CREATE TABLE {name} PARTITION OF keys FOR VALUES IN ({number})")
    [table] = catalog.read(connection).tables.values()
    found = catalog.partitions(connection, [table])[table.name]
    assert [item.name.name for item in found] == ["a", "b", "c"]


def test_known_partitions_are_taken_as_they_are(connection: Connection) -> None:
    run_sql(connection, PARENT)
    create(connection, "month", "2026-01-01", "2026-03-01")
    [table] = catalog.read(connection).tables.values()
    [_, known] = catalog.partitions(connection, [table])[table.name]
    known = replace(known, rows=7)
    create(connection, "month", "2026-03-01", "2026-04-01")
    found = catalog.partitions(connection, [table], known={table.name: [known]})[table.name]
    assert [item.rows for item in found] == [None, 7, None]


@pytest.mark.parametrize(
    ("every", "start", "stop", "names"),
    [
        ("day", "2028-02-28", "2028-03-02", ["_y2028_m02_d28", "_y2028_m02_d29", "_y2028_m03_d01"]),
        ("week", "2026-12-21", "2027-01-11", ["_y2026_w52", "_y2026_w53", "_y2027_w01"]),
        ("month", "2026-11-01", "2027-02-01", ["_y2026_m11", "_y2026_m12", "_y2027_m01"]),
        ("quarter", "2026-07-01", "2027-04-01", ["_y2026_q3", "_y2026_q4", "_y2027_q1"]),
        ("year", "1999-01-01", "2002-01-01", ["_y1999", "_y2000", "_y2001"]),
        ("year", "9996-01-01", "9999-01-01", ["_y9996", "_y9997", "_y9998"]),
        ("year", "0001-01-01", "0003-01-01", ["_y0001", "_y0002"]),
    ],
)
def test_each_step_has_names_of_its_own(
    connection: Connection, every: str, start: str, stop: str, names: list[str]
) -> None:
    run_sql(connection, PARENT)
    create(connection, every, start, stop)
    found = partitions(connection, "events")
    assert list(found) == [f"events{name}" for name in names]
    assert " ".join(bounds(connection)).startswith(f"FROM ({start}) TO (")
    assert bounds(connection)[-1].endswith(f"TO ({stop})")


def test_a_stop_inside_a_period_means_the_end_of_it(connection: Connection) -> None:
    run_sql(connection, PARENT)
    operation = CreateRangePartitions("events", "month", "2026-01-31", "2026-02-10")
    laws.apply(connection, [operation])
    assert list(partitions(connection, "events")) == ["events_y2026_m01", "events_y2026_m02"]
    laws.apply(connection, [operation.reverse()])
    assert partitions(connection, "events") == {}


def test_partitions_that_are_partitioned_themselves_count(connection: Connection) -> None:
    run_sql(connection, PARENT)
    by_hand(connection, "january", "'2026-01-01Z'", "'2026-02-01Z'")
    run_sql(
        connection,
        "CREATE TABLE february PARTITION OF events"
        " FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z') PARTITION BY HASH (id)",
        "CREATE TABLE leaf PARTITION OF february FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    create(connection, "month", "2026-01-01", "2026-04-01")
    assert list(partitions(connection, "events")) == ["january", "february", "events_y2026_m03"]


def test_a_partition_can_be_the_table_of_a_second_level(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE TABLE events (id bigint, at timestamptz NOT NULL) PARTITION BY LIST (id)",
        "CREATE TABLE one PARTITION OF events FOR VALUES IN (1) PARTITION BY RANGE (at)",
    )
    create(connection, "month", "2026-01-01", "2026-02-01", table="one")
    run_sql(connection, "INSERT INTO events VALUES (1, '2026-01-31 23:59Z')")
    assert list(partitions(connection, "one")) == ["one_y2026_m01"]


def test_creating_twice_changes_nothing(connection: Connection) -> None:
    run_sql(connection, PARENT)
    create(connection, "month", "2026-01-01", "2026-04-01", default=True)
    before = laws.snapshot(connection)
    create(connection, "month", "2026-01-01", "2026-04-01", default=True)
    assert laws.snapshot(connection) == before


def test_what_is_being_detached_is_there(connection: Connection, database_url: str) -> None:
    run_sql(connection, PARENT)
    create(connection, "month", "2026-01-01", "2026-02-01")
    cut = "ALTER TABLE events DETACH PARTITION events_y2026_m01 CONCURRENTLY"
    with (
        reading(database_url),
        session(database_url, options="-c lock_timeout=1") as other,
        pytest.raises(LockNotAvailable),
    ):
        other.execute(cut)
    # Which takes relhassubclass away: it does not see a partition that is being detached.
    run_sql(connection, "ANALYZE events")
    create(connection, "month", "2026-01-01", "2026-02-01")
    assert list(partitions(connection, "events")) == ["events_y2026_m01"]


# --- Names


@pytest.mark.parametrize(
    "taken",
    [
        "CREATE TABLE {} ()",
        "CREATE VIEW {} AS SELECT 1",
        "CREATE SEQUENCE {}",
        "CREATE INDEX {} ON events (id)",
        "CREATE TYPE {} AS ENUM ('a')",
        "CREATE DOMAIN {} AS integer",
    ],
)
def test_a_taken_name_gets_a_number(connection: Connection, taken: str) -> None:
    run_sql(
        connection, PARENT, taken.format("events_y2026_m01"), "CREATE TABLE events_y2026_m01_2 ()"
    )
    create(connection, "month", "2026-01-01", "2026-02-01")
    assert list(partitions(connection, "events")) == ["events_y2026_m01_3"]


def test_a_namesake_in_another_schema_does_not_matter(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE SCHEMA other",
        "SET search_path = other, public",
        "CREATE TABLE other.events_y2026_m01 ()",
        PARENT.replace("events", "public.events"),
    )
    create(connection, "month", "2026-01-01", "2026-02-01")
    assert list(partitions(connection, "events")) == ["public.events_y2026_m01"]


def test_tables_with_long_names_alike_have_partitions_of_their_own(connection: Connection) -> None:
    twins = ["o" * 52 + end for end in "ab"]
    for twin in twins:
        run_sql(connection, PARENT.replace("events", twin))
        create(connection, "month", "2026-01-01", "2026-03-01", table=twin)
    for twin in twins:
        assert list(partitions(connection, twin)) == [f"{twin}_y2026_m01", f"{twin}_y2026_m02"]


@pytest.mark.parametrize("name", ["o" * 54, "ö" * 27, "o" * 63])
def test_a_name_that_does_not_fit_is_refused_before_anything_is_made(
    connection: Connection, name: str
) -> None:
    run_sql(connection, PARENT.replace("events", name))
    before = laws.snapshot(connection)
    with pytest.raises(CommandError, match=r"more than 63 bytes: shorten the name"):
        create(connection, "month", "2026-01-01", "2026-02-01", table=name)
    connection.rollback()
    assert laws.snapshot(connection) == before


# --- Refusals


@pytest.mark.parametrize(
    "clause", ["LIST (at)", "HASH (at)", "RANGE (at, id)", "RANGE (id)", "RANGE ((at + '1 h'))"]
)
def test_other_kinds_of_partitioned_tables_are_refused(connection: Connection, clause: str) -> None:
    run_sql(
        connection,
        f"CREATE TABLE events (id bigint, at timestamp NOT NULL) PARTITION BY {clause}",
        "CREATE TABLE plain (at timestamptz)",
    )
    for table in ("events", "plain"):
        with pytest.raises(CommandError, match=f"^{table} is not partitioned by range of one date"):
            create(connection, "month", "2026-01-01", "2026-02-01", table=table)
        connection.rollback()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("create_range_partitions('events', every='month')", "give start=, and either stop="),
        ("create_range_partitions('events', every='fortnight', default=True)", "write one of"),
        ("drop_range_partitions('events', every='day', start='1.1.26', ahead=1)", "is not a day"),
        ("set_partition_policy('events', every='day', timezone='Mars')", "write an IANA name"),
        ("attach_partition('events', 'part', timezone='Mars')", "write an IANA name"),
    ],
)
def test_a_wrong_call_in_a_script_is_told_in_one_line(
    connection: Connection, call: str, message: str
) -> None:
    run_sql(connection, PARENT)
    with pytest.raises(CommandError, match=message):
        run(connection, f"op.{call}")


@pytest.mark.parametrize("key", ["date", "timestamp", "timestamptz"])
def test_rows_in_a_default_partition_stop_a_new_partition_and_stay(
    connection: Connection, key: str
) -> None:
    run_sql(connection, PARENT.replace("timestamptz", key))
    create(connection, "month", "2026-01-01", "2026-03-01", default=True)
    run_sql(connection, "INSERT INTO events VALUES (1, '2026-01-05'), (2, '2026-04-05')")
    before = laws.snapshot(connection)
    with pytest.raises(CommandError) as raised:
        create(connection, "month", "2026-01-01", "2026-06-01")
    connection.rollback()
    message = str(raised.value)
    assert message.startswith("events: its default partition events_default holds rows of the new")
    assert "2026-04-01" in message
    assert "INSERT INTO events SELECT * FROM events_default" in message
    assert laws.snapshot(connection) == before
    assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one() == 2


def test_the_advice_about_a_default_partition_works(connection: Connection) -> None:
    run_sql(connection, PARENT)
    create(connection, "month", "2026-01-01", "2026-03-01", default=True)
    run_sql(
        connection,
        "INSERT INTO events VALUES (1, '2026-04-05')",
        "ALTER TABLE events DETACH PARTITION events_default",
    )
    create(connection, "month", "2026-01-01", "2026-06-01")
    run_sql(connection, "INSERT INTO events SELECT * FROM events_default")
    assert connection.exec_driver_sql("SELECT count(*) FROM events_y2026_m04").scalar_one() == 1


# --- The session


def test_what_follows_in_the_transaction_has_the_settings_of_the_session(
    connection: Connection,
) -> None:
    run_sql(connection, PARENT, "SET DateStyle = 'SQL, DMY'", "SET TimeZone = 'Asia/Tokyo'")
    operation = CreateRangePartitions("events", "month", "2026-01-01", "2026-02-01")
    for statement in operation.statements():
        sql.execute(connection, statement)
    shown = [
        connection.exec_driver_sql(f"SHOW {name}").scalar_one()
        for name in ("DateStyle", "TimeZone")
    ]
    assert shown == ["SQL, DMY", "Asia/Tokyo"]


# --- Others at work


def attempts(engine: Engine, *statements: str) -> None:
    """Run statements on a connection of their own, with hardly any patience for locks."""
    with engine.connect() as impatient:
        run_sql(impatient, "SET lock_timeout = '100ms'", *statements)


def test_readers_and_writers_do_not_hold_up_creation(
    connection: Connection, engine: Engine
) -> None:
    run_sql(
        connection,
        "CREATE TABLE accounts (id bigint PRIMARY KEY)",
        "CREATE TABLE events (id bigint REFERENCES accounts, at timestamptz, PRIMARY KEY (id, at))"
        " PARTITION BY RANGE (at)",
        "CREATE TABLE notes (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES events)",
        "INSERT INTO accounts VALUES (1)",
    )
    create(connection, "month", "2026-01-01", "2026-02-01")
    with engine.connect() as reader, engine.connect() as writer:
        for table in ("events", "accounts", "notes"):
            reader.exec_driver_sql(f"SELECT * FROM {table}")
        writer.exec_driver_sql("DELETE FROM events")
        bounds = "FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')"
        with pytest.raises(OperationalError) as raised:
            attempts(engine, f"CREATE TABLE naive PARTITION OF events {bounds}")
        assert isinstance(raised.value.orig, LockNotAvailable)
        operation = CreateRangePartitions("events", "month", "2026-01-01", "2026-06-01")
        attempts(engine, *map(text_of, operation.statements()))
    assert len(partitions(connection, "events")) == 5


def test_two_at_once_create_each_partition_once(connection: Connection, engine: Engine) -> None:
    run_sql(connection, PARENT)

    def worker(_number: int) -> None:
        with engine.connect() as own:
            create(own, "month", "2026-01-01", "2027-01-01")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(worker, range(4)))
    assert len(partitions(connection, "events")) == 12


def test_identifiers_need_no_care(connection: Connection) -> None:
    """The laws cover more names; these have what PL/pgSQL, format() or psycopg might trip over."""
    for name in ("$block$ $_block$", "%I %s {} {{}}", ":x :'y' \\g \\", "'; DROP TABLE events; --"):
        table = Identifier("Odd %s {}", name)
        run_sql(
            connection,
            'CREATE SCHEMA IF NOT EXISTS "Odd %s {}"',
            text_of(
                SQL("CREATE TABLE {} (at date NOT NULL) PARTITION BY RANGE (at)").format(table)
            ),
        )
        create(connection, "month", "2026-01-01", "2026-02-01", table=name, schema="Odd %s {}")
        assert len(partitions(connection, text_of(table))) == 1


def test_a_translated_schema_is_refused(connection: Connection) -> None:
    """Our SQL would go to the schema of the model, another tenant's."""
    translated = connection.execution_options(schema_translate_map={None: "tenant"})
    with pytest.raises(CommandError, match="set the search_path instead"):
        laws.apply(translated, [CreateRangePartitions("events", "month", "2026-01-01", ahead=1)])
