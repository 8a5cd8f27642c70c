"""`alembic-enterprise jobs`: the scheduled job, written down for what is to start it."""

import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alembic_enterprise.cli.options import Target, project_or_url_options
from alembic_enterprise.cli.output import write, written
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.jobs import render
from alembic_enterprise.jobs.schedule import parse

if TYPE_CHECKING:
    from sqlalchemy import Connection

DAILY = "23 4 * * *"
"""Every day, when few jobs begin, and at an hour that no change of the clocks skips."""

HOURLY = "23 * * * *"
"""For pg_cron, where nothing tries again before the next time."""

NAME = "alembic-enterprise"


def _schedule(default: str = DAILY, zone: str = "UTC") -> Callable[[Any], Any]:
    return click.option(
        "--schedule",
        default=default,
        show_default=True,
        metavar="CRON",
        help=f"When it runs: the five fields of cron, as numbers, in {zone}.",
    )


_name = click.option("--name", default=NAME, show_default=True, help="What it is called.")
_url_file = click.option(
    "--url-file",
    default="/etc/alembic-enterprise/url",
    show_default=True,
    metavar="FILE",
    help="The file that will hold the URL of the database.",
)


def _program(default: str | None = None) -> Callable[[Any], Any]:
    """Where a bare name will not be found, the program that runs now is the default."""
    beside = Path(sysconfig.get_path("scripts")) / "alembic-enterprise"
    shown = True if default else "the one that runs now"
    return click.option(
        "--program",
        default=default or str(beside),
        show_default=shown,
        metavar="FILE",
        help="alembic-enterprise on the machine that runs the job.",
    )


@click.group("jobs")
def command() -> None:
    """Print the scheduled job for cron, Kubernetes and others.

    \b
    Examples:
      alembic-enterprise jobs render crontab
      alembic-enterprise jobs render kubernetes --image example.com/shop:1.4
    """  # noqa: D301  # click wants the character \b


@command.group("render")
def render_group() -> None:
    """Print the file that starts `partitions maintain`.

    It goes to standard output, with comments that say where to put it and what its settings are
    for. Only pg_cron asks the database.

    The URL of the database is never in it, nor on a command line that other users of a machine
    could see: the job reads it from a file or from the environment.

    \b
    Examples:
      alembic-enterprise jobs render crontab --user app > /etc/cron.d/partitions
      alembic-enterprise jobs render systemd --directory /etc/systemd/system
      alembic-enterprise jobs render kubernetes --image example.com/shop:1.4
    """  # noqa: D301  # click wants the character \b


@render_group.command("crontab")
@_schedule(zone="the machine's time zone")
@_program()
@_url_file
@click.option("--user", help="Who runs it: makes a file for /etc/cron.d.")
def crontab_command(schedule: str, program: str, url_file: str, user: str | None) -> None:
    """A line for cron.

    \b
    Examples:
      alembic-enterprise jobs render crontab
      alembic-enterprise jobs render crontab --user app > /etc/cron.d/partitions
    """  # noqa: D301  # click wants the character \b
    _print(render.crontab(parse(schedule), program, url_file, user))


@render_group.command("systemd")
@_schedule()
@_program()
@_url_file
@click.option("--user", help="Who runs it.  [default: a dynamic user]")
@_name
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the two files there instead; none that exists is replaced.",
)
def systemd_command(
    schedule: str, program: str, url_file: str, user: str | None, name: str, directory: Path | None
) -> None:
    """A service and its timer.

    Both are printed, each after a comment with its name; --directory writes them.

    \b
    Examples:
      alembic-enterprise jobs render systemd
      alembic-enterprise jobs render systemd --directory /etc/systemd/system
    """  # noqa: D301  # click wants the character \b
    files = render.systemd(parse(schedule), program, url_file, user, name)
    if directory is None:
        _print("\n".join(f"# {file}\n{text}" for file, text in files.items()))
    else:
        _create({directory / file: text for file, text in files.items()})


@render_group.command("kubernetes")
@_schedule()
@click.option("--image", required=True, help="A container image with alembic-enterprise.")
@click.option(
    "--url-secret",
    default=NAME,
    show_default=True,
    metavar="NAME[/KEY]",
    help="The secret that holds the URL of the database; its key is url.",
)
@click.option("--namespace", help="Where it goes.  [default: that of kubectl]")
@_name
def kubernetes_command(
    schedule: str, image: str, url_secret: str, namespace: str | None, name: str
) -> None:
    """A CronJob, for Kubernetes 1.27 and newer.

    \b
    Examples:
      alembic-enterprise jobs render kubernetes --image example.com/shop:1.4
      alembic-enterprise jobs render kubernetes --image example.com/shop:1.4 \\
          --url-secret shop-database/uri --namespace shop | kubectl apply -f -
    """  # noqa: D301  # click wants the character \b
    _print(render.kubernetes(parse(schedule), image, url_secret, namespace, name))


@render_group.command("github")
@_schedule()
@click.option(
    "--url-secret",
    default=render.VARIABLE,
    show_default=True,
    metavar="NAME",
    help="The repository's secret that holds the URL of the database.",
)
@click.option(
    "--package",
    required=True,
    metavar="REQUIREMENT",
    help="What pip installs, by where you keep it: there is no release on PyPI.",
)
@click.option(
    "--runs-on",
    default="ubuntu-latest",
    show_default=True,
    metavar="LABEL",
    help="A runner that can reach the database.",
)
def github_command(schedule: str, url_secret: str, package: str, runs_on: str) -> None:
    """A workflow of GitHub Actions.

    \b
    Examples:
      alembic-enterprise jobs render github --runs-on self-hosted \\
          --package "alembic-enterprise[binary] @ git+https://example.com/ae@1f0c"
    """  # noqa: D301  # click wants the character \b
    _print(render.github(parse(schedule), url_secret, package, runs_on))


@render_group.command("airflow")
@_schedule()
@_program("alembic-enterprise")
@click.option(
    "--connection",
    default="alembic_enterprise",
    show_default=True,
    metavar="ID",
    help="The connection of Airflow that is the database.",
)
@_name
def airflow_command(schedule: str, program: str, connection: str, name: str) -> None:
    """A DAG, for Airflow 3.

    \b
    Examples:
      alembic-enterprise jobs render airflow > dags/partitions.py
      alembic-enterprise jobs render airflow --connection shop
    """  # noqa: D301  # click wants the character \b
    _print(render.airflow(parse(schedule), program, connection, name))


@render_group.command("pg_cron")
@project_or_url_options
@_schedule(HOURLY, "the server's cron.timezone")
def pg_cron_command(target: Target, schedule: str) -> None:
    """SQL that lets pg_cron create partitions.

    It creates partitions inside the server, but cannot retire any: `partitions maintain` is needed
    as well where a policy has retain. The policies are read from the database, as the role that
    owns the tables, and stand in the SQL: render it again when one has changed.

    \b
    Examples:
      alembic-enterprise jobs render pg_cron
      alembic-enterprise jobs render pg_cron --url env:DATABASE_URL | psql shop
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise.jobs.pg_cron import render_jobs  # noqa: PLC0415  # --help stays fast

    when = parse(schedule)

    def rendered(connection: "Connection") -> str:
        return render_jobs(connection, when)

    _print(target.connected(rendered))


def _print(text: str) -> None:
    write(text.removesuffix("\n"))


def _create(files: dict[Path, str]) -> None:
    """Write files that do not exist yet."""
    for path in files:
        if path.exists():
            raise ConfigurationError(f"{path} exists: remove it first, or give another --name")
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        write(written(path))
