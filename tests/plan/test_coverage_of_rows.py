"""What an empty shadow cannot tell of a step is said; no server is needed."""

from dataclasses import replace

import pytest
from planned import effect

from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.model import Basis, Step
from alembic_enterprise.plan.review import unread

SCANNED = replace(effect("public.orders", LockMode.ACCESS_EXCLUSIVE), scanned=True)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("ALTER TABLE orders ADD EXCLUDE USING gist (held WITH &&)", "pass step 1"),
        ("ALTER TABLE orders ALTER COLUMN note TYPE varchar(3)", "pass step 1"),
        ("ALTER TABLE orders ADD CHECK (id > 0)", "pass step 1"),
        ("CREATE TABLE lines (id int);\nUPDATE orders SET id = ...", "what step 1 does"),
        ("CREATE TABLE shares AS SELECT ... / id FROM orders", "what step 1 does"),
        ("CREATE MATERIALIZED VIEW shares AS SELECT ... / id FROM orders", "what step 1 does"),
        ("REFRESH MATERIALIZED VIEW shares", "what step 1 does"),
        ("CREATE INDEX ON orders (id)", None),
        ("CREATE VIEW shares AS SELECT id FROM orders", None),
        ("CREATE TABLE lines (id int, as_of date)", None),
    ],
)
def test_what_depends_on_rows_is_told(statement: str, sentence: str | None) -> None:
    told = [*unread([Step(1, statement, 1, basis=Basis.MEASURED, effects=(SCANNED,))])]
    assert len(told) == (sentence is not None)
    assert all(str(sentence) in text for text in told)
