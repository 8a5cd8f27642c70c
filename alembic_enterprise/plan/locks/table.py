"""What statements lock, rewrite and read, as it was measured on each PostgreSQL.

    table = load()
    effect = table.of("alter-table-set-not-null", 17)
    effect.locks[Role.TABLE]        # {LockMode.ACCESS_EXCLUSIVE}
    blocks(effect.locks[Role.TABLE])        # {Activity.READS, Activity.WRITES, Activity.DDL}

A form is a kind of statement, such as "alter-table-set-not-null"; `tests/lock_forms/` has them
all, with the statement that was run for each. `bench/locks.py` measures them and writes
`locks.json`; the tests measure the server they run on, and fail when the table differs.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

FILE = Path(__file__).with_name("locks.json")
"""The committed table."""


class LockMode(StrEnum):
    """The modes of a lock on a relation, by the names of PostgreSQL's docs, the weakest first."""

    ACCESS_SHARE = "ACCESS SHARE"
    ROW_SHARE = "ROW SHARE"
    ROW_EXCLUSIVE = "ROW EXCLUSIVE"
    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
    SHARE = "SHARE"
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
    EXCLUSIVE = "EXCLUSIVE"
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"

    @staticmethod
    def of_catalog(mode: str) -> "LockMode":
        """The mode that `pg_locks.mode` calls so: "AccessExclusiveLock"."""
        return _OF_CATALOG[mode]

    @property
    def conflicts(self) -> frozenset["LockMode"]:
        """The modes that others cannot have meanwhile."""
        return CONFLICTS[self]


_OF_CATALOG = {mode.title().replace(" ", "") + "Lock": mode for mode in LockMode}


def _from(weakest: LockMode, *more: LockMode) -> frozenset[LockMode]:
    """A mode, those that are stronger, and more."""
    modes = list(LockMode)
    return frozenset([*modes[modes.index(weakest) :], *more])


CONFLICTS: Mapping[LockMode, frozenset[LockMode]] = {
    LockMode.ACCESS_SHARE: _from(LockMode.ACCESS_EXCLUSIVE),
    LockMode.ROW_SHARE: _from(LockMode.EXCLUSIVE),
    LockMode.ROW_EXCLUSIVE: _from(LockMode.SHARE),
    LockMode.SHARE_UPDATE_EXCLUSIVE: _from(LockMode.SHARE_UPDATE_EXCLUSIVE),
    LockMode.SHARE: _from(
        LockMode.SHARE_ROW_EXCLUSIVE, LockMode.ROW_EXCLUSIVE, LockMode.SHARE_UPDATE_EXCLUSIVE
    ),
    LockMode.SHARE_ROW_EXCLUSIVE: _from(LockMode.ROW_EXCLUSIVE),
    LockMode.EXCLUSIVE: _from(LockMode.ROW_SHARE),
    LockMode.ACCESS_EXCLUSIVE: _from(LockMode.ACCESS_SHARE),
}
"""Which modes exclude each other (PostgreSQL docs, "Explicit Locking", "Table-Level Locks")."""


class Activity(StrEnum):
    """What others do with a table while somebody holds a lock on it."""

    READS = "reads"
    WRITES = "writes"
    DDL = "DDL"


TAKES: Mapping[Activity, LockMode] = {
    Activity.READS: LockMode.ACCESS_SHARE,
    Activity.WRITES: LockMode.ROW_EXCLUSIVE,
    Activity.DDL: LockMode.SHARE_UPDATE_EXCLUSIVE,
}
"""The weakest mode that each needs.

DDL counts as blocked when all of it is, VACUUM and ANALYZE included. What needs more may have to
wait for weaker locks as well: ACCESS EXCLUSIVE waits for every query.
"""


def excluded(modes: Iterable[LockMode]) -> frozenset[LockMode]:
    """The modes that nobody else gets on a relation while somebody holds these."""
    return frozenset[LockMode]().union(*(mode.conflicts for mode in modes))


def blocks(modes: Iterable[LockMode]) -> frozenset[Activity]:
    """What others cannot do with a relation while somebody holds these locks on it."""
    none_gets = excluded(modes)
    return frozenset(activity for activity, mode in TAKES.items() if mode in none_gets)


def strongest(modes: Iterable[LockMode]) -> frozenset[LockMode]:
    """The modes that say all: without those that exclude nothing which another does not."""
    given = frozenset(modes)
    return frozenset(
        mode for mode in given if not any(mode.conflicts < other.conflicts for other in given)
    )


class Role(StrEnum):
    """What a relation is to a statement.

    A statement about a partition is one about the partitioned table. An index is the one that is
    named, or any one of the table.
    """

    TABLE = "table"
    INDEX = "index"
    PARTITION = "partition"
    """The one the statement names, or any one if it names none."""
    OTHER_PARTITION = "other partition"
    """One that is not named."""
    DEFAULT_PARTITION = "default partition"
    SUBPARTITION = "subpartition"
    """A partition of a partition."""
    PARTITION_INDEX = "index of a partition"
    CANDIDATE = "candidate"
    """The table that is to become a partition."""
    CANDIDATE_INDEX = "index of the candidate"
    REFERENCED = "referenced table"
    """A table that a foreign key of the table points to, or is going to."""
    REFERENCED_INDEX = "index of the referenced table"
    REFERENCING = "referencing table"
    REFERENCING_INDEX = "index of the referencing table"
    SEQUENCE = "sequence"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    COMPOSITE_TYPE = "composite type"


@dataclass(frozen=True)
class Effect:
    """What a statement does on one PostgreSQL.

    Told are locks on relations that stood before, since nobody else sees new ones. They last until
    the transaction ends. Left out are locks on the catalog, those on TOAST tables, which go with
    their tables, and those on an index that stop nothing but what the lock on its table does.

    Attributes:
        locks: the strongest modes on each relation; of a statement that cannot run in a
            transaction, those that it had or waited for where it had to wait for others.
        rewrites: relations that get a new file: a table is rewritten, an index rebuilt.
        scans: tables that are read from beginning to end. They are small here: where the server
            may choose an index, as for foreign keys, it may do so for a large one. VACUUM and
            ANALYZE read pages in ways of their own, which are not listed.
        in_transaction: whether it may run in a transaction block.
        refused: SQLSTATE, when the server refuses it altogether; then it does nothing.
    """

    locks: Mapping[Role, frozenset[LockMode]] = field(
        default_factory=dict[Role, frozenset[LockMode]]
    )
    rewrites: frozenset[Role] = frozenset()
    scans: frozenset[Role] = frozenset()
    in_transaction: bool = True
    refused: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The effect that one line of the file holds."""
        locks = value.get("locks", {})
        return cls(
            {Role(role): frozenset(map(LockMode, modes)) for role, modes in locks.items()},
            frozenset(map(Role, value.get("rewrites", []))),
            frozenset(map(Role, value.get("scans", []))),
            value.get("in_transaction", True),
            value.get("refused"),
        )


@dataclass(frozen=True)
class Table:
    """The effects of all forms that were measured.

    Attributes:
        servers: the version that was measured, such as "17.10", for each major one.
        effects: for each form, and then for each major version.
    """

    servers: Mapping[int, str]
    effects: Mapping[str, Mapping[int, Effect]]

    def of(self, form: str, major: int) -> Effect | None:
        """The effect of a form on a major version; None when that was never measured.

        Raises KeyError for a form that does not exist.
        """
        return self.effects[form].get(major)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The table that a file holds."""
        value = json.loads(text)
        servers = {int(major): version for major, version in value["servers"].items()}
        return cls(servers, {form: _by_major(told) for form, told in value["forms"].items()})


def _by_major(lines: Iterable[Mapping[str, Any]]) -> dict[int, Effect]:
    """The effects of a form, from its lines in the file."""
    effects = ((Effect.from_json(one["effect"]), one["majors"]) for one in lines)
    return {major: effect for effect, majors in effects for major in majors}


def load() -> Table:
    """The committed table."""
    return Table.from_text(FILE.read_text())
