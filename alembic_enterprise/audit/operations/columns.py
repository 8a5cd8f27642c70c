"""Adding audit columns without a rewrite of the table, and dropping them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from alembic.operations import Operations
from psycopg.sql import SQL, Composable, Literal

from alembic_enterprise.audit.column_model import AuditColumns, ColumnOptions, Existing
from alembic_enterprise.audit.operations import column_blocks as blocks
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import REFUSED, Name, do_block


@dataclass
class _AuditColumns(Operation):
    """The arguments that adding and dropping share."""

    table: str
    actor: str = "text"
    references: str | None = None
    soft_delete: bool = False
    lineage: bool = False
    existing: Existing = "now"
    schema: str | None = None
    keep: list[str] | None = None
    keep_trigger: bool = False
    without_default: list[str] | None = None

    def __post_init__(self) -> None:
        """Raise `DeclarationError` when an argument cannot be used."""
        AuditColumns.of(self.options, self.existing)

    @property
    def name(self) -> Name:
        """The table."""
        return Name(self.schema, self.table)

    @property
    def options(self) -> ColumnOptions:
        """The columns."""
        return ColumnOptions(self.actor, self.references, self.soft_delete, self.lineage)

    @property
    def columns(self) -> list[str]:
        """Those that come or go, as far as the comparison knew."""
        return [name for name in self.options.columns if name not in (self.keep or ())]

    def _trigger(self, added: Sequence[str] = (), removed: Sequence[str] = ()) -> Composable:
        """The piece that makes the trigger, with some choices more or less than it has."""
        return SQL(blocks.MAKE_TRIGGER).format(
            touch=SQL(blocks.TOUCH),
            body=Literal(blocks.TOUCH_BODY),
            added=Literal([*added]),
            removed=Literal([*removed]),
            refused=Literal(REFUSED),
        )


_CHOICES = {"soft_delete": ("deleted_at", "deleted_by"), "lineage": ("data_lineage",)}


def choices(columns: Iterable[str]) -> tuple[str, ...]:
    """The arguments of the trigger of a table with these audit columns."""
    there = {*columns}
    return tuple(choice for choice, needed in _CHOICES.items() if there.issuperset(needed))


@dataclass
class AddAuditColumns(_AuditColumns):
    """Add the audit columns that a table lacks, and the trigger that keeps them."""

    operation_name: ClassVar[str] = "add_audit_columns"

    keep: list[str] | None = field(default=None, compare=False, repr=False)
    """Those that are there already: they do not go again."""

    keep_trigger: bool = field(default=False, compare=False, repr=False)
    """Whether the trigger is there already, perhaps for fewer columns."""

    without_default: list[str] | None = field(default=None, compare=False, repr=False)
    """Those of `keep` that have no default yet, and lose the one they get again."""

    @classmethod
    def add_audit_columns(
        cls,
        operations: Operations,
        table: str,
        *,
        actor: str = "text",
        references: str | None = None,
        soft_delete: bool = False,
        lineage: bool = False,
        existing: Existing = "now",
        schema: str | None = None,
    ) -> None:
        """Add the audit columns that a table lacks, and the trigger that keeps them.

        A column that is there stays as it is, except that it gets the default if it has none.
        Nothing is rewritten, however large the table is. With `references`, the operation commits
        what the script has done so far: the foreign keys are added without looking at the rows, and
        then validated while the table is written to.

        Args:
            table: the table.
            actor: type of `created_by`, `updated_by` and `deleted_by`: "text", "bigint" or "uuid".
            references: column that these refer to: "users.id" or "people.users.id".
            soft_delete: also `deleted_at` and `deleted_by`.
            lineage: also `data_lineage`.
            existing: what `created_at` and `updated_at` of the rows there are become: "now", or
                "null" in columns that may stay empty. Their actors are unknown.
            schema: schema of the table.
        """
        operations.invoke(cls(table, actor, references, soft_delete, lineage, existing, schema))

    @property
    def in_transaction(self) -> bool:
        """With foreign keys, their validation must not hold the locks of what goes before it."""
        return self.references is None

    def statements(self) -> Sequence[Composable]:
        """Columns with the trigger; then foreign keys, each step by itself."""
        patience = SQL("" if self.in_transaction else blocks.PATIENCE)
        columns = SQL(",\n        ").join(self._rows())
        trigger = self._trigger(added=choices(self.options.columns))
        values = {"table": self.name.regclass, "patience": patience}
        add = do_block(blocks.ADD_COLUMNS, columns=columns, trigger=trigger, **values)
        return [add, *self._keys(values)]

    def _rows(self) -> Iterator[Composable]:
        for position, name in enumerate(self.options.columns):
            definition, fallback = self._definition(name)
            values = map(Literal, (position, name, definition, fallback))
            yield SQL("({})").format(SQL(", ").join(values))

    def _definition(self, name: str) -> tuple[str, str | None]:
        """What follows the name in ADD COLUMN, and the default of later rows."""
        default = self.options.default(name)
        if name not in self.options.moments:
            return self.actor if name in self.options.actors else "jsonb", default
        if default is None or self.existing == "null":
            return "timestamptz", default
        # The server keeps the moment once for all rows (PostgreSQL docs, "Modifying Tables").
        return f"timestamptz NOT NULL DEFAULT {default}", default

    def _keys(self, values: dict[str, Composable]) -> Iterator[Composable]:
        if self.references is None:
            return
        table, column = self.references.rsplit(".", 1)
        schema, _, name = table.rpartition(".")
        target, actors = Name(schema or None, name), list(self.options.actors)
        more = {"target": target.regclass, "column": Literal(column), "actors": Literal(actors)}
        yield do_block(blocks.ADD_KEYS, **values, **more)
        yield do_block(blocks.VALIDATE_KEYS, **values, **more)
        yield do_block(blocks.TAKE_KEYS_OVER, **values, **more)

    def reverse(self) -> "DropAuditColumns":
        """Drop those that were added."""
        return self.turned_into(DropAuditColumns)


@dataclass
class DropAuditColumns(_AuditColumns):
    """Drop the audit columns of a table, and the trigger that keeps them."""

    operation_name: ClassVar[str] = "drop_audit_columns"

    @classmethod
    def drop_audit_columns(
        cls,
        operations: Operations,
        table: str,
        *,
        actor: str = "text",
        references: str | None = None,
        soft_delete: bool = False,
        lineage: bool = False,
        existing: Existing = "now",
        schema: str | None = None,
        keep: list[str] | None = None,
        keep_trigger: bool = False,
        without_default: list[str] | None = None,
    ) -> None:
        """Drop the audit columns of a table, with what they hold, and the trigger.

        Args:
            table: the table.
            actor: as it was added, which only the reverse operation needs; so is `existing`.
            references: as it was added.
            soft_delete: drop `deleted_at` and `deleted_by` as well.
            lineage: drop `data_lineage` as well.
            existing: see `actor`.
            schema: schema of the table.
            keep: columns that stay.
            keep_trigger: leave the trigger to the columns that stay.
            without_default: those of `keep` that had no default before.
        """
        shared = (table, actor, references, soft_delete, lineage, existing, schema)
        operations.invoke(cls(*shared, keep, keep_trigger, without_default))

    def statements(self) -> Sequence[Composable]:
        """One block; the function of the trigger goes with the last trigger that calls it."""
        left = choices(self.keep or ())
        gone = [choice for choice in choices(self.options.columns) if choice not in left]
        drop = SQL(blocks.DROP_TRIGGER).format(touch=SQL(blocks.TOUCH))
        trigger = self._trigger(removed=gone) if self.keep_trigger else drop
        lists = {"columns": self.columns, "without_default": self.without_default or []}
        values = {name: Literal(columns) for name, columns in lists.items()}
        return [do_block(blocks.DROP_COLUMNS, table=self.name.regclass, trigger=trigger, **values)]

    def reverse(self) -> AddAuditColumns:
        """Add them again, empty but for what `existing` says."""
        return self.turned_into(AddAuditColumns)
