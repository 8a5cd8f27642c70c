"""A new Alembic environment, from the templates that ship with the package."""

from argparse import Namespace
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.resources import templates_directory


def init(directory: str, file: str, *, asynchronous: bool = False) -> list[str]:
    """Make an environment in a new or empty folder and return the files that were written.

    Args:
        directory: the folder.
        file: the ini file to write.
        asynchronous: whether env.py connects with an asyncio driver.

    Raises:
        ConfigurationError: the folder is not empty, or the file is there.
    """
    folder, ini = Path(directory), Path(file)
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(f"{directory} is not empty: give the name of a new folder")
    if ini.exists():
        raise ConfigurationError(
            f"{file} is there: this is an Alembic project. Run `alembic-enterprise doctor` to see "
            "what it needs, or give -c FILE for a second environment"
        )
    template = templates_directory() / ("enterprise_async" if asynchronous else "enterprise")
    config = Config(ini, cmd_opts=Namespace(quiet=True))
    with redirect_stdout(StringIO()):
        command.init(config, directory, template=str(template.resolve()))
    return [file, *sorted(str(path) for path in folder.iterdir() if path.is_file())]
