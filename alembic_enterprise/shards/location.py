"""Where a key is: computed here, and asked from the server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.errors import ConfigurationError, PlacementError
from alembic_enterprise.shards import catalog
from alembic_enterprise.shards.catalog import Shard, ShardedTable
from alembic_enterprise.shards.inspection import only
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.shards.placement import ShardMap
from alembic_enterprise.shards.values import loaded, value_of
from alembic_enterprise.sql import Name, message, sqlstate


@dataclass(frozen=True)
class Location:
    """The shard of one key.

    Attributes:
        key: its values by column, as the table would keep them.
        shard: the one that the server says.
        refusal: why it could not be computed here as well; None when it was, and is the same.
    """

    table: Name
    key: Mapping[str, Any] = field(hash=False)
    shard: Shard
    refusal: str | None = None


def locate(connection: Connection, name: str, values: Mapping[str, str | None]) -> Location:
    """Find the shard of a key.

    Args:
        connection: its transaction becomes read-only and waits 5 seconds for a lock at most.
        name: the table, with or without its schema.
        values: text for each column of the key, as PostgreSQL reads it; None for NULL.

    Raises:
        ConfigurationError: no sharded table is called so, or more than one; columns that are
            missing or not of its key; a value that its column does not take.
        PlacementError: no shard takes the key, or the shard that was computed is another one.
    """
    sql.read_only(connection)
    table = only(catalog.read(connection).values(), name)
    _check_columns(table, values)
    kept, asked = _ask(connection, table, values)
    key = dict(zip(values, kept, strict=True))
    try:
        known = ShardMap.from_connection(connection, table.name.name, table.name.schema)
        values_here = {
            column: value_of(kind, key[column])
            for column, kind in zip(known.key.columns, known.key.types, strict=True)
        }
    except PlacementError as error:
        return Location(table.name, key, _held(table, asked), str(error))
    shard = agreed(table, known.partition_of(values_here), asked)
    return Location(table.name, values_here, shard)


def _check_columns(table: ShardedTable, values: Mapping[str, str | None]) -> None:
    columns = [column for column in table.key.columns if column is not None]
    if len(columns) < len(table.key.columns):
        raise ConfigurationError(
            f"{table.name} is sharded by an expression: ask for the row's tableoid::regclass"
        )
    wanted = " ".join(f"{column}=VALUE" for column in columns)
    if unknown := [column for column in values if column not in columns]:
        raise ConfigurationError(
            f"{', '.join(unknown)} is not in the key of {table.name}: write {wanted}"
        )
    if missing := [column for column in columns if column not in values]:
        raise ConfigurationError(
            f"the key lacks {', '.join(missing)}: write {wanted}, or --null COLUMN for NULL"
        )


# Each text goes through its type's input function, as in INSERT: it rounds, and refuses, alike.
_ASK = SQL("""
SELECT json_build_array({values})::text,
       ARRAY(SELECT shard.modulus || '/' || shard.remainder
             FROM unnest({moduli}::int[], {remainders}::int[]) AS shard (modulus, remainder)
             WHERE satisfies_hash_partition({parent}::oid, shard.modulus, shard.remainder, {key}))
FROM jsonb_populate_record(NULL::{table}, {texts}::jsonb) AS given""")


def _ask(
    connection: Connection, table: ShardedTable, values: Mapping[str, str | None]
) -> tuple[list[Any], list[Class]]:
    """The values as the table would keep them, and what shards the server says take them."""
    query = _ASK.format(
        values=SQL(", ").join(_given(name) for name in values),
        moduli=Literal([held.modulus for held in table.held]),
        remainders=Literal([held.remainder for held in table.held]),
        parent=Literal(table.oid),
        key=SQL(", ").join(_given(str(name)) for name in table.key.columns),
        table=table.name.sql,
        texts=Literal(json.dumps(values, ensure_ascii=False)),
    )
    try:
        [(kept, shards)] = sql.rows(connection, query)
    except DBAPIError as error:
        if (sqlstate(error) or "")[:2] not in DATA:
            raise
        raise ConfigurationError(
            f"{table.name}: {message(error)}: write the values as an INSERT would"
        ) from error
    return loaded(kept), [Class(*map(int, shard.split("/"))) for shard in shards]


DATA = ("22", "23")
"""Classes of SQLSTATEs that are about a value: data exceptions, and constraints of a domain."""


def _given(column: str) -> Composable:
    return Identifier("given", column)


def _held(table: ShardedTable, asked: list[Class]) -> Shard:
    for shard in table.shards:
        if shard.held in asked:
            return shard
    raise PlacementError(
        f"{table.name}: no shard takes this key: run `alembic-enterprise shards check`"
    )


def agreed(table: ShardedTable, computed: Name, asked: list[Class]) -> Shard:
    """The shard that was computed and asked. Raises `PlacementError` when those are two."""
    shard = _held(table, asked)
    if shard.name != computed:
        raise PlacementError(
            f"{table.name}: the server says {shard.name}, and {computed} was computed: trust the "
            "server, route nothing by computed shards, and report this with the server's version"
        )
    return shard
