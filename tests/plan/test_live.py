"""What a plan knows of the live database: figures of tables, and who is busy there."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from autogenerate import run_sql
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine

from alembic_enterprise import sql
from alembic_enterprise.plan import live
from alembic_enterprise.plan.live import Live
from alembic_enterprise.sql import Name

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
VERSION_TABLE = Name(None, "alembic_version")
RESET = SQL("(SELECT stats_reset FROM pg_stat_database WHERE datname = current_database())")

SCHEMA = """
CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('b'), ('a');
CREATE SCHEMA "Other Schema";
CREATE TABLE "Other Schema"."we""ird" (id int PRIMARY KEY, other int);
CREATE INDEX ON "Other Schema"."we""ird" (other);
INSERT INTO "Other Schema"."we""ird" SELECT n, n FROM generate_series(1, 1000) AS n;
CREATE TABLE events (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01 00:00+00');
CREATE TABLE new PARTITION OF events FOR VALUES FROM ('2026-01-01 00:00+00') TO (MAXVALUE)
    PARTITION BY HASH (id);
CREATE TABLE new_0 PARTITION OF new FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE new_1 PARTITION OF new FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON events (id);
INSERT INTO events SELECT n, '2025-12-31' FROM generate_series(1, 100) AS n;
INSERT INTO events SELECT n, '2026-02-01' FROM generate_series(1, 50) AS n;
CREATE TABLE child () INHERITS ("Other Schema"."we""ird");
CREATE MATERIALIZED VIEW kept AS SELECT * FROM events;
CREATE VIEW shown AS SELECT * FROM events;
CREATE TABLE filled (id int);
ANALYZE; TRUNCATE child; INSERT INTO filled VALUES (1);
CREATE TABLE unknown (id int); INSERT INTO unknown VALUES (1)
"""


@pytest.fixture
def found(connection: Connection) -> Live:
    run_sql(connection, *SCHEMA.split(";"))
    return live.read(connection, VERSION_TABLE, NOW)


def test_figures_of_partitions_add_up(connection: Connection, found: Live) -> None:
    sizes = dict(
        sql.rows(
            connection,
            SQL("SELECT relname::text, pg_total_relation_size(oid) FROM pg_class"),
        )
    )
    events, new = found.tables["public.events"], found.tables["public.new"]
    assert (events.rows, events.partitions, events.indexes) == (150, 3, 1)
    assert events.size == sizes["old"] + sizes["new_0"] + sizes["new_1"]
    assert (new.rows, new.partitions, new.indexes) == (50, 2, 1)
    assert found.tables["public.old"].rows == 100
    assert found.tables["public.old"].partitions == 0


def test_tables_of_any_name_are_known(found: Live) -> None:
    weird = found.tables['Other Schema.we"ird']
    assert (weird.rows, weird.indexes, weird.partitions) == (1000, 2, 0)
    assert weird.size > 65536
    assert found.tables["public.kept"].rows == 150
    assert not found.tables.keys() & {"public.shown", "pg_catalog.pg_class"}


def test_rows_are_unknown_before_the_first_analyze(found: Live) -> None:
    assert found.tables["public.unknown"].rows is None
    assert found.tables["public.child"].rows == 0


def test_rows_are_unknown_when_a_table_was_filled_after_it_was_analyzed(found: Live) -> None:
    assert found.tables["public.filled"].rows is None


def test_it_tells_the_database_and_its_revisions(connection: Connection, found: Live) -> None:
    assert found.database.name == connection.engine.url.database
    assert found.database.revisions == ("a", "b")
    [(version,)] = sql.rows(connection, SQL("SHOW server_version"))
    assert version.startswith(found.database.version)
    assert found.circumstances.sampled_at == NOW
    assert found.coverage == ()


def test_it_tells_how_partitioned_tables_stand(found: Live) -> None:
    [status] = found.statuses
    assert str(status.table.name) == "public.events"
    assert [(str(item.name), item.rows) for item in status.partitions] == [
        ("public.old", 100),
        ("public.new", 50),
    ]
    assert status.size == found.tables["public.events"].size


def test_rates_count_from_the_reset_of_the_counters(connection: Connection) -> None:
    run_sql(connection, "CREATE TABLE written (id int)", "SELECT pg_stat_reset()")
    run_sql(connection, "INSERT INTO written SELECT generate_series(1, 10000)")
    run_sql(connection, "UPDATE written SET id = 0 WHERE id <= 500")
    run_sql(connection, "DELETE FROM written WHERE id = 0")
    query = SQL("SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'written'")
    until(connection, lambda: sql.rows(connection, query) == [(500,)])
    [(elapsed,)] = sql.rows(connection, SQL("SELECT extract(epoch FROM now() - {})").format(RESET))
    rate = live.read(connection, VERSION_TABLE, NOW).tables["public.written"].writes_per_second
    assert rate is not None
    assert 0 < rate <= 11_000 / float(elapsed)
    run_sql(connection, "SET track_counts = off")
    found = live.read(connection, VERSION_TABLE, NOW)
    assert found.tables["public.written"].writes_per_second is None
    assert "how many rows are written is not known: " in found.coverage[0]


def test_the_longest_transaction_of_others_is_told(engine: Engine, connection: Connection) -> None:
    assert live.read(connection, VERSION_TABLE, NOW).circumstances.longest_transaction is None
    connection.rollback()
    with engine.connect() as other:
        other.exec_driver_sql("SELECT pg_sleep(0.2)")
        longest = live.read(connection, VERSION_TABLE, NOW).circumstances.longest_transaction
    assert longest is not None
    assert timedelta(seconds=0.2) <= longest < timedelta(minutes=5)


def test_what_the_role_may_not_see_is_told(
    engine: Engine, connection: Connection, role: str
) -> None:
    run_sql(connection, SQL("SET ROLE {}").format(Identifier(role)).as_string(None))
    assert live.read(connection, VERSION_TABLE, NOW).coverage == ()
    connection.rollback()
    with engine.connect() as other:
        other.exec_driver_sql("SELECT 1")
        found = live.read(connection, VERSION_TABLE, NOW)
    assert found.circumstances.longest_transaction is None
    [told] = found.coverage
    assert told == (
        "since when 1 session of other roles may have been in a transaction is hidden: GRANT "
        f"pg_read_all_stats TO {role}"
    )


def until(connection: Connection, holds: Callable[[], bool]) -> None:
    """Wait until the server has counted: sessions tell what they did when they are idle."""
    for _ in range(1000):
        if holds():
            return
        run_sql(connection, "SELECT pg_sleep(0.01)")
    pytest.fail("the server does not count")
