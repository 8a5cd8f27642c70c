"""The tables with a policy, and all that maintenance has to know of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import registry, sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.catalog import Catalog, Partition, PartitionedTable
from alembic_enterprise.partitions.due import covered
from alembic_enterprise.partitions.foreign_keys import (
    ForeignKey,
    foreign_keys,
    keys_query,
    related_tables,
)
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations.triggers import ON_EACH_PARTITION
from alembic_enterprise.partitions.plainly import plain_tables
from alembic_enterprise.partitions.retired import Retired, Ties, called_as_today, retired
from alembic_enterprise.partitions.steps import GUARD
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class ManagedTables:
    """The tables with a policy, or those of them that were named, as they were seen last.

    Attributes:
        unusable: those whose policy cannot be used.
        retaining: all tables of whose partitions some will be retired.
        guards: the default partitions that still carry the guard of a run that was killed.
        schemas: those in which the role may create.
        owners: of the tables that the role does not own, by oid: the owner, and the role.
        shut_out: the owners who may not create in the schema of their table, by its oid.
        plain: the oids of tables whose partitions `create_plainly` can make: LIKE copies all they
            need.
        with_triggers: the oids of tables with triggers that stand on each partition.
        related: the oids of tables that foreign keys lead from or to.
    """

    tables: Sequence[PartitionedTable]
    unusable: Sequence[PartitionedTable]
    retaining: Sequence[PartitionedTable]
    schemas: Collection[str]
    owners: Mapping[int, tuple[str, str]]
    shut_out: Mapping[int, str]
    plain: Collection[int]
    with_triggers: Collection[int]
    related: Collection[int]
    partitions: Mapping[Name, Sequence[Partition]]
    foreign_keys: Mapping[Name, Sequence[ForeignKey]]
    retired: Sequence[Retired]
    guards: Collection[Name]

    def of(self, table: PartitionedTable) -> Sequence[Partition]:
        """The partitions of a table."""
        return self.partitions.get(table.name, ())

    def default(self, table: PartitionedTable) -> Partition | None:
        """The default partition of a table."""
        if not table.has_default:
            return None
        return next((item for item in self.of(table) if item.is_default), None)

    def retired_of(self, table: PartitionedTable) -> Sequence[Retired]:
        """The tables that an earlier run detached from a table."""
        return [item for item in self._retired_from.get(table.oid, ()) if item.belonged_to(table)]

    @cached_property
    def _retired_from(self) -> Mapping[int, Sequence[Retired]]:
        found: dict[int, list[Retired]] = {}
        for item in self.retired:
            found.setdefault(item.oid, []).append(item)
        return found

    def referred(self, table: PartitionedTable) -> Sequence[PartitionedTable]:
        """Those of `retaining` that foreign keys of a table refer to."""
        return [other for name in table.names for other in self._referred_from.get(name, ())]

    @cached_property
    def _referred_from(self) -> Mapping[Name, Sequence[PartitionedTable]]:
        found: dict[Name, list[PartitionedTable]] = {}
        for table in self.retaining:
            for source in {key.source for key in self.foreign_keys[table.name]}:
                found.setdefault(source, []).append(table)
        return found

    def refusal(self, table: PartitionedTable) -> str | None:
        """Why a table cannot be worked on, with the next step."""
        if table.oid in self.owners:
            owner, role = self.owners[table.oid]
            return (
                f"{table.name} belongs to {owner}, and {role} may not alter it: connect as {owner}"
            )
        if table.oid in self.shut_out:
            owner = self.shut_out[table.oid]
            return (
                f"{table.name} belongs to {owner}, who may not have partitions in its schema: "
                f"GRANT CREATE ON SCHEMA {table.name.schema} TO {owner}"
            )
        if table.name.schema not in self.schemas:
            return (
                f"{table.name}: no right to create in its schema: "
                f"GRANT CREATE ON SCHEMA {table.name.schema}"
            )
        if not table.timed:
            return (
                f"{table.name} is partitioned by {table.key}, not by range of one date or "
                "timestamp column: drop its policy (op.drop_partition_policy)"
            )
        return None

    def policies(self) -> list[tuple[PartitionedTable, Policy]]:
        """Each table with its policy."""
        return [(table, table.policy) for table in self.tables if table.policy is not None]


def look(connection: Connection, names: Collection[str] = ()) -> ManagedTables:
    """Look at everything, in a constant number of round trips.

    Raises `ConfigurationError` as `read_policies` and `with_policy` do.
    """
    live = read_policies(connection)
    tables = with_policy(live, names)
    retaining = [table for table in with_policy(live) if table.policy and table.policy.retain]
    others, shut_out = owners(connection, tables)
    steady = ManagedTables(
        tables=tables,
        unusable=unusable(live, names),
        retaining=retaining,
        schemas=open_schemas(connection),
        owners=others,
        shut_out=shut_out,
        plain=plain_tables(connection, tables),
        with_triggers=tables_with_triggers(connection, tables),
        related=related_tables(connection, tables),
        partitions={},
        foreign_keys={},
        retired=(),
        guards=(),
    )
    return look_again(connection, steady, {})


def look_again(
    connection: Connection, seen: ManagedTables, known: Mapping[Name, Sequence[Partition]]
) -> ManagedTables:
    """Look again at what the steps of a run change, but for partitions known to be unchanged."""
    partitions = catalog.partitions(connection, seen.tables, known=known)
    referred = {table.oid: table for table in (*seen.tables, *seen.retaining)}.values()
    return replace(
        seen,
        tables=[_seen_with(table, partitions[table.name]) for table in seen.tables],
        partitions=partitions,
        foreign_keys=foreign_keys(connection, referred),
        retired=called_as_today(
            connection, retired_partitions(connection, seen.retaining), referred
        ),
        guards=guarded_partitions(connection),
    )


def _seen_with(table: PartitionedTable, partitions: Sequence[Partition]) -> PartitionedTable:
    """A table with what its partitions say of it."""
    return replace(
        table,
        covered=covered(partitions),
        has_default=any(item.is_default for item in partitions),
    )


def read_policies(connection: Connection) -> Catalog:
    """The catalog without coverage, which the partitions tell to those who read them.

    Raises `ConfigurationError` where no policy can be read, and there are some.
    """
    live = catalog.read(connection, bounds=False, strict=False)
    if not with_policy(live) and (closed := registry.closed(connection)):
        raise ConfigurationError(
            f"no right to read the policies in {', '.join(closed.values())}: "
            f"{registry.OPEN_IT.format('the tables')}"
        )
    return live


def with_policy(live: Catalog, names: Collection[str] = ()) -> list[PartitionedTable]:
    """The tables with a policy, or those named, with or without their schema.

    A table by hash is known by its shards by time; its name stands for all of them.

    Raises `ConfigurationError` for a name that no table with a policy has.
    """
    tables = live.kept()
    known = {name for table in (*tables, *live.unusable()) for name in table.called}
    if unknown := sorted(set(names) - known):
        there = ", ".join(str(table.name) for table in tables[:10]) or "none"
        raise ConfigurationError(
            f"no table with a policy is called {', '.join(unknown)}: there are {there}"
        )
    return [table for table in tables if not names or table.called & set(names)]


def unusable(live: Catalog, names: Collection[str] = ()) -> list[PartitionedTable]:
    """The tables whose policy cannot be used, or those named."""
    return [table for table in live.unusable() if not names or table.called & set(names)]


_INSIDE = SQL("""
WITH RECURSIVE tree AS (
    SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = {relation}
    UNION ALL
    SELECT i.inhrelid
    FROM tree JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.inhrelid)
SELECT ARRAY[n.nspname::text, c.relname::text]
FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.inhrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY c.oid::bigint""")


def inside(connection: Connection, table: Name) -> tuple[Name, ...]:
    """The partitions of a partitioned table, and theirs, by their names alone."""
    relation = SQL("{}::regclass").format(table.regclass)
    rows = sql.rows(connection, _INSIDE.format(relation=relation))
    return tuple(Name(*pair) for (pair,) in rows)


_WITH_TRIGGERS = SQL("""
SELECT t.tgrelid FROM pg_catalog.pg_trigger AS t
WHERE starts_with(obj_description(t.oid, 'pg_trigger'), {comment})""")


def tables_with_triggers(connection: Connection, tables: Iterable[PartitionedTable]) -> set[int]:
    """The oids of tables with triggers that stand on each partition."""
    query = SQL("{} AND t.tgrelid = ANY ({}::oid[])").format(
        _WITH_TRIGGERS.format(comment=Literal(ON_EACH_PARTITION)), oids(tables)
    )
    return {oid for (oid,) in sql.rows(connection, query)}


_RETIRED = SQL("""
SELECT n.nspname, outside.relname, d.description, ARRAY({keys}), ARRAY({inside}),
       outside.oid IN ({triggers})
FROM pg_catalog.pg_description AS d
JOIN pg_catalog.pg_class AS outside ON outside.oid = d.objoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = outside.relnamespace
WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
  AND outside.relkind IN ('r', 'p') AND NOT outside.relispartition
  AND starts_with(d.description, {ownership})
ORDER BY 1, 2""")


def retired_partitions(connection: Connection, tables: Iterable[PartitionedTable]) -> list[Retired]:
    """The tables that an earlier run detached and marked, with their foreign keys to `tables`."""
    keys = keys_query(SQL("outside.oid"), tables)
    inside = _INSIDE.format(relation=SQL("outside.oid"))
    triggers = _WITH_TRIGGERS.format(comment=Literal(ON_EACH_PARTITION))
    query = _RETIRED.format(
        ownership=Literal(OWNERSHIP), keys=keys, inside=inside, triggers=triggers
    )
    found: list[Retired | None] = []
    for schema, name, comment, key_names, pairs, has_triggers in sql.rows(connection, query):
        ties = Ties(tuple(key_names), tuple(Name(*pair) for pair in pairs), has_triggers)
        found.append(retired(Name(schema, name), comment, ties))
    return [item for item in found if item is not None]


def oids(tables: Iterable[PartitionedTable]) -> Literal:
    """The oids of some tables, as an array."""
    return Literal(sorted(table.oid for table in tables))


_SCHEMAS = SQL(
    "SELECT nspname FROM pg_catalog.pg_namespace WHERE has_schema_privilege(oid, 'CREATE')"
)


def open_schemas(connection: Connection) -> set[str]:
    """The schemas in which the role may create."""
    return {name for (name,) in sql.rows(connection, _SCHEMAS)}


MAY_ACT_AS_OWNER = SQL("""(pg_has_role(c.relowner, 'USAGE') AND pg_has_role(c.relowner,
    CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END))""")
"""Whether the role may alter a relation `c`, and give its owner another one.

Since 16 a membership may be without the second (PostgreSQL docs, "GRANT", "GRANT on Roles").
"""

MAY_CREATE_AS_OWNER = SQL("""(pg_get_userbyid(c.relowner) = current_user
    OR has_schema_privilege(c.relowner, c.relnamespace, 'CREATE')
    OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))""")
"""Whether its owner, when it is not the role, may be given another relation in its schema.

Superusers are not asked (PostgreSQL docs, "ALTER TABLE", OWNER TO).
"""

_OWNERS = SQL("""
SELECT c.oid, pg_get_userbyid(c.relowner), {ours}, {creating}, current_user
FROM pg_catalog.pg_class AS c WHERE c.oid = ANY ({parents}::oid[])""")


def other_owners(
    connection: Connection, tables: Iterable[PartitionedTable]
) -> dict[int, tuple[str, str]]:
    """Of the tables that the role does not own: oid -> owner, and the role."""
    return owners(connection, tables)[0]


def owners(
    connection: Connection, tables: Iterable[PartitionedTable]
) -> tuple[dict[int, tuple[str, str]], dict[int, str]]:
    """As `other_owners`; and the owners who may not create in the schema of their own table."""
    query = _OWNERS.format(
        ours=MAY_ACT_AS_OWNER, creating=MAY_CREATE_AS_OWNER, parents=oids(tables)
    )
    rows = sql.rows(connection, query)
    others = {oid: (owner, role) for oid, owner, ours, _, role in rows if not ours}
    return others, {oid: owner for oid, owner, _, creating, _ in rows if not creating}


_GUARDED = SQL("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.conname = {guard} AND k.contype = 'c'""")


def guarded_partitions(connection: Connection) -> set[Name]:
    """The default partitions that still carry the guard of a run that was killed."""
    query = _GUARDED.format(guard=Literal(GUARD))
    return {Name(schema, name) for schema, name in sql.rows(connection, query)}
