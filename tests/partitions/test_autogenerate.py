"""What autogenerate proposes for partitioned tables, and what it must never propose."""

from pathlib import Path
from typing import Any

import laws
import pytest
from alembic import command
from alembic.util import CommandError
from autogenerate import events, generate, partitions, pretend, project, run, run_sql, upgrade
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Date,
    DateTime,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    inspect,
)

from alembic_enterprise import HashShards, RangePartitions, registry

STOCK = {"autogenerate_plugins": ["alembic.autogenerate.*"]}
"""Alembic without us."""

COLUMNS = "(id bigint, at timestamptz, PRIMARY KEY (id, at))"
"""The columns of `events`."""

NOVEMBER = "2026-11-15 12:00+00"


@pytest.fixture(autouse=True)
def november(connection: Connection) -> None:
    """Scripts are written in November 2026."""
    pretend(connection, NOVEMBER)


def hand_made(name: str, clause: str = "RANGE (at)", schema: str = "public") -> str:
    return (
        f"CREATE TABLE {schema}.{name} (id bigint, at timestamptz, kind varchar NOT NULL,"
        f" PRIMARY KEY (id, at, kind)) PARTITION BY {clause}"
    )


def by_hand(
    metadata: MetaData, name: str, clause: str = "RANGE (at)", schema: str | None = None
) -> Table:
    """The model of `hand_made`, without a declaration of ours."""
    return Table(
        name,
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
        Column("kind", String, primary_key=True),
        schema=schema,
        postgresql_partition_by=clause,
    )


# --- What must never appear


def test_alembic_alone_drops_live_partitions(connection: Connection) -> None:
    """The reason for all this (alembic issue 539)."""
    metadata = MetaData()
    events(metadata, "events", Index("ix", "at"))
    upgrade(connection, metadata)
    assert generate(connection, metadata, **STOCK).calls.count("drop_table") == 5
    assert generate(connection, metadata).calls == []


EXPRESSIONS = "RANGE (lower(kind), (id % 10))"
ZOO = (
    "CREATE SCHEMA sales",
    "CREATE SCHEMA archive",
    # By hand: each strategy, several columns, an expression, two levels, names of all kinds.
    hand_made("by_range"),
    "CREATE TABLE by_range_p PARTITION OF by_range FOR VALUES FROM (MINVALUE) TO ('2026-01-01Z')",
    (
        'CREATE TABLE archive."Odd ""Name" PARTITION OF by_range'
        " FOR VALUES FROM ('2026-01-01Z') TO (MAXVALUE) PARTITION BY LIST (kind)"
    ),
    'CREATE TABLE sales.deeper PARTITION OF archive."Odd ""Name" DEFAULT',
    "CREATE INDEX ON sales.deeper (id)",
    "ALTER TABLE sales.deeper ADD CHECK (id > 0), ADD UNIQUE (id, at, kind)",
    hand_made("by_list", "LIST (kind)", "sales"),
    "CREATE TABLE list_p PARTITION OF sales.by_list FOR VALUES IN ('a')",
    hand_made("by_hash", "HASH (id, kind)"),
    "CREATE TABLE hash_p PARTITION OF by_hash FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    f"CREATE TABLE by_expression (id bigint, kind varchar) PARTITION BY {EXPRESSIONS}",
    "CREATE TABLE expression_p PARTITION OF by_expression DEFAULT",
    # A foreign table as a partition.
    "CREATE EXTENSION postgres_fdw",
    "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw",
    "CREATE TABLE remote (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at)",
    "CREATE FOREIGN TABLE remote_p PARTITION OF remote DEFAULT SERVER elsewhere",
)


def zoo_models(metadata: MetaData, *, schemas: bool) -> None:
    by_hand(metadata, "by_range")
    by_hand(metadata, "by_hash", "hash (id, kind)")
    Table(
        "by_expression",
        metadata,
        Column("id", BigInteger),
        Column("kind", String),
        postgresql_partition_by=EXPRESSIONS,
    )
    Table(
        "remote",
        metadata,
        Column("id", BigInteger),
        Column("at", DateTime(timezone=True), nullable=False),
        postgresql_partition_by="RANGE (at)",
    )
    events(metadata)
    if schemas:
        by_hand(metadata, "by_list", "LIST (kind)", schema="sales")
        events(metadata, schema="sales", every="week")


def no_archive(name: str | None, kind: str, _parents: Any) -> bool:
    return not (kind == "schema" and name == "archive")


def everything(*_: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "schemas"),
    [
        ({}, False),
        ({"include_schemas": True}, True),
        ({"include_schemas": True, "include_name": no_archive}, True),
        ({"include_schemas": True, "include_object": everything, "include_name": everything}, True),
    ],
)
def test_live_partitions_never_appear(
    connection: Connection,
    options: dict[str, Any],
    schemas: bool,
) -> None:
    run_sql(connection, *ZOO)
    metadata = MetaData()
    zoo_models(metadata, schemas=schemas)
    script = upgrade(connection, metadata, **options)
    assert {"drop_table", "drop_index", "drop_constraint"}.isdisjoint(script.calls)
    assert generate(connection, metadata, **options).calls == []


def test_foreign_keys_from_to_and_between_partitioned_tables_compare_clean(
    connection: Connection,
) -> None:
    metadata = MetaData()
    Table("customers", metadata, Column("id", BigInteger, primary_key=True))
    events(metadata, "orders", Column("customer", ForeignKey("customers.id")))
    events(
        metadata,
        "lines",
        Column("order_id", BigInteger),
        Column("parent_id", BigInteger),
        Column("other_id", BigInteger),
        ForeignKeyConstraint(["order_id", "at"], ["orders.id", "orders.at"]),
        ForeignKeyConstraint(["parent_id", "at"], ["lines.id", "lines.at"]),
        ForeignKeyConstraint(["other_id", "at"], ["lines.id", "lines.at"], name="other"),
    )
    Table(
        "notes",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("line_id", BigInteger),
        Column("line_at", DateTime(timezone=True)),
        ForeignKeyConstraint(["line_id", "line_at"], ["lines.id", "lines.at"]),
    )
    upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []


def test_foreign_keys_that_are_gone_from_the_model_are_dropped_once(connection: Connection) -> None:
    def models(*items: Any) -> MetaData:
        metadata = declared()
        columns = (Column("id", BigInteger), Column("at", DateTime(timezone=True)))
        Table("notes", metadata, *columns, *items)
        return metadata

    upgrade(connection, models(ForeignKeyConstraint(["id", "at"], ["events.id", "events.at"])))
    assert upgrade(connection, models()).calls == ["drop_constraint"]
    assert generate(connection, models()).calls == []


def test_a_partition_with_a_model_of_its_own_stays_compared(connection: Connection) -> None:
    metadata = MetaData()
    events(metadata)
    upgrade(connection, metadata)
    Table(
        "events_y2026_m11",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
        Index("only_here", "at", "id"),
    )
    assert upgrade(connection, metadata).calls == ["create_index"]
    assert generate(connection, metadata).calls == []


def test_what_a_partition_has_from_its_table_is_never_dropped(connection: Connection) -> None:
    """Its model says nothing of the index and the keys; and one index is its own."""
    metadata = MetaData()
    events(metadata, "days")
    events(
        metadata,
        "events",
        Column("owner", BigInteger, ForeignKey("owners.id")),
        Index("by_owner", "owner", "at"),
        UniqueConstraint("owner", "at", name="once"),
        ForeignKeyConstraint(["id", "at"], ["days.id", "days.at"]),
    )
    Table("owners", metadata, Column("id", BigInteger, primary_key=True))
    upgrade(connection, metadata)
    run_sql(connection, 'CREATE INDEX "Mixed ""Case" ON events_y2026_m11 (owner)')
    Table(
        "events_y2026_m11",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
        Column("owner", BigInteger),
    )
    script = generate(connection, metadata)
    assert script.calls == ["drop_index"]
    assert "Mixed" in script.upgrade
    upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []


def test_a_partitioned_partition_with_a_model_of_its_own_is_known_as_partitioned(
    connection: Connection,
) -> None:
    second = (
        "CREATE TABLE second PARTITION OF sales.by_list FOR VALUES IN ('b') PARTITION BY RANGE (at)"
    )
    run_sql(connection, *ZOO, second)
    metadata = MetaData()
    zoo_models(metadata, schemas=True)
    by_hand(metadata, 'Odd "Name', "LIST (kind)", schema="archive")
    events(metadata, "second", Column("kind", String, primary_key=True))
    upgrade(connection, metadata, include_schemas=True)
    assert len(partitions(connection, "second")) == 4
    assert generate(connection, metadata, include_schemas=True).calls == []


def test_a_detached_partition_of_ours_is_left_alone(connection: Connection) -> None:
    metadata = MetaData()
    events(metadata)
    upgrade(connection, metadata)
    run_sql(connection, "ALTER TABLE events DETACH PARTITION events_y2027_m02")
    assert generate(connection, metadata).calls == ["create_range_partitions"]
    run_sql(connection, "CREATE TABLE stranger ()")
    calls = upgrade(connection, metadata).calls
    assert calls == ["drop_table", "create_range_partitions"], "a stranger is still compared"
    assert "events_y2027_m02_2" in partitions(connection, "events")


def test_our_registry_never_appears(connection: Connection) -> None:
    metadata = MetaData()
    events(metadata)
    upgrade(connection, metadata)
    assert generate(connection, MetaData()).calls.count("drop_table") == 1


def test_a_table_that_include_object_leaves_out_gets_nothing(connection: Connection) -> None:
    metadata = MetaData()
    events(metadata)
    events(metadata, "other")

    def without_other(_object: Any, name: str | None, kind: str, *_: Any) -> bool:
        return not (kind == "table" and name == "other")

    assert "'other'" not in upgrade(connection, metadata, include_object=without_other).upgrade
    run_sql(connection, "CREATE TABLE other (id int)")
    assert generate(connection, metadata, include_object=without_other).calls == []


def test_a_table_found_along_the_search_path_is_the_models(connection: Connection) -> None:
    """A model without a schema means what PostgreSQL means by a name without one."""
    run_sql(
        connection,
        "CREATE SCHEMA first",
        f"CREATE TABLE public.events {COLUMNS} PARTITION BY RANGE (at)",
        "SET search_path = first, public",
    )
    metadata = MetaData()
    events(metadata)
    script = upgrade(connection, metadata)
    assert script.calls == ["create_range_partitions", "set_partition_policy"]
    assert generate(connection, metadata).calls == []


def test_policies_of_others_that_cannot_be_read_do_not_matter(
    connection: Connection, role: str
) -> None:
    metadata = MetaData()
    run_sql(connection, "CREATE SCHEMA secret")
    events(metadata, schema="secret")
    upgrade(connection, metadata, include_schemas=True)
    run_sql(connection, f"SET ROLE {role}")
    own = MetaData()
    events(own)
    upgrade(connection, own)
    assert generate(connection, own).calls == []


def test_a_column_may_be_called_otherwise_in_python(connection: Connection) -> None:
    metadata = MetaData()
    column = Column("created_at", DateTime(), primary_key=True, key="at")
    Table("events", metadata, column, RangePartitions("at", every="month"))
    upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []


# --- What cannot be done is said


@pytest.mark.parametrize("year", [1970, 2006])
def test_a_partition_of_another_age_fills_no_centuries(connection: Connection, year: int) -> None:
    """All such tables are named; one whose declaration has a `start` is meant like that."""
    for name in ("events", "others", "meant"):
        run_sql(
            connection,
            f"CREATE TABLE {name} {COLUMNS} PARTITION BY RANGE (at)",
            f"CREATE TABLE {name}_typo PARTITION OF {name}"
            f" FOR VALUES FROM ('{year}-11-19Z') TO ('{year}-11-20Z')",
        )
    metadata = MetaData()
    events(metadata, "events", every="day")
    events(metadata, "others", every="day")
    events(metadata, "meant", every="day", start=f"{year}-11-20")
    with pytest.raises(CommandError) as raised:
        generate(connection, metadata)
    told = str(raised.value).splitlines()
    assert [line.partition(":")[0] for line in told] == ["events", "others"]
    assert f"partitions from {year}-11-20 to 2026-11-15 are missing" in told[0]
    assert f"far from the others ({year}-11-19 to {year}-11-20)" in told[0]
    assert f'or write start="{year}-11-20", or a later day, into the declaration' in told[0]


def test_a_partition_of_another_age_is_left_alone_before_a_start(connection: Connection) -> None:
    run_sql(
        connection,
        f"CREATE TABLE events {COLUMNS} PARTITION BY RANGE (at)",
        "CREATE TABLE typo PARTITION OF events FOR VALUES FROM ('1970-11-19Z') TO ('1970-11-20Z')",
    )
    metadata = MetaData()
    events(metadata, "events", every="day", ahead=1, start="2026-11-15")
    script = upgrade(connection, metadata)
    assert script.calls == ["create_range_partitions", "set_partition_policy"]
    assert len(partitions(connection, "events")) == 3


def test_impossible_changes_are_all_named_at_once(connection: Connection) -> None:
    run_sql(
        connection,
        f"CREATE TABLE plain {COLUMNS}",
        f"CREATE TABLE live {COLUMNS} PARTITION BY RANGE (at)",
        f"CREATE TABLE other_key {COLUMNS} PARTITION BY RANGE (id)",
        f"CREATE TABLE other_strategy {COLUMNS} PARTITION BY HASH (at)",
        f"CREATE TABLE two_keys {COLUMNS} PARTITION BY RANGE (at, id)",
        "CREATE TABLE expression (id bigint, at timestamptz NOT NULL)"
        " PARTITION BY RANGE ((at AT TIME ZONE 'UTC'))",
    )
    metadata = MetaData()
    for name in ("plain", "other_key", "other_strategy", "two_keys", "expression", "fresh"):
        events(metadata, name)
    Table(
        "live",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
    )
    with pytest.raises(CommandError) as raised:
        generate(connection, metadata)
    lines = str(raised.value).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == [
        "expression",
        "live",
        "other_key",
        "other_strategy",
        "plain",
        "two_keys",
    ]
    assert all(len(line) > 100 for line in lines), "each says what to do"


@pytest.mark.parametrize("clause", ["RANGE (at)", "LIST (kind)", "HASH (id, kind)"])
def test_another_type_of_a_partition_column_is_told(connection: Connection, clause: str) -> None:
    """PostgreSQL refuses it: cannot alter column because it is part of the partition key."""
    run_sql(connection, hand_made("events", clause), hand_made("others", "RANGE (at)"))
    metadata = MetaData()
    for name in ("events", "others"):
        by_hand(metadata, name, clause if name == "events" else "RANGE (at)")
    assert generate(connection, metadata).calls == []
    columns = metadata.tables["events"].columns
    columns.at.type, columns.kind.type = DateTime(), Integer()
    with pytest.raises(CommandError) as raised:
        generate(connection, metadata)
    column, declared_type, live_type = (
        ("at", "DateTime()", "TIMESTAMP(timezone=True)")
        if clause == "RANGE (at)"
        else ("kind", "Integer()", "VARCHAR()")
    )
    assert str(raised.value) == (
        f"events: the model declares {column} as {declared_type}, but the database has it as "
        f"{live_type} and is partitioned by it, so that ALTER TABLE cannot change it. Correct the "
        "type, or build a new table and move the rows"
    )


def test_another_type_of_the_key_of_shards_is_told(connection: Connection) -> None:
    upgrade(connection, sharded_and_timed(DateTime(timezone=True)))
    with pytest.raises(CommandError, match=r"events: the model declares at as DateTime\(\)"):
        generate(connection, sharded_and_timed(DateTime()))


def sharded_and_timed(key: DateTime) -> MetaData:
    metadata = MetaData()
    Table(
        "events",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("at", key, primary_key=True),
        HashShards("id", count=2),
        RangePartitions("at", every="month"),
    )
    return metadata


def test_a_foreign_key_that_leaves_out_the_partition_column_is_told(connection: Connection) -> None:
    metadata = declared()
    for name, columns in (("lines", ["event_id"]), ("notes", ["event_id", "event_at"])):
        Table(
            name,
            metadata,
            Column("id", BigInteger, primary_key=True),
            Column("event_id", BigInteger),
            Column("event_at", DateTime(timezone=True)),
            ForeignKeyConstraint(columns, ["events.id", "events.at"][: len(columns)]),
        )
    with pytest.raises(CommandError) as raised:
        generate(connection, metadata)
    assert str(raised.value) == (
        "lines: a foreign key refers to events (id), which PostgreSQL can only keep unique "
        "together with at: add a column for it, and write "
        'ForeignKeyConstraint(["event_id", "events_at"], ["events.id", "events.at"])'
    )


# --- Adoption


def test_an_existing_table_is_adopted_by_the_bounds_of_its_partitions(
    connection: Connection,
) -> None:
    run_sql(
        connection,
        f"CREATE TABLE events {COLUMNS} PARTITION BY RANGE (at)",
        "CREATE TABLE august PARTITION OF events"
        " FOR VALUES FROM ('2026-08-01Z') TO ('2026-09-01Z')",
        'CREATE TABLE "Autumn" PARTITION OF events'
        " FOR VALUES FROM ('2026-09-01 02:00+02') TO ('2026-12-01Z')",
        "CREATE TABLE events_y2027_m01 PARTITION OF events"
        " FOR VALUES FROM ('2026-12-01Z') TO ('2027-01-01Z')",
    )
    metadata = MetaData()
    events(metadata)
    script = upgrade(connection, metadata)
    assert script.calls == ["create_range_partitions", "set_partition_policy"]
    assert list(partitions(connection, "events"))[-2:] == ["events_y2027_m01_2", "events_y2027_m02"]
    assert generate(connection, metadata).calls == []
    run(connection, script.downgrade)
    assert list(partitions(connection, "events")) == ["august", '"Autumn"', "events_y2027_m01"]


@pytest.mark.parametrize("key", [Date(), DateTime(), DateTime(timezone=True)])
@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_bounds_are_read_whatever_the_session_prints(
    connection: Connection, key: Any, style: str
) -> None:
    run_sql(connection, f"SET DateStyle = '{style}'", "SET TimeZone = 'America/St_Johns'")
    metadata = MetaData()
    events(metadata, key=key, timezone="Asia/Kolkata", start="2026-01-01")
    upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []
    assert (
        connection.exec_driver_sql("SHOW DateStyle")
        .scalar_one()
        .startswith(style.partition(",")[0])
    )
    assert connection.exec_driver_sql("SHOW TimeZone").scalar_one() == "America/St_Johns"


# --- One change, one operation


def declared(*items: Any, **policy: Any) -> MetaData:
    metadata = MetaData()
    events(metadata, "events", *items, **policy)
    return metadata


@pytest.mark.parametrize(
    "policy", [{"retain": 12}, {"start": "2026-11-01"}, {"ahead": 2}, {"retain": None, "ahead": 1}]
)
def test_a_changed_policy_is_one_operation(connection: Connection, policy: dict[str, Any]) -> None:
    upgrade(connection, declared())
    script = upgrade(connection, declared(**policy))
    assert script.calls == ["set_partition_policy"]
    assert generate(connection, declared(**policy)).calls == []
    run(connection, script.downgrade)
    assert generate(connection, declared()).calls == []


def test_a_declaration_taken_back_drops_the_policy_only(connection: Connection) -> None:
    upgrade(connection, declared())
    metadata = MetaData()
    Table(
        "events",
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True),
        postgresql_partition_by="RANGE (at)",
    )
    assert upgrade(connection, metadata).calls == ["drop_partition_policy"]
    assert generate(connection, metadata).calls == []
    assert len(partitions(connection, "events")) == 4


@pytest.mark.parametrize("month", ["2026_m01", "2026_m06", "2027_m02"])
def test_a_partition_dropped_by_hand_is_one_operation(connection: Connection, month: str) -> None:
    metadata = declared(start="2026-01-01")
    upgrade(connection, metadata)
    before = partitions(connection, "events")
    run_sql(connection, f"DROP TABLE events_y{month}")
    script = upgrade(connection, metadata)
    assert script.calls == ["create_range_partitions"]
    assert partitions(connection, "events") == before
    run_sql(connection, "INSERT INTO events VALUES (1, '2026-11-15')")
    run(connection, script.downgrade)
    assert partitions(connection, "events") == before, "another database had it all the time"


@pytest.mark.parametrize(
    ("every", "longer"), [("day", "week"), ("week", "month"), ("month", "quarter")]
)
def test_the_downgrade_of_a_longer_period_leaves_what_was_there(
    connection: Connection, every: str, longer: str
) -> None:
    """The upgrade makes the rest of a period; the range in the script is the whole of it."""
    upgrade(connection, declared(every=every))
    run_sql(connection, "INSERT INTO events VALUES (1, '2026-11-15')")
    before = partitions(connection, "events")
    script = upgrade(connection, declared(every=longer))
    assert script.calls == ["create_range_partitions"] * 2 + ["set_partition_policy"]
    run(connection, script.downgrade)
    assert before.items() <= partitions(connection, "events").items()


def test_a_gap_is_found_even_when_the_number_of_partitions_is_right(connection: Connection) -> None:
    metadata = declared(start="2026-01-01")
    upgrade(connection, metadata)
    run_sql(
        connection,
        "DROP TABLE events_y2026_m03, events_y2026_m06",
        "CREATE TABLE half PARTITION OF events FOR VALUES FROM ('2026-06-01Z') TO ('2026-06-10Z')",
        "CREATE TABLE rest PARTITION OF events FOR VALUES FROM ('2026-06-10Z') TO ('2026-07-01Z')",
    )
    script = upgrade(connection, metadata)
    assert script.calls == ["create_range_partitions"]
    assert "start='2026-03-01'" in script.upgrade


def test_without_a_start_the_table_begins_where_it_begins(connection: Connection) -> None:
    """Retention takes the first partitions away; they must not come back."""
    upgrade(connection, declared())
    pretend(connection, "2027-02-10")
    assert upgrade(connection, declared()).calls == ["create_range_partitions"]
    run_sql(connection, "DROP TABLE events_y2026_m11, events_y2026_m12")
    assert generate(connection, declared()).calls == []


def test_an_added_column_is_one_operation(connection: Connection) -> None:
    upgrade(connection, declared())
    changed = declared(Column("note", String))
    assert upgrade(connection, changed).calls == ["add_column"]
    assert generate(connection, changed).calls == []


def test_indexes_and_keys_of_the_parent_are_compared(connection: Connection) -> None:
    upgrade(connection, declared())
    changed = declared(
        Column("note", String),
        Index("by_note", "note"),
        UniqueConstraint("note", "at", name="note_once"),
    )
    calls = upgrade(connection, changed).calls
    assert sorted(calls) == ["add_column", "create_index", "create_unique_constraint"]
    assert generate(connection, changed).calls == []
    calls = upgrade(connection, declared()).calls
    assert sorted(calls) == ["drop_column", "drop_constraint", "drop_index"]
    assert generate(connection, declared()).calls == []


def test_a_removed_model_is_a_guarded_drop_that_can_be_undone(connection: Connection) -> None:
    metadata = declared(
        Column("kind", Integer, index=True), start="2026-01-01", retain=20, default=True
    )
    upgrade(connection, metadata)
    before = partitions(connection, "events")
    script = generate(connection, MetaData())
    run_sql(connection, "INSERT INTO events VALUES (1, '2026-06-06', 1)")
    with pytest.raises(CommandError, match=r"events_y2026_m06 holds 1 row.*drop_rows=True"):
        run(connection, script.upgrade)
    connection.rollback()
    assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one() == 1
    run_sql(connection, "DELETE FROM events")
    run(connection, script.upgrade)
    assert connection.exec_driver_sql("SELECT to_regclass('events')").scalar_one() is None
    run(connection, script.downgrade)
    assert partitions(connection, "events") == before
    assert generate(connection, metadata).calls == []
    run(connection, script.upgrade)
    assert generate(connection, MetaData()).calls == []


# --- Start, retention, default


def test_an_earlier_start_adds_the_periods_before(connection: Connection) -> None:
    upgrade(connection, declared())
    metadata = declared(start="2026-06-01")
    script = upgrade(connection, metadata)
    assert script.calls == ["create_range_partitions", "set_partition_policy"]
    assert next(iter(partitions(connection, "events"))) == "events_y2026_m06"
    assert generate(connection, metadata).calls == []
    run(connection, script.downgrade)
    assert next(iter(partitions(connection, "events"))) == "events_y2026_m06", "as a later start"
    assert generate(connection, declared()).calls == []


def test_a_later_start_leaves_what_exists(connection: Connection) -> None:
    upgrade(connection, declared(start="2026-01-01"))
    metadata = declared(start="2026-10-01")
    assert upgrade(connection, metadata).calls == ["set_partition_policy"]
    assert len(partitions(connection, "events")) == 14
    assert generate(connection, metadata).calls == []


def test_expired_periods_are_not_asked_for(connection: Connection) -> None:
    metadata = declared(start="2020-01-01", retain=2)
    upgrade(connection, metadata)
    assert next(iter(partitions(connection, "events"))) == "events_y2026_m09"
    pretend(connection, "2027-01-31")
    assert upgrade(connection, metadata).calls == ["create_range_partitions"]
    run_sql(connection, "DROP TABLE events_y2026_m09, events_y2026_m10")
    assert generate(connection, metadata).calls == []


def test_a_start_in_the_future_counts_ahead_from_there(connection: Connection) -> None:
    pretend(connection, "2029-11-30")
    metadata = declared(start="2030-01-01", ahead=1)
    upgrade(connection, metadata)
    assert list(partitions(connection, "events")) == ["events_y2030_m01", "events_y2030_m02"]
    assert generate(connection, metadata).calls == []


def test_a_default_partition_is_made_once_and_on_request(connection: Connection) -> None:
    upgrade(connection, declared())
    script = upgrade(connection, declared(default=True))
    assert script.calls == ["create_range_partitions", "set_partition_policy"]
    assert partitions(connection, "events")["events_default"] == "DEFAULT"
    assert generate(connection, declared(default=True)).calls == []
    run(connection, script.downgrade)
    assert "events_default" not in partitions(connection, "events")


@pytest.mark.parametrize("more", ["", ", events_y2027_m02"])
def test_a_default_partition_dropped_by_hand_stays_once_it_is_back(
    connection: Connection, more: str
) -> None:
    metadata = declared(default=True)
    upgrade(connection, metadata)
    before = partitions(connection, "events")
    run_sql(connection, f"DROP TABLE events_default{more}")
    script = upgrade(connection, metadata)
    assert script.calls == ["create_range_partitions"]
    run_sql(connection, "INSERT INTO events VALUES (1, '2020-01-01')")
    run(connection, script.downgrade)
    assert partitions(connection, "events") == before, "another database had it all the time"


def test_a_declaration_that_gives_up_the_default_partition_leaves_it(
    connection: Connection,
) -> None:
    """It may hold rows; dropping it is a decision."""
    upgrade(connection, declared(default=True))
    assert upgrade(connection, declared()).calls == ["set_partition_policy"]
    assert "events_default" in partitions(connection, "events")


# --- Time passes


DAYS = [
    "2026-11-30 23:59:59.999999+00",
    "2027-01-01 04:30+00",
    "2028-02-29 12:00+00",
    "2029-03-25 00:30+00",
    "2031-10-26 00:30+00",
    "2040-01-01 00:00+00",
]
MANY = {"day": 2, "week": 3, "month": 5}
"""So many of these days are enough for short periods: partitions take milliseconds each."""


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Havana"])
@pytest.mark.parametrize("every", ["day", "week", "month", "quarter", "year"])
def test_nothing_is_left_to_do_after_an_upgrade_on_any_day(
    connection: Connection, every: str, zone: str
) -> None:
    """A script written in 2026, on a fresh database years later."""
    metadata = declared(every=every, timezone=zone, ahead=2, retain=5)
    script = generate(connection, metadata)
    for moment in DAYS[: MANY.get(every)]:
        pretend(connection, moment)
        run(connection, script.upgrade)
        assert generate(connection, metadata).calls == [], moment
        run(connection, script.downgrade)


THOUSAND = """DO $$ BEGIN
FOR day IN 0..999 LOOP
    EXECUTE format('CREATE TABLE part_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
                   day, date '2024-02-20' + day, date '2024-02-21' + day);
END LOOP;
END $$"""


def test_a_thousand_partitions_are_nothing_to_autogenerate(connection: Connection) -> None:
    """How fast that is, the benchmark tells."""
    metadata = MetaData()
    spec = RangePartitions("at", every="day", start="2024-02-20", ahead=0)
    Table("events", metadata, Column("at", Date(), nullable=False), spec)
    run_sql(connection, "CREATE TABLE events (at date NOT NULL) PARTITION BY RANGE (at)", THOUSAND)
    pretend(connection, "2026-11-15")
    assert upgrade(connection, metadata).calls == ["set_partition_policy"]
    assert generate(connection, metadata).calls == []
    run_sql(connection, "DROP TABLE part_500")
    assert generate(connection, metadata).calls == ["create_range_partitions"]


# --- Through Alembic's own commands


def test_upgrade_downgrade_upgrade_and_check(tmp_path: Path, engine: Engine) -> None:
    metadata = declared(Column("kind", Integer, index=True), start="2026-01-01", default=True)
    config = project(tmp_path, engine, metadata)
    command.revision(config, "first", autogenerate=True, rev_id="1")
    events(metadata, 'we"ird % :x', schema=None, every="year")
    command.upgrade(config, "head")
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        command.check(config)
    command.revision(config, "second", autogenerate=True, rev_id="2")
    command.upgrade(config, "head")
    command.check(config)
    with engine.connect() as connection:
        before = laws.snapshot(connection)
    command.downgrade(config, "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version", registry.TABLE}
    command.upgrade(config, "head")
    command.check(config)
    with engine.connect() as connection:
        assert laws.snapshot(connection) == before
