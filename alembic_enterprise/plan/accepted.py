"""What a project accepts in a plan: `[tool.alembic-enterprise]` of pyproject.toml, and waivers.

    [tool.alembic-enterprise]
    protected-tables = ["public.orders"]

    [tool.alembic-enterprise.rules]
    redundant-index = "off"
    unused-index = { severity = "error", below = { "1GB" = "note", "10MB" = "off" } }

    [[tool.alembic-enterprise.waivers]]
    rule = "missing-primary-key"
    table = "public.events"
    reason = "rows are only ever added, and read as a whole"
    expires = 2027-01-31

A migration waives findings about itself with a list of the same: `alembic_enterprise_waivers`.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from difflib import get_close_matches
from typing import Any, Literal, cast

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding, Severity
from alembic_enterprise.plan.model import Basis, PlanFinding, Step, Waiver, is_called
from alembic_enterprise.plan.rehearsal.phrases import rights
from alembic_enterprise.wording import bytes_of

Level = Severity | Literal["off"]
"""How severe the findings of a rule are; "off" leaves them out."""

LEVELS: tuple[Level, ...] = ("error", "warning", "note", "off")
"""The most severe first."""

PROTECTED = "protected-table"
MISSING = "protected-table-missing"
EXPIRED = "waiver-expired"
UNUSED = "waiver-unused"
EXPLANATIONS: Mapping[str, str] = {
    PROTECTED: """A step changes a table that the project protects.

pyproject.toml lists tables that no release changes by the way: protected-tables
in [tool.alembic-enterprise]. Each step is reported that does more with one of
them than read it, that changes who may use it, or whose effect is not known. A
table goes by its name in the live database, also after the release has renamed
it.

Asks for a waiver, with a reason and a last day, or for another release.

Costs a word with those who look after the table.

Leave it in no case: what is protected in vain should not be in the list.""",
    MISSING: """A protected table does not exist in the database.

Its name in protected-tables is written wrong, or the table is gone, and
nothing is protected.

Asks for its schema and name as they are in the database, with or without
quotes; or for taking it out of pyproject.toml.

Costs nothing.

Leave it when a release to come makes the table.""",
    EXPIRED: """The last day of a waiver is over.

What it accepted counts again. A waiver is a promise to come back to something,
and this is the day.

Asks for mending what it was of; or for another day, and a reason that still
holds.

Costs what was put off.

Leave it until it is in the way of a release.""",
    UNUSED: """A waiver is of nothing that is there.

What it accepted is gone, or its rule or table is written wrong. Left there, it
would accept the next fault of the kind without a question.

Asks for taking it out of pyproject.toml or of the migration.

Costs nothing.

Leave it when the finding comes and goes.""",
}
"""What `explain` prints of the rules of this module; waivers are of the first one only."""

WAIVERS = "alembic_enterprise_waivers"
"""The name of the list in a migration."""

HOME = "pyproject.toml: [tool.alembic-enterprise]"


@dataclass(frozen=True)
class RuleSetting:
    """How severe the findings of a rule are.

    Attributes:
        severity: None for what the rule says itself.
        below: what they are instead in tables of fewer bytes, the smallest limit first.
    """

    severity: Level | None = None
    below: tuple[tuple[int, Level], ...] = ()

    def level(self, finding: Finding) -> Level:
        """How severe a finding is; a table of unknown size counts as a large one."""
        size = finding.evidence.get("table_bytes")
        for limit, level in self.below:
            if size is not None and size < limit:
                return level
        return self.severity or finding.severity


@dataclass(frozen=True)
class Accepted:
    """What a project accepts.

    Attributes:
        rules: those that are not as usual.
        protected: tables that no step may change without a waiver, with or without their schema.
    """

    rules: Mapping[str, RuleSetting] = field(default_factory=dict[str, RuleSetting])
    protected: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()


def declared(section: Mapping[str, Any], rules: Collection[str]) -> Accepted:
    """What a section of pyproject.toml accepts.

    Args:
        section: `[tool.alembic-enterprise]`, as tomllib reads it; empty when there is none.
        rules: the ids of all rules but those of this module.

    Raises:
        ConfigurationError: a key, rule or value is unknown; the message lists those allowed.
    """
    known = {*rules, *EXPLANATIONS}
    _only(HOME, section, ("protected-tables", "rules", "waivers"))
    settings = _table(f"{HOME}.rules", section.get("rules", {}))
    for rule in settings:
        _rule(f"{HOME}.rules", rule, known)
    return Accepted(
        {rule: _setting(f"{HOME}.rules.{rule}", value) for rule, value in settings.items()},
        tuple(_texts(f"{HOME}: protected-tables", section.get("protected-tables", []))),
        waivers(section.get("waivers", []), rules),
    )


def _setting(place: str, value: Any) -> RuleSetting:
    if isinstance(value, str):
        return RuleSetting(_level(place, value))
    table = _table(place, value)
    _only(place, table, ("severity", "below"))
    below = _table(f"{place}.below", table.get("below", {}))
    limits: list[tuple[int, Level]] = [
        (_bytes(place, size), _level(place, level)) for size, level in below.items()
    ]
    severity = _level(place, table["severity"]) if "severity" in table else None
    return RuleSetting(severity, tuple(sorted(limits)))


def _level(place: str, value: Any) -> Level:
    _one_of(place, "severity", value, LEVELS)
    return next(level for level in LEVELS if level == value)


def _bytes(place: str, size: str) -> int:
    found = bytes_of(size)
    if found is None:
        raise ConfigurationError(f"{place}: {size!r} is not a size: write 500kB, 10MB or 2GB")
    return found


def waivers(value: Any, rules: Collection[str], path: str | None = None) -> tuple[Waiver, ...]:
    """The waivers of pyproject.toml, or of a migration.

    Args:
        value: a list of tables, as it stands there.
        rules: as for `declared`.
        path: of the migration; None for pyproject.toml.

    Raises:
        ConfigurationError: a waiver lacks its rule, table, reason or expiry, or has another key.
    """
    place = f"{HOME}.waivers" if path is None else f"{path}: {WAIVERS}"
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigurationError(f"{place} is not a list: write one of tables, {_EXAMPLE}")
    items = cast("Sequence[object]", value)
    allowed = {*rules, PROTECTED}
    return tuple(
        _waiver(f"{place}[{position}]", _table(f"{place}[{position}]", item), allowed, path)
        for position, item in enumerate(items)
    )


_EXAMPLE = '{ rule = "...", table = "...", reason = "...", expires = 2027-01-31 }'


def _waiver(
    place: str, item: Mapping[str, Any], rules: Collection[str], path: str | None
) -> Waiver:
    keys = ("rule", "table", "reason", "expires")
    place += f" ({item['rule']})" if item.get("rule") else ""
    _only(place, item, keys)
    if missing := [key for key in keys if item.get(key) in (None, "")]:
        raise ConfigurationError(
            f"{place} has no {' and no '.join(missing)}: a waiver needs rule, table, reason "
            "and expires"
        )
    _rule(place, item["rule"], rules)
    table, reason = _texts(place, [item["table"], item["reason"]])
    if not reason.strip():
        raise ConfigurationError(f"{place} has no reason: say why it is accepted")
    return Waiver(str(item["rule"]), table, reason, _day(place, item["expires"]), path)


def _day(place: str, value: Any) -> date:
    """A date, as TOML has them, or its text in ISO 8601."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise ConfigurationError(
            f"{place}: expires = {value} is not a date: write the last day, such as 2027-01-31"
        ) from error


def _only(place: str, given: Mapping[str, Any], allowed: Collection[str]) -> None:
    for key in given:
        _one_of(place, "key", key, allowed)


def _one_of(place: str, kind: str, value: Any, allowed: Collection[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ConfigurationError(
            f"{place}: {value!r} is not a {kind}: write one of {', '.join(sorted(allowed))}"
        )


def _rule(place: str, value: Any, known: Collection[str]) -> None:
    if not isinstance(value, str) or value not in known:
        near = get_close_matches(str(value), sorted(known), 1)
        meant = f", but {near[0]} is" if near else ""
        raise ConfigurationError(
            f"{place}: {value!r} is not a rule{meant}: `alembic-enterprise explain` lists them"
        )


def _table(place: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{place} is not a table: write keys and values")
    return cast("Mapping[str, Any]", value)


def _texts(place: str, value: Any) -> list[str]:
    given = cast("list[object]", value) if isinstance(value, list) else [None]
    texts = [item for item in given if isinstance(item, str) and item]
    if len(texts) < len(given):
        example = 'write ["...", "..."]'
        raise ConfigurationError(f"{place}: {value!r} is not a list of strings: {example}")
    return texts


def protected(
    steps: Iterable[Step], accepted: Accepted, tables: Collection[str]
) -> Iterator[PlanFinding]:
    """A finding for each step and protected table that it changes, or may change.

    One for each name besides that no table has.

    Args:
        steps: of the plan.
        accepted: what the project accepts.
        tables: those of the live database, by schema and name.
    """
    there = {*tables}
    for step in steps:
        changed = _changed(step, tables)
        there |= changed.keys() | {*changed.values()}
        is_told = set[str]()
        for called, name in changed.items():
            is_protected = any(is_called(called, given) for given in accepted.protected)
            if is_protected and name not in is_told:
                is_told.add(name)
                yield PlanFinding(_protection(name), step.number)
    for given in accepted.protected:
        if not any(is_called(table, given) for table in there):
            yield PlanFinding(_missing(given))


def _changed(step: Step, tables: Collection[str]) -> dict[str, str]:
    """The tables that a step does more with than read; all it is about when that is unknown.

    By all that they are called, as a release may rename them; their live names are the values.
    """
    on = rights(step.statement)
    changed = {table: table for table in tables if any(_is_on(one, table) for one in on)}
    if step.basis is Basis.UNKNOWN:
        return changed | {touched.table: touched.table for touched in step.tables}
    for item in step.effects:
        if item.held_since is not None or item.only_reads:
            continue
        changed[item.table] = item.table
        changed[item.relation] = item.relation
        if item.called and item.relation in tables:
            changed[item.called] = item.relation
    return changed


_IN_SCHEMA = re.compile(r"ALL\s+TABLES\s+IN\s+SCHEMA\s+", re.IGNORECASE)


def _is_on(on: str, table: str) -> bool:
    """Whether rights are on a table, or on all of its schema."""
    schemas = _IN_SCHEMA.match(on)
    names = (on if schemas is None else on[schemas.end() :]).split(",")
    plain = [name.strip() if '"' in name else name.strip().lower() for name in names]
    if schemas is not None:
        return table.partition(".")[0] in {name.strip('"') for name in plain}
    return any(is_called(table, name) for name in plain)


def _missing(name: str) -> Finding:
    message = (
        "no table of the database is called so, and nothing is protected: write schema and name as "
        "they are there, or take it out of protected-tables"
    )
    return Finding(MISSING, "warning", name, message)


def _protection(table: str) -> Finding:
    message = (
        "pyproject.toml protects this table (protected-tables): take the change out of the "
        f"release, or waive {PROTECTED} for it, with a reason"
    )
    return Finding(PROTECTED, "error", table, message)


def applied(findings: Iterable[PlanFinding], accepted: Accepted, today: date) -> list[PlanFinding]:
    """The findings as the project accepts them, the most severe first.

    Those of rules that are off are gone; a waiver stands beside what it is of. Waivers that have
    expired, or are of nothing, are findings themselves.

    Args:
        findings: as the rules give them.
        accepted: with the waivers of the pending migrations, too.
        today: the day on which the plan is made.
    """
    levelled = [item for given in findings if (item := _levelled(given, accepted)) is not None]
    holding = [waiver for waiver in accepted.waivers if today <= waiver.expires]
    found = [_waived(item, holding) for item in levelled]
    for waiver in accepted.waivers:
        remark = _remark(waiver, levelled, today)
        if remark is not None and (item := _levelled(remark, accepted)) is not None:
            found.append(item)
    return sorted(found, key=_order)


def _levelled(given: PlanFinding, accepted: Accepted) -> PlanFinding | None:
    level = accepted.rules.get(given.finding.rule, RuleSetting()).level(given.finding)
    if level == "off":
        return None
    return replace(given, finding=replace(given.finding, severity=level))


def _waived(item: PlanFinding, waivers: Iterable[Waiver]) -> PlanFinding:
    return replace(item, waiver=next((one for one in waivers if one.covers(item)), None))


def _remark(waiver: Waiver, found: Iterable[PlanFinding], today: date) -> PlanFinding | None:
    """What is to be said of a waiver."""
    if waiver.expires < today:
        message = f"the waiver of {waiver.rule} expired on {waiver.expires}: mend it, or renew it"
        return PlanFinding(Finding(EXPIRED, "warning", waiver.table, message), path=waiver.path)
    if any(waiver.covers(item) for item in found):
        return None
    message = f"this waiver of {waiver.rule} matches no finding: remove it"
    return PlanFinding(Finding(UNUSED, "note", waiver.table, message), path=waiver.path)


def _order(item: PlanFinding) -> tuple[bool, int]:
    return item.waiver is not None, LEVELS.index(item.finding.severity)
