"""Drift: whatever somebody does to a live trail is found, and put right by one operation."""

import laws
import pytest
from alembic.util import CommandError
from audited import audited, drift, orders, trails
from autogenerate import generate, partitions, pretend, run_sql, upgrade
from sqlalchemy import BigInteger, Column, Connection, Table, Text

from alembic_enterprise import AuditTrail, HashShards
from alembic_enterprise.audit.operations import AlterAuditTrail, CreateAuditTrail
from alembic_enterprise.sql import Name

OPTIONS = {"readers": ["pg_monitor"], "hash": ["iban"]}
FUNCTION = "FUNCTION audit.orders_history()"
RECORD = "FUNCTION audit.orders_history(regclass, text)"
HISTORY = "audit.orders_history"
NOTHING = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS 'BEGIN RETURN NULL; END'"
INSERT = (
    "CREATE OR REPLACE TRIGGER alembic_enterprise_insert AFTER INSERT ON orders"
    " REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT {}; "
    "ALTER TABLE orders ENABLE ALWAYS TRIGGER alembic_enterprise_insert"
)
FIRST_OF_TWO = " FOR VALUES WITH (MODULUS 2, REMAINDER 0)"
EVENTS = ("insert", "update", "delete", "truncate")

TRIGGERS = {
    "dropped": "DROP TRIGGER alembic_enterprise_update ON orders",
    "disabled": "ALTER TABLE orders DISABLE TRIGGER alembic_enterprise_truncate",
    "all disabled": "ALTER TABLE orders DISABLE TRIGGER ALL",
    "on a replica only": "ALTER TABLE orders ENABLE REPLICA TRIGGER alembic_enterprise_insert",
    "not on a replica": "ALTER TABLE orders ENABLE TRIGGER alembic_enterprise_delete",
    "with a condition": INSERT.format("WHEN (false) EXECUTE " + FUNCTION),
    "that calls another function": (
        f"CREATE FUNCTION nothing() RETURNS trigger {NOTHING}; "
        + INSERT.format("EXECUTE FUNCTION nothing()")
    ),
    "its comment": "COMMENT ON TRIGGER alembic_enterprise_insert ON orders IS NULL",
    "all dropped": "; ".join(
        f"DROP TRIGGER alembic_enterprise_{event} ON orders" for event in EVENTS
    ),
}
FUNCTIONS = {
    "body": f"CREATE OR REPLACE {FUNCTION} RETURNS trigger {NOTHING}",
    "body of the one that records": (
        f"CREATE OR REPLACE FUNCTION {HISTORY}(relation regclass, action text) RETURNS void"
        f" {NOTHING.replace(' RETURN NULL;', '')}"
    ),
    "settings reset": f"ALTER {FUNCTION} RESET search_path",
    "settings changed": f"ALTER {FUNCTION} SET TimeZone = 'Asia/Tokyo'",
    "settings added": f"ALTER {RECORD} SET role = 'pg_monitor'",
    "security definer taken away": f"ALTER {FUNCTION} SECURITY INVOKER",
    "volatility": f"ALTER {FUNCTION} STABLE",
    "owner": f"ALTER {FUNCTION} OWNER TO pg_monitor",
    "for everybody": f"GRANT EXECUTE ON {FUNCTION} TO PUBLIC",
    "the one that records for everybody": f"GRANT EXECUTE ON {RECORD} TO PUBLIC",
    "options unreadable": f"COMMENT ON {FUNCTION} IS 'alembic-enterprise: {{'",
    "options gone": f"COMMENT ON {FUNCTION} IS NULL",
    "dropped": f"DROP {FUNCTION} CASCADE",
    "both dropped": f"DROP {FUNCTION} CASCADE; DROP {RECORD}",
    "the one that records dropped": f"DROP {RECORD}",
}
RIGHTS = {
    "owner of the history": f"ALTER TABLE {HISTORY} OWNER TO pg_monitor",
    "INSERT": f"GRANT INSERT ON {HISTORY} TO pg_monitor",
    "UPDATE of a column": f"GRANT UPDATE (audit_actor) ON {HISTORY} TO PUBLIC",
    "DELETE from a partition": "GRANT DELETE ON {partition} TO pg_monitor",
    "the sequence": f"GRANT USAGE ON SEQUENCE {HISTORY}_id TO pg_monitor",
    "SELECT for another": f"GRANT SELECT ON {HISTORY} TO pg_read_all_data",
    "SELECT that may be handed on": (f"GRANT SELECT ON {HISTORY} TO pg_monitor WITH GRANT OPTION"),
    "a reader without SELECT": f"REVOKE SELECT ON {HISTORY} FROM pg_monitor",
    "a reader without USAGE": "REVOKE USAGE ON SCHEMA audit FROM pg_monitor",
}
COLUMNS = {"table": "text", "key": "jsonb", "field": "text", "old_value": "text"} | {
    "new_value": "text",
    "changed_at": "timestamptz",
    "changed_by": "text",
    "context": "jsonb",
}
SHOWN = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in COLUMNS.items())
HISTORIES = {
    "column missing": f"ALTER TABLE {HISTORY} DROP COLUMN total",
    "column of another type": f"ALTER TABLE {HISTORY} ALTER COLUMN total TYPE numeric",
    "comment": f"COMMENT ON TABLE {HISTORY} IS 'who did it'",
    "no comment": f"COMMENT ON TABLE {HISTORY} IS NULL",
    "dropped": f"DROP TABLE {HISTORY} CASCADE",
    "policy changed": (
        "UPDATE audit.alembic_enterprise_policy SET policy = policy || '{\"retain\": 1}'"
    ),
    "policy missing": "DELETE FROM audit.alembic_enterprise_policy",
    "a month missing": "DROP TABLE {partition}",
    "view missing": "DROP VIEW audit.audit_trail",
    "view changed": f"CREATE OR REPLACE VIEW audit.audit_trail AS SELECT {SHOWN}",
    "view with more": f"CREATE OR REPLACE VIEW audit.audit_trail AS SELECT {SHOWN}, 1 AS more",
    "view without its barrier": "ALTER VIEW audit.audit_trail SET (security_barrier = false)",
    "NOT NULL": f"ALTER TABLE {HISTORY} ALTER COLUMN total SET NOT NULL",
    "NOT NULL of the actor": f"ALTER TABLE {HISTORY} ALTER COLUMN audit_actor SET NOT NULL",
    "own column missing": f"ALTER TABLE {HISTORY} DROP COLUMN audit_application",
    "dropped but for its sequence": (
        f"ALTER SEQUENCE {HISTORY}_id OWNED BY NONE; DROP TABLE {HISTORY} CASCADE"
    ),
    "key index missing": f"DROP INDEX {HISTORY}_id_audit_id_idx",
}


@pytest.mark.parametrize("mutations", [TRIGGERS, FUNCTIONS, RIGHTS, HISTORIES])
def test_each_mutation_is_found_and_put_right_by_one_operation(
    connection: Connection, mutations: dict[str, str]
) -> None:
    """One after the other in one database, as each repair leaves it in order.

    What a repair leaves undone besides the trail, the next script has in it, or the last.
    """
    metadata = audited(trail=OPTIONS)
    upgrade(connection, metadata)
    whole = trails(connection)
    assert generate(connection, metadata).calls == []
    for what, statement in mutations.items():
        run_sql(connection, statement.replace("{partition}", month(connection)))
        assert drift(connection) != [], what
        script = upgrade(connection, metadata)
        assert script.calls == ["alter_audit_trail"], what
        repaired = trails(connection)
        assert repaired == whole, what
        assert [table.drift for table in repaired.tables.values()] == [()], what
    assert generate(connection, metadata).calls == []


def test_a_history_that_was_renamed_leaves_its_sequence_to_the_next(
    connection: Connection, role: str
) -> None:
    metadata = audited(trail={"owner": role})
    upgrade(connection, metadata)
    run_sql(
        connection,
        f"COMMENT ON TABLE {HISTORY} IS NULL",
        f"ALTER TABLE {HISTORY} RENAME TO orders_before",
    )
    assert upgrade(connection, metadata).calls == ["alter_audit_trail"]
    run_sql(connection, "INSERT INTO orders VALUES (1)")
    assert drift(connection) == []


def test_a_history_that_lost_its_numbers_says_what_to_do(connection: Connection) -> None:
    metadata = audited()
    upgrade(connection, metadata)
    run_sql(connection, f"ALTER TABLE {HISTORY} RENAME audit_id TO number")
    assert f"{HISTORY} has no column audit_id" in drift(connection)
    with pytest.raises(CommandError, match="has no column audit_id: rename it back, or begin"):
        upgrade(connection, metadata)


def test_what_somebody_put_on_the_history_stays(connection: Connection) -> None:
    metadata = audited()
    upgrade(connection, metadata)
    run_sql(
        connection,
        f"ALTER TABLE {HISTORY} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {HISTORY} ADD CONSTRAINT named CHECK (audit_actor <> '')",
        f"CREATE FUNCTION note() RETURNS trigger {NOTHING}",
        f"CREATE TRIGGER note AFTER INSERT ON {HISTORY} EXECUTE FUNCTION note()",
        "ALTER TABLE orders DISABLE TRIGGER alembic_enterprise_update",
    )
    assert upgrade(connection, metadata).calls == ["alter_audit_trail"]
    assert drift(connection) == []
    query = f"""SELECT relrowsecurity AND EXISTS (SELECT FROM pg_trigger WHERE tgname = 'note')
                AND EXISTS (SELECT FROM pg_constraint WHERE conname = 'named')
                FROM pg_class WHERE oid = '{HISTORY}'::regclass"""
    assert connection.exec_driver_sql(query).scalar_one()


def test_a_sequence_of_somebody_else_is_not_taken(connection: Connection, role: str) -> None:
    upgrade(connection, orders())
    run_sql(
        connection,
        "CREATE SCHEMA audit",
        f"CREATE SEQUENCE {HISTORY}_id",
        f"ALTER SEQUENCE {HISTORY}_id OWNER TO {role}",
    )
    told = rf"there is a sequence {HISTORY}_id already that belongs to {role}: run ALTER SEQUENCE"
    with pytest.raises(CommandError, match=told):
        upgrade(connection, audited())


def month(connection: Connection) -> str:
    """The last partition of the history, as it is written."""
    return list(partitions(connection, HISTORY))[-1]


def test_a_partition_without_triggers_is_found(connection: Connection) -> None:
    """At whatever level, also one that was attached by hand; once it has all four, silence."""
    metadata = audited(HashShards("id", count=2))
    upgrade(connection, metadata)
    assert generate(connection, metadata).calls == []
    shard = next(iter(partitions(connection, "orders")))
    again = f"DROP TABLE {shard}; CREATE TABLE {shard} PARTITION OF orders" + FIRST_OF_TWO
    for statement in (
        f"DROP TRIGGER alembic_enterprise_delete ON {shard}",
        f"ALTER TABLE {shard} DISABLE TRIGGER alembic_enterprise_insert",
        again,
        f"{again} PARTITION BY RANGE (id); CREATE TABLE deep PARTITION OF {shard} DEFAULT",
        "DROP TRIGGER alembic_enterprise_truncate ON deep",
        TRIGGERS["all dropped"],
    ):
        run_sql(connection, statement)
        assert upgrade(connection, metadata).calls == ["alter_audit_trail"], statement
        assert generate(connection, metadata).calls == [], statement


def test_a_partition_that_was_detached_by_hand_is_not_taken_for_the_table(
    connection: Connection,
) -> None:
    metadata = audited(HashShards("id", count=2))
    upgrade(connection, metadata)
    shard = next(iter(partitions(connection, "orders")))
    run_sql(connection, f"ALTER TABLE orders DETACH PARTITION {shard}")
    assert list(trails(connection).tables) == [Name("public", "orders")]


def test_what_two_trails_share_is_put_right_by_one_of_them(connection: Connection) -> None:
    metadata = audited()
    Table("others", metadata, Column("id", BigInteger, primary_key=True), AuditTrail())
    upgrade(connection, metadata)
    run_sql(connection, "DROP VIEW audit.audit_trail")
    assert upgrade(connection, metadata).calls == ["alter_audit_trail"]
    assert generate(connection, metadata).calls == []


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER TABLE orders RENAME TO purchases", {"name": "purchases"}),
        ("CREATE SCHEMA sales; ALTER TABLE orders SET SCHEMA sales", {"schema": "sales"}),
    ],
)
def test_the_view_follows_the_name_of_the_table(
    connection: Connection, statement: str, named: dict[str, str]
) -> None:
    upgrade(connection, audited())
    run_sql(connection, "INSERT INTO orders VALUES (1)", statement)
    metadata = audited(trail={"history": "orders_history"}, **named)
    assert drift(connection) == ["the view audit.audit_trail differs"]
    options = {"include_schemas": True}
    assert upgrade(connection, metadata, **options).calls == ["alter_audit_trail"]
    assert generate(connection, metadata, **options).calls == []
    shown = connection.exec_driver_sql('SELECT DISTINCT "table" FROM audit.audit_trail').scalar()
    assert shown == f"{named.get('schema', 'public')}.{named.get('name', 'orders')}"


def test_the_search_path_is_no_drift(connection: Connection) -> None:
    """It decides how the server writes the view."""
    run_sql(connection, 'CREATE SCHEMA "Mixed Case"')
    upgrade(connection, audited(trail={"schema": "Mixed Case"}))
    for path in ("public", '"Mixed Case", public', "pg_catalog, public"):
        run_sql(connection, f"SET search_path = {path}")
        assert drift(connection) == []


def test_months_that_nobody_made_are_made_up_for(connection: Connection) -> None:
    """When the scheduled job does not run, captures would fail some day."""
    metadata = audited()
    upgrade(connection, metadata)
    pretend(connection, "2028-06-15")
    assert upgrade(connection, metadata).calls == ["alter_audit_trail"]
    assert generate(connection, metadata).calls == []


def test_months_that_retention_took_away_do_not_come_back(connection: Connection) -> None:
    metadata = audited(trail={"retain": 1})
    upgrade(connection, metadata)
    first = next(iter(partitions(connection, HISTORY)))
    pretend(connection, "2028-06-15")
    upgrade(connection, metadata)
    run_sql(connection, f"DROP TABLE {first}")
    assert generate(connection, metadata).calls == []


def test_columns_of_domains_and_of_other_schemas_compare_clean(connection: Connection) -> None:
    run_sql(
        connection,
        "CREATE SCHEMA types",
        "CREATE TYPE types.mood AS ENUM ('good', 'bad')",
        "CREATE DOMAIN types.inner AS numeric(10, 2) NOT NULL",
        "CREATE DOMAIN types.price AS types.inner CHECK (VALUE >= 0)",
        "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mood types.mood,"
        ' moods types.mood[], price types.price, code varchar(7) COLLATE "C", at timestamptz(3))',
    )
    operation = CreateAuditTrail("orders", "orders_history")
    laws.apply(connection, [operation])
    assert drift(connection) == []
    run_sql(connection, "SET search_path = types, public")
    assert drift(connection) == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("RENAME note TO", ': where that was note until now, add renamed={"note": "Remark"}'),
        ("RENAME id TO id_2; ALTER TABLE orders RENAME note TO", ""),
        ("ADD", ""),
    ],
)
def test_a_column_that_may_be_renamed_is_told(
    connection: Connection, statement: str, told: str
) -> None:
    kind = " text" if statement == "ADD" else ""
    upgrade(connection, audited(Column("note", Text), Column("old", Text)))
    upgrade(connection, audited(Column("note", Text)))  # the history has its column still
    run_sql(connection, f'ALTER TABLE orders {statement} "Remark"{kind}')
    assert f'{HISTORY} has no column "Remark"{told}' in drift(connection)
    fails = f"{HISTORY}(): each change of a row fails, as its body names note"
    assert (fails in drift(connection)) == (told != "")


LOOSE = (
    "CREATE COLLATION loose (provider = libc, locale = 'C')",
    "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'",
)
"""A collation of which the catalog says what it can say of ICU's only; many servers have no ICU."""


@pytest.mark.parametrize("kind", ["text", "varchar(20)"])
def test_a_key_that_is_the_same_however_it_is_written_is_so_in_the_history(
    connection: Connection, kind: str
) -> None:
    create, alter = CreateAuditTrail("t", "t_history"), AlterAuditTrail("t", "t_history")
    query = "SELECT attcollation::regcollation::text FROM pg_attribute WHERE attname = 'k'"
    of_history = f"{query} AND attrelid = 'audit.t_history'::regclass"
    run_sql(
        connection,
        *LOOSE,
        f"CREATE TABLE t (k {kind} COLLATE loose PRIMARY KEY, secret text COLLATE loose)",
    )
    laws.apply(connection, [create])
    assert connection.exec_driver_sql(of_history).scalar_one() == "loose"
    for collation, expected in (('"C"', '"default"'), ("loose", "loose")):
        run_sql(connection, f"ALTER TABLE t ALTER k TYPE text COLLATE {collation}")
        [told] = drift(connection)
        assert told.startswith("audit.t_history: column k is ")
        laws.apply(connection, [alter])
        assert connection.exec_driver_sql(of_history).scalar_one() == expected
        assert drift(connection) == []
