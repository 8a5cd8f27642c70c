"""What a person reads of a plan, in the order of a review; text, Markdown and HTML show it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from itertools import groupby
from shlex import quote

from alembic_enterprise.finding import Finding
from alembic_enterprise.plan.held import Group, Held, place
from alembic_enterprise.plan.locks.table import Activity, LockMode, strongest
from alembic_enterprise.plan.model import (
    IN_ORDER,
    Basis,
    Outcome,
    Plan,
    PlanFinding,
    Proof,
    RelationEffect,
    Revision,
    Step,
    Touched,
)
from alembic_enterprise.plan.schema.objects import Change, Difference
from alembic_enterprise.wording import counted, in_bytes

SYMBOLS = {Change.ADDED: "+", Change.MISSING: "-", Change.CHANGED: "~"}
LETTERS = {Activity.READS: "R", Activity.WRITES: "W", Activity.DDL: "D"}
MARKS = {Outcome.PASSED: "PASS", Outcome.FAILED: "FAIL", Outcome.SKIPPED: "SKIP"}

DRIFT_LEGEND = "+ added, - missing, ~ changed, outside of the revisions"
LOCK_LEGEND = "R reads, W writes, D DDL and VACUUM: wait for the end of the transaction"


@dataclass(frozen=True)
class Entry:
    """One thing to know.

    Attributes:
        head: what it is about.
        mark: a severity, what has become of an object, or how a proof ended; empty for the rest.
        before: sentences.
        code: what is run, or to be written in a script.
        after: what is to be known about the code, a line each.
    """

    head: str
    mark: str = ""
    before: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Things of one kind.

    Attributes:
        number: how many there are, when an entry is for several.
    """

    title: str
    entries: tuple[Entry, ...]
    number: int | None = None

    @property
    def heading(self) -> str:
        """The title, and how many there are."""
        number = len(self.entries) if self.number is None else self.number
        return f"{self.title} ({number:,})"


def sections(plan: Plan) -> list[Section]:
    """Those that have something to say."""
    found = [
        Section("Drift", tuple(map(_difference, plan.drift))),
        Section("Model changes", tuple(Entry("", code=(line,)) for line in plan.model_changes)),
        Section("Enterprise changes", tuple(map(_change, plan.enterprise_changes))),
        Section("Pending revisions", tuple(map(_revision, plan.pending))),
        Section("Steps", tuple(_steps(plan.steps)), len(plan.steps)),
        Section("Findings", tuple(map(_finding, plan.findings))),
        Section("Proof", tuple(map(_proof, plan.proof))),
        Section("Coverage", tuple(Entry(sentence) for sentence in plan.coverage)),
    ]
    return [section for section in found if section.entries]


def title(plan: Plan) -> str:
    """What the plan is of."""
    return f"Plan for {plan.database.name}"


def facts(plan: Plan) -> Iterator[str]:
    """Where it comes from, a sentence each."""
    revisions = ", ".join(plan.database.revisions) or "no revision"
    yield f"Live: PostgreSQL {plan.database.version}, stamped with {revisions}"
    yield f"Live: {_circumstances(plan)}"
    if plan.shadow is None:
        yield "Shadow: none, so nothing was measured"
    else:
        yield f"Shadow: {plan.shadow.description}"
        yield from (f"Shadow: {gap}" for gap in plan.shadow.gaps)


def _circumstances(plan: Plan) -> str:
    sampled = plan.circumstances
    oldest, lag = sampled.longest_transaction, sampled.replication_lag
    running = "no transaction was running"
    if oldest is not None:
        running = f"the longest transaction had run for {_duration(oldest)}"
    behind = "" if lag is None else f", a standby was {_duration(lag)} behind"
    return f"at {sampled.sampled_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC {running}{behind}"


def _duration(time: timedelta) -> str:
    """A duration as a person says it: "3 s", "12 min", "5 h"."""
    seconds = time.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"


def summary(plan: Plan) -> str:
    """The plan in a line."""
    if not plan.has_changes and not plan.is_blocked:
        return IN_ORDER
    changes = len(plan.model_changes) + len(plan.enterprise_changes)
    drift = [] if plan.shadow is None else [counted(len(plan.drift), "difference")]
    figures = [
        *drift,
        counted(changes, "change"),
        f"{counted(len(plan.steps), 'step')} in {counted(plan.transactions, 'transaction')}",
        counted(len(plan.findings), "finding"),
    ]
    return f"{', '.join(figures)}. {_verdict(plan)}"


def _verdict(plan: Plan) -> str:
    if not plan.is_blocked:
        unknown = any(step.basis is Basis.UNKNOWN for step in plan.steps)
        return "Nothing that is known blocks it." if unknown else "Nothing blocks it."
    blocking = sum(item.is_blocking for item in plan.findings)
    by = [counted(blocking, "finding")] if blocking else []
    if any(item.outcome is Outcome.FAILED for item in plan.proof):
        by.append("a failed proof")
    return f"Blocked by {' and '.join(by)}."


def next_step(plan: Plan) -> str | None:
    """What brings the release forward; None where nothing is to be done, or it is blocked."""
    if any(step.revision is None for step in plan.steps):
        return "To write it: alembic-enterprise plan --write -m MESSAGE"
    if plan.file is not None:
        return f"To apply it: alembic-enterprise apply {quote(plan.file)}"
    if plan.pending and plan.shadow is not None and not plan.is_blocked:
        return "To apply it: alembic-enterprise plan --out FILE, and apply FILE"
    return None


def legend(plan: Plan) -> list[str]:
    """The meaning of the symbols that the plan uses."""
    found = [DRIFT_LEGEND] if plan.drift else []
    if any(step.effects for step in plan.steps):
        found.append(LOCK_LEGEND)
    return found


def _difference(item: Difference) -> Entry:
    head, mark = f"{item.kind} {item.name}", SYMBOLS[item.change]
    if item.diff:
        return Entry(head, mark, code=("\n".join(item.diff).expandtabs(4),))
    texts = (("was", item.before), ("is", item.after))
    return Entry(head, mark, tuple(f"{label}: {text}" for label, text in texts if text))


def _change(item: Finding) -> Entry:
    return Entry(f"{item.table}: {item.rule}", item.severity, (item.message,), _calls(item))


def _calls(item: Finding) -> tuple[str, ...]:
    return tuple(f"op.{operation}" for operation in item.operations)


def _revision(item: Revision) -> Entry:
    return Entry(f"{item.revision}: {item.message}", before=(item.path,))


def _finding(item: PlanFinding) -> Entry:
    entry = _change(item.finding)
    place = "" if item.step is None else f", step {item.step}"
    waiver = item.waiver
    waived = () if waiver is None else (f"waived until {waiver.expires}: {waiver.reason}",)
    before = (*entry.before, *waived)
    mark = entry.mark if waiver is None else "waived"
    return Entry(entry.head + place, mark, before, entry.code)


def _proof(item: Proof) -> Entry:
    return Entry(item.name, MARKS[item.outcome], item.differences)


def _steps(steps: Sequence[Step]) -> Iterator[Entry]:
    """Each statement, and where transactions end: what is committed stays, whatever fails later.

    The statements of one call are listed together.
    """
    for _, transaction in groupby(steps, key=lambda step: step.transaction):
        together = [*transaction]
        calls = [[*call] for _, call in groupby(together, key=_call)]
        numbers = numbered(together) if len(together) > 1 else "this step"
        end = f"COMMIT: {numbers} will stay, whatever fails later"
        for call, held in zip(calls, _held_before(calls), strict=True):
            yield _entry(call, [*_about(call, held), *([end] if call is calls[-1] else [])])


def _held_before(calls: Sequence[Sequence[Step]]) -> Iterator[list[str]]:
    """What a transaction holds when each of its calls begins: in full once, then what is new."""
    state = Held()
    known: set[str] = set()
    where = ""
    for call in calls:
        for step in call:
            state.release(step)
            state.keep(step)
        own = {group for group in state.changed if group.since >= call[0].number}
        words = [_held(group) for group in _of(state, state.changed - own)]
        new = [text for text in words if text not in known]
        is_more = len(new) < len(state.groups) - len(own & state.groups.keys())
        parts = [f"as in {where}"] if is_more else []
        if new:
            parts.append(", ".join(new))
        yield [f"held from before: {', and '.join(parts)}"] if parts else []
        state.changed = own
        if new:
            known.update(new)
            where = numbered(call)


def _of(state: Held, groups: Iterable[Group]) -> list[Sequence[RelationEffect]]:
    """The relations of those groups that are still there."""
    found = [[*state.groups[group].values()] for group in groups if group in state.groups]
    return sorted(found, key=lambda group: place(group[0]))


def _call(step: Step) -> tuple[object, ...]:
    """What the statements of one call have in common."""
    is_block = step.operation is not None and step.transactional
    return (step.operation, step.revision) if is_block else (step.number,)


def _entry(call: Sequence[Step], after: Iterable[str]) -> Entry:
    return Entry(numbered(call).capitalize(), code=(_code(call),), after=tuple(after))


def numbered(steps: Sequence[Step]) -> str:
    """The numbers of steps that follow each other: "step 3", "steps 3 to 5"."""
    first, last = steps[0].number, steps[-1].number
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _code(call: Sequence[Step]) -> str:
    """The statement; the call in the place of several, or of a block, which one does not read."""
    first = call[0]
    if first.operation and (len(call) > 1 or first.statement.startswith("DO ")):
        return f"op.{first.operation}"
    return first.statement.expandtabs(4)


def _about(call: Sequence[Step], held: Iterable[str]) -> Iterator[str]:
    first = call[0]
    if first.operation and not _code(call).startswith("op."):
        yield f"by op.{first.operation}"
    yield _terms(first)
    server = "" if first.server is None else f" on PostgreSQL {first.server}"
    yield f"effects {first.basis}{server}"
    is_known = first.basis is not Basis.UNKNOWN
    mine = [effect for step in call for effect in step.effects if _tells(effect)]
    if is_known and not mine:
        yield "blocks nothing new"
    yield from map(_effect, grouped(mine))
    yield from held
    about = {touched.table: touched for step in call for touched in step.tables}
    noticed = {effect.table for effect in mine}
    yield from (size(one) for one in about.values() if one.table in noticed or not is_known)


def _terms(step: Step) -> str:
    """Under which conditions a step runs."""
    place = "" if step.transactional else ", outside of a transaction block"
    timeout = step.lock_timeout
    waits = "no lock_timeout" if timeout is None else f"lock_timeout {timeout.total_seconds():g} s"
    revision = "proposed" if step.revision is None else f"revision {step.revision}"
    reversible = f"reversible: {step.reversibility}"
    return f"transaction {step.transaction}{place}, {waits}, {revision}, {reversible}"


def _tells(effect: RelationEffect) -> bool:
    """Whether the step does something that somebody may notice."""
    is_blocking = effect.held_since is None and bool(effect.blocks)
    return is_blocking or effect.rewritten or effect.scanned


def _held(group: Sequence[RelationEffect]) -> str:
    return f"{_letters(group[0])} {named(group)} since step {group[0].held_since}"


def grouped(effects: Sequence[RelationEffect]) -> list[list[RelationEffect]]:
    """Relations of one table to which the same happens, together, in the order of the first."""
    groups: dict[tuple[object, ...], list[RelationEffect]] = {}
    for one in effects:
        groups.setdefault(_sameness(one), []).append(one)
    return [*groups.values()]


def _sameness(effect: RelationEffect) -> tuple[object, ...]:
    modes = strongest(effect.modes)
    return effect.table, modes, effect.rewritten, effect.scanned, effect.held_since


def _effect(group: Sequence[RelationEffect]) -> str:
    first = group[0]
    marks = [named(group)]
    if first.rewritten:
        marks.append("rewritten")
    if first.scanned:
        marks.append("scanned")
    return f"{_letters(first)} {modes(first)}: {', '.join(marks)}"


def _letters(effect: RelationEffect) -> str:
    """What it blocks, in three letters: "RWD", "-W-"."""
    blocked = effect.blocks
    return "".join(letter if one in blocked else "-" for one, letter in LETTERS.items())


def modes(effect: RelationEffect) -> str:
    """The strongest locks."""
    found = sorted(strongest(effect.modes), key=list(LockMode).index)
    return ", ".join(found) or "no lock"


def named(group: Sequence[RelationEffect]) -> str:
    """The relations of a group: one by its name, several by their table."""
    if len(group) == 1:
        return group[0].relation
    table = group[0].table
    if any(effect.relation == table for effect in group):
        return f"{table} and {len(group) - 1:,} of its relations"
    return f"{len(group):,} relations of {table}"


def size(touched: Touched) -> str:
    """A table with its figures."""
    rows = "" if touched.rows is None else f", about {counted(touched.rows, 'row')}"
    parts = f", {counted(touched.partitions, 'partition')}" if touched.partitions else ""
    indexes = f", {touched.indexes} index{'es' * (touched.indexes != 1)}" if touched.indexes else ""
    writes = touched.writes_per_second
    rate = "" if writes is None else f", {writes:,.0f} writes/s on average"
    return f"{touched.table}: {in_bytes(touched.size)}{rows}{parts}{indexes}{rate}"
