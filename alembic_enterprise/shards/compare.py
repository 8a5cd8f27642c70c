"""Why autogenerate emits something: the declared shards against the live ones.

Growing a table online takes hours, in which its shards are of more than one modulus. That is a
state in order as long as every row has its shard: nothing is proposed, whether the model already
declares the count that the table grows towards or still the one it comes from. The same goes for
a table of which one shard was split by hand. `unfinished` reports it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from alembic_enterprise.errors import MismatchError
from alembic_enterprise.operation import Operation
from alembic_enterprise.shards.catalog import ShardedTable
from alembic_enterprise.shards.inspection import Orphan
from alembic_enterprise.shards.moduli import fits, holes, splits
from alembic_enterprise.shards.operations import (
    CreateHashShards,
    DropHashShards,
    GrowHashShards,
    ShrinkHashShards,
)
from alembic_enterprise.sql import Name


def compare(
    declared: Mapping[Name, ShardedTable],
    live: Mapping[Name, ShardedTable],
    resolve: Callable[[Name], Name],
    orphans: Mapping[int, Sequence[Orphan]],
) -> list[Operation]:
    """Operations that make the live shards what the models declare.

    Whether a table is partitioned at all, and by the key declared, is for
    `alembic_enterprise.partitions.compare` to say, which knows every table.

    Args:
        declared: the sharded tables of the models that take part.
        live: the sharded tables of the database, by their full names.
        resolve: fills in the schema of a declared name.
        orphans: tables beside those that lack a shard, made as one, by the oid of their table.

    Raises:
        MismatchError: when no operation leads from the live shards to the declared ones. All such
            tables are named at once.
    """
    pairs = [(table, live.get(resolve(name))) for name, table in declared.items()]
    problems = [text for table, found in pairs if found and (text := mismatch(table, found))]
    problems += [
        text
        for table, found in pairs
        if found and (text := _apart(table, found, orphans.get(found.oid, ())))
    ]
    if problems:
        raise MismatchError("\n".join(problems))
    return [operation for table, found in pairs for operation in _operations(table, found)]


def incomplete(
    declared: Mapping[Name, ShardedTable],
    live: Mapping[Name, ShardedTable],
    resolve: Callable[[Name], Name],
) -> set[Name]:
    """Those of the declared tables that lack a shard."""
    pairs = [(name, table, live.get(resolve(name))) for name, table in declared.items()]
    return {name for name, table, found in pairs if found and _missing(found, table.count)}


def dropped(name: Name, live: ShardedTable) -> list[Operation]:
    """What goes before the `drop_table` of a table with shards of ours: those, if empty."""
    if not any(shard.owned for shard in live.shards):
        return []
    return [
        DropHashShards(
            name.name,
            live.count,
            schema=name.schema,
            partition_by=live.partition_by,
            whole_table=True,
        )
    ]


def mismatch(declared: ShardedTable, live: ShardedTable) -> str | None:
    """Why the live shards cannot become the declared ones, or None."""
    if not live.plain:
        return (
            f"{declared.name}: the database hashes {live.key} with a nondeterministic collation or "
            "an operator class of its own, and no client can tell in which shard a value is. "
            "Build a new table without it and move the rows"
        )
    if not live.shards:
        return None
    if (text := _misfit(declared, live)) is not None:
        return text
    count, smallest = declared.count, live.moduli[0]
    if count < smallest and smallest % count == 0:
        shrink = ShrinkHashShards(declared.name.name, count, declared.name.schema)
        return (
            f"{declared.name}: the model declares count={count}, but the database has "
            f"{live.count} shards. Write count={live.count}, or merge them first, which locks the "
            f"table while rows are copied: op.{shrink}"
        )
    if not fits(live.moduli, count):
        return (
            f"{declared.name}: the model declares count={count}, but the database has shards of "
            f"modulus {' and '.join(map(str, live.moduli))}, and each modulus must divide the next "
            f"larger one. Declare count={live.count} or a multiple of it, or build a new table and "
            "move the rows"
        )
    return None


def _apart(declared: ShardedTable, live: ShardedTable, orphans: Sequence[Orphan]) -> str | None:
    """Why no shard is created where one is missing, or None: its rows may be in another table."""
    lacking = holes(live.held, live.count or declared.count)
    apart = next((item for item in orphans if item.may_fill(lacking)), None)
    if apart is None:
        return None
    step = f"Drop it when they are not needed, or attach it: {apart.attach(live.name)}"
    if apart.misplaced:
        step = "Run `alembic-enterprise shards check`, which says how to put them back"
    return (
        f"{declared.name}: {apart.name} was made as a shard and is not attached, and a new shard "
        f"in its place would hide its rows. {step}"
    )


def _misfit(declared: ShardedTable, live: ShardedTable) -> str | None:
    """Why shards that are partitioned themselves cannot be had, or grow, or None."""
    if declared.partition_by is None:
        return None
    for shard in live.shards:
        if shard.partition_by is None:
            return (
                f"{declared.name}: the model declares that each shard is PARTITION BY "
                f"{declared.partition_by}, but {shard.name} is a {shard.kind}, which ALTER TABLE "
                "cannot partition. Build a new table and move the rows"
            )
    if declared.count != live.count:
        return (
            f"{declared.name}: the model declares count={declared.count}, but the database has "
            f"{live.count} shards, and shards that are partitioned themselves cannot be split or "
            f"merged. Write count={live.count}, or build a new table and move the rows"
        )
    return None


def inside(
    declared: Mapping[Name, int],
    live: Mapping[Name, ShardedTable],
    resolve: Callable[[Name], Name],
) -> list[str]:
    """What to know of the declared tables whose partitions by time lack shards.

    No operation is proposed: it would name a partition, which retention drops some day, and the
    script is still there. Another number of shards than the declared one is none to remark on: it
    goes for new partitions only.

    Args:
        declared: the tables whose partitions are sharded, with the number of shards.
        live: the sharded tables of the database, partitions among them, by their full names.
        resolve: fills in the schema of a declared name.
    """
    found: list[str] = []
    for name, count in declared.items():
        lacking = [
            table.name
            for table in live.values()
            if table.parent == resolve(name) and _missing(table, count)
        ]
        if lacking:
            found.append(
                f"{name}: {len(lacking)} of its partitions lack shards and refuse rows, "
                f"{lacking[0]} first; nothing is proposed, as a script would outlive them: "
                "`alembic-enterprise shards check` says how to make those shards"
            )
    return found


def _missing(live: ShardedTable, count: int) -> list[int]:
    """The remainders that no shard holds; of `count` when there is no shard at all."""
    return [hole.remainder for hole in holes(live.held, live.count or count)]


def unfinished(
    declared: Mapping[Name, ShardedTable],
    live: Mapping[Name, ShardedTable],
    resolve: Callable[[Name], Name],
) -> list[str]:
    """What to know of the declared tables whose shards are of more than one modulus."""
    pairs = [(name, live.get(resolve(name))) for name in declared]
    return [_unfinished(name, found) for name, found in pairs if found and len(found.moduli) > 1]


def _unfinished(name: Name, live: ShardedTable) -> str:
    left = len(splits(live.held, live.count))
    grow = GrowHashShards(name.name, live.count, name.schema)
    return (
        f"{name}: {left} of its {len(live.shards)} shards are not split yet, and nothing is "
        f"proposed meanwhile: `{grow.command}` goes on"
    )


def locking(operations: Iterable[Operation]) -> list[str]:
    """What to know of those operations that lock a table for long, and the way around."""
    return [
        f"{grow.name}: {grow.operation_name} copies its rows under ACCESS EXCLUSIVE, and nobody "
        f"reads or writes it meanwhile. Where it is in use, run `{grow.command}` before this "
        "migration, which finds nothing to do then"
        for grow in operations
        if isinstance(grow, GrowHashShards)
    ]


def _operations(declared: ShardedTable, live: ShardedTable | None) -> Iterator[Operation]:
    name, count = declared.name, declared.count
    if live is None or not live.shards:
        yield CreateHashShards(
            name.name,
            count,
            schema=name.schema,
            partition_by=declared.partition_by,
            new_table=live is None,
        )
        return
    if missing := _missing(live, count):
        yield CreateHashShards(
            name.name,
            live.count,
            missing,
            schema=name.schema,
            partition_by=declared.partition_by,
            repair=True,
        )
    if len(live.moduli) == 1 and live.count < count:
        yield GrowHashShards(name.name, count, name.schema, previous=live.count)
