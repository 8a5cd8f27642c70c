"""Statement triggers meant for each partition: who makes one gives them, who takes one tells."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import laws
import pytest
from alembic.util import CommandError
from autogenerate import run_sql
from sqlalchemy import Connection, Engine

from alembic_enterprise.partitions.maintain import Job, maintain
from alembic_enterprise.partitions.marks import Mark
from alembic_enterprise.partitions.operations import (
    AttachPartition,
    CreateRangePartitions,
    DetachPartition,
    DropRangePartitions,
    SetPartitionPolicy,
)
from alembic_enterprise.partitions.operations.triggers import ON_EACH_PARTITION, WITH_ROWS_UNTOLD
from alembic_enterprise.partitions.periods import Range
from alembic_enterprise.sql import Name

FUNCTIONS = (
    """CREATE TABLE told (what text)""",
    """CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO told SELECT TG_OP || ' ' || TG_TABLE_NAME || ' ' || count(*) FROM new_rows;
        RETURN NULL; END $$""",
    """CREATE FUNCTION note(relation regclass, action text) RETURNS void LANGUAGE sql
        SECURITY DEFINER AS $$
        INSERT INTO told VALUES (action || ' ' || relation) $$""",
)


def table(connection: Connection, schema: str = "public", name: str = "events") -> None:
    """A table by month with a marked trigger, one that is not, and the function that notes."""
    quoted = Name(schema, name).text
    run_sql(
        connection,
        f'CREATE SCHEMA IF NOT EXISTS "{schema}"',
        f"CREATE TABLE {quoted} (id bigint, at date NOT NULL) PARTITION BY RANGE (at)",
        *FUNCTIONS,
        f'CREATE TRIGGER "mar""ked" AFTER INSERT ON {quoted} REFERENCING NEW TABLE AS new_rows '
        "FOR EACH STATEMENT EXECUTE FUNCTION note()",
        f'ALTER TABLE {quoted} ENABLE ALWAYS TRIGGER "mar""ked"',
        f'COMMENT ON TRIGGER "mar""ked" ON {quoted} IS \'{ON_EACH_PARTITION}\'',
        f"CREATE TRIGGER strange AFTER INSERT ON {quoted} REFERENCING NEW TABLE AS new_rows "
        "FOR EACH STATEMENT EXECUTE FUNCTION note()",
    )


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.exec_driver_sql(query)]


def triggers(connection: Connection) -> list[tuple[Any, ...]]:
    """All triggers that are not the server's own: relation, name, enabled, comment."""
    return rows(
        connection,
        "SELECT c.relname::text, t.tgname::text, t.tgenabled::text,"
        " obj_description(t.oid, 'pg_trigger') FROM pg_trigger AS t"
        " JOIN pg_class AS c ON c.oid = tgrelid WHERE NOT tgisinternal ORDER BY 1, 2",
    )


def told(connection: Connection) -> list[str]:
    """What the function was told, in order."""
    return [what for (what,) in rows(connection, "SELECT what FROM told")]


BOUNDS = ("2026-01-01", "2026-02-01")
JANUARY = CreateRangePartitions("events", "month", *BOUNDS)
DROP = DropRangePartitions("events", "month", *BOUNDS)


@pytest.mark.parametrize("concurrently", [False, True])
def test_a_foreign_table_is_detached_though_nothing_can_lock_it(
    connection: Connection, concurrently: bool
) -> None:
    table(connection)
    run_sql(
        connection,
        "CREATE FOREIGN DATA WRAPPER far",
        "CREATE SERVER away FOREIGN DATA WRAPPER far",
        "CREATE FOREIGN TABLE far_away PARTITION OF events FOR VALUES FROM ('2026-01-01')"
        " TO ('2026-02-01') SERVER away",
        "CREATE TRIGGER marked AFTER DELETE ON far_away EXECUTE FUNCTION note()",
        f"COMMENT ON TRIGGER marked ON far_away IS '{ON_EACH_PARTITION}'",
    )
    laws.apply(connection, [DetachPartition("events", "far_away", concurrently=concurrently)])
    assert told(connection) == ["detach far_away"]
    assert {relation for relation, *_ in triggers(connection)} == {"events"}


def test_a_new_partition_has_them_from_its_first_row(connection: Connection) -> None:
    table(connection)
    laws.apply(connection, [JANUARY])
    marked = ('mar"ked', "A", ON_EACH_PARTITION)
    assert triggers(connection) == [
        ("events", *marked),
        ("events", "strange", "O", None),
        ("events_y2026_m01", *marked),
    ]
    run_sql(connection, "INSERT INTO events_y2026_m01 VALUES (1, '2026-01-02')")
    assert told(connection) == ["INSERT events_y2026_m01 1"]


@pytest.mark.parametrize("name", ["Mixed Case", 'we"ird', " ON x ", "größe" * 7])
def test_names_that_hurt(connection: Connection, name: str) -> None:
    table(connection, "Other ON schema", name)
    january = CreateRangePartitions(name, "month", *BOUNDS, schema="Other ON schema")
    laws.apply(connection, [january])
    assert [found[0] for found in triggers(connection) if found[1] == 'mar"ked'] == sorted(
        [name, f"{name}_y2026_m01"]
    )


def test_shards_inside_partitions_have_them_too(connection: Connection) -> None:
    table(connection)
    laws.apply(connection, [replace(JANUARY, partition_by="HASH (id)", shards=2)])
    marked = [relation for relation, name, *_ in triggers(connection) if name == 'mar"ked']
    assert marked == [
        "events",
        "events_y2026_m01",
        "events_y2026_m01_shard_0",
        "events_y2026_m01_shard_1",
    ]


def test_they_are_told_of_a_partition_that_is_dropped(connection: Connection) -> None:
    table(connection)
    laws.apply(connection, [JANUARY, DROP])
    assert told(connection) == ["drop events_y2026_m01"]


def test_they_come_and_go_with_attaching_and_detaching(connection: Connection) -> None:
    table(connection)
    run_sql(connection, "CREATE TABLE old (LIKE events)")
    attach, detach = (kind("events", "old", *BOUNDS) for kind in (AttachPartition, DetachPartition))
    laws.apply(connection, [attach])
    assert ("old", 'mar"ked', "A", ON_EACH_PARTITION) in triggers(connection)
    laws.apply(connection, [detach])
    assert {relation for relation, *_ in triggers(connection)} == {"events"}
    assert told(connection) == ["truncate old", "attach old", "detach old"]  # it had no rows


def test_they_come_to_the_partitions_of_what_is_attached(connection: Connection) -> None:
    table(connection)
    run_sql(
        connection,
        "CREATE TABLE old (LIKE events) PARTITION BY HASH (id)",
        "CREATE TABLE old_0 PARTITION OF old FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    attach, detach = (kind("events", "old", *BOUNDS) for kind in (AttachPartition, DetachPartition))
    laws.apply(connection, [attach])
    run_sql(connection, "INSERT INTO old_0 VALUES (1, '2026-01-02')")
    marked = [relation for relation, name, *_ in triggers(connection) if name == 'mar"ked']
    assert marked == ["events", "old", "old_0"]
    assert told(connection) == ["truncate old", "attach old", "INSERT old_0 1"]
    laws.apply(connection, [detach])
    assert {relation for relation, *_ in triggers(connection)} == {"events"}


def test_rows_that_were_there_before_are_marked(connection: Connection) -> None:
    table(connection)
    run_sql(
        connection, "CREATE TABLE old (LIKE events)", "INSERT INTO old VALUES (1, '2026-01-02')"
    )
    attach, detach = (kind("events", "old", *BOUNDS) for kind in (AttachPartition, DetachPartition))
    laws.apply(connection, [attach])
    assert [found for found in triggers(connection) if found[0] == "old"] == [
        ("old", 'mar"ked', "A", WITH_ROWS_UNTOLD)
    ]
    laws.apply(connection, [detach])
    assert {relation for relation, *_ in triggers(connection)} == {"events"}
    assert told(connection) == ["attach old", "detach old"]


def test_without_the_function_nobody_is_told(connection: Connection) -> None:
    table(connection)
    run_sql(connection, "DROP FUNCTION note(regclass, text)")
    laws.apply(connection, [JANUARY, DROP])
    assert told(connection) == []


def test_nobody_is_told_with_the_rights_of_who_calls(connection: Connection) -> None:
    """The owner of a table could otherwise have a superuser run what he likes."""
    table(connection)
    run_sql(
        connection,
        "ALTER FUNCTION note(regclass, text) SECURITY INVOKER",
        "CREATE FUNCTION note(relation text, action text) RETURNS void LANGUAGE sql"
        " SECURITY DEFINER AS $$ INSERT INTO told VALUES ('never') $$",
    )
    laws.apply(connection, [JANUARY, DROP])
    assert told(connection) == []


@pytest.fixture
def stranger(connection: Connection, new_role: Callable[..., str]) -> str:
    """A role that can log in, and owns all that `table` makes."""
    role, database = new_role(), connection.engine.url.database
    run_sql(
        connection,
        f"GRANT CREATE ON DATABASE {database} TO {role}",
        f"GRANT ALL ON SCHEMA public TO {role}",
        f"SET ROLE {role}",
    )
    table(connection)
    laws.apply(connection, [JANUARY])
    run_sql(connection, "RESET ROLE", f"ALTER ROLE {role} LOGIN")
    return role


def test_nobody_is_told_who_could_get_the_rights_of_who_calls_by_that(
    connection: Connection, stranger: str
) -> None:
    """He could leave a search_path in the session, or another function of that name."""
    with pytest.raises(CommandError) as caught:
        laws.apply(connection, [DROP])
    assert str(caught.value) == (
        "events_y2026_m01: function note(regclass,text) has to record the drop, and role "
        f"{stranger}, who owns it, could get the rights of role postgres by that. Run this as "
        f"role {stranger}, who owns the table, or let a role that nobody logs in as own the "
        "function"
    )
    connection.rollback()
    assert told(connection) == []
    run_sql(connection, f"SET ROLE {stranger}")
    laws.apply(connection, [DROP])
    assert told(connection) == ["drop events_y2026_m01"]


def test_a_role_that_nobody_can_log_in_as_is_told(connection: Connection, stranger: str) -> None:
    run_sql(connection, f"ALTER ROLE {stranger} NOLOGIN")
    laws.apply(connection, [DROP])
    assert told(connection) == ["drop events_y2026_m01"]


@pytest.mark.parametrize("both", [True, False], ids=["chosen by the table", "made beside it"])
def test_the_owner_of_a_table_tells_whom_he_has_chosen(
    connection: Connection, stranger: str, new_role: Callable[..., str], *, both: bool
) -> None:
    auditor = new_role()
    run_sql(
        connection,
        f"ALTER ROLE {auditor} LOGIN",
        f"ALTER FUNCTION note(regclass, text) OWNER TO {auditor}",
        f"GRANT ALL ON told TO {auditor}",
        *([f"ALTER FUNCTION note() OWNER TO {auditor}"] if both else []),
        f"SET ROLE {stranger}",
    )
    with nullcontext() if both else pytest.raises(CommandError, match="has to record the drop"):
        laws.apply(connection, [DROP])
    connection.rollback()
    assert told(connection) == (["drop events_y2026_m01"] if both else [])


def retired(oid: int) -> str:
    """The comment of January, as a run leaves it before it detaches that."""
    held = Range(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    since, january = datetime(2026, 6, 1, tzinfo=UTC), Name("public", "events_y2026_m01")
    return Mark(Name("public", "events"), oid, since, to_drop=False, range=held, was=january).text


def test_the_job_gives_and_tells(engine: Engine) -> None:
    with engine.connect() as connection:
        table(connection)
        policy = SetPartitionPolicy("events", "month", ahead=0, retain=1)
        laws.apply(connection, [JANUARY, policy])
    for month in (2, 3):
        report = maintain(engine, Job(now=datetime(2026, month, 15, tzinfo=UTC)))
        assert not report.undone
    with engine.connect() as connection:
        assert told(connection) == ["detach events_y2026_m01"]
        marked = [relation for relation, name, *_ in triggers(connection) if name == 'mar"ked']
        assert marked == ["events", "events_y2026_m02", "events_y2026_m03"]


def test_a_partition_that_stays_after_all_is_told_of_as_attached(engine: Engine) -> None:
    with engine.connect() as connection:
        table(connection)
        laws.apply(connection, [JANUARY, SetPartitionPolicy("events", "month", ahead=0)])
        run_sql(connection, f"COMMENT ON TABLE events_y2026_m01 IS '{retired(oid=1)}'")
    maintain(engine, Job(now=datetime(2026, 1, 15, tzinfo=UTC)))
    with engine.connect() as connection:
        assert told(connection) == ["attach events_y2026_m01"]


def test_what_a_killed_run_detached_loses_them(engine: Engine) -> None:
    with engine.connect() as connection:
        table(connection)
        policy = SetPartitionPolicy("events", "month", ahead=0, retain=1)
        laws.apply(connection, [JANUARY, policy])
        oid = connection.exec_driver_sql("SELECT 'events'::regclass::oid").scalar_one()
        run_sql(
            connection,
            f"COMMENT ON TABLE events_y2026_m01 IS '{retired(oid)}'",
            "ALTER TABLE events DETACH PARTITION events_y2026_m01",
        )
    maintain(engine, Job(now=datetime(2026, 6, 15, tzinfo=UTC)))
    with engine.connect() as connection:
        assert "events_y2026_m01" not in {relation for relation, *_ in triggers(connection)}
        assert told(connection) == []
