"""What is not as it should be: one rule a function, each pure over one inspected table."""

from collections.abc import Callable, Collection, Iterator, Sequence
from shlex import quote

from sqlalchemy import Connection

from alembic_enterprise.finding import AUTOGENERATE, Finding
from alembic_enterprise.operation import Operation
from alembic_enterprise.shards.inspection import (
    LOOKED_AT,
    Inspection,
    Orphan,
    inspect,
    number,
    strays,
)
from alembic_enterprise.shards.leftovers import Copy
from alembic_enterprise.shards.model import SUFFIX
from alembic_enterprise.shards.moduli import ALL
from alembic_enterprise.shards.operations import CreateHashShards, GrowHashShards
from alembic_enterprise.shards.status import SKEW, Standing
from alembic_enterprise.sql import Name
from alembic_enterprise.wording import first_few

ENOUGH = 1000
"""Rows a shard must have on average before its skew is remarked on: fewer differ by chance."""


def findings(connection: Connection, only: Collection[str] = ()) -> tuple[int, list[Finding]]:
    """How many tables were looked at, and all findings on them and on what growth has left.

    Args:
        connection: its transaction becomes read-only.
        only: names of the tables to look at; empty means all.

    Raises `ConfigurationError` as `inspect`.
    """
    inspected = inspect(connection, only)
    found = [finding for item in inspected for finding in advise(item)]
    copies = [] if only else strays(connection)
    return len(inspected), [*found, *map(copy_without_table, copies)]


def advise(inspection: Inspection) -> list[Finding]:
    """All findings on one table."""
    return [found for rule in RULES for found in rule(inspection)]


def shards_missing(inspection: Inspection) -> Iterator[Finding]:
    """Some keys find no shard: their rows are refused."""
    known, table = inspection.status, inspection.status.table
    if known.coverage == 1 or any(item.pending for item in known.shards):
        return
    remainders = [held.remainder for held in known.holes]
    holes = f"it has {len(known.shards)} shards"
    if remainders:
        holes = f"no shard holds remainder {first_few(remainders, most=5)} of {table.count}"
    step, operations = _filling(inspection)
    yield Finding(
        "shards-missing",
        "error",
        str(table.name),
        f"{holes}, and {float(1 - known.coverage):.1%} of all keys are refused: {step}",
        {"coverage": float(known.coverage), "modulus": table.count, "remainders": remainders},
        operations,
    )


def _filling(inspection: Inspection) -> tuple[str, tuple[Operation, ...]]:
    """What to do about shards that are missing, and the operations for it.

    Where a table beside it may have the rows of a shard, no new one is made, which would hide them.
    """
    table, holes = inspection.status.table, inspection.status.holes
    # A table without any shard has no modulus to tell its holes by: it lacks all.
    fitting = [item for item in inspection.orphans if not item.misplaced]
    apart = [item for item in fitting if item.may_fill(holes or [ALL])]
    held = {item.claimed for item in apart}
    steps = [f"attach {first_few([item.name for item in apart], most=5)} again"] if apart else []
    operations: tuple[Operation, ...] = ()
    remainders = [hole.remainder for hole in holes if not held & {hole, None}]
    if remainders:
        create = CreateHashShards(
            table.name.name, table.count, remainders, table.name.schema, table.partition_by
        )
        operations = (create,)
        steps.append(f"{AUTOGENERATE}, or by hand with op.{create}")
    if not steps:
        steps = [f"run `alembic upgrade head`; if that creates none, {AUTOGENERATE}"]
    return ", and ".join(steps), operations


def detach_pending(inspection: Inspection) -> Iterator[Finding]:
    """A concurrent detach was interrupted: rows are invisible and new ones are refused."""
    table = inspection.status.table.name
    for item in inspection.status.shards:
        if item.pending:
            name = item.shard.name
            yield Finding(
                "detach-pending",
                "error",
                str(table),
                f"detaching {name} was interrupted, its rows are in limbo: ALTER TABLE "
                f"{table.text} DETACH PARTITION {name.text} FINALIZE, and attach it again",
                {"shard": str(name)},
            )


def shard_misnamed(inspection: Inspection) -> Iterator[Finding]:
    """The number in the name of a shard is not its remainder."""
    table = inspection.status.table.name
    for item in inspection.status.shards:
        shard = item.shard
        found = number(shard.name.name)
        if found == shard.held.remainder or (found is None and not shard.owned):
            continue
        wanted = Name(None, table.name + SUFFIX.format(shard.held.remainder))
        yield Finding(
            "shard-misnamed",
            "warning",
            str(table),
            f"{shard.name} holds remainder {shard.held.remainder} of {shard.held.modulus}: "
            f"ALTER TABLE {shard.name.text} RENAME TO {wanted.text}",
            {"shard": str(shard.name), **shard.held._asdict()},
        )


def skewed(inspection: Inspection) -> Iterator[Finding]:
    """A shard has many more rows than its share."""
    known = inspection.status
    if known.rows < ENOUGH * len(known.shards):
        return
    for item in known.shards:
        if item.skew is not None and item.skew > SKEW:
            yield _skewed(known.table.name, item, known.rows)


def _skewed(table: Name, item: Standing, rows: int) -> Finding:
    return Finding(
        "skewed",
        "warning",
        str(table),
        f"{item.shard.name} has {item.skew:.1f} times its share, about {item.rows:,} of {rows:,} "
        f"rows: look for a better key with `alembic-enterprise shards advise {quote(str(table))}`",
        {"shard": str(item.shard.name), "rows": item.rows, "skew": round(item.skew or 0, 3)},
    )


def growth_unfinished(inspection: Inspection) -> Iterator[Finding]:
    """Shards are being split, or some are split and others not."""
    known, table = inspection.status, inspection.status.table
    if inspection.copies:
        count = max(held.modulus for held in inspection.copies)
        yield Finding(
            "growth-unfinished",
            "warning",
            str(table.name),
            f"{len(inspection.copies)} copies of shards stand beside it, and every write is "
            f"repeated in them: let `{_growth(table.name, count)}` run to its end, or remove them "
            f"with `alembic-enterprise shards grow {quote(str(table.name))} --abort`",
            {"moduli": table.moduli, "copies": [held._asdict() for held in inspection.copies]},
        )
    elif known.growing:
        yield Finding(
            "growth-unfinished",
            "note",
            str(table.name),
            f"its shards are of modulus {' and '.join(map(str, table.moduli))}: go on with "
            f"`{_growth(table.name, table.count)}`, unless only those were meant to be split",
            {"moduli": table.moduli, "copies": []},
        )


def _growth(table: Name, count: int) -> str:
    return GrowHashShards(table.name, count, table.schema).command


def foreign_key_unvalidated(inspection: Inspection) -> Iterator[Finding]:
    """Growth was ended before it validated a foreign key that it had put back."""
    table = inspection.status.table
    for key in inspection.pending:
        yield Finding(
            "foreign-key-unvalidated",
            "warning",
            str(table.name),
            f"the foreign key {key.name} of {key.table} was put back when a shard was replaced, "
            "and its older rows were not validated since: run "
            f"`{_growth(table.name, table.count)}`",
            {"constraint": key.name, "table": str(key.table)},
        )


def orphan(inspection: Inspection) -> Iterator[Finding]:
    """A table that we made as a shard is not attached, and its rows could be."""
    table = inspection.status.table.name
    for item in inspection.orphans:
        if not item.misplaced:
            yield Finding(
                "orphan",
                "warning",
                str(table),
                f"{item.name} was made as a shard and is not attached{_holding(item)}: "
                + _placing(inspection, item),
                {"shard": str(item.name), "rows": item.rows},
            )


def _placing(inspection: Inspection, item: Orphan) -> str:
    table, holes = inspection.status.table.name, inspection.status.holes
    if item.claimed is not None and item.claimed not in holes:
        return "another shard takes such rows: INSERT them into the table itself, and drop it"
    return f"drop it when its rows are not needed, or attach it: {item.attach(table)}"


def _holding(item: Orphan) -> str:
    if item.rows is None:
        return ""
    return f", with {_counted(item.rows)} row{'s' * (item.rows != 1)}"


def rows_misplaced(inspection: Inspection) -> Iterator[Finding]:
    """A table that we made as a shard is not attached, and holds rows of other shards."""
    for item in inspection.orphans:
        if item.claimed is not None and item.misplaced:
            yield Finding(
                "rows-misplaced",
                "warning",
                str(inspection.status.table.name),
                f"{item.name} is not attached, and {_counted(item.misplaced)} of its rows are not "
                f"of remainder {item.claimed.remainder} of {item.claimed.modulus}: INSERT them "
                "into the table itself, which places them, and drop it",
                {"shard": str(item.name), **item.claimed._asdict(), "rows": item.misplaced},
            )


def copy_without_table(copy: Copy) -> Finding:
    """A copy of a shard is left, and its table is gone."""
    return Finding(
        "copy-without-table",
        "warning",
        str(copy.name),
        "growth has left this copy of a shard, and the table of that is gone: "
        f"DROP TABLE {copy.name.text}",
        copy.held._asdict(),
    )


def _counted(rows: int) -> str:
    return f"{rows:,} or more" if rows >= LOOKED_AT else f"{rows:,}"


RULES: Sequence[Callable[[Inspection], Iterator[Finding]]] = (
    shards_missing,
    detach_pending,
    shard_misnamed,
    skewed,
    growth_unfinished,
    foreign_key_unvalidated,
    orphan,
    rows_misplaced,
)
