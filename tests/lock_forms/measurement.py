"""Measuring the forms: the table of locks as one server has it."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from secrets import token_hex

from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.errors import ServerError
from alembic_enterprise.plan.locks.table import Effect, LockMode, Role, Table, strongest
from alembic_enterprise.plan.locks.traces import (
    Relations,
    Traces,
    by_relation,
    difference,
    look,
    new_files,
    own,
    relations,
)
from alembic_enterprise.plan.shadow.original import strategy
from alembic_enterprise.sessions import connect
from alembic_enterprise.sql import sqlstate
from lock_forms import FORMS, Form
from lock_forms.freezing import frozen
from lock_forms.layouts import COMMON, INDEX_OF, LAYOUTS

IN_TRANSACTION_BLOCK = "25001"
"""SQLSTATE active_sql_transaction: the statement has to run outside of a transaction block."""

ATTEMPTS = 1000
"""How often the statistics of a session that has ended are looked for, every 10 ms."""

_VERSION = SQL(
    "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version')"
)
_MARK = SQL("SELECT FROM marker")
_SCANNED = SQL("SELECT relid, relname FROM pg_catalog.pg_stat_user_tables WHERE seq_tup_read > 0")


def measure(url: str, forms: Iterable[Form] = FORMS) -> Table:
    """The effects of forms on a server.

    They are run as a superuser, in databases that are made for it and dropped at the end.

    Args:
        url: of a database from which others can be made.
        forms: those to measure.
    """
    forms = tuple(forms)
    with _databases(url) as make:
        furnished = make("template0")
        _furnish(furnished)
        with furnished.connect() as connection:
            [(major, version)] = sql.rows(connection, _VERSION)
            connection.rollback()
            inside = [(form, _inside(connection, form)) for form in forms]
        effects = {
            form.name: {major: effect or _outside(make(str(furnished.url.database)), form)}
            for form, effect in inside
        }
    return Table({major: version.split()[0]}, effects)


@contextmanager
def _databases(url: str) -> Generator[Callable[[str], Engine]]:
    """A function that makes a copy of a database; all copies are dropped at the end."""
    names: list[str] = []
    server = create_engine(url, poolclass=NullPool)
    with connect(server) as administrator:
        [(major, _)] = sql.rows(administrator, _VERSION)

        def make(template: str) -> Engine:
            name = f"alembic_enterprise_{token_hex(6)}"
            statement = SQL("CREATE DATABASE {} TEMPLATE {} {}")
            source = Identifier(template)
            sql.execute(administrator, statement.format(Identifier(name), source, strategy(major)))
            names.append(name)
            return create_engine(make_url(url).set(database=name), poolclass=NullPool)

        try:
            yield make
        finally:
            for name in names:
                statement = SQL("DROP DATABASE {} WITH (FORCE)")
                sql.execute(administrator, statement.format(Identifier(name)))


def _furnish(engine: Engine) -> None:
    """Make the relations of all layouts."""
    with connect(engine) as connection:
        sql.execute(connection, SQL(COMMON))
        for layout in LAYOUTS:
            sql.execute(connection, SQL(layout.schema))


def _inside(connection: Connection, form: Form) -> Effect | None:
    """The effect in a transaction, which is rolled back; None if it cannot run in one."""
    before = look(connection)
    try:
        sql.execute(connection, SQL(form.statement))
        return _effect(form, before.relations, difference(before, look(connection, before)))
    except DBAPIError as error:
        state = sqlstate(error)
        return None if state == IN_TRANSACTION_BLOCK else Effect(refused=state)
    finally:
        connection.rollback()


def _outside(engine: Engine, form: Form) -> Effect:
    """The effect of a statement that commits inside; nothing else happens in its database."""
    with connect(engine) as observer:
        before = relations(observer)
        try:
            locks = _freeze(engine, form, before)
        except DBAPIError as error:
            return Effect(in_transaction=False, refused=sqlstate(error))
        scanned = _scanned(observer)
        traces = Traces(locks, new_files(before, relations(observer)), scanned)
    return _effect(form, before, traces, in_transaction=False)


def _freeze(engine: Engine, form: Form, before: Relations) -> frozenset[tuple[int, LockMode]]:
    tables = [
        relation.name
        for relation in before.values()
        if relation.kind in "rp" and relation.name.name in form.layout.roles
    ]
    with connect(engine) as worker:
        locks = frozen(worker, engine, SQL(form.statement), tables)
        sql.rows(worker, _MARK)
    return frozenset((oid, mode) for oid, mode in locks if oid in before)


def _scanned(observer: Connection) -> frozenset[int]:
    """The tables that a session has read from beginning to end, once its statistics are there.

    They arrive after its end, up to 14 by way of another process. It read the marker last.
    """
    for _ in range(ATTEMPTS):
        found = dict(sql.rows(observer, _SCANNED))
        if "marker" in found.values():
            return frozenset(oid for oid, name in found.items() if name != "marker")
        sql.rows(observer, SQL("SELECT pg_catalog.pg_sleep(0.01)"))
    raise ServerError("The server has no statistics of a session that ended: set track_counts = on")


def _effect(
    form: Form, before: Relations, traces: Traces, *, in_transaction: bool = True
) -> Effect:
    """What happened, told by the roles of the relations."""
    held = by_relation(traces.locks)
    modes: dict[Role, set[LockMode]] = {}
    for oid in held:
        modes.setdefault(_role(form, before, oid), set()).update(own(held, before[oid]))
    return Effect(
        {role: strongest(found) for role, found in modes.items() if found},
        frozenset(_role(form, before, oid) for oid in traces.rewritten),
        frozenset(_role(form, before, oid) for oid in traces.scanned),
        in_transaction,
    )


def _role(form: Form, relations: Relations, oid: int) -> Role:
    """What a relation is to a form."""
    relation = relations[oid]
    table = relation if relation.table is None else relations[relation.table]
    role = form.layout.roles.get(table.name.name)
    if role is None:
        raise LookupError(f"{form.name} reaches {table.name}: give that a role in its layout")
    return role if table is relation else INDEX_OF[role]
