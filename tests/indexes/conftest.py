"""What the tests of scripts written with `--sql` share, and which tests are left out."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import poolers
import pytest
from sqlalchemy import make_url

from alembic_enterprise.binaries import find_binaries
from alembic_enterprise.errors import ServerError

collect_ignore = ["test_online_pooling.py"] if poolers.LEFT_OUT else []


@pytest.fixture(scope="session")
def psql() -> Callable[[str, str], None]:
    """A function that runs a script in the database of a URL; any psql talks to any server."""
    try:
        program = find_binaries(None) / "psql"
    except ServerError:
        program = Path("psql")
    if not program.exists():
        pytest.skip("there is no psql")

    def run(url: str, script: str) -> None:
        target = make_url(url).set(drivername="postgresql")
        arguments = ["-X", "-v", "ON_ERROR_STOP=1", target.render_as_string(hide_password=False)]
        done = subprocess.run(
            [program, *arguments], input=script, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")

    return run
