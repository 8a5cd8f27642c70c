"""What the history tells: one row, the whole table as it was, changes of fields."""

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any, cast

import pytest
from autogenerate import run, run_sql
from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Connection,
    DateTime,
    Integer,
    MetaData,
    NullPool,
    Select,
    Table,
    Text,
    create_engine,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from alembic_enterprise import RangePartitions
from alembic_enterprise.audit.history import as_of, diff, history
from alembic_enterprise.audit.history_table import history_table
from alembic_enterprise.audit.model import AuditTrail
from alembic_enterprise.errors import DeclarationError, OperationError

TABLES = MetaData()
ORDERS = Table(
    "orders",
    TABLES,
    Column("id", BigInteger, primary_key=True),
    Column("status", Text),
    Column('we"ird :%', Text, key="weird"),
    Column("secret", Text),
    Column("iban", Integer),
    Column("search", Text),
    AuditTrail(exclude=["search"], mask=["iban"], hash=["secret"]),
)
LINES = Table(
    "Lines",
    TABLES,
    Column("order id", BigInteger, primary_key=True),
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("amount", Integer),
    RangePartitions("at", every="month"),
    AuditTrail(),
    schema="Mixed Case",
)
START, STOP = datetime(2026, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

CREATE = """
op.create_audit_trail("orders", history="orders_history", exclude=["search"], mask=["iban"],
                      hash=["secret"])"""
CREATE_LINES = """
op.create_range_partitions("Lines", schema="Mixed Case", every="month", start="2026-01-01",
                           stop="2026-03-01")
op.create_audit_trail("Lines", history="Mixed Case_Lines_history", schema="Mixed Case",
                      baseline=False)"""
EXISTING = "INSERT INTO orders VALUES (1, 'open', 'w', 's', 7, 'x')"

STORY = (
    "INSERT INTO orders VALUES (2, 'open', 'w', 's', 7, 'x'), (3, NULL, NULL, NULL, NULL, NULL)",
    "UPDATE orders SET status = 'paid', search = 'y' WHERE id = 1",
    "UPDATE orders SET search = 'z'",
    "UPDATE orders SET id = 9, secret = 't' WHERE id = 2",
    "DELETE FROM orders WHERE id = 3",
)


@pytest.fixture(scope="module")
def url(shared_database: Callable[..., str]) -> str:
    """The story of two tables, one of them with partitions, told once."""
    url = shared_database()
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        run_sql(connection, 'CREATE SCHEMA "Mixed Case"')
        TABLES.create_all(connection)
        run_sql(connection, EXISTING)
        run(connection, CREATE + CREATE_LINES)
        for statement in STORY:
            run_sql(connection, "SET alembic_enterprise.actor = 'user:1'", statement)
    return url


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """What a test does is rolled back."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def rows(connection: Connection, query: Select[Any]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in connection.execute(query)), key=repr)


def now(connection: Connection) -> datetime:
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment


def test_the_table_of_the_history() -> None:
    found = history_table(ORDERS)
    assert (found.schema, found.name) == ("audit", "orders_history")
    assert [item.name for item in found.columns][9:] == [
        "id",
        "status",
        'we"ird :%',
        "secret",
        "iban",
    ]
    assert isinstance(found.c.iban.type, Text)
    assert found.metadata is not TABLES
    assert history_table(ORDERS) is found, "else two mentions of it would be multiplied"


def test_it_stands_for_a_mapped_class() -> None:
    class Base(DeclarativeBase):
        pass

    class Item(Base):
        __tablename__ = "items"
        __table_args__ = (AuditTrail(schema="log", history="what_items_were"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        price: Mapped[int]
        doubled: Mapped[int] = mapped_column(Computed("price * 2", persisted=True))
        tripled: Mapped[int] = mapped_column(Computed("price * 3", persisted=False))

    found = history_table(Item)
    assert found.fullname == "log.what_items_were"
    assert [item.name for item in found.columns][9:] == ["id", "price", "doubled"]


def test_its_columns_are_those_of_the_database(connection: Connection) -> None:
    live = (
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attnum > 0 AND NOT attisdropped"
    )
    for table in (ORDERS, LINES):
        found = history_table(table)
        name = (f'"{found.schema}"."{found.name}"',)
        assert {*connection.exec_driver_sql(live, name).scalars()} == {
            item.name for item in found.columns
        }
        connection.execute(select(found))


def test_one_row(connection: Connection) -> None:
    found = [(row.audit_action, row.status) for row in connection.execute(history(ORDERS, 1))]
    assert found[:2] == [("baseline", "open"), ("update", "paid")]
    gone = connection.execute(history(ORDERS, 2)).all()
    assert [row.audit_action for row in gone] == ["insert", "update", "rekey"]
    assert {(row.audit_actor, row.iban) for row in gone} == {("user:1", "***")}
    assert all(isinstance(row.audit_transaction, int) for row in gone)
    assert gone[0].weird == "w"


def test_a_key_is_a_value_a_tuple_a_list_or_a_dict(connection: Connection) -> None:
    day = datetime(2026, 1, 5, tzinfo=UTC)
    values = [(1, day), [1, day], {"order id": 1, "at": day}]
    run = [rows(connection, history(LINES, value)) for value in values]
    assert run[0] == run[1] == run[2]
    assert rows(connection, history(ORDERS, (1,))) == rows(connection, history(ORDERS, {"id": 1}))


def test_the_fields_that_changed(connection: Connection) -> None:
    found = [
        (row.key["id"], row.field, row.old_value, row.new_value)
        for row in connection.execute(diff(ORDERS, START, STOP).order_by("changed_at"))
    ]
    hashes = {"s": "043a718774c572bd", "t": "e3b98a4da31a127d"}  # sha256, cut
    short = [(key, field, *(value and value[:16] for value in both)) for key, field, *both in found]
    assert sorted(short, key=repr) == sorted(
        [
            *((2, name, None, value) for name, value in _row(2, hashes["s"])),
            (3, "id", None, "3"),
            (1, "status", "open", "paid"),
            *((2, name, value, None) for name, value in _row(2, hashes["s"])),
            *((9, name, None, value) for name, value in _row(9, hashes["t"])),
            (3, "id", "3", None),
        ],
        key=repr,
    )


def _row(key: int, secret: str) -> list[tuple[str, str]]:
    named = {"id": str(key), "status": "open", 'we"ird :%': "w", "secret": secret, "iban": "***"}
    return list(named.items())


def test_moments_bound_the_difference(connection: Connection) -> None:
    [first, *_] = connection.execute(history(ORDERS, 2)).all()
    at, none = first.audit_at, list[Any]()
    assert rows(connection, diff(ORDERS, START, at)) == none
    assert rows(connection, diff(ORDERS, at, at)) == none
    assert rows(connection, diff(ORDERS, now(connection), STOP)) == none
    upto = select(func.max(history_table(ORDERS).c.audit_at)).scalar_subquery()
    assert rows(connection, diff(ORDERS, at, upto)) != none, "a moment may be an expression"


def test_a_truncate(connection: Connection) -> None:
    before = now(connection)
    held = rows(connection, as_of(ORDERS, before))
    assert [row[:2] for row in held] == [(1, "paid"), (9, "open")]
    connection.exec_driver_sql("TRUNCATE orders")
    connection.exec_driver_sql("INSERT INTO orders VALUES (1, 'again')")
    assert rows(connection, as_of(ORDERS, before)) == held
    assert [row[:2] for row in rows(connection, as_of(ORDERS, STOP))] == [(1, "again")]
    [told, *_] = connection.execute(diff(ORDERS, before, STOP).order_by("changed_at"))
    assert (told.key, told.field, told.old_value, told.new_value) == (None,) * 4
    assert told.context == {"action": "truncate", "relation": "public.orders"}
    actions = [row.audit_action for row in connection.execute(history(ORDERS, 9))]
    assert actions == ["update", "truncate"], "a row's history tells how it went"


JANUARY, FEBRUARY = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 2, 5, tzinfo=UTC)
FILL = 'INSERT INTO "Mixed Case"."Lines" VALUES (1, %s, 10), (1, %s, 20)'
PARTITION = '"Mixed Case"."Lines_y2026_m01"'
BOUND = "FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00')"


def test_a_truncated_partition_takes_its_rows(connection: Connection) -> None:
    connection.exec_driver_sql(FILL, (JANUARY, FEBRUARY))
    connection.exec_driver_sql(f"TRUNCATE {PARTITION}")
    assert rows(connection, as_of(LINES, STOP)) == [(1, FEBRUARY, 20)]
    actions = [row.audit_action for row in connection.execute(history(LINES, (1, JANUARY)))]
    assert actions == ["insert", "truncate"]
    actions = [row.audit_action for row in connection.execute(history(LINES, (1, FEBRUARY)))]
    assert actions == ["insert"]


def test_a_detached_partition_comes_back_with_its_rows(connection: Connection) -> None:
    def recorded(action: str) -> datetime:
        call = 'SELECT audit."Mixed Case_Lines_history"(%s, %s)'
        connection.exec_driver_sql(call, (PARTITION, action))
        return now(connection)

    connection.exec_driver_sql(FILL, (JANUARY, FEBRUARY))
    both, one = [(1, JANUARY, 10), (1, FEBRUARY, 20)], [(1, FEBRUARY, 20)]
    detached = recorded("detach")
    attached = recorded("attach")
    assert rows(connection, as_of(LINES, detached)) == one
    assert rows(connection, as_of(LINES, attached)) == both
    again = recorded("detach")
    assert rows(connection, as_of(LINES, again)) == one
    assert rows(connection, as_of(LINES, attached)) == both
    recorded("attach")
    dropped = recorded("drop")
    assert rows(connection, as_of(LINES, dropped)) == one
    recorded("attach")
    assert rows(connection, as_of(LINES, STOP)) == one, "what was dropped stays so"


def test_bounds_that_cannot_be_told_leave_rows_in(connection: Connection) -> None:
    connection.exec_driver_sql(
        'CREATE TABLE "Mixed Case".rest PARTITION OF "Mixed Case"."Lines" DEFAULT'
    )
    connection.exec_driver_sql(FILL, (JANUARY, FEBRUARY))
    connection.exec_driver_sql(
        "SELECT audit.\"Mixed Case_Lines_history\"('\"Mixed Case\".rest', 'truncate')"
    )
    assert len(rows(connection, as_of(LINES, STOP))) == 2


def test_more_conditions(connection: Connection) -> None:
    old = as_of(ORDERS, STOP).subquery()
    assert rows(connection, select(old.c.id).where(old.c.status == "paid")) == [(1,)]
    updates = history(ORDERS, 1).where(history_table(ORDERS).c.audit_action == "update")
    assert {row.status for row in connection.execute(updates)} == {"paid"}


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "psycopg2"])
def test_other_drivers(url: str, connection: Connection, driver: str) -> None:
    queries = [history(ORDERS, 1), as_of(ORDERS, STOP), diff(ORDERS, START, STOP)]
    queries.append(history(LINES, (1, JANUARY)))
    parsed = make_url(url).set(drivername=f"postgresql+{driver}")

    async def read() -> list[list[tuple[Any, ...]]]:
        async with create_async_engine(parsed, poolclass=NullPool).connect() as opened:
            return [await opened.run_sync(rows, query) for query in queries]

    if driver == "psycopg2":
        with create_engine(parsed, poolclass=NullPool).connect() as opened:
            found = [rows(opened, query) for query in queries]
    else:
        found = asyncio.run(read())
    assert found == [rows(connection, query) for query in queries]


def test_what_cannot_be_asked() -> None:
    plain = Table("plain", MetaData(), Column("id", Integer, primary_key=True))
    with pytest.raises(DeclarationError, match=r"^plain: no history is declared: add AuditTrail"):
        history(plain, 1)
    wrong = r'Lines: .* is not a primary key: write \{"order id": ..., "at": ...\}$'
    for key in (1, (1, 2, 3), [1], {"order id": 1}, {"order id": 1, "at": None}):
        with pytest.raises(OperationError, match=wrong):
            history(LINES, key)
    naive = datetime(2026, 11, 21)  # noqa: DTZ001  # what is refused
    told = r"has no time zone: write datetime"
    for moment in (naive, "2026-11-21", date(2026, 11, 21), None):
        with pytest.raises(OperationError, match=told):
            as_of(ORDERS, cast("Any", moment))
        with pytest.raises(OperationError, match=told):
            diff(ORDERS, cast("Any", moment), STOP)
    with pytest.raises(OperationError, match=r"^2026-01-01 .* is before 2200-01-01 .* first$"):
        diff(ORDERS, STOP, START)


def test_a_table_as_it_was_is_refused_where_retention_may_have_left_rows_out() -> None:
    forgetful = Table(
        "forgetful", MetaData(), Column("id", Integer, primary_key=True), AuditTrail(retain=24)
    )
    with pytest.raises(OperationError) as error:
        as_of(forgetful, START)
    assert str(error.value) == (
        "forgetful: its history keeps 24 months, and a row that has not changed for longer is "
        "not in it: write as_of(..., incomplete=True) for those that are, or declare AuditTrail() "
        "without retain="
    )
    given, plain = as_of(forgetful, START, incomplete=True), as_of(plainly(), START)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's
    assert str(given.compile(dialect=dialect)) == str(plain.compile(dialect=dialect))


def plainly() -> Table:
    """The same table whose history keeps all."""
    return Table("forgetful", MetaData(), Column("id", Integer, primary_key=True), AuditTrail())


MONTHS = [f"orders_history_y2026_m{number:02}" for number in range(1, 5)]
CREATE_MONTHS = """
op.create_range_partitions("orders_history", schema="audit", every="month", start="2026-01-01",
                           stop="2026-05-01")"""
FILL_MONTHS = """
INSERT INTO audit.orders_history (audit_id, audit_at, audit_action, audit_transaction,
    audit_session_user, audit_role, id, status)
SELECT nextval('audit.orders_history_id'), month + id * interval '1 second',
       CASE WHEN month = '2026-01-01 00:00+00' THEN 'insert' ELSE 'update' END, '7', 'me', 'me',
       id, month
FROM generate_series('2026-01-01 00:00+00', '2026-04-01 00:00+00', interval '1 month') AS month,
     generate_series(1, 3000) AS id"""


@pytest.fixture(scope="module")
def months(shared_database: Callable[..., str]) -> str:
    """3,000 orders that changed in each of four months."""
    url = shared_database()
    with create_engine(url, poolclass=NullPool).connect() as connection:
        ORDERS.create(connection)
        connection.commit()
        run(connection, CREATE + CREATE_MONTHS)
        run_sql(connection, "SET TimeZone = 'UTC'", FILL_MONTHS, "ANALYZE audit.orders_history")
    return url


def explained(url: str, query: Select[Any] | str, words: str = "COSTS OFF") -> str:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        if not isinstance(query, str):
            options = {"literal_binds": True}
            query = str(query.compile(connection, compile_kwargs=options))
        plan = connection.exec_driver_sql(f"EXPLAIN ({words}) {query}", ())
        return "\n".join(plan.scalars())


def scanned(plan: str) -> set[str]:
    return set(re.findall(r" on (orders_history_y\d+_m\d+)", plan))


def test_only_the_months_asked_for_are_read(months: str) -> None:
    february, march = (datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3))
    at = history_table(ORDERS).c.audit_at
    plan = explained(months, history(ORDERS, 7).where(at >= february, at < march))
    assert scanned(plan) == {MONTHS[1]}
    assert "Seq Scan" not in plan
    assert scanned(explained(months, as_of(ORDERS, march))) == set(MONTHS[:3]), "through March 1st"
    plan = explained(months, diff(ORDERS, february, march))
    changed, before = plan.split("Limit")
    assert scanned(changed) == {MONTHS[1]}
    assert scanned(before) == set(MONTHS[:2]), "an old value cannot be later"
    assert "Index Scan Backward using " + MONTHS[0] in before
    assert "WindowAgg" not in plan


def test_one_row_as_it_was_is_found_by_the_index(months: str) -> None:
    old = as_of(ORDERS, datetime(2026, 2, 15, tzinfo=UTC)).subquery()
    plan = explained(months, select(old).where(old.c.id == 7))
    assert scanned(plan) == set(MONTHS[:2])
    assert "Seq Scan" not in plan
    with create_engine(months, poolclass=NullPool).connect() as connection:
        [row] = connection.execute(select(old).where(old.c.id == 7))
        assert row.status.startswith("2026-02-01")


def test_old_values_come_from_months_before(months: str) -> None:
    february, march = (datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3))
    with create_engine(months, poolclass=NullPool).connect() as connection:
        found = connection.execute(diff(ORDERS, february, march)).all()
    assert len(found) == 3000
    assert {(row.field, row.old_value[:7], row.new_value[:7]) for row in found} == {
        ("status", "2026-01", "2026-02")
    }
