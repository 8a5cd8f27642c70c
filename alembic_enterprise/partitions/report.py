"""What a run of maintenance did: facts only; the command line prints them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from alembic_enterprise.locks import Blocker
from alembic_enterprise.partitions.due import is_short
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.sql import Name


@dataclass
class TableReport:
    """What a run did for one table.

    Attributes:
        done: the steps that succeeded, as (kind, partition or period).
        problems: what was left undone, each ending in the next step.
        headroom: time from now to the end of the partitions; None when they have no end.
    """

    name: Name
    policy: Policy
    done: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    retries: int = 0
    blockers: set[Blocker] = field(default_factory=set[Blocker])
    headroom: timedelta | None = timedelta(0)
    partitions: int = 0
    default_rows: int | None = None


@dataclass
class Report:
    """What a run did. `other` is the session that holds the lock when another run is at work."""

    now: datetime
    tables: list[TableReport]
    other: Blocker | None = None
    statements: list[str] = field(default_factory=list[str])

    @property
    def undone(self) -> bool:
        """Whether some table was left undone."""
        return any(table.problems for table in self.tables)

    def short(self, periods: int) -> list[TableReport]:
        """The tables whose partitions end in less than so many of their periods."""
        return [
            table
            for table in self.tables
            if is_short(table.headroom, table.policy, self.now, periods)
        ]
