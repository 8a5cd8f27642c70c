"""A URL as it is given, and the connections of one. Nothing here keeps or prints a password."""

from collections.abc import Generator
from contextlib import contextmanager
from os import environ
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from alembic_enterprise.errors import ConfigurationError

SHAPE = "postgresql://user:password@host:5432/database"
"""How a URL is written."""

DRIVER = "postgresql+psycopg"
"""What every URL without a driver gets, whatever the release of SQLAlchemy takes it for."""

OTHER_NAMES = ("postgres", "postgresql")
ASYNCHRONOUS = ("postgresql+asyncpg", "postgresql+psycopg_async")
"""Schemes that are read as `DRIVER`; an asyncio driver cannot be used here."""

CONNECT_TIMEOUT = 10
"""Seconds that an engine of a URL has to connect, unless that has a connect_timeout."""


def resolved(given: str) -> str:
    """The URL that `env:NAME` or `file:PATH` stand for, as openssl writes such sources.

    Anything else is a URL already. Raises `ConfigurationError` when there is none.
    """
    scheme, _, source = given.partition(":")
    if scheme == "env":
        if not (url := environ.get(source, "").strip()):
            raise ConfigurationError(f"the variable {source} is not set: let it hold the URL")
        return url
    if scheme == "file":
        return _from_file(Path(source))
    return given


def _from_file(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(
            f"{path} cannot be read ({reason}): let it hold the URL, readable for who runs this"
        ) from error
    if len(lines) != 1:
        raise ConfigurationError(f"{path} does not hold one line: write {SHAPE} there")
    return lines[0]


def parse(url: str, *, asynchronous: bool = False) -> URL:
    """The URL with a driver that is installed, or one of asyncio if that is asked for and there.

    Raises `ConfigurationError`, without the URL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(f"the URL cannot be read: write {SHAPE}") from error
    if parsed.drivername in OTHER_NAMES or (not asynchronous and parsed.drivername in ASYNCHRONOUS):
        parsed = parsed.set(drivername=DRIVER)
    if parsed.get_backend_name() != "postgresql":
        raise ConfigurationError(f"the URL is not a PostgreSQL one: write {SHAPE}")
    if "@" in (parsed.host or ""):
        raise ConfigurationError("the URL has two @: write the one in the password as %40")
    return parsed


def engine_of(url: URL, **given: Any) -> Engine:
    """An engine for the database of a parsed URL, each of whose connections is a new one.

    Args:
        url: where it leads.
        given: more arguments of its driver.

    Raises:
        ConfigurationError: its driver is not installed, or not known.
    """
    arguments: dict[str, Any] = {}
    if url.drivername == DRIVER:
        # Prepared statements would be lost, or found twice, behind PgBouncer.
        arguments["prepare_threshold"] = None
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT
    try:
        return create_engine(url, poolclass=NullPool, connect_args=arguments | given)
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigurationError(
            f"the driver of the URL, {url.get_driver_name()}, cannot be loaded ({error}): write "
            f"{SHAPE}, or install it"
        ) from error


@contextmanager
def connected(url: URL) -> Generator[Connection]:
    """A connection of its own to the database of a parsed URL. Raises as `engine_of` does."""
    with engine_of(url).connect() as connection:
        yield connection
