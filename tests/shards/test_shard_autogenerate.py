"""What autogenerate proposes for sharded tables, and what it must never propose."""

from pathlib import Path
from typing import Any

import laws
import pytest
from alembic import command
from alembic.util import CommandError
from autogenerate import events, generate, partitions, project, run, run_sql, upgrade
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from alembic_enterprise import HashShards
from alembic_enterprise.shards import growth
from alembic_enterprise.shards.operations import CreateHashShards, SplitHashShard

STOCK = {"autogenerate_plugins": ["alembic.autogenerate.*"]}
"""Alembic without us."""

COLUMNS = "(id bigint, tenant integer, note text, PRIMARY KEY (id, tenant))"
"""The columns of `orders`."""

pytestmark = pytest.mark.filterwarnings("ignore:HashShards")


def orders(
    count: int, *items: Any, name: str = "orders", key: str = "tenant", schema: str | None = None
) -> MetaData:
    """Models with one sharded table."""
    metadata = MetaData()
    _table(metadata, name, HashShards(key, count=count), *items, schema=schema)
    return metadata


def _table(metadata: MetaData, name: str, *items: Any, **kw: Any) -> Table:
    return Table(
        name,
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("tenant", Integer, primary_key=True),
        Column("note", Text),
        *items,
        **kw,
    )


def bounds(connection: Connection, table: str = "orders") -> list[tuple[int, int]]:
    """Modulus and remainder of each shard, in order."""
    found = partitions(connection, table).values()
    pairs = [
        bound.removeprefix("WITH (modulus ").removesuffix(")").split(", remainder ")
        for bound in found
    ]
    return sorted((int(modulus), int(remainder)) for modulus, remainder in pairs)


def fill(connection: Connection) -> None:
    run_sql(connection, "INSERT INTO orders SELECT n, n, 'x' FROM generate_series(1, 500) AS n")


def count(connection: Connection) -> int:
    found = connection.exec_driver_sql("SELECT count(*) FROM orders").scalar_one()
    connection.commit()
    return int(found)


def tables(connection: Connection) -> list[int]:
    """What stays as long as no table is written anew."""
    found = connection.exec_driver_sql("SELECT oid FROM pg_class ORDER BY oid").scalars().all()
    connection.commit()
    return list(found)


# --- What must never appear


def test_alembic_alone_drops_live_shards(connection: Connection) -> None:
    """The reason for all this (alembic issue 539)."""
    upgrade(connection, orders(4, Index("ix", "note")))
    assert (
        generate(connection, orders(4, Index("ix", "note")), **STOCK).calls.count("drop_table") == 4
    )
    assert generate(connection, orders(4, Index("ix", "note"))).calls == []


def test_shards_kept_by_hand_are_left_alone(connection: Connection) -> None:
    """A model that says `postgresql_partition_by` alone declares nothing about its shards."""
    run_sql(
        connection,
        f"CREATE TABLE orders {COLUMNS} PARTITION BY HASH (tenant)",
        "CREATE TABLE one PARTITION OF orders FOR VALUES WITH (MODULUS 3, REMAINDER 0)",
        "CREATE TABLE two PARTITION OF orders FOR VALUES WITH (MODULUS 6, REMAINDER 1)",
        "CREATE INDEX only_here ON one (note)",
    )
    metadata = MetaData()
    _table(metadata, "orders", postgresql_partition_by="HASH (tenant)")
    assert generate(connection, metadata, **STOCK).calls.count("drop_table") == 2
    assert generate(connection, metadata).calls == []


def test_foreign_keys_to_a_sharded_table_compare_clean(connection: Connection) -> None:
    metadata = orders(4)
    Table(
        "notes",
        metadata,
        Column("order_id", BigInteger),
        Column("tenant", Integer),
        ForeignKeyConstraint(["order_id", "tenant"], ["orders.id", "orders.tenant"]),
    )
    upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []


# --- One change, one operation


def test_a_new_table_is_created_with_its_shards(connection: Connection) -> None:
    script = upgrade(connection, orders(8, Index("ix", "note")))
    assert script.calls == ["create_table", "create_index", "create_hash_shards"]
    assert list(partitions(connection, "orders")) == [f"orders_shard_{n}" for n in range(8)]
    assert bounds(connection) == [(8, n) for n in range(8)]
    assert generate(connection, orders(8, Index("ix", "note"))).calls == []
    run(connection, script.downgrade)
    assert connection.exec_driver_sql("SELECT to_regclass('orders')").scalar_one() is None


def test_a_table_in_another_schema(connection: Connection) -> None:
    run_sql(connection, 'CREATE SCHEMA "Odd Schema"')
    metadata = orders(4, name='we"ird %s :x', schema="Odd Schema")
    upgrade(connection, metadata, include_schemas=True)
    assert len(bounds(connection, '"Odd Schema"."we""ird %s :x"')) == 4
    assert generate(connection, metadata, include_schemas=True).calls == []


@pytest.mark.parametrize("more", [8, 12, 16, 20])
def test_more_shards_are_one_growth_that_keeps_rows_both_ways(
    connection: Connection, more: int
) -> None:
    upgrade(connection, orders(4))
    fill(connection)
    script = upgrade(connection, orders(more))
    assert script.calls == ["grow_hash_shards"]
    assert bounds(connection) == [(more, n) for n in range(more)]
    assert list(partitions(connection, "orders")) == sorted(
        f"orders_shard_{n}" for n in range(more)
    )
    assert count(connection) == 500
    assert generate(connection, orders(more)).calls == []
    run(connection, script.downgrade)
    assert bounds(connection) == [(4, n) for n in range(4)]
    assert count(connection) == 500
    assert generate(connection, orders(4)).calls == []


def test_a_growth_done_beforehand_leaves_the_operation_nothing_to_do(
    connection: Connection,
) -> None:
    upgrade(connection, orders(4))
    fill(connection)
    script = generate(connection, orders(8))
    for remainder in range(4):
        laws.apply(connection, [SplitHashShard("orders", 4, remainder)])
    before = laws.snapshot(connection)
    known = tables(connection)
    run(connection, script.upgrade)
    assert laws.snapshot(connection) == before
    assert tables(connection) == known, "no table was written anew"


def test_the_way_without_long_locks_is_told(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    run_sql(connection, 'CREATE SCHEMA "Odd Schema"')
    far = {"name": "we'ird", "schema": "Odd Schema"}
    upgrade(connection, orders(4, **far), include_schemas=True)
    assert caplog.messages == []
    generate(connection, orders(8, **far), include_schemas=True)
    [told] = caplog.messages
    assert told == (
        "Odd Schema.we'ird: grow_hash_shards copies its rows under ACCESS EXCLUSIVE, and nobody "
        "reads or writes it meanwhile. Where it is in use, run `alembic-enterprise shards grow "
        """'Odd Schema.we'"'"'ird' --to 8` before this migration, which finds nothing to do then"""
    )


def test_nothing_is_proposed_once_the_table_has_grown_online(
    connection: Connection, engine: Engine
) -> None:
    upgrade(connection, orders(4))
    script = generate(connection, orders(8))
    run_sql(
        connection,
        "CREATE INDEX ON orders (note)",
        "CREATE TABLE tenants (id integer PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(1, 500)",
        "ALTER TABLE orders ADD FOREIGN KEY (tenant) REFERENCES tenants, ADD CHECK (tenant > 0)",
        "GRANT SELECT ON orders TO PUBLIC",
        *(f"GRANT SELECT ON orders_shard_{number} TO PUBLIC" for number in range(4)),
    )
    fill(connection)
    assert growth.grow(engine, "orders", 8).problems == []
    models = orders(8)
    Table("tenants", models, Column("id", Integer, primary_key=True))
    assert "hash" not in generate(connection, models).upgrade
    known = tables(connection)
    run(connection, script.upgrade)
    assert tables(connection) == known, "no table was written anew"
    run(connection, script.downgrade)
    assert (bounds(connection), count(connection)) == ([(4, n) for n in range(4)], 500)


def test_a_missing_shard_is_one_repair(connection: Connection) -> None:
    upgrade(connection, orders(8))
    run_sql(connection, "DROP TABLE orders_shard_3, orders_shard_6")
    script = upgrade(connection, orders(8))
    assert script.calls == ["create_hash_shards"]
    assert "remainders=[3, 6]" in script.upgrade
    assert bounds(connection) == [(8, n) for n in range(8)]
    assert generate(connection, orders(8)).calls == []
    fill(connection)
    run(connection, script.downgrade)
    assert bounds(connection) == [(8, n) for n in range(8)], "another database had them all along"


def test_a_missing_shard_of_a_table_to_grow_is_repaired_first(connection: Connection) -> None:
    upgrade(connection, orders(4))
    run_sql(connection, "DROP TABLE orders_shard_1")
    script = upgrade(connection, orders(8))
    assert script.calls == ["create_hash_shards", "grow_hash_shards"]
    assert bounds(connection) == [(8, n) for n in range(8)]
    run(connection, script.downgrade)
    assert bounds(connection) == [(4, n) for n in range(4)]


def test_a_missing_shard_is_seen_among_mixed_moduli(connection: Connection) -> None:
    """It takes the sum of what they hold: six shards are right, and five are not."""
    upgrade(connection, orders(4))
    laws.apply(connection, [SplitHashShard("orders", 4, n) for n in range(2)])
    assert len(bounds(connection)) == 6
    assert generate(connection, orders(4)).calls == []
    run_sql(connection, "DROP TABLE orders_shard_3")
    for declared in (4, 8):
        upgrade_text = generate(connection, orders(declared)).upgrade
        assert "op.create_hash_shards('orders', count=8, remainders=[3, 7])" in upgrade_text
    upgrade(connection, orders(8))
    assert bounds(connection) == [(4, 2), *((8, n) for n in (0, 1, 3, 4, 5, 7))]


def test_a_table_without_any_shard_gets_all(connection: Connection) -> None:
    run_sql(connection, f"CREATE TABLE orders {COLUMNS} PARTITION BY HASH (tenant)")
    script = upgrade(connection, orders(4))
    assert script.calls == ["create_hash_shards"]
    assert generate(connection, orders(4)).calls == []
    run(connection, script.downgrade)
    assert bounds(connection) == []


def test_shards_made_by_hand_are_known_by_their_bounds(connection: Connection) -> None:
    run_sql(
        connection,
        f"CREATE TABLE orders {COLUMNS} PARTITION BY HASH (tenant)",
        "CREATE TABLE orders_shard_1 PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        'CREATE TABLE "Odd" PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 1)',
    )
    assert generate(connection, orders(2)).calls == []


def test_an_existing_table_is_taken_over_as_the_one_shard_of_a_new_one(
    connection: Connection,
) -> None:
    """What the error for a plain table says to do."""
    run_sql(connection, f"CREATE TABLE orders {COLUMNS}")
    fill(connection)
    with pytest.raises(CommandError, match=r"attach the old one.*MODULUS 1, REMAINDER 0"):
        generate(connection, orders(4))
    connection.rollback()
    run_sql(
        connection,
        "ALTER TABLE orders RENAME TO orders_shard_0",
        "ALTER INDEX orders_pkey RENAME TO orders_shard_0_pkey",
        f"CREATE TABLE orders {COLUMNS} PARTITION BY HASH (tenant)",
        "ALTER TABLE orders ATTACH PARTITION orders_shard_0 FOR VALUES"
        " WITH (MODULUS 1, REMAINDER 0)",
    )
    assert upgrade(connection, orders(4)).calls == ["grow_hash_shards"]
    assert list(partitions(connection, "orders")) == [f"orders_shard_{n}" for n in range(4)]
    assert count(connection) == 500


def test_columns_and_indexes_of_the_table_are_compared(connection: Connection) -> None:
    upgrade(connection, orders(4))
    changed = orders(4, Column("more", String), Index("by_note", "note"))
    assert sorted(upgrade(connection, changed).calls) == ["add_column", "create_index"]
    assert generate(connection, changed).calls == []


def test_a_declaration_taken_back_leaves_the_shards(connection: Connection) -> None:
    upgrade(connection, orders(4))
    metadata = MetaData()
    _table(metadata, "orders", postgresql_partition_by="HASH (tenant)")
    assert generate(connection, metadata).calls == []


# --- Halfway through a growth


@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize("declared", [4, 8, 16])
def test_nothing_is_proposed_while_a_growth_is_under_way(
    connection: Connection, done: int, declared: int, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade(connection, orders(4))
    laws.apply(connection, [SplitHashShard("orders", 4, n) for n in range(done)])
    with caplog.at_level("INFO", "alembic"):
        assert generate(connection, orders(declared)).calls == []
    assert (
        f"orders: {4 - done} of its {4 + done} shards are not split yet, and nothing is proposed "
        "meanwhile: `alembic-enterprise shards grow orders --to 8` goes on"
    ) in caplog.messages


# --- What cannot be done is said


OWN_CLASS = (
    (
        "CREATE FUNCTION own_hash(integer, bigint) RETURNS bigint IMMUTABLE LANGUAGE sql"
        " AS 'SELECT $1 + $2'"
    ),
    (
        "CREATE OPERATOR CLASS own_ops FOR TYPE integer USING hash AS OPERATOR 1 =,"
        " FUNCTION 2 own_hash(integer, bigint)"
    ),
)
"""An operator class that hashes otherwise."""


def test_the_way_to_fewer_shards_names_the_schema(connection: Connection) -> None:
    run_sql(connection, "CREATE SCHEMA billing")
    upgrade(connection, orders(9, schema="billing"), include_schemas=True)
    with pytest.raises(CommandError) as raised:
        generate(connection, orders(3, schema="billing"), include_schemas=True)
    assert str(raised.value).endswith("op.shrink_hash_shards('orders', count=3, schema='billing')")


def test_impossible_changes_are_all_named_at_once(connection: Connection) -> None:
    run_sql(
        connection,
        *OWN_CLASS,
        f"CREATE TABLE plain {COLUMNS}",
        f"CREATE TABLE other_key {COLUMNS} PARTITION BY HASH (id)",
        f"CREATE TABLE two_keys {COLUMNS} PARTITION BY HASH (tenant, id)",
        f"CREATE TABLE other_strategy {COLUMNS} PARTITION BY RANGE (tenant)",
        f"CREATE TABLE own_class {COLUMNS} PARTITION BY HASH (tenant own_ops)",
        f"CREATE TABLE fewer {COLUMNS} PARTITION BY HASH (tenant)",
        f"CREATE TABLE unreachable {COLUMNS} PARTITION BY HASH (tenant)",
    )
    laws.apply(connection, [CreateHashShards("fewer", 8), CreateHashShards("unreachable", 10)])
    metadata = MetaData()
    names = ("plain", "other_key", "two_keys", "other_strategy", "own_class", "fewer", "fresh")
    for name in names:
        _table(metadata, name, HashShards("tenant", count=4))
    _table(metadata, "unreachable", HashShards("tenant", count=16))
    with pytest.raises(CommandError) as raised:
        generate(connection, metadata)
    lines = dict(line.split(": ", 1) for line in str(raised.value).splitlines())
    assert set(lines) == {*names, "unreachable"} - {"fresh"}
    assert "build a new table and move the rows" in lines["other_key"]
    assert lines["fewer"] == (
        "the model declares count=4, but the database has 8 shards. Write count=8, or merge them "
        "first, which locks the table while rows are copied: "
        "op.shrink_hash_shards('fewer', count=4)"
    )
    assert lines["unreachable"] == (
        "the model declares count=16, but the database has shards of modulus 10, and each modulus "
        "must divide the next larger one. Declare count=10 or a multiple of it, or build a new "
        "table and move the rows"
    )
    assert "no client can tell in which shard" in lines["own_class"]


@pytest.mark.parametrize("name", ["orders_shard_2", 'of "any" name'])
def test_a_detached_shard_is_not_replaced_by_an_empty_one(
    connection: Connection, name: str
) -> None:
    upgrade(connection, orders(4))
    fill(connection)
    run_sql(connection, "ALTER TABLE orders DETACH PARTITION orders_shard_2")
    if name != "orders_shard_2":
        run_sql(connection, """ALTER TABLE orders_shard_2 RENAME TO "of ""any"" name\"""")
    with pytest.raises(CommandError, match="in its place would hide its rows") as raised:
        generate(connection, orders(4))
    connection.rollback()
    run_sql(connection, str(raised.value).rpartition(": ")[2])
    assert generate(connection, orders(4)).calls == []
    assert count(connection) == 500


def test_a_shard_that_was_detached_before_others_were_split_is_not_replaced(
    connection: Connection,
) -> None:
    upgrade(connection, orders(2))
    fill(connection)
    run_sql(connection, "ALTER TABLE orders DETACH PARTITION orders_shard_0")
    laws.apply(connection, [SplitHashShard("orders", 2, 1)])
    with pytest.raises(CommandError, match="Run `alembic-enterprise shards check`, which"):
        generate(connection, orders(4))


def test_a_detached_shard_without_rows_is_made_anew(connection: Connection) -> None:
    upgrade(connection, orders(4))
    run_sql(connection, "ALTER TABLE orders DETACH PARTITION orders_shard_2")
    assert upgrade(connection, orders(4)).calls == ["create_hash_shards"]
    assert generate(connection, orders(4)).calls == []


def test_detached_shards_that_are_all_there_was_are_not_replaced(connection: Connection) -> None:
    upgrade(connection, orders(1))
    fill(connection)
    run_sql(connection, "ALTER TABLE orders DETACH PARTITION orders_shard_0")
    with pytest.raises(CommandError, match="orders_shard_0 was made as a shard and is not attach"):
        generate(connection, orders(1))


LOOSE = (
    "CREATE COLLATION loose (provider = libc, locale = 'C')",
    "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'",
)
"""A collation of which the catalog says what it can say of ICU's only; many servers have no ICU."""


def test_a_nondeterministic_collation_is_refused_by_creation_and_comparison(
    connection: Connection,
) -> None:
    run_sql(connection, *LOOSE)
    metadata = MetaData()
    Table(
        "orders",
        metadata,
        Column("code", String(collation="loose"), primary_key=True),
        HashShards("code", count=4),
    )
    script = generate(connection, metadata)
    with pytest.raises(CommandError) as raised:
        run(connection, script.upgrade)
    connection.rollback()
    assert str(raised.value) == (
        "orders: the collation loose of its key is nondeterministic, and no client can tell in "
        "which shard a value is: give the column a deterministic one"
    )
    run_sql(
        connection,
        "CREATE TABLE orders (code text COLLATE loose PRIMARY KEY) PARTITION BY HASH (code)",
    )
    with pytest.raises(CommandError, match=r"orders: the database hashes.*nondeterministic"):
        generate(connection, metadata)


# --- A dropped table


def test_a_removed_model_is_a_guarded_drop_that_can_be_undone(connection: Connection) -> None:
    metadata = orders(4)
    upgrade(connection, metadata)
    before = partitions(connection, "orders")
    script = generate(connection, MetaData())
    assert script.calls == ["drop_hash_shards", "drop_table"]
    run_sql(connection, "INSERT INTO orders VALUES (1, 1)")
    with pytest.raises(CommandError, match=r"holds 1 row.*drop_rows=True to op.drop_hash_shards"):
        run(connection, script.upgrade)
    connection.rollback()
    assert count(connection) == 1
    run_sql(connection, "DELETE FROM orders")
    run(connection, script.upgrade)
    assert connection.exec_driver_sql("SELECT to_regclass('orders')").scalar_one() is None
    run(connection, script.downgrade)
    assert partitions(connection, "orders") == before
    assert generate(connection, metadata).calls == []


def test_shards_kept_by_hand_are_no_reason_for_a_guard(connection: Connection) -> None:
    run_sql(
        connection,
        f"CREATE TABLE orders {COLUMNS} PARTITION BY HASH (tenant)",
        "CREATE TABLE one PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    assert generate(connection, MetaData()).calls == ["drop_table"]


# --- Through Alembic's own commands


def test_upgrade_downgrade_upgrade_and_check(tmp_path: Path, engine: Engine) -> None:
    metadata = orders(4, Index("ix", "note"))
    events(metadata)
    config = project(tmp_path, engine, metadata)
    command.revision(config, "first", autogenerate=True, rev_id="1")
    command.upgrade(config, "head")
    command.check(config)
    config.attributes["metadata"] = metadata = orders(8, Index("ix", "note"))
    events(metadata)
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        command.check(config)
    command.revision(config, "second", autogenerate=True, rev_id="2")
    command.upgrade(config, "head")
    command.check(config)
    with engine.connect() as connection:
        before = laws.snapshot(connection)
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    command.check(config)
    with engine.connect() as connection:
        assert laws.snapshot(connection) == before
