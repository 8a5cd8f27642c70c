"""Databases to list: hand-made partitioned tables, and a clock that stands still."""

from sqlalchemy import Engine

NOW = "2026-11-21 12:00+00"

MONTHLY = """
CREATE TABLE events (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at);
DO $$ BEGIN
    FOR n IN 0..12 LOOP
        CONTINUE WHEN n = 4; EXECUTE format(
            'CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', n,
            '2026-01-01 00:00+00'::timestamptz + n * interval '1 month',
            '2026-01-01 00:00+00'::timestamptz + (n + 1) * interval '1 month'); END LOOP; END $$"""

POLICIES = """
CREATE TABLE alembic_enterprise_policy (relation regclass PRIMARY KEY, policy jsonb NOT NULL);
INSERT INTO alembic_enterprise_policy VALUES (
    'events', '{"kind": "range", "every": "month", "ahead": 3, "retain": null, "timezone": "UTC",
                "start": null, "default": false}')"""

EVERY_KIND = r"""
CREATE SCHEMA "Mixed Case";
CREATE TABLE "Mixed Case"."we""ird" (day date NOT NULL) PARTITION BY RANGE (day);
CREATE TABLE "Mixed Case"."p\1" PARTITION OF "Mixed Case"."we""ird"
    FOR VALUES FROM (MINVALUE) TO ('2026-11-01');
CREATE TABLE "Mixed Case".whole PARTITION OF "Mixed Case"."we""ird"
    FOR VALUES FROM ('2026-11-01') TO ('2026-12-01') PARTITION BY HASH (day);
CREATE TABLE "Mixed Case".half PARTITION OF "Mixed Case".whole
    FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE "заказы_数据" (at timestamp NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE "Mixed Case"."заказы" PARTITION OF "заказы_数据"
    FOR VALUES FROM ('2026-11-21 06:30') TO ('2026-11-22 18:00');
CREATE TABLE numbers (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE numbers_1 PARTITION OF numbers FOR VALUES FROM (20260101) TO (20270101);
CREATE TABLE customers (id bigint NOT NULL) PARTITION BY HASH (id);
CREATE TABLE customers_0 PARTITION OF customers FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE kinds (kind text) PARTITION BY LIST (lower(kind));
CREATE TABLE kinds_1 PARTITION OF kinds FOR VALUES IN ('it''s', NULL);
CREATE TABLE kinds_default PARTITION OF kinds DEFAULT;
INSERT INTO kinds VALUES ('other'), ('another');
CREATE TABLE nothing (at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE TABLE remote (at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE FOREIGN TABLE remote_1 PARTITION OF remote
    FOR VALUES FROM ('2026-01-01 00:00+00') TO (MAXVALUE) SERVER nowhere"""


def monthly(engine: Engine) -> None:
    """Events by month from 2026-01 through 2027-01 without 2026-05, and no policy."""
    clock(engine)
    execute(engine, "SET timezone = 'UTC'" + ";\n" + MONTHLY)


def managed(engine: Engine) -> None:
    """The same with a policy, and with rows."""
    monthly(engine)
    execute(engine, POLICIES)
    execute(engine, "INSERT INTO events VALUES (1, '2026-02-03'), (2, '2026-02-04')")
    execute(engine, "ANALYZE events")


def every_kind(engine: Engine) -> None:
    """Tables of each strategy, with hurting names, foreign and sub-partitioned partitions."""
    clock(engine)
    execute(engine, EVERY_KIND)


def clock(engine: Engine, now: str = NOW) -> None:
    """Let the clock of each new session stand still."""
    with engine.begin() as connection:
        name = connection.engine.url.database
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET alembic_enterprise.now = '{now}'")


def execute(engine: Engine, statements: str) -> None:
    """Run statements that stand in one text, each ended by `;` and a line's end."""
    with engine.begin() as connection:
        for statement in statements.split(";\n"):
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
