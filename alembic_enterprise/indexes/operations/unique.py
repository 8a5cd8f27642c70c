"""Adding a unique constraint while its table is read and written, and dropping it.

Its index is built first, as any index online, and then made the constraint's: `USING INDEX` reads
no row. PostgreSQL refuses that on a partitioned table; there each partition gets a constraint that
way, which is attached to one that was made ON ONLY the table (PostgreSQL docs, "Partition
Maintenance").
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, LiteralString

from alembic.operations import Operations
from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise.indexes.operations import blocks
from alembic_enterprise.indexes.operations.deferral import Deferral
from alembic_enterprise.indexes.operations.index import CreateIndexOnline, released
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import do_block, text_of

_CREATE: LiteralString = """
    WITH made AS (
        SELECT DISTINCT ON (found.oid) found.oid, found_name AS made
        FROM found JOIN pg_catalog.pg_constraint AS k
             ON k.conindid = found_oid AND k.conrelid = found.oid AND k.contype = 'u'
             AND (k.condeferrable, k.condeferred) = {deferral}
        WHERE is_equal AND (indisvalid OR kind = 'I')
          AND (found_name = label OR level > 0 AND NOT relispartition)
        ORDER BY found.oid, found_name <> label, found_oid::bigint
    ), chosen AS (
        SELECT nodes.*, made IS NOT NULL OR is_attached AS is_made,
               CASE WHEN is_attached THEN part ELSE coalesce(made, index_name) END AS chosen
        FROM nodes LEFT JOIN made USING (oid))
    SELECT statement, node.table_name, endured,
           row_number() OVER (ORDER BY node.relkind <> 'p',
                              CASE WHEN node.relkind = 'p' THEN node.level END,
                              node.oid::bigint, number)
    FROM chosen AS node LEFT JOIN chosen AS above ON above.oid = node.parent
    CROSS JOIN LATERAL (VALUES
        (1, CASE WHEN NOT node.is_made AND node.relkind = 'p'
                 THEN format('ALTER TABLE ONLY %s ADD CONSTRAINT %I ', node.table_name, node.label)
                      || {constraint} END, {exclusive}),
        (2, CASE WHEN node.own_kind = 'i' AND NOT node.own_valid
                 THEN format('DROP INDEX CONCURRENTLY %I.%I', node.nspname, node.label) END, NULL),
        (3, CASE WHEN NOT node.is_made AND node.part IS NULL AND node.relkind = 'r'
                 THEN format('CREATE UNIQUE INDEX CONCURRENTLY %I ON %s ', node.label,
                             node.table_name) || {definition} END, NULL),
        (4, CASE WHEN NOT node.is_made AND node.relkind = 'r'
                 THEN format('ALTER TABLE %s ADD CONSTRAINT %I UNIQUE USING INDEX %I',
                             node.table_name, node.chosen, node.chosen) || {deferred} END,
         {exclusive}),
        (5, CASE WHEN node.level > 0 AND NOT node.is_attached
                 THEN format('ALTER INDEX %I.%I ATTACH PARTITION %I.%I', above.nspname,
                             above.chosen, node.nspname, node.chosen) END, {exclusive})
    ) AS steps (number, statement, endured)
    WHERE statement IS NOT NULL"""
"""What lacks: the constraint of each parent, not in force; then, in one partition after the other,
an index, the constraint that has it, and their place. With the last one it holds for the table.
"""

_DROP: LiteralString = """
    SELECT CASE WHEN k.oid IS NOT NULL
                THEN format('ALTER TABLE %s DROP CONSTRAINT %I', table_name, label)
                ELSE format('DROP INDEX CONCURRENTLY %I.%I', nspname, label) END,
           table_name, CASE WHEN k.oid IS NOT NULL THEN {exclusive} END,
           row_number() OVER (ORDER BY level DESC, nodes.oid::bigint)
    FROM nodes LEFT JOIN pg_catalog.pg_constraint AS k
         ON k.conrelid = nodes.oid AND k.conname = label AND k.contype = 'u'
    WHERE own_kind IS NOT NULL AND (level = 0 OR NOT is_attached)
      AND (k.oid IS NOT NULL OR own_kind = 'i')"""
"""What a cut try did not come to attach; then the constraint, with all that is attached to it."""

_REFUSE_DEFERRAL: LiteralString = """DECLARE
    problem text;
BEGIN
    SELECT pg_get_constraintdef(oid) INTO problem FROM pg_catalog.pg_constraint
    WHERE conrelid = {table}::regclass AND conname = {name} AND contype = 'u'
      AND (condeferrable, condeferred) <> {deferral};
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: it has a constraint % already, which is checked at another time, %: '
            'drop that, or give this one another name', {table}::regclass, quote_ident({name}),
            problem USING ERRCODE = {refused};
    END IF;
END"""

_REFUSE_OTHERS: LiteralString = """DECLARE
    problem text;
BEGIN
    SELECT coalesce(pg_get_constraintdef(k.oid), pg_get_indexdef(x.indexrelid)) INTO problem
    FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
    LEFT JOIN pg_catalog.pg_constraint AS k
         ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u', 'x')
    WHERE x.indrelid = {table}::regclass AND c.relname = {name}
      AND CASE WHEN k.oid IS NOT NULL THEN k.contype <> 'u'
               ELSE c.relkind = 'I' OR NOT x.indisunique OR x.indpred IS NOT NULL
                    OR x.indnkeyatts <> {count}
                    OR {columns}::name[] <> ARRAY(
                        SELECT attname FROM unnest(x.indkey) WITH ORDINALITY AS item (number, place)
                        LEFT JOIN pg_catalog.pg_attribute
                             ON attrelid = x.indrelid AND attnum = number AND attnum > 0
                        ORDER BY place) END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: % is not a unique constraint of it, nor left by a try to create this '
            'one, but %: correct the name, or drop it as what it is', {table}::regclass,
            quote_ident({name}), problem USING ERRCODE = {refused};
    END IF;
END"""
"""An index without its constraint is taken for the rest of an interrupted attempt only if it has
these columns, and is not that of a partitioned table, which gets the constraint at once."""


@dataclass
class _UniqueConstraint(Operation):
    """The arguments that creating and dropping share."""

    constraint_name: str
    table: str
    columns: Sequence[str]
    schema: str | None = None
    nulls_not_distinct: bool = False
    include: Sequence[str] = ()
    deferrable: bool | None = None
    initially: str | None = None

    def __post_init__(self) -> None:
        """Raise `OperationError` when an argument cannot be used."""
        self.columns, self.include = [*self.columns], [*self.include] or ()
        self.values()

    @property
    def index(self) -> CreateIndexOnline:
        """What creates its index."""
        return CreateIndexOnline(
            self.constraint_name,
            self.table,
            self.columns,
            schema=self.schema,
            unique=True,
            include=self.include,
            nulls_not_distinct=self.nulls_not_distinct,
        )

    @property
    def in_transaction(self) -> bool:
        """False: an index is refused there that is made CONCURRENTLY."""
        return False

    def watched(self, connection: Connection) -> AbstractContextManager[object]:
        """Let go of the advisory lock when a statement fails."""
        return released(connection, self.index.relation)

    def values(self) -> dict[str, Composable]:
        """What the placeholders of the queries stand for."""
        deferral = Deferral(self.deferrable, self.initially)
        return {
            **self.index.values(of_constraint=True),
            "constraints": Literal("{p,x}"),
            "undo": Literal(f"op.{DropUniqueConstraintOnline.operation_name}"),
            "constraint": Literal(text_of(self._definition() + deferral.sql)),
            "deferred": Literal(text_of(deferral.sql)),
            "deferral": deferral.row,
            "columns": Literal([*self.columns, *self.include]),
            "count": Literal(len(self.columns)),
        }

    def _definition(self) -> Composable:
        """What follows the name in ADD CONSTRAINT, which is not the order of CREATE INDEX."""
        columns, include = (
            SQL(", ").join(map(Identifier, given)) for given in (self.columns, self.include)
        )
        return SQL("UNIQUE{} ({}){}").format(
            SQL(" NULLS NOT DISTINCT" if self.nulls_not_distinct else ""),
            columns,
            SQL(" INCLUDE ({})").format(include) if self.include else SQL(""),
        )


@dataclass
class CreateUniqueConstraintOnline(_UniqueConstraint):
    """Create a unique constraint without stopping those who write to its table."""

    operation_name: ClassVar[str] = "create_unique_constraint_online"

    @classmethod
    def create_unique_constraint_online(
        cls,
        operations: Operations,
        constraint_name: str,
        table: str,
        columns: Sequence[str],
        *,
        schema: str | None = None,
        nulls_not_distinct: bool = False,
        include: Sequence[str] = (),
        deferrable: bool | None = None,
        initially: str | None = None,
    ) -> None:
        """Create a unique constraint while its table is read and written.

        A unique index is built by CREATE INDEX CONCURRENTLY and then made the constraint's, which
        locks others out (ACCESS EXCLUSIVE) for a moment, tried briefly up to 20 times. What the
        script did before is committed first.

        Of a partitioned table, the columns must contain those of its key. It and each partition are
        locked one by one: the table by ADD CONSTRAINT ON ONLY, each partition when its index
        becomes a constraint, and that index once more when it is attached. An equal index or
        constraint that a partition has is taken. With the last one the constraint holds for the
        table.

        Run again after it was stopped, it carries on. Duplicates end it, with the query that finds
        them: mend them, and run it again. Until then the invalid index that is left refuses new
        ones.

        Args:
            constraint_name: the constraint, and its index; at most 63 bytes.
            table: the table, which may be partitioned.
            columns: its columns.
            schema: schema of the table.
            nulls_not_distinct: whether two nulls are duplicates; PostgreSQL 15 and later.
            include: columns that are only stored in its index.
            deferrable: whether it may be checked at the end of a transaction.
            initially: "DEFERRED" or "IMMEDIATE".
        """
        operations.invoke(
            cls(
                constraint_name,
                table,
                columns,
                schema=schema,
                nulls_not_distinct=nulls_not_distinct,
                include=include,
                deferrable=deferrable,
                initially=initially,
            )
        )

    def statements(self) -> Sequence[Composable]:
        """Look and refuse; what lacks; look again."""
        values = self.values()
        return [
            do_block(blocks.CLAIM_CREATION, **values),
            do_block(_REFUSE_DEFERRAL, **values),
            blocks.steps(_CREATE, **values),
            do_block(blocks.END_CREATION, **values),
        ]

    def watched(self, connection: Connection) -> AbstractContextManager[object]:
        """As its index is watched over while it is built."""
        return self.index.building(connection, DropUniqueConstraintOnline.operation_name)

    def reverse(self) -> "DropUniqueConstraintOnline":
        """Drop it again, with its index."""
        return self.turned_into(DropUniqueConstraintOnline)


@dataclass
class DropUniqueConstraintOnline(_UniqueConstraint):
    """Drop a unique constraint, or what a try to create it has left."""

    operation_name: ClassVar[str] = "drop_unique_constraint_online"

    @classmethod
    def drop_unique_constraint_online(
        cls,
        operations: Operations,
        constraint_name: str,
        table: str,
        columns: Sequence[str],
        *,
        schema: str | None = None,
        nulls_not_distinct: bool = False,
        include: Sequence[str] = (),
        deferrable: bool | None = None,
        initially: str | None = None,
    ) -> None:
        """Drop a unique constraint, or what a try to create it has left; none is no error.

        It locks the table and its partitions (ACCESS EXCLUSIVE) for a moment, which is tried
        briefly up to 20 times. What the script did before is committed first.

        Args:
            constraint_name: the constraint.
            table: the table, which may be partitioned.
            columns: as it was created; this and all that follows but for `schema` is for the
                reverse operation, and identifies what a try has left.
            schema: schema of the table.
            nulls_not_distinct: as it was created.
            include: as it was created.
            deferrable: as it was created.
            initially: as it was created.
        """
        operations.invoke(
            cls(
                constraint_name,
                table,
                columns,
                schema=schema,
                nulls_not_distinct=nulls_not_distinct,
                include=include,
                deferrable=deferrable,
                initially=initially,
            )
        )

    def statements(self) -> Sequence[Composable]:
        """Look and refuse; drop."""
        values = self.values()
        return [
            do_block(blocks.CLAIM_DROP, **values),
            do_block(_REFUSE_OTHERS, **values),
            blocks.steps(_DROP, **values),
            do_block(blocks.UNCLAIM, **values),
        ]

    def reverse(self) -> CreateUniqueConstraintOnline:
        """Create it again."""
        return self.turned_into(CreateUniqueConstraintOnline)
