"""Statistics of a table for the planner."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from alembic.operations import Operations
from psycopg.sql import SQL, Composable

from alembic_enterprise.operation import InOrder, Operation
from alembic_enterprise.sql import Name


@dataclass
class AnalyzeTable(Operation):
    """Let the planner know what values a table has now."""

    operation_name: ClassVar[str] = "analyze_table"

    table: str
    schema: str | None = None

    @classmethod
    def analyze_table(
        cls, operations: Operations, table: str, *, schema: str | None = None
    ) -> None:
        """Let the planner know what values a table has now: ANALYZE.

        It reads a sample of the rows, and of those of each partition. Reads and writes go on. Worth
        it after an index on an expression was made, after a large load, and for a partitioned
        table, which autovacuum never analyzes.

        Args:
            table: the table, which may be partitioned.
            schema: schema of the table.
        """
        operations.invoke(cls(table, schema=schema))

    def statements(self) -> Sequence[Composable]:
        """The one statement."""
        return [SQL("ANALYZE {}").format(Name(self.schema, self.table).sql)]

    def reverse(self) -> InOrder:
        """Nothing: statistics are right in either direction."""
        return InOrder([])
