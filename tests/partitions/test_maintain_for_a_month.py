"""The scheduled job over a month: a clock that is simulated, and runs that fail at random."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from autogenerate import run_sql
from scheduled import names, relations, run, table
from sqlalchemy import Connection, Engine, event

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAYS = 30


class Outage(Exception):  # noqa: N818  # what happens to a run, and no error of it
    """A run ends here."""


@contextmanager
def ending(engine: Engine, after: int) -> Generator[None]:
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


def test_no_insert_is_rejected_with_one_run_in_five_failing(
    connection: Connection, engine: Engine
) -> None:
    """Each day needs a partition, so each run matters; bench/ does it over years."""
    table(connection, every="day", ahead=3, retain=4, on_expire="drop", hold=0)
    chance = Random(1)  # noqa: S311  # the same accidents each time
    run(engine, now=BEGIN - timedelta(days=1))
    now, failed = BEGIN, 0
    for day in range(DAYS):
        now = BEGIN + timedelta(days=day)
        if chance.random() < 0.2:
            failed += 1
            with pytest.raises(Outage), ending(engine, chance.randrange(20)):
                run(engine, now=now)
        else:
            run(engine, now=now)
        run_sql(connection, f"INSERT INTO events VALUES ({day}, '{now}')")
    assert failed > 3
    run(engine, now=now)
    assert names(connection) == [f"y2026_m{day:%m}_d{day:%d}" for day in days(DAYS - 5, DAYS + 3)]
    assert len(relations(connection)) == 1 + 8


def days(first: int, stop: int) -> list[datetime]:
    return [BEGIN + timedelta(days=day) for day in range(first, stop)]
