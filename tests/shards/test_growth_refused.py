"""Foreign keys of growing tables, and what cannot be done while a table is in use."""

from collections.abc import Callable

import growing
import laws
import psycopg
import pytest
from autogenerate import run_sql
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, NullPool, create_engine

from alembic_enterprise.errors import ConfigurationError

FOUR = {f"orders_shard_{n}": f"{n} of 4" for n in range(4)}


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
    return int(growing.one(connection, "SHOW server_version_num"))


def test_a_foreign_key_to_the_table_is_never_missing(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection)
    refer(connection)
    refused: list[bool] = []

    def violate() -> None:
        with growing.session(engine) as other, pytest.raises(psycopg.errors.ForeignKeyViolation):
            other.execute("INSERT INTO lines VALUES (0, 7)")
        with growing.session(engine) as other, pytest.raises(psycopg.errors.ForeignKeyViolation):
            other.execute("DELETE FROM orders WHERE id = 7")
        refused.append(True)

    for text in ("alembic_enterprise_made", "current_setting('alembic_enterprise", "VALIDATE"):
        growing.before(engine, text, violate)
    report = growing.run(engine)
    assert (report.problems, len(refused)) == ([], 3)
    assert [key for _, key in report.validated] == ["lines_tenant_id_fkey"]
    violate()
    key = "FROM pg_constraint WHERE conrelid = 'lines'::regclass AND conparentid = 0"
    assert growing.one(connection, f"SELECT convalidated {key} AND contype = 'f'")
    assert (
        growing.one(
            connection, f"SELECT obj_description(oid, 'pg_constraint') {key} AND contype = 'f'"
        )
        == "why"
    )


def test_a_foreign_key_of_a_partitioned_table(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)
    refer(connection, "PARTITION BY LIST (tenant)")
    if version(connection) < 180000:
        with pytest.raises(ConfigurationError, match="lines_tenant_id_fkey of the partitioned"):
            growing.run(engine)
        assert growing.leftovers(connection) == []
        return
    assert growing.run(engine).problems == []
    assert growing.held(connection) == FOUR
    assert growing.one(
        connection, "SELECT bool_and(convalidated) FROM pg_constraint WHERE contype = 'f'"
    )


def test_a_foreign_key_of_the_table_is_kept_and_cascades(
    connection: Connection, engine: Engine
) -> None:
    """That of a copy cascades, too, and before the mirror is told what the shard's has deleted."""
    run_sql(
        connection,
        "CREATE TABLE tenants (id bigint PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(0, 399)",
    )
    growing.orders(
        connection,
        columns=growing.COLUMNS + ", FOREIGN KEY (amount) REFERENCES tenants"
        " ON DELETE CASCADE ON UPDATE CASCADE",
    )

    def cascade() -> None:
        with growing.session(engine) as other:
            other.execute("DELETE FROM tenants WHERE id < 9")
            other.execute("UPDATE tenants SET id = 1009 WHERE id = 9")

    growing.before(engine, "VALIDATE", cascade)
    report = growing.run(engine)
    assert report.problems == []
    rows = growing.contents(connection)
    assert min(amount for amount in rows.values()) == 10
    assert rows[9, 9] == 1009
    assert (
        growing.one(
            connection,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
            " AND convalidated AND conrelid::regclass::text LIKE 'orders_shard_%'",
        )
        == 4
    )


@pytest.mark.parametrize("parted", [False, True])
@pytest.mark.parametrize("deferring", ["", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"])
def test_a_foreign_key_of_a_copy_waits_for_the_end_of_the_transaction(
    connection: Connection, engine: Engine, deferring: str, parted: bool
) -> None:
    """It sees the rows before the mirror takes them out, where one statement deletes both."""
    run_sql(
        connection,
        f"CREATE TABLE tenants (id bigint PRIMARY KEY) {'PARTITION BY HASH (id)' * parted}",
        *["CREATE TABLE t PARTITION OF tenants FOR VALUES WITH (MODULUS 1, REMAINDER 0)"] * parted,
        "INSERT INTO tenants SELECT generate_series(0, 399)",
    )
    key = f"CONSTRAINT known FOREIGN KEY (amount) REFERENCES tenants {deferring}"
    growing.orders(connection, columns=f"{growing.COLUMNS}, {key}")

    def write() -> None:
        with growing.session(engine) as other:
            other.execute(
                "WITH gone AS (DELETE FROM orders WHERE amount < 9)"
                " DELETE FROM tenants WHERE id < 9"
            )
            other.execute("INSERT INTO orders VALUES (1, 1001, 99)")

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine).problems == []
    assert len(growing.contents(connection)) == growing.ROWS - 8
    keys = (
        "SELECT DISTINCT condeferrable, condeferred, convalidated FROM pg_constraint"
        " WHERE conname = 'known'"
    )
    assert connection.exec_driver_sql(keys).all() == [
        ("BLE" in deferring, "ALL" in deferring, True)
    ]


def test_rows_that_are_put_in_and_truncated_in_one_transaction(
    connection: Connection, engine: Engine
) -> None:
    """What a foreign key of a copy has yet to look at keeps it from being truncated."""
    run_sql(
        connection,
        "CREATE TABLE tenants (id bigint PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(0, 399)",
    )
    growing.orders(
        connection, columns=growing.COLUMNS + ", FOREIGN KEY (amount) REFERENCES tenants"
    )

    def write() -> None:
        with growing.session(engine) as other:
            other.execute("BEGIN")
            other.execute("INSERT INTO orders VALUES (1, 1001, 99)")
            other.execute("TRUNCATE orders")
            other.execute("INSERT INTO orders VALUES (1, 1, 1)")
            other.execute("COMMIT")

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine).problems == []
    assert growing.contents(connection) == {(1, 1): 1}


# --- What cannot be done online is told before anything is done

WITHOUT_OVERLAPS = (
    "CREATE EXTENSION btree_gist",
    (
        "CREATE TABLE orders (tenant bigint, at int8range, amount bigint,"
        " PRIMARY KEY (tenant, at WITHOUT OVERLAPS)) PARTITION BY HASH (tenant)"
    ),
    "CREATE TABLE orders_0 PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
)


def test_a_key_without_overlaps_is_told_first(connection: Connection, engine: Engine) -> None:
    """No ON CONFLICT takes it, and its other columns do not tell rows apart."""
    if version(connection) < 180000:
        pytest.skip("PostgreSQL has WITHOUT OVERLAPS since 18")
    run_sql(connection, *WITHOUT_OVERLAPS)
    before = laws.snapshot(connection)
    with pytest.raises(ConfigurationError, match=r"no primary key, .* WITHOUT OVERLAPS"):
        growing.run(engine, 2)
    assert laws.snapshot(connection) == before


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
    "cut": (
        (
            "CREATE UNIQUE INDEX cut ON orders_shard_0 (tenant, amount)",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'cut'::regclass",
        ),
        "the index cut of orders_shard_0 is not valid, .*: DROP INDEX CONCURRENTLY cut",
    ),
    "unfinished": (
        ("CREATE INDEX late ON ONLY orders (amount)",),
        "orders_shard_. lacks the index late of the table, .*; orders_shard_. lacks the index late",
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
    "disabled": (
        (
            "CREATE TABLE lines (t bigint, i bigint, FOREIGN KEY (t, i) REFERENCES orders)",
            "ALTER TABLE lines DISABLE TRIGGER ALL",
        ),
        "triggers of the foreign key lines_t_i_fkey of lines are disabled",
    ),
    "rule": (
        ("CREATE RULE r AS ON DELETE TO orders_shard_0 DO INSTEAD NOTHING",),
        "rule r on table orders_shard_0 depends on orders_shard_0 itself",
    ),
    "view": (
        ("CREATE VIEW v AS SELECT * FROM orders_shard_0",),
        "view v depends on orders_shard_0",
    ),
    "row type": (
        ("CREATE FUNCTION f(orders_shard_0) RETURNS bigint LANGUAGE sql AS 'SELECT $1.id'",),
        r"function f\(orders_shard_0\) depends on orders_shard_0 itself",
    ),
    "row types": (
        ("CREATE TABLE kept (rows orders_shard_0[])",),
        "column rows of table kept depends on orders_shard_0 itself",
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
    growing.orders(connection)
    statements, told = REFUSED[case]
    run_sql(connection, *statements)
    before = laws.snapshot(connection)
    with pytest.raises(ConfigurationError, match=told):
        growing.run(engine)
    assert laws.snapshot(connection) == before


@pytest.mark.parametrize(
    "placed",
    [
        "ALTER TABLE orders_shard_0 RENAME CONSTRAINT orders_tenant_fkey TO known",
        "CREATE SCHEMA aside; ALTER TABLE orders_shard_0 SET SCHEMA aside",
    ],
)
def test_a_key_that_is_deferred_by_its_name_need_not_have_it_on_the_shard(
    connection: Connection, engine: Engine, placed: str
) -> None:
    """SET CONSTRAINTS reaches that of the shard as the table's, and that of a copy by its name."""
    run_sql(
        connection,
        "CREATE TABLE tenants (id bigint PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(0, 39)",
    )
    growing.orders(connection)
    run_sql(
        connection,
        "ALTER TABLE orders ADD FOREIGN KEY (tenant) REFERENCES tenants DEFERRABLE",
        placed,
    )

    def write() -> None:
        with growing.session(engine) as other:
            other.execute("BEGIN")
            other.execute("SET CONSTRAINTS orders_tenant_fkey DEFERRED")
            for tenant in range(40, 48):
                other.execute("INSERT INTO orders VALUES (%s, 1, 1)", [tenant])
            other.execute("INSERT INTO tenants SELECT generate_series(40, 47)")
            other.execute("COMMIT")

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine).problems == []
    assert growing.one(connection, "SELECT count(*) FROM orders") == growing.ROWS + 8


def test_a_key_that_is_deferred_by_its_name_reaches_the_copies(
    connection: Connection, engine: Engine
) -> None:
    run_sql(
        connection,
        "CREATE TABLE tenants (id bigint PRIMARY KEY)",
        "INSERT INTO tenants SELECT generate_series(0, 39)",
    )
    growing.months(connection)
    run_sql(
        connection,
        "ALTER TABLE years ADD CONSTRAINT known FOREIGN KEY (tenant) REFERENCES tenants DEFERRABLE",
    )

    def write() -> None:
        with growing.session(engine) as other:
            other.execute("BEGIN")
            other.execute("SET CONSTRAINTS known DEFERRED")
            for tenant in range(40, 44):
                other.execute("INSERT INTO years VALUES (%s, 1, 1, '2026-05-05')", [tenant])
            other.execute("INSERT INTO tenants SELECT generate_series(40, 43)")
            other.execute("COMMIT")

    growing.before(engine, growing.COMPARING, write)
    assert growing.run(engine).problems == []
    assert growing.one(connection, "SELECT count(*) FROM orders") == growing.ROWS + 4


@pytest.mark.parametrize(
    "constraint", ["CHECK (amount < 0)", "FOREIGN KEY (amount) REFERENCES tenants"]
)
def test_a_constraint_that_is_not_enforced_is_no_obstacle(
    connection: Connection, engine: Engine, constraint: str
) -> None:
    """The server refuses to validate it."""
    if version(connection) < 180000:
        pytest.skip("PostgreSQL has NOT ENFORCED since 18")
    growing.orders(connection)
    run_sql(
        connection,
        "CREATE TABLE tenants (id bigint PRIMARY KEY)",
        f"ALTER TABLE orders ADD CONSTRAINT loose {constraint} NOT ENFORCED",
    )
    assert growing.run(engine).problems == []
    assert growing.held(connection) == FOUR
    loose = "SELECT count(*) FROM pg_constraint WHERE conname = 'loose' AND NOT conenforced"
    assert growing.one(connection, loose) == 5


def test_a_subscription_that_would_pass_over_all_later_changes_is_told_first(
    connection: Connection, engine: Engine, role: str
) -> None:
    growing.orders(connection)
    owned = ("orders", "orders_shard_0", "orders_shard_1")
    run_sql(connection, *(f"ALTER TABLE {name} OWNER TO {role}" for name in owned))
    plain = create_engine(
        engine.url, poolclass=NullPool, connect_args={"options": f"-c role={role}"}
    )
    with growing.subscribed(connection, "orders_shard_1"):
        before = laws.snapshot(connection)
        for one_of_them in (engine, plain):
            with pytest.raises(ConfigurationError, match="ALTER SUBSCRIPTION sub REFRESH"):
                growing.run(one_of_them)
        assert laws.snapshot(connection) == before
        with growing.of_another_database(connection):
            assert growing.run(engine).problems == []
    with growing.subscribed(connection, "orders"):
        assert growing.run(engine, 8).problems == []


NORM = (
    "CREATE FUNCTION norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)'",
    (
        "CREATE FUNCTION fold(text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS"
        " 'BEGIN RETURN norm($1); END'"
    ),
    "ALTER TABLE orders ADD note text",
)


@pytest.mark.parametrize(
    "expression",
    [
        "CREATE INDEX ON orders (fold(note))",
        "ALTER TABLE orders ADD CHECK (fold(note) <> 'y')",
        "ALTER TABLE orders ADD folded text GENERATED ALWAYS AS (fold(note)) STORED",
    ],
)
def test_an_expression_that_needs_the_search_path_is_told_before_a_writer_meets_it(
    connection: Connection, engine: Engine, expression: str
) -> None:
    """Copies are written with one that is pinned."""
    growing.orders(connection)
    run_sql(connection, *NORM, expression, "UPDATE orders SET note = 'x' WHERE amount % 9 = 0")
    before = laws.snapshot(connection)
    report = growing.run(engine)
    assert report.exit_code == 2
    assert "norm(text) does not exist, where the search_path is" in report.problems[0]
    assert "ALTER FUNCTION ... SET search_path" in report.problems[0]
    assert laws.snapshot(connection) == before
    run_sql(connection, "ALTER FUNCTION fold SET search_path = public")
    rows = growing.contents(connection)
    assert growing.run(engine).problems == []
    assert growing.contents(connection) == rows


@pytest.mark.parametrize(
    "expression",
    [
        "CREATE INDEX ON orders (fold(note))",
        "CREATE INDEX ON orders (amount) WHERE fold(note) = 'y'",
        "ALTER TABLE orders ADD CHECK (fold(note) <> 'y')",
        "ALTER TABLE orders ADD folded text GENERATED ALWAYS AS (fold(note)) STORED",
    ],
)
def test_an_expression_that_no_row_can_try_is_told_before_a_writer_meets_it(
    connection: Connection, engine: Engine, expression: str
) -> None:
    growing.orders(connection, rows=0)
    run_sql(connection, *NORM, expression)
    before = laws.snapshot(connection)
    report = growing.run(engine)
    assert report.exit_code == 2
    assert "orders_shard_0: it has no row to try public.fold(text) with" in report.problems[0]
    assert "ALTER FUNCTION ... SET search_path" in report.problems[0]
    assert laws.snapshot(connection) == before
    run_sql(connection, "ALTER FUNCTION fold SET search_path = public")
    assert growing.run(engine).problems == []


BOUND = (
    "CREATE FUNCTION twice(bigint) RETURNS bigint LANGUAGE sql IMMUTABLE RETURN $1 * 2",
    "CREATE INDEX ON orders (twice(amount), lower(amount::text), abs(id))",
)


def test_functions_that_need_no_search_path_need_no_row(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection, rows=0)
    run_sql(connection, *BOUND)
    assert growing.run(engine).problems == []


def test_a_publication_of_the_root_does_not_mind(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)
    run_sql(connection, "CREATE PUBLICATION p FOR TABLE orders WITH (publish_via_partition_root)")
    assert growing.run(engine).problems == []


REFUSED_BY_YEARS: dict[str, tuple[tuple[str, ...], str]] = {
    "key": (
        (
            (
                "CREATE TABLE lines (tenant bigint, id bigint, at date,"
                " FOREIGN KEY (tenant, id, at) REFERENCES years)"
            ),
        ),
        "the foreign key lines_tenant_id_at_fkey of lines refers to years",
    ),
    "itself": (
        ("ALTER TABLE years ADD FOREIGN KEY (tenant, id, at) REFERENCES years",),
        "the foreign key years_tenant_id_at_fkey of years refers to years",
    ),
    "one": (("CREATE PUBLICATION p FOR TABLE years",), "ALTER PUBLICATION p SET"),
}


@pytest.mark.filterwarnings("ignore:.*wal_level.*")
@pytest.mark.parametrize("case", REFUSED_BY_YEARS)
def test_what_the_table_it_is_a_partition_of_does_not_allow_is_told_first(
    connection: Connection, engine: Engine, case: str
) -> None:
    growing.months(connection)
    statements, told = REFUSED_BY_YEARS[case]
    run_sql(connection, *statements)
    before = laws.snapshot(connection)
    with pytest.raises(ConfigurationError, match=told):
        growing.run(engine)
    assert laws.snapshot(connection) == before


@pytest.mark.parametrize(
    ("count", "table", "told"),
    [
        (6, "orders", "its shards are of modulus 4, which 6 is not a multiple of: write --to 8"),
        (2, "orders", "it has shards of modulus 4 already: write --to 4, or a multiple"),
        (4096, "orders", "4096 shards are too many: 1024 are the most"),
        (8, "others", "no sharded table is called others: there is public.orders"),
    ],
)
def test_counts_that_cannot_be(
    connection: Connection, engine: Engine, count: int, table: str, told: str
) -> None:
    growing.orders(connection, 4)
    with pytest.raises(ConfigurationError, match=told):
        growing.run(engine, count, table)


def test_patience_that_would_make_the_application_the_victim_of_deadlocks(
    connection: Connection, engine: Engine
) -> None:
    growing.orders(connection)
    limit = int(
        growing.one(connection, "SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'")
    )
    with pytest.raises(ConfigurationError, match=f"not below the server's .* of {limit} ms"):
        growing.run(engine, lock_timeout=limit)
    assert growing.run(engine, lock_timeout=limit - 1).problems == []


def test_a_role_that_does_not_own_the_table_is_told(
    connection: Connection, engine: Engine, role: str
) -> None:
    growing.orders(connection)
    other = create_engine(
        engine.url, poolclass=NullPool, connect_args={"options": f"-c role={role}"}
    )
    with pytest.raises(ConfigurationError, match=r"orders belongs to \w+: connect as"):
        growing.run(other)


def test_a_role_that_may_not_make_temporary_objects_is_told(
    connection: Connection, engine: Engine, role: str
) -> None:
    growing.orders(connection)
    database = engine.url.database
    run_sql(connection, f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    options = {"options": f"-c role={role}"}
    other = create_engine(engine.url, poolclass=NullPool, connect_args=options)
    with pytest.raises(ConfigurationError, match=f"GRANT TEMPORARY ON DATABASE {database}"):
        growing.run(other)


def test_a_session_that_may_not_write_is_told_first(connection: Connection, engine: Engine) -> None:
    growing.orders(connection)
    reading = create_engine(
        engine.url,
        poolclass=NullPool,
        connect_args={"options": "-c default_transaction_read_only=on"},
    )
    for count in (4, None):
        with pytest.raises(ConfigurationError, match="without default_transaction_read_only"):
            growing.run(reading, count)
    assert len(growing.run(reading, dry_run=True).splits) == 2


def test_forced_row_security_would_hide_rows_from_the_owner_who_mirrors(
    connection: Connection, engine: Engine, role: str
) -> None:
    growing.orders(connection)
    for shard in ("orders_shard_0", "orders_shard_1"):
        run_sql(
            connection,
            f"ALTER TABLE {shard} OWNER TO {role}",
            f"ALTER TABLE {shard} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        )
    with pytest.raises(ConfigurationError, match="row security is forced on orders_shard_0"):
        growing.run(engine)


def test_the_owner_needs_no_more_than_that(
    connection: Connection, engine: Engine, role: str, new_role: Callable[..., str]
) -> None:
    clerk = new_role()
    growing.orders(connection)
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
        with growing.session(engine) as session_of_clerk:
            session_of_clerk.execute(SQL("SET ROLE {}").format(Identifier(clerk)))
            session_of_clerk.execute("DELETE FROM orders WHERE id = 7")

    growing.before(other, growing.COMPARING, write)
    assert growing.run(other).problems == []
    assert (7, 7) not in growing.contents(connection)
