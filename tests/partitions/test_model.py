"""A bad declaration fails when the models are imported, with what to write instead."""

import subprocess
import sys
from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable

from alembic_enterprise import RangePartitions
from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.catalog import declared
from alembic_enterprise.partitions.model import Policy, declared_on


def table(*items: Any, name: str = "events", key: Any = None, **kw: Any) -> Table:
    """A table `events (id, at)` with a good primary key, and more items."""
    column = Column("at", DateTime(timezone=True), primary_key=True) if key is None else key
    identity = Column("id", BigInteger, primary_key=True)
    return Table(name, MetaData(), *items, identity, column, **kw)


def ddl(table: Table) -> str:
    return str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # SQLAlchemy's


def test_the_declaration_sets_partition_by() -> None:
    assert 'PARTITION BY RANGE ("at")' in ddl(table(RangePartitions("at", every="month")))


def test_it_goes_into_a_declarative_class_in_any_place() -> None:
    class Base(DeclarativeBase):
        pass

    class Event(Base):
        __tablename__ = "events"
        __table_args__ = (RangePartitions("at", every="week", ahead=1), {"info": {"mine": 1}})
        id: Mapped[int] = mapped_column(primary_key=True)
        at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)

    found = Event.metadata.tables["events"]
    assert found.info["mine"] == 1
    assert declared_on(found) is not None
    assert 'PARTITION BY RANGE ("at")' in ddl(found)


def test_one_declaration_serves_many_tables() -> None:
    spec = RangePartitions("at", every="day")
    assert declared_on(table(spec)) is declared_on(table(spec, name="others"))


def test_a_copied_table_keeps_its_declaration() -> None:
    copy = table(RangePartitions("at", every="month")).to_metadata(MetaData(), schema="tenant")
    assert declared_on(copy) is not None
    assert 'PARTITION BY RANGE ("at")' in ddl(copy)


@pytest.mark.parametrize(
    "kind", [Date(), DateTime(), DateTime(timezone=True), postgresql.TIMESTAMP()]
)
def test_keys_are_dates_and_timestamps(kind: Any) -> None:
    table(RangePartitions("at", every="month"), key=Column("at", kind, primary_key=True))


def test_a_decorated_or_variant_type_counts_as_what_it_is_in_postgresql() -> None:
    class Moment(TypeDecorator[datetime]):
        impl = DateTime(timezone=True)
        cache_ok = True

    variant = Text().with_variant(DateTime(), "postgresql")
    for kind in (Moment(), variant):
        table(RangePartitions("at", every="day"), key=Column("at", kind, primary_key=True))


MONTHLY = RangePartitions("at", every="month")
BAD = [
    (
        lambda: Policy("month", shards=8),
        "partition_by=None, shards=8: write both, such as partition_by='HASH (\"tenant_id\")', ",
    ),
    (lambda: Policy("month", partition_by='HASH ("id")'), "shards=None: write both, such as"),
    (lambda: Policy("month", partition_by="LIST (id)", shards=8), "write both, such as"),
    (
        lambda: table(RangePartitions("created", every="month")),
        'events: RangePartitions("created"): no such column; it has "id", "at"',
    ),
    (
        lambda: table(MONTHLY, key=Column("at", DateTime)),
        "events.at is nullable, and a row without at fits no partition: write nullable=False",
    ),
    (
        lambda: table(MONTHLY, key=Column("at", Text, primary_key=True)),
        (
            "events.at is of type Text(): a partition key must be Date or DateTime; "
            "write DateTime(timezone=True)"
        ),
    ),
    (
        lambda: table(MONTHLY, key=Column("at", DateTime, nullable=False)),
        (
            "events: the primary key (id) lacks the partition column at, and PostgreSQL can only "
            'keep it unique inside one partition: write PrimaryKeyConstraint("id", "at"), '
            "or primary_key=True for each of these columns"
        ),
    ),
    (
        lambda: table(MONTHLY, Column("code", Text, unique=True)),
        (
            "a unique constraint (code) lacks the partition column at, and PostgreSQL can only "
            'keep it unique inside one partition: write UniqueConstraint("code", "at")'
        ),
    ),
    (
        lambda: table(MONTHLY, Column("code", Text), UniqueConstraint("code")),
        'write UniqueConstraint("code", "at")',
    ),
    (
        lambda: table(MONTHLY, Column("code", Text), Index("ux", "code", unique=True)),
        (
            "the unique index ux (code) lacks the partition column at, and PostgreSQL can only "
            'keep it unique inside one partition: write Index("ux", "code", "at", unique=True)'
        ),
    ),
    (
        lambda: table(MONTHLY, name="e" * 54),
        (
            f"{'e' * 54}: the names of its partitions would have 64 bytes, and PostgreSQL cuts "
            "names at 63: shorten the table's name to 53 bytes"
        ),
    ),
    (lambda: table(MONTHLY, name="é" * 27), "would have 64 bytes"),
    (
        lambda: table(MONTHLY, RangePartitions("at", every="day")),
        "events: two RangePartitions on one table; keep one of them",
    ),
    (
        lambda: table(MONTHLY, postgresql_partition_by="RANGE (at)"),
        "events: RangePartitions sets PARTITION BY itself; remove postgresql_partition_by",
    ),
    (
        lambda: RangePartitions("at", every="fortnight"),  # type: ignore[arg-type]  # the point
        (
            'RangePartitions("at"): every=\'fortnight\': write one of "day", "week", "month", '
            '"quarter", "year"'
        ),
    ),
    (
        lambda: RangePartitions("at", every="Monthly"),  # type: ignore[arg-type]  # the point
        '"quarter", "year" (did you mean "month"?)',
    ),
    (
        lambda: RangePartitions("at", every="day", on_expire="archived"),  # type: ignore[arg-type]  # the point
        'on_expire=\'archived\': write one of "detach", "drop", "archive" (did you mean',
    ),
    (
        lambda: RangePartitions("at", every="day", on_expire="drop"),
        (
            'RangePartitions("at"): on_expire="drop" and no retain=, so that nothing ever expires: '
            'write retain=12, or how many past days to keep, or take on_expire="drop" away'
        ),
    ),
    (
        lambda: RangePartitions("at", every="month", on_expire="archive", archive="old"),
        'on_expire="archive" and no retain=',
    ),
    (
        lambda: RangePartitions("at", every="day", on_expire="archive"),
        'RangePartitions("at"): on_expire="archive" and archive="..." (the schema to move to) go ',
    ),
    (
        lambda: RangePartitions(Column("at", DateTime), every="day"),  # type: ignore[arg-type]  # the point
        "RangePartitions(Column('at', DateTime(), table=None)): write the name of the column as",
    ),
    (
        lambda: RangePartitions(["at"], every="day"),  # type: ignore[arg-type]  # the point
        "(['at']): write the name of the column as text: RangePartitions(\"at\", ...)",
    ),
    (
        lambda: RangePartitions("at", every="day", timezone="Berlin"),
        (
            "RangePartitions(\"at\"): timezone='Berlin' is unknown: write an IANA name such as "
            '"UTC" or "Europe/Berlin" '
            "(a machine without a time zone database needs `pip install tzdata`)"
        ),
    ),
    (
        lambda: RangePartitions("at", every="day", timezone="CET"),
        (
            "RangePartitions(\"at\"): timezone='CET' has no summer time in PostgreSQL, where it is "
            'an abbreviation: write a place, such as "Europe/Brussels"'
        ),
    ),
    (
        lambda: RangePartitions("at", every="month", start="2026-11-15"),
        (
            'RangePartitions("at"): start="2026-11-15" is not the first day of a month: write '
            'start="2026-11-01"'
        ),
    ),
    (
        lambda: RangePartitions("at", every="month", start="November"),
        'RangePartitions("at"): \'November\' is not a day: write it as "2026-11-01"',
    ),
    (
        lambda: RangePartitions("at", every="month", ahead=-1),
        "ahead=-1: write a whole number from 0 up",
    ),
    (
        lambda: RangePartitions("at", every="month", retain=0),
        "retain=0: write a whole number from 1 up",
    ),
    (
        lambda: RangePartitions("at", every="year", retain=1001),
        "retain=1001 is more than a thousand years: write less",
    ),
    (
        lambda: RangePartitions("at", every="month", ahead=12001),
        "ahead=12001 is more than a thousand years: write less",
    ),
    (
        lambda: RangePartitions("at", every="day", hold=10**12),
        "hold=1000000000000 is more than a thousand years: write less",
    ),
    (
        lambda: RangePartitions("at", every="year", start="0001-01-01"),
        'start="0001-01-01" is outside the years 2 to 8000: write the year the table begins in',
    ),
    (
        lambda: RangePartitions("at", every="month", start=date(9999, 12, 1)),
        'start="9999-12-01" is outside the years 2 to 8000: write the year the table begins in',
    ),
    (
        lambda: RangePartitions("at", every="month", ahead=1.5),  # type: ignore[arg-type]  # the point
        "ahead=1.5: write a whole number from 0 up",
    ),
]


@pytest.mark.parametrize(("declare", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_a_bad_declaration_says_what_to_write(declare: Any, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare()
    assert message in str(caught.value)


def test_a_table_that_failed_is_not_left_in_the_metadata() -> None:
    metadata = MetaData()
    with pytest.raises(DeclarationError):
        Table("events", metadata, RangePartitions("at", every="day"), Column("id", BigInteger))
    assert not metadata.tables


def test_a_unique_index_added_later_is_found_by_the_comparison() -> None:
    found = table(RangePartitions("at", every="day"), Column("code", Text))
    Index("ux", found.c.code, unique=True)
    with pytest.raises(DeclarationError, match="the unique index ux"):
        declared([found])


def test_start_may_be_a_date() -> None:
    assert RangePartitions("at", every="day", start=date(2026, 1, 5)).policy.start == "2026-01-05"


def test_a_policy_survives_the_registry_and_ignores_what_a_newer_release_added() -> None:
    policy = Policy("quarter", 2, 8, "Asia/Tokyo", "2026-01-01", default=True)
    assert Policy.from_json(policy.to_json() | {"newer": 1}) == policy


def test_repr_is_the_declaration() -> None:
    spec = RangePartitions("at", every="day", retain=90, start="2026-01-01", default=True)
    again = eval(repr(spec))  # noqa: S307  # the property under test
    assert (again.key, again.policy) == (spec.key, spec.policy)


def test_importing_the_models_loads_neither_alembic_nor_click_nor_a_driver() -> None:
    code = (
        "import sys, alembic_enterprise; "
        "print([name for name in ('alembic', 'click', 'psycopg') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
