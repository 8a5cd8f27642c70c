"""What a run of maintenance did: facts only; the command line prints them."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.exc import DBAPIError

from alembic_enterprise.errors import EnterpriseError
from alembic_enterprise.locks import Blocker
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.due import headroom
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.status import shortage
from alembic_enterprise.sessions import error_text
from alembic_enterprise.sql import Name

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""


@dataclass
class TableReport:
    """What a run did for one table.

    Attributes:
        table: the table as it was seen last, with what its partitions cover.
        now: the moment that the run worked for.
        done: the steps that succeeded, as (kind, partition or period).
        problems: what was left undone, each ending in the next step.
        default_rows: rows in the default partition; None without one, or when it is unknown.
    """

    table: PartitionedTable
    policy: Policy
    now: datetime
    done: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    retries: int = 0
    blockers: set[Blocker] = field(default_factory=set[Blocker])
    partitions: int = 0
    default_rows: int | None = None

    @property
    def name(self) -> Name:
        """The table's name."""
        return self.table.name

    @property
    def headroom(self) -> timedelta | None:
        """Time from `now` to the end of the partitions; None when they have no end."""
        return headroom(self.table, self.policy, self.now)

    def shortage(self, periods: int | None) -> str | None:
        """What `status.shortage` says of its headroom."""
        return shortage(self.table, self.policy, self.now, periods)


@contextmanager
def isolated(report: TableReport) -> Generator[None]:
    """Whatever happens to a table stays in its report."""
    try:
        yield
    except (EnterpriseError, DBAPIError) as error:
        text = error_text(error)
        if text not in report.problems:  # a server that is gone fails each phase
            report.problems.append(text)


@dataclass
class Report:
    """What a run did, or in a dry run would do.

    Attributes:
        other: the session that holds the lock, when another run is at work.
        statements: those of a dry run; None when it was none.
        problems: of tables that are not among `tables`, because their policy cannot be used.
        notes: what it could not see, and so has left alone.
    """

    now: datetime
    tables: list[TableReport]
    other: Blocker | None = None
    statements: list[str] | None = None
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    def exit_code(self, min_headroom: int | None) -> int:
        """The exit code of the job, unless something failed before anything was tried (1).

        0: every policy is satisfied. 2: some table was left undone. 3: partitions end sooner than
        `min_headroom`, whatever was left undone besides.
        """
        if any(self.shortage(table, min_headroom) for table in self.tables):
            return 3
        return 2 if self.undone else 0

    def shortage(self, table: TableReport, min_headroom: int | None) -> str | None:
        """Why the headroom of a table does not suffice; a dry run has made none to judge."""
        return None if self.statements is not None else table.shortage(min_headroom)

    @property
    def undone(self) -> bool:
        """Whether some table was left undone."""
        return bool(self.problems) or any(table.problems for table in self.tables)


def document(report: Report, min_headroom: int | None) -> dict[str, Any]:
    """What `partitions maintain --format json` prints, as schemas/partitions-maintain... says."""
    return {
        "format_version": FORMAT_VERSION,
        "now": report.now.astimezone(UTC).isoformat(),
        "exit_code": report.exit_code(min_headroom),
        "dry_run": report.statements is not None,
        "other_run": None if report.other is None else str(report.other),
        "problems": report.problems,
        "notes": report.notes,
        "tables": [
            _table(table) | {"shortage": report.shortage(table, min_headroom)}
            for table in report.tables
        ],
        "statements": report.statements or [],
    }


def _table(table: TableReport) -> dict[str, Any]:
    return {
        "schema": table.name.schema,
        "name": table.name.name,
        "done": [{"step": kind, "subject": subject} for kind, subject in table.done],
        "problems": table.problems,
        "notes": table.notes,
        "retries": table.retries,
        "blockers": sorted(map(str, table.blockers)),
        "headroom_seconds": None if table.headroom is None else table.headroom.total_seconds(),
        "partitions": table.partitions,
        "default_rows": table.default_rows,
    }


def metrics(report: Report, last_success: float | None) -> str:
    """The figures in Prometheus' text format (its docs, "Exposition formats").

    `last_success` is the Unix time of the last run that left nothing undone, if there was one.
    """
    lines: list[str] = []
    for name, (meaning, value) in GAUGES.items():
        lines += _head(name, meaning)
        for table in report.tables:
            if value(table) is not None:
                lines.append(f"{PREFIX}{name}{_labels(table.name)} {value(table)}")
    if last_success is not None:
        lines += _head("last_success_timestamp_seconds", "End of the last run without problems.")
        lines.append(f"{PREFIX}last_success_timestamp_seconds {last_success:.3f}")
    return "\n".join(lines) + "\n"


GAUGES: dict[str, tuple[str, Callable[[TableReport], object]]] = {
    "headroom_seconds": ("Time until partitions end.", lambda item: _seconds(item.headroom)),
    "partitions": ("Attached partitions.", lambda item: item.partitions),
    "default_rows": ("Rows in the default partition.", lambda item: item.default_rows),
    "retries": ("Retries for locks in the last run.", lambda item: item.retries),
    "failures": ("Problems in the last run.", lambda item: len(item.problems)),
}
"""The metrics of a table: meaning and value; a value of None is left out."""

PREFIX = "alembic_enterprise_partitions_"
"""How the name of each metric begins."""


def _head(name: str, meaning: str) -> list[str]:
    return [f"# HELP {PREFIX}{name} {meaning}", f"# TYPE {PREFIX}{name} gauge"]


def _seconds(value: timedelta | None) -> str:
    return "+Inf" if value is None else f"{value.total_seconds():.0f}"


def _labels(name: Name) -> str:
    return f'{{schema="{_escaped(name.schema or "")}",table="{_escaped(name.name)}"}}'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def last_success(text: str) -> float | None:
    """The time of the last success that an earlier metrics file names."""
    for line in text.splitlines():
        if line.startswith(f"{PREFIX}last_success_timestamp_seconds "):
            return float(line.split()[1])
    return None
