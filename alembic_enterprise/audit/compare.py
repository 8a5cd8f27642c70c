"""Why autogenerate emits something: the declared trails against the live ones, and the script.

What Alembic found so far counts, because a trail follows the columns of its table: it is altered
after columns are added, and before some are dropped, as its function would still name them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from alembic.operations import MigrateOperation
from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    ModifyTableOps,
)

from alembic_enterprise.audit.catalog import AuditedTable, Trails
from alembic_enterprise.audit.model import Trail
from alembic_enterprise.audit.operations import (
    AddAuditColumns,
    AlterAuditTrail,
    CreateAuditTrail,
    DropAuditColumns,
    DropAuditTrail,
)
from alembic_enterprise.errors import MismatchError
from alembic_enterprise.operation import InOrder, Operation
from alembic_enterprise.sql import Name


def compare(
    declared: Mapping[Name, AuditedTable],
    live: Trails,
    script: Sequence[MigrateOperation],
    models: Iterable[Name],
    resolve: Callable[[Name], Name],
) -> list[Operation]:
    """Operations that make the live trails what the models declare, at most one for each table.

    Args:
        declared: the audited tables of the models that take part.
        live: the trails of the database.
        script: what it does otherwise.
        models: names of all tables of the models that take part, audited or not.
        resolve: fills in the schema of a name.

    Raises:
        MismatchError: when a history cannot be the one declared. All such tables are named at once.
    """
    dropped = [_name(item) for item in script if isinstance(item, DropTableOp)]
    left = {**live.tables}
    found: list[Operation] = []
    for name in (*dropped, *(name for name in models if name not in declared)):
        if trail := left.pop(resolve(name), None):
            about = (name, trail.history, trail.trail)
            found.append(DropAuditTrail.of(*about, baseline=name not in dropped))
    pairs = [(table, left.get(resolve(name))) for name, table in declared.items()]
    _refuse_mismatches(pairs, {trail.history: trail for trail in left.values()})
    for table, trail in pairs:
        steps = _steps(script, table.name, resolve)
        found += _operations(table, trail, steps, live)
    return found


def reasons(found: Iterable[Operation], live: Trails, resolve: Callable[[Name], Name]) -> list[str]:
    """What drifted of the trails that are altered, a line for each."""
    altered = [live.tables.get(resolve(x.name)) for x in found if isinstance(x, AlterAuditTrail)]
    return [f"{table.name}: {table.trouble}" for table in altered if table and table.drift]


def growing(found: Iterable[Operation]) -> list[Name]:
    """The histories whose tables get columns by the same script."""
    return [item.history_name for item in found if isinstance(item, AlterAuditTrail) and item.added]


def stale(found: Iterable[Operation], held: Mapping[Name, Collection[str]]) -> list[str]:
    """What `as_of` will show otherwise than the table has it, until a row changes: a line for each.

    Args:
        found: the operations.
        held: the columns of the histories that `growing` names.
    """
    return [
        remark
        for item in found
        if isinstance(item, AlterAuditTrail)
        for remark in (*_kept_otherwise(item), *_added_again(item, held))
    ]


def _kept_otherwise(item: AlterAuditTrail) -> Iterator[str]:
    gone = item.without or ()
    for name, shown in (("exclude", "NULL"), ("mask", "***"), ("hash", "its sha256")):
        before: tuple[str, ...] = getattr(item.previous or item.trail, name)
        for column in before:
            if column not in getattr(item.trail, name) and column not in gone:
                yield (
                    f"{item.name}: {column} is not in {name}= any more: as_of() has {shown} for "
                    "rows that do not change from now on. To have their values, drop the trail "
                    "and make it anew: op.drop_audit_trail, op.create_audit_trail"
                )


def _added_again(item: AlterAuditTrail, held: Mapping[Name, Collection[str]]) -> Iterator[str]:
    for column in item.added or ():
        if column in held.get(item.history_name, ()):
            yield (
                f"{item.name}: its history has a column {column} from before: as_of() has the old "
                "values for rows that do not change from now on. To keep them apart, run ALTER "
                f"TABLE {item.history_name} RENAME {column} TO ... before op.alter_audit_trail"
            )


def _refuse_mismatches(
    pairs: Sequence[tuple[AuditedTable, AuditedTable | None]],
    keepers: Mapping[Name, AuditedTable],
) -> None:
    found = (mismatch(table, trail, keepers.get(table.history)) for table, trail in pairs)
    if problems := [text for text in found if text]:
        raise MismatchError("\n".join(problems))


def mismatch(
    declared: AuditedTable, live: AuditedTable | None, keeper: AuditedTable | None
) -> str | None:
    """Why a table cannot have the declared history, or None.

    Args:
        declared: the table of the models.
        live: its live trail.
        keeper: the live trail that has the declared history.
    """
    if live is not None and live.history != declared.history:
        return (
            f"{declared.name}: the model declares the history {declared.history}, but the database "
            f"has {live.history}. Write AuditTrail(schema={live.history.schema!r}, "
            f"history={live.history.name!r}). Or migrate once without AuditTrail(...), which "
            "leaves that history as it is, and then with it, which begins another"
        )
    if live is None and keeper is not None:
        return (
            f"{declared.name}: the model declares the history {declared.history}, which is that of "
            f'{keeper.name}: write AuditTrail(history="...") with another name'
        )
    return None


def _operations(
    declared: AuditedTable,
    live: AuditedTable | None,
    steps: Sequence[MigrateOperation],
    trails: Trails,
) -> list[Operation]:
    about = (declared.name, declared.history, declared.trail)
    if live is None and declared.history not in trails.torn:
        new = any(isinstance(step, CreateTableOp) for step in steps)
        create = CreateAuditTrail.of(*about, baseline=declared.baseline and not new)
        create.kept = declared.history in trails.kept
        return [create]
    added, without = _added(steps), _dropped(steps)
    in_order = live is not None and not live.drift and live.trail == declared.trail
    retyped = any(_retypes(step, declared.trail) for step in steps)
    if in_order and not (added or without or retyped):
        return []
    alter = AlterAuditTrail.of(*about, added=added or None, without=without or None)
    alter.previous = None if live is None else live.trail
    alter.concurrently = live is None or live.gap  # else writers wait while rows are copied
    return [alter]


def _steps(
    script: Iterable[MigrateOperation], name: Name, resolve: Callable[[Name], Name]
) -> list[MigrateOperation]:
    """What a script does to a table: that it creates it, or each change it makes to it."""
    return [
        step
        for item in script
        if isinstance(item, CreateTableOp | ModifyTableOps)
        and resolve(_name(item)) == resolve(name)
        for step in (item.ops if isinstance(item, ModifyTableOps) else [item])
    ]


def _name(item: CreateTableOp | DropTableOp | ModifyTableOps) -> Name:
    return Name(item.schema, item.table_name)


def _added(steps: Iterable[MigrateOperation]) -> list[str]:
    found: list[str] = []
    for step in steps:
        if isinstance(step, AddColumnOp):
            found.append(step.column.name)
        elif isinstance(step, AddAuditColumns):
            found += step.columns
    return found


def _dropped(steps: Iterable[MigrateOperation]) -> list[str]:
    found: list[str] = []
    for step in steps:
        if isinstance(step, DropColumnOp):
            found.append(step.column_name)
        elif isinstance(step, DropAuditColumns):
            found += step.columns
    return found


def _retypes(step: MigrateOperation, trail: Trail) -> bool:
    """Whether a column that is kept as it is gets another type."""
    return (
        isinstance(step, AlterColumnOp)
        and step.modify_type is not None
        and step.column_name not in (*trail.exclude, *trail.mask, *trail.hash)
    )


def placed(
    script: Iterable[MigrateOperation],
    found: Sequence[Operation],
    resolve: Callable[[Name], Name],
) -> list[MigrateOperation]:
    """The script with our operations where they belong, in it and in the downgrade, its mirror.

    A trail is dropped before anything else and made when all else is done. It is altered when its
    table has the columns that are added and the types that are changed, and before columns go.
    """
    first = [item for item in found if isinstance(item, DropAuditTrail)]
    alters = {resolve(item.name): item for item in found if isinstance(item, AlterAuditTrail)}
    middle: list[MigrateOperation] = []
    for item in script:
        if isinstance(item, ModifyTableOps) and (alter := alters.pop(resolve(_name(item)), None)):
            middle += _around(alter, item)
        else:
            middle.append(item)
    last = [item for item in found if not isinstance(item, DropAuditTrail | AlterAuditTrail)]
    return [*first, *middle, *alters.values(), *last]


def _around(alter: AlterAuditTrail, change: ModifyTableOps) -> list[MigrateOperation]:
    added = [step for step in change.ops if isinstance(step, AddColumnOp | AddAuditColumns)]
    retyped = [step for step in change.ops if _retypes(step, alter.trail)]
    rest = [step for step in change.ops if step not in (*added, *retyped)]

    def part(steps: Sequence[MigrateOperation]) -> list[MigrateOperation]:
        return [ModifyTableOps(change.table_name, steps, schema=change.schema)] if steps else []

    middle = InOrder([*part(retyped), alter]) if retyped else alter
    return [*part(added), middle, *part(rest)]
