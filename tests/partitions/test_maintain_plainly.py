"""Partitions of a plain table are made the short way, and are what the long way makes."""

import struct
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import laws
import pytest
from autogenerate import run_sql
from psycopg.sql import SQL, Literal
from scheduled import NOW, done, insert, names, only, recorded, run, table
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url

from alembic_enterprise import sql
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.partitions.periods import SUFFIX, Every, floor, shift, suffix
from alembic_enterprise.sql import Name

EVERY: Sequence[Every] = get_args(Every)

LONG, SHORT = "DO $block$\nDECLARE", "DO $block$\nBEGIN"


def ways(engine: Engine) -> list[str]:
    """How a run created partitions, in order: the beginnings of the blocks."""
    statements = recorded(engine)
    report = run(engine)
    assert report.exit_code(1) == 0, report
    return [way for text in statements for way in (LONG, SHORT) if text.startswith(way)]


RICH = (
    "id bigint NOT NULL, at {} NOT NULL, n integer DEFAULT 7 CHECK (n > 0),"
    " twice integer GENERATED ALWAYS AS (n * 2) STORED, note text COMPRESSION pglz,"
    " \"Odd %s\" varchar(9) NOT NULL DEFAULT '%s', other bigint REFERENCES others,"
    " PRIMARY KEY (id, at)"
)


def rich(connection: Connection, key: str, every: Every) -> tuple[date, date]:
    """A table that lacks the period after the current one, which is returned."""
    run_sql(connection, "CREATE TABLE others (id bigint PRIMARY KEY)")
    current = floor(NOW.date(), every)
    start, stop = (shift(current, every, periods) for periods in (1, 2))
    zone = "America/Havana"
    table(
        connection,
        *("events", str(current), str(start)),
        key=key,
        columns=RICH,
        every=every,
        timezone=zone,
    )
    run_sql(
        connection,
        "ALTER TABLE events ALTER COLUMN note SET STORAGE EXTERNAL",
        "COMMENT ON COLUMN events.note IS 'what was noted'",
        "CREATE STATISTICS n_at (ndistinct) ON n, at FROM events",
        "CREATE INDEX ON events (note)",
    )
    return start, stop


@pytest.mark.parametrize("key", ["date", "timestamp", "timestamptz"])
@pytest.mark.parametrize("every", EVERY)
def test_both_ways_make_the_same(
    connection: Connection,
    engine: Engine,
    other_database: Callable[..., str],
    key: str,
    every: Every,
) -> None:
    start, stop = rich(connection, key, every)
    connection.close()
    url = other_database(make_url(engine.url).database)
    assert ways(engine) == [SHORT]
    with create_engine(url, poolclass=NullPool).connect() as other, engine.connect() as own:
        operation = CreateRangePartitions(
            "events", every, str(start), str(stop), timezone="America/Havana"
        )
        laws.apply(other, [operation])
        assert laws.snapshot(own) == laws.snapshot(other)


def test_names_are_those_that_the_server_gives(connection: Connection) -> None:
    first = date(2020, 1, 1)
    for every in EVERY:
        query = SQL("SELECT to_char({}::date + day, {}) FROM generate_series(0, 3000) AS day")
        rows = sql.rows(connection, query.format(Literal(str(first)), Literal(SUFFIX[every])))
        assert [name for (name,) in rows] == [
            suffix(first + timedelta(days=day), every) for day in range(3001)
        ]


# --- What is not plain

GRANT = "relacl::text ~ '=r/'"
COLUMN_GRANT = (
    "(SELECT attacl::text ~ '=r/' FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum = 1)"
)


@pytest.mark.parametrize(
    ("change", "attribute", "expected"),
    [
        ("GRANT SELECT ON events TO PUBLIC", GRANT, True),
        ("GRANT SELECT (id) ON events TO PUBLIC", COLUMN_GRANT, True),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", GRANT, False),
        ("ALTER TABLE events ENABLE ROW LEVEL SECURITY", "relrowsecurity", True),
        ("ALTER TABLE events FORCE ROW LEVEL SECURITY", "relforcerowsecurity", True),
        ("ALTER TABLE events REPLICA IDENTITY FULL", "relreplident::text", "f"),
        ("ALTER TABLE events_y2026_m11 SET (fillfactor = 70)", "reloptions", ["fillfactor=70"]),
    ],
)
def test_what_like_leaves_behind_takes_the_long_way(
    connection: Connection, engine: Engine, change: str, attribute: str, expected: object
) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01")
    run_sql(connection, change)
    assert ways(engine) == [LONG]
    query = f"SELECT {attribute} FROM pg_class WHERE oid = 'events_y2026_m12'::regclass"
    assert connection.exec_driver_sql(query).scalar_one() == expected


def test_a_table_of_a_role_that_this_one_belongs_to_takes_the_long_way(
    connection: Connection, engine: Engine, role: str
) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01")
    run_sql(connection, f"ALTER TABLE events OWNER TO {role}")
    assert ways(engine) == [LONG]
    query = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'events_y2026_m12'"
    assert connection.exec_driver_sql(query).scalar_one() == role


def test_a_role_whose_name_has_to_be_quoted_takes_the_short_way(
    connection: Connection, database_url: str, new_role: Callable[..., str]
) -> None:
    role = new_role('Svc@"proj".')
    table(connection, start="2026-11-01", stop="2026-12-01")
    quoted = Name(None, role).text
    run_sql(
        connection,
        f"GRANT ALL ON SCHEMA public TO {quoted}",
        f"GRANT SELECT ON alembic_enterprise_policy TO {quoted}",
        f"ALTER TABLE events OWNER TO {quoted}",
    )
    options = {"options": f"-c role={role}"}
    assert ways(create_engine(database_url, poolclass=NullPool, connect_args=options)) == [SHORT]


@pytest.mark.parametrize(
    "taken",
    ["CREATE VIEW events_y2026_m12 AS SELECT 1", "CREATE TYPE events_y2026_m12 AS ENUM ()"],
)
def test_a_name_that_is_taken_takes_the_long_way(
    connection: Connection, engine: Engine, taken: str
) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01")
    run_sql(connection, taken)
    assert ways(engine) == [SHORT, LONG]
    assert names(connection) == ["y2026_m11", "y2026_m12_2"]


def test_a_period_that_is_there_in_part_takes_the_long_way(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01")
    bounds = "FROM ('2026-12-05Z') TO ('2026-12-07Z')"
    run_sql(connection, f"CREATE TABLE odd PARTITION OF events FOR VALUES {bounds}")
    assert ways(engine) == [SHORT, LONG]
    assert names(connection) == ["y2026_m11", "y2026_m12", "odd", "y2026_m12_2"]


@pytest.mark.parametrize(("length", "way"), [(49, SHORT), (50, LONG)])
def test_a_name_of_which_the_server_would_cut_the_end_takes_the_long_way(
    connection: Connection, engine: Engine, length: int, way: str
) -> None:
    table(connection, "é" * (length // 2) + "e" * (length % 2), "2026-11-01", "2026-12-01")
    assert ways(engine) == [way]


@pytest.mark.parametrize(
    ("change", "attribute"),
    [
        ("GRANT SELECT ON later TO PUBLIC", "relacl IS NOT NULL"),
        ("ALTER TABLE later ENABLE ROW LEVEL SECURITY", "relrowsecurity"),
        ("ALTER TABLE later REPLICA IDENTITY FULL", "relreplident = 'f'"),
    ],
)
def test_what_changes_during_the_run_takes_the_long_way(
    connection: Connection, engine: Engine, change: str, attribute: str
) -> None:
    for name in ("former", "later"):
        table(connection, name, "2026-11-01", "2026-12-01")

    def progress(done: int, _expected: int) -> None:
        if done == 1:
            run_sql(connection, change)

    report = run(engine, progress=progress)
    assert [kind for item in report.tables for kind, _ in item.done] == ["create", "analyze"] * 2
    query = f"SELECT {attribute} FROM pg_class WHERE oid = 'later_y2026_m12'::regclass"
    assert connection.exec_driver_sql(query).scalar_one() is True


# --- Time zone data of another release


@pytest.fixture
def other_hours(tmp_path: Path) -> Iterator[str]:
    """A zone in which Python takes each midnight for an hour later than the server."""
    name = "Asia/Tokyo"
    (tmp_path / "Asia").mkdir()
    # A file of RFC 8536: no transitions, and one type of local time, eight hours ahead.
    eight = struct.pack(">4s16x6llBB4s", b"TZif", 0, 0, 0, 0, 1, 4, 8 * 3600, 0, 0, b"+08")
    (tmp_path / name).write_bytes(eight)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path, *before])
    ZoneInfo.clear_cache()
    yield name
    zoneinfo.reset_tzpath(before)
    ZoneInfo.clear_cache()


def test_the_hours_of_the_server_count(
    connection: Connection, engine: Engine, other_hours: str
) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01", timezone=other_hours)
    begun = 'UPDATE alembic_enterprise_policy SET policy = policy || \'{"start": "2026-11-01"}\''
    run_sql(connection, begun)
    for _ in range(2):
        report = run(engine)
        assert "create 2026-12-01 to 2027-01-01" not in done(report)
        (problem,) = only(report).problems
        assert problem == (
            f"2026-12-01 to 2027-01-01: the server's time zone data for {other_hours} differ from "
            "this machine's, so part of this period has no partition. Update the time zone data of "
            "the older one: the server's, or tzdata here"
        )
        assert report.exit_code(0) == 2
    assert names(connection) == ["y2026_m11", "y2026_m12"]
    insert(connection, "2026-11-30 15:00Z", "2026-12-31 14:59Z")


# --- What a table costs


def test_a_partition_to_create_and_one_to_retire_take_four_statements(
    connection: Connection, engine: Engine
) -> None:
    statements = recorded(engine)
    counts: list[int] = []
    for number in (1, 2, 5):
        for _ in range(number):
            table(connection, f"t{len(statements)}", "2026-09-01", "2026-12-01", retain=1)
        statements.clear()
        report = run(engine)
        assert sum(len(item.done) for item in report.tables) == 4 * number
        counts.append(len(statements))
    assert [counts[1] - counts[0], counts[2] - counts[1]] == [4, 12]


@pytest.mark.parametrize(
    ("policy", "known"),
    [
        ({}, ["events_y2026_m10", "events_y2026_m11"]),
        ({"on_expire": "archive", "archive": "missing"}, []),
    ],
    ids=["all went well", "a problem"],
)
def test_partitions_that_no_step_has_changed_are_read_once(
    connection: Connection, engine: Engine, policy: dict[str, str], known: list[str]
) -> None:
    table(connection, start="2026-09-01", stop="2026-12-01", retain=1, **policy)
    oids = sql.rows(
        connection, SQL("SELECT oid FROM pg_class WHERE relname = ANY ({})").format(Literal(known))
    )
    statements = recorded(engine)
    report = run(engine)
    first, second = (text for text in statements if "c.relpartbound" in text)
    assert "'{}'" in first
    assert f"'{{{','.join(str(oid) for (oid,) in sorted(oids))}}}'" in second
    assert only(report).partitions == len(names(connection))


def test_a_table_gets_its_first_default_partition_and_retires_in_one_run(
    connection: Connection, engine: Engine
) -> None:
    """Beside it the server knows no concurrent detach."""
    table(connection, start="2026-09-01", stop="2026-12-01", retain=1)
    run_sql(
        connection,
        "UPDATE alembic_enterprise_policy SET policy = policy || '{\"default\": true}'",
    )
    assert done(run(engine)) == [
        "create 2026-12-01 to 2027-01-01",
        "create default",
        "mark public.events_y2026_m09",
        "detach public.events_y2026_m09",
        "analyze public.events",
    ]
