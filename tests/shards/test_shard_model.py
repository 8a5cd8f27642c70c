"""A bad declaration fails when the models are imported, with what to write instead."""

import re
import subprocess
import sys
import warnings
from enum import Enum as PythonEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Enum,
    Float,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable

from alembic_enterprise import HashShards, RangePartitions
from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions import catalog as partition_catalog
from alembic_enterprise.shards.catalog import declared
from alembic_enterprise.shards.hashing.key_types import KEY_TYPES
from alembic_enterprise.shards.model import TYPES, declared_on, key_type
from alembic_enterprise.sql import Name


def table(*items: Any, name: str = "orders", key: Any = None, **kw: Any) -> Table:
    """A table `orders (id, tenant_id)` with a good primary key, and more items."""
    column = Column("tenant_id", BigInteger, primary_key=True) if key is None else key
    identity = Column("id", BigInteger, primary_key=True)
    return Table(name, MetaData(), *items, identity, column, **kw)


def ddl(table: Table) -> str:
    return str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # SQLAlchemy's


def test_the_declaration_sets_partition_by() -> None:
    assert 'PARTITION BY HASH ("tenant_id")' in ddl(table(HashShards("tenant_id", count=8)))


def test_a_key_may_have_several_columns() -> None:
    found = table(HashShards("tenant_id", "id", count=4))
    assert 'PARTITION BY HASH ("tenant_id", "id")' in ddl(found)
    [noun] = declared([found]).values()
    assert noun.key.columns == ("tenant_id", "id")
    assert noun.types == ("bigint", "bigint")


def test_it_goes_into_a_declarative_class_beside_options() -> None:
    class Base(DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"
        __table_args__ = (HashShards("tenant_id", count=8), {"info": {"mine": 1}})
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant_id: Mapped[UUID] = mapped_column(primary_key=True)

    found = Order.metadata.tables["orders"]
    assert found.info["mine"] == 1
    assert declared_on(found) is not None
    assert 'PARTITION BY HASH ("tenant_id")' in ddl(found)


def test_a_copied_table_keeps_its_declaration() -> None:
    copy = table(HashShards("tenant_id", count=2)).to_metadata(MetaData(), schema="sales")
    [noun] = declared([copy]).values()
    assert [shard.name for shard in noun.shards] == [
        Name("sales", "orders_shard_0"),
        Name("sales", "orders_shard_1"),
    ]


def test_what_the_model_declares_is_the_noun_that_the_database_gives() -> None:
    [noun] = declared([table(HashShards("tenant_id", count=4))]).values()
    assert noun.held == [(4, 0), (4, 1), (4, 2), (4, 3)]
    assert (noun.count, noun.moduli) == (4, [4])


def test_range_partitions_do_not_take_it_for_theirs() -> None:
    sharded = table(HashShards("tenant_id", count=4))
    [noun] = partition_catalog.declared([sharded]).values()
    assert (str(noun.key), noun.policy) == ("HASH (tenant_id)", None)
    event = Table(
        "events",
        MetaData(),
        Column("at", DateTime, primary_key=True),
        RangePartitions("at", every="day"),
    )
    assert declared([event]) == {}


def test_a_column_may_be_called_otherwise_in_python() -> None:
    column = Column("tenant", BigInteger, primary_key=True, key="tenant_id")
    found = table(HashShards("tenant_id", count=2), key=column)
    assert 'PARTITION BY HASH ("tenant")' in ddl(found)


class Moment(TypeDecorator[Any]):
    impl = DateTime(timezone=True)
    cache_ok = True


class Colour(PythonEnum):
    red = "red"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SmallInteger(), "smallint"),
        (Integer(), "integer"),
        (BigInteger(), "bigint"),
        (Text(), "text"),
        (String(9), "character varying"),
        (String(9, collation="C"), "character varying"),
        (postgresql.CHAR(9), "character"),
        (Uuid(), "uuid"),
        (Uuid(native_uuid=False), "character"),
        (Boolean(), "boolean"),
        (LargeBinary(), "bytea"),
        (Date(), "date"),
        (DateTime(), "timestamp without time zone"),
        (DateTime(timezone=True), "timestamp with time zone"),
        (postgresql.TIMESTAMP(precision=0), "timestamp without time zone"),
        (Numeric(10, 2), "numeric"),
        (Moment(), "timestamp with time zone"),
        (Float().with_variant(BigInteger(), "postgresql"), "bigint"),
        (Enum(Colour, native_enum=False), "character varying"),
    ],
    ids=repr,
)
def test_types_are_named_as_the_server_prints_them(kind: Any, name: str) -> None:
    found = table(HashShards("tenant_id", count=2), key=Column("tenant_id", kind, primary_key=True))
    assert key_type(found.c.tenant_id) == name


def test_keys_are_of_the_types_whose_placement_is_known() -> None:
    assert set(TYPES.values()) == set(KEY_TYPES)


UNKNOWN: list[Any] = [
    Float(),
    Double(),
    Interval(),
    JSON(),
    postgresql.JSONB(),
    ARRAY(Integer),
    Time(),
    postgresql.INET(),
    postgresql.DOMAIN("code", Text),
    None,
]


@pytest.mark.parametrize("kind", UNKNOWN, ids=repr)
def test_a_type_without_a_known_hash_is_refused(kind: Any) -> None:
    with pytest.raises(DeclarationError, match=r"no client can tell in which shard.*; shard by a"):
        table(HashShards("tenant_id", count=2), key=Column("tenant_id", kind, primary_key=True))


EIGHT = HashShards("tenant_id", count=8)
BAD = [
    (
        lambda: table(HashShards("tenant", count=8)),
        'orders: HashShards("tenant"): no such column; it has "id", "tenant_id"',
    ),
    (
        lambda: table(EIGHT, key=Column("tenant_id", BigInteger)),
        (
            "orders: the primary key (id) lacks the shard column tenant_id, and PostgreSQL can "
            'only keep it unique inside one partition: write PrimaryKeyConstraint("id", '
            '"tenant_id"), or primary_key=True for each of these columns'
        ),
    ),
    (
        lambda: table(
            HashShards("tenant_id", "region", count=8), Column("region", Text, nullable=False)
        ),
        (
            'inside one partition: write PrimaryKeyConstraint("id", "tenant_id", "region"), or '
            "primary_key=True for each of these columns"
        ),
    ),
    (
        lambda: table(
            HashShards("tenant_id", "id", count=8), Column("code", Text), UniqueConstraint("code")
        ),
        (
            "a unique constraint (code) lacks the shard column tenant_id, and PostgreSQL can only "
            'keep it unique inside one partition: write UniqueConstraint("code", "tenant_id", "id")'
        ),
    ),
    (
        lambda: table(EIGHT, Column("code", Text), Index("ux", "code", unique=True)),
        'write Index("ux", "code", "tenant_id", unique=True)',
    ),
    (
        lambda: table(EIGHT, key=Column("tenant_id", Enum(Colour), primary_key=True)),
        "PostgreSQL hashes an enum by its OID, which a restored dump changes; shard by a column",
    ),
    (
        lambda: table(EIGHT, name="o" * 56),
        (
            "the names of its partitions would have 64 bytes, and PostgreSQL cuts names at 63: "
            "shorten the table's name to 55 bytes"
        ),
    ),
    (
        lambda: table(HashShards("tenant_id", count=16), name="ö" * 27 + "o"),
        "would have 64 bytes",
    ),
    (
        lambda: table(EIGHT, HashShards("id", count=8)),
        "orders: two HashShards on one table; keep one of them",
    ),
    (
        lambda: table(EIGHT, RangePartitions("at", every="day")),
        'orders: RangePartitions("at"): no such column; it has "id", "tenant_id"',
    ),
    (
        lambda: table(EIGHT, postgresql_partition_by="HASH (tenant_id)"),
        "orders: HashShards sets PARTITION BY itself; remove postgresql_partition_by",
    ),
    (
        lambda: HashShards("id", count=0),
        'HashShards("id"): count=0: write a whole number from 1 to 1024',
    ),
    (lambda: HashShards("id", count=1025), "count=1025: write a whole number from 1 to 1024"),
    (lambda: HashShards("id", count=True), "count=True: write a whole number from 1 to 1024"),
    (
        lambda: HashShards("id", count="8"),  # type: ignore[arg-type]  # the point
        "count='8': write a whole number from 1 to 1024",
    ),
    (
        lambda: HashShards(count=8),
        'HashShards(): name the columns of the key as texts, each once: write HashShards("tenant_',
    ),
    (
        lambda: HashShards("id", "id", count=8),
        'HashShards("id", "id"): name the columns of the key as texts, each once: write',
    ),
    (
        lambda: HashShards(["id", "at"], count=8),  # type: ignore[arg-type]  # the point
        "HashShards(['id', 'at']): name the columns of the key as texts, each once",
    ),
    (
        lambda: HashShards(Column("id", BigInteger), count=8),  # type: ignore[arg-type]  # the point
        "HashShards(Column('id', BigInteger(), table=None)): name the columns of the key as texts",
    ),
]


@pytest.mark.parametrize(("declare", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_a_bad_declaration_says_what_to_write(declare: Any, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare()
    assert message in str(caught.value)


def test_a_unique_index_added_later_is_found_by_the_comparison() -> None:
    found = table(HashShards("tenant_id", count=8), Column("code", Text))
    Index("ux", found.c.code, unique=True)
    with pytest.raises(DeclarationError, match="the unique index ux"):
        declared([found])


@pytest.mark.parametrize("count", [1, 2, 4, 8, 512, 1024])
def test_a_power_of_two_says_nothing(count: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HashShards("id", count=count)


def test_any_other_count_warns_at_the_model_with_the_counts_ahead() -> None:
    expected = (
        'HashShards("id", count=10): 10 shards can be split into 20, 30, 40 or another multiple; '
        "16 is not a multiple of 10, and needs the table rebuilt. Write a power of two such as "
        "count=16, or keep this count knowingly: before the models, "
        'warnings.filterwarnings("ignore", "HashShards")'
    )
    with pytest.warns(UserWarning, match=re.escape(expected)) as caught:
        HashShards("id", count=10)
    [warning] = caught
    assert Path(warning.filename) == Path(__file__)
    with pytest.warns(UserWarning, match="1000 shards cannot be split; 1024 is not a multiple of"):
        HashShards("id", count=1000)
    with pytest.warns(UserWarning, match="400 shards can be split into 800; 512 is not a mul"):
        HashShards("id", count=400)


def test_the_warning_can_be_silenced_as_it_says() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "HashShards")
        HashShards("id", count=3)


def test_importing_the_declaration_loads_neither_alembic_nor_click_nor_a_driver() -> None:
    code = (
        "import sys; from alembic_enterprise import HashShards; "
        "print([name for name in ('alembic', 'click', 'psycopg') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_repr_is_the_declaration() -> None:
    spec = HashShards("tenant_id", "id", count=8)
    again = eval(repr(spec))  # noqa: S307  # the property under test
    assert (again.keys, again.count) == (spec.keys, spec.count)
