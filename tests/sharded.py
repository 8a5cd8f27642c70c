"""Sharded tables with hurting names, as somebody made them by hand.

table(connection, "orders", 8, columns="tenant_id bigint, region text", key="tenant_id")
"""

import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import LiteralString

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection, NullPool, create_engine, make_url

from alembic_enterprise import sql
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name

COLUMNS: LiteralString = "tenant_id bigint"


def run(connection: Connection, *statements: LiteralString | Composable) -> None:
    """Run statements, text or composed, and commit."""
    for statement in statements:
        sql.execute(connection, SQL(statement) if isinstance(statement, str) else statement)
    connection.commit()


@contextmanager
def encoded(server_url: str, encoding: LiteralString) -> Generator[Connection]:
    """A connection to a new database of an encoding, for a client that sends UTF-8."""
    name = f"encoded_{secrets.token_hex(6)}"
    admin = create_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    create = f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    with admin.connect() as connection:
        connection.exec_driver_sql(create)
    url = make_url(server_url).set(database=name)
    engine = create_engine(url, poolclass=NullPool, connect_args={"client_encoding": "UTF8"})
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def table(
    connection: Connection,
    name: str = "orders",
    count: int = 4,
    *,
    schema: str = "public",
    columns: LiteralString = COLUMNS,
    key: LiteralString = "tenant_id",
    held: Iterable[Class] | None = None,
) -> None:
    """A table with `count` shards, or those of the classes `held`, as our operations mark them."""
    parent = Name(schema, name)
    create = SQL("CREATE TABLE {} ({}) PARTITION BY HASH ({})")
    run(connection, create.format(parent.sql, SQL(columns), SQL(key)))
    for item in Class(1, 0).split(count) if held is None else held:
        shard(connection, parent, item)


def shard(connection: Connection, parent: Name, held: Class, name: str | None = None) -> Name:
    """Make one shard; its name follows its remainder unless it is given."""
    child = Name(parent.schema, name or f"{parent.name}_shard_{held.remainder}")
    create = SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES WITH (MODULUS {}, REMAINDER {})")
    run(
        connection,
        create.format(child.sql, parent.sql, *map(Literal, held)),
        marked(child, f"partition of {parent}"),
    )
    return child


def marked(name: Name, words: str) -> Composable:
    """The statement that comments a table as ours."""
    return SQL("COMMENT ON TABLE {} IS {}").format(name.sql, Literal(OWNERSHIP + words))


def filled(connection: Connection, parent: Name, values: LiteralString, rows: int) -> None:
    """Insert rows of an expression over `n`, and analyze."""
    insert = SQL("INSERT INTO {} SELECT {} FROM generate_series(1, {}) AS n")
    run(
        connection,
        insert.format(parent.sql, SQL(values), Literal(rows)),
        SQL("ANALYZE {}").format(parent.sql),
    )


def counts(connection: Connection, parent: Name) -> list[int]:
    """Rows of each shard of a table, by remainder, counted."""
    query = SQL(
        "SELECT s.relname, (SELECT count(*) FROM {} AS t WHERE t.tableoid = s.oid)"
        " FROM pg_class AS s JOIN pg_inherits ON inhrelid = s.oid"
        " WHERE inhparent = {}::regclass"
    ).format(parent.sql, parent.regclass)
    found = dict(sql.rows(connection, query))
    return [found[f"{parent.name}_shard_{number}"] for number in range(len(found))]


def half_detached(connection: Connection, name: str) -> None:
    """Leave a shard as an interrupted DETACH CONCURRENTLY does."""
    update = "UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = {}::regclass"
    run(connection, SQL(update).format(Literal(name)))
