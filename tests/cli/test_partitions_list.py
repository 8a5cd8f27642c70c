"""`partitions list`, against golden text at a clock that stands still."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from autogenerate import run_sql
from console import Outcome
from golden_files import golden
from samples import clock, every_kind, execute, managed, monthly
from scheduled import run as run_job
from scheduled import table
from sqlalchemy import Connection, Engine, event, make_url

from alembic_enterprise.cli.output import width
from alembic_enterprise.partitions import live


def as_json(outcome: Outcome) -> dict[str, Any]:
    assert (outcome.code, outcome.error) == (0, "")
    document: dict[str, Any] = json.loads(outcome.output)
    schema = files("alembic_enterprise").joinpath("schemas/partitions-list.schema.json")
    checked: Any = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    checked.validate(document)
    return document


@pytest.mark.parametrize("sample", [managed, every_kind])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_text_is_golden(
    run: Callable[..., Outcome],
    engine: Engine,
    database_url: str,
    sample: Callable[[Engine], None],
    encoding: str,
) -> None:
    sample(engine)
    outcome = run("partitions", "list", "--url", database_url, encoding=encoding)
    assert (outcome.code, outcome.error) == (0, "")
    if encoding == "utf-8":  # escapes are longer
        assert max(map(width, outcome.output.splitlines())) <= 80
    golden(f"partitions_list_{sample.__name__}_{encoding}.txt", outcome.output)


def test_a_table_that_is_named_shows_each_partition(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    every_kind(engine)
    names = ["kinds", 'Mixed Case.we"ird', "public.заказы_数据", "remote"]
    arguments = ["partitions", "list", *names, "--url", database_url]
    golden("partitions_list_each.txt", run(*arguments).output)


def test_json_follows_its_schema(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    managed(engine)
    every_kind(engine)
    document = as_json(run("partitions", "list", "--format", "json", "--url", database_url))
    tables = {table["name"]: table for table in document["tables"]}
    assert document["now"] == "2026-11-21T12:00:00+00:00"
    assert list(tables) == [
        'we"ird',
        "customers",
        "events",
        "kinds",
        "nothing",
        "numbers",
        "remote",
        "заказы_数据",
    ]
    events = tables["events"]
    gap = {"from": "2026-05-01T00:00:00+00:00", "to": "2026-06-01T00:00:00+00:00"}
    end = {"from": "2027-02-01T00:00:00+00:00", "to": "2027-03-01T00:00:00+00:00"}
    assert (events["gaps"], events["missing"]) == ([gap], [gap, end])
    assert events["headroom"] == {
        "covers_now": True,
        "until": "2027-02-01T00:00:00+00:00",
        "days": 71.5,
    }
    assert (events["rows"], events["bytes"], len(events["partitions"])) == (2, 8192, 12)
    assert tables["numbers"]["covered"] is None
    assert tables["remote"]["headroom"] == {"covers_now": True, "until": None, "days": None}
    assert tables["remote"]["partitions"][0]["kind"] == "foreign table"
    assert tables["kinds"]["default"]["rows"] == 2
    assert tables["заказы_数据"]["covered"] == [
        {"from": "2026-11-21T06:30:00", "to": "2026-11-22T18:00:00"}
    ]


def test_an_empty_database_has_a_valid_document(
    run: Callable[..., Outcome], database_url: str
) -> None:
    outcome = run("partitions", "list", "--format", "json", "--url", database_url)
    assert as_json(outcome)["tables"] == []


def test_only_tables_of_a_schema(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    every_kind(engine)
    arguments = ["--schema", "Mixed Case", "--format", "json", "--url", database_url]
    tables = as_json(run("partitions", "list", *arguments))["tables"]
    assert [table["name"] for table in tables] == ['we"ird']


def test_a_table_that_is_not_there_is_an_error(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    monthly(engine)
    outcome = run("partitions", "list", "orders", "--url", database_url)
    assert outcome.code == 1
    assert outcome.error == (
        "Error: no partitioned table is called orders: there is public.events\n"
    )


def test_a_half_detached_partition_holds_nothing(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    monthly(engine)
    execute(
        engine,
        "UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'events_10'::regclass",
    )
    arguments = ["partitions", "list", "events", "--url", database_url]
    [table] = as_json(run(*arguments, "--format", "json"))["tables"]
    assert table["headroom"] == {"covers_now": False, "until": None, "days": 0.0}
    text = run(*arguments).output
    assert "none: no partition holds now" in text
    assert "detach pending" in text


def test_what_was_retired_and_not_dropped_is_told(
    run: Callable[..., Outcome], connection: Connection, engine: Engine, database_url: str
) -> None:
    """Also when somebody has put it away."""
    table(connection, start="2026-08-01", stop="2027-01-01", retain=1)
    run_job(engine)
    run_sql(connection, "ALTER TABLE events_y2026_m09 RENAME TO evidence")
    arguments = ["partitions", "list", "--url", database_url]
    told = "retired     2 not dropped, public.events_y2026_m08 first, since 2026-11-21"
    assert told in run(*arguments).output
    (listed,) = as_json(run(*arguments, "--format", "json"))["tables"]
    assert listed["retired"] == [
        {"schema": "public", "name": name, "since": "2026-11-21T12:00:00+00:00"}
        for name in ("events_y2026_m08", "evidence")
    ]


def test_rows_of_a_default_partition_are_counted_up_to_a_limit(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    monthly(engine)
    execute(engine, "CREATE TABLE stray PARTITION OF events DEFAULT")
    execute(engine, "INSERT INTO stray SELECT 1, '2030-01-01' FROM generate_series(1, 999)")
    arguments = ["partitions", "list", "--url", database_url]
    assert "default     stray: 999 rows\n" in run(*arguments).output
    execute(engine, "INSERT INTO stray SELECT 1, '2030-01-01' FROM generate_series(1, 501)")
    execute(engine, "ANALYZE stray")
    assert "default     stray: about 1,500 rows\n" in run(*arguments).output


CODE_OF_OTHERS = """GRANT SELECT ON kinds_default TO PUBLIC;
CREATE POLICY fails ON kinds_default USING (1 / 0 = 1);
ALTER TABLE kinds_default ENABLE ROW LEVEL SECURITY"""


@pytest.mark.parametrize(
    "changed",
    [
        "ANALYZE kinds_default",
        CODE_OF_OTHERS,
    ],
    ids=["right", "row security"],
)
def test_a_default_partition_that_may_not_be_read_is_estimated(
    run: Callable[..., Outcome], engine: Engine, database_url: str, role: str, changed: str
) -> None:
    every_kind(engine)
    execute(engine, f"ANALYZE kinds_default;\n{changed}")
    url = f"{database_url}&options=-c%20role%3D{role}"
    assert (
        "default     kinds_default: about 2 rows\n"
        in run("partitions", "list", "--url", url).output
    )


def test_it_gives_up_on_a_locked_table(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    monthly(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE events_3")
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        connection.exec_driver_sql("SELECT 'this is shown'")
        outcome = run("partitions", "list", "--url", database_url)
    assert outcome.code == 1
    told = f"canceling statement due to lock timeout. In the way: pid {pid}, "
    assert outcome.error.startswith(f"Error: {told}{make_url(database_url).username} since ")
    assert outcome.error.endswith(": SELECT 'this is shown' (locks events_3). Run this again\n")


def test_round_trips_do_not_grow_with_tables(engine: Engine) -> None:
    monthly(engine)
    few = round_trips(engine)
    every_kind(engine)
    execute(engine, "CREATE TABLE stray PARTITION OF events DEFAULT")
    assert round_trips(engine) == few + 4  # those that count rows of default partitions


def round_trips(engine: Engine) -> int:
    statements: list[str] = []
    with engine.connect() as connection:
        event.listen(
            connection, "before_cursor_execute", lambda *values: statements.append(values[2])
        )
        live.select(connection)
    return len(statements)


def test_it_only_reads(engine: Engine) -> None:
    with engine.connect() as connection:
        live.select(connection)
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"


def test_the_settings_of_the_session_do_not_matter(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    monthly(engine)
    plain = run("partitions", "list", "events", "--url", database_url)
    options = "-c%20TimeZone%3DAsia/Tokyo%20-c%20DateStyle%3DSQL,DMY"
    other = run("partitions", "list", "events", "--url", f"{database_url}&options={options}")
    assert plain == other


@pytest.mark.parametrize("grant", ["USAGE ON SCHEMA other", "SELECT ON ALL TABLES IN SCHEMA other"])
def test_a_policy_that_may_not_be_read_is_unknown(
    run: Callable[..., Outcome], engine: Engine, database_url: str, role: str, grant: str
) -> None:
    """Only tables that may have one say so."""
    clock(engine)
    execute(engine, SHARDED)
    execute(engine, f"GRANT {grant} TO {role}")
    arguments = ["partitions", "list", "--url", f"{database_url}&options=-c%20role%3D{role}"]
    tables = as_json(run(*arguments, "--format", "json"))["tables"]
    errors = {table["name"]: table["policy_error"] for table in tables}
    told = errors["readings"]
    assert told.startswith("unknown: no right to read other.alembic_enterprise_policy: connect as")
    assert errors == {
        "events": None,
        "lists": None,
        "readings": told,
        "readings_0": told,
        "readings_1": told,
    }
    text = " ".join(run(*arguments).output.split())
    assert text.count(f"policy {told}") == 3
    assert text.count("policy none") == 1


SHARDED = """
CREATE TABLE events (at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE SCHEMA other;
CREATE TABLE other.alembic_enterprise_policy (relation regclass PRIMARY KEY, policy jsonb NOT NULL);
CREATE TABLE other.lists (kind text) PARTITION BY LIST (kind);
CREATE TABLE other.readings (id bigint, at timestamptz NOT NULL) PARTITION BY HASH (id);
CREATE TABLE other.readings_0 PARTITION OF other.readings FOR VALUES WITH (MODULUS 2, REMAINDER 0)
    PARTITION BY RANGE (at);
CREATE TABLE other.readings_1 PARTITION OF other.readings FOR VALUES WITH (MODULUS 2, REMAINDER 1)
    PARTITION BY RANGE (at);
CREATE TABLE other.later PARTITION OF other.readings_1
    FOR VALUES FROM ('2026-11-01') TO ('2026-12-01') PARTITION BY RANGE (at)"""
"""A table by hash whose shards are by time, beside a registry; and others that have no policy."""
