"""What pg_dump says of the schema of a live database."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from os.path import commonprefix
from pathlib import Path
from typing import Any, Self

from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo
from psycopg.sql import Identifier
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.binaries import EMBEDDED, newest_first
from alembic_enterprise.errors import ServerError
from alembic_enterprise.sql import Name

OPTIONS = (
    "--schema-only",
    "--encoding=UTF8",
    "--no-password",
    "--no-tablespaces",
    "--no-subscriptions",
    "--no-security-labels",
    "--lock-wait-timeout=5s",
)
"""It takes ACCESS SHARE on each table, and waits for it 5 seconds at most."""

DEFAULT = ("sslcertmode", "allow")
"""What libpq tells as a parameter from 16 on though nobody gave it; older ones do not know it."""

INSTALL = f"install the PostgreSQL client of that version, or run {EMBEDDED}"


@dataclass(frozen=True)
class Endpoint:
    """How pg_dump gets to a database.

    Attributes:
        major: the version of its server.
        parameters: of libpq, without those that psql would show as stars.
    """

    major: int
    parameters: Mapping[str, str]
    password: str = field(repr=False)

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """Where a connection goes to; nothing is sent over it.

        Parameters that env.py gave, or an event added, are known to psycopg only; other drivers are
        taken at the word of their URL.
        """
        major = int((connection.dialect.server_version_info or (0,))[0])
        driver: Any = connection.connection.driver_connection
        if connection.dialect.driver != "psycopg":
            url = connection.engine.url
            given = {**url.translate_connect_args(username="user", database="dbname"), **url.query}
            return cls(major, _without_secrets(given), str(given.get("password") or ""))
        info = driver.info
        parameters: dict[str, Any] = info.get_parameters()
        # Of several hosts, the one that answered.
        here = {"host": info.host, "port": info.port}
        if "hostaddr" in parameters:
            here["hostaddr"] = info.hostaddr
        return cls(major, _without_secrets(parameters | here), info.password)


def dump(there: Endpoint, folders: Iterable[Path], without: Iterable[Collection[Name]] = ()) -> str:
    """The script that creates the schema of a database.

    Args:
        there: the database.
        folders: where to look for pg_dump, besides PATH.
        without: tables to leave out with what belongs to them; those with names alike together.

    Raises:
        ServerError: there is no pg_dump that can read this server, or it fails.
    """
    program = find(there.major, folders)
    secret = {"PGPASSWORD": there.password} if there.password else {}
    address = make_conninfo(**there.parameters)
    finished = subprocess.run(
        [program, f"--dbname={address}", *OPTIONS, *exclusions(without)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | secret | {"LC_ALL": "C"},
        check=False,
    )
    if finished.returncode != 0:
        raise ServerError(_refusal(finished.stderr.decode(errors="replace")))
    return finished.stdout.decode(errors="replace")


def exclusions(groups: Iterable[Collection[Name]]) -> Iterator[bytes]:
    """The arguments of pg_dump that leave tables out.

    The server looks for each of them by the index of names, as far as the names begin alike.
    """
    for group in groups:
        names = sorted((table.schema or "", table.name) for table in group)
        for schema, found in groupby(names, key=itemgetter(0)):
            pattern = _pattern([name for _, name in found])
            yield f"--exclude-table={_quoted(schema)}.{pattern}".encode()


def _pattern(names: Sequence[str]) -> str:
    """A pattern that matches these names and no other (PostgreSQL docs, psql, "Patterns").

    What they have in common stands there once: beside one another, a thousand names make a regular
    expression that takes the server seconds to compile.
    """
    common = commonprefix(names)  # noqa: RUF071  # of characters is what is meant
    start = _quoted(common) if common else ""
    if len(names) == 1:
        return start
    rests = groupby((name.removeprefix(common) for name in names), key=lambda rest: rest[:1])
    return f"{start}({'|'.join(_pattern(list(some)) for _, some in rests)})"


def _quoted(text: str) -> str:
    return sql.text_of(Identifier(text))


def _refusal(output: str) -> str:
    [line, *_] = [line for line in output.splitlines() if "error: " in line] or [output]
    reason = line.partition("error: ")[2] or line
    return (
        f"pg_dump cannot read the schema: {reason.strip()}. Connect as a role that may read all "
        "tables, as the members of pg_read_all_data may, and run this again"
    )


def find(major: int, folders: Iterable[Path]) -> Path:
    """The pg_dump of a server's own major version, or else of the next one that is here.

    Raises:
        ServerError: there is none, or all are older: pg_dump reads no newer server than itself.
    """
    found: dict[int, Path] = {}
    for program in _programs(folders):
        number = version(program)
        if number == major:
            return program
        found.setdefault(number, program)
    if usable := sorted(number for number in found if number >= major):
        return found[usable[0]]
    there = f"only of {max(found)}" if found else "none"
    raise ServerError(
        f"the schema is copied by pg_dump of PostgreSQL {major} or newer, and there is {there} "
        f"here: {INSTALL}"
    )


def _programs(folders: Iterable[Path]) -> Iterator[Path]:
    on_path = shutil.which("pg_dump")
    beside_path = [] if on_path is None else [Path(on_path).resolve().parent]
    for folder in newest_first(dict.fromkeys([*beside_path, *folders])):
        if os.access(folder / "pg_dump", os.X_OK):
            yield folder / "pg_dump"


def version(program: Path) -> int:
    """The major version of one of PostgreSQL's programs; 0 when it cannot be run."""
    try:
        output = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).stdout
    except OSError:
        return 0
    number = re.search(rb"\(PostgreSQL\) (\d+)", output)
    return 0 if number is None else int(number[1])


def _without_secrets(parameters: dict[str, Any]) -> dict[str, str]:
    secrets = {item.keyword.decode() for item in Conninfo.get_defaults() if item.dispchar == b"*"}
    known = {item.keyword.decode() for item in Conninfo.get_defaults()}
    return {
        name: str(value)
        for name, value in parameters.items()
        if name in known - secrets and value is not None and (name, value) != DEFAULT
    }
