"""What a role that may write the table cannot do to its history: forge, erase, disable, inject."""

import json
from collections.abc import Callable, Iterator
from typing import Any, LiteralString

import laws
import psycopg
import pytest
from autogenerate import run_sql
from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL
from sqlalchemy import Connection, make_url

from alembic_enterprise import sql
from alembic_enterprise.audit.operations import CreateAuditTrail

Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def roles(connection: Connection, new_role: Callable[..., str]) -> tuple[str, str, str]:
    """The owner of the history, a role that writes the table, and one that reads the history."""
    owner, app, reader = new_role("owner_"), new_role("app_"), new_role("reader_")
    run_sql(
        connection,
        "CREATE TABLE orders (id int PRIMARY KEY, note text, secret text, code text)",
        f"GRANT ALL ON SCHEMA public TO {app}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON orders TO {app}",
        # What others are given without anybody looking.
        f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {app}",
        f"ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {app}",
        f"ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO {app}",
    )
    return owner, app, reader


@pytest.fixture
def audited(connection: Connection, roles: tuple[str, str, str]) -> None:
    owner, app, reader = roles
    create = CreateAuditTrail(
        "orders",
        "orders_history",
        mask=["secret"],
        hash=["code"],
        owner=owner,
        readers=[reader],
    )
    laws.apply(connection, [create])
    run_sql(connection, "INSERT INTO orders VALUES (1, 'first', 'pass word', '4711')")
    for command in ("TABLES", "SEQUENCES", "FUNCTIONS"):
        run_sql(connection, f"ALTER DEFAULT PRIVILEGES REVOKE ALL ON {command} FROM {app}")


@pytest.fixture
def session(database_url: str, audited: None) -> Iterator[Session]:  # noqa: ARG001  # comes first
    """A session that may become any role: what it does under `as_role` is what that role may."""
    url = make_url(database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as session:
        yield session
        session.execute("RESET SESSION AUTHORIZATION")


def become(session: Session, role: str) -> None:
    """Be another role, as if it had logged in."""
    session.execute(f"SET SESSION AUTHORIZATION {role}".encode())


def set_context(session: Session, context: str) -> None:
    """What `actor(...)` sets, with another text."""
    session.execute("SELECT set_config('alembic_enterprise.context', %s, false)", [context])


def history(connection: Connection) -> list[tuple[Any, ...]]:
    """Action, actor, key and texts of what is kept."""
    query = "SELECT audit_action, audit_actor, id, note, secret FROM audit.orders_history"
    found = connection.exec_driver_sql(f"{query} ORDER BY audit_id").all()
    connection.commit()
    return [tuple(row) for row in found]


FIRST = ("insert", None, 1, "first", "***")

FORBIDDEN: list[LiteralString] = [
    "INSERT INTO audit.orders_history (audit_id) VALUES (1)",
    "UPDATE audit.orders_history SET audit_actor = 'x'",
    "DELETE FROM audit.orders_history",
    "TRUNCATE audit.orders_history",
    "DROP TABLE audit.orders_history CASCADE",
    "ALTER TABLE audit.orders_history ADD COLUMN more int",
    "SELECT * FROM audit.orders_history",
    "SELECT nextval('audit.orders_history_id')",
    "SELECT setval('audit.orders_history_id', 1)",
    "SELECT audit.orders_history('orders', 'truncate')",
    "CREATE OR REPLACE FUNCTION audit.orders_history() RETURNS trigger LANGUAGE sql AS ''",
    "ALTER FUNCTION audit.orders_history() RESET ALL",
    "ALTER FUNCTION audit.orders_history() SECURITY INVOKER",
    "DROP FUNCTION audit.orders_history() CASCADE",
    "ALTER TABLE orders DISABLE TRIGGER alembic_enterprise_update",
    "ALTER TABLE orders DISABLE TRIGGER ALL",
    "DROP TRIGGER alembic_enterprise_update ON orders",
    "CREATE TRIGGER x AFTER INSERT ON orders EXECUTE FUNCTION audit.orders_history()",
    "SET session_replication_role = replica",
    "CREATE TABLE audit.mine ()",
    "DROP SCHEMA audit CASCADE",
]


def test_who_writes_the_table_is_refused(
    connection: Connection, session: Session, roles: tuple[str, str, str]
) -> None:
    become(session, roles[1])
    for statement in FORBIDDEN:
        with pytest.raises(InsufficientPrivilege):
            session.execute(statement)
    assert history(connection) == [FIRST]


def test_nobody_may_change_the_policy_of_the_history_by_default_privileges(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    reader = new_role("reader_")
    run_sql(
        connection,
        "CREATE TABLE orders (id int PRIMARY KEY)",
        f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {reader}, PUBLIC",
    )
    laws.apply(connection, [CreateAuditTrail("orders", "orders_history", readers=[reader])])
    run_sql(connection, f"ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM {reader}, PUBLIC")
    query = "SELECT relacl::text FROM pg_class WHERE relname = 'alembic_enterprise_policy'"
    [acl] = connection.exec_driver_sql(query).scalars()
    assert reader not in acl
    assert "{=" not in acl
    assert ",=" not in acl


def test_partitions_of_the_history_are_as_closed(
    connection: Connection, session: Session, roles: tuple[str, str, str]
) -> None:
    query = "SELECT relid::regclass::text FROM pg_partition_tree('audit.orders_history')"
    tables = [name for (name,) in connection.exec_driver_sql(query)]
    connection.commit()
    assert len(tables) == 5
    become(session, roles[1])
    for table in tables:
        for statement in ("SELECT FROM {}", "DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(InsufficientPrivilege):
                session.execute(statement.format(table).encode())


def test_readers_read_and_nothing_else(
    connection: Connection, session: Session, roles: tuple[str, str, str]
) -> None:
    become(session, roles[2])
    assert session.execute("SELECT note FROM audit.orders_history").fetchall() == [("first",)]
    for statement in FORBIDDEN:
        if not statement.startswith("SELECT *"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)
    assert history(connection) == [FIRST]


def test_the_owner_needs_no_rights_on_the_table(
    session: Session, roles: tuple[str, str, str]
) -> None:
    become(session, roles[0])
    with pytest.raises(InsufficientPrivilege):
        session.execute("SELECT * FROM orders")


SHADOWING: list[LiteralString] = [
    # Types and tables of the session's own come before all schemas that are not named.
    *(
        f"CREATE DOMAIN pg_temp.{name} AS pg_catalog.{name} CHECK (evil(value::pg_catalog.text))"
        for name in ("text", "jsonb", "timestamptz", "xid8", "name", "int4", "int8", "regclass")
    ),
    "CREATE TABLE pg_temp.orders_history (id int)",
    "CREATE TABLE pg_temp.new_rows (id int)",
    "CREATE TABLE pg_temp.old_rows (id int)",
    "CREATE TABLE pg_temp.pg_class AS TABLE pg_class WITH NO DATA",
    "CREATE TABLE pg_temp.pg_namespace AS TABLE pg_namespace WITH NO DATA",
    # Functions and operators that fit better than those of pg_catalog.
    *(
        f"CREATE FUNCTION {schema}.{signature} LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM public.evil(current_user::text); RETURN NULL; END$$"
        for schema in ("public", "pg_temp")
        for signature in (
            "nullif(text, text) RETURNS text",
            "coalesce(text, name) RETURNS name",
            "current_setting(unknown text, missing boolean) RETURNS text",
            "clock_timestamp() RETURNS timestamptz",
            "nextval(text) RETURNS bigint",
            "concat(text) RETURNS text",
            "encode(bytea, unknown text) RETURNS text",
            "sha256(bytea) RETURNS bytea",
            "convert_to(text, text) RETURNS bytea",
            "jsonb_build_object(text, text) RETURNS jsonb",
            "pg_get_expr(text, oid) RETURNS text",
        )
    ),
    *(
        f"CREATE FUNCTION public.same({kind}, {kind}) RETURNS boolean LANGUAGE plpgsql AS"
        " $$BEGIN RETURN public.evil(current_user::text); END$$;"
        f" CREATE OPERATOR public.= (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = public.same)"
        for kind in ("int", "text")
    ),
]


@pytest.mark.parametrize("path", ["pg_temp, public, pg_catalog", "public, pg_catalog, pg_temp"])
def test_nothing_of_the_callers_runs_with_the_rights_of_the_owner(
    connection: Connection, session: Session, roles: tuple[str, str, str], path: str
) -> None:
    """`evil` tells by an error that it was called with another role than the caller's."""
    owner, app, _ = roles
    become(session, app)
    body = f"IF current_user = '{owner}' THEN RAISE EXCEPTION 'pwned'; END IF; RETURN true;"
    evil = "FUNCTION public.evil(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql"
    session.execute(f"CREATE {evil} AS $$BEGIN {body} END$$".encode())
    for statement in SHADOWING:
        session.execute(statement)
    session.execute(f"SET search_path = {path}".encode())
    for statement in (
        "INSERT INTO public.orders VALUES (2, 'x', 's', 'c'), (3, 'y', NULL, NULL)",
        "UPDATE public.orders SET note = 'z' WHERE id OPERATOR(pg_catalog.=) 2",
        "UPDATE public.orders SET id = 4 WHERE id OPERATOR(pg_catalog.=) 2",
        "DELETE FROM public.orders WHERE id OPERATOR(pg_catalog.=) 3",
        "TRUNCATE public.orders",
    ):
        session.execute(statement.encode())
    actions = [action for action, *_ in history(connection)]
    assert actions == ["insert"] * 3 + ["update", "rekey", "update", "delete", "truncate"]


def test_actors_are_kept_as_they_are(
    connection: Connection, session: Session, roles: tuple[str, str, str]
) -> None:
    become(session, roles[1])
    for actor in ("o'neil", "'); DROP TABLE orders; --", '$$ \\ " %s :x', "ü" * 5000, " ", "NULL"):
        session.execute("SELECT set_config('alembic_enterprise.actor', %s, false)", [actor])
        set_context(session, json.dumps({"source": actor}))
        session.execute("UPDATE orders SET note = 'next'")
        assert history(connection)[-1] == ("update", actor, 1, "next", "***")


def test_who_it_was_cannot_be_chosen(
    connection: Connection, session: Session, roles: tuple[str, str, str]
) -> None:
    """The actor is what the application says; the roles are what the server knows."""
    owner, app, _ = roles
    session.execute(f"SET ROLE {app}".encode())
    session.execute("SET application_name = 'the shop'")
    session.execute("DELETE FROM orders")
    query = (
        "SELECT audit_session_user, audit_role, audit_application, audit_transaction IS NOT NULL"
        " FROM audit.orders_history WHERE audit_action = 'delete'"
    )
    [(by, role, application, known)] = connection.exec_driver_sql(query).all()
    assert (role, application, known) == (app, "the shop", True)
    assert by not in (owner, app)


def test_a_malformed_context_fails_the_statement(
    connection: Connection, session: Session, roles: tuple[str, str, str]
) -> None:
    """Nothing changes unaudited."""
    become(session, roles[1])
    for context in ("{", "nonsense", '{"a": 1} x', "\\"):
        set_context(session, context)
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            session.execute("DELETE FROM orders")
    assert history(connection) == [FIRST]


def test_a_required_actor(connection: Connection, roles: tuple[str, str, str]) -> None:
    operation = CreateAuditTrail("orders", "orders_history", require_actor=True, baseline=False)
    laws.apply(connection, [operation])
    with pytest.raises(
        Exception,
        match=r"public.orders: changes need an actor: write within `with actor\(\"...\"\)` on an "
        r"engine given to install\(\), or run SELECT set_config",
    ):
        run_sql(connection, "INSERT INTO orders VALUES (1)")
    connection.rollback()
    for nothing in (
        "UPDATE orders SET id = 2",
        "DELETE FROM orders",
        "INSERT INTO orders SELECT 1 LIMIT 0",
    ):
        run_sql(connection, nothing)  # such as what a foreign key sends where no row refers
    run_sql(
        connection,
        "SET alembic_enterprise.actor = 'user:42'",
        "INSERT INTO orders VALUES (1, 'first')",
    )
    assert history(connection) == [("insert", "user:42", 1, "first", None)]
    assert len(roles) == 3


def test_the_rights_of_everything_are_exact(
    connection: Connection, session: Session, roles: tuple[str, str, str]
) -> None:
    owner, _, reader = roles
    session.execute("SELECT 1")
    query = SQL(
        "SELECT DISTINCT kind, pg_get_userbyid(owner), grantee::regrole::text, privilege_type"
        " FROM (SELECT relkind::text, relowner, coalesce(relacl, acldefault('r', relowner))"
        " FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind NOT IN ('i', 'I')"
        "   AND relname LIKE 'orders%' UNION ALL"
        " SELECT 'function', proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc"
        " WHERE pronamespace = 'audit'::regnamespace) AS found (kind, owner, acl),"
        " aclexplode(acl) WHERE grantee <> owner ORDER BY 1, 3"
    )
    [(superuser,)] = sql.rows(connection, SQL("SELECT current_user"))
    assert sql.rows(connection, query) == [
        ("function", owner, superuser, "EXECUTE"),
        ("p", owner, reader, "SELECT"),
        ("r", owner, reader, "SELECT"),
    ]
    flags = "SELECT DISTINCT prosecdef, proconfig[1] FROM pg_proc WHERE proname = 'orders_history'"
    assert connection.exec_driver_sql(flags).all() == [(True, 'search_path=""')]


TWICE = "WITH gone AS (DELETE FROM t WHERE id = 1) INSERT INTO t VALUES (1, 2)"
"""A statement that reaches a row in two ways: the trigger may look at the table to order them."""

OWNERS_CODE: dict[str, LiteralString] = {
    # The server evaluates what is constant in these when it makes a plan.
    "an index": "CREATE INDEX ON t ((id + evil()))",
    "a constraint": "ALTER TABLE t ADD CHECK (id + evil() > 0); SET constraint_exclusion = on",
    "a policy": "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (evil() = 1)",
}


def evil(role: str) -> str:
    """A function that tells by an error that it was called with the rights of a role."""
    return (
        "CREATE FUNCTION evil() RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
        f" $$BEGIN IF current_user = '{role}' THEN RAISE EXCEPTION 'pwned'; END IF;"
        " RETURN 1; END$$"
    )


@pytest.mark.parametrize("kind", OWNERS_CODE)
def test_nothing_of_the_owner_of_the_table_runs_when_its_rows_are_ordered(
    connection: Connection, new_role: Callable[..., str], kind: str
) -> None:
    auditor, app = new_role("auditor_"), new_role("app_")
    run_sql(
        connection,
        f"GRANT ALL ON SCHEMA public TO {app}",
        f"SET ROLE {app}",
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, a int)",
        f"GRANT SELECT ON t TO {auditor}",
        evil(auditor),
        OWNERS_CODE[kind],
        "RESET ROLE",
    )
    laws.apply(connection, [CreateAuditTrail("t", "t_history", owner=auditor)])
    run_sql(connection, f"SET ROLE {app}", "INSERT INTO t VALUES (1, 1)", TWICE, "RESET ROLE")
    assert told(connection) == [("insert", 1), ("insert", 2), ("delete", 1)]


def test_nothing_of_the_owner_of_a_partition_runs_either(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    """To read the table, the server evaluates the constraints of all its partitions."""
    auditor, app = new_role("auditor_"), new_role("app_")
    run_sql(
        connection,
        f"GRANT ALL ON SCHEMA public TO {app}",
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, a int) PARTITION BY RANGE (id)",
        "CREATE TABLE t_1 PARTITION OF t DEFAULT",
        f"ALTER TABLE t_1 OWNER TO {app}",
        f"GRANT SELECT, INSERT, DELETE ON t TO {app}",
        f"GRANT SELECT ON t TO {auditor}",
        f"SET ROLE {app}",
        evil(auditor),
        "ALTER TABLE t_1 ADD CHECK (id + evil() > 0)",
        "RESET ROLE",
    )
    laws.apply(connection, [CreateAuditTrail("t", "t_history", owner=auditor)])
    run_sql(connection, f"SET ROLE {app}", "INSERT INTO t VALUES (1, 1)", TWICE, "RESET ROLE")
    assert told(connection) == [("insert", 1), ("insert", 2), ("delete", 1)]


def test_a_schema_that_the_owner_of_the_history_may_not_use(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    auditor = new_role("auditor_")
    run_sql(
        connection,
        "CREATE SCHEMA shop",
        "CREATE TABLE shop.t (id int PRIMARY KEY DEFERRABLE, a int)",
        f"GRANT SELECT ON shop.t TO {auditor}",
    )
    laws.apply(connection, [CreateAuditTrail("t", "t_history", schema="shop", owner=auditor)])
    run_sql(connection, "SET search_path = shop", "INSERT INTO t VALUES (1, 1)", TWICE)
    assert told(connection) == [("insert", 1), ("insert", 2), ("delete", 1)]


def told(connection: Connection) -> list[tuple[Any, ...]]:
    """Action and value of what is kept of `t`, in order."""
    query = "SELECT audit_action, a FROM audit.t_history ORDER BY audit_id"
    return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_the_owner_of_the_history_orders_the_rows_that_he_may_read(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    auditor = new_role("auditor_")
    run_sql(connection, "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, a int)")
    laws.apply(connection, [CreateAuditTrail("t", "t_history", owner=auditor)])
    plainly = [("insert", 1), ("insert", 2), ("delete", 1)]
    run_sql(connection, "INSERT INTO t VALUES (1, 1)", TWICE)
    assert told(connection) == plainly
    run_sql(connection, f"GRANT SELECT ON t TO {auditor}", TWICE)
    assert told(connection) == [*plainly, ("delete", 2), ("insert", 2)]


@pytest.mark.parametrize("setting", ["on", "off"])
def test_rows_that_are_hidden_from_their_owner(
    connection: Connection, new_role: Callable[..., str], setting: str
) -> None:
    """With `row_security` off, what would be hidden is an error."""
    app = new_role("app_")
    run_sql(
        connection,
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, a int)",
        f"ALTER TABLE t OWNER TO {app}",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY p ON t USING (false)",
    )
    laws.apply(connection, [CreateAuditTrail("t", "t_history", owner=app)])
    run_sql(connection, f"SET row_security = {setting}", "INSERT INTO t VALUES (1, 1)", TWICE)
    assert told(connection) == [("insert", 1), ("insert", 2), ("delete", 1)]
