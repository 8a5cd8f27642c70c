"""The live database as a review sees it, read while env.py has a connection to it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from psycopg.sql import SQL
from sqlalchemy import URL, CheckConstraint, MetaData

from alembic_enterprise import sessions, sql
from alembic_enterprise.environment import Visit, guarded
from alembic_enterprise.errors import ConfigurationError
from alembic_enterprise.finding import Finding
from alembic_enterprise.plan import advice, catalog, live, revisions
from alembic_enterprise.plan.accepted import Accepted
from alembic_enterprise.plan.catalog import Catalog
from alembic_enterprise.plan.live import Live
from alembic_enterprise.plan.proposal import autogenerate
from alembic_enterprise.plan.proposal.autogenerate import Changes
from alembic_enterprise.plan.saved.place import Place
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.schema.objects import Objects
from alembic_enterprise.plan.shadow.source import Source
from alembic_enterprise.sql import Name

Progress = Callable[[str], None]
"""Called with what comes next, in words."""

_PATIENT = SQL("SELECT set_config('idle_in_transaction_session_timeout', '0', true)")


@dataclass(frozen=True)
class Request:
    """What is asked of a review.

    Attributes:
        now: the moment of the review (aware).
        accepted: by the project.
        message: what the proposed revision is called.
        shadow_url: a server for the shadow; None for a private one.
        has_shadow: whether anything is measured.
        proves: whether the downgrade and the rest are tried.
        whole: whether the shadow gets all partitions.
        saves: whether the plan is to be saved.
    """

    now: datetime
    accepted: Accepted
    message: str = "proposed"
    shadow_url: URL | None = None
    has_shadow: bool = True
    proves: bool = True
    whole: bool = False
    saves: bool = False


@dataclass(frozen=True)
class Seen:
    """What was read of the live database.

    Attributes:
        models: those of env.py.
        pending: the scripts that it lacks.
        changes: what it lacks of the models; None while scripts are pending.
        large: tables whose indexes are to be built online.
        plugins: `autogenerate_plugins` of env.py.
        is_one_transaction: whether env.py runs all revisions in one, without
            `transaction_per_migration`.
        catalog: of the database.
        advised: what the capabilities remark.
        coverage: what was not looked at, a sentence each.
        place: what database it is; None unless the plan is to be saved.
        objects: all that is there; empty unless it is.
        source: what a shadow is made of; None when there is to be none.
    """

    live: Live
    version_table: Name
    models: Sequence[MetaData]
    pending: Sequence[Script]
    changes: Changes | None
    large: set[Name]
    plugins: Sequence[str]
    is_one_transaction: bool
    catalog: Catalog
    advised: Sequence[Finding]
    coverage: Sequence[str]
    place: Place | None
    objects: Objects
    source: Source | None


def look(visit: Visit, config: Config, request: Request) -> Seen:
    """Read the live database in one transaction, which is ended with it.

    Raises:
        ConfigurationError: env.py gives no models, or the scripts are not what can be run.
    """
    if not visit.metadata:
        raise ConfigurationError(
            "env.py gives context.configure() no target_metadata, so there are no models to "
            "compare with: import them there, and write target_metadata=Base.metadata"
        )
    sessions.require_direct(visit.engine)
    connection, context = visit.connection, visit.context
    version_table = Name(context.version_table_schema, context.version_table)
    sql.read_only(connection)
    sql.rows(connection, _PATIENT)  # models of many tables take their time to be compared
    directory = ScriptDirectory.from_config(config)
    with guarded(directory):
        pending = revisions.pending(directory, revisions.stamped(connection, version_table))
    changes = None if pending else autogenerate.compared(context, request.message)
    known = live.read(connection, version_table, request.now)
    advised, unseen = advice.advised(connection, visit.metadata)
    source = None
    if request.has_shadow:
        source = Source.read(connection, version_table, whole=request.whole)
    large, relations = autogenerate.large_tables(context), catalog.read(connection)
    place = Place.read(connection, version_table) if request.saves else None
    objects: Objects = {}
    if request.saves:
        objects = drift.objects_of(connection)  # ends the transaction
    seen = Seen(
        live=known,
        version_table=version_table,
        models=visit.metadata,
        pending=pending,
        changes=changes,
        large=large,
        plugins=tuple(visit.opts.get("autogenerate_plugins") or ()),
        is_one_transaction=not visit.opts.get("transaction_per_migration"),
        catalog=relations,
        advised=advised,
        coverage=(*known.coverage, *unseen, *_uncompared(visit.metadata)),
        place=place,
        objects=objects,
        source=source,
    )
    connection.rollback()  # whoever alters a table would wait for the end of it
    return seen


def _uncompared(models: Sequence[MetaData]) -> Iterator[str]:
    """What autogenerate does not look at (Alembic docs, "What does Autogenerate Detect")."""
    tables = (table for part in models for table in part.tables.values())
    if any(isinstance(item, CheckConstraint) for table in tables for item in table.constraints):
        yield "CHECK constraints of the models are not compared: Alembic does not"
