"""Creating and dropping the partitions of a range."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar, Self

from alembic.operations import Operations
from psycopg.sql import Composable, Literal

from alembic_enterprise.errors import OperationError
from alembic_enterprise.operation import InOrder, Operation
from alembic_enterprise.partitions.model import Policy, day
from alembic_enterprise.partitions.operations import blocks
from alembic_enterprise.partitions.periods import DAYS, MONTHS, SUFFIX, Every
from alembic_enterprise.registry import OWNERSHIP
from alembic_enterprise.sql import NOW, REFUSED, Name, do_block


@dataclass
class _RangePartitions(Operation):
    """The arguments that creating and dropping a range of partitions share."""

    table: str
    every: Every
    start: str | None = None
    stop: str | None = None
    ahead: int | None = None
    timezone: str = "UTC"
    default: bool = False
    schema: str | None = None
    partition_by: str | None = None
    shards: int | None = None

    def __post_init__(self) -> None:
        """Raise `EnterpriseError` when an argument cannot be used."""
        Policy(
            self.every,
            ahead=self.ahead or 0,
            timezone=self.timezone,
            partition_by=self.partition_by,
            shards=self.shards,
        )
        call = f"{self.operation_name}({self.table!r})"
        if self.start is None and self.stop is None and self.ahead is None and self.default:
            return
        if self.start is None or (self.stop is None) == (self.ahead is None):
            raise OperationError(
                f"{call}: give start=, and either stop= (a fixed end) or ahead= (periods beyond "
                "the one in which the migration runs); or default=True alone"
            )
        first = day(self.start)
        if self.stop is not None and day(self.stop) <= first:
            raise OperationError(f"{call}: stop={self.stop!r} must be after start={self.start!r}")

    @property
    def name(self) -> Name:
        """The partitioned table."""
        return Name(self.schema, self.table)

    def _values(self) -> dict[str, Composable]:
        return {
            "table": self.name.regclass,
            "start": Literal(self.start),
            "stop": Literal(self.stop),
            "ahead": Literal(self.ahead),
            "timezone": Literal(self.timezone),
            "unit": Literal(self.every),
            "step": Literal(_interval(self.every)),
            "default": Literal(self.default),
            "now": NOW,
            "ownership": Literal(OWNERSHIP),
            "refused": Literal(REFUSED),
        }


def _interval(every: Every) -> str:
    return f"{MONTHS[every]} months" if every in MONTHS else f"{DAYS[every]} days"


@dataclass
class CreateRangePartitions(_RangePartitions):
    """Create the partitions that a range lacks; those that exist stay as they are."""

    operation_name: ClassVar[str] = "create_range_partitions"

    new_table: bool = field(default=False, compare=False, repr=False)
    """Whether the table is created in the same script: then all of it goes again."""

    keep: int | None = field(default=None, compare=False, repr=False)
    """How many periods ahead the previous policy asks for: those do not go again."""

    keep_every: Every | None = field(default=None, compare=False, repr=False)
    """The period of the previous policy, when it is another one."""

    keep_default: bool = field(default=False, compare=False, repr=False)
    """Whether the previous policy asks for the default partition: it does not go again."""

    @classmethod
    def create_range_partitions(
        cls,
        operations: Operations,
        table: str,
        *,
        every: Every,
        start: str | None = None,
        stop: str | None = None,
        ahead: int | None = None,
        timezone: str = "UTC",
        default: bool = False,
        schema: str | None = None,
        partition_by: str | None = None,
        shards: int | None = None,
    ) -> None:
        """Create the partitions that a range of a partitioned table lacks.

        What exists is recognised by its bounds, whatever its name; a partly covered period gets
        partitions for the rest of it. Each partition is made beside the table and then attached, so
        that readers and writers of the table are not stopped. In a table that is partitioned by
        hash, this is done for each of its shards that is partitioned by range.

        Args:
            table: the partitioned table.
            every: "day", "week", "month", "quarter" or "year".
            start: first day of the range, ISO 8601; None for the default partition alone.
            stop: first day after the range; or
            ahead: through this many periods after the one in which the migration runs.
            timezone: IANA zone in which periods begin at midnight.
            default: also create a default partition.
            schema: schema of the table.
            partition_by: how each new partition is partitioned itself: 'HASH ("tenant_id")'.
            shards: into how many shards, which are created with it.
        """
        operation = cls(
            table,
            every,
            start=start,
            stop=stop,
            ahead=ahead,
            timezone=timezone,
            default=default,
            schema=schema,
            partition_by=partition_by,
            shards=shards,
        )
        operations.invoke(operation)

    @classmethod
    def of_period(cls, name: Name, policy: Policy, start: date, stop: date) -> Self:
        """The operation that creates one period of a policy, or what is missing of it."""
        return cls(
            name.name,
            policy.every,
            start=start.isoformat(),
            stop=stop.isoformat(),
            timezone=policy.timezone,
            schema=name.schema,
            partition_by=policy.partition_by,
            shards=policy.shards,
        )

    @classmethod
    def of_default(cls, name: Name, policy: Policy) -> Self:
        """The operation that creates the default partition of a table with a policy."""
        return cls(
            name.name,
            policy.every,
            default=True,
            schema=name.schema,
            partition_by=policy.partition_by,
            shards=policy.shards,
        )

    def statements(self) -> Sequence[Composable]:
        """One block, which finds out on the server what is missing on the day it runs."""
        return [self.block(Literal(self.start))]

    def block(self, start: Composable) -> Composable:
        """The block with its first day as SQL: a literal, or an expression of the day it runs."""
        values = self._values() | {
            "start": start,
            "suffix": Literal(SUFFIX[self.every]),
            "partition_by": Literal(self.partition_by),
            "shards": Literal(self.shards),
        }
        return do_block(blocks.CREATE_RANGE_PARTITIONS, **values)

    def reverse(self) -> "DropRangePartitions | InOrder":
        """Drop the same range, or every partition of a table that is dropped next.

        What the previous policy asks for stays, and all that is before.
        """
        if self.keep_default and self.start is None:
            return InOrder([])
        default = self.default and not self.keep_default
        return self.turned_into(DropRangePartitions, default=default, whole_table=self.new_table)


@dataclass
class DropRangePartitions(_RangePartitions):
    """Drop the partitions of a range that we made, unless they hold rows."""

    operation_name: ClassVar[str] = "drop_range_partitions"

    whole_table: bool = False
    keep: int | None = None
    keep_every: Every | None = None
    drop_rows: bool = False

    @classmethod
    def drop_range_partitions(
        cls,
        operations: Operations,
        table: str,
        *,
        every: Every,
        start: str | None = None,
        stop: str | None = None,
        ahead: int | None = None,
        timezone: str = "UTC",
        default: bool = False,
        schema: str | None = None,
        partition_by: str | None = None,
        shards: int | None = None,
        whole_table: bool = False,
        keep: int | None = None,
        keep_every: Every | None = None,
        drop_rows: bool = False,
    ) -> None:
        """Drop the partitions of a range that alembic-enterprise made.

        Args:
            table: the partitioned table.
            every: as it was created.
            start: first day of the range, ISO 8601.
            stop: first day after the range; without one, everything from `start` on goes.
            ahead: as it was created.
            timezone: IANA zone in which periods begin at midnight.
            default: also drop the default partition.
            schema: schema of the table.
            partition_by: as it was created, which only the reverse operation needs.
            shards: see `partition_by`.
            whole_table: drop every partition, whoever made it: the table itself goes next.
            keep: drop nothing through this many periods after the one in which the migration runs.
            keep_every: length of those periods, when it is not `every`.
            drop_rows: drop partitions that hold rows as well. Without it they are counted, and the
                migration stops with the number.
        """
        operation = cls(
            table,
            every,
            start=start,
            stop=stop,
            ahead=ahead,
            timezone=timezone,
            default=default,
            schema=schema,
            partition_by=partition_by,
            shards=shards,
            whole_table=whole_table,
            keep=keep,
            keep_every=keep_every,
            drop_rows=drop_rows,
        )
        operations.invoke(operation)

    def statements(self) -> Sequence[Composable]:
        """One block that looks for rows under a lock before it drops anything."""
        values = self._values() | {
            "whole_table": Literal(self.whole_table),
            "drop_rows": Literal(self.drop_rows),
            "operation": Literal(self.operation_name),
            "keep": Literal(self.keep),
            "keep_unit": Literal(self.keep_every or self.every),
            "keep_step": Literal(_interval(self.keep_every or self.every)),
        }
        return [do_block(blocks.DROP_RANGE_PARTITIONS, **values)]

    def reverse(self) -> CreateRangePartitions:
        """Create the range again, empty."""
        return self.turned_into(CreateRangePartitions, new_table=self.whole_table)
