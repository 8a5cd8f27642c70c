"""What is there before a trail is made: whose it may be."""

from collections.abc import Callable
from dataclasses import replace

import laws
import pytest
from alembic.util import CommandError
from audited import drift
from autogenerate import run_sql
from sqlalchemy import Connection

from alembic_enterprise.audit import capture
from alembic_enterprise.audit.model import Trail
from alembic_enterprise.audit.operations import (
    AddAuditColumns,
    AlterAuditTrail,
    CreateAuditTrail,
    DropAuditTrail,
    column_blocks,
)
from alembic_enterprise.operation import Operation

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY)"
SCHEMA = "CREATE SCHEMA audit"
RECORDING = "audit.orders_history(relation regclass, action text)"
MADE_BEFORE = {
    "SCHEMA audit": [SCHEMA],
    "TABLE audit.orders_history": [
        SCHEMA,
        f"CREATE TABLE audit.orders_history ({capture.OWN_COLUMNS}) PARTITION BY RANGE (audit_at)",
        "CREATE SEQUENCE audit.orders_history_id OWNED BY audit.orders_history.audit_id",
        f"COMMENT ON TABLE audit.orders_history IS '{capture.KEPT_COMMENT}'",
    ],
    "FUNCTION audit.orders_history()": [
        SCHEMA,
        "CREATE FUNCTION audit.orders_history() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        f"COMMENT ON FUNCTION audit.orders_history() IS '{capture.comment(Trail())}'",
    ],
    "FUNCTION audit.orders_history(regclass,text)": [
        SCHEMA,
        f"CREATE FUNCTION {RECORDING} RETURNS void LANGUAGE sql AS ''",
    ],
}
"""Parts of a trail, and statements that make one in advance."""

CREATE = CreateAuditTrail("orders", "orders_history", baseline=False)
ALTER = AlterAuditTrail("orders", "orders_history")
DROP = DropAuditTrail("orders", "orders_history")


@pytest.fixture
def made_before(connection: Connection, role: str, request: pytest.FixtureRequest) -> str:
    """The owner of a part of a trail that nobody has made yet."""
    run_sql(connection, ORDERS, *MADE_BEFORE[request.param])
    run_sql(connection, f"ALTER {request.param} OWNER TO {role}")
    return role


@pytest.mark.parametrize("operation", [CREATE, ALTER])
@pytest.mark.parametrize(
    ("made_before", "part"), [(part, part) for part in MADE_BEFORE], indirect=["made_before"]
)
def test_what_somebody_else_made_before_is_refused(
    connection: Connection, made_before: str, part: str, operation: Operation
) -> None:
    """He could read all that is audited, and drop it."""
    with pytest.raises(CommandError) as error:
        laws.apply(connection, [operation])
    connection.rollback()
    me = connection.exec_driver_sql("SELECT current_user").scalar_one()
    assert str(error.value) == (
        f"orders: {part} belongs to {made_before}, who could read or drop what is kept: run "
        f"ALTER {part} OWNER TO {me} first, or give the trail owner='{made_before}'"
    )
    run_sql(connection, f"ALTER {part} OWNER TO {me}")
    laws.apply(connection, [operation])
    assert drift(connection) == []


@pytest.mark.parametrize("made_before", MADE_BEFORE, indirect=True)
@pytest.mark.parametrize("trusted", ["the owner", "a superuser", "one with the owner's rights"])
def test_what_those_who_may_do_it_anyway_made_before_is_used(
    connection: Connection, made_before: str, new_role: Callable[..., str], trusted: str
) -> None:
    owner = made_before if trusted == "the owner" else new_role()
    if trusted == "a superuser":
        run_sql(connection, f"ALTER ROLE {made_before} SUPERUSER")
    else:
        run_sql(connection, f"GRANT {owner} TO {made_before}" if owner != made_before else "")
    laws.apply(connection, [replace(CREATE, owner=owner)])
    assert drift(connection) == []


def test_a_schema_of_the_owner_of_the_database_is_used(connection: Connection, role: str) -> None:
    """He can drop all of it anyway."""
    name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
    run_sql(
        connection,
        ORDERS,
        SCHEMA,
        f"ALTER DATABASE {name} OWNER TO {role}",
        f"ALTER SCHEMA audit OWNER TO {role}",
        "ALTER SCHEMA public OWNER TO pg_database_owner",
    )
    laws.apply(connection, [CREATE])
    laws.apply(connection, [CREATE.reverse()])
    laws.apply(connection, [replace(CREATE, history_schema="public")])


def test_a_history_that_was_kept_is_carried_on_by_its_owner(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    """By another one when it is given to him; a trail in use may change hands."""
    first, second = new_role(), new_role()
    create = replace(CREATE, owner=first)
    run_sql(connection, ORDERS)
    laws.apply(connection, [create])
    laws.apply(connection, [DROP, create])
    laws.apply(connection, [replace(ALTER, owner=second)])
    assert drift(connection) == []
    laws.apply(connection, [DROP])
    with pytest.raises(CommandError, match=f"orders_history belongs to {second}, who could read"):
        laws.apply(connection, [create])
    connection.rollback()
    run_sql(connection, f"ALTER TABLE audit.orders_history OWNER TO {first}")
    laws.apply(connection, [create])
    assert drift(connection) == []


TOUCH = "FUNCTION public.alembic_enterprise_touch()"
MAKE_TOUCH = (
    "CREATE FUNCTION public.alembic_enterprise_touch() RETURNS trigger LANGUAGE plpgsql"
    f" SET search_path = '' AS $body${column_blocks.TOUCH_BODY}$body$"
)
ADD = AddAuditColumns("orders")


@pytest.fixture
def toucher(connection: Connection, role: str) -> str:
    """The owner of a function like that of audit columns, which nobody has added yet."""
    run_sql(connection, ORDERS, MAKE_TOUCH, f"ALTER {TOUCH} OWNER TO {role}")
    return role


def test_a_function_of_audit_columns_that_somebody_else_made_before_is_refused(
    connection: Connection, toucher: str
) -> None:
    """He could replace it by another one, which then runs with the rights of each writer."""
    with pytest.raises(CommandError) as error:
        laws.apply(connection, [ADD])
    connection.rollback()
    me = connection.exec_driver_sql("SELECT current_user").scalar_one()
    assert str(error.value) == (
        f"orders: {TOUCH} belongs to {toucher}, who could do by it whatever those may who write "
        f"to the table: run ALTER {TOUCH} OWNER TO {me} first"
    )
    run_sql(connection, f"ALTER {TOUCH} OWNER TO {me}")
    laws.apply(connection, [ADD])


@pytest.mark.parametrize("trusted", ["the table's owner", "a superuser", "one with their rights"])
def test_a_function_of_audit_columns_of_those_who_may_do_it_anyway_is_used(
    connection: Connection, toucher: str, new_role: Callable[..., str], trusted: str
) -> None:
    owner = toucher if trusted == "the table's owner" else new_role()
    run_sql(connection, f"ALTER TABLE orders OWNER TO {owner}")
    if trusted == "a superuser":
        run_sql(connection, f"ALTER ROLE {toucher} SUPERUSER")
    elif owner != toucher:
        run_sql(connection, f"GRANT {owner} TO {toucher}")
    laws.apply(connection, [ADD])


def test_a_function_of_audit_columns_in_use_may_change_hands(
    connection: Connection, role: str
) -> None:
    """Of the table itself; the next table is not let in on it."""
    run_sql(connection, ORDERS, "CREATE TABLE lines (id int PRIMARY KEY)")
    laws.apply(connection, [ADD])
    run_sql(connection, f"ALTER {TOUCH} OWNER TO {role}")
    laws.apply(connection, [replace(ADD, soft_delete=True)])
    with pytest.raises(CommandError, match=rf"^lines: FUNCTION .* belongs to {role}, who could do"):
        laws.apply(connection, [replace(ADD, table="lines")])
