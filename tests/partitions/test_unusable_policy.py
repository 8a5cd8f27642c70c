"""A policy that this release cannot use, or that is broken by hand, stops its own table only."""

from collections.abc import Callable
from importlib.resources import files
from json import loads
from typing import Any

import jsonschema
import pytest
from alembic.util import CommandError
from autogenerate import events, generate, run_sql, upgrade
from scheduled import NOW, names, of, only, run, table
from sqlalchemy import Connection, Engine, MetaData

from alembic_enterprise.cli import partitions_list_text
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import report as reports
from alembic_enterprise.partitions import status
from alembic_enterprise.partitions.advise import advise, exit_code
from alembic_enterprise.partitions.inspection import inspect
from alembic_enterprise.partitions.live import select
from alembic_enterprise.registry import TABLE

BROKEN = {
    "[]": "is not a JSON object: set it again with op.set_partition_policy",
    '{"kind": "range"}': "cannot be used: ",
    '{"kind": "range", "every": "hour"}': "cannot be used: ",
    '{"kind": "range", "every": "day", "timezone": "Nowhere/Land"}': "cannot be used: timezone=",
    '{"kind": "range", "every": "day", "ahead": "many"}': "cannot be used: ",
    '{"kind": "range", "every": "year", "retain": 3000}': "cannot be used: retain=3000 is more",
}
"""What stands in the registry -> how it is told."""


def broken(connection: Connection, policy: str = "[]") -> None:
    """A table with a policy, and one whose policy cannot be used."""
    table(connection, "whole", "2026-11-01", "2026-12-01")
    table(connection, "broken", "2026-11-01", "2026-12-01")
    run_sql(
        connection,
        f"UPDATE alembic_enterprise_policy SET policy = '{policy}'"
        " WHERE relation = 'broken'::regclass",
    )


def valid(document: dict[str, Any], schema: str) -> None:
    text = files("alembic_enterprise").joinpath(f"schemas/{schema}.schema.json").read_text()
    checked: Any = jsonschema.Draft202012Validator(loads(text))
    checked.validate(document)


@pytest.mark.parametrize("policy", BROKEN)
def test_a_run_does_the_other_tables(connection: Connection, engine: Engine, policy: str) -> None:
    broken(connection, policy)
    report = run(engine)
    assert [kind for kind, _ in of(report, "whole").done] == ["create", "analyze"]
    assert names(connection, "broken") == ["y2026_m11"]
    assert report.exit_code(0) == 2
    (told,) = report.problems
    start = f"public.broken: its policy in alembic_enterprise_policy {BROKEN[policy]}"
    assert told.startswith(start)
    document = reports.document(report, 0)
    valid(document, "partitions-maintain")
    assert document["problems"] == [told]


def test_a_run_tells_of_the_tables_that_were_named(connection: Connection, engine: Engine) -> None:
    broken(connection)
    report = run(engine, only=frozenset(["whole"]))
    assert (only(report).name.name, report.problems, report.exit_code(0)) == ("whole", [], 0)
    report = run(engine, only=frozenset(["public.broken"]))
    assert (report.tables, len(report.problems)) == ([], 1)
    with pytest.raises(ConfigurationError, match="no table with a policy is called other"):
        run(engine, only=frozenset(["other"]))


def test_a_check_finds_it(connection: Connection) -> None:
    broken(connection)
    found = [item for one in inspect(connection, ["broken"], NOW) for item in advise(one)]
    assert [(item.rule, item.table) for item in found] == [("policy-unusable", "public.broken")]
    assert found[0].message.startswith("its policy in alembic_enterprise_policy is not a JSON")
    assert exit_code(found) == 2
    assert len(inspect(connection)) == 2


def test_a_list_tells_it(connection: Connection) -> None:
    broken(connection)
    selection = select(connection)
    assert "policy      its policy in alembic_enterprise_policy is not a JSON object" in (
        partitions_list_text.text(selection, each=False)
    )
    document = status.document(selection.statuses, selection.now)
    valid(document, "partitions-list")
    told = {item["name"]: item for item in document["tables"]}
    assert told["whole"]["policy_error"] is None
    assert told["broken"]["policy"] is None
    assert "is not a JSON object" in told["broken"]["policy_error"]


def test_autogenerate_refuses_to_compare_it(connection: Connection) -> None:
    """It would take the policy away, or set one over that of a newer release."""
    broken(connection)
    with pytest.raises(CommandError, match=r"^public\.broken: its policy in"):
        generate(connection, MetaData())


# --- A table that was given to somebody else


@pytest.fixture
def disowned(connection: Connection, new_role: Callable[..., str]) -> str:
    """Tables whose registry belongs to a role, one of which now belongs to another; what is so."""
    app, billing = new_role(), new_role()
    for name in ("whole", "given"):
        table(connection, name, "2026-11-01", "2026-12-01")
    run_sql(
        connection,
        f"ALTER TABLE whole OWNER TO {app}",
        f"ALTER TABLE {TABLE} OWNER TO {app}",
        f"ALTER TABLE given OWNER TO {billing}",
    )
    return (
        f"its policy does not count: {TABLE} belongs to {app}, who lacks the rights of {billing}, "
        "the owner of the table. Give it to a role with the rights of its tables' owners; if it "
        "is a stranger's, drop it"
    )


def test_a_policy_that_stopped_to_count_is_told(
    connection: Connection, engine: Engine, disowned: str
) -> None:
    report = run(engine)
    assert (report.problems, report.exit_code(0)) == ([f"public.given: {disowned}"], 2)
    assert only(report).name.name == "whole"
    assert names(connection, "given") == ["y2026_m11"]
    found = [item for one in inspect(connection, now=NOW) for item in advise(one)]
    assert ("policy-unusable", "public.given", disowned) in [
        (item.rule, item.table, item.message) for item in found
    ]
    told = {known.table.name.name: known.table.unusable for known in select(connection).statuses}
    assert told == {"whole": None, "given": disowned}


def test_a_policy_counts_again(connection: Connection, engine: Engine, disowned: str) -> None:
    assert disowned
    run_sql(connection, f"ALTER TABLE {TABLE} OWNER TO CURRENT_USER")
    assert (run(engine).problems, names(connection, "given")) == ([], ["y2026_m11", "y2026_m12"])


def test_what_never_was_a_policy_for_time_is_not_told(
    connection: Connection, engine: Engine, disowned: str
) -> None:
    run_sql(
        connection,
        f"""UPDATE {TABLE} SET policy = '{{"kind": "audit"}}' WHERE relation = 'given'::regclass""",
    )
    assert disowned not in " ".join(run(engine).problems)


def test_nor_is_a_row_in_the_schema_of_somebody_else(
    connection: Connection, engine: Engine, disowned: str
) -> None:
    """Anybody may write down a policy for the table of another."""
    run_sql(connection, "CREATE SCHEMA theirs", f"ALTER TABLE {TABLE} SET SCHEMA theirs")
    assert disowned
    assert run(engine).problems == []


@pytest.mark.parametrize("models", ["declare it", "drop it"])
def test_one_that_may_not_be_read_is_not_taken_for_none(
    connection: Connection, role: str, models: str
) -> None:
    """A script would set it anew for ever, or drop the table without a look at its rows."""
    metadata, wanted = MetaData(), MetaData()
    events(metadata)
    events(wanted if models == "declare it" else MetaData())
    upgrade(connection, metadata)
    run_sql(connection, f"SET ROLE {role}")
    with pytest.raises(CommandError, match=rf"^public\.events: its policy .* may not read {TABLE}"):
        generate(connection, wanted)
    run_sql(connection, "RESET ROLE", f"GRANT SELECT ON {TABLE} TO {role}", f"SET ROLE {role}")
    guarded = ["drop_partition_policy", "drop_range_partitions", "drop_table"]
    assert generate(connection, wanted).calls == ([] if models == "declare it" else guarded)


def test_what_has_none_is_dropped_beside_one_that_may_not_be_read(
    connection: Connection, role: str
) -> None:
    metadata = MetaData()
    events(metadata)
    upgrade(connection, metadata)
    run_sql(
        connection,
        "CREATE TABLE plain (id int)",
        "CREATE TABLE hashed (id int) PARTITION BY HASH (id)",
        f"SET ROLE {role}",
    )

    def others(name: str | None, kind: str, _parents: Any) -> bool:
        return (kind, name) != ("table", "events")

    assert generate(connection, MetaData(), include_name=others).calls == ["drop_table"] * 2
