"""The sample project's committed migrations, on whatever day they are run."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from laws import snapshot
from psycopg.sql import SQL, Identifier, Literal
from shops import SAMPLE, configured
from sqlalchemy import Engine, NullPool, create_engine

from alembic_enterprise import sql
from alembic_enterprise.resources import templates_directory

DAYS = {
    "as generated": "2026-11-21 12:00+00",
    "now": datetime.now(UTC).isoformat(),
    "in two years": (datetime.now(UTC) + timedelta(days=2 * 365)).isoformat(),
    "leap day": "2028-02-29 00:30+00",
    "new year in Berlin, not in UTC": "2027-12-31 23:30+00",
}


def pretend(engine: Engine, moment: str) -> None:
    """Let every session of the database from now on believe in a moment."""
    with engine.begin() as connection:
        statement = SQL("ALTER DATABASE {} SET alembic_enterprise.now = {}")
        database = Identifier(str(engine.url.database))
        sql.execute(connection, statement.format(database, Literal(moment)))


def catalog(engine: Engine) -> dict[str, object]:
    """The database as the laws compare it."""
    with engine.connect() as connection:
        return snapshot(connection)


@pytest.mark.parametrize("moment", DAYS.values(), ids=DAYS)
def test_replays_on_any_day(engine: Engine, database_url: str, moment: str) -> None:
    """Up, down and up again gives the same database, and there is nothing left to do in it."""
    pretend(engine, moment)
    config = configured(database_url)
    command.upgrade(config, "head")
    head = catalog(engine)
    command.check(config)
    command.downgrade(config, "base")
    assert left(engine) == ["alembic_enterprise_policy", "alembic_version"]
    command.upgrade(config, "head")
    command.check(config)
    assert catalog(engine) == head


def left(engine: Engine) -> list[str]:
    """Names of the tables in the database."""
    with engine.connect() as connection:
        query = SQL("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        return [name for (name,) in sql.rows(connection, query)]


def test_each_step_reverses(engine: Engine, database_url: str) -> None:
    """Between any two revisions: down and up again changes nothing, nor does up and down."""
    config = configured(database_url)
    revisions = ScriptDirectory.from_config(config).walk_revisions()
    before: dict[str, dict[str, object]] = {}
    for revision in reversed([script.revision for script in revisions]):
        command.upgrade(config, revision)
        before[revision] = catalog(engine)
    for revision in list(before)[-2::-1]:
        command.downgrade(config, revision)
        assert catalog(engine) == before[revision]


@pytest.mark.parametrize("moment", [DAYS["as generated"], DAYS["leap day"]])
def test_offline_script_gives_the_same_database(
    engine: Engine, other_database: Callable[[], str], moment: str
) -> None:
    """`alembic upgrade head --sql` writes what an online upgrade runs."""
    other = create_engine(other_database(), poolclass=NullPool)
    for database in (engine, other):
        pretend(database, moment)
    command.upgrade(configured(url(engine)), "head")
    command.upgrade(config := configured(url(other)), "head", sql=True)
    assert isinstance(config.output_buffer, StringIO)
    script = config.output_buffer.getvalue()
    with other.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(script, execution_options={"no_parameters": True})
    assert catalog(other) == catalog(engine)
    command.check(config)


def url(engine: Engine) -> str:
    """The engine's URL, password and all."""
    return engine.url.render_as_string(hide_password=False)


def test_environment_is_the_template_with_models() -> None:
    """What `alembic-enterprise init` writes, and in it the models and the URL."""
    template = templates_directory() / "enterprise"
    changes = {
        "import Connection, MetaData, bindparam": "import Connection, bindparam",
        "# adds partitions to autogenerate and to `op`\n": (
            "# adds partitions to autogenerate and to `op`\nfrom shop.models import Base\n"
        ),
        " Import your models and give their metadata here:\n"
        '# "from shop.models import Base", then "target_metadata = Base.metadata".\n': "\n",
        "target_metadata: MetaData | None = None": "target_metadata = Base.metadata",
    }
    environment = replaced((template / "env.py").read_text(), changes)
    assert (SAMPLE / "migrations" / "env.py").read_text() == environment
    changes = {
        "${script_location}": "%(here)s/migrations",
        "user:password@localhost/database": "localhost/shop",
    }
    settings = replaced((template / "alembic.ini.mako").read_text(), changes)
    assert (SAMPLE / "alembic.ini").read_text() == settings
    for name in ("script.py.mako", "README"):
        assert (SAMPLE / "migrations" / name).read_text() == (template / name).read_text()


def replaced(text: str, changes: dict[str, str]) -> str:
    """Text with each change made exactly once."""
    for before, after in changes.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def test_is_generated(database_url: str) -> None:
    """There are several revisions, in one line, and no two heads."""
    script = ScriptDirectory.from_config(configured(database_url))
    assert len(script.get_heads()) == 1
    assert len(list(script.walk_revisions())) >= 3
