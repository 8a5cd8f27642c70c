"""The trigger that repeats each change of a shard in its copies, within the writer's transaction.

It looks at the row as it is now and not as the trigger was told: other triggers may have changed it
again, and their changes are told of first. So it may be called in any order, and twice.

Rows are also copied by batches that lock nothing in the shard, see `copying.prepare`. What keeps a
batch from putting back a row that was deleted meanwhile is the unique index of the copy: where the
row to delete is not there, the mirror writes it and deletes it again. That waits for a batch that
has the same row in hand, whose row is then seen. A writer that works on an older snapshot, under
REPEATABLE READ, gets a serialization failure for a row that was copied since: it cannot delete what
it cannot see.

Its text names things as they were when it was made, and a writer must not fail because of what has
become of them since. Columns of the shard are taken by their position, and so may be renamed. They
can be neither dropped nor given another type while the trigger lists them (PostgreSQL docs, "CREATE
TRIGGER": a list of columns), nor can a copy be dropped while its condition names it; both can with
CASCADE, which takes the trigger along. And for any table but this shard under this name it does
nothing: for one that was restored from a dump elsewhere, or that is a stranger's.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import LiteralString

from psycopg.sql import SQL, Composable, Identifier, Literal

from alembic_enterprise.shards.growth.copies import TRIGGER, Column, Source, mirror_comment
from alembic_enterprise.shards.leftovers import Copy
from alembic_enterprise.shards.moduli import Class
from alembic_enterprise.sql import Name, dollar_quoted, text_of

# Without sequential scans: the plans are made while the copies are empty.
_FUNCTION = SQL("""CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS {body}""")

# Rows of a copy have the columns of the shard in the same order, under the names they had then.
_BODY = SQL("""#variable_conflict use_column
DECLARE
    alembic_enterprise_old {row};
    alembic_enterprise_new {row};
BEGIN
    IF TG_RELID <> {oid} OR to_regclass({shard}) IS DISTINCT FROM TG_RELID THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        BEGIN
            TRUNCATE {copies};
        EXCEPTION WHEN object_in_use THEN
            -- Their foreign keys are yet to look at rows of this transaction. An old snapshot would
            -- not see all that is to go.
            IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
                RAISE;
            END IF;
            {clear}
        END;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        alembic_enterprise_old := OLD;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        alembic_enterprise_new := NEW;
    END IF;
    IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND NOT ({same}) THEN
        {forget}
    END IF;
    IF TG_OP <> 'DELETE' THEN
        {repeat}
    END IF;
    RETURN NULL;
END""")

OLD: LiteralString = "alembic_enterprise_old"
NEW: LiteralString = "alembic_enterprise_new"

# Also where another row has the key by now: else the copy would keep the unique values that the row
# has taken along. That other one is put in again, unless such a value of its own is kept yet: then
# it was changed as well, and the mirror is still to be told.
_FORGET = SQL("""IF {belongs} THEN
            DELETE FROM ONLY {copy} AS s WHERE {found};
            IF NOT FOUND THEN
                IF EXISTS (SELECT FROM pg_catalog.pg_constraint
                           WHERE conrelid = {copy_name}::regclass AND contype = 'f') THEN
                    BEGIN
                        {settle}
                    EXCEPTION WHEN foreign_key_violation THEN
                        NULL;
                    END;
                ELSE
                    {settle}
                END IF;
            END IF;
            IF EXISTS (SELECT FROM ONLY {shard} WHERE {found}) THEN
                INSERT INTO {copy} ({columns}) SELECT {columns} FROM ONLY {shard} WHERE {found}
                ON CONFLICT DO NOTHING;
            END IF;
        END IF;""")

# The foreign key of a copy cascades before the mirror is called. What the row refers to is gone:
# a batch that is to write it has waited for that, and fails.
_SETTLE = SQL("""INSERT INTO {copy} ({columns}) VALUES ({old}) ON CONFLICT DO NOTHING;
                    DELETE FROM ONLY {copy} AS s WHERE {found};""")

_REPEAT = SQL("""IF {belongs} THEN
            INSERT INTO {copy} ({columns}) SELECT {columns} FROM ONLY {shard} WHERE {found}
            ON CONFLICT ({key}) DO UPDATE SET ({columns}) = ROW ({excluded});
        END IF;""")

_TRIGGERS = SQL("""
CREATE TRIGGER {name} AFTER INSERT OR DELETE OR UPDATE OF {columns} ON {shard}
    FOR EACH ROW WHEN ({there}) EXECUTE FUNCTION {function}();
CREATE TRIGGER {truncate} AFTER TRUNCATE ON {shard}
    FOR EACH STATEMENT WHEN ({there}) EXECUTE FUNCTION {function}();
ALTER TABLE {shard} ENABLE ALWAYS TRIGGER {name}, ENABLE ALWAYS TRIGGER {truncate}""")

_THERE = SQL("{}::regclass IS NOT NULL")


def name(source: Source) -> Name:
    """The name of a shard's mirror."""
    return Name(source.name.schema, f"alembic_enterprise_mirror_{source.shard.oid}")


def install(source: Source, copies: Sequence[Copy]) -> list[Composable]:
    """Statements, for one transaction, that repeat all changes from then on.

    Creating a trigger waits until no writer is left. So those that begin later, whose number is
    noted, can only write when it is there.
    """
    function = name(source)
    names = {"name": function.sql, "owner": Identifier(source.owner)}
    comment = mirror_comment(source, "%s", 0, 0, source.file)
    return [
        _FUNCTION.format(body=dollar_quoted(body(source, copies), "mirror"), **names),
        SQL("ALTER FUNCTION {name}() OWNER TO {owner}").format(**names),
        SQL("REVOKE ALL ON FUNCTION {name}() FROM PUBLIC").format(**names),
        _TRIGGERS.format(
            name=Identifier(TRIGGER),
            truncate=Identifier(TRIGGER + "_truncate"),
            columns=listed(map(Identifier, source.columns)),
            there=SQL(" AND ").join(_THERE.format(copy.name.regclass) for copy in copies),
            shard=source.name.sql,
            function=function.sql,
        ),
        note(function, comment, SQL("pg_snapshot_xmax(pg_current_snapshot())")),
    ]


def note(function: Name, comment: str, values: Composable) -> Composable:
    """A statement for a block that comments a mirror; the values take the places of `%s`."""
    command = text_of(SQL("COMMENT ON FUNCTION {}() IS ").format(function.sql))
    return SQL("EXECUTE {} || quote_literal(format({}, {}))").format(
        Literal(command), Literal(comment), values
    )


def body(source: Source, copies: Sequence[Copy]) -> Composable:
    """The text of the function."""
    return _BODY.format(
        row=copies[0].name.sql,
        oid=Literal(source.shard.oid),
        shard=source.name.regclass,
        copies=listed(copy.name.sql for copy in copies),
        clear=SQL(" ").join(SQL("DELETE FROM ONLY {};").format(copy.name.sql) for copy in copies),
        same=equal(source.key, of(OLD), of(NEW)),
        forget=SQL("\n        ").join(_forget(source, copy) for copy in copies),
        repeat=SQL("\n        ").join(_repeat(source, copy) for copy in copies),
    )


def _forget(source: Source, copy: Copy) -> Composable:
    names: dict[str, Composable] = {
        "copy": copy.name.sql,
        "columns": listed(map(Identifier, source.stored)),
        "found": equal(source.key, of("s"), of(OLD)),
    }
    old = listed(map(of(OLD), source.stored))
    return _FORGET.format(
        belongs=belongs(source, copy.held, of(OLD)),
        shard=_by_position(source),
        copy_name=copy.name.regclass,
        settle=_SETTLE.format(old=old, **names),
        **names,
    )


def _repeat(source: Source, copy: Copy) -> Composable:
    return _REPEAT.format(
        belongs=belongs(source, copy.held, of(NEW)),
        shard=_by_position(source),
        copy=copy.name.sql,
        columns=listed(map(Identifier, source.stored)),
        found=equal(source.key, of("s"), of(NEW)),
        key=listed(Identifier(column.name) for column in source.key),
        excluded=listed(map(of("excluded"), source.stored)),
    )


def _by_position(source: Source) -> Composable:
    """The shard as `s`, its columns under the names they had when the mirror was made."""
    return SQL("{} AS s ({})").format(source.name.sql, listed(map(Identifier, source.columns)))


def belongs(
    source: Source,
    held: Class,
    column: Callable[[str], Composable] = Identifier,
    table: Composable | None = None,
) -> Composable:
    """The condition that a row is in a residue class, as the server writes it for a partition.

    `table` is the sharded one, by its oid unless it is given.
    """
    return SQL("satisfies_hash_partition({}::oid, {}, {}, {})").format(
        table or Literal(source.table.oid),
        Literal(held.modulus),
        Literal(held.remainder),
        listed(map(column, source.hashed)),
    )


def equal(
    key: Iterable[Column],
    left: Callable[[str], Composable],
    right: Callable[[str], Composable],
) -> Composable:
    """The condition that two rows have the same key, by the operators of its index."""
    return SQL(" AND ").join(
        SQL("{} OPERATOR({}.=) {}").format(
            left(column.name), Identifier(column.equals), right(column.name)
        )
        for column in key
    )


def of(row: LiteralString) -> Callable[[str], Composable]:
    """A function that names a column of the row."""
    return lambda name: SQL("{}.{}").format(SQL(row), Identifier(name))


def listed(items: Iterable[Composable]) -> Composable:
    """Items with commas between them."""
    return SQL(", ").join(items)
