"""What the partitions of tables by time cover, read from their bounds, or from some of them."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import Range, moment, shift, today

BUDGET = 1000
"""Most bounds read in one comparison; beyond, tables with a policy are read by a sample."""

BOTH_ENDS = 2
"""A sample of a table in order has at most two ranges: its oldest and its newest partitions."""

_ALL = SQL("""SELECT inhrelid, count(*) OVER () AS number
FROM pg_catalog.pg_inherits WHERE inhparent = p.oid""")

_SAMPLE = SQL("""
SELECT unnest(CASE WHEN number <= {few} THEN made
                   ELSE made[:2] || made[number - 7:] END) AS inhrelid, number
FROM (SELECT array_agg(inhrelid ORDER BY inhrelid::bigint) AS made, count(*)::int AS number
      FROM pg_catalog.pg_inherits WHERE inhparent = p.oid) AS children""")
"""The two partitions made first and the 8 made last: enough to know a table that is in order.

Among them may be a default partition and a few backfilled ones. The cast keeps the server from
walking the index of all oids in search of one table's partitions.
"""

_COVERED = SQL("""
SELECT parent, lower(part)::text, upper(part)::text, number
FROM (SELECT parent, max(number) AS number, range_agg(tstzrange(
          nullif(split_part(split_part(bound, ' TO ', 1), '''', 2), '')::timestamptz,
          nullif(split_part(split_part(bound, ' TO ', 2), '''', 2), '')::timestamptz)) AS parts
      FROM (SELECT p.oid AS parent, i.number, pg_get_expr(c.relpartbound, 0) AS bound
            FROM unnest({parents}::oid[]) AS p(oid), LATERAL ({children}) AS i
            JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid OFFSET 0) AS partitions
      WHERE bound <> 'DEFAULT' GROUP BY parent) AS merged, unnest(parts) AS part
ORDER BY parent, lower(part) NULLS FIRST""")
"""Merged bounds of some partitions of tables by time, naive ones read as UTC; NULL is unbounded.

The session must print times as `canonical_output` sets it. `OFFSET 0` keeps the server from moving
the casts below the filter. `number` counts all partitions of a table, the default one, too.
"""


def covered(
    connection: Connection,
    naive: Mapping[int, bool],
    defaults: Collection[int],
    policies: Mapping[int, Policy],
) -> dict[int, tuple[Range, ...]]:
    """What the partitions of each table cover.

    Printing a bound costs the server more than all else that autogenerate does for a partition. So
    where there are very many, a table with a policy is known by a sample: when it has exactly as
    many partitions as there are periods from the first to the newest, they are taken for those.
    Any other table is read in full. So a hole goes unseen only among older partitions, and only
    when somebody split another of them by hand; `partitions()` always reads each bound.

    Args:
        connection: its session prints times as `canonical_output` sets it.
        naive: the tables, all by time: oid -> whether the key has no time zone.
        defaults: those that have a default partition.
        policies: by oid, perhaps of other tables too.
    """
    few = BUDGET // max(1, len(naive))
    sample = _SAMPLE.format(few=Literal(few))
    found: dict[int, tuple[Range, ...]] = {}
    for oid, (ranges, count) in _read(
        connection, naive, sample, set(naive) & set(policies)
    ).items():
        number = count - (oid in defaults)
        if count <= few:
            found[oid] = tuple(ranges)
            continue
        whole = in_order(policies[oid], ranges, number, naive=naive[oid])
        if whole is not None:
            found[oid] = (whole,)
    rest = _read(connection, naive, _ALL, set(naive) - set(found))
    return found | {oid: tuple(ranges) for oid, (ranges, _) in rest.items()}


def _read(
    connection: Connection, naive: Mapping[int, bool], children: Composable, oids: set[int]
) -> dict[int, tuple[list[Range], int]]:
    """Coverage, and the number of all partitions, of the tables `oids`."""
    found: dict[int, tuple[list[Range], int]] = {}
    if not oids:
        return found
    query = _COVERED.format(parents=Literal(sorted(oids)), children=children)
    for oid, lower, upper, count in sql.rows(connection, query):
        held = _between(lower, upper, naive=naive[oid])
        if held is not None:
            ranges, _ = found.setdefault(oid, ([], count))
            ranges.append(held)
    return found


def in_order(policy: Policy, sample: Sequence[Range], count: int, *, naive: bool) -> Range | None:
    """The whole range of a table whose `count` partitions are exactly its periods, else None."""
    lower, upper = sample[0].lower, sample[-1].upper
    if len(sample) > BOTH_ENDS or lower is None or upper is None:
        return None
    local = ZoneInfo(policy.timezone)
    first = lower.date() if naive else today(lower, local)
    begin = moment(first, None if naive else local)
    end = moment(shift(first, policy.every, count), None if naive else local)
    return Range(lower, upper) if (begin, end) == (lower, upper) else None


_RANGE = re.compile(r"FOR VALUES FROM \((?:'([^']*)'|MINVALUE)\) TO \((?:'([^']*)'|MAXVALUE)\)")


@lru_cache(maxsize=4096)  # tables that are cut alike have the same bounds
def range_of(text: str, *, naive: bool) -> Range | None:
    """The range of a partition by time, from its bounds as PostgreSQL prints them in UTC.

    None for a default partition, and for one that holds no moment that `datetime` knows.
    """
    match = _RANGE.fullmatch(text)
    return None if match is None else _between(*match.groups(), naive=naive)


def _between(lower: str | None, upper: str | None, *, naive: bool) -> Range | None:
    """The range of two bounds as PostgreSQL prints them in UTC.

    None where it holds no moment that `datetime` knows; else an end unknown to it is unbounded.
    """
    if _is_late(lower) or _is_early(upper):
        return None
    return Range(_bound(lower, naive=naive), _bound(upper, naive=naive))


def _bound(text: str | None, *, naive: bool) -> datetime | None:
    if text is None or _is_early(text) or _is_late(text):
        return None
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=None) if naive else value.astimezone(UTC)


def _is_early(text: str | None) -> bool:
    """Whether a bound lies before the year 2: the year 1 begins too early in some time zones."""
    return text is not None and (
        text == "-infinity" or text.endswith("BC") or text.startswith("0001-")
    )


def _is_late(text: str | None) -> bool:
    """Whether a bound lies after the year 9999."""
    return text is not None and (
        text == "infinity" or (not text.endswith("BC") and text.index("-") > len("9999"))
    )
