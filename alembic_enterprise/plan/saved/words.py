"""What a run says of errors, statements and sessions, without the values of rows."""

import re
from collections.abc import Collection
from dataclasses import replace

from sqlalchemy.exc import DBAPIError

from alembic_enterprise.environment import MEND_ENVIRONMENT, MEND_MIGRATION
from alembic_enterprise.locks import Blocker
from alembic_enterprise.plan.rehearsal.phrases import REDACTED, readable
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.sql import sqlstate

STATEMENT = 60
"""How much of a statement is told, in characters."""

_NAMES = re.compile(r'(?:[^\W\d]\w*|"(?:[^"]|"")*"|[\s.,*;])+')


def held_by(blockers: Collection[Blocker]) -> str:
    """The end of a sentence that says who is in the way; empty when nobody is."""
    told = map(without_values, blockers)
    who = "; ".join(map(str, sorted(told, key=lambda item: item.pid)))
    return f", held by {who}" if who else ""


def said(error: Exception) -> str:
    """What happened, in one line, without values and the next step of other commands."""
    if isinstance(error, DBAPIError):
        state = sqlstate(error)
        code = "" if state is None else f" (SQLSTATE {state})"
        return f"{replay.said(error)}{code}"
    told = replay.said(error)
    for step in (MEND_ENVIRONMENT, MEND_MIGRATION):
        told = told.removesuffix(f". {step}")
    return told.rstrip(".")


def shortened(statement: str) -> str:
    """The beginning of a statement, without values of rows."""
    words = " ".join(readable(statement).split())
    return words if len(words) <= STATEMENT else f"{words[:STATEMENT]}..."


def without_values(blocker: Blocker) -> Blocker:
    """A blocker with the beginning of its statement, up to where a value may be.

    The statement was cut off at some length, and maybe in the middle of a literal. A transaction
    that was prepared has none, and its name is needed to end it.
    """
    if not blocker.pid:
        return blocker
    found = _NAMES.match(blocker.query)
    shown = "" if found is None else found[0]
    query = blocker.query if shown == blocker.query else f"{shown.rstrip()} {REDACTED}".strip()
    return replace(blocker, query=query)
