"""`alembic-enterprise init`: an Alembic environment from our templates."""

import os
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.output import write, written

if TYPE_CHECKING:
    from sqlalchemy import URL


@click.command("init")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "-c",
    "--config",
    "file",
    default=lambda: os.environ.get("ALEMBIC_CONFIG", "alembic.ini"),
    metavar="FILE",
    help="The ini file to write.  [default: $ALEMBIC_CONFIG, alembic.ini]",
)
@click.option(
    "-n",
    "--name",
    default="alembic",
    metavar="SECTION",
    show_default=True,
    help="Section of the ini file to write.",
)
@click.option(
    "--url",
    metavar="URL",
    help="Database to name in the ini file: postgresql://user@host/database. A password in it is "
    "written there, too; PGPASSWORD and PGPASSFILE keep it out.",
)
@click.option("--async", "asynchronous", is_flag=True, help="Connect with an asyncio driver.")
def command(directory: str, file: str, name: str, url: str | None, *, asynchronous: bool) -> None:
    """Make an Alembic environment in the new folder DIR.

    Its env.py has all that alembic-enterprise needs: the plugin, a lock_timeout, one transaction
    for each migration. Writes alembic.ini as well, and overwrites nothing.

    \b
    Examples:
      alembic-enterprise init migrations
      alembic-enterprise init --url postgresql://app@localhost/shop migrations
      alembic-enterprise init --async shop/migrations

    For a project that has migrations already, run `alembic-enterprise doctor` instead: it says what
    to add.
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise import urls  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.project import init  # noqa: PLC0415  # --help stays fast

    parsed = None
    if url is not None:
        parsed = urls.parse(urls.resolved(url), asynchronous=asynchronous)
    for path in init(directory, file, name=name, url=parsed, asynchronous=asynchronous):
        write(written(path))
    write(_next_steps(directory, file, name, parsed, asynchronous=asynchronous))


def _next_steps(
    directory: str, file: str, name: str, url: "URL | None", *, asynchronous: bool
) -> str:
    option = "" if file == "alembic.ini" else f" -c {file}"
    option += "" if name == "alembic" else f" -n {name}"
    is_asyncpg = url is not None and url.get_driver_name() == "asyncpg"
    packages = '"sqlalchemy[asyncio]" asyncpg' if is_asyncpg else '"sqlalchemy[asyncio]"'
    steps = [
        *([f"pip install {packages}"] if asynchronous else []),
        *_about_url(url, file),
        f"in {directory}/env.py, import your models and set target_metadata",
        f"alembic-enterprise doctor{option}",
        f'alembic{option} revision --autogenerate -m "first"',
        f"alembic{option} upgrade head",
    ]
    lines = [f"  {number}. {step}" for number, step in enumerate(steps, 1)]
    return "\n".join(["", "Next:", *lines])


def _about_url(url: "URL | None", file: str) -> list[str]:
    if url is None:
        return [f"in {file}, set sqlalchemy.url"]
    if not (url.password or "password" in url.query):
        return []
    away = "take it out and let PGPASSWORD or PGPASSFILE give it"
    return [f"{file} holds the password: chmod 600 {file}, or {away}"]
