"""The statements of scripts as `--sql` writes them, for a plan without a shadow."""

import re
from collections.abc import Iterable, Iterator

from alembic.config import Config
from alembic.script import Script

from alembic_enterprise.plan.rehearsal.phrases import (
    ends_transaction,
    is_query,
    is_silent,
    readable,
)
from alembic_enterprise.plan.rehearsal.rehearse import Performed
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.plan.shadow.statements import statements
from alembic_enterprise.sql import Name


def written(config: Config, scripts: Iterable[Script], version_table: Name) -> list[Performed]:
    """The statements of upgrades in order. Nothing is known of their effects.

    Args:
        config: Alembic's configuration of the project.
        scripts: in the order in which they run.
        version_table: whose statements are Alembic's own, and left out.

    Raises:
        ConfigurationError: env.py fails.
        CommandError: a script cannot be run without a database.
    """
    own = re.compile(rf'\b{re.escape(version_table.name)}"?\b')
    performed: list[Performed] = []
    for script in scripts:
        first = performed[-1].transaction + 1 if performed else 1
        performed += _of_script(script.revision, replay.offline(config, [script]), own, first)
    return performed


def _of_script(
    revision: str, script: str, own: re.Pattern[str], transaction: int
) -> Iterator[Performed]:
    is_inside = False
    for item in statements(script):
        text = item.text.removesuffix(";").removesuffix(r"\gexec").strip()
        if ends_transaction(text):
            is_inside = item.words[:1] == ("BEGIN",)
            transaction += not is_inside
        elif not (is_silent(text) or is_query(text) or own.search(text)):
            told = readable(text)
            yield Performed(told, revision, transaction, transactional=is_inside)
            transaction += not is_inside
