"""The comments of our partitions: what is written is what is read, here and by the server."""

from datetime import UTC, datetime

import pytest
from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions.marks import (
    RETIRED,
    RETIRED_PATTERN,
    Mark,
    made_for,
    unreadable,
)
from alembic_enterprise.partitions.periods import Range
from alembic_enterprise.sql import Name

ODD = Name('od"d', "a; retired b")
SINCE = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
JANUARY = Range(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
MARKS = [
    Mark(Name("public", "events"), 1, SINCE, to_drop=True, range=JANUARY, was=ODD),
    Mark(ODD, 4_294_967_295, SINCE, to_drop=False, range=Range(None, None), was=ODD),
    Mark(ODD, 1, SINCE, to_drop=True, range=None, was=ODD),
]


@pytest.mark.parametrize("mark", MARKS)
def test_what_is_written_is_read(mark: Mark) -> None:
    assert Mark.of(mark.text) == mark


def test_earlier_releases_told_no_moments() -> None:
    text = (
        'alembic-enterprise: partition of "od""d"."a; retired b"; retired 2026-06-01T12:30:00+00:00'
        ' from 1 to drop as "od""d"."a; retired b"'
    )
    assert Mark.of(text) == MARKS[2]


@pytest.mark.parametrize("mark", MARKS)
def test_the_server_knows_it(connection: Connection, mark: Mark) -> None:
    query = SQL("SELECT strpos({text}, {word}) > 0 AND {text} ~ {pattern}")
    parts = {"word": Literal(RETIRED), "pattern": Literal(RETIRED_PATTERN)}
    known = [
        sql.rows(connection, query.format(text=Literal(text), **parts))
        for text in (mark.text, made_for(mark.table))
    ]
    assert known == [[(True,)], [(False,)]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        made_for(Name("public", "events")),
        MARKS[0].text.replace("+00:00", ""),
        MARKS[0].text.replace("2026-06-01", "2026-13-01"),
        MARKS[0].text.replace("to drop", "to burn"),
        MARKS[0].text + " ",
    ],
)
def test_what_is_not_one_is_not_read(text: str) -> None:
    assert Mark.of(text) is None
    assert unreadable(text) == (RETIRED in text)


def test_what_was_made_for_a_table_is_not_said_to_be_unreadable() -> None:
    assert not unreadable(made_for(ODD))
