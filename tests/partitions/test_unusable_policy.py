"""A policy that this release cannot use, or that is broken by hand, stops its own table only."""

from importlib.resources import files
from json import loads
from typing import Any

import jsonschema
import pytest
from alembic.util import CommandError
from autogenerate import generate, run_sql
from scheduled import NOW, names, of, only, run, table
from sqlalchemy import Connection, Engine, MetaData

from alembic_enterprise.cli import listing
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.partitions import report as reports
from alembic_enterprise.partitions import status
from alembic_enterprise.partitions.advise import advise, exit_code
from alembic_enterprise.partitions.inspection import inspect
from alembic_enterprise.partitions.live import select

BROKEN = {
    "[]": "is not a JSON object: set it again with op.set_partition_policy",
    '{"kind": "range"}': "cannot be used: ",
    '{"kind": "range", "every": "hour"}': "cannot be used: ",
    '{"kind": "range", "every": "day", "timezone": "Nowhere/Land"}': "cannot be used: timezone=",
    '{"kind": "range", "every": "day", "ahead": "many"}': "cannot be used: ",
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
        listing.text(selection, each=False)
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
