"""Other people's plugins beside us: everyone finds their own things, and ours stay."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

STORIES = Path(__file__).with_name("neighbours.py")
TESTS = STORIES.parent.parent


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str, Path], None]]:
    """A function that tells a story, and fails with what it wrote when it went wrong."""
    told = tmp_path_factory.mktemp("neighbours") / "told"
    with (
        told.open("w") as output,
        subprocess.Popen(
            [sys.executable, STORIES],
            env={"PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        ) as process,
    ):

        def ask(*asked: str | Path) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([*map(str, asked)]) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "0\n", told.read_text()

        yield ask


@pytest.mark.parametrize("story", ["one_script", "triggers_and_grants", "trails", "enums"])
def test_neighbours(
    tell: Callable[[str, str, Path], None], database_url: str, tmp_path: Path, story: str
) -> None:
    """alembic-utils, alembic-postgresql-enum and a Rewriter, all in the same env.py."""
    tell(story, database_url, tmp_path)
