"""What a reviewer reads of a statement, and what its words tell."""

import pytest

from alembic_enterprise.plan.rehearsal.phrases import (
    begins_transaction,
    called,
    ends_transaction,
    goes_back,
    is_query,
    is_silent,
    readable,
    takes_rows,
)

READABLE = [
    ("INSERT INTO t VALUES (1, 'secret')", "INSERT INTO t VALUES (..., ...)"),
    ("INSERT INTO t2 (a) VALUES (1.5), (-2), (f(3))", "INSERT INTO t2 (a) VALUES (...), ..."),
    ("INSERT INTO t VALUES (%(a)s), (%(b)s)", "INSERT INTO t VALUES (%(a)s), ..."),
    ("UPDATE \"t'1\" SET a = E'it\\'s', b = $$x$$", 'UPDATE "t\'1" SET a = ..., b = ...'),
    ("DELETE FROM t WHERE a = 'x' -- it's 1", "DELETE FROM t WHERE a = ..."),
    ("SELECT setval('s', 7)", "SELECT setval(..., ...)"),
    ("CREATE TABLE t AS SELECT 'x' AS a", "CREATE TABLE t AS SELECT ... AS a"),
    ("CREATE TABLE t (a text DEFAULT 'x', CHECK (a <> 'y'))", None),
    ("CREATE TABLE p PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')", None),
    ("CREATE VIEW v AS SELECT * FROM t WHERE a = 'x'", None),
    ("CREATE TYPE mood AS ENUM ('fine')", None),
    ("COMMENT ON TABLE t IS 'told'", None),
    ("CREATE ROLE r PASSWORD 'secret'", "CREATE ROLE r PASSWORD ..."),
    ("ALTER USER MAPPING FOR r SERVER s OPTIONS (SET password 'secret')", "secret"),
    ("CREATE SUBSCRIPTION s CONNECTION 'password=secret' PUBLICATION p", "secret"),
    ("ALTER SYSTEM SET primary_conninfo = 'password=secret'", "secret"),
    ("ALTER DATABASE d SET app.key = 'secret'", "secret"),
    ("ALTER TABLE t ADD a int /* as 'secret' said */", "secret"),
    ("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT $$password=secret$$'", "secret"),
    ("DO $$ BEGIN PERFORM set_config('app.key', 'secret', false); END $$", "secret"),
    ("DO $$ BEGIN /* secret */ CREATE TABLE t (a int); END $$", "secret"),
    ("DO $$ BEGIN INSERT INTO t VALUES ('secret'); END $$", "secret"),
    ("DO 'BEGIN INSERT INTO t VALUES (''secret''); END'", "secret"),
    ("DO $$ BEGIN EXECUTE 'UPDATE t SET a = ''secret'''; END $$", "secret"),
    ("DO $$ BEGIN CREATE TABLE t (a text DEFAULT 'x'); END $$", None),
    ("SET a = 'x'; INSERT INTO t VALUES ('y');", "SET a = ...;\nINSERT INTO t VALUES (...)"),
    ("  ALTER TABLE t ADD a int;\n", "ALTER TABLE t ADD a int"),
]
"""A statement, and how it is shown; as it is, or without a word."""


@pytest.mark.parametrize(("statement", "shown"), READABLE)
def test_values_of_rows_and_passwords_are_not_shown(statement: str, shown: str | None) -> None:
    if shown == "secret":
        assert "secret" not in readable(statement)
        assert readable(statement).startswith(statement[:2])
    else:
        assert readable(statement) == (shown or statement)


@pytest.mark.parametrize(
    ("statement", "takes"),
    [
        ("UPDATE t SET a = 1", True),
        ("DELETE FROM t", True),
        ("WITH gone AS (DELETE FROM t RETURNING a) INSERT INTO u SELECT a FROM gone", True),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1", True),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", False),
        ("DO $$ BEGIN INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1; END $$", True),
        ("DROP SEQUENCE s", True),
        ("ALTER SEQUENCE s RESTART", True),
        ("ALTER SEQUENCE s OWNED BY NONE", False),
        ("DO $$ BEGIN PERFORM setval('s', 1); END $$", True),
        ("ALTER TABLE t ADD restart int", False),
        ("ALTER TABLE t ALTER a RESTART WITH 1", True),
        ("SELECT setval('s', 1)", True),
        ("ALTER TYPE t DROP ATTRIBUTE a", True),
        ("ALTER TYPE t ADD ATTRIBUTE a int", False),
        ("ALTER TABLE t DROP COLUMN a", True),
        ("ALTER TABLE t DROP a", True),
        ("ALTER TABLE t ALTER a TYPE int", True),
        ("ALTER TABLE t ADD b int; ALTER TABLE t DROP COLUMN a", True),
        ("DO $$ BEGIN DELETE FROM t; END $$", True),
        ("DO $$ BEGIN EXECUTE 'UPDATE ONLY t SET a = 1'; END $$", True),
        ("DO $$ BEGIN ALTER TABLE t ADD b int REFERENCES u ON DELETE CASCADE; END $$", False),
        ("INSERT INTO t VALUES ('UPDATE')", False),
        ("ALTER TABLE t DROP CONSTRAINT c, ALTER a DROP NOT NULL, ALTER a DROP DEFAULT", False),
        ('ALTER TABLE t ADD COLUMN "TYPE" text', False),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a <> 'TYPE')", False),
        ("CREATE TABLE t (a int REFERENCES u ON UPDATE SET NULL)", False),
    ],
)
def test_values_that_are_gone_are_told(statement: str, takes: bool) -> None:
    assert takes_rows(statement) is takes


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ('SELECT purge(1), "Count All" ()', "purge, Count All"),
        ("CALL shop.Wipe()", "wipe"),
        ("DO $$ BEGIN PERFORM purge(); EXECUTE 'SELECT more()'; END $$", "purge, more"),
        ("ALTER TABLE t ADD a int DEFAULT f()", ""),
        ("CREATE TRIGGER t AFTER INSERT ON t EXECUTE FUNCTION f()", ""),
    ],
)
def test_what_a_statement_may_call(statement: str, words: str) -> None:
    assert called(statement) == {*words.split(", ")} - {""}


def test_what_is_no_step_is_known_by_its_words() -> None:
    assert is_silent("SET lock_timeout = '5s'")
    assert is_silent("/* a comment */ ")
    assert not is_silent("SET lock_timeout = '5s'; ALTER TABLE t ADD a int")
    assert is_query("(SELECT 1)")
    assert is_query("WITH a AS (SELECT 1) TABLE a")
    assert not is_query("WITH a AS (DELETE FROM t RETURNING 1) TABLE a")
    assert not is_query("SELECT 1; DROP TABLE t")


def test_a_savepoint_ends_no_transaction() -> None:
    assert goes_back("ROLLBACK TO SAVEPOINT s")
    assert not goes_back("ROLLBACK")
    assert ends_transaction("COMMIT")
    assert begins_transaction("START TRANSACTION")
    assert not begins_transaction("DO 'BEGIN END'")
