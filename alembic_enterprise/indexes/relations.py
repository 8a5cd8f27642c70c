"""What the rules look at: tables with their columns, indexes and foreign keys, and sequences.

Partitions stand under the table they belong to, and their figures add up to its own.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from alembic_enterprise.partitions.catalog import Key
from alembic_enterprise.sql import Name


class Column(NamedTuple):
    """A column.

    Attributes:
        text: its name as SQL writes it, quoted where it must be.
        type: as PostgreSQL writes it, without modifiers; of a domain, the type below it.
        collation: oid of its collation; 0 when the type has none.
    """

    name: str
    text: str
    type: str
    not_null: bool
    collation: int


class Distribution(NamedTuple):
    """What ANALYZE has noted on the values of a column, from pg_stats.

    Attributes:
        nulls: share of the rows that have none.
        correlation: of the order of values with the order of rows, from -1 to 1.
        rarest: share of the rows that have the rarest value; None when not all values are listed,
            which are at most a hundred unless the statistics target says more.
        largest: the largest whole number seen; None for other types.
    """

    nulls: float
    correlation: float | None
    rarest: float | None
    largest: int | None


class Element(NamedTuple):
    """One key of an index.

    Attributes:
        column: its column; None for an expression.
        text: as it is written in CREATE INDEX; empty when the column and the order say all.
        operator_class: oid.
        collation: oid; 0 when the type has none.
        options: the bits of `pg_index.indoption`: 1 for DESC, 2 for NULLS FIRST.
    """

    column: str | None
    text: str
    operator_class: int
    collation: int
    options: int

    @property
    def key(self) -> tuple[str, int, int, int]:
        """What makes two of them equal."""
        return (self.column or self.text, self.operator_class, self.collation, self.options)


class Index(NamedTuple):
    """An index of a table or of a partition.

    Attributes:
        relname: its name without the schema, which is that of its table.
        parent: oid of the index of the partitioned table to which it is attached.
        elements: its keys in order.
        columns: the columns of its keys; None for an expression.
        include: the columns of INCLUDE.
        predicate: the condition of a partial index, as PostgreSQL prints it.
        usable: whether statements can use it, and do until further notice.
        live: whether PostgreSQL keeps it at all: False once dropping it has begun.
        immediate: whether it checks uniqueness at once: False when its constraint is deferrable.
        constraint: name of the constraint that it belongs to.
        kind: "primary key", "unique constraint" or "exclusion constraint"; None for a plain index.
        referenced: whether a foreign key refers to its columns through it.
        size: bytes, by the last VACUUM or ANALYZE; a partitioned index has none of its own.
        rows: how many it holds, by the same.
        scans: since the statistics began; a partitioned index has none of its own.
        read: entries that these scans have read.
        built: when it was made; None unless the server notes the time of commits.
        options: what is in WITH, as `name=value`.
        operators: of a GiST index, the oids of the operators by which each of its keys finds rows.
    """

    oid: int
    schema: str | None
    relname: str
    parent: int | None
    method: str
    elements: tuple[Element, ...]
    columns: tuple[str | None, ...]
    include: tuple[str, ...]
    predicate: str | None
    unique: bool
    nulls_not_distinct: bool
    usable: bool
    live: bool
    immediate: bool
    clustered: bool
    replica_identity: bool
    constraint: str | None
    kind: str | None
    referenced: bool
    size: int
    rows: float
    scans: int
    read: int
    built: datetime | None
    options: list[str] | None
    tablespace: str | None
    operators: tuple[tuple[int, ...], ...] = ()

    @property
    def name(self) -> Name:
        """Its name, made when it is asked for: of most indexes nobody does."""
        return Name(self.schema, self.relname)

    @property
    def only_column(self) -> str | None:
        """Its column when it is a plain index on one: no expression, predicate or INCLUDE."""
        alone = len(self.columns) == 1 and self.predicate is None and not self.include
        return self.columns[0] if alone else None

    @property
    def promises(self) -> bool:
        """Whether it does more than find rows: it keeps them unique or apart, or for replicas."""
        return self.unique or self.kind is not None or self.replica_identity


class ForeignKey(NamedTuple):
    """A foreign key.

    Attributes:
        columns: the columns that refer, in its order.
        types: their types; of a domain, the type below it.
        referred: the table it refers to.
        referred_columns: the columns there.
        referred_types: their types.
        on_delete: what becomes of the rows when theirs is deleted: "NO ACTION", "CASCADE", ...
        operators: oids of the operators that compare the columns with those of the other table.
        enforced: False for NOT ENFORCED, from PostgreSQL 18 on.
    """

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    referred: Name
    referred_columns: tuple[str, ...]
    referred_types: tuple[str, ...]
    on_delete: str
    operators: tuple[int, ...] = ()
    enforced: bool = True


class Table(NamedTuple):
    """A table, partitioned or not, or a partition below one.

    Attributes:
        kind: "table", "partitioned table" or "foreign table".
        partition: whether it is one of another table, and so in no model.
        key: how it is partitioned; None when it is not.
        size: bytes of its rows, without indexes and TOAST; partitions are added up.
        rows: estimate of the last VACUUM or ANALYZE; partitions are added up.
        columns: all, in order; of foreign tables none.
        indexes: its own, without those of its partitions.
        foreign_keys: those declared on it, without the ones that partitions inherit.
        building: whether an index of it, or of a partition, is being built at this moment.
        updates: rows updated since the statistics began; partitions are added up.
        moved: rows updated so that their index entries had to be written again (not HOT).
        deletes: rows deleted.
        scans: times it was read from end to end.
        partitions: those directly below it.
    """

    oid: int
    name: Name
    kind: str
    partition: bool = False
    key: Key | None = None
    size: int = 0
    rows: float = 0
    columns: Mapping[str, Column] = MappingProxyType({})
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    building: bool = False
    updates: int = 0
    moved: int = 0
    deletes: int = 0
    scans: int = 0
    partitions: tuple["Table", ...] = ()

    @property
    def tree(self) -> tuple["Table", ...]:
        """The table and all below it."""
        return (self, *[found for item in self.partitions for found in item.tree])

    @property
    def leaves(self) -> tuple["Table", ...]:
        """What holds its rows: its lowest partitions, or itself; no foreign tables."""
        return tuple([found for found in self.tree if found.kind == "table"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A sequence, and a column that takes its values.

    Attributes:
        table: the table of the column; None for a sequence that belongs to none.
        column: the column.
        type: the type of the column; of the sequence when it belongs to none.
        first: where it starts over, or would: its MINVALUE, or MAXVALUE when it counts down.
        last: the value handed out last; None before the first.
        limit: the last value that sequence and column can both hold.
        cycles: whether it starts over after its own last value.
        own_limit: the last value of the sequence itself.
    """

    name: Name
    table: Name | None
    column: str | None
    type: str
    first: int
    last: int | None
    limit: int
    own_limit: int
    cycles: bool


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All that the rules look at, of one database at the moment `now` (aware).

    Attributes:
        now: the clock of the server.
        default_schema: where a name without a schema is made.
        statistics_since: when the counters of scans began (aware); None when they are off.
        tables: those that are no partitions.
        sequences: those that may run out.
        every: also the tables of other schemas.
        distributions: what is known of the values of some columns, by oid of the table and name.
        undescribed: oids of the indexes for whose expressions there are no statistics.
        unseen: what this role could not see, or the server does not know, a sentence each.
    """

    now: datetime
    default_schema: str
    statistics_since: datetime | None
    tables: tuple[Table, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    every: tuple[Table, ...] = ()
    distributions: Mapping[tuple[int, str], Distribution] = field(
        default_factory=dict[tuple[int, str], Distribution]
    )
    undescribed: frozenset[int] = frozenset()
    unseen: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[Name, Table]:
        """The tables that are no partitions, also of other schemas."""
        return {table.name: table for table in self.every}

    @cached_property
    def flattened(self) -> tuple[Table, ...]:
        """The tables, each followed by all partitions below it."""
        return tuple([item for table in self.tables for item in table.tree])

    @cached_property
    def flattened_by_name(self) -> Mapping[Name, Table]:
        """The tables and all partitions below them."""
        return {table.name: table for table in self.flattened}

    @cached_property
    def taken(self) -> Mapping[str | None, set[str]]:
        """The names of every table and index by their schema, so that a new index gets its own."""
        found: dict[str | None, set[str]] = defaultdict(set)
        for table in (item for root in self.every for item in root.tree):
            names = [index.relname for index in table.indexes]
            found[table.name.schema].update([table.name.name, *names])
        return found

    @cached_property
    def attached(self) -> Mapping[int, tuple[Index, ...]]:
        """The indexes directly below each partitioned index, by its oid."""
        found: dict[int, list[Index]] = {}
        partitions = (item for item in self.flattened if item.partition)
        for index in (index for item in partitions for index in item.indexes):
            if index.parent is not None:
                found.setdefault(index.parent, []).append(index)
        return {oid: tuple(below) for oid, below in found.items()}

    def spread(self, index: Index) -> Iterator[Index]:
        """An index and all that are attached to it, down to the last."""
        yield index
        for below in self.attached.get(index.oid, ()):
            yield from self.spread(below)
