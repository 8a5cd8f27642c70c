"""The commands of `shards`: golden text, JSON with its schema, exit codes, errors."""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from console import Outcome
from golden_files import golden
from samples import execute
from sqlalchemy import Engine, NullPool, create_engine

from alembic_enterprise.cli.output import width

SHARDED = r"""
CREATE SCHEMA "Mixed Case";
CREATE TABLE orders (tenant_id bigint, id bigint, PRIMARY KEY (tenant_id, id))
    PARTITION BY HASH (tenant_id);
DO $$ BEGIN FOR n IN 0..3 LOOP EXECUTE format(
    'CREATE TABLE orders_shard_%s PARTITION OF orders FOR VALUES WITH (MODULUS 4, REMAINDER %s)'
    ' WITH (autovacuum_enabled = off)', n, n); EXECUTE
    format('COMMENT ON TABLE orders_shard_%s IS %L', n,
           'alembic-enterprise: partition of public.orders'); END LOOP; END $$;
INSERT INTO orders SELECT CASE WHEN n % 2 = 0 THEN 1 ELSE n END, n FROM generate_series(1, 8000) n;
CREATE TABLE "Mixed Case"."we""ird" ("заказ" text, day date) PARTITION BY HASH ("заказ", day);
CREATE TABLE "Mixed Case".half PARTITION OF "Mixed Case"."we""ird"
    FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE elsewhere_with_a_name_that_is_far_too_long_for_a_column_of_this
    PARTITION OF "Mixed Case"."we""ird" FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE nothing (id int) PARTITION BY HASH (lower(id::text));
CREATE TABLE many (id int) PARTITION BY HASH (id);
DO $$ BEGIN FOR n IN 0..39 LOOP EXECUTE format(
    'CREATE TABLE many_shard_%s PARTITION OF many FOR VALUES WITH (MODULUS 40, REMAINDER %s)',
    n, n); END LOOP; END $$;
ANALYZE"""

PLAIN = """
CREATE TABLE lines (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL, region text, body text, data jsonb);
INSERT INTO lines SELECT n, 1 + n % 100, CASE WHEN n % 4 > 0 THEN 'region ' || n % 9 END,
    repeat('x', 300) FROM generate_series(1, 20000) AS n;
ANALYZE lines"""


def as_json(command: str, outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(outcome.output)
    schema = files("alembic_enterprise").joinpath(f"schemas/shards-{command}.schema.json")
    checked: Any = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    checked.validate(document)
    return document


@pytest.fixture(scope="module")
def shop(shared_database: Callable[..., str]) -> Engine:
    """A database with sharded tables and a plain one, which the tests do not change."""
    engine = create_engine(shared_database(), poolclass=NullPool)
    execute(engine, SHARDED)
    execute(engine, PLAIN)
    return engine


@pytest.fixture
def shop_url(shop: Engine) -> str:
    return shop.url.render_as_string(hide_password=False)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("command", ["list", "check", "advise lines", "locate orders tenant_id=42"])
def test_the_text_is_golden(
    run: Callable[..., Outcome], shop_url: str, command: str, encoding: str
) -> None:
    outcome = run("shards", *command.split(), "--url", shop_url, encoding=encoding)
    assert (outcome.code, outcome.error) == (2 if command == "check" else 0, "")
    if encoding == "utf-8" and command != "check":  # escapes and findings are longer
        assert max(map(width, outcome.output.splitlines())) <= 80
    golden(f"shards_{command.split(maxsplit=1)[0]}_{encoding}.txt", outcome.output)


def test_a_table_that_is_named_shows_every_shard(
    run: Callable[..., Outcome], shop_url: str
) -> None:
    assert "and 8 more: name the table" in run("shards", "list", "--url", shop_url).output
    text = run("shards", "list", "many", "--url", shop_url).output
    assert "many_shard_39" in text
    assert "more: name" not in text


def test_shards_that_were_never_analyzed_are_counted_apart(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    execute(engine, "CREATE TABLE t (k int) PARTITION BY HASH (k)")
    for number in (0, 1):
        create = f"CREATE TABLE t_{number} PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER "
        execute(engine, f"{create}{number}) WITH (autovacuum_enabled = off)")
    execute(engine, "INSERT INTO t SELECT generate_series(1, 100)")
    assert " kB, 2 shards never analyzed\n" in run("shards", "list", "--url", database_url).output
    execute(engine, "ANALYZE t_0")
    text = run("shards", "list", "--url", database_url).output
    assert re.search(r" kB, about \d+ rows, 1 shard never analyzed\n", text)


def test_a_list_as_json(run: Callable[..., Outcome], shop_url: str) -> None:
    arguments = ["shards", "list", "--format", "json", "--url", shop_url]
    tables = {item["name"]: item for item in as_json("list", run(*arguments))["tables"]}
    assert list(tables) == ['we"ird', "many", "nothing", "orders"]
    weird = tables['we"ird']
    assert (weird["coverage"], weird["moduli"], weird["growing"]) == (0.75, [2, 4], True)
    assert weird["holes"] == [{"modulus": 4, "remainder": 3}]
    assert weird["types"] == ["text", "date"]
    orders = tables["orders"]
    assert (orders["count"], orders["rows"], len(orders["shards"])) == (4, 8000, 4)
    assert orders["skew"] == max(item["skew"] for item in orders["shards"]) > 1.5
    assert (tables["nothing"]["key"], tables["nothing"]["shards"]) == ([None], [])


def test_a_check_as_json(run: Callable[..., Outcome], shop_url: str) -> None:
    outcome = run("shards", "check", "--format", "json", "--url", shop_url)
    document = as_json("check", outcome)
    assert outcome.code == document["exit_code"] == 2
    [missing, *_] = document["findings"]
    assert missing["operations"] == [
        {
            "name": "create_hash_shards",
            "arguments": {
                "table": 'we"ird',
                "count": 4,
                "remainders": [3],
                "schema": "Mixed Case",
            },
        }
    ]


def test_a_check_of_what_is_in_order(run: Callable[..., Outcome], shop_url: str) -> None:
    outcome = run("shards", "check", "many", "--url", shop_url)
    assert outcome == Outcome(0, "Every shard is in its place.\n", "")
    document = as_json(
        "check", run("shards", "check", "many", "--format", "json", "--url", shop_url)
    )
    assert document == {"format_version": 1, "exit_code": 0, "tables": 1, "findings": []}


def test_a_check_of_a_database_without_shards(
    run: Callable[..., Outcome], database_url: str
) -> None:
    outcome = run("shards", "check", "--url", database_url)
    told = "No table here is sharded, so nothing was checked. Is it the right database?\n"
    assert outcome == Outcome(0, told, "")
    outcome = run("shards", "check", "--format", "json", "--url", database_url)
    assert as_json("check", outcome)["tables"] == 0


def test_advice_as_json(run: Callable[..., Outcome], shop_url: str) -> None:
    counts = ["--count", "16", "--count", "4"]
    outcome = run("shards", "advise", "lines", *counts, "--format", "json", "--url", shop_url)
    document = as_json("advise", outcome)
    assert (document["rows"], document["sampled"]) == (20000, 20000)
    assert document["refused"] == {"body": "text of up to 300 bytes", "data": "jsonb"}
    assert [item["column"] for item in document["candidates"]] == ["id", "tenant_id", "region"]
    assert all(
        [item["count"] for item in candidate["predictions"]] == [4, 16]
        for candidate in document["candidates"]
    )
    tenant = document["candidates"][1]
    assert (tenant["distinct"], tenant["hottest_share"]) == (100, 0.01)
    assert tenant["keys_to_change"] == [{"name": "lines_pkey", "columns": ["id"], "primary": True}]


def test_advice_from_a_sample(run: Callable[..., Outcome], shop_url: str) -> None:
    arguments = ["--sample", "2000", "--format", "json", "--url", shop_url]
    document = as_json("advise", run("shards", "advise", "lines", *arguments))
    assert document["rows"] == 20000
    assert 1500 < document["sampled"] < 2500


def test_there_is_nothing_to_advise_on_without_rows(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    execute(engine, "CREATE TABLE lines (id int)")
    text = run("shards", "advise", "lines", "--url", database_url).output
    assert "There are no rows to predict from." in text
    as_json("advise", run("shards", "advise", "lines", "--format", "json", "--url", database_url))


def test_few_rows_are_said_to_be_too_few(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    execute(engine, "CREATE TABLE lines (id int); INSERT INTO lines VALUES (1)")
    text = run("shards", "advise", "lines", "--url", database_url).output
    assert "id (integer): too few rows: 1 sampled, 100 a shard needed\n" in text


@pytest.mark.parametrize("name", ["orders", "public.orders", 'public."orders"', '"orders"'])
def test_a_table_may_be_named_as_in_sql(
    run: Callable[..., Outcome], shop_url: str, name: str
) -> None:
    for arguments in (["locate", name, "tenant_id=42"], ["list", name], ["advise", name]):
        assert "public.orders" in run("shards", *arguments, "--url", shop_url).output
    for weird in ('"Mixed Case"."we""ird"', 'Mixed Case."we""ird"', 'Mixed Case.we"ird', 'we"ird'):
        assert 'Mixed Case.we"ird' in run("shards", "list", weird, "--url", shop_url).output


def test_one_table_is_spoken_of_as_one(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    execute(engine, "CREATE TABLE lines (id int) PARTITION BY HASH (id)")
    error = run("shards", "list", "orders", "--url", database_url).error
    assert error == "Error: no sharded table is called orders: there is public.lines\n"


def test_an_empty_database(run: Callable[..., Outcome], database_url: str) -> None:
    text = run("shards", "list", "--url", database_url).output
    assert text == "Sharded tables\n\nThere are none.\n"
    outcome = run("shards", "list", "--format", "json", "--url", database_url)
    assert as_json("list", outcome)["tables"] == []
    assert run("shards", "check", "--url", database_url).code == 0


def test_what_is_left_of_the_first_equals_sign_is_the_column(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    execute(engine, "CREATE TABLE t (k text, n int) PARTITION BY HASH (k, n)")
    execute(engine, "CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    outcome = run("shards", "locate", "t", "k=a=b", "--null", "n", "--url", database_url)
    assert "public.t  k = a=b, n = NULL\n" in outcome.output
    outcome = run("shards", "locate", "t", "k=", "n=1", "--url", database_url)
    assert "k = , n = 1\n" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("locate orders 42", "'42' is not COLUMN=VALUE: write COLUMN=42, or --null COLUMN\n"),
        ("locate orders id=1 id=2", "id is given twice: give each column once"),
        ("locate orders id=1 --null id", "id is given twice"),
        ("locate orders id=1", "id is not in the key of public.orders: write tenant_id=VALUE"),
        ("locate orders tenant_id=x", 'invalid input syntax for type bigint: "x": write the'),
        ("locate lines id=1", "no sharded table is called lines: there are Mixed Case"),
        ("list lines", "no sharded table is called lines"),
        ("check lines", "no sharded table is called lines"),
        ("advise nowhere", "no table is called nowhere"),
        ("advise orders --count 0", "0 is not in the range 1<=x<=1024"),
        ("advise orders --sample 0", "0 is not in the range x>=1"),
    ],
)
def test_errors_end_in_the_next_step(
    run: Callable[..., Outcome], shop_url: str, arguments: str, words: str
) -> None:
    outcome = run("shards", *arguments.split(), "--url", shop_url)
    assert (outcome.code, outcome.output) == (1, "")
    assert words in outcome.error


def test_names_do_not_steer_the_terminal(
    run: Callable[..., Outcome], engine: Engine, database_url: str
) -> None:
    execute(engine, 'CREATE TABLE "a\x1b[2J" ("k\x1b[2J" text) PARTITION BY HASH ("k\x1b[2J")')
    execute(
        engine,
        'CREATE TABLE "s\x1b[2J" PARTITION OF "a\x1b[2J" FOR VALUES WITH (MODULUS 1, REMAINDER 0)',
    )
    execute(engine, 'INSERT INTO "a\x1b[2J" VALUES (chr(27))')
    for command in (["list"], ["check"], ["advise", "a\x1b[2J"]):
        assert "\x1b" not in run("shards", *command, "--url", database_url).output
    located = run("shards", "locate", "a\x1b[2J", "k\x1b[2J=\x1b", "--url", database_url)
    assert "k\\x1b[2J = \\x1b\n" in located.output


def test_it_gives_up_on_a_locked_table(
    run: Callable[..., Outcome], shop: Engine, shop_url: str
) -> None:
    with shop.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE orders_shard_3")
        outcome = run("shards", "list", "--url", shop_url)
    assert outcome.code == 1
    assert "lock timeout. In the way: pid " in outcome.error
    assert "(locks orders_shard_3). Run this again" in outcome.error


def test_what_is_skewed_is_red_on_a_terminal(
    in_terminal: Callable[..., str], shop_url: str
) -> None:
    text = in_terminal(["shards", "list", "orders", "--url", shop_url])
    assert text.count("\x1b[31m") == 1
    assert "\x1b[31m━━━━━━━━━━│━━━━▸" in text
