"""A saved plan holds until something changes that its steps depend on."""

import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import planned
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from autogenerate import project, write_revision
from saving import SCHEMAS, saved_plan, shop, steps
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine

from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.plan import revisions
from alembic_enterprise.plan.model import Outcome, Plan, Proof, Revision, Step, Touched
from alembic_enterprise.plan.saved import document
from alembic_enterprise.plan.saved.document import Saved, Stale, State, stale
from alembic_enterprise.plan.saved.place import Place, differences
from alembic_enterprise.plan.saved.slices import extent, plain, slice_of, touched
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.schema.objects import Difference, Key
from alembic_enterprise.sql import Name

PLACE = Place("shop", 16384, "17.6", "73911", Name("public", "alembic_version"), ("public",))

PLAN = Saved(
    PLACE,
    datetime(2026, 11, 22, tzinfo=UTC),
    "embedded PostgreSQL 18.6",
    {},
    ("0001",),
    {"0002": "sql:a", "0003": "sql:c"},
    (),
    {},
)

START = State(PLACE, ("0001",), frozenset({"0001"}), PLAN.digests, {})
"""What it was made for."""

IRRELEVANT = {
    "ANALYZE": "ANALYZE",
    "INSERT INTO customers VALUES (1, 'Ada')": "DELETE FROM customers",
    "ALTER TABLE orders ALTER total SET STATISTICS 500": (
        "ALTER TABLE orders ALTER total SET STATISTICS -1"
    ),
    "CREATE STATISTICS both_of ON customer, total FROM orders": "DROP STATISTICS both_of",
    "CREATE SCHEMA other CREATE TABLE orders (id int) CREATE TABLE notes (id int)": (
        "DROP SCHEMA other CASCADE"
    ),
    "ALTER TABLE unrelated ADD a int": "ALTER TABLE unrelated DROP a",
    "CREATE TABLE referring (id int REFERENCES customers)": "DROP TABLE referring",
    "CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS ''": "DROP FUNCTION nothing()",
    "GRANT SELECT ON customers TO PUBLIC": "REVOKE SELECT ON customers FROM PUBLIC",
    "COMMENT ON TABLE customers IS 'who buys'": "COMMENT ON TABLE customers IS NULL",
    "CREATE TABLE by_the_job PARTITION OF events"
    " FOR VALUES FROM ('2025-12-01 00:00+00') TO ('2026-01-01 00:00+00')": "DROP TABLE by_the_job",
}
"""Changes, and how each is undone."""

RELEVANT = {
    "ALTER TABLE orders ADD extra int": "ALTER TABLE orders DROP extra",
    "ALTER TABLE orders RENAME total TO sum": "ALTER TABLE orders RENAME sum TO total",
    "ALTER TABLE orders ALTER total SET DEFAULT 1": "ALTER TABLE orders ALTER total SET DEFAULT 0",
    "ALTER TABLE orders ALTER total SET NOT NULL": "ALTER TABLE orders ALTER total DROP NOT NULL",
    "CREATE INDEX new_one ON orders (customer)": "DROP INDEX new_one",
    "DROP INDEX orders_total": "CREATE INDEX orders_total ON orders (total)",
    "ALTER TABLE orders ADD CONSTRAINT plus CHECK (total > 0)": (
        "ALTER TABLE orders DROP CONSTRAINT plus"
    ),
    "ALTER TABLE orders DISABLE TRIGGER stamp": "ALTER TABLE orders ENABLE TRIGGER stamp",
    "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN OLD; END'": (
        "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'"
    ),
    "ALTER TABLE orders SET (fillfactor = 50)": "ALTER TABLE orders RESET (fillfactor)",
    "ALTER TABLE orders ENABLE ROW LEVEL SECURITY": "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE orders REPLICA IDENTITY FULL": "ALTER TABLE orders REPLICA IDENTITY DEFAULT",
    "GRANT SELECT ON orders TO PUBLIC": "REVOKE SELECT ON orders FROM PUBLIC",
    "COMMENT ON COLUMN orders.total IS 'net'": "COMMENT ON COLUMN orders.total IS NULL",
    "CREATE VIEW more AS SELECT id FROM orders": "DROP VIEW more",
    "ALTER TABLE customers ALTER name TYPE varchar": "ALTER TABLE customers ALTER name TYPE text",
    "ALTER TABLE items ADD piece int": "ALTER TABLE items DROP piece",
    "CREATE TABLE returns (id int REFERENCES orders)": "DROP TABLE returns",
    "ALTER SEQUENCE numbers INCREMENT 2": "ALTER SEQUENCE numbers INCREMENT 1",
    "ALTER DOMAIN mood ADD CONSTRAINT fine CHECK (VALUE <> 'bad')": (
        "ALTER DOMAIN mood DROP CONSTRAINT fine"
    ),
    "CREATE TABLE odd PARTITION OF events"
    " FOR VALUES FROM ('2020-01-05 00:00+00') TO ('2020-01-06 00:00+00')": "DROP TABLE odd",
    "UPDATE alembic_enterprise_policy SET policy = policy || '{\"ahead\": 2}'": (
        "UPDATE alembic_enterprise_policy SET policy = policy || '{\"ahead\": 1}'"
    ),
    "CREATE TABLE notes (id int)": "DROP TABLE notes",
}
"""The same; with `CREATE TABLE notes` somebody makes what the plan was to make."""


@dataclass(frozen=True)
class Shop:
    """A project, its database and its plan."""

    config: Config
    engine: Engine
    plan: Saved

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def state(self) -> State:
        with self.engine.connect() as connection:
            objects = drift.objects_of(connection)
            there = tuple(revisions.stamped(connection))
        return State(self.plan.place, there, frozenset(there), self.plan.digests, objects)

    def stale(self) -> Stale:
        return stale(self.plan, self.state())


@pytest.fixture(scope="module")
def there(
    tmp_path_factory: pytest.TempPathFactory, shared_database: Callable[..., str]
) -> Iterator[Shop]:
    """Each test undoes what it does to it."""
    engine = create_engine(shared_database(), poolclass=NullPool)
    config = shop(tmp_path_factory.mktemp("shop") / "migrations", engine)
    shop_there = Shop(
        config, engine, saved_plan(config, engine, shared_database(engine.url.database))
    )
    yield shop_there
    assert not shop_there.stale()


@contextmanager
def changed(there: Shop, changes: Mapping[str, str]) -> Generator[None]:
    """Make changes, and undo them afterwards."""
    for statement in changes:
        there.run(statement)
    try:
        yield
    finally:
        for undo in reversed(list(changes.values())):
            there.run(undo)


def test_what_its_steps_do_not_depend_on_may_change(there: Shop) -> None:
    with changed(there, IRRELEVANT):
        assert there.stale() == Stale()


@pytest.mark.parametrize("statement", RELEVANT)
def test_what_its_steps_depend_on_may_not(there: Shop, statement: str) -> None:
    with changed(there, {statement: RELEVANT[statement]}):
        found = there.stale()
    assert found.differences
    assert found.reasons == ()


def test_a_change_is_told_by_the_object_and_not_with_all_that_is_tied_to_it(there: Shop) -> None:
    with changed(there, {"CREATE TABLE returns (id int REFERENCES orders)": "DROP TABLE returns"}):
        found = there.stale()
    assert found.differences == (
        Difference(
            "constraint",
            "public.returns.returns_id_fkey",
            None,
            "FOREIGN KEY (id) REFERENCES public.orders(id)",
        ),
    )


def test_the_file_can_be_read_back_and_fits_its_schema(there: Shop) -> None:
    schema = json.loads((SCHEMAS / "saved-plan.schema.json").read_text())
    text = there.plan.text()
    jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())
    assert Saved.from_text(text) == there.plan
    assert there.plan.start == ("0001",)
    assert there.plan.touched == ("public.events", "public.notes", "public.orders")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is not JSON of `plan --out`"),
        ("[]", "it is not JSON of `plan --out`"),
        ('{"exit_code": 2}', "it is not JSON of `plan --out`"),
        (
            '{"format_version": 2}',
            "format 2, and this version reads 1: make it again with the vers",
        ),
        ('{"format_version": 1}', "KeyError 'revisions'"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        Saved.from_text(text)


EDITED: dict[str, tuple[str | int, ...]] = {
    "database": ("database",),
    "oid": ("database_oid",),
    "server": ("server",),
    "system identifier": ("system_identifier",),
    "version table": ("version_table", "name"),
    "its schema": ("version_table", "schema"),
    "search path": ("search_path",),
    "a schema of it": ("search_path", 0),
    "moment": ("sampled_at",),
    "shadow": ("shadow",),
    "versions": ("versions",),
    "start": ("start",),
    "a revision of it": ("start", 0),
    "revision": ("revisions", 0, "revision"),
    "digest": ("revisions", 0, "digest"),
    "touched": ("touched",),
    "a name of it": ("touched", 0),
    "objects": ("objects",),
    "relation": ("objects", 0, "relation"),
    "definition": ("objects", 0, "definition"),
}
"""Where each field of a plan is."""


@pytest.mark.parametrize("value", [True, 1.5, [[1]], {"a": 1}], ids=repr)
@pytest.mark.parametrize("name", EDITED)
def test_a_plan_that_was_edited_is_refused(there: Shop, name: str, value: object) -> None:
    *path, last = EDITED[name]
    document = json.loads(there.plan.text())
    place = document
    for key in path:
        place = place[key]
    place[last] = value
    with pytest.raises(ConfigurationError, match=r"^the plan cannot be read \("):
        Saved.from_text(json.dumps(document))


@pytest.mark.parametrize("name", ["touched", "objects", "start"])
def test_a_plan_that_depends_on_less_since_it_was_saved_is_refused(there: Shop, name: str) -> None:
    edited = json.loads(there.plan.text()) | {name: []}
    with pytest.raises(ConfigurationError, match="it was edited after it was saved"):
        Saved.from_text(json.dumps(edited))


@pytest.mark.parametrize("change", [{"sampled_at": "2026-01-01"}, {"touched": "public.orders"}])
def test_a_text_in_the_wrong_place_is_refused(there: Shop, change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"^the plan cannot be read \("):
        Saved.from_text(json.dumps(json.loads(there.plan.text()) | change))


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="it is not JSON"):
        Saved.from_text("[" * 100_000)


# --- What a plan depends on


HOSTILE = {
    Key('"Mixed Case"."we""ird"', "table", '"Mixed Case"."we""ird"'): "",
    Key('"Mixed Case"."we""ird"', "column", '"Mixed Case"."we""ird".id'): "integer",
    Key("public.t", "table", "public.t"): "",
    Key("public.t", "constraint", "public.t.of"): (
        'FOREIGN KEY (id) REFERENCES "Mixed Case"."we""ird"(id)'
    ),
    Key("public.we", "table", "public.we"): "",
    Key("", "function", "public.f(integer)"): 'AS \'SELECT 1 FROM "Mixed Case"."we""ird"\'',
    Key("", "comment", "table public.we"): 'see "Mixed Case"."we""ird"',
}


def test_names_that_hurt_are_the_same_in_effects_and_definitions() -> None:
    names = touched(steps('Mixed Case.we"ird'), (), HOSTILE)
    assert names == {'"Mixed Case"."we""ird"'}
    found = {key.name for key in slice_of(HOSTILE, extent(names, HOSTILE))}
    assert found == {
        '"Mixed Case"."we""ird"',
        '"Mixed Case"."we""ird".id',
        "public.t",
        "public.t.of",
    }


def test_a_partition_of_the_job_counts_for_its_table() -> None:
    """It is no object, but the table is, which the effect names, too."""
    [step] = steps("public.t_2026_01")
    [effect] = step.effects
    on_partition = replace(step, effects=(replace(effect, table="public.t"),))
    assert touched([on_partition], (), HOSTILE) == {"public.t"}


def test_a_step_that_was_not_measured_depends_on_what_it_names_and_calls() -> None:
    keys = [Key("", "procedure", 'public."Bump"(integer)'), Key("", "function", "public.other()")]
    objects = {**HOSTILE, **dict.fromkeys(keys, "")}
    named = (Touched("public.t", 0),)
    blocks = 'CALL "Bump"(1)', "DO $$ BEGIN UPDATE t SET a = 1; COMMIT; END $$"
    first, second = (Step(n, text, n, tables=named * (n - 1)) for n, text in enumerate(blocks, 1))
    assert touched([first], (), objects) == {'public."Bump"(integer)'}
    assert touched([first, second], (), objects) == {'public."Bump"(integer)', "public.t"}


@pytest.mark.parametrize(
    "definition",
    ["BEGIN PERFORM get('https://app:secret@db'); END", 'SERVER s {"PASSWORD = secret"}'],
)
def test_what_might_hold_a_password_is_kept_as_a_digest(definition: str) -> None:
    key = Key("", "function", "public.f()")
    [text] = plain({key: definition}).values()
    assert "secret" not in text
    assert text.startswith("not shown, since it might hold a password (SHA-256 ")
    assert plain({key: definition + " "}) != {key: text}


# --- Why it is stale besides


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"revisions": (), "there": frozenset[str]()},
            "it begins at 0001, and the database is at no revision",
        ),
        (
            {"revisions": ("0002",), "there": frozenset({"0001", "0002"})},
            "a part of it is applied already: the database is at 0002, and ",
        ),
        ({"digests": {"0002": "sql:b", "0003": "sql:c"}}, "revision 0002 was changed after the pl"),
        ({"digests": {"0002": "sql:a"}}, "the project has no revision 0003 any more"),
    ],
)
def test_each_reason_is_told(change: dict[str, Any], told: str) -> None:
    assert stale(PLAN, START) == Stale()
    [reason] = stale(PLAN, replace(START, **change)).reasons
    assert reason.startswith(told)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"database": "other", "oid": 16385},
            "it is of the database shop, and this is other",
        ),
        ({"oid": 16385}, "shop is another database than it was: oid 16385, and not 16384"),
        ({"server": "18.1"}, "the server was PostgreSQL 17, and is 18"),
        (
            {"system_identifier": "73912", "oid": 16385},
            "it is of another server: the system identifier was 73911, and is 73912",
        ),
        (
            {"version_table": Name("tb", "alembic_version")},
            "the version table of env.py was public.alembic_version, and is tb.alembic_version",
        ),
        (
            {"search_path": ("tb", "public")},
            "the search_path of env.py's connection led to public, and leads to tb, public",
        ),
    ],
)
def test_it_is_of_one_place_only(change: dict[str, Any], told: str) -> None:
    state = replace(START, place=replace(PLACE, **change))
    assert stale(PLAN, state).reasons == (told,)


def test_a_place_is_known_to_any_role(
    connection: Connection, other_database: Callable[..., str], role: str
) -> None:
    table = Name(None, "alembic_version")
    connection.exec_driver_sql('CREATE SCHEMA "A ""B"; CREATE TABLE "A ""B".alembic_version ()')
    connection.exec_driver_sql(f'GRANT ALL ON SCHEMA "A ""B" TO {role}; SET ROLE {role}')
    connection.exec_driver_sql('SET search_path TO public, missing, "A ""B"')
    place = Place.read(connection, table)
    assert place.version_table == Name('A "B', "alembic_version")
    assert place.search_path == ("public", 'A "B')
    copy = create_engine(other_database(), poolclass=NullPool)
    with copy.connect() as other:
        there = Place.read(other, table)
    assert there.system_identifier == place.system_identifier
    assert there.version_table.schema == "public"
    assert list(differences(place, replace(place, oid=there.oid))) == [
        f"{place.database} is another database than it was: oid {there.oid}, and not {place.oid}"
    ]


def test_a_plan_that_is_applied_is_not_stale() -> None:
    state = State(PLACE, ("0004", "b001"), frozenset({"0002", "0003", "0004", "b001"}), {}, {})
    assert PLAN.is_applied(state)
    assert stale(PLAN, state) == Stale()
    made_by_it = replace(PLACE, search_path=("sales", "public"))
    assert stale(PLAN, replace(state, place=made_by_it)) == Stale()
    [reason] = stale(PLAN, replace(state, place=replace(PLACE, database="other"))).reasons
    assert reason == "it is of the database shop, and this is other"
    for there in ["0001"], ["0001", "0002"], ["0001", "0003"], ["b001"], []:
        assert not PLAN.is_applied(replace(state, there=frozenset(there)))


def test_a_minor_release_of_the_server_is_no_matter() -> None:
    assert not stale(PLAN, replace(START, place=replace(PLACE, server="17.7")))


# --- What can be saved


RELEASED = replace(planned.IN_ORDER, pending=(Revision("0002", "", ""),), steps=steps("a.b"))


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (replace(RELEASED, steps=planned.STEPS), "only revisions can be applied, and the plan pro"),
        (replace(RELEASED, pending=(), steps=()), "no revision is pending, so there is nothing"),
        (replace(RELEASED, findings=planned.FULL.findings), "blocked: mend what it says, or waive"),
        (replace(RELEASED, proof=(Proof("x", Outcome.FAILED),)), "blocked by a failed proof: mend"),
        (replace(RELEASED, shadow=None), "it is not known what the steps depend on without a sha"),
    ],
)
def test_what_cannot_be_applied_is_not_saved(plan: Plan, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        document.saved(plan, PLACE, {}, (), {})
    assert document.refusal(RELEASED) is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("op.execute('SELECT 1')", "sql:"),
        ("op.get_bind().exec_driver_sql('SELECT 1')", "script:"),
        ("import uuid; op.execute(f\"SELECT '{uuid.uuid4()}'\")", "script:"),
    ],
)
def test_a_digest_is_of_the_sql_or_else_of_the_script(
    tmp_path: Path, engine: Engine, body: str, kind: str
) -> None:
    config = project(tmp_path / "migrations", engine, MetaData())
    write_revision(tmp_path / "migrations", "0001", None, body)
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    digests = document.digests(config, scripts)
    assert digests["0001"].startswith(kind)
    assert document.digests_again(config, scripts, digests) == digests
    write_revision(tmp_path / "migrations", "0001", None, body + "; op.execute('SELECT 2')")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert document.digests_again(config, scripts, digests) != digests
