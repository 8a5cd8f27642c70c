"""The scheduled job among readers, writers, other runs, roles, and sessions that are cut."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from autogenerate import run_sql
from scheduled import (
    NOW,
    before,
    count,
    done,
    insert,
    many,
    names,
    of,
    only,
    reading,
    recorded,
    relations,
    run,
    session,
    table,
)
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import locks
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.locks import Patience
from alembic_enterprise.partitions.maintain import LOCK, Job, maintain
from alembic_enterprise.partitions.report import Report
from alembic_enterprise.partitions.worker import APPLICATION

EAGER = Patience(lock_timeout=300, attempts=3)


def waiting(admin: psycopg.Connection) -> int:
    """The pid of the worker, once it waits for a lock."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
    )
    while True:  # pytest's own timeout ends it, and the lock that is waited for is there to stay
        found = admin.execute(query, [APPLICATION]).fetchall()
        if found:
            return int(found[0][0])
        time.sleep(0.005)


# --- Readers and writers


def test_readers_and_writers_neither_stop_creation_nor_are_stopped(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01")
    with reading(database_url) as reader:
        reader.execute("INSERT INTO events VALUES (1, '2026-11-11Z')")
        report = run(engine, patience=Patience(lock_timeout=2000, attempts=1))
        assert only(report).problems == []
        reader.execute("SET LOCAL lock_timeout = '2s'")
        reader.execute("INSERT INTO events VALUES (1, '2026-12-11Z')")
        reader.execute("COMMIT")
    assert count(connection) == 2


def test_a_concurrent_detach_waits_for_readers_and_stops_nobody(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    table(connection, start="2026-09-01", stop="2026-12-01", retain=1)
    with reading(database_url) as reader, ThreadPoolExecutor() as pool:
        future = pool.submit(run, engine, patience=Patience(lock_timeout=20, attempts=1))
        with session(database_url) as other:
            waiting(other)
            other.execute("SET lock_timeout = '2s'")
            other.execute("INSERT INTO events VALUES (1, '2026-11-11Z')")
            assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)
        reader.execute("COMMIT")
        report = future.result()
    assert report.exit_code(1) == 0
    assert names(connection)[0] == "y2026_m10"


def test_a_lock_that_is_held_is_tried_again_and_its_holder_named(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    """A default partition makes the detach lock the table."""
    table(connection, start="2026-09-01", stop="2027-01-01", retain=1, default=True)
    pauses: list[float] = []
    with reading(database_url) as reader:
        pid = reader.info.backend_pid

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                reader.execute("COMMIT")

        report = run(engine, patience=EAGER, sleep=sleep, uniform=lambda _low, high: high)
    assert report.exit_code(1) == 0
    assert pauses == [0.6, 1.2]
    assert only(report).retries == 2
    (blocker,) = only(report).blockers
    assert (blocker.pid, blocker.application) == (pid, "reports")


def test_after_the_last_attempt_the_table_is_left_and_the_next_run_does_it(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    table(connection, start="2026-09-01", stop="2027-01-01", retain=1, default=True)
    table(connection, "others", "2026-09-01", "2026-12-01", retain=1)
    with reading(database_url) as reader:
        report = run(engine, patience=EAGER, sleep=lambda _seconds: None)
        (problem,) = of(report, "events").problems
        start = (
            "detach public.events_y2026_m09: no lock within 300 ms, 3 times, held by "
            f"pid {reader.info.backend_pid}, {reader.info.user} (reports) since "
        )
        assert problem.startswith(start)
        assert problem.endswith(": SELECT count(*) FROM events. Run again, or raise --lock-timeout")
    assert names(connection, "others")[0] == "y2026_m10"
    assert done_of(run(engine), "events")[:2] == [
        "mark public.events_y2026_m09",
        "detach public.events_y2026_m09",
    ]


def done_of(report: Report, name: str) -> list[str]:
    return [f"{kind} {subject}" for kind, subject in of(report, name).done]


def test_settings_of_the_role_cut_no_statement_and_the_application_keeps_its_own(
    connection: Connection, database_url: str
) -> None:
    """A run sets timeouts in sessions of its own, which never go back to the pool."""
    table(connection)
    pooled = create_engine(
        database_url, connect_args={"options": "-c statement_timeout=7s -c lock_timeout=8s"}
    )
    seen = recorded(pooled)
    with pooled.connect() as outer:
        run(pooled)
        assert outer.exec_driver_sql("SHOW lock_timeout").scalar_one() == "8s"
    assert any("set_config('statement_timeout', '0', false)" in text for text in seen)
    for _ in range(3):
        with pooled.connect() as later:
            assert later.exec_driver_sql("SHOW statement_timeout").scalar_one() == "7s"
    pooled.dispose()
    assert "y2026_m12" in names(connection)


# --- Other runs


def test_after_a_concurrent_detach_looks_are_patient_no_longer_than_steps(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-09-01", stop="2027-01-01", retain=1)
    statements = recorded(engine)
    assert done(maintain(engine, Job(now=NOW, analyze=False)))[1].startswith("detach")
    detach = next(number for number, text in enumerate(statements) if "CONCURRENTLY" in text)
    following = statements[detach + 1]
    assert "'lock_timeout', '200'" in following
    assert "'statement_timeout', '0'" in following


def test_a_second_run_goes_away_and_says_who_is_at_work(
    connection: Connection, engine: Engine
) -> None:
    table(connection)
    second: list[Report] = []
    first = run(engine, progress=lambda _done, _expected: second.append(run(engine)))
    assert first.exit_code(1) == 0
    assert names(connection) == ["y2026_m11", "y2026_m12"]
    assert all(report.exit_code(1) == 0 and report.tables == [] for report in second)
    assert {report.other and report.other.application for report in second} == {APPLICATION}


def test_the_lock_of_a_run_is_released_at_its_end(connection: Connection, engine: Engine) -> None:
    run(engine)
    assert locks.advisory_holder(connection, LOCK) is None


# --- Sessions that are cut


def cut(connection: Connection, worker: Connection) -> None:
    """End the session of a worker that is about to execute a statement."""
    pid = worker.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]  # psycopg's
    run_sql(connection, f"SELECT pg_terminate_backend({pid}, 5000)")


def test_a_cut_connection_costs_one_step_and_the_run_goes_on(
    connection: Connection, engine: Engine
) -> None:
    table(connection, "a", ahead=0)
    table(connection, "b", ahead=0)
    before(engine, "DO", lambda worker: cut(connection, worker))
    report = run(engine)
    (problem,) = of(report, "a").problems
    assert problem.startswith("create 2026-11-01 to 2026-12-01: ")
    assert "terminating connection due to administrator command" in problem
    assert of(report, "b").problems == []
    assert report.exit_code(0) == 3
    assert run(engine).exit_code(0) == 0
    assert names(connection, "a") == names(connection, "b") == ["y2026_m11"]


@pytest.mark.parametrize("beginning", ["ALTER TABLE", "DO", "SELECT count(*), min"])
def test_a_guard_is_taken_away_in_the_same_run_after_a_cut(
    connection: Connection, engine: Engine, beginning: str
) -> None:
    table(connection, start="2026-11-01", stop="2026-12-01", default=True)
    before(engine, beginning, lambda worker: cut(connection, worker))
    assert run(engine).undone
    guards = "SELECT count(*) FROM pg_constraint WHERE conname = 'alembic_enterprise_guard'"
    assert connection.exec_driver_sql(guards).scalar_one() == 0
    connection.rollback()
    assert run(engine).exit_code(1) == 0


def test_without_the_connection_of_the_lock_the_run_still_ends_well(
    connection: Connection, engine: Engine
) -> None:
    table(connection)
    run_sql_of = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
    before(engine, "DO", lambda _worker: run_sql(connection, run_sql_of))
    assert run(engine).exit_code(1) == 0
    assert names(connection) == ["y2026_m11", "y2026_m12"]


def test_a_concurrent_detach_that_is_cut_is_finalized_by_the_next_run(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    table(connection, start="2026-09-01", stop="2026-12-01", retain=1)
    insert(connection, "2026-09-09Z")
    with reading(database_url), ThreadPoolExecutor() as pool, session(database_url) as admin:
        future = pool.submit(run, engine, patience=EAGER, sleep=lambda _seconds: None)
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [waiting(admin)])
        assert of(future.result(), "events").problems
        pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"
        assert admin.execute(pending).fetchone() == (1,)
    assert done(run(engine))[0] == "finalize public.events_y2026_m09"
    assert names(connection)[0] == "y2026_m10"
    assert count(connection, "events_y2026_m09") == 1
    assert run(engine, now=NOW + timedelta(days=8), drop_detached=True).exit_code(0) == 0
    assert "events_y2026_m09" not in relations(connection)


def test_a_concurrent_detach_does_not_wait_for_ever(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    """A transaction that somebody forgot must not keep the job from the other tables."""
    table(connection, "a", "2026-09-01", "2026-12-01", retain=1)
    table(connection, "b", "2026-09-01", "2026-12-01", retain=1)
    patience = Patience(lock_timeout=50, attempts=1, concurrently=0.3)
    with reading(database_url, "a") as reader:
        report = run(engine, patience=patience)
        problem, *_ = of(report, "a").problems
        assert problem.startswith("detach public.a_y2026_m09: canceling statement due to statement")
        pid = reader.info.backend_pid
        assert pid in {blocker.pid for blocker in of(report, "a").blockers}
    assert of(report, "b").problems == []
    assert names(connection, "b")[0] == "y2026_m10"
    assert done_of(run(engine), "a")[0] == "finalize public.a_y2026_m09"


def test_a_half_detached_partition_that_is_retained_is_made_anew(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    """Somebody else's detach was interrupted: its rows stay beside the table."""
    table(connection, start="2026-11-01", stop="2027-01-01")
    insert(connection, "2026-11-11Z")
    statement = "ALTER TABLE events DETACH PARTITION events_y2026_m11 CONCURRENTLY"
    with (
        reading(database_url),
        session(database_url, options="-c lock_timeout=1") as other,
        pytest.raises(psycopg.errors.LockNotAvailable),
    ):
        other.execute(statement)
    report = run(engine)
    assert done(report)[:2] == [
        "finalize public.events_y2026_m11",
        "create 2026-11-01 to 2026-12-01",
    ]
    assert report.exit_code(1) == 0
    assert names(connection) == ["y2026_m11_2", "y2026_m12"]
    assert count(connection, "events_y2026_m11") == 1


# --- Who may


def as_role(database_url: str, role: str, *settings: str) -> Engine:
    options = " ".join(f"-c {setting}" for setting in (f"role={role}", *settings))
    return create_engine(database_url, poolclass=NullPool, connect_args={"options": options})


def owned_by(connection: Connection, role: str, table: str = "events") -> None:
    run_sql(
        connection,
        f"ALTER TABLE {table} OWNER TO {role}",
        f"GRANT SELECT ON alembic_enterprise_policy TO {role}",
    )


def test_the_owner_of_the_tables_needs_no_more(
    connection: Connection, database_url: str, role: str
) -> None:
    table(connection, retain=1, on_expire="drop", hold=0)
    owned_by(connection, role)
    owner = as_role(database_url, role)
    assert run(owner).exit_code(1) == 0
    later = run(owner, now=NOW + timedelta(days=45))
    assert later.exit_code(1) == 0
    assert {"drop", "detach"} <= {kind for kind, _ in only(later).done}


def test_tables_of_others_are_named_and_left_alone(
    connection: Connection, database_url: str, role: str
) -> None:
    table(connection, "mine")
    table(connection, "theirs")
    owned_by(connection, role, "mine")
    report = run(as_role(database_url, role))
    (problem,) = of(report, "theirs").problems
    assert f"and {role} may not alter it: connect as " in problem
    assert of(report, "mine").problems == []
    assert names(connection, "mine") == ["y2026_m11", "y2026_m12"]


def test_a_member_who_may_not_set_the_role_of_the_owner_is_told(
    connection: Connection, database_url: str, role: str, new_role: Callable[..., str]
) -> None:
    """He could not give the owner a partition."""
    table(connection)
    member = new_role()
    owned_by(connection, role)
    try:
        run_sql(connection, f"GRANT {role} TO {member} WITH INHERIT TRUE, SET FALSE")
    except DBAPIError:  # 15 and older know no other membership than the whole
        connection.rollback()
        run_sql(connection, f"GRANT {role} TO {member}")
        assert run(as_role(database_url, member)).exit_code(1) == 0
        return
    with pytest.raises(ConfigurationError, match=f"events belongs to {role}, and {member} may"):
        run(as_role(database_url, member))
    run_sql(connection, f"GRANT {role} TO {member} WITH SET TRUE")
    assert run(as_role(database_url, member)).exit_code(1) == 0


def test_an_owner_who_may_not_create_beside_the_table_is_told(
    connection: Connection, database_url: str, role: str, new_role: Callable[..., str]
) -> None:
    table(connection)
    owner = new_role()
    owned_by(connection, owner)
    revoke = "REVOKE CREATE ON SCHEMA public FROM PUBLIC"  # who has it up to 14
    run_sql(connection, revoke, f"GRANT {owner} TO {role}")
    with pytest.raises(ConfigurationError) as told:
        run(as_role(database_url, role))
    text, fix = str(told.value).split(": ")
    assert text == f"public.events belongs to {owner}, who may not have partitions in its schema"
    run_sql(connection, fix)
    assert run(as_role(database_url, role)).exit_code(1) == 0


def test_a_role_that_owns_none_is_an_error_before_anything_is_tried(
    connection: Connection, database_url: str, role: str
) -> None:
    table(connection)
    run_sql(connection, f"GRANT SELECT ON alembic_enterprise_policy TO {role}")
    with pytest.raises(ConfigurationError, match=r"events belongs to .* may not alter it"):
        run(as_role(database_url, role))


def test_without_a_right_to_the_policies_nothing_is_tried(
    connection: Connection, database_url: str, role: str
) -> None:
    table(connection)
    with pytest.raises(ConfigurationError, match="no right to read the policies in"):
        run(as_role(database_url, role))


def test_without_a_right_to_create_in_the_schema_nothing_is_tried(
    connection: Connection, database_url: str, role: str
) -> None:
    table(connection)
    owned_by(connection, role)
    run_sql(connection, f"REVOKE ALL ON SCHEMA public FROM {role}, PUBLIC")
    run_sql(connection, f"GRANT USAGE ON SCHEMA public TO {role}")
    with pytest.raises(ConfigurationError, match="GRANT CREATE ON SCHEMA public"):
        run(as_role(database_url, role))


def test_read_only_sessions_are_told(
    connection: Connection, engine: Engine, database_url: str
) -> None:
    table(connection)
    options = {"options": "-c default_transaction_read_only=on"}
    reader = create_engine(database_url, poolclass=NullPool, connect_args=options)
    with pytest.raises(ConfigurationError, match="read-only"):
        run(reader)
    assert run(reader, dry_run=True).statements == run(engine, dry_run=True).statements


def test_names_choose_tables_and_an_unknown_one_is_told(
    connection: Connection, engine: Engine
) -> None:
    table(connection, "a", ahead=0)
    table(connection, "b", ahead=0)
    report = run(engine, only=frozenset({"public.b"}))
    assert [item.name.name for item in report.tables] == ["b"]
    assert names(connection, "a") == []
    message = "no table with a policy is called c: there are public.a, public.b"
    with pytest.raises(ConfigurationError, match=message):
        run(engine, only=frozenset({"a", "c"}))


# --- Many tables


def test_reading_takes_as_many_round_trips_for_sixty_tables_as_for_three(
    connection: Connection, engine: Engine
) -> None:
    table(connection, start="2026-11-01", stop="2027-01-01", retain=1)
    statements = recorded(engine)
    counts: list[int] = []
    for first, last in ((1, 2), (3, 59)):
        many(connection, first, last)
        statements.clear()
        report = run(engine)
        assert (len(report.tables), report.exit_code(1)) == (last + 1, 0)
        counts.append(len(statements))
    assert counts[0] == counts[1] < 40
