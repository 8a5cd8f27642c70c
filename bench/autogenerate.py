"""Autogenerate on partitioned tables: alembic-enterprise, stock Alembic and a name filter.

    python bench/autogenerate.py                      20 tables, without and with 250 partitions
    python bench/autogenerate.py --partitions 2000    also with 2,000; making them takes minutes
    python bench/autogenerate.py --url postgresql+psycopg://...    on a running server

Each number of partitions has a database of its own, so that its catalogs have their real size. The
partitions are in order at this moment: daily, around today, with their policy, nothing missing.
They are made by CREATE TABLE ... PARTITION OF on the server, in one block for each table, on as
many connections as there are processors; then the catalogs are vacuumed, as autovacuum would.

Each comparison runs in a process of its own, as each autogenerate does; starting it, importing and
connecting are not measured. The contenders take turns, in a new order in each round. Exits with 1
when a promise is broken.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import psycopg
from alembic.autogenerate import produce_migrations
from alembic.operations.ops import DropIndexOp, DropTableOp, MigrateOperation, OpContainer
from alembic.runtime.migration import MigrationContext
from psycopg.sql import SQL, Composed, Identifier, Literal
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    NullPool,
    Table,
    create_engine,
    make_url,
)

import alembic_enterprise.plugin
from alembic_enterprise import RangePartitions, registry, sql
from alembic_enterprise.partitions.operations import SetPartitionPolicy
from alembic_enterprise.server import temporary_server
from bench._shared import exit_with, progress

TABLES = 20
PARTITIONS = 250
AHEAD = 3

MOST_AGAINST_PLAIN = 1.3
MOST_GROWTH = 2.0

_BUILD = """DECLARE
    partition text;
    mark constant text := {ownership} || 'partition of public.' || {table};
BEGIN
    FOR day IN 0..{count} - 1 LOOP
        partition := {table} || to_char({first}::date + day, '"_y"YYYY"_m"MM"_d"DD');
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', partition,
                       {table}, {first}::date + day || ' UTC', {first}::date + day + 1 || ' UTC');
        EXECUTE format('COMMENT ON TABLE %I IS %L', partition, mark);
        IF day % 100 = 99 THEN
            COMMIT;  -- or a server with default settings runs out of locks
        END IF;
    END LOOP;
END"""

_CATALOGS = (
    "pg_attribute",
    "pg_class",
    "pg_constraint",
    "pg_depend",
    "pg_description",
    "pg_index",
    "pg_inherits",
    "pg_partitioned_table",
    "pg_type",
)
"""Those that partitions make big."""


def main() -> int:
    """Build, measure, print; 0 when every promise is kept."""
    arguments = parse()
    if arguments.measure:
        print(json.dumps(measure(**json.load(sys.stdin))))
        return 0
    with ExitStack() as stack:
        url = arguments.url or stack.enter_context(temporary_server()).url()
        contenders = prepare(stack, url, arguments.partitions)
        compete(contenders, arguments.rounds)
    progress("")
    print_table(contenders, arguments.rounds)
    kept = [print_promise(*promise) for promise in promises(contenders)]
    return 0 if all(kept) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a running server; without it, a private one is started")
    parser.add_argument("--partitions", type=int, help="also measure with so many partitions each")
    parser.add_argument("--rounds", type=int, default=31, help="comparisons of each contender")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


# What is compared


@dataclass
class Contender:
    """One way to autogenerate on one database, and what was measured."""

    name: str
    way: str
    url: str
    once: bool = False
    seconds: list[float] = field(default_factory=list)
    operations: int = 0
    destructive: int = 0

    @property
    def median(self) -> float:
        """Median of the measured seconds."""
        return statistics.median(self.seconds)

    def run(self) -> None:
        """Compare once, in a process of its own."""
        process = subprocess.run(
            [sys.executable, __file__, "--measure"],
            input=json.dumps({"way": self.way, "url": self.url}),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        )
        found = json.loads(process.stdout)
        self.seconds.append(found["seconds"])
        self.operations, self.destructive = found["operations"], found["destructive"]


def measure(way: str, url: str) -> dict[str, float]:
    """Compare the models with the database; the clock includes making the options."""
    make_models, make_options = WAYS[way]
    models = make_models()
    with create_engine(url, poolclass=NullPool).connect() as connection:
        gc.collect()
        start = perf_counter()
        context = MigrationContext.configure(connection, opts=make_options(connection))
        script = produce_migrations(context, models)
        seconds = perf_counter() - start
    found = list(flatten(script.upgrade_ops_list))
    destructive = sum(isinstance(operation, DropTableOp | DropIndexOp) for operation in found)
    return {"seconds": seconds, "operations": len(found), "destructive": destructive}


def flatten(operations: Iterable[MigrateOperation]) -> Generator[MigrateOperation]:
    """Single operations out of nested containers."""
    for operation in operations:
        if isinstance(operation, OpContainer):
            yield from flatten(operation.ops)
        else:
            yield operation


def plain_models() -> MetaData:
    """The tables without partitions."""
    return make_tables(list)


def declared_models() -> MetaData:
    """The tables as alembic-enterprise wants them declared."""
    return make_tables(lambda: [RangePartitions("created_at", every="day", ahead=AHEAD)])


def hand_written_models() -> MetaData:
    """The tables as one declares them for stock Alembic."""
    return make_tables(list, postgresql_partition_by="RANGE (created_at)")


def make_tables(extra: Callable[[], list[RangePartitions]], **options: Any) -> MetaData:
    """The tables, each with something extra."""
    models = MetaData()
    for number in range(TABLES):
        Table(
            f"events_{number:02}",
            models,
            Column("id", BigInteger, primary_key=True),
            Column("created_at", DateTime(timezone=True), primary_key=True),
            Column("customer_id", Integer, index=True),
            Column("amount", Integer, index=True),
            *extra(),
            **options,
        )
    return models


def stock(_connection: Connection) -> dict[str, Any]:
    """Alembic as it comes."""
    return {}


def ours(_connection: Connection) -> dict[str, Any]:
    """Alembic with alembic-enterprise."""
    return {"autogenerate_plugins": ["alembic.autogenerate.*", alembic_enterprise.plugin.NAME]}


def name_filter(connection: Connection) -> dict[str, Any]:
    """What one writes by hand: read the names of all partitions and leave those tables out."""
    query = "SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')"
    hidden = {registry.TABLE, *connection.exec_driver_sql(query).scalars()}

    def include_name(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name not in hidden

    return {"include_name": include_name}


WAYS: dict[str, tuple[Callable[[], MetaData], Callable[[Connection], dict[str, Any]]]] = {
    "plain": (plain_models, stock),
    "ours": (declared_models, ours),
    "filter": (hand_written_models, name_filter),
    "stock": (hand_written_models, stock),
}
"""The models and the options of each way to autogenerate."""


# Building


def prepare(stack: ExitStack, url: str, more: int | None) -> list[Contender]:
    """Build the databases and say who competes; the databases go when the stack closes."""
    plain = stack.enter_context(database(url, 0))
    usual = stack.enter_context(database(url, PARTITIONS))
    contenders = [
        Contender("no partitions, Alembic", "plain", plain),
        Contender(f"{PARTITIONS:,} each, alembic-enterprise", "ours", usual),
        Contender(f"{PARTITIONS:,} each, include_name", "filter", usual),
        Contender(f"{PARTITIONS:,} each, Alembic", "stock", usual, once=True),
    ]
    if more is not None:
        big = stack.enter_context(database(url, more))
        contenders += [
            Contender(f"{more:,} each, alembic-enterprise", "ours", big),
            Contender(f"{more:,} each, include_name", "filter", big),
        ]
    return contenders


@contextmanager
def database(server_url: str, partitions: int) -> Generator[str]:
    """The URL of a database with the tables, each with so many partitions; dropped at the end."""
    name = f"bench_{partitions}_{secrets.token_hex(4)}"
    administer(server_url, SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
    try:
        url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
        build(url, partitions)
        yield url
    finally:
        progress(f"dropping the database of {partitions:,} partitions")
        drop = SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name))
        administer(server_url, drop)


def administer(url: str, *statements: Composed) -> None:
    """Run statements outside of any transaction."""
    with psycopg.connect(without_driver(url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def without_driver(url: str) -> str:
    """The URL as libpq takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def build(url: str, partitions: int) -> None:
    """Make the tables, their partitions and policies, and do what autovacuum would."""
    models = declared_models() if partitions else plain_models()
    engine = create_engine(url, poolclass=NullPool)
    models.create_all(engine)
    if partitions:
        asyncio.run(make_partitions(without_driver(url), list(models.tables), partitions))
        set_policies(engine, list(models.tables))
    names = SQL(", ").join(Identifier("pg_catalog", name) for name in _CATALOGS)
    administer(url, SQL("VACUUM ANALYZE {}").format(names), SQL("CHECKPOINT").format())


async def make_partitions(url: str, tables: Sequence[str], partitions: int) -> None:
    """Make the partitions of all tables, several tables at a time."""
    slots = asyncio.Semaphore(os.cpu_count() or 1)
    done: list[str] = []

    async def make(table: str) -> None:
        async with slots, await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(partitions_block(table, partitions))
        done.append(table)
        progress(f"{partitions:,} partitions made in {len(done)} of {len(tables)} tables")

    async with asyncio.TaskGroup() as group:
        for table in tables:
            group.create_task(make(table))


def partitions_block(table: str, partitions: int) -> Composed:
    """One block that makes daily partitions which end a day after the last one needed today."""
    # The day more keeps the tables in order when midnight passes while this runs.
    first = datetime.now(UTC).date() + timedelta(days=AHEAD + 2 - partitions)
    return sql.do_block(
        _BUILD,
        ownership=Literal(registry.OWNERSHIP),
        table=Literal(table),
        first=Literal(first.isoformat()),
        count=Literal(partitions),
    )


def set_policies(engine: Engine, tables: Sequence[str]) -> None:
    """Put the declared policy of every table into the database."""
    with engine.begin() as connection:
        for table in tables:
            for statement in SetPartitionPolicy(table, "day", AHEAD).statements():
                sql.execute(connection, statement)


# Measuring and printing


def compete(contenders: Sequence[Contender], rounds: int) -> None:
    """Run each contender once a round, or once at all."""
    for number in range(rounds):
        turns = [contender for contender in contenders if number == 0 or not contender.once]
        for contender in random.sample(turns, len(turns)):
            progress(f"round {number + 1} of {rounds}: {contender.name}")
            contender.run()


def print_table(contenders: Sequence[Contender], rounds: int) -> None:
    """The medians, as seconds and as multiples of the plain tables'."""
    print(f"{TABLES} tables, medians of {rounds} rounds")
    print(f"{'':32}{'seconds':>9}{'x plain':>9}{'operations':>12}{'drops':>8}")
    for contender in contenders:
        ratio = contender.median / contenders[0].median
        print(
            f"{contender.name:32}{contender.median:9.3f}{ratio:9.2f}"
            f"{contender.operations:12,}{contender.destructive:8,}"
            f"{'  (one run)' if contender.once else ''}"
        )


def promises(contenders: Sequence[Contender]) -> Generator[tuple[str, float, float]]:
    """Each promise: what it is about, what was measured, and the most it may be."""
    plain, usual, *others = contenders
    yield "operations proposed", usual.operations, 0
    yield "against plain tables", usual.median / plain.median, MOST_AGAINST_PLAIN
    for big in others:
        if big.way == "ours":
            yield f"operations proposed, {big.name}", big.operations, 0
            yield f"growth, {big.name}", big.median / usual.median, MOST_GROWTH


def print_promise(name: str, measured: float, most: float) -> bool:
    """Print one promise; False when it is broken."""
    kept = measured <= most
    print(f"{'kept  ' if kept else 'BROKEN'} {name}: {measured:.2f}, at most {most:.2f}")
    return kept


if __name__ == "__main__":
    exit_with(main)
