"""The registry of policies: who may speak for a table, whose code runs, and stale rows."""

from collections.abc import Callable

import pytest
from autogenerate import run_sql
from psycopg.sql import SQL
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from waiting import waiting

from alembic_enterprise import registry, sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import catalog
from alembic_enterprise.sql import REFUSED, Name, message, sqlstate

EVENTS = "CREATE TABLE events (at date NOT NULL) PARTITION BY RANGE (at)"
POLICY = {"kind": "range", "every": "month"}


def put(connection: Connection, name: Name, policy: dict[str, str]) -> None:
    for statement in registry.put(name, policy):
        sql.execute(connection, statement)
    connection.commit()


def remove(connection: Connection, name: Name) -> None:
    for statement in registry.remove(name):
        sql.execute(connection, statement)
    connection.commit()


def policies(connection: Connection) -> list[dict[str, str]]:
    return list(registry.read(connection).values())


def test_a_policy_stands_in_the_schema_of_its_table_whatever_the_search_path(
    connection: Connection,
) -> None:
    run_sql(connection, "CREATE SCHEMA other", "SET search_path = other, public", EVENTS)
    run_sql(connection, "SET search_path = public, other")
    put(connection, Name(None, "events"), POLICY)
    query = SQL("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = {}")
    assert sql.rows(connection, query.format(registry.TABLE)) == [("other",)]
    assert policies(connection) == [POLICY]


def test_a_table_that_moved_has_the_policy_of_its_new_schema(connection: Connection) -> None:
    run_sql(connection, EVENTS)
    put(connection, Name(None, "events"), POLICY)
    run_sql(connection, "CREATE SCHEMA archive", "ALTER TABLE events SET SCHEMA archive")
    assert policies(connection) == [POLICY]
    changed = POLICY | {"every": "day"}
    put(connection, Name("archive", "events"), changed)
    assert policies(connection) == [changed]
    remove(connection, Name("archive", "events"))
    assert policies(connection) == []


def test_nobody_speaks_for_the_table_of_another_owner(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    stranger = new_role()
    run_sql(
        connection,
        EVENTS,
        f"CREATE SCHEMA theirs AUTHORIZATION {stranger}",
        f"CREATE TABLE theirs.{registry.TABLE} (relation regclass, policy jsonb)",
        f"""INSERT INTO theirs.{registry.TABLE} VALUES ('events', '{{"kind": "range"}}')""",
        f"ALTER TABLE theirs.{registry.TABLE} OWNER TO {stranger}",
    )
    assert policies(connection) == []


# --- Code of strangers

THEIRS = f"theirs.{registry.TABLE}"
POLICY_OF_ROWS = (
    f"CREATE POLICY visible ON {THEIRS} USING (theirs.run(1) = 1)",
    f"ALTER TABLE {THEIRS} ENABLE ROW LEVEL SECURITY",
)
TRIGGER = (
    f"CREATE TRIGGER run AFTER INSERT OR DELETE ON {THEIRS} EXECUTE FUNCTION theirs.run_trigger()",
)


@pytest.fixture
def stranger(connection: Connection, new_role: Callable[..., str]) -> str:
    """A role with a registry in a schema of its own, and functions that note who runs them."""
    role, note = new_role(), "INSERT INTO theirs.ran VALUES (current_user)"
    run_sql(
        connection,
        EVENTS,
        f"CREATE SCHEMA theirs AUTHORIZATION {role}",
        f"SET ROLE {role}",
        "CREATE TABLE theirs.ran (as_role text)",
        f"CREATE TABLE {THEIRS} (relation regclass, policy jsonb)",
        f"""INSERT INTO {THEIRS} VALUES ('events', '{{"kind": "range"}}')""",
        "GRANT USAGE ON SCHEMA theirs TO PUBLIC",
        "GRANT ALL ON ALL TABLES IN SCHEMA theirs TO PUBLIC",
        "CREATE FUNCTION theirs.note() RETURNS int LANGUAGE plpgsql AS "
        f"$$BEGIN IF current_user <> '{role}' THEN {note}; END IF; RETURN 1; END$$",
        "CREATE FUNCTION theirs.run(one int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$BEGIN RETURN theirs.note(); END$$",
        "CREATE FUNCTION theirs.run_trigger() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM theirs.note(); RETURN NULL; END$$",
        "RESET ROLE",
    )
    return role


def ran(connection: Connection) -> list[tuple[str, ...]]:
    return sql.rows(connection, SQL("SELECT as_role FROM theirs.ran"))


def put_theirs(connection: Connection) -> None:
    put(connection, Name("theirs", "events"), POLICY)


def remove_theirs(connection: Connection) -> None:
    remove(connection, Name("theirs", "events"))


@pytest.mark.parametrize(
    "made",
    [
        POLICY_OF_ROWS,
        (f"CREATE INDEX ON {THEIRS} (theirs.run(1))",),
        (f"CREATE INDEX ON {THEIRS} (relation) WHERE theirs.run(1) = 1",),
        (f"CREATE STATISTICS theirs.s ON (theirs.run(1)), (relation::oid) FROM {THEIRS}",),
        (
            f"ALTER TABLE {THEIRS} RENAME TO other",
            f"CREATE VIEW {THEIRS} AS SELECT * FROM theirs.other WHERE theirs.note() = 1",
            f"GRANT SELECT ON {THEIRS} TO PUBLIC",
        ),
    ],
    ids=["row security", "index", "partial index", "statistics", "view"],
)
def test_reading_runs_no_code_of_a_stranger(
    connection: Connection, stranger: str, role: str, made: tuple[str, ...]
) -> None:
    run_sql(connection, f"SET ROLE {stranger}", *made, f"SET ROLE {role}")
    assert policies(connection) == []
    assert ran(connection) == []


def test_a_registry_that_gets_row_security_while_it_is_waited_for_is_not_read(
    connection: Connection, engine: Engine, stranger: str, role: str
) -> None:
    def read(own: Connection) -> None:
        run_sql(own, f"SET ROLE {role}")
        policies(own)

    connection.exec_driver_sql(f"SET ROLE {stranger}")
    for statement in POLICY_OF_ROWS:
        connection.exec_driver_sql(statement)
    with waiting(engine, read) as future:
        connection.commit()
    with pytest.raises(DBAPIError, match="row-level security"):
        future.result()
    assert ran(connection) == []


def test_settings_of_the_session_stay_as_they_were(connection: Connection) -> None:
    run_sql(connection, EVENTS)
    put(connection, Name(None, "events"), POLICY)
    assert policies(connection) == [POLICY]
    query = SQL("SELECT name FROM pg_settings WHERE source = 'session' AND setting <> boot_val")
    assert sql.rows(connection, query) == []


def test_forgetting_a_policy_runs_no_trigger_of_a_stranger(
    connection: Connection, stranger: str
) -> None:
    run_sql(connection, f"SET ROLE {stranger}", *TRIGGER, "RESET ROLE")
    put(connection, Name("public", "events"), POLICY)
    remove(connection, Name("public", "events"))
    assert ran(connection) == []
    assert policies(connection) == []


def test_a_registry_that_a_stranger_made_before_is_refused(
    connection: Connection, stranger: str
) -> None:
    run_sql(connection, *TRIGGER, f"ALTER TABLE {THEIRS} SET SCHEMA public")
    told = (
        f"events: its policy would not count in public.{registry.TABLE}, which belongs to role "
        f"{stranger}, without the rights of role postgres, who owns the table. Run this as that "
        f"role; if public.{registry.TABLE} is somebody else's, drop it"
    )
    with pytest.raises(DBAPIError) as caught:
        put(connection, Name(None, "events"), POLICY)
    assert (sqlstate(caught.value), message(caught.value)) == (REFUSED, told)
    connection.rollback()
    assert ran(connection) == []


def test_a_role_without_the_rights_of_the_owner_makes_no_registry(
    connection: Connection, role: str
) -> None:
    run_sql(connection, EVENTS, f"SET ROLE {role}")
    with pytest.raises(DBAPIError, match=f"belongs to role {role}, without the rights of role "):
        put(connection, Name(None, "events"), POLICY)


@pytest.mark.parametrize(
    "made",
    [
        TRIGGER,
        (f"CREATE RULE run AS ON DELETE TO {THEIRS} DO ALSO SELECT theirs.note()",),
        (f"ALTER TABLE {THEIRS} ADD CHECK (theirs.note() = 1)",),
        (f"ALTER TABLE {THEIRS} ADD more int DEFAULT theirs.note()",),
    ],
    ids=["trigger", "rule", "check", "default"],
)
@pytest.mark.parametrize("change", [put_theirs, remove_theirs])
def test_what_the_owner_of_a_table_put_on_its_registry_is_not_run(
    connection: Connection,
    stranger: str,
    made: tuple[str, ...],
    change: Callable[[Connection], None],
) -> None:
    run_sql(
        connection,
        f"SET ROLE {stranger}",
        EVENTS.replace("events", "theirs.events"),
        *made,
        "RESET ROLE",
    )
    with pytest.raises(DBAPIError, match=rf"theirs\.events: {THEIRS} cannot be written to"):
        change(connection)
    connection.rollback()
    assert ran(connection) == []


@pytest.mark.parametrize("change", [put_theirs, remove_theirs])
def test_a_trigger_that_comes_while_a_registry_is_waited_for_is_not_run(
    connection: Connection, engine: Engine, stranger: str, change: Callable[[Connection], None]
) -> None:
    run_sql(connection, f"SET ROLE {stranger}", EVENTS.replace("events", "theirs.events"))
    connection.exec_driver_sql(*TRIGGER)
    with waiting(engine, change) as future:
        connection.commit()
    with pytest.raises(DBAPIError, match="cannot be written to"):
        future.result()
    assert ran(connection) == []


def test_the_owner_of_a_registry_may_see_all_its_rows(connection: Connection, role: str) -> None:
    """Row security is switched on for every table in some shops; it does not bind the owner."""
    run_sql(connection, EVENTS)
    put(connection, Name(None, "events"), POLICY)
    run_sql(
        connection,
        f"ALTER TABLE {registry.TABLE} ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT ON {registry.TABLE} TO {role}",
    )
    assert policies(connection) == [POLICY]
    assert registry.closed(connection) == {}
    run_sql(connection, f"SET ROLE {role}")
    assert policies(connection) == []
    assert registry.closed(connection) == {"public": registry.TABLE}


# --- Rows and columns


@pytest.mark.parametrize(
    "columns", ["relation oid, policy jsonb", "relation regclass, policy text"]
)
def test_a_table_that_only_has_the_name_is_not_read(connection: Connection, columns: str) -> None:
    run_sql(connection, EVENTS, f"CREATE TABLE {registry.TABLE} ({columns})")
    run_sql(connection, f"INSERT INTO {registry.TABLE} VALUES ('events'::regclass::oid, '[]')")
    assert policies(connection) == []


def test_a_registry_that_may_not_be_read_is_left_out(connection: Connection, role: str) -> None:
    run_sql(connection, EVENTS)
    put(connection, Name(None, "events"), POLICY)
    run_sql(connection, f"SET ROLE {role}")
    assert policies(connection) == []


def test_a_row_that_lost_its_table_goes_with_the_next_policy(connection: Connection) -> None:
    run_sql(connection, EVENTS, EVENTS.replace("events", "others"))
    put(connection, Name(None, "others"), POLICY)
    run_sql(connection, "DROP TABLE others")
    put(connection, Name(None, "events"), POLICY)
    rows = SQL("SELECT relation::text FROM {}").format(Name(None, registry.TABLE).sql)
    assert sql.rows(connection, rows) == [("events",)]


def test_a_policy_that_is_no_object_is_a_clear_error(connection: Connection) -> None:
    run_sql(connection, EVENTS)
    put(connection, Name(None, "events"), POLICY)
    run_sql(connection, f"UPDATE {registry.TABLE} SET policy = '[]'")
    with pytest.raises(ConfigurationError, match=r"^public\.events: its policy in"):
        catalog.read(connection)


@pytest.mark.parametrize("policy", [{"kind": "range"}, POLICY | {"every": "hour"}])
def test_a_policy_of_a_newer_release_is_told_with_its_table(
    connection: Connection, policy: dict[str, str]
) -> None:
    run_sql(connection, EVENTS)
    put(connection, Name("public", "events"), policy)
    with pytest.raises(ConfigurationError, match=r"^public\.events: its policy .*Upgrade"):
        catalog.read(connection)
