"""Rendered jobs, as the programs that read them see them."""

import re
import subprocess
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
from console import PROGRAM
from cronsim import CronSim
from programs import run

from alembic_enterprise.jobs import schedule

HOSTILE = "we ird%s $(id) `id` ;#&|<>*é😀"


def render(kind: str, *options: str | Path) -> str:
    return subprocess.check_output([PROGRAM, "jobs", "render", kind, *options], encoding="utf-8")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in a folder that any shell would tear apart."""
    path = tmp_path / HOSTILE / "alembic-enterprise"
    path.parent.mkdir()
    path.symlink_to("/bin/true")
    return path


def test_cron_takes_the_line(tmp_path: Path, program: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(render("crontab", "--program", program, "--url-file", f"/{HOSTILE}'\"/url"))
    checked = run("cron", "crontab", "-n", file)
    assert checked.returncode == 0, checked


def test_cron_would_refuse_another(tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(render("crontab").replace("23 4 *", "23 24 *"))
    assert run("cron", "crontab", "-n", file).returncode == 1


@pytest.mark.parametrize("user", [(), ("--user", "app")])
def test_systemd_takes_the_units(tmp_path: Path, program: Path, user: tuple[str, ...]) -> None:
    options = ("--program", str(program), "--url-file", f"/etc/{HOSTILE}'\"/url", *user)
    render("systemd", "--directory", tmp_path, *options)
    files = [tmp_path / f"alembic-enterprise.{kind}" for kind in ("service", "timer")]
    checked = run("systemd", "systemd-analyze", "verify", *files)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_systemd_would_complain_about_others(tmp_path: Path) -> None:
    render("systemd", "--directory", tmp_path, "--program", "/bin/true")
    file = tmp_path / "alembic-enterprise.service"
    file.write_text(file.read_text().replace("KillSignal=", "KillSignale="))
    assert "Unknown key" in run("systemd", "systemd-analyze", "verify", file).stderr


@pytest.mark.parametrize(
    "text", ["23 4 * * *", "*/7 3-5 * 1,6 0,3-5", "0 */6 30 * *", "1-59/2 23 * 2 *", "0 0 29 2 *"]
)
def test_systemd_and_cron_mean_the_same_times(text: str) -> None:
    calendar = schedule.parse(text).on_calendar
    printed = run("systemd", "systemd-analyze", "calendar", "--iterations=9", calendar).stdout
    told = re.findall(r"(?:Next elapse|Iter\. #\d): (.+)", printed)
    expected = islice(CronSim(text, datetime.now(UTC)), 9)
    assert [moment.strftime("%a %Y-%m-%d %H:%M:%S UTC") for moment in expected] == told
