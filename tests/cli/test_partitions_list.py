"""`partitions list`, against golden text at a clock that stands still."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from console import Outcome
from golden_files import golden
from samples import every_kind, execute, managed, monthly
from sqlalchemy import Engine, event

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
        "Error: no partitioned table is called orders: there are public.events\n"
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


def test_a_default_partition_that_may_not_be_read_is_estimated(
    run: Callable[..., Outcome], engine: Engine, database_url: str, role: str
) -> None:
    every_kind(engine)
    execute(engine, "ANALYZE kinds_default")
    url = f"{database_url}&options=-c%20role%3D{role}"
    assert (
        "default     kinds_default: about 2 rows\n"
        in run("partitions", "list", "--url", url).output
    )


@pytest.mark.slow
def test_it_gives_up_on_a_locked_table(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    monthly(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE events_3")
        outcome = run("partitions", "list", "--url", database_url)
    assert outcome.code == 1
    assert "Another transaction holds a lock" in outcome.error


def test_round_trips_do_not_grow_with_tables(engine: Engine) -> None:
    monthly(engine)
    few = round_trips(engine)
    every_kind(engine)
    execute(engine, "CREATE TABLE stray PARTITION OF events DEFAULT")
    assert round_trips(engine) == few + 2  # those that count rows of default partitions


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
