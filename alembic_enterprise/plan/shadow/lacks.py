"""What no shadow has of a live database, and what to do when a script asks for it."""

import re

_UNRUN = "--no-shadow shows the plan without running anything"

EXTENSION = (
    "The shadow's server lacks that extension: install it there, or give --shadow-url a server "
    "that has it"
)
DATABASE = (
    "A shadow is not called as the live database: let the script ask current_database(), as by "
    "EXECUTE format('ALTER DATABASE %I ...', current_database()) in a DO block"
)
EVENT_TRIGGER = f"A shadow has no event triggers, which would fire at all that is tried: {_UNRUN}"
_MAPPING = f"A shadow has no user mappings, which hold passwords: {_UNRUN}"

_LACKING = (
    ("0A000", r"\bCREATE\s+EXTENSION\b", EXTENSION),
    ("58P01", r"\bCREATE\s+EXTENSION\b", EXTENSION),  # up to PostgreSQL 14
    ("3D000", r"\bDATABASE\b", DATABASE),
    ("42704", r"\bEVENT\s+TRIGGER\b", EVENT_TRIGGER),
    ("42704", r"\bUSER\s+MAPPING\b", _MAPPING),
    ("42704", r"\bSUBSCRIPTION\b", f"A shadow has no subscriptions: {_UNRUN}"),
    ("42704", r"\bTABLESPACE\b", f"A shadow has no tablespaces: {_UNRUN}"),
)
"""An SQLSTATE, how a statement looks that gets it, and the next step."""


def explained(statement: str, sqlstate: str | None) -> str | None:
    """Why a statement fails on a shadow that may not in the live database; None if not known."""
    for state, pattern, told in _LACKING:
        if sqlstate == state and re.search(pattern, statement, re.IGNORECASE):
            return told
    return None
