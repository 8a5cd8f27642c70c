"""Sharded tables that grow, and writers that keep a model of what they have committed.

growing.orders(connection, 2)
with growing.writing(engine) as writer:
    report = growing.run(engine, 4)
assert growing.contents(connection) == writer.rows
"""

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from autogenerate import run_sql
from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection, Engine, event

from alembic_enterprise import sql
from alembic_enterprise.locks import Patience
from alembic_enterprise.shards import growth
from alembic_enterprise.shards.catalog import read
from alembic_enterprise.shards.growth import Job
from alembic_enterprise.shards.growth.report import Report
from alembic_enterprise.shards.operations import CreateHashShards
from alembic_enterprise.sql import Name

COLUMNS = "tenant bigint, id bigint, amount bigint, PRIMARY KEY (tenant, id)"
ROWS = 400
TENANTS = 40

COMPARING = "hash_record_extended"
"""In the statement that compares a shard with its copies, and in no other: it sums up checksums."""

PACE = 0.005
"""Seconds between two transactions of a writer: a run has about as many statements meanwhile, and a
writer that never rests would take half of the machine from it."""

Rows = dict[tuple[int, int], int]


def orders(
    connection: Connection, count: int = 2, *, columns: str = COLUMNS, rows: int = ROWS
) -> None:
    """The table `orders`, with `count` shards and rows, several to a page of a batch."""
    run_sql(connection, f"CREATE TABLE orders ({columns}) PARTITION BY HASH (tenant)")
    create = CreateHashShards("orders", count=count)
    for statement in create.statements():
        sql.execute(connection, statement)
    fill = SQL(
        "INSERT INTO orders (tenant, id, amount)"
        " SELECT n % {}, n, n FROM generate_series(0, {} - 1) AS n"
    )
    sql.execute(connection, fill.format(Literal(TENANTS), Literal(rows)))
    run_sql(connection, "ANALYZE orders")


def months(connection: Connection, *, rows: int = ROWS) -> None:
    """The table `years` by time, whose partition `orders` is one with two shards and rows."""
    run_sql(
        connection,
        "CREATE TABLE years (tenant bigint, id bigint, amount bigint, at date,"
        " PRIMARY KEY (tenant, id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE orders PARTITION OF years FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
        " PARTITION BY HASH (tenant)",
    )
    for statement in CreateHashShards("orders", count=2).statements():
        sql.execute(connection, statement)
    fill = SQL(
        "INSERT INTO years SELECT n % {}, n, n, '2026-05-05' FROM generate_series(0, {} - 1) AS n"
    )
    sql.execute(connection, fill.format(Literal(TENANTS), Literal(rows)))
    run_sql(connection, "ANALYZE years")


def run(
    engine: Engine,
    count: int | None = 4,
    table: str = "orders",
    *,
    batch: int = 50,
    attempts: int = 20,
    lock_timeout: int = 100,
    dry_run: bool = False,
) -> Report:
    """Let a table grow without pauses, 50 rows a batch; with a count of None, abort."""
    patience = Patience(lock_timeout, attempts=attempts, longest=0.01)
    job = Job(batch=batch, patience=patience, dry_run=dry_run)
    if count is None:
        return growth.abort(engine, table, job)
    return growth.grow(engine, table, count, job)


def contents(connection: Connection, table: str = "orders") -> Rows:
    """All rows: (tenant, id) -> amount."""
    found = sql.rows(connection, SQL("SELECT tenant, id, amount FROM {}").format(_name(table)))
    connection.rollback()
    assert len({row[:2] for row in found}) == len(found)
    return {(tenant, key): amount for tenant, key, amount in found}


def held(connection: Connection, table: str = "orders") -> dict[str, str]:
    """What each shard holds, by its name, after looking that all its rows belong there."""
    found = next(item for item in read(connection).values() if item.name.name == table)
    for shard in found.shards:
        query = SQL(
            "SELECT count(*) FROM {} WHERE NOT satisfies_hash_partition({}::oid, {}, {}, {})"
        ).format(
            shard.name.sql,
            Literal(found.oid),
            *map(Literal, shard.held),
            SQL(", ").join(Identifier(name or "") for name in found.key.columns),
        )
        assert sql.rows(connection, query) == [(0,)]
    connection.rollback()
    return {shard.name.name: "{} of {}".format(*reversed(shard.held)) for shard in found.shards}


def leftovers(connection: Connection) -> list[Any]:
    """What a run has left: tables, functions, triggers, constraints that are named after us."""
    query = SQL("""
SELECT relname::text FROM pg_class WHERE relname ~ '^alembic_enterprise_(copy|guard)'
UNION ALL SELECT proname::text FROM pg_proc
          WHERE proname ~ '^alembic_enterprise' AND NOT pg_is_other_temp_schema(pronamespace)
UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgname ~ 'alembic_enterprise'
UNION ALL SELECT conname::text FROM pg_constraint WHERE conname ~ '^alembic_enterprise'
UNION ALL SELECT c.oid::regclass::text FROM pg_class AS c
          WHERE NOT relispartition AND obj_description(c.oid) ~ '^alembic-enterprise: '""")
    found = [name for (name,) in sql.rows(connection, query)]
    connection.rollback()
    return found


def copies(connection: Connection) -> list[str]:
    """The copies of shards that a run has left."""
    query = SQL("""
SELECT oid::regclass::text FROM pg_class
WHERE starts_with(obj_description(oid, 'pg_class'), 'alembic-enterprise: copy of') ORDER BY 1""")
    found = [name for (name,) in sql.rows(connection, query)]
    connection.rollback()
    return found


def before(engine: Engine, text: str, act: Callable[[], object]) -> None:
    """Act once, before the first statement of a run that has the text in it."""
    waiting = [act]

    def listen(*given: Any) -> None:
        if text in given[2] and waiting:
            waiting.pop()()

    event.listen(engine, "before_cursor_execute", listen)


class Killed(Exception):  # noqa: N818  # what happens to the run
    """Ends a run in this process as a signal would."""


def stopped(engine: Engine, text: str, count: int = 4, table: str = "orders") -> None:
    """Let a run end before the first statement that has the text in it."""

    def end() -> None:
        raise Killed

    before(engine, text, end)
    with pytest.raises(Killed):
        run(engine, count, table)


def one(connection: Connection, query: str) -> Any:
    """The only value that a query returns."""
    found = connection.exec_driver_sql(query, execution_options={"no_parameters": True}).scalar()
    connection.rollback()
    return found


def session(engine: Engine) -> psycopg.Connection:
    """One more session, in autocommit."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)


class Writer:
    """Inserts, updates, deletes and moves rows, and keeps a model of what it has committed."""

    def __init__(self, engine: Engine, rows: Rows, seed: int = 0) -> None:
        self.rows = rows
        self.written = 0
        self._chance = random.Random(seed)  # noqa: S311  # no secret
        self._engine = engine

    def run(self, done: Event, pace: float) -> None:
        """Write until the event is set, with so many seconds between two transactions."""
        with session(self._engine) as connection:
            self.write(connection)
            while not done.wait(pace):
                self.write(connection)

    def write(self, connection: psycopg.Connection) -> None:
        """One transaction of one to three statements."""
        model = dict(self.rows)
        keep = self._chance.random() < 0.9
        with connection.transaction(force_rollback=not keep):
            for _ in range(self._chance.randint(1, 3)):
                self._statement(connection, model)
        if keep:
            self.rows = model
        self.written += 1

    def _statement(self, connection: psycopg.Connection, model: Rows) -> None:
        kind = self._chance.choice(["insert", "update", "delete", "move", "again"])
        tenant, number, amount = (self._chance.randrange(limit) for limit in (TENANTS, 10**9, 99))
        if kind == "insert" or not model:
            connection.execute("INSERT INTO orders VALUES (%s, %s, %s)", [tenant, number, amount])
            model[tenant, number] = amount
            return
        old = self._chance.choice(list(model))
        if kind == "update":
            statement = "UPDATE orders SET amount = %s WHERE tenant = %s AND id = %s"
            connection.execute(statement, [amount, *old])
            model[old] = amount
        elif kind == "move":
            statement = "UPDATE orders SET tenant = %s, id = %s WHERE tenant = %s AND id = %s"
            connection.execute(statement, [tenant, number, *old])
            model[tenant, number] = model.pop(old)
        else:
            connection.execute("DELETE FROM orders WHERE tenant = %s AND id = %s", old)
            del model[old]
            if kind == "again":
                connection.execute("INSERT INTO orders VALUES (%s, %s, %s)", [*old, amount])
                model[old] = amount


@contextmanager
def writing(engine: Engine, pace: float = PACE) -> Generator[Writer]:
    """Let a writer write while the block runs; an error of it is raised at the end."""
    with engine.connect() as connection:
        writer = Writer(engine, contents(connection))
    done, errors = Event(), list[BaseException]()

    def work() -> None:
        try:
            writer.run(done, pace)
        except BaseException as error:  # noqa: BLE001  # told to the test
            errors.append(error)

    thread = Thread(target=work)
    thread.start()
    try:
        yield writer
    finally:
        done.set()
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def subscribed(connection: Connection, shard: str) -> Generator[None]:
    """Let a subscription write to a shard by its name, as it does unless the root is published.

    It has no publisher. A database that has a subscription cannot be dropped.
    """
    run_sql(
        connection,
        "CREATE SUBSCRIPTION sub CONNECTION '' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE)",
        f"INSERT INTO pg_subscription_rel SELECT oid, '{shard}'::regclass, 'r', NULL"
        " FROM pg_subscription WHERE subname = 'sub'",
    )
    try:
        yield
    finally:
        connection.rollback()
        run_sql(connection, "DROP SUBSCRIPTION sub")


@contextmanager
def of_another_database(connection: Connection) -> Generator[None]:
    """Let the subscriptions be another database's, as in one that was copied from it."""
    move = "UPDATE pg_subscription SET subdbid = {}"
    run_sql(connection, move.format(1))
    try:
        yield
    finally:
        own = "(SELECT oid FROM pg_database WHERE datname = current_database())"
        run_sql(connection, move.format(own))


def _name(table: str) -> Composable:
    return Name(None, table).sql
