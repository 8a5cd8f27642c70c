"""Roles that share an audit trail: each gets what it needs for its part, and no more."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import laws
import pytest
from alembic.util import CommandError
from audited import audited, drift
from autogenerate import generate, partitions, run, run_sql, upgrade
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.audit.operations import (
    AlterAuditTrail,
    CreateAuditTrail,
    DropAuditTrail,
)
from alembic_enterprise.partitions.maintain import Job, maintain
from alembic_enterprise.partitions.operations import SetPartitionPolicy
from alembic_enterprise.partitions.report import document

NAME = 'Audit-"Owner"'


@pytest.fixture
def login(database_url: str) -> Iterator[Callable[[str], Engine]]:
    """A function that gives an engine whose connections are those of a role."""
    engines: list[Engine] = []

    def become(role: str) -> Engine:
        engine = create_engine(database_url, poolclass=NullPool)
        engines.append(engine)

        @event.listens_for(engine, "connect")
        def _(session: Any, _record: object) -> None:
            session.execute(f'SET SESSION AUTHORIZATION "{role}"'.encode())
            session.commit()

        return engine

    yield become
    for engine in engines:
        engine.dispose()


def actions(connection: Connection) -> list[str]:
    """What the history of `orders` tells, in order."""
    query = "SELECT audit_action FROM audit.orders_history ORDER BY audit_id"
    found = list(connection.exec_driver_sql(query).scalars())
    connection.commit()
    return found


# --- The owner of the history

TAKE = "BEGIN IF current_user <> '{0}' THEN ALTER ROLE {0} SUPERUSER; END IF; RETURN {1}; END"
RECORD = "audit.orders_history(relation regclass, action text)"


@pytest.fixture
def schemer(connection: Connection, new_role: Callable[..., str]) -> str:
    """The owner of the history of `orders`, who wants the rights of who migrates."""
    owner = new_role()
    run_sql(connection, "CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders VALUES (1)")
    laws.apply(connection, [CreateAuditTrail("orders", "orders_history", owner=owner)])
    return owner


def is_superuser(connection: Connection, role: str) -> bool:
    query = f"SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'"
    found = bool(connection.exec_driver_sql(query).scalar_one())
    connection.commit()
    return found


def test_to_drop_a_trail_runs_nothing_of_its_owner(connection: Connection, schemer: str) -> None:
    body = TAKE.format(schemer, "")
    run_sql(
        connection,
        f"SET ROLE {schemer}",
        f"CREATE OR REPLACE FUNCTION {RECORD} RETURNS void LANGUAGE plpgsql AS $${body}$$",
        "RESET ROLE",
    )
    laws.apply(connection, [DropAuditTrail("orders", "orders_history", owner=schemer)])
    assert not is_superuser(connection, schemer)
    assert actions(connection) == ["baseline", "detach"]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE audit.orders_history ADD more int DEFAULT audit.take(1)",
        "CREATE INDEX ON audit.orders_history (audit.take(id))",
        "CREATE RULE take AS ON INSERT TO audit.orders_history DO ALSO SELECT audit.take(1)",
    ],
)
def test_a_baseline_is_refused_where_it_would(
    connection: Connection, schemer: str, statement: str
) -> None:
    body = TAKE.format(schemer, "1")
    run_sql(
        connection,
        f"SET ROLE {schemer}",
        f"CREATE FUNCTION audit.take(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $${body}$$",
        statement,
        "RESET ROLE",
        "ALTER TABLE orders DISABLE TRIGGER USER",
    )
    alter = AlterAuditTrail("orders", "orders_history", owner=schemer)
    with pytest.raises(CommandError, match="which would run with the rights of role"):
        laws.apply(connection, [alter])
    connection.rollback()
    assert not is_superuser(connection, schemer)


@pytest.mark.parametrize("schema", ["the trail made it", "it was there"])
def test_a_history_is_given_to_a_role_that_does_not_own_the_schema(
    connection: Connection, new_role: Callable[..., str], schema: str
) -> None:
    owner = new_role()
    if schema == "it was there":
        run_sql(connection, "CREATE SCHEMA audit")
    else:
        upgrade(connection, audited())
    metadata = audited(trail={"owner": owner})
    upgrade(connection, metadata)
    run_sql(connection, "INSERT INTO orders VALUES (1)", "TRUNCATE orders")
    assert actions(connection) == ["insert", "truncate"]
    assert drift(connection) == []
    assert generate(connection, metadata).calls == []


def test_the_owner_of_the_history_makes_its_partitions(
    connection: Connection, new_role: Callable[..., str], login: Callable[[str], Engine]
) -> None:
    owner = new_role()
    run_sql(connection, "CREATE SCHEMA audit")
    upgrade(connection, audited(trail={"owner": owner}))
    last = list(partitions(connection, "audit.orders_history"))[-1]
    run_sql(
        connection,
        f"DROP TABLE {last}",
        f"GRANT SELECT ON audit.alembic_enterprise_policy TO {owner}",
    )
    report = maintain(login(owner), Job(only=frozenset({"audit.orders_history"})))
    assert not report.undone
    assert last in partitions(connection, "audit.orders_history")


@pytest.mark.parametrize("right", ["USAGE", "CREATE"])
def test_an_owner_without_rights_on_the_schema_is_found_and_put_right(
    connection: Connection, new_role: Callable[..., str], right: str
) -> None:
    owner = new_role()
    run_sql(connection, "CREATE SCHEMA audit")
    metadata = audited(trail={"owner": owner})
    upgrade(connection, metadata)
    run_sql(connection, f"REVOKE {right} ON SCHEMA audit FROM {owner}")
    assert drift(connection) == [f"{owner} may not use schema audit and create in it"]
    assert upgrade(connection, metadata).calls == ["alter_audit_trail"]
    assert drift(connection) == []


@pytest.mark.parametrize("changed", [False, True], ids=["made with it", "given later"])
def test_names_of_roles_that_need_quotes(
    connection: Connection, new_role: Callable[..., str], *, changed: bool
) -> None:
    owner, reader = new_role(NAME), new_role("Reader \\ 'x' ")
    metadata = audited(trail={"owner": owner, "readers": [reader]})
    if changed:
        upgrade(connection, audited())
    upgrade(connection, metadata)
    run_sql(connection, "INSERT INTO orders VALUES (1)")
    assert actions(connection) == ["insert"]
    assert drift(connection) == []
    assert generate(connection, metadata).calls == []
    query = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'orders_history'"
    assert (
        connection.exec_driver_sql(query).scalar_one() == f'"{owner.replace(chr(34), chr(34) * 2)}"'
    )


# --- The owner of the table


@pytest.fixture
def theirs(connection: Connection, role: str) -> str:
    """The owner of `orders`, by month; the migrating role made the trail."""
    run_sql(
        connection,
        "CREATE TABLE orders (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE january PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    )
    create = CreateAuditTrail("orders", "orders_history", baseline=False)
    laws.apply(connection, [create, SetPartitionPolicy("orders", "month", ahead=1)])
    run_sql(
        connection,
        f"ALTER TABLE orders OWNER TO {role}",
        f"ALTER TABLE january OWNER TO {role}",
        f"GRANT ALL ON alembic_enterprise_policy TO {role}",
    )
    return role


ALTER = "op.alter_audit_trail('orders', history='orders_history')"


def test_the_owner_of_the_table_makes_and_detaches_its_partitions(
    connection: Connection, theirs: str, login: Callable[[str], Engine]
) -> None:
    run(connection, ALTER)
    engine = login(theirs)
    report = maintain(
        engine, Job(only=frozenset({"orders"}), now=datetime(2026, 2, 15, tzinfo=UTC))
    )
    assert not report.undone
    assert "orders_y2026_m03" in partitions(connection, "orders")
    with engine.connect() as session:
        run_sql(session, "INSERT INTO orders VALUES (1, '2026-03-03')")
        run(session, "op.detach_partition('orders', partition='january')")
        with pytest.raises(DBAPIError, match="permission denied"):
            session.exec_driver_sql("SELECT FROM audit.orders_history")
    assert actions(connection) == ["insert", "detach"]
    assert drift(connection) == []


def test_histories_whose_policies_may_not_be_read_are_named(
    connection: Connection, theirs: str, login: Callable[[str], Engine]
) -> None:
    """Nobody else says that nothing is done for them."""
    run(connection, ALTER)
    engine, now = login(theirs), datetime(2026, 2, 15, tzinfo=UTC)
    report = maintain(engine, Job(now=now))
    [note] = report.notes
    assert note.startswith("audit.alembic_enterprise_policy: this role may not read these policies")
    assert (report.undone, document(report, None)["notes"]) == (False, [note])
    assert maintain(engine, Job(now=now, only=frozenset({"orders"}))).notes == []
    assert maintain(connection.engine, Job(now=now)).notes == []


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        ("EXECUTE ON FUNCTION audit.orders_history()", "audit.orders_history(): {} may not"),
        (
            "EXECUTE ON FUNCTION audit.orders_history(regclass, text)",
            "audit.orders_history(regclass,text): {} may not",
        ),
        ("USAGE ON SCHEMA audit", "{} may not use schema audit"),
    ],
)
def test_what_its_owner_lacks_is_found_and_put_right(
    connection: Connection, theirs: str, taken: str, told: str
) -> None:
    run(connection, ALTER)
    assert drift(connection) == []
    run_sql(connection, f"REVOKE {taken} FROM {theirs}")
    [found] = drift(connection)
    assert found.startswith(told.format(theirs))
    run(connection, ALTER)
    assert drift(connection) == []


# --- The readers of the view


def shown(connection: Connection, role: str) -> set[str]:
    """The tables that the view shows a role."""
    connection.exec_driver_sql(f"SET ROLE {role}")
    found = connection.exec_driver_sql('SELECT "table" FROM audit.audit_trail').scalars()
    tables = set(found)
    connection.rollback()
    return tables


def two_trails(**roles: str) -> MetaData:
    """`lines` and `orders`, each with an owner and a reader of its own."""
    metadata = MetaData()
    for name in ("lines", "orders"):
        trail = {"owner": roles[f"{name}_owner"], "readers": [roles[f"{name}_reader"]]}
        audited(name=name, metadata=metadata, trail=trail)
    return metadata


ROLES = ("lines_owner", "lines_reader", "orders_owner", "orders_reader")


def test_each_reader_of_the_view_sees_the_trails_that_it_may_read(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    roles = {name: new_role() for name in ROLES}
    metadata = two_trails(**roles)
    upgrade(connection, metadata)
    run_sql(connection, "INSERT INTO orders VALUES (1)", "INSERT INTO lines VALUES (1)")
    assert shown(connection, roles["lines_reader"]) == {"public.lines"}
    assert shown(connection, roles["orders_reader"]) == {"public.orders"}
    assert shown(connection, roles["orders_owner"]) == {"public.orders"}
    assert drift(connection) == []
    assert generate(connection, metadata).calls == []


def test_a_view_whose_owner_may_not_read_is_found_and_put_right(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    roles = {name: new_role() for name in ROLES}
    metadata = two_trails(**roles)
    upgrade(connection, metadata)
    owner = roles["lines_owner"]
    run_sql(connection, f"REVOKE SELECT ON audit.orders_history FROM {owner}")
    told = f"{owner}, who owns the view of all trails, may not read audit.orders_history"
    assert drift(connection) == [told]
    assert upgrade(connection, metadata).calls == ["alter_audit_trail"]
    assert drift(connection) == []


def test_the_view_follows_the_owners_of_the_histories(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    roles = {name: new_role() for name in ROLES}
    upgrade(connection, two_trails(**roles))
    changed = {**roles, "lines_owner": new_role()}
    upgrade(connection, two_trails(**changed))
    run_sql(connection, "INSERT INTO orders VALUES (1)", "INSERT INTO lines VALUES (1)")
    assert shown(connection, roles["lines_reader"]) == {"public.lines"}
    assert shown(connection, roles["orders_reader"]) == {"public.orders"}
    assert drift(connection) == []
    assert generate(connection, two_trails(**changed)).calls == []


def test_a_reader_learns_nothing_of_other_trails_by_a_function_of_its_own(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    roles = {name: new_role() for name in ROLES}
    upgrade(connection, two_trails(**roles))
    run_sql(
        connection,
        "INSERT INTO orders VALUES (1, 'secret')",
        "CREATE FUNCTION tell(value text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION '%', value; END$$",
    )
    connection.exec_driver_sql(f"SET ROLE {roles['lines_reader']}")
    query = "SELECT FROM audit.audit_trail WHERE tell(new_value)"
    assert connection.exec_driver_sql(query).all() == []
    connection.rollback()
