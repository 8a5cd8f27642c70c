"""`partitions maintain` and `partitions check` on the command line."""

import json
import signal
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import laws
import pytest
from autogenerate import run_sql
from console import Outcome
from prometheus_client.parser import text_string_to_metric_families
from samples import clock
from scheduled import insert, names, table
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url

Run = Callable[..., Outcome]


@pytest.fixture
def shop(connection: Connection, engine: Engine) -> Connection:
    """A database with a table whose policy asks for something, at noon of 2026-11-21."""
    clock(engine)
    table(connection, start="2026-08-01", stop="2026-12-01", retain=1, default=True)
    return connection


@pytest.fixture
def maintain(run: Run, database_url: str) -> Run:
    """A function that runs `partitions maintain` on the test's database."""
    return lambda *arguments: run("partitions", "maintain", "--url", database_url, *arguments)


@pytest.fixture
def check(run: Run, database_url: str) -> Run:
    """A function that runs `partitions check` on the test's database."""
    return lambda *arguments: run("partitions", "check", "--url", database_url, *arguments)


def valid(outcome: Outcome, command: str) -> dict[str, Any]:
    """The JSON that was printed, which the shipped schema allows."""
    document: dict[str, Any] = json.loads(outcome.output)
    schema = files("alembic_enterprise").joinpath(f"schemas/partitions-{command}.schema.json")
    rules = json.loads(schema.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(rules)
    checked: Any = jsonschema.Draft202012Validator(rules)
    checked.validate(document)
    assert document["exit_code"] == outcome.code
    return document


PRETENDED = "note: now was 2026-11-21 12:00 UTC, as alembic_enterprise.now says until its RESET\n"

# --- Exit codes


def test_a_run_that_makes_all_true_ends_with_0(shop: Connection, maintain: Run) -> None:
    outcome = maintain()
    assert (outcome.code, outcome.error) == (0, "")
    assert outcome.output == (
        "public.events: ok; 1 created, 2 detached; headroom 40 days\n"
        "  note: its default partition makes every detach lock the whole table for a moment; "
        f"without one it would be concurrent\n{PRETENDED}"
    )
    nothing = "public.events: ok; nothing was due; headroom 40 days\n"
    assert maintain().output == nothing + PRETENDED
    assert names(shop) == ["default", "y2026_m10", "y2026_m11", "y2026_m12"]


def test_what_was_detached_is_dropped_by_a_run_that_is_told_to(
    connection: Connection, engine: Engine, maintain: Run
) -> None:
    clock(engine)
    table(connection, start="2026-08-01", stop="2027-01-01", retain=1, hold=0)
    assert "; 2 detached; " in maintain().output
    assert maintain().output.startswith("public.events: ok; nothing was due; ")
    assert maintain("--drop-detached").output.startswith("public.events: ok; 2 dropped; ")


def test_a_table_that_is_left_undone_ends_with_2(shop: Connection, maintain: Run) -> None:
    insert(shop, "2026-12-12Z")
    outcome = maintain("--min-headroom", "0")
    assert outcome.code == 2
    assert outcome.output.startswith("public.events: not finished; 2 detached; headroom 9 days\n")
    assert "  2026-12-01 to 2027-01-01: public.events_default holds 1 row" in outcome.output


def test_short_headroom_ends_with_3(shop: Connection, maintain: Run, check: Run) -> None:
    assert maintain("--min-headroom", "2").code == 3
    assert check("--min-headroom", "2").code == 3
    assert maintain("--min-headroom", "1").code == check("--min-headroom", "1").code == 0
    assert names(shop)[-1] == "y2026_m12"


@pytest.mark.parametrize(
    ("start", "stop", "default", "told"),
    [
        ("2026-08-01", "2026-09-01", False, ", the last ended 81 days ago: rows written now are"),
        ("2026-12-01", "2027-03-01", True, ": rows written now go into the default one. Run `al"),
    ],
)
def test_it_says_when_no_partition_holds_now(
    connection: Connection,
    engine: Engine,
    check: Run,
    start: str,
    stop: str,
    default: bool,
    told: str,
) -> None:
    clock(engine)
    table(connection, start=start, stop=stop, default=default)
    outcome = check()
    assert outcome.code == 3
    assert outcome.output.startswith(f"error: public.events: no partition holds now{told}")
    assert "Run `alembic-enterprise partitions maintain` [headroom-short]" in outcome.output


def test_it_says_when_more_is_asked_for_than_the_policy_keeps(
    connection: Connection, engine: Engine, maintain: Run, check: Run
) -> None:
    """What is due is not enough then, so that maintenance is no way out."""
    clock(engine)
    table(connection, start="2026-11-01", stop="2027-03-01", ahead=3)
    told = (
        "partitions end in 99 days: the policy keeps 3 ahead, and --min-headroom asks for 20. "
        "Raise ahead= in the model, or give a smaller --min-headroom"
    )
    asked = ("--min-headroom", "20")
    outcome = check(*asked)
    assert (outcome.code, outcome.output) == (3, f"error: public.events: {told} [headroom-short]\n")
    outcome = maintain(*asked)
    assert (outcome.code, outcome.output) == (
        3,
        f"public.events: ok; nothing was due; headroom 99 days\n  {told}\n{PRETENDED}",
    )
    (events,) = valid(maintain(*asked, "--format", "json"), "maintain")["tables"]
    assert events["shortage"] == told
    (events,) = valid(maintain("--format", "json"), "maintain")["tables"]
    assert events["shortage"] is None
    assert maintain(*asked, "--dry-run").output == "-- Nothing is due.\n"


def test_what_is_due_and_gets_no_lock_was_not_done(
    connection: Connection, engine: Engine, maintain: Run
) -> None:
    clock(engine)
    table(connection, start="2026-11-01", stop="2027-02-01", ahead=3)
    with engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE events")
        outcome = maintain("--lock-timeout", "20", "--attempts", "2")
    assert outcome.code == 2
    assert outcome.output.startswith(
        "public.events: not finished; nothing was done; headroom 71 days\n  1 retry for locks\n"
    )


def test_a_database_without_policies_is_true(maintain: Run, check: Run) -> None:
    outcome = maintain()
    assert outcome.code == 0
    assert outcome.output.startswith("No table has a policy: declare RangePartitions")
    outcome = check()
    assert (outcome.code, outcome.output) == (
        0,
        "No table here has a policy, so nothing was checked. Is it the right database?\n",
    )
    assert valid(check("--format", "json"), "check")["tables"] == 0
    outcome = check("events")
    assert (outcome.code, outcome.error) == (
        1,
        "Error: no table with a policy is called events: there are none\n",
    )


@pytest.mark.parametrize("command", ["maintain", "check"])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--url", "postgresql://127.0.0.1:1/d"], "Connection refused. Check that the server is"),
        (["--url", "mysql://h/d"], "the URL is not a PostgreSQL one"),
        (["--min-headroom", "-1"], "Invalid value for '--min-headroom'"),
        (["--format", "yaml"], "Invalid value for '--format'"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_errors_before_anything_is_tried_end_with_1(
    run: Run, command: str, arguments: list[str], told: str
) -> None:
    outcome = run("partitions", command, *arguments)
    assert (outcome.code, outcome.output) == (1, "")
    assert told in outcome.error


@pytest.mark.usefixtures("shop")
def test_a_table_without_a_policy_is_told(maintain: Run, check: Run) -> None:
    for outcome in (maintain("events", "unknown"), check("events", "unknown")):
        assert (outcome.code, outcome.output) == (1, "")
        assert outcome.error == (
            "Error: no table with a policy is called unknown: there are public.events\n"
        )


@pytest.mark.usefixtures("shop")
def test_a_missing_privilege_is_one_line(run: Run, database_url: str, role: str) -> None:
    url = make_url(database_url).update_query_dict({"options": f"-c role={role}"})
    outcome = run("partitions", "maintain", "--url", url.render_as_string(hide_password=False))
    assert outcome.code == 1
    assert outcome.error == (
        "Error: no right to read the policies in alembic_enterprise_policy: connect as the owner "
        "of the tables, or GRANT USAGE on its schema and SELECT on it\n"
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_policies_that_may_not_be_read_are_noted(
    shop: Connection, run: Run, database_url: str, role: str, form: str
) -> None:
    """Nobody else says that nothing is known of their tables."""
    columns = "(relation regclass PRIMARY KEY, policy jsonb NOT NULL)"
    run_sql(
        shop,
        f"CREATE SCHEMA closed CREATE TABLE alembic_enterprise_policy {columns}",
        f"GRANT SELECT ON alembic_enterprise_policy, events TO {role}",
    )
    url = make_url(database_url).update_query_dict({"options": f"-c role={role}"})
    arguments = ("--url", url.render_as_string(hide_password=False), "--format", form)
    outcome = run("partitions", "check", *arguments)
    told = (
        "closed.alembic_enterprise_policy: this role may not read these policies, so their tables"
    )
    if form == "text":
        assert f"note: {told}" in outcome.output
        assert "closed" not in run("partitions", "check", "events", *arguments).output
    else:
        assert "registry-closed" in {item["rule"] for item in valid(outcome, "check")["findings"]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Interrupted: the next run finishes what this one has begun"),
        (["--dry-run"], "Interrupted"),
    ],
)
def test_who_interrupts_it_is_told_how_it_goes_on(
    maintain: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("alembic_enterprise.partitions.maintain.maintain", interrupted)
    outcome = maintain(*arguments)
    assert (outcome.code, outcome.output, outcome.error.strip()) == (130, "", told)


# --- A dry run


def test_what_a_dry_run_prints_does_what_the_run_does(
    shop: Connection,
    maintain: Run,
    database_url: str,
    other_database: Callable[..., str],
) -> None:
    table(shop, "logs", "2026-09-01", "2026-12-01", retain=1, on_expire="drop")
    shop.close()
    copy = create_engine(other_database(make_url(database_url).database), poolclass=NullPool)
    clock(copy)
    outcome = maintain("--dry-run", "--format", "json")
    assert outcome.code == 0
    printed = valid(outcome, "maintain")
    assert printed["dry_run"]
    assert maintain("--dry-run").output == "\n\n".join(printed["statements"]) + "\n"
    with copy.connect().execution_options(isolation_level="AUTOCOMMIT") as by_hand:
        for statement in printed["statements"]:
            by_hand.exec_driver_sql(statement, execution_options={"no_parameters": True})
    original = create_engine(database_url, poolclass=NullPool)
    with original.connect() as connection, copy.connect() as other:
        before = laws.snapshot(connection)
        done = valid(maintain("--format", "json"), "maintain")
        after = laws.snapshot(connection)
        assert before != after
        assert len(printed["statements"]) == sum(len(item["done"]) for item in done["tables"])
        assert laws.snapshot(other) == after


def test_a_dry_run_changes_nothing_and_tells_problems(shop: Connection, maintain: Run) -> None:
    insert(shop, "2026-12-12Z")
    before = laws.snapshot(shop)
    outcome = maintain("--dry-run")
    assert outcome.code == 2
    assert outcome.output.startswith("-- 2026-12-01 to 2027-01-01: public.events_default holds 1")
    assert laws.snapshot(shop) == before


def test_a_dry_run_of_what_is_true_says_so(shop: Connection, maintain: Run, check: Run) -> None:
    maintain()
    assert check().output == "Every policy is satisfied.\n"
    assert maintain("--dry-run").output == "-- Nothing is due.\n"
    assert names(shop)


# --- JSON


def test_the_json_of_a_run_keeps_its_schema(shop: Connection, maintain: Run) -> None:
    insert(shop, "2020-01-01Z")
    (events,) = valid(maintain("--format", "json"), "maintain")["tables"]
    assert (events["schema"], events["name"]) == ("public", "events")
    assert events["done"][0] == {"step": "guard", "subject": "2026-12-01 to 2027-01-01"}
    assert events["headroom_seconds"] == 40.5 * 86400
    assert (events["partitions"], events["default_rows"]) == (4, 1)
    run_sql(
        shop, "CREATE TABLE rest PARTITION OF events FOR VALUES FROM ('2027-01-01Z') TO (MAXVALUE)"
    )
    (events,) = valid(maintain("--format", "json"), "maintain")["tables"]
    assert events["headroom_seconds"] is None


def test_the_json_of_a_check_keeps_its_schema(shop: Connection, check: Run) -> None:
    insert(shop, "2020-01-01Z")
    document = valid(check("--format", "json"), "check")
    found = document["findings"]
    assert document["tables"] == 1
    assert [item["rule"] for item in found] == [
        "headroom-short",
        "partitions-missing",
        "expired-not-retired",
        "default-rows",
    ]
    assert found[1]["operations"] == [
        {
            "name": "create_range_partitions",
            "arguments": {
                "table": "events",
                "every": "month",
                "start": "2026-12-01",
                "stop": "2027-01-01",
                "schema": "public",
            },
        }
    ]


def test_the_text_of_a_check_is_one_line_a_finding(shop: Connection, check: Run) -> None:
    insert(shop, "2020-01-01Z")
    outcome = check()
    assert outcome.code == 3
    assert outcome.output == (
        "error: public.events: partitions end in 9 days: "
        "run `alembic-enterprise partitions maintain` [headroom-short]\n"
        "warning: public.events: no partition for 1 period between 2026-12-01 and 2027-01-01: "
        "run `alembic-enterprise partitions maintain` [partitions-missing]\n"
        "warning: public.events: 2 partitions, public.events_y2026_m08 first, ended before what "
        "the policy retains and should be gone: run `alembic-enterprise partitions maintain`, "
        "which says what keeps them [expired-not-retired]\n"
        "warning: public.events: the default partition holds 1 row: move them into partitions "
        "of their own before those are due, as `alembic-enterprise explain default-rows` says "
        "[default-rows]\n"
    )


# --- Metrics


def metrics(file: Path) -> dict[str, float]:
    """The samples, as Prometheus reads them."""
    return {
        sample.name.removeprefix("alembic_enterprise_partitions_"): sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }


def test_metrics_are_what_prometheus_reads(shop: Connection, maintain: Run, tmp_path: Path) -> None:
    file = tmp_path / "partitions.prom"
    insert(shop, "2020-01-01Z")
    assert maintain("--metrics-file", str(file)).code == 0
    found = metrics(file)
    assert found.pop("last_success_timestamp_seconds") > 1.7e9
    assert found == {
        "headroom_seconds": 40.5 * 86400,
        "partitions": 4,
        "default_rows": 1,
        "retries": 0,
        "failures": 0,
    }
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_names_in_metrics_are_escaped(
    connection: Connection, maintain: Run, tmp_path: Path
) -> None:
    name = 'a\\b"c\nd'
    table(connection, name)
    file = tmp_path / "partitions.prom"
    maintain("--metrics-file", str(file))
    samples = [
        sample
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    ]
    assert {sample.labels.get("table") for sample in samples} == {name, None}


def test_a_run_that_fails_keeps_the_time_of_the_last_success(
    shop: Connection, maintain: Run, tmp_path: Path
) -> None:
    file = tmp_path / "partitions.prom"
    insert(shop, "2026-12-12Z")
    maintain("--metrics-file", str(file))
    assert "last_success_timestamp_seconds" not in metrics(file)
    file.write_text("alembic_enterprise_partitions_last_success_timestamp_seconds 1790000000.125\n")
    maintain("--metrics-file", str(file))
    assert metrics(file)["last_success_timestamp_seconds"] == 1790000000.125
    assert metrics(file)["failures"] == 1
    run_sql(shop, "DELETE FROM events")
    maintain("--metrics-file", str(file))
    assert metrics(file)["last_success_timestamp_seconds"] > 1790000000.125


def test_the_file_of_metrics_is_replaced_and_never_written_into(
    shop: Connection, maintain: Run, tmp_path: Path
) -> None:
    file = tmp_path / "partitions.prom"
    file.write_text("half")
    with file.open() as reader:
        maintain("--metrics-file", str(file))
        assert reader.read() == "half"
    assert metrics(file)["partitions"] == 4
    assert names(shop)


def test_metrics_that_cannot_be_written_are_an_error_before_the_run(
    shop: Connection, maintain: Run, tmp_path: Path
) -> None:
    before = laws.snapshot(shop)
    outcome = maintain("--metrics-file", str(tmp_path / "missing" / "partitions.prom"))
    assert outcome.code == 1
    assert "no file can be made in" in outcome.error
    assert laws.snapshot(shop) == before


# --- The terminal, and env.py


COMMAND = ["partitions", "maintain", "--url"]


@pytest.mark.usefixtures("shop")
def test_a_progress_bar_is_for_terminals(
    program: Run, in_terminal: Callable[..., str], database_url: str
) -> None:
    """And for runs with something to do."""
    outcome = program("partitions", "maintain", "--url", database_url, "--dry-run")
    assert outcome.error == ""
    written = in_terminal([*COMMAND, database_url], CI="")
    assert "steps" in written
    assert "100%" in written
    for nothing in ((), ("unknown",)):
        assert "steps" not in in_terminal([*COMMAND, database_url, *nothing], CI="")


NOTE_IDLE = (
    "CREATE TABLE idle (pid int)",
    """CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO idle SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle in transaction'; END $$""",
    "CREATE EVENT TRIGGER note ON ddl_command_start EXECUTE FUNCTION note()",
)

ENV = """
from alembic import context
from sqlalchemy import create_engine

with create_engine({url!r}).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_no_transaction_of_env_py_is_open_during_a_run(
    shop: Connection, program: Run, tmp_path: Path, database_url: str
) -> None:
    run_sql(shop, *NOTE_IDLE)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = .\n")
    (tmp_path / "env.py").write_text(ENV.format(url=database_url))
    outcome = program("partitions", "maintain")
    assert (outcome.code, outcome.error) == (0, "")
    assert names(shop)[-1] == "y2026_m12"
    assert shop.exec_driver_sql("SELECT count(*) FROM idle").scalar_one() == 0
