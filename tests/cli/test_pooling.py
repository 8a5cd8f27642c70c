"""A real PgBouncer before the server: only its session pooling passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from console import Outcome
from poolers import pooler
from reviewed import begun
from scheduled import table
from sqlalchemy import Connection


@pytest.mark.parametrize(
    ("mode", "size", "code"),
    [("transaction", 1, 1), ("transaction", 5, 1), ("session", 2, 0)],
)
def test_pooling_by_transaction_is_told(
    run: Callable[..., Outcome], database_url: str, mode: str, size: int, code: int
) -> None:
    with pooler(database_url, mode, size) as url:
        outcome = run("doctor", "--url", url)
    assert outcome.error == ""
    assert outcome.code == code
    assert ("PgBouncer" in outcome.output) == bool(code)


def test_pooling_by_statement_is_refused(run: Callable[..., Outcome], database_url: str) -> None:
    with pooler(database_url, "statement", 5) as url:
        outcome = run("doctor", "--url", url)
    assert outcome.code == 1
    assert "not allowed in statement pooling mode" in outcome.error


def test_it_is_told_while_others_use_the_pool(
    run: Callable[..., Outcome], database_url: str
) -> None:
    with pooler(database_url, "transaction", 3) as url:
        plain = url.replace("+psycopg", "")
        with psycopg.connect(plain) as one, psycopg.connect(plain) as other:
            one.execute("SELECT 1")
            other.execute("SELECT 1")
            outcome = run("doctor", "--url", url)
    assert "PgBouncer" in outcome.output


@pytest.mark.parametrize(
    "command", [["partitions", "maintain"], ["shards", "grow", "lines", "--to", "8"]]
)
@pytest.mark.parametrize("more", ["", "server_round_robin = 1"])
def test_a_run_in_a_pool_by_transaction_is_refused_and_leaves_no_setting(
    run: Callable[..., Outcome], database_url: str, command: list[str], more: str
) -> None:
    with pooler(database_url, "transaction", 2, more) as url:
        outcome = run(*command, "--url", url)
        assert (outcome.code, outcome.output) == (1, "")
        assert "with pool_mode = session" in outcome.error
        plain = url.replace("+psycopg", "")
        with psycopg.connect(plain) as one, psycopg.connect(plain) as other:
            assert settings(one) == settings(other) == ("0", "0")


def settings(connection: psycopg.Connection) -> Any:
    query = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
    return connection.execute(query).fetchone()


def test_plans_in_a_pool_by_transaction_are_refused_and_leave_no_setting(
    run: Callable[..., Outcome], database_url: str, here: Path
) -> None:
    shop = begun(here, database_url)
    shop.revision("b2", "a1", "op.execute('COMMENT ON TABLE customers IS NULL')")
    assert run("plan", "--out", "plan.json").code == 2
    file = here / "alembic.ini"
    more = "ignore_startup_parameters = extra_float_digits,options"  # it refuses those of ours
    with pooler(database_url, "transaction", 3, more) as url:
        before, after = (each.replace("%", "%%") for each in (database_url, url))
        file.write_text(file.read_text().replace(before, after))
        for command in (("plan",), ("verify", "plan.json"), ("apply", "plan.json")):
            outcome = run(*command)
            assert (outcome.code, outcome.output) == (1, "")
            assert "with pool_mode = session" in outcome.error
            with psycopg.connect(url.replace("+psycopg", "")) as one:
                query = "SELECT current_setting('default_transaction_read_only')"
                assert one.execute(query).fetchone() == ("off",)


def test_a_run_in_a_pool_by_session_passes(
    run: Callable[..., Outcome], database_url: str, connection: Connection
) -> None:
    table(connection)
    with pooler(database_url, "session", 5) as url:
        assert run("partitions", "maintain", "--url", url).code == 0
