"""What every command shares: help, errors, exit codes, colour, Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import pytest
from autogenerate import run as migrate
from autogenerate import run_sql
from console import PROGRAM, Outcome
from reviewed import Project
from samples import monthly
from scheduled import table
from sqlalchemy import Connection, Engine, make_url

from alembic_enterprise.cli import Commands, commands
from alembic_enterprise.cli.output import findings_text
from alembic_enterprise.finding import Finding, Severity

HEAVY = ("alembic", "sqlalchemy", "psycopg")

LOADED = """
import sys
from alembic_enterprise.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    print("loaded:", *({HEAVY} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "init --help",
        "doctor --help",
        "partitions list --help",
        "shards list --help",
        "audit report --help",
        "indexes advise --help",
        "explain --help",
        "--version",
    ],
)
def test_help_comes_without_loading_anything_heavy(arguments: str) -> None:
    code = LOADED.replace("{HEAVY}", repr(set(HEAVY)))
    command = [sys.executable, "-c", code, *arguments.split()]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert ended.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "init",
        "doctor",
        "partitions",
        "partitions list",
        "partitions maintain",
        "partitions check",
        "shards",
        "shards list",
        "shards locate",
        "shards grow",
        "shards check",
        "shards advise",
        "audit",
        "audit status",
        "audit history",
        "audit report",
        "audit check",
        "indexes",
        "indexes advise",
        "plan",
        "apply",
        "verify",
        "explain",
        "jobs",
        "jobs render",
        "jobs render crontab",
        "jobs render systemd",
        "jobs render kubernetes",
        "jobs render github",
        "jobs render airflow",
        "jobs render pg_cron",
    ],
)
def test_help_fits_80_columns_and_shows_an_example(
    run: Callable[..., Outcome], arguments: str
) -> None:
    outcome = run(*arguments.split(), "--help")
    assert outcome.code == 0
    assert max(map(len, outcome.output.splitlines())) <= 80
    assert f"\n    alembic-enterprise {arguments or 'init'}" in outcome.output
    assert "..." not in outcome.output.partition("\nCommands:")[2]  # no summary is cut short


def test_the_summaries_are_those_of_the_commands() -> None:
    for name in commands.list_commands(click.Context(commands)):
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        assert Commands.table[name][1] == command.get_short_help_str(limit=80)


def test_help_imports_no_command() -> None:
    code = LOADED.replace("{HEAVY}", "{name for name in sys.modules if '_enterprise.' in name}")
    command = [sys.executable, "-c", code, "--help"]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert ended.stdout.splitlines()[-1] == "loaded: alembic_enterprise.cli"


def test_help_tells_the_exit_codes(run: Callable[..., Outcome]) -> None:
    assert "Exit codes:\n    0 " in run("--help").output


def test_a_wrong_command_line_is_exit_code_1(run: Callable[..., Outcome]) -> None:
    outcome = run("partitions", "lst")
    assert (outcome.code, outcome.output) == (1, "")
    assert "No such command 'lst'" in outcome.error
    outcome = run("partition", "list")
    assert outcome.code == 1
    assert outcome.error.endswith("No such command 'partition'. Did you mean 'partitions'?\n")
    assert "Did you mean" not in run("unheard-of").error


def test_a_url_and_a_configuration_exclude_each_other(run: Callable[..., Outcome]) -> None:
    outcome = run("doctor", "--url", "postgresql://h/d", "-x", "a=b")
    assert outcome.code == 1
    assert "leave out -c and -x, or --url" in outcome.error


@pytest.mark.usefixtures("here")
def test_no_project_here_says_what_to_do(run: Callable[..., Outcome]) -> None:
    outcome = run("doctor")
    assert outcome.code == 1
    assert outcome.error == (
        "Error: there is no alembic.ini here: run this in the project's folder, "
        "or give -c FILE, or --url URL where the command takes it\n"
    )


def test_a_section_that_is_not_there_is_told(run: Callable[..., Outcome], here: Path) -> None:
    sections = "[alembic]\nscript_location = migrations\n[loggers]\nkeys = root\n"
    (here / "alembic.ini").write_text(sections)
    outcome = run("plan", "-n", "prod")
    assert outcome.code == 1
    assert outcome.error == (
        "Error: alembic.ini has no section [prod]: give -n the name of one with a script_location, "
        "of which it has alembic\n"
    )


@pytest.mark.usefixtures("here")
def test_a_missing_configuration_is_named(run: Callable[..., Outcome]) -> None:
    assert "other.ini does not exist" in run("doctor", "-c", "other.ini").error


@pytest.mark.usefixtures("here")
def test_the_configuration_comes_from_alembics_variable_too(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEMBIC_CONFIG", "pyproject.toml")
    outcome = run("doctor")
    assert "there is no alembic.ini here" in outcome.error


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://somebody:s3cret@127.0.0.1:1/d",
        "postgres://somebody:s3cret@127.0.0.1:1/d",
        "postgresql://somebody:s3cret@127.0.0.1:s3cret/d",
        "postgresql://somebody:s3@s3cret@127.0.0.1:1/d",
        "postgresql://somebody:s3%40s3cret@127.0.0.1:1/d",
        "postgresql://127.0.0.1:1/d?user=somebody&password=s3cret",
        "postgresql:/somebody:s3cret@127.0.0.1:1/d?password=s3cret",
        "mysql://somebody:s3cret@127.0.0.1:1/d",
        "s3cret",
    ],
)
def test_a_connection_that_fails_shows_no_password(run: Callable[..., Outcome], url: str) -> None:
    outcome = run("partitions", "list", "--url", url)
    assert outcome.code == 1
    assert outcome.error.startswith("Error: ")
    assert len(outcome.error.splitlines()) == 1
    assert "s3cret" not in outcome.output + outcome.error


def test_a_wrong_command_line_shows_no_password(run: Callable[..., Outcome]) -> None:
    outcome = run("doctor", "postgresql://somebody:s3cret@h/d")
    assert outcome.code == 1
    assert "s3cret" not in outcome.error
    assert "postgresql://somebody:***@h/d" in outcome.error


def test_a_traceback_shows_no_password(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_url: str) -> None:
        raise RuntimeError("broken by s3cret at postgresql://somebody:s3cret@h/d")

    monkeypatch.setattr("alembic_enterprise.urls.parse", broken)
    outcome = run("partitions", "list", "--url", "postgresql://somebody:s3cret@h/d")
    assert outcome.code == 1
    assert "RuntimeError: broken by *** at postgresql://somebody:***@h/d" in outcome.error
    assert "s3cret" not in outcome.error


@pytest.mark.parametrize("filters", ["", "default"])
def test_a_warning_is_one_line_told_once(shop: Project, filters: str) -> None:
    env = shop.folder / "env.py"
    more = """
        from warnings import warn
        from alembic_enterprise import HashShards
        for _ in range(2):
            HashShards("id", count=6)
            warn("mine, at\\n  postgresql://app:secret@db/x")
            warn("nobody's", DeprecationWarning)
    """
    env.write_text(env.read_text() + dedent(more))
    ended = subprocess.run(
        [PROGRAM, "audit", "check", "--format", "json"],
        cwd=shop.folder,
        env=os.environ | {"PYTHONWARNINGS": filters},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert json.loads(ended.stdout)["findings"] == []
    first, second, *rest = ended.stderr.splitlines()
    assert first.startswith('warning: HashShards("id", count=6): 6 shards can be split into 12, ')
    assert second == "warning: mine, at postgresql://app:***@db/x"
    assert rest == (["warning: nobody's"] if filters else [])


def test_an_unreachable_server_is_one_line_with_the_next_step(run: Callable[..., Outcome]) -> None:
    outcome = run("partitions", "list", "--url", "postgresql://127.0.0.1:1/d")
    assert "Connection refused. Check that the server is up" in outcome.error


@pytest.mark.parametrize("wrong", [{"database": "nobody here"}, {"username": "nobody here"}])
def test_a_login_that_fails_is_no_question_of_the_server(
    run: Callable[..., Outcome], database_url: str, wrong: dict[str, Any]
) -> None:
    url = make_url(database_url).set(**wrong)
    outcome = run("partitions", "list", "--url", url.render_as_string(hide_password=False))
    assert outcome.code == 1
    assert outcome.error.startswith("Error: ")
    assert 'nobody here" does not exist. Check user, password and database in' in outcome.error
    assert "is up" not in outcome.error


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_a_url_needs_no_driver(run: Callable[..., Outcome], database_url: str, scheme: str) -> None:
    outcome = run("partitions", "list", "--url", database_url.replace("postgresql+psycopg", scheme))
    assert (outcome.code, outcome.error) == (0, "")
    assert outcome.output.endswith("\nThere are none.\n")


@pytest.mark.parametrize("style", ["SQL,DMY", "German", "Postgres,YMD"])
@pytest.mark.parametrize(
    "command", [("partitions", "maintain"), ("audit", "status"), ("indexes", "advise")]
)
def test_moments_are_read_whatever_the_role_prints_them_like(
    run: Callable[..., Outcome],
    connection: Connection,
    database_url: str,
    command: tuple[str, ...],
    style: str,
) -> None:
    """psycopg refuses to read them in any other form than ISO's."""
    table(connection, start="2026-11-01", stop="2027-01-01")
    run_sql(connection, "CREATE TABLE orders (id bigint PRIMARY KEY)")
    migrate(connection, 'op.create_audit_trail("orders", history="orders_history")')
    run_sql(connection, "INSERT INTO orders VALUES (1)")
    arguments = [*command, "--url", f"{database_url}&options=-c%20DateStyle%3D{style}"]
    outcome = run(*arguments)
    assert (outcome.code, outcome.error) == (0, "")


def test_colour_is_for_terminals(
    run: Callable[..., Outcome],
    in_terminal: Callable[..., str],
    engine: Engine,
    database_url: str,
) -> None:
    monthly(engine)
    arguments = ["partitions", "list", "--url", database_url]
    assert "\x1b[" in in_terminal(arguments)
    assert "\x1b[" in in_terminal(["doctor", "--url", "postgresql://127.0.0.1:1/d"])
    assert "\x1b[" not in run(*arguments).output


def test_no_color_is_respected(
    in_terminal: Callable[..., str], engine: Engine, database_url: str
) -> None:
    monthly(engine)
    assert "\x1b[" not in in_terminal(["partitions", "list", "--url", database_url], NO_COLOR="1")
    refused = ["doctor", "--url", "postgresql://127.0.0.1:1/d"]
    assert "\x1b[" not in in_terminal(refused, NO_COLOR="1")


def test_the_worst_findings_come_first() -> None:
    severities: list[Severity] = ["note", "warning", "error", "warning"]
    found = [
        Finding(f"rule-{place}", severity, "t", "") for place, severity in enumerate(severities)
    ]
    lines = findings_text(found, "All is well.").splitlines()
    assert [line[-2] for line in lines] == ["2", "1", "3", "0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_without_a_traceback(number: signal.Signals) -> None:
    """The server accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://somebody@127.0.0.1:{server.getsockname()[1]}/d"
        program = [str(PROGRAM), "doctor", "--url", url]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            client, _ = server.accept()
            running.send_signal(number)
            output, error = running.communicate(timeout=30)
            client.close()
    assert (running.returncode, output, error.strip()) == (130, b"", b"Interrupted")


@pytest.fixture
def weak_url(shop: Project, database_url: str, role: str) -> str:
    """The URL in the project: of a role without rights, also to read `alembic_version`."""
    url = f"{database_url}&options=-c%20role%3D{role}"
    ini = shop.folder / "alembic.ini"
    ini.write_text(ini.read_text().replace(database_url.replace("%", "%%"), url.replace("%", "%%")))
    return url


@pytest.mark.parametrize(
    "command",
    [
        "partitions list",
        "partitions check",
        "partitions maintain",
        "shards list",
        "shards check",
        "audit status",
        "audit check",
        "indexes advise",
        "jobs render pg_cron",
    ],
)
def test_a_project_needs_no_more_rights_than_a_url(
    run: Callable[..., Outcome], weak_url: str, command: str
) -> None:
    outcome = run(*command.split())
    assert outcome == run(*command.split(), "--url", weak_url)
    assert "alembic_version" not in outcome.error


@pytest.mark.usefixtures("weak_url")
def test_the_doctor_says_what_a_role_without_rights_lacks(run: Callable[..., Outcome]) -> None:
    words = " ".join(run("doctor").output.split())
    assert "may not read the partition policies in public" in words
