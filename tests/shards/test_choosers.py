"""`choosers` for SQLAlchemy's ShardedSession, over four real databases with one shard each.

Each of them refuses rows of the others: a wrong choice fails. The tests share them, and what they
write is rolled back.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import laws
import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    ForeignKeyConstraint,
    NullPool,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.horizontal_shard import ShardedSession, set_shard_id
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    mapped_column,
    relationship,
    selectinload,
)

from alembic_enterprise import HashShards
from alembic_enterprise.errors import PlacementError
from alembic_enterprise.shards.choosers import MOST_KEYS, choosers
from alembic_enterprise.shards.operations import CreateHashShards
from alembic_enterprise.shards.placement import shard_of

IDS = ["north", "east", "south", "west"]


class Upper(TypeDecorator[str]):
    """A type of the models' own: regions are stored in capitals."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        return None if value is None else value.upper()


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (HashShards("tenant_id", count=4),)
    tenant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    note: Mapped[str | None]
    lines: Mapped[list["Line"]] = relationship(back_populates="order", order_by="Line.place")


class Line(Base):
    __tablename__ = "lines"
    __table_args__ = (
        ForeignKeyConstraint(["Tenant", "number"], ["orders.tenant_id", "orders.number"]),
        HashShards("Tenant", count=4),
    )
    tenant: Mapped[int] = mapped_column("Tenant", BigInteger, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[Order] = relationship(back_populates="lines")


class Visit(Base):
    """Its identity for SQLAlchemy is no key of the table, and lacks the shard key."""

    __table__ = Table(
        "visits",
        Base.metadata,
        Column("id", BigInteger),
        Column("region", Upper),
        Column("day", DateTime),
        HashShards("region", "day", count=4),
    )
    __mapper_args__ = {"primary_key": [__table__.c.id]}  # noqa: RUF012  # SQLAlchemy's way
    id: Mapped[int]
    region: Mapped[str | None]
    day: Mapped[datetime | None]


class Ticket(Base):
    __tablename__ = "tickets"
    __table_args__ = (HashShards("id", count=4),)
    id: Mapped[int] = mapped_column(primary_key=True)


class Country(Base):
    __tablename__ = "countries"
    code: Mapped[str] = mapped_column(Text, primary_key=True)


ORDERS, TICKETS, COUNTRIES = (
    Base.metadata.tables[name] for name in ("orders", "tickets", "countries")
)

Asked = list[tuple[str, str]]
"""The databases that were asked, each with the statement."""


@pytest.fixture(scope="module")
def engines(shared_database: Callable[..., str]) -> dict[str, Engine]:
    """Four databases with the tables of all models, each with the shards of its own remainder.

    They hold three orders of each of eight tenants.
    """
    engines = {name: create_engine(shared_database(), poolclass=NullPool) for name in IDS}
    for remainder, engine in enumerate(engines.values()):
        Base.metadata.create_all(engine)
        with engine.connect() as connection:
            names = ["orders", "lines", "visits", "tickets"]
            laws.apply(connection, [CreateHashShards(name, 4, [remainder]) for name in names])
    with ShardedSession(shards=engines, **choosers(Order, engines)._asdict()) as session:
        for tenant in range(8):
            for number in range(3):
                lines = [Line(place=place) for place in range(2)]
                session.add(Order(tenant_id=tenant, number=number, note="new", lines=lines))
        session.commit()
    return engines


@pytest.fixture
def connections(engines: dict[str, Engine]) -> Iterator[dict[str, Connection]]:
    """A connection to each database, in a transaction that is rolled back after the test."""
    with ExitStack() as stack:
        found = {name: stack.enter_context(engine.connect()) for name, engine in engines.items()}
        for connection in found.values():
            connection.begin()
        yield found


def _note(asked: Asked, name: str, *values: Any) -> None:
    asked.append((name, values[2]))


@pytest.fixture
def asked(connections: dict[str, Connection]) -> Asked:
    found: Asked = []
    for name, connection in connections.items():
        event.listen(connection, "before_cursor_execute", partial(_note, found, name))
    return found


@pytest.fixture
def session(connections: dict[str, Connection]) -> Iterator[Session]:
    """A session that has loaded nothing; what it commits is undone after the test.

    See "Joining a Session into an External Transaction" in SQLAlchemy's documentation.
    """
    chosen = choosers(Order, connections)._asdict()
    mode = "create_savepoint"
    with ShardedSession(shards=connections, join_transaction_mode=mode, **chosen) as session:
        yield session


def home(*tenants: int) -> set[str]:
    return {IDS[shard_of(Order, [tenant])] for tenant in tenants}


def names(asked: Asked) -> set[str]:
    return {name for name, _ in asked}


def test_objects_are_flushed_to_their_databases(
    connections: dict[str, Connection], session: Session
) -> None:
    for name, connection in connections.items():
        tenants = connection.scalars(select(Order.tenant_id).distinct()).all()
        lines = connection.scalars(select(Line.tenant).distinct()).all()
        assert all(home(tenant) == {name} for tenant in tenants)
        assert sorted(tenants) == sorted(lines)
    assert len(session.scalars(select(Order)).all()) == 24


def test_an_object_is_changed_and_deleted_where_it_is(session: Session, asked: Asked) -> None:
    found = session.scalars(select(Order).where(Order.tenant_id == 5, Order.number == 1)).one()
    found.note = "changed"
    session.commit()
    for line in found.lines:
        session.delete(line)
    session.delete(found)
    session.commit()
    assert names(asked) == home(5)
    assert session.get(Order, (5, 1)) is None


def test_a_key_that_is_changed_is_refused_by_the_server(session: Session) -> None:
    found = session.get(Order, (5, 1), options=[selectinload(Order.lines)])
    assert found is not None
    for line in found.lines:
        session.delete(line)
    session.flush()
    found.tenant_id = next(tenant for tenant in range(100) if home(tenant) != home(5))
    with pytest.raises(DBAPIError, match="no partition of relation"):
        session.flush()


def test_a_primary_key_with_the_shard_key_asks_one_database(session: Session, asked: Asked) -> None:
    found = session.get(Order, (3, 2))
    assert found is not None
    assert names(asked) == home(3)
    asked.clear()
    assert session.get(Order, (3, 2)) is found  # from the identity map
    assert asked == []
    assert session.get(Order, (3, 99)) is None
    assert names(asked) == home(3)


def test_another_primary_key_asks_all(session: Session, asked: Asked) -> None:
    day = datetime(2026, 11, 21)  # noqa: DTZ001  # the column has no time zone
    session.add_all([Visit(id=1, region="eu", day=day), Visit(id=2)])
    session.commit()
    session.expunge_all()
    asked.clear()
    found = session.get(Visit, 1)
    assert found is not None
    assert found.region == "EU"
    assert names(asked) == set(IDS)


def test_lazy_and_eager_loads_follow_the_foreign_key(session: Session, asked: Asked) -> None:
    found = session.get(Order, (6, 0))
    assert found is not None
    assert [line.place for line in found.lines] == [0, 1]
    assert found.lines[0].order is found
    assert names(asked) == home(6)
    asked.clear()
    session.expunge_all()
    query = select(Order).where(Order.tenant_id == 6).options(selectinload(Order.lines))
    assert [len(order.lines) for order in session.scalars(query)] == [2, 2, 2]
    assert names(asked) == home(6)


OTHER = aliased(Order)
tenant_id = Order.tenant_id

QUERIES: list[tuple[Any, Sequence[int] | None]] = [
    (select(Order).where(tenant_id == 3), [3]),
    (select(Order).filter_by(tenant_id=3), [3]),
    (select(Order).where(tenant_id == 3, Order.number > 1), [3]),
    (select(Order).where(and_(tenant_id == 3, or_(Order.number == 1, Order.number == 2))), [3]),
    (select(Order).where(tenant_id.in_([1, 2])), [1, 2]),
    (select(Order).where(tenant_id.in_({1, 2}), tenant_id == 2), [2]),
    (select(ORDERS).where(ORDERS.c.tenant_id == 3), [3]),
    (select(Order.note).where(tenant_id == 3).order_by(Order.number).limit(1), [3]),
    (select(func.count()).select_from(Order).where(tenant_id == 3), [3]),
    (select(OTHER).where(OTHER.tenant_id == 3), [3]),
    (
        select(Order, OTHER).where(
            tenant_id == 3, OTHER.tenant_id == 3, OTHER.number == Order.number
        ),
        [3],
    ),
    (select(Order).join(Line).where(Line.tenant == 3), [3]),
    (select(Order).outerjoin(OTHER, OTHER.number == Order.number).where(tenant_id == 3), [3]),
    (select(Order).where(tuple_(tenant_id, Order.number).in_([(3, 1), (2, 0)])), [2, 3]),
    (select(Order), None),
    (select(Order).where(or_(tenant_id == 1, tenant_id == 2)), None),
    (select(Order).where(tenant_id > 3), None),
    (select(Order).where(tenant_id != 3), None),
    (select(Order).where(~(tenant_id == 3)), None),
    (select(Order).where(tenant_id.not_in([1, 2])), None),
    (select(Order).where(tenant_id + 0 == 3), None),
    (select(Order).where(tenant_id == Order.number), None),
    (select(Order).where(tenant_id == select(func.max(tenant_id)).scalar_subquery()), None),
    (select(Order).where(tenant_id.in_(select(tenant_id))), None),
    (select(Order).where(tenant_id.in_([3] * (MOST_KEYS + 1))), None),
    (select(Order).where(tenant_id.is_(None)), None),
    (select(Order).where(Order.number == 3), None),
    (select(Order).where(select(Line).where(Line.tenant == 3).exists()), None),
    (select(Order).outerjoin(OTHER, OTHER.tenant_id == 3), None),
    (union_all(select(tenant_id).where(tenant_id == 3), select(tenant_id)), None),
    (select(select(Order).where(tenant_id == 3).subquery()), None),
    (text("SELECT * FROM orders WHERE tenant_id = 3"), None),
    (select(Country), None),
]


@pytest.mark.parametrize(("query", "tenants"), QUERIES)
def test_a_query_asks_the_databases_that_may_have_rows(
    session: Session, asked: Asked, query: Any, tenants: Sequence[int] | None
) -> None:
    session.execute(query).all()
    assert names(asked) == (set(IDS) if tenants is None else home(*tenants))


def test_no_row_is_lost_by_asking_fewer(
    session: Session, connections: dict[str, Connection]
) -> None:
    for query, tenants in QUERIES:
        if tenants is None or "count(" in str(query):
            continue
        found = session.execute(query).all()
        everywhere = 0
        for connection in connections.values():
            everywhere += len(connection.execute(query).all())
        assert len(found) == everywhere > 0


def test_values_that_come_with_the_execution(session: Session, asked: Asked) -> None:
    query = select(Order).where(tenant_id == bindparam("tenant"))
    assert len(session.scalars(query, {"tenant": 3}).all()) == 3
    assert names(asked) == home(3)
    asked.clear()
    late = select(Order).where(tenant_id == bindparam("tenant", callable_=lambda: 4))
    assert len(session.scalars(late).all()) == 3
    assert names(asked) == home(4)


def test_a_value_of_another_type_asks_all(session: Session, asked: Asked) -> None:
    found = session.scalars(select(Visit).where(Visit.region == "eu", Visit.day == text("now()")))
    assert found.all() == []
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    session.scalars(select(Visit).where(Visit.region == "eu", Visit.day == moment)).all()
    assert names(asked) == set(IDS)


def test_no_values_find_no_rows(session: Session, asked: Asked) -> None:
    assert session.scalars(select(Order).where(tenant_id.in_([]))).all() == []
    nobody = select(Order).join(OTHER, OTHER.number == Order.number)
    nobody = nobody.where(
        tenant_id == 1, OTHER.tenant_id == next(n for n in range(9) if home(n) != home(1))
    )
    assert session.scalars(nobody).all() == []
    assert len(names(asked)) == 1


def test_composite_keys_and_types_of_the_models(session: Session, asked: Asked) -> None:
    days = [datetime(2026, 11, day) for day in (20, 21)]  # noqa: DTZ001  # no time zone
    places = {
        IDS[shard_of(Visit, {"region": region, "day": day})] for region in "ab" for day in days
    }
    keys = enumerate((region, day) for region in "ab" for day in days)
    session.add_all([Visit(id=id_, region=region, day=day) for id_, (region, day) in keys])
    session.commit()
    asked.clear()
    query = select(func.count()).select_from(Visit).where(Visit.day.in_(days))
    assert sum(session.scalars(query.where(Visit.region.in_(["a"])))) == 2
    found = session.scalars(query.where(Visit.region.in_(["a", "b"]))).all()
    assert (sum(found), names(asked)) == (4, places)
    asked.clear()
    session.execute(query).all()
    assert names(asked) == set(IDS)


def test_update_and_delete_of_many_rows(session: Session, asked: Asked) -> None:
    result = session.execute(update(Order).where(tenant_id == 3).values(note="changed"))
    assert (result.rowcount, names(asked)) == (3, home(3))  # type: ignore[attr-defined]  # of DML
    asked.clear()
    session.execute(delete(Line).where(Line.tenant.in_([1, 2])))
    assert names(asked) == home(1, 2)
    asked.clear()
    session.execute(update(Order).where(Order.number == 0).values(note="first"))
    assert names(asked) == set(IDS)
    firsts = session.scalars(select(Order).where(Order.note == "first")).all()
    assert sorted(order.tenant_id for order in firsts) == list(range(8))


def test_many_sets_of_parameters_go_everywhere(session: Session, asked: Asked) -> None:
    change = update(ORDERS).where(tenant_id == bindparam("tenant", 1)).values(note="changed")
    session.execute(change, [{"tenant": 2}, {"tenant": 3}])
    assert names(asked) == set(IDS)
    assert len(session.scalars(select(Order).where(Order.note == "changed")).all()) == 6


def test_rows_of_one_database_are_inserted_together(session: Session, asked: Asked) -> None:
    rows = [{"tenant_id": 3, "number": number} for number in range(10, 20)]
    session.execute(insert(ORDERS), rows)
    session.execute(insert(ORDERS), {"tenant_id": 3, "number": 20})
    assert names(asked) == home(3)
    query = select(func.count()).select_from(Order).where(tenant_id == 3)
    assert session.scalar(query) == 14


def test_rows_of_many_databases_are_not_inserted_into_each(session: Session) -> None:
    rows = [{"tenant_id": tenant, "number": 10} for tenant in range(8)]
    with pytest.raises(PlacementError, match=r"rows of \d databases in one INSERT"):
        session.execute(insert(ORDERS), rows)
    with pytest.raises(PlacementError, match="no database follows from this INSERT"):
        session.execute(insert(Order).values(tenant_id=1, number=10))
    with pytest.raises(PlacementError, match="no database follows from this INSERT"):
        session.execute(insert(COUNTRIES), {"code": "no"})


def test_a_key_that_a_default_would_set_is_asked_for(session: Session) -> None:
    session.add(Ticket())
    with pytest.raises(PlacementError, match=r"Ticket\.id is not set"):
        session.flush()
    session.rollback()
    with pytest.raises(PlacementError, match=r"tickets\.id is not set"):
        session.execute(insert(TICKETS), [{}])
    session.add_all([Ticket(id=number) for number in range(20)])
    session.commit()
    assert len(session.scalars(select(Ticket)).all()) == 20


def test_a_class_without_shards_has_no_database(session: Session, asked: Asked) -> None:
    session.add(Country(code="no"))
    with pytest.raises(PlacementError, match="no database follows from Country: put HashShards"):
        session.flush()
    session.rollback()
    assert session.get(Country, "no") is None
    asked.clear()
    session.scalars(select(Country).options(set_shard_id("west"))).all()
    assert names(asked) == {"west"}


def test_there_is_a_database_for_each_shard() -> None:
    with pytest.raises(PlacementError, match="declares 4 shards, and 2 databases were given"):
        choosers(Order, ["a", "b"])
    with pytest.raises(PlacementError, match="declares no shards"):
        choosers(Country, IDS)
    assert choosers(ORDERS, IDS)._fields == (
        "shard_chooser",
        "identity_chooser",
        "execute_chooser",
    )
