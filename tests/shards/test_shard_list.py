"""What `shards list` knows of sharded tables."""

import pytest
from autogenerate import run_sql
from sharded import filled, half_detached, run, shard, table
from sqlalchemy import Connection, Engine, event

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.shards.inspection import look
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.shards.status import Status
from alembic_enterprise.sql import Name

ORDERS = Name("public", "orders")


def one(connection: Connection, name: str = "orders") -> Status:
    [found] = look(connection, [name])
    connection.rollback()
    return found


def test_a_table_with_its_rows_and_skew(connection: Connection) -> None:
    table(connection, count=4)
    filled(connection, ORDERS, "n", 4000)
    known = one(connection)
    assert known.coverage == 1
    assert not known.holes
    assert not known.growing
    assert known.rows == 4000
    assert [item.shard.name.name[-1] for item in known.shards] == list("0123")
    assert [item.skew for item in known.shards] == [
        (item.rows or 0) / 1000 for item in known.shards
    ]
    assert known.skew == max(item.skew or 0 for item in known.shards)
    assert known.size == sum(item.size for item in known.shards) > 0


def test_while_it_grows_a_shard_that_is_split_has_half_a_share(connection: Connection) -> None:
    table(connection, held=[Class(2, 0), Class(4, 1), Class(4, 3)])
    filled(connection, ORDERS, "n", 4000)
    known = one(connection)
    assert known.coverage == 1
    assert (known.table.count, known.growing) == (4, True)
    assert {item.shard.held: item.skew for item in known.shards} == {
        item.shard.held: pytest.approx((item.rows or 0) * item.shard.held.modulus / 4000)
        for item in known.shards
    }
    assert all(0.9 < (item.skew or 0) < 1.1 for item in known.shards)


def test_a_hole_is_known_and_the_others_share_its_rows(connection: Connection) -> None:
    table(connection, held=[Class(4, 0), Class(4, 3)])
    run(connection, "INSERT INTO orders_shard_0 SELECT 1 WHERE false", "ANALYZE")
    known = one(connection)
    assert (float(known.coverage), known.holes) == (0.5, [Class(4, 1), Class(4, 2)])
    assert known.skew is None  # of no rows


def test_a_shard_that_was_never_analyzed_leaves_skew_unknown(connection: Connection) -> None:
    table(connection, count=2)
    filled(connection, ORDERS, "n", 100)
    run(connection, "DROP TABLE orders_shard_1")
    shard(connection, ORDERS, Class(2, 1))
    run(connection, "INSERT INTO orders SELECT n FROM generate_series(1, 100) AS n")
    known = one(connection)
    assert (known.unknown, known.skew) == (1, None)


def test_a_half_detached_shard_takes_no_rows(connection: Connection) -> None:
    table(connection, count=4)
    half_detached(connection, "orders_shard_2")
    known = one(connection)
    assert [item.pending for item in known.shards] == [False, False, True, False]
    assert (float(known.coverage), known.holes) == (0.75, [Class(4, 2)])


def test_a_table_without_shards(connection: Connection) -> None:
    table(connection, held=[])
    known = one(connection)
    assert known.coverage == 0
    assert known.table.count == len(known.holes) == len(known.shards) == 0


def test_shards_that_are_partitioned_themselves_count_their_leaves(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE TABLE orders (tenant_id bigint) PARTITION BY HASH (tenant_id)",
        "CREATE TABLE orders_shard_0 PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        " PARTITION BY HASH (tenant_id)",
        "CREATE TABLE leaf PARTITION OF orders_shard_0 FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    filled(connection, ORDERS, "n", 10)
    [known] = look(connection)
    [only] = known.shards
    assert (only.shard.kind, only.rows, only.skew) == ("partitioned table", 10, 1.0)
    connection.rollback()
    assert one(connection, "orders_shard_0").rows == 10  # nested ones are listed by name only


def test_names_that_hurt(connection: Connection) -> None:
    run_sql(connection, 'CREATE SCHEMA "Mixed Case"')
    table(connection, 'we"ird', 2, schema="Mixed Case", columns='"a b" int', key='"a b"')
    filled(connection, Name("Mixed Case", 'we"ird'), "n", 100)
    known = one(connection, 'Mixed Case.we"ird')
    assert (known.table.key.columns, known.rows) == (("a b",), 100)


def test_a_table_that_is_not_there_is_an_error(connection: Connection) -> None:
    table(connection)
    with pytest.raises(ConfigurationError, match=r"is called lines: there is public\.orders"):
        look(connection, ["lines"])


def test_looking_takes_as_many_round_trips_for_many_tables(engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *values: statements.append(values[2]))
    numbers: list[int] = []
    for name in ("a", "b"):
        with engine.connect() as connection:
            table(connection, name, 8)
            statements.clear()
            look(connection)
            numbers.append(len(statements))
    assert numbers[0] == numbers[1] < 10


def test_it_only_reads(connection: Connection) -> None:
    look(connection)
    assert connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on"
