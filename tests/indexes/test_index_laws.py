"""The three laws over the operations that build and drop an index, with names that hurt."""

from dataclasses import replace

import laws
import pytest
from golden_files import golden
from laws import Example
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection

from alembic_enterprise.indexes.operations import CreateIndexOnline, DropIndexOnline, Expression
from alembic_enterprise.sql import text_of

NAMES = [
    ("public", "orders"),
    ("Mixed Schema", 'we"ird'),
    ("sales", "select"),
    ("public", "ö" * 30),
    ("public", "o" * 63),
    ("public", "$block$ :x %s 'quoted' \\"),
]

LOWER = Expression("lower(\"Note :x\") DESC, (note ||  ':x %s \\')")


def setup(schema: str, name: str) -> tuple[str, ...]:
    """Statements that make a plain table, and one with partitions, and some of those nested."""
    columns = '(id bigint, customer integer, "Note :x" text, note text, tags text[])'
    table, plain = Identifier(schema, name), Identifier(schema, name[:20] + " plain")
    parts = [Identifier(schema, name[:20] + suffix) for suffix in ("_1", "_2", "_2_1")]
    long = Identifier(schema, (name * 40)[:62] if name.isascii() else "ä" * 31)
    statements = [
        SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)),
        SQL("CREATE TABLE {} " + columns).format(plain),
        SQL("CREATE TABLE {} " + columns + " PARTITION BY RANGE (id)").format(table),
        SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM (0) TO (9)").format(parts[0], table),
        SQL(
            "CREATE TABLE {} PARTITION OF {} FOR VALUES FROM (9) TO (19) PARTITION BY RANGE (id)"
        ).format(parts[1], table),
        SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM (9) TO (19)").format(
            parts[2], parts[1]
        ),
        SQL("CREATE TABLE {} PARTITION OF {} DEFAULT").format(long, table),
        SQL(
            "INSERT INTO {} SELECT n, n, 'a' || n, 'b', ARRAY['c'] FROM generate_series(0, 29) AS n"
        ).format(table),
    ]
    return tuple(map(text_of, statements))


def operations(schema: str, name: str) -> list[CreateIndexOnline]:
    """One of every shape."""
    create = CreateIndexOnline("ix " + name[:18], name, ["customer"], schema)
    plain = replace(create, table=name[:20] + " plain")
    return [
        plain,
        replace(create, columns=["id", "customer"], unique=True, include=["Note :x"]),
        replace(create, columns=["Note :x", LOWER], where="note <> ':x %s {}' AND customer > 0"),
        replace(create, columns=["tags"], using="gin", with_={"fastupdate": False}),
        replace(
            create,
            columns=["note", "Note :x"],
            operator_classes={"note": "text_pattern_ops"},
            with_={"fillfactor": 70},
        ),
        create,
        replace(plain, tablespace="pg_default", unique=True),
    ]


def examples(schema: str, name: str) -> list[Example]:
    return [Example(operation, setup(schema, name)) for operation in operations(schema, name)]


@pytest.mark.parametrize(("schema", "name"), NAMES)
def test_operations_render(schema: str, name: str) -> None:
    for operation in operations(schema, name):
        laws.renders(operation)
        laws.renders(operation.reverse())
        assert operation.reverse().reverse() == operation


def test_rendered_text_is_golden() -> None:
    shapes = operations("sales", "orders")
    shapes.append(replace(shapes[1], nulls_not_distinct=True, include=()))
    texts = [laws.rendered(item) for create in shapes for item in (create, create.reverse())]
    texts += [operation.model_line() for operation in shapes]
    golden("index_operations.txt", "\n\n".join(texts) + "\n")


@pytest.mark.parametrize("number", range(7))
def test_operations_reverse(connection: Connection, number: int) -> None:
    laws.reverses(connection, examples(*NAMES[number % 6])[number])


@pytest.mark.parametrize("number", [0, 5])
def test_dropping_reverses(connection: Connection, number: int) -> None:
    create, *_ = [examples("Mixed Schema", 'we"ird')[number].operation]
    assert isinstance(create, CreateIndexOnline)
    laws.prepare(connection, Example(create, setup("Mixed Schema", 'we"ird')))
    laws.apply(connection, [create])
    laws.reverses(connection, Example(create.reverse()))


def test_parts_of_long_names_keep_apart(connection: Connection) -> None:
    """They are cut, never through a character, and end in the beginning of a hash."""
    laws.prepare(connection, Example(DropIndexOnline("ix", "x"), setup("public", "ö" * 30)))
    laws.apply(connection, [CreateIndexOnline("ix_of_customers", "ö" * 30, ["customer"])])
    query = "SELECT relname FROM pg_class WHERE relname ~ '^ä' AND relkind = 'i'"
    [name] = connection.exec_driver_sql(query).scalars()
    assert name[:28] == "ä" * 27 + "_"
    assert len(name) == 27 + 1 + 8
