"""What rules have to know of a database, read from the catalog."""

import pytest
from autogenerate import run_sql
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.plan import catalog
from alembic_enterprise.sql import Name

SCHEMA = """
CREATE SCHEMA "we""ird";
CREATE TABLE "we""ird"."Mixed Case" (id bigint, at date, PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
CREATE TABLE "we""ird".one PARTITION OF "we""ird"."Mixed Case"
    FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') PARTITION BY HASH (id);
CREATE TABLE "we""ird".one_0 PARTITION OF "we""ird".one FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE "we""ird".two PARTITION OF "we""ird"."Mixed Case"
    FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE "we""ird".rest PARTITION OF "we""ird"."Mixed Case" DEFAULT;
INSERT INTO "we""ird"."Mixed Case" VALUES (1, '2027-01-01'), (2, '2027-01-01');
CREATE TABLE orders (id bigint, state text);
CREATE INDEX by_state ON orders (state);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_state'::regclass;
UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = '"we""ird".two'::regclass;
CREATE FUNCTION each_time() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION always() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
"""
TABLE, ONE = Name('we"ird', "Mixed Case"), Name('we"ird', "one")


def test_all_of_it_is_read(connection: Connection) -> None:
    run_sql(connection, SCHEMA)
    known = catalog.read(connection)
    assert {*known.tables} == {TABLE, ONE}
    bounds = {item.name.name: (item.is_default, item.pending) for item in known.partitions[TABLE]}
    assert bounds == {"one": (False, False), "two": (False, True), "rest": (True, False)}
    assert known.default_rows == {Name('we"ird', "rest"): 2}
    assert known.sharded[ONE].held == [(2, 0)]
    assert known.invalid_indexes == {Name("public", "by_state"): Name("public", "orders")}
    assert known.locks == {TABLE: 10, ONE: 4}
    assert known.lock_slots > 0
    assert {"each_time", "gen_random_uuid", "nextval"} <= {*known.volatile}
    assert not {"always", "now"} & {*known.volatile}


def test_an_empty_database_has_nothing(connection: Connection) -> None:
    known = catalog.read(connection)
    assert (known.tables, known.partitions, known.locks) == ({}, {}, {})


def test_nothing_can_be_written_meanwhile(connection: Connection) -> None:
    catalog.read(connection)
    with pytest.raises(DBAPIError, match="read-only"):
        connection.exec_driver_sql("CREATE TABLE written ()")
