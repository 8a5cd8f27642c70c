"""Rules about rows: who waits while all of them are read or written, and which are lost."""

import re
from collections.abc import Iterable, Iterator

from alembic_enterprise.plan.held import Held, held
from alembic_enterprise.plan.locks.table import Activity, LockMode, blocks
from alembic_enterprise.plan.model import Basis, Loss, PlanFinding, RelationEffect, Step
from alembic_enterprise.plan.rules.alternatives import alternative
from alembic_enterprise.plan.rules.columns import remarked_tables
from alembic_enterprise.plan.rules.facts import LARGE, SMALL, Facts
from alembic_enterprise.plan.rules.partitions import candidates_scanned, defaults_scanned
from alembic_enterprise.plan.rules.reading import name, names, shape
from alembic_enterprise.wording import in_bytes

USE = (Activity.READS, Activity.WRITES)


def blocks_while_rewriting(facts: Facts) -> Iterator[PlanFinding]:
    """A table is rewritten while others cannot read or write it.

    Changing a type, moving to another tablespace, CLUSTER, VACUUM FULL and REINDEX
    give a table or an index a new file. That takes as long as writing all of it,
    needs room for it once more, and goes to the standbys as a whole.

    Asks for a way that needs no rewrite, which depends on the statement. Not
    counted: what volatile-default reports.

    Costs further steps, and often a release between them.

    Leave it when the table is small, or when nobody needs it then.
    """
    for step in facts.steps:
        remarked = remarked_tables(facts, step)
        rewritten = [item for item in step.effects if item.rewritten]
        for table, effects in _by_table(facts, rewritten):
            if table not in remarked and _stopped(effects):
                yield _blocking(facts, step, table, effects, "rewriting", "rewritten")


def blocks_while_scanning(facts: Facts) -> Iterator[PlanFinding]:
    """All of a table is read while others cannot read or write it.

    CREATE INDEX, SET NOT NULL and constraints that are checked read each row under
    a lock against writers, some of them against readers too. It counts as well when
    the step needs no such lock, but one of an earlier step is still there, as for
    VALIDATE CONSTRAINT in the transaction that added the constraint.

    Asks for the operation that does the same online, or for a transaction of its
    own. Not counted: what more special rules report.

    Costs a further look at the rows as a rule, for which nobody waits.

    Leave it when the table is small, or when nobody needs it then.
    """
    for step in facts.steps:
        remarked = [*defaults_scanned(facts, step), *candidates_scanned(facts, step)]
        scanned = [item for item in step.effects if item.scanned and item not in remarked]
        rewritten = {item.table for item in step.effects if item.rewritten}
        for table, effects in _by_table(facts, scanned):
            if table not in rewritten | remarked_tables(facts, step) and _stopped(effects):
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
                since = min(group.since for group in before.groups if group.table in kept)
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
        f"locks of step {since} on {', '.join(kept)} are held until all of this table is read: "
        "give this step a transaction of its own",
        table_bytes=size,
        locked=kept,
        held_since=since,
    )


_MAY_WRITE = shape(r"(UPDATE|DELETE|MERGE|WITH|DO)\b.*")
_WRITES = shape(r"\b(UPDATE|DELETE FROM|(?P<adds>MERGE INTO))( ONLY)? {table}")
_MERGE = shape("MERGE ")
_CHANGES = shape(r"\bTHEN (UPDATE|DELETE)\b")
_CONDITION = shape(r".*[\s)]WHERE[\s(]")


def every_row_written(facts: Facts) -> Iterator[PlanFinding]:
    """An UPDATE, DELETE or MERGE goes through all of a table in one transaction.

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
        for table, what in _all_written(facts, step).items():
            if _is_read(step, table) and facts.tables[table].rows != 0:
                yield _written(facts, step, table, what)


def _all_written(facts: Facts, step: Step) -> dict[str, str]:
    """The tables that a step may write as a whole, and which of their rows, as it says."""
    found: dict[str, str] = {}
    for part in facts.said(step, _MAY_WRITE):
        text = part.string
        has_condition = _CONDITION.match(text) is not None or _MERGE.match(text) is not None
        if has_condition and not step.transactional:
            continue
        for match in _WRITES.finditer(text):
            target = facts.effect_on(step, name(match["table"]))
            if target is not None and (match["adds"] is None or _CHANGES.search(text)):
                fit = "all that fit its condition"
                found[target.relation] = fit if has_condition else "all of its rows"
    return found


def _is_read(step: Step, table: str) -> bool:
    """Whether a step reads all of a table, or of a partition of it."""
    return any(item.scanned and table in (item.relation, item.table) for item in step.effects)


def _written(facts: Facts, step: Step, table: str, what: str) -> PlanFinding:
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
    r"TRUNCATE( TABLE)?( ONLY)? (?P<names>.*?)(\s*\*)?"
    r"( (RESTART|CONTINUE) IDENTITY)?( CASCADE| RESTRICT)?\Z"
)
_DROP_COLUMN = shape(
    r"DROP(?! (CONSTRAINT|EXPRESSION|IDENTITY|DEFAULT|NOT) )( COLUMN)?( IF EXISTS)? {column}"
)
_USING = shape(r"ALTER( COLUMN)? {column}( SET DATA)? TYPE (?P<type>.+?) USING (?P<value>.+)")
_CAST_TO = (
    r"\s*(double precision|(character|bit) varying"
    r"|(numeric|decimal|timestamp|timestamptz|time|timetz|interval)\s*\((?P<length>[^()]*)\)"
    r"|{type})( with(out)? time zone)?(\s*\[\d*\])*"
)
_PLAIN = (
    shape(r"\((?P<value>.+)\)"),
    shape(r"CAST\s*\((?P<value>.+) AS " + _CAST_TO + r"\s*\)"),
    shape(r"(?P<value>.+)::" + _CAST_TO),
    shape(r"(?P<value>.+) AT TIME ZONE '[^']*'"),
)
"""What USING may say of a value besides its column.

A cast to varchar(2) cuts what ALTER COLUMN TYPE varchar(2) refuses, so that such lengths are not
plain. Those of numbers and times round in both.
"""
_LENGTH = re.compile(r"\(([^()]*)\)")
_DELETE = shape(r"\bDELETE FROM( ONLY)? {table}")
_MAY_DELETE = shape(r"(DELETE|WITH|DO)\b.*")


def data_lost(facts: Facts) -> Iterator[PlanFinding]:
    """What is in a table or a column is gone, or a part of it.

    They are dropped, by their own statement or with their schema, type or owner;
    all rows are truncated or deleted; or a column gets a type that rounds or cuts
    what it holds, as a date does a timestamp. A downgrade makes the table or the
    column again, and not what was in it. While the release goes out, the old code
    still reads it.

    What is gone is measured on the shadow, whatever the statement says. Which rows
    a DELETE takes, and what USING makes of values, only live rows could tell: that
    is a warning.

    Asks for a release between the one that stops using it and the one that drops
    it, and for a backup that somebody has restored once. A partition is detached
    with op.detach_partition, and dropped when nobody has missed it.

    Costs the space until then.

    Leave it when nobody has read it for long.
    """
    for step in facts.steps:
        said = _written_down(facts, step) if step.basis is Basis.UNKNOWN else ()
        lost = dict.fromkeys((*step.lost, *said, *_deleted(facts, step)))
        yield from (_gone(facts, step, loss) for loss in lost if _has_rows(facts, loss.table))
        for loss, what in dict.fromkeys(_unforeseeable(facts, step)):
            told = any((one.table, one.column) == (loss.table, loss.column) for one in lost)
            if not told and _has_rows(facts, loss.table):
                yield _not_known(facts, step, loss.table, what)


def _has_rows(facts: Facts, table: str) -> bool:
    known = facts.tables.get(table)
    return known is not None and bool(known.size) and known.rows != 0


def _gone(facts: Facts, step: Step, loss: Loss) -> PlanFinding:
    known = facts.tables[loss.table]
    place = "the table" if loss.column is None else f"column {loss.column}"
    what = f"what is in {place}" if loss.type is None else f"what {loss.type} lacks of {place}"
    return facts.remark(
        "data-lost",
        step,
        loss.table,
        f"{what} is gone, and no downgrade brings it back: make sure that nothing reads it any "
        "more, and that there is a backup",
        severity="error" if known.size >= LARGE else "warning",
        rows=known.rows,
    )


def _not_known(facts: Facts, step: Step, table: str, what: str) -> PlanFinding:
    return facts.remark(
        "data-lost",
        step,
        table,
        f"{what} only the live rows can tell, and no downgrade brings back what is lost: try it on "
        "a copy of them, and make sure that there is a backup",
        severity="warning",
        rows=facts.tables[table].rows,
    )


def _written_down(facts: Facts, step: Step) -> Iterator[Loss]:
    """What is gone by the words of a step that was not run."""
    for match in facts.said(step, _DROP_TABLE, _TRUNCATE):
        for called in names(match["names"]):
            if table := facts.changed_table(step, called):
                yield Loss(table)
    for called, action in facts.actions(step):
        dropped, table = _DROP_COLUMN.match(action), facts.changed_table(step, called)
        if dropped is not None and table is not None:
            yield Loss(table, name(dropped["column"]).name)


def _deleted(facts: Facts, step: Step) -> Iterator[Loss]:
    """The tables of which a step deletes all rows."""
    for match in facts.said(step, _DELETE):
        table = facts.changed_table(step, name(match["table"]))
        if table is not None and not _CONDITION.match(match.string):
            yield Loss(table)


def _unforeseeable(facts: Facts, step: Step) -> Iterator[tuple[Loss, str]]:
    """What a step may take away, and what of that only the rows could tell."""
    if step.operation is not None:
        return
    for match in facts.said(step, _MAY_DELETE):
        look = facts.live_table if match[1].upper() == "DO" else facts.changed_table
        for deleting in _DELETE.finditer(match.string):
            if table := look(step, name(deleting["table"])):
                yield Loss(table), "which rows it deletes"
    for called, action in facts.actions(step):
        using, table = _USING.match(action), facts.changed_table(step, called)
        if using is not None and table is not None and not _is_plain(using):
            column = name(using["column"]).name
            yield Loss(table, column), f"what USING leaves of column {column}"


def _is_plain(using: re.Match[str]) -> bool:
    """Whether USING loses no more than the type: it casts the column, or tells its time zone."""
    value, length = using["value"].strip(), _LENGTH.search(using["type"])
    allowed = {None, None if length is None else _unspaced(length[1])}
    while match := next((found for one in _PLAIN if (found := one.fullmatch(value))), None):
        cut_to = match.groupdict().get("length")
        if (cut_to and _unspaced(cut_to)) not in allowed:
            return False
        value = match["value"].strip()
    return names(value) == [name(using["column"])]


def _unspaced(text: str) -> str:
    return "".join(text.split())
