"""A saved plan is applied once, patiently, and only while it holds."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
from alembic.config import Config
from autogenerate import write_revision
from saving import SCHEMAS, in_autocommit, job, stamped
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.plan import revisions
from alembic_enterprise.plan.saved import apply as applying
from alembic_enterprise.plan.saved.apply import Job, Report, apply, verify
from alembic_enterprise.plan.saved.document import Saved
from alembic_enterprise.plan.schema.objects import Objects
from alembic_enterprise.sql import Name

Plan = Callable[..., tuple[Config, Saved]]

SECOND = "op.execute('ALTER TABLE orders ADD COLUMN state text')"
THIRD = "op.execute('ALTER TABLE customers ADD COLUMN mail text')"
"""Bodies of revisions to come."""


@pytest.fixture
def database_url(other_database: Callable[..., str], begun: tuple[str, Objects]) -> str:
    """The URL of a database with the first revision."""
    return other_database(begun[0])


def fits_schema(report: Report) -> None:
    schema = json.loads((SCHEMAS / "apply.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(report.document())), schema)


def has_column(observer: Connection, table: str, column: str) -> bool:
    query = (
        "SELECT EXISTS (SELECT FROM pg_attribute"
        f" WHERE attrelid = '{table}'::regclass AND attname = '{column}')"
    )
    return bool(observer.exec_driver_sql(query).scalar_one())


def test_a_plan_that_holds_is_applied(plan: Plan, observer: Connection, tmp_path: Path) -> None:
    """Its revisions, but none that came later."""
    config, saved = plan(SECOND, THIRD)
    write_revision(tmp_path / "migrations", "0004", "0003", SECOND)
    assert verify(config, saved) == Report(["0002", "0003"])
    report = apply(config, saved)
    assert report == Report([], applied=["0002", "0003"])
    assert report.exit_code == 0
    assert stamped(observer) == ["0003"]
    observer.exec_driver_sql("ALTER TABLE orders ADD mine int")
    assert apply(config, saved) == verify(config, saved) == Report([])
    assert Report([]).exit_code == 0


def test_a_plan_that_is_stale_is_not_applied(plan: Plan, observer: Connection) -> None:
    config, saved = plan(SECOND)
    observer.exec_driver_sql("ALTER TABLE orders ADD mine int")
    report = apply(config, saved)
    assert report == verify(config, saved)
    assert (report.exit_code, report.left) == (4, ["0002"])
    fits_schema(report)
    [difference] = report.stale.differences
    assert (difference.name, difference.change) == ("public.orders.mine", "added")
    assert stamped(observer) == ["0001"]


def test_a_script_that_was_edited_makes_it_stale(
    plan: Plan, tmp_path: Path, observer: Connection
) -> None:
    config, saved = plan(SECOND)
    write_revision(tmp_path / "migrations", "0002", "0001", THIRD)
    report = apply(config, saved)
    told = "revision 0002 was changed after the plan was made"
    assert report.stale.reasons == (told,)
    (tmp_path / "migrations" / "versions" / "0002.py").unlink()
    assert verify(config, saved).stale.reasons == ("the project has no revision 0002 any more",)
    assert stamped(observer) == ["0001"]


# --- Waiting for locks


def test_it_is_tried_again_and_who_is_in_the_way_is_told(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(SECOND)
    told: list[str] = []
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        pid = blocker.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        patient = job(sleep=lambda _seconds: blocker.rollback())
        report = apply(config, saved, Job(patient.patience, patient.sleep, progress=told.append))
    assert (report.exit_code, report.retries, report.applied) == (0, 1, ["0002"])
    assert [item.pid for item in report.blockers] == [pid]
    assert told[0] == "revision 0002"
    expected = f"revision 0002: no lock within 100 ms, 1 of 3 times, held by pid {pid}, "
    assert told[1].startswith(expected)
    assert stamped(observer) == ["0002"]


def test_after_the_last_attempt_nothing_is_committed(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan("op.execute('CREATE TABLE notes ()')\n" + SECOND)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job())
    assert (report.exit_code, report.retries, report.left) == (1, 2, ["0002"])
    fits_schema(report)
    assert report.problem is not None
    assert report.problem.startswith("revision 0002: no lock within 100 ms, 3 times, held by pid ")
    assert report.problem.endswith(
        ". Nothing is committed: run this again, or raise --lock-timeout"
    )
    assert verify(config, saved).exit_code == 0
    assert apply(config, saved, job()).exit_code == 0
    assert stamped(observer) == ["0002"]


def test_each_revision_has_its_attempts(plan: Plan, engine: Engine, observer: Connection) -> None:
    """What an earlier one has committed is not run a second time."""
    config, saved = plan(SECOND, THIRD)
    blockers = [engine.connect(), engine.connect()]
    for blocker, table in zip(blockers, ("orders", "customers"), strict=True):
        blocker.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
    held = iter(blockers)
    report = apply(config, saved, job(sleep=lambda _seconds: next(held).close(), attempts=2))
    assert report.problem is None
    assert (report.applied, len(report.blockers)) == (["0002", "0003"], 2)
    assert stamped(observer) == ["0003"]


def test_without_a_transaction_for_each_all_are_tried_again(
    plan: Plan, engine: Engine, observer: Connection, tmp_path: Path
) -> None:
    config, saved = plan(SECOND, THIRD)
    file = tmp_path / "migrations" / "env.py"
    file.write_text(file.read_text().replace("transaction_per_migration=True,", ""))
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE customers IN ACCESS SHARE MODE")
        report = apply(config, saved, job())
        assert (report.applied, report.left) == ([], ["0002", "0003"])
        assert not has_column(observer, "orders", "state")
    assert apply(config, saved, job()).applied == ["0002", "0003"]


def test_its_lock_timeout_counts_more_than_that_of_env_py(plan: Plan, observer: Connection) -> None:
    """Which is here what the database sets."""
    seen = "CREATE TABLE {} AS SELECT current_setting('lock_timeout')"
    config, saved = plan(
        f"op.execute({seen.format('first')!r})\n" + in_autocommit(seen.format("second"))
    )
    assert apply(config, saved, job()).problem is None
    for table in ("first", "second"):
        assert observer.exec_driver_sql(f"TABLE {table}").scalar_one() == "100ms"


# --- What a revision commits by itself


def test_what_a_revision_has_committed_is_not_run_again(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(
        "op.execute('ALTER TABLE events ADD place text')\n"
        + in_autocommit("SELECT set_config('a.b', '1', false)", "INSERT INTO unrelated VALUES (1)")
        + SECOND
    )
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job())
    assert (report.exit_code, report.retries, report.left) == (1, 0, ["0002"])
    assert report.problem == (
        "revision 0002: canceling statement due to lock timeout (SQLSTATE 55P03). This stays:"
        " ALTER TABLE events ADD place text; INSERT INTO unrelated VALUES (...). Undo it, or let "
        "the script go on from there, and make a new plan, which shows it as drift"
    )
    assert has_column(observer, "events", "place")
    assert list(observer.exec_driver_sql("TABLE unrelated").scalars()) == [1]
    assert verify(config, saved).exit_code == 4


PROCEDURE = """
op.execute("CREATE PROCEDURE grow() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO unrelated VALUES (1);"
           " COMMIT; ALTER TABLE orders ADD state text; END $$")
"""
COMMITTING = {
    "DO": in_autocommit(
        "DO $$ BEGIN INSERT INTO unrelated VALUES (1); COMMIT; ALTER TABLE orders ADD a int; END $$"
    ),
    "CALL": PROCEDURE + in_autocommit("CALL grow()"),
}


@pytest.mark.parametrize("kind", COMMITTING)
def test_what_may_have_committed_inside_is_not_run_again(
    plan: Plan, engine: Engine, observer: Connection, kind: str
) -> None:
    config, saved = plan(COMMITTING[kind])
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job())
    assert (report.exit_code, report.retries, report.left) == (1, 0, ["0002"])
    told = report.problem or ""
    assert f"It is not known what this has committed before it failed: {kind} " in told
    assert "Nothing is committed" not in told
    assert list(observer.exec_driver_sql("TABLE unrelated").scalars()) == [1]


def test_a_block_that_cannot_commit_inside_is_tried_again(plan: Plan, engine: Engine) -> None:
    config, saved = plan(in_autocommit("DO $$ BEGIN ALTER TABLE orders ADD a int; END $$"))
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job(sleep=lambda _seconds: blocker.rollback()))
    assert (report.applied, report.retries) == (["0002"], 1)


# --- The session that keeps another run away is cut

CUTS = f"""
op.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname ="
           " current_database() AND application_name = '{applying.APPLICATION}'")
"""


def test_what_is_applied_is_told_without_that_session(plan: Plan, observer: Connection) -> None:
    config, saved = plan(SECOND, CUTS + THIRD)
    report = apply(config, saved, job())
    assert (report.exit_code, report.applied, report.left) == (0, ["0002", "0003"], [])
    assert stamped(observer) == ["0003"]


def test_what_is_not_applied_is_told_without_that_session(plan: Plan, observer: Connection) -> None:
    config, saved = plan(SECOND, CUTS + "op.execute('SELECT 1 / 0')")
    report = apply(config, saved, job())
    assert (report.exit_code, report.applied, report.left) == (1, ["0002"], ["0003"])
    assert report.problem == (
        "revision 0003: division by zero (SQLSTATE 22012). Nothing of it is committed, and those "
        "before it are applied: make a new plan"
    )
    assert stamped(observer) == ["0002"]


def test_nothing_is_tried_again_without_that_session(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(SECOND)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")

        def cut(_seconds: float) -> None:
            blocker.rollback()
            observer.exec_driver_sql(CUTS.split('"')[1] + CUTS.split('"')[3])

        report = apply(config, saved, job(sleep=cut))
    assert (report.exit_code, report.retries, report.left) == (1, 1, ["0002"])
    assert (report.problem or "").startswith(f"revision 0002: {applying.CUT}: ")
    assert stamped(observer) == ["0001"]


def test_a_server_that_is_gone_leaves_it_unknown(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def gone(connection: Connection, table: Name) -> list[str]:
        asked.append(revisions.stamped(connection, table))
        if len(asked) == 1:
            return asked[0]
        raise SQLAlchemyError("gone")

    config, saved = plan("op.execute('SELECT 1 / 0')")
    monkeypatch.setattr(applying, "stamped", gone)
    report = apply(config, saved, job())
    assert len(asked) == 3, "before it begins; afterwards the session of the lock, then another"
    assert (report.problem or "").endswith(applying.NOT_KNOWN)
    assert (report.is_known, report.left) == (False, ["0002"])


def test_an_autocommit_block_that_has_done_nothing_is_tried_again(
    plan: Plan, engine: Engine
) -> None:
    config, saved = plan(in_autocommit("ALTER TABLE orders ADD state text"))
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job(sleep=lambda _seconds: blocker.rollback()))
    assert (report.applied, report.retries) == (["0002"], 1)


def test_a_concurrent_build_waits_without_a_timeout(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    """With one it would leave an invalid index."""
    config, saved = plan(
        in_autocommit("CREATE INDEX CONCURRENTLY late ON orders (customer)") + SECOND
    )
    with engine.connect() as blocker, ThreadPoolExecutor() as pool:
        blocker.exec_driver_sql("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        future = pool.submit(apply, config, saved, job())
        while not waits_longer_than(observer, 300):
            assert not future.done()
            time.sleep(0.01)
        blocker.rollback()
        report = future.result()
    assert (report.applied, report.retries) == (["0002"], 0)
    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'late'::regclass"
    assert observer.exec_driver_sql(query).scalar_one() is True


def waits_longer_than(observer: Connection, milliseconds: int) -> bool:
    """Whether a session has run a concurrent build for so long, and waits for a lock."""
    query = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%%'"
        f" AND clock_timestamp() - query_start > interval '{milliseconds} ms')"
    )
    return bool(observer.exec_driver_sql(query).scalar_one())


def test_the_timeout_is_back_after_a_concurrent_build(plan: Plan, engine: Engine) -> None:
    config, saved = plan(
        in_autocommit("CREATE INDEX CONCURRENTLY late ON orders (customer)", "VACUUM customers")
    )
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE customers IN ROW SHARE MODE")
        blocker.exec_driver_sql("LOCK TABLE customers IN SHARE UPDATE EXCLUSIVE MODE")
        report = apply(config, saved, job())
    assert (report.problem or "").startswith("revision 0002: canceling statement due to lock ti")
    assert "This stays: CREATE INDEX CONCURRENTLY late ON orders" in (report.problem or "")


def test_the_timeout_is_back_after_an_online_operation(plan: Plan, observer: Connection) -> None:
    """Which sets it to nothing and back, as `apply` does around other concurrent builds."""
    seen = "op.execute(\"CREATE TABLE seen AS SELECT current_setting('lock_timeout')\")"
    config, saved = plan("op.create_index_online('late', 'orders', ['customer'])\n" + seen)
    assert apply(config, saved, job()).applied == ["0002"]
    assert observer.exec_driver_sql("SELECT * FROM seen").scalar_one() == "100ms"


# --- Failures


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "op.execute('SELECT 1 / (SELECT count(*) FROM items)')",
            "division by zero (SQLSTATE 22012)",
        ),
        ("raise LookupError('mine')", "line 6: LookupError: mine"),
    ],
)
def test_a_revision_that_fails_is_told(
    plan: Plan, observer: Connection, body: str, told: str
) -> None:
    config, saved = plan(SECOND, THIRD + "\n" + body)
    report = apply(config, saved)
    assert (report.exit_code, report.applied, report.left) == (1, ["0002"], ["0003"])
    assert report.problem is not None
    assert report.problem.startswith("revision 0003: ")
    assert report.problem.endswith(
        f"{told}. Nothing of it is committed, and those before it are applied: make a new plan"
    )
    assert stamped(observer) == ["0002"]
    reason = "a part of it is applied already: the database is at 0002, and 0003 is due"
    assert verify(config, saved).stale.reasons == (reason,)


def test_what_fails_at_its_commit_has_committed_nothing(plan: Plan, observer: Connection) -> None:
    deferred = (
        "op.execute('ALTER TABLE orders ADD FOREIGN KEY (total) REFERENCES customers"
        " DEFERRABLE INITIALLY DEFERRED')\n"
        "op.execute('INSERT INTO orders (id, total) VALUES (1, 1)')"
    )
    config, saved = plan(deferred)
    report = apply(config, saved)
    assert (report.problem or "").endswith(
        "(SQLSTATE 23503). Nothing is committed: mend it, and run this again, or make a new plan "
        "if that changes the schema or a script"
    )
    assert stamped(observer) == ["0001"]


def test_an_env_py_that_does_not_commit_is_told(
    plan: Plan, tmp_path: Path, observer: Connection
) -> None:
    config, saved = plan(SECOND)
    file = tmp_path / "migrations" / "env.py"
    before, _, after = file.read_text().rpartition("with context.begin_transaction()")
    file.write_text(f"{before}if True{after}".replace("transaction_per_migration=True,", ""))
    report = apply(config, saved)
    assert (report.exit_code, stamped(observer)) == (1, ["0001"])
    assert report.problem == (
        "revision 0002: env.py has not committed it, since its context.run_migrations() is not in "
        "`with context.begin_transaction()`. Nothing is committed: mend it, and run this "
        "again, or make a new plan if that changes the schema or a script"
    )


def test_an_env_py_that_ends_the_program_for_an_error_hides_none(
    plan: Plan, tmp_path: Path, observer: Connection
) -> None:
    config, saved = plan("op.execute('SELECT 1 / (SELECT count(*) FROM items)')")
    file = tmp_path / "migrations" / "env.py"
    before, run, _ = file.read_text().rpartition("context.run_migrations()")
    margin = " " * (len(before) - len(before.rstrip(" ")))
    hides = f"try:\n{margin}    {run}\n{margin}except Exception:\n{margin}    raise SystemExit(0)\n"
    file.write_text(before + hides)
    report = apply(config, saved)
    assert (report.exit_code, stamped(observer)) == (1, ["0001"])
    assert (report.problem or "").startswith("revision 0002: division by zero")


def test_an_error_before_anything_is_tried_is_raised(plan: Plan, tmp_path: Path) -> None:
    config, saved = plan(SECOND)
    (tmp_path / "migrations" / "env.py").write_text("raise LookupError('mine')")
    with pytest.raises(ConfigurationError, match="LookupError: mine"):
        apply(config, saved)


ASYNCHRONOUS = """
import asyncio
import time
from alembic import context
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

import alembic_enterprise.plugin

url = context.config.attributes["engine"].url.set(drivername="postgresql+asyncpg")

def run(connection=None, **offline):
    context.configure(connection=connection, transaction_per_migration=True, **offline)
    with context.begin_transaction():
        context.run_migrations()

async def online():
    async with create_async_engine(url, poolclass=NullPool).connect() as connection:
        await connection.run_sync(run)

if context.is_offline_mode():
    run(url=url, literal_binds=True)
else:
    asyncio.run(online())
"""


def test_an_asynchronous_env_py_is_waited_for_as_well(
    plan: Plan, tmp_path: Path, engine: Engine
) -> None:
    config, saved = plan(
        SECOND, in_autocommit("CREATE INDEX CONCURRENTLY late ON orders (customer)")
    )
    (tmp_path / "migrations" / "env.py").write_text(ASYNCHRONOUS)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job(sleep=lambda _seconds: blocker.rollback()))
    assert report.problem is None
    assert (report.applied, report.retries, len(report.blockers)) == (["0002", "0003"], 1, 1)


# --- One at a time


def test_two_runs_do_not_work_at_once(plan: Plan, engine: Engine, observer: Connection) -> None:
    config, saved = plan(SECOND)
    with engine.connect() as blocker, ThreadPoolExecutor() as pool:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")

        def other_run(_seconds: float) -> None:
            others.append(pool.submit(apply, config, saved, job()).result())
            blocker.rollback()

        others: list[Report] = []
        report = apply(config, saved, job(sleep=other_run))
    [other] = others
    assert (report.exit_code, other.exit_code) == (0, 1)
    assert other.other is not None
    assert other.other.application == applying.APPLICATION
    assert other.applied == []
    assert stamped(observer) == ["0002"]
