"""No statement is run a second time, and none on a schema that nobody has reviewed."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from autogenerate import write_revision
from saving import in_autocommit, in_one_transaction, job, stamped
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.errors import ConfigurationError, LockedError
from alembic_enterprise.operation import RUNNING
from alembic_enterprise.plan.saved import migrating
from alembic_enterprise.plan.saved.apply import Job, Report, apply, verify
from alembic_enterprise.plan.saved.document import Saved
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.schema.objects import Objects
from alembic_enterprise.sql import Name

Plan = Callable[..., tuple[Config, Saved]]

NOTED = "INSERT INTO unrelated SELECT count(*) FROM unrelated"
SECOND = "op.execute('ALTER TABLE orders ADD COLUMN state text')"
THIRD = "op.execute('ALTER TABLE customers ADD COLUMN mail text')"
"""Bodies of revisions to come."""


@pytest.fixture
def database_url(other_database: Callable[..., str], begun: tuple[str, Objects]) -> str:
    """The URL of a database with the first revision."""
    return other_database(begun[0])


def rows(observer: Connection) -> int:
    return len(observer.exec_driver_sql("TABLE unrelated").all())


def test_what_an_earlier_revision_has_committed_is_kept_until_its_stamp_is(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(in_autocommit(NOTED), SECOND)
    in_one_transaction(config)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job())
    assert (report.retries, report.left, rows(observer)) == (0, ["0002", "0003"], 1)
    assert "This stays: INSERT INTO unrelated" in (report.problem or "")


def test_a_later_block_outside_of_the_transaction_commits_the_stamp(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(in_autocommit(NOTED), in_autocommit("SET a.b = '1'") + SECOND)
    in_one_transaction(config)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job(sleep=lambda _seconds: blocker.rollback()))
    assert (report.retries, report.applied, rows(observer)) == (1, ["0002", "0003"], 1)


@pytest.mark.parametrize("end", ["COMMIT", "END; BEGIN"])
def test_a_transaction_that_sql_ends_is_not_run_again(
    plan: Plan, engine: Engine, observer: Connection, end: str
) -> None:
    config, saved = plan(f"op.execute('{NOTED}')\nop.execute('{end}')\n{SECOND}")
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")
        report = apply(config, saved, job())
    assert (report.retries, report.left, rows(observer)) == (0, ["0002"], 1)
    assert "This stays: INSERT INTO unrelated" in (report.problem or "")


def test_a_schema_that_has_changed_meanwhile_makes_the_plan_stale(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(SECOND)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")

        def changed(_seconds: float) -> None:
            blocker.exec_driver_sql("ALTER TABLE orders ADD mine int")
            blocker.commit()

        report = apply(config, saved, job(sleep=changed))
    assert (report.exit_code, report.retries, report.applied) == (4, 1, [])
    assert stamped(observer) == ["0001"]


def test_revisions_run_on_the_one_that_they_come_after(plan: Plan, observer: Connection) -> None:
    """Not on what somebody has stamped since the check."""
    config, saved = plan(SECOND, THIRD)

    def stamp(words: str) -> None:
        if words == "revision 0003":
            observer.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")

    report = apply(config, saved, Job(job().patience, progress=stamp))
    assert report.exit_code == 1
    assert (report.problem or "").startswith(
        "revision 0003: the database is at 0001, since somebody else has stamped it. "
    )


def test_what_somebody_else_applies_meanwhile_is_done(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(SECOND)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")

        def stamp(_seconds: float) -> None:
            observer.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")
            blocker.rollback()

        report = apply(config, saved, job(sleep=stamp))
    assert (report.exit_code, report.retries) == (0, 1)
    assert (report.applied, report.left) == ([], [])


def test_what_is_stamped_besides_or_later_leaves_a_plan_applied(
    plan: Plan, tmp_path: Path, observer: Connection
) -> None:
    config, saved = plan(SECOND, THIRD)
    write_revision(tmp_path / "migrations", "b001", None, "pass")
    observer.exec_driver_sql("INSERT INTO alembic_version VALUES ('b001')")
    report = verify(config, saved)
    assert report.stale.reasons == ("it begins at 0001, and the database is at 0001, b001",)
    command.upgrade(config, "0002")
    report = apply(config, saved)
    assert (report.exit_code, stamped(observer)) == (4, ["b001", "0002"])
    [reason] = report.stale.reasons
    assert reason == (
        "a part of it is applied already: the database is at 0002, b001, and 0003 is due"
    )
    command.upgrade(config, "0003")
    assert apply(config, saved) == verify(config, saved) == Report([])
    write_revision(tmp_path / "migrations", "0004", "0003", "op.execute('CREATE SCHEMA later')")
    command.upgrade(config, "0004")
    assert apply(config, saved) == verify(config, saved) == Report([])
    elsewhere = replace(saved, place=replace(saved.place, database="other"))
    [reason] = apply(config, elsewhere).stale.reasons
    assert reason.startswith("it is of the database other, and this is ")


@pytest.mark.parametrize("stamp", ["ffff", "0002"])
def test_a_plan_of_another_database_is_told_first(
    plan: Plan, tmp_path: Path, observer: Connection, stamp: str
) -> None:
    """Also where the project has no such revision."""
    config, saved = plan(SECOND)
    (tmp_path / "migrations" / "versions" / "0002.py").unlink()
    observer.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{stamp}'")
    elsewhere = replace(saved, place=replace(saved.place, database="other"))
    report = apply(config, elsewhere)
    assert report.exit_code == 4
    assert report.stale.reasons[0].startswith("it is of the database other, and this is ")


def test_a_stamp_that_the_project_lacks_is_told(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(SECOND)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")

        def stamp(_seconds: float) -> None:
            observer.exec_driver_sql("UPDATE alembic_version SET version_num = 'ffff'")
            blocker.rollback()

        report = apply(config, saved, job(sleep=stamp))
    assert report.exit_code in {1, 4}
    assert report.applied == []


def test_an_edit_that_sql_does_not_show_makes_it_stale(
    plan: Plan, tmp_path: Path, observer: Connection
) -> None:
    online = SECOND + "\nif not op.get_context().as_sql:\n    op.execute('{} unrelated')"
    config, saved = plan(online.format("ANALYZE"))
    write_revision(tmp_path / "migrations", "0002", "0001", online.format("DROP TABLE"))
    assert apply(config, saved).exit_code == 4
    assert rows(observer) == 0


def test_a_plan_without_revisions_is_refused(plan: Plan) -> None:
    _, saved = plan(SECOND)
    with pytest.raises(ConfigurationError, match="it has no revisions"):
        Saved.from_text(replace(saved, digests={}).text())


@pytest.mark.parametrize(
    ("statement", "is_one"),
    [
        ("SET a.b = '1'", True),
        ("SELECT set_config('a.b', '1', false)", True),
        ("SELECT pg_catalog.pg_get_indexdef(oid) FROM pg_catalog.pg_class", True),
        ("WITH a AS (DELETE FROM b RETURNING *) SELECT pg_backend_pid() FROM a", False),
        ("SELECT move_all(), pg_backend_pid()", False),
        ("SELECT pg_catalog.setval('s', 5)", False),
        ("SELECT * FROM a_view_that_calls_something", False),
        ("SHOW a.b; INSERT INTO a VALUES (1)", False),
    ],
)
def test_what_looks_only(statement: str, is_one: bool) -> None:
    assert RUNNING.get() is None
    assert migrating.is_look(statement) is is_one


# --- What is told, and for how long it waits


def test_values_of_rows_are_not_told(plan: Plan, engine: Engine, observer: Connection) -> None:
    config, saved = plan("op.execute('ALTER TABLE customers ALTER name TYPE int USING name::int')")
    observer.exec_driver_sql("INSERT INTO customers VALUES (1, 'hunter2')")
    with engine.connect() as blocker:
        update = f"UPDATE customers SET id = 2, name = {'hunter2' * 20!r} WHERE name = 'hunter2'"
        blocker.exec_driver_sql(update)
        report = apply(config, saved, job(sleep=lambda _seconds: blocker.rollback()))
    [who] = report.blockers
    assert who.query == "UPDATE customers SET id ..."
    assert "(SQLSTATE 22P02)" in (report.problem or "")
    assert "hunter2" not in str(report.document())


def lead_to(schema: str, folder: Path) -> None:
    """Let env.py set the search_path, as Alembic's cookbook does for tenants."""
    file = folder / "migrations" / "env.py"
    text = file.read_text()
    configure = "        context.configure(connection"
    setting = f"        connection.exec_driver_sql('SET search_path TO \"{schema}\", public')\n"
    assert configure in text
    file.write_text(text.replace(configure, f"{setting}        connection.commit()\n{configure}"))


def test_an_env_py_that_sets_search_path(plan: Plan, tmp_path: Path, observer: Connection) -> None:
    """A plan that was made without it, or for another tenant, is of another place."""
    config, saved = plan(SECOND)
    observer.exec_driver_sql('CREATE SCHEMA "A Tenant"')
    observer.exec_driver_sql('ALTER TABLE alembic_version SET SCHEMA "A Tenant"')
    lead_to("A Tenant", tmp_path)
    report = apply(config, saved, job())
    assert report.exit_code == 4
    version_table, search_path = report.stale.reasons
    assert version_table.endswith("was public.alembic_version, and is A Tenant.alembic_version")
    assert search_path.endswith("led to public, and leads to A Tenant, public")
    tenant = replace(
        saved.place,
        version_table=Name("A Tenant", "alembic_version"),
        search_path=("A Tenant", "public"),
    )
    report = apply(config, replace(saved, place=tenant), job())
    assert (report.problem, report.applied) == (None, ["0002"])
    assert verify(config, saved).exit_code == 4


def test_no_timeout_cuts_a_concurrent_build(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    """Nor are they gone for what comes next."""
    seen = "CREATE TABLE seen AS SELECT current_setting('statement_timeout')"
    config, saved = plan(
        in_autocommit(
            "SET statement_timeout = '300ms'",
            "CREATE INDEX CONCURRENTLY late ON orders (customer)",
            seen,
        )
    )
    with engine.connect() as blocker, ThreadPoolExecutor() as pool:
        blocker.exec_driver_sql("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        future = pool.submit(apply, config, saved, job())
        while not observer.exec_driver_sql(BUILDING).scalar_one():
            assert not future.done()
            time.sleep(0.01)
        blocker.rollback()
        report = future.result()
    assert report.problem is None
    assert observer.exec_driver_sql("TABLE seen").scalar_one() == "300ms"


BUILDING = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%%'"
    " AND clock_timestamp() - query_start > interval '500 ms')"
)


@pytest.mark.parametrize("function", [verify, apply])
def test_the_catalog_is_not_waited_for_without_end(
    plan: Plan, engine: Engine, function: Callable[[Config, Saved], Report]
) -> None:
    config, saved = plan(SECOND)
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        pid = blocker.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        told = f"canceling statement due to lock timeout. In the way: pid {pid}, "
        with pytest.raises(LockedError, match=rf"{re.escape(told)}.* \(locks orders\)\. Run "):
            function(config, saved)


def test_between_two_tries_the_catalog_is_waited_for_as_well(
    plan: Plan, engine: Engine, observer: Connection
) -> None:
    config, saved = plan(SECOND)
    modes = iter(["ACCESS EXCLUSIVE", None])
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE orders IN ACCESS SHARE MODE")

        def waited(_seconds: float) -> None:
            mode = next(modes)
            blocker.rollback()
            if mode is not None:
                blocker.exec_driver_sql(f"LOCK TABLE orders IN {mode} MODE")

        report = apply(config, saved, job(sleep=waited))
    assert (report.retries, report.applied) == (2, ["0002"])
    assert stamped(observer) == ["0002"]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_env_py_that_writes_is_stopped_by_verify(
    plan: Plan, tmp_path: Path, engine: Engine, driver: str
) -> None:
    """Also where nothing reads PGOPTIONS."""
    config, saved = plan(SECOND)
    url = engine.url.set(drivername=f"postgresql+{driver}")
    config.attributes["engine"] = create_engine(url, poolclass=NullPool)
    file = tmp_path / "migrations" / "env.py"
    text = file.read_text().replace(
        "        context.configure(connection",
        '        connection.exec_driver_sql("CREATE SCHEMA made_by_env")\n'
        "        context.configure(connection",
    )
    if driver == "asyncpg":
        text = ASYNCHRONOUS
    file.write_text(text)
    with pytest.raises(DBAPIError, match="cannot execute CREATE SCHEMA in a read-only transac"):
        verify(config, saved)


ASYNCHRONOUS = """
import asyncio
import time
from alembic import context
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

url = context.config.attributes["engine"].url

def run(connection):
    connection.exec_driver_sql("CREATE SCHEMA made_by_env")

async def online():
    async with create_async_engine(url, poolclass=NullPool).connect() as connection:
        await connection.run_sync(run)

asyncio.run(online())
"""


def test_nobody_else_may_read_a_saved_plan(plan: Plan, tmp_path: Path) -> None:
    _, saved = plan(SECOND)
    saved.write(tmp_path / "plan.json")
    assert (tmp_path / "plan.json").stat().st_mode & 0o777 == 0o600
    assert Saved.from_text((tmp_path / "plan.json").read_text()) == saved


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_objects_are_the_same_in_autocommit(plan: Plan, engine: Engine, driver: str) -> None:
    """Else a plan would be stale at once, or hold although a function is another one."""
    config, saved = plan(SECOND)
    url = engine.url.set(drivername=f"postgresql+{driver}")
    committing = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    config.attributes["engine"] = committing
    assert verify(config, saved).exit_code == 0
    with committing.connect() as connection:
        drift.objects_of(connection)
        assert connection.exec_driver_sql("SHOW search_path").scalar() == '"$user", public'
        body = "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"
        connection.exec_driver_sql(body)
    [difference] = verify(config, saved).stale.differences
    assert difference.name == "public.stamp()"
