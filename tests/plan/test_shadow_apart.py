"""Whatever runs on a shadow, its server connects to no other one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from autogenerate import project, write_revision
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import URL, Connection, Engine, MetaData
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.binaries import binary_folders
from alembic_enterprise.errors import StepError
from alembic_enterprise.plan.shadow import apart, replay
from alembic_enterprise.plan.shadow.database import Shadow, shadow
from alembic_enterprise.plan.shadow.source import Source
from alembic_enterprise.server import temporary_server
from alembic_enterprise.sql import sqlstate
from alembic_enterprise.urls import connected, parse

ROWS = "CREATE TABLE legacy AS SELECT 1 AS id"
EXTENSIONS = ("CREATE EXTENSION postgres_fdw", "CREATE EXTENSION dblink")


def in_autocommit(url: URL, *statements: Composable) -> None:
    with connected(url) as connection:
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in statements:
            sql.execute(session, statement)


@pytest.fixture(scope="module")
def live(shared_database: Callable[..., str], binaries: Path) -> Iterator[tuple[URL, Shadow]]:
    """A database with rows, and its shadow."""
    url = parse(shared_database())
    in_autocommit(url, SQL(ROWS), SQL(EXTENSIONS[0]))
    with connected(url) as connection:
        source = Source.read(connection)
    with shadow(source, folders=(binaries, *binary_folders())) as made:
        yield url, made


def address(url: URL) -> dict[str, str]:
    """How a server finds a database."""
    with connected(url) as connection:
        info = connection.connection.driver_connection.info  # type: ignore[union-attr]  # psycopg's
        return {
            "host": info.host,
            "port": str(info.port),
            "dbname": info.dbname,
            "user": info.user,
        }


def foreign(url: URL) -> list[Composable]:
    """Statements that make a foreign table of the rows."""
    there = address(url)
    options = SQL(", ").join(
        SQL("{} {}").format(SQL(key), Literal(there[key])) for key in ("host", "port", "dbname")
    )
    return [
        SQL("CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({})").format(options),
        SQL("CREATE USER MAPPING FOR PUBLIC SERVER there OPTIONS (user {})").format(
            Literal(there["user"])
        ),
        SQL("CREATE FOREIGN TABLE f (id int) SERVER there OPTIONS (table_name 'legacy')"),
    ]


def refused(url: URL, *statements: Composable) -> DBAPIError:
    *before, last = statements
    in_autocommit(url, *before)
    with pytest.raises(DBAPIError) as raised:
        in_autocommit(url, last)
    return raised.value


def count(connection: Connection) -> int:
    [(number,)] = sql.rows(connection, SQL("SELECT count(*) FROM legacy"))
    return int(number)


def test_rows_of_foreign_tables_stay(live: tuple[URL, Shadow]) -> None:
    url, made = live
    with made.clone() as clone:
        error = refused(clone, *foreign(url), SQL("DELETE FROM f"))
    assert (sqlstate(error), made.explained(error)) == (apart.NO_HANDLER, apart.PERHAPS)
    with connected(url) as connection:
        assert count(connection) == 1


def test_an_extension_that_is_made_there_does_not_connect(live: tuple[URL, Shadow]) -> None:
    """Nor where a session has switched triggers off, in a database without the schema."""
    url, made = live
    off = SQL("ALTER DATABASE {} SET session_replication_role = replica")
    with made.database() as there:
        in_autocommit(there, off.format(Identifier(str(there.database))))
        in_autocommit(there, *map(SQL, EXTENSIONS), *foreign(url))
        assert sqlstate(refused(there, SQL("DELETE FROM f"))) == apart.NO_HANDLER
        given = Literal(make_conninfo(**address(url)))
        for call in ("dblink_exec({}, 'DELETE FROM legacy')", "dblink_connect('a', {})"):
            error = refused(there, SQL("SELECT " + call).format(given))
            assert (sqlstate(error), apart.ADVICE in str(error)) == (apart.REFUSED, True)
    with connected(url) as connection:
        assert count(connection) == 1


def test_there_are_no_subscriptions(live: tuple[URL, Shadow]) -> None:
    url, made = live
    create = SQL("CREATE SUBSCRIPTION s CONNECTION {} PUBLICATION p")
    statement = create.format(Literal(make_conninfo(**address(url))))
    with made.clone() as clone:
        assert sqlstate(refused(clone, statement)) == apart.REFUSED


GIVEN = 'attributes["engine"].connect()'
OWN = """create_engine(
        context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool).connect()"""


@pytest.mark.parametrize("connects", [GIVEN, OWN], ids=["given", "own"])
def test_without_event_triggers_such_statements_are_not_run(
    live: tuple[URL, Shadow], binaries: Path, engine: Engine, tmp_path: Path, connects: str
) -> None:
    config = project(tmp_path / "migrations", engine, MetaData())
    env = tmp_path / "migrations" / "env.py"
    env.write_text(env.read_text().replace(GIVEN, connects))
    block = "DO $$ BEGIN EXECUTE 'CREATE SERVER s FOREIGN DATA WRAPPER w'; END $$"
    write_revision(tmp_path / "migrations", "0001", None, f"op.execute({block!r})")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    folders = (binaries, *binary_folders())
    with temporary_server(binaries) as other, connected(live[0]) as connection:
        given = parse(other.url())
        in_autocommit(given, SQL("CREATE ROLE clerk LOGIN CREATEDB"))
        source = Source.read(connection)
        with shadow(source, given.set(username="clerk"), folders) as made:
            assert apart.UNGUARDED in made.gaps
            with pytest.raises(StepError, match="a shadow connects to no other server"):
                replay.upgrade(config, made.url, scripts)


OF_SERVER = (
    "DROP ROLE IF EXISTS nobody",
    "ALTER USER clerk SET search_path = a",
    "ALTER DATABASE shop SET work_mem = '1MB'",
    "GRANT CONNECT ON DATABASE shop TO clerk",
    "DO $$ BEGIN EXECUTE 'DROP DATABASE shop'; END $$",
    "DROP OWNED BY clerk",
    "ALTER SYSTEM SET work_mem = '1MB'",
)
OF_SHADOW = (
    "CREATE TABLE database (role int)",
    "COMMENT ON TABLE database IS 'ON DATABASE shop'",
    "ALTER DEFAULT PRIVILEGES FOR ROLE current_user GRANT SELECT ON TABLES TO PUBLIC",
    "DROP USER MAPPING IF EXISTS FOR current_user SERVER nowhere",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
)


def test_what_is_of_the_whole_server_stays_on_a_given_one(live: tuple[URL, Shadow]) -> None:
    with live[1].clone() as clone, apart.spared(str(clone.database)):
        for statement in map(SQL, OF_SERVER):
            with pytest.raises(StepError, match="leave --shadow-url out for a private server"):
                in_autocommit(clone, statement)
        in_autocommit(clone, *map(SQL, OF_SHADOW))


def test_roles_that_scripts_make_on_a_given_server_are_told(
    live: tuple[URL, Shadow], binaries: Path
) -> None:
    with temporary_server(binaries) as other, connected(live[0]) as connection:
        source, given = Source.read(connection), parse(other.url())
        with shadow(source, given, (binaries, *binary_folders())) as made:
            assert made.host.left() == []
            in_autocommit(made.url, SQL("CREATE ROLE clerk"))
            [told] = made.host.left()
            assert told.startswith("1 role made on the server of --shadow-url, and not dropped: c")
            with pytest.raises(StepError):
                in_autocommit(made.url, SQL("DROP ROLE clerk"))
    assert live[1].host.left() == []
