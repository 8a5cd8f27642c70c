"""A plan: what a change of a database would do, as facts that somebody else has found out.

There is no field for a row's values or for a password, and none for a server's address.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding
from alembic_enterprise.partitions.status import Status
from alembic_enterprise.plan.locks.table import Activity, LockMode, blocks
from alembic_enterprise.plan.schema.objects import Difference

FORMAT_VERSION = 1
"""Of the document; it changes when a reader of the old shape would go wrong."""

IN_ORDER = "No changes. The database matches the models and policies."

_QUOTED = re.compile(r'"((?:[^"]|"")+)"')
_ADDRESS = re.compile(r"\w+://|\bpassword\s*=")


class Basis(StrEnum):
    """Where the effects of a step are known from."""

    MEASURED = "measured"
    """It was run on a server like the live one."""
    PREDICTED = "predicted"
    """The table of locks has statements of its kind."""
    UNKNOWN = "unknown"


class Reversibility(StrEnum):
    """What a downgrade brings back."""

    FULL = "full"
    STRUCTURE_ONLY = "structure-only"
    """Tables and columns, but not what was in them."""
    NO = "no"
    UNKNOWN = "unknown"
    """It was not tried, or a function of the database is called, which may do anything."""


class Outcome(StrEnum):
    """How a part of the proof ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Database:
    """The live database.

    Attributes:
        name: its own, without a server; a URL is refused, since it may hold a password.
        version: of its server, such as "17.6".
        revisions: those it is stamped with.
    """

    name: str
    version: str
    revisions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` for a URL or the parameters of a connection."""
        if _ADDRESS.search(self.name):
            raise ConfigurationError(
                "a plan takes the name of a database, not its URL, which may hold a password: "
                "write the name alone"
            )


@dataclass(frozen=True)
class Circumstances:
    """The live server at one moment.

    Attributes:
        sampled_at: that moment (aware).
        longest_transaction: how long the oldest one had been running; None when there was none.
        replication_lag: of the standby that is furthest behind; None without one.
    """

    sampled_at: datetime
    longest_transaction: timedelta | None = None
    replication_lag: timedelta | None = None


@dataclass(frozen=True)
class ShadowServer:
    """Where the plan was measured.

    Attributes:
        description: which server, and the versions of both.
        gaps: what is not as in the live database, a sentence each.
    """

    description: str
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Revision:
    """A revision that the database has not got yet.

    Attributes:
        path: of its script, relative to the project.
    """

    revision: str
    message: str
    path: str


@dataclass(frozen=True)
class RelationEffect:
    """What a step does to one relation that stood before it.

    Attributes:
        relation: schema and name in the live database, as a person reads them, whatever it is
            called by then.
        table: the table that it belongs to: of a partition the partitioned one; else itself.
        modes: the locks that the transaction holds on it after the step.
        rewritten: whether the step gives it a new file.
        scanned: whether the step reads it from beginning to end.
        held_since: the earlier step that took the locks; None when this one did.
        called: what the step calls it, when that is not its name in the live database.
    """

    relation: str
    table: str
    modes: frozenset[LockMode]
    rewritten: bool = False
    scanned: bool = False
    held_since: int | None = None
    called: str | None = None

    @property
    def blocks(self) -> frozenset[Activity]:
        """What others cannot do with it until the transaction ends."""
        return blocks(self.modes)

    @property
    def only_reads(self) -> bool:
        """Whether the step leaves the relation as it is."""
        return self.modes <= {LockMode.ACCESS_SHARE} and not self.rewritten


@dataclass(frozen=True)
class Loss:
    """What a step takes away that is in the live database.

    Attributes:
        table: schema and name that it has there, whatever it is called by then.
        column: the one that is gone, by its name there; None when all rows are.
        type: what the column becomes, when it is not gone but holds less.
    """

    table: str
    column: str | None = None
    type: str | None = None


@dataclass(frozen=True)
class Touched:
    """A table that a step is about, as it is on the live server.

    Attributes:
        size: bytes with indexes, partitions added up.
        rows: as the planner estimates them; None when nobody has analyzed the table.
        indexes: of the table itself.
        writes_per_second: rows inserted, updated and deleted; None when it is unknown.
    """

    table: str
    size: int
    rows: int | None = None
    partitions: int = 0
    indexes: int = 0
    writes_per_second: float | None = None


@dataclass(frozen=True)
class Step:
    """A statement of the plan.

    Attributes:
        number: 1 is the first.
        statement: its text, without the values of rows.
        transaction: 1 is the first; all steps of one are committed together.
        revision: that it belongs to; None when it is proposed.
        basis: where `effects` are known from.
        server: the version that they are known of; None when they are not known.
        effects: on relations that stood before: those to which it does something, and those that
            it names and its transaction has locked. What else is held, `held` lists.
        reversibility: what its reverse brings back.
        tables: those that it is about.
        operation: the call of Alembic's `op` that runs it, when it is one of this package.
        transactional: whether it runs in a transaction block.
        lock_timeout: how long it waits for a lock at most; None when that has no end.
        lost: what it takes away for good, but for rows of DELETE; known where it was run.
        released: relations whose earlier effects no longer hold, because the transaction rolled
            back to a savepoint or the table's own lock now covers them.
    """

    number: int
    statement: str
    transaction: int
    revision: str | None = None
    basis: Basis = Basis.UNKNOWN
    server: str | None = None
    effects: tuple[RelationEffect, ...] = ()
    reversibility: Reversibility = Reversibility.NO
    tables: tuple[Touched, ...] = ()
    operation: str | None = None
    transactional: bool = True
    lock_timeout: timedelta | None = None
    lost: tuple[Loss, ...] = ()
    released: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiver:
    """Why a finding is accepted, and for how long.

    Attributes:
        table: with or without its schema.
        expires: the last day on which it holds.
        path: of the migration it stands in, of whose findings it is; None for pyproject.toml,
            where it is of all.
    """

    rule: str
    table: str
    reason: str
    expires: date
    path: str | None = None

    def covers(self, finding: "PlanFinding") -> bool:
        """Whether it is of a finding; it may have expired."""
        of = finding.finding
        return (
            self.rule == of.rule
            and is_called(of.table, self.table)
            and self.path in (None, finding.path)
        )


def is_called(table: str, name: str) -> bool:
    """Whether a table with its schema is called so, with or without the schema and quotes."""
    plain = _QUOTED.sub(lambda match: match[1].replace('""', '"'), name)
    return not {name, plain}.isdisjoint((table, table.partition(".")[2]))


@dataclass(frozen=True)
class PlanFinding:
    """A finding of the plan, and what the project says of it.

    Attributes:
        step: the number of the step it is about.
        path: of the migration it is about.
        waiver: why it is accepted.
    """

    finding: Finding
    step: int | None = None
    path: str | None = None
    waiver: Waiver | None = None

    @property
    def is_blocking(self) -> bool:
        """Whether it keeps the release from going on."""
        return self.finding.severity == "error" and self.waiver is None


@dataclass(frozen=True)
class Proof:
    """One thing that was tried on the shadow.

    Attributes:
        name: what was tried, such as "downgrade gives the schema of the start".
        differences: what a failed one has found, or why one was skipped, a line each.
    """

    name: str
    outcome: Outcome
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All that a reviewer has to know.

    Attributes:
        shadow: None when nothing could be measured.
        drift: what was changed outside of the revisions, from their state to the live one.
        model_changes: what autogenerate finds, as lines of a script.
        enterprise_changes: what capabilities find; the steps mend it, so it blocks nothing.
        pending: in the order in which they are applied.
        findings: as the project accepts them.
        coverage: what was not analysed, a sentence each.
        partitioned: how partitioned tables stand, for their timelines.
        file: where it is saved for `apply`; None when it is not.
    """

    database: Database
    circumstances: Circumstances
    shadow: ShadowServer | None = None
    drift: tuple[Difference, ...] = ()
    model_changes: tuple[str, ...] = ()
    enterprise_changes: tuple[Finding, ...] = ()
    pending: tuple[Revision, ...] = ()
    steps: tuple[Step, ...] = ()
    findings: tuple[PlanFinding, ...] = ()
    coverage: tuple[str, ...] = ()
    proof: tuple[Proof, ...] = ()
    partitioned: tuple[Status, ...] = ()
    file: str | None = None

    @property
    def has_changes(self) -> bool:
        """Whether something differs, or is to be done."""
        differences = self.drift or self.model_changes or self.enterprise_changes
        return bool(differences or self.pending or self.steps)

    @property
    def is_blocked(self) -> bool:
        """Whether an error that nobody has waived, or a failed proof, keeps it from going on."""
        failed = any(item.outcome is Outcome.FAILED for item in self.proof)
        return failed or any(item.is_blocking for item in self.findings)

    @property
    def exit_code(self) -> int:
        """The exit code of `alembic-enterprise plan`, where there is no error (1).

        0: there is nothing to change. 2: there are changes. 3: something blocks the release.
        """
        if self.is_blocked:
            return 3
        return 2 if self.has_changes else 0

    @property
    def transactions(self) -> int:
        """How many transactions the steps take."""
        return len({step.transaction for step in self.steps})
