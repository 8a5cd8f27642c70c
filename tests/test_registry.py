"""The registry of policies: who may speak for a table, and what happens to stale rows."""

from collections.abc import Callable

import pytest
from autogenerate import run_sql
from psycopg.sql import SQL
from sqlalchemy import Connection

from alembic_enterprise import registry, sql
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import catalog
from alembic_enterprise.sql import Name

EVENTS = "CREATE TABLE events (at date NOT NULL) PARTITION BY RANGE (at)"
POLICY = {"kind": "range", "every": "month"}


def put(connection: Connection, name: Name, policy: dict[str, str]) -> None:
    for statement in registry.put(name, policy):
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
    for statement in registry.remove(Name("archive", "events")):
        sql.execute(connection, statement)
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
