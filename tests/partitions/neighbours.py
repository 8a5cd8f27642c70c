"""The stories of test_neighbours, each in a process of its own: plugins register for all of it.

As a program it reads lines of JSON, each with the name of a story, the URL of a database and a
folder, and answers each with the exit code of the story; what it writes goes to standard error.
"""

import enum
import json
import os
import sys
from pathlib import Path
from typing import Any

import alembic_postgresql_enum  # noqa: F401  # importing it registers its comparison
from alembic import command
from alembic.autogenerate.rewriter import Rewriter
from alembic.operations.ops import AddColumnOp
from alembic.script import Script
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_grant_table import PGGrantTable, PGGrantTableChoice
from alembic_utils.pg_trigger import PGTrigger
from alembic_utils.pg_view import PGView
from alembic_utils.replaceable_entity import register_entities
from audited import audited
from autogenerate import events, generate, partitions, project, run_sql, upgrade
from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    Engine,
    Enum,
    Integer,
    MetaData,
    NullPool,
    create_engine,
)

from alembic_enterprise import AuditColumns
from alembic_enterprise.partitions.operations import CreateRangePartitions

OPTIONS = {"include_schemas": False}
"""alembic-utils reads this option without asking whether it is set."""

FUNCTION = PGFunction(
    "public", "twice()", "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$"
)


class Kind(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class More(enum.Enum):
    GOOD = "good"
    BAD = "bad"
    BEST = "best"


def models(kind: type[enum.Enum], *items: Any, name: str = "events") -> MetaData:
    metadata = MetaData()
    events(metadata, name, Column("kind", Enum(kind, name="kind")), *items)
    return metadata


def trigger(table: str) -> PGTrigger:
    return PGTrigger(
        "public",
        "twice",
        f"BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION public.twice()",
        on_entity=table,
    )


def one_script(engine: Engine, connection: Connection, folder: Path) -> None:
    """Entities, enums, a Rewriter and partitions in one script."""
    writer = Rewriter()

    @writer.rewrites(CreateRangePartitions)
    def further(_context: Any, _revision: Any, operation: CreateRangePartitions) -> Any:
        if operation.ahead is not None:
            operation.ahead = 5
        return operation

    @writer.rewrites(AddColumnOp)
    def commented(_context: Any, _revision: Any, operation: AddColumnOp) -> Any:
        operation.column.comment = "rewritten"
        return operation

    metadata = models(Kind)
    config = project(folder, engine, metadata, process_revision_directives=writer, **OPTIONS)
    command.revision(config, "first", autogenerate=True, rev_id="1")
    command.upgrade(config, "head")
    assert len(partitions(connection, "events")) == 6, "the Rewriter's word counts"
    command.check(config)

    register_entities([FUNCTION, trigger("public.events"), PGView("public", "v", "SELECT 1 AS n")])
    config.attributes["metadata"] = models(More, Column("n", Integer), name="events")
    run_sql(connection, f"DROP TABLE {list(partitions(connection, 'events'))[1]}")
    command.revision(config, "second", autogenerate=True, rev_id="2")
    text = (folder / "versions" / "2_second.py").read_text()
    for call in ("create_entity", "add_enum_value", "add_column", "create_range_partitions"):
        assert f"op.{call}(" in text, text
    assert "rewritten" in text
    connection.rollback()
    command.upgrade(config, "head")
    command.check(config)
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    command.check(config)


def triggers_and_grants(_engine: Engine, connection: Connection, _folder: Path) -> None:
    """A cloned trigger cannot be dropped; a grant copied from the table must not be."""
    metadata = models(Kind, name="MixedCase")
    upgrade(connection, metadata, **OPTIONS)
    partition = next(iter(partitions(connection, '"MixedCase"')))
    run_sql(
        connection,
        f"CREATE FUNCTION twice() {FUNCTION.definition}",
        'CREATE TRIGGER twice BEFORE INSERT ON "MixedCase"'
        " FOR EACH ROW EXECUTE FUNCTION public.twice()",
        f'GRANT SELECT ON "MixedCase", {partition} TO pg_monitor',
    )
    select = PGGrantTableChoice.SELECT
    grant = PGGrantTable("public", "MixedCase", "pg_monitor", select, columns=["at", "id", "kind"])
    register_entities([FUNCTION, grant])
    script = generate(connection, metadata, **OPTIONS)
    assert script.calls == ["drop_entity"], script.upgrade
    assert "twice" in script.upgrade, "the table's own trigger, which nobody registered"
    assert "_y20" not in script.upgrade


def trails(_engine: Engine, connection: Connection, _folder: Path) -> None:
    """Nothing of an audit trail is dropped, in whatever schema; what is beside it is."""
    options = {"include_schemas": True}
    metadata = audited(AuditColumns(), trail={"readers": ["pg_monitor"]})
    upgrade(connection, metadata, **options)
    run_sql(connection, f"CREATE FUNCTION twice() {FUNCTION.definition}")
    register_entities([FUNCTION])
    assert generate(connection, metadata, **options).calls == []
    run_sql(
        connection,
        f"CREATE FUNCTION audit.mine() {FUNCTION.definition}",
        "CREATE VIEW audit.seen AS SELECT 1 AS n",
        "CREATE TRIGGER twice BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION twice()",
        "GRANT SELECT ON orders TO pg_monitor",
    )
    script = generate(connection, metadata, **options)
    assert script.calls == ["drop_entity"] * 4, script.upgrade
    for name in ("mine", "seen", "twice", "pg_monitor"):
        assert name in script.upgrade


def enums(engine: Engine, connection: Connection, folder: Path) -> None:
    """A history has the types of its table: they change for both, and stay while one has them."""

    def models(*values: str) -> MetaData:
        status = Enum(*values, name="Status")
        columns: Any = (
            Column("status", status),
            Column("each", ARRAY(status)),
            Column("n", Integer),
        )
        return audited(*columns)

    def migrate(metadata: MetaData) -> str:
        config.attributes["metadata"] = metadata
        script = command.revision(config, autogenerate=True)
        command.upgrade(config, "head")
        command.downgrade(config, "-1")
        command.upgrade(config, "head")
        command.check(config)
        assert isinstance(script, Script)
        return Path(script.path).read_text()

    config = project(folder, engine, models("a", "b", "c"), **OPTIONS)
    command.revision(config, autogenerate=True)
    command.upgrade(config, "head")
    run_sql(connection, "INSERT INTO orders (id, status, each) VALUES (1, 'a', '{b}')")
    for text in (migrate(models("a", "b")), migrate(models("a", "b", "d"))):
        assert "table_schema='audit', table_name='orders_history', column_name='status'" in text
    text = migrate(audited(Column("n", Integer)))
    assert "drop_column" in text
    assert "get_bind" not in text
    run_sql(connection, "UPDATE orders SET n = 1")


STORIES = {story.__name__: story for story in (one_script, triggers_and_grants, trails, enums)}


def tell(story: str, url: str, folder: str) -> None:
    """Tell one story, which raises when it goes wrong."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        STORIES[story](engine, connection, Path(folder))


def main() -> None:
    """Tell the story of each line in a fork of this process, which has imported all it needs."""
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            os.dup2(2, 1)
            tell(*json.loads(line))
            return
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
