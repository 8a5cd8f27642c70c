"""The texts of `audit status`, `audit history` and `audit report`."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any

import click

from alembic_enterprise.audit import capture
from alembic_enterprise.audit.history import PARTS
from alembic_enterprise.audit.report import Change, RowHistory
from alembic_enterprise.audit.status import Status
from alembic_enterprise.cli.output import (
    COLUMNS,
    about,
    fitted,
    labelled,
    speaks_unicode,
    width,
)
from alembic_enterprise.cli.partitions_list_text import expiry
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.wording import counted, in_bytes, printable

FIELD = 20
"""Columns of the name of a field."""


def statuses_text(statuses: Iterable[Status]) -> str:
    """The text of `audit status`."""
    blocks = [_status(known) for known in statuses]
    return "\n\n".join(["Audited tables", *(blocks or ["There are none."])])


def _status(known: Status) -> str:
    name, history = printable(str(known.table.name)), printable(str(known.table.history))
    lines = [f"{click.style(name, bold=True)}  {history}"]
    lines += labelled(_facts(known))
    return "\n".join(lines)


def _facts(known: Status) -> list[tuple[str, str]]:
    """Labels and words of one table, without what does not concern it."""
    trail = known.table.trail
    rows = about(known.rows, known.unknown, "partition")
    size = f"{counted(known.partitions, 'partition')}, {in_bytes(known.size)}"
    facts = [
        ("since", _since(known)),
        ("history", f"{size}, {rows}"),
        ("retention", _retention(known.retain, capture.policy(trail))),
        ("triggers", _triggers(known)),
        ("excluded", _names(trail.exclude)),
        ("masked", _names(trail.mask)),
        ("hashed", _names(trail.hash)),
        ("actor", "required" if trail.require_actor else ""),
        ("readers", _names(trail.readers)),
        ("drift", _drift(known)),
    ]
    return [(label, words) for label, words in facts if words]


def _since(known: Status) -> str:
    if known.unreadable is not None:
        return f"unknown: {printable(known.unreadable)}"
    return "-" if known.since is None else f"{known.since:%Y-%m-%d %H:%M} UTC"


def _retention(retain: int | None, policy: Policy) -> str:
    """What is kept, by the live policy; `policy` is the one that the trail asks for."""
    if retain is None and policy.retain is not None:
        return "unknown: its policy is missing, or this role may not read it"
    if retain is None:
        return "all kept"
    return f"{counted(retain, 'whole month')} kept, then {expiry(policy)}"


def _names(names: Iterable[str]) -> str:
    return printable(", ".join(names))


def _triggers(known: Status) -> str:
    if known.enabled == known.triggers:
        return f"all {known.triggers} enabled"
    return click.style(f"only {known.enabled} of {known.triggers} enabled", fg="red")


def _drift(known: Status) -> str:
    count = len(known.table.drift)
    if not count:
        return ""
    words = f"{counted(count, 'thing')}: run `alembic-enterprise audit check`"
    return click.style(words, fg="red")


def history_text(found: RowHistory) -> str:
    """The text of `audit history`."""
    key = ", ".join(f"{column} = {value}" for column, value in found.key.items())
    blocks = [f"{click.style(printable(str(found.table)), bold=True)}  {printable(key)}"]
    for item in found.events:
        is_event = item.action in PARTS
        of = f" of {(item.context or {}).get('relation')}" if is_event else ""
        lines = [_head(item.at, f"{item.action}{of}{_by(item.actor)}")]
        lines += _with(_asked(item.context, is_event=is_event))
        lines += [_line(field, *values) for field, values in item.changes.items()]
        if item.action == "update" and not item.changes:
            lines.append("  no value that is kept has changed")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks if found.events else [*blocks, "Nothing is known of it."])


def changes_text(changes: Iterable[Change]) -> Iterator[str]:
    """The lines of `audit report`: a head for each change of a row, and a line for each field."""
    none = True
    for (at, table, actor, key, context), group in groupby(changes, _row):
        none = False
        yield from _heads(at, f"{table}{_by(actor)}", key)
        yield from _with(context)
        for item in group:
            if item.field is None:
                event = item.context or {}
                yield printable(f"  {event.get('action')} of {event.get('relation')}")
            else:
                yield _line(item.field, item.old_value, item.new_value)
    if none:
        yield "No changes."


def _row(item: Change) -> tuple[datetime, str, str | None, str, Mapping[str, Any]]:
    asked = _asked(item.context, is_event=item.field is None)
    return item.changed_at, item.table, item.changed_by, _pairs(item.key), asked


def _by(actor: str | None) -> str:
    return "" if actor is None else f" by {actor}"


def _heads(at: datetime, words: str, key: str) -> Iterator[str]:
    """The head of a change, with the key of the row: in lines of its own where it is long."""
    whole = _begun(at, f"{words}  {key}".rstrip())
    if width(whole) <= COLUMNS:
        yield whole
        return
    yield _head(at, words)
    yield from _wrapped(key)


def _asked(context: Mapping[str, Any] | None, *, is_event: bool) -> Mapping[str, Any]:
    """What `actor()` was given; what became of a partition stands around it."""
    known = context or {}
    return known.get("context", {}) if is_event else known


def _with(context: Mapping[str, Any]) -> Iterator[str]:
    """What `actor()` was given besides the name, such as the id of a request."""
    if context:
        yield from _wrapped(f"with {_pairs(context)}")


def _wrapped(words: str) -> Iterator[str]:
    for line in textwrap.wrap(printable(words), COLUMNS - 4, break_on_hyphens=False):
        yield fitted(f"    {line}", COLUMNS, _symbols()[1]).rstrip()


def _begun(at: datetime, words: str) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC  {printable(words)}"


def _head(at: datetime, words: str) -> str:
    return fitted(_begun(at, words), COLUMNS, _symbols()[1]).rstrip()


def _pairs(values: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} = {_shown(value)}" for name, value in (values or {}).items())


def _line(field: str, old: str | None, new: str | None) -> str:
    """A field: what it was, unless there was nothing, and what it is."""
    arrow, ellipsis = _symbols()
    name = fitted(printable(field), FIELD, ellipsis)
    shown = [printable(_shown(value)) for value in (old, new)]
    words = f"{shown[0]} {arrow} {shown[1]}" if old is not None else f"{arrow} {shown[1]}"
    return f"  {name} {fitted(words, COLUMNS - FIELD - 3, ellipsis)}".rstrip()


def _symbols() -> tuple[str, str]:
    """An arrow, and what shows that something is cut."""
    return ("→", "…") if speaks_unicode() else ("->", "~")


def _shown(value: Any) -> str:
    if value is None:
        return "NULL"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
