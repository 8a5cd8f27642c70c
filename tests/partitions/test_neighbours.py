"""Other people's plugins beside us: everyone finds their own things, and ours stay."""

import subprocess
import sys
from pathlib import Path

import pytest

STORIES = Path(__file__).with_name("neighbours.py")
TESTS = STORIES.parent.parent


@pytest.mark.parametrize("story", ["one_script", "triggers_and_grants", "trails", "enums"])
def test_neighbours(database_url: str, tmp_path: Path, story: str) -> None:
    """alembic-utils, alembic-postgresql-enum and a Rewriter, all in the same env.py."""
    done = subprocess.run(
        [sys.executable, STORIES, story, database_url, tmp_path],
        env={"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
