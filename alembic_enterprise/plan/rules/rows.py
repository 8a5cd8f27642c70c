"""Rules about rows: who waits while all of them are read or written, and which are lost."""

from collections.abc import Iterable, Iterator

from alembic_enterprise.plan.held import Held, held
from alembic_enterprise.plan.locks.table import Activity, LockMode, blocks
from alembic_enterprise.plan.model import PlanFinding, RelationEffect, Step
from alembic_enterprise.plan.rules.alternatives import alternative
from alembic_enterprise.plan.rules.columns import told_of
from alembic_enterprise.plan.rules.facts import LARGE, SMALL, Facts
from alembic_enterprise.plan.rules.partitions import candidates_scanned, defaults_scanned
from alembic_enterprise.plan.rules.reading import name, names, shape
from alembic_enterprise.wording import in_bytes

USE = (Activity.READS, Activity.WRITES)


def blocks_while_rewriting(facts: Facts) -> Iterator[PlanFinding]:
    """A table is written anew while others cannot read or write it.

    Changing a type, moving to another tablespace, CLUSTER, VACUUM FULL and REINDEX
    give a table or an index a new file. That takes as long as writing all of it,
    needs room for it once more, and goes to the standbys as a whole.

    Asks for a way that needs no rewrite, which depends on the statement. Not
    counted: what volatile-default tells.

    Costs further steps, and often a release between them.

    Leave it when the table is small, or when nobody needs it then.
    """
    for step in facts.steps:
        told = told_of(facts, step)
        rewritten = [item for item in step.effects if item.rewritten]
        for table, effects in _by_table(facts, rewritten):
            if table not in told and _stopped(effects):
                yield _blocking(facts, step, table, effects, "rewriting", "written anew")


def blocks_while_scanning(facts: Facts) -> Iterator[PlanFinding]:
    """All of a table is read while others cannot read or write it.

    CREATE INDEX, SET NOT NULL and constraints that are checked read each row under
    a lock against writers, some of them against readers too. It counts as well when
    the step needs no such lock, but one of an earlier step is still there, as for
    VALIDATE CONSTRAINT in the transaction that added the constraint.

    Asks for the operation that does the same online, or for a transaction of its
    own. Not counted: what more special rules tell.

    Costs a further look at the rows as a rule, for which nobody waits.

    Leave it when the table is small, or when nobody needs it then.
    """
    for step in facts.steps:
        told = [*defaults_scanned(facts, step), *candidates_scanned(facts, step)]
        scanned = [item for item in step.effects if item.scanned and item not in told]
        rewritten = {item.table for item in step.effects if item.rewritten}
        for table, effects in _by_table(facts, scanned):
            if table not in rewritten | told_of(facts, step) and _stopped(effects):
                yield _blocking(facts, step, table, effects, "scanning", "read")


def _by_table(
    facts: Facts, effects: Iterable[RelationEffect]
) -> list[tuple[str, list[RelationEffect]]]:
    """Effects by the table that they belong to, without tables that nobody can use yet."""
    found: dict[str, list[RelationEffect]] = {}
    for effect in effects:
        if effect.table not in facts.tables:
            continue
        found.setdefault(effect.table, []).append(effect)
    return [*found.items()]


def _stopped(effects: Iterable[RelationEffect]) -> list[Activity]:
    """Which use of the rows has to wait."""
    return _waiting(mode for effect in effects for mode in effect.modes)


def _waiting(modes: Iterable[LockMode]) -> list[Activity]:
    stopped = blocks(modes)
    return [activity for activity in USE if activity in stopped]


def _blocking(
    facts: Facts, step: Step, table: str, effects: list[RelationEffect], rule: str, done: str
) -> PlanFinding:
    instead, operations = alternative(facts, step)
    size = _size(facts, table, effects)
    since = min((item.held_since for item in effects if item.held_since), default=None)
    stopped = " and ".join(_stopped(effects))
    return facts.remark(
        f"blocks-while-{rule}",
        step,
        table,
        f"{stopped} wait while {'all of it' if size is None else in_bytes(size)} is {done}"
        f"{'' if since is None else f', by a lock of step {since}'}: {instead}",
        operations=operations,
        table_bytes=size,
        blocks=_stopped(effects),
        held_since=since,
    )


def _size(facts: Facts, table: str, effects: list[RelationEffect]) -> int | None:
    """Bytes of what is read or written: of one partition its own, of several all of the table."""
    one = {effect.relation for effect in effects if effect.relation in facts.tables}
    return facts.size(one.pop() if len(one) == 1 else table)


def locks_held_while_scanning(facts: Facts) -> Iterator[PlanFinding]:
    """A large table is read or written while another one stays locked.

    A lock stands until its transaction ends. What took it may have been over in
    a moment, but whoever wants that table waits until the long step after it is
    done as well.

    Asks for transactions of their own: a revision each, with
    transaction_per_migration, or the long step before the others.

    Costs a state between the two that the application has to live with.

    Leave it when nobody needs the locked table meanwhile.
    """
    for step, before in held(facts.steps):
        long = [item for item in step.effects if item.scanned or item.rewritten]
        for table, effects in _by_table(facts, long):
            size = _size(facts, table, effects)
            if size is not None and size < SMALL:
                continue
            kept = {name: used for name, used in _kept(facts, before) if name != table}
            if kept:
                since = min(group[2] for group in before.groups if group[0] in kept)
                yield _chained(facts, step, table, size, kept, since)


def _kept(facts: Facts, before: Held) -> Iterator[tuple[str, list[Activity]]]:
    """The tables that earlier steps keep others from using, and in which way."""
    for table, modes in sorted(before.modes.items()):
        stopped = _waiting(mode for some in modes for mode in some)
        if table in facts.tables and stopped:
            yield table, stopped


def _chained(
    facts: Facts,
    step: Step,
    table: str,
    size: int | None,
    kept: dict[str, list[Activity]],
    since: int,
) -> PlanFinding:
    return facts.remark(
        "locks-held-while-scanning",
        step,
        table,
        f"locks of step {since} on {', '.join(kept)} stand until all of this table is read: give "
        "this step a transaction of its own",
        table_bytes=size,
        locked=kept,
        held_since=since,
    )


_WRITES = shape("(UPDATE|DELETE FROM)( ONLY)? {table}")
_CONDITION = shape(r".*[\s)]WHERE[\s(]")


def every_row_written(facts: Facts) -> Iterator[PlanFinding]:
    """An UPDATE or a DELETE goes through all of a table in one transaction.

    It stops nobody at first. But each row that it has written stays locked against
    other writers until COMMIT, and leaves a dead version of itself: an UPDATE of
    all rows makes the table twice as large, and standbys have to catch up with all
    of it. One with a WHERE that no index answers counts as well, since nobody knows
    how many rows that is.

    Asks for batches of some thousand rows, each in a transaction of its own: a loop
    in `with op.get_context().autocommit_block():`, by ranges of the primary key.
    Not counted: what has a WHERE and runs there already.

    Costs more time in all, and a state between the two that the application has to
    live with.

    Leave it when the table is small, or when nobody writes it then.
    """
    for step in facts.steps:
        for match in facts.said(step, _WRITES):
            target = facts.live(step, name(match["table"]))
            has_condition = _CONDITION.match(match.string) is not None
            if target is None or (has_condition and not step.transactional):
                continue
            if _is_read(step, target.relation) and facts.tables[target.relation].rows != 0:
                yield _written(facts, step, target.relation, has_condition=has_condition)


def _is_read(step: Step, table: str) -> bool:
    """Whether a step reads all of a table, or of a partition of it."""
    return any(item.scanned and table in (item.relation, item.table) for item in step.effects)


def _written(facts: Facts, step: Step, table: str, *, has_condition: bool) -> PlanFinding:
    what = "all that fit its WHERE" if has_condition else "all of its rows"
    return facts.remark(
        "every-row-written",
        step,
        table,
        f"{what} are written in one transaction, and stay locked against other writers until it "
        "ends: write them in batches, each in an autocommit block",
        rows=facts.tables[table].rows,
    )


_DROP_TABLE = shape(
    r"DROP (TABLE|MATERIALIZED VIEW)( IF EXISTS)? (?P<names>.*?)( CASCADE| RESTRICT)?\Z"
)
_TRUNCATE = shape(
    r"TRUNCATE( TABLE)?( ONLY)? (?P<names>.*?)"
    r"( (RESTART|CONTINUE) IDENTITY)?( CASCADE| RESTRICT)?\Z"
)
_DROP_COLUMN = shape(
    r"DROP(?! (CONSTRAINT|EXPRESSION|IDENTITY|DEFAULT|NOT) )( COLUMN)?( IF EXISTS)? {column}"
)


def data_lost(facts: Facts) -> Iterator[PlanFinding]:
    """A table, a column or all rows of a table are dropped.

    A downgrade makes the table or the column again, and not what was in it. While
    the release goes out, the old code still reads it.

    Asks for a release between the one that stops using it and the one that drops
    it, and for a backup that somebody has restored once. A partition is detached
    with op.detach_partition, and dropped when nobody has missed it.

    Costs the space until then.

    Leave it when nobody has read it for long.
    """
    for step in facts.steps:
        for table, what in _lost(facts, step):
            known = facts.tables[table]
            if known.size and known.rows != 0:
                yield facts.remark(
                    "data-lost",
                    step,
                    table,
                    f"what is in {what} is gone, and no downgrade brings it back: make sure that "
                    "nothing reads it any more, and that there is a backup",
                    severity="error" if known.size >= LARGE else "warning",
                    rows=known.rows,
                )


def _lost(facts: Facts, step: Step) -> Iterator[tuple[str, str]]:
    """The tables that lose something, and what."""
    for match in facts.said(step, _DROP_TABLE, _TRUNCATE):
        for called in names(match["names"]):
            if table := facts.changed(step, called):
                yield table, "the table"
    for called, action in facts.actions(step):
        dropped, table = _DROP_COLUMN.match(action), facts.changed(step, called)
        if dropped is not None and table is not None:
            yield table, f"column {name(dropped['column']).name}"
