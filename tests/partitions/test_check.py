"""What `partitions check` finds: each rule speaks of what is bad, and is silent of what is good."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import laws
import psycopg
import pytest
from autogenerate import run_sql
from scheduled import NOW, insert, many, reading, recorded, run, session, table
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.advise import advise, exit_code
from alembic_enterprise.partitions.advise import findings as all_findings
from alembic_enterprise.partitions.inspection import Inspection, Server, inspect

SPAN = ("2026-10-01", "2027-01-01")


def inspected(connection: Connection, name: str = "events") -> Inspection:
    (found,) = inspect(connection, [name], NOW)
    connection.rollback()
    return found


def findings(connection: Connection, **changes: Any) -> list[Finding]:
    return advise(replace(inspected(connection), **changes))


def rules(connection: Connection, **changes: Any) -> list[str]:
    return [found.rule for found in findings(connection, **changes)]


def applied(connection: Connection, found: list[Finding]) -> None:
    operations: list[Operation] = [item for finding in found for item in finding.operations]
    assert operations
    laws.apply(connection, operations)


def test_a_table_in_order_gives_no_finding(connection: Connection) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1], retain=1, default=True)
    assert findings(connection) == []


# --- Periods


def test_missing_periods_and_short_headroom_are_mended_by_their_operations(
    connection: Connection,
) -> None:
    table(connection, start="2026-10-01", stop="2026-11-01")
    found = findings(connection)
    assert [(item.rule, item.severity) for item in found] == [
        ("headroom-short", "error"),
        ("partitions-missing", "warning"),
    ]
    assert found[0].evidence == {"headroom_seconds": 0.0, "min_headroom_periods": 1}
    assert found[1].evidence == {
        "missing": [["2026-11-01", "2026-12-01"], ["2026-12-01", "2027-01-01"]]
    }
    assert exit_code(found) == 3
    applied(connection, found)
    assert findings(connection) == []


def test_a_gap_in_the_past_is_missing_and_no_short_headroom(connection: Connection) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1])
    run_sql(
        connection,
        "CREATE TABLE old PARTITION OF events FOR VALUES FROM ('2026-08-01Z') TO ('2026-09-01Z')",
    )
    found = findings(connection)
    assert [item.rule for item in found] == ["partitions-missing"]
    assert exit_code(found) == 2
    applied(connection, found)
    assert findings(connection) == []


def test_min_headroom_is_counted_in_periods_after_the_current_one(connection: Connection) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1])
    known = inspected(connection)
    assert [exit_code(advise(known, periods)) for periods in (0, 1, 2)] == [0, 0, 3]


def test_bounds_inside_a_period_are_a_note(connection: Connection) -> None:
    table(connection, start="2026-11-01", stop="2027-01-01")
    run_sql(
        connection,
        "CREATE TABLE odd PARTITION OF events FOR VALUES FROM ('2026-10-09Z') TO ('2026-11-01Z')",
        "CREATE TABLE endless PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-10-01Z')",
    )
    run(connection.engine)
    (found,) = findings(connection)
    assert (found.rule, found.severity) == ("bounds-misaligned", "note")
    assert found.evidence["partitions"] == ["public.events_y2026_m10", "public.odd"]
    assert exit_code([found]) == 0


@pytest.mark.parametrize("end", ["MAXVALUE", "'infinity'"])
def test_a_partition_without_an_end_is_a_note(connection: Connection, end: str) -> None:
    table(connection, start="2026-10-01", stop="2026-11-01", ahead=3)
    endless = "CREATE TABLE endless PARTITION OF events FOR VALUES FROM ('{}Z') TO ({})"
    run_sql(connection, endless.format("2026-11-01", end))
    (found,) = findings(connection)
    assert (found.rule, found.severity) == ("range-endless", "note")
    assert found.message == (
        "public.endless takes all rows from 2026-11-01 00:00:00+00:00 on, so no period there gets "
        "a partition, and its rows never expire: detach it (op.detach_partition) and attach it "
        "with an end (op.attach_partition, stop=)"
    )
    assert found.evidence == {"partition": "public.endless"}
    assert exit_code([found]) == 0
    run_sql(connection, "DROP TABLE endless", endless.format("2027-03-01", end))
    run(connection.engine)
    assert findings(connection) == []


def test_partitions_of_others_that_retain_would_take_are_a_note(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1], retain=1)
    run_sql(
        connection,
        'CREATE TABLE "of Ada" PARTITION OF events'
        " FOR VALUES FROM ('2026-09-01Z') TO ('2026-10-01Z')",
    )
    (found,) = findings(connection)
    assert (found.rule, found.severity) == ("ended-not-ours", "note")
    told, _, comment = found.message.partition(" for each: ")
    assert found.evidence["comments"] == [comment]
    assert told.startswith("1 partition, public.of Ada first, ended before what the policy retains")
    assert run(engine).exit_code(None) == 0
    assert "ended-not-ours" in rules(connection)
    run_sql(connection, comment)
    run(engine)
    assert rules(connection) == []


def test_rows_in_the_default_partition(connection: Connection) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1], default=True)
    insert(connection, "2020-01-01Z", "2020-01-02Z")
    (found,) = findings(connection)
    assert (found.rule, found.evidence) == ("default-rows", {"rows": 2})
    assert exit_code([found]) == 2
    (found,) = findings(connection, default_rows=1000)
    assert "holds 1,000 or more rows" in found.message


# --- What should be gone


def test_a_partition_that_should_have_been_retired(connection: Connection) -> None:
    """The job does not run, or something keeps it."""
    table(connection, start="2026-08-01", stop=SPAN[1], retain=1)
    (found,) = findings(connection)
    assert (found.rule, found.severity) == ("expired-not-retired", "warning")
    assert found.evidence == {"partitions": ["public.events_y2026_m08", "public.events_y2026_m09"]}
    assert exit_code([found]) == 2
    assert findings(connection, now=NOW.replace(month=10, day=2)) == []  # the job has a day or two
    run(connection.engine)
    assert findings(connection) == []


@pytest.mark.parametrize("gone", ["DROP TABLE events", "ALTER TABLE events RENAME TO former"])
@pytest.mark.parametrize(("policy", "severity"), [("drop", "warning"), ("detach", "note")])
def test_what_was_retired_from_a_table_that_is_another_one_now(
    connection: Connection, gone: str, policy: str, severity: str
) -> None:
    """As after a restore: no run knows whose it was."""
    table(connection, start="2026-09-01", stop=SPAN[1], retain=1, on_expire=policy)
    run(connection.engine)
    assert advised(connection)[1] == []
    run_sql(connection, gone)
    table(connection, start="2026-10-01", stop=SPAN[1], retain=1)
    found = [item for item in advised(connection)[1] if item.rule == "retired-unclaimed"]
    assert [(item.table, item.severity) for item in found] == [
        ("public.events_y2026_m09", severity)
    ]
    assert advised(connection, ["events"])[1] == []
    run_sql(connection, "COMMENT" + found[0].message.rpartition("COMMENT")[2])
    assert [item for item in advised(connection)[1] if item.rule == "retired-unclaimed"] == []


@pytest.mark.parametrize(
    ("comment", "why"),
    [
        ("to drop", "was retired by an earlier release, whose comment does not tell which period"),
        ("to burn", "has the comment of a retired partition, which cannot be read"),
    ],
)
def test_what_was_retired_with_a_comment_that_tells_too_little(
    connection: Connection, comment: str, why: str
) -> None:
    table(connection, start="2026-09-01", stop=SPAN[1], retain=1, on_expire="drop")
    run(connection.engine)
    oid = connection.exec_driver_sql("SELECT 'events'::regclass::oid").scalar_one()
    run_sql(
        connection,
        "COMMENT ON TABLE events_y2026_m09 IS 'alembic-enterprise: partition of"
        f' "public"."events"; retired {NOW.isoformat()} from {oid} {comment} as'
        ' "public"."events_y2026_m09"\'',
    )
    (found,) = advised(connection)[1]
    assert (found.rule, found.severity, found.table) == (
        "retired-unclaimed",
        "warning",
        "public.events_y2026_m09",
    )
    assert found.message.startswith(f"it {why}")
    run_sql(connection, "COMMENT" + found.message.rpartition("COMMENT")[2])
    assert advised(connection)[1] == []


def advised(connection: Connection, only: Collection[str] = ()) -> tuple[int, list[Finding]]:
    run_sql(connection, f"SET alembic_enterprise.now = '{NOW}'")
    found = all_findings(connection, only)
    connection.rollback()
    return found


# --- What was left half done


def test_an_interrupted_detach(connection: Connection, database_url: str) -> None:
    table(connection, start="2026-08-01", stop=SPAN[1], retain=1)
    statement = "ALTER TABLE events DETACH PARTITION events_y2026_m08 CONCURRENTLY"
    with (
        reading(database_url),
        session(database_url, options="-c lock_timeout=1") as other,
        pytest.raises(psycopg.errors.LockNotAvailable),
    ):
        other.execute(statement)
    late, found = findings(connection)
    assert late.evidence == {"partitions": ["public.events_y2026_m09"]}
    assert (found.rule, found.severity) == ("detach-pending", "error")
    assert found.evidence == {"partition": "public.events_y2026_m08"}
    run(connection.engine)
    assert rules(connection) == ["orphan"]  # a person detached it, and knows what for


def test_an_orphan_is_what_we_made_and_nobody_retired(connection: Connection) -> None:
    table(connection, start="2026-08-01", stop=SPAN[1], retain=1)
    run_sql(connection, "CREATE TABLE events_by_hand (LIKE events)")
    run(connection.engine)
    assert findings(connection) == []
    run_sql(connection, "ALTER TABLE events DETACH PARTITION events_y2026_m10")
    found = [item for item in findings(connection) if item.rule == "orphan"]
    assert [item.evidence for item in found] == [{"partition": "public.events_y2026_m10"}]


# --- Attributes


@pytest.mark.parametrize(
    ("change", "undo", "word"),
    [
        ("OWNER TO {role}", "OWNER TO CURRENT_USER", "owner"),
        ("ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY", "row security"),
        ("REPLICA IDENTITY FULL", "REPLICA IDENTITY DEFAULT", "replica identity"),
        ("SET (fillfactor = 50)", "RESET (fillfactor)", "storage options"),
    ],
)
def test_attributes_that_differ(
    connection: Connection, role: str, change: str, undo: str, word: str
) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1])
    run_sql(connection, f"ALTER TABLE events_y2026_m10 {change.format(role=role)}")
    (found,) = findings(connection)
    assert found.rule == "attributes-differ"
    assert found.evidence == {"partition": "public.events_y2026_m10", "differs": [word]}
    assert exit_code([found]) == (0 if word == "storage options" else 2)
    run_sql(connection, f"ALTER TABLE events_y2026_m10 {undo}")
    assert findings(connection) == []


def test_storage_options_are_compared_with_the_newest_partition_and_not_the_default_one(
    connection: Connection,
) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1], default=True)
    run_sql(connection, "ALTER TABLE events_default SET (fillfactor = 50)")
    (found,) = findings(connection)
    assert found.evidence["partition"] == "public.events_default"


def test_storage_options_are_compared_with_those_that_a_new_partition_gets(
    connection: Connection,
) -> None:
    """Those of ours, and not of one that was attached after it."""
    table(connection, start=SPAN[0], stop=SPAN[1])
    run_sql(
        connection,
        "CREATE TABLE far PARTITION OF events FOR VALUES FROM ('2030-01-01Z') TO ('2031-01-01Z')"
        " WITH (fillfactor = 50)",
    )
    (found,) = [item for item in findings(connection) if item.rule == "attributes-differ"]
    assert found.evidence["partition"] == "public.far"


def test_grants_that_differ(connection: Connection, role: str) -> None:
    table(connection)
    run_sql(connection, f"GRANT SELECT, INSERT ON events TO {role}, PUBLIC")
    run(connection.engine)
    assert findings(connection) == []
    run_sql(connection, f"REVOKE INSERT ON events_y2026_m11 FROM {role}")
    (found,) = findings(connection)
    assert found.evidence == {"partition": "public.events_y2026_m11", "differs": ["grants"]}


# --- The rest of the table, and the server


def test_an_invalid_index(connection: Connection) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1])
    run_sql(connection, "CREATE INDEX fine ON events (at)")
    assert findings(connection) == []
    run_sql(connection, "CREATE INDEX unfinished ON ONLY events (at)")
    (found,) = findings(connection)
    assert (found.rule, found.evidence) == ("index-invalid", {"indexes": ["unfinished"]})
    assert exit_code([found]) == 2


def test_statistics_of_the_whole_table(connection: Connection) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1])
    insert(connection, "2026-11-11Z")
    run_sql(connection, "ANALYZE events_y2026_m11")
    (found,) = findings(connection)
    assert (found.rule, found.severity) == ("statistics-missing", "note")
    assert rules(connection, analyzed=NOW) == []


def test_the_lock_table(connection: Connection) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1])
    known = inspected(connection)
    assert known.relations == 8  # four tables, each with the index of its primary key
    small = replace(known.server, lock_slots=15)
    (found,) = findings(connection, server=small)
    assert (found.rule, found.evidence) == ("lock-budget", {"relations": 8, "slots": 15})
    assert rules(connection, server=replace(small, lock_slots=16)) == []


@pytest.mark.parametrize(
    ("version", "refers", "bad"),
    [
        (140013, True, True),
        (140014, True, False),
        (170000, True, True),
        (170000, False, False),
        (180000, True, False),
    ],
)
def test_minor_releases_that_lose_foreign_keys(
    connection: Connection, version: int, refers: bool, bad: bool
) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1])
    server = Server(version, 10**6)
    assert rules(connection, server=server, refers=refers) == ["minor-release"] * bad


def test_only_keys_to_partitioned_tables_are_lost(connection: Connection) -> None:
    run_sql(connection, "CREATE TABLE kinds (id bigint PRIMARY KEY)")
    for name, referred in (("a", ""), ("b", " REFERENCES kinds"), ("c", "")):
        columns = f"id bigint{referred}, at {{}}, PRIMARY KEY (id, at)"
        table(connection, name, *SPAN, columns=columns)
    run_sql(connection, "ALTER TABLE c ADD FOREIGN KEY (id, at) REFERENCES a")
    assert [inspected(connection, name).refers for name in "abc"] == [False, False, True]


# --- Looking


def test_a_check_changes_nothing_and_needs_no_right_to(
    connection: Connection, database_url: str
) -> None:
    table(connection, start="2026-08-01", stop="2026-09-01", retain=1, default=True)
    before = laws.snapshot(connection)
    options = {"options": "-c default_transaction_read_only=on"}
    reader = create_engine(database_url, poolclass=NullPool, connect_args=options)
    with reader.connect() as reading:
        assert rules(reading) == ["headroom-short", "partitions-missing"]
    assert laws.snapshot(connection) == before
    inspect(connection)
    with pytest.raises(DBAPIError, match="read-only transaction"):
        connection.exec_driver_sql("CREATE TABLE no ()")


def test_tables_are_chosen_by_name(connection: Connection) -> None:
    for name in ("a", "b"):
        table(connection, name, *SPAN)
    assert [str(item.table.name) for item in inspect(connection, ["public.b"])] == ["public.b"]
    with pytest.raises(ConfigurationError, match="no table with a policy is called c: there are"):
        inspect(connection, ["b", "c"])


def test_looking_takes_as_many_round_trips_for_many_tables(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start=SPAN[0], stop=SPAN[1])
    statements = recorded(engine)
    counts: list[int] = []
    for first, last in ((1, 2), (3, 20)):
        many(connection, first, last)
        statements.clear()
        with engine.connect() as own:
            assert len(inspect(own, (), NOW)) == last + 1
        counts.append(len(statements))
    assert counts[0] == counts[1] < 30
