"""The templates are found in a checkout and ship in the wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from alembic_enterprise.resources import templates_directory

ROOT = Path(__file__).parent.parent


def test_a_checkout_uses_the_templates_at_its_top_level() -> None:
    assert templates_directory() == ROOT / "templates"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("alembic_enterprise", "templates"):
        shutil.copytree(ROOT / name, folder / "source" / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "."]
    subprocess.run([*command, "./source"], cwd=folder, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_template(wheel: Path) -> None:
    templates = [path for path in (ROOT / "templates").rglob("*") if path.is_file()]
    expected = {
        f"alembic_enterprise/{path.relative_to(ROOT)}"
        for path in templates
        if path.suffix != ".pyc"
    }
    assert expected
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


def test_an_installed_wheel_finds_its_own_templates(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = "from alembic_enterprise.resources import templates_directory as t; print(t())"
    found = subprocess.check_output([sys.executable, "-c", program], cwd=tmp_path, text=True)
    assert Path(found.strip()) == tmp_path / "alembic_enterprise" / "templates"
