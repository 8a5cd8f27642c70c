"""Each check alone, from facts made up; `tests/cli/test_doctor.py` has real ones."""

from dataclasses import replace

import pytest

from alembic_enterprise.doctor.checks import Row, document, examine, examine_unconnected
from alembic_enterprise.doctor.facts import (
    Environment,
    Facts,
    Offline,
    Privileges,
    Project,
    Versions,
)

VERSIONS = Versions(python="3.11.0", alembic="1.18.0", sqlalchemy="2.0.0", psycopg="3.2.1")
OFFLINE = Offline(lock_timeout=True, transaction_per_migration=True)
PROJECT = Project(plugin_imported=True, offline=OFFLINE)
ENVIRONMENT = Environment(
    autogenerate_plugins=("alembic.autogenerate.*", "alembic_enterprise.*"),
    has_metadata=True,
    transaction_per_migration=True,
    in_transaction=False,
    unseen_schemas=(),
)
FACTS = Facts(
    database="shop",
    versions=VERSIONS,
    server_version=140000,
    lock_timeout="5s",
    default_timeout=False,
    read_only=False,
    isolation="read committed",
    pretended="",
    privileges=Privileges("app"),
    pooled=False,
    project=PROJECT,
    environment=ENVIRONMENT,
)


def remarks(facts: Facts) -> list[Row]:
    return [row for row in examine(facts) if row.state != "ok"]


def test_the_oldest_supported_versions_pass() -> None:
    assert remarks(FACTS) == []
    assert all(row.fix is None for row in examine(FACTS))


def test_a_development_version_passes() -> None:
    versions = replace(VERSIONS, python="3.14.0b1", alembic="1.21.0.dev3")
    assert remarks(replace(FACTS, versions=versions)) == []


@pytest.mark.parametrize(
    ("change", "check", "fix"),
    [
        ({"python": "3.10.14"}, "python", "install Python 3.11 or newer"),
        ({"alembic": "1.9.4"}, "alembic", 'pip install "alembic>=1.18"'),
        ({"sqlalchemy": "1.4.54"}, "sqlalchemy", 'pip install "sqlalchemy>=2.0"'),
        ({"psycopg": "3.1.20"}, "psycopg", 'pip install "psycopg>=3.2"'),
    ],
)
def test_an_old_version_is_missing(change: dict[str, str], check: str, fix: str) -> None:
    [row] = remarks(replace(FACTS, versions=replace(VERSIONS, **change)))
    assert (row.check, row.state, row.fix) == (check, "missing", fix)


def test_an_old_server_is_missing() -> None:
    [row] = remarks(replace(FACTS, server_version=130016))
    assert (row.check, row.fix) == ("server", "upgrade the server to 14 or newer")


def test_transactions_that_may_not_write_are_told() -> None:
    [row] = remarks(replace(FACTS, read_only=True))
    assert (row.check, row.state) == ("defaults", "missing")
    assert row.message.startswith("default_transaction_read_only is on")


def test_a_clock_that_stands_still_is_told() -> None:
    [row] = remarks(replace(FACTS, pretended="2026-11-21"))
    assert (row.check, row.state) == ("clock", "missing")
    assert row.message.startswith("alembic_enterprise.now is 2026-11-21: ")
    assert row.fix is not None
    assert row.fix.startswith("ALTER DATABASE ... RESET alembic_enterprise.now")


def test_read_uncommitted_is_read_committed() -> None:
    assert remarks(replace(FACTS, isolation="read uncommitted")) == []


def test_transactions_that_see_an_old_snapshot_are_told() -> None:
    [row] = remarks(replace(FACTS, isolation="repeatable read"))
    assert (row.check, row.state) == ("defaults", "missing")
    assert row.message.startswith("transactions are repeatable read: ")


EACH = "transaction_per_migration=True in context.configure()"
SET = "context.execute(\"SET lock_timeout = '5s'\") after context.begin_transaction()"


@pytest.mark.parametrize(
    ("offline", "message", "fix"),
    [
        (Offline(lock_timeout=True, transaction_per_migration=False), "one transaction for", EACH),
        (Offline(lock_timeout=False, transaction_per_migration=True), "no lock_timeout", SET),
        (
            Offline(lock_timeout=False, transaction_per_migration=False),
            "one transaction for all migrations, and no lock_timeout",
            f"{EACH}, and {SET}",
        ),
    ],
)
def test_what_offline_scripts_lack(offline: Offline, message: str, fix: str) -> None:
    [row] = remarks(replace(FACTS, project=replace(PROJECT, offline=offline)))
    assert (row.check, row.state) == ("offline", "missing")
    assert row.message.startswith(f"`alembic upgrade --sql` writes {message}")
    assert row.fix == f"in env.py, where it runs offline, too: {fix}"


def test_without_a_server_the_rest_is_examined() -> None:
    project = Project(plugin_imported=False, offline=Offline(None, transaction_per_migration=True))
    rows = examine_unconnected(VERSIONS, project)
    assert [(row.check, row.state) for row in rows if row.state != "ok"] == [
        ("server", "unknown"),
        ("plugin", "missing"),
    ]


def test_models_in_schemas_that_autogenerate_does_not_read() -> None:
    environment = replace(ENVIRONMENT, unseen_schemas=("billing", "stock"))
    [row] = remarks(replace(FACTS, environment=environment))
    assert (row.check, row.state) == ("include_schemas", "missing")
    assert row.message.startswith("models are in billing, stock, which autogenerate does not read")
    assert row.fix is not None
    assert row.fix.endswith("include_schemas=True")


def test_plugins_listed_one_by_one_pass() -> None:
    listed = ("alembic.autogenerate.tables", "alembic_enterprise.partitions")
    environment = replace(ENVIRONMENT, autogenerate_plugins=listed)
    assert remarks(replace(FACTS, environment=environment)) == []


def test_names_in_a_fix_are_quoted() -> None:
    privileges = Privileges(
        "a pp", closed_schemas=(('we"ird', "a pp"),), foreign_tables={"public.events": "Owner"}
    )
    schemas, owners = remarks(replace(FACTS, privileges=privileges))
    assert schemas.fix == 'GRANT CREATE ON SCHEMA "we""ird" TO "a pp"'
    assert owners.message == "role a pp does not own public.events (owner Owner)"
    assert owners.fix == 'connect as the owner, or GRANT "Owner" TO "a pp"'


def test_a_membership_that_lacks_an_option_is_told_with_it() -> None:
    privileges = Privileges(
        "app", foreign_tables={"public.events": "own"}, unset_owners=frozenset(["own"])
    )
    [owners] = remarks(replace(FACTS, privileges=privileges))
    assert owners.fix == 'connect as the owner, or GRANT "own" TO "app" WITH SET TRUE'


def test_each_right_that_lacks_on_a_policy_is_granted() -> None:
    privileges = Privileges("a pp", unused=('we"ird', "b"), unreadable=('we"ird', "c"))
    [row] = remarks(replace(FACTS, privileges=privileges))
    assert row.message == 'role a pp may not read the partition policies in b, c, we"ird'
    assert row.fix == (
        "connect as the role that owns the tables, or "
        'GRANT USAGE ON SCHEMA "we""ird" TO "a pp"; GRANT USAGE ON SCHEMA "b" TO "a pp"; '
        'GRANT SELECT ON "we""ird".alembic_enterprise_policy TO "a pp"; '
        'GRANT SELECT ON "c".alembic_enterprise_policy TO "a pp"'
    )


def test_who_may_create_in_the_search_path_is_told_with_the_fix() -> None:
    privileges = Privileges("app", others=(("public", None), ('we"ird', "a pp")))
    [row] = remarks(replace(FACTS, privileges=privileges))
    assert (row.check, row.state) == ("search_path", "missing")
    assert row.message == (
        'CREATE is granted on schemas of the search_path to PUBLIC in public, a pp in we"ird: '
        "a function made there can get the rights of role app"
    )
    assert row.fix == (
        'REVOKE CREATE ON SCHEMA "public" FROM PUBLIC; '
        'REVOKE CREATE ON SCHEMA "we""ird" FROM "a pp"'
    )


def test_what_could_not_be_seen_is_not_called_right() -> None:
    environment = replace(ENVIRONMENT, in_transaction=None)
    project = replace(PROJECT, offline=None)
    facts = replace(FACTS, environment=environment, pooled=None, project=project)
    assert [row.state for row in remarks(facts)] == ["unknown"] * 3
    assert [row.check for row in remarks(replace(FACTS, project=None, environment=None))] == [
        "environment"
    ]


def test_the_document_has_a_version() -> None:
    written = document([Row("python", "ok", "Python 3.12.1")])
    row = {"check": "python", "state": "ok", "message": "Python 3.12.1", "fix": None}
    assert written == {"format_version": 1, "checks": [row]}
