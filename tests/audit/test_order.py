"""What one statement does to a row in several ways is recorded in the order it was done."""

import laws
import pytest
from autogenerate import run_sql
from sqlalchemy import Connection, text

from alembic_enterprise.audit.operations import CreateAuditTrail

PARENTS = "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1), (2), (3);"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, a int, b int);"
CASES = {
    "CASCADE and SET NULL": (
        PARENTS + TABLE + "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p ON DELETE CASCADE;"
        "ALTER TABLE t ADD FOREIGN KEY (b) REFERENCES p ON DELETE SET NULL;",
        ["INSERT INTO t VALUES (1, 1, 2), (2, 2, 1), (3, 3, 3)", "DELETE FROM p WHERE id < 3"],
    ),
    "an AFTER trigger": (
        TABLE + "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN UPDATE t SET a = a + 1 WHERE id = NEW.id AND a < 3; RETURN NULL; END';"
        "CREATE TRIGGER f AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        ["INSERT INTO t VALUES (1, 0), (2, 5)", "UPDATE t SET a = 2 WHERE id = 1"],
    ),
    "two keys": (
        (
            "CREATE TABLE p (id int PRIMARY KEY, other int UNIQUE); INSERT INTO p VALUES (1, 1);"
            "CREATE TABLE t (id int REFERENCES p ON UPDATE CASCADE, a int, b int"
            " REFERENCES p (other) ON UPDATE CASCADE, PRIMARY KEY (id, b))"
        ),
        ["INSERT INTO t VALUES (1, 5, 1)", "UPDATE p SET id = 2, other = 2"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_last_row_is_what_the_table_has(connection: Connection, case: str) -> None:
    setup, statements = CASES[case]
    run_sql(connection, setup)
    laws.apply(connection, [CreateAuditTrail("t", "t_history")])
    key = "id, b" if case == "two keys" else "id"
    told = (
        f"SELECT id, a, b FROM (SELECT DISTINCT ON ({key}) * FROM audit.t_history"
        f" ORDER BY {key}, audit_id DESC) AS latest"
        " WHERE audit_action NOT IN ('delete', 'rekey') ORDER BY 1"
    )
    for statement in statements:
        run_sql(connection, statement)
        there = connection.execute(text("SELECT id, a, b FROM t ORDER BY 1")).all()
        assert connection.execute(text(told)).all() == there
