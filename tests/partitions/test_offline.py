"""What `alembic upgrade --sql` writes is what an online upgrade executes."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import laws
from alembic import command
from autogenerate import events, partitions, project, run_sql, write_revision
from sqlalchemy import Column, Date, Engine, Integer, MetaData, NullPool, create_engine, event

BY_HAND = """
op.execute("CREATE TABLE history (id bigint NOT NULL, at timestamptz NOT NULL, n integer)")
op.attach_partition(
    'we"ird % :x', 'history', start='2020-01-01', stop='2021-01-01', timezone='Asia/Tokyo'
)
op.detach_partition('we"ird % :x', 'history')
op.drop_range_partitions(
    'we"ird % :x', every='month', start='2026-01-01', stop='2026-03-01', drop_rows=True
)
op.set_partition_policy('Mixed $block$', every='week', retain=8, schema='odd \\\\ schema')
"""
"""The operations that autogenerate does not write, on tables with names that hurt."""


class Statements(StringIO):
    """Keeps what is written to it, one statement a piece."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text.strip())
        return len(text)


def models() -> MetaData:
    metadata = MetaData()
    events(metadata, 'we"ird % :x', Column("n", Integer, index=True), start="2026-01-01")
    events(
        metadata,
        "Mixed $block$",
        key=Date(),
        schema="odd \\ schema",
        every="week",
        default=True,
        timezone="America/Havana",
    )
    return metadata


def test_offline_scripts_are_what_an_upgrade_executes(
    tmp_path: Path, engine: Engine, other_database: Callable[[], str]
) -> None:
    offline_engine = create_engine(other_database(), poolclass=NullPool)
    for target in (engine, offline_engine):
        with target.connect() as connection:
            run_sql(connection, 'CREATE SCHEMA "odd \\ schema"')
    config = project(tmp_path, engine, models(), include_schemas=True)
    command.revision(config, "generated", autogenerate=True, rev_id="1")
    write_revision(tmp_path, "2", "1", BY_HAND)

    config.output_buffer = Statements()
    command.upgrade(config, "head", sql=True)
    offline = [text.removesuffix(";") for text in config.output_buffer.written if text]
    online = recorded(engine, lambda: command.upgrade(config, "head"))

    assert list(filter(is_change, offline)) == list(filter(is_change, online))
    assert "SET lock_timeout" not in " ".join(online)
    connection = offline_engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    with connection, engine.connect() as other:
        for statement in filter(is_change, offline):
            run_sql(connection, statement)
        assert laws.snapshot(connection) == laws.snapshot(other)
    offline_engine.dispose()


def test_what_only_the_server_knows_of_a_detach_is_run_by_psql(
    tmp_path: Path, engine: Engine, psql: Callable[[str, str], None]
) -> None:
    with engine.connect() as connection:
        run_sql(
            connection,
            'CREATE TABLE "we""ird % :x" (at date NOT NULL) PARTITION BY RANGE (at)',
            'CREATE TABLE "o\'ld" PARTITION OF "we""ird % :x"'
            " FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        )
        config = project(tmp_path, engine, MetaData())
        detach = """op.detach_partition('we"ird % :x', "o'ld", concurrently=True)"""
        write_revision(tmp_path, "1", None, detach)
        config.output_buffer = StringIO()
        command.upgrade(config, "head", sql=True)
        psql(engine.url.render_as_string(hide_password=False), config.output_buffer.getvalue())
        assert partitions(connection, '"we""ird % :x"') == {}


def is_change(statement: str) -> bool:
    """Whether a statement does something: no comment, no query, and no end of a transaction."""
    reads = ("--", "SELECT pg_catalog", "SELECT alembic", "select pg_catalog", "SHOW")
    return not statement.startswith((*reads, "show", "BEGIN", "COMMIT"))


def recorded(engine: Engine, act: Callable[[], Any]) -> list[str]:
    """The statements that reach the driver meanwhile, SQLAlchemy's with plain `%` and spaces."""
    statements: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement.strip().replace("\t", "    ").replace("%%", "%"))

    event.listen(engine, "before_cursor_execute", record)
    act()
    event.remove(engine, "before_cursor_execute", record)
    return statements
