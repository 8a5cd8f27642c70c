"""Growth of a table: rows and names, what a shard has besides rows, and leftovers."""

from collections.abc import Callable

import growing
import laws
import psycopg
from autogenerate import generate, run_sql
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, event, make_url

from alembic_enterprise.shards.operations import GrowHashShards

FOUR = {f"orders_shard_{n}": f"{n} of 4" for n in range(4)}


# --- Rows and names


def test_every_row_arrives_in_the_shard_of_its_hash(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)
    rows = growing.contents(connection)
    report = growing.run(engine)
    assert report.problems == []
    assert [(done.shard.name, done.rows) for done in report.done] == [
        (split.shard.name, split.rows) for split in report.splits
    ]
    assert sum(done.rows for done in report.done) == len(rows)
    assert growing.contents(connection) == rows
    assert growing.held(connection) == FOUR
    assert growing.leftovers(connection) == []


def test_it_ends_as_the_operation_that_locks(
    connection: Connection, engine: Engine, other_database: Callable[..., str], database_url: str
) -> None:
    growing.orders(connection)
    run_sql(connection, "CREATE INDEX ON orders (amount)")
    connection.close()
    url = other_database(make_url(database_url).database)
    growing.run(engine)
    with create_engine(url, poolclass=NullPool).connect() as other, engine.connect() as grown:
        laws.apply(other, [GrowHashShards("orders", count=4)])
        found = laws.snapshot(grown)
        assert found == laws.snapshot(other)
        laws.apply(grown, [GrowHashShards("orders", count=4)])
        assert laws.snapshot(grown) == found


def test_a_shard_is_split_into_all_its_parts_at_once(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection)
    rows = growing.contents(connection)
    report = growing.run(engine, 16)
    assert [len(split.parts) for split in report.splits] == [8, 8]
    assert growing.held(connection) == {f"orders_shard_{n}": f"{n} of 16" for n in range(16)}
    assert growing.contents(connection) == rows


def test_a_table_of_several_moduli_grows_evenly(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)
    rows = growing.contents(connection)
    growing.stopped(engine, "orders_shard_1")
    assert sorted(growing.held(connection).values()) == ["0 of 4", "1 of 2", "2 of 4"]
    report = growing.run(engine, 8)
    assert [len(split.parts) for split in report.splits] == [4, 2, 2]
    assert growing.held(connection) == {f"orders_shard_{n}": f"{n} of 8" for n in range(8)}
    assert growing.contents(connection) == rows


def test_nothing_to_do_is_done(connection: Connection, engine: Engine) -> None:
    growing.orders(connection, 4)
    report = growing.run(engine, 4)
    assert (report.exit_code, report.splits, report.done) == (0, [], [])


WEIRD = """CREATE TABLE "Mixed 100% Case"."we""ird $mirror$ заказ" (
    "found" text COLLATE "C", "old" bigint, "NEW" jsonb DEFAULT '{}', "made" text, body json,
    size bigint GENERATED ALWAYS AS (length("made")) STORED, gone int, PRIMARY KEY ("old", "found")
) PARTITION BY HASH ("found", "old")"""


def test_names_and_types_that_hurt(connection: Connection, engine: Engine) -> None:
    table = '"Mixed 100% Case"."we""ird $mirror$ заказ"'
    run_sql(
        connection,
        'CREATE SCHEMA "Mixed 100% Case"',
        WEIRD,
        f"ALTER TABLE {table} DROP COLUMN gone",
        f'CREATE TABLE "Mixed 100% Case"."sh$block$ard" PARTITION OF {table}'
        " FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        f"INSERT INTO {table} (\"found\", \"old\", \"made\", body) SELECT 'f' || n, n, 'm', '[1]'"
        " FROM generate_series(1, 300) AS n",
    )

    def write() -> None:
        with growing.session(engine) as other:
            other.execute(f'UPDATE {table} SET "made" = \'changed\' WHERE "old" = 7')
            other.execute(f'DELETE FROM {table} WHERE "old" = 8')
            other.execute(f"INSERT INTO {table} VALUES ('x', 9)")

    growing.before(engine, growing.COMPARING, write)
    report = growing.run(engine, 2, 'Mixed 100% Case.we"ird $mirror$ заказ')
    assert report.problems == []
    assert list(growing.held(connection, 'we"ird $mirror$ заказ')) == [
        "sh$block$ard",
        'we"ird $mirror$ заказ_shard_1',
    ]
    assert growing.one(connection, f"SELECT count(*) FROM {table}") == 300
    assert growing.one(connection, f'SELECT size FROM {table} WHERE "old" = 7') == len("changed")


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
    """COMMENT ON TRIGGER "its own" ON orders_shard_0 IS 'it''s why'""",
    "CREATE TRIGGER everywhere AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION quiet()",
    "ALTER TABLE orders_shard_0 DISABLE TRIGGER everywhere",
    "ALTER TABLE orders_shard_0 CLUSTER ON orders_shard_0_pkey",
    "CREATE INDEX expression ON orders_shard_0 (id, lower(note))",
    "ALTER INDEX expression ALTER COLUMN 2 SET STATISTICS 1000",
    "CREATE STATISTICS dependent (dependencies, mcv) ON amount, note FROM orders_shard_0",
    "ALTER STATISTICS dependent SET STATISTICS 500",
    "COMMENT ON STATISTICS dependent IS 'why'",
    "CREATE STATISTICS expressed ON lower(note) FROM orders_shard_0",
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
          || indisreplident || indisclustered
          FROM pg_index WHERE indrelid = c.oid ORDER BY 1)::text,
    ARRAY(SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
          WHERE conrelid = c.oid AND contype = 'c' ORDER BY 1)::text,
    ARRAY(SELECT replace(pg_get_triggerdef(oid), ' ON public.' || c.relname || ' ', '')
                 || tgenabled::text || coalesce(obj_description(oid, 'pg_trigger'), '')
          FROM pg_trigger WHERE tgrelid = c.oid AND tgconstraint = 0 ORDER BY 1)::text,
    ARRAY(SELECT (attname, attnum, attstattarget)::text FROM pg_attribute JOIN pg_index
          ON attrelid = indexrelid WHERE indrelid = c.oid AND attstattarget >= 0)::text,
    ARRAY(SELECT (stxowner, stxkind, stxkeys, nullif(stxstattarget, -1), stxexprs IS NULL,
                  obj_description(oid, 'pg_statistic_ext'))::text
          FROM pg_statistic_ext WHERE stxrelid = c.oid ORDER BY 1)::text
FROM pg_class AS c WHERE oid = '{}'::regclass"""


NAMES = """SELECT ARRAY(SELECT indexrelid::regclass::text FROM pg_index
                        WHERE indrelid = 'orders_shard_0'::regclass
                        UNION ALL SELECT stxname FROM pg_statistic_ext
                        WHERE stxrelid = 'orders_shard_0'::regclass ORDER BY 1)"""


def test_each_part_has_all_that_the_shard_had(
    connection: Connection, engine: Engine, role: str
) -> None:
    growing.orders(connection, columns=RICH)
    run_sql(
        connection,
        "UPDATE orders SET code = id",
        "ALTER TABLE orders ADD UNIQUE (tenant, code)",
        *(statement.replace("{role}", role) for statement in ATTRIBUTES),
    )
    wanted = connection.exec_driver_sql(LIKENESS.format("orders_shard_0")).one()
    names = growing.one(connection, NAMES)
    connection.commit()
    assert growing.run(engine).problems == []
    assert connection.exec_driver_sql(LIKENESS.format("orders_shard_0")).one() == wanted
    assert connection.exec_driver_sql(LIKENESS.format("orders_shard_2")).one() == wanted
    assert names == growing.one(connection, NAMES)


def test_a_statement_trigger_of_each_partition_is_on_each_part_and_sees_no_copying(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection)
    marked = "COMMENT ON TRIGGER t ON orders_shard_{} IS 'alembic-enterprise: on each partition'"
    run_sql(
        connection,
        "CREATE TABLE seen (name text)",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO seen VALUES (TG_TABLE_NAME); RETURN NULL; END'",
        *(
            f"CREATE TRIGGER t AFTER INSERT OR DELETE ON orders_shard_{n} EXECUTE FUNCTION see()"
            for n in (0, 1)
        ),
        *(marked.format(n) for n in (0, 1)),
    )
    assert growing.run(engine).problems == []
    assert growing.one(connection, "SELECT count(*) FROM seen") == 0
    described = "obj_description(oid, 'pg_trigger') = 'alembic-enterprise: on each partition'"
    assert growing.one(connection, f"SELECT count(*) FROM pg_trigger WHERE {described}") == 4


def test_a_shard_that_somebody_made_by_hand_stays_his_own(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection)
    run_sql(
        connection,
        "COMMENT ON TABLE orders_shard_0 IS 'of the north'",
        "COMMENT ON TABLE orders_shard_1 IS NULL",
    )
    assert growing.run(engine).problems == []
    comment = "SELECT obj_description('orders_shard_{}'::regclass, 'pg_class')"
    assert [growing.one(connection, comment.format(n)) for n in range(4)] == [
        "of the north",
        None,
    ] * 2


def test_a_copy_is_attached_without_a_look_at_its_rows(
    connection: Connection, engine: Engine
) -> None:
    run_sql(
        connection,
        "CREATE TABLE tenants (tenant bigint PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(0, 39)",
    )
    growing.orders(
        connection, 1, columns=growing.COLUMNS + ", FOREIGN KEY (tenant) REFERENCES tenants"
    )
    told = told_by_the_swap(engine, 2)
    assert len([text for text in told if "is implied by existing constraints" in text]) >= 2
    assert [text for text in told if text.startswith(LOOKING)] == []


def test_a_copy_of_a_nested_shard_is_attached_without_a_look_at_its_rows(
    connection: Connection, engine: Engine
) -> None:
    growing.months(connection)
    rows = growing.contents(connection, "years")
    told = told_by_the_swap(engine, 4)
    assert len([text for text in told if "is implied by existing constraints" in text]) >= 2
    assert [text for text in told if text.startswith(LOOKING)] == []
    assert growing.contents(connection, "years") == rows
    assert growing.held(connection) == FOUR
    assert growing.leftovers(connection) == []


LOOKING = ("verifying table", "validating foreign")


def told_by_the_swap(engine: Engine, count: int) -> list[str]:
    """What the server says while the copies of a shard, and those after it, take its place."""
    told: list[str] = []
    talking = create_engine(
        engine.url,
        poolclass=NullPool,
        connect_args={"options": "-c client_min_messages=debug1"},
    )

    @event.listens_for(talking, "connect")
    def listen(connection: psycopg.Connection, _record: object) -> None:
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))

    growing.before(talking, "locked_since', clock", told.clear)
    assert growing.run(talking, count, attempts=1).problems == []
    return told


def test_row_security_is_no_obstacle(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)
    run_sql(
        connection,
        *(f"ALTER TABLE orders_shard_{n} ENABLE ROW LEVEL SECURITY" for n in (0, 1)),
    )
    with growing.writing(engine) as writer:
        report = growing.run(engine)
    assert report.problems == []
    assert growing.contents(connection) == writer.rows
    assert growing.one(
        connection,
        "SELECT bool_and(relrowsecurity) FROM pg_class WHERE relispartition AND relkind = 'r'",
    )


# --- Leftovers


def test_autogenerate_does_not_see_what_a_run_has_left(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, 1)
    growing.stopped(engine, growing.COMPARING, count=2)
    assert growing.leftovers(connection) != []
    script = generate(connection, MetaData())
    assert "copy" not in script.upgrade
    assert "orders_shard_1" not in script.upgrade


def test_an_abort_leaves_what_is_split(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)
    rows = growing.contents(connection)
    growing.stopped(engine, 'ON "public"."orders_shard_1"')
    report = growing.run(engine, None)
    assert (report.exit_code, report.removed) == (0, ["public.orders_shard_1"])
    assert growing.leftovers(connection) == []
    assert sorted(growing.held(connection).values()) == ["0 of 4", "1 of 2", "2 of 4"]
    assert growing.contents(connection) == rows
    assert growing.run(engine, None).removed == []


def test_a_name_that_is_taken_is_followed_by_a_number(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, 1)
    run_sql(connection, "CREATE TYPE orders_shard_1 AS ENUM ('taken')")
    assert growing.run(engine, 2).problems == []
    assert list(growing.held(connection)) == ["orders_shard_0", "orders_shard_1_2"]


def test_a_number_fits_behind_the_longest_name(connection: Connection, engine: Engine) -> None:
    table = "ö" * 27
    growing.orders(connection, 1)
    run_sql(
        connection,
        f"ALTER TABLE orders RENAME TO {table}",
        f"CREATE TYPE {table}_shard_1 AS ENUM ('taken')",
    )
    assert growing.run(engine, 2, table).problems == []
    assert list(growing.held(connection, table)) == ["orders_shard_0", "ö" * 26 + "_shard_1_2"]


def test_a_dry_run_changes_nothing(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)
    before = laws.snapshot(connection)
    report = growing.run(engine, dry_run=True)
    assert [len(split.parts) for split in report.splits] == [2, 2]
    assert laws.snapshot(connection) == before
