"""`plan` when something is wrong: one line with the next step, and nothing is left behind."""

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from console import PROGRAM, Outcome
from psycopg.sql import SQL
from reviewed import CUSTOMERS, EVENTS, Project, begun
from sqlalchemy import make_url

from alembic_enterprise import sql
from alembic_enterprise.plan.shadow import lacks, replay
from alembic_enterprise.server import Server, temporary_server
from alembic_enterprise.urls import connected, parse


def two_heads(shop: Project) -> None:
    shop.revision("b2", "a1", "pass")
    shop.revision("b3", "a1", "pass")


ERRORS: dict[str, tuple[Callable[[Project], object], tuple[str, ...], str]] = {
    "several heads": (
        two_heads,
        (),
        (
            "the project has 2 heads (b2, b3), and it is not known which comes next: run `alembic "
            "merge heads`, and this again"
        ),
    ),
    "no models": (
        lambda shop: (shop.folder / "env.py").write_text(
            (shop.folder / "env.py").read_text().replace('"target_metadata": target_metadata,', "")
        ),
        (),
        (
            "env.py gives context.configure() no target_metadata, so there are no models to "
            "compare with: import them there, and write target_metadata=Base.metadata"
        ),
    ),
    "no such revision": (
        lambda shop: (shop.folder / "versions" / "a1.py").unlink(),
        (),
        (
            "the project has no revision a1, which the database is stamped with: get the script "
            "that made it, or stamp the database with one that is here"
        ),
    ),
    "a migration that raises": (
        lambda shop: shop.revision("b2", "a1", 'op.execute("SELECT 1 / 0")'),
        (),
        (
            "revision b2 cannot be run on the shadow: division by zero. That has the schema of the "
            "live database and no rows: a script that reads rows finds none there"
        ),
    ),
    "the live server as shadow": (
        lambda _shop: None,
        ("--shadow-url", "env:LIVE"),
        (
            "--shadow-url leads to the server of the live database, where nothing is to be "
            "written: give another one, or leave --shadow-url out for a private one"
        ),
    ),
    "an unreachable shadow": (
        lambda _shop: None,
        ("--shadow-url", "postgresql://nobody@127.0.0.1:1/x"),
        "the server of --shadow-url cannot be reached: ",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_next_step(
    run: Callable[..., Outcome],
    shop: Project,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIVE", shop.database_url)
    prepare, options, said = ERRORS[name]
    prepare(shop)
    ended = run("plan", *options)
    assert ended.error.startswith(f"Error: {said}")
    assert ended.error.count("\n") == 1
    assert (ended.code, ended.output) == (1, "")


OF_WORDS = {
    "CREATE EXTENSION nobodys": lacks.EXTENSION,
    "ALTER DATABASE shop SET work_mem = 64": lacks.DATABASE,
    "ALTER EVENT TRIGGER hook DISABLE": lacks.EVENT_TRIGGER,
    "ALTER TABLE nowhere ADD a int": "Mend the migration, and run this again",
}


@pytest.mark.parametrize("statement", OF_WORDS)
def test_what_no_rows_would_help_is_told_as_it_is(
    run: Callable[..., Outcome], shop: Project, statement: str
) -> None:
    shop.revision("b2", "a1", f"op.execute({statement!r})")
    ended = run("plan")
    assert ended.error.startswith("Error: revision b2 cannot be run on the shadow: ")
    assert ended.error.endswith(f". {OF_WORDS[statement]}\n")
    assert (ended.code, replay.ON_A_COPY in ended.error) == (1, False)


def test_a_script_that_is_no_python(run: Callable[..., Outcome], shop: Project) -> None:
    (shop.folder / "versions" / "b2.py").write_text("def upgrade(:")
    ended = run("plan")
    assert "b2.py, line 1: SyntaxError" in ended.error
    assert ended.error.endswith(". Mend the migration, and run this again\n")
    assert ended.error.count("\n") == 1
    assert ended.code == 1


def test_an_unreachable_database(run: Callable[..., Outcome], here: Path) -> None:
    Project(here, "postgresql+psycopg://app:s3cret@127.0.0.1:1/shop")
    ended = run("plan")
    assert "Check that the server is up" in ended.error
    assert "s3cret" not in ended.error
    assert ended.code == 1


@pytest.fixture
def other_server(binaries: Path) -> Iterator[Server]:
    with temporary_server(binaries) as server:
        yield server


@pytest.mark.usefixtures("shop")
def test_a_role_that_may_not_make_a_shadow(
    run: Callable[..., Outcome], other_server: Server
) -> None:
    with psycopg.connect(other_server.url().replace("+psycopg", ""), autocommit=True) as there:
        there.execute("CREATE ROLE clerk LOGIN")
    url = make_url(other_server.url()).set(username="clerk")
    ended = run("plan", "--shadow-url", url.render_as_string(hide_password=False))
    assert "no shadow database can be created: permission denied" in ended.error
    assert "Give a role with CREATEDB in --shadow-url" in ended.error
    assert ended.code == 1


def test_a_role_that_the_server_of_the_shadow_lacks(
    run: Callable[..., Outcome], other_server: Server, shop: Project, new_role: Callable[..., str]
) -> None:
    role = new_role()
    shop.revision("b2", "a1", f"op.execute('GRANT SELECT ON customers TO {role}')")
    ended = run("plan", "--shadow-url", other_server.url())
    assert ended.error.startswith(
        f'Error: revision b2 cannot be run on the shadow: role "{role}" does not exist. '
    )
    assert ended.error.endswith("create them there, or leave --shadow-url out\n")
    assert (ended.code, ended.error.count("\n")) == (1, 1)


def test_a_release_that_changes_the_server_of_the_shadow(
    run: Callable[..., Outcome], other_server: Server, shop: Project
) -> None:
    """A role that it makes is told, and what stood there before is left alone."""
    shop.revision("b2", "a1", "op.execute('CREATE ROLE made_by_b2')")
    ended = run("plan", "--no-prove", "--shadow-url", other_server.url())
    told = " ".join(ended.output.split())
    assert "1 role made on the server of --shadow-url, and not dropped: made_by_b2." in told
    shop.revision("b2", "a1", "op.execute('DROP ROLE made_by_b2')")
    ended = run("plan", "--shadow-url", other_server.url())
    refused = "revision b2 cannot be run on the shadow: what changes roles, databases or settings"
    assert (ended.code, ended.error.startswith(f"Error: {refused}")) == (1, True)
    more = "ALTER TABLE customers ADD a int"
    shop.revision("b2", "a1", f"op.execute({more!r})", "op.execute('DROP ROLE made_by_b2')")
    ended = run("plan", "--shadow-url", other_server.url())
    assert (ended.code, "SKIP the downgrade gives the schema" in ended.output) == (2, True)
    with psycopg.connect(other_server.url().replace("+psycopg", "")) as there:
        there.execute("SELECT 'made_by_b2'::regrole")


@pytest.mark.usefixtures("shop")
def test_a_machine_without_a_server(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alembic_enterprise.plan.shadow.database.binary_folders", list)
    ended = run("plan")
    assert "run `pip install '.[embedded]'` in a checkout of alembic-enterprise" in ended.error
    assert ended.code == 1


ASLEEP = """
from pathlib import Path
[folder] = op.get_bind().exec_driver_sql("SHOW data_directory").one()
Path("asleep.part").write_text(folder)
Path("asleep.part").rename("asleep")
op.execute("SELECT pg_sleep(600)")
"""


def test_ctrl_c_leaves_no_shadow(shop: Project, here: Path) -> None:
    shop.revision("b2", "a1", ASLEEP)
    with subprocess.Popen([PROGRAM, "plan"], cwd=here, stderr=subprocess.PIPE, text=True) as begun:
        while not (here / "asleep").exists():
            assert begun.poll() is None
            time.sleep(0.01)
        folder = Path((here / "asleep").read_text())
        assert folder.exists()
        begun.send_signal(signal.SIGINT)
        assert begun.wait() == 130
    assert not folder.exists()


def test_the_live_server_is_only_read(
    run: Callable[..., Outcome], other_server: Server, here: Path
) -> None:
    """Also by an env.py that would write: what pg_dump sends besides is told in the README."""
    shop = begun(here, other_server.url())
    shop.revision("b2", "a1", 'op.create_index("i", "customers", ["email"])', "op.drop_index('i')")
    shop.models(CUSTOMERS, EVENTS, CUSTOMERS.replace("customers", "others"))
    with connected(parse(other_server.url())) as connection:
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        sql.execute(session, SQL("ALTER SYSTEM SET log_statement = 'all'"))
        sql.execute(session, SQL("ALTER SYSTEM SET log_line_prefix = '%a> '"))
        sql.execute(session, SQL("SELECT pg_reload_conf()"))
    ended = run("plan", "--write", "-m", "add others", "--out", "plan.json")
    assert (ended.code, ended.error.count("Written")) == (2, 2)
    log = (other_server.folder / "log").read_text()
    sent = re.findall(r"(\w*)> LOG:  (?:statement|execute [^:]*): \s*(\w+(?: TABLE)?)(.*)", log)
    words = {word.upper() for program, word, _ in sent if program != "pg_dump"}
    assert words <= {"SELECT", "WITH", "SHOW", "SET", "BEGIN", "ROLLBACK", *OF_DRIVERS}
    of_dump = {word.upper() for program, word, _ in sent if program == "pg_dump"}
    assert of_dump <= {"SELECT", "SET", "BEGIN", "PREPARE", "EXECUTE", "LOCK TABLE"}
    locks = [rest for _, word, rest in sent if word == "LOCK TABLE"]
    assert locks
    assert all(rest.endswith(" IN ACCESS SHARE MODE") for rest in locks)


OF_DRIVERS = ("SAVEPOINT", "RELEASE", "DEALLOCATE")
"""What SQLAlchemy sends around its first question, and psycopg when it forgets a statement."""


def test_an_env_py_that_writes_is_stopped(run: Callable[..., Outcome], shop: Project) -> None:
    file = shop.folder / "env.py"
    create = 'context.execute("CREATE SCHEMA IF NOT EXISTS more")'
    text = file.read_text().replace("        context.execute(statement)", f"        {create}")
    assert create in text
    file.write_text(text)
    ended = run("plan")
    assert "cannot execute CREATE SCHEMA in a read-only transaction" in ended.error
    assert ended.code == 1


def test_a_file_that_is_no_plan_is_not_replaced(run: Callable[..., Outcome], shop: Project) -> None:
    before = (shop.folder / "env.py").read_text()
    ended = run("plan", "--out", "env.py")
    assert ended.error.startswith("Error: env.py exists and is not a saved plan of this version")
    assert (ended.code, (shop.folder / "env.py").read_text()) == (1, before)
