"""`shards locate`: the shard that is computed, and the one that the server says."""

from collections.abc import Iterator
from typing import LiteralString

import pytest
from autogenerate import run_sql
from sharded import encoded, run, table
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.errors import ConfigurationError, PlacementError
from alembic_enterprise.shards import catalog
from alembic_enterprise.shards.hashing.key_types import row_hash
from alembic_enterprise.shards.location import agreed, locate
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name

SAMPLES = [
    ("smallint", "-7"),
    ("integer", "42"),
    ("bigint", "9007199254740993"),
    ("text", ""),
    ("text", "it's: 100 % ünïcode=😀"),
    ("varchar(5)", "abc"),
    ("char(5)", "ab"),
    ("uuid", "6F9619FF-8B86-D011-B42D-00C04FC964FF"),
    ("boolean", "yes"),
    ("bytea", r"\xdeadbeef"),
    ("date", "2026-11-21"),
    ("date", "infinity"),
    ("timestamp", "2026-11-21 12:00:00.123456"),
    ("timestamp(0)", "2026-11-21 12:00:00.6"),
    ("timestamptz", "2026-11-21 12:00+05:30"),
    ("timestamptz", "-infinity"),
    ("numeric", "123456789012345678901234567890.5"),
    ("numeric(10, 2)", "1.005"),
    ("numeric", "NaN"),
]


@pytest.mark.parametrize(("kind", "text"), SAMPLES)
def test_the_row_is_where_it_says(connection: Connection, kind: LiteralString, text: str) -> None:
    table(connection, count=8, columns=f"key {kind}", key="key")
    found = locate(connection, "orders", {"key": text})
    connection.rollback()
    assert found.refusal is None
    connection.exec_driver_sql("INSERT INTO orders VALUES (%s)", (text,))
    place = connection.exec_driver_sql("SELECT tableoid::regclass::text FROM orders").scalar_one()
    assert found.shard.name.name == place


@pytest.mark.parametrize(
    "settings",
    ["-c DateStyle=SQL,DMY -c TimeZone=Asia/Kolkata", "-c bytea_output=escape"],
)
def test_the_settings_of_the_session_do_not_matter(
    connection: Connection, database_url: str, settings: str
) -> None:
    columns = "tenant_id bytea, at timestamptz"
    table(connection, count=64, columns=columns, key="tenant_id, at")
    key = {"tenant_id": r"\x00ff", "at": "2026-11-21T12:00:00.5Z"}
    plain = locate(connection, "orders", key)
    url = make_url(database_url).update_query_dict({"options": settings})
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as other:
        assert locate(other, "orders", key) == plain


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_any_driver_will_do(connection: Connection, database_url: str, driver: str) -> None:
    table(connection, count=64, columns="a uuid, b numeric, c date", key="a, b, c")
    key = {"a": "6f9619ff-8b86-d011-b42d-00c04fc964ff", "b": "1.50", "c": "infinity"}
    engine = create_engine(
        make_url(database_url).set(drivername=f"postgresql+{driver}"), poolclass=NullPool
    )
    with engine.connect() as other:
        assert locate(other, "orders", key) == locate(connection, "orders", key)


def test_composite_keys_in_any_order_and_null(connection: Connection) -> None:
    columns = "tenant_id bigint, region text"
    table(connection, count=16, columns=columns, key="tenant_id, region")
    one = locate(connection, "orders", {"region": None, "tenant_id": "42"})
    other = locate(connection, "orders", {"tenant_id": "42", "region": None})
    assert one == other
    assert list(one.key.items()) == [("tenant_id", 42), ("region", None)]
    empty = locate(connection, "orders", {"tenant_id": "42", "region": ""})
    assert empty.shard != one.shard


def test_values_are_shown_as_the_column_keeps_them(connection: Connection) -> None:
    table(connection, columns="amount numeric(10, 2)", key="amount")
    assert str(locate(connection, "orders", {"amount": "1.005"}).key["amount"]) == "1.01"


def test_names_that_hurt_and_a_table_that_grows(connection: Connection) -> None:
    run_sql(connection, 'CREATE SCHEMA "Mixed Case"')
    table(
        connection,
        'we"ird',
        schema="Mixed Case",
        columns='"a ""b" int',
        key='"a ""b"',
        held=[Class(2, 0), Class(4, 1), Class(4, 3)],
    )
    for value in range(20):
        found = locate(connection, 'we"ird', {'a "b': str(value)})
        assert found.refusal is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tenant_id": "abc"}, 'type bigint: "abc": write the values as an INSERT would'),
        ({"tenant_id": "9" * 30}, "out of range for type bigint"),
        ({"tenant": "1"}, "tenant is not in the key of public.orders: write tenant_id=VALUE"),
        ({}, "the key lacks tenant_id: write tenant_id=VALUE, or --null COLUMN"),
    ],
)
def test_what_is_no_key_is_told(
    connection: Connection, values: dict[str, str | None], words: str
) -> None:
    table(connection)
    with pytest.raises(ConfigurationError, match=words):
        locate(connection, "orders", values)


def test_a_text_that_is_too_long_is_no_value(connection: Connection) -> None:
    table(connection, columns="region varchar(3)", key="region")
    with pytest.raises(ConfigurationError, match="too long for type character varying"):
        locate(connection, "orders", {"region": "abcd"})


def test_one_name_in_two_schemas_is_asked_back(connection: Connection) -> None:
    run_sql(connection, "CREATE SCHEMA sales")
    table(connection)
    table(connection, schema="sales")
    with pytest.raises(ConfigurationError, match=r"write one of public\.orders, sales\.orders"):
        locate(connection, "orders", {"tenant_id": "1"})
    assert locate(connection, "sales.orders", {"tenant_id": "1"}).table.schema == "sales"


def test_a_key_without_a_shard_is_an_error(connection: Connection) -> None:
    table(connection, held=[Class(2, 0)])
    values = [str(value) for value in range(10)]
    even = {value for value in values if row_hash(["bigint"], [int(value)]) % 2 == 0}
    assert locate(connection, "orders", {"tenant_id": min(even)}).shard.held == Class(2, 0)
    odd = min(set(values) - even)
    with pytest.raises(PlacementError, match="no partition takes this key"):
        locate(connection, "orders", {"tenant_id": odd})


def test_where_it_cannot_be_computed_the_server_answers(connection: Connection) -> None:
    run_sql(connection, "CREATE TYPE mood AS ENUM ('glad', 'sad')")
    table(connection, count=1, columns="mood mood", key="mood")
    found = locate(connection, "orders", {"mood": "sad"})
    assert found.shard.name == Name("public", "orders_shard_0")
    assert "enum" in str(found.refusal)


def test_a_day_that_python_does_not_have_is_placed_by_the_server(connection: Connection) -> None:
    table(connection, count=1, columns="at date", key="at")
    found = locate(connection, "orders", {"at": "0044-03-15 BC"})
    assert found.shard.name == Name("public", "orders_shard_0")
    assert found.key == {"at": "0044-03-15 BC"}
    assert "is beyond the years 1 to 9999" in str(found.refusal)


def test_where_it_cannot_be_computed_a_hole_is_an_error_too(connection: Connection) -> None:
    run_sql(connection, "CREATE TYPE mood AS ENUM ('glad', 'sad')")
    table(connection, columns="mood mood", key="mood", held=[])
    with pytest.raises(PlacementError, match="no shard takes this key"):
        locate(connection, "orders", {"mood": "sad"})


def test_an_expression_cannot_be_located(connection: Connection) -> None:
    table(connection, count=1, columns="email text", key="lower(email)")
    with pytest.raises(ConfigurationError, match="sharded by an expression"):
        locate(connection, "orders", {"email": "a@b"})


def test_a_server_that_disagrees_is_believed(connection: Connection) -> None:
    table(connection)
    live = catalog.read(connection)[Name("public", "orders")]
    with pytest.raises(PlacementError, match=r"says public\.orders_shard_1, and public\.x was"):
        agreed(live, Name("public", "x"), [Class(4, 1)])
    assert agreed(live, Name("public", "orders_shard_1"), [Class(4, 1)]) == live.shards[1]


def test_it_only_reads(connection: Connection, engine: Engine) -> None:
    table(connection)
    with engine.connect() as other:
        locate(other, "orders", {"tenant_id": "1"})
        with pytest.raises(DBAPIError, match="read-only transaction"):
            other.exec_driver_sql("CREATE TABLE no ()")


def test_a_role_without_rights_on_the_table_may_ask(
    connection: Connection, database_url: str, role: str
) -> None:
    table(connection)
    run(connection, "REVOKE ALL ON orders FROM PUBLIC")
    url = make_url(database_url).update_query_dict({"options": f"-c role={role}"})
    with create_engine(url, poolclass=NullPool).connect() as other:
        assert locate(other, "orders", {"tenant_id": "1"}).refusal is None


@pytest.fixture
def ascii_connection(server_url: str) -> Iterator[Connection]:
    """A connection to a database of encoding SQL_ASCII, which takes any byte for a character."""
    with encoded(server_url, "SQL_ASCII") as connection:
        yield connection


def test_a_key_of_any_bytes_is_found_by_the_server(ascii_connection: Connection) -> None:
    run_sql(
        ascii_connection,
        "CREATE TABLE t (k text) PARTITION BY HASH (k)",
        *(
            f"CREATE TABLE t_{n} PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER {n})"
            for n in range(4)
        ),
        "INSERT INTO t VALUES ('été')",
    )
    found = ascii_connection.exec_driver_sql("SELECT tableoid::regclass::text FROM t").scalar_one()
    ascii_connection.rollback()
    assert locate(ascii_connection, "t", {"k": "été"}).shard.name.name == found
