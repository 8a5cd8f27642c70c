"""Attaching a table as a partition, and detaching it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, LiteralString

from alembic.operations import Operations
from psycopg.sql import SQL, Composable, Literal

from alembic_enterprise.errors import OperationError
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.model import zone
from alembic_enterprise.partitions.operations import triggers
from alembic_enterprise.registry import KEPT, OWNERSHIP
from alembic_enterprise.sql import Name, Remaining, do_block, text_of


@dataclass
class _Attachment(Operation):
    """The arguments that attaching and detaching share."""

    table: str
    partition: str
    start: str | None = None
    stop: str | None = None
    timezone: str = "UTC"
    schema: str | None = None
    partition_schema: str | None = None

    def __post_init__(self) -> None:
        """Raise `EnterpriseError` when an argument cannot be used."""
        zone(self.timezone)

    @property
    def name(self) -> Name:
        """The partitioned table."""
        return Name(self.schema, self.table)

    @property
    def partition_name(self) -> Name:
        """The partition; in the table's schema by default."""
        return Name(self.partition_schema or self.schema, self.partition)

    def _bound(self, moment: str | None, unbounded: SQL) -> Composable:
        """A bound that says its zone, so that the session's TimeZone does not matter.

        `date` and `timestamp` keys ignore the zone (PostgreSQL docs, "Date/Time Types").
        """
        return unbounded if moment is None else Literal(f"{moment} {self.timezone}")


@dataclass
class AttachPartition(_Attachment):
    """Make an existing table the partition for a range."""

    operation_name: ClassVar[str] = "attach_partition"

    @classmethod
    def attach_partition(
        cls,
        operations: Operations,
        table: str,
        partition: str,
        *,
        start: str | None = None,
        stop: str | None = None,
        timezone: str = "UTC",
        schema: str | None = None,
        partition_schema: str | None = None,
    ) -> None:
        """Make an existing table the partition that holds `start` up to, but without, `stop`.

        The server reads the whole table to check it unless a validated CHECK constraint already
        says `key IS NOT NULL AND key >= start AND key < stop`.

        Args:
            table: the partitioned table.
            partition: the table to attach.
            start: first moment, ISO 8601 ("2026-11-01" or "2026-11-01 06:00"); None for MINVALUE.
            stop: first moment after it; None for MAXVALUE.
            timezone: IANA zone that both are in.
            schema: schema of the table.
            partition_schema: schema of the partition, when it is another one.
        """
        operation = cls(
            table,
            partition,
            start=start,
            stop=stop,
            timezone=timezone,
            schema=schema,
            partition_schema=partition_schema,
        )
        operations.invoke(operation)

    def statements(self) -> Sequence[Composable]:
        """One ALTER TABLE, and blocks for its comment and for triggers that are on each partition.

        The comment tells of the table it belonged to, whose rules count for it no more.
        """
        attach = SQL("ALTER TABLE {} ATTACH PARTITION {}\nFOR VALUES FROM ({}) TO ({})").format(
            self.name.sql,
            self.partition_name.sql,
            self._bound(self.start, SQL("MINVALUE")),
            self._bound(self.stop, SQL("MAXVALUE")),
        )
        named = {"table": self.name.regclass, "partition": self.partition_name.regclass}
        words = {"ownership": Literal(OWNERSHIP), "kept": Literal(KEPT)}
        mark = do_block(_MARK_ANEW, **named, **words)
        return [attach, mark, triggers.attached(self.name, self.partition_name)]

    def reverse(self) -> "DetachPartition":
        """Detach it again; its rows stay in it."""
        return self.turned_into(DetachPartition)


_MARK_ANEW: LiteralString = """DECLARE
    partition constant regclass := {partition};
    mark constant text := obj_description(partition, 'pg_class');
BEGIN
    IF mark = {kept} OR starts_with(mark, {ownership} || 'partition of ') THEN
        EXECUTE format('COMMENT ON %sTABLE %s IS %L',
            (SELECT CASE relkind WHEN 'f' THEN 'FOREIGN ' END FROM pg_catalog.pg_class
             WHERE oid = partition), partition,
            (SELECT {ownership} || 'partition of ' || n.nspname || '.' || c.relname
             FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.oid = {table}::regclass AND mark <> {kept}));
    END IF;
END"""
"""Says that a partition of ours is one of its new table; of what a person keeps, it says nothing.

What it was retired from, and that it was to be dropped, would count when it is detached again.
"""


_CONCURRENTLY: LiteralString = """
SELECT statement
FROM pg_catalog.pg_class AS c
LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = c.oid AND i.inhparent = {table}::regclass
CROSS JOIN LATERAL (VALUES
    (1, CASE WHEN c.relispartition AND NOT i.inhdetachpending THEN {tell} END),
    (2, CASE WHEN i.inhdetachpending THEN {finalize} WHEN c.relispartition THEN {detach} END),
    (3, CASE WHEN c.relispartition OR EXISTS (
            SELECT FROM pg_catalog.pg_trigger AS own JOIN pg_catalog.pg_trigger AS t USING (tgfoid)
            WHERE own.tgrelid = c.oid AND t.tgrelid = {table}::regclass) THEN {forget} END)
) AS steps (number, statement)
WHERE c.oid = {partition}::regclass AND statement IS NOT NULL ORDER BY number"""
"""What lacks: all, or what an interrupted attempt has left to do.

One interrupted while it waited has recorded the detach already. The partition of another table gets
the server's refusal; one that is detached loses only the triggers that are its former table's.
"""


_ALTERATION: LiteralString = """
SELECT CASE WHEN inhdetachpending THEN {finalize} ELSE {detach} END FROM pg_catalog.pg_inherits
WHERE inhrelid = {partition}::regclass AND inhparent = {table}::regclass"""


@dataclass
class DetachPartition(_Attachment):
    """Make a partition a table of its own again; nothing is dropped."""

    operation_name: ClassVar[str] = "detach_partition"

    concurrently: bool = False

    @classmethod
    def detach_partition(
        cls,
        operations: Operations,
        table: str,
        partition: str,
        *,
        start: str | None = None,
        stop: str | None = None,
        timezone: str = "UTC",
        schema: str | None = None,
        partition_schema: str | None = None,
        concurrently: bool = False,
    ) -> None:
        """Make a partition a table of its own again; its rows stay in it.

        Indexes that it got when it was attached stay, too; and the concurrent form leaves it a
        CHECK constraint of its bounds (PostgreSQL docs, "ALTER TABLE ... DETACH PARTITION"). That
        form can be run again after an interruption, and carries on.

        Args:
            table: the partitioned table.
            partition: the partition to detach.
            start: the bounds it had, which only the reverse operation needs.
            stop: see `start`.
            timezone: IANA zone of both.
            schema: schema of the table.
            partition_schema: schema of the partition, when it is another one.
            concurrently: do not lock out readers and writers. The server refuses this inside a
                transaction, so what the script did before is committed first; and it refuses it
                on a table with a default partition. Where foreign keys lead from the table or to
                it, others queue behind it for the table at the other end, without a lock_timeout.
        """
        operation = cls(
            table,
            partition,
            start=start,
            stop=stop,
            timezone=timezone,
            schema=schema,
            partition_schema=partition_schema,
            concurrently=concurrently,
        )
        operations.invoke(operation)

    @property
    def in_transaction(self) -> bool:
        """False for the concurrent form."""
        return not self.concurrently

    def statements(self) -> Sequence[Composable]:
        """One ALTER TABLE, between blocks for triggers that stand on each partition."""
        partition = self.partition_name
        last = triggers.forgetting(partition)
        if not self.concurrently:
            first = triggers.telling_under_lock(self.name, partition)
            return [first, self.alteration(), last]
        texts = {
            "tell": triggers.telling(partition, "detach"),
            "detach": self.alteration(),
            "finalize": self._alteration(" FINALIZE"),
            "forget": last,
        }
        literals = {name: Literal(text_of(item)) for name, item in texts.items()}
        query = SQL(_CONCURRENTLY).format(
            table=self.name.regclass, partition=partition.regclass, **literals
        )
        return [Remaining([query])]

    def remaining(self) -> Remaining:
        """The ALTER TABLE alone, or what is left to do after an interruption."""
        literals = {
            "detach": Literal(text_of(self.alteration())),
            "finalize": Literal(text_of(self._alteration(" FINALIZE"))),
        }
        query = SQL(_ALTERATION).format(
            table=self.name.regclass, partition=self.partition_name.regclass, **literals
        )
        return Remaining([query])

    def alteration(self) -> Composable:
        """The ALTER TABLE alone."""
        return self._alteration(" CONCURRENTLY" if self.concurrently else "")

    def _alteration(self, ending: LiteralString) -> Composable:
        return SQL("ALTER TABLE {} DETACH PARTITION {}{}").format(
            self.name.sql, self.partition_name.sql, SQL(ending)
        )

    def reverse(self) -> AttachPartition:
        """Attach it again, with the bounds given. Raises `OperationError` when none were given."""
        if self.start is None and self.stop is None:
            raise OperationError(
                f"detach_partition({self.table!r}, {self.partition!r}) cannot be reversed without "
                "the bounds that the partition had: add start= and stop="
            )
        return self.turned_into(AttachPartition)
