"""Finding: a remark on a database or a release, with the operations that mend it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from alembic_enterprise.operation import Operation

Severity = Literal["error", "warning", "note"]

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""

AUTOGENERATE = "write a revision with `alembic revision --autogenerate`"
"""The next step where autogenerate writes what is missing."""


@dataclass(frozen=True)
class Finding:
    """One remark.

    Attributes:
        rule: its stable id, such as "partitions-missing".
        severity: "error" when somebody has to act: rows are refused or lost, or a release is
            blocked.
        table: the table as a person writes it.
        message: the problem, and the next step.
        evidence: the figures behind it, as JSON values.
        operations: what mends it, in order; empty where a person has to decide.
    """

    rule: str
    severity: Severity
    table: str
    message: str
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])
    operations: tuple[Operation, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The finding as JSON values; operations by the names and arguments of Alembic's `op`."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "table": self.table,
            "message": self.message,
            "evidence": self.evidence,
            "operations": [
                {"name": operation.operation_name, "arguments": operation.arguments()}
                for operation in self.operations
            ],
        }


def exit_code(findings: Sequence[Finding]) -> int:
    """The exit code of a check with these findings; notes do not count."""
    return 2 if any(found.severity != "note" for found in findings) else 0


def document(tables: int, findings: Sequence[Finding], code: int) -> dict[str, Any]:
    """What a check prints with `--format json`, as schemas/...-check.schema.json say.

    Args:
        tables: how many were looked at.
        findings: what was found.
        code: the exit code of the check.
    """
    return {
        "format_version": FORMAT_VERSION,
        "exit_code": code,
        "tables": tables,
        "findings": [found.plain() for found in findings],
    }
