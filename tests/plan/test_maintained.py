"""Of very many partitions of whole periods a shadow gets the newest, and stays true."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from alembic import command
from autogenerate import project, run_sql, write_revision
from psycopg.sql import SQL
from sqlalchemy import Connection, Engine, MetaData

from alembic_enterprise import sql
from alembic_enterprise.binaries import binary_folders
from alembic_enterprise.partitions.operations import CreateRangePartitions, SetPartitionPolicy
from alembic_enterprise.plan.revisions import VERSION_TABLE
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.shadow import maintained
from alembic_enterprise.plan.shadow.database import shadow
from alembic_enterprise.plan.shadow.source import Source
from alembic_enterprise.sql import Name
from alembic_enterprise.urls import connected

SCHEMA = """
CREATE SCHEMA "Other ""Schema";
CREATE TABLE events (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE INDEX ON events (at DESC);
CREATE TABLE "we""ird" PARTITION OF events
    FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
CREATE TABLE "a$|.*?[x]{1}\\^(Größe)+" PARTITION OF events
    FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00');
CREATE TABLE "Other ""Schema"."a" PARTITION OF events
    FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-04-01 00:00+00') PARTITION BY HASH (id);
CREATE TABLE "Other ""Schema"."a1" PARTITION OF "Other ""Schema".a
    FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE referred PARTITION OF events
    FOR VALUES FROM ('2026-04-01 00:00+00') TO ('2026-05-01 00:00+00');
CREATE TABLE half PARTITION OF events
    FOR VALUES FROM ('2026-05-01 00:00+00') TO ('2026-05-15 00:00+00');
CREATE TABLE seen PARTITION OF events
    FOR VALUES FROM ('2026-06-01 00:00+00') TO ('2026-07-01 00:00+00');
CREATE TABLE typed PARTITION OF events
    FOR VALUES FROM ('2026-07-01 00:00+00') TO ('2026-08-01 00:00+00');
CREATE TABLE broken PARTITION OF events
    FOR VALUES FROM ('2026-08-01 00:00+00') TO ('2026-09-01 00:00+00');
CREATE TABLE "a2" PARTITION OF events
    FOR VALUES FROM ('2026-09-01 00:00+00') TO ('2026-10-01 00:00+00');
CREATE TABLE "a" PARTITION OF events
    FOR VALUES FROM ('2026-10-01 00:00+00') TO ('2026-11-01 00:00+00');
CREATE TABLE lines (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES referred);
CREATE TABLE others (id int, at timestamptz, FOREIGN KEY (id, at) REFERENCES events);
CREATE VIEW view AS SELECT id FROM seen;
CREATE TABLE holder (rows typed[]);
CREATE INDEX invalid ON broken (id);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'invalid'::regclass;
COMMENT ON TABLE "we""ird" IS 'old'; COMMENT ON COLUMN "we""ird".id IS 'too';
GRANT SELECT ON "we""ird" TO PUBLIC;
ALTER TABLE "we""ird" ADD CHECK (id > 0), ALTER id SET DEFAULT 1;
CREATE STATISTICS together ON id, at FROM "we""ird";
CREATE TABLE owning PARTITION OF events
    FOR VALUES FROM ('2025-12-01 00:00+00') TO ('2026-01-01 00:00+00');
CREATE SEQUENCE numbers OWNED BY owning.id
"""

OLD = ['"we""ird"', '"a$|.*?[x]{1}\\^(Größe)+"', '"Other ""Schema".a', '"Other ""Schema".a1', "a2"]


@pytest.fixture
def folders(binaries: Path) -> Sequence[Path]:
    """Those under test first."""
    return (binaries, *binary_folders())


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a handful be very many."""
    monkeypatch.setattr(maintained, "MANY", 4)
    monkeypatch.setattr(maintained, "NEWEST", 1)


@pytest.fixture
def live(connection: Connection) -> Connection:
    run_sql(connection, *SCHEMA.split(";"))
    for statement in SetPartitionPolicy("events", "month", 1).statements():
        sql.execute(connection, statement)
    connection.commit()
    return connection


def tables(connection: Connection) -> set[str]:
    query = SQL(
        "SELECT oid::regclass::text FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')"
    )
    return {name for (name,) in sql.rows(connection, query)}


def test_what_something_depends_on_is_not_superfluous(live: Connection) -> None:
    other = 'Other "Schema'
    assert maintained.superfluous(live) == {
        Name("public", "events"): [
            Name("public", 'we"ird'),
            Name("public", "a$|.*?[x]{1}\\^(Größe)+"),
            Name(other, "a"),
            Name("public", "a2"),
        ]
    }


def test_few_partitions_are_all_needed(live: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintained, "MANY", 10)
    assert maintained.superfluous(live) == {}


def test_a_shadow_goes_without_the_oldest(live: Connection, folders: Sequence[Path]) -> None:
    expected = tables(live) - set(OLD)
    with shadow(Source.read(live), folders=folders) as made, connected(made.url) as there:
        assert made.gaps == (
            "without 4 old partitions of whole periods, of public.events: --whole copies them, too",
        )
        assert made.unknown == ()
        assert not made.whole
        assert tables(there) == expected
        objects = drift.objects_of(there)
    assert objects == drift.objects_of(live)
    with (
        shadow(Source.read(live, whole=True), folders=folders) as made,
        connected(made.url) as there,
    ):
        assert made.gaps == ()
        assert made.whole
        assert tables(there) == expected | set(OLD)


CREATE = """
op.execute("CREATE TABLE events (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) "
           "PARTITION BY RANGE (at)")
op.create_range_partitions("events", every="month", start="2025-01-01", ahead=1)
op.set_partition_policy("events", every="month", ahead=1)
"""
COUNT = '''
op.execute("""DO $$BEGIN
    IF current_database() LIKE 'alembic_enterprise_shadow_%' AND
       (SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass) > 1
    THEN RAISE 'too many'; END IF; END$$""")
'''


@pytest.mark.parametrize(
    "body", [COUNT, "op.execute(\"COMMENT ON TABLE events_y2025_m01 IS 'first'\")"]
)
def test_drift_makes_no_more_of_them_unless_a_script_needs_one(
    engine: Engine, folders: Sequence[Path], tmp_path: Path, body: str
) -> None:
    config = project(tmp_path / "migrations", engine, MetaData())
    write_revision(tmp_path / "migrations", "0001", None, CREATE)
    write_revision(tmp_path / "migrations", "0002", "0001", body)
    command.upgrade(config, "head")
    with engine.connect() as live, shadow(Source.read(live), folders=folders) as made:
        with connected(made.url) as copied:
            there = drift.objects_of(copied)
        assert drift.drift(config, made, VERSION_TABLE, there) == []


@pytest.mark.parametrize(
    ("operation", "first"),
    [
        (CreateRangePartitions("t", "month", start="2020-01-01", ahead=2), "2027-01-01"),
        (CreateRangePartitions("t", "month", start="2020-01-01", stop="2021-01-05"), "2020-12-01"),
        (CreateRangePartitions("t", "day", start="2026-11-22", ahead=0), "2026-11-22"),
        (CreateRangePartitions("t", "day", default=True), None),
    ],
)
def test_only_the_newest_of_a_range_are_made(
    operation: CreateRangePartitions, first: str | None
) -> None:
    text = sql.text_of(maintained.newest(operation, date(2026, 11, 22)))
    [usual] = operation.statements()
    assert text == sql.text_of(usual).replace(f"'{operation.start}'", f"'{first}'", 1)
