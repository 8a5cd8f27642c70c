"""A partition that a run was about to detach carries a mark, and sheds it when it is to stay."""

from typing import Any

import laws
import pytest
from autogenerate import run_sql
from scheduled import before, count, done, insert, names, only, run, table
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from alembic_enterprise.partitions.operations import SetPartitionPolicy

DROP: dict[str, Any] = {"every": "month", "ahead": 1, "on_expire": "drop", "hold": 0}


@pytest.fixture
def marked(connection: Connection, engine: Engine) -> Connection:
    """A connection to a database of which a run has marked September, and failed to detach it."""
    table(connection, "events", "2026-09-01", "2027-01-01", retain=1, **DROP)
    insert(connection, "2026-09-09Z")

    def refuse(_worker: Connection) -> None:
        raise OperationalError("", {}, Exception("refused"))

    before(engine, 'ALTER TABLE "public"."events" DETACH', refuse)
    assert only(run(engine)).done == [("mark", "public.events_y2026_m09")]
    assert "retired" in comment(connection)
    return connection


def comment(connection: Connection) -> str:
    query = "SELECT obj_description('events_y2026_m09'::regclass)"
    found = str(connection.exec_driver_sql(query).scalar_one())
    connection.commit()
    return found


@pytest.mark.parametrize("retain", [2, None])
def test_what_is_to_stay_after_all_is_not_dropped_when_it_is_detached_by_hand(
    marked: Connection, engine: Engine, retain: int | None
) -> None:
    laws.apply(marked, [SetPartitionPolicy("events", retain=retain, **DROP)])
    assert done(run(engine)) == ["unmark public.events_y2026_m09"]
    assert comment(marked) == "alembic-enterprise: partition of public.events"
    run_sql(marked, "ALTER TABLE events DETACH PARTITION events_y2026_m09")
    assert "drop" not in " ".join(done(run(engine)))
    assert count(marked, "events_y2026_m09") == 1


def test_what_is_expired_keeps_its_mark_until_it_is_detached(
    marked: Connection, engine: Engine
) -> None:
    later = ["mark", "detach", "drop", "analyze"]
    assert [text.split()[0] for text in done(run(engine))] == later
    assert names(marked) == ["y2026_m10", "y2026_m11", "y2026_m12"]
