"""How the same is done without stopping those who use a table."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from alembic_enterprise.errors import EnterpriseError
from alembic_enterprise.indexes.operations import (
    AddForeignKeyOnline,
    CreateIndexOnline,
    CreateUniqueConstraintOnline,
    SetNotNullOnline,
)
from alembic_enterprise.operation import Operation
from alembic_enterprise.plan.model import Step
from alembic_enterprise.plan.rules.facts import Facts
from alembic_enterprise.plan.rules.reading import name, names, shape
from alembic_enterprise.sql import Name


class Alternative(NamedTuple):
    """What to do instead, as words that follow a colon, and the operations for it."""

    text: str
    operations: tuple[Operation, ...] = ()


def alternative(facts: Facts, step: Step) -> Alternative:
    """What to do instead of a step that reads or writes all rows of a table."""
    for created in facts.said(step, _CREATE_INDEX):
        return Alternative("build it with op.create_index_online", _index(created))
    for table, action in facts.actions(step):
        for way in _WAYS:
            if match := way.shape.match(action):
                return Alternative(way.text, way.operations(table, match))
    return Alternative("do it while nobody needs the table, or find a way without it")


_CREATE_INDEX = shape(
    r"CREATE(?P<unique> UNIQUE)? INDEX( CONCURRENTLY)?( IF NOT EXISTS)?( {index})? ON( ONLY)?"
    r" {table}( USING (?P<using>\w+))?\s*\((?P<columns>[^()]*)\)?(?P<rest>.*)"
)


def _index(match: re.Match[str]) -> tuple[Operation, ...]:
    """The operation for an index with a name, on columns and nothing else."""
    columns, table = names(match["columns"]), name(match["table"])
    if not columns or not match["index"] or match["rest"].strip():
        return ()
    return _operation(
        CreateIndexOnline,
        name=name(match["index"]).name,
        table=table.name,
        columns=[column.name for column in columns],
        schema=table.schema,
        unique=bool(match["unique"]),
        using=match["using"],
    )


def _operation(kind: Callable[..., Operation], **arguments: object) -> tuple[Operation, ...]:
    """An operation; none when its arguments are refused, as a name that is too long."""
    try:
        return (kind(**arguments),)
    except EnterpriseError:
        return ()


def _not_null(table: Name, match: re.Match[str]) -> tuple[Operation, ...]:
    column = name(match["column"]).name
    return _operation(SetNotNullOnline, table=table.name, column=column, schema=table.schema)


def _unique(table: Name, match: re.Match[str]) -> tuple[Operation, ...]:
    if not match["constraint"] or match["rest"].strip():
        return ()
    return _operation(
        CreateUniqueConstraintOnline,
        constraint_name=name(match["constraint"]).name,
        table=table.name,
        columns=[column.name for column in names(match["columns"])],
        schema=table.schema,
    )


def _foreign_key(table: Name, match: re.Match[str]) -> tuple[Operation, ...]:
    if not match["constraint"] or match["rest"].strip():
        return ()
    referent = name(match["referent"])
    return _operation(
        AddForeignKeyOnline,
        constraint_name=name(match["constraint"]).name,
        source_table=table.name,
        referent_table=referent.name,
        local_cols=[column.name for column in names(match["columns"])],
        remote_cols=[column.name for column in names(match["remote"])],
        ondelete=match["ondelete"],
        source_schema=table.schema,
        referent_schema=referent.schema,
    )


def _none(_table: Name, _match: re.Match[str]) -> tuple[Operation, ...]:
    return ()


class _Way(NamedTuple):
    """What ALTER TABLE does, and what does the same."""

    shape: re.Pattern[str]
    text: str
    operations: Callable[[Name, re.Match[str]], tuple[Operation, ...]] = _none


_WAYS: Sequence[_Way] = (
    _Way(
        shape("ALTER( COLUMN)? {column} SET NOT NULL"),
        "forbid nulls with op.set_not_null_online",
        _not_null,
    ),
    _Way(
        shape(r"ADD( CONSTRAINT {constraint})? UNIQUE\s*\((?P<columns>[^()]*)\)(?P<rest>.*)"),
        "add it with op.create_unique_constraint_online",
        _unique,
    ),
    _Way(
        shape(r"ADD( CONSTRAINT {constraint})? PRIMARY KEY"),
        "build a unique index with op.create_index_online, and add the key USING INDEX",
    ),
    _Way(
        shape(
            r"ADD( CONSTRAINT {constraint})? FOREIGN KEY\s*\((?P<columns>[^()]*)\) REFERENCES"
            r" {referent}\s*\((?P<remote>[^()]*)\)"
            r"( ON DELETE (?P<ondelete>CASCADE|SET NULL|RESTRICT))?(?P<rest>.*)"
        ),
        "add it with op.add_foreign_key_online",
        _foreign_key,
    ),
    _Way(
        shape(r"ADD( CONSTRAINT {constraint})? CHECK"),
        "add it NOT VALID, and run VALIDATE CONSTRAINT in a later transaction",
    ),
    _Way(shape("VALIDATE CONSTRAINT"), "validate it in a later transaction, without that lock"),
    _Way(
        shape(r"ALTER( COLUMN)? {column}( SET DATA)? TYPE"),
        "add a column of the new type, fill it in batches, and let a later release use it",
    ),
)
