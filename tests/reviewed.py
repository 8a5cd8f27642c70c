"""A small project in a folder, whose release is reviewed.

project = Project(folder, database_url)
project.revision("a1", None, FIRST)
project.upgrade()
"""

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config

from alembic_enterprise.resources import templates_directory

NAMES = """
import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, DateTime, Index, Numeric, Table, Text
from alembic_enterprise import AuditTrail, RangePartitions
"""
CUSTOMERS = """
Table("customers", target_metadata, Column("id", BigInteger, primary_key=True),
      Column("email", Text, nullable=False))
"""
EVENTS = """
Table("events", target_metadata, Column("id", BigInteger, primary_key=True),
      Column("at", DateTime(timezone=True), primary_key=True),
      RangePartitions("at", every="month", ahead=2))
"""
FIRST = """
op.create_table("customers", sa.Column("id", sa.BigInteger(), primary_key=True),
                sa.Column("email", sa.Text(), nullable=False))
op.create_table("events", sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
                sa.Column("at", sa.DateTime(timezone=True), primary_key=True),
                postgresql_partition_by="RANGE (at)")
op.create_range_partitions("events", every="month", start="2026-09-01", ahead=2)
op.set_partition_policy("events", every="month", ahead=2)
"""
UNDONE = """
op.drop_table("events")
op.drop_table("customers")
"""
SCRIPT = '''"""{0}"""

import sqlalchemy as sa
from alembic import op

revision = "{0}"
down_revision = {1!r}
{2}

def upgrade():
    {3}


def downgrade():
    {4}
'''


@dataclass(frozen=True)
class Project:
    """An Alembic project, with its models in env.py."""

    folder: Path
    database_url: str

    def __post_init__(self) -> None:
        (self.folder / "versions").mkdir(parents=True)
        self.models(CUSTOMERS, EVENTS)
        template = templates_directory() / "enterprise" / "script.py.mako"
        (self.folder / "script.py.mako").write_text(template.read_text(encoding="utf-8"))
        url = self.database_url.replace("%", "%%")
        (self.folder / "alembic.ini").write_text(
            f"[alembic]\nscript_location = %(here)s\nsqlalchemy.url = {url}\n", encoding="utf-8"
        )

    def models(self, *tables: str) -> None:
        """Declare tables."""
        declared = f"{NAMES}\ntarget_metadata = MetaData()\n{''.join(tables)}"
        template = (templates_directory() / "enterprise" / "env.py").read_text(encoding="utf-8")
        text = template.replace("target_metadata: MetaData | None = None", declared)
        assert declared in text
        # Without the file's section of logging, which pytest would be deaf after.
        text = text.replace("if config.config_file_name is not None:", "if False:")
        (self.folder / "env.py").write_text(text, encoding="utf-8")

    def revision(
        self, name: str, after: str | None, up: str, down: str = "pass", more: str = ""
    ) -> None:
        """Write a script."""
        bodies = (text.strip().replace("\n", "\n    ") for text in (up, down))
        text = SCRIPT.format(name, after, more, *bodies)
        (self.folder / "versions" / f"{name}.py").write_text(text, encoding="utf-8")

    @property
    def config(self) -> Config:
        """Alembic's configuration of the project."""
        return Config(self.folder / "alembic.ini")

    def upgrade(self) -> None:
        """Migrate the database to the newest revision."""
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            command.upgrade(self.config, "head")


def begun(folder: Path, database_url: str) -> Project:
    """A project whose database is in order."""
    project = Project(folder, database_url)
    project.revision("a1", None, FIRST, UNDONE)
    project.upgrade()
    return project
