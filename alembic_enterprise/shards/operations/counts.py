"""Creating and dropping shards."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from alembic.operations import Operations
from psycopg.sql import Composable

from alembic_enterprise.errors import OperationError
from alembic_enterprise.operation import InOrder, Operation
from alembic_enterprise.shards.model import check_count
from alembic_enterprise.shards.operations import blocks
from alembic_enterprise.sql import Name


@dataclass
class _HashShards(Operation):
    """The arguments that creating and dropping shards share."""

    table: str
    count: int
    remainders: list[int] | None = None
    schema: str | None = None
    partition_by: str | None = None

    def __post_init__(self) -> None:
        """Raise `EnterpriseError` when an argument cannot be used."""
        check_count(self.count)
        unknown = set(self.remainders or []) - set(range(self.count))
        if unknown or self.remainders == []:
            raise OperationError(
                f"{self.operation_name}({self.table!r}): remainders={self.remainders!r}: give some "
                f"from 0 to {self.count - 1}, or leave it out for all"
            )

    @property
    def name(self) -> Name:
        """The sharded table."""
        return Name(self.schema, self.table)


@dataclass
class CreateHashShards(_HashShards):
    """Create the shards that a table lacks; those that exist stay as they are."""

    operation_name: ClassVar[str] = "create_hash_shards"

    new_table: bool = field(default=False, compare=False, repr=False)
    """Whether the table is created in the same script: then all of it goes again."""

    repair: bool = field(default=False, compare=False, repr=False)
    """Whether the table has other shards: another database may have had these all along."""

    @classmethod
    def create_hash_shards(
        cls,
        operations: Operations,
        table: str,
        *,
        count: int,
        remainders: list[int] | None = None,
        schema: str | None = None,
        partition_by: str | None = None,
    ) -> None:
        """Create the shards that a table partitioned by hash lacks.

        What exists is recognised by its bounds, whatever its name. Each shard is made beside the
        table and then attached, so that readers and writers of the table are not stopped. A table
        whose shards hold all rows stays as it is, also with another number of them.

        Args:
            table: the table, created with PARTITION BY HASH (...).
            count: how many shards it should have, 1 to 1024.
            remainders: create only these of them; None for all.
            schema: schema of the table.
            partition_by: how each shard is partitioned itself, such as 'RANGE ("created_at")';
                `op.create_range_partitions` of the table then makes partitions in each.
        """
        operations.invoke(
            cls(table, count, remainders=remainders, schema=schema, partition_by=partition_by)
        )

    def statements(self) -> Sequence[Composable]:
        """One block, which finds out on the server what is missing on the day it runs."""
        return [blocks.create(self.name, self.count, self.remainders, self.partition_by)]

    def reverse(self) -> "DropHashShards | InOrder":
        """Drop the same shards, or every one of a table that is dropped next; none after a repair.

        Without one of its shards a table refuses rows, which no revision was meant to leave.
        """
        if self.repair:
            return InOrder([])
        return self.turned_into(DropHashShards, whole_table=self.new_table)


@dataclass
class DropHashShards(_HashShards):
    """Drop shards that we made, unless they hold rows."""

    operation_name: ClassVar[str] = "drop_hash_shards"

    whole_table: bool = False
    drop_rows: bool = False

    @classmethod
    def drop_hash_shards(
        cls,
        operations: Operations,
        table: str,
        *,
        count: int,
        remainders: list[int] | None = None,
        schema: str | None = None,
        partition_by: str | None = None,
        whole_table: bool = False,
        drop_rows: bool = False,
    ) -> None:
        """Drop the shards of a table that alembic-enterprise made.

        Args:
            table: the sharded table.
            count: as they were created.
            remainders: drop only what holds these remainders of `count`; None for all.
            schema: schema of the table.
            partition_by: as they were created, which only the reverse operation needs.
            whole_table: drop every shard, whoever made it: the table itself goes next.
            drop_rows: drop shards that hold rows as well. Without it they are counted, and the
                migration stops with the number.
        """
        operations.invoke(
            cls(
                table,
                count,
                remainders=remainders,
                schema=schema,
                partition_by=partition_by,
                whole_table=whole_table,
                drop_rows=drop_rows,
            )
        )

    def statements(self) -> Sequence[Composable]:
        """One block that looks for rows under a lock before it drops anything."""
        return [
            blocks.drop(
                self.name,
                self.count,
                self.remainders,
                whole_table=self.whole_table,
                drop_rows=self.drop_rows,
                operation=self.operation_name,
            )
        ]

    def reverse(self) -> CreateHashShards:
        """Create them again, empty."""
        return self.turned_into(CreateHashShards, new_table=self.whole_table)
