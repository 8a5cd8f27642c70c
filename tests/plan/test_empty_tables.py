"""Tables without rows tell of a statement what those with rows do: the table of locks has it."""

import pytest
from lock_forms import FORMS, Form
from lock_forms.layouts import COMMON, INDEX_OF, LAYOUTS
from psycopg.sql import SQL
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.plan.locks.table import Role, load
from alembic_enterprise.plan.locks.traces import Look, Relation, Traces, difference, look, relations

OTHERWISE = {
    # Rows have no value for the column, and the server refuses it.
    "alter-table-add-column-not-null",
    # Up to 15, keys are looked up row by row; see `traces`.
    "add-foreign-key-to-partitioned",
    "detach-partition-of-referenced",
}
"""Forms that do something else to tables without rows, on a server at least."""


@pytest.fixture
def connection(connection: Connection) -> Connection:
    """A connection to a database with all tables that forms are measured on, emptied."""
    [(is_superuser,)] = sql.rows(
        connection, SQL("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    )
    if not is_superuser:
        pytest.skip("forms are measured by a superuser")
    sql.execute(connection, SQL(COMMON))
    for layout in LAYOUTS:
        sql.execute(connection, SQL(layout.schema))
    connection.commit()
    tables = [one.name.sql for one in relations(connection).values() if one.kind in "rp"]
    sql.execute(connection, SQL("TRUNCATE {}").format(SQL(", ").join(tables)))
    sql.execute(connection, SQL("REFRESH MATERIALIZED VIEW totals"))
    connection.commit()
    return connection


def test_empty_tables_tell_the_same(connection: Connection) -> None:
    [(major,)] = sql.rows(connection, SQL("SELECT current_setting('server_version_num')::int"))
    connection.rollback()
    told = load()
    measured = [(form, *found) for form in FORMS if (found := traces(connection, form))]
    assert len(measured) > 200
    different = {
        form.name
        for form, before, found in measured
        if (expected := told.of(form.name, major // 10000)) is None
        or roles(form, before, found) != (expected.rewrites, expected.scans)
    }
    assert different <= OTHERWISE


def traces(connection: Connection, form: Form) -> tuple[Look, Traces] | None:
    """What a form leaves in its transaction; None when it is refused there.

    What has changed since the look before is all that has changed.
    """
    before = look(connection)
    try:
        sql.execute(connection, SQL(form.statement))
        after, whole = look(connection, before), look(connection)
    except DBAPIError:
        return None
    else:
        assert (after.relations, after.locks) == (whole.relations, whole.locks)
        assert whole.scans.items() <= after.scans.items()
        assert after.relations.keys().isdisjoint(after.scans.keys() - whole.scans.keys())
        return before, difference(before, after)
    finally:
        connection.rollback()


def roles(form: Form, before: Look, found: Traces) -> tuple[frozenset[Role], frozenset[Role]]:
    """What is rewritten and scanned, as the table of locks tells it."""

    def of(relation: Relation) -> Role:
        table = before.relations[relation.oid if relation.table is None else relation.table]
        role = form.layout.roles[table.name.name]
        return role if table is relation else INDEX_OF[role]

    each = (found.rewritten, found.scanned)
    rewritten, scanned = (frozenset(of(before.relations[oid]) for oid in oids) for oids in each)
    return rewritten, scanned
