"""Forbidding nulls in a column while its table is read and written, and allowing them again.

`SET NOT NULL` reads the whole table with everybody locked out, unless a valid CHECK constraint says
the same already (PostgreSQL docs, "ALTER TABLE"). From PostgreSQL 18 on NOT NULL itself is a
constraint that can be NOT VALID at first.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, LiteralString

from alembic.operations import Operations
from psycopg.sql import Composable, Literal
from sqlalchemy import Connection

from alembic_enterprise.indexes.operations import blocks
from alembic_enterprise.indexes.operations.index import released
from alembic_enterprise.indexes.operations.validation import brief, tree, validations
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import Name, do_block

_COLUMNS: LiteralString = """, columns AS (
    SELECT tree.*, a.attnotnull, label, filled, empty, k.conname, k.convalidated
    FROM tree
    JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = tree.oid AND a.attname = {column} AND NOT a.attisdropped
    CROSS JOIN LATERAL (SELECT 'alembic_enterprise_not_null_' || a.attnum) AS called (label)
    CROSS JOIN LATERAL (
        WITH RECURSIVE types AS (
            SELECT typtype, typbasetype FROM pg_catalog.pg_type WHERE oid = a.atttypid
            UNION ALL
            SELECT t.typtype, t.typbasetype
            FROM types JOIN pg_catalog.pg_type AS t ON t.oid = types.typbasetype)
        SELECT CASE WHEN bool_or(typtype = 'c') THEN 'IS DISTINCT FROM NULL'
                    ELSE 'IS NOT NULL' END,
               CASE WHEN bool_or(typtype = 'c') THEN 'IS NOT DISTINCT FROM NULL'
                    ELSE 'IS NULL' END
        FROM types) AS words (filled, empty)
    LEFT JOIN pg_catalog.pg_constraint AS k ON k.conrelid = tree.oid AND (
        k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
        OR k.contype = 'c' AND k.conname = label
           AND pg_get_expr(k.conbin, k.conrelid) = format('(%I %s)', a.attname, filled))
)"""
"""The column in each table of the tree, with the constraint that is to become valid.

A row is NOT NULL when none of its fields is null, but a column of a composite type has no null when
it has a row, whatever is in that (PostgreSQL docs, "Comparison Functions and Operators").
"""

_REFUSE: LiteralString = """BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = {table}::regclass
                   AND attname = {column} AND attnum > 0 AND NOT attisdropped) THEN
        RAISE EXCEPTION '%: it has no column %: correct the name', {table}::regclass,
            quote_ident({column}) USING ERRCODE = {refused};
    END IF;
END"""

_REFUSE_TAKEN: LiteralString = """DECLARE
    problem text;
BEGIN
    {tree}
    SELECT min(format('%s has a constraint %I already, which is %s: rename it', relation, label,
                      pg_get_constraintdef(k.oid))) INTO problem
    FROM columns JOIN pg_catalog.pg_constraint AS k ON k.conrelid = columns.oid
         AND k.conname = label
    WHERE columns.conname IS NULL AND NOT attnotnull;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: %', {table}::regclass, problem USING ERRCODE = {refused};
    END IF;
END"""
"""The name of the CHECK is ours, which one of that name with another condition is not."""

_ADD: LiteralString = """
    SELECT is_root, oid, relation,
           CASE WHEN version >= 180000
               THEN format('ALTER TABLE %s ADD NOT NULL %I NOT VALID', relation, {column})
               ELSE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%I %s) NOT VALID', relation,
                           label, {column}, filled) END AS statement
    FROM columns
    WHERE conname IS NULL AND NOT attnotnull
      AND CASE WHEN version >= 180000 THEN is_root ELSE relkind = 'r' END"""

_VALIDATE: LiteralString = """
    SELECT is_root, oid,
           format('ALTER TABLE %s VALIDATE CONSTRAINT %I', relation, conname) AS statement,
           format('SELECT * FROM %s WHERE %I %s', relation, {column}, empty) AS search
    FROM columns WHERE NOT convalidated AND (is_root OR relkind <> 'p')"""

_SET: LiteralString = """
    SELECT is_root, oid, relation,
           format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', relation, {column}) AS statement
    FROM columns WHERE is_root AND NOT attnotnull"""

_UNSET: LiteralString = """
    SELECT is_root, oid, relation,
           format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', relation, {column}) AS statement
    FROM columns WHERE is_root AND attnotnull"""

_DROP_CHECKS: LiteralString = """
    SELECT is_root, oid, relation,
           format('ALTER TABLE %s DROP CONSTRAINT %I', relation, label) AS statement
    FROM columns WHERE conname = label"""


@dataclass
class _NotNull(Operation):
    """The arguments that setting and dropping share."""

    table: str
    column: str
    schema: str | None = None

    @property
    def relation(self) -> Name:
        """The table."""
        return Name(self.schema, self.table)

    @property
    def in_transaction(self) -> bool:
        """False: the validation must not hold the locks of what goes before it."""
        return False

    def watched(self, connection: Connection) -> AbstractContextManager[object]:
        """Let go of the advisory lock when a statement fails."""
        return released(connection, self.relation)

    def _values(self) -> dict[str, Composable]:
        return blocks.of_table(self.relation) | {"column": Literal(self.column)}


@dataclass
class SetNotNullOnline(_NotNull):
    """Forbid nulls in a column without a look at all rows while others wait."""

    operation_name: ClassVar[str] = "set_not_null_online"

    @classmethod
    def set_not_null_online(
        cls, operations: Operations, table: str, column: str, *, schema: str | None = None
    ) -> None:
        """Forbid nulls in a column while its table is read and written.

        All locks that stop others (ACCESS EXCLUSIVE) are for a moment, and tried briefly up to 20
        times. Rows are read by VALIDATE, one partition after the other, which stops nobody. What
        the script did before is committed first.

        From PostgreSQL 18 on a NOT NULL is added NOT VALID, which locks all partitions at once.
        Before, each partition gets a CHECK constraint for the time being; SET NOT NULL, which locks
        them all, then reads no row, but those of a partition that was attached meanwhile.

        Run again after it was stopped, it carries on. Rows with a null end it, with the query that
        finds them: mend them, and run it again. No new ones can come, and nobody can change those
        rows without giving them a value.

        Args:
            table: the table, which may be partitioned.
            column: the column.
            schema: schema of the table.
        """
        operations.invoke(cls(table, column, schema=schema))

    def statements(self) -> Sequence[Composable]:
        """Claim; refuse; declare; validate; set; drop what was declared for the time being."""
        values = self._values()
        return [
            do_block(blocks.CLAIM, **values),
            do_block(_REFUSE, **values),
            do_block(_REFUSE_TAKEN, tree=tree(_COLUMNS, **values), **values),
            brief(_COLUMNS, _ADD, "ACCESS EXCLUSIVE", "relation", **values),
            validations(_COLUMNS, _VALIDATE, DropNotNullOnline, **values),
            brief(_COLUMNS, _SET, "ACCESS EXCLUSIVE", "relation", **values),
            brief(_COLUMNS, _DROP_CHECKS, "ACCESS EXCLUSIVE", "relation", **values),
            do_block(blocks.UNCLAIM, **values),
        ]

    def reverse(self) -> "DropNotNullOnline":
        """Allow nulls again."""
        return self.turned_into(DropNotNullOnline)


@dataclass
class DropNotNullOnline(_NotNull):
    """Allow nulls in a column again, or take back a try to forbid them."""

    operation_name: ClassVar[str] = "drop_not_null_online"

    @classmethod
    def drop_not_null_online(
        cls, operations: Operations, table: str, column: str, *, schema: str | None = None
    ) -> None:
        """Allow nulls in a column again, or take back a try to forbid them.

        It locks the table and its partitions (ACCESS EXCLUSIVE) for a moment, which is tried
        briefly up to 20 times. What the script did before is committed first.

        Args:
            table: the table, which may be partitioned.
            column: the column.
            schema: schema of the table.
        """
        operations.invoke(cls(table, column, schema=schema))

    def statements(self) -> Sequence[Composable]:
        """Claim; refuse; allow; drop the checks of an interrupted try."""
        values = self._values()
        return [
            do_block(blocks.CLAIM, **values),
            do_block(_REFUSE, **values),
            brief(_COLUMNS, _UNSET, "ACCESS EXCLUSIVE", "relation", **values),
            brief(_COLUMNS, _DROP_CHECKS, "ACCESS EXCLUSIVE", "relation", **values),
            do_block(blocks.UNCLAIM, **values),
        ]

    def reverse(self) -> SetNotNullOnline:
        """Forbid them again."""
        return self.turned_into(SetNotNullOnline)
