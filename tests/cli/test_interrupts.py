"""Ctrl-C while the command, or `alembic upgrade`, waits for the server."""

import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from console import PROGRAM, Outcome, in_files
from forked import Run
from indexed import indexes
from reviewed import CUSTOMERS, EVENTS, Project
from samples import clock
from saving import saved_plan
from sqlalchemy import Connection, Engine, make_url

from alembic_enterprise.resources import templates_directory

WAITS = """SELECT FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()"""

INDEX = 'op.create_index_online("ix_customers_email", "customers", ["email"])'


@contextmanager
def waiting(
    folder: Path, arguments: Sequence[str], observer: Connection
) -> Generator["subprocess.Popen[str]"]:
    """A program in a process of its own; the block runs once it waits for a lock."""
    with subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            while observer.exec_driver_sql(WAITS).first() is None:
                observer.rollback()  # the statistics of a transaction stay as they are
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            observer.rollback()
            yield process
        finally:
            process.kill()


def interrupted(folder: Path, arguments: Sequence[str], observer: Connection) -> tuple[int, str]:
    """How a program ends by Ctrl-C while it waits for a lock, and what it says."""
    with waiting(folder, arguments, observer) as process:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    return process.returncode, error


def asynchronous(project: Project, database_url: str, driver: str) -> None:
    """Let the project connect with an asyncio driver."""
    template = templates_directory() / "enterprise_async" / "env.py"
    text = template.read_text().replace("if config.config_file_name is not None:", "if False:")
    (project.folder / "env.py").write_text(text)
    ini = project.folder / "alembic.ini"
    url = make_url(database_url).set(drivername=f"postgresql+{driver}")
    written = url.render_as_string(hide_password=False).replace("%", "%%")
    ini.write_text(f"[alembic]\nscript_location = %(here)s\nsqlalchemy.url = {written}\n")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_work_inside_an_asynchronous_env_py_ends_at_the_first_ctrl_c(
    shop: Project, engine: Engine, connection: Connection, database_url: str, driver: str
) -> None:
    """Also where that never awaits anything."""
    asynchronous(shop, database_url, driver)
    clock(engine, "2028-06-01 12:00+00")
    with engine.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")
        command = [str(PROGRAM), "partitions", "maintain", "--lock-timeout", "600000"]
        code, error = interrupted(shop.folder, command, connection)
    told = "Interrupted: the next run finishes what this one has begun"
    assert (code, error.strip()) == (130, told)


@pytest.fixture(params=["sync", "psycopg", "asyncpg"])
def release(
    request: pytest.FixtureRequest, shop: Project, engine: Engine, database_url: str
) -> Project:
    """A project with an index to come, whose plan is in plan.json."""
    shop.revision("b2", "a1", INDEX)
    saved = saved_plan(shop.config, engine, locked=["public.customers"])
    (shop.folder / "plan.json").write_text(saved.text(), encoding="utf-8")
    if request.param != "sync":
        asynchronous(shop, database_url, request.param)
    return shop


@contextmanager
def written(engine: Engine) -> Generator[None]:
    """Let somebody have written to the table, which its index waits for.

    With SQLAlchemy 2.0.0 asyncpg leaves the server at work, which may then finish the index.
    """
    with engine.connect() as writer:
        writer.exec_driver_sql("INSERT INTO customers VALUES (1, 'somebody')")
        yield


def test_an_index_that_is_built_by_apply_is_an_interrupt_like_any_other(
    release: Project, engine: Engine, connection: Connection
) -> None:
    with written(engine):
        command = [str(PROGRAM), "apply", "plan.json"]
        code, error = interrupted(release.folder, command, connection)
    first, last = filter(None, error.splitlines())
    assert (code, first) == (130, "revision b2")
    assert last.startswith("Interrupted. Applied: none. Not applied: b2. This stays: ")
    assert last.endswith(". `alembic-enterprise plan` shows what is left")
    assert [*indexes(connection)] == ["ix_customers_email"]


def test_an_index_that_is_built_by_alembic_is_carried_on(
    release: Project, engine: Engine, connection: Connection, run_forked: Run
) -> None:
    alembic = [str(PROGRAM.with_name("alembic")), "upgrade", "head"]
    with written(engine):
        code, error = interrupted(release.folder, alembic, connection)
    assert code in {130, -signal.SIGINT}
    assert "PendingRollbackError" not in error
    assert "KeyboardInterrupt\n" in error
    assert "interrupted. Run the migration again: this carries on." in error
    assert [*indexes(connection)] == ["ix_customers_email"]
    assert in_files(run_forked, release.folder, alembic).code == 0
    assert indexes(connection) == {"ix_customers_email": True}


@pytest.mark.parametrize("release", ["sync"], indirect=True)
def test_after_an_interrupt_a_new_plan_can_be_made_and_applied(
    release: Project, engine: Engine, connection: Connection, run: Callable[..., Outcome]
) -> None:
    """The index that was left INVALID is in the way of neither."""
    release.models(CUSTOMERS.replace("False)", "False, index=True)"), EVENTS)
    with written(engine):
        interrupted(release.folder, [str(PROGRAM), "apply", "plan.json"], connection)
    outcome = run("plan", "--out", "again.json")
    assert (outcome.code, "Not saved" in outcome.error) == (2, False), outcome
    assert run("apply", "again.json").output == "Applied: b2\n"
    assert indexes(connection) == {"ix_customers_email": True}
