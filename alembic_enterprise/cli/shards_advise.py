"""`shards advise`: keys and numbers of shards for a table."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import (
    Target,
    format_option,
    project_or_url_options,
    table_argument,
)
from alembic_enterprise.cli.output import fitted, speaks_unicode, wrapped, write
from alembic_enterprise.wording import printable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alembic_enterprise.shards.prediction import Candidate, Sample, Spread, UniqueKey

NAME, VALUE, FIGURE = 20, 15, 7
"""Columns of a key, of its most frequent value, and of each figure."""


@click.command("advise")
@table_argument
@project_or_url_options
@click.option(
    "--count",
    "counts",
    type=click.IntRange(1, 1024),
    multiple=True,
    metavar="N",
    help="Predict this many shards; may be repeated.  [default: 4, 8, 16, 32, 64]",
)
@click.option(
    "--sample",
    "rows",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    metavar="ROWS",
    help="Look at about this many rows.",
)
@format_option
def advise_command(
    table: str, target: Target, counts: tuple[int, ...], rows: int, form: str
) -> None:
    """Predict how each column would spread a table's rows.

    For a plain table that is to be sharded, or one that is sharded by another key.

    \b
    Examples:
      alembic-enterprise shards advise orders
      alembic-enterprise shards advise orders --count 8 --count 128
      alembic-enterprise shards advise sales.lines --sample 1000000 --format json

    Each value of a sample is placed as the server would place it. The sample is taken by chance: of
    up to 10 million rows from all of them, of more from some of the table's blocks.

    Skew is the rows of the fullest shard in multiples of the mean. A count makes sense up to a skew
    of 1.5, and from 100 sampled rows a shard on. One hot value sets the limit: its rows are in one
    shard, whatever the count.

    The package has a schema of the JSON in schemas/shards-advise.schema.json. A change that breaks
    readers changes its format_version.
    """  # noqa: D301  # click wants the character \b
    sample = target.connected(lambda connection: _read(connection, table, rows))
    from alembic_enterprise.shards.prediction import (  # noqa: PLC0415  # --help stays fast
        COUNTS,
        candidates,
        document,
    )

    found = candidates(sample, counts or COUNTS)
    write(json.dumps(document(sample, found), indent=2) if form == "json" else _text(sample, found))


def _read(connection: "Connection", table: str, rows: int) -> "Sample":
    from alembic_enterprise.shards.sample import read  # noqa: PLC0415  # --help stays fast

    return read(connection, table, rows)


def _text(sample: "Sample", found: "Sequence[Candidate]") -> str:
    name = click.style(printable(str(sample.table)), bold=True)
    head = f"{name}  about {sample.rows:,} rows, {sample.sampled:,} of them sampled"
    blocks = [head]
    if not sample.sampled:
        blocks.append("There are no rows to predict from.")
    elif found:
        words = [line for item in found for line in _words(item, sample.sampled)]
        blocks += [_table(found), "\n".join(words)]
    if sample.refused:
        left = ", ".join(f"{column} ({reason})" for column, reason in sample.refused.items())
        blocks.append("\n".join(wrapped(f"No key: {left}")))
    return "\n\n".join(blocks)


def _table(found: "Sequence[Candidate]") -> str:
    counts = "".join(f"{f'at {item.count}':>{FIGURE}}" for item in found[0].spreads)
    head = f"{'key':<{NAME}} {'hottest value':<{VALUE}}{'share':>{FIGURE}}{counts}"
    last = found[0].spreads[-1].count
    legend = f"at {last}: rows of the fullest of {last} shards, in multiples of the mean"
    return "\n".join([click.style(head, bold=True), *map(_row, found), "", legend])


def _row(item: "Candidate") -> str:
    names = f"{_fitted(item.column.name, NAME)} {_fitted(_hottest(item), VALUE)}"
    return f"{names}{item.share:>{FIGURE}.1%}{''.join(map(_skew, item.spreads))}"


def _fitted(words: str, columns: int) -> str:
    return fitted(printable(words), columns, "…" if speaks_unicode() else "~")


def _hottest(item: "Candidate") -> str:
    from alembic_enterprise.shards.prediction import shown  # noqa: PLC0415  # --help stays fast

    text = shown(item.hottest)
    return "NULL" if text is None else text


def _skew(spread: "Spread") -> str:
    words = f"{spread.skew:>{FIGURE}.2f}"
    return words if spread.sensible else click.style(words, fg="red")


def _words(item: "Candidate", sampled: int) -> list[str]:
    """What to know before one takes the key."""
    from alembic_enterprise.shards.prediction import ENOUGH  # noqa: PLC0415  # --help stays fast

    remarks = [
        f"{', '.join(map(str, item.counts))} shards",
        f"{_keys(item.lacking)} must contain it" if item.lacking else "",
        "rows without it share a shard: make it NOT NULL" if item.column.nullable else "",
    ]
    words = "; ".join(filter(None, remarks))
    if not item.counts:
        few = all(spread.mean < ENOUGH for spread in item.spreads)
        needed = f"too few rows: {sampled:,} sampled, {ENOUGH} a shard needed"
        words = needed if few else "no count makes sense"
    return wrapped(f"{item.column.name} ({item.column.type}): {words}", indent="  ")


def _keys(keys: "Sequence[UniqueKey]") -> str:
    return " and ".join(
        f"{'the primary key' if key.primary else key.name} "
        f"({', '.join(column or '<expression>' for column in key.columns)})"
        for key in keys
    )
