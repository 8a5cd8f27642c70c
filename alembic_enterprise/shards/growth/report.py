"""What growth of a sharded table was to do and did: facts only; the command line prints them."""

from dataclasses import dataclass, field

from alembic_enterprise.locks import Blocker
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Split:
    """One shard to split.

    Attributes:
        parts: what it becomes; the first keeps its name.
        rows: estimate of the last ANALYZE or VACUUM; None when there was none and it is not empty.
        size: bytes with indexes and TOAST, as many as its copies need about, until it is dropped.
    """

    shard: Name
    held: Class
    parts: tuple[Class, ...]
    rows: int | None
    size: int


@dataclass(frozen=True)
class Done:
    """One shard that was split.

    Attributes:
        rows: how many it held when it was compared with its copies.
        seconds: from its beginning in this run to its end.
        locked: milliseconds that the table was locked.
    """

    shard: Name
    rows: int
    seconds: float
    locked: float


@dataclass(frozen=True)
class Behind:
    """A replica that copying waits for.

    Attributes:
        replica: its `application_name`, and its address unless it is connected by a socket.
        lag: bytes of WAL that it has not replayed yet.
    """

    replica: str
    lag: int


@dataclass
class Report:
    """What a run did, or in a dry run would do.

    Attributes:
        splits: what was to be done when it began, in order.
        validated: the foreign keys that were put back, as (table, name).
        removed: the shards whose copies were removed.
        problems: why it ended early, ending in the next step.
        other: the session that holds the lock.
    """

    table: Name
    splits: list[Split] = field(default_factory=list[Split])
    done: list[Done] = field(default_factory=list[Done])
    validated: list[tuple[Name, str]] = field(default_factory=list[tuple[Name, str]])
    removed: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    retries: int = 0
    blockers: set[Blocker] = field(default_factory=set[Blocker])
    other: Blocker | None = None

    @property
    def exit_code(self) -> int:
        """The exit code: 0 when all is done, 2 when something was left undone."""
        return 2 if self.problems else 0
