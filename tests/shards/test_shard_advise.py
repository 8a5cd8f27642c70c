"""Predictions of `shards advise`, against shards that are really made and filled."""

import sys
from collections import Counter
from typing import Any, LiteralString

import pytest
from autogenerate import run_sql
from psycopg.sql import SQL
from sharded import counts, run, table
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.shards import prediction, sample
from alembic_enterprise.shards.prediction import Candidate, Spread, candidates, spread
from alembic_enterprise.sql import Name

ROWS = 40_000

UNIFORM: LiteralString = "n"
# The inverse of Zipf's distribution function with exponent 1, over 10,000 keys.
ZIPF: LiteralString = "floor(exp((n * 0.6180339887 % 1)::float8 * ln(10000)))::bigint"
# One tenant has a fifth of all rows, ten have a half, and 2,000 small ones have the rest.
TENANTS: LiteralString = (
    "CASE WHEN n % 10 < 2 THEN 1 WHEN n % 10 < 7 THEN 2 + n % 11 ELSE 100 + n % 2003 END"
)


def plain(
    connection: Connection, values: LiteralString, kind: LiteralString = "bigint", rows: int = ROWS
) -> None:
    """A plain table `source` with one column."""
    run(
        connection,
        SQL("CREATE TABLE source (tenant_id {})").format(SQL(kind)),
        SQL("INSERT INTO source SELECT {} FROM generate_series(1, {}) AS n").format(
            SQL(values),
            rows,
        ),
        "ANALYZE source",
    )


def predicted(connection: Connection, rows: int = ROWS, *numbers: int) -> Candidate:
    found = sample.read(connection, "source", rows)
    connection.rollback()
    [candidate] = candidates(found, numbers or (8,))
    return candidate


def real(connection: Connection, count: int, kind: LiteralString = "bigint") -> list[int]:
    """Rows of each shard of a table that holds the rows of `source`."""
    table(connection, "orders", count, columns=f"tenant_id {kind}")
    run(connection, "INSERT INTO orders SELECT * FROM source")
    return counts(connection, Name("public", "orders"))


@pytest.mark.parametrize("count", [4, 32])
@pytest.mark.parametrize("values", [UNIFORM, ZIPF, TENANTS])
def test_the_whole_table_is_predicted_exactly(
    connection: Connection, values: LiteralString, count: int
) -> None:
    plain(connection, values)
    truth = real(connection, count)
    [only] = predicted(connection, ROWS, count).spreads
    assert only == Spread(count, min(truth), max(truth), ROWS / count)


@pytest.mark.parametrize("values", [UNIFORM, ZIPF, TENANTS])
def test_a_sample_predicts_skew_closely(connection: Connection, values: LiteralString) -> None:
    plain(connection, values)
    truth = real(connection, 8)
    candidate = predicted(connection, ROWS // 10)
    [only] = candidate.spreads
    assert only.skew == pytest.approx(max(truth) / (ROWS / 8), rel=0.1)
    hottest = connection.exec_driver_sql(
        "SELECT tenant_id, count(*) FROM source GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"
    ).one()
    assert candidate.share == pytest.approx(hottest[1] / ROWS, abs=0.01)
    if values != UNIFORM:
        assert candidate.hottest == hottest[0]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", "n % 1000 - 500"),
        ("text", "'tenant ' || n % 1000"),
        ("varchar(9)", "'ünï' || n % 1000"),
        ("char(9)", "'t' || n % 1000"),
        ("uuid", "md5((n % 1000)::text)::uuid"),
        ("boolean", "n % 3 = 0"),
        ("bytea", "decode(md5((n % 1000)::text), 'hex')"),
        ("date", "date '2026-01-01' + n % 1000"),
        ("timestamp", "timestamp '2026-01-01' + n % 1000 * interval '1.5 s'"),
        ("timestamptz", "timestamptz '2026-01-01Z' + n % 1000 * interval '1.5 s'"),
        ("numeric(12, 3)", "(n % 1000) / 8.0"),
        ("date", "CASE WHEN n % 5 > 0 THEN date '2026-01-01' + n % 1000 ELSE 'infinity' END"),
        ("bigint", "CASE WHEN n % 5 > 0 THEN n END"),
    ],
)
def test_every_type_is_predicted_exactly(
    connection: Connection, kind: LiteralString, values: LiteralString
) -> None:
    plain(connection, values, kind, rows=3000)
    truth = real(connection, 8, kind)
    [only] = predicted(connection).spreads
    assert (only.least, only.most) == (min(truth), max(truth))


@pytest.mark.parametrize("numpy", [True, False])
def test_numpy_makes_no_difference(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, numpy: bool
) -> None:
    plain(connection, TENANTS, rows=2000)
    truth = real(connection, 8)
    if not numpy:
        monkeypatch.setitem(sys.modules, "numpy", None)
        monkeypatch.delitem(sys.modules, "alembic_enterprise.shards.vectorised", raising=False)
        monkeypatch.delattr("alembic_enterprise.shards.vectorised", raising=False)
    [only] = predicted(connection).spreads
    assert (only.least, only.most) == (min(truth), max(truth))


def test_a_sharded_table_is_predicted_by_another_count(connection: Connection) -> None:
    plain(connection, TENANTS, rows=5000)
    real(connection, 4)
    found = sample.read(connection, "orders")
    connection.rollback()
    [candidate] = candidates(found, (16, 4))
    run(connection, "DROP TABLE orders")
    truth = real(connection, 16)
    assert [item.count for item in candidate.spreads] == [4, 16]
    assert candidate.spreads[1].most == max(truth)


def test_the_same_table_gives_the_same_sample(connection: Connection) -> None:
    plain(connection, ZIPF)
    assert predicted(connection, 1000) == predicted(connection, 1000)


def test_a_big_table_is_sampled_by_blocks(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(connection, UNIFORM)
    monkeypatch.setattr(sample, "SCANNED", 1000)
    found = sample.read(connection, "source", 10_000)
    assert 5_000 < found.sampled < 15_000
    assert found.rows == ROWS
    blocks = connection.exec_driver_sql("SELECT relpages FROM pg_class WHERE relname = 'source'")
    assert found.sampled % (ROWS // blocks.scalar_one()) < ROWS // 10


# --- Which keys


SHOP = """
CREATE TABLE source (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    "Reg ion" text,
    number bigint NOT NULL,
    note text,
    state mood,
    data jsonb,
    total numeric GENERATED ALWAYS AS (number * 2) STORED,
    name text COLLATE loose,
    CONSTRAINT by_number UNIQUE (tenant_id, number) INCLUDE ("Reg ion"))"""


@pytest.fixture
def shop(connection: Connection) -> Connection:
    """A connection to a database with a table of many kinds of columns."""
    run_sql(
        connection,
        "CREATE TYPE mood AS ENUM ('glad', 'sad')",
        'CREATE COLLATION loose FROM "C"',
        # What CREATE COLLATION allows for ICU only, which not every server has.
        "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'",
        SHOP,
        "CREATE UNIQUE INDEX source_lower ON source (lower(note), tenant_id)",
        'INSERT INTO source (tenant_id, "Reg ion", number, note)'
        " SELECT n % 500, CASE WHEN n % 3 > 0 THEN 'r' || n % 7 END, n, repeat('x', 300) || n"
        " FROM generate_series(1, 5000) AS n",
        "ANALYZE source",
    )
    return connection


def test_columns_and_what_keeps_them_from_being_a_key(shop: Connection) -> None:
    found = sample.read(shop, "source")
    assert {item.name: item.nullable for item in found.columns} == {
        "id": False,
        "tenant_id": False,
        "Reg ion": True,
        "number": False,
    }
    assert found.refused == {
        "note": "text of up to 304 bytes",
        "state": "enum",
        "data": "jsonb",
        "total": "generated",
        "name": "nondeterministic collation",
    }


def test_text_in_another_encoding_is_no_key() -> None:
    facts = sample.Facts(enum=False, generated=False, nondeterministic=False, unicode=False)
    assert sample.refusal("text", facts) == "text that is not in UTF8"
    assert sample.refusal("bytea", facts) is None


def test_the_most_useful_key_comes_first(shop: Connection) -> None:
    found = candidates(sample.read(shop, "source"), (4, 8))
    assert [(item.column.name, item.counts) for item in found] == [
        ("tenant_id", [4, 8]),
        ("id", [4, 8]),
        ("number", [4, 8]),
        ("Reg ion", []),
    ]
    lacking = {item.column.name: [key.name for key in item.lacking] for item in found}
    assert lacking["tenant_id"] == ["source_pkey"]
    assert lacking["Reg ion"] == ["source_pkey", "by_number", "source_lower"]  # INCLUDE is not it
    assert lacking["number"] == ["source_pkey", "source_lower"]
    assert lacking["id"] == ["by_number", "source_lower"]
    hot = found[-1]
    assert (hot.hottest, round(hot.share, 2), hot.distinct) == (None, 0.33, 8)


def test_a_domain_is_the_type_below_it(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE DOMAIN number AS bigint",
        "CREATE DOMAIN tenant AS number",
        "CREATE TABLE source (tenant_id tenant)",
        "INSERT INTO source SELECT generate_series(1, 1000)",
    )
    assert predicted(connection).column.type == "bigint"


def test_an_empty_table_has_candidates_without_counts(connection: Connection) -> None:
    plain(connection, UNIFORM, rows=0)
    candidate = predicted(connection)
    assert (candidate.distinct, candidate.share, candidate.counts) == (0, 0, [])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({0: 1, 1: 1, 2: 1, 3: 1}, Spread(4, 1, 1, 1.0)),
        ({0: 1, 4: 2, 8: 3}, Spread(4, 0, 6, 1.5)),
        ({}, Spread(4, 0, 0, 0.0)),
        ({2**64 - 1: 5}, Spread(4, 0, 5, 1.25)),
    ],
)
def test_rows_go_where_their_hash_leaves_them(rows: dict[int, int], expected: Spread) -> None:
    assert spread(rows, 4) == expected


@pytest.mark.parametrize("numbers", [(3, 4, 10), (7, 11, 13, 17, 1023, 1024)])
def test_counts_need_not_divide_each_other(
    connection: Connection, numbers: tuple[int, ...]
) -> None:
    plain(connection, TENANTS, rows=3000)
    together = predicted(connection, ROWS, *numbers).spreads
    alone = tuple(predicted(connection, ROWS, number).spreads[0] for number in numbers)
    assert together == alone


@pytest.mark.parametrize(
    ("most", "mean", "sensible"),
    [(150, 100.0, True), (151, 100.0, False), (100, 99.0, False), (0, 0.0, False)],
)
def test_when_a_count_makes_sense(most: int, mean: float, sensible: bool) -> None:
    assert Spread(8, 0, most, mean).sensible is sensible


# --- Which table


def test_names_that_hurt(connection: Connection) -> None:
    run_sql(
        connection,
        'CREATE SCHEMA "Mixed Case"',
        'CREATE TABLE "Mixed Case"."rows=1 width=" ("we""ird" int)',
        'INSERT INTO "Mixed Case"."rows=1 width=" SELECT generate_series(1, 3000)',
    )
    found = sample.read(connection, "Mixed Case.rows=1 width=")
    assert (found.rows, list(found.values)) == (3000, ['we"ird'])


def test_a_table_that_is_not_there_or_there_twice(connection: Connection) -> None:
    with pytest.raises(ConfigurationError, match="no table is called source"):
        sample.read(connection, "source")
    connection.rollback()
    run_sql(
        connection,
        "CREATE SCHEMA sales",
        "CREATE TABLE source (id int)",
        "CREATE TABLE sales.source (id int)",
    )
    with pytest.raises(ConfigurationError, match=r"write one of public\.source, sales\.source"):
        sample.read(connection, "source")


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_any_driver_and_settings_will_do(
    connection: Connection, database_url: str, driver: str
) -> None:
    plain(connection, "timestamptz '2026-01-01Z' + n * interval '1 s'", "timestamptz", rows=1000)
    settings = "-c DateStyle=SQL,DMY -c TimeZone=Asia/Kolkata"
    url = make_url(database_url).set(drivername=f"postgresql+{driver}")
    engine = create_engine(url.update_query_dict({"options": settings}), poolclass=NullPool)
    with engine.connect() as other:
        assert predicted(other).spreads == predicted(connection).spreads


def test_it_only_reads(engine: Engine, connection: Connection) -> None:
    plain(connection, UNIFORM, rows=1)
    with engine.connect() as other:
        sample.read(other, "source")
        assert other.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on"


def test_the_document_scales_rows_to_the_table() -> None:
    column = prediction.Column("tenant_id", "bigint", nullable=False)
    values: Counter[Any] = Counter({1: 50, 2: 50})
    known = prediction.Sample(
        Name("public", "orders"), 1000, 100, [column], {"tenant_id": values}, {}, []
    )
    [item] = prediction.document(known, candidates(known, (1,)))["candidates"]
    assert item["predictions"] == [
        {"count": 1, "least": 1000, "mean": 1000, "most": 1000, "skew": 1.0}
    ]
