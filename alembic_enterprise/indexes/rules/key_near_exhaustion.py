"""The rule key-near-exhaustion."""

from collections.abc import Iterator
from typing import Any

from alembic_enterprise.finding import Finding, Severity
from alembic_enterprise.indexes.catalog import ROWS
from alembic_enterprise.indexes.relations import Catalog, Sequence, Table
from alembic_enterprise.indexes.remarks import remark

WARNING, ERROR = 0.75, 0.9
"""Shares of all values that are used up."""

ASCENDING = 0.9
"""Correlation above which keys count up as rows are added; random ones are large at once."""

_LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1}


def key_near_exhaustion(catalog: Catalog) -> Iterator[Finding]:
    """A key that counts up and is about to run out of numbers.

    On the day it does, each insert fails. The usual cause is an integer key, which
    ends at 2,147,483,647, often below a sequence that could go on for longer.

    A warning from 75 % of its numbers on, an error from 90 %. What counts is the
    first limit that is met: that of the column, or that of the sequence, upwards or
    downwards. A sequence that starts over is nothing, unless the column ends
    first. An integer key without a sequence is judged by the largest value that
    ANALYZE has seen, if the order of keys is the order of rows: others are drawn
    by chance and large from the beginning.

    Asks for a wider column, which is for you to plan. A sequence that ends before
    its column only needs ALTER SEQUENCE.

    Costs a rewrite of the table, and of all that refer to it.

    Not read: sequences of bigint columns that count by small steps, for none of
    them ever ends, and more than 1,000 sequences. Reading needs SELECT or USAGE.

    Leave it when no rows are added any more.
    """
    for sequence in catalog.sequences:
        table = None if sequence.table is None else catalog.by_name.get(sequence.table)
        if table is not None or sequence.table is None:
            yield from _of_sequence(catalog, sequence, table)
    counted = {(sequence.table, sequence.column) for sequence in catalog.sequences}
    for table in catalog.tables:
        if table.rows < ROWS:
            continue
        for name in {index.only_column for index in table.indexes if index.unique}:
            if name is not None and (table.name, name) not in counted:
                yield from _of_column(catalog, table, name)


def _of_sequence(catalog: Catalog, sequence: Sequence, table: Table | None) -> Iterator[Finding]:
    if sequence.last is None or (sequence.cycles and sequence.limit == sequence.own_limit):
        return
    # Of a sequence with a single number, that one is always the first.
    share = (sequence.last - sequence.first) / ((sequence.limit - sequence.first) or 1)
    if share < WARNING:
        return
    about = f"{sequence.name}" if sequence.column is None else sequence.column
    widened = _widened(sequence)
    yield _finding(
        catalog,
        table or Table(oid=0, name=sequence.name, kind="sequence"),
        f"{share:.0%} of the numbers for {about} are used up, at {sequence.last:,} of "
        f"{sequence.limit:,}: {widened or _step(sequence.type)}",
        share,
        sequence=str(sequence.name),
        column=sequence.column,
        last=sequence.last,
        limit=sequence.limit,
    )


def _widened(sequence: Sequence) -> str | None:
    """What is done at once when the sequence ends, and not the column."""
    most = _LARGEST.get(sequence.type, 2**63 - 1)
    upwards = sequence.own_limit > sequence.first
    if sequence.column is None or (sequence.limit >= most if upwards else sequence.limit <= -most):
        return None
    end = "MAXVALUE" if upwards else "MINVALUE"
    return f"ALTER SEQUENCE {sequence.name.text} AS {sequence.type} NO {end}, which is done at once"


def _step(kind: str) -> str:
    if kind == "bigint":
        return "let it start over, or count by smaller steps"
    return "plan for a bigint column, and for those that refer to it"


def _of_column(catalog: Catalog, table: Table, name: str) -> Iterator[Finding]:
    known = catalog.distributions.get((table.oid, name))
    most = _LARGEST.get(table.columns[name].type)
    if known is None or most is None or known.largest is None:
        return
    share = known.largest / most
    if share >= WARNING and (known.correlation or 0) >= ASCENDING:
        yield _finding(
            catalog,
            table,
            f"{share:.0%} of the numbers for {name} are used up, at {known.largest:,} of {most:,}: "
            f"{_step(table.columns[name].type)}",
            share,
            column=name,
            last=known.largest,
            limit=most,
        )


def _finding(catalog: Catalog, table: Table, told: str, share: float, **more: Any) -> Finding:
    severity: Severity = "error" if share >= ERROR else "warning"
    return remark(
        "key-near-exhaustion", severity, catalog, table, told, share=round(share, 4), **more
    )
