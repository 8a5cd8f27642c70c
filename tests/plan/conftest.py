"""Plans of revisions to come, and who looks on while they are applied."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from autogenerate import write_revision
from saving import saved_plan, scripts, shop
from sqlalchemy import Connection, Engine, NullPool, create_engine

from alembic_enterprise.plan.saved.document import Saved
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.schema.objects import Objects

Plan = Callable[..., tuple[Config, Saved]]


@pytest.fixture(scope="module")
def begun(
    shared_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Objects]:
    """The name of a database with the first revision, which tests copy, and its objects."""
    engine = create_engine(shared_database(), poolclass=NullPool)
    shop(tmp_path_factory.mktemp("begun") / "migrations", engine)
    with engine.connect() as connection:
        return str(engine.url.database), drift.objects_of(connection)


@pytest.fixture
def plan(tmp_path: Path, engine: Engine, begun: tuple[str, Objects]) -> Plan:
    """A function that makes a project with revisions to come, and saves the plan of them.

    Its database is a copy of `begun`, with timeouts, so that a run that waits for ever fails.
    """
    with engine.begin() as connection:
        for setting in ("statement_timeout = '60s'", "lock_timeout = '50s'"):
            connection.exec_driver_sql(f"ALTER DATABASE {engine.url.database} SET {setting}")

    def plan(*bodies: str, **options: Any) -> tuple[Config, Saved]:
        config = scripts(tmp_path / "migrations", engine, bodies[0], **options)
        for number, body in enumerate(bodies[1:], 3):
            write_revision(tmp_path / "migrations", f"000{number}", f"000{number - 1}", body)
        return config, saved_plan(config, engine, objects=begun[1])

    return plan


@pytest.fixture
def observer(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
