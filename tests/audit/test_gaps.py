"""Changes that went past a trail: the repair says so in the history, and begins it anew."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import laws
import pytest
from alembic import command
from audited import audited, drift
from autogenerate import generate, project, run_sql, upgrade
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    NullPool,
    Table,
    Text,
    create_engine,
    func,
    make_url,
)
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import AuditTrail, RangePartitions
from alembic_enterprise.audit.history import as_of
from alembic_enterprise.audit.operations import AlterAuditTrail, CreateAuditTrail
from alembic_enterprise.partitions.operations import AttachPartition, DetachPartition
from alembic_enterprise.sql import text_of

EVENTS = Table(
    "events",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("note", Text),
    RangePartitions("at", every="month"),
    AuditTrail(),
)
CREATE = CreateAuditTrail("events", "events_history")
ALTER = AlterAuditTrail("events", "events_history")
JANUARY = "FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00')"
COLUMNS = "(id int, at timestamptz, note text, PRIMARY KEY (id, at))"
FIRST, SECOND = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 2, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def original(shared_database: Callable[..., str]) -> str:
    """A database with a table by month, a row in January and one in February, and a trail."""
    url = shared_database()
    with create_engine(url, poolclass=NullPool).connect() as connection:
        run_sql(
            connection,
            f"CREATE TABLE events {COLUMNS} PARTITION BY RANGE (at)",
            f"CREATE TABLE january PARTITION OF events {JANUARY}",
            "CREATE TABLE february PARTITION OF events"
            " FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00')",
        )
        laws.apply(connection, [CREATE])
        run_sql(connection, f"INSERT INTO events VALUES (1, '{FIRST}', 'a'), (2, '{SECOND}', 'b')")
    return str(make_url(url).database)


@pytest.fixture
def database_url(
    request: pytest.FixtureRequest, other_database: Callable[..., str], original: str
) -> str:
    """The test's own database, empty unless it has `events`."""
    return other_database(original) if "events" in request.fixturenames else other_database()


@pytest.fixture
def events(connection: Connection) -> Connection:
    """A connection to a copy of `original`."""
    return connection


def kept(connection: Connection, since: int = 0) -> list[tuple[Any, ...]]:
    """What the history tells: action, relation or row, from its row `since` on."""
    query = (
        "SELECT audit_action, coalesce(audit_context ->> 'relation', id || ' ' || note)"
        " FROM audit.events_history ORDER BY audit_id, id"
    )
    rows = [tuple(row) for row in connection.exec_driver_sql(query)]
    connection.commit()
    return rows[since:]


def history_matches_rows(connection: Connection) -> bool:
    """Whether the history knows the rows that are there, and no others."""
    known = connection.execute(as_of(EVENTS, func.clock_timestamp())).all()
    rows = connection.exec_driver_sql("SELECT id, at, note FROM events").all()
    connection.rollback()
    return sorted(map(tuple, known)) == sorted(map(tuple, rows))


CHANGES = (
    "DELETE FROM january",
    "UPDATE events SET note = 'c' WHERE id = 2",
    f"INSERT INTO events VALUES (3, '{FIRST}', 'd')",
)
GAPS = {
    "disabled": "ALTER TABLE {0} DISABLE TRIGGER USER",
    "dropped": "; ".join(
        f"DROP TRIGGER alembic_enterprise_{event} ON {{0}}"
        for event in ("insert", "update", "delete", "truncate")
    ),
}


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("concurrently", [False, True])
def test_a_gap_of_the_table_ends_its_history_and_begins_it_anew(
    events: Connection, gap: str, *, concurrently: bool
) -> None:
    run_sql(events, *(GAPS[gap].format(name) for name in ("events", "january", "february")))
    run_sql(events, *CHANGES)
    assert not history_matches_rows(events)
    laws.apply(events, [AlterAuditTrail("events", "events_history", concurrently=concurrently)])
    assert kept(events, 2) == [
        ("detach", "public.events"),
        ("baseline", "2 c"),
        ("baseline", "3 d"),
    ]
    assert history_matches_rows(events)
    assert drift(events) == []


def test_a_gap_of_a_partition_is_one_of_its_rows(events: Connection) -> None:
    run_sql(events, GAPS["disabled"].format("ONLY january"), "UPDATE january SET note = 'c'")
    laws.apply(events, [ALTER])
    assert kept(events, 2) == [("detach", "public.january"), ("baseline", "1 c")]
    assert history_matches_rows(events)


def test_what_captured_all_the_time_has_no_gap(events: Connection) -> None:
    run_sql(
        events,
        "COMMENT ON TRIGGER alembic_enterprise_insert ON events IS NULL",
        "ALTER FUNCTION audit.events_history() OWNER TO pg_monitor",
        "DROP VIEW audit.audit_trail",
    )
    laws.apply(events, [ALTER])
    assert kept(events, 2) == []


def test_a_history_that_is_gone_begins_with_the_rows_that_are_there(events: Connection) -> None:
    run_sql(events, "DROP TABLE audit.events_history CASCADE")
    laws.apply(events, [ALTER])
    assert kept(events) == [("baseline", "1 a"), ("baseline", "2 b")]


def test_a_repair_leaves_the_settings_of_the_script_alone(events: Connection) -> None:
    settings = "SELECT current_setting('DateStyle'), current_setting('row_security')"
    run_sql(events, "SET DateStyle = 'German'", "ALTER TABLE events DISABLE TRIGGER USER")
    with events.begin():
        for statement in ALTER.statements():
            events.exec_driver_sql(text_of(statement), execution_options={"no_parameters": True})
        assert tuple(events.exec_driver_sql(settings).one()) == ("German, DMY", "on")
    assert len(kept(events, 2)) == 3


def test_a_repair_that_was_cut_short_is_finished_by_the_next(events: Connection) -> None:
    run_sql(events, GAPS["disabled"].format("ONLY january"), "UPDATE january SET note = 'c'")
    *made, _baseline = ALTER.statements()
    run_sql(events, *map(text_of, made))
    assert drift(events) == ["january has rows that its history lacks"]
    laws.apply(events, [ALTER])
    assert kept(events)[-1] == ("baseline", "1 c")
    assert history_matches_rows(events)
    assert drift(events) == []


def test_autogenerate_repairs_a_gap_while_others_write(
    connection: Connection, engine: Engine
) -> None:
    metadata = audited()
    upgrade(connection, metadata)
    run_sql(connection, "ALTER TABLE orders DISABLE TRIGGER USER", "INSERT INTO orders VALUES (1)")
    script = generate(connection, metadata)
    assert "concurrently=True" in script.upgrade
    assert "concurrently" not in script.downgrade
    upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []
    run_sql(connection, "GRANT SELECT ON audit.orders_history TO pg_monitor")
    assert "concurrently" not in generate(connection, metadata).upgrade
    with engine.connect() as other:
        query = "SELECT audit_action FROM audit.orders_history"
        assert other.exec_driver_sql(query).scalars().all() == ["baseline"]


def test_a_script_adds_a_column_and_repairs_a_gap(
    tmp_path: Path, connection: Connection, engine: Engine
) -> None:
    """What it did before is committed, and can be taken back."""
    before, after = audited(), audited(Column("note", Text))
    config = project(tmp_path, engine, before)
    command.revision(config, autogenerate=True, rev_id="1")
    command.upgrade(config, "head")
    run_sql(connection, "ALTER TABLE orders DISABLE TRIGGER USER", "INSERT INTO orders VALUES (1)")
    config.attributes["metadata"] = after
    command.revision(config, autogenerate=True, rev_id="2")
    command.upgrade(config, "head")
    command.check(config)
    rows = connection.exec_driver_sql("SELECT audit_action, id, note FROM audit.orders_history")
    assert [tuple(row) for row in rows] == [("baseline", 1, None)]
    connection.rollback()
    command.downgrade(config, "1")
    assert generate(connection, before).calls == []


# --- Partitions that come with rows, and those that go by hand


def attached(events: Connection, *, by_hand: bool) -> None:
    run_sql(
        events, f"CREATE TABLE march {COLUMNS}", "INSERT INTO march VALUES (4, '2026-03-05', 'm')"
    )
    bounds = "FROM ('2026-03-01 00:00+00') TO ('2026-04-01 00:00+00')"
    if by_hand:
        run_sql(events, f"ALTER TABLE events ATTACH PARTITION march FOR VALUES {bounds}")
    else:
        laws.apply(events, [AttachPartition("events", "march", "2026-03-01", "2026-04-01")])


@pytest.mark.parametrize("by_hand", [False, True])
def test_the_rows_of_a_table_that_is_attached_are_found_and_told(
    events: Connection, *, by_hand: bool
) -> None:
    attached(events, by_hand=by_hand)
    expected = "has no trigger" if by_hand else "has rows that its history lacks"
    assert all(text.startswith("march") and expected in text for text in drift(events))
    assert drift(events)
    laws.apply(events, [ALTER])
    assert kept(events)[-2:] == [("detach", "public.march"), ("baseline", "4 m")]
    assert history_matches_rows(events)
    assert drift(events) == []


def test_an_empty_table_that_is_attached_lacks_nothing(events: Connection) -> None:
    run_sql(events, f"CREATE TABLE march {COLUMNS}")
    laws.apply(events, [AttachPartition("events", "march", "2026-03-01", "2026-04-01")])
    assert drift(events) == []


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM january"],
        ["DROP TABLE january", f"CREATE TABLE january {COLUMNS}"],
    ],
)
def test_rows_that_went_while_it_was_detached_do_not_come_back(
    events: Connection, statements: list[str]
) -> None:
    laws.apply(events, [DetachPartition("events", "january", "2026-01-01", "2026-02-01")])
    run_sql(events, *statements)
    laws.apply(events, [AttachPartition("events", "january", "2026-01-01", "2026-02-01")])
    told = ["public.january"] * 3
    assert kept(events)[-3:] == list(zip(["detach", "truncate", "attach"], told, strict=True))
    assert history_matches_rows(events)
    assert drift(events) == []


def test_nor_when_it_is_attached_for_another_month(events: Connection) -> None:
    laws.apply(events, [DetachPartition("events", "january", "2026-01-01", "2026-02-01")])
    run_sql(events, "DELETE FROM january")
    laws.apply(events, [AttachPartition("events", "january", "2025-12-01", "2026-01-01")])
    assert history_matches_rows(events)


def test_what_changed_while_it_was_detached_is_told(events: Connection) -> None:
    names = ("events", "january", "2026-01-01", "2026-02-01")
    laws.apply(events, [DetachPartition(*names)])
    run_sql(events, f"DELETE FROM january; INSERT INTO january VALUES (9, '{FIRST}', 'z')")
    laws.apply(events, [AttachPartition(*names)])
    assert drift(events) == ["january has rows that its history lacks"]
    laws.apply(events, [ALTER])
    assert history_matches_rows(events)
    laws.apply(events, [DetachPartition(*names)])
    assert history_matches_rows(events)
    laws.apply(events, [AttachPartition(*names), ALTER])
    assert history_matches_rows(events)


def test_a_partition_that_was_detached_by_hand_writes_no_more(events: Connection) -> None:
    run_sql(events, "ALTER TABLE events DETACH PARTITION january", "UPDATE january SET note = 'x'")
    found = drift(events)
    assert len(found) == 4
    assert found[0] == (
        "january: trigger alembic_enterprise_delete writes to the history of events, which it is "
        "not part of"
    )
    laws.apply(events, [ALTER])
    assert drift(events) == []
    run_sql(events, "UPDATE january SET note = 'y'")
    assert kept(events)[-2:] == [("detach", "public.events"), ("baseline", "2 b")]
    assert history_matches_rows(events)


def test_what_becomes_of_it_then_is_not_told_of_the_whole_table(events: Connection) -> None:
    run_sql(events, "ALTER TABLE events DETACH PARTITION january", "TRUNCATE january")
    query = "SELECT audit_context FROM audit.events_history WHERE audit_action = 'truncate'"
    told = events.exec_driver_sql(query).scalar_one()
    assert told == {"relation": "public.january", "exact": False}
    left = events.execute(as_of(EVENTS, func.clock_timestamp())).scalars().all()
    assert sorted(left) == [1, 2]
    run_sql(events, "TRUNCATE events")
    assert events.execute(as_of(EVENTS, func.clock_timestamp())).all() == []


# --- Roles


def test_who_may_not_execute_the_function_gives_it_to_no_table(
    events: Connection, role: str
) -> None:
    run_sql(events, f"GRANT USAGE ON SCHEMA audit TO {role}")
    with pytest.raises(DBAPIError, match=r"permission denied for function .*events_hi"):
        run_sql(events, f"SET ROLE {role}", *forged())


def test_a_table_that_its_owner_lets_write_to_the_history_is_found(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    owner, auditor, reader = (new_role() for _ in range(3))
    metadata = audited(trail={"owner": auditor, "readers": [reader]})
    upgrade(connection, metadata)
    run_sql(
        connection, f"ALTER TABLE orders OWNER TO {owner}; GRANT ALL ON SCHEMA public TO {owner}"
    )
    upgrade(connection, metadata)
    run_sql(connection, f"SET ROLE {owner}", *forged("orders"), "RESET ROLE")
    assert drift(connection) == [
        "forged: trigger forge writes to the history of orders, which it is not part of"
    ]
    alter = AlterAuditTrail("orders", "orders_history", owner=auditor, readers=[reader])
    laws.apply(connection, [alter])
    assert drift(connection) == []
    query = "SELECT audit_action, id FROM audit.orders_history ORDER BY audit_id"
    rows = [tuple(row) for row in connection.exec_driver_sql(query)]
    assert rows == [("insert", 7), ("detach", None)]


def forged(table: str = "events") -> tuple[str, ...]:
    """Statements that let another table write to a history."""
    return (
        "CREATE TABLE forged (id int, iban text, total int)",
        (
            "CREATE TRIGGER forge AFTER INSERT ON forged REFERENCING NEW TABLE AS new_rows"
            f" FOR EACH STATEMENT EXECUTE FUNCTION audit.{table}_history()"
        ),
        "INSERT INTO forged (id) VALUES (7)",
    )
