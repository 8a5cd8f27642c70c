"""Why autogenerate emits something: the declared tables against the live ones, and the clock."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime

from alembic.operations import MigrateOperation
from alembic.operations.ops import AlterColumnOp, ModifyTableOps
from sqlalchemy import ForeignKeyConstraint, Table

from alembic_enterprise.errors import MismatchError
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.catalog import Catalog, PartitionedTable
from alembic_enterprise.partitions.declaration import declarations_on, words
from alembic_enterprise.partitions.detached import Detached, advice, filled_in_any, without
from alembic_enterprise.partitions.due import doubt, missing_in_any, past, reach, window
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import (
    CreateRangePartitions,
    DropPartitionPolicy,
    DropRangePartitions,
    SetPartitionPolicy,
)
from alembic_enterprise.partitions.periods import Every
from alembic_enterprise.sql import Name


def compare(
    declared: Mapping[Name, PartitionedTable],
    catalog: Catalog,
    existing: Collection[Name],
    incomplete: Collection[Name] = (),
    detached: Mapping[Name, Sequence[Detached]] | None = None,
) -> list[Operation]:
    """Operations that make the live partitions and policies what the models declare.

    Args:
        declared: the tables of the models that take part, as `catalog.declared` gives them.
        catalog: the live partitioned tables.
        existing: resolved names of all live tables, plain ones too.
        incomplete: declared tables that get shards first, which have no partitions yet.
        detached: what was detached from live tables, as `detached_from` gives it: nothing takes
            its place.

    Raises:
        MismatchError: when a table is partitioned in one place and not, or otherwise, in the
            other; or when so many past partitions are missing that one is far from the others. All
            such tables are named at once.
    """
    pairs = [(table, catalog.tables.get(catalog.resolve(name))) for name, table in declared.items()]
    present = [(table, live) for table, live in pairs if catalog.resolve(table.name) in existing]
    problems = [
        text
        for table, live in present
        if (text := mismatch(table, live) or (live and misfit(table, live, catalog.nested(live))))
    ]
    if problems:
        raise MismatchError("\n".join(problems))
    found: list[Operation] = []
    for table, live in pairs:
        tables = catalog.timed(live) if live else []
        if live is None or table.name in incomplete:
            tables = [*tables, table]
        lacking = missing_in_any(tables, table.policy, catalog.now) if table.policy else []
        if table.policy and (told := doubt(tables, table.policy, catalog.now, lacking)):
            problems.append(f"{table.name}: {told}")
        elif table.policy and detached:
            there = filled_in_any(tables, table.policy, catalog.now, lacking, detached)
            lacking = without(lacking, there)
        found += _operations(table, live, tables, lacking, catalog.now)
    if problems:
        raise MismatchError("\n".join(problems))
    return found


def with_gaps(declared: Iterable[PartitionedTable], catalog: Catalog) -> list[PartitionedTable]:
    """The live tables that lack periods which are over; of one by hash, its shards."""
    found: list[PartitionedTable] = []
    for table in declared:
        live = catalog.tables.get(catalog.resolve(table.name))
        if live is None or table.policy is None:
            continue
        tables = catalog.timed(live)
        lacking = missing_in_any(tables, table.policy, catalog.now)
        if past(lacking, table.policy, catalog.now):
            found += tables
    return found


def left_out(
    declared: Iterable[PartitionedTable],
    catalog: Catalog,
    detached: Mapping[Name, Sequence[Detached]],
) -> list[str]:
    """What a person should hear of periods that `compare` leaves out for what is detached."""
    found: dict[str, None] = {}
    for table in declared if detached else ():
        live = catalog.tables.get(catalog.resolve(table.name))
        if live is None or table.policy is None:
            continue
        tables = catalog.timed(live)
        lacking = missing_in_any(tables, table.policy, catalog.now)
        there = filled_in_any(tables, table.policy, catalog.now, lacking, detached)
        found |= dict.fromkeys(advice(*item) for items in there.values() for item in items)
    return list(found)


def without_policy(
    declared: Iterable[PartitionedTable], dropped: Iterable[Name], catalog: Catalog
) -> list[Name]:
    """The live tables, declared with a policy or to be dropped, of which no policy is known.

    Tables by hash without partitions by time have none; the names are resolved.
    """
    wanted = [*(table.name for table in declared if table.policy), *dropped]
    live = [table for name in wanted if (table := catalog.tables.get(catalog.resolve(name)))]
    return [
        table.name
        for table in live
        if table.policy is None and any(item.timed for item in catalog.timed(table))
    ]


def dropped(name: Name, live: PartitionedTable, catalog: Catalog) -> list[Operation]:
    """What goes before the `drop_table` of a table with a policy: its partitions, if empty."""
    policy = live.policy
    if policy is None:
        return []
    forget: Operation = DropPartitionPolicy.of(name, policy)
    tables = catalog.timed(live)
    if not all(table.timed for table in tables):
        return [forget]
    first = min(window(table, policy, catalog.now)[0] for table in tables)
    partitions = DropRangePartitions(
        name.name,
        policy.every,
        first.isoformat(),
        ahead=policy.ahead,
        timezone=policy.timezone,
        default=any(table.has_default for table in tables),
        schema=name.schema,
        partition_by=policy.partition_by,
        shards=policy.shards,
        whole_table=True,
    )
    return [forget, partitions]


def mismatch(declared: PartitionedTable, live: PartitionedTable | None) -> str | None:
    """Why no migration script can turn the live table into the declared one, or None."""
    if declared.key is None and live is not None and live.key is not None:
        return (
            f"{declared.name}: the database has it partitioned by {live.key}, the model does not. "
            'Declare RangePartitions(...) or HashShards(...), or postgresql_partition_by="..." to '
            "keep partitions by hand, in the model's __table_args__"
        )
    if declared.key is None:
        return None
    if live is None:
        by_hash = declared.key.strategy == "HASH"
        attach = "FOR VALUES WITH (MODULUS 1, REMAINDER 0)" if by_hash else "op.attach_partition"
        return (
            f"{declared.name}: the model declares PARTITION BY {declared.key}, but the "
            "database has a plain table, which ALTER TABLE cannot partition. Create a partitioned "
            "table under a new name, attach the old one to it as a partition "
            f"({attach}) and swap the names: README.md, A plain table that holds rows. "
            "Or take the declaration out of the model"
        )
    if _same_key(declared, live):
        return None
    return (
        f"{declared.name}: the model declares PARTITION BY {declared.key}, but the database has "
        f"it partitioned by {live.key}, which ALTER TABLE cannot change. Correct the "
        "declaration, or build a new table and move the rows"
    )


def misfit(
    declared: PartitionedTable, live: PartitionedTable, nested: Sequence[PartitionedTable]
) -> str | None:
    """Why the live shards, of which some are partitioned (`nested`), are not those declared."""
    advice = "build a new table and move the rows"
    if declared.inner is None and live.policy is not None and nested:
        return (
            f"{declared.name}: the database has its shards partitioned by {nested[0].key}, the "
            f"model does not. Declare RangePartitions(...) after HashShards(...), or {advice}"
        )
    wrong = [shard for shard in nested if declared.inner and shard.key != declared.inner]
    if not wrong:
        return None
    return (
        f"{declared.name}: the model declares that each shard is PARTITION BY {declared.inner}, "
        f"but the database has {wrong[0].name} partitioned by {wrong[0].key}, which ALTER TABLE "
        f"cannot change. Correct the declaration, or {advice}"
    )


def _same_key(declared: PartitionedTable, live: PartitionedTable) -> bool:
    if declared.key is None or live.key is None or declared.key.strategy != live.key.strategy:
        return False
    if declared.policy is None and None in (*declared.key.columns, *live.key.columns):
        return True  # expressions are printed in many ways; only columns can be told apart
    return declared.key == live.key


def _operations(
    declared: PartitionedTable,
    live: PartitionedTable | None,
    tables: Sequence[PartitionedTable],
    lacking: Sequence[tuple[date, date | None]],
    now: datetime,
) -> Iterator[Operation]:
    policy, name = declared.policy, declared.name
    known = None if live is None else live.policy
    if policy is None:
        if known is not None:
            yield DropPartitionPolicy.of(name, known)
        return
    yield from _missing(declared, live, tables, policy, lacking, now)
    if known != policy:
        operation = SetPartitionPolicy.of(name, policy)
        operation.previous = known
        yield operation


def _kept(live: PartitionedTable | None, policy: Policy) -> tuple[int | None, Every | None]:
    """Periods ahead, and their length, that the downgrade must leave to the previous policy.

    All earlier periods stay as well: at downgrade nobody can tell which of them existed before this
    upgrade, here or in another database.
    """
    before = None if live is None else live.policy
    if before is None:
        return None, None
    return before.ahead, None if before.every == policy.every else before.every


def _missing(
    declared: PartitionedTable,
    live: PartitionedTable | None,
    tables: Sequence[PartitionedTable],
    policy: Policy,
    lacking: Sequence[tuple[date, date | None]],
    now: datetime,
) -> Iterator[CreateRangePartitions]:
    """One operation for each contiguous range that is lacking, and for the default partition."""
    default = policy.default and not all(table.has_default for table in tables)
    keep, keep_every = _kept(live, policy)
    before = None if live is None else live.policy
    keep_default = before is not None and before.default
    for start, stop in lacking:
        yield CreateRangePartitions(
            declared.name.name,
            policy.every,
            start=start.isoformat(),
            stop=None if stop is None else stop.isoformat(),
            ahead=reach(policy, now) if stop is None else None,
            timezone=policy.timezone,
            default=default and stop is None,
            schema=declared.name.schema,
            partition_by=policy.partition_by,
            shards=policy.shards,
            new_table=live is None,
            keep=keep,
            keep_every=keep_every,
            keep_default=keep_default,
        )
    if default and all(stop is not None for _, stop in lacking):
        operation = CreateRangePartitions.of_default(declared.name, policy)
        operation.keep_default = keep_default
        yield operation


def check_references(tables: Sequence[Table]) -> None:
    """Raise `MismatchError` for foreign keys to a declared table that leave out its partition key.

    PostgreSQL refuses each: what is referred to has to be unique, and so holds the partition key
    (docs, "Table Partitioning", Limitations). No declaration can tell, as other models may follow.
    """
    keys = (key for table in tables for key in table.foreign_key_constraints)
    if problems := [text for key in keys if (text := _unreferable(key))]:
        raise MismatchError("\n".join(problems))


def _unreferable(key: ForeignKeyConstraint) -> str | None:
    there = key.referred_table
    named = [element.column.name for element in key.elements]
    wanted = (name for spec in declarations_on(there) for name in spec.key_names(there))
    lacking = [name for name in dict.fromkeys(wanted) if name not in named]
    if not lacking:
        return None
    columns = words([*key.column_keys, *(f"{there.name}_{name}" for name in lacking)])
    referred = words(f"{there.fullname}.{name}" for name in [*named, *lacking])
    return (
        f"{key.table.fullname}: a foreign key refers to {there.fullname} ({', '.join(named)}), "
        f"which PostgreSQL can only keep unique together with {', '.join(lacking)}: add a "
        f"column for it, and write ForeignKeyConstraint([{columns}], [{referred}])"
    )


def check_key_types(script: Iterable[MigrateOperation], catalog: Catalog) -> None:
    """Raise `MismatchError` where a script gives a column of a partition key another type.

    PostgreSQL refuses each, also a longer one: "cannot alter column ... because it is part of the
    partition key of relation".
    """
    changes = [item for item in script if isinstance(item, ModifyTableOps)]
    if problems := [text for change in changes for text in _retyped(change, catalog)]:
        raise MismatchError("\n".join(problems))


def _retyped(change: ModifyTableOps, catalog: Catalog) -> Iterator[str]:
    name = Name(change.schema, change.table_name)
    keys = _key_columns(catalog.resolve(name), catalog)
    for step in change.ops:
        if not isinstance(step, AlterColumnOp) or step.modify_type is None:
            continue
        if step.column_name in keys:
            yield (
                f"{name}: the model declares {step.column_name} as {step.modify_type!r}, but the "
                f"database has it as {step.existing_type!r} and is partitioned by it, so that "
                "ALTER TABLE cannot change it. Correct the type, or build a new table and move the "
                "rows"
            )


def _key_columns(name: Name, catalog: Catalog) -> set[str | None]:
    """What a table is partitioned by, and each of its partitions."""
    tables = [
        table
        for table in catalog.tables.values()
        if name in (table.name, table.parent and table.parent.name)
    ]
    return {column for table in tables if table.key for column in table.key.columns}
