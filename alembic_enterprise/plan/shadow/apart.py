"""What keeps a shadow apart: whatever runs there, the server connects to no other one.

A migration may make a foreign server and delete rows of its tables, and those are real. So foreign
data wrappers have no handler on a shadow, functions of dblink refuse, and there are no
subscriptions. An event trigger sees to that, which only a superuser can make; without it statements
that say such things are not run at all.

A given server has more than the shadow, and other people's: its roles, databases and settings stay.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from psycopg.sql import SQL, Literal
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.errors import StepError

NAME = "alembic_enterprise_apart"
"""Of the event triggers and of their function, which is in pg_catalog, where nobody compares."""

REFUSED = "AEA01"
"""SQLSTATE of what refuses to connect, our own."""

NO_HANDLER = "55000"
"""SQLSTATE of a table whose wrapper has no handler, among others."""

ADVICE = (
    "a shadow connects to no other server, so what asks one cannot be tried: --no-shadow shows the "
    "plan without running anything"
)

PERHAPS = f"If it is a foreign table: {ADVICE}"
"""What may be behind that one."""

UNGUARDED = (
    "the role of --shadow-url may make no event trigger: scripts with foreign servers, dblink or "
    "subscriptions are not run"
)

SHARED = (
    "what changes roles, databases or settings of the server is not run on that of --shadow-url, "
    "where it would stay: leave --shadow-url out for a private server"
)

_OUTWARD = re.compile(
    r"\b(?:CREATE|ALTER)\s+(?:SERVER|SUBSCRIPTION|USER\s+MAPPING|FOREIGN)\b"
    r"|\bIMPORT\s+FOREIGN\b|\b(?:dblink|postgres_fdw)",
    re.IGNORECASE,
)


_SHARED = re.compile(
    r"\b(?:ALTER|DROP)\s+(?:ROLE|USER(?!\s+MAPPING)|GROUP|TABLESPACE|SYSTEM)\b"
    r"|\bCREATE\s+(?:DATABASE|TABLESPACE)\b|\b(?:REASSIGN|DROP)\s+OWNED\b"
    r"|\b(?:GRANT|REVOKE|COMMENT|LABEL)\b[^;']*\bON\s+(?:ROLE|TABLESPACE|PARAMETER)\b"
    r"|(?:\b(?:ALTER|DROP)\s+|\b(?:GRANT|REVOKE|COMMENT|LABEL)\b[^;']*\bON\s+)DATABASE\b"
    r"(?!.*\bcurrent_database\b)",
    re.IGNORECASE | re.DOTALL,
)
"""What is of the server; a block may well ask for the database that it is in, and name that."""


def guard(connection: Connection) -> bool:
    """Make the event triggers in a database, in AUTOCOMMIT, unless they are there.

    Returns whether they are: the role may not be allowed to make some.
    """
    [(there, may)] = sql.rows(connection, _STANDING.format(Literal(NAME)))
    if there or not may:
        return bool(there)
    try:
        sql.execute(connection, _GUARD.format(refused=Literal(REFUSED), advice=Literal(ADVICE)))
    except DBAPIError:
        return False  # where some are above superusers, as in clouds
    return True


@contextmanager
def watched(connection: Connection) -> Generator[None]:
    """Where there are no event triggers, let no statement that may lead elsewhere be run."""
    [(there, _)] = sql.rows(connection, _STANDING.format(Literal(NAME)))
    connection.rollback()  # what has begun with the question
    if there:
        yield
        return

    # env.py may have an engine of its own that leads there.
    def look(other: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        is_there = other.engine.url.database == connection.engine.url.database
        if is_there and _OUTWARD.search(statement):
            raise StepError(ADVICE)

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", look)


@contextmanager
def spared(prefix: str) -> Generator[None]:
    """Let no script change what a server has for all its databases; roles alone can be made.

    Args:
        prefix: how the names of our own databases begin, in which scripts run.
    """

    def look(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        is_ours = str(connection.engine.url.database).startswith(prefix)
        if is_ours and prefix not in statement and _SHARED.search(statement):
            raise StepError(SHARED)

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", look)


_STANDING = SQL("""
SELECT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = {}),
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)""")

# Triggers fire in session_replication_role = replica, too, where they are ALWAYS.
_GUARD = SQL("""
CREATE FUNCTION pg_catalog.alembic_enterprise_apart() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $apart$
DECLARE
    statement text;
BEGIN
    IF tg_event = 'ddl_command_start' THEN
        RAISE EXCEPTION USING MESSAGE = {advice}, ERRCODE = {refused};
    END IF;
    FOR statement IN
        SELECT format('ALTER FOREIGN DATA WRAPPER %I NO HANDLER', fdwname)
        FROM pg_foreign_data_wrapper WHERE fdwhandler <> 0
        UNION ALL
        SELECT format('CREATE OR REPLACE FUNCTION %s(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                      p.oid::regproc, pg_get_function_arguments(p.oid),
                      pg_get_function_result(p.oid),
                      format('BEGIN RAISE EXCEPTION USING MESSAGE = %L, ERRCODE = %L; END',
                             {advice}, {refused}))
        FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
        WHERE l.lanname = 'c' AND p.probin ~ 'dblink'
          AND p.proname IN ('dblink', 'dblink_exec', 'dblink_connect', 'dblink_connect_u')
    LOOP
        EXECUTE statement;
    END LOOP;
END
$apart$;
CREATE EVENT TRIGGER alembic_enterprise_apart ON ddl_command_start
    WHEN tag IN ('CREATE SUBSCRIPTION', 'ALTER SUBSCRIPTION')
    EXECUTE FUNCTION pg_catalog.alembic_enterprise_apart();
ALTER EVENT TRIGGER alembic_enterprise_apart ENABLE ALWAYS;
CREATE EVENT TRIGGER alembic_enterprise_apart_too ON ddl_command_end
    WHEN tag IN ('CREATE EXTENSION', 'ALTER EXTENSION', 'CREATE FOREIGN DATA WRAPPER',
                 'ALTER FOREIGN DATA WRAPPER')
    EXECUTE FUNCTION pg_catalog.alembic_enterprise_apart();
ALTER EVENT TRIGGER alembic_enterprise_apart_too ENABLE ALWAYS""")
