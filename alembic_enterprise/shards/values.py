"""Values of key columns as the server writes them in JSON, read as placement takes them.

JSON is the same whatever the driver, and whatever the session prints dates as; and it can tell
`infinity`, which Python's dates cannot be (PostgreSQL docs, "JSON Functions", `to_json`).
"""

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from alembic_enterprise.errors import PlacementError


def loaded(text: str) -> Any:
    """JSON with its numbers as they are: `int`, or else `Decimal`."""
    return json.loads(text, parse_float=Decimal)


def value_of(kind: str, value: Any) -> Any:
    """What placement takes of a value that came through `to_json` and `loaded`; None for NULL.

    Args:
        kind: its type, as `format_type` prints it without a length or precision.
        value: as JSON has it, with bytes in hexadecimal.

    Raises `PlacementError` for a day that Python's calendar has not.
    """
    read = _READERS.get(kind)
    if value is None or read is None:
        return value
    try:
        return read(value)
    except ValueError as error:
        raise PlacementError(
            f"{value} is beyond the years 1 to 9999, and only the server can place it: ask it by "
            "satisfies_hash_partition()"
        ) from error


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("\\x"))


def _number(value: Any) -> Decimal:
    return Decimal(value)  # NaN and the infinities come as text


def _day(value: str) -> Any:
    return value if "infinity" in value else date.fromisoformat(value)


def _moment(value: str) -> Any:
    return value if "infinity" in value else datetime.fromisoformat(value)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "bytea": _bytes,
    "date": _day,
    "numeric": _number,
    "timestamp without time zone": _moment,
    "timestamp with time zone": _moment,
}
"""Of the types that JSON does not have; the others come as they are."""
