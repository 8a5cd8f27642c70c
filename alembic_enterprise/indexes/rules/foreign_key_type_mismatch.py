"""The rule foreign-key-type-mismatch."""

from collections.abc import Iterator

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog, ForeignKey, Table
from alembic_enterprise.indexes.remarks import remark

_ALIKE = {"character varying": "text"}
"""Types that are stored and compared as another one."""

_WIDTHS = {"smallint": 2, "integer": 4, "bigint": 8}


def foreign_key_type_mismatch(catalog: Catalog) -> Iterator[Finding]:
    """A foreign key whose column is of another type than the one it refers to.

    An integer column that refers to a bigint cannot take the values beyond
    2,147,483,647: those rows have nothing that can refer to them, and inserts fail
    when the first one does. A wider one wastes space in table and indexes. Each
    check and join converts one to the other.

    Asks for the type of the column that is referred to, which is for you to plan.
    It is a note when the column is the wider one.

    Costs a rewrite of the table, which nobody can use meanwhile.

    Compared are the types without their modifiers: varchar(20) is as good as
    varchar(50), or as text. A domain counts as the type below it.

    Leave it when the values that are referred to are few and stay small.
    """
    for table in catalog.flattened:
        for key in table.foreign_keys:
            if key.types != key.referred_types and (pairs := _different(key)):
                yield _finding(catalog, table, key, pairs)


def _different(key: ForeignKey) -> list[tuple[str, str, str, str]]:
    every = zip(key.columns, key.types, key.referred_columns, key.referred_types, strict=True)
    return [
        (column, kind, other, far)
        for column, kind, other, far in every
        if _ALIKE.get(kind, kind) != _ALIKE.get(far, far)
    ]


def _finding(
    catalog: Catalog, table: Table, key: ForeignKey, pairs: list[tuple[str, str, str, str]]
) -> Finding:
    wider = all(_WIDTHS.get(kind, 0) > _WIDTHS.get(far, 9) for _, kind, _, far in pairs)
    told = ", ".join(
        f"{column} is {kind} and {key.referred}.{other} is {far}"
        for column, kind, other, far in pairs
    )
    return remark(
        "foreign-key-type-mismatch",
        "note" if wider else "warning",
        catalog,
        table,
        f"{told}: give both the same type ({key.name})",
        foreign_keys=[key.name],
        columns=[column for column, *_ in pairs],
        types=[kind for _, kind, *_ in pairs],
        referred_types=[far for *_, far in pairs],
    )
