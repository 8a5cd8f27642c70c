"""`init`: an environment that works as it is, from the first revision on."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.config import Config
from console import PROGRAM, Outcome, in_files
from forked import Run
from sqlalchemy import Connection, make_url

MODELS = """
from datetime import datetime

from alembic_enterprise import RangePartitions
from sqlalchemy import DateTime, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})


class Event(Base):
    __tablename__ = "events"
    __table_args__ = (RangePartitions("at", every="month"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
"""

CONCURRENT = """
from alembic import op

revision = "concurrent"
down_revision = {previous!r}
branch_labels = depends_on = None


def upgrade():
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY by_id ON plain (id)")
    op.execute("INSERT INTO plain VALUES (current_setting('lock_timeout'))")
    op.execute("COMMENT ON TABLE plain IS '100% sure'")


def downgrade():
    pass
"""


@pytest.fixture(params=[(), ("--async",)], ids=["sync", "async"])
def project(
    request: pytest.FixtureRequest, run: Callable[..., Outcome], here: Path, database_url: str
) -> Path:
    """A new project whose models, database and lock_timeout are set as `init` says."""
    (here / "models.py").write_text(MODELS)
    assert run("init", *request.param, "migrations").code == 0
    replace(here / "alembic.ini", placeholder(here), database_url.replace("%", "%%"))
    replace(here / "alembic.ini", "lock_timeout = 5s", "lock_timeout = 4s")
    env = here / "migrations" / "env.py"
    metadata = "from models import Base\n\ntarget_metadata = Base.metadata"
    replace(env, "target_metadata: MetaData | None = None", metadata)
    return here


def placeholder(folder: Path) -> str:
    [line] = [
        line
        for line in (folder / "alembic.ini").read_text().splitlines()
        if line.startswith("sqlalchemy.url = ")
    ]
    return line.removeprefix("sqlalchemy.url = ")


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


@pytest.fixture
def alembic(project: Path, run_forked: Run) -> Callable[[str], str]:
    """A function that runs Alembic's program in the project, and returns what it prints."""

    def alembic(arguments: str) -> str:
        program = PROGRAM.with_name("alembic")
        ended = in_files(run_forked, project, [program, *shlex.split(arguments)])
        assert ended.code == 0, ended.error
        return ended.output

    return alembic


def test_the_first_revision_is_applied_and_leaves_nothing_to_do(
    project: Path, alembic: Callable[[str], str], program: Callable[..., Outcome]
) -> None:
    alembic("revision --autogenerate -m first")
    alembic("upgrade head")
    assert alembic("check").endswith("No new upgrade operations detected.\n")
    [script] = (project / "migrations" / "versions").glob("*_first.py")
    assert "op.create_range_partitions('events', every='month'" in script.read_text()
    listing = program("partitions", "list", PYTHONIOENCODING="utf-8")
    assert "public.events             month" in listing.output
    outcome = program("doctor")
    assert (outcome.code, outcome.error) == (0, "")
    assert "lock_timeout is 4s" in outcome.output
    assert outcome.output.endswith("\nNothing is missing.\n")
    assert program("partitions", "maintain").code == 0


def test_concurrent_statements_run_under_a_lock_timeout(
    project: Path, alembic: Callable[[str], str], connection: Connection
) -> None:
    """The first revision begins with an autocommit block, in a transaction of Alembic's own."""
    connection.exec_driver_sql("CREATE TABLE plain (id text)")
    connection.commit()
    script = project / "migrations" / "versions" / "concurrent.py"
    script.write_text(CONCURRENT.format(previous=None))
    alembic("upgrade head")
    query = "SELECT id, obj_description('plain'::regclass) FROM plain"
    assert connection.exec_driver_sql(query).all() == [("4s", "100% sure")]


def test_offline_scripts_set_the_lock_timeout_and_double_no_percent_sign(
    project: Path, alembic: Callable[[str], str]
) -> None:
    script = project / "migrations" / "versions" / "concurrent.py"
    script.write_text(CONCURRENT.format(previous=None))
    text = alembic("upgrade head --sql")
    assert text.startswith("SET lock_timeout = '4s';\n")
    assert "'100% sure'" in text


@pytest.mark.usefixtures("here")
def test_the_next_steps_are_told(run: Callable[..., Outcome]) -> None:
    outcome = run("init", "migrations")
    assert (outcome.code, outcome.error) == (0, "")
    assert outcome.output == (
        "Written: alembic.ini\n"
        "Written: migrations/README\n"
        "Written: migrations/env.py\n"
        "Written: migrations/script.py.mako\n"
        "\n"
        "Next:\n"
        "  1. in alembic.ini, set sqlalchemy.url\n"
        "  2. in migrations/env.py, import your models and set target_metadata\n"
        "  3. alembic-enterprise doctor\n"
        '  4. alembic revision --autogenerate -m "first"\n'
        "  5. alembic upgrade head\n"
    )


def test_another_ini_file_can_be_written(run: Callable[..., Outcome], here: Path) -> None:
    outcome = run("init", "-c", "deploy.ini", "deploy")
    assert "alembic -c deploy.ini upgrade head" in outcome.output
    assert (here / "deploy.ini").exists()
    assert not (here / "alembic.ini").exists()


def test_the_database_and_the_section_can_be_named(
    run: Callable[..., Outcome],
    program: Callable[..., Outcome],
    here: Path,
    database_url: str,
) -> None:
    """A password goes into the file, its % as configparser wants it, and nowhere else."""
    url = "postgresql://somebody:50%25off@localhost:1/shop"
    outcome = run("init", "-n", "shop", "--url", url, "migrations")
    assert outcome.code == 0
    assert "50%" not in outcome.output + outcome.error
    assert "sqlalchemy.url" not in outcome.output
    assert (
        "  1. alembic.ini holds the password: chmod 600 alembic.ini, or take it out and let "
        "PGPASSWORD or PGPASSFILE give it\n"
    ) in outcome.output
    assert "alembic -n shop upgrade head" in outcome.output
    config = Config(here / "alembic.ini", ini_section="shop")
    written = make_url(config.get_main_option("sqlalchemy.url") or "")
    assert written == make_url(url).set(drivername="postgresql+psycopg")
    assert run("init", "-c", "b.ini", "-n", "b", "--url", database_url, "b").code == 0
    assert program("doctor", "-c", "b.ini", "-n", "b").output.startswith("Database alembic_")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("postgresql://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg2://h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg://h/d"),
        ("--async postgresql://h/d", "postgresql+psycopg://h/d"),
        ("--async postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("--async postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
    ],
)
def test_a_driver_that_is_given_is_written(
    run: Callable[..., Outcome], here: Path, given: str, written: str
) -> None:
    """Where env.py can use it; else psycopg, which is there."""
    *options, url = given.split()
    outcome = run("init", *options, "--url", url, "migrations")
    assert outcome.code == 0
    assert ('1. pip install "sqlalchemy[asyncio]"' in outcome.output) == bool(options)
    assert ('[asyncio]" asyncpg\n' in outcome.output) == written.startswith("postgresql+asyncpg")
    assert placeholder(here) == written


@pytest.mark.usefixtures("here")
def test_a_url_without_a_password_needs_no_care(run: Callable[..., Outcome]) -> None:
    outcome = run("init", "--url", "postgresql://somebody@localhost/shop", "migrations")
    assert "  1. in migrations/env.py, import your models" in outcome.output


@pytest.mark.parametrize("name", ["loggers", "DEFAULT", "two words", "a]"])
def test_a_section_that_configparser_could_not_read_is_refused(
    run: Callable[..., Outcome], here: Path, name: str
) -> None:
    outcome = run("init", "-n", name, "migrations")
    assert outcome.code == 1
    assert "write one word for -n" in outcome.error
    assert not list(here.iterdir())


def test_nothing_is_written_over(run: Callable[..., Outcome], here: Path) -> None:
    (here / "alembic.ini").write_text("mine")
    outcome = run("init", "migrations")
    assert outcome.code == 1
    assert "alembic.ini is there" in outcome.error
    assert not (here / "migrations").exists()
    (here / "migrations").mkdir()
    (here / "migrations" / "mine").touch()
    outcome = run("init", "-c", "other.ini", "migrations")
    assert outcome.code == 1
    assert "migrations is not empty: give the name of a new folder, or run" in outcome.error
    assert not (here / "other.ini").exists()
