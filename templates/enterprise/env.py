"""Connects to PostgreSQL and runs the migrations; every alembic command executes this file."""

from logging.config import fileConfig
from typing import Any

from alembic import context
from sqlalchemy import Connection, MetaData, bindparam, engine_from_config, pool, text

import alembic_enterprise.plugin  # noqa: F401  # adds partitions to autogenerate and to `op`

# What autogenerate compares the database with. Import your models and give their metadata here:
# "from shop.models import Base", then "target_metadata = Base.metadata".
target_metadata: MetaData | None = None

OPTIONS: dict[str, Any] = {
    "target_metadata": target_metadata,
    "autogenerate_plugins": ["alembic.autogenerate.*", "alembic_enterprise.*"],
    # Locks are held for one migration, not for all of them.
    "transaction_per_migration": True,
}

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)


def run_migrations() -> None:
    """Run the migrations under lock_timeout of alembic.ini, or write them out with `--sql`."""
    timeout = config.get_main_option("lock_timeout", "5s")
    statement = text("SET lock_timeout = :timeout").bindparams(
        bindparam("timeout", timeout, literal_execute=True)
    )
    with context.begin_transaction():
        context.execute(statement)
        context.run_migrations()


def run_online(connection: Connection) -> None:
    """Migrate a database.

    Run nothing on the connection before this: it would begin a transaction that Alembic leaves
    open, and operations that must run outside of one (CONCURRENTLY) would fail.
    """
    context.configure(connection=connection, **OPTIONS)
    run_migrations()


def run_offline() -> None:
    """Write the migrations out as SQL, without a database."""
    url = config.get_main_option("sqlalchemy.url")
    # Another paramstyle would double every % in the script.
    dialect = {"paramstyle": "named"}
    context.configure(url=url, literal_binds=True, dialect_opts=dialect, **OPTIONS)
    run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    section = config.get_section(config.config_ini_section, {})
    engine = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
    with engine.connect() as opened:
        run_online(opened)
