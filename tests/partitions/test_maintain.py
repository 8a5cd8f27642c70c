"""A run of the scheduled job on a database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import laws
import psycopg
import pytest
from autogenerate import run_sql
from scheduled import (
    NOW,
    before,
    count,
    done,
    insert,
    names,
    of,
    only,
    recorded,
    relations,
    run,
    table,
)
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import OperationalError

from alembic_enterprise.partitions.advise import advise
from alembic_enterprise.partitions.inspection import inspect
from alembic_enterprise.partitions.maintain import maintain

# --- Creating


def test_missing_periods_are_caught_up(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-07-01", stop="2026-09-01", ahead=2)
    report = run(engine)
    assert report.exit_code(1) == 0
    assert names(connection) == [f"y2026_m{n:02}" for n in range(7, 13)] + ["y2027_m01"]
    assert only(report).headroom == datetime(2027, 2, 1, tzinfo=UTC) - NOW
    assert only(report).partitions == 7


def test_gaps_are_filled_and_rows_stay(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-07-01", stop="2026-08-01")
    run_sql(
        connection,
        "CREATE TABLE odd PARTITION OF events FOR VALUES FROM ('2026-09-09Z') TO ('2026-10-10Z')",
    )
    insert(connection, "2026-07-07Z", "2026-09-10Z")
    assert run(engine).exit_code(1) == 0
    assert names(connection) == [
        *("y2026_m07", "y2026_m08", "y2026_m09", "odd"),
        *("y2026_m10", "y2026_m11", "y2026_m12"),
    ]
    assert count(connection) == 2


def test_a_table_without_partitions_and_rows_gets_the_present(
    connection: Connection, engine: Engine
) -> None:
    table(connection, ahead=0)
    assert run(engine).exit_code(0) == 0
    assert names(connection) == ["y2026_m11"]


def test_a_second_run_does_nothing(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-07-01", stop="2026-11-01", retain=1, default=True)
    table(connection, "others", "2026-07-01", "2026-11-01", retain=1, on_expire="drop", hold=0)
    assert any(item.done for item in run(engine).tables)
    before = laws.snapshot(connection)
    report = run(engine)
    assert [item.done for item in report.tables] == [[], []]
    assert laws.snapshot(connection) == before


@pytest.mark.parametrize("key", ["date", "timestamp", "timestamptz"])
def test_periods_are_those_of_the_declared_zone(
    connection: Connection, engine: Engine, key: str
) -> None:
    table(connection, key=key, every="day", ahead=0, timezone="Asia/Kolkata")
    late = datetime(2026, 11, 21, 18, 30, tzinfo=UTC)  # the next day has begun in Kolkata
    run(engine, now=late)
    assert names(connection) == ["y2026_m11_d22"]


def test_a_missing_default_partition_is_created(connection: Connection, engine: Engine) -> None:
    table(connection, default=True)
    assert done(run(engine))[-2:] == ["create default", "analyze public.events"]
    assert names(connection) == ["default", "y2026_m11", "y2026_m12"]


def test_the_clock_is_the_servers(connection: Connection, database_url: str) -> None:
    table(connection, ahead=0)
    options = {"options": "-c alembic_enterprise.now=2031-02-03"}
    pretending = create_engine(database_url, poolclass=NullPool, connect_args=options)
    assert maintain(pretending).now == datetime(2031, 2, 3, tzinfo=UTC)
    assert names(connection) == ["y2031_m02"]


def test_names_that_hurt(connection: Connection, engine: Engine) -> None:
    name, schema = 'Sel"ect; ретенция', "Ärger: 100%"
    run_sql(connection, f'CREATE SCHEMA "{schema}"', f'SET search_path = "{schema}"')
    table(connection, name, retain=1, hold=30, on_expire="drop")
    for month in (9, 10, 11):
        assert run(engine, now=datetime(2026, month, 1, tzinfo=UTC)).exit_code(1) == 0
    assert done(run(engine, now=datetime(2026, 12, 2, tzinfo=UTC))) == [
        "create 2027-01-01 to 2027-02-01",
        f"mark {schema}.{name}_y2026_m10",
        f"detach {schema}.{name}_y2026_m10",
        f"drop {schema}.{name}_y2026_m09",
        f"analyze {schema}.{name}",
    ]


# --- One bad table


def refuse(connection: Connection, pattern: str) -> None:
    """Let the database refuse to make relations with such names."""
    run_sql(
        connection,
        f"""CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()
                   WHERE object_identity LIKE '{pattern}') THEN RAISE 'not on Sundays'; END IF;
        END $$""",
        "CREATE EVENT TRIGGER no ON ddl_command_end EXECUTE FUNCTION no()",
    )


def test_one_failing_table_among_twenty_stops_no_other(
    connection: Connection, engine: Engine
) -> None:
    for number in range(20):
        table(connection, f"t{number}", "2026-11-01", "2026-12-01")
    refuse(connection, "public.t7%")
    report = run(engine)
    assert [item.name.name for item in report.tables if item.problems] == ["t7"]
    assert of(report, "t7").problems == [
        "create 2026-12-01 to 2027-01-01: not on Sundays (SQLSTATE P0001). The next run tries again"
    ]
    assert sum(bool(item.done) for item in report.tables) == 19
    assert (report.exit_code(0), report.exit_code(1)) == (2, 3)
    assert report.undone


def test_one_failing_period_stops_no_other(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-09-01", stop="2026-10-01")
    refuse(connection, "public.events_y2026_m10%")
    report = run(engine)
    (problem,) = only(report).problems
    assert problem.startswith("create 2026-10-01 to 2026-11-01: not on Sundays")
    assert report.exit_code(1) == 2
    assert names(connection) == ["y2026_m09", "y2026_m11", "y2026_m12"]


def test_a_policy_on_a_table_by_list_is_told(connection: Connection, engine: Engine) -> None:
    run_sql(connection, "CREATE TABLE kinds (kind text) PARTITION BY LIST (kind)")
    table(connection)
    run_sql(
        connection,
        "INSERT INTO alembic_enterprise_policy"
        " SELECT 'kinds', policy FROM alembic_enterprise_policy",
    )
    report = run(engine)
    assert "not by range of one date or timestamp column" in of(report, "kinds").problems[0]
    assert of(report, "events").problems == []


# --- Retiring


def test_expired_partitions_are_detached_and_kept(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-08-01", stop="2026-12-01", retain=1)
    insert(connection, "2026-08-08Z", "2026-11-11Z")
    assert run(engine).exit_code(1) == 0
    assert names(connection) == ["y2026_m10", "y2026_m11", "y2026_m12"]
    assert count(connection, "events_y2026_m08") == 1
    much_later = run(engine, now=NOW + timedelta(days=5000))
    assert "drop" not in {kind for kind, _ in only(much_later).done}


def test_what_was_detached_and_held_is_dropped_when_asked(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-09-01", stop="2026-12-01", retain=1, hold=7)
    run(engine, drop_detached=True)
    assert "events_y2026_m09" in relations(connection)
    run(engine, now=NOW + timedelta(days=6, hours=23), drop_detached=True)
    assert "events_y2026_m09" in relations(connection)
    assert done(run(engine, now=NOW + timedelta(days=7), drop_detached=True)) == [
        "drop public.events_y2026_m09"
    ]


def test_a_policy_that_drops_does_so_after_the_hold(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-09-01", stop="2026-12-01", retain=1, on_expire="drop", hold=2)
    run(engine)
    assert "events_y2026_m09" in relations(connection)
    assert done(run(engine, now=NOW + timedelta(days=2))) == ["drop public.events_y2026_m09"]
    table(connection, "others", "2026-09-01", "2026-12-01", retain=1, on_expire="drop", hold=0)
    run(engine)
    assert "others_y2026_m09" not in relations(connection)


def test_archived_partitions_move_to_their_schema(connection: Connection, engine: Engine) -> None:
    run_sql(connection, "CREATE SCHEMA old")
    policy: dict[str, Any] = {"retain": 1, "on_expire": "archive", "archive": "old"}
    table(connection, start="2026-09-01", stop="2026-12-01", **policy)
    insert(connection, "2026-09-09Z")
    report = run(engine, drop_detached=True)
    assert done(report)[1:4] == [
        "mark public.events_y2026_m09",
        "detach public.events_y2026_m09",
        "archive public.events_y2026_m09",
    ]
    assert "old.events_y2026_m09" in relations(connection)
    assert done(run(engine, now=NOW + timedelta(days=9), drop_detached=True)) == []


@pytest.mark.parametrize("killed", [False, True])
def test_all_that_is_inside_of_an_archived_partition_moves_along(
    connection: Connection, engine: Engine, killed: bool
) -> None:
    """It was attached by hand and handed over, partitioned twice more."""
    run_sql(connection, "CREATE SCHEMA old")
    table(connection, retain=1, on_expire="archive", archive="old")
    run_sql(
        connection,
        "CREATE TABLE part PARTITION OF events FOR VALUES FROM ('2026-09-01Z') TO ('2026-10-01Z')"
        " PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (9) PARTITION BY HASH (id)",
        "CREATE TABLE leaf PARTITION OF low FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "COMMENT ON TABLE part IS 'alembic-enterprise: partition of public.events'",
    )
    run(engine)  # creates what is due: all that there was had ended
    if killed:
        before(engine, 'ALTER TABLE "public"."leaf" SET SCHEMA', refused)
        run(engine)
    run(engine)
    moved = {name for name in relations(connection) if name.startswith("old.")}
    assert moved == {"old.part", "old.low", "old.leaf"}


def refused(_worker: Connection) -> None:
    raise OperationalError("", {}, Exception("refused"))


def test_without_the_archive_nothing_is_detached(connection: Connection, engine: Engine) -> None:
    policy: dict[str, Any] = {"retain": 1, "on_expire": "archive", "archive": "old"}
    table(connection, start="2026-09-01", stop="2026-12-01", **policy)
    report = run(engine)
    assert report.exit_code(1) == 2
    assert only(report).problems[0].startswith("schema old is missing, or closed to this role")
    assert names(connection)[0] == "y2026_m09"


def test_what_was_made_by_hand_is_never_touched(connection: Connection, engine: Engine) -> None:
    table(connection, retain=1, on_expire="drop", hold=0)
    run_sql(
        connection,
        "CREATE TABLE mine PARTITION OF events FOR VALUES FROM ('2020-01-01Z') TO ('2020-02-01Z')",
        "CREATE TABLE events_y2019_m01 (LIKE events)",
        "COMMENT ON TABLE mine IS 'retired 2020-01-01'",
    )
    run(engine, drop_detached=True)
    run(engine, now=NOW + timedelta(days=400), drop_detached=True)
    assert "mine" in names(connection)
    assert "events_y2019_m01" in relations(connection)


def test_nothing_goes_as_long_as_nothing_can_be_created(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2025-01-01", stop="2025-03-01", retain=1)
    refuse(connection, "public.events_y2026%")
    assert run(engine).exit_code(1) == run(engine).exit_code(1) == 3
    assert names(connection) == ["y2025_m01", "y2025_m02"]


# --- Foreign keys

REFERRING = (
    "id bigint, at {} NOT NULL, event bigint, PRIMARY KEY (id, at),"
    " FOREIGN KEY (event, at) REFERENCES events (id, at)"
)


def test_referring_tables_go_first(connection: Connection, engine: Engine) -> None:
    """Though 'events' comes first by its name, and the rows of 'items' refer to its rows."""
    policy: dict[str, Any] = {"retain": 1, "on_expire": "drop", "hold": 7}
    table(connection, "events", "2026-09-01", "2026-12-01", **policy)
    table(connection, "items", "2026-09-01", "2026-12-01", columns=REFERRING, **policy)
    insert(connection, "2026-09-09Z", "2026-11-11Z")
    run_sql(connection, "INSERT INTO items SELECT id, at, id FROM events")
    report = run(engine)
    assert [item.problems for item in report.tables] == [[], []]
    assert names(connection, "events")[0] == names(connection, "items")[0] == "y2026_m10"
    run_sql(connection, "DELETE FROM items", "DELETE FROM events")  # the key is in force
    assert run(engine, now=NOW + timedelta(days=7)).exit_code(1) == 0
    assert not [name for name in relations(connection) if name.endswith("m09")]


def test_rows_that_refer_to_a_partition_keep_it(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-08-01", stop="2026-12-01", retain=1)
    run_sql(
        connection,
        "CREATE TABLE notes (event bigint, at timestamptz,"
        " FOREIGN KEY (event, at) REFERENCES events (id, at))",
    )
    insert(connection, "2026-08-08Z", "2026-09-09Z", "2026-09-10Z")
    run_sql(connection, "INSERT INTO notes SELECT id, at FROM events WHERE id > 1")
    report = run(engine)
    (problem,) = only(report).problems
    assert problem == (
        "public.events_y2026_m09 stays: rows of public.notes refer to it. Delete them or retire "
        "their partitions first; the next run goes on"
    )
    assert names(connection)[0] == "y2026_m09"
    run_sql(connection, "DELETE FROM notes")
    assert run(engine).exit_code(1) == 0
    assert names(connection)[0] == "y2026_m10"


@pytest.mark.parametrize("by", ["2026-09-10Z", "2026-11-11Z"])
def test_rows_that_refer_to_their_own_table_keep_a_partition(
    connection: Connection, engine: Engine, by: str
) -> None:
    """Also those of the partition itself: PostgreSQL detaches none that is referred to."""
    columns = REFERRING.replace("event bigint", "event bigint, began timestamptz").replace(
        "(event, at)", "(event, began)"
    )
    table(connection, "events", "2026-09-01", "2026-12-01", columns=columns, retain=1)
    insert(connection, "2026-09-09Z", by)
    run_sql(connection, "UPDATE events SET event = 1, began = '2026-09-09Z' WHERE id = 2")
    (problem,) = only(run(engine)).problems
    assert problem == (
        "public.events_y2026_m09 stays: rows of its own table refer to it, perhaps its own ones. "
        "Set event, began of those to NULL, or delete them; the next run goes on"
    )
    run_sql(connection, "UPDATE events SET event = NULL, began = NULL")
    assert run(engine).exit_code(1) == 0
    assert names(connection)[0] == "y2026_m10"


def test_a_detach_beside_a_default_partition_says_what_is_read_under_its_lock(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-09-01", stop="2026-12-01", retain=1, default=True)
    run_sql(
        connection,
        "CREATE TABLE notes (event bigint, at timestamptz,"
        " FOREIGN KEY (event, at) REFERENCES events (id, at))",
    )
    (note,) = only(run(engine)).notes
    assert note == (
        "its default partition makes every detach lock the whole table while PostgreSQL reads "
        "public.notes for rows that refer to it; without one it would be concurrent"
    )


def test_a_foreign_table_that_was_handed_over_is_detached(
    connection: Connection, engine: Engine
) -> None:
    """As `partitions check` writes it. Its rows are elsewhere, so that nothing drops it."""
    policy: dict[str, Any] = {"retain": 1, "on_expire": "drop", "hold": 0}
    columns = "id bigint NOT NULL, at {} NOT NULL"
    table(connection, "events", "2026-10-01", "2027-01-01", columns=columns, **policy)
    run_sql(
        connection,
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere",
        "CREATE FOREIGN TABLE remote PARTITION OF events FOR VALUES"
        " FROM ('2026-01-01Z') TO ('2026-10-01Z') SERVER nowhere",
    )
    (note,) = only(run(engine)).notes
    assert note.startswith("1 partition, public.remote first, ended before what the policy retains")
    (inspected,) = inspect(connection, [], NOW)
    (found,) = [item for item in advise(inspected) if item.rule == "ended-not-ours"]
    connection.rollback()
    run_sql(connection, *found.evidence["comments"])
    assert done(run(engine))[:2] == ["mark public.remote", "detach public.remote"]
    assert only(run(engine)).problems == []
    [(kept,)] = connection.exec_driver_sql("SELECT to_regclass('remote') IS NOT NULL").all()
    assert kept


# --- A default partition


def debugged(engine: Engine) -> list[str]:
    """What the server is going to tell at debug1."""
    heard: list[str] = []

    def listen(notice: psycopg.errors.Diagnostic) -> None:
        heard.append(notice.message_primary or "")

    def connected(connection: Any, _record: object) -> None:
        connection.add_notice_handler(listen)
        connection.execute("SET client_min_messages = debug1")
        connection.commit()

    event.listen(engine, "connect", connected)
    return heard


@pytest.mark.parametrize("key", ["date", "timestamp", "timestamptz"])
def test_beside_a_default_partition_nothing_is_scanned(
    connection: Connection, engine: Engine, key: str
) -> None:
    table(connection, key=key, start="2026-11-01", stop="2026-12-01", default=True)
    insert(connection, "2020-02-02")
    heard = debugged(engine)
    report = run(engine)
    kinds = [kind for kind, _ in only(report).done]
    assert kinds == ["guard", "validate", "create", "unguard", "analyze"]
    implied = 'updated partition constraint for default partition "events_default" is implied'
    assert any(implied in text for text in heard)
    assert no_guard(connection)


def no_guard(connection: Connection) -> bool:
    found: int = connection.exec_driver_sql(
        "SELECT count(*) FROM pg_constraint WHERE conname = 'alembic_enterprise_guard'"
    ).scalar_one()
    connection.commit()
    return found == 0


def test_stray_rows_are_reported_with_their_range(connection: Connection, engine: Engine) -> None:
    table(connection, start="2026-10-01", stop="2026-11-01", default=True, ahead=2)
    run_sql(connection, "SET timezone = 'UTC'")
    insert(connection, "2026-12-03 04:05Z", "2026-12-30Z", "2020-01-01Z")
    report = run(engine)
    (problem,) = only(report).problems
    assert problem == (
        "2026-12-01 to 2027-01-01: public.events_default holds 2 rows of this range, from "
        "2026-12-03 04:05:00+00 to 2026-12-30 00:00:00+00. Move them away, as "
        "`alembic-enterprise explain default-rows` says; the next run creates the partition"
    )
    assert ("guard", "2026-12-01 to 2027-01-01") not in only(report).done
    assert only(report).default_rows == 3
    assert names(connection) == ["default", "y2026_m10", "y2026_m11", "y2027_m01"]


def test_a_row_that_comes_between_the_look_and_the_guard_is_reported(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01", default=True)
    table(connection, "others", "2026-11-01", "2026-12-01")
    before(engine, "ALTER TABLE", lambda _: insert(connection, "2026-12-12Z"))
    statements = recorded(engine)
    (problem,) = of(run(engine), "events").problems
    assert "holds 1 row of this range, from 2026-12-12" in problem
    taken_away = 'ALTER TABLE "public"."events_default" DROP CONSTRAINT IF EXISTS'
    later = statements[statements.index(next(x for x in statements if "VALIDATE" in x)) :]
    assert later[1].startswith(taken_away)  # before anything else is done
    assert no_guard(connection)
    insert(connection, "2026-12-13Z")  # the default partition takes rows again
    run_sql(connection, "DELETE FROM events_default")
    assert run(engine).exit_code(1) == 0


def test_a_default_partition_makes_the_detach_lock_and_the_report_says_so(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-09-01", stop="2026-12-01", default=True, retain=1)
    statements = recorded(engine)
    report = run(engine)
    assert [text for text in statements if "DETACH" in text] == [
        'ALTER TABLE "public"."events" DETACH PARTITION "public"."events_y2026_m09"'
    ]
    assert "without one it would be concurrent" in only(report).notes[0]
    assert report.exit_code(1) == 0
