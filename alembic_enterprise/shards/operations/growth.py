"""Splitting and merging shards, one or all, with their rows.

All four lock the table against readers and writers while the rows are copied, and need room for
the rows once more until the transaction ends. Growing a table that is in use is the work of
`alembic-enterprise shards grow`, after which they find nothing to do.

New shards are made as the table says. What a single shard has of its own, such as an index, a
constraint, a trigger, a grant or a tablespace, would be lost, so it stops them. So does a
subscription that writes to a shard by its name: it would pass over all later changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import ClassVar

from alembic.operations import Operations
from psycopg.sql import Composable

from alembic_enterprise.errors import OperationError
from alembic_enterprise.operation import Operation
from alembic_enterprise.shards.model import check_count
from alembic_enterprise.shards.moduli import ALL, Class
from alembic_enterprise.shards.operations import blocks
from alembic_enterprise.sql import Name


@dataclass
class _AllShards(Operation):
    """The arguments that growing and shrinking share."""

    table: str
    count: int
    schema: str | None = None

    previous: int | None = field(default=None, compare=False, repr=False)
    """How many shards there are before, for the reverse operation."""

    def __post_init__(self) -> None:
        """Raise `DeclarationError` when a table cannot have `count` shards."""
        check_count(self.count)

    @property
    def name(self) -> Name:
        """The sharded table."""
        return Name(self.schema, self.table)

    def _count_before(self) -> int:
        if self.previous is None:
            raise OperationError(
                f"{self} cannot be reversed without the number of shards there were before: "
                "write the downgrade by hand"
            )
        return self.previous


@dataclass
class GrowHashShards(_AllShards):
    """Split the shards of a table until there are `count`."""

    operation_name: ClassVar[str] = "grow_hash_shards"

    @classmethod
    def grow_hash_shards(
        cls, operations: Operations, table: str, *, count: int, schema: str | None = None
    ) -> None:
        """Split the shards of a table until there are `count`, with their rows.

        It locks the table against readers and writers for as long as the rows are copied. On a
        table in use run `alembic-enterprise shards grow TABLE --to COUNT` beforehand, which does
        the same while it is used; then this finds nothing to do. Only what is missing is done:
        shards that are cut as fine or finer already stay. What a single shard has of its own, such
        as an index or a grant, stops it.

        Args:
            table: the sharded table.
            count: how many shards it should have, a multiple of how many it has.
            schema: schema of the table.
        """
        operations.invoke(cls(table, count, schema=schema))

    @property
    def command(self) -> str:
        """The command that does the same while the table is read and written, for a shell."""
        return f"alembic-enterprise shards grow {quote(str(self.name))} --to {self.count}"

    def statements(self) -> Sequence[Composable]:
        """One block, which finds out on the server what is left to split."""
        return [blocks.change(self.name, ALL, self.count, growing=True)]

    def reverse(self) -> "ShrinkHashShards":
        """Merge them again. Raises `OperationError` when nobody said how many there were."""
        return ShrinkHashShards(
            self.table, self._count_before(), schema=self.schema, previous=self.count
        )


@dataclass
class ShrinkHashShards(_AllShards):
    """Merge the shards of a table until there are so few."""

    operation_name: ClassVar[str] = "shrink_hash_shards"

    @classmethod
    def shrink_hash_shards(
        cls, operations: Operations, table: str, *, count: int, schema: str | None = None
    ) -> None:
        """Merge the shards of a table until there are `count`, with their rows.

        It locks the table against readers and writers for as long as the rows are copied.

        Args:
            table: the sharded table.
            count: how many shards it should have, a divisor of how many it has.
            schema: schema of the table.
        """
        operations.invoke(cls(table, count, schema=schema))

    def statements(self) -> Sequence[Composable]:
        """One block, which finds out on the server what is left to merge."""
        return [blocks.change(self.name, ALL, self.count, growing=False)]

    def reverse(self) -> GrowHashShards:
        """Split them again. Raises `OperationError` when nobody said how many there were."""
        return GrowHashShards(
            self.table, self._count_before(), schema=self.schema, previous=self.count
        )


@dataclass
class _OneShard(Operation):
    """The arguments that splitting and merging one shard share."""

    table: str
    modulus: int
    remainder: int
    into: int = 2
    schema: str | None = None

    def __post_init__(self) -> None:
        """Raise `EnterpriseError` when an argument cannot be used."""
        check_count(self.modulus)
        check_count(self.modulus * self.into)
        if self.remainder not in range(self.modulus) or self.into < 2:  # noqa: PLR2004  # 1 is none
            raise OperationError(
                f"{self}: give a remainder from 0 to {self.modulus - 1}, and into= from 2 up"
            )

    @property
    def name(self) -> Name:
        """The sharded table."""
        return Name(self.schema, self.table)

    @property
    def held(self) -> Class:
        """What the shard holds before it is split, or after it is merged."""
        return Class(self.modulus, self.remainder)


@dataclass
class SplitHashShard(_OneShard):
    """Split one shard."""

    operation_name: ClassVar[str] = "split_hash_shard"

    @classmethod
    def split_hash_shard(
        cls,
        operations: Operations,
        table: str,
        *,
        modulus: int,
        remainder: int,
        into: int = 2,
        schema: str | None = None,
    ) -> None:
        """Split one shard with its rows: of (8, 3) become (16, 3), with its name, and (16, 11).

        It locks the table against readers and writers for as long as the rows are copied. A shard
        that is split already stays as it is.

        Args:
            table: the sharded table.
            modulus: modulus of the shard.
            remainder: its remainder.
            into: how many shards become of it; the new modulus must be a multiple or a divisor of
                every other of the table.
            schema: schema of the table.
        """
        operations.invoke(cls(table, modulus, remainder, into=into, schema=schema))

    def statements(self) -> Sequence[Composable]:
        """One block, which finds out on the server whether it is split."""
        return [blocks.change(self.name, self.held, self.modulus * self.into, growing=True)]

    def reverse(self) -> "MergeHashShards":
        """Merge what it was split into."""
        return self.turned_into(MergeHashShards)


@dataclass
class MergeHashShards(_OneShard):
    """Merge the shards that one was split into."""

    operation_name: ClassVar[str] = "merge_hash_shards"

    @classmethod
    def merge_hash_shards(
        cls,
        operations: Operations,
        table: str,
        *,
        modulus: int,
        remainder: int,
        into: int = 2,
        schema: str | None = None,
    ) -> None:
        """Merge the shards that one was split into, with their rows.

        It locks the table against readers and writers for as long as the rows are copied.

        Args:
            table: the sharded table.
            modulus: modulus of the shard that comes of it.
            remainder: its remainder.
            into: into how many shards it was split, which only the reverse operation needs.
            schema: schema of the table.
        """
        operations.invoke(cls(table, modulus, remainder, into=into, schema=schema))

    def statements(self) -> Sequence[Composable]:
        """One block, which finds out on the server what there is to merge."""
        return [blocks.change(self.name, self.held, self.modulus, growing=False)]

    def reverse(self) -> SplitHashShard:
        """Split it again."""
        return self.turned_into(SplitHashShard)
