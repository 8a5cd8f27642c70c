"""A partition that was retired, under a name that somebody has changed since, or its table's."""

import re
from datetime import timedelta
from typing import Any

import pytest
from autogenerate import events, generate, run_sql
from scheduled import NOW, before, count, done, insert, only, relations, run, table
from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.exc import OperationalError

from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import Name

LATER = NOW + timedelta(days=1)
SPAN = ("2026-09-01", "2027-01-01")
DROP: dict[str, Any] = {"retain": 1, "on_expire": "drop", "hold": 1}


def retired(connection: Connection, engine: Engine) -> None:
    """September is detached, and to be dropped the day after."""
    table(connection, "events", *SPAN, **DROP)
    insert(connection, "2026-09-09Z")
    assert done(run(engine))[:2] == [
        "mark public.events_y2026_m09",
        "detach public.events_y2026_m09",
    ]


# --- The partition


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ('RENAME TO "Evi""dence"', Name("public", 'Evi"dence')),
        ("SET SCHEMA legal_hold", Name("legal_hold", "events_y2026_m09")),
    ],
)
def test_what_somebody_has_put_away_is_not_dropped(
    connection: Connection, engine: Engine, change: str, name: Name
) -> None:
    retired(connection, engine)
    run_sql(connection, "CREATE SCHEMA legal_hold", f"ALTER TABLE events_y2026_m09 {change}")
    there = relations(connection)
    assert only(run(engine)).notes == []
    for drop_detached in (False, True):
        report = run(engine, now=LATER, drop_detached=drop_detached)
        assert (done(report), report.exit_code(0)) == ([], 0)
        (note,) = only(report).notes
        assert note == (
            f"{name} was called public.events_y2026_m09 when it was retired, and stays. Drop "
            "it by hand when it is not needed; "
            f"COMMENT ON TABLE {name.text} IS 'alembic-enterprise: kept' silences this note, and "
            "autogenerate does not propose to drop it"
        )
    assert relations(connection) == there
    (note,) = only(run(engine, now=LATER)).notes
    run_sql(connection, re.findall("COMMENT .*(?= silences)", note)[0])
    assert only(run(engine, now=LATER)).notes == []
    metadata = MetaData()
    events(metadata, ahead=1, **DROP)
    assert generate(connection, metadata, include_schemas=True).calls == []


def test_what_is_called_as_before_again_is_dropped(connection: Connection, engine: Engine) -> None:
    retired(connection, engine)
    run_sql(connection, "ALTER TABLE events_y2026_m09 RENAME TO evidence")
    run(engine, now=LATER)
    run_sql(connection, "ALTER TABLE evidence RENAME TO events_y2026_m09")
    assert done(run(engine, now=LATER)) == ["drop public.events_y2026_m09"]


def test_what_is_put_away_is_not_archived(connection: Connection, engine: Engine) -> None:
    """A policy that archives moves what a run that was killed had detached; nothing else."""
    retired(connection, engine)
    run_sql(
        connection,
        "CREATE SCHEMA old",
        "ALTER TABLE events_y2026_m09 RENAME TO evidence",
        "UPDATE alembic_enterprise_policy SET policy ="
        ' policy || \'{"on_expire": "archive", "archive": "old"}\'',
    )
    assert done(run(engine)) == []
    assert count(connection, "evidence") == 1


@pytest.mark.parametrize("moment", ["yesterday", "2026-11-21", "2026-11-21T12:00:00", ".."])
@pytest.mark.parametrize("held", ["../..", "then/..", "../2026-10-01"])
def test_what_a_stranger_wrote_stops_nothing(
    connection: Connection, engine: Engine, moment: str, held: str
) -> None:
    table(connection, "events", *SPAN, **DROP)
    oid = connection.exec_driver_sql("SELECT 'events'::regclass::oid").scalar_one()
    mark = f'retired {moment} from {oid} to drop {held} as "public"."strange"'
    run_sql(
        connection,
        "CREATE TABLE strange (id bigint)",
        f'COMMENT ON TABLE strange IS \'{OWNERSHIP}partition of "public"."events"; {mark}\'',
    )
    assert "detach public.events_y2026_m09" in done(run(engine))
    assert "strange" in relations(connection)


# --- Its table


@pytest.mark.parametrize(
    "change", ["RENAME TO renamed", "SET SCHEMA other", 'RENAME TO "a; retired b from 1 to keep"']
)
def test_what_was_retired_is_dropped_after_its_table_has_another_name(
    connection: Connection, engine: Engine, change: str
) -> None:
    retired(connection, engine)
    run_sql(connection, "CREATE SCHEMA other", f"ALTER TABLE events {change}")
    assert done(run(engine)) == []
    assert done(run(engine, now=LATER)) == ["drop public.events_y2026_m09"]


def test_what_a_table_left_that_another_one_is_called_after_stays(
    connection: Connection, engine: Engine
) -> None:
    """After a restore the oid in the comment may be that of any table."""
    retired(connection, engine)
    run_sql(connection, "ALTER TABLE events RENAME TO renamed", "CREATE TABLE events (id bigint)")
    assert done(run(engine, now=LATER)) == []


def test_what_was_retired_is_archived_after_its_table_has_another_schema(
    connection: Connection, engine: Engine
) -> None:
    """What the run before had failed to do."""
    table(connection, "events", *SPAN, retain=1, on_expire="archive", archive="old")
    run_sql(connection, "CREATE SCHEMA old", "CREATE SCHEMA other")
    for _ in range(2):  # it is tried twice
        before(engine, 'ALTER TABLE "public"."events_y2026_m09" SET SCHEMA', refused)
    run(engine)
    run_sql(connection, "ALTER TABLE events SET SCHEMA other")
    assert done(run(engine)) == ["archive public.events_y2026_m09"]


def refused(_worker: Connection) -> None:
    raise OperationalError("", {}, Exception("refused"))


# --- The archive


def test_two_tables_of_one_name_have_one_archive(connection: Connection, engine: Engine) -> None:
    """What would not find its place there is not detached, until it does."""
    archive: dict[str, Any] = {"retain": 1, "on_expire": "archive", "archive": "old"}
    run_sql(connection, "CREATE SCHEMA old", "CREATE SCHEMA other")
    table(connection, "events", *SPAN, **archive)
    run(engine)
    run_sql(connection, "ALTER TABLE events SET SCHEMA other")
    table(connection, "events", *SPAN, **archive)
    for _ in range(2):
        report = run(engine, only=frozenset(["public.events"]))
        assert done(report) == []
        (problem,) = only(report).problems
        assert problem == (
            "public.events_y2026_m09 cannot move to old, where a relation has its name: rename "
            "that, or give the policy an archive of its own. The next run goes on"
        )
    run_sql(connection, "ALTER TABLE old.events_y2026_m09 RENAME TO others")
    run_sql(connection, "ALTER INDEX old.events_y2026_m09_pkey RENAME TO others_pkey")
    assert done(run(engine, only=frozenset(["public.events"]))) == [
        "mark public.events_y2026_m09",
        "detach public.events_y2026_m09",
        "archive public.events_y2026_m09",
        "analyze public.events",
    ]


def test_what_is_detached_waits_for_its_place_in_the_archive(
    connection: Connection, engine: Engine
) -> None:
    retired(connection, engine)
    run_sql(
        connection,
        "CREATE SCHEMA old",
        "CREATE VIEW old.events_y2026_m09 AS SELECT 1",
        "UPDATE alembic_enterprise_policy SET policy ="
        ' policy || \'{"on_expire": "archive", "archive": "old"}\'',
    )
    (problem,) = only(run(engine)).problems
    assert problem.startswith("public.events_y2026_m09 cannot move to old, where a relation has")
    run_sql(connection, "DROP VIEW old.events_y2026_m09")
    assert done(run(engine)) == ["archive public.events_y2026_m09"]
