"""What one statement does to a row in several ways is recorded in the order it was done."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import laws
import pytest
from autogenerate import run_sql
from psycopg.sql import SQL, Identifier
from sqlalchemy import Column, Connection, Integer, MetaData, Table, select, text

from alembic_enterprise import sql
from alembic_enterprise.audit.history import as_of
from alembic_enterprise.audit.model import AuditTrail
from alembic_enterprise.audit.operations import CreateAuditTrail
from alembic_enterprise.sql import Name

PARENTS = "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1), (2), (3);"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, a int, b int);"
LATE = "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, a int, b int);"
PARTITIONED = (
    "CREATE TABLE t (id int PRIMARY KEY, a int, b int) PARTITION BY RANGE (id);"
    "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10);"
    "CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20);"
)
CASCADE = "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p ON DELETE CASCADE;"
SET_NULL = "ALTER TABLE t ADD FOREIGN KEY (b) REFERENCES p ON DELETE SET NULL;"
REFERRING = "INSERT INTO t VALUES (1, 1, 2), (2, 2, 1), (3, 3, 3), (4, 1, 3), (5, NULL, 1)"


def after_each_row(change: str, events: str = "INSERT OR UPDATE") -> str:
    """A trigger that may change the row it is called for."""
    return (
        f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {change}; RETURN NULL;"
        f" END$$; CREATE TRIGGER f AFTER {events} ON t FOR EACH ROW EXECUTE FUNCTION f();"
    )


BACK = (
    "SELECT FROM (SELECT audit_at < lag(audit_at) OVER same_key OR audit_id = lag(audit_id) OVER"
    " same_key AS is_wrong FROM audit.t_history WINDOW same_key AS (PARTITION BY {key} ORDER BY"
    " audit_id, audit_at)) AS history WHERE is_wrong"
)
"""Rows of a history that are older than the one before of their key, or have its number."""


@dataclass(frozen=True)
class Case:
    """What makes the table `t`, and statements with what the history gets of each.

    Attributes:
        key: the columns of the primary key.
        since: the server that knows the statements.
    """

    setup: str
    told: dict[str, str]
    key: tuple[str, ...] = ("id",)
    since: int = 14


CASES = {
    "CASCADE, then SET NULL": Case(
        PARENTS + TABLE + CASCADE + SET_NULL,
        {
            REFERRING: "5 insert",
            "DELETE FROM p WHERE id < 3": "3 delete, 2 update",
        },
    ),
    "SET NULL, then CASCADE": Case(
        PARENTS + TABLE + SET_NULL + CASCADE,
        {
            REFERRING: "5 insert",
            "DELETE FROM p WHERE id < 3": "3 delete, 2 update",
        },
    ),
    "a row of its own table": Case(
        "CREATE TABLE t (id int PRIMARY KEY, a int REFERENCES t ON DELETE CASCADE ON UPDATE"
        " CASCADE, b int REFERENCES t ON DELETE SET NULL ON UPDATE CASCADE)",
        {
            "INSERT INTO t VALUES (1, NULL, NULL), (2, 1, NULL), (3, 1, 2), (4, NULL, 3),"
            " (5, 2, 1)": "5 insert",
            "UPDATE t SET id = 20 WHERE id = 2": "3 update, 1 rekey",
            "WITH i AS (INSERT INTO t VALUES (30, 1, 1) RETURNING id)"
            " DELETE FROM t WHERE id = 1": "1 insert, 5 delete, 2 update",
        },
    ),
    "a row of its own table, twice SET NULL": Case(
        "CREATE TABLE t (id int PRIMARY KEY, a int REFERENCES t ON DELETE CASCADE, b int"
        " REFERENCES t ON DELETE SET NULL, c int REFERENCES t ON DELETE SET NULL)",
        {
            "INSERT INTO t VALUES (1, NULL, NULL, NULL), (2, 1, 1, 1), (3, 2, 1, 1),"
            " (4, NULL, 2, 3)": "4 insert",
            "DELETE FROM t WHERE id = 1": "3 delete, 4 update",
        },
    ),
    "two keys ON UPDATE CASCADE": Case(
        "CREATE TABLE p (id int PRIMARY KEY, other int UNIQUE);"
        "INSERT INTO p VALUES (1, 1), (2, 2), (3, 3);"
        "CREATE TABLE t (id int REFERENCES p ON UPDATE CASCADE, a int, b int"
        " REFERENCES p (other) ON UPDATE CASCADE, PRIMARY KEY (id, b))",
        {
            "INSERT INTO t VALUES (1, 5, 1), (2, 6, 2), (1, 7, 2)": "3 insert",
            "UPDATE p SET id = id + 10, other = other + 10 WHERE id < 3": "6 rekey, 6 update",
            "UPDATE p SET id = 2 WHERE id = 12": "1 rekey, 1 update",
        },
        key=("id", "b"),
    ),
    "AFTER each row an UPDATE of it": Case(
        TABLE + after_each_row("UPDATE t SET a = a + 1 WHERE id = NEW.id AND a < 3"),
        {
            "INSERT INTO t VALUES (1, 0, 2), (2, 5, 5)": "2 insert, 3 update",
            "UPDATE t SET a = 2 WHERE id = 1": "2 update",
            "UPDATE t SET a = 1, id = id + 10": "6 update, 2 rekey",
        },
    ),
    "AFTER each row an UPDATE of it, in another time zone": Case(
        TABLE
        + after_each_row("UPDATE t SET a = a + 1 WHERE id = NEW.id AND a < 3")
        + "ALTER FUNCTION f() SET TimeZone = 'Asia/Tokyo'",
        {"INSERT INTO t VALUES (1, 0, 2), (2, 5, 5)": "2 insert, 3 update"},
    ),
    "nothing changed, and AFTER it a DELETE": Case(
        TABLE + after_each_row("DELETE FROM t WHERE id = NEW.id", "UPDATE"),
        {
            "INSERT INTO t VALUES (1, 0, 0)": "1 insert",
            "UPDATE t SET a = a": "1 update, 1 delete",
        },
    ),
    "AFTER each row a DELETE of it": Case(
        TABLE + after_each_row("DELETE FROM t WHERE id = NEW.id AND a > 7"),
        {
            "INSERT INTO t VALUES (1, 0, 2), (2, 5, 5), (3, 9, 9)": "3 insert, 1 delete",
            "UPDATE t SET a = 8 WHERE id = 1": "1 update, 1 delete",
            "INSERT INTO t VALUES (2) ON CONFLICT (id) DO UPDATE SET a = 10": "1 update, 1 delete",
        },
    ),
    "AFTER each row another key": Case(
        TABLE + after_each_row("UPDATE t SET id = id + 1 WHERE id = NEW.id AND id % 10 < 2"),
        {
            "INSERT INTO t VALUES (10), (21), (9)": "3 insert, 3 update, 3 rekey",
            "UPDATE t SET id = id - 2 WHERE id = 12": "3 update, 3 rekey",
        },
    ),
    "AFTER each DELETE the row again": Case(
        TABLE + after_each_row("INSERT INTO t VALUES (OLD.id, OLD.a + 1, OLD.b)", "DELETE"),
        {
            "INSERT INTO t VALUES (1, 2, 2), (2, 1, 5)": "2 insert",
            "DELETE FROM t WHERE id = 1": "1 delete, 1 insert",
            "DELETE FROM t": "2 delete, 2 insert",
        },
    ),
    "AFTER each row of a partition": Case(
        PARTITIONED
        + after_each_row(
            "EXECUTE format('UPDATE %I.%I SET a = a + 1 WHERE id = $1 AND a < 3', TG_TABLE_SCHEMA,"
            " TG_TABLE_NAME) USING NEW.id"
        ),
        {
            "INSERT INTO t VALUES (1, 0, 2), (12, 5, 5)": "2 insert, 3 update",
            "UPDATE t SET a = 1": "6 update",
            "UPDATE low SET a = 2 WHERE id = 1": "2 update",
            "UPDATE t SET id = id + 10, a = 0 WHERE id = 1": "1 rekey, 4 update",
        },
    ),
    "BEFORE each row the one in its place": Case(
        TABLE + "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM t"
        " WHERE id = NEW.id; RETURN NEW; END'; CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW"
        " EXECUTE FUNCTION f()",
        {
            "INSERT INTO t VALUES (1, 1, 1)": "1 insert",
            "INSERT INTO t VALUES (1, 2, 2), (1, 3, 3)": "2 insert, 2 delete",
        },
    ),
    "WITH": Case(
        LATE,
        {
            "INSERT INTO t VALUES (1, 0, 2), (2, 5, 5)": "2 insert",
            "WITH d AS (DELETE FROM t WHERE id = 1 RETURNING *)"
            " INSERT INTO t SELECT id, a + 1, b FROM d": "1 delete, 1 insert",
            "WITH d AS (DELETE FROM t WHERE id = 1)"
            " INSERT INTO t VALUES (1, 7, 7)": "1 delete, 1 insert",
            "WITH i AS (INSERT INTO t SELECT id + 10, a FROM t RETURNING id)"
            " DELETE FROM t WHERE id IN (SELECT id - 10 FROM i)": "2 insert, 2 delete",
            "WITH u AS (UPDATE t SET id = 2 WHERE id = 11)"
            " INSERT INTO t VALUES (11, 8, 8)": "1 rekey, 1 update, 1 insert",
            "WITH u AS (UPDATE t SET id = 11 WHERE id = 12)"
            " DELETE FROM t WHERE id = 11": "1 rekey, 1 update, 1 delete",
            "WITH d AS (DELETE FROM t WHERE id = 2)"
            " UPDATE t SET id = 2 WHERE id = 11": "1 rekey, 1 update, 1 delete",
        },
    ),
    "MERGE": Case(
        TABLE,
        {
            "INSERT INTO t VALUES (1, 0, 2), (2, 5, 5), (3, 3, 3)": "3 insert",
            "MERGE INTO t USING (VALUES (1), (9)) AS s (k) ON t.id = s.k WHEN MATCHED THEN DELETE"
            " WHEN NOT MATCHED THEN INSERT VALUES (1, 77, 77)": "1 delete, 1 insert",
            "MERGE INTO t USING (VALUES (2), (9)) AS s (k) ON t.id = s.k WHEN MATCHED THEN UPDATE"
            " SET id = 20 WHEN NOT MATCHED THEN INSERT VALUES (2)": "1 rekey, 1 update, 1 insert",
            "MERGE INTO t USING (VALUES (3), (2)) AS s (k) ON t.id = s.k WHEN MATCHED AND k = 3"
            " THEN DELETE WHEN MATCHED THEN UPDATE SET id = 3": "1 delete, 1 rekey, 1 update",
        },
        since=15,
    ),
    "DO": Case(
        TABLE,
        {
            "DO $$BEGIN INSERT INTO t VALUES (1, 1), (2, 2); DELETE FROM t WHERE id = 1;"
            " INSERT INTO t VALUES (1, 5); UPDATE t SET a = 6 WHERE id = 1;"
            " UPDATE t SET id = 7 WHERE id = 1; INSERT INTO t VALUES (1, 1);"
            " DELETE FROM t WHERE id = 7; END$$": "4 insert, 2 delete, 2 update, 1 rekey",
            "DO $$BEGIN UPDATE t SET id = 3 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2;"
            " UPDATE t SET id = 2 WHERE id = 3; UPDATE t SET id = id + 1 WHERE id = 2;"
            " DELETE FROM t WHERE id = 1; END$$": "4 rekey, 4 update, 1 delete",
        },
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_row_changed_in_several_ways(connection: Connection, case: Case) -> None:
    run_sql(connection, case.setup)
    laws.apply(connection, [CreateAuditTrail("t", "t_history")])
    columns = [Column(name, Integer, primary_key=name in case.key) for name in ("id", "a", "b")]
    table = Table("t", MetaData(), *columns, AuditTrail())
    known = (connection.dialect.server_version_info or ()) >= (case.since,)
    told = case.told if known else {}
    compared(connection, table, told, end=lambda: None)  # one transaction
    connection.rollback()
    compared(connection, table, told, end=connection.commit)


def compared(
    connection: Connection, table: Table, told: dict[str, str], end: Callable[[], None]
) -> None:
    """Look at the table after each statement; then ask its history for all of it.

    What `as_of` gives is the last row of each key until then.
    """
    looks: list[tuple[Any, Any]] = []
    before = Counter[str]()
    for statement, actions in told.items():
        connection.exec_driver_sql(statement)
        end()
        after = Counter(connection.scalars(text("SELECT audit_action FROM audit.t_history")))
        assert after - before == counted(actions), statement
        before = after
        rows = connection.execute(select(table)).all()
        looks.append((connection.scalar(text("SELECT clock_timestamp()")), rows))
    for moment, rows in looks:
        found = connection.execute(as_of(table, moment)).all()
        assert sorted(found, key=repr) == sorted(rows, key=repr)
    key = ", ".join(table.primary_key.columns.keys())
    assert not connection.execute(text(BACK.format(key=key))).all()


def counted(actions: str) -> Counter[str]:
    """As `2 insert, 1 update` says it."""
    return Counter({action: int(number) for number, action in map(str.split, actions.split(", "))})


NAMES = (
    ("Mixed Case", 'we"ird', 'i"d', "%1$s"),
    ("public", "back\\slash $$ %L", "n", "o"),
    ("Заказы", "ключ" * 7 + "ёё", "latest", "found"),  # 60 bytes
)


@pytest.mark.parametrize("names", NAMES, ids=[name for _, name, *_ in NAMES])
def test_names_that_hurt(connection: Connection, names: tuple[str, str, str, str]) -> None:
    """What reads the table is put together when the trigger is called."""
    schema, name, key, value = names
    table, row = Name(schema, name).text, [Name(None, column).text for column in (key, value)]
    run_sql(
        connection,
        f"CREATE SCHEMA IF NOT EXISTS {Name(None, schema).text}",
        f"CREATE TABLE {table} ({row[0]} int PRIMARY KEY DEFERRABLE, {row[1]} int)",
    )
    laws.apply(connection, [CreateAuditTrail(name, 'hi"story', schema=schema)])
    run_sql(
        connection,
        f"INSERT INTO {table} VALUES (1, 1)",
        f"WITH gone AS (DELETE FROM {table}) INSERT INTO {table} VALUES (1, 2)",
    )
    told = SQL('SELECT audit_action, {} FROM audit."hi""story" ORDER BY audit_id')
    found = sql.rows(connection, told.format(Identifier(value)))
    assert [*found] == [("insert", 1), ("delete", 1), ("insert", 2)]
