"""Both on one table: shards that are partitioned by time, and partitions by time with shards."""

from datetime import UTC, datetime
from typing import Any

import growing
import laws
import pytest
from alembic.util import CommandError
from autogenerate import generate, partitions, pretend, run, run_sql, upgrade
from scheduled import done, of
from scheduled import run as maintain
from sqlalchemy import BigInteger, Column, Connection, DateTime, Engine, MetaData, Table, Text

from alembic_enterprise import HashShards, RangePartitions
from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.advise import advise
from alembic_enterprise.partitions.inspection import inspect
from alembic_enterprise.partitions.live import select
from alembic_enterprise.shards.advise import advise as advise_shards
from alembic_enterprise.shards.inspection import inspect as inspect_shards
from alembic_enterprise.shards.placement import shard_of

NOW = "2026-11-21 12:00+00"

HASH_FIRST = "hash first"
RANGE_FIRST = "range first"
ORDERS = [HASH_FIRST, RANGE_FIRST]

NAMES = [("public", "orders"), ("Mixed Schema", 'we"ird'), ("public", "ö" * 22)]


def orders(order: str, name: str = "orders", *items: Any, count: int = 2, **policy: Any) -> Table:
    """Models with one table that is declared both ways, by month unless `policy` says otherwise."""
    schema = policy.pop("schema", None)
    chosen: dict[str, Any] = {"every": "month", "ahead": 1, **policy}
    levels = [HashShards("Tenant Id", count=count), RangePartitions("at", **chosen)]
    return Table(
        name,
        MetaData(),
        Column("id", BigInteger, primary_key=True),
        Column("Tenant Id", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
        Column("note", Text, index=True),
        *items,
        *(levels if order == HASH_FIRST else reversed(levels)),
        schema=schema,
    )


def leaves(connection: Connection, table: str = "orders") -> dict[str, list[str]]:
    """The partitions of each partition of a table, by names."""
    found = {name: list(partitions(connection, name)) for name in partitions(connection, table)}
    connection.commit()
    return found


def fill(connection: Connection, *moments: str, table: str = "orders") -> None:
    """Twenty rows of different tenants at each moment."""
    for moment in moments:
        run_sql(
            connection,
            f'INSERT INTO {table} (id, "Tenant Id", at)'
            f" SELECT n, n, '{moment}' FROM generate_series(1, 20) AS n",
        )


# Declarations


def test_the_text_is_that_of_the_first_declaration() -> None:
    assert str(orders(HASH_FIRST).kwargs["postgresql_partition_by"]) == 'HASH ("Tenant Id")'
    assert str(orders(RANGE_FIRST).kwargs["postgresql_partition_by"]) == 'RANGE ("at")'


def test_a_copied_table_keeps_both() -> None:
    copied = orders(HASH_FIRST).to_metadata(MetaData())
    assert shard_of(copied, (7,)) == shard_of(orders(RANGE_FIRST), (7,))


@pytest.mark.parametrize("order", ORDERS)
def test_names_count_both_suffixes(order: str) -> None:
    orders(order, "o" * 45)
    with pytest.raises(DeclarationError, match=r"would have 64 bytes.* to 45 bytes"):
        orders(order, "o" * 46)


@pytest.mark.parametrize("order", ORDERS)
def test_unique_keys_hold_the_columns_of_both(order: str) -> None:
    levels = [HashShards("tenant", count=2), RangePartitions("at", every="month")]
    with pytest.raises(DeclarationError, match=r'PrimaryKeyConstraint\("id", "(tenant|at)", "'):
        Table(
            "orders",
            MetaData(),
            Column("id", BigInteger, primary_key=True),
            Column("tenant", BigInteger, nullable=False),
            Column("at", DateTime, nullable=False),
            *(levels if order == HASH_FIRST else reversed(levels)),
        )


@pytest.mark.parametrize(
    "again", [HashShards("id", count=4), RangePartitions("at", every="day")], ids=ORDERS
)
def test_there_is_one_of_each_kind(again: Any) -> None:
    with pytest.raises(DeclarationError, match=r"two \w+ on one table; keep one of them"):
        orders(HASH_FIRST, "orders", again)


# Autogenerate


@pytest.mark.parametrize(("schema", "name"), NAMES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("default", [False, True])
def test_up_down_and_up_again(
    connection: Connection, order: str, schema: str, name: str, default: bool
) -> None:
    run_sql(connection, f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    pretend(connection, NOW)
    before = laws.snapshot(connection)
    model = orders(order, name, schema=None if schema == "public" else schema, default=default)
    options = {"include_schemas": schema != "public"}
    script = upgrade(connection, model.metadata, **options)
    shards = ["create_hash_shards"] if order == HASH_FIRST else []
    expected = [*shards, "create_range_partitions", "set_partition_policy"]
    assert [call for call in script.calls if "index" not in call] == ["create_table", *expected]
    after = laws.snapshot(connection)
    assert generate(connection, model.metadata, **options).calls == []
    run(connection, script.downgrade)
    assert laws.snapshot(connection) == before
    run(connection, script.upgrade)
    assert laws.snapshot(connection) == after


def test_shards_with_partitions_by_time(connection: Connection) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(HASH_FIRST, default=True).metadata)
    suffixes = ["default", "y2026_m11", "y2026_m12"]
    assert leaves(connection) == {
        shard: [f"{shard}_{suffix}" for suffix in suffixes]
        for shard in ("orders_shard_0", "orders_shard_1")
    }


def test_partitions_by_time_with_shards(connection: Connection) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(RANGE_FIRST, default=True).metadata)
    suffixes = ["default", "y2026_m11", "y2026_m12"]
    assert leaves(connection) == {
        f"orders_{suffix}": [f"orders_{suffix}_shard_0", f"orders_{suffix}_shard_1"]
        for suffix in suffixes
    }


@pytest.mark.parametrize("order", ORDERS)
def test_rows_find_their_leaf(connection: Connection, order: str) -> None:
    pretend(connection, NOW)
    model = orders(order)
    upgrade(connection, model.metadata)
    fill(connection, "2026-11-21", "2026-12-24")
    rows = connection.exec_driver_sql(
        'SELECT tableoid::regclass::text, "Tenant Id", at FROM orders'
    )
    for leaf, tenant, at in rows:
        shard, month = f"_shard_{shard_of(model, (tenant,))}", f"_y2026_m{at.month}"
        assert leaf == "orders" + (shard + month if order == HASH_FIRST else month + shard)


@pytest.mark.parametrize("order", ORDERS)
def test_a_table_that_holds_rows_is_not_dropped(connection: Connection, order: str) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order).metadata)
    fill(connection, "2026-11-21")
    script = generate(connection, MetaData())
    with pytest.raises(CommandError, match=r"orders: partition \S+ holds \d+ row"):
        run(connection, script.upgrade)
    connection.rollback()
    run_sql(connection, "DELETE FROM orders")
    run(connection, script.upgrade)
    assert laws.snapshot(connection)["relations"] == []
    run(connection, script.downgrade)
    assert generate(connection, orders(order).metadata).calls == []


def test_a_table_that_lost_all_shards_is_dropped(connection: Connection) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(HASH_FIRST).metadata)
    run_sql(connection, "DROP TABLE orders_shard_0, orders_shard_1")
    script = upgrade(connection, MetaData())
    assert [call for call in script.calls if "index" not in call] == [
        "drop_partition_policy",
        "drop_table",
    ]


def test_a_table_that_lost_all_shards_gets_them_again(connection: Connection) -> None:
    pretend(connection, NOW)
    model = orders(HASH_FIRST)
    upgrade(connection, model.metadata)
    before = leaves(connection)
    run_sql(connection, "DROP TABLE orders_shard_0, orders_shard_1")
    script = upgrade(connection, model.metadata)
    assert script.calls == ["create_hash_shards", "create_range_partitions"]
    assert leaves(connection) == before
    assert generate(connection, model.metadata).calls == []


@pytest.mark.parametrize("order", ORDERS)
def test_attributes_reach_every_leaf(connection: Connection, role: str, order: str) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order).metadata)
    run_sql(
        connection,
        f"GRANT SELECT ON orders TO {role}",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        *(
            f"ALTER TABLE {leaf} SET (fillfactor = 77)"
            for names in leaves(connection).values()
            for leaf in names
        ),
    )
    fresh = {name for names in leaves(connection).values() for name in names}
    pretend(connection, "2026-12-21")
    upgrade(connection, orders(order).metadata)
    made = {name for names in leaves(connection).values() for name in names} - fresh
    assert len(made) == 2
    rows = connection.exec_driver_sql(
        "SELECT relname, relrowsecurity, reloptions::text,"
        f" has_table_privilege('{role}', oid, 'SELECT')"
        " FROM pg_class WHERE relkind = 'r' AND relispartition"
    ).all()
    connection.commit()
    from_root = order == RANGE_FIRST  # the GRANT on the root does not reach the shards there are
    assert {tuple(row)[1:] for row in rows if row[0] in made} == {
        (from_root, "{fillfactor=77}", from_root)
    }


@pytest.mark.parametrize("order", ORDERS)
def test_the_month_that_follows_is_one_operation(connection: Connection, order: str) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order).metadata)
    pretend(connection, "2027-02-01 12:00+00")
    script = upgrade(connection, orders(order).metadata)
    assert script.calls == ["create_range_partitions"]
    assert generate(connection, orders(order).metadata).calls == []


def test_what_any_shard_lacks_is_one_operation(connection: Connection) -> None:
    pretend(connection, "2026-06-15")
    model = orders(HASH_FIRST, ahead=5)
    upgrade(connection, model.metadata)
    run_sql(
        connection,
        "DROP TABLE orders_shard_0_y2026_m07",
        "DROP TABLE orders_shard_1_y2026_m08",
    )
    before = laws.snapshot(connection)
    script = upgrade(connection, model.metadata)
    assert script.calls == ["create_range_partitions"]
    assert "start='2026-07-01'" in script.upgrade
    assert "stop='2026-09-01'" in script.upgrade
    assert len(leaves(connection)["orders_shard_0"]) == 6
    assert generate(connection, model.metadata).calls == []
    assert laws.snapshot(connection) != before


def test_a_shard_that_is_lost_begins_where_the_others_do(connection: Connection) -> None:
    pretend(connection, "2026-06-15")
    model = orders(HASH_FIRST)
    upgrade(connection, model.metadata)
    pretend(connection, "2026-07-15")
    upgrade(connection, model.metadata)
    before = leaves(connection)
    run_sql(connection, "DROP TABLE orders_shard_1")
    script = upgrade(connection, model.metadata)
    assert script.calls == ["create_hash_shards", "create_range_partitions"]
    assert leaves(connection) == before
    assert generate(connection, model.metadata).calls == []
    run(connection, script.downgrade)
    assert leaves(connection) == before, "another database may have had it all along"


def test_a_shard_that_a_partition_lacks_is_told_and_not_written_into_a_script(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Retention drops the partition, and a script that names it would fail from then on."""
    pretend(connection, NOW)
    model = orders(RANGE_FIRST)
    upgrade(connection, model.metadata)
    run_sql(
        connection,
        "DROP TABLE orders_y2026_m11_shard_1",
        "CREATE TABLE past PARTITION OF orders FOR VALUES FROM ('2026-10-01+0') TO ('2026-11-01+0')"
        ' PARTITION BY HASH ("Tenant Id")',
    )
    assert generate(connection, model.metadata).calls == []
    [told] = caplog.messages
    assert told == (
        "orders: 2 of its partitions lack shards and refuse rows, public.orders_y2026_m11 first; "
        "nothing is proposed, as a script would outlive them: `alembic-enterprise shards check` "
        "says how to make those shards"
    )
    found = [item for look in inspect_shards(connection) for item in advise_shards(look)]
    assert [(item.rule, item.table) for item in found] == [
        ("shards-missing", "public.orders_y2026_m11"),
        ("shards-missing", "public.past"),
    ]


def test_shards_declared_later_go_for_new_partitions(connection: Connection) -> None:
    pretend(connection, NOW)
    model = orders(RANGE_FIRST)
    plain = MetaData()
    Table(
        "orders",
        plain,
        *(Column(c.name, c.type, primary_key=c.primary_key, index=c.index) for c in model.columns),
        RangePartitions("at", every="month", ahead=1),
    )
    upgrade(connection, plain)
    script = upgrade(connection, model.metadata)
    assert script.calls == ["set_partition_policy"]
    pretend(connection, "2026-12-01 12:00+00")
    upgrade(connection, model.metadata)
    assert leaves(connection) == {
        "orders_y2026_m11": [],
        "orders_y2026_m12": [],
        "orders_y2027_m01": ["orders_y2027_m01_shard_0", "orders_y2027_m01_shard_1"],
    }
    run(connection, script.downgrade)
    assert generate(connection, plain).calls == []


def test_another_count_goes_for_new_partitions(connection: Connection) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(RANGE_FIRST).metadata)
    more = orders(RANGE_FIRST, count=4)
    assert upgrade(connection, more.metadata).calls == ["set_partition_policy"]
    pretend(connection, "2026-12-01 12:00+00")
    upgrade(connection, more.metadata)
    assert [len(names) for names in leaves(connection).values()] == [2, 2, 4]
    assert generate(connection, more.metadata).calls == []


@pytest.mark.parametrize("order", ORDERS)
def test_a_default_partition_declared_later(connection: Connection, order: str) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order).metadata)
    before = leaves(connection)
    model = orders(order, default=True)
    script = upgrade(connection, model.metadata)
    assert script.calls == ["create_range_partitions", "set_partition_policy"]
    after = leaves(connection)
    assert generate(connection, model.metadata).calls == []
    names = {leaf for found in after.values() for leaf in found}
    assert names - {leaf for found in before.values() for leaf in found} == (
        {"orders_shard_0_default", "orders_shard_1_default"}
        if order == HASH_FIRST
        else {"orders_default_shard_0", "orders_default_shard_1"}
    )
    run(connection, script.downgrade)
    assert leaves(connection) == before


@pytest.mark.parametrize("order", ORDERS)
def test_the_job_makes_a_default_partition_that_is_lost(
    connection: Connection, engine: Engine, order: str
) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order, default=True).metadata)
    before = leaves(connection)
    lost = "orders_shard_0_default" if order == HASH_FIRST else "orders_default"
    run_sql(connection, f"DROP TABLE {lost}")
    maintain(engine, now=datetime(2026, 11, 21, tzinfo=UTC))
    assert leaves(connection) == before


# What no migration can mend


@pytest.mark.parametrize("count", [1, 4])
def test_partitioned_shards_are_not_split_or_merged(connection: Connection, count: int) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(HASH_FIRST).metadata)
    with pytest.raises(CommandError, match=r"cannot be split or merged. Write count=2, or build"):
        generate(connection, orders(HASH_FIRST, count=count).metadata)


def test_operations_do_not_split_partitioned_shards(connection: Connection) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(HASH_FIRST).metadata)
    with pytest.raises(CommandError, match=r"partitioned table.*or build a new table and move"):
        run(connection, "op.grow_hash_shards('orders', count=4)")


def test_plain_shards_are_not_partitioned(connection: Connection) -> None:
    pretend(connection, NOW)
    run_sql(
        connection,
        'CREATE TABLE orders (id bigint, "Tenant Id" bigint, at timestamptz, note text,'
        ' PRIMARY KEY (id, "Tenant Id", at)) PARTITION BY HASH ("Tenant Id")',
        "CREATE TABLE one PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    with pytest.raises(CommandError, match=r"one is a table, which ALTER TABLE cannot partition"):
        generate(connection, orders(HASH_FIRST, count=1).metadata)


def test_shards_by_another_key_are_not_changed(connection: Connection) -> None:
    pretend(connection, NOW)
    run_sql(
        connection,
        'CREATE TABLE orders (id bigint, "Tenant Id" bigint, at timestamptz, note text,'
        ' PRIMARY KEY (id, "Tenant Id", at)) PARTITION BY HASH ("Tenant Id")',
        "CREATE TABLE one PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        " PARTITION BY RANGE (id)",
    )
    with pytest.raises(CommandError, match=r"one partitioned by RANGE \(id\), which ALTER TABLE"):
        generate(connection, orders(HASH_FIRST, count=1).metadata)


def test_partitions_by_time_are_not_undeclared(connection: Connection) -> None:
    pretend(connection, NOW)
    model = orders(HASH_FIRST)
    upgrade(connection, model.metadata)
    plain = MetaData()
    columns = [Column(c.name, c.type, primary_key=c.primary_key) for c in model.columns]
    Table("orders", plain, *columns, HashShards("Tenant Id", count=2))
    with pytest.raises(CommandError, match=r"Declare RangePartitions\(...\) after HashShards"):
        generate(connection, plain)


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_is_not_changed(connection: Connection, order: str) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order).metadata)
    other = RANGE_FIRST if order == HASH_FIRST else HASH_FIRST
    with pytest.raises(CommandError, match="which ALTER TABLE cannot change"):
        generate(connection, orders(other).metadata)


# The scheduled job


def moment(month: int) -> datetime:
    return datetime(2027, month, 15, tzinfo=UTC)


def test_a_year_in_each_shard(connection: Connection, engine: Engine) -> None:
    pretend(connection, NOW)
    model = orders(HASH_FIRST, retain=1)
    upgrade(connection, model.metadata)
    for month in range(1, 13):
        report = maintain(engine, now=moment(month))
        assert report.exit_code(None) == 0
        assert {item.name.name for item in report.tables} == {"orders_shard_0", "orders_shard_1"}
        fill(connection, f"2027-{month:02}-15")
    assert leaves(connection) == {
        shard: [f"{shard}_y2027_m11", f"{shard}_y2027_m12", f"{shard}_y2028_m01"]
        for shard in ("orders_shard_0", "orders_shard_1")
    }
    assert count(connection) == 40
    pretend(connection, "2027-12-15")
    assert generate(connection, model.metadata).calls == []


def test_a_year_of_partitions_with_shards(connection: Connection, engine: Engine) -> None:
    pretend(connection, NOW)
    model = orders(RANGE_FIRST, retain=1)
    upgrade(connection, model.metadata)
    for month in range(1, 13):
        assert maintain(engine, now=moment(month)).exit_code(None) == 0
        fill(connection, f"2027-{month:02}-15")
    assert leaves(connection) == {
        name: [f"{name}_shard_0", f"{name}_shard_1"]
        for name in ("orders_y2027_m11", "orders_y2027_m12", "orders_y2028_m01")
    }
    assert count(connection) == 40
    pretend(connection, "2027-12-15")
    assert generate(connection, model.metadata).calls == []


def count(connection: Connection) -> int:
    found: int = connection.exec_driver_sql("SELECT count(*) FROM orders").scalar_one()
    connection.commit()
    return found


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("default", [False, True])
def test_expired_partitions_are_archived_whole(
    connection: Connection, engine: Engine, order: str, default: bool
) -> None:
    run_sql(connection, "CREATE SCHEMA archive")
    pretend(connection, NOW)
    expiry: dict[str, Any] = {"retain": 1, "on_expire": "archive", "archive": "archive"}
    upgrade(connection, orders(order, default=default, **expiry).metadata)
    fill(connection, NOW)
    report = maintain(engine, now=moment(1))
    assert report.exit_code(None) == 0
    rows = connection.exec_driver_sql(
        "SELECT relname, relispartition FROM pg_class"
        " WHERE relnamespace = 'archive'::regnamespace AND relkind IN ('r', 'p')"
    )
    archived = {str(name): bool(attached) for name, attached in rows}
    connection.commit()
    if order == HASH_FIRST:
        assert archived == {"orders_shard_0_y2026_m11": False, "orders_shard_1_y2026_m11": False}
    else:
        assert archived == {
            "orders_y2026_m11": False,
            "orders_y2026_m11_shard_0": True,
            "orders_y2026_m11_shard_1": True,
        }
    assert count(connection) == 0
    assert maintain(engine, now=moment(1)).tables[0].done == []


def test_an_archiving_that_was_killed_goes_on(connection: Connection, engine: Engine) -> None:
    """The first of its shards was moved, and nothing else."""
    run_sql(connection, "CREATE SCHEMA archive")
    pretend(connection, NOW)
    expiry: dict[str, Any] = {"retain": 1, "on_expire": "archive", "archive": "archive"}
    upgrade(connection, orders(RANGE_FIRST, **expiry).metadata)
    maintain(engine, now=moment(1))
    run_sql(
        connection,
        "ALTER TABLE archive.orders_y2026_m11 SET SCHEMA public",
        "ALTER TABLE archive.orders_y2026_m11_shard_1 SET SCHEMA public",
    )
    assert done(maintain(engine, now=moment(1))) == [
        "archive public.orders_y2026_m11_shard_1",
        "archive public.orders_y2026_m11",
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_expired_partitions_are_dropped(connection: Connection, engine: Engine, order: str) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order, retain=1, on_expire="drop", hold=7).metadata)
    maintain(engine, now=datetime(2027, 1, 1, tzinfo=UTC))
    assert exists(connection, "%2026_m11%")
    report = maintain(engine, now=datetime(2027, 1, 8, tzinfo=UTC))
    assert "drop" in {kind for item in report.tables for kind, _ in item.done}
    assert not exists(connection, "%2026_m11%")


def test_a_growth_that_was_not_ended_keeps_only_its_own_partition(
    connection: Connection, engine: Engine
) -> None:
    """The CHECK of a copy depends on the table that is to be dropped."""
    pretend(connection, NOW)
    upgrade(connection, orders(RANGE_FIRST, retain=1, on_expire="drop", hold=0).metadata)
    growing.stopped(engine, "ATTACH PARTITION", table="orders_y2026_m11")
    maintain(engine, now=datetime(2027, 1, 1, tzinfo=UTC))
    later = datetime(2027, 2, 1, tzinfo=UTC)
    for _ in range(2):
        report = of(maintain(engine, now=later), "orders")
        [problem] = report.problems
        assert problem == (
            "drop public.orders_y2026_m11: a growth of its shards was not ended: remove its copies "
            "with `alembic-enterprise shards grow public.orders_y2026_m11 --abort`; the next run "
            "drops it"
        )
    assert exists(connection, "%2026_m11%")
    assert not exists(connection, "%2026_m12%")
    growing.run(engine, None, "orders_y2026_m11")
    assert done(maintain(engine, now=later)) == ["drop public.orders_y2026_m11"]


def exists(connection: Connection, pattern: str) -> bool:
    found: int = connection.exec_driver_sql(
        f"SELECT count(*) FROM pg_class WHERE relname LIKE '{pattern.replace('%', '%%')}'"
    ).scalar_one()
    connection.commit()
    return found > 0


@pytest.mark.parametrize("order", ORDERS)
def test_rows_of_a_default_partition_are_in_the_way(
    connection: Connection, engine: Engine, order: str
) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order, default=True).metadata)
    fill(connection, "2027-01-15")
    report = maintain(engine, now=datetime(2026, 12, 15, tzinfo=UTC))
    assert report.exit_code(None) != 0
    assert "of this range" in report.tables[0].problems[0]
    run_sql(connection, "DELETE FROM orders")
    assert maintain(engine, now=datetime(2026, 12, 15, tzinfo=UTC)).exit_code(None) == 0
    guards = "SELECT count(*) FROM pg_constraint WHERE conname = 'alembic_enterprise_guard'"
    assert connection.exec_driver_sql(guards).scalar_one() == 0


def test_a_root_stands_for_its_shards(connection: Connection, engine: Engine) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(HASH_FIRST).metadata)
    for name in ("orders", "public.orders"):
        assert len(maintain(engine, only=frozenset({name})).tables) == 2
    report = maintain(engine, only=frozenset({"orders_shard_1"}))
    assert [item.name.name for item in report.tables] == ["orders_shard_1"]


def test_rows_that_are_referred_to_stay(connection: Connection, engine: Engine) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(HASH_FIRST, retain=1).metadata)
    fill(connection, NOW)
    run_sql(
        connection,
        "CREATE TABLE notes (id bigint, tenant bigint, at timestamptz,"
        " FOREIGN KEY (id, tenant, at) REFERENCES orders)",
        'INSERT INTO notes SELECT id, "Tenant Id", at FROM orders WHERE id = 1',
    )
    report = maintain(engine, now=moment(1))
    shard = f"orders_shard_{shard_of(orders(HASH_FIRST), (1,))}"
    assert "rows of public.notes refer to it" in of(report, shard).problems[0]
    assert sum(bool(item.problems) for item in report.tables) == 1


def test_shards_of_tables_that_refer_to_others_expire_first(
    connection: Connection, engine: Engine
) -> None:
    pretend(connection, NOW)
    metadata = orders(HASH_FIRST, retain=1).metadata
    orders(HASH_FIRST, "another", retain=1).to_metadata(metadata)
    upgrade(connection, metadata)
    keys = 'FOREIGN KEY (id, "Tenant Id", at) REFERENCES orders (id, "Tenant Id", at)'
    run_sql(connection, f"ALTER TABLE another ADD {keys}")
    fill(connection, NOW)
    fill(connection, NOW, table="another")
    report = maintain(engine, now=moment(1))
    assert [item.problems for item in report.tables] == [[], [], [], []]
    assert count(connection) == 0


# What a person sees


@pytest.mark.parametrize("order", ORDERS)
def test_a_table_in_order_has_no_finding(connection: Connection, order: str) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order).metadata)
    inspected = inspect(connection)
    names = {item.table.name.name for item in inspected}
    connection.rollback()
    assert names == ({"orders_shard_0", "orders_shard_1"} if order == HASH_FIRST else {"orders"})
    assert [found for item in inspected for found in advise(item)] == []


@pytest.mark.parametrize(
    ("order", "lost", "named"),
    [
        (HASH_FIRST, "orders_shard_0", "public.orders"),
        (RANGE_FIRST, "orders_y2026_m11_shard_1", "public.orders_y2026_m11"),
    ],
)
def test_a_lost_shard_is_found(
    connection: Connection, engine: Engine, order: str, lost: str, named: str
) -> None:
    pretend(connection, NOW)
    model = orders(order)
    upgrade(connection, model.metadata)
    before = leaves(connection)
    run_sql(connection, f"DROP TABLE {lost}")
    found = [finding for item in inspect_shards(connection) for finding in advise_shards(item)]
    connection.rollback()
    assert [(item.rule, item.table) for item in found] == [("shards-missing", named)]
    laws.apply(connection, found[0].operations)
    maintain(engine, now=datetime(2026, 11, 21, tzinfo=UTC))
    assert leaves(connection) == before
    assert generate(connection, model.metadata).calls == []


@pytest.mark.parametrize("order", ORDERS)
def test_what_did_not_reach_every_level_is_found(
    connection: Connection, role: str, order: str
) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(order).metadata)
    run_sql(connection, f"GRANT SELECT ON orders TO {role}")
    found = [finding for item in inspect(connection) for finding in advise(item)]
    connection.rollback()
    assert {item.rule for item in found} == {"attributes-differ"}
    assert [item.evidence["partition"] for item in found] == [
        f"public.{name}" for name in leaves(connection)
    ]


def test_every_level_is_listed(connection: Connection) -> None:
    pretend(connection, NOW)
    upgrade(connection, orders(HASH_FIRST).metadata)
    root, *shards = select(connection, ["orders"]).statuses
    connection.rollback()
    assert root.table.name.name == "orders"
    assert [item.kind for item in root.partitions] == ["partitioned table"] * 2
    assert [shard.table.name.name for shard in shards] == ["orders_shard_0", "orders_shard_1"]
    assert all(shard.missing == () for shard in shards)
