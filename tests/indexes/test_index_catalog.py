"""What the rules look at: read in few queries, by roles that may see little."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from waiting import waiting

from alembic_enterprise.indexes import catalog, definitions
from alembic_enterprise.indexes.relations import Catalog, Table
from alembic_enterprise.indexes.rules import RULES
from alembic_enterprise.sql import Name

SHOP = """
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (
    id bigserial PRIMARY KEY, customer_id bigint REFERENCES customers, email text);
CREATE INDEX by_email ON orders (lower(email) DESC, customer_id) INCLUDE (id) WHERE id > 5
"""


def run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    connection.commit()


def table(known: Catalog, name: str) -> Table:
    [found] = [item for item in known.tables if item.name.name == name]
    return found


@contextmanager
def counted(connection: Connection) -> Generator[list[str]]:
    found: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(connection, "before_cursor_execute", record)
    yield found
    event.remove(connection, "before_cursor_execute", record)


def test_an_index_is_read_with_all_that_it_is(connection: Connection) -> None:
    run(connection, SHOP)
    orders = table(catalog.read(connection), "orders")
    [index] = [item for item in orders.indexes if item.name.name == "by_email"]
    assert index.columns == (None, "customer_id")
    assert [element.text for element in index.elements] == ["lower(email) DESC", "customer_id"]
    assert [element.options for element in index.elements] == [3, 0]
    assert index.include == ("id",)
    assert index.predicate == "(id > 5)"
    assert index.usable
    assert not index.promises
    [key] = orders.foreign_keys
    assert key.referred == Name("public", "customers")
    assert (key.columns, key.types) == (("customer_id",), ("bigint",))


@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        ("CREATE INDEX i ON t USING btree (a)", ("a",)),
        ('CREATE INDEX "i (" ON "t)" USING btree ("a, (b" DESC, c)', ('"a, (b" DESC', "c")),
        ("CREATE INDEX i ON t USING btree (f(a, ')'), ((b || '('))) WHERE (c)", None),
        ('CREATE INDEX i ON t USING gin ("a""b" x.ops (n=\'1\')) WITH (n=1)', None),
    ],
)
def test_keys_are_taken_out_of_a_definition(definition: str, keys: tuple[str, ...] | None) -> None:
    others = {"f(a": ("f(a, ')')", "((b || '('))"), '"a""b': ('"a""b" x.ops (n=\'1\')',)}
    expected = keys or next(value for text, value in others.items() if text in definition)
    assert definitions.keys(definition) == expected


def test_any_number_of_tables_costs_the_same_queries(connection: Connection) -> None:
    run(connection, SHOP)
    with counted(connection) as one:
        catalog.read(connection)
    run(connection, *(f"CREATE TABLE t{n} (id serial PRIMARY KEY, a text)" for n in range(9)))
    run(connection, *(f"CREATE INDEX ON t{n} (lower(a))" for n in range(9)))
    with counted(connection) as many:
        assert len(catalog.read(connection).tables) == 11
    assert len(one) == len(many)


def test_partitions_stand_below_their_table_and_add_up(connection: Connection) -> None:
    run(
        connection,
        "CREATE TABLE events (id bigint PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (50)",
        "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (50) TO (100)"
        " PARTITION BY HASH (id)",
        "CREATE TABLE events_2_0 PARTITION OF events_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "INSERT INTO events SELECT generate_series(0, 99)",
        "ANALYZE events",
    )
    known = catalog.read(connection)
    [events] = known.tables
    assert [leaf.name.name for leaf in events.leaves] == ["events_1", "events_2_0"]
    assert events.rows == 100
    assert events.size == sum(leaf.size for leaf in events.leaves) > 0
    [index] = events.indexes
    assert len([*known.spread(index)]) == 4


def test_what_is_nobodys_business_is_left_out(connection: Connection) -> None:
    run(
        connection,
        "CREATE TEMPORARY TABLE scratch (n int)",
        "CREATE TABLE alembic_enterprise_policy (relation regclass, policy jsonb)",
        "CREATE TABLE a_copy (n int)",
        "COMMENT ON TABLE a_copy IS 'alembic-enterprise: copy of shard 5'",
        "CREATE UNLOGGED TABLE kept (n int)",
        "CREATE VIEW seen AS SELECT 1 AS n",
    )
    assert [str(item.name) for item in catalog.read(connection).tables] == ["public.kept"]


def test_only_the_schemas_asked_for(connection: Connection) -> None:
    run(
        connection,
        'CREATE SCHEMA "we""ird Ü"',
        SHOP,
        'CREATE TABLE "we""ird Ü"."select" (id serial PRIMARY KEY)',
    )
    known = catalog.read(connection, schemas=['we"ird Ü'])
    assert [item.name for item in known.tables] == [Name('we"ird Ü', "select")]
    assert [item.name for item in known.sequences] == [Name('we"ird Ü', "select_id_seq")]
    assert "orders" in known.taken["public"]


def test_a_role_without_rights_reads_the_catalog_and_is_told_what_it_could_not_see(
    connection: Connection, role: str
) -> None:
    run(
        connection,
        SHOP,
        "CREATE TABLE counted (id serial PRIMARY KEY)",
        "INSERT INTO orders (email) SELECT 'a' || n FROM generate_series(1, 2000) AS n",
        "ANALYZE orders",
        f"SET ROLE {role}",
    )
    known = catalog.read(connection)
    told = "\n".join(known.unseen)
    assert "no right to SELECT from public.counted, public.customers, public.orders" in told
    assert "no right to SELECT from the sequences public.counted_id_seq" in told
    assert "only owners and pg_read_all_data see statistics of expressions, as of" in told
    assert known.distributions == {}
    found = {item.rule for rule in RULES.values() for item in rule(known)}
    assert found == {"foreign-key-without-index"}, "those that need no statistics"


def test_a_role_that_may_select_sees_it(connection: Connection, role: str) -> None:
    run(
        connection,
        "CREATE TABLE orders (id serial PRIMARY KEY, open boolean)",
        "INSERT INTO orders (open) SELECT n % 2 = 0 FROM generate_series(1, 2000) AS n",
        "CREATE INDEX ON orders (open)",
        "ANALYZE orders",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
        f"SET ROLE {role}",
    )
    known = catalog.read(connection)
    assert all("no right" not in sentence for sentence in known.unseen)
    [orders] = known.tables
    assert known.distributions[(orders.oid, "open")].rarest == pytest.approx(0.5, abs=0.05)


def test_young_statistics_are_told(connection: Connection) -> None:
    assert (
        "no index is called unused before they are 7 days old" in catalog.read(connection).unseen[0]
    )


def test_a_table_whose_index_is_being_built_is_known(
    connection: Connection, engine: Engine
) -> None:
    """DROP INDEX CONCURRENTLY waits for a reader, with the index already invalid."""
    run(connection, "CREATE TABLE orders (id bigint)", "CREATE INDEX by_id ON orders (id)")
    connection.exec_driver_sql("SELECT FROM orders")

    def drop(own: Connection) -> None:
        own.execution_options(isolation_level="AUTOCOMMIT")
        own.exec_driver_sql("DROP INDEX CONCURRENTLY by_id")

    with waiting(engine, drop) as future:
        with engine.connect() as observer:
            [orders] = (known := catalog.read(observer)).tables
        connection.rollback()
    future.result()
    assert orders.building
    assert [index.usable for index in orders.indexes] == [False]
    assert list(RULES["invalid-index"](known)) == []
