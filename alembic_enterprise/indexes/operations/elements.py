"""What follows the table in CREATE INDEX, and the same in a model."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import ClauseElement, ColumnClause, ColumnElement, Index, TextClause
from sqlalchemy.dialects import postgresql

from alembic_enterprise.errors import OperationError
from alembic_enterprise.operation import Operation
from alembic_enterprise.partitions.declaration import NAME_BYTES
from alembic_enterprise.sql import Name


class Expression(str):
    """An element of an index that is not a plain column: `lower(email)`, `"at" DESC`.

    It is rendered as `sa.text('lower(email)')`; a script takes other elements of SQLAlchemy, too.
    """

    __slots__ = ()

    @classmethod
    def of(cls, element: "str | ColumnElement[Any] | TextClause") -> str:
        r"""The name of a column as it is, and the SQL of anything else.

        `\:` is a colon, as SQLAlchemy has it. A `:name` is taken as it is written, where SQLAlchemy
        would make it NULL: DDL has no parameters.
        """
        if isinstance(element, str):
            return element
        if not isinstance(element, TextClause):
            return _compiled(element, {})
        return cls(_ESCAPED.sub(lambda found: found[0].removeprefix("\\"), element.text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __repr__(self) -> str:
        return self.written("sa.")

    def written(self, sqlalchemy: str) -> str:
        """What is written in a script, which calls SQLAlchemy so: `sa.`."""
        return f"{sqlalchemy}text({str.__repr__(self.escaped)})"

    @property
    def escaped(self) -> str:
        """The text to write into `text()`, which compiles to this."""
        return _TO_ESCAPE.sub(lambda found: "\\" + found[0], self)


_ESCAPED = re.compile(r"\\:\w*(?![:\w])")
_TO_ESCAPE = re.compile(rf"(?<![:\w\\]):\w+(?![:\w])|{_ESCAPED.pattern}")
"""Colons that `text()` takes for escaped, and those that it would take for that or a parameter."""


@dataclass
class IndexArguments(Operation):
    """The arguments of an operation on an index, and what follows from them."""

    name: str
    table: str
    columns: Sequence[str] = ()
    schema: str | None = None
    unique: bool = False
    using: str | None = None
    include: Sequence[str] = ()
    where: str | None = None
    nulls_not_distinct: bool = False
    with_: Mapping[str, Any] | None = None
    tablespace: str | None = None
    operator_classes: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Raise `OperationError` when the name is too long, or a column is not one."""
        given: Sequence[Any] = self.columns  # a script may have what the type forbids
        for item in given:
            if not isinstance(item, str | ColumnElement | TextClause):
                raise OperationError(
                    f"{self.operation_name}({self.name!r}): {item!r} is neither a column nor SQL: "
                    'give "customer_id", or sa.text("lower(email)")'
                )
        self.columns = [*map(Expression.of, self.columns)] or ()
        self.include = [*self.include] or ()
        self.where = None if self.where is None else str(_condition(self.where))
        if len(self.name.encode()) > NAME_BYTES:
            raise OperationError(
                f"{self.operation_name}({self.name!r}): PostgreSQL would cut this name, it has "
                f"{len(self.name.encode())} bytes: choose one of at most {NAME_BYTES}"
            )

    def words(self, sqlalchemy: str = "sa.") -> list[str]:
        """The arguments as they are written in a call."""
        columns = [
            item.written(sqlalchemy) if isinstance(item, Expression) else repr(item)
            for item in self.columns
        ]
        written = f"columns=[{', '.join(columns)}]"
        return [
            written if word.startswith("columns=") else word for word in super().words(sqlalchemy)
        ]

    @property
    def relation(self) -> Name:
        """The table."""
        return Name(self.schema, self.table)

    @property
    def definition(self) -> Composable:
        """What follows the name of the table in CREATE INDEX."""
        return SQL(" ").join(self._clauses())

    def _clauses(self) -> Iterator[Composable]:
        if self.using is not None:
            yield SQL("USING {}").format(Identifier(self.using))
        yield SQL("({})").format(SQL(", ").join(map(self._element, self.columns)))
        if self.include:
            yield SQL("INCLUDE ({})").format(SQL(", ").join(map(Identifier, self.include)))
        if self.nulls_not_distinct:
            yield SQL("NULLS NOT DISTINCT")
        if self.with_:
            yield SQL("WITH ({})").format(SQL(", ").join(self._parameters()))
        if self.tablespace is not None:
            yield SQL("TABLESPACE {}").format(Identifier(self.tablespace))
        if self.where is not None:
            yield SQL("WHERE {}").format(verbatim(self.where))

    def _element(self, column: str) -> Composable:
        name = verbatim(column) if isinstance(column, Expression) else Identifier(column)
        operator_class = (self.operator_classes or {}).get(column)
        return name if operator_class is None else name + SQL(" ") + verbatim(operator_class)

    def _parameters(self) -> Iterator[Composable]:
        for name, value in (self.with_ or {}).items():
            yield SQL("{} = {}").format(Identifier(name), Literal(value))

    def model_line(self) -> str:
        """The line for the model: `Index("ix_orders_customer_id", "customer_id")`."""
        words = [_quoted(self.name), *map(_quoted, self.columns)]
        if self.unique:
            words.append("unique=True")
        words += [f"postgresql_{key}={_quoted(value)}" for key, value in self._dialect_options()]
        return f"Index({', '.join(words)})"

    def _dialect_options(self) -> Iterator[tuple[str, Any]]:
        options = {
            "using": self.using,
            "include": self.include and [*self.include],
            "where": self.where and Expression(self.where),
            "nulls_not_distinct": self.nulls_not_distinct,
            "with": self.with_ and {**self.with_},
            "tablespace": self.tablespace,
            "ops": self.operator_classes and {**self.operator_classes},
        }
        return ((key, value) for key, value in options.items() if value)


def arguments_of(index: Index) -> dict[str, Any]:
    """What SQLAlchemy would write for an index of a model, as arguments."""
    options = index.dialect_options["postgresql"]
    classes: dict[str, str] = options["ops"] or {}
    # Names stand among them only as long as the index has no table.
    elements = cast("Sequence[ColumnElement[Any]]", index.expressions)
    columns = [_compiled(element, classes) for element in elements]
    where = options["where"]
    return {
        "columns": columns,
        "unique": bool(index.unique),
        "using": options["using"] or None,
        "include": [getattr(item, "name", item) for item in options["include"] or ()],
        "where": where if where is None or isinstance(where, str) else _text(where),
        "nulls_not_distinct": bool(options.get("nulls_not_distinct")),  # SQLAlchemy 2.0.16
        "with_": options["with"] or None,
        "tablespace": options["tablespace"] or None,
        "operator_classes": {
            element.name: classes[element.key]
            for element in elements
            if isinstance(element, ColumnClause) and element.key in classes
        }
        or None,
    }


def _condition(where: str | ClauseElement) -> str:
    return Expression.of(where) if isinstance(where, str | TextClause) else _text(where)


def _compiled(element: ColumnElement[Any], classes: Mapping[str, str]) -> str:
    """The name of a column, or the text of anything else with its operator class."""
    if isinstance(element, ColumnClause) and not element.is_literal:
        return str(element.name)
    words = [_text(element.self_group()), classes.get(getattr(element, "key", None) or "")]
    return Expression(" ".join(filter(None, words)))


def _text(element: ClauseElement) -> str:
    # With another paramstyle, SQLAlchemy doubles each per cent sign.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy's
    options = {"literal_binds": True, "include_table": False}
    return str(element.compile(dialect=dialect, compile_kwargs=options))


def verbatim(text: str) -> SQL:
    """What a script has as SQL."""
    return SQL(str(text))  # pyright: ignore[reportArgumentType]  # the script's author wrote it as SQL


def _quoted(value: Any) -> str:
    """A literal of Python, in double quotes as people write models."""
    if isinstance(value, Expression):
        return f"text({_text_literal(value.escaped)})"
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{_quoted(key)}: {_quoted(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        items = cast("Iterable[Any]", value)
        return "[" + ", ".join(map(_quoted, items)) + "]"
    return _text_literal(value) if isinstance(value, str) else repr(value)


_text_literal = json.JSONEncoder(ensure_ascii=False).encode
