"""The findings of a plan for code scanning: SARIF 2.1.0 of OASIS."""

import re
from typing import Any
from urllib.parse import quote

from alembic_enterprise.plan.model import Outcome, Plan, PlanFinding, Proof
from alembic_enterprise.wording import printable

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

PROOF = "proof-failed"
"""The rule that a failed proof counts as."""


def sarif(plan: Plan) -> dict[str, Any]:
    """The log: a result for each finding, and for each part of the proof that failed."""
    failed = [item for item in plan.proof if item.outcome is Outcome.FAILED]
    results = [*map(_finding, plan.findings), *map(_proof, failed)]
    rules = dict.fromkeys(result["ruleId"] for result in results)
    driver = {"name": "alembic-enterprise", "rules": [{"id": rule} for rule in rules]}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _finding(item: PlanFinding) -> dict[str, Any]:
    found = item.finding
    place = "" if item.step is None else f", step {item.step}"
    result = {
        "ruleId": found.rule,
        "level": found.severity,  # the words of both are the same
        "message": {"text": _escaped(f"{found.table}{place}: {found.message}")},
        "locations": [_location(item)],
    }
    return result if item.waiver is None else result | {"suppressions": [_suppression(item)]}


def _location(item: PlanFinding) -> dict[str, Any]:
    table = {"fullyQualifiedName": printable(item.finding.table), "kind": "table"}
    if item.path is None:
        return {"logicalLocations": [table]}
    # Code scanning shows a result only where it has a line.
    place = {"artifactLocation": {"uri": quote(item.path)}, "region": {"startLine": 1}}
    return {"physicalLocation": place, "logicalLocations": [table]}


def _suppression(item: PlanFinding) -> dict[str, Any]:
    waiver = item.waiver
    kind = "external" if waiver is None or waiver.path is None else "inSource"
    reason = "" if waiver is None else f"{waiver.reason} (until {waiver.expires})"
    return {"kind": kind, "status": "accepted", "justification": printable(reason)}


def _proof(item: Proof) -> dict[str, Any]:
    text = ": ".join([item.name, *item.differences[:1]])
    return {"ruleId": PROOF, "level": "error", "message": {"text": _escaped(text)}}


def _escaped(text: str) -> str:
    """Text without links and placeholders (SARIF 2.1.0, 3.11.5 and 3.11.6)."""
    doubled = re.sub(r"([{}])", r"\1\1", printable(text))
    return re.sub(r"([\[\]])", r"\\\1", doubled)
