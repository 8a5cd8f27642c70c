"""What was changed in a database outside of its revisions is found, and nothing else is."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from autogenerate import project, write_revision
from sqlalchemy import Engine, MetaData, NullPool, create_engine

from alembic_enterprise.binaries import binary_folders
from alembic_enterprise.errors import ConfigurationError, StepError
from alembic_enterprise.plan.revisions import VERSION_TABLE
from alembic_enterprise.plan.schema.drift import drift, objects_of
from alembic_enterprise.plan.schema.objects import Change, Difference, Key, compare
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.plan.shadow.database import shadow
from alembic_enterprise.plan.shadow.source import Source
from alembic_enterprise.urls import connected

FIRST = '''
op.execute("""
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, region text, old int);
CREATE TABLE orders (id int PRIMARY KEY, customer int CONSTRAINT of REFERENCES customers,
                     total numeric DEFAULT 0, state varchar CHECK (state IN ('a', 'b')));
CREATE INDEX orders_customer ON orders (customer);
CREATE INDEX orders_total ON orders (total);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamp BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE VIEW names AS SELECT name FROM customers;
CREATE SEQUENCE numbers;
CREATE TYPE mood AS ENUM ('fine');
COMMENT ON TABLE orders IS 'what was ordered';
CREATE TABLE untouched (id int);
CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY HASH (id);
CREATE TABLE "a ON b" PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)
    PARTITION BY HASH (id);
CREATE TABLE parts_00 PARTITION OF "a ON b" FOR VALUES WITH (MODULUS 1, REMAINDER 0);
""")
'''
SECOND = """
op.create_range_partitions("events", every="month", start="2026-01-01", ahead=1)
op.set_partition_policy("events", every="month", ahead=1)
"""
EVENTS = """
op.execute("CREATE TABLE events (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) "
           "PARTITION BY RANGE (at)")
"""

CHANGES: dict[str, list[tuple[str, str, str, str]]] = {
    "CREATE TABLE by_hand (id int PRIMARY KEY, n int DEFAULT 1)": [
        ("added", "table", "public.by_hand", ""),
    ],
    "ALTER TABLE customers DROP old": [("missing", "column", "public.customers.old", "")],
    "ALTER TABLE customers ADD new int": [("added", "column", "public.customers.new", "integer")],
    "ALTER TABLE customers ALTER region TYPE varchar(9)": [
        ("changed", "column", "public.customers.region", "character varying(9)"),
    ],
    "ALTER TABLE customers ALTER name DROP NOT NULL": [
        ("changed", "column", "public.customers.name", "text"),
    ],
    "ALTER TABLE orders ALTER total SET DEFAULT 1": [
        ("changed", "column", "public.orders.total", "numeric DEFAULT 1"),
    ],
    "ALTER TABLE orders DROP CONSTRAINT of": [("missing", "constraint", "public.orders.of", "")],
    "ALTER TABLE orders ADD CONSTRAINT big CHECK (total > 1) NOT VALID": [
        ("added", "constraint", "public.orders.big", "CHECK ((total > (1)::numeric)) NOT VALID"),
    ],
    "DROP INDEX orders_customer": [("missing", "index", "public.orders_customer", "")],
    "DROP INDEX orders_total; CREATE UNIQUE INDEX orders_total ON orders (total)": [
        (
            "changed",
            "index",
            "public.orders_total",
            "CREATE UNIQUE INDEX orders_total ON public.orders USING btree (total)",
        ),
    ],
    "ALTER TABLE orders DISABLE TRIGGER stamp": [
        (
            "changed",
            "trigger",
            "public.orders.stamp",
            "EXECUTE FUNCTION public.stamp() DISABLED",
        ),
    ],
    "CREATE OR REPLACE VIEW names AS SELECT name FROM customers LIMIT 1": [
        (
            "changed",
            "view",
            "public.names",
            "\n   FROM public.customers\n LIMIT 1;",
        ),
    ],
    "ALTER SEQUENCE numbers INCREMENT 2": [
        (
            "changed",
            "sequence",
            "public.numbers",
            "AS bigint INCREMENT 2 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 CACHE 1",
        ),
    ],
    "ALTER TYPE mood ADD VALUE 'bad'": [("changed", "type", "public.mood", "ENUM 'fine', 'bad'")],
    "COMMENT ON TABLE orders IS 'x'": [("changed", "comment", "table public.orders", "x")],
    "GRANT SELECT ON customers TO PUBLIC": [
        ("added", "grant", "table public.customers to public", "SELECT"),
    ],
    "ALTER TABLE customers ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY own ON customers USING (id > 0)": [
        ("changed", "table", "public.customers", "ROW LEVEL SECURITY"),
        (
            "added",
            "policy",
            "public.customers.own",
            "PERMISSIVE FOR * TO {public} USING ((id > 0))",
        ),
    ],
    "CREATE TABLE odd PARTITION OF events FOR VALUES FROM ('2020-01-05') TO ('2020-01-06')": [
        ("added", "table", "public.odd", ""),
    ],
    "CREATE FUNCTION by_hand() RETURNS int LANGUAGE sql AS 'SELECT 1'": [
        ("added", "function", "public.by_hand()", "SELECT 1"),
    ],
    "CREATE PUBLICATION by_hand FOR TABLE customers": [
        (
            "added",
            "publication",
            "by_hand",
            "insert truncate update, publication of table public.customers in publication by_hand",
        ),
    ],
    "CREATE CAST (mood AS int) WITH INOUT": [
        ("added", "cast", "public.mood AS integer", "WITH INOUT"),
    ],
    "CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)": [
        ("added", "operator", "public.===(integer,integer)", "FUNCTION int4eq"),
    ],
    "CREATE OPERATOR CLASS by_hand FOR TYPE int USING btree AS FUNCTION 1 btint4cmp(int, int)": [
        ("added", "operator class", "public.by_hand USING btree", "FOR TYPE integer"),
        ("added", "operator family", "public.by_hand USING btree", "btint4cmp(integer,integer)"),
    ],
    "CREATE TEXT SEARCH CONFIGURATION by_hand (copy = simple)": [
        ("added", "text search configuration", "public.by_hand", ", word: simple"),
    ],
    "CREATE TEXT SEARCH DICTIONARY by_hand (template = simple, accept = false)": [
        ("added", "text search dictionary", "public.by_hand", "accept = 'false'"),
    ],
    "CREATE COLLATION by_hand (locale = 'C')": [
        ("added", "collation", "public.by_hand", "collate C, ctype C, "),
    ],
    "CREATE SCHEMA by_hand": [("added", "schema", "by_hand", "")],
    "ALTER TABLE parts ADD note text NOT NULL": [
        ("added", "column", "public.parts.note", "text NOT NULL"),
    ],
    "ALTER TABLE parts_00 ALTER n SET DEFAULT 1": [
        ("changed", "column", "public.parts_00.n", "integer DEFAULT 1"),
    ],
    "ALTER TABLE parts ADD UNIQUE (id, n)": [
        ("added", "constraint", "public.parts.parts_id_n_key", "UNIQUE (id, n)"),
    ],
    "CREATE INDEX parts_n ON parts (n)": [
        (
            "added",
            "index",
            "public.parts_n",
            "CREATE INDEX parts_n ON ONLY public.parts USING btree (n)",
        ),
    ],
    'GRANT SELECT ON parts, "a ON b", parts_00 TO PUBLIC': [
        ("added", "grant", "table public.parts to public", "SELECT"),
    ],
    "UPDATE alembic_enterprise_policy SET policy = policy || '{\"ahead\": 2}'": [
        ("changed", "maintenance policy", "public.events", '"ahead": 2'),
    ],
}


@pytest.fixture
def folders(binaries: Path) -> Sequence[Path]:
    """Those under test first."""
    return (binaries, *binary_folders())


@pytest.fixture
def config(tmp_path: Path, engine: Engine) -> Config:
    """A project whose database is at its head."""
    folder = tmp_path / "migrations"
    config = project(folder, engine, MetaData())
    write_revision(folder, "0001", None, FIRST)
    write_revision(folder, "0002", "0001", EVENTS + SECOND)
    command.upgrade(config, "head")
    return config


def run(engine: Engine, *statements: str) -> None:
    for statement in statements:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def found(config: Config, engine: Engine, folders: Sequence[Path]) -> list[Difference]:
    with engine.connect() as live, shadow(Source.read(live), folders=folders) as made:
        assert made.gaps == ()
        with connected(made.url) as copied:
            there = objects_of(copied)
        return drift(config, made, VERSION_TABLE, there)


def test_each_change_is_found_and_nothing_else(
    config: Config, engine: Engine, folders: Sequence[Path]
) -> None:
    run(engine, *CHANGES)
    expected = sorted(item for items in CHANGES.values() for item in items)
    differences = found(config, engine, folders)
    told = sorted((item.change, item.kind, item.name) for item in differences)
    assert told == [item[:3] for item in expected]
    after = {(item.kind, item.name): item.after or "" for item in differences}
    for _, kind, name, text in expected:
        assert text in after[kind, name]


def test_a_database_in_order_has_no_drift(
    config: Config, engine: Engine, folders: Sequence[Path]
) -> None:
    """Nor one whose scheduled job has made, dropped and detached partitions since."""
    run(
        engine,
        "CREATE TABLE events_y2025_m12 (LIKE events INCLUDING ALL)",
        "ALTER TABLE events ATTACH PARTITION events_y2025_m12"
        " FOR VALUES FROM ('2025-12-01 00:00+00') TO ('2026-01-01 00:00+00')",
        "COMMENT ON TABLE events_y2025_m12 IS 'alembic-enterprise: partition'",
        "DROP TABLE events_y2026_m01",
        "CREATE TABLE events_y2025_m11 (LIKE events INCLUDING ALL)",
        "COMMENT ON TABLE events_y2025_m11 IS 'alembic-enterprise: partition of"
        ' "public"."events"; retired 2026-02-01T00:00:00+00:00 from 1 to keep'
        " 2025-11-01T00:00:00+00:00/2025-12-01T00:00:00+00:00"
        ' as "public"."events_y2025_m11"\'',
    )
    assert found(config, engine, folders) == []


def test_who_migrates_is_the_owner_of_what_migrations_make(
    database_url: str, engine: Engine, role: str, folders: Sequence[Path], tmp_path: Path
) -> None:
    """Whoever asks for the plan: the version table tells who that is."""
    options = {"options": f"-c role={role}"}
    migrator = create_engine(database_url, poolclass=NullPool, connect_args=options)
    config = project(tmp_path / "migrations", migrator, MetaData())
    write_revision(tmp_path / "migrations", "0001", None, FIRST)
    command.upgrade(config, "head")
    assert found(config, engine, folders) == []
    run(engine, "ALTER TABLE untouched OWNER TO CURRENT_USER")
    differences = found(config, engine, folders)
    assert ("changed", "owner", "table public.untouched") in [
        (item.change, item.kind, item.name) for item in differences
    ]


def test_the_revision_of_the_database_counts_not_the_newest(
    config: Config, engine: Engine, folders: Sequence[Path], tmp_path: Path
) -> None:
    write_revision(tmp_path / "migrations", "0003", "0002", 'op.execute("DROP TABLE untouched")')
    assert found(config, engine, folders) == []


def test_a_revision_that_is_missing_is_told(
    config: Config, engine: Engine, folders: Sequence[Path]
) -> None:
    run(engine, "UPDATE alembic_version SET version_num = 'gone'")
    with pytest.raises(ConfigurationError, match="the project has no revision gone, which the "):
        found(config, engine, folders)


def test_a_migration_that_fails_from_an_empty_database_is_told(
    config: Config, engine: Engine, folders: Sequence[Path], tmp_path: Path
) -> None:
    write_revision(tmp_path / "migrations", "0002", "0001", 'op.execute("DROP TABLE nowhere")')
    with pytest.raises(StepError) as raised:
        found(config, engine, folders)
    assert str(raised.value) == (
        'revision 0002 cannot be run on the shadow: table "nowhere" does not exist. Run `alembic '
        f"upgrade 0002` on an empty database to see more. {replay.REPLACED}"
    )


def test_an_error_of_the_script_itself_names_the_revision(
    config: Config, engine: Engine, folders: Sequence[Path], tmp_path: Path
) -> None:
    write_revision(tmp_path / "migrations", "0002", "0001", "raise LookupError('mine')")
    with pytest.raises(StepError, match=r"revision 0002 cannot be run .*LookupError: mine"):
        found(config, engine, folders)


def test_what_a_revision_depends_on_comes_before_it(
    config: Config, engine: Engine, folders: Sequence[Path], tmp_path: Path
) -> None:
    """Of branches that depend on each other, the database is stamped with the last one only."""
    versions = tmp_path / "migrations" / "versions"
    write_revision(tmp_path / "migrations", "b001", None, 'op.execute("CREATE TABLE b (id int)")')
    body = 'op.execute("ALTER TABLE b ADD c int; ALTER TABLE customers ADD d int")'
    write_revision(tmp_path / "migrations", "a003", "0002", body)
    script = versions / "a003.py"
    script.write_text(script.read_text().replace("def upgrade", "depends_on = 'b001'\ndef upgrade"))
    command.upgrade(config, "heads")
    assert found(config, engine, folders) == []


def test_of_a_relation_that_is_new_its_parts_are_not_told() -> None:
    whole = {Key("t", "table", "t"): "", Key("t", "column", "t.a"): "int"}
    part = {Key("t", "table", "t"): ""}
    assert compare({}, whole) == [Difference("table", "t", None, "")]
    assert compare(whole, {}) == [Difference("table", "t", "", None)]
    assert compare(part, whole) == [Difference("column", "t.a", None, "int")]
    assert compare(whole, whole) == []


def test_the_owner_of_what_is_new_is_not_told() -> None:
    called = "public.f(text)"
    own = {
        Key("", "owner", f"function {called}"): "me",
        Key("", "grant", f"function {called} to public"): "EXECUTE",
    }
    whole = {Key("", "procedure", called): "", **own}
    assert compare({}, whole) == [Difference("procedure", called, None, "")]
    assert len(compare({Key("", "procedure", called): ""}, whole)) == 2


def test_a_difference_of_several_lines_is_told_by_those_that_differ() -> None:
    before, after = "a\n b\nc\nd\ne\n", "a\n b\nc\n\tD\ne\n"
    assert Difference("function", "f", before, after).diff == (
        "@@ -3,3 +3,3 @@",
        " c",
        "-d",
        "+\tD",
        " e",
    )
    assert Difference("function", "f", None, "a\nb").diff == ("@@ -0,0 +1,2 @@", "+a", "+b")
    assert Difference("column", "c", "a", "b").diff == ()


def test_a_difference_says_what_has_become_of_the_object() -> None:
    changes = [Difference("table", "t", *texts).change for texts in ((None, "a"), ("a", None))]
    assert changes == [Change.ADDED, Change.MISSING]
    assert Difference("table", "t", "a", "b").change is Change.CHANGED


def test_what_might_hold_a_password_is_not_told() -> None:
    key = Key("", "function", "public.send()")
    [found] = compare({key: "SELECT 1"}, {key: "SELECT 'host=x password=hunter2'"})
    assert found.after is not None
    assert "hunter2" not in found.after
    assert found.before == "SELECT 1"
