"""How the table of locks is compared with a measurement, and written."""

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from alembic_enterprise.plan.locks.table import Effect, LockMode, Role, Table

Member = TypeVar("Member", bound=StrEnum)


def updated(table: Table, measured: Table) -> Table:
    """A table with what another one measured; forms which that one lacks are gone."""
    effects = {
        form: {**table.effects.get(form, {}), **of_majors}
        for form, of_majors in measured.effects.items()
    }
    return Table({**table.servers, **measured.servers}, effects)


def disagreements(table: Table, measured: Table) -> list[str]:
    """Where a measurement differs from a table, a line for each form and version.

    Forms and versions that were not measured are left alone.
    """
    return [
        f"{form} on {major}: {_difference(table.effects.get(form, {}).get(major), effect)}"
        for form, effects in sorted(measured.effects.items())
        for major, effect in sorted(effects.items())
        if table.effects.get(form, {}).get(major) != effect
    ]


def text(table: Table) -> str:
    """What the file holds: a line for each effect, so that a change is a line of its own."""
    servers = {str(major): table.servers[major] for major in sorted(table.servers)}
    forms = ",\n".join(
        f"  {json.dumps(form)}: [\n{_lines(table.effects[form])}\n  ]"
        for form in sorted(table.effects)
    )
    return f'{{\n "servers": {json.dumps(servers)},\n "forms": {{\n{forms}\n }}\n}}\n'


def _lines(effects: Mapping[int, Effect]) -> str:
    """The effects of a form as lines of JSON, each once, with the versions that it was seen on."""
    majors: dict[str, list[int]] = {}
    for major in sorted(effects):
        majors.setdefault(json.dumps(_plain(effects[major])), []).append(major)
    return ",\n".join(f'   {{"majors": {seen}, "effect": {one}}}' for one, seen in majors.items())


def _difference(known: Effect | None, measured: Effect) -> str:
    """In which parts an effect differs from the table."""
    if known is None:
        return "the table does not have it"
    before, after = _plain(known), _plain(measured)
    return "; ".join(
        f"{part} {json.dumps(after.get(part))} was measured, not {json.dumps(before.get(part))}"
        for part in {**before, **after}
        if before.get(part) != after.get(part)
    )


def _plain(effect: Effect) -> dict[str, Any]:
    """An effect as plain values in a fixed order, without those that are as usual."""
    roles = _ordered(Role, effect.locks)
    values = {
        "locks": {role: _ordered(LockMode, effect.locks[role]) for role in roles},
        "rewrites": _ordered(Role, effect.rewrites),
        "scans": _ordered(Role, effect.scans),
    }
    found: dict[str, Any] = {name: value for name, value in values.items() if value}
    if not effect.in_transaction:
        found["in_transaction"] = False
    if effect.refused is not None:
        found["refused"] = effect.refused
    return found


def _ordered(kind: Iterable[Member], members: Iterable[Member]) -> list[Member]:
    """Members of an enumeration in the order in which it declares them."""
    return sorted(members, key=list(kind).index)
