"""A release is proved by what happens: each fault fails the line that is about it, and no other."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from autogenerate import project, run_sql
from indexed import INVALID, two_tables
from shops import configured
from sqlalchemy import Engine, MetaData, make_url

from alembic_enterprise.binaries import binary_folders
from alembic_enterprise.plan import revisions
from alembic_enterprise.plan.model import Outcome, Proof
from alembic_enterprise.plan.proposal.proof import (
    AGAIN,
    AUTOGENERATE,
    DOWNGRADE,
    OFFLINE,
    SHARED,
    Proven,
    prove,
)
from alembic_enterprise.plan.revisions import VERSION_TABLE
from alembic_enterprise.plan.schema.drift import objects_of
from alembic_enterprise.plan.shadow.database import Host, Shadow
from alembic_enterprise.plan.shadow.original import Original
from alembic_enterprise.urls import connected

SCRIPT = """
from datetime import UTC, datetime
from alembic import context, op
import sqlalchemy as sa

revision = {revision!r}
down_revision = {before!r}

def upgrade():
{upgrade}

def downgrade():
{downgrade}
"""

START = """
CREATE TABLE start (a int, b int, state varchar,
    CONSTRAINT known CHECK (state::text = ANY (ARRAY['a'::varchar::text, 'b'::varchar::text])))
"""
"""What the live database has as `state IN ('a', 'b')` reads so after pg_dump."""

GOOD = [
    (
        """
events = op.create_table("events", sa.Column("at", sa.DateTime(timezone=True), nullable=False),
                         postgresql_partition_by="RANGE (at)")
op.create_range_partitions("events", every="month", start="2026-01-01", stop="2026-03-01")
op.set_partition_policy("events", every="month")
op.bulk_insert(events, [{"at": datetime(2026, month, 9, tzinfo=UTC)} for month in (1, 2)])
op.execute("DO $$ BEGIN PERFORM '\\\\gexec'; END $$")
""",
        """
op.drop_partition_policy("events", every="month")
op.execute("DROP TABLE events")
""",
    ),
    (
        """
op.create_index_online("events_at", "events", ["at"])
op.execute("ALTER TABLE start DROP CONSTRAINT known, ADD COLUMN \\"50%\\" int")
""",
        """
op.execute("ALTER TABLE start DROP COLUMN \\"50%\\","
           " ADD CONSTRAINT known CHECK (state IN ('a', 'b'))")
op.drop_index_online("events_at", "events", ["at"])
""",
    ),
]


@dataclass(frozen=True)
class Fault:
    """A script, and the proofs that it does not pass.

    Attributes:
        expected: how such a proof ends, and what its differences begin with.
    """

    name: str
    upgrade: str
    downgrade: str
    expected: dict[str, tuple[Outcome, str]]


NO_WAY_BACK = (Outcome.SKIPPED, "the downgrade has not come to its end")

CHANGED = "column public.start.a is bigint, not integer\ncolumn public.start.b is missing"

FAULTS = [
    Fault(
        "each part goes wrong by itself",
        """
op.execute("CREATE TABLE seen (id int)")
op.execute("CREATE TABLE kept (id int)")
if not context.is_offline_mode():
    op.execute("CREATE VIEW extra AS SELECT 1")
    op.execute("INSERT INTO start VALUES (1), (2)")
""",
        """
op.execute("DROP VIEW extra")
op.execute("DROP TABLE seen")
op.execute("ALTER TABLE start ALTER a TYPE bigint, DROP b")
""",
        {
            AUTOGENERATE: (Outcome.FAILED, "op.drop_table('seen')"),
            DOWNGRADE: (Outcome.FAILED, "table public.kept is left over\n" + CHANGED),
            AGAIN: (
                Outcome.FAILED,
                'revision 0001 cannot be run on the shadow: relation "kept" already exists',
            ),
            OFFLINE: (
                Outcome.FAILED,
                "view public.extra is missing\ntable public.start has 0 rows, not 2",
            ),
        },
    ),
    Fault(
        "the downgrade fails, and so does the SQL",
        "if context.is_offline_mode(): op.execute('SELECT 1 FROM nowhere')",
        "op.execute('DROP TABLE nowhere')",
        {
            DOWNGRADE: (
                Outcome.FAILED,
                'revision 0001 cannot be taken back on the shadow: table "nowhere" does not exist',
            ),
            AGAIN: NO_WAY_BACK,
            OFFLINE: (
                Outcome.FAILED,
                'statement 3, SELECT FROM NOWHERE ...: relation "nowhere" does not exist',
            ),
        },
    ),
    Fault(
        "there is no way back on purpose, and no SQL",
        "op.get_bind().execute(sa.text('SELECT 1')).scalar()\nop.execute('DROP TABLE start')",
        "raise NotImplementedError",
        {
            DOWNGRADE: (
                Outcome.SKIPPED,
                "revision 0001 has none: its downgrade() raises NotImplementedError",
            ),
            AGAIN: NO_WAY_BACK,
            OFFLINE: (
                Outcome.SKIPPED,
                "there is none: revision 0001 cannot be written as SQL: ",
            ),
        },
    ),
    Fault(
        "a type stays, as autogenerate leaves it",
        "op.create_table('moods', sa.Column('mood', sa.Enum('fine', name='Mo od')))",
        "op.drop_table('moods')",
        {
            DOWNGRADE: (
                Outcome.FAILED,
                (
                    'type public."Mo od" is left over: autogenerate drops no type, so let '
                    "downgrade() end in op.execute('DROP TYPE public.\"Mo od\"')"
                ),
            ),
            AGAIN: (
                Outcome.FAILED,
                (
                    'revision 0001 cannot be run on the shadow: type "Mo od" already exists. It '
                    "ran there before, until its downgrade: let that drop all that the upgrade "
                    "makes"
                ),
            ),
        },
    ),
    Fault(
        "the upgrade runs once only",
        "op.execute('SELECT lo_create(4711)')",
        "pass",
        {AGAIN: (Outcome.FAILED, "revision 0001 cannot be run on the shadow: ")},
    ),
]


@pytest.fixture
def shadow(server_url: str, engine: Engine) -> Shadow:
    """One on the server of the tests, so that no other has to be started."""
    with engine.connect() as connection:
        original = Original.read(connection, VERSION_TABLE)
    host = Host(make_url(server_url), None, "PostgreSQL", original.version, ())
    return Shadow(engine.url, (), (), original, host, tuple(binary_folders()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


@pytest.fixture
def config(folder: Path, engine: Engine) -> Config:
    """A project with a model of the table `seen` alone, and of nothing else."""
    return project(folder, engine, MetaData(), include_name=_is_seen)


def _is_seen(name: str, kind: str, _parents: object) -> bool:
    return kind != "table" or name == "seen"


def tried(config: Config, shadow: Shadow, scripts: Sequence[tuple[str, str]], *more: str) -> Proven:
    """Write scripts, each an upgrade and a downgrade, and prove them on a small schema."""
    with connected(shadow.url) as connection:
        run_sql(connection, START, *more)
    before = None
    for number, bodies in enumerate(scripts, 1):
        revision = f"{number:04}"
        upgrade, downgrade = (indent(body.strip(), "    ") for body in bodies)
        text = SCRIPT.format(revision=revision, before=before, upgrade=upgrade, downgrade=downgrade)
        versions = Path(ScriptDirectory.from_config(config).versions)
        (versions / f"{revision}.py").write_text(text)
        before = revision
    return proved(config, shadow)


def proved(config: Config, shadow: Shadow) -> Proven:
    """Prove all scripts on a shadow."""
    scripts = revisions.pending(ScriptDirectory.from_config(config), [])
    with connected(shadow.url) as connection:
        objects = objects_of(connection)
    with shadow.clone() as start:
        return prove(config, shadow, start, scripts, VERSION_TABLE, objects)


def not_passed(proven: Proven) -> list[Proof]:
    assert [item.name for item in proven.proofs] == [AUTOGENERATE, DOWNGRADE, AGAIN, OFFLINE]
    return [item for item in proven.proofs if item.outcome is not Outcome.PASSED]


def test_a_release_in_order_passes(config: Config, shadow: Shadow) -> None:
    """Also what pg_dump words differently, what runs outside of a block, and odd characters."""
    proven = tried(config, shadow, GOOD)
    assert not_passed(proven) == []
    assert proven.reversible == {"0001": True, "0002": True}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_told_by_the_line_that_is_about_it(
    config: Config, shadow: Shadow, fault: Fault
) -> None:
    proven = tried(config, shadow, [(fault.upgrade, fault.downgrade)])
    found = {item.name: item for item in not_passed(proven)}
    assert found.keys() == fault.expected.keys()
    for name, (outcome, beginning) in fault.expected.items():
        assert found[name].outcome is outcome
        told = "\n".join(found[name].differences)
        assert told[: len(beginning)] == beginning
    assert proven.reversible == {"0001": DOWNGRADE not in fault.expected}


UNFINISHED = {
    "index": (
        "create drop",
        "index_online('late', 'start', ['a'])",
        "CREATE INDEX late ON start (a)",
    ),
    "index of a partitioned table": (
        "create drop",
        "index_online('late', 'sales', ['customer'])",
        "CREATE INDEX sales_1_late ON sales_1 (customer)",
        "CREATE INDEX sales_3_late ON ONLY sales_3 (customer)",
        "CREATE INDEX sales_3a_late ON sales_3a (customer)",
        "CREATE INDEX late ON ONLY sales (customer)",
        "ALTER INDEX late ATTACH PARTITION sales_1_late",
    ),
    "unique constraint": (
        "create drop",
        "unique_constraint_online('late', 'start', ['a'])",
        "CREATE UNIQUE INDEX late ON start (a)",
    ),
    "unique constraint of a partitioned table": (
        "create drop",
        "unique_constraint_online('late', 'sales', ['id'])",
        "ALTER TABLE ONLY sales ADD CONSTRAINT late UNIQUE (id)",
        "CREATE UNIQUE INDEX sales_1_late ON sales_1 (id)",
        INVALID.format("sales_1_late"),
    ),
    "foreign key": (
        "add drop",
        "foreign_key_online('late', 'start', 'orders', ['a'], ['id'])",
        "ALTER TABLE start ADD CONSTRAINT late FOREIGN KEY (a) REFERENCES orders NOT VALID",
    ),
    "not null": (
        "set drop",
        "not_null_online('start', 'a')",
        """DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'ALTER TABLE start ADD NOT NULL a NOT VALID';
    ELSE
        ALTER TABLE start ADD CONSTRAINT alembic_enterprise_not_null_1 CHECK (a IS NOT NULL)
            NOT VALID;
    END IF; END $$""",
    ),
}
"""The verbs of an operation that was cut and its reverse, its noun, and what it has left."""


@pytest.mark.parametrize("case", UNFINISHED)
def test_what_was_cut_can_be_released_all_the_same(
    config: Config, shadow: Shadow, engine: Engine, case: str
) -> None:
    verbs, noun, *left = UNFINISHED[case]
    upgrade, downgrade = (f"op.{verb}_{noun}" for verb in verbs.split())
    with engine.connect() as connection:
        two_tables(connection)
    if case in ("index", "unique constraint"):
        left.append(INVALID.format("late"))
    proven = tried(config, shadow, [(upgrade, downgrade)], *left)
    assert not_passed(proven) == []


def test_an_unfinished_constraint_that_a_release_drops_is_missed(
    config: Config, shadow: Shadow
) -> None:
    start = "ALTER TABLE start ADD CONSTRAINT old CHECK (a > 0) NOT VALID"
    proven = tried(config, shadow, [("op.drop_constraint('old', 'start')", "pass")], start)
    assert "constraint public.start.old is missing" in not_passed(proven)[0].differences


MISSED = {
    "a CHECK that was validated": (
        "op.execute('ALTER TABLE start VALIDATE CONSTRAINT late')",
        "op.drop_constraint('late', 'start')",
        "constraint public.start.late is missing",
        "ALTER TABLE start ADD CONSTRAINT late CHECK (a > 0) NOT VALID",
    ),
    "a unique index, which refuses duplicates": (
        "op.execute('DROP INDEX late')",
        "pass",
        "index public.late is missing",
        "CREATE UNIQUE INDEX late ON start (a)",
        INVALID.format("late"),
    ),
    "an index of a partitioned table, with a part in use": (
        "op.execute('DROP INDEX late')",
        "pass",
        "index public.late is missing",
        "CREATE INDEX late ON ONLY sales (customer)",
        "CREATE INDEX sales_1_late ON sales_1 (customer)",
        "ALTER INDEX late ATTACH PARTITION sales_1_late",
    ),
}
"""An upgrade and a downgrade, what of the start they lose, and how that was made."""


@pytest.mark.parametrize("case", MISSED)
def test_what_was_unfinished_is_missed_if_it_was_of_use(
    config: Config, shadow: Shadow, engine: Engine, case: str
) -> None:
    upgrade, downgrade, expected, *left = MISSED[case]
    with engine.connect() as connection:
        two_tables(connection)
    proven = tried(config, shadow, [(upgrade, downgrade)], *left)
    [proof] = [item for item in not_passed(proven) if item.name == DOWNGRADE]
    assert expected in proof.differences


@pytest.mark.parametrize("downgrade", ["pass", "op.create_index('late', 'start', ['a'])"])
def test_an_index_that_was_of_no_use_may_be_dropped(
    config: Config, shadow: Shadow, downgrade: str
) -> None:
    left = ("CREATE INDEX late ON start (a)", INVALID.format("late"))
    script = ("op.execute('DROP INDEX IF EXISTS late')", downgrade)
    assert not_passed(tried(config, shadow, [script], *left)) == []


def test_a_script_without_a_downgrade_is_no_way_back_for_those_before_it(
    config: Config, shadow: Shadow, folder: Path
) -> None:
    (folder / "versions" / "0004.py").write_text(
        "revision, down_revision = '0004', '0003'\ndef upgrade(): pass\n"
    )
    (folder / "versions" / "0005.py").write_text(
        "revision, down_revision = '0005', '0004'\ndef upgrade(): pass\ndef downgrade(): pass\n"
    )
    proven = tried(config, shadow, [("pass", "pass")] * 3)
    assert proven.proofs[1] == Proof(
        DOWNGRADE, Outcome.SKIPPED, ("revision 0004 has none: there is no downgrade() in it",)
    )
    assert [revision for revision, there in proven.reversible.items() if there] == ["0005"]


def test_what_all_databases_of_the_server_share_is_not_proved(
    config: Config, shadow: Shadow, administrator: psycopg.Connection
) -> None:
    """The rehearsal has made it there already; what happens to the live server is another thing."""
    role = f"alembic_enterprise_{secrets.token_hex(6)}"
    administrator.execute(f"CREATE ROLE {role}".encode())
    try:
        proven = tried(config, shadow, [(f"op.execute('CREATE ROLE {role}')", "pass")])
    finally:
        administrator.execute(f"DROP ROLE {role}".encode())
    assert {proof.outcome for proof in not_passed(proven)} == {Outcome.SKIPPED}
    assert len(not_passed(proven)) == len(proven.proofs)
    reasons = [proof.differences for proof in proven.proofs]
    said = f'revision 0001 cannot be run on the shadow: role "{role}" already exists. {SHARED}'
    assert reasons == [(said,), *[("for the same reason",)] * 3]
    assert proven.reversible == {}


def test_the_sample_project_is_proved(shadow: Shadow, database_url: str) -> None:
    proven = proved(configured(database_url), shadow)
    assert not_passed(proven) == []
    assert set(proven.reversible.values()) == {True}
