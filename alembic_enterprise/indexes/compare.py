"""Why autogenerate builds an index online: its table is large, and env.py asks for it.

    context.configure(..., online_indexes=True)

Alembic's `create_index` keeps everybody who writes to the table waiting until the index is built,
and `drop_index` keeps everybody waiting while it waits for its lock. For a large table both give
way to the operations that do not; the script is otherwise as Alembic wrote it.
"""

from collections.abc import Collection, Iterator

from alembic.operations import MigrateOperation
from alembic.operations.ops import (
    CreateIndexOp,
    CreateTableOp,
    DropIndexOp,
    DropTableOp,
    OpContainer,
)

from alembic_enterprise.errors import OperationError
from alembic_enterprise.indexes.operations import CreateIndexOnline, DropIndexOnline
from alembic_enterprise.operation import Operation
from alembic_enterprise.sql import Name

LARGE = 100 * 1024**2
"""Bytes above which a table is large, unless env.py says another number."""


def threshold(online_indexes: object) -> int | None:
    """Bytes above which a table is large, by the argument of `context.configure`; None for never.

    Raises `OperationError` when it is neither a boolean nor a number of bytes.
    """
    if online_indexes is None or online_indexes is False:
        return None
    if online_indexes is True:
        return LARGE
    if isinstance(online_indexes, int) and online_indexes >= 0:
        return online_indexes
    raise OperationError(
        f"online_indexes={online_indexes!r} is not a size: write True, or the bytes above which "
        "the indexes of a table are built online, in context.configure() of env.py"
    )


def tables(script: OpContainer) -> set[Name]:
    """Tables of which a script creates or drops an index, and which it neither makes nor drops."""
    steps = list(_steps(script))
    indexed = {_table(item) for item in steps if isinstance(item, CreateIndexOp | DropIndexOp)}
    passing = {_table(item) for item in steps if isinstance(item, CreateTableOp | DropTableOp)}
    return indexed - passing


def _steps(script: OpContainer) -> Iterator[MigrateOperation]:
    for item in script.ops:
        if isinstance(item, OpContainer):
            yield from _steps(item)
        else:
            yield item


def _table(item: CreateIndexOp | DropIndexOp | CreateTableOp | DropTableOp) -> Name:
    return Name(item.schema, item.table_name or "")


def rewrite(script: OpContainer, large: Collection[Name]) -> None:
    """Put online operations in the place of those on indexes of large tables."""
    for position, item in enumerate(script.ops):
        if isinstance(item, OpContainer):
            rewrite(item, large)
        elif isinstance(item, CreateIndexOp | DropIndexOp) and _table(item) in large:
            script.ops[position] = _online(item)


def committing(script: OpContainer) -> list[str]:
    """What to know of a script with online operations among others: those before are committed."""
    steps = list(_steps(script))
    online = [item for item in steps if isinstance(item, CreateIndexOnline | DropIndexOnline)]
    if not online or len(online) == len(steps):
        return []
    names = ", ".join(sorted(item.name for item in online))
    remark = (
        f"{names}: built or dropped online, which commits the operations before it. If it is "
        "stopped, the script cannot be run again from its beginning: move the operations on these "
        "indexes into a revision of their own"
    )
    return [remark]


def _online(item: CreateIndexOp | DropIndexOp) -> Operation:
    create = CreateIndexOnline.of(item.to_index())
    return create if isinstance(item, CreateIndexOp) else create.turned_into(DropIndexOnline)
