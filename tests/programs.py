"""Programs of Debian that these tests run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(package: str, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program; a test that lacks it fails with the name of its package."""
    found = shutil.which(program, path=PATH)
    if found is None:
        pytest.fail(f"{program} is missing: apt-get install {package}, or .ci/packages as root")
    return subprocess.run(
        [found, *arguments],
        env=os.environ | {"TZ": "UTC"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
