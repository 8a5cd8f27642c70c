"""What a shadow has to be like: the live database, its server and its roles."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, Self

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.revisions import stamped
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Role:
    """A role, and the roles it is a member of."""

    name: str
    is_superuser: bool
    member_of: tuple[str, ...]


@dataclass(frozen=True)
class Original:
    """The live database.

    Attributes:
        version: of its server, as "15.18".
        major: of its server.
        started: when its server started, to the microsecond: no two servers have it in common.
        database: its row of pg_database; which columns there are depends on the version.
        settings: of the database and of the migrator, and all others that are in effect for the
            session that was read, by name; but for those that would be in the way of a shadow.
        migrator: who owns the version table, or else who is connected.
        roles: all but the server's own.
        revisions: those it is stamped with.
    """

    version: str
    major: int
    started: str
    database: Mapping[str, Any]
    settings: Mapping[str, str]
    migrator: str
    roles: tuple[Role, ...]
    revisions: tuple[str, ...]

    @classmethod
    def read(cls, live: Connection, version_table: Name) -> Self:
        """Read the catalogs of a connection."""
        [(version, started, database, migrator)] = sql.rows(
            live, _DATABASE.format(table=Literal(version_table.text))
        )
        settings = sql.rows(live, _SETTINGS.format(migrator=Literal(migrator)))
        roles = tuple(Role(name, mighty, tuple(of)) for name, mighty, of in sql.rows(live, _ROLES))
        number = version.split()[0]
        major = int(number.split(".")[0])
        revisions = tuple(stamped(live, version_table))
        return cls(
            version=number,
            major=major,
            started=started,
            database=database,
            settings=dict(settings),
            migrator=migrator,
            roles=roles,
            revisions=revisions,
        )

    def creations(self, name: str, major: int, strategy: Composable) -> list[Composable]:
        """Statements that each create a database like this one on a server, the best first."""
        row = self.database
        encoding = SQL("ENCODING {}").format(Literal(row["encoding"]))
        classes = _classes(row["datcollate"], row["datctype"])
        locales = [_provider(row) + classes] if major >= PROVIDERS else [classes]
        return [
            SQL("CREATE DATABASE {} TEMPLATE template0 {} {} {}").format(
                Identifier(name), encoding, SQL(" ").join(locale), strategy
            )
            for locale in (*locales, _classes("C", "C"))
        ]

    @property
    def collation(self) -> str:
        """The locale that sorts its texts."""
        row = self.database
        return str(row.get("datlocale") or row.get("daticulocale") or row["datcollate"])

    def strangers(self, there: Iterable[str]) -> tuple[str, ...]:
        """The names of the roles but those which are there."""
        known = set(there)
        return tuple(role.name for role in self.roles if role.name not in known)

    def role_statements(self, there: Iterable[str]) -> list[Composable]:
        """Statements that create the roles but those which are there, and all memberships."""
        names = self.strangers(there)
        missing = [role for role in self.roles if role.name in names]
        creations = [
            SQL("CREATE ROLE {} {}").format(Identifier(role.name), SQL(_RIGHTS[role.is_superuser]))
            for role in missing
        ]
        memberships = [
            SQL("GRANT {} TO {}").format(Identifier(group), Identifier(role.name))
            for role in missing
            for group in role.member_of
        ]
        migrator = SQL("ALTER ROLE {} LOGIN SUPERUSER").format(Identifier(self.migrator))
        return [*creations, *memberships, migrator]


STRATEGIES = 15
"""The first major version that can copy a database in more than one way."""


def strategy(major: int) -> Composable:
    """How a server of this version, which nobody else uses, copies a database the fastest.

    The copy of files is the only one up to 14. It has the server write out what all sessions have
    changed (PostgreSQL docs, "CREATE DATABASE").
    """
    return SQL("STRATEGY file_copy" if major >= STRATEGIES else "")


PROVIDERS = 15
"""The first major version where a database has a locale provider."""

_RIGHTS: dict[bool, LiteralString] = {True: "NOLOGIN SUPERUSER", False: "NOLOGIN"}
_PROVIDERS: dict[str, LiteralString] = {"c": "libc", "i": "icu", "b": "builtin"}
_LOCALES: dict[str, LiteralString] = {"i": "ICU_LOCALE", "b": "BUILTIN_LOCALE"}


def _classes(collate: str, ctype: str) -> list[Composable]:
    return [SQL("LC_COLLATE {} LC_CTYPE {}").format(Literal(collate), Literal(ctype))]


def _provider(row: Mapping[str, Any]) -> list[Composable]:
    provider = row.get("datlocprovider", "c")
    parts: list[Composable] = [SQL("LOCALE_PROVIDER {}").format(SQL(_PROVIDERS[provider]))]
    locale = row.get("datlocale") or row.get("daticulocale")
    if provider in _LOCALES and locale:
        parts.append(SQL("{} {}").format(SQL(_LOCALES[provider]), Literal(locale)))
    if rules := row.get("daticurules"):
        parts.append(SQL("ICU_RULES {}").format(Literal(rules)))
    return parts


_DATABASE = SQL("""
SELECT current_setting('server_version'), pg_postmaster_start_time()::text,
       to_jsonb(d) || jsonb_build_object('encoding', pg_encoding_to_char(d.encoding)),
       coalesce((SELECT pg_get_userbyid(relowner) FROM pg_catalog.pg_class
                 WHERE oid = to_regclass({table})), current_user)
FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()""")

# Later rows win: of the migrator, what is in effect for its own session. Left out is what must not
# or cannot be had there: limits of waiting, libraries, tablespaces, locales of the machine, what
# belongs to one session, and who one becomes. TimeZone decides whether a table is written anew.
_SETTINGS = SQL("""
WITH stored AS (
    SELECT split_part(item, '=', 1) AS name, substr(item, strpos(item, '=') + 1) AS value,
           1 + 2 * (setrole <> 0)::int + (setdatabase <> 0)::int AS rank
    FROM pg_catalog.pg_db_role_setting CROSS JOIN unnest(setconfig) AS item
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = setrole
    WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
                              WHERE datname = current_database()))
      AND (setrole = 0 OR r.rolname = {migrator})),
in_effect AS (
    SELECT name, setting AS value, CASE WHEN session_user = {migrator} THEN 5 ELSE 0 END AS rank
    FROM pg_catalog.pg_settings
    WHERE context = 'user' AND (source NOT IN ('default', 'override') OR name = 'TimeZone')
      AND (session_user = {migrator} OR source NOT IN ('user', 'database user')))
SELECT name, value FROM (TABLE stored UNION ALL TABLE in_effect) AS settings
WHERE name !~ '_timeout$|_preload_libraries$|_tablespaces?$|^(lc|transaction)_'
  AND name NOT IN ('role', 'session_authorization', 'default_transaction_read_only',
                   'application_name', 'client_encoding', 'bytea_output')
ORDER BY rank""")

_ROLES = SQL("""
SELECT r.rolname, r.rolsuper,
       ARRAY(SELECT pg_get_userbyid(m.roleid)::text FROM pg_catalog.pg_auth_members AS m
             WHERE m.member = r.oid ORDER BY 1)
FROM pg_catalog.pg_roles AS r WHERE NOT starts_with(r.rolname, 'pg_') ORDER BY 1""")
