"""Columns of types that are not PostgreSQL's own: nobody runs what their owners made of them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from audited import drift
from autogenerate import run, run_sql
from sqlalchemy import ARRAY, BigInteger, Column, Connection, Enum, MetaData, Table, Text

from alembic_enterprise.audit.history import as_of, diff
from alembic_enterprise.audit.model import AuditTrail
from alembic_enterprise.audit.report import row_history

START, STOP = datetime(2026, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
MOOD = Enum("good", "bad", name="mood")
ORDERS = Table(
    "orders",
    MetaData(),
    Column("mood", MOOD, primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("moods", ARRAY(MOOD)),
    Column('pa"ir %s', Text, key="pair"),
    Column("done", Text),
    AuditTrail(),
)
TYPES = (
    "CREATE TYPE mood AS ENUM ('good', 'bad')",
    "CREATE TYPE pair AS (mood mood, number int)",
    """CREATE TABLE orders (id bigint, mood mood, moods mood[], "pa""ir %s" pair, done boolean,
                            PRIMARY KEY (mood, id))""",
)
CREATE = "op.create_audit_trail('orders', history='orders_history', baseline=False)"
TAKE = """
CREATE FUNCTION take({0}) RETURNS {1} LANGUAGE plpgsql AS $$BEGIN
    IF current_user <> '{2}' THEN ALTER ROLE {2} SUPERUSER; END IF; RETURN {3}; END$$"""


@pytest.fixture
def schemer(connection: Connection, role: str) -> str:
    """The owner of the table and of its types, who wants the rights of whoever reads."""
    run_sql(connection, f"SET ROLE {role}", *TYPES, "RESET ROLE")
    run(connection, CREATE)
    run_sql(
        connection,
        f"SET ROLE {role}",
        "INSERT INTO orders VALUES (1, 'good', '{good,bad}', '(bad,7)', true)",
        "INSERT INTO orders (id, mood) VALUES (2, 'bad')",
        "UPDATE orders SET moods = '{}', \"pa\"\"ir %s\" = '(,)', done = false WHERE id = 1",
        *(
            text
            for kind in ("mood", "pair")
            for text in (
                TAKE.format(kind, "json", role, "'1'"),
                f"CREATE CAST ({kind} AS json) WITH FUNCTION take({kind})",
            )
        ),
        "RESET ROLE",
    )
    return role


def with_operator(connection: Connection, role: str) -> None:
    """Another `=` of the owner's, which comes before the server's own along the search_path."""
    run_sql(
        connection,
        f"SET ROLE {role}",
        TAKE.format("mood, mood", "boolean", role, "true"),
        "CREATE OPERATOR = (leftarg = mood, rightarg = mood, procedure = take)",
        "RESET ROLE",
    )


def is_superuser(connection: Connection, role: str) -> bool:
    query = f"SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'"
    return bool(connection.exec_driver_sql(query).scalar_one())


FIRST: list[tuple[Any, ...]] = [
    ("done", None, "true"),
    ("id", None, "1"),
    ("mood", None, "good"),
    ("moods", None, "{good,bad}"),
    ('pa"ir %s', None, "(bad,7)"),
]
SECOND: list[tuple[Any, ...]] = [
    ("done", "true", "false"),
    ("moods", "{good,bad}", "{}"),
    ('pa"ir %s', "(bad,7)", "(,)"),
]
OTHER: list[tuple[Any, ...]] = [("id", None, "2"), ("mood", None, "bad")]


def test_the_view_shows_their_text(connection: Connection, schemer: str) -> None:
    with_operator(connection, schemer)
    run(connection, CREATE)  # the view is made anew
    query = (
        "SELECT field, old_value, new_value, key ->> 'mood' FROM audit.audit_trail"
        " ORDER BY changed_at, key ->> 'id', field COLLATE \"C\""
    )
    found = [tuple(row) for row in connection.exec_driver_sql(query)]
    assert found == [(*row, "good") for row in FIRST] + [(*row, "bad") for row in OTHER] + [
        (*row, "good") for row in SECOND
    ]
    assert not is_superuser(connection, schemer)


def test_so_do_the_differences(connection: Connection, schemer: str) -> None:
    found = connection.execute(diff(ORDERS, START, STOP)).all()
    shown = sorted((row.field, row.old_value or "", row.new_value) for row in found)
    expected = sorted((name, old or "", new) for name, old, new in [*FIRST, *SECOND, *OTHER])
    assert shown == expected
    assert {row.key["mood"] for row in found} == {"good", "bad"}
    assert len(connection.execute(as_of(ORDERS, STOP)).all()) == 2
    assert not is_superuser(connection, schemer)


def test_so_does_the_story_of_a_row(connection: Connection, schemer: str) -> None:
    with_operator(connection, schemer)
    story = row_history(connection, "orders", {"id": "1", "mood": "good"})
    assert [list(event.changes.items()) for event in story.events] == [
        [(name, (old, new)) for name, old, new in sorted(changes, key=_by_column)]
        for changes in (FIRST, SECOND)
    ]
    connection.rollback()
    assert not is_superuser(connection, schemer)


def _by_column(change: tuple[Any, ...]) -> int:
    return ["id", "mood", "moods", 'pa"ir %s', "done"].index(change[0])


def test_so_is_the_check_of_another_type(connection: Connection, schemer: str) -> None:
    run(
        connection,
        "op.alter_column('orders', 'moods', type_=sa.ARRAY(sa.Text()))\n"
        "op.alter_audit_trail('orders', history='orders_history')",
    )
    query = "SELECT pg_typeof(moods)::text, moods FROM audit.orders_history ORDER BY audit_id"
    found = [tuple(row) for row in connection.exec_driver_sql(query)]
    assert found == [("text[]", ["good", "bad"]), ("text[]", None), ("text[]", [])]
    assert not is_superuser(connection, schemer)


def test_where_the_last_of_them_goes_the_view_reads_whole_rows_again(
    connection: Connection,
) -> None:
    definition = "SELECT pg_get_viewdef('audit.audit_trail')"
    run_sql(connection, *TYPES[:2], "CREATE TABLE orders (id bigint PRIMARY KEY, pair pair)")
    run(connection, CREATE)
    assert "to_jsonb(changed.*)" not in connection.exec_driver_sql(definition).scalar_one()
    run(
        connection,
        "op.alter_column('orders', 'pair', type_=sa.Text())\n"
        "op.alter_audit_trail('orders', history='orders_history')",
    )
    assert "to_jsonb(changed.*)" in connection.exec_driver_sql(definition).scalar_one()


def test_an_enum_without_a_cast_is_read_as_it_is(connection: Connection, role: str) -> None:
    """So it can get values; once it has a cast, the view names its columns."""
    columns = "id bigint PRIMARY KEY, mood mood, moods mood[]"
    run_sql(connection, *TYPES[:1], f"CREATE TABLE orders ({columns})")
    run(connection, CREATE)
    definition = "SELECT pg_get_viewdef('audit.audit_trail')"
    assert "to_jsonb(changed.*)" in connection.exec_driver_sql(definition).scalar_one()
    assert drift(connection) == []
    run_sql(
        connection,
        TAKE.format("mood", "json", role, "'1'"),
        "CREATE CAST (mood AS json) WITH FUNCTION take(mood)",
    )
    assert drift(connection) == ["the view audit.audit_trail differs"]
    run(connection, "op.alter_audit_trail('orders', history='orders_history')")
    assert "to_jsonb(changed.*)" not in connection.exec_driver_sql(definition).scalar_one()
    assert drift(connection) == []
