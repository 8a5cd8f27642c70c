"""What `--sql` writes, fed to psql, leaves the same catalog as an upgrade."""

import subprocess
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import laws
import pytest
from alembic import command
from autogenerate import project, write_revision
from indexed import indexes, sales
from sqlalchemy import Engine, MetaData, NullPool, create_engine, make_url

from alembic_enterprise.binaries import find_binaries
from alembic_enterprise.errors import ServerError

SCRIPT = r"""
import sqlalchemy as sa
op.execute('CREATE TABLE "$block$ x %" (id int, "Note" text)')
op.execute('CREATE INDEX sales_1_ix_adopted ON sales_1 (note)')
op.create_index_online("ix_sales_customer", "sales", ["customer"], where="note <> ':p %'")
op.create_index_online("ix_adopted", "sales", ["note"])
op.create_index_online("ix_plain", "$block$ x %", ["Note", sa.text('lower("Note")')], unique=True)
op.create_index_online("ix_gone", "sales", ["id"])
op.drop_index_online("ix_gone", "sales")
op.create_index_online("ix_gone", "$block$ x %", ["id"])
op.drop_index_online("ix_gone", "$block$ x %")
"""


@pytest.fixture(scope="module")
def psql() -> Path:
    """Any release of psql talks to any server."""
    try:
        found = find_binaries(None) / "psql"
    except ServerError:
        found = Path("psql")
    if not found.exists():
        pytest.skip("there is no psql")
    return found


def test_offline_scripts_leave_what_an_upgrade_leaves(
    tmp_path: Path, engine: Engine, other_database: Callable[[], str], psql: Path
) -> None:
    url = make_url(other_database())
    elsewhere = create_engine(url, poolclass=NullPool)
    for database in (engine, elsewhere):
        with database.connect() as connection:
            sales(connection)
    config = project(tmp_path, engine, MetaData())
    write_revision(tmp_path, "1", None, SCRIPT)
    config.output_buffer = StringIO()
    command.upgrade(config, "head", sql=True)
    text = config.output_buffer.getvalue()
    command.upgrade(config, "head")
    done = subprocess.run(
        [
            psql,
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            url.set(drivername="postgresql").render_as_string(hide_password=False),
        ],
        input=text,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    with engine.connect() as online, elsewhere.connect() as offline:
        assert laws.snapshot(offline) == laws.snapshot(online)
        found = indexes(offline)
        assert set(found.values()) == {True}
        assert {"ix_sales_customer", "ix_adopted", "sales_1_ix_adopted", "ix_plain"} < set(found)
        assert not any("gone" in name for name in found)
