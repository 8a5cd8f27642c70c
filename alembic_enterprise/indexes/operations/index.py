"""Creating an index, and dropping it, while its table is read and written."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from alembic.operations import Operations
from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import ColumnElement, Connection, Index, TextClause
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from alembic_enterprise import sql
from alembic_enterprise.errors import OperationError
from alembic_enterprise.indexes.operations import blocks, progress
from alembic_enterprise.indexes.operations.elements import (
    Expression,
    IndexArguments,
    arguments_of,
    verbatim,
)
from alembic_enterprise.indexes.operations.patience import endured, patient_text
from alembic_enterprise.sql import Name, do_block, message, text_of

_DUPLICATES = SQL(
    "SELECT {columns}, count(*) FROM {table}{where} GROUP BY {columns} HAVING count(*) > 1"
)


@contextmanager
def released(connection: Connection, table: Name) -> Generator[None]:
    """Let go of the advisory lock when a statement fails: the session may serve others next."""
    try:
        yield
    except BaseException:
        with suppress(SQLAlchemyError):
            sql.execute(connection, blocks.release(table))
        raise


@dataclass
class _OnlineIndex(IndexArguments):
    """What creating and dropping share."""

    @property
    def in_transaction(self) -> bool:
        """False: CONCURRENTLY is refused there."""
        return False

    def watched(self, connection: Connection) -> AbstractContextManager[object]:
        """Let go of the advisory lock when a statement fails."""
        return released(connection, self.relation)

    def values(self, *, of_constraint: bool = False) -> dict[str, Composable]:
        """What the placeholders of the blocks stand for."""
        return blocks.of_index(
            self.relation,
            name=Literal(self.name),
            unique=SQL("UNIQUE " if self.unique else ""),
            is_unique=Literal(self.unique),
            any_columns=Literal(bool(self.columns)),
            constraints=Literal("{p,u,x}"),
            of_constraint=Literal(of_constraint),
            definition=Literal(text_of(self.definition)),
            undo=Literal(f"op.{DropIndexOnline.operation_name}"),
            patient=patient_text(SQL("statement"), SQL("name"), SQL("endured")),
            share=endured("SHARE"),
            exclusive=endured("ACCESS EXCLUSIVE"),
        )


@dataclass
class CreateIndexOnline(_OnlineIndex):
    """Create an index without stopping those who write to its table."""

    operation_name: ClassVar[str] = "create_index_online"

    def __post_init__(self) -> None:
        """Raise `OperationError` when the name is too long, or no column is given."""
        super().__post_init__()
        if not self.columns:
            raise OperationError(
                f"{self.operation_name}({self.name!r}): give the columns, or what else is indexed: "
                '["customer_id", sa.text("lower(email)")]'
            )

    @classmethod
    def create_index_online(
        cls,
        operations: Operations,
        name: str,
        table: str,
        columns: Sequence[str | ColumnElement[Any] | TextClause],
        *,
        schema: str | None = None,
        unique: bool = False,
        using: str | None = None,
        include: Sequence[str] = (),
        where: str | ColumnElement[Any] | TextClause | None = None,
        nulls_not_distinct: bool = False,
        with_: Mapping[str, Any] | None = None,
        tablespace: str | None = None,
        operator_classes: Mapping[str, str] | None = None,
    ) -> None:
        """Create an index without stopping those who write to its table.

        A plain table gets it by CREATE INDEX CONCURRENTLY. In a partitioned table each partition
        gets its part that way, called `{partition}_{index}`, unless it has an equal index already;
        with the last one the index of the whole table is valid. An equal index that became a part
        goes with it when it is dropped, as PostgreSQL has it. What the script did before is
        committed first, as the server refuses this inside a transaction.

        Run again after it was stopped, it carries on: what is valid stays, and what a build that
        was cut left invalid is dropped. Until then an invalid unique index refuses duplicates;
        those that end its build are found by a query. What it left in a partition that was
        renamed since is named, as it may be somebody else's.

        The session must have a server process of its own: behind PgBouncer with
        `pool_mode = transaction` it is refused as soon as another one answers.

        Args:
            name: the index; at most 63 bytes.
            table: the table, which may be partitioned.
            columns: names of columns; and for whatever else CREATE INDEX takes as an element
                `sa.text("lower(email) DESC")`, or an expression of SQLAlchemy.
            schema: schema of the table.
            unique: whether it refuses duplicates.
            using: the access method: "gin"; btree by default.
            include: columns that are only stored in it.
            where: the rows that are in it: "deleted_at IS NULL"; columns, here and above, without
                the name of their table, as each partition has a different one.
            nulls_not_distinct: whether two nulls are duplicates; PostgreSQL 15 and later.
            with_: its storage parameters: {"fillfactor": 70}.
            tablespace: where it is stored.
            operator_classes: by the names of columns: {"email": "text_pattern_ops"}.
        """
        operations.invoke(
            cls(
                name,
                table,
                columns,  # type: ignore[arg-type]  # __post_init__ takes texts, too
                schema=schema,
                unique=unique,
                using=using,
                include=include,
                where=where,  # type: ignore[arg-type]  # the same
                nulls_not_distinct=nulls_not_distinct,
                with_=with_,
                tablespace=tablespace,
                operator_classes=operator_classes,
            )
        )

    @classmethod
    def of(cls, index: Index) -> Self:
        """The operation that creates an index of a model. Its table must be known."""
        if index.table is None or index.name is None:
            raise OperationError(
                f"{index!r} has no name or no table: give it a name, and put it into __table_args__"
            )
        arguments = arguments_of(index)
        return cls(str(index.name), index.table.name, schema=index.table.schema, **arguments)

    def statements(self) -> Sequence[Composable]:
        """Look and refuse; create what lacks; look again."""
        values = self.values()
        return [
            do_block(blocks.CLAIM_CREATION, **values),
            blocks.steps(blocks.CREATE, **values),
            do_block(blocks.END_CREATION, **values),
        ]

    def watched(self, connection: Connection) -> AbstractContextManager[object]:
        """Tell how far the server is with a build that takes long, and how to find duplicates."""
        return self.building(connection, DropIndexOnline.operation_name)

    @contextmanager
    def building(self, connection: Connection, undo: str) -> Generator[None]:
        """The same, for an operation that `undo` takes back."""
        with (
            released(connection, self.relation),
            progress.told(connection, self.relation, self.name),
        ):
            try:
                yield
            except IntegrityError as error:
                raise OperationError(
                    f"{message(error)}. Find all duplicates{self._query()} and mend them, then run "
                    f"again; or take it back with op.{undo}"
                ) from error

    def _query(self) -> str:
        """What finds them; not for expressions, which have their order with them."""
        if any(isinstance(column, Expression) for column in self.columns):
            return ""
        columns = SQL(", ").join(map(Identifier, self.columns))
        conditions = [] if self.where is None else [SQL("({})").format(verbatim(self.where))]
        if not self.nulls_not_distinct:
            conditions.append(SQL("({}) IS NOT NULL").format(columns))
        where = SQL(" WHERE {}").format(SQL(" AND ").join(conditions)) if conditions else SQL("")
        query = _DUPLICATES.format(columns=columns, table=self.relation.sql, where=where)
        return f" with {text_of(query)}"

    def reverse(self) -> "DropIndexOnline":
        """Drop it again, with its parts."""
        return self.turned_into(DropIndexOnline)


@dataclass
class DropIndexOnline(_OnlineIndex):
    """Drop an index without stopping those who use its table."""

    operation_name: ClassVar[str] = "drop_index_online"

    @classmethod
    def drop_index_online(
        cls,
        operations: Operations,
        name: str,
        table: str,
        columns: Sequence[str | ColumnElement[Any] | TextClause] = (),
        *,
        schema: str | None = None,
        unique: bool = False,
        using: str | None = None,
        include: Sequence[str] = (),
        where: str | ColumnElement[Any] | TextClause | None = None,
        nulls_not_distinct: bool = False,
        with_: Mapping[str, Any] | None = None,
        tablespace: str | None = None,
        operator_classes: Mapping[str, str] | None = None,
    ) -> None:
        """Drop an index without stopping those who use its table; one that is gone is no error.

        A plain table loses it by DROP INDEX CONCURRENTLY. For that of a partitioned table
        PostgreSQL has no such form: it locks the table and all its partitions, for a moment, up to
        20 times for up to 200 ms for each partition, unless the session has another lock_timeout.
        All its parts go with it, those as well that were indexes of their partitions before. What
        the script did before is committed first.

        What a build that was cut did not come to attach is known by its name: in a partition that
        was renamed since it stays, and `indexes advise` reports it.

        Args:
            name: the index.
            table: the table, which may be partitioned.
            columns: as it was created; this and all that follows but for `schema` is for the
                reverse operation, and finds what a build that was cut has left beside a foreign
                partition.
            schema: schema of the table.
            unique: as it was created.
            using: as it was created.
            include: as it was created.
            where: as it was created.
            nulls_not_distinct: as it was created.
            with_: as it was created.
            tablespace: as it was created.
            operator_classes: as it was created.
        """
        operations.invoke(
            cls(
                name,
                table,
                columns,  # type: ignore[arg-type]  # __post_init__ takes texts, too
                schema=schema,
                unique=unique,
                using=using,
                include=include,
                where=where,  # type: ignore[arg-type]  # the same
                nulls_not_distinct=nulls_not_distinct,
                with_=with_,
                tablespace=tablespace,
                operator_classes=operator_classes,
            )
        )

    def statements(self) -> Sequence[Composable]:
        """Look and refuse; drop what is there; let go of the advisory lock."""
        values = self.values()
        return [
            do_block(blocks.CLAIM_DROP, **values),
            blocks.steps(blocks.DROP, **values),
            do_block(blocks.UNCLAIM, **values),
        ]

    def reverse(self) -> CreateIndexOnline:
        """Create it again. Raises `OperationError` when the columns were not given."""
        return self.turned_into(CreateIndexOnline)
