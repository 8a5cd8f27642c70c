"""RecommendedIndexes: what is declared once, for all tables of a MetaData."""

from collections.abc import Iterable, Mapping
from typing import cast

from sqlalchemy import MetaData

from alembic_enterprise.errors import DeclarationError
from alembic_enterprise.partitions.declaration import words

FOREIGN_KEYS = "foreign-key-without-index"
TIME_KEYS = "brin-time-key"

RULE_IDS = (FOREIGN_KEYS, TIME_KEYS)
"""The rules that models alone can answer."""

_INDEXES = "alembic_enterprise.indexes"


class RecommendedIndexes:
    """Declares that autogenerate gives the tables of a MetaData the indexes they lack.

    Stands once, beside the models:

        class Base(DeclarativeBase):
            pass

        RecommendedIndexes(Base.metadata, skip={"orders.region": "three values only"})

    Autogenerate then compares as if each index were in the models, so that the next script creates
    it, and no later one has anything to do. One that the models have already, by any name, is not
    made twice. `metadata.create_all()` makes the models' own indexes only; in a process that ran
    autogenerate before, also the recommended ones, as those stay on the MetaData. Later
    comparisons are not affected.

    Args:
        metadata: the MetaData, which may get its tables later.
        rules: "foreign-key-without-index" indexes the columns of foreign keys that no index covers;
            "brin-time-key" gives each table with `RangePartitions` a BRIN index on its key, which
            suits partitions that are large, whose rows are written in the order of time and not
            moved by updates.
        skip: columns that no recommended index may have, as "orders.region" or
            "sales.orders.region", by the names of the database; and why.

    Raises:
        DeclarationError: when the models are imported, with the declaration to write instead.
    """

    def __init__(
        self,
        metadata: MetaData,
        *,
        rules: Iterable[str] = (FOREIGN_KEYS,),
        skip: Mapping[str, str] | None = None,
    ) -> None:
        """Take the declaration; what it skips is looked up once all tables are known."""
        _check_metadata(metadata)
        self.rules = _rules(rules)
        self.skip = _skip({} if skip is None else skip)
        before = metadata.info.setdefault(_INDEXES, self)
        if repr(before) != repr(self):
            raise DeclarationError("two RecommendedIndexes on one MetaData; keep one of them")

    def __repr__(self) -> str:
        """The declaration as it would be written."""
        return f"RecommendedIndexes(metadata, rules={self.rules!r}, skip={self.skip!r})"


def declared_on(metadata: MetaData) -> RecommendedIndexes | None:
    """The declaration on a MetaData, if it has one."""
    found: RecommendedIndexes | None = metadata.info.get(_INDEXES)
    return found


def _check_metadata(given: object) -> None:
    if not isinstance(given, MetaData):
        raise DeclarationError(
            f"RecommendedIndexes({given!r}): write RecommendedIndexes(Base.metadata)"
        )


def _rules(given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise DeclarationError(f'rules="{given}": write rules=["{given}"]')
    rules = tuple(dict.fromkeys(given))
    unknown = [rule for rule in rules if rule not in RULE_IDS]
    if unknown:
        raise DeclarationError(
            f"RecommendedIndexes(rules=[{words(unknown)}]): models alone show "
            f"{words(RULE_IDS)}; `alembic-enterprise indexes advise` reports what needs the "
            "database"
        )
    return rules


def _skip(given: object) -> dict[str, str]:
    found = cast("Mapping[str, object]", given if isinstance(given, Mapping) else {"": None})
    reasons = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    if len(reasons) < len(found) or not all(map(str.strip, reasons.values())):
        raise DeclarationError(
            f"skip={given!r}: write the reason of each column: "
            'skip={"orders.region": "three values only"}'
        )
    return reasons
