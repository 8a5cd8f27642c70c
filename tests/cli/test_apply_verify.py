"""`apply` and `verify`: what they print, exit codes, the end of a run from outside."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from console import PROGRAM, Outcome
from reviewed import CUSTOMERS, EVENTS, Project
from saving import saved_plan
from sqlalchemy import Connection, Engine

from alembic_enterprise.cli.apply import stale_lines
from alembic_enterprise.plan.saved.apply import Report
from alembic_enterprise.plan.saved.document import Stale
from alembic_enterprise.plan.schema.objects import Difference

Run = Callable[..., Outcome]

STATE = 'op.add_column("customers", sa.Column("state", sa.Text()))'
PLACE = 'op.add_column("events", sa.Column("place", sa.Text()))'


@pytest.fixture
def release(shop: Project, engine: Engine) -> Project:
    """A project with two revisions to come, whose plan is in plan.json."""
    shop.revision("b2", "a1", STATE)
    shop.revision("c3", "b2", PLACE)
    saved = saved_plan(shop.config, engine, locked=["public.customers", "public.events"])
    (shop.folder / "plan.json").write_text(saved.text(), encoding="utf-8")
    return shop


def stamped(connection: Connection) -> str:
    connection.rollback()
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    connection.rollback()
    return str(found)


@pytest.mark.usefixtures("release")
def test_a_plan_is_applied_once(run: Run, connection: Connection) -> None:
    assert run("verify", "plan.json").output == "The plan holds.\n"
    outcome = run("apply", "plan.json")
    assert (outcome.code, outcome.output) == (0, "Applied: b2, c3\n")
    assert outcome.error == "revision b2\nrevision c3\n"
    assert stamped(connection) == "c3"
    for command in ("verify", "apply"):
        outcome = run(command, "plan.json")
        assert (outcome.code, outcome.error) == (0, "")
        assert outcome.output == "Nothing to do: all revisions of the plan are applied already.\n"
        document = json.loads(run(command, "plan.json", "--format", "json").output)
        assert (document["exit_code"], document["applied"], document["left"]) == (0, [], [])


@pytest.mark.usefixtures("release")
def test_what_has_changed_is_told(run: Run, connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE customers ADD mine int, ALTER email DROP NOT NULL")
    connection.exec_driver_sql("ALTER TABLE events DROP CONSTRAINT events_pkey")
    connection.commit()
    outcome = run("verify", "plan.json")
    assert outcome.code == 4
    assert outcome.output == (
        "Stale.\n"
        "  changed: column public.customers.email\n"
        "    was: text NOT NULL\n"
        "    is: text\n"
        "  added: column public.customers.mine\n"
        "    is: integer\n"
        "  missing: constraint public.events.events_pkey\n"
        "    was: PRIMARY KEY (id, at)\n"
        "Make a new plan: alembic-enterprise plan --out FILE\n"
    )
    document = json.loads(run("apply", "plan.json", "--format", "json").output)
    assert (document["exit_code"], document["applied"], document["left"]) == (4, [], ["b2", "c3"])
    assert [item["name"] for item in document["differences"]] == [
        "public.customers.email",
        "public.customers.mine",
        "public.events.events_pkey",
    ]
    assert stamped(connection) == "a1"


def test_of_a_definition_with_several_lines_those_that_differ_are_told() -> None:
    changed = Difference("function", "public.f()", "a\nb\nc\nd", "a\nb\nc\n\tD")
    told = [*stale_lines(Report([], stale=Stale((), (changed,))))]
    assert told[1:-1] == ["    @@ -3,2 +3,2 @@", "     c", "    -d", "    +   D"]


@pytest.mark.usefixtures("release")
def test_what_could_not_be_applied_is_told(run: Run, connection: Connection) -> None:
    connection.exec_driver_sql("LOCK TABLE events IN ACCESS SHARE MODE")
    connection.exec_driver_sql("SELECT 1")
    outcome = run("apply", "plan.json", "--lock-timeout", "100", "--attempts", "2")
    assert outcome.code == 1
    begun = [line for line in outcome.error.splitlines() if ":" not in line]
    assert begun == ["revision b2", "revision c3"]
    lines = outcome.output.splitlines()
    assert lines[:2] == ["Applied: b2", "  1 retry for locks"]
    assert lines[2].startswith("  waited for pid ")
    assert lines[3] == "Not applied: c3"
    assert lines[4].startswith("Error: revision c3: no lock within 100 ms, 2 times, held by pid ")
    assert ": SELECT ... Nothing of it is committed" in lines[4]
    assert stamped(connection) == "b2"


def test_what_plan_saves_is_applied(shop: Project, run: Run, connection: Connection) -> None:
    """A plan that is in order, or blocked, is not saved; one that proposes more is an error."""
    outcome = run("plan", "--out", "plan.json")
    assert outcome.code == 0
    assert "Not saved: no revision is pending, so there is nothing to apply\n" in outcome.error
    shop.revision("b2", "a1", STATE, 'op.drop_column("customers", "state")')
    outcome = run("plan", "--no-prove", "--out", "plan.json")
    assert (outcome.code, (shop.folder / "plan.json").exists()) == (1, False)
    assert "the plan proposes more: give --write -m MESSAGE, too" in outcome.error
    shop.models(CUSTOMERS.replace("))", '), Column("state", Text))', 1), EVENTS)
    outcome = run("plan", "--out", "plan.json")
    assert (outcome.code, outcome.error) == (2, "Written: plan.json\n")
    assert outcome.output.endswith("\nTo apply it: alembic-enterprise apply plan.json\n")
    assert run("verify", "plan.json").code == 0
    earlier = (shop.folder / "plan.json").read_text()
    outcome = run("plan", "--no-shadow", "--out", "plan.json", "--exit-zero")
    assert (shop.folder / "plan.json").exists() is False
    assert "Removed: plan.json, which was there before\n" in outcome.error
    (shop.folder / "plan.json").write_text(earlier)
    connection.exec_driver_sql("CREATE TABLE customers_of_mine (id bigint REFERENCES customers)")
    connection.commit()
    assert run("verify", "plan.json").code == 4
    connection.exec_driver_sql("DROP TABLE customers_of_mine")
    connection.commit()
    assert run("apply", "plan.json").output == "Applied: b2\n"
    assert stamped(connection) == "b2"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "File 'plan.json' does not exist"),
        ("no plan", "it is not JSON of `plan --out`"),
        ("\xff", "it is not JSON of `plan --out`"),
    ],
)
def test_a_file_that_is_no_plan_ends_with_1(
    here: Path, run: Run, text: str | None, told: str
) -> None:
    if text is not None:
        (here / "plan.json").write_text(text, encoding="utf-8")
    for command in ("apply", "verify"):
        outcome = run(command, "plan.json")
        assert (outcome.code, outcome.output) == (1, "")
        assert told in outcome.error


# --- The end of a run from outside


@contextmanager
def blocked(project: Project, connection: Connection) -> Generator[subprocess.Popen[str]]:
    """A run in a process of its own, which has applied b2 and waits for a lock in c3."""
    connection.exec_driver_sql("LOCK TABLE events IN ACCESS SHARE MODE")
    arguments = [str(PROGRAM), "apply", "plan.json", "--lock-timeout", "600000"]
    with subprocess.Popen(
        arguments, cwd=project.folder, stderr=subprocess.PIPE, text=True
    ) as process:
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not connection.exec_driver_sql(waits).scalar_one():
            assert process.poll() is None
            time.sleep(0.01)
        yield process
        process.wait(60)


def test_a_run_that_was_killed_has_applied_whole_revisions(
    release: Project, run: Run, connection: Connection
) -> None:
    """The server ends what it was at, and lets go of its locks, when nobody listens any more."""
    with blocked(release, connection) as process:
        process.kill()
    connection.rollback()
    connection.exec_driver_sql(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    connection.rollback()
    assert stamped(connection) == "b2"
    outcome = run("apply", "plan.json")
    assert outcome.code == 4
    assert "a part of it is applied already: the database is at b2, and c3 is due" in outcome.output


def test_ctrl_c_ends_a_run_and_says_what_is_left(release: Project, connection: Connection) -> None:
    with blocked(release, connection) as process:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.rstrip().endswith(
        "Interrupted. Applied: b2. Not applied: c3. `alembic-enterprise plan` shows what is left"
    )
    others = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    assert connection.exec_driver_sql(others).scalar_one() == 0
    assert stamped(connection) == "b2"
