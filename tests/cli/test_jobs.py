"""`jobs render`: what it prints is valid where it goes, runs the job, and keeps secrets apart."""

import configparser
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs
import pytest
import yaml
from console import PROGRAM, Outcome
from jsonschema.validators import validator_for

PACKAGE = "alembic-enterprise[binary] @ git+https://example.com/ae@1f0c"
KINDS = {
    "crontab": (),
    "systemd": (),
    "kubernetes": ("--image", "example.com/shop:1.4"),
    "github": ("--package", PACKAGE),
    "airflow": (),
}
"""What can be rendered without a database, with the options that it needs."""

HOSTILE = "/opt/we ird%s $(id) `id` 'a' ;#&|<>*é😀/alembic-enterprise"
"""A path that any shell would tear apart."""

QUOTABLE = HOSTILE.replace("'", "")
"""The same for systemd, which refuses quotes in the path of a program."""

Run = Callable[..., Outcome]


@pytest.fixture
def render(run: Run) -> Callable[..., str]:
    """A function that renders a kind and returns what is printed."""

    def render(kind: str, *options: str) -> str:
        outcome = run("jobs", "render", kind, *KINDS.get(kind, ()), *options)
        assert (outcome.code, outcome.error) == (0, "")
        return outcome.output

    return render


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A program that prints its arguments and DATABASE_URL, and ends with $CODE."""
    program = tmp_path / HOSTILE.removeprefix("/opt/")
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\nprintf "<%s>" "$@" "$DATABASE_URL"\necho\necho trouble >&2\nexit "$CODE"\n'
    )
    program.chmod(0o755)
    return program


def shell(script: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script with /bin/sh; fake programs end with the code."""
    return subprocess.run(
        ["/bin/sh", "-c", script],
        env=os.environ | variables | {"CODE": str(code)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


# All kinds


@pytest.mark.parametrize("kind", [*KINDS, "pg_cron"])
def test_help_fits_80_columns_and_shows_an_example(run: Run, kind: str) -> None:
    outcome = run("jobs", "render", kind, "--help")
    assert outcome.code == 0
    assert max(map(len, outcome.output.splitlines())) <= 80
    assert f"\n    alembic-enterprise jobs render {kind}" in outcome.output


@pytest.mark.parametrize("kind", KINDS)
def test_lines_fit_a_screen(render: Callable[..., str], kind: str) -> None:
    lines = [line for line in render(kind).splitlines() if str(PROGRAM) not in line]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("kind", KINDS)
def test_the_daily_schedule_is_the_default(render: Callable[..., str], kind: str) -> None:
    assert "23 4 * * *" in render(kind)
    assert "5 3 * * 0" in render(kind, "--schedule", " 5 3  * * 0")


@pytest.mark.parametrize("kind", [*KINDS, "pg_cron"])
def test_a_wrong_schedule_is_refused(run: Run, kind: str) -> None:
    options = KINDS.get(kind, ("--url", "postgresql://h/d"))
    outcome = run("jobs", "render", kind, *options, "--schedule", "0 0 * * 7")
    assert (outcome.code, outcome.output) == (1, "")
    assert "write numbers from 0 to 6" in outcome.error


def test_a_kind_that_does_not_exist_is_refused(run: Run) -> None:
    outcome = run("jobs", "render", "fcron")
    assert outcome.code == 1
    assert "No such command 'fcron'" in outcome.error


@pytest.mark.parametrize(
    ("kind", "option", "value", "reason"),
    [
        ("crontab", "--program", "alembic-enterprise", "begin it with /"),
        ("crontab", "--program", "/a\\b", "has a backslash"),
        ("crontab", "--program", "/a\n* * * * * root id", "not one line"),
        ("crontab", "--program", "/" + "a" * 1000, "cron cuts lines at 990 bytes"),
        ("crontab", "--url-file", "url", "begin it with /"),
        ("crontab", "--user", "root id;", "not the name of a system user"),
        ("systemd", "--program", "alembic-enterprise", "begin it with /"),
        ("systemd", "--program", '/a"b', "systemd refuses"),
        ("systemd", "--url-file", "/a\nExecStartPre=/bin/id", "not one line"),
        ("systemd", "--url-file", "/a\\", "not an absolute path"),
        ("systemd", "--user", "root\nGroup=x", "not the name of a system user"),
        ("systemd", "--name", "../x", "not a name for a job"),
        ("kubernetes", "--name", "a" * 53, "at most 52"),
        ("kubernetes", "--name", "Shop", "small letters"),
        ("kubernetes", "--namespace", "a: b", "not a name for a job"),
        ("kubernetes", "--image", "a\nb", "not one line"),
        ("kubernetes", "--image", "", "not one line"),
        ("kubernetes", "--image", "a b", "has a space"),
        ("kubernetes", "--url-secret", "a/b/c", "write NAME or NAME/KEY"),
        ("kubernetes", "--url-secret", "A", "write NAME or NAME/KEY"),
        ("github", "--url-secret", "a b", "not a GitHub secret"),
        ("github", "--url-secret", "GITHUB_URL", "not a GitHub secret"),
        ("github", "--package", "${{ secrets.OTHER }}", "leave its braces out"),
        ("github", "--runs-on", "${{ github.actor }}", "leave its braces out"),
        ("airflow", "--connection", "a') }}", "not an Airflow connection"),
        ("airflow", "--program", "{{ 1 }}", "leave its braces out"),
        ("airflow", "--program", "a\x1bb", "not one line"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    run: Run, kind: str, option: str, value: str, reason: str
) -> None:
    outcome = run("jobs", "render", kind, *KINDS[kind], option, value)
    assert (outcome.code, outcome.output) == (1, "")
    assert reason in outcome.error


# cron


def entry(text: str) -> str:
    """The one line of a crontab that is no comment."""
    (line,) = [line for line in text.splitlines() if line and not line.startswith("#")]
    return line


def as_cron_runs_it(command: str) -> str:
    """What cron gives to the shell: an escaped % is a %, and there is no other (crontab(5))."""
    assert "%" not in command.replace(r"\%", "")
    return command.replace(r"\%", "%")


def test_cron_runs_the_job_with_the_url_in_a_file(
    render: Callable[..., str], fake: Path, tmp_path: Path
) -> None:
    file = str(tmp_path / "a %s 'b'" / "url")
    line = entry(render("crontab", "--program", str(fake), "--url-file", file))
    *schedule, command = line.split(" ", 5)
    assert schedule == ["23", "4", "*", "*", "*"]
    ended = shell(as_cron_runs_it(command), code=2)
    assert ended.returncode == 2
    assert f"<partitions><maintain><--url><file:{file}>" in ended.stdout


@pytest.mark.parametrize("code", [1, 2, 3, 130])
def test_cron_mails_the_report_of_a_run_that_failed(
    render: Callable[..., str], fake: Path, code: int
) -> None:
    command = entry(render("crontab", "--program", str(fake))).split(" ", 5)[5]
    ended = shell(as_cron_runs_it(command), code)
    assert (ended.returncode, ended.stderr) == (code, "")
    assert ended.stdout.splitlines()[1:] == ["trouble", f"exit code {code}"]


def test_cron_mails_nothing_while_all_is_well(render: Callable[..., str], fake: Path) -> None:
    command = entry(render("crontab", "--program", str(fake))).split(" ", 5)[5]
    ended = shell(as_cron_runs_it(command))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_with_a_user_the_line_is_for_cron_d(render: Callable[..., str]) -> None:
    assert entry(render("crontab", "--user", "app")).startswith("23 4 * * * app report=")
    assert "/etc/cron.d" in render("crontab", "--user", "app")


def test_the_program_is_the_one_that_runs_now(render: Callable[..., str]) -> None:
    assert f" {PROGRAM} partitions maintain " in render("crontab")


# systemd


def units(text: str) -> dict[str, configparser.ConfigParser]:
    """The files that are printed one after the other, by name."""
    found: dict[str, configparser.ConfigParser] = {}
    parts = text.split("# alembic-enterprise.timer\n")
    for name, part in zip(("service", "timer"), parts, strict=True):
        found[name] = configparser.ConfigParser(interpolation=None, strict=True)
        found[name].optionxform = str  # type: ignore[assignment,method-assign]  # as its docs say
        found[name].read_string(part)
    return found


def test_systemd_hands_the_url_over_as_a_credential(render: Callable[..., str]) -> None:
    options = ("--program", QUOTABLE, "--url-file", "/etc/a b/%h/url")
    service = units(render("systemd", *options))["service"]["Service"]
    assert service["LoadCredential"] == "url:/etc/a b/%%h/url"
    program, _, rest = service["ExecStart"].rpartition('" ')
    assert program == '"' + QUOTABLE.replace("%", "%%")
    assert rest == "partitions maintain --url file:${CREDENTIALS_DIRECTORY}/url"


def test_systemd_makes_a_user_unless_it_is_told_one(render: Callable[..., str]) -> None:
    made = units(render("systemd"))["service"]["Service"]
    told = units(render("systemd", "--user", "app"))["service"]["Service"]
    assert (made["DynamicUser"], made.get("User")) == ("yes", None)
    assert (told.get("DynamicUser"), told["User"]) == (None, "app")


def test_systemd_counts_no_failure_as_success(render: Callable[..., str]) -> None:
    service = units(render("systemd"))["service"]["Service"]
    assert "SuccessExitStatus" not in service
    assert service["Restart"] == "on-failure"


def test_systemd_gets_cron_s_schedule(render: Callable[..., str]) -> None:
    timer = units(render("systemd", "--schedule", "7 */6 * * 1-5"))["timer"]["Timer"]
    assert timer["OnCalendar"] == "Mon,Tue,Wed,Thu,Fri *-*-* 00,06,12,18:07:00 UTC"


def test_systemd_s_files_are_written(run: Run, tmp_path: Path) -> None:
    options = ("--directory", str(tmp_path), "--name", "shop")
    outcome = run("jobs", "render", "systemd", *options)
    assert outcome.output == f"Written: {tmp_path}/shop.service\nWritten: {tmp_path}/shop.timer\n"
    assert "Started by:   shop.timer" in (tmp_path / "shop.service").read_text()
    assert "OnCalendar=" in (tmp_path / "shop.timer").read_text()


def test_no_file_of_systemd_is_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.timer").write_text("mine")
    outcome = run("jobs", "render", "systemd", "--directory", str(tmp_path), "--name", "shop")
    assert outcome.code == 1
    assert outcome.error == (
        f"Error: {tmp_path}/shop.timer exists: remove it first, or give another --name\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["shop.timer"]


# Kubernetes


@pytest.mark.parametrize("version", ["1.27", "1.30", "1.33"])
@pytest.mark.parametrize("options", [(), ("--namespace", "shop", "--url-secret", "db/URI")])
def test_kubernetes_knows_every_field(
    render: Callable[..., str], version: str, options: tuple[str, ...]
) -> None:
    job = yaml.safe_load(render("kubernetes", *options))
    assert kubernetes_validate.validate(job, version, strict=True) == version
    job["spec"]["jobTemplate"]["spec"]["backofLimit"] = 0
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        kubernetes_validate.validate(job, version, strict=True)


def test_a_pod_gets_the_url_from_a_secret(render: Callable[..., str]) -> None:
    job = yaml.safe_load(render("kubernetes", "--url-secret", "shop.db/URI_1"))
    assert job["metadata"] == {"name": "alembic-enterprise"}
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "example.com/shop:1.4"
    assert container["command"] + container["args"] == [
        *("alembic-enterprise", "partitions", "maintain", "--url", "env:DATABASE_URL")
    ]
    (variable,) = container["env"]
    assert variable == {
        "name": "DATABASE_URL",
        "valueFrom": {"secretKeyRef": {"name": "shop.db", "key": "URI_1"}},
    }


def test_runs_in_kubernetes_neither_meet_nor_hang(render: Callable[..., str]) -> None:
    spec = yaml.safe_load(render("kubernetes"))["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (2, 3600)
    assert job["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", ["123", "true", "1e3", "null", "0x1f"])
def test_words_that_yaml_takes_for_something_else_stay_words(
    render: Callable[..., str], name: str
) -> None:
    options = ("--name", name, "--namespace", name, "--url-secret", f"{name}/{name}")
    job = yaml.safe_load(render("kubernetes", *options))
    assert job["metadata"] == {"name": name, "namespace": name}
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": name, "key": name}


@pytest.mark.parametrize("image", ["a:b#c", '"', "\\", "'", "&a", "*a", "!a", "{a}", "- a", "é😀"])
def test_an_image_stays_what_it_is(render: Callable[..., str], image: str) -> None:
    image = image.replace(" ", "")
    job = yaml.safe_load(render("kubernetes", "--image", image))
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image


# GitHub


def test_github_installs_nothing_by_a_name_that_is_anybodys(run: Run) -> None:
    outcome = run("jobs", "render", "github")
    assert (outcome.code, outcome.output) == (1, "")
    assert "Missing option '--package'" in outcome.error


def test_github_knows_every_field(render: Callable[..., str]) -> None:
    """The schema is the one that check-jsonschema keeps of GitHub's workflows."""
    package = find_spec("check_jsonschema")  # not imported: it needs a newer click than we do
    assert package is not None
    schemas = Path(str(package.origin)).parent / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "github-workflows.json").read_text(encoding="utf-8"))
    known = validator_for(schema)(schema)
    workflow = render("github").replace(
        "\non:", '\n"on":'
    )  # a boolean in YAML 1.1, not in GitHub's
    assert list(known.iter_errors(yaml.safe_load(workflow))) == []
    misspelt = workflow.replace("timeout-minutes", "timeout-minuts")
    assert list(known.iter_errors(yaml.safe_load(misspelt))) != []


def steps(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(text)["jobs"]["maintain"]["steps"]
    return found


def test_github_gives_the_secret_to_one_step_only(render: Callable[..., str]) -> None:
    install, maintain = steps(render("github", "--url-secret", "Shop_1"))
    assert install["env"] == {"PACKAGE": PACKAGE}
    assert maintain["env"] == {"DATABASE_URL": "${{ secrets.Shop_1 }}"}
    assert "${{" not in install["run"] + maintain["run"]
    assert yaml.safe_load(render("github"))["permissions"] == {}


def test_a_package_of_github_reaches_pip_as_it_is(
    render: Callable[..., str], fake: Path, tmp_path: Path
) -> None:
    package = """'a' @ "b" $(id) `id` # é😀 -- \\"""
    install, _ = steps(render("github", "--package", package))
    assert install["env"]["PACKAGE"] == package
    binaries = tmp_path / "job" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "pip").symlink_to(fake)
    script = install["run"].replace("python3 -m venv", ":")
    ended = shell(script, RUNNER_TEMP=str(tmp_path), **install["env"])
    assert ended.stdout.startswith(f"<install><--quiet><{package}>")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, ""),
        (1, "::error title=Partitions::"),
        (2, "::warning title=Partitions::"),
        (3, "::error title=Partitions end soon::"),
        (130, "::error title=Partitions::"),
    ],
)
def test_github_tells_exit_codes_apart(
    render: Callable[..., str], fake: Path, tmp_path: Path, code: int, told: str
) -> None:
    binaries = tmp_path / "job" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "alembic-enterprise").symlink_to(fake)
    _, maintain = steps(render("github"))
    # As `run:` does it (GitHub's docs, "Workflow syntax", shell).
    ended = shell("set -e\n" + maintain["run"], code, RUNNER_TEMP=str(tmp_path), DATABASE_URL="u")
    report, *annotations = ended.stdout.splitlines()
    assert ended.returncode == code
    assert report == "<partitions><maintain><--url><env:DATABASE_URL><u>"
    assert [line[: len(told)] for line in annotations] == ([told] if told else [])


# Airflow


def dag(text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the file beside an Airflow that only notes arguments: those of the DAG, of the task."""
    noted: dict[str, dict[str, Any]] = {}

    class Noting:
        def __init__(self, **arguments: Any) -> None:
            noted[type(self).__name__] = arguments

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    bash = "airflow.providers.standard.operators.bash"
    for path, name in (("airflow.sdk", "DAG"), (bash, "BashOperator")):
        module = ModuleType(path)
        setattr(module, name, type(name, (Noting,), {}))
        monkeypatch.setitem(sys.modules, path, module)
    for parent in ("airflow", *(bash.rsplit(".", count)[0] for count in (1, 2, 3))):
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    exec(compile(text, "dag.py", "exec"), {})  # noqa: S102  # it is what was rendered
    return noted["DAG"], noted["BashOperator"]


def test_the_dag_runs_once_at_a_time_and_catches_nothing_up(
    render: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_dag, _ = dag(render("airflow", "--schedule", "5 3 * * *", "--name", "shop"), monkeypatch)
    assert (of_dag["dag_id"], of_dag["schedule"]) == ("shop", "5 3 * * *")
    assert (of_dag["catchup"], of_dag["max_active_runs"]) == (False, 1)


def test_the_task_runs_the_job_with_the_url_of_a_connection(
    render: Callable[..., str], monkeypatch: pytest.MonkeyPatch, fake: Path
) -> None:
    options = ("--program", str(fake), "--connection", "shop.main-1")
    _, of_task = dag(render("airflow", *options), monkeypatch)
    assert of_task["env"] == {"DATABASE_URL": "{{ conn.get('shop.main-1').get_uri() }}"}
    assert of_task["append_env"] is True
    ended = shell(of_task["bash_command"], 3, DATABASE_URL="u")
    assert ended.returncode == 3
    assert ended.stdout == "<partitions><maintain><--url><env:DATABASE_URL><u>\n"


# Where the URL comes from


def secret(database_url: str) -> str:
    """The URL with a password, which servers that trust everybody do not ask for."""
    return database_url.replace("postgres@", "postgres:s3cret@")


LIST = ("partitions", "list", "--format", "json", "--url")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_url_comes_from_a_file(run: Run, database_url: str, here: Path, ending: str) -> None:
    (here / "url").write_text(secret(database_url) + ending)
    outcome = run(*LIST, "file:url")
    assert (outcome.code, outcome.error) == (0, "")
    assert json.loads(outcome.output)["tables"] == []


def test_the_url_comes_from_a_variable(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP", secret(database_url) + "\n")
    outcome = run(*LIST, "env:SHOP")
    assert (outcome.code, outcome.error) == (0, "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the variable SHOP is not set: let it hold the URL"),
        (" ", "the variable SHOP is not set: let it hold the URL"),
        ("mysql://h/d", "the URL is not a PostgreSQL one"),
    ],
)
def test_a_variable_without_a_url_says_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch, content: str | None, reason: str
) -> None:
    monkeypatch.delenv("SHOP", raising=False)
    if content is not None:
        monkeypatch.setenv("SHOP", content)
    outcome = run(*LIST, "env:SHOP")
    assert (outcome.code, outcome.output) == (1, "")
    assert outcome.error.startswith(f"Error: {reason}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "url cannot be read (No such file or directory): let it hold the URL"),
        (b"", "url does not hold one line: write postgresql://user:password@host"),
        (b"a\nb", "url does not hold one line"),
        (b"nonsense", "the URL cannot be read: write postgresql://user:password@host"),
        (b"\xff", "url cannot be read (it is not text)"),
    ],
)
def test_a_file_without_a_url_says_what_to_do(
    run: Run, here: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (here / "url").write_bytes(content)
    outcome = run(*LIST, "file:url")
    assert (outcome.code, outcome.output) == (1, "")
    assert outcome.error.startswith(f"Error: {reason}")


@pytest.mark.parametrize("option", ["--url=file:url", "--url file:url"])
def test_a_password_from_a_file_is_never_told(run: Run, here: Path, option: str) -> None:
    (here / "url").write_text("postgresql://owner:pa@s3cret@nowhere.invalid/shop")
    outcome = run("partitions", "list", *option.split())
    assert outcome.code == 1
    assert "s3cret" not in outcome.error
