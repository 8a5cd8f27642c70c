"""What a new partition takes over from its table, beyond what LIKE and ATTACH carry."""

import secrets
from collections.abc import Callable, Iterator
from tempfile import gettempdir
from typing import Any

import laws
import pytest
from autogenerate import run_sql
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise.partitions.operations import CreateRangePartitions

CHILD = "events_y2026_m01"


def create(connection: Connection, start: str = "2026-01-01", stop: str = "2026-02-01") -> None:
    laws.apply(connection, [CreateRangePartitions("events", "month", start, stop)])


def version(connection: Connection) -> int:
    """Major version of the server."""
    found = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
    return int(found) // 10000


def column(connection: Connection, query: str) -> list[Any]:
    """The first column of a query's rows."""
    found = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return list(found.scalars())


def of_class(connection: Connection, expression: str, table: str = CHILD) -> Any:
    """A value from pg_class of one table."""
    [value] = column(
        connection, f"SELECT {expression} FROM pg_class WHERE oid = '{table}'::regclass"
    )
    return value


def test_columns_keep_defaults_generation_storage_compression_and_comments(
    connection: Connection,
) -> None:
    virtual = version(connection) >= 18
    run_sql(
        connection,
        "CREATE TABLE events (gone text, at date NOT NULL, n integer DEFAULT 7 CHECK (n > 0),"
        " twice integer GENERATED ALWAYS AS (n * 2) STORED,"
        ' note text COMPRESSION pglz COLLATE "C", "Odd %s" varchar(9) NOT NULL DEFAULT \'%s\''
        f"{', thrice integer GENERATED ALWAYS AS (n * 3) VIRTUAL' if virtual else ''}"
        ") PARTITION BY RANGE (at)",
        "ALTER TABLE events DROP COLUMN gone",
        "ALTER TABLE events ALTER COLUMN note SET STORAGE EXTERNAL",
        "COMMENT ON COLUMN events.note IS 'what was noted'",
        "CREATE STATISTICS n_at (ndistinct) ON n, at FROM events",
    )
    create(connection)
    columns = (
        "SELECT ROW(attname, format_type(atttypid, atttypmod), attnotnull, attgenerated,"
        " attstorage, attcompression, attcollation, pg_get_expr(adbin, adrelid),"
        " col_description(attrelid, attnum))::text FROM pg_attribute"
        " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attrelid = '{}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname"
    )
    assert column(connection, columns.format(CHILD)) == column(connection, columns.format("events"))
    statistics = f"SELECT stxkind::text FROM pg_statistic_ext WHERE stxrelid = '{CHILD}'::regclass"
    assert column(connection, statistics) == ["{d}"]
    run_sql(connection, "INSERT INTO events (at) VALUES ('2026-01-05')")
    assert column(connection, f"SELECT twice FROM {CHILD}") == [14]


@pytest.mark.parametrize("always", ["ALWAYS", "BY DEFAULT"])
def test_identity_columns_count_on_through_the_table(connection: Connection, always: str) -> None:
    """Up to 16 partitions have no identity of their own; from 17 on they get the table's."""
    run_sql(
        connection,
        f"CREATE TABLE events (id bigint GENERATED {always} AS IDENTITY, at date NOT NULL)"
        " PARTITION BY RANGE (at)",
    )
    create(connection, stop="2026-03-01")
    run_sql(connection, "INSERT INTO events (at) VALUES ('2026-01-05'), ('2026-02-05')")
    assert column(connection, "SELECT id FROM events ORDER BY at") == [1, 2]
    kinds = column(
        connection,
        f"SELECT attidentity::text FROM pg_attribute WHERE attrelid = '{CHILD}'::regclass"
        " AND attname = 'id'",
    )
    inherited = "a" if always == "ALWAYS" else "d"
    assert kinds == [inherited if version(connection) >= 17 else ""]


def test_a_serial_column_shares_the_sequence(connection: Connection) -> None:
    run_sql(
        connection, "CREATE TABLE events (id bigserial, at date NOT NULL) PARTITION BY RANGE (at)"
    )
    create(connection)
    run_sql(connection, "INSERT INTO events (at) VALUES ('2026-01-05')")
    run_sql(connection, f"INSERT INTO {CHILD} (at) VALUES ('2026-01-06')")
    assert column(connection, "SELECT id FROM events ORDER BY at") == [1, 2]


def test_keys_checks_and_triggers_hold(connection: Connection) -> None:
    enforced = "" if version(connection) < 18 else ", CONSTRAINT hope CHECK (n < 5) NOT ENFORCED"
    run_sql(
        connection,
        "CREATE TABLE accounts (id integer PRIMARY KEY)",
        "CREATE TABLE events (n integer CONSTRAINT positive CHECK (n > 0), at date,"
        f" account integer REFERENCES accounts, PRIMARY KEY (n, at), UNIQUE (at, n){enforced})"
        " PARTITION BY RANGE (at)",
        "CREATE TABLE notes (n integer, at date, FOREIGN KEY (n, at) REFERENCES events)",
        "CREATE INDEX by_account ON events (account) INCLUDE (n) WHERE n > 1",
        "CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN new.n := new.n * 2; RETURN new; END'",
        "CREATE TRIGGER twice BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION twice()",
    )
    create(connection)
    constraints = (
        "SELECT conname::text FROM pg_constraint WHERE conrelid = '{}'::regclass AND contype = 'c'"
        " ORDER BY 1"
    )
    parent = column(connection, constraints.format("events"))
    assert column(connection, constraints.format(CHILD)) == parent
    indexes = "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = '{}'::regclass"
    assert column(connection, indexes.format(CHILD)) == column(connection, indexes.format("events"))
    run_sql(connection, "INSERT INTO events VALUES (5, '2026-01-05')")
    assert column(connection, f"SELECT n FROM {CHILD}") == [10], (
        "the trigger fired, hope is not enforced"
    )
    for wrong in (
        "INSERT INTO events VALUES (-1, '2026-01-05')",
        "INSERT INTO events VALUES (1, '2026-01-05', 99)",
        "INSERT INTO notes VALUES (1, '2026-01-05')",
        "INSERT INTO events VALUES (5, '2026-01-05')",
    ):
        with pytest.raises(DBAPIError, match="violates"):
            run_sql(connection, wrong)
        connection.rollback()


def test_a_key_that_is_not_null_but_not_validated_can_be_created_for(
    connection: Connection,
) -> None:
    """NOT NULL NOT VALID exists from 18 on; before, a CHECK constraint does the same."""
    clause = (
        "CONSTRAINT filled NOT NULL note"
        if version(connection) >= 18
        else "CHECK (note IS NOT NULL)"
    )
    run_sql(
        connection,
        "CREATE TABLE events (note text, at date NOT NULL) PARTITION BY RANGE (at)",
        "CREATE TABLE history PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01')",
        "INSERT INTO events VALUES (NULL, '2000-01-01')",
        f"ALTER TABLE events ADD {clause} NOT VALID",
    )
    create(connection)
    with pytest.raises(DBAPIError, match="violates"):
        run_sql(connection, "INSERT INTO events VALUES (NULL, '2026-01-01')")


# --- Owner and grants


PLAIN = "CREATE TABLE events (id bigint, at date NOT NULL) PARTITION BY RANGE (at)"

PRIVILEGES = (
    "SELECT coalesce(pg_get_userbyid(nullif(grantee, 0)), 'PUBLIC') || ' ' || privilege_type"
    " || ' ' || is_grantable FROM pg_class, aclexplode(relacl)"
    " WHERE oid = '{}'::regclass AND grantee <> relowner ORDER BY 1"
)


def test_owner_and_grants_are_the_tables(
    connection: Connection, new_role: Callable[..., str]
) -> None:
    owner, reader, writer = new_role(), new_role(), new_role('We"ird %s ')
    writer = '"' + writer.replace('"', '""') + '"'
    run_sql(
        connection,
        f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {reader}, PUBLIC",
        "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM CURRENT_USER",
        PLAIN,
        f"REVOKE ALL ON events FROM {reader}, PUBLIC",
        f"GRANT ALL ON SCHEMA public TO {owner}",
        f"ALTER TABLE events OWNER TO {owner}",
        f"GRANT SELECT ON events TO {reader}",
        f"GRANT INSERT, DELETE ON events TO {writer} WITH GRANT OPTION",
        "GRANT TRIGGER ON events TO PUBLIC",
        f"GRANT UPDATE (id) ON events TO {reader}",
        f"GRANT REFERENCES (at) ON events TO {writer} WITH GRANT OPTION",
    )
    create(connection)
    assert of_class(connection, "pg_get_userbyid(relowner)") == owner
    granted = column(connection, PRIVILEGES.format("events"))
    assert len(granted) == 4
    assert column(connection, PRIVILEGES.format(CHILD)) == granted
    columns = (
        "SELECT attname || pg_get_userbyid(grantee) || privilege_type || is_grantable"
        " FROM pg_attribute, aclexplode(attacl) WHERE attrelid = '{}'::regclass ORDER BY 1"
    )
    assert len(column(connection, columns.format(CHILD))) == 2
    assert column(connection, columns.format(CHILD)) == column(connection, columns.format("events"))


def test_default_privileges_do_not_leak(connection: Connection, role: str) -> None:
    run_sql(connection, PLAIN, f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}, PUBLIC")
    create(connection)
    assert column(connection, PRIVILEGES.format(CHILD)) == []


def test_a_member_of_the_owning_role_may_create(
    connection: Connection, engine: Engine, new_role: Callable[..., str]
) -> None:
    owner, member, reader = new_role(), new_role(), new_role()
    run_sql(
        connection,
        f"GRANT ALL ON SCHEMA public TO {owner}, {member}",
        f"GRANT {owner} TO {member}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {member} GRANT ALL ON TABLES TO PUBLIC",
        PLAIN,
        f"ALTER TABLE events OWNER TO {owner}",
        f"GRANT SELECT ON events TO {reader}",
    )
    with engine.connect() as own:
        run_sql(own, f"SET ROLE {member}")
        create(own)
    assert of_class(connection, "pg_get_userbyid(relowner)") == owner
    assert column(connection, PRIVILEGES.format(CHILD)) == [f"{reader} SELECT false"]


# --- The rest of pg_class


@pytest.mark.parametrize("flags", [("t", "f"), ("t", "t"), ("f", "t"), ("f", "f")])
def test_row_security_is_the_tables(connection: Connection, flags: tuple[str, str]) -> None:
    words = {"t": ("ENABLE", "FORCE"), "f": ("DISABLE", "NO FORCE")}
    enable, force = (words[flag][place] for place, flag in enumerate(flags))
    run_sql(
        connection,
        PLAIN,
        f"ALTER TABLE events {enable} ROW LEVEL SECURITY, {force} ROW LEVEL SECURITY",
        "CREATE POLICY everyone ON events USING (true)",
    )
    create(connection)
    assert of_class(connection, "(relrowsecurity, relforcerowsecurity)::text") == "({},{})".format(
        *flags
    )


@pytest.mark.parametrize(
    ("words", "letter"),
    [("DEFAULT", "d"), ("FULL", "f"), ("NOTHING", "n"), ('USING INDEX "Odd %s"', "i")],
)
def test_replica_identity_is_the_tables(connection: Connection, words: str, letter: str) -> None:
    run_sql(
        connection,
        "CREATE TABLE events (id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at)",
        'CREATE UNIQUE INDEX "Odd %s" ON events (at, id)',
        f"ALTER TABLE events REPLICA IDENTITY {words}",
    )
    create(connection, stop="2026-03-01")
    for child in (CHILD, "events_y2026_m02"):
        assert of_class(connection, "relreplident::text", child) == letter
        marked = f"SELECT indisreplident FROM pg_index WHERE indrelid = '{child}'::regclass"
        assert column(connection, marked) == [letter == "i"]


def test_storage_parameters_are_those_of_the_newest_partition(connection: Connection) -> None:
    run_sql(connection, PLAIN)
    create(connection)
    options = ["fillfactor=70", "autovacuum_enabled=off", "autovacuum_vacuum_scale_factor=0.05"]
    run_sql(
        connection,
        f"ALTER TABLE {CHILD} SET ({', '.join(options)}, log_autovacuum_min_duration = -1)",
    )
    create(connection, "2025-12-01", "2026-04-01")
    for child in ("events_y2025_m12", "events_y2026_m02", "events_y2026_m03"):
        assert of_class(connection, "reloptions", child) == [
            *options,
            "log_autovacuum_min_duration=-1",
        ]


@pytest.mark.parametrize("style", ["ISO, MDY", "German, DMY"])
def test_storage_parameters_are_not_those_of_history_that_was_made_later(
    connection: Connection, style: str
) -> None:
    """Months that were backfilled and frozen are not what the next one should be like."""
    run_sql(connection, PLAIN, f"SET DateStyle = '{style}'")
    create(connection, "2026-01-01", "2026-03-01")
    run_sql(connection, "ALTER TABLE events_y2026_m02 SET (fillfactor = 70)")
    create(connection, "2025-11-01", "2026-01-01")
    for month in ("y2025_m11", "y2025_m12"):
        assert of_class(connection, "reloptions", f"events_{month}") == ["fillfactor=70"]
        run_sql(connection, f"ALTER TABLE events_{month} SET (autovacuum_enabled = off)")
    create(connection, stop="2026-04-01")
    assert of_class(connection, "reloptions", "events_y2026_m03") == ["fillfactor=70"]


def test_storage_parameters_are_not_those_of_a_table_that_was_attached(
    connection: Connection,
) -> None:
    """Such as an archive that autovacuum is kept away from; of a table without ours they are."""
    attached = (
        "CREATE TABLE old PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')"
        " WITH (autovacuum_enabled = off)"
    )
    run_sql(connection, PLAIN, attached)
    create(connection)
    assert of_class(connection, "reloptions") == ["autovacuum_enabled=off"]
    reset = f"ALTER TABLE {CHILD} RESET (autovacuum_enabled)"
    run_sql(connection, reset, "DROP TABLE old", attached)
    create(connection, stop="2026-03-01")
    assert of_class(connection, "reloptions", "events_y2026_m02") is None


def test_an_unlogged_table_has_unlogged_partitions(connection: Connection) -> None:
    """From 18 on there are no unlogged partitioned tables."""
    if version(connection) >= 18:
        with pytest.raises(DBAPIError, match="cannot be unlogged"):
            run_sql(connection, PLAIN.replace("TABLE", "UNLOGGED TABLE"))
        return
    run_sql(connection, PLAIN.replace("TABLE", "UNLOGGED TABLE"))
    create(connection)
    assert of_class(connection, "relpersistence::text") == "u"


def test_the_access_method_is_the_tables(connection: Connection) -> None:
    """From 17 on a partitioned table may have one."""
    run_sql(connection, 'CREATE ACCESS METHOD "Heap 2" TYPE TABLE HANDLER heap_tableam_handler')
    method = ' USING "Heap 2"' if version(connection) >= 17 else ""
    run_sql(connection, PLAIN + method)
    create(connection)
    used = of_class(connection, "(SELECT amname FROM pg_am WHERE oid = relam)")
    assert used == ("Heap 2" if method else "heap")


@pytest.fixture
def tablespace(engine: Engine) -> Iterator[str]:
    """A tablespace in a folder that the server itself makes; for the table `events`."""
    name = f"alembic_enterprise_{secrets.token_hex(6)}"
    folder = f"{gettempdir()}/{name}"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as server:
        run_sql(server, f"COPY (SELECT) TO PROGRAM 'mkdir {folder}'")
        run_sql(server, f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        yield name
        run_sql(server, "DROP TABLE events", f"DROP TABLESPACE {name}")
        run_sql(server, f"COPY (SELECT) TO PROGRAM 'rmdir {folder}'")


def test_the_tablespace_is_the_tables(tablespace: str, connection: Connection) -> None:
    run_sql(connection, f"{PLAIN} TABLESPACE {tablespace}")
    create(connection)
    place = "(SELECT spcname FROM pg_tablespace WHERE oid = reltablespace)"
    assert of_class(connection, place) == tablespace


def test_the_mark_of_ownership_names_the_table(connection: Connection) -> None:
    run_sql(connection, "COMMENT ON SCHEMA public IS 'ours'", PLAIN)
    create(connection)
    comment = of_class(connection, "obj_description(oid, 'pg_class')")
    assert comment == "alembic-enterprise: partition of public.events"
