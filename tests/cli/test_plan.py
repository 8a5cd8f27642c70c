"""`plan`: each fault lands in its section, and what is written says the same."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console import Outcome
from psycopg.sql import SQL, Identifier
from reviewed import CUSTOMERS, EVENTS, FIRST, UNDONE, Project
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.model import IN_ORDER

OLD = """
Table("old", target_metadata, Column("id", BigInteger, primary_key=True), Index("i", "id"))
"""
SECTIONS = (
    "drift",
    "model_changes",
    "enterprise_changes",
    "pending",
    "steps",
)


def planned(run: Callable[..., Outcome], *options: str) -> dict[str, Any]:
    """The plan as JSON, with the exit code that it says."""
    ended = run("plan", "--format", "json", *options)
    assert ended.error == ""
    plan: dict[str, Any] = json.loads(ended.output)
    assert ended.code == plan["exit_code"]
    return plan


def told(plan: dict[str, Any]) -> set[str]:
    """The sections that have something to say."""
    return {name for name in SECTIONS if plan[name]}


def test_each_fault_lands_in_its_section(
    run: Callable[..., Outcome], shop: Project, connection: Connection
) -> None:
    sql.execute(connection, SQL("GRANT SELECT ON customers TO PUBLIC"))
    connection.commit()
    shop.revision("b2", "a1", 'op.create_index("i", "customers", ["email"])', "op.drop_index('i')")
    customers = CUSTOMERS.replace("=False)", "=False), Column('name', Text), Index('i', 'email')")
    shop.models(customers, EVENTS.replace("ahead=2", "ahead=4"))
    plan = planned(run)
    [drift] = plan["drift"]
    assert (drift["kind"], drift["change"]) == ("grant", "added")
    [column] = plan["model_changes"]
    assert column.startswith("op.add_column('customers', sa.Column('name'")
    assert {item["rule"] for item in plan["enterprise_changes"]} == {
        "partitions-missing",
        "policy-differs",
    }
    [pending] = plan["pending"]
    assert pending["revision"] == "b2"
    index, added, *more = plan["steps"]
    assert (index["revision"], index["effects"][0]["blocks"]) == ("b2", ["writes", "DDL"])
    assert added["statement"] == "ALTER TABLE customers ADD COLUMN name TEXT"
    assert (added["revision"], added["basis"]) == (None, "measured")
    assert added["effects"][0]["modes"] == ["ACCESS EXCLUSIVE"]
    assert {step["operation"].split("(")[0] for step in more} == {
        "create_range_partitions",
        "set_partition_policy",
    }
    assert [item["outcome"] for item in plan["proof"]] == ["passed"] * 4


def test_drift_alone_is_nothing_to_run(
    run: Callable[..., Outcome], shop: Project, connection: Connection
) -> None:
    sql.execute(connection, SQL("GRANT SELECT ON customers TO PUBLIC"))
    connection.commit()
    plan = planned(run)
    assert told(plan) == {"drift"}
    assert plan["exit_code"] == 2
    shop.models(CUSTOMERS, EVENTS, CUSTOMERS.replace("customers", "others"))
    assert told(planned(run, "--no-prove")) == {"drift", "model_changes", "steps"}


def test_written_it_is_pending_and_plans_the_same(
    run: Callable[..., Outcome], shop: Project, here: Path
) -> None:
    shop.models(CUSTOMERS, EVENTS, CUSTOMERS.replace("customers", "others"))
    written = ("--write", "-m", "add others", "--sql", "--no-prove", "--format", "json")
    ended = run("plan", *written)
    assert re.findall("Written: .*", ended.error)
    first = json.loads(ended.output)
    [script] = (here / "versions").glob("*add_others.py")
    assert "create_table('others'" in script.read_text()
    assert "CREATE TABLE others" in script.with_suffix(".sql").read_text()
    second = planned(run, "--no-prove")
    assert [item["message"] for item in second["pending"]] == ["add others"]
    assert second["model_changes"] == []
    assert [step["statement"] for step in second["steps"]] == [
        step["statement"] for step in first["steps"]
    ]


@pytest.mark.usefixtures("shop")
def test_one_run_gives_several_forms(run: Callable[..., Outcome], here: Path) -> None:
    forms = ("json", "markdown", "sarif", "github", "html")
    files = [word for form in forms for word in ("--format", f"{form}=plan.{form}")]
    ended = run("plan", "--format", "text", *files)
    assert ended.output.strip().endswith(IN_ORDER)
    written = {form: (here / f"plan.{form}").read_text() for form in forms}
    assert json.loads(written["json"])["exit_code"] == ended.code
    assert json.loads(written["sarif"])["version"] == "2.1.0"
    assert written["markdown"].startswith("#")
    assert written["html"].startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("shop")
def test_a_database_in_order(run: Callable[..., Outcome], in_terminal: Callable[..., str]) -> None:
    """And what is being done is gone in the end, also where no ANSI codes may be sent.

    What is left of a line is what was written last.
    """
    ended = run("plan")
    assert ended.output.strip().splitlines()[-1] == IN_ORDER
    assert (ended.code, ended.error) == (0, "")
    written = in_terminal(["plan"], CI="", NO_COLOR="1")
    assert " s  " in written
    assert "\x1b" not in written
    first, *_ = written.split("\r\n")
    assert seen(first) == ended.output.splitlines()[0]


def seen(line: str) -> str:
    """What a terminal shows of a line whose parts are written one over the other."""
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown.rstrip()


def test_what_the_policy_blocks_ends_with_3_unless_told_otherwise(
    run: Callable[..., Outcome], shop: Project, here: Path
) -> None:
    (here / "pyproject.toml").write_text(
        '[tool.alembic-enterprise]\nprotected-tables = ["customers"]', encoding="utf-8"
    )
    shop.revision("b2", "a1", 'op.drop_column("customers", "email")')
    ended = run("plan", "--no-prove")
    assert ended.code == 3
    assert "protected-table" in ended.output
    assert run("plan", "--no-prove", "--exit-zero").code == 0


def test_without_a_shadow_it_says_what_is_not_known(
    run: Callable[..., Outcome], shop: Project, connection: Connection
) -> None:
    sql.execute(connection, SQL("INSERT INTO customers (id, email) VALUES (1, 'a@example.com')"))
    connection.commit()
    shop.revision("b2", "a1", 'op.drop_column("customers", "email")', "raise NotImplementedError")
    plan = planned(run, "--no-shadow")
    assert plan["shadow"] is None
    assert plan["proof"] == []
    [step] = plan["steps"]
    assert step["basis"] == "unknown"
    assert any("drift" in sentence for sentence in plan["coverage"])
    assert {item["rule"] for item in plan["findings"]} >= {"data-lost"}
    assert "Nothing that is known blocks it." in run("plan", "--no-shadow", "--no-prove").output


def test_what_the_release_mends_is_no_finding(run: Callable[..., Outcome], shop: Project) -> None:
    shop.models(CUSTOMERS.replace("=False)", "=False), AuditTrail()"), EVENTS)
    ended = run("plan", "--no-prove", "--write", "-m", "who changed customers", "--exit-zero")
    assert ended.code == 0, ended.error
    plan = planned(run)
    assert [item["message"] for item in plan["pending"]] == ["who changed customers"]
    assert "trail-missing" not in {item["rule"] for item in plan["findings"]}
    assert plan["exit_code"] == 2


def test_revisions_that_do_not_run_from_nothing_leave_drift_unknown(
    run: Callable[..., Outcome], shop: Project, connection: Connection
) -> None:
    sql.execute(connection, SQL("CREATE TABLE old (id bigint PRIMARY KEY)"))
    connection.commit()
    shop.revision("b2", "a1", 'op.create_index("i", "old", ["id"])')
    shop.models(CUSTOMERS, EVENTS, OLD)
    shop.upgrade()
    plan = planned(run)
    assert told(plan) == set()
    [sentence] = [item for item in plan["coverage"] if item.startswith("drift is not known")]
    assert 'revision b2 cannot be run on the shadow: relation "old" does not exist' in sentence


SEARCHES = """context.execute(text('SET search_path TO "{0}"'))
        context.get_context().dialect.default_schema_name = "{0}"
        context.execute(statement)"""
MADE = (
    "the revisions run from nothing only where these schemas are there: {}. Their owners and "
    "rights are not compared: let env.py or the first revision CREATE SCHEMA IF NOT EXISTS"
)
UNKNOWN = (
    "drift is not known, since the revisions do not run from nothing: no schema has been selected "
    "to create in; nor do they where these schemas are there, app, more: revision a1 cannot be run "
    'on the shadow: schema "more" already exists. Run `alembic upgrade a1` on an empty database to '
    "see more"
)


@pytest.mark.parametrize(
    ("schema", "first", "told"),
    [
        ("Our App", FIRST, MADE.format('"Our App"')),
        ("app", f"op.execute('CREATE SCHEMA more'){FIRST}", UNKNOWN),
    ],
)
def test_a_schema_that_no_revision_makes(
    run: Callable[..., Outcome],
    here: Path,
    database_url: str,
    connection: Connection,
    schema: str,
    first: str,
    told: str,
) -> None:
    """Somebody has made it before, and env.py relies on it."""
    for statement in ("CREATE SCHEMA {}", "GRANT USAGE ON SCHEMA {} TO PUBLIC"):
        sql.execute(connection, SQL(statement).format(Identifier(schema)))
    connection.commit()
    shop = Project(here, database_url)
    shop.models(CUSTOMERS.replace("=False)", "=False), Index('i', 'email')"), EVENTS)
    env = shop.folder / "env.py"
    env.write_text(env.read_text().replace("context.execute(statement)", SEARCHES.format(schema)))
    shop.revision("a1", None, first, UNDONE)
    shop.upgrade()
    shop.revision("b2", "a1", 'op.create_index("i", "customers", ["email"])', "op.drop_index('i')")
    plan = planned(run)
    assert plan["coverage"] == [told]
    assert (plan["drift"], plan["model_changes"], len(plan["pending"])) == ([], [], 1)
    [index] = plan["steps"]
    assert index["statement"] == "CREATE INDEX i ON customers (email)"
    assert [item["outcome"] for item in plan["proof"]] == ["passed"] * 4


SHARDED = """
from alembic_enterprise import HashShards
Table("keys", target_metadata, Column("id", BigInteger, primary_key=True),
      HashShards("id", count=4))
"""
IN_SHARDS = """op.create_table("keys", sa.Column("id", sa.BigInteger(), primary_key=True),
                postgresql_partition_by="HASH (id)")
op.create_hash_shards("keys", count=4)"""


def test_a_shard_that_is_made_again_stays_in_a_downgrade(
    run: Callable[..., Outcome], here: Path, database_url: str, connection: Connection
) -> None:
    """Another database may have had it all along, with rows; that is no downgrade that fails."""
    project = Project(here, database_url)
    project.models(SHARDED)
    project.revision("a1", None, IN_SHARDS, "op.drop_table('keys')")
    project.upgrade()
    sql.execute(connection, SQL("DROP TABLE keys_shard_1"))
    connection.commit()
    plan = planned(run)
    assert [item["rule"] for item in plan["enterprise_changes"]] == ["shards-missing"]
    assert [item["outcome"] for item in plan["proof"]] == ["passed"] * 4


HOOKS = """
[post_write_hooks]
hooks = told
told.type = exec
told.executable = echo
told.options = formatted REVISION_SCRIPT_FILENAME
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--format", "json", "--no-prove", "--write", "-m", "add others"),
        ("indexes", "advise", "--format", "json", "--write", "-m", "add others"),
    ],
)
def test_hooks_print_nothing_into_the_plan(
    shop: Project,
    program: Callable[..., Outcome],
    connection: Connection,
    arguments: tuple[str, ...],
) -> None:
    """Programs inherit the standard output, as those do that format a new script."""
    sql.execute(connection, SQL("CREATE TABLE lines (customer bigint REFERENCES customers)"))
    connection.commit()
    ini = shop.folder / "alembic.ini"
    ini.write_text(ini.read_text() + HOOKS)
    ended = program(*arguments)
    json.loads(ended.output)
    assert "post write hook" not in ended.error
    assert re.fullmatch(r"formatted .*_add_others\.py", ended.error.splitlines()[0])


def test_one_transaction_for_all_revisions(run: Callable[..., Outcome], shop: Project) -> None:
    """Where env.py wants it so, a proposal runs in the transaction of what is pending."""
    shop.revision(
        "b2",
        "a1",
        'op.create_table("others", sa.Column("id", sa.BigInteger(), primary_key=True))\n'
        'op.create_index("i", "customers", ["email"])',
        'op.drop_index("i")\nop.drop_table("others")',
    )
    customers = CUSTOMERS.replace("=False)", "=False), Column('name', Text), Index('i', 'email')")
    others = """
Table("others", target_metadata, Column("id", BigInteger, primary_key=True), Column("b", Text))
"""
    shop.models(customers, EVENTS, others)
    env = shop.folder / "env.py"
    each = '"transaction_per_migration": True'
    env.write_text(env.read_text().replace(each, each.replace("True", "False")))
    steps = planned(run, "--no-prove")["steps"]
    assert [step["revision"] for step in steps] == ["b2", "b2", None, None]
    assert [step["transaction"] for step in steps] == [1] * 4
    locked = {
        step["statement"]: {item["table"]: item["held_since"] for item in step["effects"]}
        for step in steps[2:]
    }
    # What the transaction has made nobody else sees.
    assert locked == {
        "ALTER TABLE customers ADD COLUMN name TEXT": {"public.customers": None},
        "ALTER TABLE others ADD COLUMN b TEXT": {"public.customers": 3},
    }
    shop.revision("c3", "b2", 'op.execute("ALTER TABLE others ADD b text")')
    unmeasured = planned(run, "--no-shadow")["steps"]
    assert [(step["revision"], step["transaction"]) for step in unmeasured] == [
        ("b2", 1),
        ("b2", 1),
        ("c3", 1),
    ]
