"""Each check alone, from facts made up; `tests/cli/test_doctor.py` has real ones."""

from dataclasses import replace

import pytest

from alembic_enterprise.doctor.checks import Row, document, examine
from alembic_enterprise.doctor.facts import Environment, Facts, Privileges, shared

ENVIRONMENT = Environment(
    plugin_imported=True,
    autogenerate_plugins=("alembic.autogenerate.*", "alembic_enterprise.*"),
    has_metadata=True,
    transaction_per_migration=True,
    in_transaction=False,
    unseen_schemas=(),
)
FACTS = Facts(
    database="shop",
    python="3.11.0",
    alembic="1.18.0",
    sqlalchemy="2.0.0",
    psycopg="3.2.1",
    server_version=140000,
    lock_timeout="5s",
    privileges=Privileges("app"),
    pooled=False,
    environment=ENVIRONMENT,
)


def remarks(facts: Facts) -> list[Row]:
    return [row for row in examine(facts) if row.state != "ok"]


def test_the_oldest_supported_versions_pass() -> None:
    assert remarks(FACTS) == []
    assert all(row.fix is None for row in examine(FACTS))


def test_a_development_version_passes() -> None:
    assert remarks(replace(FACTS, python="3.14.0b1", alembic="1.21.0.dev3")) == []


@pytest.mark.parametrize(
    ("change", "check", "fix"),
    [
        ({"python": "3.10.14"}, "python", "install Python 3.11 or newer"),
        ({"alembic": "1.9.4"}, "alembic", 'pip install "alembic>=1.18"'),
        ({"sqlalchemy": "1.4.54"}, "sqlalchemy", 'pip install "sqlalchemy>=2.0"'),
        ({"psycopg": "3.1.20"}, "psycopg", 'pip install "psycopg>=3.2"'),
        ({"server_version": 130016}, "server", "upgrade the server to 14 or newer"),
    ],
)
def test_an_old_version_is_missing(change: dict[str, str], check: str, fix: str) -> None:
    [row] = remarks(replace(FACTS, **change))  # type: ignore[arg-type]  # one field of any type
    assert (row.check, row.state, row.fix) == (check, "missing", fix)


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
    privileges = Privileges("a pp", (), ('we"ird',), {"public.events": "Owner"})
    schemas, owners = remarks(replace(FACTS, privileges=privileges))
    assert schemas.fix == 'GRANT CREATE ON SCHEMA "we""ird" TO "a pp"'
    assert owners.message == "role a pp does not own public.events (owner Owner)"
    assert owners.fix == 'connect as the owner, or GRANT "Owner" TO "a pp"'


def test_what_could_not_be_seen_is_not_called_right() -> None:
    environment = replace(ENVIRONMENT, in_transaction=None)
    facts = replace(FACTS, environment=environment, pooled=None)
    assert [row.state for row in remarks(facts)] == ["unknown", "unknown"]
    assert [row.check for row in remarks(replace(FACTS, environment=None))] == ["environment"]


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([(1, 2), (1, 2)], False),
        ([(1, 1), (1, 1)], True),  # a pool of one
        ([(1, 2), (3, 2)], True),
        ([(1, 2), (1, 3)], True),
        ([(1, 2), (2, 1)], True),
    ],
)
def test_sessions_have_a_process_of_their_own_or_share_them(
    rounds: list[tuple[int, int]], expected: bool
) -> None:
    assert shared(rounds) is expected


def test_the_document_has_a_version() -> None:
    written = document([Row("python", "ok", "Python 3.12.1")])
    row = {"check": "python", "state": "ok", "message": "Python 3.12.1", "fix": None}
    assert written == {"format_version": 1, "checks": [row]}
