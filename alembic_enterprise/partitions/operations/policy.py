"""Setting and dropping the policy that the scheduled job keeps true."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Self

from alembic.operations import Operations
from psycopg.sql import Composable

from alembic_enterprise import registry
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.model import OnExpire, Policy
from alembic_enterprise.partitions.periods import Every
from alembic_enterprise.sql import Name


@dataclass
class _PartitionPolicy(Operation):
    """The arguments that setting and dropping a policy share."""

    table: str
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
    schema: str | None = None

    @property
    def name(self) -> Name:
        """The partitioned table."""
        return Name(self.schema, self.table)

    @property
    def policy(self) -> Policy:
        """The policy as the registry keeps it. Raises `DeclarationError` for a bad value."""
        return Policy(**{field.name: getattr(self, field.name) for field in fields(Policy)})

    @classmethod
    def of(cls, name: Name, policy: Policy) -> Self:
        """The operation that concerns a policy of a table."""
        return cls(table=name.name, schema=name.schema, **vars(policy))


@dataclass
class SetPartitionPolicy(_PartitionPolicy):
    """Keep in the database what the scheduled job has to keep true."""

    operation_name: ClassVar[str] = "set_partition_policy"

    previous: Policy | None = field(default=None, compare=False, repr=False)
    """The policy that this one replaces, for the reverse operation."""

    @classmethod
    def set_partition_policy(
        cls,
        operations: Operations,
        table: str,
        *,
        every: Every,
        ahead: int = 3,
        retain: int | None = None,
        timezone: str = "UTC",
        start: str | None = None,
        default: bool = False,
        on_expire: OnExpire = "detach",
        hold: int = 7,
        archive: str | None = None,
        partition_by: str | None = None,
        shards: int | None = None,
        schema: str | None = None,
    ) -> None:
        """Keep in the database what the scheduled job has to keep true for a table.

        The arguments are those of `RangePartitions`, and those of `create_range_partitions` for
        partitions that have shards; the policy is in the table `alembic_enterprise_policy`, in
        the table's schema, so that the job needs no models. That of a table partitioned by hash
        counts for each of its shards. Refused where somebody without the rights of the table's
        owner made that table, or it runs code when it is written to.
        """
        policy = Policy(
            every,
            ahead=ahead,
            retain=retain,
            timezone=timezone,
            start=start,
            default=default,
            on_expire=on_expire,
            hold=hold,
            archive=archive,
            partition_by=partition_by,
            shards=shards,
        )
        operations.invoke(cls.of(Name(schema, table), policy))

    def statements(self) -> Sequence[Composable]:
        """Create the registry where it is missing, then insert or update one row."""
        return registry.put(self.name, self.policy.to_json())

    def reverse(self) -> "SetPartitionPolicy | DropPartitionPolicy":
        """Put the previous policy back, or drop this one."""
        if self.previous is None:
            return DropPartitionPolicy.of(self.name, self.policy)
        return replace(self.of(self.name, self.previous), previous=self.policy)


@dataclass
class DropPartitionPolicy(_PartitionPolicy):
    """Forget the policy of a table; its partitions stay."""

    operation_name: ClassVar[str] = "drop_partition_policy"

    @classmethod
    def drop_partition_policy(
        cls,
        operations: Operations,
        table: str,
        *,
        every: Every,
        ahead: int = 3,
        retain: int | None = None,
        timezone: str = "UTC",
        start: str | None = None,
        default: bool = False,
        on_expire: OnExpire = "detach",
        hold: int = 7,
        archive: str | None = None,
        partition_by: str | None = None,
        shards: int | None = None,
        schema: str | None = None,
    ) -> None:
        """Forget the policy of a table; its partitions stay, and nothing makes new ones.

        The other arguments are the policy as it was, for the reverse operation.
        """
        policy = Policy(
            every,
            ahead=ahead,
            retain=retain,
            timezone=timezone,
            start=start,
            default=default,
            on_expire=on_expire,
            hold=hold,
            archive=archive,
            partition_by=partition_by,
            shards=shards,
        )
        operations.invoke(cls.of(Name(schema, table), policy))

    def statements(self) -> Sequence[Composable]:
        """Delete one row."""
        return registry.remove(self.name)

    def reverse(self) -> SetPartitionPolicy:
        """Set the policy again."""
        return SetPartitionPolicy.of(self.name, self.policy)
