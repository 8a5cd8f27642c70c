"""What a project says of itself in pyproject.toml, and what its migrations waive."""

import re
from datetime import date
from inspect import getsource
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from alembic_enterprise.audit import advise as audit
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.indexes.rules import RULES as INDEX_RULES
from alembic_enterprise.partitions import advise as partitions
from alembic_enterprise.partitions import leaving
from alembic_enterprise.plan import settings
from alembic_enterprise.plan.accepted import Accepted
from alembic_enterprise.plan.advice import EXPLANATIONS
from alembic_enterprise.shards import advise as shards

WAIVED = """
revision = "a1"
down_revision = None
alembic_enterprise_waivers = [
    {"rule": "missing-primary-key", "table": "events", "reason": "rows", "expires": "2027-01-31"}
]


def upgrade():
    pass
"""


def project(folder: Path, section: str | None) -> Config:
    """A project in a folder inside of that which has the pyproject.toml."""
    (folder / "db" / "versions").mkdir(parents=True)
    if section is not None:
        (folder / "pyproject.toml").write_text(section, encoding="utf-8")
    config = Config(folder / "db" / "alembic.ini")
    config.set_main_option("script_location", str(folder / "db"))
    return config


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    config = project(tmp_path, '[tool.alembic-enterprise]\nprotected-tables = ["public.orders"]')
    assert settings.read(config).protected == ("public.orders",)
    (tmp_path / "db" / "pyproject.toml").write_text("[tool.other]\nx = 1", encoding="utf-8")
    assert settings.read(config) == Accepted()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("[tool.alembic-enterprise", "cannot be read"),
        ("[tool.alembic-enterprise]\nrule = 1", "'rule' is not a key: write one of"),
        (
            '[tool.alembic-enterprise.rules]\nunused = "off"',
            "'unused' is not a rule, but unused-index is",
        ),
    ],
)
def test_what_cannot_be_read_is_said_with_its_file(tmp_path: Path, section: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as raised:
        settings.read(project(tmp_path, section))
    assert "pyproject.toml" in str(raised.value)


def test_a_migration_waives_findings_about_itself(tmp_path: Path) -> None:
    config = project(tmp_path, None)
    (tmp_path / "db" / "versions" / "a1.py").write_text(WAIVED, encoding="utf-8")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    [waiver] = settings.with_waivers(Accepted(), scripts, tmp_path).waivers
    assert (waiver.rule, waiver.table) == ("missing-primary-key", "events")
    assert (waiver.path, waiver.expires) == ("db/versions/a1.py", date(2027, 1, 31))


def test_every_rule_of_the_capabilities_can_be_named() -> None:
    sources = "".join(map(getsource, (partitions, leaving, shards, audit)))
    given = set(re.findall(r'(?:Finding\(\s*|rule, told = )"([a-z-]+)"', sources))
    assert len(given) > 20
    assert given == EXPLANATIONS.keys() - INDEX_RULES.keys()
