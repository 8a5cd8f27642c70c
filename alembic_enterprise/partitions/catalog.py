"""Partitioned tables, declared in the models or read from the database: the same noun."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Table

from alembic_enterprise import registry, sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import coverage, marks
from alembic_enterprise.partitions.declaration import declarations_on, inner_key
from alembic_enterprise.partitions.model import TIMES, Policy, declared_on
from alembic_enterprise.partitions.periods import Range, by_lower
from alembic_enterprise.partitions.policies import policies_kept
from alembic_enterprise.sql import Name

STRATEGIES = {"r": "RANGE", "l": "LIST", "h": "HASH"}
"""`pg_partitioned_table.partstrat` in words."""


@dataclass(frozen=True)
class Key:
    """How a table is partitioned: the strategy, and its columns (None stands for an expression)."""

    strategy: str
    columns: tuple[str | None, ...]

    def __str__(self) -> str:
        return f"{self.strategy} ({', '.join(name or '<expression>' for name in self.columns)})"


@dataclass(frozen=True)
class PartitionedTable:
    """A table with its partition key and policy, as a model declares it or as it is live.

    Attributes:
        covered: the moments that its range partitions hold, as the fewest ranges, in order; live
            only, as are `has_default`, `oid`, `parent` and `unusable`.
        has_default: whether a default partition is attached.
        naive: whether the key has no time zone (`date`, `timestamp`).
        timed: whether it is partitioned by range of one date or timestamp column.
        inner: how the model wants each partition to be partitioned itself; None when it does not
            say, and when the table is live.
        parent: the table it is a partition of.
        unusable: why its policy in the database cannot be used; then it has none.
    """

    name: Name
    key: Key | None
    policy: Policy | None = None
    naive: bool = False
    covered: tuple[Range, ...] = ()
    has_default: bool = False
    timed: bool = False
    oid: int = field(default=0, compare=False)
    inner: Key | None = None
    parent: "PartitionedTable | None" = field(default=None, compare=False)
    unusable: str | None = field(default=None, compare=False)

    @property
    def root(self) -> "PartitionedTable | None":
        """The hash-partitioned table of which this one is a shard; both follow its policy."""
        key = None if self.parent is None else self.parent.key
        return self.parent if self.timed and key is not None and key.strategy == "HASH" else None

    @property
    def lineage(self) -> tuple["PartitionedTable", ...]:
        """Itself and its root."""
        return (self,) if self.root is None else (self, self.root)

    @property
    def names(self) -> tuple[Name, ...]:
        """Its name, and its root's."""
        return tuple(item.name for item in self.lineage)

    @property
    def called(self) -> set[str]:
        """What a person may call it: its name or its root's, with or without the schema."""
        return {text for name in self.names for text in name.called}


@dataclass(frozen=True)
class Partition:
    """One partition of a table.

    Attributes:
        range: the moments it holds; None for a default partition, and when the table is not
            partitioned by time.
        bound: its bounds as the server prints them in UTC.
        owned: whether alembic-enterprise made it, by its comment.
        pending: whether a concurrent detach was interrupted: its rows are invisible until
            `ALTER TABLE ... DETACH PARTITION ... FINALIZE`.
        kind: "table", "partitioned table" or "foreign table".
        rows: estimate of the last ANALYZE or VACUUM; None when there was none and it is not empty.
        size: bytes, with indexes and TOAST; None when it was not asked for.
        marked: whether a run was about to detach it, by its comment, as `steps.retire` writes it.
    """

    name: Name
    range: Range | None
    bound: str
    owned: bool
    pending: bool
    kind: str
    rows: int | None
    size: int | None
    marked: bool = False
    oid: int = field(default=0, compare=False)

    @property
    def is_default(self) -> bool:
        """Whether it takes the rows of no other partition."""
        return self.bound == "DEFAULT"


@dataclass(frozen=True)
class Catalog:
    """What the comparison needs to know of the database, read at the moment `now` (aware).

    Attributes:
        visible: the tables that a name without a schema finds along the search_path.
    """

    now: datetime
    default_schema: str
    tables: Mapping[Name, PartitionedTable]
    visible: Mapping[str, Name] = field(default_factory=dict[str, Name])

    def resolve(self, name: Name) -> Name:
        """The name with its schema filled in."""
        if name.schema is None and name.name in self.visible:
            return self.visible[name.name]
        return Name(name.schema or self.default_schema, name.name)

    def nested(self, table: PartitionedTable) -> list[PartitionedTable]:
        """The shards of a table by hash that are partitioned themselves."""
        if table.key is None or table.key.strategy != "HASH":
            return []
        return [
            item
            for item in self.tables.values()
            if item.parent is not None and item.parent.oid == table.oid
        ]

    def timed(self, table: PartitionedTable) -> list[PartitionedTable]:
        """The tables by time for which the policy of a table counts: its shards, or itself."""
        return [shard for shard in self.nested(table) if shard.timed] or [table]

    def kept(self) -> list[PartitionedTable]:
        """The tables with a policy; in the place of one by hash, its shards by time."""
        roots = {table.root.oid for table in self.tables.values() if table.root is not None}
        return [table for table in self.tables.values() if table.policy and table.oid not in roots]

    def unusable(self) -> list[PartitionedTable]:
        """The tables whose policy cannot be used."""
        return [table for table in self.tables.values() if table.unusable]


_PARTITION_BY = re.compile(r"\s*(RANGE|LIST|HASH)\s*\((.*)\)\s*", re.IGNORECASE | re.DOTALL)
_COLUMN = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_][\w$]*))\s*(?:,|$)')


def declared(tables: Iterable[Table]) -> dict[Name, PartitionedTable]:
    """The tables of the models; `key` is None for a plain one.

    Raises `DeclarationError` for a unique index that was added after the table was complete.
    """
    return {Name(table.schema, table.name): _declared(table) for table in tables}


def _declared(table: Table) -> PartitionedTable:
    spec = declared_on(table)
    if spec is not None:
        spec.check(table)
    text, inner = table.dialect_options["postgresql"]["partition_by"], inner_key(table)
    return PartitionedTable(
        name=Name(table.schema, table.name),
        key=None if text is None else parse_key(str(text)),
        policy=_declared_policy(table),
        inner=None if inner is None else parse_key(inner),
    )


def _declared_policy(table: Table) -> Policy | None:
    spec = declared_on(table)
    if spec is None:
        return None
    *_, inner = declarations_on(table)
    if inner is spec:
        return spec.policy
    return replace(spec.policy, partition_by=inner_key(table), shards=inner.partition_count)


def parse_key(text: str) -> Key:
    """The key written as `postgresql_partition_by`, for example `RANGE (created_at)`."""
    match = _PARTITION_BY.fullmatch(text)
    if match is None:
        return Key(text, (None,))
    return Key(match[1].upper(), tuple(_columns(match[2])))


def _columns(text: str) -> list[str | None]:
    columns: list[str | None] = []
    position = 0
    while position < len(text):
        match = _COLUMN.match(text, position)
        if match is None:
            return [None]
        quoted, plain = match.groups()
        columns.append(quoted.replace('""', '"') if quoted else plain.lower())
        position = match.end()
    return columns


class _Row(NamedTuple):
    """A row of `_TABLES`: `parent` is what it is a partition of, `key_type` that of its one column.

    `visible` is whether its name is found along the search_path.
    """

    oid: int
    schema: str
    name: str
    strategy: str
    columns: Sequence[str | None]
    key_type: str | None
    has_default: bool
    visible: bool
    parent: int | None

    @property
    def timed(self) -> bool:
        return self.strategy == "r" and self.key_type in TIMES

    @property
    def naive(self) -> bool:
        return self.key_type != TIMES[2]


_TABLES = SQL("""
SELECT c.oid, n.nspname, c.relname, p.partstrat::text,
       ARRAY(SELECT a.attname::text FROM unnest(p.partattrs) WITH ORDINALITY AS k(num, pos)
             LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.num
             ORDER BY k.pos),
       (SELECT format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum = p.partattrs[0] AND p.partnatts = 1),
       p.partdefid <> 0, pg_table_is_visible(c.oid),
       (SELECT inhparent FROM pg_catalog.pg_inherits WHERE c.relispartition AND inhrelid = c.oid)
FROM pg_catalog.pg_partitioned_table AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.partrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't'
ORDER BY 2, 3""")


def read(connection: Connection, *, bounds: bool = True, strict: bool = True) -> Catalog:
    """Every partitioned table of the database, with coverage and policy, in a few round trips.

    Without `bounds` nobody reads what the partitions cover, and `covered` is empty.

    Raises `ConfigurationError` when a policy cannot be used, unless `strict` is false: then its
    table has none and says why.
    """
    with sql.canonical_output(connection):
        clock = SQL("SELECT {}, current_schema()").format(sql.NOW)
        [(now, schema)] = sql.rows(connection, clock)
        rows = [_Row(*row) for row in sql.rows(connection, _TABLES)]
        kept = policies_kept(connection) if rows else {}
        policies = {oid: policy for oid, policy in kept.items() if isinstance(policy, Policy)}
        policies |= _of_shards(rows, policies)
        timed = [row for row in rows if row.timed and bounds]
        naive = {row.oid: row.naive for row in timed}
        defaults = {row.oid for row in timed if row.has_default}
        covered = coverage.covered(connection, naive, defaults, policies)
    found = {row.oid: _table(row, policies.get(row.oid), covered.get(row.oid, ())) for row in rows}
    unusable = {oid: text for oid, text in kept.items() if isinstance(text, str)}
    tables = [
        replace(found[row.oid], parent=found.get(row.parent or 0), unusable=unusable.get(row.oid))
        for row in rows
    ]
    visible = {row.name: Name(row.schema, row.name) for row in rows if row.visible}
    catalog = Catalog(now, schema or "public", {table.name: table for table in tables}, visible)
    if strict and (lines := why_unusable(catalog.unusable())):
        raise ConfigurationError("\n".join(lines))
    return catalog


_NESTED = SQL("SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'p' AND relispartition")


def nested_oids(connection: Connection) -> set[int]:
    """The oids of the partitioned tables that are partitions themselves."""
    return {oid for (oid,) in sql.rows(connection, _NESTED)}


def why_unusable(tables: Iterable[PartitionedTable]) -> list[str]:
    """Why the policies of some tables cannot be used, a line each."""
    return [f"{table.name}: {table.unusable}" for table in tables]


def _of_shards(rows: Sequence[_Row], policies: Mapping[int, Policy]) -> dict[int, Policy]:
    """The policies of shards by time: those of the tables by hash that they belong to."""
    hashed = {row.oid for row in rows if row.strategy == "h"} & policies.keys()
    return {row.oid: policies[row.parent] for row in rows if row.timed and row.parent in hashed}


def _table(row: _Row, policy: Policy | None, covered: tuple[Range, ...]) -> PartitionedTable:
    return PartitionedTable(
        Name(row.schema, row.name),
        Key(STRATEGIES[row.strategy], tuple(row.columns)),
        policy,
        naive=row.naive,
        covered=covered,
        has_default=row.has_default,
        timed=row.timed,
        oid=row.oid,
    )


KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table"}
"""`pg_class.relkind` in words."""

_PARTITIONS = SQL("""
SELECT i.inhparent, n.nspname, c.relname, pg_get_expr(c.relpartbound, 0),
       d.description IS NOT NULL,
       coalesce(strpos(d.description, {retired}) > 0  -- which spares most the expression
                AND d.description ~ {pattern}, false),
       i.inhdetachpending, c.relkind::text, c.oid, measured.*
FROM pg_catalog.pg_inherits AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_description AS d
       ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_catalog.pg_class'::regclass
       AND starts_with(d.description, {ownership}) AND d.description <> {kept}
CROSS JOIN LATERAL ({measured}) AS measured
WHERE i.inhparent = ANY ({parents}::oid[]) AND (i.inhrelid = ANY ({known}::oid[])) IS NOT TRUE""")

_ESTIMATED = SQL("SELECT nullif(c.reltuples, -1)::bigint, NULL::bigint")

# Not pg_partition_tree(): it keeps a lock on each table it returns.
_MEASURED = SQL("""
    WITH RECURSIVE tree AS (
        SELECT c.oid UNION ALL
        SELECT inhrelid FROM tree JOIN pg_catalog.pg_inherits ON inhparent = tree.oid),
    leaves AS (
        SELECT coalesce(pg_total_relation_size(oid), 0) AS size,
               CASE WHEN reltuples > 0 THEN reltuples
                    WHEN relkind = 'r' AND pg_relation_size(oid) = 0 THEN 0 END AS estimate
        FROM tree JOIN pg_catalog.pg_class USING (oid) WHERE relkind <> 'p')
    SELECT CASE WHEN count(*) = count(estimate) THEN coalesce(sum(estimate), 0) END::bigint,
           coalesce(sum(size), 0)::bigint
    FROM leaves""")


def partitions(
    connection: Connection,
    tables: Iterable[PartitionedTable],
    *,
    sizes: bool = False,
    known: Mapping[Name, Sequence[Partition]] | None = None,
) -> dict[Name, list[Partition]]:
    """The partitions of some tables, in the order of their bounds, in one round trip.

    Sizes are asked for by the one who needs them: the server has to look at each file. With them,
    rows and sizes of a partition that is partitioned itself are those of all its leaves. Those that
    are `known`, by their tables, are taken as they are.
    """
    wanted = {table.oid: table for table in tables}
    found = {oid: [*(known or {}).get(table.name, ())] for oid, table in wanted.items()}
    oids = ",".join(str(item.oid) for items in found.values() for item in items)
    query = _PARTITIONS.format(
        ownership=Literal(registry.OWNERSHIP),
        kept=Literal(registry.KEPT),
        retired=Literal(marks.RETIRED),
        pattern=Literal(marks.RETIRED_PATTERN),
        parents=Literal(sorted(wanted)),
        known=Literal(f"{{{oids}}}"),
        measured=_MEASURED if sizes else _ESTIMATED,
    )
    with sql.canonical_output(connection):
        for parent, *row in sql.many_rows(connection, query):
            found[parent].append(_partition(wanted[parent], *row))
    return {wanted[oid].name: sorted(items, key=_by_bound) for oid, items in found.items()}


def _partition(table: PartitionedTable, schema: str, name: str, bound: str, *row: Any) -> Partition:
    owned, marked, pending, kind, oid, rows, size = row
    held = coverage.range_of(bound, naive=table.naive) if table.timed else None
    figures = (KINDS[kind], rows, size)
    return Partition(Name(schema, name), held, bound, owned, pending, *figures, marked, oid)


def _by_bound(partition: Partition) -> tuple[bool, bool, tuple[bool, datetime], Name]:
    """Unbounded below first, a default partition last; those without a range by their names."""
    held = partition.range or Range(None, None)
    return (partition.is_default, partition.range is None, by_lower(held), partition.name)
