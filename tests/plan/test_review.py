"""A review reads the live database, and lets go of it before the shadow is made."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from autogenerate import project, write_revision
from psycopg.sql import SQL
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, Text

from alembic_enterprise import sql
from alembic_enterprise.plan.accepted import Accepted
from alembic_enterprise.plan.review import review
from alembic_enterprise.plan.seen import Request

ADDED = "ALTER TABLE orders ADD COLUMN state text"

CONNECTS = 'with attributes["engine"].connect() as connection:'
WAYS = {
    "connect": CONNECTS,
    "begin": CONNECTS.replace("connect()", "begin()"),
    "open": 'connection = attributes["kept"] = attributes["engine"].connect()\n    if True:',
}
"""How an env.py connects; the last one leaves the connection open."""

_SESSIONS = SQL("""
SELECT state FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'active'""")


def orders(folder: Path, engine: Engine, text: str, other: str) -> Config:
    """A project whose database lacks its second revision, and another text in its env.py."""
    models = MetaData()
    Table("orders", models, Column("id", Integer, primary_key=True), Column("state", Text))
    config = project(folder, engine, models)
    script = folder / "env.py"
    script.write_text(script.read_text().replace(text, other))
    write_revision(folder, "0001", None, 'op.execute("CREATE TABLE orders (id int PRIMARY KEY)")')
    command.upgrade(config, "head")
    write_revision(folder, "0002", "0001", f"op.execute({ADDED!r})")
    return config


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("saves", [False, True])
def test_no_transaction_on_the_live_database_is_kept(
    engine: Engine,
    observer: Connection,
    tmp_path: Path,
    way: str,
    *,
    saves: bool,
) -> None:
    """Whoever alters a table meanwhile would wait for its end, and all others behind them."""
    config = orders(tmp_path / "migrations", engine, CONNECTS, WAYS[way])
    seen: list[set[str]] = []

    def note(_words: str) -> None:
        seen.append({state for (state,) in sql.rows(observer, _SESSIONS)})

    request = Request(datetime.now(UTC), Accepted(), saves=saves, proves=False)
    found = review(config, request, note)
    assert found.plan.steps[0].statement == ADDED
    if way == "open":
        config.attributes["kept"].close()
    # A session may need a moment to end.
    assert len(seen) >= 4
    assert set().union(*seen) <= {"idle"}
