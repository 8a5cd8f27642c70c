"""Growth while the table is in use: rows, attributes, races with writers, refusals, leftovers."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Thread
from typing import Any, LiteralString

import laws
import psycopg
import pytest
from autogenerate import generate, run_sql
from growing import COLUMNS, before, contents, held, leftovers, orders, run, session, writing
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, event, make_url

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.shards.operations import GrowHashShards
from alembic_enterprise.shards.report import Report

FOUR = {f"orders_shard_{n}": f"{n} of 4" for n in range(4)}


class Killed(Exception):  # noqa: N818  # what happens to the run
    """Ends a run in this process as a signal would."""


def stopped(engine: Engine, text: str, count: int = 4) -> None:
    """Let a run end before the first statement that has the text in it."""

    def end() -> None:
        raise Killed

    before(engine, text, end)
    with pytest.raises(Killed):
        run(engine, count)


def one(connection: Connection, query: str) -> Any:
    """The only value that a query returns."""
    found = connection.exec_driver_sql(query, execution_options={"no_parameters": True}).scalar()
    connection.rollback()
    return found


# --- Rows and names


def test_every_row_arrives_in_the_shard_of_its_hash(connection: Connection, engine: Engine) -> None:
    orders(connection)
    rows = contents(connection)
    report = run(engine)
    assert report.problems == []
    assert [(done.shard.name, done.rows) for done in report.done] == [
        (split.shard.name, split.rows) for split in report.splits
    ]
    assert sum(done.rows for done in report.done) == len(rows)
    assert contents(connection) == rows
    assert held(connection) == FOUR
    assert leftovers(connection) == []


def test_it_ends_as_the_operation_that_locks(
    connection: Connection, engine: Engine, other_database: Callable[..., str], database_url: str
) -> None:
    orders(connection)
    run_sql(connection, "CREATE INDEX ON orders (amount)")
    connection.close()
    url = other_database(make_url(database_url).database)
    run(engine)
    with create_engine(url, poolclass=NullPool).connect() as other, engine.connect() as grown:
        laws.apply(other, [GrowHashShards("orders", count=4)])
        found = laws.snapshot(grown)
        assert found == laws.snapshot(other)
        laws.apply(grown, [GrowHashShards("orders", count=4)])
        assert laws.snapshot(grown) == found


def test_a_shard_is_split_into_all_its_parts_at_once(
    connection: Connection, engine: Engine
) -> None:
    orders(connection)
    rows = contents(connection)
    report = run(engine, 16)
    assert [len(split.parts) for split in report.splits] == [8, 8]
    assert held(connection) == {f"orders_shard_{n}": f"{n} of 16" for n in range(16)}
    assert contents(connection) == rows


def test_a_table_of_several_moduli_grows_evenly(connection: Connection, engine: Engine) -> None:
    orders(connection)
    rows = contents(connection)
    stopped(engine, "orders_shard_1")
    assert sorted(held(connection).values()) == ["0 of 4", "1 of 2", "2 of 4"]
    report = run(engine, 8)
    assert [len(split.parts) for split in report.splits] == [4, 2, 2]
    assert held(connection) == {f"orders_shard_{n}": f"{n} of 8" for n in range(8)}
    assert contents(connection) == rows


def test_nothing_to_do_is_done(connection: Connection, engine: Engine) -> None:
    orders(connection, 4)
    report = run(engine, 4)
    assert (report.exit_code, report.splits, report.done) == (0, [], [])


WEIRD = """CREATE TABLE "Mixed Case"."we""ird $mirror$ заказ" (
    "found" text COLLATE "C", "old" bigint, "NEW" jsonb DEFAULT '{}', "made" text, body json,
    size bigint GENERATED ALWAYS AS (length("made")) STORED, gone int, PRIMARY KEY ("old", "found")
) PARTITION BY HASH ("found", "old")"""


def test_names_and_types_that_hurt(connection: Connection, engine: Engine) -> None:
    table = '"Mixed Case"."we""ird $mirror$ заказ"'
    run_sql(
        connection,
        'CREATE SCHEMA "Mixed Case"',
        WEIRD,
        f"ALTER TABLE {table} DROP COLUMN gone",
        f'CREATE TABLE "Mixed Case"."sh$block$ard" PARTITION OF {table}'
        " FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        f"INSERT INTO {table} (\"found\", \"old\", \"made\", body) SELECT 'f' || n, n, 'm', '[1]'"
        " FROM generate_series(1, 300) AS n",
    )

    def write() -> None:
        with session(engine) as other:
            other.execute(f'UPDATE {table} SET "made" = \'changed\' WHERE "old" = 7')
            other.execute(f'DELETE FROM {table} WHERE "old" = 8')
            other.execute(f"INSERT INTO {table} VALUES ('x', 9)")

    before(engine, "hash_record_extended", write)
    report = run(engine, 2, 'Mixed Case.we"ird $mirror$ заказ')
    assert report.problems == []
    assert list(held(connection, 'we"ird $mirror$ заказ')) == [
        "sh$block$ard",
        'we"ird $mirror$ заказ_shard_1',
    ]
    assert one(connection, f"SELECT count(*) FROM {table}") == 300
    assert one(connection, f'SELECT size FROM {table} WHERE "old" = 7') == len("changed")


# --- What a shard has besides rows

ATTRIBUTES = (
    "ALTER TABLE orders_shard_0 SET (fillfactor = 70, toast.autovacuum_enabled = off)",
    "ALTER TABLE orders_shard_0 ALTER COLUMN amount SET STATISTICS 7",
    "ALTER TABLE orders_shard_0 ALTER COLUMN amount SET (n_distinct = 5)",
    "ALTER TABLE orders_shard_0 ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE orders_shard_0 FORCE ROW LEVEL SECURITY",
    "ALTER TABLE orders_shard_0 ADD CHECK (amount > -5)",
    "ALTER TABLE orders_shard_0 ALTER COLUMN note SET DEFAULT 'zero'",
    "CREATE INDEX own ON orders_shard_0 (amount) WHERE amount > 3",
    "ALTER TABLE orders_shard_0 REPLICA IDENTITY USING INDEX orders_shard_0_tenant_code_key",
    "GRANT SELECT, UPDATE (note) ON orders_shard_0 TO {role}",
    "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    (
        'CREATE TRIGGER "its own" BEFORE UPDATE OF note ON orders_shard_0'
        " FOR EACH ROW WHEN (NEW.amount > 1) EXECUTE FUNCTION quiet('orders_shard_0')"
    ),
    'ALTER TABLE orders_shard_0 DISABLE TRIGGER "its own"',
    "CREATE TRIGGER everywhere AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION quiet()",
)

RICH = (
    "tenant bigint, id bigint, amount bigint, code bigint NOT NULL DEFAULT 1, note text,"
    " twice bigint GENERATED ALWAYS AS (amount * 2) STORED, PRIMARY KEY (tenant, id),"
    " CONSTRAINT positive CHECK (amount >= 0)"
)

LIKENESS = """SELECT relowner::regrole::text, relacl::text, reloptions::text, relrowsecurity,
    relforcerowsecurity, relreplident::text, (SELECT reloptions::text FROM pg_class AS t
    WHERE t.oid = c.reltoastrelid), ARRAY(SELECT (attname, attacl, attoptions, attnotnull,
        attgenerated::text, nullif(attstattarget, -1), pg_get_expr(adbin, adrelid))::text
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = c.oid AND attnum > 0 ORDER BY attname)::text,
    ARRAY(SELECT regexp_replace(pg_get_indexdef(indexrelid), '(?<=INDEX ).* USING', '')
          || indisreplident FROM pg_index WHERE indrelid = c.oid ORDER BY 1)::text,
    ARRAY(SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
          WHERE conrelid = c.oid AND contype = 'c' ORDER BY 1)::text,
    ARRAY(SELECT replace(pg_get_triggerdef(oid), ' ON public.' || c.relname || ' ', '')
                 || tgenabled::text
          FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal ORDER BY 1)::text
FROM pg_class AS c WHERE oid = '{}'::regclass"""


INDEX_NAMES = """SELECT array_agg(indexrelid::regclass::text ORDER BY indexrelid::regclass::text)
FROM pg_index WHERE indrelid = 'orders_shard_0'::regclass"""


def test_each_part_has_all_that_the_shard_had(
    connection: Connection, engine: Engine, role: str
) -> None:
    orders(connection, columns=RICH)
    run_sql(
        connection,
        "UPDATE orders SET code = id",
        "ALTER TABLE orders ADD UNIQUE (tenant, code)",
        *(statement.replace("{role}", role) for statement in ATTRIBUTES),
    )
    wanted = connection.exec_driver_sql(LIKENESS.format("orders_shard_0")).one()
    names = one(connection, INDEX_NAMES)
    connection.commit()
    assert run(engine).problems == []
    assert connection.exec_driver_sql(LIKENESS.format("orders_shard_0")).one() == wanted
    assert connection.exec_driver_sql(LIKENESS.format("orders_shard_2")).one() == wanted
    assert names == one(connection, INDEX_NAMES)


def test_a_copy_is_attached_without_a_look_at_its_rows(
    connection: Connection, engine: Engine
) -> None:
    run_sql(
        connection,
        "CREATE TABLE tenants (tenant bigint PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(0, 39)",
    )
    orders(connection, 1, columns=COLUMNS + ", FOREIGN KEY (tenant) REFERENCES tenants")
    told: list[str] = []
    talking = create_engine(
        engine.url,
        poolclass=NullPool,
        connect_args={"options": "-c client_min_messages=debug1"},
    )

    @event.listens_for(talking, "connect")
    def listen(connection: psycopg.Connection, _record: object) -> None:
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))

    before(talking, "locked_since', clock", told.clear)
    assert run(talking, 2, attempts=1).problems == []
    implied = [text for text in told if "is implied by existing constraints" in text]
    assert len(implied) >= 2
    assert [
        text for text in told if text.startswith(("verifying table", "validating foreign"))
    ] == []


def test_rows_are_hidden_from_the_owner_by_forced_row_security_only_afterwards(
    connection: Connection, engine: Engine
) -> None:
    orders(connection)
    run_sql(
        connection,
        *(f"ALTER TABLE orders_shard_{n} ENABLE ROW LEVEL SECURITY" for n in (0, 1)),
    )
    with writing(engine) as writer:
        report = run(engine)
    assert report.problems == []
    assert contents(connection) == writer.rows
    assert one(
        connection,
        "SELECT bool_and(relrowsecurity) FROM pg_class WHERE relispartition AND relkind = 'r'",
    )


# --- Writers


def test_writers_lose_nothing(connection: Connection, engine: Engine) -> None:
    orders(connection, rows=4000)
    with writing(engine) as writer:
        report = run(engine, 8, batch=20)
    assert report.problems == []
    assert writer.written > 20
    assert contents(connection) == writer.rows
    assert set(held(connection).values()) == {f"{n} of 8" for n in range(8)}


@contextmanager
def open_until_waited_for(
    engine: Engine, statement: LiteralString, end: LiteralString
) -> Generator[None]:
    """Run statements in a transaction that ends as soon as the run waits for it."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    with session(engine) as writer, session(engine) as watcher:
        writer.execute("BEGIN")
        writer.execute(statement)

        def release() -> None:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                if watcher.execute(waiting, [writer.info.backend_pid]).fetchone() != (0,):
                    break
            writer.execute(end)

        thread = Thread(target=release)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM orders WHERE id = 7",
        "UPDATE orders SET amount = -1 WHERE id = 7",
        "UPDATE orders SET id = 7007 WHERE id = 7",
        "UPDATE orders SET tenant = tenant + 1 WHERE id = 7",
        "DELETE FROM orders WHERE id = 7; INSERT INTO orders VALUES (7, 7, -2)",
    ],
)
def test_a_batch_that_meets_a_writer_waits_and_sees_what_became_of_it(
    connection: Connection, engine: Engine, statement: LiteralString, end: LiteralString
) -> None:
    orders(connection, 1)
    stopped(engine, "alembic_enterprise_places", count=2)
    with open_until_waited_for(engine, statement, end=end):
        report = run(engine, 2)
    assert report.problems == []
    expected = {(n % 40, n): n for n in range(400)}
    if end == "COMMIT":
        changed = expected.pop((7, 7))
        if statement.startswith("UPDATE orders SET amount"):
            expected[7, 7] = -1
        elif "7007" in statement:
            expected[7, 7007] = changed
        elif "tenant + 1" in statement:
            expected[8, 7] = changed
        elif "INSERT" in statement:
            expected[7, 7] = -2
    assert contents(connection) == expected


def test_a_batch_that_looks_rows_up_one_by_one_puts_none_back(
    connection: Connection, engine: Engine
) -> None:
    """It does so after it met the first writer, and only then meets the second."""
    orders(connection, 1)
    stopped(engine, "alembic_enterprise_places", count=2)
    first, then = "UPDATE orders SET amount = 0 WHERE id = 7", "DELETE FROM orders WHERE id = 47"
    with (
        open_until_waited_for(engine, first, end="COMMIT"),
        open_until_waited_for(engine, then, end="COMMIT"),
    ):
        report = run(engine, 2)
    assert report.problems == []
    rows = contents(connection)
    assert rows[7, 7] == 0
    assert (7, 47) not in rows


def test_a_writer_on_an_old_snapshot_is_told_and_never_wrong(
    connection: Connection, engine: Engine
) -> None:
    """It cannot see the rows that were copied since, and so cannot delete them."""
    orders(connection, 1)
    with session(engine) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1 FROM pg_class")
        stopped(engine, "hash_record_extended", count=2)
        with pytest.raises(psycopg.errors.SerializationFailure):
            other.execute("DELETE FROM orders WHERE id = 7")
        other.execute("ROLLBACK")
        other.execute("DELETE FROM orders WHERE id = 7")
    assert run(engine, 2).problems == []
    assert (7, 7) not in contents(connection)


SHIFTING = (
    """CREATE FUNCTION shift() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    UPDATE orders SET amount = amount + 1000 WHERE tenant = NEW.tenant AND id > NEW.id
    AND pg_trigger_depth() = 1; RETURN NEW; END$$""",
    "CREATE TRIGGER shift AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION shift()",
)


def test_triggers_that_change_the_rows_of_their_own_statement_again(
    connection: Connection, engine: Engine
) -> None:
    orders(connection, 1)
    run_sql(connection, *SHIFTING)
    changed: list[Any] = []

    def write() -> None:
        with session(engine) as other:
            other.execute("UPDATE orders SET amount = 0 WHERE tenant = 7")
        changed.append(contents(connection))

    before(engine, "hash_record_extended", write)
    assert run(engine, 2).problems == []
    assert changed == [contents(connection)]
    assert changed[0][7, 47] > 999


def test_replicated_changes_are_mirrored(connection: Connection, engine: Engine) -> None:
    orders(connection)

    def write() -> None:
        with session(engine) as other:
            other.execute("SET session_replication_role = replica")
            other.execute("DELETE FROM orders WHERE id = 7")

    before(engine, "hash_record_extended", write)
    assert run(engine).problems == []
    assert (7, 7) not in contents(connection)


@pytest.mark.parametrize("table", ["orders", "orders_shard_0"])
def test_a_truncated_table_stays_empty(
    connection: Connection, engine: Engine, table: LiteralString
) -> None:
    orders(connection, 1)

    def write() -> None:
        with session(engine) as other:
            other.execute(f"TRUNCATE {table}")
            other.execute("INSERT INTO orders VALUES (1, 1, 1)")

    before(engine, "hash_record_extended", write)
    assert run(engine, 2).problems == []
    assert contents(connection) == {(1, 1): 1}


@pytest.mark.parametrize("rewrite", ["VACUUM FULL orders", "CLUSTER orders_shard_0 USING back"])
def test_a_table_that_is_rewritten_meanwhile(
    connection: Connection, engine: Engine, rewrite: LiteralString
) -> None:
    """Its rows change their places: those that were not copied may be where others were."""
    orders(connection, 1)
    run_sql(
        connection,
        "CREATE INDEX back ON orders_shard_0 (id DESC)",
        "DELETE FROM orders WHERE id < 190",
    )

    def write() -> None:
        with session(engine) as other:
            other.execute(rewrite)

    rows = contents(connection)
    before(engine, "(1,0)'::tid AND", write)
    assert run(engine, 2).problems == []
    assert contents(connection) == rows


def test_a_column_that_is_added_meanwhile_begins_anew(
    connection: Connection, engine: Engine
) -> None:
    orders(connection, 1)
    stopped(engine, "hash_record_extended", count=2)
    run_sql(connection, "ALTER TABLE orders ADD COLUMN more int DEFAULT 3")
    report = run(engine, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    assert one(connection, "SELECT sum(more) FROM orders") == 1200


def test_triggers_that_were_switched_off_begin_anew(connection: Connection, engine: Engine) -> None:
    orders(connection, 1)
    stopped(engine, "hash_record_extended", count=2)
    run_sql(
        connection,
        "ALTER TABLE orders_shard_0 DISABLE TRIGGER ALL",
        "DELETE FROM orders WHERE id = 7",
    )
    report = run(engine, 2)
    assert (report.problems, report.removed) == ([], ["public.orders_shard_0"])
    assert (7, 7) not in contents(connection)


def test_copies_that_differ_never_take_the_place(connection: Connection, engine: Engine) -> None:
    orders(connection, 1)

    def spoil() -> None:
        with session(engine) as other:
            other.execute(
                "UPDATE orders_shard_1 SET amount = -1 WHERE id = (SELECT min(id)"
                " FROM orders_shard_1)"
            )

    before(engine, "hash_record_extended", spoil)
    report = run(engine, 2)
    assert report.exit_code == 2
    assert "contents differ. Run again with --abort, then without" in report.problems[0]
    assert run(engine, None).removed == ["public.orders_shard_0"]
    assert run(engine, 2).exit_code == 0


# --- Locks


def test_a_reader_who_stays_is_named_and_the_next_run_swaps(
    connection: Connection, engine: Engine
) -> None:
    orders(connection, 1)
    with session(engine) as reader:
        reader.execute("BEGIN")
        before(engine, "'quiet'", lambda: None)
        before(engine, "hash_record_extended", lambda: reader.execute("SELECT 1 FROM orders"))
        pid = reader.info.backend_pid
        report = run(engine, 2, attempts=2)
    assert report.exit_code == 2
    assert report.problems[0].startswith("swap public.orders_shard_0: no lock within 100 ms")
    assert f"pid {pid}" in report.problems[0]
    assert leftovers(connection) != []
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert run(engine, 2).exit_code == 0
    assert not any("INSERT INTO" in text for text in statements)


def test_a_second_run_goes_away(connection: Connection, engine: Engine) -> None:
    orders(connection, 1)
    seen: list[Report] = []
    before(
        engine,
        "alembic_enterprise_places",
        lambda: seen.extend([run(engine, 2), run(engine, None)]),
    )
    assert run(engine, 2).exit_code == 0
    grown, aborted = seen
    assert grown.exit_code == 0
    assert aborted.exit_code == 2
    assert grown.other is not None
    assert grown.other.application == "alembic-enterprise shards grow"


# --- Foreign keys

LINES = "tenant bigint, id bigint, FOREIGN KEY (tenant, id) REFERENCES orders"


def refer(connection: Connection, partitioned: str = "") -> None:
    run_sql(
        connection,
        f"CREATE TABLE lines ({LINES}) {partitioned}",
        *(["CREATE TABLE lines_0 PARTITION OF lines DEFAULT"] if partitioned else []),
        "INSERT INTO lines SELECT tenant, id FROM orders WHERE id < 50",
        "COMMENT ON CONSTRAINT lines_tenant_id_fkey ON lines IS 'why'",
    )


def version(connection: Connection) -> int:
    return int(one(connection, "SHOW server_version_num"))


def test_a_foreign_key_to_the_table_is_never_missing(
    connection: Connection, engine: Engine
) -> None:
    orders(connection)
    refer(connection)
    refused: list[bool] = []

    def violate() -> None:
        with session(engine) as other, pytest.raises(psycopg.errors.ForeignKeyViolation):
            other.execute("INSERT INTO lines VALUES (0, 7)")
        with session(engine) as other, pytest.raises(psycopg.errors.ForeignKeyViolation):
            other.execute("DELETE FROM orders WHERE id = 7")
        refused.append(True)

    for text in ("alembic_enterprise_places", "current_setting('alembic_enterprise", "VALIDATE"):
        before(engine, text, violate)
    report = run(engine)
    assert (report.problems, len(refused)) == ([], 3)
    assert [key for _, key in report.validated] == ["lines_tenant_id_fkey"]
    violate()
    key = "FROM pg_constraint WHERE conrelid = 'lines'::regclass AND conparentid = 0"
    assert one(connection, f"SELECT convalidated {key} AND contype = 'f'")
    assert (
        one(connection, f"SELECT obj_description(oid, 'pg_constraint') {key} AND contype = 'f'")
        == "why"
    )


def test_a_foreign_key_of_a_partitioned_table(connection: Connection, engine: Engine) -> None:
    orders(connection)
    refer(connection, "PARTITION BY LIST (tenant)")
    if version(connection) < 180000:
        with pytest.raises(ConfigurationError, match="lines_tenant_id_fkey of the partitioned"):
            run(engine)
        assert leftovers(connection) == []
        return
    assert run(engine).problems == []
    assert held(connection) == FOUR
    assert one(connection, "SELECT bool_and(convalidated) FROM pg_constraint WHERE contype = 'f'")


def test_a_foreign_key_of_the_table_is_kept_and_cascades(
    connection: Connection, engine: Engine
) -> None:
    run_sql(
        connection,
        "CREATE TABLE tenants (id bigint PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(0, 399)",
    )
    orders(
        connection,
        columns=COLUMNS + ", FOREIGN KEY (amount) REFERENCES tenants"
        " ON DELETE CASCADE ON UPDATE CASCADE",
    )

    def cascade() -> None:
        with session(engine) as other:
            other.execute("DELETE FROM tenants WHERE id IN (7, 8)")
            other.execute("UPDATE tenants SET id = 1009 WHERE id = 9")

    before(engine, "VALIDATE", cascade)
    before(engine, "hash_record_extended", lambda: None)
    report = run(engine)
    assert report.problems == []
    rows = contents(connection)
    assert {(7, 7), (8, 8)}.isdisjoint(rows)
    assert rows[9, 9] == 1009
    assert (
        one(
            connection,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
            " AND convalidated AND conrelid::regclass::text LIKE 'orders_shard_%'",
        )
        == 4
    )


# --- What cannot be done online is told before anything is done

REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "key": (("ALTER TABLE orders DROP CONSTRAINT orders_pkey",), "it has no primary key"),
    "itself": (
        ("ALTER TABLE orders ADD FOREIGN KEY (tenant, id) REFERENCES orders",),
        "refers to the table itself",
    ),
    "direct": (
        ("CREATE TABLE lines (t bigint, i bigint, FOREIGN KEY (t, i) REFERENCES orders_shard_0)",),
        "refers to one shard alone",
    ),
    "invalid": (
        ("ALTER TABLE orders_shard_0 ADD CONSTRAINT c CHECK (id < 9) NOT VALID",),
        "the constraint c of orders_shard_0 is not valid",
    ),
    "deferrable": (
        ("ALTER TABLE orders ADD CONSTRAINT d UNIQUE (tenant, amount, id) DEFERRABLE",),
        "is deferrable",
    ),
    "cascade": (
        (
            "CREATE TABLE tenants (id bigint PRIMARY KEY)",
            "INSERT INTO tenants SELECT generate_series(0, 39)",
            "ALTER TABLE orders ADD FOREIGN KEY (tenant) REFERENCES tenants ON UPDATE CASCADE",
        ),
        "may change the shard key by itself",
    ),
    "view": (
        ("CREATE VIEW v AS SELECT * FROM orders_shard_0",),
        "view v depends on orders_shard_0",
    ),
    "policy": (
        ("CREATE POLICY p ON orders_shard_0 USING (true)",),
        "policy p on table orders_shard_0 depends on orders_shard_0 itself",
    ),
    "all": (("CREATE PUBLICATION p FOR ALL TABLES",), "the publication p would publish the copies"),
    "one": (("CREATE PUBLICATION p FOR TABLE orders",), "publish_via_partition_root"),
    "shard": (
        ("CREATE PUBLICATION p FOR TABLE orders_shard_0",),
        "in publication p depends on orders_shard_0 itself",
    ),
    "kind": (
        (
            "ALTER TABLE orders DETACH PARTITION orders_shard_0",
            (
                "CREATE TABLE deep PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 0)"
                " PARTITION BY HASH (id)"
            ),
        ),
        "its shard public.deep is a partitioned table",
    ),
}


@pytest.mark.filterwarnings("ignore:.*wal_level.*")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_online_is_told_first(
    connection: Connection, engine: Engine, case: str
) -> None:
    orders(connection)
    statements, told = REFUSED[case]
    run_sql(connection, *statements)
    before = laws.snapshot(connection)
    with pytest.raises(ConfigurationError, match=told):
        run(engine)
    assert laws.snapshot(connection) == before


def test_a_publication_of_the_root_does_not_mind(connection: Connection, engine: Engine) -> None:
    orders(connection)
    run_sql(connection, "CREATE PUBLICATION p FOR TABLE orders WITH (publish_via_partition_root)")
    assert run(engine).problems == []


@pytest.mark.parametrize(
    ("count", "table", "told"),
    [
        (6, "orders", "its shards are of modulus 4, which 6 is no multiple of: write --to 8"),
        (2, "orders", "it has shards of modulus 4 already: write --to 4, or more"),
        (4096, "orders", "4096 shards are too many: 1024 are the most"),
        (8, "others", "no sharded table is called others: there are public.orders"),
    ],
)
def test_counts_that_cannot_be(
    connection: Connection, engine: Engine, count: int, table: str, told: str
) -> None:
    orders(connection, 4)
    with pytest.raises(ConfigurationError, match=told):
        run(engine, count, table)


def test_a_role_that_does_not_own_the_table_is_told(
    connection: Connection, engine: Engine, role: str
) -> None:
    orders(connection)
    other = create_engine(
        engine.url, poolclass=NullPool, connect_args={"options": f"-c role={role}"}
    )
    with pytest.raises(ConfigurationError, match=r"orders belongs to \w+: connect as"):
        run(other)


def test_the_owner_needs_no_more_than_that(
    connection: Connection, engine: Engine, role: str, new_role: Callable[..., str]
) -> None:
    clerk = new_role()
    orders(connection)
    owned = ("orders", "orders_shard_0", "orders_shard_1")
    run_sql(
        connection,
        *(f"ALTER TABLE {name} OWNER TO {role}" for name in owned),
        f"GRANT SELECT, DELETE ON orders TO {clerk}",
    )
    other = create_engine(
        engine.url, poolclass=NullPool, connect_args={"options": f"-c role={role}"}
    )

    def write() -> None:
        with session(engine) as session_of_clerk:
            session_of_clerk.execute(SQL("SET ROLE {}").format(Identifier(clerk)))
            session_of_clerk.execute("DELETE FROM orders WHERE id = 7")

    before(other, "hash_record_extended", write)
    assert run(other).problems == []
    assert (7, 7) not in contents(connection)


# --- Leftovers


def test_autogenerate_does_not_see_what_a_run_has_left(
    connection: Connection, engine: Engine
) -> None:
    orders(connection, 1)
    metadata = MetaData()
    metadata.reflect(connection, only=["orders"])
    connection.rollback()
    stopped(engine, "hash_record_extended", count=2)
    assert leftovers(connection) != []
    script = generate(connection, MetaData())
    assert "copy" not in script.upgrade
    assert "orders_shard_1" not in script.upgrade


def test_an_abort_leaves_what_is_split(connection: Connection, engine: Engine) -> None:
    orders(connection)
    rows = contents(connection)
    stopped(engine, 'ON "public"."orders_shard_1"')
    report = run(engine, None)
    assert (report.exit_code, report.removed) == (0, ["public.orders_shard_1"])
    assert leftovers(connection) == []
    assert sorted(held(connection).values()) == ["0 of 4", "1 of 2", "2 of 4"]
    assert contents(connection) == rows
    assert run(engine, None).removed == []


def test_a_name_that_is_taken_is_followed_by_a_number(
    connection: Connection, engine: Engine
) -> None:
    orders(connection, 1)
    run_sql(connection, "CREATE TYPE orders_shard_1 AS ENUM ('taken')")
    assert run(engine, 2).problems == []
    assert list(held(connection)) == ["orders_shard_0", "orders_shard_1_2"]


def test_a_dry_run_changes_nothing(connection: Connection, engine: Engine) -> None:
    orders(connection)
    before = laws.snapshot(connection)
    report = run(engine, dry_run=True)
    assert [len(split.parts) for split in report.splits] == [2, 2]
    assert laws.snapshot(connection) == before
