"""RangePartitions: what a model declares, and the policy that follows from it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Literal, Self, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import (
    Column,
    Constraint,
    Date,
    DateTime,
    Index,
    PrimaryKeyConstraint,
    Table,
    TypeDecorator,
    UniqueConstraint,
    event,
)
from sqlalchemy.schema import SchemaItem

from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.periods import SUFFIX_BYTES, Every, floor

OnExpire = Literal["detach", "drop", "archive"]
"""What becomes of a partition that is no longer retained."""

NAME_BYTES = 63
"""Longest identifier in bytes (NAMEDATALEN - 1, PostgreSQL docs, "Identifiers")."""

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

    def __post_init__(self) -> None:
        """Raise `DeclarationError` when a value cannot be used."""
        if self.every not in get_args(Every):
            raise DeclarationError(f"every={self.every!r}: write one of {_words(get_args(Every))}")
        if self.on_expire not in get_args(OnExpire):
            words = _words(get_args(OnExpire))
            raise DeclarationError(f"on_expire={self.on_expire!r}: write one of {words}")
        if (self.on_expire == "archive") != (self.archive is not None):
            raise DeclarationError(
                'on_expire="archive" and archive="..." (the schema to move to) go together: '
                "write both or neither"
            )
        for name, least in (("ahead", 0), ("retain", 1), ("hold", 0)):
            value = getattr(self, name)
            if not (name == "retain" and value is None) and not _whole(value, least):
                raise DeclarationError(f"{name}={value!r}: write a whole number from {least} up")
        zone(self.timezone)
        if self.start is not None and floor(day(self.start), self.every) != day(self.start):
            first = floor(day(self.start), self.every)
            raise DeclarationError(
                f'start="{self.start}" is not the first day of a {self.every}: '
                f'write start="{first}"'
            )

    def to_json(self) -> dict[str, Any]:
        """The policy as the registry keeps it; `kind` leaves room for other kinds of policies."""
        return {"kind": "range", **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The policy that `to_json` gave; keys of a newer release are ignored."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(**known)


def zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name. Raises `DeclarationError` when there is none."""
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


def _words(values: Iterable[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


class RangePartitions(SchemaItem):
    """Declares that a table lives in range partitions by time.

    Goes into `__table_args__` or `Table(...)` and sets `PARTITION BY` itself:

        class Event(Base):
            __tablename__ = "events"
            __table_args__ = (RangePartitions("created_at", every="month"),)

    Args:
        key: the column whose value decides, of type date, timestamp or timestamptz, NOT NULL and
            part of the primary key and of every unique key.
        every: "day", "week" (ISO, from Monday), "month", "quarter" or "year".
        ahead: how many periods beyond the current one exist after each migration and each run of
            the scheduled job.
        retain: how many whole past periods the scheduled job keeps; None keeps all.
        on_expire: "detach" (a table of its own that nobody drops), "drop" (detached, and dropped
            `hold` days later) or "archive" (detached and moved to the schema `archive`).
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
        first = None if start is None else day(start).isoformat()
        self.key = key
        self.policy = Policy(
            every, ahead, retain, timezone, first, default, on_expire, hold, archive
        )

    def __repr__(self) -> str:
        """The declaration as it would be written."""
        written = [f"every={self.policy.every!r}"]
        for field in fields(self.policy)[1:]:
            value = getattr(self.policy, field.name)
            if value != field.default:
                written.append(f"{field.name}={value!r}")
        return f"RangePartitions({self.key!r}, {', '.join(written)})"

    def _set_parent(self, parent: Any, **_: Any) -> None:
        """Attach to a table (the hook of every SchemaItem) and check it when it is complete."""
        before = declared_on(parent)
        if before is not None and repr(before) != repr(self):
            raise DeclarationError(
                f"{parent.fullname}: two RangePartitions on one table; keep one of them"
            )
        if before is None and parent.kwargs.get("postgresql_partition_by") is not None:
            raise DeclarationError(
                f"{parent.fullname}: RangePartitions sets PARTITION BY itself; "
                "remove postgresql_partition_by"
            )
        parent.kwargs["postgresql_partition_by"] = PartitionBy(self.key, self)
        event.listen(parent, "after_parent_attach", self._check)

    def _check(self, table: Table, _metadata: object) -> None:
        check(table, self)
        name = _key_column(table, self).name  # `key` may be what Python calls the column
        table.kwargs["postgresql_partition_by"] = PartitionBy(name, self)


class PartitionBy(str):
    """The text of PARTITION BY, which remembers the declaration that it comes from.

    As an option of the table it goes where the table goes, through `Table.to_metadata()` too, and
    in a migration script it is plain text.
    """

    __slots__ = ("spec",)

    spec: RangePartitions

    def __new__(cls, column: str, spec: RangePartitions) -> Self:
        """Compose the text for one column."""
        text = super().__new__(cls, f"RANGE ({quoted(column)})")
        text.spec = spec
        return text


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def declared_on(table: Table) -> RangePartitions | None:
    """The declaration on a table, if it has one."""
    text = table.kwargs.get("postgresql_partition_by")
    return text.spec if isinstance(text, PartitionBy) else None


def check(table: Table, spec: RangePartitions) -> None:
    """Raise `DeclarationError` unless PostgreSQL can partition `table` as `spec` says."""
    column = _key_column(table, spec)
    _check_column(table, column)
    for constraint in _unique_keys(table):
        _check_unique(table, column, constraint)
    _check_length(table, spec.policy)


def _key_column(table: Table, spec: RangePartitions) -> Column[Any]:
    column = table.columns.get(spec.key)
    if column is None:
        column = next((item for item in table.columns if item.name == spec.key), None)
    if column is None:
        names = _words(item.name for item in table.columns)
        raise DeclarationError(
            f'{table.fullname}: RangePartitions("{spec.key}"): no such column; it has {names}'
        )
    return column


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
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # importing models stays fast

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy left it untyped
    kind = column.type.dialect_impl(dialect)
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    if isinstance(kind, Date):
        return TIMES[0]
    if isinstance(kind, DateTime):
        return TIMES[2] if kind.timezone else TIMES[1]
    return None


def _unique_keys(table: Table) -> list[Constraint | Index]:
    keys: list[Constraint | Index] = [
        item
        for item in table.constraints
        if isinstance(item, PrimaryKeyConstraint | UniqueConstraint) and item.columns
    ]
    return [*keys, *(index for index in table.indexes if index.unique)]


def _check_unique(table: Table, column: Column[Any], key: Any) -> None:
    names = [item.name for item in key.columns]
    if column.name in names:
        return
    corrected = _words([*names, column.name])
    if isinstance(key, PrimaryKeyConstraint):
        kind, advice = "the primary key", f"PrimaryKeyConstraint({corrected})"
    elif isinstance(key, UniqueConstraint):
        kind, advice = "a unique constraint", f"UniqueConstraint({corrected})"
    else:
        kind, advice = (
            f"the unique index {key.name}",
            f'Index("{key.name}", {corrected}, unique=True)',
        )
    raise DeclarationError(
        f"{table.fullname}: {kind} ({', '.join(names)}) lacks the partition column {column.name}, "
        f"and PostgreSQL can only keep it unique inside one partition: write {advice}"
    )


def _check_length(table: Table, policy: Policy) -> None:
    length = len(table.name.encode()) + SUFFIX_BYTES[policy.every]
    if length > NAME_BYTES:
        longest = NAME_BYTES - SUFFIX_BYTES[policy.every]
        raise DeclarationError(
            f"{table.fullname}: the names of its partitions would have {length} bytes, and "
            f"PostgreSQL cuts names at {NAME_BYTES}: shorten the table's name to {longest} bytes"
        )
