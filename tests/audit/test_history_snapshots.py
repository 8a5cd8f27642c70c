"""`as_of` gives the rows that were there: random statements, and a look at the table after each."""

import random
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import laws
import pytest
from autogenerate import run_sql
from random_changes import SETUPS, Generator, Step
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Select,
    Table,
    Text,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import HashShards, RangePartitions
from alembic_enterprise.audit.history import as_of
from alembic_enterprise.audit.model import AuditTrail
from alembic_enterprise.audit.operations import CreateAuditTrail

STATEMENTS = 120
"""How many random statements each kind of table is given."""

T = Table(
    "t",
    MetaData(),
    Column("tenant", Integer, primary_key=True),
    Column("id", Integer, primary_key=True),
    Column("amount", Integer),
    Column("latest", DateTime(timezone=True)),
    Column("actor", Text),
    Column("tg_op", Text),
    Column("new_rows", ARRAY(Integer)),
    Column("old_rows", JSONB),
    Column("n", Text),
    Column("o", LargeBinary),
    Column("audit", Numeric),
    Column("changed", BigInteger),
    Column("depth", Integer),
    *(Column(name, Text) for name in ("mark", "action", "live")),
    *(Column(name, Boolean) for name in ("found", "rekeyed", "is_unordered", "is_past")),
    AuditTrail(),
)


def visits(*levels: Any) -> Table:
    """A table with partitions of two levels."""
    return Table(
        "visits",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("tenant", Integer, primary_key=True),
        Column("at", DateTime(timezone=True), primary_key=True, key="when"),
        Column("pages", Integer),
        *levels,
        AuditTrail(),
    )


TIME, HASH = RangePartitions("at", every="month"), HashShards("tenant", count=2)
BY_TIME, BY_HASH = visits(TIME, HASH), visits(HASH, TIME)

COLUMNS = "(id int, tenant int, at timestamptz, pages int, PRIMARY KEY (id, tenant, at))"
MONTHS = {
    1: "FOR VALUES FROM (MINVALUE) TO ('2026-02-01 00:00+00')",
    2: "FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00')",
}
SHARDS = {number: f"FOR VALUES WITH (MODULUS 2, REMAINDER {number})" for number in (0, 1)}
OUTER_IS_TIME = "RANGE (at)", MONTHS, "HASH (tenant)", SHARDS
OUTER_IS_HASH = "HASH (tenant)", SHARDS, "RANGE (at)", MONTHS


@pytest.mark.parametrize("kind", ["meddling", "entangled", "restless"])
def test_random_statements(connection: Connection, engine: Engine, kind: str) -> None:
    run_sql(connection, SETUPS[kind], "DROP TRIGGER tell ON t")
    laws.apply(connection, [CreateAuditTrail("t", "t_history", baseline=False)])
    units = Generator(kind, 1, merges=False).units(STATEMENTS)
    together = (unit for unit in units if not any(step.rows for step in unit))
    compared(engine, T, together)


@pytest.mark.parametrize(
    ("table", "levels"), [(BY_TIME, OUTER_IS_TIME), (BY_HASH, OUTER_IS_HASH)], ids=["time", "hash"]
)
def test_partitions_that_are_truncated_and_detached(
    connection: Connection, engine: Engine, table: Table, levels: tuple[Any, ...]
) -> None:
    outer, bounds, inner, inner_bounds = levels
    tree = {"visits": ("visits", "")}
    run_sql(connection, f"CREATE TABLE visits {COLUMNS} PARTITION BY {outer}")
    for number, bound in bounds.items():
        name = f"visits_{number}"
        tree[name] = ("visits", bound)
        run_sql(connection, f"CREATE TABLE {name} PARTITION OF visits {bound} PARTITION BY {inner}")
        for place, inside in inner_bounds.items():
            tree[f"{name}_{place}"] = (name, inside)
            run_sql(connection, f"CREATE TABLE {name}_{place} PARTITION OF {name} {inside}")
    laws.apply(connection, [CreateAuditTrail("visits", "visits_history", baseline=False)])
    compared(engine, table, random_visits(tree, random.Random(1)))  # noqa: S311  # tests


def random_visits(tree: dict[str, tuple[str, str]], chance: random.Random) -> Iterable[list[Step]]:
    """Changes of rows, and now and then one of a table or partition."""
    for _ in range(STATEMENTS):
        some = f"id % 7 = {chance.randrange(7)} AND tenant % 3 = {chance.randrange(3)}"
        relation = chance.choice(list(tree))
        parent, bound = tree[relation]
        recorded = "SELECT audit.visits_history('{}', '{}')"
        away = [
            recorded.format(relation, "detach"),
            f"ALTER TABLE {parent} DETACH PARTITION {relation}",
        ]
        back = [
            f"ALTER TABLE {parent} ATTACH PARTITION {relation} {bound}",
            recorded.format(relation, "attach"),
        ]
        others = [[f"TRUNCATE {relation}"], *([away + back] if bound else [])]
        fill = (
            f"INSERT INTO visits SELECT n, n % 5, '2026-0{chance.choice([1, 2])}-05'"
            f" FROM generate_series({chance.randrange(40)}, 45) AS n ON CONFLICT DO NOTHING"
        )
        usual = [
            [fill],
            [f"UPDATE visits SET pages = {chance.randrange(99)} WHERE {some}"],
            [f"UPDATE visits SET tenant = tenant + 1 WHERE {some}"],
            [f"DELETE FROM visits WHERE {some}"],
        ]
        chosen = chance.choice([*usual, [fill], chance.choice(others)])
        yield [Step("BEGIN"), *map(Step, chosen), Step("COMMIT")]


def compared(engine: Engine, table: Table, units: Iterable[list[Step]]) -> None:
    """Look at the table after each unit; then ask its history for all of it."""
    plain = select(*(column for column in table.columns))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        looks = [look(connection, plain, unit) for unit in units]
        assert len({str(rows) for _, rows in looks}) > STATEMENTS / 4
        for moment, rows in looks:
            found = connection.execute(as_of(table, moment))
            assert sorted(map(tuple, found), key=repr) == rows, moment


def look(
    connection: Connection, plain: Select[Any], unit: list[Step]
) -> tuple[datetime, list[Any]]:
    """Run a unit, of which nothing is left when it fails; then the time, and all rows."""
    try:
        for step in unit:
            connection.exec_driver_sql(step.text, execution_options={"no_parameters": True})
    except DBAPIError:
        connection.exec_driver_sql("ROLLBACK")
    rows = sorted((tuple(row) for row in connection.execute(plain)), key=repr)
    moment = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return moment, rows
