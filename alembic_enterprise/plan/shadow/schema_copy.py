"""The schema of a live database, created in an empty one: what cannot be is listed, not raised."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import registry, sql
from alembic_enterprise.plan.shadow.statements import Statement, statements
from alembic_enterprise.sql import Name, message
from alembic_enterprise.wording import first_few

LEFT_OUT = (
    ("CREATE", "EVENT", "TRIGGER"),
    ("ALTER", "EVENT", "TRIGGER"),
    ("CREATE", "USER", "MAPPING"),
    ("COMMENT", "ON", "EXTENSION"),
    ("COMMENT", "ON", "EVENT", "TRIGGER"),
    ("SET", "TRANSACTION_TIMEOUT"),  # servers up to 16 do not know it
)
"""How the statements begin that are never run on a shadow.

Event triggers would fire at what is tried there, and user mappings hold passwords.
"""

INHERITED = 17
"""The major version from which a partition's identity columns are those of its table."""

BATCH = 20
"""How many statements are sent at a time: with more of them each ATTACH PARTITION takes longer."""


@dataclass(frozen=True)
class Rest:
    """What a copy needs besides the script of pg_dump.

    Attributes:
        invalid: statements that make the invalid indexes, which pg_dump leaves out.
        rows: statements that fill in the revisions and the policies.
        gaps: what is not copied, a sentence each.
        tables: all that there are.
        identities: partitions and their identity columns, where these are not their table's.
    """

    invalid: Sequence[Statement]
    rows: Sequence[Composable]
    gaps: Sequence[str]
    tables: Sequence[Name]
    identities: Sequence[tuple[Name, str]] = ()

    @classmethod
    def read(cls, live: Connection, version_table: Name) -> Self:
        """Read the catalog, and of rows the revisions and the policies only."""
        rows = [*_revisions(live, version_table), *_policies(live)]
        gaps, identities = _not_copied(live), _identities(live)
        return cls(_invalid_indexes(live), rows, gaps, tables(live), identities)


def copy(
    rest: Rest, shadow: Connection, script: str, extensions: Sequence[Composable] = ()
) -> list[str]:
    """Make the schema in an empty database. Returns what is not as in the live one, as sentences.

    Args:
        rest: what pg_dump does not say of the live database.
        shadow: a connection to the empty database; its session is spoilt afterwards.
        script: what pg_dump has written of the live database.
        extensions: statements that stand in for the extensions that cannot be created.
    """
    session = shadow.execution_options(isolation_level="AUTOCOMMIT")
    wanted = [item for item in statements(script) if not _is_left_out(item)]
    position = 1 + max((n for n, item in enumerate(wanted) if _creates_extension(item)), default=-1)
    failed = _failed(session, wanted[:position])
    run_all(session, extensions)
    # pg_dump makes all tables, with their identity columns, before it attaches one.
    attaching = next((n for n, item in enumerate(wanted) if _attaches(item)), len(wanted))
    failed += _failed(session, wanted[position:attaching])
    lost = rest.identities if _version(shadow) >= INHERITED else ()
    run_all(session, [_DROP_IDENTITY.format(name.sql, Identifier(own)) for name, own in lost])
    failed += _failed(session, wanted[max(position, attaching) :])
    failed += _failed(session, rest.invalid)
    run_all(session, rest.rows)
    return [*_grouped(failed), *_inherited(lost), *rest.gaps]


def _is_left_out(statement: Statement) -> bool:
    return any(statement.words[: len(words)] == words for words in LEFT_OUT)


def _creates_extension(statement: Statement) -> bool:
    return statement.words[:2] == ("CREATE", "EXTENSION")


def _version(connection: Connection) -> int:
    return int((connection.dialect.server_version_info or (0,))[0])


def _attaches(statement: Statement) -> bool:
    return statement.about.startswith("TABLE ATTACH ")


def _inherited(lost: Sequence[tuple[Name, str]]) -> list[str]:
    if not lost:
        return []
    names = first_few([*dict.fromkeys(str(name) for name, _ in lost)])
    since = f"as from PostgreSQL {INHERITED} on"
    return [f"identity columns of partitions are those of their table, {since}: {names}"]


_DROP_IDENTITY = SQL("ALTER TABLE {} ALTER COLUMN {} DROP IDENTITY")


def _failed(connection: Connection, wanted: Sequence[Statement]) -> list[tuple[str, str]]:
    """Run statements. Returns what the server said of those that failed, and what each is about."""
    texts = [SQL(item.text) for item in wanted]  # pyright: ignore[reportArgumentType]  # pg_dump's
    return [
        (message(error), wanted[position].about) for position, error in run_all(connection, texts)
    ]


def _invalid_indexes(live: Connection) -> list[Statement]:
    """Statements that make the invalid indexes, which pg_dump leaves out, and mark them again."""
    return [
        Statement(text, f"INDEX {name}", ())
        for definition, schema, name in sql.rows(live, _INVALID)
        for text in (
            "RESET search_path",  # the definition was printed with that of the database
            definition,
            sql.text_of(_INVALIDATE.format(Name(schema, name).regclass)),
        )
    ]


_INVALID = SQL("""
SELECT pg_get_indexdef(c.oid), n.nspname, c.relname FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 2, 3""")

_INVALIDATE = SQL(
    "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = {}::regclass"
)


def run_all(
    connection: Connection, statements: Sequence[Composable]
) -> list[tuple[int, DBAPIError]]:
    """Run statements, in AUTOCOMMIT and in order. Returns position and error of those that fail."""
    return [
        failure
        for start in range(0, len(statements), BATCH)
        for failure in _run(connection, statements, start, min(start + BATCH, len(statements)))
    ]


def _run(
    connection: Connection, statements: Sequence[Composable], start: int, stop: int
) -> Iterator[tuple[int, DBAPIError]]:
    """Send statements at once, which makes them one transaction; if it fails, each half of them."""
    try:
        sql.execute(connection, SQL(";\n").join(statements[start:stop]))
    except DBAPIError as error:
        if stop - start == 1:
            yield start, error
            return
        middle = (start + stop) // 2
        yield from _run(connection, statements, start, middle)
        yield from _run(connection, statements, middle, stop)


def _grouped(failed: Iterable[tuple[str, str]]) -> list[str]:
    """A sentence for each reason, with what could not be made."""
    reasons = defaultdict[str, list[str]](list)
    for reason, about in failed:
        named = about or "a setting"
        if named not in reasons[reason]:
            reasons[reason].append(named)
    return [f"{reason}: without {first_few(about)}" for reason, about in reasons.items()]


def _revisions(live: Connection, version_table: Name) -> list[Composable]:
    """In the schema where the search path of the live connection finds the table."""
    found = sql.rows(
        live, _NAMES.format(SQL("to_regclass({})").format(Literal(version_table.text)))
    )
    insert = SQL("INSERT INTO {} (version_num) VALUES ({})")
    return [
        insert.format(table.sql, Literal(revision))
        for _, schema, name in found
        for table in [Name(schema, name)]
        for (revision,) in sql.rows(live, SQL("SELECT version_num FROM {}").format(table.sql))
    ]


def _policies(live: Connection) -> list[Composable]:
    policies = registry.read(live)
    names = sql.rows(live, _NAMES.format(SQL("ANY ({}::oid[])").format(Literal(list(policies)))))
    return [
        statement
        for oid, schema, name in names
        for statement in registry.put(Name(schema, name), policies[oid])
    ]


_NAMES = SQL("""
SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = {}""")


def _identities(live: Connection) -> list[tuple[Name, str]]:
    found = sql.rows(live, _IDENTITIES.format(Literal(INHERITED * 10_000)))
    return [(Name(schema, name), column) for schema, name, column in found]


_IDENTITIES = SQL("""
SELECT n.nspname, c.relname, a.attname FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid AND c.relispartition
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE a.attidentity <> '' AND NOT a.attisdropped
  AND current_setting('server_version_num')::int < {} ORDER BY 1, 2, 3""")


def _not_copied(live: Connection) -> list[str]:
    """What pg_dump does not say, or is not asked, as sentences."""
    kinds = defaultdict[str, list[str]](list)
    for kind, name in sql.rows(live, _NOT_COPIED):
        kinds[kind].append(name)
    return [f"{kind} not copied: {first_few(names)}" for kind, names in kinds.items()]


_NOT_COPIED = SQL("""
SELECT 'event triggers are', evtname::text FROM pg_catalog.pg_event_trigger
UNION ALL SELECT 'subscriptions are', subname::text FROM pg_catalog.pg_subscription
          WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database
                           WHERE datname = current_database())
UNION ALL SELECT 'tablespaces are', spcname::text FROM pg_catalog.pg_tablespace
          WHERE oid IN (SELECT reltablespace FROM pg_catalog.pg_class WHERE NOT relisshared)
UNION ALL SELECT 'user mappings of foreign servers are', srvname::text
          FROM pg_catalog.pg_user_mappings
ORDER BY 1, 2""")

_TABLES = SQL("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
  AND n.nspname !~ '^(pg_|information_schema$)'""")


def tables(connection: Connection) -> list[Name]:
    """The tables of a database but the server's own, in order."""
    return sorted(Name(*row) for row in sql.rows(connection, _TABLES))
