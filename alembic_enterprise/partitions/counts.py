"""Exact numbers of rows, of some tables or of one range of keys, as far as they may be read."""

from collections.abc import Iterable
from datetime import datetime

from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.sql import Name

_READABLE = SQL("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) IN ({tables}) AND c.relkind <> 'f' AND NOT row_security_active(c.oid)
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')""")
_COUNT = SQL("SELECT {schema}, {name}, count(*) FROM (SELECT FROM {table} LIMIT {limit}) AS few")


def count_rows(connection: Connection, tables: Iterable[Name], limit: int) -> dict[Name, int]:
    """Exact numbers of rows, up to `limit`, of those tables that may be read.

    Foreign tables are left out, and those whose row security hides rows. A few round trips.
    """
    names = [SQL("({}, {})").format(Literal(name.schema), Literal(name.name)) for name in tables]
    if not names:
        return {}
    readable = sql.rows(connection, _READABLE.format(tables=SQL(", ").join(names)))
    counts = [
        _COUNT.format(
            schema=Literal(schema), name=Literal(name), table=Name(schema, name).sql, limit=limit
        )
        for schema, name in readable
    ]
    if not counts:
        return {}
    with sql.plain_tables(connection):
        found = sql.rows(connection, SQL(" UNION ALL ").join(counts))
    return {Name(schema, name): count for schema, name, count in found}


def rows_between(
    connection: Connection, partition: Name, key: str, held: tuple[datetime, datetime]
) -> tuple[int, str | None, str | None]:
    """Number, first and last key of the rows of a default partition in a range."""
    query = SQL(
        "SELECT count(*), min({key})::text, max({key})::text FROM {partition}"
        " WHERE {key} >= {lower} AND {key} < {upper}"
    ).format(
        key=Identifier(key),
        partition=partition.sql,
        lower=Literal(held[0].isoformat(" ")),
        upper=Literal(held[1].isoformat(" ")),
    )
    [(count, first, last)] = sql.rows(connection, query)
    return count, first, last
