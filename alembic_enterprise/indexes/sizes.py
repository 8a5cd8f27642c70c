"""How large tables are: a query of the catalog."""

from collections.abc import Collection

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.sql import Name

# A partitioned table is as large as its partitions; pg_partition_tree has no row for a plain one.
_LARGER = SQL("""
SELECT name FROM unnest({names}::text[]) AS name
WHERE coalesce((SELECT sum(pg_table_size(relid)) FROM pg_partition_tree(to_regclass(name))),
               pg_table_size(to_regclass(name))) > {size}""")


def larger(connection: Connection, names: Collection[Name], size: int) -> set[Name]:
    """Those of the tables that are there and hold more bytes than `size`, indexes left out."""
    given = {name.text: name for name in names}
    if not given:
        return set()
    query = _LARGER.format(names=Literal([*given]), size=Literal(size))
    return {given[text] for (text,) in sql.rows(connection, query)}
