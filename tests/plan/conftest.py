"""Plans of revisions to come, and who looks on while they are applied."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from autogenerate import write_revision
from saving import saved_plan, shop
from sqlalchemy import Connection, Engine

from alembic_enterprise.plan.saved.document import Saved

Plan = Callable[..., tuple[Config, Saved]]


@pytest.fixture
def plan(tmp_path: Path, engine: Engine) -> Plan:
    """A function that makes a project with revisions to come, and saves the plan of them.

    The database has timeouts, so that a run that waits for ever fails.
    """
    with engine.begin() as connection:
        for setting in ("statement_timeout = '60s'", "lock_timeout = '50s'"):
            connection.exec_driver_sql(f"ALTER DATABASE {engine.url.database} SET {setting}")

    def plan(*bodies: str, **options: Any) -> tuple[Config, Saved]:
        config = shop(tmp_path / "migrations", engine, bodies[0], **options)
        for number, body in enumerate(bodies[1:], 3):
            write_revision(tmp_path / "migrations", f"000{number}", f"000{number - 1}", body)
        return config, saved_plan(config, engine)

    return plan


@pytest.fixture
def observer(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
