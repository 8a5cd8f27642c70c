"""A project with a revision to come, and the plan of it as `plan --out` saves it.

plan = saved_plan(config, engine)
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import planned
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from autogenerate import project, write_revision
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine

import alembic_enterprise
from alembic_enterprise.locks import Patience
from alembic_enterprise.plan import revisions
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.model import Database, Plan, Revision, Step
from alembic_enterprise.plan.saved import document
from alembic_enterprise.plan.saved.apply import Job
from alembic_enterprise.plan.saved.document import Saved
from alembic_enterprise.plan.saved.place import Place
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.schema.objects import Key, Objects
from alembic_enterprise.plan.shadow import replay

SCHEMAS = Path(alembic_enterprise.__file__).parent / "schemas"
"""Of the documents that programs read."""

SCHEMA = '''
op.execute("""
CREATE DOMAIN mood AS text;
CREATE SEQUENCE numbers;
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total int DEFAULT 0,
                     number bigint DEFAULT nextval('numbers'), mood mood);
CREATE TABLE items (id int PRIMARY KEY, "order" int REFERENCES orders);
CREATE TABLE unrelated (id int PRIMARY KEY);
CREATE INDEX orders_total ON orders (total);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamp BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE VIEW totals AS SELECT total FROM orders;
CREATE TABLE events (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
""")
op.create_range_partitions("events", every="month", start="2026-01-01", ahead=1)
op.set_partition_policy("events", every="month", ahead=1)
'''

RELEASE = """
op.execute("ALTER TABLE orders ADD COLUMN state text")
op.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
op.execute("COMMENT ON TABLE events IS 'what happened'")
"""


LOCKED = ("public.orders", "public.events")
"""What `RELEASE` locks."""


def scripts(folder: Path, engine: Engine, release: str = RELEASE, **options: object) -> Config:
    """A project of two revisions."""
    config = project(folder, engine, MetaData(), **options)
    write_revision(folder, "0001", None, SCHEMA)
    write_revision(folder, "0002", "0001", release)
    return config


def shop(folder: Path, engine: Engine, release: str = RELEASE) -> Config:
    """A project whose database lacks its second revision."""
    config = scripts(folder, engine, release)
    command.upgrade(config, "0001")
    return config


def saved_plan(
    config: Config,
    engine: Engine,
    copy: str | None = None,
    *,
    locked: Sequence[str] = LOCKED,
    objects: Objects | None = None,
) -> Saved:
    """The plan of what is pending, whose steps lock some relations.

    On a copy of the database it is tried what else they change. Its objects need not be read again
    where they are known.
    """
    directory = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        objects = objects or drift.objects_of(connection)
        stamped = revisions.stamped(connection)
        place = Place.read(connection, revisions.VERSION_TABLE)
    pending = revisions.pending(directory, stamped)
    plan = Plan(
        Database(place.database, place.server, tuple(stamped)),
        planned.IN_ORDER.circumstances,
        planned.IN_ORDER.shadow,
        pending=tuple(Revision(script.revision, "", script.path) for script in pending),
        steps=steps(*locked),
    )
    changed = frozenset[Key]() if copy is None else changes(config, copy, pending, objects)
    return document.saved(plan, place, objects, changed, document.digests(config, pending))


def changes(
    config: Config, copy: str, pending: Sequence[Script], before: Objects
) -> frozenset[Key]:
    """The objects that scripts make, change or drop."""
    engine = create_engine(copy, poolclass=NullPool)
    replay.upgrade(config, engine.url, pending)
    with engine.connect() as connection:
        return document.changes(before, drift.objects_of(connection))


def steps(*relations: str) -> tuple[Step, ...]:
    """A step that locks some relations."""
    effects = tuple(planned.effect(name, LockMode.ACCESS_EXCLUSIVE) for name in relations)
    return (replace(planned.STEPS[0], revision="0002", effects=effects),)


def job(sleep: Callable[[float], None] = lambda _seconds: None, attempts: int = 3) -> Job:
    """The choices of a run that waits for 100 ms, and sleeps as the test says."""
    return Job(Patience(100, attempts), sleep=sleep, uniform=lambda _low, high: high)


def in_autocommit(*statements: str) -> str:
    """A part of a script that runs statements outside of transactions."""
    lines = "\n".join(f"    op.execute({text!r})" for text in statements)
    return f"with op.get_context().autocommit_block():\n{lines}\n"


def stamped(observer: Connection) -> list[str]:
    """The revisions of the database."""
    query = "SELECT version_num FROM alembic_version"
    return list(observer.exec_driver_sql(query).scalars())


def in_one_transaction(config: Config) -> None:
    """Let env.py run all revisions in one transaction, as Alembic's own template does."""
    file = Path(str(config.get_main_option("script_location"))) / "env.py"
    file.write_text(file.read_text().replace("transaction_per_migration=True,", ""))
