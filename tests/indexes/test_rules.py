"""The rules on labelled cases: the bad are told, the good are not, and the mended are silent."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import labelled
import laws
import pytest
from autogenerate import run_sql
from labelled import Case
from sqlalchemy import Engine, NullPool, create_engine

from alembic_enterprise.indexes import catalog
from alembic_enterprise.indexes.advise import advise
from alembic_enterprise.indexes.operations import CreateIndexOnline, DropIndexOnline
from alembic_enterprise.indexes.relations import Catalog
from alembic_enterprise.indexes.rules import RULES
from alembic_enterprise.operation import Operation

CASES = labelled.read()
LEAST = 8
"""Cases of a rule."""


@pytest.fixture(scope="module")
def engine(shared_database: Callable[..., str]) -> Iterator[Engine]:
    """An engine on a database with all cases."""
    url = shared_database()
    labelled.load(url, CASES)
    engine = create_engine(url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def known(engine: Engine) -> Catalog:
    """The database as it was before anything was mended."""
    with engine.connect() as connection:
        return catalog.read(connection)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_cases_are_told_and_good_ones_are_not(known: Catalog, case: Case) -> None:
    assert [item.table for item in labelled.found(case, known)] == sorted(case.expected)


@pytest.mark.parametrize("rule", RULES)
def test_what_is_mended_is_not_told_again(known: Catalog, engine: Engine, rule: str) -> None:
    mended: list[Case] = []
    for case in (case for case in CASES if case.rule == rule and case.bad):
        findings = labelled.found(case, known)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET search_path = {case.schema}")
            connection.commit()
            for finding in findings:
                laws.apply(connection, finding.operations)
        mended += [case for finding in findings if finding.operations]
    with engine.connect() as connection:
        again = catalog.read(connection)
    assert [item for case in mended for item in labelled.found(case, again)] == []


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_its_cases(rule: str) -> None:
    cases = [case for case in CASES if case.rule == rule]
    assert len(cases) >= LEAST
    assert {case.bad for case in cases} == {True, False}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_explains_itself_within_80_columns(rule: str) -> None:
    text = inspect.getdoc(RULES[rule])
    assert text is not None
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "Leave it" in text
    assert "Costs" in text


def test_no_index_is_to_be_a_key_that_is_to_be_dropped(
    shared_database: Callable[..., str],
) -> None:
    """Of two that are equal, redundant-index keeps the one, which is what the key is made of."""
    engine = create_engine(shared_database(), poolclass=NullPool)
    with engine.connect() as connection:
        run_sql(
            connection,
            "CREATE TABLE orders (number int NOT NULL)",
            "CREATE UNIQUE INDEX by_number ON orders (number)",
            "CREATE UNIQUE INDEX by_number_too ON orders (number)",
            "ALTER TABLE orders REPLICA IDENTITY USING INDEX by_number_too",
        )
        found = {item.rule: item for item in advise(catalog.read(connection))}
    engine.dispose()
    assert found["redundant-index"].evidence["index"] == "public.by_number"
    assert "by_number_too could be it, at once" in found["missing-primary-key"].message


KEYED = (
    "CREATE TABLE customers (id bigint PRIMARY KEY)",
    "INSERT INTO customers VALUES (1)",
    "CREATE TABLE orders (id bigint, customer_id bigint, a int, b text) PARTITION BY RANGE (id)",
    "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (5000)",
    "INSERT INTO orders SELECT n, 1, n, repeat('b', 90) || n FROM generate_series(1, 2000) AS n",
)


@pytest.mark.parametrize(
    ("statements", "dropped", "left"),
    [
        (
            [
                "CREATE INDEX larger ON orders (customer_id, b)",
                "CREATE INDEX smaller ON orders (customer_id, a)",
                "ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers",
            ],
            "larger",
            "smaller",
        ),
        (
            [
                "CREATE INDEX of_all ON orders (customer_id)",
                "CREATE INDEX of_one ON orders_1 (customer_id, a)",
                "ALTER TABLE orders_1 ADD FOREIGN KEY (customer_id) REFERENCES customers",
            ],
            "of_one",
            "of_all",
        ),
    ],
)
def test_of_unused_indexes_one_is_left_for_a_foreign_key(
    shared_database: Callable[..., str], statements: list[str], dropped: str, left: str
) -> None:
    engine = create_engine(shared_database(), poolclass=NullPool)
    with engine.connect() as connection:
        run_sql(connection, *KEYED, *statements, "ANALYZE")
        known = catalog.read(connection)
        found = advise(replace(known, now=known.now + timedelta(days=30)))
        connection.rollback()
        unused = {item.evidence["index"]: item for item in found if item.rule == "unused-index"}
        assert {name for name, item in unused.items() if item.operations} == {f"public.{dropped}"}
        assert "no other one is left for the foreign key" in unused[f"public.{left}"].message
        laws.apply(connection, unused[f"public.{dropped}"].operations)
        again = advise(catalog.read(connection), rules=["foreign-key-without-index"])
    engine.dispose()
    assert again == []


def test_every_case_is_of_a_rule() -> None:
    assert {case.rule for case in CASES} == {*RULES}


def test_no_rule_drops_what_another_creates(shared_database: Callable[..., str]) -> None:
    """All that is advised on all cases together is done, until nothing is left to be done."""
    url = shared_database()
    labelled.load(url, CASES)
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        known = catalog.read(connection)
        known = replace(known, now=known.now + timedelta(days=30))
        rounds: list[list[Operation]] = []
        while operations := [item for found in advise(known) for item in found.operations]:
            connection.commit()
            laws.apply(connection, operations)
            rounds.append(operations)
            # A new index is as old as the statistics at most, which are young from here on.
            known = catalog.read(connection)
    engine.dispose()
    every = [item for operations in rounds for item in operations]
    created = {(item.schema, item.name) for item in every if isinstance(item, CreateIndexOnline)}
    dropped = {(item.schema, item.name) for item in every if isinstance(item, DropIndexOnline)}
    assert len(rounds) <= 3
    assert created & dropped == set()
