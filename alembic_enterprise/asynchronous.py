"""Connecting with psycopg to where an asyncio engine of env.py connects.

with noted():
    ...                                     # env.py connects
without_asyncio(connection)                 # an engine of psycopg

Work that takes long has sessions that several threads use, which no asyncio driver allows.
"""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from ssl import CERT_NONE, SSLContext
from typing import Any

from psycopg.sql import SQL, Composable, Identifier
from sqlalchemy import URL, Connection, Dialect, Engine, event

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.sql import rows, text_of
from alembic_enterprise.urls import DRIVER, engine_of, parse

_KEY = "alembic_enterprise.given"
"""Where a connection of SQLAlchemy keeps what its driver was given."""

_SAME = ("host", "krbsrvname", "passfile", "password", "port", "service", "user")
"""What asyncpg calls as libpq does."""

URL_INSTEAD = "give --url, or let psycopg connect: postgresql+psycopg does so with asyncio, too"


@contextmanager
def noted() -> Generator[None]:
    """Note what the drivers of connections that are made inside are given.

    A dictionary in which an event of env.py may still change something, such as the password.
    """

    def connecting(dialect: Dialect, record: Any, _arguments: object, given: Any) -> None:
        if dialect.is_async:
            record.info[_KEY] = given

    event.listen(Engine, "do_connect", connecting)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", connecting)


def without_asyncio(connection: Connection) -> Engine:
    """The engine of a connection, or one of psycopg to where it leads if its driver is of asyncio.

    Raises `ConfigurationError` when psycopg cannot connect in that way.
    """
    engine = connection.engine
    if not engine.dialect.is_async:
        return engine
    given = parameters(connection)
    if given is None:
        return engine_of(parse(engine.url.render_as_string(hide_password=False)))
    own = engine_of(URL.create(DRIVER), **given)
    [(role,)] = rows(connection, SQL("SELECT current_setting('role')"))
    if role != "none":  # an event of env.py may have set it
        _let_begin(own, SQL("SET ROLE {}").format(Identifier(role)))
    return own


def _let_begin(engine: Engine, statement: Composable) -> None:
    """Let each session of an engine begin with a statement."""

    def connected_now(driver: Any, _record: object) -> None:
        driver.execute(text_of(statement))
        driver.commit()

    event.listen(engine, "connect", connected_now)


def parameters(connection: Connection) -> dict[str, Any] | None:
    """The parameters of libpq that lead to where a connection does; None if they are not known.

    Raises `ConfigurationError` as `translated`.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.driver == "psycopg":  # which also knows what a `creator` has given
        return {**driver.info.get_parameters(), "password": driver.info.password}
    given = connection.info.get(_KEY)
    return None if given is None else translated(given)


def translated(given: Mapping[str, Any]) -> dict[str, Any]:
    """What asyncpg was given, in the words of libpq; what is of asyncpg alone is left out.

    Raises `ConfigurationError` when libpq has no word for it.
    """
    if "dsn" in given or callable(given.get("password")):
        what = "a dsn" if "dsn" in given else "a function for the password"
        raise ConfigurationError(f"env.py gives asyncpg {what}, which is its own: {URL_INSTEAD}")
    found = {name: given[name] for name in _SAME if given.get(name) is not None}
    found |= {"dbname": given.get("database"), **_encryption(given.get("ssl"))}
    if settings := given.get("server_settings"):
        found["options"] = " ".join(_option(*item) for item in settings.items())
    return {name: _listed(value) for name, value in found.items() if value is not None}


def _encryption(ssl: object) -> dict[str, str]:
    """The same as asyncpg's `ssl`, where that can be."""
    if isinstance(ssl, str):
        return {"sslmode": ssl}
    if isinstance(ssl, SSLContext) and ssl.verify_mode is CERT_NONE:
        return {"sslmode": "require"}
    if ssl is None or ssl is False:
        return {} if ssl is None else {"sslmode": "disable"}
    raise ConfigurationError(
        "env.py lets asyncpg check certificates as Python does, which libpq does not: "
        f"{URL_INSTEAD}, with sslmode=verify-full and sslrootcert=FILE"
    )


def _option(name: str, value: object) -> str:
    r"""A setting as an option of a session, in which a blank is written `\ `."""
    escaped = re.sub(r"[\\\s]", r"\\\g<0>", str(value))
    return f"-c {name}={escaped}"


def _listed(value: Any) -> Any:
    """Several hosts, or their ports, as libpq has them."""
    return value if isinstance(value, str | int) else ",".join(map(str, value))
