"""The sample project, on a database of a test."""

from io import StringIO
from pathlib import Path

from alembic.config import Config

SAMPLE = Path(__file__).parents[1] / "sample_project"


def configured(database_url: str) -> Config:
    """The sample's configuration without its file, which would set up logging for all tests."""
    config = Config(output_buffer=StringIO())
    config.set_main_option("script_location", str(SAMPLE / "migrations"))
    config.set_main_option("prepend_sys_path", str(SAMPLE))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    return config
