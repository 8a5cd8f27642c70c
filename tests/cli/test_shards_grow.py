"""`shards grow`: what it prints, exit codes, the terminal."""

import re
import signal
from collections.abc import Callable

import growing
import pytest
from autogenerate import run_sql
from console import Outcome
from sqlalchemy import Connection, Engine

from alembic_enterprise import locks
from alembic_enterprise.shards import growth
from alembic_enterprise.shards.growth.run import LOCK

Run = Callable[..., Outcome]


@pytest.fixture
def grow(run: Run, database_url: str) -> Run:
    """A function that runs `shards grow` on the test's database."""
    return lambda *arguments: run("shards", "grow", "--url", database_url, *arguments)


def masked(text: str) -> str:
    """The text without figures that differ from run to run."""
    return re.sub(r"\d+\.\d (s|ms|kB|KB|MB|KiB|MiB)", r"# \1", text)


def test_a_run_says_what_it_takes_and_what_it_did(connection: Connection, grow: Run) -> None:
    growing.orders(connection)
    outcome = grow("orders", "--to", "4")
    assert outcome.code == 0
    assert outcome.error.startswith("public.orders: 2 shards to split, about 400 rows, ")
    assert "of free space, one at a time" in outcome.error
    rows = [len(connection.exec_driver_sql(f"TABLE orders_shard_{n}").all()) for n in range(4)]
    assert masked(outcome.output) == (
        "public.orders: done; 2 of 2 shards split\n"
        f"  public.orders_shard_0: {rows[0] + rows[2]} rows in # s, locked for # ms\n"
        f"  public.orders_shard_1: {rows[1] + rows[3]} rows in # s, locked for # ms\n"
    )
    outcome = grow("orders", "--to", "4", "--dry-run")
    assert (outcome.code, outcome.output) == (0, "public.orders: done; nothing to split\n")


def test_a_dry_run_says_the_plan(connection: Connection, grow: Run) -> None:
    growing.orders(connection)
    outcome = grow("orders", "--to", "8", "--dry-run")
    assert (outcome.code, outcome.error) == (0, "")
    assert "public.orders_shard_1: modulus 8, remainders 1, 3, 5, 7; about " in outcome.output
    assert len(growing.held(connection)) == 2


def test_rows_of_shards_that_nobody_analyzed_are_unknown(connection: Connection, grow: Run) -> None:
    growing.orders(connection)
    run_sql(
        connection,
        "CREATE TABLE fresh (tenant bigint, id bigint) PARTITION BY HASH (tenant)",
        "CREATE TABLE a PARTITION OF fresh FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE b PARTITION OF fresh FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "ALTER TABLE fresh ADD PRIMARY KEY (tenant, id)",
    )
    plan = grow("fresh", "--to", "4", "--dry-run").output
    assert plan.startswith("public.fresh: 2 shards to split, about 0 rows, ")
    run_sql(connection, "INSERT INTO fresh SELECT n, n FROM generate_series(1, 100) AS n")
    plan = grow("fresh", "--to", "4", "--dry-run").output
    assert plan.startswith("public.fresh: 2 shards to split, 2 shards never analyzed, ")
    assert plan.count("; never analyzed, ") == 2
    run_sql(connection, "ANALYZE a")
    plan = grow("fresh", "--to", "4", "--dry-run").output
    assert re.search(r" to split, about \d\d rows, 1 shard never analyzed, ", plan)


def test_what_is_left_undone_ends_with_2_and_can_be_aborted(
    connection: Connection, engine: Engine, grow: Run
) -> None:
    growing.orders(connection)
    rows = growing.contents(connection)
    with growing.session(engine) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT FROM orders_shard_0")
        outcome = grow("orders", "--to", "4", "--lock-timeout", "50", "--attempts", "1")
    assert outcome.code == 2
    assert outcome.output.startswith("public.orders: not finished; 0 of 2 shards split\n")
    assert "no lock within 50 ms, 1 times, held by " in outcome.output
    outcome = grow("orders", "--abort")
    assert (outcome.code, outcome.output) == (0, "public.orders: done; 1 shard put back\n")
    assert growing.leftovers(connection) == []
    assert growing.contents(connection) == rows


def test_a_second_run_names_the_first_and_ends_with_2(connection: Connection, grow: Run) -> None:
    growing.orders(connection)
    oid = connection.exec_driver_sql("SELECT 'orders'::regclass::oid").scalar_one()
    with locks.advisory_lock(connection, LOCK.format(oid)):
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        not_split = "nothing was split: run this again when that run has ended"
        for arguments, told in [
            (("--to", "4"), not_split),
            (("--to", "4", "--dry-run"), not_split),
            (("--abort",), "nothing was removed: end that run first"),
        ]:
            outcome = grow("orders", *arguments)
            assert outcome.code == 2
            assert outcome.output.startswith(f"public.orders: another run is at work: pid {pid}, ")
            assert outcome.output.endswith(f"\n  {told}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Interrupted: run the same command to go on, or with --abort to remove the copies"),
        (["--dry-run"], "Interrupted"),
    ],
)
def test_who_interrupts_it_is_told_how_to_go_on(
    grow: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(growth, "grow", interrupted)
    outcome = grow("orders", "--to", "4", *arguments)
    assert (outcome.code, outcome.output) == (130, "")
    assert outcome.error.strip().removesuffix(" that it has left") == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["orders"], "write --to COUNT, or --abort"),
        (["orders", "--to", "4", "--abort"], "write --to COUNT, or --abort"),
        (
            ["orders", "--abort", "--dry-run"],
            "--abort cannot be combined with --dry-run: leave one out",
        ),
        (["orders", "--to", "3"], "Error: public.orders: its shards are of modulus 2, which 3 is"),
        (["unknown", "--to", "4"], "Error: no sharded table is called unknown: there is public.o"),
    ],
)
def test_errors_before_anything_is_tried_end_with_1(
    connection: Connection, grow: Run, arguments: list[str], told: str
) -> None:
    growing.orders(connection)
    outcome = grow(*arguments)
    assert (outcome.code, outcome.output) == (1, "")
    assert told in outcome.error


def test_the_rows_and_their_rate_are_for_terminals(
    connection: Connection, in_terminal: Callable[..., str], database_url: str
) -> None:
    growing.orders(connection)
    command = ["shards", "grow", "orders", "--to", "4", "--url", database_url]
    written = in_terminal(command, CI="")
    assert "400/400" in written
    assert "rows/s" in written
    assert in_terminal(command, CI="").startswith("public.orders: ")  # nothing is left to split


def test_without_replicas_none_is_waited_for(connection: Connection, grow: Run) -> None:
    growing.orders(connection)
    assert grow("orders", "--to", "4", "--max-lag", "0").code == 0
