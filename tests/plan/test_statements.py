"""A script of pg_dump is split where psql would split it."""

import pytest

from alembic_enterprise.plan.shadow.statements import statements


def texts(script: str) -> list[str]:
    return [item.text for item in statements(script)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT ';';",
        "SELECT 'it''s;', E'\\';', U&';';",
        'SELECT 1 AS ";""";',
        "SELECT $$;$$, $a$ $b$;$$ $a$;",
        "SELECT $1, a$b$c FROM d;",
        "SELECT '$$', 1;",
        "CREATE RULE r AS ON INSERT TO t DO ALSO ( SELECT 1; SELECT 2; );",
        "CREATE FUNCTION f()\n BEGIN ATOMIC\n SELECT CASE WHEN a THEN b END; SELECT 1;\nEND;",
        "CREATE OR REPLACE PROCEDURE p(a int DEFAULT 1) BEGIN ATOMIC SELECT 1;\nEND;",
        'CREATE TABLE "begin" (a int, "case" text DEFAULT \'--;\');',
        "SELECT 1 /* ; */ + 2;",
        "COMMENT ON TABLE t IS 'a\n--\n-- Name: x; Type: TABLE; Schema: public; Owner: o\n;';",
        "SELECT 'ä;', \"Ü;\" FROM straße;",
    ],
)
def test_a_statement_ends_at_its_own_semicolon(statement: str) -> None:
    assert texts(f"{statement}\n\n{statement} SELECT 1;") == [statement, statement, "SELECT 1;"]


def test_begin_and_end_are_words_like_others_outside_of_routines() -> None:
    script = "CREATE VIEW v AS SELECT 1 AS begin;SELECT 2;"
    assert texts(script) == ["CREATE VIEW v AS SELECT 1 AS begin;", "SELECT 2;"]


def test_a_statement_knows_what_it_is_about() -> None:
    script = """
SET row_security = off;
\\restrict it's
--
-- Name: a; Type: b; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.x ();
ALTER TABLE public.x OWNER TO postgres;
-- Name: EXTENSION e; Type: COMMENT; Schema: -; Owner:\x20
COMMENT ON EXTENSION e IS 'f';
"""
    assert [(item.about, item.words[:2]) for item in statements(script)] == [
        ("", ("SET", "ROW_SECURITY")),
        ("TABLE a; Type: b", ("CREATE", "TABLE")),
        ("TABLE a; Type: b", ("ALTER", "TABLE")),
        ("COMMENT EXTENSION e", ("COMMENT", "ON")),
    ]


def test_what_follows_the_last_statement_is_none() -> None:
    assert texts("-- done\n\\unrestrict x\n") == []


def test_a_statement_whose_rows_are_run_ends_there() -> None:
    script = "SELECT '\\gexec'\n\\gexec\n\nSELECT $$\n\\gexec\n$$;\n\\gexec\nSELECT 2\n\\gexec \n"
    assert texts(script) == [
        "SELECT '\\gexec'\n\\gexec",
        "SELECT $$\n\\gexec\n$$;",
        "SELECT 2\n\\gexec",
    ]
