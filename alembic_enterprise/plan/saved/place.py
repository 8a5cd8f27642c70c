"""Where a plan is for: a database of a server, and what names stand for on env.py's connection."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.saved import fields
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Place:
    """Where a plan is for.

    Attributes:
        database: its name.
        oid: of the database; one that is created again under the same name has another.
        server: version of the server, such as "17.6".
        system_identifier: of the server; a standby, and a restored base backup, has that of its
            origin, and what initdb or pg_upgrade has made has its own (PostgreSQL docs,
            "Replication Protocol", IDENTIFY_SYSTEM).
        version_table: where Alembic keeps the revisions.
        search_path: the schemas in which names without one are looked for, those that are there.
    """

    database: str
    oid: int
    server: str
    system_identifier: str
    version_table: Name
    search_path: tuple[str, ...]

    @classmethod
    def read(cls, connection: Connection, version_table: Name) -> Self:
        """Read where env.py's connection leads to, and its version table is or would be made."""
        query = _PLACE.format(table=Literal(version_table.text))
        [(name, oid, server, system, schema, path)] = sql.rows(connection, query)
        table = Name(version_table.schema or schema, version_table.name)
        return cls(name, oid, server.split()[0], system, table, tuple(path))

    def document(self) -> dict[str, Any]:
        """Its part of a saved plan; the identifier is too large for JSON's numbers."""
        return {
            "database": self.database,
            "database_oid": self.oid,
            "server": self.server,
            "system_identifier": self.system_identifier,
            "version_table": {
                "schema": self.version_table.schema,
                "name": self.version_table.name,
            },
            "search_path": list(self.search_path),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The reverse of `document`. Raises `TypeError` or `KeyError` when it is none."""
        table, schema = document["version_table"], document["version_table"]["schema"]
        return cls(
            fields.text(document["database"]),
            fields.number(document["database_oid"]),
            fields.text(document["server"]),
            fields.text(document["system_identifier"]),
            Name(None if schema is None else fields.text(schema), fields.text(table["name"])),
            fields.texts(document["search_path"]),
        )


def differences(then: Place, now: Place) -> Iterator[str]:
    """Why what was found in one place says nothing of the other, but for their search_path."""
    if then.database != now.database:
        yield f"it is of the database {then.database}, and this is {now.database}"
    before, after = (place.server.partition(".")[0] for place in (then, now))
    if before != after:
        yield f"the server was PostgreSQL {before}, and is {after}"
    if then.system_identifier != now.system_identifier:
        yield (
            f"it is of another server: the system identifier was {then.system_identifier}, and is "
            f"{now.system_identifier}"
        )
    elif then.database == now.database and then.oid != now.oid:
        yield f"{now.database} is another database than it was: oid {now.oid}, and not {then.oid}"
    if then.version_table != now.version_table:
        yield f"the version table of env.py was {then.version_table}, and is {now.version_table}"


_PLACE = SQL("""
SELECT current_database(), d.oid::bigint, current_setting('server_version'),
       (SELECT system_identifier::text FROM pg_control_system()),
       coalesce((SELECT nspname FROM pg_catalog.pg_class AS c
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace
                 WHERE c.oid = to_regclass({table})), current_schema())::text,
       current_schemas(false)::text[]
FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()""")
