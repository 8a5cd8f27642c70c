"""The commands of `audit`: golden text, JSON with its schema, exit codes, errors, memory."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import laws
import pytest
from autogenerate import run as migrate
from autogenerate import run_sql
from console import PROGRAM, Outcome
from golden_files import golden
from sqlalchemy import Connection, NullPool, create_engine, make_url

from alembic_enterprise.audit.operations import CreateAuditTrail
from alembic_enterprise.cli.output import width

TABLES = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, status text, note text, iban text, born date)",
    'CREATE SCHEMA "Mixed Case"',
    """CREATE TABLE "Mixed Case"."we""ird" ("заказ" text, at timestamptz, total numeric,
           PRIMARY KEY ("заказ", at)) PARTITION BY RANGE (at)""",
    """CREATE TABLE "Mixed Case".january PARTITION OF "Mixed Case"."we""ird"
           FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00')""",
    """CREATE TABLE "Mixed Case".later PARTITION OF "Mixed Case"."we""ird"
           FOR VALUES FROM ('2026-02-01 00:00+00') TO (MAXVALUE)""",
    "CREATE TABLE nobody (id int PRIMARY KEY)",
    "INSERT INTO orders VALUES (1, 'open', NULL, 'DE00', '2026-01-02')",
)
TRAILS = (
    """op.create_audit_trail("orders", history="orders_history", mask=["iban"], exclude=["born"],
                             retain=24)""",
    """op.create_audit_trail('we"ird', schema="Mixed Case", history="weird", require_actor=True,
                             baseline=False)""",
)
LONG = "a note that is much longer than a line of the terminal is wide, and has no end " * 2
STORY = (
    "SET alembic_enterprise.actor = 'user:1'",
    """SET alembic_enterprise.context = '{"request_id": "r1"}'""",
    f"UPDATE orders SET status = 'paid', note = '{LONG}'",
    "INSERT INTO orders VALUES (2, 'open', E'\\x1b[2J', NULL, NULL)",
    "SET alembic_enterprise.actor = 'заказчик'",
    """INSERT INTO "Mixed Case"."we""ird" VALUES
           ('ключ', '2026-01-05 12:00+00', 1.50), ('ключ', '2026-02-05 12:00+00', NULL)""",
    'TRUNCATE "Mixed Case".january',
    "DELETE FROM orders WHERE id = 1",
    "ANALYZE",
)
CLOCK = (
    # The triggers go by the server's clock; what they wrote is moved to known moments.
    "SET session_replication_role = replica",
    """UPDATE audit.{0} SET audit_at = '2026-11-21 12:00+00'::timestamptz
           + (audit_id / 16 * interval '1 minute') + interval '1.5 ms'""",
)


@pytest.fixture(scope="module")
def url(shared_database: Callable[..., str]) -> str:
    """A database with two trails, whose clock stands, and of which the tests only read."""
    url = shared_database()
    with create_engine(url, poolclass=NullPool).connect() as connection:
        run_sql(connection, "SET alembic_enterprise.now = '2026-11-15'", *TABLES)
        for trail in TRAILS:
            migrate(connection, trail)
        for history in ("orders_history", "weird"):
            months = "every='month', start='2026-11-01', stop='2027-03-01', schema='audit'"
            migrate(connection, f"op.create_range_partitions('{history}', {months})")
        run_sql(connection, *STORY)
        for history in ("orders_history", "weird"):
            run_sql(connection, *(text.format(history) for text in CLOCK))
    return url


def as_json(command: str, text: str) -> Any:
    document = json.loads(text)
    schema = files("alembic_enterprise").joinpath(f"schemas/audit-{command}.schema.json")
    checked: Any = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    checked.validate(document)
    return document


COMMANDS = {
    "status": ["status"],
    "history": ["history", "orders", "id=1"],
    "history_of_a_partition": ["history", 'we"ird', "заказ=ключ", "at=2026-01-05 12:00"],
    "report": ["report", "--from", "2026-11-21"],
}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_text_is_golden(
    run: Callable[..., Outcome], url: str, name: str, encoding: str
) -> None:
    outcome = run("audit", *COMMANDS[name], "--url", url, encoding=encoding)
    assert (outcome.code, outcome.error) == (0, "")
    text = re.sub(r"\d[\d,]* (kB|bytes)", "? kB", outcome.output)
    if encoding == "utf-8":  # escapes are longer
        assert max(map(width, outcome.output.splitlines())) <= 80
    golden(f"audit_{name}_{encoding}.txt", text)


REPORT = ["report", "--from", "2026-11-21T12:00Z", "--to", "2026-12-01"]


def test_a_report_for_programs_is_golden(run: Callable[..., Outcome], url: str) -> None:
    lines = run("audit", *REPORT, "--format", "jsonl", "--url", url, encoding="ascii").output
    golden("audit_report.jsonl", lines)
    told = [as_json("report", line) for line in lines.splitlines()]
    text = run("audit", *REPORT, "--format", "csv", "--url", url).output
    golden("audit_report.csv", text)
    cells = [*csv.DictReader(io.StringIO(text))]
    for cell, line in zip(cells, told, strict=True):
        assert json.loads(cell["key"] or "null") == line["key"]
        assert json.loads(cell["context"] or "null") == line["context"]
        for name in ("table", "field", "old_value", "new_value", "changed_at", "changed_by"):
            assert cell[name] == (line[name] or "")
    assert told[0]["changed_at"] == "2026-11-21T12:01:00.001500+00:00"


def test_csv_is_utf_8_on_any_terminal(program: Callable[..., Outcome], url: str) -> None:
    outcome = program("audit", *REPORT, "--format", "csv", "--url", url, PYTHONIOENCODING="ascii")
    assert "заказчик" in outcome.output


def test_a_report_of_some(run: Callable[..., Outcome], url: str) -> None:
    def asked(*arguments: str) -> list[dict[str, Any]]:
        outcome = run("audit", "report", *arguments, "--format", "jsonl", "--url", url)
        assert outcome.code == 0
        return [as_json("report", line) for line in outcome.output.splitlines()]

    every = asked("--from", "2026-11-21")
    assert len(every) == 15
    actor = asked("--from", "2026-11-21", "--actor", "user:1")
    assert actor == [item for item in every if item["changed_by"] == "user:1"] != []
    table = asked("--from", "2026-11-21", "--table", 'Mixed Case.we"ird', "--table", "orders")
    assert table == every
    table = asked("--from", "2026-11-21", "--table", "orders")
    assert table == [item for item in every if item["table"] == "public.orders"] != []
    bounds = ("2026-11-21T13:02:00.001500+01:00", "2026-11-21 12:03:00.001500Z")
    some = asked("--from", bounds[0], "--to", bounds[1])
    assert some == [item for item in every if "T12:02:" in item["changed_at"]] != []
    assert asked("--from", "2026-11-22") == []


def test_no_change_is_told(run: Callable[..., Outcome], url: str) -> None:
    asked = [*REPORT, "--actor", "nobody", "--url", url]
    assert run("audit", *asked) == Outcome(0, "No changes.\n", "")
    assert run("audit", *asked, "--format", "jsonl") == Outcome(0, "", "")


def test_an_update_of_what_is_not_kept_is_told(
    run: Callable[..., Outcome], url: str, other_database: Callable[..., str]
) -> None:
    made = other_database(str(make_url(url).database))
    with create_engine(made, poolclass=NullPool).connect() as opened:
        run_sql(
            opened,
            "INSERT INTO orders (id, iban) VALUES (7, 'DE1')",
            "UPDATE orders SET iban = 'DE2', born = '2026-01-03' WHERE id = 7",
        )
    lines = run("audit", "history", "orders", "id=7", "--url", made).output.splitlines()
    assert lines[-2].endswith("UTC  update")
    assert lines[-1] == "  no value that is kept has changed"


def test_a_status_as_json(run: Callable[..., Outcome], url: str) -> None:
    outcome = run("audit", "status", "--format", "json", "--url", url)
    weird, orders = as_json("status", outcome.output)["tables"]
    assert (weird["name"], weird["history"]) == ('we"ird', {"schema": "audit", "name": "weird"})
    assert (weird["triggers"], weird["triggers_enabled"]) == (12, 12)
    assert (orders["since"], orders["rows"]) == ("2026-11-21T12:01:00.001500+00:00", 4)
    assert (orders["retain"], weird["retain"], weird["require_actor"]) == (24, None, True)
    only = run("audit", "status", "public.orders", "--format", "json", "--url", url)
    assert as_json("status", only.output)["tables"] == [orders]


def test_columns_that_the_key_only_includes_are_not_asked_for(
    run: Callable[..., Outcome], connection: Connection, database_url: str
) -> None:
    run_sql(connection, "CREATE TABLE wide (id int, note text, PRIMARY KEY (id) INCLUDE (note))")
    laws.apply(connection, [CreateAuditTrail("wide", "wide_history")])
    run_sql(connection, "INSERT INTO wide VALUES (1, 'a')", "UPDATE wide SET note = 'b'")
    outcome = run("audit", "history", "wide", "id=1", "--format", "json", "--url", database_url)
    events = as_json("history", outcome.output)["events"]
    assert [event["action"] for event in events] == ["insert", "update"]


def test_a_history_as_json(run: Callable[..., Outcome], url: str) -> None:
    values = ["заказ=ключ", "at=2026-01-05 13:00+01"]
    outcome = run("audit", "history", 'we"ird', *values, "--format", "json", "--url", url)
    document = as_json("history", outcome.output)
    inserted, truncated = document["events"]
    assert {"field": "total", "old_value": None, "new_value": "1.50"} in inserted["changes"]
    assert truncated["context"]["relation"] == "Mixed Case.january"
    values[1] = "at=2026-02-05 12:00"
    other = run("audit", "history", 'we"ird', *values, "--format", "json", "--url", url)
    actions = [event["action"] for event in as_json("history", other.output)["events"]]
    assert actions == ["insert"], "the other partition was not truncated"


def test_a_database_without_trails(run: Callable[..., Outcome], database_url: str) -> None:
    text = run("audit", "status", "--url", database_url).output
    assert text == "Audited tables\n\nThere are none.\n"
    outcome = run("audit", "check", "--url", database_url)
    assert outcome == Outcome(0, "No table here has a trail. Is it the right database?\n", "")
    outcome = run("audit", "check", "--url", database_url, "--format", "json")
    assert as_json("check", outcome.output)["tables"] == 0
    assert run("audit", *REPORT, "--url", database_url) == Outcome(0, "No changes.\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["history", "orders", "42"], "'42' is not COLUMN=VALUE: write COLUMN=42\n"),
        (["history", "orders", "status=1"], "status is not the primary key of public.orders: wri"),
        (["history", "orders", "id=x"], 'syntax for type bigint: "x": write the values as an INS'),
        (["history", "nobody", "id=1"], "no audited table is called nobody: there are Mixed Case"),
        (["status", "nobody"], "no audited table is called nobody"),
        (["report", "--from", "x"], "'x' is not a time: write 2026-11-21, or 2026-11-21T12:00Z"),
        (["report"], "Missing option '--from'"),
        (
            ["report", "--from", "2026-12-01", "--to", "2026-11-01"],
            "would end at 2026-11-01T00:00:00+00:00, and begin after that, at 2026-12-01T00:00",
        ),
        ([*REPORT, "--table", "nobody"], "no audited table is called nobody"),
    ],
)
def test_errors_end_in_the_next_step(
    run: Callable[..., Outcome], url: str, arguments: list[str], words: str
) -> None:
    outcome = run("audit", *arguments, "--url", url)
    assert (outcome.code, outcome.output) == (1, "")
    assert words in outcome.error


def test_a_view_that_is_missing(
    run: Callable[..., Outcome], url: str, other_database: Callable[..., str]
) -> None:
    made = other_database(str(make_url(url).database))
    with create_engine(made, poolclass=NullPool).connect() as opened:
        run_sql(opened, "DROP VIEW audit.audit_trail")
    outcome = run("audit", *REPORT, "--url", made)
    assert (outcome.code, outcome.output) == (1, "")
    assert (
        'the view "audit"."audit_trail" is missing: `alembic-enterprise audit ch' in outcome.error
    )


def test_values_do_not_steer_the_terminal(run: Callable[..., Outcome], url: str) -> None:
    for command in (["history", "orders", "id=2"], REPORT):
        text = run("audit", *command, "--url", url).output
        assert "\x1b" not in text
        assert "\\x1b[2J" in text


DRIFT = (
    "ALTER TABLE orders DISABLE TRIGGER alembic_enterprise_update",
    "DROP TRIGGER alembic_enterprise_delete ON orders",
)


@pytest.fixture
def drifted(url: str, other_database: Callable[..., str]) -> str:
    """A trail of which two triggers do nothing any more."""
    made = other_database(str(make_url(url).database))
    with create_engine(made, poolclass=NullPool).connect() as opened:
        run_sql(opened, *DRIFT)
    return made


def test_drift_is_found_by_what_trails_were_made_with(
    run: Callable[..., Outcome], drifted: str
) -> None:
    outcome = run("audit", "check", "--url", drifted)
    assert outcome.code == 2
    golden("audit_check_utf-8.txt", outcome.output)
    golden(
        "audit_check_ascii.txt", run("audit", "check", "--url", drifted, encoding="ascii").output
    )
    text = run("audit", "check", "--format", "json", "--url", drifted).output
    [found] = as_json("check", text)["findings"]
    assert (found["rule"], found["table"]) == ("trail-drifted", "public.orders")
    [repair] = found["operations"]
    assert repair["name"] == "alter_audit_trail"
    status = as_json("status", run("audit", "status", "--format", "json", "--url", drifted).output)
    orders = status["tables"][1]
    assert (orders["triggers"], orders["triggers_enabled"]) == (4, 2)
    assert orders["drift"] == found["evidence"]["drift"]


def told(status: str, label: str) -> str:
    """What the text of a status says behind a label, on one line."""
    [lines] = re.findall(rf"^  {label} +(.*(?:\n {{12}}.*)*)", status, re.MULTILINE)
    return " ".join(str(lines).split())


def test_a_role_that_may_not_use_the_schema_sees_what_the_catalog_tells(
    run: Callable[..., Outcome],
    url: str,
    other_database: Callable[..., str],
    new_role: Callable[..., str],
) -> None:
    made, role = other_database(str(make_url(url).database)), new_role()
    asked = ["audit", "status", "--url", f"{made}&options=-c%20role%3D{role}"]
    mine = as_json("status", run("audit", "status", "--format", "json", "--url", made).output)
    theirs = as_json("status", run(*asked, "--format", "json").output)
    for whole, seen in zip(mine["tables"], theirs["tables"], strict=True):
        assert whole["unreadable"] is None
        unknown = {"since": None, "retain": None, "unreadable": seen["unreadable"]}
        assert seen == {**whole, **unknown}
    outcome = run(*asked, "orders")
    assert (outcome.code, outcome.error) == (0, "")
    assert told(outcome.output, "since") == (
        f"unknown: {role} has no USAGE on schema audit: declare "
        f'AuditTrail(readers=["{role}"]), or GRANT pg_read_all_data TO "{role}"'
    )
    with create_engine(made, poolclass=NullPool).connect() as opened:
        run_sql(opened, f"GRANT pg_read_all_data TO {role}")
    assert run(*asked).output == run("audit", "status", "--url", made).output


@pytest.mark.parametrize("later", ["0 days", "1 month", "30 years"])
def test_who_may_read_a_history_needs_no_right_on_its_partitions(
    run: Callable[..., Outcome],
    url: str,
    other_database: Callable[..., str],
    new_role: Callable[..., str],
    later: str,
) -> None:
    """The first partition that has changes tells since when there are some."""
    made, role = other_database(str(make_url(url).database)), new_role()
    with create_engine(made, poolclass=NullPool).connect() as opened:
        run_sql(
            opened,
            "CREATE TABLE audit.others PARTITION OF audit.orders_history DEFAULT",
            "SET session_replication_role = replica",
            f"UPDATE audit.orders_history SET audit_at = audit_at + interval '{later}'",
            f"GRANT USAGE ON SCHEMA audit TO {role}",
            f"GRANT SELECT ON audit.orders_history TO {role}",
        )
        expected = opened.exec_driver_sql(
            "SELECT min(audit_at) AT TIME ZONE 'UTC' FROM audit.orders_history"
        ).scalar_one()
    asked = ["audit", "status", "--url", f"{made}&options=-c%20role%3D{role}", "--format", "json"]
    weird, orders = as_json("status", run(*asked).output)["tables"]
    assert (orders["since"], orders["unreadable"]) == (f"{expected.isoformat()}+00:00", None)
    assert weird["unreadable"].startswith(f"{role} has no SELECT on audit.weird: declare ")


def test_what_a_role_may_not_read_is_no_drift(
    run: Callable[..., Outcome],
    url: str,
    other_database: Callable[..., str],
    new_role: Callable[..., str],
) -> None:
    made, role = other_database(str(make_url(url).database)), new_role()
    asked = ["audit", "check", "--url", f"{made}&options=-c%20role%3D{role}"]
    outcome = run(*asked)
    assert (outcome.code, outcome.error) == (0, "")
    [line] = outcome.output.splitlines()
    assert line.startswith("note: audit.alembic_enterprise_policy: this role may not read the pol")
    assert line.endswith("GRANT USAGE on its schema and SELECT on it [registry-closed]")
    [found] = as_json("check", run(*asked, "--format", "json").output)["findings"]
    assert (found["severity"], found["operations"]) == ("note", [])
    with create_engine(made, poolclass=NullPool).connect() as opened:
        run_sql(opened, f"GRANT USAGE ON SCHEMA audit TO {role}")
        status = run("audit", "status", "orders", *asked[2:]).output
        assert told(status, "since").startswith(
            f"unknown: {role} has no SELECT on audit.orders_history: declare "
        )
        assert "retention unknown: its policy is missing, or this role may not read it\n" in status
        assert "drift" not in status
        run_sql(opened, f"GRANT SELECT ON audit.alembic_enterprise_policy TO {role}")
    assert run(*asked) == Outcome(0, "Every trail is as it should be.\n", "")


ENV = """
from alembic import context
from sqlalchemy import BigInteger, Column, Date, MetaData, NullPool, Table, Text, create_engine
from alembic_enterprise import AuditTrail

metadata = MetaData()
Table("orders", metadata, Column("id", BigInteger, primary_key=True), Column("status", Text),
      Column("note", Text), Column("iban", Text), Column("born", Date), {trail})
Table("nobody", metadata, Column("id", BigInteger, primary_key=True), {other})
engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata={metadata})
    with context.begin_transaction():
        context.run_migrations()
"""
DECLARED = 'AuditTrail(mask=["iban"], exclude=["born"], retain=24)'


@pytest.mark.parametrize(
    ("trail", "other", "rules"),
    [
        (DECLARED, "", []),
        (DECLARED.replace("24", "12"), "AuditTrail()", ["trail-drifted", "trail-missing"]),
        ("", "", ["trail-undeclared"]),
    ],
)
def test_a_project_is_checked_by_its_models(
    run: Callable[..., Outcome], url: str, here: Path, trail: str, other: str, rules: list[str]
) -> None:
    write_project(here, url, trail=trail, other=other)
    outcome = run("audit", "check", "--format", "json")
    document = as_json("check", outcome.output)
    assert [found["rule"] for found in document["findings"]] == rules
    assert outcome.code == document["exit_code"] == (2 if rules else 0)


def test_a_project_without_models(run: Callable[..., Outcome], url: str, here: Path) -> None:
    write_project(here, url, metadata="None")
    outcome = run("audit", "check")
    assert outcome.code == 1
    assert "write target_metadata=Base.metadata, or give --url URL to use" in outcome.error


def write_project(
    folder: Path, url: str, trail: str = "", other: str = "", metadata: str = "metadata"
) -> None:
    ini = f"[alembic]\nscript_location = .\npath_separator = os\nsqlalchemy.url = {url}\n"
    (folder / "alembic.ini").write_text(ini.replace("%", "%%"))
    (folder / "env.py").write_text(ENV.format(trail=trail, other=other, metadata=metadata))


MEASURED = """
import atexit, sys
from pathlib import Path
from alembic_enterprise.cli import main

def tell():
    status = Path("/proc/self/status").read_text()
    sys.stderr.write(status.split("VmHWM:")[1].split()[0])

atexit.register(tell)
main(sys.argv[1:])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells no peak")
def test_the_memory_of_a_report_does_not_grow_with_it(
    other_database: Callable[..., str], url: str
) -> None:
    """Twenty times as many events, and the peak of the process within a tenth of its base."""
    made = other_database(str(make_url(url).database))
    with create_engine(made, poolclass=NullPool).connect() as connection:
        run_sql(connection, MANY)
    peaks = [
        subprocess.run(
            [sys.executable, "-c", MEASURED, *many(count), "--url", made],
            check=True,
            capture_output=True,
            encoding="utf-8",
        )
        for count in (1_000, 20_000)
    ]
    assert [item.stdout.count("\n") for item in peaks] == [2_000, 40_000]
    small, large = (int(item.stderr) for item in peaks)
    assert large < small * 1.1, f"{small} kB, then {large} kB"


MANY = """
INSERT INTO audit.orders_history (audit_id, audit_at, audit_action, audit_transaction,
    audit_session_user, audit_role, id, note)
SELECT 1000 + n, '2026-12-01 00:00+00'::timestamptz + n * interval '1 second', 'insert', '7',
       'me', 'me', n, repeat('x', 200)
FROM generate_series(1, 20000) AS n"""


def many(count: int) -> list[str]:
    """A report of the first events of many."""
    stop = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(seconds=count + 1)
    times = ["--from", "2026-12-01", "--to", stop.isoformat()]
    return ["audit", "report", *times, "--format", "jsonl"]


def test_a_reader_that_goes_away_is_no_error(url: str) -> None:
    command = [str(PROGRAM), "audit", *REPORT, "--url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 141


def test_the_time_that_is_done_with_is_shown_on_a_terminal(
    in_terminal: Callable[..., str], url: str, tmp_path: Path
) -> None:
    """Only there, and only when the report itself goes elsewhere."""
    assert "100%" not in in_terminal(["audit", *REPORT, "--url", url], CI="")
    shown = in_terminal(["audit", *REPORT, "--url", url], tmp_path / "report", CI="")
    assert "changes" in shown
    assert "100%" in shown
