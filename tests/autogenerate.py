"""Autogenerate, upgrade and downgrade inside a test, through Alembic's own objects.

script = upgrade(connection, metadata)      # compare, render, run the rendered text
assert script.calls == ["create_table", "create_range_partitions", "set_partition_policy"]
assert generate(connection, metadata).calls == []
"""

import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import alembic
import sqlalchemy
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrationScript
from psycopg.sql import SQL, Literal
from sqlalchemy import BigInteger, Column, Connection, DateTime, Engine, MetaData, Table
from sqlalchemy.dialects import postgresql

import alembic_enterprise.plugin  # noqa: F401  # registers the operations
from alembic_enterprise import RangePartitions, sql
from alembic_enterprise.partitions.periods import Every

PLUGINS = ["alembic.autogenerate.*", "alembic_enterprise.*"]
"""What env.py lists in `autogenerate_plugins`."""

ENVIRONMENT = """
from alembic import context
from sqlalchemy import NullPool, create_engine

import alembic_enterprise.plugin

attributes = context.config.attributes
options = dict(
    target_metadata=attributes["metadata"],
    autogenerate_plugins=["alembic.autogenerate.*", "alembic_enterprise.*"],
    transaction_per_migration=True,
    dialect_opts={"paramstyle": "named"},
    **attributes["options"],
)
if context.is_offline_mode():
    context.configure(url=attributes["engine"].url, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    with attributes["engine"].connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
"""
"""The env.py of `project`: engine and models come in through `Config.attributes`."""


@dataclass(frozen=True)
class Script:
    """A migration script as autogenerate writes it."""

    upgrade: str
    downgrade: str

    @property
    def calls(self) -> list[str]:
        """Names of the operations of the upgrade, in order."""
        return re.findall(r"^op\.(\w+)\(", self.upgrade, re.MULTILINE)


def events(
    metadata: MetaData,
    name: str = "events",
    *items: Any,
    key: Any = DateTime(timezone=True),  # noqa: B008  # a type is a constant
    schema: str | None = None,
    every: Every = "month",
    **policy: Any,
) -> Table:
    """A table that is partitioned by month, or as `policy` says."""
    return Table(
        name,
        metadata,
        Column("id", BigInteger, primary_key=True),
        Column("at", key, primary_key=True),
        *items,
        RangePartitions("at", every=every, **policy),
        schema=schema,
    )


def generate(connection: Connection, metadata: MetaData, **options: Any) -> Script:
    """The script that `alembic revision --autogenerate` would write; `options` as in env.py."""
    context = _context(connection, metadata, options)
    directives = produce_migrations(context, metadata)
    connection.rollback()
    return Script(*(_text(directives, name, context) for name in ("upgrade", "downgrade")))


def run(connection: Connection, text: str, **imports: Any) -> None:
    """Run the body of a script the way `alembic upgrade` does, in one transaction."""
    context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
    names = {"op": Operations(context), "sa": sqlalchemy, "postgresql": postgresql, **imports}
    with context.begin_transaction():
        exec(text, names)  # noqa: S102  # what Alembic does with a migration script
    connection.commit()


def upgrade(connection: Connection, metadata: MetaData, **options: Any) -> Script:
    """Generate the script and run its upgrade."""
    script = generate(connection, metadata, **options)
    run(connection, script.upgrade)
    return script


def pretend(connection: Connection, moment: str) -> None:
    """Let the session believe that it is `moment`, in ISO 8601."""
    sql.execute(connection, SQL("SET alembic_enterprise.now = {}").format(Literal(moment)))
    connection.commit()


def run_sql(connection: Connection, *statements: str) -> None:
    """Run statements as they are written, and commit."""
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    connection.commit()


def partitions(connection: Connection, table: str) -> dict[str, str]:
    """Partitions of a table, by name, with their bounds in ISO form and UTC; first ones first."""
    query = SQL(
        "SELECT c.oid::regclass::text, pg_get_expr(c.relpartbound, 0) FROM pg_inherits AS i"
        " JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = {}::regclass ORDER BY 2, 1"
    )
    with sql.canonical_output(connection):
        found = sql.rows(connection, query.format(Literal(table)))
    return {name: bound.removeprefix("FOR VALUES ") for name, bound in found}


def project(folder: Path, engine: Engine, metadata: MetaData, **options: Any) -> Config:
    """An Alembic project in `folder`, for `alembic.command`; `options` as in env.py."""
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    template = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"
    (folder / "script.py.mako").write_text(template.read_text())
    attributes = {"engine": engine, "metadata": metadata, "options": options}
    config = Config(output_buffer=StringIO(), stdout=StringIO(), attributes=attributes)
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    return config


def write_revision(folder: Path, revision: str, before: str | None, body: str) -> None:
    """A migration script by hand, whose upgrade is `body`."""
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    (folder / "versions" / f"{revision}.py").write_text(
        "from alembic import op\n"
        f"revision = {revision!r}\ndown_revision = {before!r}\n"
        f"def upgrade():\n{indented}\n"
        "def downgrade():\n    pass\n"
    )


def _context(
    connection: Connection, metadata: MetaData, options: dict[str, Any]
) -> MigrationContext:
    chosen = {"target_metadata": metadata, "autogenerate_plugins": PLUGINS, **options}
    return MigrationContext.configure(connection, opts=chosen)


def _text(directives: MigrationScript, name: str, context: MigrationContext) -> str:
    container = directives.upgrade_ops if name == "upgrade" else directives.downgrade_ops
    if container is None:
        return ""
    options = {
        "render_as_batch": context.opts.get("render_as_batch", False),
        "sqlalchemy_module_prefix": context.opts.get("sqlalchemy_module_prefix", "sa."),
    }
    code = render_python_code(container, migration_context=context, **options)
    lines = code.splitlines()
    return "\n".join(line.removeprefix("    ") for line in lines)
