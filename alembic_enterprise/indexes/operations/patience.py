"""Brief statements that lock others out, tried with a short timeout again and again.

A request for a lock that waits makes everybody behind it wait as well, so it gives up soon
(PostgreSQL docs, "Explicit Locking"). The operations that need this run outside a transaction, with
no lock timeout; so the attempts are made by the server, in a block that holds this one statement: a
failed attempt is a subtransaction, whose locks are given back at once.
"""

from collections.abc import Mapping
from typing import Literal as OneOf
from typing import LiteralString

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.locks import Patience
from alembic_enterprise.sql import REFUSED, do_block, text_of

Lock = OneOf["SHARE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"]

_READS = ["AccessShareLock", "RowShareLock"]

_ENDURED: Mapping[Lock, list[str]] = {
    "SHARE": [*_READS, "ShareLock"],
    "SHARE ROW EXCLUSIVE": _READS,
    "ACCESS EXCLUSIVE": [],
}
"""The locks of others that each lock gets along with, as `pg_locks` calls them."""

# No per cent sign in it: `patient_text` makes a template of `format` of it.
_BLOCK: LiteralString = """
DECLARE
    targets constant regclass[] := {tables};
    stashed constant text := current_setting('alembic_enterprise.lock_timeout', true);
    -- Whoever runs the migration may have set one.
    lock_timeout constant text := coalesce(nullif(nullif(stashed, ''), '0'), {lock_timeout});
    holders text;
BEGIN
    FOR attempt IN 1..{attempts} LOOP
        BEGIN
            PERFORM set_config('lock_timeout', lock_timeout, true);
            EXECUTE {statement};
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            -- The attempt has given its locks back; whoever was in its way mostly has theirs still.
            WITH held AS (
                SELECT l.pid, l.virtualtransaction FROM pg_catalog.pg_locks AS l
                JOIN pg_catalog.pg_database AS d ON d.oid = l.database
                WHERE d.datname = current_database() AND l.granted
                  AND l.mode <> ALL ({endured}::text[]) AND l.pid IS DISTINCT FROM pg_backend_pid()
                  AND l.relation IN (
                      SELECT locked FROM unnest(targets) AS target
                      LEFT JOIN LATERAL pg_partition_tree(target) ON true
                      LEFT JOIN pg_catalog.pg_index ON indrelid = coalesce(relid, target)
                      CROSS JOIN unnest(ARRAY[target, relid, indexrelid::regclass]) AS locked)
            ), told AS (
                SELECT a.pid, 'pid ' || a.pid || ': ' || left(a.query, 60) AS holder
                FROM pg_catalog.pg_stat_activity AS a WHERE a.pid IN (SELECT pid FROM held)
                UNION ALL  -- no process has the locks of a transaction that was prepared
                SELECT NULL, 'a prepared transaction: end it with COMMIT PREPARED '
                       || quote_literal(p.gid) || ' or ROLLBACK PREPARED ' || quote_literal(p.gid)
                FROM pg_catalog.pg_prepared_xacts AS p
                JOIN pg_catalog.pg_locks AS own ON own.transactionid = p.transaction
                WHERE own.granted AND own.pid IS NULL AND own.virtualtransaction IN (
                      SELECT virtualtransaction FROM held WHERE pid IS NULL)
            )
            SELECT coalesce(string_agg(holder, '; ' ORDER BY pid, holder), holders) INTO holders
            FROM told;
        END;
        EXIT WHEN attempt = {attempts};
        PERFORM pg_sleep(random() * least({longest}, {first} * 2 ^ attempt));
    END LOOP;
    RAISE EXCEPTION USING ERRCODE = {refused},
        MESSAGE = targets[1] || ': no lock within ' || lock_timeout || ', ' || {attempts}
            || ' times, held by ' || coalesce(holders, 'somebody')
            || '. Run again, or set a longer lock_timeout';
END"""


def patiently(
    statement: Composable,
    tables: Composable,
    lock: Lock = "ACCESS EXCLUSIVE",
    patience: Patience = Patience(),  # noqa: B008  # it is frozen
) -> Composed:
    """A block that tries a brief statement until it gets its locks.

    Args:
        statement: what is tried: one statement, in a subtransaction.
        tables: the table that is locked, as an expression that `regclass` takes; or some, with
            commas between. The last words of a refusal name the sessions that hold locks on them,
            on their partitions and their indexes.
        lock: the strongest lock that the statement takes on them.
        patience: how long to wait for one lock where no `lock_timeout` is set, and how often.

    The block ends in SQLSTATE AE001 (`sql.REFUSED`) when all attempts have failed.
    """
    text, array = Literal(text_of(statement)), SQL("ARRAY[{}]::regclass[]").format(tables)
    return do_block(_BLOCK, **_values(text, array, endured(lock), patience))


def patient_text(statement: Composable, tables: Composable, endured: Composable) -> Composed:
    """The text of such a block, as an expression for what only the server knows.

    All arguments are expressions of type text; `endured` is what `endured` gives for a lock.
    """
    values = _values(SQL("%1$L"), SQL("%2$L::text[]::regclass[]"), SQL("%3$L"), Patience())
    template = Literal(text_of(SQL(_BLOCK).format(**values)))
    arguments = SQL("{}, {}, ARRAY[{}]::text, {}").format(template, statement, tables, endured)
    return SQL("format('DO %L', format({}))").format(arguments)


def endured(lock: Lock) -> Composable:
    """The locks of others that a lock gets along with, as the text of an array."""
    return Literal("{" + ",".join(_ENDURED[lock]) + "}")


def _values(
    statement: Composable, tables: Composable, endured: Composable, patience: Patience
) -> dict[str, Composable]:
    return {
        "statement": statement,
        "tables": tables,
        "endured": endured,
        "lock_timeout": Literal(f"{patience.lock_timeout}ms"),
        "first": Literal(patience.lock_timeout / 1000),
        "longest": Literal(patience.longest),
        "attempts": Literal(patience.attempts),
        "refused": Literal(REFUSED),
    }
