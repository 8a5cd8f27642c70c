"""What was detached while its policy retains it: its rows are not lost, nor kept out for ever."""

import logging
import re
from datetime import date, timedelta
from typing import Any

import laws
import pytest
from autogenerate import events, generate, pretend, run_sql
from autogenerate import run as run_script
from scheduled import NOW, count, done, insert, names, only, relations, run, table
from sqlalchemy import Connection, Engine, MetaData

from alembic_enterprise.finding import Finding
from alembic_enterprise.partitions.advise import advise
from alembic_enterprise.partitions.detached import without
from alembic_enterprise.partitions.inspection import inspect
from alembic_enterprise.partitions.operations import (
    AttachPartition,
    DetachPartition,
    SetPartitionPolicy,
)
from alembic_enterprise.sql import Name

SPAN = ("2026-09-01", "2027-01-01")
DROP: dict[str, Any] = {"on_expire": "drop", "hold": 1}
LATER = NOW + timedelta(days=1)

KEEP = 'COMMENT ON TABLE "public"."events_y2026_m09" IS \'alembic-enterprise: kept\''
ATTACH = (
    "op.attach_partition('events', partition='events_y2026_m09', start='2026-09-01',"
    " stop='2026-10-01', schema='public')"
)
ADVICE = (
    "public.events_y2026_m09 was detached, and has the rows of a period that the policy retains: "
    f"attach it with {ATTACH}, or, for an empty partition in its place, {KEEP}"
)
BESIDE = (
    "public.events_y2026_m09 was detached, and has rows of a period that the policy retains and "
    f"that has another partition: put them there, or keep them apart: {KEEP}"
)


def retired(connection: Connection, engine: Engine) -> None:
    """September is detached, and to be dropped the day after."""
    table(connection, "events", *SPAN, retain=1, **DROP)
    insert(connection, "2026-09-09Z")
    assert "detach public.events_y2026_m09" in done(run(engine))


def retained_again(connection: Connection, retain: int | None = 12, **policy: Any) -> None:
    chosen: dict[str, Any] = {"retain": retain, "ahead": 1, "start": "2026-09-01", **DROP, **policy}
    laws.apply(connection, [SetPartitionPolicy("events", "month", **chosen)])


def checked(connection: Connection) -> list[Finding]:
    (found,) = inspect(connection, ["events"], NOW)
    connection.rollback()
    return advise(found)


# --- Detached by the job


def test_what_a_longer_retain_retains_again_is_not_dropped(
    connection: Connection, engine: Engine
) -> None:
    retired(connection, engine)
    retained_again(connection)
    for now in (NOW, LATER, LATER):
        report = run(engine, now=now)
        assert (done(report), only(report).problems, only(report).notes) == ([], [ADVICE], [])
        assert report.exit_code(0) == 2
    run_script(connection, ATTACH)
    report = run(engine, now=LATER)
    assert (only(report).problems, report.exit_code(0)) == ([], 0)
    assert (names(connection)[0], count(connection)) == ("y2026_m09", 1)


def test_what_is_archived_is_not_replaced_when_it_is_retained_again(
    connection: Connection, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    archive: dict[str, Any] = {"on_expire": "archive", "archive": "old", "hold": 0}
    run_sql(connection, "CREATE SCHEMA old")
    table(connection, "events", *SPAN, retain=1, **archive)
    insert(connection, "2026-09-09Z")
    assert "archive public.events_y2026_m09" in done(run(engine))
    assert checked(connection) == []
    retained_again(connection, **archive)
    report = run(engine, now=LATER)
    (problem,) = only(report).problems
    assert (done(report), report.exit_code(0)) == ([], 2)
    assert [item.message for item in checked(connection)] == [problem]
    pretend(connection, NOW.isoformat())
    metadata = MetaData()
    events(metadata, ahead=1, retain=12, start="2026-09-01", **archive)
    assert "create_range_partitions" not in generate(connection, metadata).calls
    assert caplog.messages == [problem]
    run_script(connection, re.findall(r"op\.attach_partition\(.*?\)", problem)[0])
    assert (count(connection), only(run(engine, now=LATER)).problems) == (1, [])
    retained_again(connection, 1, **archive)
    assert "detach old.events_y2026_m09" in done(run(engine, now=LATER))
    report = run(engine, now=LATER)
    assert (done(report), only(report).problems, checked(connection)) == ([], [], [])


@pytest.fixture
def undated(connection: Connection, engine: Engine) -> Connection:
    """A connection to a database where September was retired by an earlier release."""
    retired(connection, engine)
    now = re.sub(r"(to drop) \S+", r"\1", comment(connection) or "")
    run_sql(connection, f"COMMENT ON TABLE events_y2026_m09 IS '{now}'")
    return connection


def test_what_tells_no_moments_is_not_dropped(undated: Connection, engine: Engine) -> None:
    assert checked(undated) == []
    report = run(engine, now=LATER)
    assert (done(report), report.exit_code(0)) == ([], 0)
    (note,) = only(report).notes
    assert note == (
        "public.events_y2026_m09 was retired by an earlier release, whose comment does not tell "
        "which period it holds, and stays. Drop it by hand when it is not needed; "
        f"{KEEP} silences this note, and autogenerate does not propose to drop it"
    )
    run_sql(undated, KEEP)
    assert only(run(engine, now=LATER)).notes == []
    assert count(undated, "events_y2026_m09") == 1


def test_what_tells_no_moments_is_not_replaced(undated: Connection, engine: Engine) -> None:
    """Its name tells them."""
    retained_again(undated)
    report = run(engine, now=NOW)
    assert (done(report), only(report).problems) == ([], [ADVICE])
    assert [item.message for item in checked(undated)] == [ADVICE]


def test_what_tells_no_moments_is_archived(undated: Connection, engine: Engine) -> None:
    archive: dict[str, Any] = {"on_expire": "archive", "archive": "old", "hold": 0}
    run_sql(undated, "CREATE SCHEMA old")
    retained_again(undated, 1, **archive)
    assert done(run(engine)) == ["archive public.events_y2026_m09"]
    retained_again(undated, **archive)
    report = run(engine, now=LATER)
    (problem,) = only(report).problems
    assert done(report) == []
    assert "stop='2026-10-01', schema='public', partition_schema='old'" in problem


def test_without_a_retain_nothing_is_dropped_but_on_request(
    connection: Connection, engine: Engine
) -> None:
    """Not even then what the policy retains."""
    retired(connection, engine)
    retained_again(connection, None)
    assert done(run(engine, now=LATER, drop_detached=True)) == []
    assert "events_y2026_m09" in relations(connection)


@pytest.mark.parametrize("key", ["date", "timestamp", "timestamptz"])
def test_bounds_are_known_from_the_mark(connection: Connection, engine: Engine, key: str) -> None:
    """Also when the partition has a name that tells nothing."""
    table(connection, "events", key=key, retain=1, **DROP)
    run_sql(
        connection,
        "CREATE TABLE autumn PARTITION OF events FOR VALUES FROM ('2026-09-01') TO ('2026-10-01')",
        "COMMENT ON TABLE autumn IS 'alembic-enterprise: partition of public.events'",
    )
    for _ in range(2):  # the first finds that all had ended, and creates
        run(engine)
    assert "autumn" not in names(connection)
    retained_again(connection)
    (problem,) = only(run(engine)).problems
    call = re.findall(r"op\.attach_partition\(.*?\)", problem)[0]
    run_script(connection, call)
    assert (only(run(engine)).problems, names(connection)[0]) == ([], "autumn")


def test_bounds_in_another_zone_are_told_in_utc(connection: Connection, engine: Engine) -> None:
    table(connection, "events", *SPAN, retain=1, timezone="Asia/Kolkata", **DROP)
    run(engine)
    retained_again(connection, timezone="Asia/Kolkata")
    (problem,) = only(run(engine)).problems
    assert "start='2026-08-31 18:30:00', stop='2026-09-30 18:30:00'" in problem


def test_whoever_wants_an_empty_partition_says_so(connection: Connection, engine: Engine) -> None:
    retired(connection, engine)
    retained_again(connection)
    run_sql(connection, KEEP)
    assert "create 2026-09-01 to 2026-10-01" in done(run(engine, now=LATER))
    assert names(connection)[0] == "y2026_m09_2"
    assert count(connection, "events_y2026_m09") == 1
    assert [item.rule for item in checked(connection)] == []


def test_what_has_another_one_in_its_place_is_not_dropped(
    connection: Connection, engine: Engine
) -> None:
    retired(connection, engine)
    retained_again(connection)
    run_sql(
        connection,
        "CREATE TABLE other PARTITION OF events FOR VALUES FROM ('2026-09-01Z') TO ('2026-10-01Z')",
    )
    report = run(engine, now=LATER)
    assert (done(report), only(report).problems, only(report).notes) == ([], [], [BESIDE])
    (found,) = checked(connection)
    assert (found.rule, found.severity, found.message) == ("detached-retained", "warning", BESIDE)


# --- Detached by a person


@pytest.fixture
def by_hand(connection: Connection) -> Connection:
    """A connection to a database where September was detached, between August and October."""
    table(connection, "events", "2026-08-01", "2027-01-01")
    insert(connection, "2026-09-09Z")
    run_sql(connection, "ALTER TABLE events DETACH PARTITION events_y2026_m09")
    return connection


def test_what_a_person_has_detached_is_not_replaced(by_hand: Connection, engine: Engine) -> None:
    report = run(engine)
    assert (done(report), only(report).problems) == ([], [ADVICE])
    (found,) = checked(by_hand)
    assert (found.rule, found.message) == ("detached-retained", ADVICE)
    run_script(by_hand, ATTACH)
    assert (only(run(engine)).problems, checked(by_hand)) == ([], [])


def test_the_present_is_created_whatever_was_detached(
    connection: Connection, engine: Engine
) -> None:
    """Its rows would be refused."""
    table(connection, "events", "2026-10-01", "2027-01-01")
    run_sql(connection, "ALTER TABLE events DETACH PARTITION events_y2026_m11")
    assert "create 2026-11-01 to 2026-12-01" in done(run(engine))


# --- Autogenerate


def test_autogenerate_leaves_the_period_out_and_says_why(
    by_hand: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(by_hand, NOW.isoformat())
    metadata = MetaData()
    events(metadata, ahead=1, start="2026-07-01")
    with caplog.at_level(logging.WARNING):
        script = generate(by_hand, metadata)
    assert script.calls == ["create_range_partitions", "set_partition_policy"]
    assert "start='2026-07-01',\n    stop='2026-08-01'," in script.upgrade
    assert caplog.messages == [ADVICE]


def test_what_is_kept_is_replaced(by_hand: Connection, caplog: pytest.LogCaptureFixture) -> None:
    pretend(by_hand, NOW.isoformat())
    run_sql(by_hand, KEEP)
    metadata = MetaData()
    events(metadata, ahead=1)
    assert generate(by_hand, metadata).calls == ["create_range_partitions"]
    assert caplog.messages == []


def test_some_periods_of_what_is_lacking_are_left_out() -> None:
    first, second, third, fourth = (date(2026, month, 1) for month in range(1, 5))
    assert without([(first, fourth)], [(second, third)]) == [(first, second), (third, fourth)]
    assert without([(first, second), (third, None)], [(first, second)]) == [(third, None)]
    assert without([(first, None)], [(second, third), (first, second)]) == [(third, None)]
    assert without([(first, second)], []) == [(first, second)]


# --- Attached again


@pytest.mark.parametrize("other", ["events", 'the "other" one'])
def test_what_is_attached_again_begins_anew(
    connection: Connection, engine: Engine, other: str
) -> None:
    """That it was to be dropped counts no more when somebody detaches it once more."""
    retired(connection, engine)
    bounds = ("events_y2026_m09", "2026-09-01", "2026-10-01")
    if other != "events":
        quoted = Name(None, other).text
        run_sql(connection, f"CREATE TABLE {quoted} (LIKE events) PARTITION BY RANGE (at)")
    laws.apply(connection, [AttachPartition(other, *bounds)])
    assert comment(connection) == f"alembic-enterprise: partition of public.{other}"
    laws.apply(connection, [DetachPartition(other, *bounds)])
    assert done(run(engine, now=LATER)) == []
    assert count(connection, "events_y2026_m09") == 1


def test_what_a_person_has_kept_is_not_ours_when_it_is_attached_again(
    connection: Connection, engine: Engine
) -> None:
    retired(connection, engine)
    run_sql(connection, KEEP)
    bounds = ("events_y2026_m09", "2026-09-01", "2026-10-01")
    laws.apply(connection, [AttachPartition("events", *bounds)])
    assert comment(connection) is None
    assert done(run(engine, now=LATER)) == []
    assert names(connection)[0] == "y2026_m09"


@pytest.mark.parametrize("text", ["of the year", "alembic-enterprise: history of public.orders"])
def test_other_comments_stay_as_they_are(connection: Connection, engine: Engine, text: str) -> None:
    retired(connection, engine)
    run_sql(connection, f"COMMENT ON TABLE events_y2026_m09 IS '{text}'")
    bounds = ("events_y2026_m09", "2026-09-01", "2026-10-01")
    laws.apply(connection, [AttachPartition("events", *bounds)])
    assert comment(connection) == text


def comment(connection: Connection) -> str | None:
    query = "SELECT obj_description('events_y2026_m09'::regclass)"
    found: str | None = connection.exec_driver_sql(query).scalar_one()
    connection.commit()
    return found
