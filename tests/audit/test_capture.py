"""Every change is captured, once: random statements against row triggers, and replay."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import laws
import psycopg
import pytest
from autogenerate import run_sql
from random_changes import COLUMNS, SETUPS, Generator, Step
from sqlalchemy import Connection, make_url

from alembic_enterprise.audit.operations import CreateAuditTrail

STATEMENTS = 230
"""How many random statements each kind of table is given: 1,610 on each server."""

Key = tuple[int, int]


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    url = make_url(database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as session:
        yield session


@pytest.mark.parametrize("kind", SETUPS)
def test_random_statements_are_captured_and_replayed(
    connection: Connection, session: psycopg.Connection, kind: str
) -> None:
    run_sql(connection, SETUPS[kind])
    laws.apply(connection, [CreateAuditTrail("t", "t_history", baseline=False)])
    batches: list[Step] = []
    replay = Replay(session)
    merges = session.info.server_version >= 150000
    for unit in Generator(kind, 1, merges=merges).units(STATEMENTS):
        run(session, unit, batches)
        replay.go_on()
        assert replay.rows == contents(session), unit
    assert captured(session) == expected(session, batches)
    assert sum(captured(session).values()) > STATEMENTS


@pytest.mark.parametrize(
    "change",
    [
        "id = 21 WHERE id = 1",
        "id = id + 20 WHERE id < 3",
        "id = id + 20",
        "id = CASE id WHEN 2 THEN 21 ELSE id END WHERE id < 3",
    ],
)
def test_rows_that_another_partition_refuses(
    connection: Connection, session: psycopg.Connection, change: str
) -> None:
    """An UPDATE may have fewer rows after it than before: none, one, several."""
    run_sql(
        connection,
        SETUPS["partitioned"] + "DROP TRIGGER meddle ON t; DROP TRIGGER tell ON t;",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "INSERT INTO t (tenant, id) VALUES (1, 1), (1, 2), (1, 3)",
        "CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 21)"
        " EXECUTE FUNCTION refuse()",
    )
    laws.apply(connection, [CreateAuditTrail("t", "t_history")])
    replay = Replay(session)
    session.execute(f"UPDATE t SET {change}".encode())
    replay.go_on()
    assert replay.rows == contents(session)
    assert len(replay.rows) == 2


def run(session: psycopg.Connection, unit: Iterable[Step], batches: list[Step]) -> None:
    """Run statements, each as the batch of its number; nothing is left of them when one fails."""
    try:
        for step in unit:
            context = f'{{"batch": {len(batches)}}}'
            batches.append(step)
            session.execute("SELECT set_config('alembic_enterprise.context', %s, false)", [context])
            if step.rows is None:
                session.execute(step.text.encode())
                continue
            with session.cursor() as cursor, cursor.copy(step.text.encode()) as copy:
                copy.write(step.rows)
    except psycopg.Error:
        session.execute("ROLLBACK")


def contents(session: psycopg.Connection) -> dict[Key, str]:
    """The rows of the table, by key."""
    rows = session.execute("SELECT tenant, id, t::text FROM t")
    return {(tenant, number): row for tenant, number, row in rows}


HISTORY = (
    "SELECT audit_id, coalesce(audit_context -> 'context', audit_context) ->> 'batch',"
    f" audit_action, tenant, id, ROW({COLUMNS})::text, audit_context"
    " FROM audit.t_history"
)


def captured(session: psycopg.Connection) -> Counter[Any]:
    """What the history holds of each batch, as (batch, action, row)."""
    rows = session.execute(f"{HISTORY} WHERE audit_action <> 'truncate'".encode())
    return Counter((int(batch), action, row) for _, batch, action, _, _, row, _ in rows)


def expected(session: psycopg.Connection, batches: list[Step]) -> Counter[Any]:
    """What the row triggers say that it must hold."""
    found: Counter[Any] = Counter()
    changes: dict[int, list[Any]] = {}
    for batch, *change in session.execute("TABLE oracle"):
        changes.setdefault(int(batch), []).append(change)
    for batch, told in changes.items():
        updates = told
        if not batches[batch].moves:
            updates = [change for change in told if None not in change[:2]]
            others = [change for change in told if None in change[:2]]
            found.update(
                (batch, "delete", old) if old else (batch, "insert", new) for old, new, *_ in others
            )
        keys = [new_key for _, _, _, new_key in updates]
        found.update((batch, "update", new) for _, new, _, _ in updates if new)
        found.update((batch, "rekey", old) for old, _, key, _ in updates if old and key not in keys)
    return found


class Replay:
    """The table as its history tells it, in order."""

    def __init__(self, session: psycopg.Connection) -> None:
        """Begin with no row."""
        self.session = session
        self.last = 0
        self.rows: dict[Key, str] = {}

    def go_on(self) -> None:
        """Follow what is new."""
        query = f"{HISTORY} WHERE audit_id > {self.last} ORDER BY audit_id".encode()
        for number, _, action, tenant, key, row, context in self.session.execute(query):
            self.last = number
            if action == "truncate":
                self.rows = {
                    one: self.rows[one] for one in self.rows if not self.held(one, context)
                }
            elif action in ("delete", "rekey"):
                del self.rows[tenant, key]
            else:
                self.rows[tenant, key] = row

    def held(self, key: Key, bounds: dict[str, Any]) -> bool:
        """Whether a row belongs to a partition with such bounds."""
        if key[1] < int(bounds.get("from") or 0) or key[1] >= int(bounds.get("to") or 1000):
            return False
        if "modulus" not in bounds:
            return True
        query = "SELECT satisfies_hash_partition('t_high'::regclass, %s::int, %s::int, %s::int)"
        arguments = [bounds["modulus"], bounds["remainder"], key[0]]
        return self.session.execute(query, arguments).fetchone() == (True,)
