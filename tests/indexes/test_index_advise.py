"""The order of findings, what is left out, and what several rules would have done."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import laws
import pytest
from sqlalchemy import Connection

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes import catalog
from alembic_enterprise.indexes.advise import advise, used_elsewhere
from alembic_enterprise.indexes.operations import AnalyzeTable, DropIndexOnline
from alembic_enterprise.indexes.relations import Catalog
from alembic_enterprise.indexes.report import Report
from alembic_enterprise.operation import InOrder


def read(connection: Connection, *statements: str, days: int = 30) -> Catalog:
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    connection.commit()
    known = catalog.read(connection)
    connection.rollback()
    return replace(known, now=known.now + timedelta(days=days))


TWICE = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, state text)",
    "INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 2000) AS n",
    "CREATE INDEX one ON orders (state)",
    "CREATE INDEX two ON orders (state)",
    "ANALYZE orders",
)


def test_the_worst_first_then_the_largest_benefit(connection: Connection) -> None:
    known = read(
        connection,
        "CREATE TABLE customers (id serial PRIMARY KEY)",
        "CREATE TABLE small (id bigint PRIMARY KEY, customer_id int REFERENCES customers)",
        "CREATE TABLE large (id bigint PRIMARY KEY, customer_id int REFERENCES customers)",
        "INSERT INTO large SELECT generate_series(1, 5000)",
        "ANALYZE",
        "SELECT setval('customers_id_seq', 2147483000)",
        "CREATE TABLE keyless (n int)",
        "INSERT INTO keyless VALUES (1)",
    )
    assert [(item.severity, item.table) for item in advise(known)] == [
        ("error", "public.customers"),
        ("note", "public.large"),
        ("note", "public.keyless"),
        ("note", "public.small"),
    ]


def test_small_tables_can_be_left_out(connection: Connection) -> None:
    known = read(connection, *TWICE)
    assert advise(known)
    assert advise(known, minimum=2**30) == []


def test_some_rules_only(connection: Connection) -> None:
    known = read(connection, *TWICE)
    assert {item.rule for item in advise(known, rules=["redundant-index"])} == {"redundant-index"}


def test_an_unknown_rule_is_refused() -> None:
    empty = Catalog(now=datetime.now(UTC), default_schema="public", statistics_since=None)
    with pytest.raises(ConfigurationError, match=r"no rule is called nonsense: .* unused-index"):
        advise(empty, rules=["nonsense"])


def test_what_two_rules_would_have_done_is_told_once(connection: Connection) -> None:
    """The index is unused as well as redundant."""
    [first] = [item for item in advise(read(connection, *TWICE)) if item.operations]
    assert first.rule == "redundant-index"
    [drop] = first.operations
    assert isinstance(drop, DropIndexOnline)
    assert drop.name == "two"


def test_an_unused_index_that_a_replica_uses_is_taken_back(connection: Connection) -> None:
    known = read(connection, *TWICE[:3], "ANALYZE orders")
    found = advise(known)
    assert [item.rule for item in found] == ["unused-index"]
    assert used_elsewhere(found, [known]) == found
    young = replace(known, now=known.now - timedelta(days=30))
    assert used_elsewhere(found, [known, young]) == []


def test_a_finding_says_what_a_dba_asks(connection: Connection) -> None:
    [found] = advise(read(connection, *TWICE[:3], "ANALYZE orders"))
    evidence = dict(found.evidence)
    assert evidence.pop("statistics_since").endswith("+00:00")
    assert evidence.pop("size_bytes") == evidence.pop("benefit") > 0
    assert evidence.pop("table_bytes") > 0
    assert evidence == {
        "rows": 2000,
        "index": "public.one",
        "scans": 0,
        "cost": "waits for the transactions that use the table; nobody waits for it",
        "model": {"remove": 'Index("one", "state")'},
    }
    assert (
        found.message == "nobody has scanned one in 30 days: drop it, unless it is newer than that"
    )


def test_the_document_and_the_exit_code() -> None:
    finding = Finding("unused-index", "note", "public.orders", "drop it")
    assert Report(1, ()).exit_code == 0
    assert Report(1, (finding,), unseen=("nothing",)).document() == {
        "format_version": 1,
        "exit_code": 2,
        "findings": [finding.plain()],
        "unseen": ["nothing"],
        "waived": [],
        "revision": None,
    }


def test_analyze_renders_and_has_nothing_to_reverse(connection: Connection) -> None:
    operation = AnalyzeTable('we"ird', "Mixed Case")
    assert laws.renders(operation) == "op.analyze_table('we\"ird', schema='Mixed Case')"
    reverse = operation.reverse()
    assert isinstance(reverse, InOrder)
    assert reverse.ops == []
    read(connection, 'CREATE SCHEMA "Mixed Case"', 'CREATE TABLE "Mixed Case"."we""ird" (n int)')
    laws.apply(connection, [operation])
    analyzed = "SELECT reltuples FROM pg_class WHERE relname = 'we\"ird'"
    assert connection.exec_driver_sql(analyzed).scalar() == 0


def test_models_know_of_no_partition(connection: Connection) -> None:
    known = read(
        connection,
        "CREATE TABLE orders (id bigint PRIMARY KEY, state text) PARTITION BY RANGE (id)",
        "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (5000)",
        "CREATE INDEX ON orders_1 (state)",
        "CREATE INDEX ON orders_1 (state)",
    )
    [found] = advise(known, rules=["redundant-index"])
    assert found.table == "public.orders_1"
    assert "model" not in found.evidence
