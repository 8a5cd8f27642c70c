"""What autogenerate writes for indexes of large tables, where env.py says `online_indexes`."""

import logging
import re
from pathlib import Path
from typing import Any

import laws
import pytest
import sqlalchemy
from alembic import command
from alembic.util import CommandError
from autogenerate import Script, events, generate, project, run, run_sql, upgrade
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)

from alembic_enterprise import AuditColumns
from alembic_enterprise.errors import OperationError
from alembic_enterprise.indexes import compare, sizes
from alembic_enterprise.sql import Name

ONLINE = {"online_indexes": 0}
"""Any table that has a page is large."""

ROWS = "INSERT INTO orders SELECT n, n, 'x' FROM generate_series(1, 9) AS n"


def models(*items: Any, name: str = "orders", schema: str | None = None) -> MetaData:
    """The table `orders (id, number, email)` with more items."""
    metadata = MetaData()
    key = Column("id", BigInteger, primary_key=True)
    columns = (key, Column("number", Integer), Column("email", Text))
    Table(name, metadata, *columns, *items, schema=schema)
    return metadata


def migrate(connection: Connection, metadata: MetaData, **options: Any) -> Script:
    """Generate a script, and see that it goes up, down, and up again, and leaves nothing to do."""
    before = laws.snapshot(connection)
    script = upgrade(connection, metadata, **ONLINE, **options)
    after = laws.snapshot(connection)
    assert generate(connection, metadata, **ONLINE, **options).calls == []
    run(connection, script.downgrade)
    assert laws.snapshot(connection) == before
    run(connection, script.upgrade)
    assert laws.snapshot(connection) == after
    return script


@pytest.fixture
def orders(connection: Connection) -> Connection:
    """A connection to a database where `orders` has rows, but no index of them."""
    upgrade(connection, models())
    run_sql(connection, ROWS)
    return connection


def test_an_index_of_a_large_table_is_built_online(orders: Connection) -> None:
    script = migrate(orders, models(Index("ix_orders_number", "number")))
    call = "_index_online('ix_orders_number', table='orders', columns=['number'])"
    assert f"op.create{call}" in script.upgrade
    assert f"op.drop{call}" in script.downgrade


def test_all_of_an_index_is_kept(orders: Connection) -> None:
    metadata = models(
        Index(
            "ix_orders_email",
            func.lower(text("email")),
            text("number DESC"),
            unique=True,
            postgresql_where=text("email <> ':x %s'"),
            postgresql_include=["id"],
            postgresql_with={"fillfactor": 70},
        ),
        Index("ix_orders_id", "id", postgresql_using="brin"),
        Index("ix_orders_like", "email", postgresql_ops={"email": "text_pattern_ops"}),
    )
    assert migrate(orders, metadata).calls == ["create_index_online"] * 3


def test_scripts_know_sqlalchemy_by_another_name(orders: Connection) -> None:
    metadata = models(Index("ix_orders_email", func.lower(text("email")), "number"))
    options = {"sqlalchemy_module_prefix": "sqlalchemy.", **ONLINE}
    script = generate(orders, metadata, **options)
    assert "columns=[sqlalchemy.text('lower(email)'), 'number']" in script.upgrade
    assert "columns=[sqlalchemy.text('lower(email)'), 'number']" in script.downgrade
    run(orders, script.upgrade, sqlalchemy=sqlalchemy)
    assert generate(orders, metadata, **options).calls == []


def test_an_index_that_goes_and_one_that_changes(orders: Connection) -> None:
    upgrade(orders, models(Index("ix_a", "number"), Index("ix_b", "email")))
    script = migrate(orders, models(Index("ix_b", "number", unique=True)))
    assert sorted(script.calls) == ["create_index_online", *["drop_index_online"] * 2]


def test_in_batches(orders: Connection) -> None:
    """An operation of ours inside of a batch would run before those that this collects."""
    metadata = models(Column("more", Text, index=True), Index("ix_orders_number", "number"))
    script = migrate(orders, metadata, render_as_batch=True)
    assert script.calls == ["create_index_online"] * 2


def test_through_alembics_own_commands(tmp_path: Path, engine: Engine) -> None:
    """What goes before an online operation in a script is committed first."""
    config = project(tmp_path, engine, models(), **ONLINE)
    command.revision(config, "first", autogenerate=True, rev_id="1")
    command.upgrade(config, "head")
    with engine.connect() as connection:
        run_sql(connection, ROWS)
    more = Column("more", Text, index=True)
    config.attributes["metadata"] = models(more, AuditColumns(), Index("ix", "created_at"))
    command.revision(config, "second", autogenerate=True, rev_id="2")
    command.upgrade(config, "head")
    command.check(config)
    [script] = (tmp_path / "versions").glob("2_*.py")
    assert re.findall(r"op\.(\w+)\(", script.read_text()) == [
        "add_column",
        "add_audit_columns",
        *["create_index_online", "create_index_online"],
        *["drop_index_online", "drop_index_online"],
        "drop_audit_columns",
        "drop_column",
    ]
    command.downgrade(config, "1")
    command.upgrade(config, "head")
    command.check(config)


def test_a_script_that_cannot_be_run_again_is_warned_of(
    orders: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """The operations before an online one stay when that is stopped, and have no stamp."""
    generate(orders, models(Index("ix_a", "number"), Index("ix_b", "email")), **ONLINE)
    assert [item for item in caplog.records if item.levelno == logging.WARNING] == []
    more = Column("more", Text, index=True)
    generate(orders, models(more, Index("ix_a", "number")), **ONLINE)
    [warning] = [item for item in caplog.records if item.levelno == logging.WARNING]
    assert warning.getMessage() == (
        "ix_a, ix_orders_more: built or dropped online, which commits the operations before it. If "
        "it is stopped, the script cannot be run again from its beginning: move the operations on "
        "these indexes into a revision of their own"
    )


@pytest.mark.parametrize("options", [{}, {"online_indexes": False}, {"online_indexes": True}])
def test_other_tables_are_left_alone(orders: Connection, options: dict[str, Any]) -> None:
    metadata = models(Index("ix_orders_number", "number"))
    assert generate(orders, metadata, **options).calls == ["create_index"]


def test_tables_that_come_and_go_are_left_alone(orders: Connection) -> None:
    upgrade(orders, models(Index("ix_orders_number", "number")))
    metadata = models(Index("ix_new_number", "number"), name="new")
    script = generate(orders, metadata, **ONLINE)
    assert script.calls == ["create_table", "create_index", "drop_index", "drop_table"]


def test_a_partitioned_table_is_as_large_as_its_partitions(connection: Connection) -> None:
    before, after = MetaData(), MetaData()
    columns = [Column("n", Integer)]
    events(before, "events", *columns, start="2026-01-01")
    run_sql(connection, "SET alembic_enterprise.now = '2026-01-15 12:00+00'")
    upgrade(connection, before)
    events(after, "events", Column("n", Integer, index=True), start="2026-01-01")
    assert generate(connection, after, **ONLINE).calls == ["create_index"]
    run_sql(connection, "INSERT INTO events VALUES (1, '2026-01-15', 1)")
    assert migrate(connection, after).calls == ["create_index_online"]


@pytest.mark.parametrize(
    ("schema", "name"), [("sales", "orders"), ('Mixed "Schema', 'we"ird'), ("sales", "o" * 63)]
)
def test_tables_of_any_name(connection: Connection, schema: str, name: str) -> None:
    quoted = ['"' + part.replace('"', '""') + '"' for part in (schema, name)]
    run_sql(connection, f"CREATE SCHEMA {quoted[0]}")
    options = {"include_schemas": True}
    upgrade(connection, models(name=name, schema=schema), **options)
    run_sql(connection, ROWS.replace("orders", ".".join(quoted)))
    metadata = models(Index("ix %s", "number"), name=name, schema=schema)
    assert migrate(connection, metadata, **options).calls == ["create_index_online"]


def test_sizes(orders: Connection) -> None:
    names = [Name(None, "orders"), Name("public", "orders"), Name(None, "missing")]
    assert sizes.larger(orders, names, 0) == {Name(None, "orders"), Name("public", "orders")}
    assert sizes.larger(orders, names, 2**40) == set()
    assert sizes.larger(orders, [], 0) == set()


def test_the_argument_of_configure(orders: Connection) -> None:
    assert compare.threshold(True) == 100 * 2**20  # as in env.py
    assert compare.threshold(12) == 12
    assert compare.threshold(None) is None
    for wrong in ("100 MB", -1, 1.5):
        with pytest.raises(OperationError, match="write True, or the bytes"):
            compare.threshold(wrong)
    with pytest.raises(CommandError, match="online_indexes='yes' is not a size"):
        generate(orders, models(), online_indexes="yes")
