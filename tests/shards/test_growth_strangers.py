"""Nobody else gets at the rows through what growth makes, and nothing of theirs is taken for it."""

import growing
import pytest
from autogenerate import run_sql
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import ProgrammingError


def test_row_security_hides_the_rows_of_copies_too(
    connection: Connection, engine: Engine, role: str
) -> None:
    growing.orders(connection, 1)
    run_sql(
        connection,
        "ALTER TABLE orders_shard_0 ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT ON orders_shard_0 TO {role}",
    )
    growing.stopped(engine, growing.COMPARING, count=2)
    names = growing.copies(connection)
    assert len(names) == 2
    assert sum(growing.one(connection, f"SELECT count(*) FROM {name}") for name in names) == 400
    run_sql(connection, f"SET ROLE {role}")
    for name in ("orders_shard_0", names[0]):
        assert growing.one(connection, f"SELECT count(*) FROM {name}") == 0


def test_nobody_else_can_use_the_function_that_mirrors(
    connection: Connection, engine: Engine, role: str
) -> None:
    """It runs with the rights of the owner, and would empty the copies."""
    growing.orders(connection, 1)
    growing.stopped(engine, growing.COMPARING, count=2)
    function = growing.one(
        connection,
        "SELECT oid::regproc::text FROM pg_proc WHERE starts_with(proname, 'alembic_enterprise_m')",
    )
    trigger = f"CREATE TRIGGER t AFTER TRUNCATE ON own EXECUTE FUNCTION {function}()"
    run_sql(connection, f"SET ROLE {role}", "CREATE TABLE own ()")
    with pytest.raises(ProgrammingError, match="permission denied for function"):
        run_sql(connection, trigger)
    connection.rollback()
    run_sql(connection, "RESET ROLE", f"GRANT EXECUTE ON FUNCTION {function} TO {role}")
    run_sql(connection, f"SET ROLE {role}", trigger, "TRUNCATE own", "RESET ROLE")
    assert (
        sum(
            growing.one(connection, f"SELECT count(*) FROM {name}")
            for name in growing.copies(connection)
        )
        == 400
    )


def test_what_a_stranger_calls_a_copy_is_none(
    connection: Connection, engine: Engine, role: str
) -> None:
    growing.orders(connection, 1)
    rows, shard = (
        growing.contents(connection),
        growing.one(connection, "SELECT 'orders_shard_0'::regclass::oid"),
    )
    comment = f"alembic-enterprise: copy of shard {shard} for modulus 2, remainder"
    run_sql(connection, f"SET ROLE {role}")
    for number in (0, 1):
        run_sql(
            connection,
            f"CREATE TABLE trap_{number} ({growing.COLUMNS}, CONSTRAINT alembic_enterprise_guard"
            " CHECK ('orders'::regclass::oid IS NOT NULL))",
            f"COMMENT ON TABLE trap_{number} IS '{comment} {number}'",
        )
    run_sql(connection, "CREATE TABLE other ()", f"COMMENT ON TABLE other IS '{comment} x'")
    run_sql(connection, "RESET ROLE")
    assert growing.run(engine, 2).problems == []
    assert growing.contents(connection) == rows
    assert growing.one(connection, "SELECT count(*) FROM trap_0") == 0
