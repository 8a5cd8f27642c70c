"""What every server refuses, and what to write instead."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from alembic_enterprise.plan.rules.reading import parts, shape


class _Refusal(NamedTuple):
    """A kind of statement, with which SQLSTATE it is refused, and what does the same."""

    sqlstate: str
    shape: re.Pattern[str]
    instead: str


_REFUSALS: Sequence[_Refusal] = (
    _Refusal(
        "0A000",
        shape("CREATE( UNIQUE)? INDEX CONCURRENTLY "),
        "a partitioned table takes no CREATE INDEX CONCURRENTLY: write op.create_index_online, "
        "which goes from partition to partition",
    ),
    _Refusal(
        "0A000",
        shape("DROP INDEX CONCURRENTLY "),
        "an index of a partitioned table takes no DROP INDEX CONCURRENTLY: write "
        "op.drop_index_online",
    ),
    _Refusal(
        "0A000",
        shape("ALTER TABLE .* (UNIQUE|PRIMARY KEY) USING INDEX "),
        "a partitioned table takes no constraint USING INDEX: write "
        "op.create_unique_constraint_online",
    ),
    _Refusal(
        "0A000",
        shape(
            r"(CREATE UNIQUE INDEX |(CREATE|ALTER)( UNLOGGED)? TABLE .*\b(UNIQUE|PRIMARY KEY)\b)"
        ),
        "a unique key of a partitioned table must contain every column by which it is "
        "partitioned: add them to the key",
    ),
    _Refusal(
        "55000",
        shape("ALTER TABLE .* DETACH PARTITION .* CONCURRENTLY"),
        "a table with a default partition, or an interrupted detach, takes no DETACH "
        "CONCURRENTLY: finish that one with FINALIZE, or write op.detach_partition without "
        "concurrently, under a lock_timeout",
    ),
    _Refusal(
        "25001",
        shape(".* CONCURRENTLY"),
        "CONCURRENTLY is refused in a transaction: write op.create_index_online and the like, or "
        "`with op.get_context().autocommit_block():` around it",
    ),
    _Refusal(
        "42809",
        shape("ALTER TABLE .* FOREIGN KEY .* NOT VALID"),
        "up to PostgreSQL 17 a partitioned table takes no foreign key NOT VALID: write "
        "op.add_foreign_key_online, which goes from partition to partition",
    ),
)
"""As `locks.json` has them, each as measured on PostgreSQL 14 to 18; the first that fits counts."""


def explained(statement: str, sqlstate: str | None) -> str | None:
    """What to write instead of a statement that the server refused; None when that is not known.

    Args:
        statement: its text.
        sqlstate: of the error.
    """
    for part in parts(statement):
        for refusal in _REFUSALS:
            if refusal.sqlstate == sqlstate and refusal.shape.match(part):
                return refusal.instead
    return None
