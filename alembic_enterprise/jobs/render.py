"""The files of a job, from the templates in `templates/jobs`; each value quoted for its place."""

import json
import re
import shlex
from string import Template

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.jobs.schedule import Schedule
from alembic_enterprise.resources import templates_directory

CRON_LINE = 990
"""Longest command in bytes; Debian's cron cuts at 1000."""

NAME_LENGTH = 52
"""Longest name of a CronJob; Kubernetes adds 11 characters for each of its jobs."""

VARIABLE = "DATABASE_URL"
"""The environment variable that carries the URL where no file does."""


def crontab(schedule: Schedule, program: str, url_file: str, user: str | None) -> str:
    """A line for `crontab -e`, or with a user for a file in /etc/cron.d."""
    for path in (program, url_file):
        _absolute(path)
        if "\\" in path:
            raise ConfigurationError(
                f"{path!r} has a backslash, which crons read differently: give another path"
            )
    run = shlex.join([program, "partitions", "maintain", "--url", f"file:{url_file}"])
    limited = f"timeout --signal=INT --kill-after=60 3600 {run}"
    command = (
        f'report=$({limited} 2>&1) || {{ code=$?; echo "$report"; echo "exit code $code"; '
        "exit $code; }"
    ).replace("%", r"\%")  # cron ends the command at a %
    if len(command.encode()) > CRON_LINE:
        raise ConfigurationError(f"cron cuts lines at {CRON_LINE} bytes: give shorter paths")
    return _filled(
        "crontab",
        install="add it with crontab -e" if user is None else "put it into /etc/cron.d",
        schedule=schedule.text,
        user="" if user is None else _user(user) + " ",
        url_file=url_file,
        command=command,
    )


def systemd(
    schedule: Schedule, program: str, url_file: str, user: str | None, name: str
) -> dict[str, str]:
    """The two units, by the names of their files."""
    _name(name)
    account = "User=" + _user(user) if user else "# An account that exists while the job runs.\n"
    service = _filled(
        "systemd.service",
        name=name,
        program=_systemd_program(program),
        url_file=_absolute(url_file).replace("%", "%%"),
        user=account if user else account + "DynamicUser=yes",
    )
    calendar = schedule.on_calendar
    timer = _filled("systemd.timer", name=name, schedule=schedule.text, calendar=calendar)
    return {f"{name}.service": service, f"{name}.timer": timer}


def kubernetes(
    schedule: Schedule, image: str, url_secret: str, namespace: str | None, name: str
) -> str:
    """A CronJob; `url_secret` is NAME or NAME/KEY."""
    secret, _, key = url_secret.partition("/")
    key = key or "url"
    if not (_SUBDOMAIN.fullmatch(secret) and _KEY.fullmatch(key)):
        raise ConfigurationError(
            f"{url_secret!r} is not a Kubernetes secret: write NAME or NAME/KEY"
        )
    flag = "" if namespace is None else f" --namespace {_name(namespace)}"
    return _filled(
        "kubernetes.yaml",
        name=_name(name),
        quoted_name=_yaml(name),
        namespace="" if namespace is None else f"\n  namespace: {_yaml(namespace)}",
        schedule=_yaml(schedule.text),
        image=_yaml(_word(image)),
        secret=_yaml(secret),
        key=_yaml(key),
        secret_hint=f"{secret} --from-file={key}=url{flag}",
    )


def github(schedule: Schedule, url_secret: str, package: str, runs_on: str) -> str:
    """A workflow; `url_secret` is the name of a secret of the repository."""
    if not _VARIABLE.fullmatch(url_secret) or url_secret.upper().startswith("GITHUB_"):
        raise ConfigurationError(
            f"{url_secret!r} is not a GitHub secret: write letters, digits and _, "
            "not beginning with a digit or GITHUB_"
        )
    for value in (package, runs_on):
        if "${{" in value:
            raise ConfigurationError(f"GitHub would evaluate {value!r}: leave its braces out")
    return _filled(
        "github.yaml",
        schedule=_yaml(schedule.text),
        secret=url_secret,
        package=_yaml(_line(package)),
        runs_on=_yaml(_line(runs_on)),
    )


def airflow(schedule: Schedule, program: str, connection: str, name: str) -> str:
    """A DAG; `connection` is the id of a connection that Airflow keeps."""
    if not _CONNECTION.fullmatch(connection):
        raise ConfigurationError(
            f"{connection!r} is not an Airflow connection: write letters, digits, _ - and ."
        )
    if re.search(r"\{[{%#]", program):
        raise ConfigurationError(f"Airflow would evaluate {program!r}: leave its braces out")
    run = [_line(program), "partitions", "maintain", "--url", f"env:{VARIABLE}"]
    return _filled(
        "airflow.py",
        name=_python(_name(name)),
        schedule=_python(schedule.text),
        command=_python(shlex.join(run)),
        connection=connection,
        url=_python(f"{{{{ conn.get('{connection}').get_uri() }}}}"),
    )


def pg_cron(jobs: str, role: str, where: str) -> str:
    """The SQL around jobs that are SQL already; `where` is a person's hint at the database."""
    return _filled("pg_cron.sql", jobs=jobs, role=comment(role), where=comment(where))


def _filled(template: str, **values: str) -> str:
    file = templates_directory() / "jobs" / f"{template}.template"
    return Template(file.read_text(encoding="utf-8")).substitute(values)


_SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
_KEY = re.compile(r"(?!\.\.?\Z)[-._a-zA-Z0-9]{1,253}")
_LABEL = re.compile(rf"(?=.{{1,{NAME_LENGTH}}}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONNECTION = re.compile(r"[A-Za-z0-9_.-]{1,250}")


def _name(name: str) -> str:
    """A name that fits wherever one is asked for."""
    if not _LABEL.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a name for a job: write small letters, digits and -, "
            f"at most {NAME_LENGTH}, beginning and ending with a letter or digit"
        )
    return name


def _user(user: str) -> str:
    if not _USER.fullmatch(user):
        raise ConfigurationError(f"{user!r} is not the name of a system user: write one")
    return user


def _line(text: str) -> str:
    """A value that is one line of text, in whatever place."""
    if not text.strip() or not text.isprintable():
        raise ConfigurationError(f"{text!r} is not one line of text: write it without line breaks")
    return text


def _word(text: str) -> str:
    if " " in _line(text):
        raise ConfigurationError(f"{text!r} has a space: write it without")
    return text


def _absolute(path: str) -> str:
    """A path that means the same from any folder, and that a line can end with."""
    if not _line(path).startswith("/") or path.endswith((" ", "\\")):
        raise ConfigurationError(f"{path!r} is not an absolute path: begin it with /")
    return path


def _systemd_program(path: str) -> str:
    """The first word of ExecStart=, where variables are not replaced (systemd.service(5))."""
    if set(_absolute(path)) & set("\"'\\"):
        raise ConfigurationError(
            f"{path!r} has a quote or backslash, which systemd refuses: give a link to the program"
        )
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if " " in escaped else escaped


def _yaml(text: str) -> str:
    """A string in double quotes: what JSON writes of printable text is YAML."""
    return json.dumps(text, ensure_ascii=False)


def _python(text: str) -> str:
    """A string literal in double quotes; that of JSON is Python's, for printable text."""
    return json.dumps(text, ensure_ascii=False)


def comment(text: str) -> str:
    """Text that stays within the line of a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
