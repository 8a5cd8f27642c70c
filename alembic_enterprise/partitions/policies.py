"""The policies of tables as the registry keeps them, and those that cannot be used."""

from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import Connection

from alembic_enterprise import registry
from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.model import Policy


def policies_kept(connection: Connection) -> dict[int, Policy | str]:
    """The policies of tables by oid; in the place of one that cannot be used, why."""
    counting, disowned = registry.read_with_disowned(connection)
    told = {oid: why for oid, (found, why) in disowned.items() if _policy(found) is not None}
    kept = {oid: _policy(found) for oid, found in counting.items()}
    return told | {oid: policy for oid, policy in kept.items() if policy is not None}


def policy_now(connection: Connection, oids: Iterable[int]) -> Policy | None:
    """The policy at this moment of the first of some tables that has one; None without any."""
    kept = policies_kept(connection)
    found = (kept.get(oid) for oid in oids)
    return next((policy for policy in found if isinstance(policy, Policy)), None)


def _policy(found: Any) -> Policy | str | None:
    advice = "set it again with op.set_partition_policy"
    if type(found) is not dict:  # whatever somebody wrote into the table by hand
        return f"its policy in {registry.TABLE} is not a JSON object: {advice}"
    policy = cast("dict[str, Any]", found)
    if policy.get("kind") != "range":
        return None
    try:
        return Policy.from_json(policy)
    except (DeclarationError, TypeError) as error:  # of a newer release, or written by hand
        return (
            f"its policy in {registry.TABLE} cannot be used: {error}. Upgrade "
            f"alembic-enterprise here, or {advice}"
        )
