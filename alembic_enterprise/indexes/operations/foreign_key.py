"""Adding a foreign key while both tables are read and written, and dropping it.

Up to PostgreSQL 17 that of a partitioned table could not be NOT VALID. There each partition gets a
valid one of its own first, which the table's then takes over without looking at a row.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, LiteralString

from alembic.operations import Operations
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal
from sqlalchemy import Connection

from alembic_enterprise.errors import OperationError
from alembic_enterprise.indexes.operations import blocks
from alembic_enterprise.indexes.operations.deferral import Deferral
from alembic_enterprise.indexes.operations.index import released
from alembic_enterprise.indexes.operations.validation import brief, tree, validations
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import Name, do_block, text_of

Words = Mapping[str | None, tuple[LiteralString, str]]
"""What follows the words of a clause, and how pg_constraint calls it."""

_ACTIONS: Words = {
    None: ("", "a"),
    "NO ACTION": ("{} NO ACTION", "a"),
    "RESTRICT": ("{} RESTRICT", "r"),
    "CASCADE": ("{} CASCADE", "c"),
    "SET NULL": ("{} SET NULL", "n"),
    "SET DEFAULT": ("{} SET DEFAULT", "d"),
}

_CLAUSES: Mapping[str, tuple[LiteralString, Words]] = {
    "match": (" MATCH", {None: ("", "s"), "SIMPLE": ("{} SIMPLE", "s"), "FULL": ("{} FULL", "f")}),
    "onupdate": (" ON UPDATE", _ACTIONS),
    "ondelete": (" ON DELETE", _ACTIONS),
}
"""By the name of the argument, in the order of ADD CONSTRAINT."""

_NAMES: LiteralString = """ARRAY(
            SELECT attname FROM unnest({numbers}) WITH ORDINALITY AS item (number, position)
            JOIN pg_catalog.pg_attribute ON attrelid = {relation} AND attnum = number
            ORDER BY position)"""

_KEYS: LiteralString = """, keys AS (
    SELECT tree.*, k.conname, k.convalidated
    FROM tree LEFT JOIN pg_catalog.pg_constraint AS k
        ON k.contype = 'f' AND k.conrelid = tree.oid AND k.confrelid = to_regclass({referent})
        AND (k.conname = {name} OR NOT is_root)
        AND {local_names} = {local}::name[] AND {remote_names} = {remote}::name[]
        AND (k.confmatchtype, k.confupdtype, k.confdeltype) = ({options})
        AND (k.condeferrable, k.condeferred) = {deferral}
        AND to_jsonb(k) ->> 'confdelsetcols' IS NULL
        AND coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true'
)"""
"""With each table the key that it should have; in a partition, whatever that is called.

One that sets only some of its columns, or is not enforced, is another: pg_constraint says so from
15 and from 18 on.
"""

_REFUSE: LiteralString = """DECLARE
    problem text;
BEGIN
    {tree}
    SELECT min(CASE WHEN relkind = 'f'
        THEN format('its partition %s is a foreign table, which has no foreign keys: detach it '
                    'first', relation)
        ELSE format('%s has a constraint %I already, which is %s: drop that, or give this one '
                    'another name', relation, k.conname, pg_get_constraintdef(k.oid)) END)
    INTO problem
    FROM keys LEFT JOIN pg_catalog.pg_constraint AS k
         ON k.conrelid = keys.oid AND k.conname = {name}
         AND (is_root OR relkind = 'r' AND version < 180000)  -- as _ADD calls it
    WHERE relkind = 'f' OR keys.conname IS NULL AND k.conname IS NOT NULL;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: %', {table}::regclass, problem USING ERRCODE = {refused};
    END IF;
END"""

_ADD: LiteralString = """
    SELECT is_root, oid, relation, {referent} AS referent,
           format('ALTER TABLE %s ADD CONSTRAINT %I ', relation, {name}) || {definition}
           || ' NOT VALID' AS statement
    FROM keys
    WHERE conname IS NULL AND CASE WHEN relkind = 'p' THEN is_root AND version >= 180000
                                   ELSE is_root OR version < 180000 END"""

_VALIDATE: LiteralString = """
    SELECT is_root, oid,
           format('ALTER TABLE %s VALIDATE CONSTRAINT %I', relation, conname) AS statement,
           format('SELECT * FROM %s AS referring WHERE ', relation) || {stray} AS search
    FROM keys WHERE NOT convalidated AND (is_root OR relkind <> 'p')"""

_TAKE_OVER: LiteralString = """
    SELECT is_root, oid, relation, {referent} AS referent,
           format('ALTER TABLE %s ADD CONSTRAINT %I ', relation, {name}) || {definition}
           AS statement
    FROM keys WHERE conname IS NULL AND is_root"""

_DROP: LiteralString = """
    SELECT is_root, keys.oid, relation, k.confrelid::regclass::text AS referent,
           format('ALTER TABLE %s DROP CONSTRAINT %I', relation, {name}) AS statement
    FROM keys JOIN pg_catalog.pg_constraint AS k ON k.conrelid = keys.oid AND k.conname = {name}
    WHERE k.contype = 'f' AND k.conparentid = 0
      AND (is_root OR keys.conname = {name} AND version < 180000)  -- as _ADD calls it"""
"""Drops the key, which takes those of partitions along; or those of an interrupted try.

A partition may have a key of this name that is another: only an equal one is of such a try.
"""

_STRAY = SQL(
    "{refers} AND NOT EXISTS (SELECT FROM {referent} AS referred WHERE {remote} = {local})"
)

_BOTH: LiteralString = "relation, referent"


@dataclass
class _ForeignKey(Operation):
    """The arguments that adding and dropping share."""

    constraint_name: str
    source_table: str
    referent_table: str
    local_cols: Sequence[str]
    remote_cols: Sequence[str]
    onupdate: str | None = None
    ondelete: str | None = None
    deferrable: bool | None = None
    initially: str | None = None
    match: str | None = None
    source_schema: str | None = None
    referent_schema: str | None = None

    def __post_init__(self) -> None:
        """Raise `OperationError` when an argument cannot be used."""
        Deferral(self.deferrable, self.initially)
        self.local_cols, self.remote_cols = [*self.local_cols], [*self.remote_cols]
        for argument, (_, words) in _CLAUSES.items():
            if (given := getattr(self, argument)) not in words:
                raise OperationError(
                    f"{self.operation_name}({self.constraint_name!r}): {argument}={given!r} is not "
                    f"known here: write one of {', '.join(filter(None, words))}"
                )

    @property
    def table(self) -> Name:
        """The table that refers to the other."""
        return Name(self.source_schema, self.source_table)

    @property
    def referent(self) -> Name:
        """The table that is referred to."""
        return Name(self.referent_schema, self.referent_table)

    @property
    def in_transaction(self) -> bool:
        """False: the validation must not hold the locks of what goes before it."""
        return False

    def watched(self, connection: Connection) -> AbstractContextManager[object]:
        """Let go of the advisory lock when a statement fails."""
        return released(connection, self.table)

    def _values(self) -> dict[str, Composable]:
        return blocks.of_table(self.table) | {
            "name": Literal(self.constraint_name),
            "referent": self.referent.regclass,
            "local": Literal(self.local_cols),
            "remote": Literal(self.remote_cols),
            "local_names": _names("k.conkey", "k.conrelid"),
            "remote_names": _names("k.confkey", "k.confrelid"),
            "options": SQL(", ").join(Literal(letter) for _, letter in self._choices()),
            "deferral": Deferral(self.deferrable, self.initially).row,
            "definition": Literal(text_of(self._definition())),
            "stray": Literal(text_of(self._stray())),
        }

    def _choices(self) -> list[tuple[Composable, str]]:
        """The clauses of the choices, and how pg_constraint calls those."""
        found: list[tuple[Composable, str]] = []
        for argument, (clause, words) in _CLAUSES.items():
            text, letter = words[getattr(self, argument)]
            found.append((SQL(text).format(SQL(clause)), letter))
        return found

    def _definition(self) -> Composable:
        """What follows the name in ADD CONSTRAINT."""
        local, remote = (
            SQL(", ").join(map(Identifier, given)) for given in (self.local_cols, self.remote_cols)
        )
        key = SQL("FOREIGN KEY ({}) REFERENCES {} ({})").format(local, self.referent.sql, remote)
        clauses = [clause for clause, _ in self._choices()]
        return Composed([key, *clauses, Deferral(self.deferrable, self.initially).sql])

    def _stray(self) -> Composable:
        """The condition of rows that refer to nothing."""
        local = _row("referring", self.local_cols)
        refers = SQL("NOT {} IS NULL" if self.match == "FULL" else "{} IS NOT NULL")
        return _STRAY.format(
            refers=refers.format(local),
            referent=self.referent.sql,
            remote=_row("referred", self.remote_cols),
            local=local,
        )


def _names(numbers: LiteralString, relation: LiteralString) -> Composable:
    return SQL(_NAMES).format(numbers=SQL(numbers), relation=SQL(relation))


def _row(table: str, columns: Sequence[str]) -> Composable:
    return SQL("({})").format(SQL(", ").join(Identifier(table, column) for column in columns))


@dataclass
class AddForeignKeyOnline(_ForeignKey):
    """Add a foreign key without a look at all rows under its lock."""

    operation_name: ClassVar[str] = "add_foreign_key_online"

    @classmethod
    def add_foreign_key_online(
        cls,
        operations: Operations,
        constraint_name: str,
        source_table: str,
        referent_table: str,
        local_cols: Sequence[str],
        remote_cols: Sequence[str],
        *,
        onupdate: str | None = None,
        ondelete: str | None = None,
        deferrable: bool | None = None,
        initially: str | None = None,
        match: str | None = None,
        source_schema: str | None = None,
        referent_schema: str | None = None,
    ) -> None:
        """Add a foreign key while both tables are read and written.

        It is declared NOT VALID, which stops writers of both tables (SHARE ROW EXCLUSIVE) for a
        moment, tried briefly up to 20 times. Then VALIDATE reads one partition after the other and
        stops nobody. What the script did before is committed first.

        For a partitioned table up to PostgreSQL 17 all of this is done to each partition, which may
        have an equal key already; the table's own key takes those over, under the same lock, and
        ACCESS EXCLUSIVE on the table referred to, for a moment. A partition that is attached
        meanwhile is read under it.

        Run again after it was stopped, it carries on. Rows that refer to nothing end it, with the
        query that finds them: mend them, and run it again. No new ones can come.

        Args:
            constraint_name: the foreign key.
            source_table: the table that refers, which may be partitioned.
            referent_table: the table that is referred to.
            local_cols: columns of the former.
            remote_cols: columns of the latter, in the same order.
            onupdate: "CASCADE", "RESTRICT", "SET NULL", "SET DEFAULT" or "NO ACTION".
            ondelete: the same.
            deferrable: whether it may be checked at the end of a transaction.
            initially: "DEFERRED" or "IMMEDIATE".
            match: "FULL" or "SIMPLE".
            source_schema: schema of the table that refers.
            referent_schema: schema of the table that is referred to.
        """
        operations.invoke(
            cls(
                constraint_name,
                source_table,
                referent_table,
                local_cols,
                remote_cols,
                onupdate=onupdate,
                ondelete=ondelete,
                deferrable=deferrable,
                initially=initially,
                match=match,
                source_schema=source_schema,
                referent_schema=referent_schema,
            )
        )

    def statements(self) -> Sequence[Composable]:
        """Claim; refuse; declare; validate; declare for all partitions what they have by then."""
        values = self._values()
        return [
            do_block(blocks.CLAIM, **values),
            do_block(_REFUSE, tree=tree(_KEYS, **values), **values),
            brief(_KEYS, _ADD, "SHARE ROW EXCLUSIVE", _BOTH, **values),
            validations(_KEYS, _VALIDATE, DropForeignKeyOnline, **values),
            brief(_KEYS, _TAKE_OVER, "SHARE ROW EXCLUSIVE", _BOTH, **values),
            do_block(blocks.UNCLAIM, **values),
        ]

    def reverse(self) -> "DropForeignKeyOnline":
        """Drop it again."""
        return self.turned_into(DropForeignKeyOnline)


@dataclass
class DropForeignKeyOnline(_ForeignKey):
    """Drop a foreign key, or what a try to add it has left."""

    operation_name: ClassVar[str] = "drop_foreign_key_online"

    @classmethod
    def drop_foreign_key_online(
        cls,
        operations: Operations,
        constraint_name: str,
        source_table: str,
        referent_table: str,
        local_cols: Sequence[str],
        remote_cols: Sequence[str],
        *,
        onupdate: str | None = None,
        ondelete: str | None = None,
        deferrable: bool | None = None,
        initially: str | None = None,
        match: str | None = None,
        source_schema: str | None = None,
        referent_schema: str | None = None,
    ) -> None:
        """Drop a foreign key, or what a try to add it has left; one that is gone is no error.

        It locks both tables and all partitions (ACCESS EXCLUSIVE) for a moment, which is tried
        briefly up to 20 times. An equal key that a partition had before goes as well, as PostgreSQL
        has it: the table's key took it over. What the script did before is committed first.

        Args:
            constraint_name: the foreign key.
            source_table: the table that refers, which may be partitioned.
            referent_table: as it was added; this and all that follows but for `source_schema` is
                for the reverse operation, and identifies what a try has left in partitions.
            local_cols: as it was added.
            remote_cols: as it was added.
            onupdate: as it was added.
            ondelete: as it was added.
            deferrable: as it was added.
            initially: as it was added.
            match: as it was added.
            source_schema: schema of the table that refers.
            referent_schema: as it was added.
        """
        operations.invoke(
            cls(
                constraint_name,
                source_table,
                referent_table,
                local_cols,
                remote_cols,
                onupdate=onupdate,
                ondelete=ondelete,
                deferrable=deferrable,
                initially=initially,
                match=match,
                source_schema=source_schema,
                referent_schema=referent_schema,
            )
        )

    def statements(self) -> Sequence[Composable]:
        """Claim; one ALTER TABLE, or one for each partition that a try has come to."""
        values = self._values()
        return [
            do_block(blocks.CLAIM, **values),
            brief(_KEYS, _DROP, "ACCESS EXCLUSIVE", _BOTH, **values),
            do_block(blocks.UNCLAIM, **values),
        ]

    def reverse(self) -> AddForeignKeyOnline:
        """Add it again."""
        return self.turned_into(AddForeignKeyOnline)
