"""A plan as a file, to be applied later: what it was made for, and whether that still stands.

    file = saved(plan, place, live_objects, changed, digests(config, scripts))
    path.write_text(file.text())
    stale(Saved.from_text(path.read_text()), state)     # empty while it holds

It holds definitions of objects (a default, a check or a function has its literals), and neither a
row's values nor a server's address. What might be a password is a digest.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from alembic.config import Config
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from alembic_enterprise.errors import ConfigurationError, EnterpriseError
from alembic_enterprise.plan.model import Outcome, Plan
from alembic_enterprise.plan.saved import fields
from alembic_enterprise.plan.saved.place import Place, differences
from alembic_enterprise.plan.saved.slices import extent, plain, slice_of, touched
from alembic_enterprise.plan.schema.objects import Difference, Key, Objects, compare
from alembic_enterprise.plan.shadow import replay

FORMAT_VERSION = 1
"""Of the file; it changes when a reader of the old shape would go wrong."""

PACKAGES = ("alembic-enterprise", "alembic", "sqlalchemy")
"""Whose versions are kept: what they make of a script may differ."""

UNMEASURED = "it is not known what the steps depend on without a shadow: leave out --no-shadow"
PROPOSING = (
    "only revisions can be applied, and the plan proposes more: give --write -m MESSAGE, too"
)

OF_SQL, OF_SCRIPT = "sql:", "script:"
"""How digests begin."""


@dataclass(frozen=True)
class Saved:
    """A plan that was saved.

    Attributes:
        place: that it was made for.
        sampled_at: when it was read (aware).
        shadow: where the plan was measured.
        versions: of `PACKAGES`, by name.
        start: the revisions that the database was stamped with.
        digests: of each revision to apply, in their order, as `digests` makes them.
        touched: quoted names of what the steps touch.
        objects: what they depend on.
    """

    place: Place
    sampled_at: datetime
    shadow: str
    versions: Mapping[str, str]
    start: tuple[str, ...]
    digests: Mapping[str, str]
    touched: tuple[str, ...]
    objects: Objects

    def is_applied(self, state: "State") -> bool:
        """Whether the database has all revisions of it, perhaps with others."""
        return state.there.issuperset(self.digests)

    def text(self) -> str:
        """The file."""
        return json.dumps(self.document(), indent=2) + "\n"

    def write(self, file: Path) -> None:
        """Write the file; where there was none, nobody else may read it."""
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(self.text())

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a file. Raises `ConfigurationError` if it is not a plan of this format."""
        try:
            document = json.loads(text)
            made = document["format_version"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ConfigurationError(_unreadable("it is not JSON of `plan --out`")) from error
        if made != FORMAT_VERSION:
            raise ConfigurationError(
                f"the plan was saved in format {made}, and this version reads {FORMAT_VERSION}: "
                "make it again with the version that applies it"
            )
        try:
            found, digest = cls.from_document(document), fields.text(document["digest"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(_unreadable(f"{type(error).__name__} {error}")) from error
        if digest != found.document()["digest"]:
            raise ConfigurationError(_unreadable("it was edited after it was saved"))
        return found

    def document(self) -> dict[str, Any]:
        """The file's content; see schemas/saved-plan.schema.json."""
        told = {
            "format_version": FORMAT_VERSION,
            **self.place.document(),
            "sampled_at": self.sampled_at.isoformat(),
            "shadow": self.shadow,
            "versions": dict(self.versions),
            "start": list(self.start),
            "revisions": [
                {"revision": revision, "digest": digest}
                for revision, digest in self.digests.items()
            ],
            "touched": list(self.touched),
            "objects": [
                {
                    "relation": key.relation,
                    "kind": key.kind,
                    "name": key.name,
                    "definition": self.objects[key],
                }
                for key in sorted(self.objects)
            ],
        }
        text = json.dumps(told, sort_keys=True)
        return told | {"digest": hashlib.sha256(text.encode()).hexdigest()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The reverse of `document`. Raises `ValueError`, `TypeError`, `KeyError` if it is none."""
        if not document["revisions"]:
            raise ValueError("it has no revisions")
        return cls(
            Place.from_document(document),
            _moment(document["sampled_at"]),
            fields.text(document["shadow"]),
            fields.mapping(document["versions"]),
            fields.texts(document["start"]),
            {
                fields.text(item["revision"]): fields.text(item["digest"])
                for item in document["revisions"]
            },
            fields.texts(document["touched"]),
            {
                Key(*(fields.text(item[name]) for name in ("relation", "kind", "name"))): (
                    fields.text(item["definition"])
                )
                for item in document["objects"]
            },
        )


@dataclass(frozen=True)
class State:
    """What a saved plan is compared with.

    Attributes:
        place: where env.py leads to.
        revisions: that it is stamped with.
        there: those, and all that they come after or depend on.
        digests: of the plan's revisions; one that the project has not got any more is not there.
        objects: all of the live database.
    """

    place: Place
    revisions: tuple[str, ...]
    there: frozenset[str]
    digests: Mapping[str, str]
    objects: Objects


@dataclass(frozen=True)
class Stale:
    """Why a saved plan cannot be applied; false when it can.

    Attributes:
        reasons: a sentence each.
        differences: of the objects it depends on, from then to now.
    """

    reasons: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reasons or self.differences)


def saved(
    plan: Plan,
    place: Place,
    objects: Objects,
    changed: Collection[Key],
    digests: Mapping[str, str],
) -> Saved:
    """What is kept of a plan.

    Args:
        plan: all of whose steps belong to revisions.
        place: of the live database.
        objects: of the live database, as `drift.objects_of` gives them.
        changed: what the steps make, change or drop, as `changes` gives it.
        digests: of the pending revisions, in their order.

    Raises:
        ConfigurationError: the plan cannot be applied as it is; the message says what to do.
    """
    refused = refusal(plan)
    if refused is not None or plan.shadow is None:
        raise ConfigurationError(refused or UNMEASURED)
    names, kept = touched(plan.steps, changed, objects), plain(objects)
    return Saved(
        place,
        plan.circumstances.sampled_at,
        plan.shadow.description,
        {package: version(package) for package in PACKAGES},
        plan.database.revisions,
        digests,
        tuple(sorted(names)),
        slice_of(kept, extent(names, kept)),
    )


def refusal(plan: Plan) -> str | None:
    """Why a plan is not saved, with the next step; None when it is."""
    if any(item.outcome is Outcome.FAILED for item in plan.proof):
        return "the plan is blocked by a failed proof: mend what it reports, and run this again"
    if plan.is_blocked:
        return "the plan is blocked: mend what it says, or waive it, and run this again"
    if plan.shadow is None:
        return UNMEASURED
    if any(step.revision is None for step in plan.steps):
        return PROPOSING
    return None if plan.pending else "no revision is pending, so there is nothing to apply"


def changes(before: Objects, after: Objects) -> frozenset[Key]:
    """The objects that two schemas do not have in common."""
    keys = before.keys() | after.keys()
    return frozenset(key for key in keys if before.get(key) != after.get(key))


def stale(plan: Saved, state: State) -> Stale:
    """Why a saved plan cannot be applied to what is there now; one that is applied can be again.

    Where that is another database or another revision, its objects are not listed one by one.
    """
    if reasons := [*_elsewhere(plan, state), *_moved(plan, state)]:
        return Stale(tuple(reasons))
    if plan.is_applied(state):
        return Stale()
    now = slice_of(plain(state.objects), extent(plan.touched, plan.objects))
    return Stale(tuple(_rewritten(plan, state)), tuple(compare(plan.objects, now)))


def _elsewhere(plan: Saved, state: State) -> Iterator[str]:
    yield from differences(plan.place, state.place)
    then, now = (", ".join(place.search_path) for place in (plan.place, state.place))
    if then != now and not plan.is_applied(state):  # a schema on it may be one that the plan made
        yield f"the search_path of env.py's connection led to {then}, and leads to {now}"


def _moved(plan: Saved, state: State) -> Iterator[str]:
    if set(plan.start) == set(state.revisions) or plan.is_applied(state):
        return
    due = [revision for revision in plan.digests if revision not in state.there]
    now = ", ".join(state.revisions) or "no revision"
    if len(due) < len(plan.digests):
        yield f"a part of it is applied already: the database is at {now}, and {due[-1]} is due"
    else:
        start = ", ".join(plan.start) or "no revision"
        yield f"it begins at {start}, and the database is at {now}"


def _rewritten(plan: Saved, state: State) -> Iterator[str]:
    for revision, digest in plan.digests.items():
        if revision not in state.digests:
            yield f"the project has no revision {revision} any more"
        elif digest != state.digests[revision]:
            yield f"revision {revision} was changed after the plan was made"


def digests(config: Config, scripts: Iterable[Script]) -> dict[str, str]:
    """A digest for each revision, in their order: of its script, with its SQL where it can be had.

    It says nothing of env.py, nor of what a script imports, but for what these make of the SQL. A
    script that needs a connection has no SQL beforehand, and that of one which asks a clock or
    chance is another each time.
    """
    return {script.revision: _digest(config, script) for script in scripts}


def digests_again(
    config: Config, scripts: Iterable[Script], before: Mapping[str, str]
) -> dict[str, str]:
    """The same for revisions that have digests already: of what those are, so that they compare."""
    return {
        script.revision: _of_script(script)
        if before[script.revision].startswith(OF_SCRIPT)
        else _of_sql(config, script) or ""
        for script in scripts
    }


def _digest(config: Config, script: Script) -> str:
    first, second = (_of_sql(config, script) for _ in range(2))
    return first if first is not None and first == second else _of_script(script)


def _of_sql(config: Config, script: Script) -> str | None:
    try:
        text = replay.offline(config, [script])
    except (EnterpriseError, CommandError, SQLAlchemyError):
        return None
    return OF_SQL + hashlib.sha256(text.encode() + Path(script.path).read_bytes()).hexdigest()


def _of_script(script: Script) -> str:
    return OF_SCRIPT + hashlib.sha256(Path(script.path).read_bytes()).hexdigest()


def _moment(given: Any) -> datetime:
    moment = datetime.fromisoformat(fields.text(given))
    if moment.tzinfo is None:
        raise ValueError("sampled_at has no time zone")
    return moment


def _unreadable(reason: str) -> str:
    return f"the plan cannot be read ({reason}): make it with `alembic-enterprise plan --out FILE`"
