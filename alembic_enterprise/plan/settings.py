"""`[tool.alembic-enterprise]` of a project's pyproject.toml, and the waivers of its migrations."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import Script

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.plan import accepted, advice, rules
from alembic_enterprise.plan.accepted import Accepted

RULE_IDS = frozenset([*rules.RULES, *advice.EXPLANATIONS])
"""Those of all rules but the ones of `accepted` itself."""


def read(config: Config) -> Accepted:
    """What the project accepts: by the pyproject.toml nearest to Alembic's configuration file.

    Raises:
        ConfigurationError: the file is not TOML, or a key, a rule or a value in it is unknown.
    """
    here = Path(config.config_file_name or "alembic.ini").resolve().parent
    files = [folder / "pyproject.toml" for folder in (here, *here.parents)]
    file = next((file for file in files if file.is_file()), None)
    return accepted.declared({} if file is None else _section(file), RULE_IDS)


def _section(file: Path) -> Mapping[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}: correct it") from error
    section: Mapping[str, Any] = content.get("tool", {}).get("alembic-enterprise", {})
    return section


def with_waivers(known: Accepted, scripts: Iterable[Script], home: Path) -> Accepted:
    """The same with the waivers that migrations have of findings about themselves.

    Args:
        known: what the project accepts.
        scripts: those that are pending.
        home: the folder to which their paths are relative.
    """
    more = [
        waiver
        for script in scripts
        for waiver in accepted.waivers(
            getattr(script.module, accepted.WAIVERS, []), RULE_IDS, path(Path(script.path), home)
        )
    ]
    return replace(known, waivers=(*known.waivers, *more))


def path(file: Path, home: Path) -> str:
    """A file as a reader knows it: relative to the folder, if it is there."""
    file = file.resolve()
    return str(file.relative_to(home)) if file.is_relative_to(home) else str(file)
