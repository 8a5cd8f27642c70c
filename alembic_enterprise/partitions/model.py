"""RangePartitions: what a model declares, and the policy that follows from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Literal, Self, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Column, Date, DateTime, Table, TypeDecorator

from alembic_enterprise.errors import DeclarationError, OperationError
from alembic_enterprise.partitions.declaration import (
    Declaration,
    called,
    check_known,
    check_length,
    check_unique_keys,
    declaration_on,
    dialect,
    words,
)
from alembic_enterprise.partitions.periods import SUFFIX_BYTES, Every, floor, shift

OnExpire = Literal["detach", "drop", "archive"]
"""What becomes of a partition that is no longer retained."""

TIMES = ("date", "timestamp without time zone", "timestamp with time zone")
"""Key types, as `format_type` prints them."""


@dataclass(frozen=True)
class Policy:
    """What the scheduled job keeps true for one table.

    Attributes:
        every: length of a partition.
        ahead: how many periods beyond the current one must exist.
        retain: how many whole past periods are kept beside the current one; None keeps all.
        timezone: IANA zone in which periods begin at midnight.
        start: first day of the first partition, ISO 8601; None means wherever the table begins.
        default: whether a default partition catches rows of no period.
        on_expire: what the scheduled job does with a partition that is no longer retained:
            "detach" it, detach and after `hold` "drop" it, or detach it and move it to the
            schema `archive` ("archive").
        hold: days between detaching and dropping.
        archive: schema for `on_expire="archive"`.
        partition_by: how each partition is partitioned itself, as PARTITION BY has it.
        shards: into how many shards, then.
    """

    every: Every
    ahead: int = 3
    retain: int | None = None
    timezone: str = "UTC"
    start: str | None = None
    default: bool = False
    on_expire: OnExpire = "detach"
    hold: int = 7
    archive: str | None = None
    partition_by: str | None = None
    shards: int | None = None

    def __post_init__(self) -> None:
        """Raise `DeclarationError` when a value cannot be used."""
        check_known("every", self.every, get_args(Every))
        check_known("on_expire", self.on_expire, get_args(OnExpire))
        if (self.on_expire == "archive") != (self.archive is not None):
            raise DeclarationError(
                'on_expire="archive" and archive="..." (the schema to move to) go together: '
                "write both or neither"
            )
        for name, least in (("ahead", 0), ("retain", 1), ("hold", 0)):
            value = getattr(self, name)
            if not (name == "retain" and value is None) and not _whole(value, least):
                raise DeclarationError(f"{name}={value!r}: write a whole number from {least} up")
        self._check_years()
        self._check_shards()
        zone(self.timezone)
        if self.start is not None and floor(day(self.start), self.every) != day(self.start):
            first = floor(day(self.start), self.every)
            raise DeclarationError(
                f'start="{self.start}" is not the first day of a {self.every}: '
                f'write start="{first}"'
            )

    def _check_years(self) -> None:
        """Dates in Python have the years 1 to 9999, and time zones less: keep well inside."""
        steps: dict[str, Every] = {"ahead": self.every, "retain": self.every, "hold": "day"}
        for name, every in steps.items():
            value = getattr(self, name) or 0
            try:
                shift(date(1001, 1, 1), every, -value)
            except OperationError as error:
                raise DeclarationError(
                    f"{name}={value} is more than a thousand years: write less"
                ) from error
        if self.start is not None and not 2 <= day(self.start).year <= 8000:  # noqa: PLR2004  # as told
            raise DeclarationError(
                f'start="{self.start}" is outside the years 2 to 8000: write the year the '
                "table begins in"
            )

    def _check_shards(self) -> None:
        if self.partition_by is None and self.shards is None:
            return
        if not (self.partition_by or "").startswith("HASH (") or not _whole(self.shards, 1):
            raise DeclarationError(
                f"partition_by={self.partition_by!r}, shards={self.shards!r}: write both, such as "
                """partition_by='HASH ("tenant_id")', shards=8, or neither"""
            )

    def to_json(self) -> dict[str, Any]:
        """The policy as the registry keeps it; `kind` leaves room for other kinds of policies."""
        return {"kind": "range", **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The policy that `to_json` gave; keys of a newer release are ignored."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(**known)


PLACES = {
    "CET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "MET": "Europe/Brussels",
    "WET": "Europe/Lisbon",
}
"""Zones with summer time whose names PostgreSQL takes for abbreviations, without (PostgreSQL docs,
"Time Zones"); and where they are meant."""


def zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name.

    Raises `DeclarationError` when there is none, or PostgreSQL knows the name as something else.
    """
    if name in PLACES:
        raise DeclarationError(
            f"timezone={name!r} has no summer time in PostgreSQL, where it is an abbreviation: "
            f'write a place, such as "{PLACES[name]}"'
        )
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        raise DeclarationError(
            f'timezone={name!r} is unknown: write an IANA name such as "UTC" or "Europe/Berlin" '
            "(a machine without a time zone database needs `pip install tzdata`)"
        ) from error


def day(text: str | date) -> date:
    """A day from ISO 8601 text. Raises `DeclarationError` for anything else."""
    if isinstance(text, date) and not isinstance(text, datetime):
        return text
    try:
        return date.fromisoformat(cast("str", text))
    except (TypeError, ValueError) as error:
        raise DeclarationError(f'{text!r} is not a day: write it as "2026-11-01"') from error


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


class RangePartitions(Declaration):
    """Declares that a table lives in range partitions by time.

    Goes into `__table_args__` or `Table(...)` and sets `PARTITION BY` itself:

        class Event(Base):
            __tablename__ = "events"
            __table_args__ = (RangePartitions("created_at", every="month"),)

    With `HashShards` before it, each shard has these partitions; with `HashShards` after it, each
    of these partitions has shards.

    Args:
        key: the column whose value decides, of type date, timestamp or timestamptz, NOT NULL and
            part of the primary key and of every unique key.
        every: "day", "week" (ISO, from Monday), "month", "quarter" or "year".
        ahead: how many periods beyond the current one exist after each migration and each run of
            the scheduled job.
        retain: how many whole past periods the scheduled job keeps; None keeps all.
        on_expire: "detach" (a table of its own, which only `partitions maintain --drop-detached`
            drops), "drop" (detached, and dropped `hold` days later) or "archive" (detached and
            moved to the schema `archive`); the last two with `retain` only.
        hold: days between detaching and dropping.
        archive: schema for `on_expire="archive"`.
        timezone: IANA zone in which periods begin at midnight.
        start: first day of the first partition ("2026-01-01" or a `date`); None means the period
            in which the migration is generated, or wherever an existing table begins.
        default: also keep a default partition. It catches rows of no period, and costs: each new
            partition scans and locks it, and DETACH CONCURRENTLY is refused.

    Raises:
        DeclarationError: when the models are imported, with the declaration to write instead.
    """

    __visit_name__ = "range_partitions"
    strategy = "RANGE"

    def __init__(
        self,
        key: str,
        *,
        every: Every,
        ahead: int = 3,
        retain: int | None = None,
        timezone: str = "UTC",
        start: str | date | None = None,
        default: bool = False,
        on_expire: OnExpire = "detach",
        hold: int = 7,
        archive: str | None = None,
    ) -> None:
        """Take the declaration; the table is checked once all its columns are known."""
        with called(f"RangePartitions({words([key])})"):
            _check_key(key)
            first = None if start is None else day(start).isoformat()
            self.policy = Policy(
                every, ahead, retain, timezone, first, default, on_expire, hold, archive
            )
            _check_expiry(self.policy)
        self.key = key
        self.keys = (key,)
        self.suffix_bytes = SUFFIX_BYTES[every]

    def __repr__(self) -> str:
        """The declaration as it would be written."""
        written = [f"every={self.policy.every!r}"]
        for field in fields(self.policy)[1:]:
            value = getattr(self.policy, field.name)
            if value != field.default:
                written.append(f"{field.name}={value!r}")
        return f"RangePartitions({self.key!r}, {', '.join(written)})"

    def check(self, table: Table) -> None:
        """Raise `DeclarationError` unless PostgreSQL can partition `table` like this."""
        [column] = self.key_columns(table)
        _check_column(table, column)
        check_unique_keys(table, [column], "partition column")
        check_length(table)


def declared_on(table: Table) -> RangePartitions | None:
    """The declaration on a table, at either level, if it has one."""
    return declaration_on(table, RangePartitions)


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise DeclarationError('write the name of the column as text: RangePartitions("at", ...)')


def _check_expiry(policy: Policy) -> None:
    # Of a declaration only: migrations that are older than this check run as they did.
    if policy.retain is None and policy.on_expire != "detach":
        written = f'on_expire="{policy.on_expire}"'
        raise DeclarationError(
            f"{written} and no retain=, so that nothing ever expires: write retain=12, or how many "
            f"past {policy.every}s to keep, or take {written} away"
        )


def _check_column(table: Table, column: Column[Any]) -> None:
    if key_type(column) is None:
        raise DeclarationError(
            f"{table.fullname}.{column.name} is of type {column.type!r}: a partition key must be "
            "Date or DateTime; write DateTime(timezone=True)"
        )
    if column.nullable:
        raise DeclarationError(
            f"{table.fullname}.{column.name} is nullable, and a row without {column.name} fits no "
            "partition: write nullable=False"
        )


def key_type(column: Column[Any]) -> str | None:
    """Which of `TIMES` the column is in PostgreSQL, or None."""
    kind = column.type.dialect_impl(dialect())
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    if isinstance(kind, Date):
        return TIMES[0]
    if isinstance(kind, DateTime):
        return TIMES[2] if kind.timezone else TIMES[1]
    return None
