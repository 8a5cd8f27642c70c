"""The jobs of templates/ci: as GitHub and GitLab want them, and they end as the plan does."""

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema.validators import validator_for

from alembic_enterprise.cli.plan import command
from alembic_enterprise.resources import templates_directory

FOLDER = templates_directory() / "ci"
SCHEMAS = {"github": "github-workflows.json", "gitlab": "gitlab-ci.json"}
ENDS = {0: True, 1: False, 2: True, 3: False, 130: False}
"""Whether the job passes, by what the plan ends with."""


def loaded(name: str) -> dict[str, Any]:
    """A template; to YAML 1.1, but not to GitHub, `on` is a boolean."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text.replace("\non:", '\n"on":'))
    return found


def lines(name: str) -> list[str]:
    """What is run of a template, from the plan on."""
    job = loaded(name)
    if name == "gitlab":
        given: list[str] = job["plan"]["script"]
    else:
        given = [step["run"] for step in job["jobs"]["plan"]["steps"] if "run" in step]
    return [line for line in given if not line.startswith("pip ")]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_service_knows_every_field(name: str) -> None:
    """The schemas are those that check-jsonschema keeps."""
    package = find_spec("check_jsonschema")  # not imported: it needs a newer click than we do
    assert package is not None
    schemas = Path(str(package.origin)).parent / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / SCHEMAS[name]).read_text(encoding="utf-8"))
    known = validator_for(schema)(schema)
    assert list(known.iter_errors(loaded(name))) == []
    job = loaded(name)
    job["jobs" if name == "github" else "plan"]["scripd"] = True
    assert list(known.iter_errors(job)) != []


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_command_has_these_options(name: str) -> None:
    [call] = [line for line in "\n".join(lines(name)).splitlines() if "alembic-enterprise" in line]
    options = call.split("alembic-enterprise plan ")[1].split(" ||")[0].split()
    shown = CliRunner().invoke(command, [*options, "--help"])
    assert shown.exit_code == 0, shown.output
    with command.make_context("plan", options) as context:
        assert "markdown" in str(context.params)


@pytest.mark.parametrize("code", ENDS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_the_job_ends_as_the_plan(name: str, code: int, tmp_path: Path) -> None:
    """Programs of these names stand in for those of the runner."""
    for program, end in (("alembic-enterprise", code), ("gh", 0), ("curl", 0)):
        stub = tmp_path / program
        stub.write_text(f'#!/bin/sh\necho {program} "$@" >> calls\nexit {end}\n', encoding="utf-8")
        stub.chmod(0o755)
    script = "\n".join(line.replace("${{ github.event.number }}", "7") for line in lines(name))
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "GITHUB_ENV": str(tmp_path / "env"),
        "PLAN": str(code),
    }
    ended = subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=variables, check=False)
    assert (ended.returncode == 0) is ENDS[code]
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    posts = [line for line in calls if not line.startswith("alembic-enterprise")]
    # GitHub leaves steps out by `if`, which bash does not know.
    assert bool(posts) is (name == "github" or code != 1)
    if name == "github":
        assert (tmp_path / "env").read_text(encoding="utf-8") == f"PLAN={code}\n"
