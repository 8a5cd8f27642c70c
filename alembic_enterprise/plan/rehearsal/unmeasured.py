"""The statements of scripts as `--sql` writes them, for a plan without a shadow."""

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta

from alembic.config import Config
from alembic.script import Script

from alembic_enterprise.plan.rehearsal.phrases import (
    begins_transaction,
    ends_transaction,
    is_query,
    is_silent,
    named,
    readable,
)
from alembic_enterprise.plan.rehearsal.rehearse import Performed
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.plan.shadow.statements import statements
from alembic_enterprise.sql import Name


def written(
    config: Config, scripts: Iterable[Script], version_table: Name, *, is_one_transaction: bool
) -> list[Performed]:
    """The statements of upgrades in order. Nothing is known of their effects.

    Args:
        config: Alembic's configuration of the project.
        scripts: in the order in which they run.
        version_table: whose statements are Alembic's own, and left out.
        is_one_transaction: whether a script goes on in the transaction that another one has left.

    Raises:
        ConfigurationError: env.py fails.
        CommandError: a script cannot be run without a database.
    """
    name = rf'(?:\S+\.)?"?{re.escape(version_table.name)}"?'
    own = re.compile(rf"(CREATE TABLE|INSERT INTO|UPDATE|DELETE FROM) {name}\s")
    performed: list[Performed] = []
    for script in scripts:
        last = performed[-1] if performed else None
        first = 1 if last is None else last.transaction + 1
        if is_one_transaction and last is not None and last.transactional:
            first = last.transaction
        performed += _of_script(script.revision, replay.offline(config, [script]), own, first)
    return performed


def _of_script(
    revision: str, script: str, own: re.Pattern[str], transaction: int
) -> Iterator[Performed]:
    is_inside, lock_timeout = False, None
    for item in statements(script):
        text = item.text.removesuffix(";").removesuffix(r"\gexec").strip()
        if found := _LOCK_TIMEOUT.match(text):
            lock_timeout = timedelta(**{_UNITS[found[2] or "ms"]: int(found[1])}) or None
        elif begins_transaction(text):
            is_inside = True
        elif ends_transaction(text):
            is_inside, transaction = False, transaction + 1
        elif not (is_silent(text) or is_query(text) or own.match(text)):
            yield Performed(
                readable(_shortened(text)),
                revision,
                transaction,
                transactional=is_inside,
                lock_timeout=lock_timeout,
                names=named(text) if _is_shown_short(text) else None,
            )
            transaction += not is_inside


_LOCK_TIMEOUT = re.compile(
    r"SET (?:LOCAL |SESSION )?lock_timeout (?:=|TO) '?(\d+) ?(ms|s|min|h)?'?$", re.IGNORECASE
)
_UNITS = {"ms": "milliseconds", "s": "seconds", "min": "minutes", "h": "hours"}


def _shortened(text: str) -> str:
    """A block by its first line: of the others there are many."""
    return f"{text.splitlines()[0]} ..." if _is_shown_short(text) else text


def _is_shown_short(text: str) -> bool:
    return text.startswith("DO ")
