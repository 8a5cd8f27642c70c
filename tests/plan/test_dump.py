"""pg_dump is found, run without telling a password, and says what it cannot do."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alembic_enterprise.binaries import binary_folders
from alembic_enterprise.errors import ServerError
from alembic_enterprise.plan.shadow import dump
from alembic_enterprise.plan.shadow.database import binaries
from alembic_enterprise.urls import connected, parse


def program(folder: Path, name: str, version: str, body: str = "") -> Path:
    """A program that tells a version, and otherwise does what `body` says."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    told = f'echo "{name} (PostgreSQL) {version}"'
    file.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {told} && exit\n{body}\n')
    file.chmod(0o755)
    return folder


def test_a_server_of_the_same_version_comes_first(tmp_path: Path) -> None:
    folders = [
        program(tmp_path / version, name, version)
        for version in ("18.1", "15.2", "14.3")
        for name in ("initdb", "pg_ctl", "postgres")
    ]
    assert binaries(15, folders) == tmp_path / "15.2"
    assert binaries(17, folders) == tmp_path / "18.1"
    told = "no server of PostgreSQL 19 or newer .*or give --shadow-url"
    with pytest.raises(ServerError, match=told):
        binaries(19, folders)


def test_pg_dump_is_never_older_than_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folders = [program(tmp_path / v, "pg_dump", v) for v in ("18.1", "15.2", "16.3")]
    assert dump.find(15, folders) == tmp_path / "15.2" / "pg_dump"
    assert dump.find(17, folders) == tmp_path / "18.1" / "pg_dump"
    with pytest.raises(ServerError, match="of PostgreSQL 19 or newer, and there is only of 18 "):
        dump.find(19, folders)
    with pytest.raises(ServerError, match="or newer, and there is none here: install the "):
        dump.find(15, [])


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_no_password_is_on_a_command_line(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    spy = 'echo "$@" > "$0.arguments"; echo "$PGPASSWORD" > "$0.password"'
    folder = program(tmp_path / "bin", "pg_dump", "99.0", spy)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    url = parse(database_url.replace("postgres@", "postgres:ge%20heim'@"))
    url = url.set(drivername=f"postgresql+{driver}")
    with connected(url.update_query_dict({"sslpassword": "heimlich"})) as live:
        dump.dump(dump.Endpoint.of(live), [folder])
    assert (folder / "pg_dump.password").read_text() == "ge heim'\n"
    arguments = (folder / "pg_dump.arguments").read_text()
    assert "heim" not in arguments
    assert f"dbname={url.database}" in arguments


def test_a_schema_that_may_not_be_read_is_told(
    database_url: str, engine: Engine, new_role: Callable[..., str]
) -> None:
    role = new_role()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE secret (); ALTER ROLE {role} LOGIN")
    with (
        connected(parse(database_url).set(username=role)) as live,
        pytest.raises(ServerError) as raised,
    ):
        dump.dump(dump.Endpoint.of(live), binary_folders())
    assert re.fullmatch(
        r"pg_dump cannot read the schema: .*permission denied.*\. Connect as a role that may read "
        r"all tables, as the members of pg_read_all_data may, and run this again",
        str(raised.value),
    )
