"""The scheduled job over years: a clock that is simulated, and runs that fail at random."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from autogenerate import run_sql
from jobs import names, run, table
from sqlalchemy import Connection, Engine, event

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
YEARS = 2


class Outage(Exception):  # noqa: N818  # what happens to a run, and no error of it
    """A run ends here."""


@contextmanager
def ending(engine: Engine, after: int) -> Iterator[None]:
    """Let the run end before its statement number `after`."""
    left = [after]

    def listen(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Outage

    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", listen)


@pytest.mark.parametrize("seed", [1])
def test_no_insert_is_rejected_in_two_years_with_one_run_in_ten_failing(
    connection: Connection, engine: Engine, seed: int
) -> None:
    table(connection, every="week", ahead=1, retain=4, on_expire="drop", hold=7)
    chance = Random(seed)  # noqa: S311  # the same accidents each time
    run(engine, now=BEGIN - timedelta(days=1))
    for day in range(365 * YEARS):
        now = BEGIN + timedelta(days=day)
        if chance.random() < 0.1:
            with pytest.raises(Outage), ending(engine, chance.randrange(14)):
                run(engine, now=now)
        else:
            run(engine, now=now)
        run_sql(connection, f"INSERT INTO events VALUES ({day}, '{now}')")
    found = names(connection)
    assert len(found) == 4 + 1 + 1
    assert found[-1] == "y2028_w01"
