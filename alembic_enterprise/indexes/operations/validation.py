"""What adding a constraint without a long lock is made of: declared first, validated afterwards.

`ADD ... NOT VALID` locks others out for a moment, as it reads no row; from then on new rows obey.
`VALIDATE CONSTRAINT` reads the table while it is read and written (PostgreSQL docs, "ALTER TABLE").
Each partition is validated by itself, so a run that is stopped loses the work on one of them.
"""

from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.indexes.operations import blocks
from alembic_enterprise.indexes.operations.patience import Lock, endured, patient_text
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import REFUSED, Remaining, text_of

_TREE: LiteralString = """WITH tree AS (
    SELECT c.oid, c.oid::regclass::text AS relation, c.relkind,
           c.oid = {table}::regclass AS is_root,
           current_setting('server_version_num')::integer AS version
    FROM pg_catalog.pg_class AS c
    WHERE c.oid = {table}::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree({table}))
)"""

_VALIDATION: LiteralString = """
DECLARE
    said text;
    detail text;
BEGIN
    EXECUTE %1$L;
EXCEPTION WHEN check_violation OR foreign_key_violation OR not_null_violation THEN
    GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION USING ERRCODE = {refused},
        MESSAGE = concat_ws(' ', said || '.', nullif(detail, ''), 'Find all such rows with', %2$L,
                            'and mend them, then run again; or take it back with', %3$L);
END"""


def tree(more: LiteralString, **values: Composable) -> Composed:
    """What a query begins with: `tree`, the table and its partitions, and CTEs that use it."""
    return SQL(_TREE).format(**values) + SQL(more).format(**values)


def brief(
    more: LiteralString,
    query: LiteralString,
    lock: Lock,
    locked: LiteralString,
    **values: Composable,
) -> Remaining:
    """Statements that are tried patiently, of one relation after the other, the table as the last.

    The query has its columns `is_root` and `oid`, a `statement`, and the names of the relations
    that it locks, in the columns `locked`.
    """
    statement = patient_text(SQL("statement"), SQL(locked), endured(lock))
    return _remaining(more, query, statement, values)


def validations(
    more: LiteralString, query: LiteralString, undo: type[Operation], **values: Composable
) -> Remaining:
    """Statements that read a relation, in the same order; a row in their way ends in AE001.

    The query has a `search` for such rows instead of the `relation`. `undo` is the operation that
    takes the constraint back.
    """
    block = Literal(text_of(SQL(_VALIDATION).format(refused=Literal(REFUSED))))
    name = Literal(f"op.{undo.operation_name}")
    statement = SQL("format('DO %L', format({}, statement, search, {}))").format(block, name)
    return _remaining(more, query, statement, values)


def _remaining(
    more: LiteralString, query: LiteralString, statement: Composable, values: dict[str, Composable]
) -> Remaining:
    rows = SQL("({}\n) AS steps").format(SQL(query).format(**values))
    steps = blocks.remaining(statement, rows, "is_root, oid::bigint", **values)
    return Remaining([tree(more, **values), steps])
