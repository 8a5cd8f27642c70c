"""Reads a sample of a table, for `prediction`."""

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.shards.hashing.key_types import KEY_TYPES
from alembic_enterprise.shards.placement import TEXTS
from alembic_enterprise.shards.prediction import Column, Sample, UniqueKey
from alembic_enterprise.shards.values import loaded, value_of
from alembic_enterprise.sql import Name

ROWS = 100_000
"""How many rows are sampled unless it is said otherwise."""

WIDE = 256
"""Longest text that is taken for a key, in bytes."""

SCANNED = 10_000_000
"""Rows of a table that is read from end to end for its sample; of more, whole blocks are taken."""

SEED = 0
"""Of the sample: the same table gives the same one (PostgreSQL docs, "SELECT", REPEATABLE)."""


def read(connection: Connection, name: str, rows: int = ROWS) -> Sample:
    """Read about `rows` rows of a table, taken by chance: one by one, or of a big one by blocks.

    Args:
        connection: its transaction becomes read-only and waits 5 seconds for a lock at most.
        name: a plain or partitioned table, with or without its schema.
        rows: how many; a table with fewer is read as a whole.

    Raises:
        ConfigurationError: no table is called so, or more than one.
        PlacementError: for a day that Python's calendar has not.
    """
    sql.read_only(connection)
    oid, table = _table(connection, name)
    estimate = _estimate(connection, table)
    source = _source(table, rows, estimate)
    columns, refused = _columns(connection, oid)
    sampled, wide = _widths(connection, source, [item for item in columns if item.type in LONG])
    columns = [item for item in columns if item.name not in wide]
    return Sample(
        table,
        estimate if rows < estimate else sampled,
        sampled,
        columns,
        _values(connection, source, columns),
        refused | wide,
        _unique_keys(connection, oid),
    )


_TABLE = SQL("""
SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND {name} IN (c.relname, n.nspname || '.' || c.relname)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 2, 3""")


def _table(connection: Connection, name: str) -> tuple[int, Name]:
    found = sql.rows(connection, _TABLE.format(name=Literal(name)))
    if not found:
        raise ConfigurationError(
            f"no table is called {name}: write it as psql's \\dt prints it, with or without its "
            "schema"
        )
    if len(found) > 1:
        there = ", ".join(str(Name(*row[1:])) for row in found)
        raise ConfigurationError(f"several tables are called {name}: write one of {there}")
    [(oid, schema, relation)] = found
    return oid, Name(schema, relation)


_ROWS = re.compile(r"rows=(\d+) width=")


def _estimate(connection: Connection, table: Name) -> int:
    """Rows as the planner expects them: it knows the size of the files of today."""
    plan = sql.rows(connection, SQL("EXPLAIN SELECT FROM {}").format(table.sql))
    return max(1, int(_ROWS.findall(plan[0][0])[-1]))


def _source(table: Name, rows: int, estimate: int) -> Composable:
    """The table in FROM, or so many of its rows."""
    if rows >= estimate:
        return table.sql
    method = SQL("BERNOULLI") if estimate <= SCANNED else SQL("SYSTEM")
    return SQL("{} TABLESAMPLE {} ({}) REPEATABLE ({})").format(
        table.sql, method, Literal(100 * rows / estimate), Literal(SEED)
    )


_COLUMNS = SQL("""
WITH RECURSIVE type AS (
    SELECT attnum, atttypid AS oid FROM pg_catalog.pg_attribute
    WHERE attrelid = {table} AND attnum > 0 AND NOT attisdropped UNION ALL
    SELECT attnum, typbasetype FROM type JOIN pg_catalog.pg_type AS t USING (oid)
    WHERE typtype = 'd')
SELECT a.attname, format_type(t.oid, NULL), NOT a.attnotnull, t.typtype = 'e',
       a.attgenerated <> '',
       EXISTS (SELECT FROM pg_catalog.pg_collation
               WHERE oid = a.attcollation AND NOT collisdeterministic),
       pg_catalog.getdatabaseencoding() = 'UTF8'
FROM type JOIN pg_catalog.pg_type AS t USING (oid)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = {table} AND a.attnum = type.attnum
WHERE t.typtype <> 'd' ORDER BY a.attnum""")


@dataclass(frozen=True)
class Facts:
    """What decides whether a column could be a key."""

    enum: bool
    generated: bool
    nondeterministic: bool
    unicode: bool


def _columns(connection: Connection, oid: int) -> tuple[list[Column], dict[str, str]]:
    """The columns that could be a key; and the others, each with the reason."""
    columns: list[Column] = []
    refused: dict[str, str] = {}
    for name, kind, nullable, *facts in sql.rows(connection, _COLUMNS.format(table=Literal(oid))):
        reason = refusal(kind, Facts(*facts))
        if reason is None:
            columns.append(Column(name, kind, nullable))
        else:
            refused[name] = reason
    return columns, refused


def refusal(kind: str, facts: Facts) -> str | None:
    """Why a column could not be a key; None when it could."""
    if facts.generated:
        return "generated"
    if facts.enum:
        return "enum"
    if kind not in KEY_TYPES:
        return kind
    if facts.nondeterministic:
        return "nondeterministic collation"
    if kind in TEXTS and not facts.unicode:
        return "text that is not in UTF8"
    return None


LONG = (*TEXTS, "bytea")
"""Types whose values can be longer than a key would be."""


def _widths(
    connection: Connection, source: Composable, columns: Sequence[Column]
) -> tuple[int, dict[str, str]]:
    """How many rows the sample has; and the columns that hold more than a key, with the reason."""
    widest = [SQL("max(octet_length({}))").format(Identifier(item.name)) for item in columns]
    query = SQL("SELECT {} FROM {}").format(SQL(", ").join([SQL("count(*)"), *widest]), source)
    [(sampled, *widths)] = sql.rows(connection, query)
    return sampled, {
        item.name: f"{item.type} of up to {width:,} bytes"
        for item, width in zip(columns, widths, strict=True)
        if (width or 0) > WIDE
    }


_COUNTED = SQL("""
(SELECT coalesce(json_agg(json_build_array(value, times) ORDER BY times DESC, value), '[]')::text
 FROM (SELECT {column} AS value, count(*) AS times FROM sampled GROUP BY 1) AS counted)""")


def _values(
    connection: Connection, source: Composable, columns: Sequence[Column]
) -> Mapping[str, Counter[Hashable]]:
    """How often each value is in the sample, by column, in one round trip."""
    if not columns:
        return {}
    names = [Identifier(item.name) for item in columns]
    query = SQL("WITH sampled AS MATERIALIZED (SELECT {} FROM {}) SELECT {}").format(
        SQL(", ").join(names), source, SQL(", ").join(_COUNTED.format(column=it) for it in names)
    )
    [texts] = sql.rows(connection, query)
    return {
        item.name: Counter({value_of(item.type, value): times for value, times in loaded(text)})
        for item, text in zip(columns, texts, strict=True)
    }


_UNIQUE = SQL("""
SELECT i.relname, x.indisprimary,
       ARRAY(SELECT a.attname::text FROM unnest(x.indkey) WITH ORDINALITY AS k(num, pos)
             LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = {table} AND a.attnum = k.num
             WHERE k.pos <= x.indnkeyatts ORDER BY k.pos)
FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
WHERE x.indisunique AND x.indrelid = {table} ORDER BY x.indisprimary DESC, 1""")


def _unique_keys(connection: Connection, oid: int) -> list[UniqueKey]:
    rows = sql.rows(connection, _UNIQUE.format(table=Literal(oid)))
    return [UniqueKey(name, tuple(columns), primary) for name, primary, columns in rows]
