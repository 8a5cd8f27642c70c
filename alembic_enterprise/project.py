"""A new Alembic environment, from the templates that ship with the package."""

import re
from argparse import Namespace
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.resources import templates_directory

_URL = re.compile("^sqlalchemy.url = .*$", re.MULTILINE)


def init(
    directory: str,
    file: str,
    *,
    name: str = "alembic",
    url: URL | None = None,
    asynchronous: bool = False,
) -> list[str]:
    """Make an environment in a new or empty folder and return the files that were written.

    Args:
        directory: the folder.
        file: the ini file to write.
        name: the section of the ini file.
        url: the database to name there, password included; None leaves a placeholder.
        asynchronous: whether env.py connects with an asyncio driver.

    Raises:
        ConfigurationError: the folder is not empty, the file is there, or the section cannot be
            called so.
    """
    folder, ini = Path(directory), Path(file)
    if not re.fullmatch(r"(?!DEFAULT$|(loggers|handlers|formatters)$)[^\[\]\s]+", name):
        raise ConfigurationError(f"{name!r} is not a section for Alembic: write one word for -n")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(
            f"{directory} is not empty: give the name of a new folder, or run `alembic-enterprise "
            "doctor` to see what an environment that is there needs"
        )
    if ini.exists():
        raise ConfigurationError(
            f"{file} is there: this is an Alembic project. Run `alembic-enterprise doctor` to see "
            "what it needs, or give -c FILE for a second environment"
        )
    template = templates_directory() / ("enterprise_async" if asynchronous else "enterprise")
    config = Config(ini, cmd_opts=Namespace(quiet=True))
    with redirect_stdout(StringIO()):
        command.init(config, directory, template=str(template.resolve()))
    _adapt(ini, name, url)
    return [file, *sorted(str(path) for path in folder.iterdir() if path.is_file())]


def _adapt(ini: Path, name: str, url: URL | None) -> None:
    """Write the name of the section, and the URL, over what the template has."""
    text = ini.read_text(encoding="utf-8").replace("[alembic]", f"[{name}]", 1)
    if url is not None:
        written = url.render_as_string(hide_password=False).replace("%", "%%")
        text = _URL.sub(lambda _: f"sqlalchemy.url = {written}", text)
    ini.write_text(text, encoding="utf-8")
