"""The page of a plan in a browser: its charts are there, and nothing runs over its edge."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageColor
from planned import FULL, hostile

from alembic_enterprise.plan.model import Plan
from alembic_enterprise.plan.report.html import page

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
COLOURS = {"reads": "#b3261e", "writes": "#8a5a00", "DDL": "#1c5fa8", "partitions": "#3f7fc1"}
"""Of the charts, as the style of the page has them."""

MARGIN = 8
"""Columns at either edge that stay empty."""


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "no browser: install chromium-headless-shell, as .ci/packages does"
    return found


def screenshot(browser: str, plan: Plan, width: int, folder: Path) -> Image.Image:
    """A picture of the page of a plan, as long as it needs."""
    (folder / "plan.html").write_text(page(plan), encoding="utf-8")
    command = [
        browser,
        "--headless",
        "--no-sandbox",  # which refuses to work as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--window-size={width},4000",
        f"--user-data-dir={folder / 'profile'}",
        f"--screenshot={folder / 'plan.png'}",
        (folder / "plan.html").as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(folder / "plan.png") as picture:
        return picture.convert("RGB")


def colours(picture: Image.Image) -> Counter[str]:
    """How many pixels there are of each colour of the charts."""
    counted = Counter(picture.get_flattened_data())
    return Counter({name: counted[ImageColor.getrgb(code)] for name, code in COLOURS.items()})


@pytest.mark.parametrize("width", [1000, 500])
def test_the_charts_are_drawn(browser: str, width: int, tmp_path: Path) -> None:
    seen = colours(screenshot(browser, FULL, width, tmp_path))
    assert all(seen[name] > width for name in COLOURS), seen


@pytest.mark.parametrize("plan", [FULL, hostile()], ids=["full", "hostile"])
def test_nothing_runs_over_the_edge_of_a_narrow_window(
    browser: str, plan: Plan, tmp_path: Path
) -> None:
    picture = screenshot(browser, plan, 500, tmp_path)
    width, height = picture.size
    for left in (0, width - MARGIN):
        edge = picture.crop((left, 0, left + MARGIN, height))
        assert set(edge.get_flattened_data()) == {(255, 255, 255)}
